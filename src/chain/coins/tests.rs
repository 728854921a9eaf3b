use elements::confidential::{AssetBlindingFactor, ValueBlindingFactor};
use elements::{Script, Txid};
use lwk_wollet::{Chain, Network};
use proptest::prelude::*;
use swaprig_units::{BlockDelta, Msat, PaymentHash};

use super::*;
use crate::chain::fan_out::{self, Split};
use crate::chain::funding::{explicit, unsigned};
use crate::chain::keys::Keys;
use crate::chain::seed::Seed;
use crate::swap::{ChainName, Direction, FeeRate, Terms};

const WORDS: &str =
    "abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon about";

fn lbtc() -> AssetId {
    *Network::default_regtest().policy_asset()
}

fn gold() -> AssetId {
    AssetId::from_byte_array([9; 32])
}

/// A confirmed explicit coin.
pub(crate) fn coin(number: u8, asset: AssetId, value: u64) -> Coin {
    let outpoint = OutPoint::new(Txid::from_byte_array([number; 32]), u32::from(number));
    let script = Script::from([&[0x51, 0x20], [7; 32].as_slice()].concat());
    let zero = (AssetBlindingFactor::zero(), ValueBlindingFactor::zero());
    Coin {
        outpoint,
        asset,
        value: Units(value),
        explicit: true,
        height: Some(Height(1)),
        path: KeyPath {
            chain: Chain::External,
            index: u32::from(number),
        },
        output: explicit(asset, value, script),
        secrets: TxOutSecrets::new(asset, zero.0, value, zero.1),
    }
}

fn needs(asset: AssetId, amount: u64, fee_value: u64) -> Needs {
    Needs {
        asset,
        amount: Units(amount),
        fee_value: Sat(fee_value),
        policy_asset: lbtc(),
        fees: FeePolicy::default(),
    }
}

fn terms(needs: &Needs) -> Terms {
    let secp = bitcoin::secp256k1::Secp256k1::new();
    let key = bitcoin::secp256k1::SecretKey::from_slice(&[5; 32])
        .unwrap()
        .public_key(&secp);
    Terms {
        chain: ChainName::Liquid,
        direction: Direction::Out,
        asset: needs.asset.into(),
        amount: needs.amount,
        fee_value: needs.fee_value,
        price: Msat(1),
        prepay: Msat(0),
        payment_hash: PaymentHash([1; 32]),
        claimer: key,
        refunder: key,
        timeout: Height(100),
        claim_window: BlockDelta(1),
        min_confirmations: 1,
        funding_window: BlockDelta(1),
        made_at: Height(1),
        refund_window: BlockDelta(0),
        finality: 0,
        internal: None,
        routing: None,
    }
}

fn chosen(coins: &[Coin], needs: &Needs) -> Vec<u64> {
    let selection = select(coins, needs, &HashSet::new()).unwrap();
    let mut values: Vec<u64> = selection.coins.iter().map(|coin| coin.value.0).collect();
    values.sort_unstable();
    values
}

#[test]
fn one_coin_is_taken_rather_than_two_and_the_smallest_that_will_do() {
    let coins: Vec<Coin> = [(1, 1_000), (2, 80_000), (3, 90_000), (4, 500_000)]
        .map(|(number, value)| coin(number, lbtc(), value))
        .to_vec();
    assert_eq!(chosen(&coins, &needs(lbtc(), 60_000, 0)), [80_000]);
    assert_eq!(chosen(&coins, &needs(lbtc(), 85_000, 0)), [90_000]);
    assert_eq!(
        chosen(&coins, &needs(lbtc(), 510_000, 0)),
        [80_000, 500_000]
    );
    // 80,000 would leave a rest that is not worth an output; 90,000 does not.
    assert_eq!(chosen(&coins, &needs(lbtc(), 79_800, 0)), [90_000]);
}

#[test]
fn a_coin_that_fits_exactly_gives_no_change() {
    let size = FundingSize {
        inputs: 1,
        ..FundingSize::new(false)
    };
    let fee = FeeRate::MIN_RELAY.fee(size.vsize()).0;
    let coins = [
        coin(1, lbtc(), 60_000),
        coin(2, lbtc(), 50_000 + fee),
        coin(3, lbtc(), 90_000),
    ];
    let selection = select(&coins, &needs(lbtc(), 50_000, 0), &HashSet::new()).unwrap();
    assert_eq!(
        (selection.coins[0].value.0, selection.change, selection.fee),
        (50_000 + fee, vec![], Sat(fee))
    );
}

