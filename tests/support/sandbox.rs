//! A directory of its own for a test, and `swaprig` run in it as a user runs it.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use swaprig_harness::process::{Exit, LogFiles, Running, Spec, Stdin};
use swaprig_harness::time::Deadline;

use super::SOON;

/// Variables that would change what a run does. A test that wants one sets it.
const CLEARED: &[&str] = &[
    "SWAPRIG_RUN_DIR",
    "SWAPRIG_WORLD",
    "SWAPRIG_BITCOIND_RPC_URL",
    "KEEP_E2E_ARTIFACTS",
    "RUST_BACKTRACE",
    "GITHUB_ACTIONS",
    "GITHUB_STEP_SUMMARY",
];

/// The executable under test.
pub(crate) fn swaprig() -> PathBuf {
    env!("CARGO_BIN_EXE_swaprig").into()
}

/// A temporary directory, deleted when the test has passed and kept, with its path said, when it panics.
pub(crate) struct Sandbox {
    dir: Option<tempfile::TempDir>,
    path: PathBuf,
    calls: AtomicU32,
}

/// A program that runs in a sandbox.
pub(crate) struct Started {
    running: Running,
}

/// A program that has run in a sandbox.
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) exit: Exit,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Sandbox {
    pub(crate) fn new() -> Self {
        let dir = tempfile::Builder::new()
            .prefix("swaprig-test-")
            .tempdir()
            .unwrap();
        // Programs tell their working directory without links in it.
        let path = dir.path().canonicalize().unwrap();
        Sandbox {
            dir: Some(dir),
            path,
            calls: AtomicU32::new(0),
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Where `swaprig` keeps the first run in this directory.
    pub(crate) fn first_run(&self) -> PathBuf {
        self.path.join(".swaprig/runs/1")
    }

    /// Writes a file and gives its path.
    pub(crate) fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        path
    }

    /// Writes an executable shell script. Another process does that: a file that is open for writing here could be
    /// inherited by a program that another test starts at this moment, and then not be executed ("text file busy").
    pub(crate) async fn script(&self, name: &str, body: &str) -> PathBuf {
        let path = self.path.join(name);
        let write = r#"printf '#!/bin/sh\n%s\n' "$1" > "$2" && chmod 755 "$2""#;
        let args = ["-c", write, "sh", body, path.to_str().unwrap()];
        self.start("sh", &args, &[]).done().await.code(0);
        path
    }

    /// Runs `swaprig` with `args`, to its end.
    pub(crate) async fn swaprig<S: AsRef<str>>(&self, args: &[S]) -> Done {
        self.swaprig_with(args, &[]).await
    }

    /// As [`Sandbox::swaprig`], with variables set, or taken away (`None`).
    pub(crate) async fn swaprig_with<S: AsRef<str>>(
        &self,
        args: &[S],
        env: &[(&str, Option<&str>)],
    ) -> Done {
        self.start(swaprig(), args, env).done().await
    }

    /// Starts a program with `args`, and with variables set, or taken away (`None`). It runs in the sandbox.
    pub(crate) fn start<S: AsRef<str>>(
        &self,
        program: impl Into<OsString>,
        args: &[S],
        env: &[(&str, Option<&str>)],
    ) -> Started {
        let number = self.calls.fetch_add(1, Ordering::Relaxed);
        // `env` becomes the program, so the process is the same.
        let cleared = CLEARED.iter().copied();
        let taken = env.iter().filter(|(_, value)| value.is_none());
        let mut words: Vec<OsString> = Vec::new();
        for name in cleared.chain(taken.map(|(name, _)| *name)) {
            words.extend(["-u".into(), name.into()]);
        }
        words.extend(
            env.iter()
                .filter_map(|(name, value)| Some(format!("{name}={}", (*value)?).into())),
        );
        words.push(program.into());
        words.extend(args.iter().map(|arg| arg.as_ref().into()));
        let spec = Spec {
            name: format!("call-{number}"),
            program: "env".into(),
            args: words,
            hidden_env: &[],
            env: Vec::new(),
            dir: self.path.clone(),
            logs: LogFiles::in_dir(&self.path, &format!("call-{number}")),
            stdin: Stdin::Null,
        };
        Started {
            running: spec.start().unwrap(),
        }
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        if std::thread::panicking()
            && let Some(dir) = self.dir.take()
        {
            eprintln!("what the test did is in {}", dir.keep().display());
        }
    }
}

impl Started {
    pub(crate) fn running(&self) -> &Running {
        &self.running
    }

    /// Its standard output so far.
    pub(crate) fn stdout(&self) -> &Path {
        &self.running.logs().stdout
    }

    /// Its standard error so far.
    pub(crate) fn stderr(&self) -> &Path {
        &self.running.logs().stderr
    }

    /// Waits for its end.
    pub(crate) async fn done(self) -> Done {
        let exit = Deadline::after(SOON).bound(self.running.exited()).await;
        let exit = exit.unwrap_or_else(|| {
            panic!(
                "no end within {SOON:?}: {}\n{}",
                self.running.spec(),
                self.running.log_tail()
            )
        });
        let read = |path: &Path| String::from_utf8(std::fs::read(path).unwrap()).unwrap();
        Done {
            exit,
            stdout: read(self.stdout()),
            stderr: read(self.stderr()),
        }
    }
}

impl Done {
    /// Asserts its exit code.
    #[track_caller]
    pub(crate) fn code(self, code: i32) -> Self {
        let Done {
            exit,
            stdout,
            stderr,
        } = &self;
        assert_eq!(
            exit.status.code(),
            Some(code),
            "{exit}\nstdout:\n{stdout}\nstderr:\n{stderr}"
        );
        self
    }
}
