//! How loops are made: where Bitcoin is, what a loop costs, and how long everything may take.

use swaprig_units::{BlockDelta, Height, Sat};

use super::{ConfigError, Settings};
use crate::chain::bitcoin::{BitcoinFees, BitcoinSource};
use crate::swap::{FeeRate, LAPSE_MARGIN, MIN_TOTAL_CLTV};

/// How loops are made.
#[derive(Debug, Clone)]
pub struct Loops {
    /// Bitcoin's network.
    pub network: bitcoin::Network,
    /// Where Bitcoin is read; `None`: no loops are made.
    pub source: Option<BitcoinSource>,
    /// No coin of the seed is in a block below this height.
    pub birthday: Height,
    /// How transactions pay.
    pub fees: BitcoinFees,
    /// The server's part of the fee that does not depend on the amount.
    pub base_fee: Sat,
    /// The part that does, millionths of the amount.
    pub fee_ppm: u32,
    /// The smallest amount.
    pub least: Sat,
    /// The largest amount.
    pub most: Option<Sat>,
    /// Size of the coins that are kept ready; 0: none.
    pub coin: Sat,
    /// From the making of a loop to its timeout, at most.
    pub delta: BlockDelta,
    /// What a client has to claim a loop out, at least.
    pub claim_window: BlockDelta,
    /// Between the timeout of a loop out and the lapse of its payment.
    pub refund_window: BlockDelta,
    /// After which a spend is final.
    pub final_confirmations: u32,
    /// In which a loop must be funded.
    pub funding_window: BlockDelta,
    /// Of a client's coins, before a loop in is paid.
    pub in_confirmations: u32,
    /// For which the payment of a loop in may lock coins.
    pub in_max_cltv: BlockDelta,
    /// How many loops in may wait for their coins at once.
    pub in_max_unfunded: u32,
    /// Whether coins are locked before they are paid for also without a prepay.
    pub coins_first: bool,
    /// What its routing may cost, millionths of the amount.
    pub in_routing_ppm: u32,
}

/// What the server keeps for its own claim of a loop in, beyond the blocks that its payment may take.
const IN_CLAIM_MARGIN: u32 = 18;

impl Loops {
    pub(super) fn of(settings: &Settings, network: &str) -> Result<Loops, ConfigError> {
        let unsound = |key, reason: String| ConfigError::Unsound { key, reason };
        let source = match &settings.bitcoin_url {
            None => None,
            Some(url) => {
                let source = BitcoinSource::parse(url, settings.bitcoin_cookie.clone());
                Some(source.map_err(|error| unsound("bitcoin_url", error.to_string()))?)
            }
        };
        let network = match network {
            "mainnet" => "bitcoin",
            other => other,
        };
        let known = BitcoinFees::default();
        let rate = |set: Option<u64>, default: FeeRate| set.map_or(default, FeeRate);
        let blocks = |set: Option<u32>, default| BlockDelta(set.unwrap_or(default));
        let network = network.parse().map_err(|_| {
            unsound(
                "bitcoin_network",
                format!("{network} is no network of Bitcoin"),
            )
        })?;
        // Where blocks cost work and coins are worth something, a reorganisation of more than two is seen now and then.
        let (finality, refund_window) = match network {
            bitcoin::Network::Bitcoin => (6, 18),
            _ => (2, 12),
        };
        let loops = Loops {
            network,
            source,
            birthday: Height(settings.bitcoin_birthday.unwrap_or(0)),
            fees: BitcoinFees {
                floor: rate(settings.bitcoin_fee_floor, known.floor),
                cap: rate(settings.bitcoin_fee_cap, known.cap),
                fallback: rate(settings.bitcoin_fee_fallback, known.fallback),
                service: settings.bitcoin_fee_url.clone(),
                ..known
            },
            base_fee: Sat(settings.loop_base_fee_sat.unwrap_or(0)),
            fee_ppm: settings.loop_fee_ppm.unwrap_or(2_000),
            least: Sat(settings.loop_min_sat.unwrap_or(20_000)),
            most: settings.loop_max_sat.map(Sat),
            coin: Sat(settings.loop_coin_sat.unwrap_or(0)),
            delta: blocks(settings.loop_delta_blocks, 288),
            claim_window: blocks(settings.loop_claim_window_blocks, 24),
            refund_window: blocks(settings.loop_refund_window_blocks, refund_window),
            final_confirmations: settings.loop_final_confirmations.unwrap_or(finality),
            funding_window: blocks(settings.loop_funding_blocks, 36),
            in_confirmations: settings.loop_in_confirmations.unwrap_or(3),
            in_max_cltv: blocks(settings.loop_in_max_cltv, 144),
            in_max_unfunded: settings.loop_in_max_unfunded.unwrap_or(5_000),
            coins_first: settings.loop_coins_first.unwrap_or(false),
            in_routing_ppm: settings.loop_in_routing_ppm.unwrap_or(1_000),
        };
        loops.check()?;
        Ok(loops)
    }

    /// What the server keeps of a loop in before its timeout: its payment may be on its way so long, and then it claims.
    pub fn in_claim_window(&self) -> BlockDelta {
        BlockDelta(self.in_max_cltv.0.saturating_add(IN_CLAIM_MARGIN))
    }

