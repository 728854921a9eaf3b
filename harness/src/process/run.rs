//! Helper programs that run to their end: `apt-get`, `dpkg-deb`, `tar`, `bitcoind --version`.
//!
//! Blocking, unlike the daemons' [`Spec`](super::Spec): the caller waits and gets all output. Each runs in a process
//! group of its own with nothing on standard input, and is killed and reaped at the deadline.

use std::fmt;
use std::io::{self, BufRead as _, BufReader, Read};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};

use crate::time::Deadline;

/// How long a killed program's last output is waited for.
const DRAIN: Duration = Duration::from_secs(2);
/// How much of what a program wrote to standard error a message shows.
const SHOWN_LINES: usize = 6;

/// Why a helper program did not run to its end. A non-zero exit status is not an error here.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RunError {
    /// It could not be executed.
    #[error("could not start `{command}`: {source}")]
    Start {
        /// The command line.
        command: String,
        /// The cause.
        source: io::Error,
    },
    /// It was killed at its deadline.
    #[error(
        "`{command}` was killed after {waited:.1?} without an end{}",
        Said(stderr)
    )]
    TimedOut {
        /// The command line.
        command: String,
        /// How long it had.
        waited: Duration,
        /// What it had written to standard error.
        stderr: String,
    },
    /// Its output could not be read, or it could not be waited for.
    #[error("lost track of `{command}`: {source}")]
    Lost {
        /// The command line.
        command: String,
        /// The cause.
        source: io::Error,
    },
}

/// The end of what a program said, for a message: nothing, or `: ` and a few lines.
pub(crate) struct Said<'a>(pub(crate) &'a str);

impl fmt::Display for Said<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines: Vec<_> = self
            .0
            .lines()
            .map(str::trim)
            .filter(|l| !l.is_empty())
            .collect();
        if lines.is_empty() {
            return Ok(());
        }
        let from = lines.len().saturating_sub(SHOWN_LINES);
        write!(f, ": {}", lines[from..].join(" | "))
    }
}

/// Runs `command` to its end, at most for `limit`, and gives its status and output.
///
/// # Errors
/// When it cannot be started, or has not ended in time.
pub(crate) fn run_to_end(command: Command, limit: Duration) -> Result<Output, RunError> {
    run_watching(command, limit, &mut |_| {})
}

/// Like [`run_to_end`], and calls `on_line` with every line of standard output as it arrives.
///
/// # Errors
/// As [`run_to_end`].
pub(crate) fn run_watching(
    mut command: Command,
    limit: Duration,
    on_line: &mut dyn FnMut(&str),
) -> Result<Output, RunError> {
    let deadline = Deadline::after(limit);
    let shown = shown(&command);
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let start = |source| RunError::Start {
        command: shown.clone(),
        source,
    };
    let mut guard = Guard::new(super::spawner::spawn(command).map_err(start)?);
    let news = guard.listen();
    let mut seen = Seen::default();
    let complete = seen.follow(&news, deadline, guard.pid, on_line);
    let status = guard.end();
    if complete == Followed::TimedOut {
        // What it had written up to its end is already in the pipes.
        let _ = seen.follow(&news, Deadline::after(DRAIN), guard.pid, on_line);
        let stderr = String::from_utf8_lossy(&seen.stderr).into_owned();
        return Err(RunError::TimedOut {
            command: shown,
            waited: limit,
            stderr,
        });
    }
    let lost = |source| RunError::Lost {
        command: shown.clone(),
        source,
    };
    let status = status.map_err(lost)?;
    Ok(Output {
        status,
        stdout: seen.stdout,
        stderr: seen.stderr,
    })
}

/// The command line, for messages.
fn shown(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words
        .map(|w| w.to_string_lossy())
        .collect::<Vec<_>>()
        .join(" ")
}

/// Something that happened in the child.
enum News {
    StdoutLine(Vec<u8>),
    Stderr(Vec<u8>),
    StreamEnded,
    Exited,
}

#[derive(Debug, PartialEq, Eq)]
enum Followed {
    ToTheEnd,
    TimedOut,
}

/// What was heard from the child so far.
#[derive(Default)]
struct Seen {
    stdout: Vec<u8>,
    stderr: Vec<u8>,
    streams_ended: u8,
    exited: bool,
}

impl Seen {
    /// Listens until the child has exited and both its streams have ended.
    fn follow(
        &mut self,
        news: &Receiver<News>,
        deadline: Deadline,
        pid: Pid,
        on_line: &mut dyn FnMut(&str),
    ) -> Followed {
        while !(self.exited && self.streams_ended == 2) {
            match news.recv_timeout(deadline.remaining()) {
                Ok(News::StdoutLine(line)) => {
                    on_line(String::from_utf8_lossy(&line).trim_end());
                    self.stdout.extend(line);
                }
                Ok(News::Stderr(bytes)) => self.stderr.extend(bytes),
                Ok(News::StreamEnded) => self.streams_ended += 1,
                Ok(News::Exited) => {
                    self.exited = true;
                    // Whatever it left behind in its group would hold the streams open. The id is still its own: it
                    // has not been reaped.
                    let _ = kill_process_group(pid, Signal::KILL);
                }
                Err(RecvTimeoutError::Timeout) => return Followed::TimedOut,
                Err(RecvTimeoutError::Disconnected) => return Followed::ToTheEnd,
            }
        }
        Followed::ToTheEnd
    }
}

