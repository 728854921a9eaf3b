//! What this module's tests share: programs made on the spot, and somebody who writes down what is told.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::time::Duration;

use super::{Environment, Progress, Settings, Total};
use crate::process::run_to_end;

/// Writes a shell script. Another process does that: a file that is open for writing here could be inherited by a
/// program that another test starts at this moment, and then not be executed ("text file busy").
pub(crate) fn script(path: &Path, mode: &str, body: &str) -> PathBuf {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    let mut write = Command::new("sh");
    write.args([
        "-c",
        r#"printf '#!/bin/sh\n%s\n' "$1" > "$2" && chmod "$3" "$2""#,
        "sh",
        body,
    ]);
    write.arg(path).arg(mode);
    let output = run_to_end(write, Duration::from_secs(10)).unwrap();
    assert!(output.status.success(), "{output:?}");
    path.to_owned()
}

/// A program that says `version`, and writes a line to `PROGRAM.asked` each time.
pub(crate) fn program(path: &Path, version: &str) -> PathBuf {
    script(
        path,
        "755",
        &format!("echo asked >> \"$0.asked\"\necho '{version}'"),
    )
}

/// How often a [`program`] was asked.
pub(crate) fn times_asked(program: &Path) -> usize {
    let log = PathBuf::from(format!("{}.asked", program.display()));
    std::fs::read_to_string(log).map_or(0, |text| text.lines().count())
}

pub(crate) const CORE: &str = "Bitcoin Core daemon version v29.4.0";
pub(crate) const KNOTS: &str = "Bitcoin Knots daemon version v29.4.3.knots20260508";

/// Settings that see nothing but `dir/cache` and, as `PATH`, `dir/bin`.
pub(crate) fn settings(dir: &Path) -> Settings {
    Settings {
        cache_dir: Some(dir.join("cache")),
        environment: Environment {
            path: vec![dir.join("bin")],
            apt_dir: dir.join("apt"),
            ..Environment::default()
        },
        ..Settings::default()
    }
}

/// Writes down what it is told.
#[derive(Default)]
pub(crate) struct Notes(Mutex<Vec<String>>);

impl Notes {
    pub(crate) fn text(&self) -> String {
        self.0.lock().unwrap().join("\n")
    }

    fn add(&self, line: &str) {
        self.0.lock().unwrap().push(line.to_owned());
    }
}

impl Progress for Notes {
    fn begin(&self, what: &str, _: Total) {
        self.add(what);
    }
    fn at(&self, _: u64) {}
    fn end(&self, outcome: &str) {
        self.add(outcome);
    }
    fn note(&self, line: &str) {
        self.add(line);
    }
}