    fn check(&self) -> Result<(), ConfigError> {
        let unsound = |key, reason: &str| {
            let reason = reason.to_owned();
            Err(ConfigError::Unsound { key, reason })
        };
        let fees = &self.fees;
        if fees.floor.0 == 0
            || fees.cap < fees.floor
            || !(fees.floor..=fees.cap).contains(&fees.fallback)
        {
            return unsound(
                "bitcoin_fee_floor",
                "must not be 0, nor above `bitcoin_fee_cap`, and `bitcoin_fee_fallback` must lie between them",
            );
        }
        if self.least.0 < LEAST_LOOP.0 || self.most.is_some_and(|most| most < self.least) {
            return unsound(
                "loop_min_sat",
                "must be 5000 at least, for less is eaten by fees, and not above `loop_max_sat`",
            );
        }
        if self.fee_ppm >= 1_000_000 || self.in_routing_ppm >= 1_000_000 {
            return unsound(
                "loop_fee_ppm",
                "and loop_in_routing_ppm must be below 1000000",
            );
        }
        let smallest = [self.claim_window, self.refund_window, self.funding_window];
        if smallest.iter().any(|window| window.0 == 0) || self.in_confirmations == 0 {
            return unsound(
                "loop_claim_window_blocks",
                "and loop_refund_window_blocks, loop_funding_blocks and loop_in_confirmations must be 1 at least",
            );
        }
        if self.in_max_cltv < MIN_TOTAL_CLTV {
            return unsound(
                "loop_in_max_cltv",
                "must be 45 at least: no hold invoice can be paid with less",
            );
        }
        if self.final_confirmations == 0 {
            return unsound(
                "loop_final_confirmations",
                "must be 1 at least: nothing is final before it is in a block",
            );
        }
        // A refund bids all that it may when half of the window is over; from then on it must have time to be final.
        let least = self.final_confirmations.saturating_add(LAPSE_MARGIN.0);
        if self.refund_window.0 / 2 < least {
            return unsound(
                "loop_refund_window_blocks",
                "must be twice `loop_final_confirmations` + 2 at least: a refund could not be final before the payment lapses",
            );
        }
        if self.in_max_unfunded == 0 {
            return unsound(
                "loop_in_max_unfunded",
                "must be 1 at least: no loop in could be made",
            );
        }
        let windows = self
            .in_claim_window()
            .0
            .saturating_add(self.funding_window.0);
        if self.delta.0 <= windows.saturating_add(self.in_confirmations) {
            return unsound(
                "loop_delta_blocks",
                "must be above `loop_in_max_cltv` + 18 + `loop_funding_blocks` + `loop_in_confirmations`: a loop in could not be paid in time",
            );
        }
        Ok(())
    }
}

/// The smallest amount of which fees leave something.
const LEAST_LOOP: Sat = Sat(5_000);

#[cfg(test)]
mod tests {
    use super::*;

    fn of(network: &str, settings: Settings) -> Result<Loops, String> {
        Loops::of(&settings, network).map_err(|error| error.to_string())
    }

    #[test]
    fn where_coins_are_worth_something_more_blocks_make_a_spend_final() {
        for (network, finality, refund) in
            [("mainnet", 6, 18), ("bitcoin", 6, 18), ("regtest", 2, 12)]
        {
            let loops = of(network, Settings::default()).unwrap();
            assert_eq!(loops.final_confirmations, finality, "{network}");
            assert_eq!(loops.refund_window, BlockDelta(refund), "{network}");
        }
        let own = Settings {
            loop_final_confirmations: Some(3),
            ..Settings::default()
        };
        assert_eq!(of("mainnet", own).unwrap().final_confirmations, 3);
    }

    /// What a payment has at the least that LDK draws for one more hop: 84 blocks, of which its node keeps 39.
    #[test]
    fn a_payment_of_one_hop_more_is_long_enough_with_the_defaults() {
        for network in ["mainnet", "regtest"] {
            let loops = of(network, Settings::default()).unwrap();
            let windows = loops.claim_window.0 + loops.refund_window.0;
            assert!(windows <= 84 - 39, "{network}: {windows}");
        }
    }

    #[test]
    fn a_refund_has_time_to_become_final() {
        let with = |finality, window| {
            let settings = Settings {
                loop_final_confirmations: Some(finality),
                loop_refund_window_blocks: Some(window),
                ..Settings::default()
            };
            of("mainnet", settings).map(drop)
        };
        assert_eq!(with(6, 16), Ok(()));
        assert_eq!(with(1, 6), Ok(()));
        for (finality, window, key) in [
            (6, 15, "loop_refund_window_blocks: must be twice"),
            (7, 16, "loop_refund_window_blocks: must be twice"),
            (u32::MAX, 18, "loop_refund_window_blocks: must be twice"),
            (0, 18, "loop_final_confirmations: must be 1"),
        ] {
            let error = with(finality, window).unwrap_err();
            assert!(error.starts_with(key), "{finality}, {window}: {error}");
        }
    }
}