#[test]
fn a_shortage_says_what_there_is_elsewhere() {
    let mut coins = vec![
        coin(1, gold(), 5),
        coin(2, gold(), 6),
        coin(3, gold(), 7),
        coin(4, gold(), 8),
    ];
    coins[0].height = None;
    coins[1].explicit = false;
    let reserved = HashSet::from([coins[2].outpoint]);
    let short = select(&coins, &needs(gold(), 9, 100), &reserved).unwrap_err();
    let wanted = Shortage {
        asset: gold().into(),
        wanted: Units(9),
        available: Units(8),
        elsewhere: Units(18),
    };
    assert_eq!(short, wanted);
    let short = select(&coins, &needs(gold(), 8, 100), &reserved).unwrap_err();
    assert_eq!((short.asset, short.available), (lbtc().into(), Units(0)));
    assert!(
        short.wanted > Units(100),
        "the fee is wanted, too: {}",
        short.wanted
    );
}

/// Coins of both assets, some of them of no use; distinct outpoints.
fn some_coins() -> impl Strategy<Value = (Vec<Coin>, HashSet<OutPoint>)> {
    let one = (any::<bool>(), 1..200_000_u64, 0..10_u8);
    proptest::collection::vec(one, 0..24).prop_map(|all| {
        let mut reserved = HashSet::new();
        let mut coins = Vec::new();
        for (number, (is_lbtc, value, fate)) in (0..).zip(all) {
            let mut made = coin(number, if is_lbtc { lbtc() } else { gold() }, value);
            match fate {
                0 => made.height = None,
                1 => made.explicit = false,
                2 => drop(reserved.insert(made.outpoint)),
                _ => {}
            }
            coins.push(made);
        }
        (coins, reserved)
    })
}

fn sums(coins: &[Coin], asset: AssetId) -> u64 {
    coins
        .iter()
        .filter(|coin| coin.asset == asset)
        .map(|coin| coin.value.0)
        .sum()
}

/// What the largest `count` usable coins of `asset` hold.
fn largest(coins: &[Coin], reserved: &HashSet<OutPoint>, asset: AssetId, count: usize) -> u64 {
    let mut values: Vec<u64> = coins
        .iter()
        .filter(|coin| {
            coin.asset == asset && coin.is_usable() && !reserved.contains(&coin.outpoint)
        })
        .map(|coin| coin.value.0)
        .collect();
    values.sort_unstable_by(|a, b| b.cmp(a));
    values.iter().take(count).sum()
}

