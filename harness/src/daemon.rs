//! What every daemon driver shares: starting with retries, and how a start fails.

use std::future::Future;
use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::path::PathBuf;

use crate::binary::ResolveError;
use crate::port::{PortClaim, PortError};
use crate::process::{Exit, LogFiles, Running, SpawnError};
use crate::run_dir::RunDirError;
use crate::time::{Deadline, Probe, TimedOut, WaitError, poll_until};

/// How often a daemon whose port was taken by a stranger is started again, with fresh ports.
const PORT_ATTEMPTS: u32 = 3;

/// Why a daemon did not come up. Every variant that had a process ends with its logs.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// No executable to start, or the wrong one.
    #[error(transparent)]
    Binary(#[from] ResolveError),
    /// No directory to run in.
    #[error(transparent)]
    RunDir(#[from] RunDirError),
    /// No port to listen on.
    #[error(transparent)]
    Port(#[from] PortError),
    /// A proxy has no socket to listen on.
    #[error("the proxy {name} could not listen: {source}")]
    Proxy { name: String, source: io::Error },
    /// The operating system refused to run it.
    #[error(transparent)]
    Spawn(#[from] SpawnError),
    /// A file that the daemon needs could not be written.
    #[error("could not write {}: {source}", path.display())]
    Write { path: PathBuf, source: io::Error },
    /// Its command line needs something that this world does not have.
    #[error("{name} cannot be started: {why}")]
    Endpoint { name: String, why: String },
    /// It ended before it was ready.
    #[error("{name} {exit}, before it was ready\n  command: {command}\n{log_tail}")]
    Exited {
        name: String,
        exit: Exit,
        command: String,
        log_tail: String,
    },
    /// It runs, but was not ready in time.
    #[error("{name} is not ready: {timeout}\n  command: {command}\n{log_tail}")]
    TimedOut {
        name: String,
        timeout: TimedOut,
        command: String,
        log_tail: String,
    },
    /// It runs and answers, and what it answers can never become right.
    #[error("{name} cannot be used: {source}\n  command: {command}\n{log_tail}")]
    Unusable {
        name: String,
        source: Box<dyn std::error::Error + Send + Sync>,
        command: String,
        log_tail: String,
    },
    /// Somebody else took its port, every time.
    #[error(
        "{name} lost its port to another program {attempts} times (last: {ports}); \
         its output is in {logs}\n  last attempt: {last}"
    )]
    PortsLost {
        name: String,
        attempts: u32,
        ports: String,
        logs: String,
        last: Box<StartError>,
    },
}

/// Waits until `probe` finds `running` ready, or it ends, or `deadline` passes.
pub(crate) async fn wait_ready<T, E, F>(
    running: &Running,
    what: String,
    deadline: Deadline,
    probe: impl FnMut() -> F,
) -> Result<T, StartError>
where
    F: Future<Output = Probe<T, E>>,
    E: std::error::Error + Send + Sync + 'static,
{
    let name = running.name().to_owned();
    let command = running.spec().to_string();
    let outcome = running
        .unless_exited(poll_until(what, deadline, probe))
        .await;
    if !matches!(outcome, Ok(Ok(_))) {
        // It may hang, so it is not asked; what it said so far is in the message.
        running.kill().await;
    }
    match outcome {
        Ok(Ok(ready)) => Ok(ready),
        Ok(Err(WaitError::TimedOut(timeout))) => Err(StartError::TimedOut {
            name,
            timeout,
            command,
            log_tail: running.log_tail(),
        }),
        Ok(Err(WaitError::Fatal(source))) => Err(StartError::Unusable {
            name,
            source: source.into(),
            command,
            log_tail: running.log_tail(),
        }),
        Err(exit) => Err(StartError::Exited {
            name,
            exit,
            command,
            log_tail: running.log_tail(),
        }),
    }
}

/// Which of the `claims` a stranger listens on. Asked only after the daemon that held them has ended, so that nobody
/// needs to guess from the words of its log why it could not bind.
pub(crate) fn ports_taken(claims: &[&PortClaim]) -> Vec<u16> {
    let taken = |port: &u16| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_err();
    claims
        .iter()
        .map(|claim| claim.port())
        .filter(taken)
        .collect()
}

/// Decides what follows when a stranger took a daemon's port: another attempt (logged), or the error after the last.
///
/// # Errors
/// [`StartError::PortsLost`] after the last attempt.
pub(crate) fn port_lost(
    name: &str,
    attempts: u32,
    taken: &[u16],
    logs: &LogFiles,
    last: StartError,
) -> Result<(), StartError> {
    let ports = taken
        .iter()
        .map(u16::to_string)
        .collect::<Vec<_>>()
        .join(", ");
    if attempts == PORT_ATTEMPTS {
        let (name, logs) = (name.to_owned(), logs.to_string());
        return Err(StartError::PortsLost {
            name,
            attempts,
            ports,
            logs,
            last: last.into(),
        });
    }
    eprintln!("swaprig: {name} lost port {ports} to another program; trying others");
    Ok(())
}
