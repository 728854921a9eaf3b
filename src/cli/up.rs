//! `swaprig up`: a world that stays until somebody ends it, and takes requests from other terminals.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use serde::{Deserialize, Serialize};
use swaprig_harness::World;
use tokio::net::UnixListener;

use super::control;
use super::exit::complain;
use super::run::shown;
use super::signals::Signals;
use super::world::{Prepared, WorldFlags, endpoints, write_env_file};
use super::{Exit, runtime};

/// Where standing worlds can be found from the same directory.
pub(super) const UP: &str = ".swaprig/up";

#[derive(Debug, Args)]
#[command(after_help = "\
From another terminal in the same directory: swaprig status, mine, fund, pay, logs. Ctrl-C ends the world and the exit \
status is then 0; the run directory is deleted unless --keep is given or a daemon has crashed.")]
pub(super) struct UpArgs {
    #[command(flatten)]
    world: WorldFlags,
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
    let prepared = match args.world.prepare() {
        Ok(prepared) => prepared,
        Err(exit) => return exit,
    };
    let claim = match Claim::new(Path::new(UP)) {
        Ok(claim) => claim,
        Err(error) => {
            eprintln!("swaprig: could not make a file in {UP}: {error}");
            return Exit::Environment;
        }
    };
    runtime().block_on(async {
        run(prepared, &claim).await.unwrap_or_else(|error| {
            complain(&*error);
            Exit::Environment
        })
    })
}

async fn run(prepared: Prepared, claim: &Claim) -> Result<Exit, Box<dyn std::error::Error>> {
    let signals = Signals::listen(|| ())?;
    let ended = |signals: &Signals| match signals.exit() {
        // Ctrl-C is how a world is ended, and no accident.
        Some(Exit::Signalled(2)) | None => Exit::Passed,
        Some(exit) => exit,
    };
    let Some(world) = signals.interrupt.unless(prepared.start()).await else {
        return Ok(ended(&signals));
    };
    let world = Arc::new(world?);
    let served = serve(&world, claim, &signals).await;
    let Some(world) = Arc::into_inner(world) else {
        unreachable!("every connection has ended and given its share back");
    };
    if let Some(kept) = world.finish().await? {
        println!("kept {}", kept.display());
    }
    served?;
    Ok(ended(&signals))
}

/// Tells what there is and answers requests until a signal comes.
async fn serve(world: &Arc<World>, claim: &Claim, signals: &Signals) -> std::io::Result<()> {
    let listener = UnixListener::bind(claim.file("sock"))?;
    let mut variables = endpoints(world);
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
    println!("world {}   {}", claim.number, world.passport());
    for (name, value) in &standing.endpoints {
        println!("{name}={value}");
    }
    println!(
        "ready; `. {}` sets these variables, Ctrl-C ends the world",
        shown(&standing.env_file)
    );
    let mut connections = tokio::task::JoinSet::new();
    let accept = async {
        loop {
            let (stream, _) = listener.accept().await?;
            connections.spawn(control::answer(stream, world.clone()));
            // Those that have ended are forgotten.
            while connections.try_join_next().is_some() {}
        }
    };
    let accepted: Option<std::io::Result<()>> = signals.interrupt.unless(accept).await;
    connections.shutdown().await;
    accepted.unwrap_or(Ok(()))
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
    fn new(dir: &Path) -> std::io::Result<Self> {
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
