//! What a transaction should pay: an estimate, kept within bounds.

use std::time::Duration;

use serde_json::Value;

use super::settings::BitcoinFees;
use crate::swap::FeeRate;

/// How long the service may take before the source is asked instead.
const WITHIN: Duration = Duration::from_secs(3);
/// Longest answer of the service, in bytes.
const LONGEST: u64 = 64 << 10;

impl BitcoinFees {
    /// `estimate`, not below the floor nor above the cap; the fallback when there is none.
    pub fn bounded(&self, estimate: Option<FeeRate>) -> FeeRate {
        let rate = estimate.unwrap_or(self.fallback);
        // When they contradict, the cap holds: it is what protects the money.
        FeeRate(rate.0.max(self.floor.0).min(self.cap.0))
    }
}

/// Asks the service at `base` what to pay for one of the next `blocks` blocks. Blocking.
pub(super) fn recommended(base: &str, blocks: u32) -> Result<FeeRate, String> {
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .timeout_global(Some(WITHIN))
        .build()
        .into();
    let url = format!("{}/api/v1/fees/recommended", base.trim_end_matches('/'));
    let mut answer = agent.get(&url).call().map_err(|error| error.to_string())?;
    let text = answer
        .body_mut()
        .with_config()
        .limit(LONGEST)
        .read_to_string();
    read(&text.map_err(|error| error.to_string())?, blocks)
}

/// Reads the answer: satoshi per virtual byte for different kinds of patience.
fn read(text: &str, blocks: u32) -> Result<FeeRate, String> {
    let said: Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
    let name = match blocks {
        0..=1 => "fastestFee",
        2..=3 => "halfHourFee",
        4..=6 => "hourFee",
        _ => "economyFee",
    };
    let rate = said.get(name).and_then(Value::as_f64);
    let rate = rate.filter(|rate| *rate > 0.0 && *rate < 1e9);
    let rate = rate.ok_or_else(|| format!("no `{name}` in {text}"))?;
    // Three decimals are exact in satoshi per 1,000 virtual bytes.
    let text = format!("{rate:.3}").replace('.', "");
    text.parse()
        .map(FeeRate)
        .map_err(|_| format!("no rate: {rate}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_recommendation_is_read_exactly_and_nonsense_is_none() {
        let text =
            r#"{"fastestFee":12,"halfHourFee":7.5,"hourFee":3,"economyFee":0.101,"minimumFee":1}"#;
        for (blocks, wanted) in [(1, 12_000), (3, 7_500), (6, 3_000), (144, 101)] {
            assert_eq!(read(text, blocks), Ok(FeeRate(wanted)));
        }
        for bad in [
            "",
            "{}",
            r#"{"fastestFee":0}"#,
            r#"{"fastestFee":"5"}"#,
            r#"{"fastestFee":1e12}"#,
        ] {
            assert!(read(bad, 1).is_err(), "{bad}");
        }
    }

    #[test]
    fn an_estimate_is_kept_between_floor_and_cap() {
        let fees = BitcoinFees {
            floor: FeeRate(1_000),
            cap: FeeRate(9_000),
            fallback: FeeRate(5_000),
            ..BitcoinFees::default()
        };
        for (estimate, wanted) in [
            (None, 5_000),
            (Some(1), 1_000),
            (Some(20_000), 9_000),
            (Some(7_001), 7_001),
        ] {
            assert_eq!(fees.bounded(estimate.map(FeeRate)), FeeRate(wanted));
        }
    }
}
