//! `swaprig conformance`: the bundled Liquid daemons and upstream's, asked the same questions.

use clap::{Args, ValueEnum};
use serde_json::{Value, json};
use swaprig_conformance::known::KNOWN;
use swaprig_conformance::report::{Difference, differences, is_good, stale, unmet};
use swaprig_conformance::run::run_cases;
use swaprig_conformance::start::Programs;
use swaprig_conformance::transcript::Transcript;
use swaprig_conformance::trial::CaseRun;
use swaprig_conformance::{Case, all};
use swaprig_harness::binary::{Kind, Passport, Stderr};
use swaprig_harness::run_dir::RunDir;

use super::exit::complain;
use super::{DaemonFlags, Exit, RunDirFlags, runtime};

/// How many places of a known difference are shown.
const SHOWN: usize = 3;
/// Columns of a value that stands beside another one.
const VALUE_WIDTH: usize = 96;

#[derive(Debug, Args)]
pub(super) struct ConformanceArgs {
    /// Ask only one kind; without it the bundled daemons and, where they are found, upstream's
    #[arg(long, value_name = "KIND")]
    only: Option<Only>,
    /// Only the cases whose name contains this
    #[arg(short = 'k', value_name = "NAME")]
    name: Option<String>,
    /// Fail when there are no upstream daemons
    #[arg(long)]
    require_all: bool,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    daemons: DaemonFlags,
    #[command(flatten)]
    run_dir: RunDirFlags,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Only {
    /// Ours
    Bundled,
    /// Elements Core and Blockstream's electrs
    Upstream,
}

/// What the daemons of one kind said.
struct Asked {
    kind: Kind,
    passport: Passport,
    runs: Vec<CaseRun>,
}

pub(super) fn conformance(args: &ConformanceArgs) -> Exit {
    let name = args.name.as_deref().unwrap_or_default();
    let cases: Vec<Case> = all()
        .into_iter()
        .filter(|case| case.name.contains(name))
        .collect();
    if cases.is_empty() {
        eprintln!("swaprig: no case has `{name}` in its name");
        return Exit::Nothing;
    }
    let found = match programs(args) {
        Ok(found) => found,
        Err(exit) => return exit,
    };
    let place = args.run_dir.settings();
    let dir = match RunDir::numbered(&place.base, place.keep) {
        Ok(dir) => dir,
        Err(error) => {
            complain(&error);
            return Exit::Environment;
        }
    };
    let passport: Passport = found
        .iter()
        .flat_map(|programs| [&programs.node, &programs.index])
        .collect();
    if !args.json {
        println!("{passport}");
    }
    let mut asked = Vec::new();
    for programs in &found {
        let own = dir.path().join(programs.kind().to_string());
        let told = |run: &CaseRun| {
            if !args.json {
                tell(programs.kind(), run);
            }
        };
        match runtime().block_on(run_cases(programs, &cases, &own, told)) {
            Ok(runs) => asked.push(Asked {
                kind: programs.kind(),
                passport: programs.passport(),
                runs,
            }),
            Err(stop) => {
                complain(&stop);
                eprintln!("swaprig: the logs are in {}", dir.path().display());
                return Exit::Environment;
            }
        }
    }
    let compared = Compared::new(&asked);
    match args.json {
        true => println!("{:#}", compared.json(&passport, &asked)),
        false => compared.print(&asked),
    }
    if compared.is_good(&asked) {
        dir.succeed();
        return Exit::Passed;
    }
    eprintln!("swaprig: the logs are in {}", dir.path().display());
    Exit::Failed
}

/// The daemons of each kind that is asked for.
fn programs(args: &ConformanceArgs) -> Result<Vec<Programs>, Exit> {
    let settings = args.daemons.settings();
    let find = |kind| Programs::find(kind, &settings, &Stderr::default());
    let mut all = Vec::new();
    if args.only != Some(Only::Upstream) {
        all.push(find(Kind::Bundled).map_err(|error| {
            complain(&*error);
            Exit::Environment
        })?);
    }
    if args.only != Some(Only::Bundled) {
        match find(Kind::Upstream) {
            Ok(programs) => all.push(programs),
            Err(error) if args.require_all || args.only == Some(Only::Upstream) => {
                complain(&*error);
                return Err(Exit::Environment);
            }
            Err(_) => eprintln!(
                "SKIPPED upstream: no elementsd with an electrs for Liquid was found; compared with what was recorded \
                 of {}",
                Transcript::recorded().passport
            ),
        }
    }
    Ok(all)
}

fn tell(kind: Kind, run: &CaseRun) {
    let verdict = if is_good(kind, run) { "PASS" } else { "FAIL" };
    let (count, took) = (run.seen.len(), run.took.as_secs_f64() * 1000.0);
    println!(
        "{verdict} {kind:<8} {:<26} {count:>4} observations, {took:.0} ms",
        run.name
    );
    for unmet in unmet(kind, run) {
        println!("     {}", unmet.label);
        println!("       saw       {}", clip(&unmet.saw));
        println!("       expected  {}", clip(&unmet.expected));
    }
    if let Some(why) = &run.stopped {
        println!("     it could not go on: {why}");
    }
}

/// Bundled daemons beside upstream's, or beside what was recorded of them.
struct Compared {
    /// What stands for upstream's; `None`: nothing was compared.
    reference: Option<String>,
    differences: Vec<Difference>,
    stale: Vec<String>,
}

impl Compared {
    fn new(asked: &[Asked]) -> Self {
        let of = |kind| {
            let asked = asked.iter().find(|asked| asked.kind == kind)?;
            Some(Transcript::of(asked.passport.to_string(), &asked.runs))
        };
        let Some(bundled) = of(Kind::Bundled) else {
            return Compared {
                reference: None,
                differences: Vec::new(),
                stale: Vec::new(),
            };
        };
        let (upstream, reference) = match of(Kind::Upstream) {
            Some(upstream) => {
                let reference = upstream.passport.clone();
                (upstream, reference)
            }
            None => {
                let recorded = Transcript::recorded().clone();
                let reference = format!("{} as recorded", recorded.passport);
                (recorded, reference)
            }
        };
        let found = differences(&bundled, &upstream);
        let stale = stale(&bundled, &upstream, &found);
        let stale = stale
            .iter()
            .map(|(known, case, label)| format!("{} ({case}: {label})", known.what));
        Compared {
            reference: Some(reference),
            stale: stale.collect(),
            differences: found,
        }
    }