/// The child, killed with its group and reaped when this goes.
struct Guard {
    child: Child,
    pid: Pid,
    reaped: bool,
}

impl Guard {
    fn new(child: Child) -> Self {
        let pid = Pid::from_child(&child);
        Guard {
            child,
            pid,
            reaped: false,
        }
    }

    /// One thread for each stream and one for the end; all of them end with the child.
    fn listen(&mut self) -> Receiver<News> {
        let (sender, news) = channel();
        if let Some(stdout) = self.child.stdout.take() {
            let sender = sender.clone();
            thread::spawn(move || send_lines(stdout, &sender));
        }
        if let Some(stderr) = self.child.stderr.take() {
            let sender = sender.clone();
            thread::spawn(move || send_bytes(stderr, &sender));
        }
        let pid = self.pid;
        thread::spawn(move || {
            // Only looked at, not reaped, so that the id stays the child's own until the guard is done with it.
            let look = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
            while matches!(waitid(WaitId::Pid(pid), look), Err(rustix::io::Errno::INTR)) {}
            let _ = sender.send(News::Exited);
        });
        news
    }

    fn end(&mut self) -> io::Result<std::process::ExitStatus> {
        let _ = kill_process_group(self.pid, Signal::KILL);
        let status = self.child.wait();
        self.reaped = true;
        status
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if !self.reaped {
            let _ = self.end();
        }
    }
}

fn send_lines(stream: impl Read, sender: &Sender<News>) {
    let mut stream = BufReader::new(stream);
    let mut line = Vec::new();
    while matches!(stream.read_until(b'\n', &mut line), Ok(1..)) {
        if sender
            .send(News::StdoutLine(std::mem::take(&mut line)))
            .is_err()
        {
            return;
        }
    }
    let _ = sender.send(News::StreamEnded);
}

fn send_bytes(mut stream: impl Read, sender: &Sender<News>) {
    let mut buffer = [0; 4096];
    while let Ok(count @ 1..) = stream.read(&mut buffer) {
        if sender.send(News::Stderr(buffer[..count].to_vec())).is_err() {
            return;
        }
    }
    let _ = sender.send(News::StreamEnded);
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    fn sh(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    const LONG: Duration = Duration::from_secs(30);

    #[test]
    fn gives_status_and_both_streams() {
        let mut lines = Vec::new();
        let script = "echo one; echo two; echo oops >&2; printf three; exit 7";
        let output = run_watching(sh(script), LONG, &mut |l| lines.push(l.to_owned())).unwrap();
        assert_eq!(output.status.code(), Some(7));
        assert_eq!(output.stdout, b"one\ntwo\nthree");
        assert_eq!(output.stderr, b"oops\n");
        assert_eq!(lines, ["one", "two", "three"]);
    }

    #[test]
    fn standard_input_is_empty() {
        assert_eq!(
            run_to_end(sh("cat; echo end"), LONG).unwrap().stdout,
            b"end\n"
        );
    }

    #[test]
    fn the_whole_group_is_killed_at_the_deadline() {
        let start = Instant::now();
        let script = "echo getting nowhere >&2; sleep 600 & echo $!; wait";
        let mut pid = String::new();
        let error = run_watching(sh(script), Duration::from_millis(200), &mut |l| {
            pid = l.to_owned()
        })
        .unwrap_err();
        assert!(start.elapsed() < Duration::from_secs(10));
        let text = error.to_string();
        assert!(
            text.contains("was killed") && text.contains("getting nowhere"),
            "{text}"
        );
        let pid = Pid::from_raw(pid.parse().unwrap()).unwrap();
        // The grandchild is nobody's child here: it is gone, or a zombie that waits for init.
        let gone = || match std::fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero()))
        {
            Ok(stat) => stat.contains(") Z"),
            Err(_) => rustix::process::test_kill_process(pid).is_err(),
        };
        let deadline = Deadline::after(Duration::from_secs(5));
        while !gone() {
            assert!(!deadline.has_passed(), "sleep survived");
            crate::time::block_briefly();
        }
    }

    #[test]
    fn a_background_process_does_not_hold_the_end_up() {
        let start = Instant::now();
        let output = run_to_end(sh("sleep 600 & echo done"), LONG).unwrap();
        assert_eq!(output.stdout, b"done\n");
        assert!(start.elapsed() < Duration::from_secs(10));
    }

    #[test]
    fn a_missing_program_is_named() {
        let error = run_to_end(Command::new("/nonexistent/program"), LONG)
            .unwrap_err()
            .to_string();
        assert!(error.contains("/nonexistent/program"), "{error}");
    }
}
