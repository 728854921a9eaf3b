//! `swaprig up`: a world that stays until somebody ends it, and takes requests from other terminals.

use std::convert::Infallible;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use clap::Args;
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use serde::{Deserialize, Serialize};
use swaprig_harness::World;
use swaprig_harness::run_dir::RunDir;
use swaprig_scenarios::lang::Plan;
use swaprig_scenarios::run::{Random, RunSettings, Verdict, Watch, run_all};
use tokio::net::UnixListener;

use super::control;
use super::exit::complain;
use super::run::{binaries, outcome_text, shown, timeout_scale};
use super::select::plans;
use super::signals::Signals;
use super::step_in::{Scene, Until, not_one, stop_at};
use super::terminal::Lines;
use super::world::{Prepared, WorldFlags, endpoints, write_env_file};
use super::{Exit, runtime};

/// Where standing worlds can be found from the same directory.
pub(super) const UP: &str = ".swaprig/up";
/// The variable that says which world is meant: its number, or its state file.
pub(super) const WORLD: &str = "SWAPRIG_WORLD";

#[derive(Debug, Args)]
#[command(after_help = "\
From another terminal in the same directory: swaprig shell, status, mine, fund, pay, logs. Ctrl-C ends the world and the \
exit status is then 0; the run directory is deleted unless --keep is given or a daemon has crashed.

With --scenario the exit status is 1 when the scenario failed before it came to STEP; its world stands all the same, where \
it failed. The deadline of the scenario does not count while its world stands.")]
pub(super) struct UpArgs {
    #[command(flatten)]
    world: WorldFlags,
    #[command(flatten)]
    scenario: ScenarioFlags,
}

/// A scenario that brings the world to where it stays.
#[derive(Debug, Args)]
#[command(next_help_heading = "Scenario")]
struct ScenarioFlags {
    /// Run this scenario in the world that it describes, and stay at its end, at its failure or at STEP
    #[arg(
        long,
        value_name = "FILE[#CASE]",
        conflicts_with_all = ["preset", "lightning", "liquid", "index_bitcoin", "channels", "proxies"]
    )]
    scenario: Option<PathBuf>,
    /// Stay after this step has been done: its place (7, or 3.2 inside of another) or the name that its `as` gives
    #[arg(long, value_name = "STEP", requires = "scenario")]
    until: Option<String>,
    /// Stay before this step is begun
    #[arg(
        long,
        value_name = "STEP",
        requires = "scenario",
        conflicts_with = "until"
    )]
    before: Option<String>,
    /// Where everything random in the scenario comes from [default: a new one, which is printed]
    #[arg(long, value_name = "N", requires = "scenario")]
    seed: Option<u64>,
    /// Multiply every deadline and every `within` of the scenario by this
    #[arg(long, value_name = "FACTOR", requires = "scenario", default_value = "1", value_parser = timeout_scale)]
    timeout_scale: f64,
}

/// What other terminals need to know of a world.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Standing {
    pub number: u32,
    pub pid: u32,
    pub socket: PathBuf,
    pub env_file: PathBuf,
    pub run_dir: PathBuf,
    /// Each daemon with the files of its two streams.
    pub logs: Vec<(String, PathBuf, PathBuf)>,
    pub endpoints: Vec<(String, String)>,
}

pub(super) fn up(args: &UpArgs) -> Exit {
    match &args.scenario.scenario {
        Some(path) => up_scenario(args, path).unwrap_or_else(|exit| exit),
        None => up_world(args).unwrap_or_else(|exit| exit),
    }
}

fn up_world(args: &UpArgs) -> Result<Exit, Exit> {
    let prepared = args.world.prepare()?;
    let claim = claim()?;
    Ok(runtime().block_on(async {
        run(prepared, &claim).await.unwrap_or_else(|error| {
            complain(&*error);
            Exit::Environment
        })
    }))
}

fn claim() -> Result<Claim, Exit> {
    Claim::new(Path::new(UP)).map_err(|error| {
        eprintln!("swaprig: could not make a file in {UP}: {error}");
        Exit::Environment
    })
}

async fn run(prepared: Prepared, claim: &Claim) -> Result<Exit, Box<dyn std::error::Error>> {
    let signals = Signals::listen(|| ())?;
    let Some(world) = signals.interrupt.unless(prepared.start()).await else {
        return Ok(ended(&signals));
    };
    let world = world?;
    let ready = |standing: &Standing| tell(standing, &world, None);
    let served = signals.interrupt.unless(serve(&world, claim, ready)).await;
    if let Some(kept) = world.finish().await? {
        println!("kept {}", kept.display());
    }
    match served {
        Some(Err(error)) => Err(error.into()),
        None => Ok(ended(&signals)),
    }
}

