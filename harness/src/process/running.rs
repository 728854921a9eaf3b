//! A process that was started, until it is reaped.

use std::fmt;
use std::future::Future;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::Path;
use std::process::{Child, ChildStdin};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};
use tokio::sync::watch;

use super::{Exit, LogFiles, Spec, Stopped};
use crate::time::Deadline;

/// How long a process has to end after it was asked over its own interface, and again after SIGTERM. An ldk-node may
/// take 35 s to stop (5 s for its tasks, 30 s for its event handler).
const GRACE: Duration = Duration::from_secs(40);
/// How long dropping the guard waits for the kernel to end a SIGKILLed process.
const REAP: Duration = Duration::from_secs(5);
/// How much of a log's end a message shows.
const TAIL_LINES: usize = 12;
/// How much of a log is read to find them.
const TAIL_BYTES: u64 = 16 * 1024;

/// A running process and everything needed to end it. Dropping it kills the process group and reaps the process.
pub struct Running {
    spec: Spec,
    pid: Pid,
    started: Instant,
    state: Arc<Mutex<State>>,
    exit: watch::Receiver<Option<Exit>>,
    /// Held open: its end tells a bundled daemon that the harness is gone.
    _lifeline: Option<ChildStdin>,
}

/// Whether the process id still names our process. Signals are sent only while this says so, under its lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Alive,
    Reaped,
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state
        .lock()
        .unwrap_or_else(|poisoned| poisoned.into_inner())
}

impl Running {
    pub(super) fn new(spec: Spec, mut child: Child) -> Self {
        let started = Instant::now();
        let pid = Pid::from_child(&child);
        let lifeline = child.stdin.take();
        let state = Arc::new(Mutex::new(State::Alive));
        let (sender, exit) = watch::channel(None);
        let reaper_state = state.clone();
        thread::Builder::new()
            .name(format!("reap {}", spec.name))
            .stack_size(64 * 1024)
            .spawn(move || reap(child, pid, started, &reaper_state, &sender))
            .expect("a thread can be started");
        Running {
            spec,
            pid,
            started,
            state,
            exit,
            _lifeline: lifeline,
        }
    }

    /// The instance's name.
    pub fn name(&self) -> &str {
        &self.spec.name
    }

    /// What was started.
    pub fn spec(&self) -> &Spec {
        &self.spec
    }

    /// The process id, which is also the id of its process group.
    pub fn pid(&self) -> u32 {
        self.pid.as_raw_nonzero().get().unsigned_abs()
    }

    /// When it was started.
    pub fn started(&self) -> Instant {
        self.started
    }

    /// Time since the start.
    pub fn age(&self) -> Duration {
        self.started.elapsed()
    }

    /// Where its output goes.
    pub fn logs(&self) -> &LogFiles {
        &self.spec.logs
    }

    /// Its end, if it has ended.
    pub fn exit(&self) -> Option<Exit> {
        *self.exit.borrow()
    }

    /// Waits for its end, without ending it.
    pub async fn exited(&self) -> Exit {
        let exit = self.exit_to_come().await;
        exit.expect("the reaper reports the end before it goes")
    }

    /// Its end, when it comes; `None` when this guard goes before. It does not hold the guard.
    pub fn exit_to_come(&self) -> impl Future<Output = Option<Exit>> + use<> {
        let mut exit = self.exit.clone();
        async move {
            let ended = exit.wait_for(Option::is_some).await;
            ended.ok().and_then(|exit| *exit)
        }
    }

    /// Runs `work` until it is done or the process ends, whichever comes first.
    ///
    /// # Errors
    /// The end of the process.
    pub async fn unless_exited<T>(&self, work: impl Future<Output = T>) -> Result<T, Exit> {
        tokio::select! {
            biased;
            exit = self.exited() => Err(exit),
            done = work => Ok(done),
        }
    }

    /// Ends the process: `ask` (its own interface), then SIGTERM, then SIGKILL to its group; returns when it is reaped.
    /// Each of the first two has 40 s at most and no longer than `deadline`.
    pub async fn stop(&self, deadline: Deadline, ask: impl Future<Output = ()>) -> Stopped {
        if self.exit().is_some() {
            return Stopped::Already;
        }
        let asked = deadline.at_most(GRACE);
        let ends = async {
            ask.await;
            self.exited().await
        };
        if asked.bound(ends).await.is_some() {
            return Stopped::Asked;
        }
        self.terminate(deadline).await
    }

