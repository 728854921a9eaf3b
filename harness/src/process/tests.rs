//! Tests with shell scripts in place of daemons.

use std::ffi::OsString;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, test_kill_process};
use tempfile::TempDir;

use super::{LogFiles, Running, Spec, Stdin, Stopped};
use crate::time::{Deadline, Probe, poll_until};

/// Far longer than any of this takes, even on a loaded machine.
const SOON: Duration = Duration::from_secs(30);

fn deadline() -> Deadline {
    Deadline::after(SOON)
}

fn spec(dir: &TempDir, script: &str) -> Spec {
    Spec {
        name: "sham".into(),
        program: "sh".into(),
        args: ["-c", script].map(OsString::from).to_vec(),
        hidden_env: &[],
        env: Vec::new(),
        dir: dir.path().to_owned(),
        logs: LogFiles::in_dir(dir.path(), "sham"),
        stdin: Stdin::Null,
    }
}

fn start(dir: &TempDir, script: &str) -> Running {
    spec(dir, script).start().unwrap()
}

/// Waits until the process has written a whole line, and gives it.
async fn first_line(running: &Running) -> String {
    let line = poll_until::<_, (), _>("a line", deadline(), || async {
        let text = std::fs::read_to_string(&running.logs().stdout).unwrap();
        match text.split_once('\n') {
            Some((line, _)) => Probe::Ready(line.to_owned()),
            None => Probe::Pending(format!("{text:?}")),
        }
    });
    line.await.unwrap()
}

/// Neither running nor a zombie.
fn is_gone(pid: &str) -> bool {
    let pid = Pid::from_raw(pid.trim().parse().unwrap()).unwrap();
    test_kill_process(pid) == Err(rustix::io::Errno::SRCH)
}

/// Waits until a process that is nobody's child here has ended; init may take its time to reap it.
async fn ended(pid: &str) {
    let gone = poll_until::<_, (), _>("an end", deadline(), || async {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        match is_gone(pid) || stat.contains(") Z") {
            true => Probe::Ready(()),
            false => Probe::Pending("it runs".into()),
        }
    });
    gone.await.unwrap();
}

#[tokio::test]
async fn an_early_end_comes_before_what_is_waited_for() {
    let dir = tempfile::tempdir().unwrap();
    let running = start(&dir, "echo out; echo err >&2; exit 3");
    let exit = running
        .unless_exited(std::future::pending::<()>())
        .await
        .unwrap_err();
    assert_eq!(exit.status.code(), Some(3));
    let text = exit.to_string();
    assert!(
        text.starts_with("exited with status 3 ") && text.ends_with(" after its start"),
        "{text}"
    );
    assert_eq!(running.exit(), Some(exit));
    // Asking again, and ending what has ended, are both fine.
    assert_eq!(running.exited().await, exit);
    assert_eq!(running.terminate(deadline()).await, Stopped::Already);
    assert_eq!(running.kill().await, exit);
}

#[tokio::test]
async fn what_is_done_in_time_comes_before_the_end() {
    let dir = tempfile::tempdir().unwrap();
    let running = start(&dir, "exec sleep 600");
    assert_eq!(running.unless_exited(async { 7 }).await, Ok(7));
    assert_eq!(running.exit(), None);
}

#[tokio::test]
async fn the_ladder_of_stopping_has_three_rungs() {
    let dir = tempfile::tempdir().unwrap();
    let polite = start(&dir, "echo up; until [ -e stop ]; do sleep 0.01; done");
    let ask = async { std::fs::write(dir.path().join("stop"), "").unwrap() };
    assert_eq!(polite.stop(deadline(), ask).await, Stopped::Asked);

    let dir = tempfile::tempdir().unwrap();
    let deaf = start(
        &dir,
        "trap 'exit 0' TERM; echo up; while :; do sleep 0.01; done",
    );
    first_line(&deaf).await;
    assert_eq!(deaf.terminate(deadline()).await, Stopped::Terminated);
    assert_eq!(deaf.exit().unwrap().status.code(), Some(0));

    let dir = tempfile::tempdir().unwrap();
    let stubborn = start(&dir, "trap '' TERM; echo up; while :; do sleep 0.01; done");
    first_line(&stubborn).await;
    let short = Deadline::after(Duration::from_millis(100));
    let started = Instant::now();
    assert_eq!(stubborn.stop(short, async {}).await, Stopped::Killed);
    assert!(started.elapsed() < SOON);
    let text = stubborn.exit().unwrap().to_string();
    assert!(text.starts_with("was killed by SIGKILL "), "{text}");
}

#[tokio::test]
async fn dropping_kills_the_whole_group_and_reaps() {
    let dir = tempfile::tempdir().unwrap();
    let running = start(&dir, "trap '' TERM; sleep 600 & echo $$ $!; wait; wait");
    let line = first_line(&running).await;
    let (own, child) = line.split_once(' ').unwrap();
    assert!(!is_gone(own) && !is_gone(child));
    assert_eq!(own, running.pid().to_string());
    drop(running);
    assert!(is_gone(own), "it is not reaped");
    ended(child).await;
}

#[tokio::test]
async fn what_a_process_leaves_behind_in_its_group_ends_with_it() {
    let dir = tempfile::tempdir().unwrap();
    let running = start(&dir, "sleep 600 & echo $!");
    let child = first_line(&running).await;
    assert_eq!(running.exited().await.status.code(), Some(0));
    ended(&child).await;
}