/// How a world ends that stood until a signal came.
fn ended(signals: &Signals) -> Exit {
    match signals.exit() {
        // Ctrl-C is how a world is ended, and no accident.
        Some(Exit::Signalled(2)) | None => Exit::Passed,
        Some(exit) => exit,
    }
}

/// Checks everything that can be checked before something starts, then runs the scenario to where it stays.
fn up_scenario(args: &UpArgs, path: &Path) -> Result<Exit, Exit> {
    let wrong = |why: String| {
        eprintln!("swaprig: {why}");
        Exit::Usage
    };
    let broken = |error: &(dyn std::error::Error + 'static)| {
        complain(error);
        Exit::Environment
    };
    let flags = &args.scenario;
    let plans = plans(&[path.to_owned()])?;
    let [plan] = plans.as_slice() else {
        return Err(wrong(not_one(&plans)));
    };
    let (until, before) = (flags.until.as_deref(), flags.before.as_deref());
    let stop = stop_at(plan, until, before).map_err(wrong)?;
    let claim = claim()?;
    let settings = args.world.daemons.settings();
    let (binaries, missing) = binaries(&plans, &settings).map_err(|error| broken(&error))?;
    if let Some(missing) = missing {
        eprintln!("{missing}");
    }
    let place = args.world.run_dir.settings();
    let dir = RunDir::numbered(&place.base, place.keep).map_err(|error| broken(&error))?;
    let seed = flags.seed.unwrap_or_else(Random::any_seed);
    let passport = binaries.passport();
    let (id, place) = (plan.id(), shown(dir.path()));
    println!("{id}   {passport}   seed {seed}   run directory {place}");
    let until = Arc::new(Until {
        claim,
        stop,
        scene: Scene::new(passport, seed, Lines::new(false)),
        stood: AtomicBool::new(false),
        told: AtomicBool::new(false),
    });
    let run = RunSettings {
        jobs: std::num::NonZeroUsize::MIN,
        rounds: 1,
        retries: 0,
        timeout_scale: flags.timeout_scale,
        seed,
        binaries: Arc::new(binaries),
        settings,
        records: Some(dir.path().join("records")),
        step_in: Some(until.clone()),
    };
    let ended = runtime().block_on(run_and_stay(plan, run, dir, &until));
    ended.map_err(|error| broken(&error))
}

/// Nothing is told while it runs: all of it is told where it stays.
struct Quiet;

impl Watch for Quiet {}

async fn run_and_stay(
    plan: &Arc<Plan>,
    run: RunSettings,
    dir: RunDir,
    until: &Until,
) -> std::io::Result<Exit> {
    let signals = Signals::listen(|| ())?;
    let (watch, interrupt) = (Arc::new(Quiet), signals.interrupt.clone());
    let mut outcomes = run_all(vec![plan.clone()], run, &dir, watch, interrupt).await;
    let Some(outcome) = outcomes.pop() else {
        dir.succeed();
        return Ok(ended(&signals));
    };
    let stood = until.stood.load(Ordering::Relaxed);
    let ended = match (&outcome.verdict, ended(&signals)) {
        (_, exit @ Exit::Signalled(_)) => exit,
        (Verdict::Failed(_), _) => Exit::Failed,
        (Verdict::Broken(_) | Verdict::Skipped(_), _) => Exit::Environment,
        (_, exit) => exit,
    };
    // What went wrong while it stood, or before it could.
    let is_news = !until.told.load(Ordering::Relaxed);
    if is_news && !matches!(outcome.verdict, Verdict::Interrupted | Verdict::Passed) {
        let Scene { passport, seed, .. } = &until.scene;
        eprintln!("{}", outcome_text(plan, &outcome, passport, *seed));
    }
    let is_accident = !matches!(ended, Exit::Passed) || (!stood && signals.exit().is_none());
    match (&outcome.dir, is_accident) {
        (Some(kept), true) => println!("kept {}", kept.display()),
        _ => {
            if let Some(kept) = dir.succeed() {
                println!("kept {}", kept.display());
            }
        }
    }
    Ok(ended)
}

/// Tells the address of everything in `world` to whoever has started it, and how it came to stand.
pub(super) fn tell(standing: &Standing, world: &World, scene: Option<&str>) {
    let number = standing.number;
    println!("world {number}   {}", world.passport());
    for (name, value) in &standing.endpoints {
        println!("{name}={value}");
    }
    if let Some(scene) = scene {
        println!("\n{scene}\n");
    }
    println!("{}\nready; Ctrl-C ends the world", ways_in(standing));
}

