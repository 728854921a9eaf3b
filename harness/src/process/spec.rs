//! What to run, before it runs.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::fs::{File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::Running;

/// What a child reads on its standard input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stdin {
    /// Nothing.
    Null,
    /// A pipe that is never written to and closes when the harness ends, however it ends. The bundled daemons watch it.
    Lifeline,
}

/// The files that hold what a process printed, from its first byte.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogFiles {
    /// Standard output.
    pub stdout: PathBuf,
    /// Standard error.
    pub stderr: PathBuf,
}

/// A program, its arguments and where its output goes. `Display` prints a line that can be pasted into a shell.
#[derive(Debug, Clone)]
pub struct Spec {
    /// The name of this instance in messages, such as `alice` or `bitcoind`.
    pub name: String,
    /// The program.
    pub program: PathBuf,
    /// Its arguments.
    pub args: Vec<OsString>,
    /// Variables whose name begins with one of these do not reach the child: some daemons read settings there.
    pub hidden_env: &'static [&'static str],
    /// Variables that the child gets beside those of this process.
    pub env: Vec<(String, OsString)>,
    /// Working directory, which must exist.
    pub dir: PathBuf,
    /// Both output streams.
    pub logs: LogFiles,
    /// Standard input.
    pub stdin: Stdin,
}

/// Why a process could not be started at all.
#[derive(Debug, thiserror::Error)]
#[error("could not {doing} for {name}: {source}\n  command: {command}")]
pub struct SpawnError {
    /// The instance.
    pub name: String,
    /// The step that failed, such as "start the program".
    pub doing: &'static str,
    /// The command line.
    pub command: String,
    /// The cause.
    pub source: io::Error,
}

impl LogFiles {
    /// `NAME.stdout.log` and `NAME.stderr.log` in `dir`.
    pub fn in_dir(dir: &Path, name: &str) -> Self {
        LogFiles {
            stdout: dir.join(format!("{name}.stdout.log")),
            stderr: dir.join(format!("{name}.stderr.log")),
        }
    }
}

impl Spec {
    /// Starts the process. Log files are appended to, so that a restarted instance keeps its history.
    ///
    /// # Errors
    /// When a log file cannot be opened or the program cannot be executed.
    pub fn start(self) -> Result<Running, SpawnError> {
        let error = |doing, source| SpawnError {
            name: self.name.clone(),
            doing,
            command: self.to_string(),
            source,
        };
        let stdout = append(&self.logs.stdout).map_err(|e| error("open the output log", e))?;
        let stderr = append(&self.logs.stderr).map_err(|e| error("open the error log", e))?;
        let mut command = Command::new(&self.program);
        command
            .args(&self.args)
            .current_dir(&self.dir)
            .stdout(stdout)
            .stderr(stderr);
        for name in self.hidden_variables() {
            command.env_remove(name);
        }
        command.envs(self.env.iter().map(|(name, value)| (name, value)));
        command.stdin(match self.stdin {
            Stdin::Null => Stdio::null(),
            Stdin::Lifeline => Stdio::piped(),
        });
        let child = super::spawner::spawn(command).map_err(|e| error("start the program", e))?;
        Ok(Running::new(self, child))
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "names only, to take them out of a child's environment"
    )]
    fn hidden_variables(&self) -> impl Iterator<Item = OsString> {
        std::env::vars_os().map(|(name, _)| name).filter(|name| {
            self.hidden_env
                .iter()
                .any(|p| name.as_encoded_bytes().starts_with(p.as_bytes()))
        })
    }
}

fn append(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).open(path)
}

impl fmt::Display for Spec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        quoted(self.program.as_os_str(), f)?;
        for arg in &self.args {
            f.write_str(" ")?;
            quoted(arg, f)?;
        }
        Ok(())
    }
}

fn quoted(word: &OsStr, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let text = word.to_string_lossy();
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:,+@%".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        f.write_str(&text)
    } else {
        write!(f, "'{}'", text.replace('\'', r"'\''"))
    }
}
