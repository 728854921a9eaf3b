//! How often scenarios fail, over many runs of them.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::brief::Verdict;
use crate::load::Loaded;
use crate::run_log::AttemptEnded;

/// A try of a scenario, as a table of flakes counts it.
pub type Attempt = AttemptEnded;

/// A scenario over many runs.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Flake {
    pub scenario: String,
    /// Runs that came to an outcome. What was interrupted did not, and what failed as its file says it does says nothing.
    pub runs: usize,
    /// How many of them did not pass, for whatever reason.
    pub failures: usize,
    /// How many of the failures are no verdict on what was tested: the world broke down, or the run was killed.
    pub broken: usize,
    /// The share of failures.
    pub rate: f64,
    /// Between which shares the true one is, with 95 % confidence (Wilson's score interval).
    pub rate_low: f64,
    pub rate_high: f64,
    /// Of the runs that passed, in microseconds; `None` where none did.
    pub median_us: Option<u64>,
    pub slowest_us: Option<u64>,
    /// The median load of the machine before runs that failed, and before those that passed, in thousandths.
    pub load_failed_milli: Option<u64>,
    pub load_passed_milli: Option<u64>,
    /// The latest failure.
    pub last: Option<Attempt>,
}

impl Loaded {
    /// All tries: those that logs tell, and those that have records alone.
    pub fn attempts(&self) -> Vec<Attempt> {
        let mut all = BTreeMap::new();
        let key = |attempt: &Attempt| {
            (
                attempt.scenario.clone(),
                attempt.unix_ms,
                attempt.round,
                attempt.attempt,
                attempt.seed,
            )
        };
        for brief in &self.briefs {
            let attempt = Attempt::of(brief, false);
            all.insert(key(&attempt), attempt);
        }
        // A log knows more: what is a known failure.
        for attempt in self.logs.iter().flat_map(|log| &log.attempts) {
            all.insert(key(attempt), attempt.clone());
        }
        all.into_values().collect()
    }
}

/// A line for each scenario of `attempts`, the one that fails most often first.
pub fn flakes<'a>(attempts: impl IntoIterator<Item = &'a Attempt>) -> Vec<Flake> {
    let mut by_scenario: BTreeMap<&str, Vec<&Attempt>> = BTreeMap::new();
    for attempt in attempts {
        if attempt.verdict != Verdict::Interrupted && !attempt.known {
            let of_scenario = by_scenario.entry(&attempt.scenario).or_default();
            of_scenario.push(attempt);
        }
    }
    let mut flakes: Vec<Flake> = by_scenario
        .into_iter()
        .map(|(scenario, attempts)| flake(scenario, &attempts))
        .collect();
    flakes.sort_by(|one, other| {
        let rate = other.rate.total_cmp(&one.rate);
        rate.then(other.failures.cmp(&one.failures))
            .then_with(|| one.scenario.cmp(&other.scenario))
    });
    flakes
}

fn flake(scenario: &str, attempts: &[&Attempt]) -> Flake {
    let (passed, failed): (Vec<&Attempt>, Vec<&Attempt>) = attempts
        .iter()
        .partition(|attempt| attempt.verdict == Verdict::Passed);
    let broken = |attempt: &&&Attempt| attempt.verdict != Verdict::Failed;
    let (rate_low, rate_high) = wilson(failed.len(), attempts.len());
    let took = || passed.iter().map(|attempt| attempt.took_us);
    let load = |attempts: &[&Attempt]| {
        median(
            attempts
                .iter()
                .filter_map(|attempt| attempt.load_milli)
                .collect(),
        )
    };
    Flake {
        scenario: scenario.to_owned(),
        runs: attempts.len(),
        failures: failed.len(),
        broken: failed.iter().filter(broken).count(),
        rate: failed.len() as f64 / attempts.len().max(1) as f64,
        rate_low,
        rate_high,
        median_us: median(took().collect()),
        slowest_us: took().max(),
        load_failed_milli: load(&failed),
        load_passed_milli: load(&passed),
        last: failed
            .iter()
            .max_by_key(|attempt| (attempt.unix_ms, attempt.round))
            .map(|attempt| (*attempt).clone()),
    }
}