/// How another terminal gets into a world.
pub(super) fn ways_in(standing: &Standing) -> String {
    let number = standing.number;
    let source = format!(". {}", shown(&standing.env_file));
    let shell = format!("swaprig shell --world {number}");
    format!(
        "  {shell:<26} a shell in it, with clients of its daemons\n  {source:<26} sets its variables"
    )
}

/// Answers requests for `world` until this is dropped; calls `ready` as soon as it does.
///
/// # Errors
/// When its files cannot be written or connections cannot be taken.
pub(super) async fn serve(
    world: &World,
    claim: &Claim,
    ready: impl FnOnce(&Standing),
) -> std::io::Result<Infallible> {
    let listener = UnixListener::bind(claim.file("sock"))?;
    let mut variables = endpoints(world);
    let state = std::path::absolute(state_file(&claim.dir, claim.number))?;
    variables.push((WORLD.to_owned(), state.display().to_string()));
    write_env_file(&claim.file("env"), &mut variables)?;
    let logs = world.logs().into_iter();
    let standing = Standing {
        number: claim.number,
        pid: std::process::id(),
        socket: std::path::absolute(claim.file("sock"))?,
        env_file: std::path::absolute(claim.file("env"))?,
        run_dir: world.dir().to_owned(),
        logs: logs
            .map(|(name, files)| (name, files.stdout, files.stderr))
            .collect(),
        endpoints: variables,
    };
    claim.tell(&standing)?;
    ready(&standing);
    let mut connections = FuturesUnordered::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => connections.push(control::answer(accepted?.0, world)),
            Some(()) = connections.next() => {}
        }
    }
}

/// The number of a standing world: held by a lock on its file, which ends with the process however that ends.
#[derive(Debug)]
pub(super) struct Claim {
    dir: PathBuf,
    number: u32,
    lock: File,
}

impl Claim {
    /// The lowest number that is free.
    pub(super) fn new(dir: &Path) -> std::io::Result<Self> {
        std::fs::create_dir_all(dir)?;
        for number in 1.. {
            let path = state_file(dir, number);
            let lock = File::options()
                .create(true)
                .truncate(false)
                .read(true)
                .write(true)
                .open(&path)?;
            match lock.try_lock() {
                Ok(()) => {}
                Err(std::fs::TryLockError::WouldBlock) => continue,
                Err(std::fs::TryLockError::Error(error)) => return Err(error),
            }
            // Whoever held it may have taken the file away between our two calls; then the lock is on nothing.
            if !is_same_file(&lock, &path) {
                continue;
            }
            let claim = Claim {
                dir: dir.to_owned(),
                number,
                lock,
            };
            // What a world that was killed has left.
            claim.lock.set_len(0)?;
            for extension in ["sock", "env"] {
                let _ = std::fs::remove_file(claim.file(extension));
            }
            return Ok(claim);
        }
        unreachable!("the numbers do not end before the file handles do")
    }

    fn file(&self, extension: &str) -> PathBuf {
        self.dir.join(format!("{}.{extension}", self.number))
    }

    fn tell(&self, standing: &Standing) -> std::io::Result<()> {
        use std::io::Write as _;
        (&self.lock).write_all(&serde_json::to_vec_pretty(standing)?)
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        for extension in ["sock", "env", "json"] {
            let _ = std::fs::remove_file(self.file(extension));
        }
    }
}

fn state_file(dir: &Path, number: u32) -> PathBuf {
    dir.join(format!("{number}.json"))
}

fn is_same_file(open: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    let (Ok(open), Ok(named)) = (open.metadata(), path.metadata()) else {
        return false;
    };
    (open.dev(), open.ino()) == (named.dev(), named.ino())
}

/// The worlds that stand, by number; `None` in place of one that is still starting.
pub(super) fn standing(dir: &Path) -> Vec<(u32, Option<Standing>)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        let is_state = path
            .extension()
            .is_some_and(|extension| extension == "json");
        let number = path
            .file_stem()
            .and_then(|stem| stem.to_str()?.parse().ok());
        let (true, Some(number)) = (is_state, number) else {
            continue;
        };
        if is_up(&path) {
            let text = std::fs::read_to_string(&path).unwrap_or_default();
            found.push((number, serde_json::from_str(&text).ok()));
        }
    }
    found.sort_by_key(|(number, _)| *number);
    found
}

/// Whether somebody holds the lock of the state file at `path`.
pub(super) fn is_up(path: &Path) -> bool {
    let locked = File::open(path).map(|file| file.try_lock_shared());
    matches!(locked, Ok(Err(std::fs::TryLockError::WouldBlock)))
}
