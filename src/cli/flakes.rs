//! How often scenarios fail, as a table.

use std::fmt::Write as _;

use swaprig_report::{Flake, utc};

/// The table, and below it the latest failure of each scenario that has one.
pub(super) fn table(flakes: &[Flake]) -> String {
    let names = flakes.iter().map(|flake| flake.scenario.chars().count());
    let width = names.max().unwrap_or(0).max("scenario".len());
    let mut text = format!(
        "{:<width$}  {:>5}  {:>6}  {:>6}  {:>12}  {:>8}  {:>8}  {:>11}",
        "scenario", "runs", "failed", "rate", "95 % within", "median", "slowest", "load ✗ / ✓"
    );
    for flake in flakes {
        let within = format!("{}–{} %", percent(flake.rate_low), percent(flake.rate_high));
        let load = format!(
            "{} / {}",
            load(flake.load_failed_milli),
            load(flake.load_passed_milli)
        );
        let _ = write!(
            text,
            "\n{:<width$}  {:>5}  {:>6}  {:>6}  {within:>12}  {:>8}  {:>8}  {load:>11}",
            flake.scenario,
            flake.runs,
            flake.failures,
            format!("{} %", percent(flake.rate)),
            seconds(flake.median_us),
            seconds(flake.slowest_us),
        );
    }
    for flake in flakes {
        let Some(last) = &flake.last else { continue };
        let when = utc(last.unix_ms);
        let why = last.failure.as_deref().unwrap_or("no reason was recorded");
        let _ = write!(
            text,
            "\n{}: last failed {when}, seed {}, {}: {why}",
            flake.scenario,
            last.seed,
            last.verdict.word()
        );
        if flake.broken > 0 {
            let (broken, failures) = (flake.broken, flake.failures);
            let _ = write!(
                text,
                "\n  {broken} of {failures} failures are no verdict on what was tested: the world broke down"
            );
        }
    }
    text
}

/// A share in percent; below ten with a tenth, so that rare failures can be told apart.
fn percent(share: f64) -> String {
    let percent = share * 100.0;
    match percent {
        0.0 => "0".to_owned(),
        percent if percent < 9.95 => format!("{percent:.1}"),
        percent => format!("{percent:.0}"),
    }
}

fn seconds(us: Option<u64>) -> String {
    us.map_or("–".to_owned(), |us| format!("{:.2} s", us as f64 / 1e6))
}

fn load(milli: Option<u64>) -> String {
    milli.map_or("–".to_owned(), |milli| {
        format!("{:.1}", milli as f64 / 1e3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use swaprig_report::{Attempt, Verdict};

    #[test]
    fn the_table_tells_rate_times_load_and_the_last_failure() {
        let attempt = |at: u64, verdict| Attempt {
            scenario: "a/b".to_owned(),
            round: 1,
            attempt: 1,
            seed: at,
            unix_ms: 1_767_225_600_000 + at,
            verdict,
            known: false,
            took_us: 1_500_000,
            load_milli: Some(700),
            failure: (verdict != Verdict::Passed).then(|| "boom".to_owned()),
        };
        let mut attempts: Vec<Attempt> = (0..9).map(|at| attempt(at, Verdict::Passed)).collect();
        attempts.push(attempt(9, Verdict::Broken));
        let table = table(&swaprig_report::flakes(&attempts));
        let expected = "\
scenario   runs  failed    rate   95 % within    median   slowest   load ✗ / ✓
a/b          10       1    10 %      1.8–40 %    1.50 s    1.50 s    0.7 / 0.7
a/b: last failed 2026-01-01 00:00:00 UTC, seed 9, broken: boom
  1 of 1 failures are no verdict on what was tested: the world broke down";
        assert_eq!(table, expected);
    }
}