    /// Ends the process with SIGTERM, then SIGKILL; returns when it is reaped.
    pub async fn terminate(&self, deadline: Deadline) -> Stopped {
        if self.exit().is_some() {
            return Stopped::Already;
        }
        self.signal(Signal::TERM);
        if deadline.at_most(GRACE).bound(self.exited()).await.is_some() {
            return Stopped::Terminated;
        }
        self.kill().await;
        Stopped::Killed
    }

    /// Ends the process group with SIGKILL, as a power cut would; returns when it is reaped.
    pub async fn kill(&self) -> Exit {
        self.signal(Signal::KILL);
        self.exited().await
    }

    /// Sends `signal` to the whole process group, if the process has not been reaped.
    pub fn signal(&self, signal: Signal) {
        let state = lock(&self.state);
        if *state == State::Alive {
            // It fails only when the group is gone, which is what the reaper is about to report.
            let _ = kill_process_group(self.pid, signal);
        }
    }

    /// The last lines of both logs, each with its path; for messages.
    pub fn log_tail(&self) -> String {
        let LogFiles { stdout, stderr } = self.logs();
        [stdout, stderr]
            .into_iter()
            .map(|path| tail(path))
            .collect::<Vec<_>>()
            .join("\n")
    }
}

/// Waits for the end of the process, ends what is left of its group, reaps it and tells.
fn reap(
    mut child: Child,
    pid: Pid,
    started: Instant,
    state: &Mutex<State>,
    exit: &watch::Sender<Option<Exit>>,
) {
    // Only looked at, not reaped: the id stays ours until the group was signalled under the lock.
    let look = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
    while matches!(waitid(WaitId::Pid(pid), look), Err(rustix::io::Errno::INTR)) {}
    let mut state = lock(state);
    let _ = kill_process_group(pid, Signal::KILL);
    let status = child.wait().expect("a child that ended can be reaped once");
    *state = State::Reaped;
    drop(state);
    exit.send_replace(Some(Exit {
        status,
        after: started.elapsed(),
    }));
}

/// The last lines of the file at `path`, under a line that names it.
fn tail(path: &Path) -> String {
    let shown = path.display();
    match read_end(path) {
        Ok(bytes) if bytes.is_empty() => format!("  {shown}: empty"),
        Ok(bytes) => {
            let text = String::from_utf8_lossy(&bytes);
            let lines: Vec<_> = text.lines().collect();
            let from = lines.len().saturating_sub(TAIL_LINES);
            let shown_lines: String = lines[from..]
                .iter()
                .map(|line| format!("\n    {line}"))
                .collect();
            format!("  {shown}:{shown_lines}")
        }
        Err(error) => format!("  {shown}: {error}"),
    }
}

/// The last few kilobytes of a file, however large it is.
fn read_end(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut file = std::fs::File::open(path)?;
    let size = file.metadata()?.len();
    file.seek(SeekFrom::Start(size.saturating_sub(TAIL_BYTES)))?;
    let mut bytes = Vec::new();
    file.take(TAIL_BYTES).read_to_end(&mut bytes)?;
    Ok(bytes)
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.exit().is_some() {
            return;
        }
        self.signal(Signal::KILL);
        let deadline = Deadline::after(REAP);
        while self.exit().is_none() && !deadline.has_passed() {
            crate::time::block_briefly();
        }
        let log = &self.spec.logs.stdout;
        eprintln!(
            "swaprig: {} (pid {}) was killed without a stop; its log: {}",
            self.name(),
            self.pid(),
            log.display()
        );
    }
}

impl fmt::Debug for Running {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Running({}, pid {}, {})",
            self.name(),
            self.pid(),
            self.spec
        )
    }
}

impl LogFiles {
    /// The last line that the process printed on either stream; standard error speaks first.
    pub fn last_line(&self) -> Option<String> {
        let last = |path: &Path| {
            let bytes = read_end(path).ok()?;
            let text = String::from_utf8_lossy(&bytes);
            text.lines()
                .rev()
                .map(str::trim)
                .find(|line| !line.is_empty())
                .map(str::to_owned)
        };
        last(&self.stderr).or_else(|| last(&self.stdout))
    }
}

/// The instance's log files, as one line for messages.
impl fmt::Display for LogFiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, {}", self.stdout.display(), self.stderr.display())
    }
}