#[test]
fn coins_that_were_chosen_before_are_found_again_or_said_to_be_gone() {
    let coins = [coin(1, lbtc(), 80_000), coin(2, lbtc(), 90_000)];
    let needs = needs(lbtc(), 60_000, 0);
    let chosen: HashSet<OutPoint> = [coins[1].outpoint].into();
    assert_eq!(
        reselect(&coins, &needs, &chosen).unwrap().coins,
        [coins[1].clone()]
    );
    assert_eq!(
        reselect(&coins[..1], &needs, &chosen),
        Err(Reselect::Gone(coins[1].outpoint))
    );
    let more = Needs {
        amount: Units(90_000),
        ..needs
    };
    assert_eq!(reselect(&coins, &more, &chosen), Err(Reselect::TooLittle));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn a_selection_is_sound_and_small(
        (coins, reserved) in some_coins(),
        is_lbtc: bool,
        amount in 1..400_000_u64,
        fee_value in 1..2_000_u64,
    ) {
        let needs = if is_lbtc { needs(lbtc(), amount, 0) } else { needs(gold(), amount, fee_value) };
        let locked = if is_lbtc { amount } else { fee_value };
        match select(&coins, &needs, &reserved) {
            Ok(selection) => {
                for coin in &selection.coins {
                    prop_assert!(!reserved.contains(&coin.outpoint) && coin.is_usable() && coins.contains(coin));
                }
                let distinct: HashSet<_> = selection.outpoints().collect();
                prop_assert_eq!(distinct.len(), selection.coins.len());
                prop_assert_eq!(reselect(&coins, &needs, &distinct), Ok(selection.clone()));
                let change = |asset| -> u64 {
                    selection.change.iter().filter(|(own, _)| *own == asset).map(|(_, value)| value.0).sum()
                };
                prop_assert_eq!(sums(&selection.coins, lbtc()), locked + change(lbtc()) + selection.fee.0);
                if !is_lbtc {
                    prop_assert_eq!(sums(&selection.coins, gold()), amount + change(gold()));
                    let count = selection.coins.iter().filter(|coin| coin.asset == gold()).count();
                    prop_assert!(largest(&coins, &reserved, gold(), count - 1) < amount, "fewer would do");
                }
                prop_assert!(selection.change.iter().all(|(_, value)| value.0 > 0));
                prop_assert!(change(lbtc()) == 0 || change(lbtc()) >= needs.fees.dust.0);
                let count = selection.coins.iter().filter(|coin| coin.asset == lbtc()).count();
                let fewer = largest(&coins, &reserved, lbtc(), count - 1);
                prop_assert!(fewer < locked + selection.fee.0, "fewer would do");
                // What it pays is right for what it becomes, once it is signed.
                let keys = Keys::new(&Seed::parse(WORDS).unwrap(), Network::default_regtest());
                let mut transaction = unsigned(&selection, &terms(&needs), 3, &coins[0].output.script_pubkey, lbtc());
                keys.sign(&mut transaction, &selection.coins);
                let least = needs.fees.rate.fee(transaction.vsize()).0;
                let most = least + needs.fees.dust.0 + needs.fees.rate.fee(OUTPUT_VSIZE).0;
                prop_assert!((least..=most).contains(&selection.fee.0), "{} for {least}", selection.fee.0);
                if change(lbtc()) > 0 {
                    prop_assert_eq!(selection.fee.0, least);
                }
            }
            Err(short) => {
                let all = |asset| largest(&coins, &reserved, asset, usize::MAX);
                prop_assert_eq!(short.available.0, all(short.asset.on_liquid()));
                prop_assert!(short.wanted > short.available);
                prop_assert_eq!(short.available.0 + short.elsewhere.0, sums(&coins, short.asset.on_liquid()));
            }
        }
    }

    #[test]
    fn the_order_of_the_coins_does_not_matter((coins, reserved) in some_coins(), amount in 1..200_000_u64) {
        let needs = needs(lbtc(), amount, 0);
        let reversed: Vec<Coin> = coins.iter().rev().cloned().collect();
        prop_assert_eq!(select(&coins, &needs, &reserved), select(&reversed, &needs, &reserved));
    }

    #[test]
    fn a_fan_out_makes_what_was_asked_for_and_balances(
        values in proptest::collection::vec((any::<bool>(), 5_000..400_000_u64), 1..6),
        count in 1..12_usize,
        size in 1_000..90_000_u64,
    ) {
        let coins: Vec<Coin> = (0..).zip(values).map(|(number, (is_lbtc, value))| {
            coin(number, if is_lbtc { lbtc() } else { gold() }, value)
        }).collect();
        let splits = [lbtc(), gold()].map(|asset| Split { asset, count, size: Units(size) });
        let to = Script::from([&[0x51, 0x20], [7; 32].as_slice()].concat());
        let rest = elements::Address::from_script(&to, None, &elements::AddressParams::ELEMENTS).unwrap();
        let Ok(made) = fan_out::unsigned(coins.clone(), &splits, &to, &rest, lbtc(), FeePolicy::default()) else {
            // No L-BTC for the fee, or not enough for anything.
            prop_assert!(sums(&coins, lbtc()) < 1_000 + size || sums(&coins, lbtc()) == 0);
            return Ok(());
        };
        let outputs = &made.transaction.output;
        for asset in [lbtc(), gold()] {
            let of_it = outputs.iter().filter(|output| output.asset.explicit() == Some(asset));
            let sum: u64 = of_it.map(|output| output.value.explicit().unwrap()).sum();
            prop_assert_eq!(sum, sums(&coins, asset));
            let whole = outputs.iter().filter(|output| {
                output.asset.explicit() == Some(asset) && output.value.explicit() == Some(size) && !output.is_fee()
            });
            prop_assert!(whole.count() <= count + 1);
        }
        prop_assert!(made.pieces <= 2 * count);
        prop_assert!(made.pieces > 0);
    }
}

/// Virtual bytes of an output of change.
const OUTPUT_VSIZE: usize = super::super::size::OUTPUT.div_ceil(4);
