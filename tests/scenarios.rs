//! A test for every scenario, by its id, so that `cargo test`, nextest and editors list, select and run them one by one.
//! `RUN_LDK_E2E=0` shows them as ignored; with `=1` a scenario that cannot run here fails (design D11).

use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use libtest_mimic::{Arguments, Failed, Trial};
use swaprig_harness::binary::{Settings, Stderr};
use swaprig_harness::doctor::suggested_jobs;
use swaprig_harness::error_chain;
use swaprig_harness::run_dir::{RunDir, RunDirSettings};
use swaprig_harness::world::{Binaries, Needs};
use swaprig_scenarios::lang::{self, Plan};
use swaprig_scenarios::run::{
    Failure, Interrupt, Outcome, Random, RunSettings, Verdict, Watch, run_all,
};

/// Columns of a message.
const WIDTH: usize = 110;

fn main() {
    let mut args = Arguments::from_args();
    // The default is a thread for each core, whatever memory there is.
    args.test_threads = args.test_threads.or_else(|| Some(suggested_jobs()));
    let gate = Gate::from_env();
    let trials = plans().into_iter().map(|plan| {
        let name = plan.id().to_owned();
        Trial::test(name, move || run(&plan, gate)).with_ignored_flag(gate == Gate::Skip)
    });
    libtest_mimic::run(&args, trials.collect()).exit();
}

/// What `RUN_LDK_E2E` asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Gate {
    Skip,
    WherePossible,
    All,
}

impl Gate {
    #[expect(
        clippy::disallowed_methods,
        reason = "the gate of the tests is an environment variable (design D11)"
    )]
    fn from_env() -> Self {
        match std::env::var("RUN_LDK_E2E").as_deref() {
            Ok("0") => Gate::Skip,
            Ok("1") => Gate::All,
            _ => Gate::WherePossible,
        }
    }
}

/// The shipped scenarios. They are checked by the tests of the language; a wrong one is told here, too.
fn plans() -> Vec<Arc<Plan>> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios");
    let sources = lang::load(&[dir]).unwrap_or_else(|error| panic!("{error}"));
    let registry =
        swaprig::steps::all_steps().expect("the steps have distinct names, which a test holds");
    let checked = sources
        .iter()
        .map(|source| match lang::check(source, &registry) {
            Ok(plans) => plans,
            Err(problems) => {
                let texts = problems.iter().map(|problem| problem.render_plain(WIDTH));
                panic!("{}", texts.collect::<Vec<_>>().join("\n"))
            }
        });
    checked.flatten().map(Arc::new).collect()
}

/// The programs, and why there is no Lightning node if there is none.
type Found = (Arc<Binaries>, Option<String>);

/// The programs, found once for all tests of this process.
fn binaries() -> Result<&'static Found, Failed> {
    static FOUND: OnceLock<Result<Found, String>> = OnceLock::new();
    let found = FOUND.get_or_init(|| {
        Binaries::resolve_available(&settings(), &Needs::everything(), &Stderr::default())
            .map(|(binaries, missing)| (Arc::new(binaries), missing))
            .map_err(|error| error_chain(&error))
    });
    found.as_ref().map_err(|error| Failed::from(error.as_str()))
}

fn settings() -> Settings {
    Settings {
        self_exe: Some(env!("CARGO_BIN_EXE_swaprig").into()),
        ..Settings::from_env()
    }
}

fn run(plan: &Arc<Plan>, gate: Gate) -> Result<(), Failed> {
    let (binaries, missing) = binaries()?;
    let place = RunDirSettings::from_env(&swaprig_harness::run_dir::temporary_base());
    let dir = RunDir::numbered(&place.base, place.keep).map_err(|error| error_chain(&error))?;
    let settings = RunSettings {
        jobs: NonZeroUsize::MIN,
        rounds: 1,
        retries: 0,
        timeout_scale: 1.0,
        seed: Random::any_seed(),
        binaries: binaries.clone(),
        settings: settings(),
        records: Some(dir.path().join("records")),
        step_in: None,
    };
    let runtime = tokio::runtime::Runtime::new().map_err(|error| error.to_string())?;
    let (_raise, interrupt) = Interrupt::new();
    let seed = settings.seed;
    let outcomes = runtime.block_on(run_all(
        vec![plan.clone()],
        settings,
        &dir,
        Arc::new(Silent),
        interrupt,
    ));
    for outcome in &outcomes {
        judge(outcome, gate, missing.as_deref(), seed)?;
    }
    dir.succeed();
    Ok(())
}

fn judge(outcome: &Outcome, gate: Gate, missing: Option<&str>, seed: u64) -> Result<(), Failed> {
    match &outcome.verdict {
        Verdict::Passed | Verdict::KnownFailure { .. } => Ok(()),
        Verdict::Skipped(why) if gate == Gate::All => {
            Err(format!("it {why}; {}", missing.unwrap_or_default()).into())
        }
        Verdict::Skipped(why) => {
            eprintln!("SKIPPED {}: it {why}", outcome.id);
            Ok(())
        }
        Verdict::Interrupted => Err("interrupted".into()),
        Verdict::Failed(failure) | Verdict::Broken(failure) | Verdict::Flaky(failure) => {
            Err(text(outcome, failure, seed).into())
        }
    }
}

fn text(outcome: &Outcome, failure: &Failure, seed: u64) -> String {
    let mut lines = vec![match &failure.problem {
        Some(problem) => problem.render_plain(WIDTH),
        None => failure.failure.to_string(),
    }];
    lines.extend(failure.failure.why.iter().map(|why| format!("why: {why}")));
    let said = failure.last_words.iter();
    lines.extend(said.map(|(process, words)| format!("{process}: {words}")));
    lines.extend(
        outcome
            .dir
            .iter()
            .map(|dir| format!("logs: {}", dir.display())),
    );
    let path = outcome.path.display();
    lines.push(format!("again: swaprig run {path} --keep --seed {seed}"));
    lines.join("\n")
}

/// The test runner tells what goes on.
struct Silent;

impl Watch for Silent {}