    fn new_ones(&self) -> impl Iterator<Item = &Difference> {
        self.differences.iter().filter(|one| one.known.is_none())
    }

    fn is_good(&self, asked: &[Asked]) -> bool {
        let all = asked
            .iter()
            .all(|asked| asked.runs.iter().all(|run| is_good(asked.kind, run)));
        all && self.new_ones().next().is_none() && self.stale.is_empty()
    }

    fn print(&self, asked: &[Asked]) {
        if let Some(reference) = &self.reference {
            let (all, new) = (self.differences.len(), self.new_ones().count());
            println!(
                "\nbundled beside {reference}: {} known differences, {new} others",
                all - new
            );
        }
        for known in KNOWN {
            let here = self
                .differences
                .iter()
                .filter(|one| one.known == Some(known));
            let here: Vec<&Difference> = here.collect();
            if here.is_empty() {
                continue;
            }
            println!("known  {} ({} places)", known.what, here.len());
            here.iter().take(SHOWN).for_each(|one| show(one));
            if here.len() > SHOWN {
                println!("     … and {} more; --json has all", here.len() - SHOWN);
            }
        }
        for one in self.new_ones() {
            println!("DIFFERS");
            show(one);
        }
        for gone in &self.stale {
            println!(
                "GONE   {gone} differs no more; take it out of the table of known differences"
            );
        }
        let runs = || {
            asked
                .iter()
                .flat_map(|asked| asked.runs.iter().map(move |run| (asked.kind, run)))
        };
        let failed = runs().filter(|(kind, run)| !is_good(*kind, run)).count();
        println!("\n{} cases run, {failed} failed", runs().count());
    }

    fn json(&self, passport: &Passport, asked: &[Asked]) -> Value {
        let runs = asked
            .iter()
            .flat_map(|asked| asked.runs.iter().map(move |run| case(asked.kind, run)));
        json!({
            "version": 1,
            "passport": passport,
            "reference": self.reference,
            "cases": runs.collect::<Vec<_>>(),
            "differences": self.differences.iter().map(|one| json!({
                "case": one.case,
                "label": one.label,
                "bundled": one.bundled,
                "upstream": one.upstream,
                "known": one.known.map(|known| known.reason),
            })).collect::<Vec<_>>(),
            "stale": self.stale,
        })
    }
}

fn case(kind: Kind, run: &CaseRun) -> Value {
    let unmet = unmet(kind, run).into_iter().map(|unmet| {
        json!({
            "label": unmet.label,
            "saw": unmet.saw,
            "expected": unmet.expected,
        })
    });
    json!({
        "name": run.name,
        "kind": kind,
        "passed": is_good(kind, run),
        "seconds": run.took.as_secs_f64(),
        "observations": run.seen.len(),
        "unmet": unmet.collect::<Vec<_>>(),
        "stopped": run.stopped,
    })
}

/// A difference, with one value below the other.
fn show(one: &Difference) {
    println!("     {} | {}", one.case, one.label);
    println!(
        "       bundled   {}",
        clip(one.bundled.as_deref().unwrap_or("(nothing)"))
    );
    println!(
        "       upstream  {}",
        clip(one.upstream.as_deref().unwrap_or("(nothing)"))
    );
}

/// A value that fits beside another one.
fn clip(text: &str) -> String {
    let one_line = text.replace('\n', "\\n");
    match one_line.char_indices().nth(VALUE_WIDTH) {
        Some((end, _)) => format!("{}…", &one_line[..end]),
        None => one_line,
    }
}
