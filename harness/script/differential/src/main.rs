//! `swaprig-script-differential [--cases N] [--seed S] [--break OPCODE]`: random spends, both interpreters, one verdict.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::Instant;

use swaprig_script::{ScriptError, planted};
use swaprig_script_differential::compare::Case;
use swaprig_script_differential::generate;

const USAGE: &str = "usage: swaprig-script-differential [--cases N] [--seed S] [--break OPCODE]
  --cases N       how many spends to compare (default 100000)
  --seed S        the first case's number (default: random, and printed)
  --break OPCODE  plant a bug in this opcode, 0 to 255 or 0xNN: the run must then fail";

/// How many disagreements are printed before the run gives up.
const PRINTED: usize = 3;

struct Options {
    cases: u64,
    seed: u64,
    broken: Option<u8>,
}

fn main() -> ExitCode {
    let options = match parse(std::env::args().skip(1)) {
        Ok(options) => options,
        Err(message) => {
            eprintln!("{message}\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    if let Some(op) = options.broken {
        planted::break_opcode(op);
        println!("planted a bug in opcode {op:#04x}");
    }
    println!("seed {}, {} cases", options.seed, options.cases);
    let started = Instant::now();
    let threads = std::thread::available_parallelism().map_or(1, |n| n.get() as u64);
    let tallies: Vec<Tally> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|worker| {
                let options = &options;
                scope.spawn(move || run(options, worker, threads))
            })
            .collect();
        workers
            .into_iter()
            .map(|worker| {
                worker
                    .join()
                    .expect("a worker panicked; its message is above")
            })
            .collect()
    });
    let mut total = Tally::default();
    for tally in tallies {
        total.add(tally);
    }
    total.print(started.elapsed().as_secs_f64());
    match total.disagreements.is_empty() {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}

fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Options, String> {
    let mut options = Options {
        cases: 100_000,
        seed: fastrand::u64(..1 << 48),
        broken: None,
    };
    while let Some(name) = arguments.next() {
        let value = arguments
            .next()
            .ok_or_else(|| format!("{name} needs a value"))?;
        let bad = |_| format!("{name}: {value:?} is not a number that fits");
        match name.as_str() {
            "--cases" => options.cases = value.parse().map_err(bad)?,
            "--seed" => options.seed = value.parse().map_err(bad)?,
            "--break" => {
                let op = match value.strip_prefix("0x") {
                    Some(hex) => u8::from_str_radix(hex, 16),
                    None => value.parse(),
                };
                options.broken = Some(op.map_err(bad)?);
            }
            _ => return Err(format!("unknown option {name}")),
        }
    }
    Ok(options)
}

#[derive(Default)]
struct Tally {
    /// Accepted and rejected, by kind of spend.
    verdicts: BTreeMap<&'static str, [u64; 2]>,
    reasons: BTreeMap<String, u64>,
    disagreements: Vec<String>,
}

fn run(options: &Options, worker: u64, workers: u64) -> Tally {
    let mut tally = Tally::default();
    let mut number = worker;
    while number < options.cases && tally.disagreements.len() < PRINTED {
        let seed = options.seed.wrapping_add(number);
        tally.check(seed, &generate::case(seed));
        number += workers;
    }
    tally
}

impl Tally {
    fn check(&mut self, seed: u64, case: &Case) {
        match case.compare() {
            Ok(verdict) => self.count(case.kind, verdict),
            Err(found) => self.disagreements.push(format!(
                "seed {seed}: Core says {}, this interpreter {:?}\n  {}",
                if found.core { "valid" } else { "invalid" },
                found.ours,
                case.describe()
            )),
        }
    }

    fn count(&mut self, kind: &'static str, verdict: Result<(), ScriptError>) {
        let counts = self.verdicts.entry(kind).or_default();
        counts[usize::from(verdict.is_err())] += 1;
        if let Err(reason) = verdict {
            *self.reasons.entry(reason.to_string()).or_default() += 1;
        }
    }

    fn add(&mut self, other: Tally) {
        for (kind, counts) in other.verdicts {
            let sum = self.verdicts.entry(kind).or_default();
            sum[0] += counts[0];
            sum[1] += counts[1];
        }
        for (reason, count) in other.reasons {
            *self.reasons.entry(reason).or_default() += count;
        }
        self.disagreements.extend(other.disagreements);
    }

    fn print(&self, seconds: f64) {
        let mut sums = [0, 0];
        for (kind, [accepted, rejected]) in &self.verdicts {
            println!("{kind:16} {accepted:>9} accepted {rejected:>9} rejected");
            sums[0] += accepted;
            sums[1] += rejected;
        }
        let all = (sums[0] + sums[1]).max(1);
        println!(
            "{:16} {:>9} accepted {:>9} rejected: {}% accepted, {seconds:.0} s",
            "all",
            sums[0],
            sums[1],
            sums[0] * 100 / all
        );
        for (reason, count) in &self.reasons {
            println!("{count:>9} {reason}");
        }
        for disagreement in self.disagreements.iter().take(PRINTED) {
            println!("DISAGREEMENT {disagreement}");
        }
        println!("{} disagreements", self.disagreements.len());
    }
}