/// Wilson's score interval of `failures` in `runs` with 95 % confidence (E. B. Wilson, "Probable inference, the law of
/// succession, and statistical inference", 1927). Unlike the usual one it says something for few runs, and for no failure.
fn wilson(failures: usize, runs: usize) -> (f64, f64) {
    const Z: f64 = 1.959_964;
    if runs == 0 {
        return (0.0, 1.0);
    }
    let n = runs as f64;
    let rate = failures as f64 / n;
    let z2 = Z * Z / n;
    let middle = (rate + z2 / 2.0) / (1.0 + z2);
    let half = Z / (1.0 + z2) * (rate * (1.0 - rate) / n + z2 / (4.0 * n)).sqrt();
    ((middle - half).max(0.0), (middle + half).min(1.0))
}

fn median(mut values: Vec<u64>) -> Option<u64> {
    values.sort_unstable();
    let upper = *values.get(values.len() / 2)?;
    match values.len() % 2 {
        0 => Some(u64::midpoint(*values.get(values.len() / 2 - 1)?, upper)),
        _ => Some(upper),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attempt(scenario: &str, at: u64, verdict: Verdict) -> Attempt {
        Attempt {
            scenario: scenario.to_owned(),
            round: 1,
            attempt: 1,
            seed: at,
            unix_ms: at,
            verdict,
            known: false,
            took_us: at * 1_000,
            load_milli: Some(at * 10),
            failure: (verdict != Verdict::Passed).then(|| format!("failure {at}")),
        }
    }

    #[test]
    fn intervals_are_those_of_the_tables() {
        // Values of statsmodels' proportion_confint(…, method="wilson").
        for (failures, runs, low, high) in [
            (0, 10, 0.0, 0.277_533),
            (1, 10, 0.017_876, 0.404_150),
            (5, 10, 0.236_593, 0.763_407),
            (10, 10, 0.722_467, 1.0),
            (0, 1, 0.0, 0.793_450),
            (3, 1_000, 0.001_021, 0.008_784),
            (0, 0, 0.0, 1.0),
        ] {
            let found = wilson(failures, runs);
            let close = |one: f64, other: f64| (one - other).abs() < 1e-5;
            assert!(
                close(found.0, low) && close(found.1, high),
                "{failures}/{runs}: {found:?}"
            );
        }
    }

    #[test]
    fn the_worst_come_first_with_their_latest_failure() {
        use Verdict::{Broken, Cut, Failed, Interrupted, Passed};
        let mut known = attempt("known", 1, Failed);
        known.known = true;
        let attempts = [
            attempt("never", 4, Passed),
            attempt("often", 1, Failed),
            attempt("often", 3, Broken),
            attempt("often", 2, Passed),
            attempt("rare", 1, Passed),
            attempt("rare", 2, Passed),
            attempt("rare", 3, Passed),
            attempt("rare", 9, Cut),
            attempt("rare", 10, Interrupted),
            known,
        ];
        let table = flakes(&attempts);
        let lines: Vec<(&str, usize, usize, usize)> = table
            .iter()
            .map(|flake| {
                (
                    flake.scenario.as_str(),
                    flake.runs,
                    flake.failures,
                    flake.broken,
                )
            })
            .collect();
        let expected = [("often", 3, 2, 1), ("rare", 4, 1, 1), ("never", 1, 0, 0)];
        assert_eq!(lines, expected);
        let last = |at: usize| table[at].last.as_ref().map(|last| last.seed);
        assert_eq!((last(0), last(1), last(2)), (Some(3), Some(9), None));
        assert_eq!(table[1].median_us, Some(2_000));
        assert_eq!(table[1].slowest_us, Some(3_000));
        assert_eq!(table[0].load_failed_milli, Some(20));
        assert_eq!(table[0].load_passed_milli, Some(20));
    }
}