#[tokio::test]
async fn a_signal_reaches_the_group_and_nobody_after_the_end() {
    let dir = tempfile::tempdir().unwrap();
    let running = start(
        &dir,
        "trap 'exit 5' USR1; echo up; while :; do sleep 0.01; done",
    );
    first_line(&running).await;
    running.signal(Signal::USR1);
    assert_eq!(running.exited().await.status.code(), Some(5));
    // Its id may be somebody else's by now.
    running.signal(Signal::KILL);
}

#[tokio::test]
async fn logs_begin_with_the_first_byte_and_go_on_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    for script in [
        "printf 'one\\n'; echo bad >&2",
        "printf 'two\\n'; printf worse >&2",
    ] {
        start(&dir, script).exited().await;
    }
    let running = start(&dir, "for n in $(seq 40); do echo line $n; done");
    running.exited().await;
    let LogFiles { stdout, stderr } = running.logs();
    let said = std::fs::read_to_string(stdout).unwrap();
    assert!(
        said.starts_with("one\ntwo\nline 1\n") && said.ends_with("line 40\n"),
        "{said}"
    );
    assert_eq!(std::fs::read_to_string(stderr).unwrap(), "bad\nworse");
    assert_eq!(running.logs().last_line().as_deref(), Some("worse"));
    // A message shows both ends, each under its path.
    let tail = running.log_tail();
    let shown = |path: &Path| format!("  {}:\n", path.display());
    assert!(
        tail.contains(&shown(stdout)) && tail.contains(&shown(stderr)),
        "{tail}"
    );
    assert!(
        tail.contains("\n    line 40") && !tail.contains("line 20\n"),
        "{tail}"
    );
    assert!(tail.ends_with("\n    bad\n    worse"), "{tail}");
}

#[tokio::test]
async fn a_log_of_any_length_and_any_bytes_has_an_end() {
    let dir = tempfile::tempdir().unwrap();
    let script = r"head -c 300000 /dev/zero | tr '\0' x; printf '\377\376 the end'";
    let running = start(&dir, script);
    running.exited().await;
    let tail = running.log_tail();
    assert!(
        tail.contains("the end") && tail.len() < 60_000,
        "{} bytes",
        tail.len()
    );
    let stderr = format!("  {}: empty", running.logs().stderr.display());
    assert!(tail.ends_with(&stderr), "{tail}");
}

#[test]
fn a_program_that_is_not_there_is_named_with_its_command() {
    let dir = tempfile::tempdir().unwrap();
    let spec = Spec {
        program: dir.path().join("no where"),
        ..spec(&dir, "")
    };
    let command = format!("'{}' -c ''", spec.program.display());
    let text = spec.start().unwrap_err().to_string();
    assert!(
        text.starts_with("could not start the program for sham: "),
        "{text}"
    );
    assert!(text.contains(&format!("\n  command: {command}")), "{text}");
}

#[test]
fn a_log_that_cannot_be_written_is_told() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("sham.stdout.log")).unwrap();
    let text = spec(&dir, "").start().unwrap_err().to_string();
    assert!(
        text.starts_with("could not open the output log for sham: "),
        "{text}"
    );
}

#[tokio::test]
async fn the_printed_command_does_the_same_in_a_shell() {
    let dir = tempfile::tempdir().unwrap();
    let mut spec = spec(&dir, r#"printf '%s|' "$@""#);
    let words = ["sh", "it's", "two words", "", "$HOME", "a=b", "\\", "*"];
    spec.args.extend(words.map(OsString::from));
    let printed = spec.to_string();
    let own = spec.start().unwrap();
    own.exited().await;
    let pasted = tempfile::tempdir().unwrap();
    let again = start(&pasted, &printed);
    again.exited().await;
    let said = |running: &Running| std::fs::read_to_string(&running.logs().stdout).unwrap();
    assert_eq!(said(&own), "it's|two words||$HOME|a=b|\\|*|");
    assert_eq!(said(&again), said(&own), "{printed}");
}

#[tokio::test]
async fn hidden_variables_do_not_reach_the_process() {
    let dir = tempfile::tempdir().unwrap();
    let mut hiding = spec(&dir, "echo ${HOME-hidden}; echo ${PATH:+there}");
    hiding.hidden_env = &["HOM"];
    let running = hiding.start().unwrap();
    running.exited().await;
    let said = std::fs::read_to_string(&running.logs().stdout).unwrap();
    assert_eq!(said, "hidden\nthere\n");
}

#[tokio::test]
async fn a_lifeline_stays_open_and_null_is_empty() {
    let dir = tempfile::tempdir().unwrap();
    let mut held = spec(&dir, "echo up; cat; echo ended");
    held.stdin = Stdin::Lifeline;
    let held = held.start().unwrap();
    first_line(&held).await;
    let dir = tempfile::tempdir().unwrap();
    let empty = start(&dir, "echo up; cat; echo ended");
    // The same script has come to its end here, so the other one is held.
    assert_eq!(empty.exited().await.status.code(), Some(0));
    assert_eq!(held.exit(), None);
    assert_eq!(
        std::fs::read_to_string(&held.logs().stdout).unwrap(),
        "up\n"
    );
}

#[tokio::test]
async fn a_process_outlives_the_thread_that_started_it() {
    let dir = tempfile::tempdir().unwrap();
    let spec = spec(
        &dir,
        "echo up; until [ -e stop ]; do sleep 0.01; done; echo down",
    );
    // The parent-death signal of Linux follows a thread, and this one ends at once.
    let running = std::thread::spawn(move || spec.start().unwrap())
        .join()
        .unwrap();
    first_line(&running).await;
    std::fs::write(dir.path().join("stop"), "").unwrap();
    assert_eq!(running.exited().await.status.code(), Some(0));
    let said = std::fs::read_to_string(&running.logs().stdout).unwrap();
    assert_eq!(said, "up\ndown\n");
}
