//! `swaprig exec`: another program in a fresh world. Its exit code is ours.

use std::ffi::OsString;
use std::io::ErrorKind;
use std::os::unix::process::ExitStatusExt as _;
use std::process::ExitStatus;

use clap::Args;
use rustix::process::Signal as Number;
use swaprig_harness::World;
use swaprig_harness::process::Foreground;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::exit::complain;
use super::world::{Prepared, WorldFlags, endpoints, for_process, write_env_file};
use super::{Exit, runtime};

#[derive(Debug, Args)]
#[command(after_help = "\
The command finds in its environment:
  SWAPRIG_BITCOIND_RPC_URL, _RPC_USER, _RPC_PASSWORD   JSON-RPC of bitcoind
  SWAPRIG_BITCOIND_P2P                                 its peer-to-peer address
  SWAPRIG_ELEMENTSD_RPC_URL, _RPC_USER, _RPC_PASSWORD  JSON-RPC of elementsd, in a world with Liquid
  SWAPRIG_ELEMENTSD_POLICY_ASSET                       the id of L-BTC
  SWAPRIG_ELECTRS_ELECTRUM, _ELECTRS_LIQUID_ELECTRUM   addresses of the indexes of Bitcoin and of Liquid
  SWAPRIG_<NODE>_GRPC, _P2P, _NODE_ID                  addresses and key of each Lightning node (SWAPRIG_ALICE_GRPC)
  SWAPRIG_<NODE>_TLS_CERT                              the file of its certificate
  SWAPRIG_<NODE>_API_KEY, _API_KEY_FILE                its credential in hexadecimal digits, and its file
                                                       (_MACAROON, _MACAROON_FILE where the node uses one)
  SWAPRIG_RUN_DIR, SWAPRIG_ENV_FILE                    logs and data; all of this as a file for `.` of a shell

Exit status: that of the command; 128 and the signal's number when a signal ended it; 126 or 127 when it cannot be \
executed or is not there; 3 when the world did not come up. The run directory stays unless the command succeeds.")]
pub(super) struct ExecArgs {
    /// The program and its arguments
    #[arg(required = true, last = true, value_name = "CMD")]
    command: Vec<OsString>,
    #[command(flatten)]
    world: WorldFlags,
}

pub(super) fn exec(args: &ExecArgs) -> Exit {
    let prepared = match args.world.prepare() {
        Ok(prepared) => prepared,
        Err(exit) => return exit,
    };
    runtime().block_on(async {
        run(prepared, &args.command).await.unwrap_or_else(|error| {
            complain(&error);
            Exit::Environment
        })
    })
}

async fn run(prepared: Prepared, command: &[OsString]) -> std::io::Result<Exit> {
    let mut signals = Forwarded::listen()?;
    let world = tokio::select! {
        biased;
        signal = signals.next() => return Ok(Exit::Signalled(number(signal))),
        world = prepared.start() => world,
    };
    let world = match world {
        Ok(world) => world,
        Err(error) => {
            complain(&error);
            return Ok(Exit::Environment);
        }
    };
    let exit = command_in(&world, command, &mut signals).await;
    // A world that cannot be ended properly is said; the exit code stays the command's.
    let kept = match exit {
        Exit::Code(0) => world.finish().await.unwrap_or_else(|error| {
            let dir = error.dir.clone();
            complain(&error);
            Some(dir)
        }),
        _ => {
            world.stop().await;
            Some(world.dir().to_owned())
        }
    };
    if let Some(kept) = kept {
        eprintln!("swaprig: kept {}", kept.display());
    }
    Ok(exit)
}

async fn command_in(world: &World, command: &[OsString], signals: &mut Forwarded) -> Exit {
    let mut variables = endpoints(world);
    if let Err(error) = write_env_file(&world.dir().join("env.sh"), &mut variables) {
        complain(&error);
        return Exit::Environment;
    }
    let Some((program, args)) = command.split_first() else {
        return Exit::Usage;
    };
    run_in_front(program, args, for_process(variables), signals).await
}

/// Runs a program of the user's to its end, in front; signals are passed on to it.
pub(super) async fn run_in_front(
    program: &OsString,
    args: &[OsString],
    env: Vec<(String, OsString)>,
    signals: &mut Forwarded,
) -> Exit {
    let running = match Foreground::start(program, args, env) {
        Ok(running) => running,
        Err(error) => {
            complain(&error);
            // As shells and env(1) have it.
            return match error.source.kind() {
                ErrorKind::NotFound => Exit::Code(127),
                _ => Exit::Code(126),
            };
        }
    };
    loop {
        tokio::select! {
            status = running.exited() => return exit_of(status),
            signal = signals.next() => running.pass_on(signal),
        }
    }
}

fn exit_of(status: ExitStatus) -> Exit {
    let code = status
        .code()
        .or_else(|| status.signal().map(|signal| 128 + signal));
    Exit::Code(
        code.and_then(|code| u8::try_from(code).ok())
            .unwrap_or(u8::MAX),
    )
}

fn number(signal: Number) -> u8 {
    u8::try_from(signal.as_raw()).unwrap_or_default()
}

/// The signals that are passed on.
pub(super) struct Forwarded {
    int: Signal,
    term: Signal,
    hup: Signal,
    quit: Signal,
}

impl Forwarded {
    pub(super) fn listen() -> std::io::Result<Self> {
        Ok(Forwarded {
            int: signal(SignalKind::interrupt())?,
            term: signal(SignalKind::terminate())?,
            hup: signal(SignalKind::hangup())?,
            quit: signal(SignalKind::quit())?,
        })
    }

    async fn next(&mut self) -> Number {
        tokio::select! {
            _ = self.int.recv() => Number::INT,
            _ = self.term.recv() => Number::TERM,
            _ = self.hup.recv() => Number::HUP,
            _ = self.quit.recv() => Number::QUIT,
        }
    }
}
