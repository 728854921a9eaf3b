//! A program of the user's, run in front: it has our terminal and streams, and gets the signals that we pass on.
//!
//! On a terminal it shares our process group, as a shell's job does: the terminal itself sends Ctrl-C and Ctrl-Z to both of
//! us. Elsewhere it leads a group of its own, so that what it leaves behind ends with it.

use std::ffi::OsString;
use std::io::IsTerminal as _;
use std::process::{Child, Command, ExitStatus};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use rustix::process::{
    Pid, Signal, WaitId, WaitIdOptions, kill_process, kill_process_group, waitid,
};
use tokio::sync::watch;

use super::{SpawnError, spawner};

/// A program that runs in front. Dropping it kills it.
#[derive(Debug)]
pub struct Foreground {
    pid: Pid,
    leads_group: bool,
    /// Whether the process id still names our process; signals are sent under this lock.
    alive: Arc<Mutex<bool>>,
    exit: watch::Receiver<Option<ExitStatus>>,
}

impl Foreground {
    /// Starts `program` with `args` here, in our environment and `env`.
    ///
    /// # Errors
    /// When it cannot be executed; the error's source tells a program that is not there from one that is not executable.
    pub fn start(
        program: &OsString,
        args: &[OsString],
        env: impl IntoIterator<Item = (String, OsString)>,
    ) -> Result<Self, SpawnError> {
        let leads_group = !std::io::stdin().is_terminal();
        let mut command = Command::new(program);
        command.args(args).envs(env);
        let spawned = match leads_group {
            true => spawner::spawn(command),
            false => spawner::spawn_in_our_group(command),
        };
        let child = spawned.map_err(|source| SpawnError {
            name: program.to_string_lossy().into_owned(),
            doing: "start the program",
            command: program.to_string_lossy().into_owned(),
            source,
        })?;
        let pid = Pid::from_child(&child);
        let alive = Arc::new(Mutex::new(true));
        let (sender, exit) = watch::channel(None);
        let lock = alive.clone();
        thread::Builder::new()
            .name("reap the command".into())
            .spawn(move || reap(child, pid, leads_group, &lock, &sender))
            .expect("a thread can be started");
        Ok(Foreground {
            pid,
            leads_group,
            alive,
            exit,
        })
    }

    /// Waits for its end.
    pub async fn exited(&self) -> ExitStatus {
        let mut exit = self.exit.clone();
        let ended = exit.wait_for(Option::is_some).await;
        ended
            .ok()
            .and_then(|status| *status)
            .expect("the reaper reports the end before it goes")
    }

    /// Passes a signal on. One that a terminal sends to both of us (Ctrl-C, Ctrl-\) has reached it already.
    pub fn pass_on(&self, signal: Signal) {
        let from_terminal = matches!(signal, Signal::INT | Signal::QUIT);
        if self.leads_group || !from_terminal {
            self.signal(signal);
        }
    }

    fn signal(&self, signal: Signal) {
        let alive = self.alive.lock().unwrap_or_else(PoisonError::into_inner);
        if *alive {
            // It fails only when the process is gone, which is what the reaper is about to report.
            let _ = match self.leads_group {
                true => kill_process_group(self.pid, signal),
                false => kill_process(self.pid, signal),
            };
        }
    }
}

impl Drop for Foreground {
    fn drop(&mut self) {
        if self.exit.borrow().is_none() {
            self.signal(Signal::KILL);
        }
    }
}

/// Waits for the end of the process, ends what is left of its own group, reaps it and tells.
fn reap(
    mut child: Child,
    pid: Pid,
    leads_group: bool,
    alive: &Mutex<bool>,
    exit: &watch::Sender<Option<ExitStatus>>,
) {
    // Only looked at, not reaped: the id stays ours until the group was signalled under the lock.
    let look = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
    while matches!(waitid(WaitId::Pid(pid), look), Err(rustix::io::Errno::INTR)) {}
    let mut alive = alive.lock().unwrap_or_else(PoisonError::into_inner);
    if leads_group {
        let _ = kill_process_group(pid, Signal::KILL);
    }
    let status = child.wait().expect("a child that ended can be reaped once");
    *alive = false;
    drop(alive);
    exit.send_replace(Some(status));
}
