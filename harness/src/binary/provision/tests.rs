//! Tests of provisioning against a server on the loopback interface, with real archives, locks and processes.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use super::super::testing::{CORE, Notes, script, settings};
use super::super::*;
use super::lock;
use super::manifest::file_sha256;
use crate::process::run_to_end;

const LONG: Duration = Duration::from_secs(30);

/// How the server answers a request.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Manner {
    /// With everything that was asked for.
    Whole,
    /// With half of it; then it hangs up.
    Half,
    /// With half of it; then it says no more.
    Stall,
}

/// Serves one file. Answers in the given manners, one after the other, the last one for ever.
struct Server {
    url: String,
    /// The `Range` of each request, or nothing.
    ranges: Arc<Mutex<Vec<Option<String>>>>,
    /// Hears of each answer that stalls.
    stalled: Receiver<()>,
}

impl Server {
    fn start(file: &Path, manners: &[Manner]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!(
            "http://{}/bitcoin-29.4.tar.gz",
            listener.local_addr().unwrap()
        );
        let body: Arc<Vec<u8>> = Arc::new(std::fs::read(file).unwrap());
        let ranges: Arc<Mutex<Vec<Option<String>>>> = Arc::default();
        let (sender, stalled) = channel();
        let (seen, manners) = (ranges.clone(), manners.to_vec());
        thread::spawn(move || {
            for (i, stream) in listener.incoming().enumerate() {
                let manner = manners[i.min(manners.len() - 1)];
                let (seen, body, sender) = (seen.clone(), body.clone(), sender.clone());
                thread::spawn(move || answer(stream.unwrap(), &body, manner, &seen, &sender));
            }
        });
        Server {
            url,
            ranges,
            stalled,
        }
    }

    fn ranges(&self) -> Vec<Option<String>> {
        self.ranges.lock().unwrap().clone()
    }
}

fn answer(
    mut stream: TcpStream,
    body: &[u8],
    manner: Manner,
    seen: &Mutex<Vec<Option<String>>>,
    stalled: &Sender<()>,
) {
    let lines: Vec<_> = BufReader::new(stream.try_clone().unwrap())
        .lines()
        .map_while(Result::ok)
        .take_while(|line| !line.is_empty())
        .collect();
    let range = lines.iter().find_map(|line| {
        line.to_lowercase()
            .strip_prefix("range: ")
            .map(str::to_owned)
    });
    seen.lock().unwrap().push(range.clone());
    let from: usize = range.map_or(0, |r| r["bytes=".len()..r.len() - 1].parse().unwrap());
    let rest = &body[from..];
    let status = match from {
        0 => "200 OK".to_owned(),
        _ => format!(
            "206 Partial\r\nContent-Range: bytes {from}-{}/{}",
            body.len() - 1,
            body.len()
        ),
    };
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        rest.len()
    );
    let sent = if manner == Manner::Whole {
        rest
    } else {
        &rest[..rest.len() / 2]
    };
    // A client that was killed does not listen any more.
    let _ = stream
        .write_all(head.as_bytes())
        .and_then(|()| stream.write_all(sent));
    if manner == Manner::Stall {
        let _ = stalled.send(());
        // Held until the client goes.
        let _ = BufReader::new(stream).read_line(&mut String::new());
    }
}

/// A release archive like the real ones, with a program that says `version`.
fn archive(dir: &Path, version: &str) -> PathBuf {
    let tree = dir.join("tree/bitcoin-29.4/bin");
    // Incompressible, so that half an archive is really half.
    let ballast: String = (0u64..20_000)
        .map(|i| format!("{:x}", i.wrapping_mul(0x9E37_79B9_7F4A_7C15)))
        .collect();
    let body = format!("echo '{version}'; exit\n{ballast}");
    let source = dir.join("body");
    std::fs::write(&source, body).unwrap();
    std::fs::create_dir_all(&tree).unwrap();
    let mut make = Command::new("sh");
    let text = "cd \"$1\" && { echo '#!/bin/sh'; cat body; } > tree/bitcoin-29.4/bin/bitcoind \
                && chmod 755 tree/bitcoin-29.4/bin/bitcoind \
                && cp tree/bitcoin-29.4/bin/bitcoind tree/bitcoin-29.4/bin/bitcoin-cli \
                && tar -czf archive.tar.gz -C tree bitcoin-29.4";
    make.args(["-c", text, "sh"]).arg(dir);
    let output = run_to_end(make, LONG).unwrap();
    assert!(output.status.success(), "{output:?}");
    dir.join("archive.tar.gz")
}

fn pins(url: &str, sha256: &str) -> Arc<Pins> {
    let mut pins = (*Pins::embedded()).clone();
    let archive = Archive {
        url: url.into(),
        sha256: sha256.into(),
    };
    pins.bitcoind.archive = BTreeMap::from([(Pins::platform(), archive)]);
    Arc::new(pins)
}

/// Everything in the cache, as sorted relative paths, without the lock.
fn cache_files(settings: &Settings) -> Vec<String> {
    let root = settings.cache_dir.clone().unwrap();
    let (mut open, mut found) = (vec![root.clone()], Vec::new());
    while let Some(dir) = open.pop() {
        for entry in std::fs::read_dir(dir).into_iter().flatten() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path)
            } else {
                found.push(path)
            }
        }
    }
    let relative = found
        .iter()
        .map(|p| p.strip_prefix(&root).unwrap().display().to_string());
    let mut relative: Vec<_> = relative.filter(|p| !p.ends_with("/.lock")).collect();
    relative.sort();
    relative
}

fn complete_cache() -> Vec<String> {
    let dir = format!("bitcoind/core-29.4-{}", Pins::platform());
    ["bin/bitcoin-cli", "bin/bitcoind", "manifest.json"]
        .map(|file| format!("{dir}/{file}"))
        .to_vec()
}

/// A directory, settings that see only it, and a server for a good archive.
fn good(manners: &[Manner]) -> (tempfile::TempDir, Settings, Server) {
    let dir = tempfile::tempdir().unwrap();
    let file = archive(dir.path(), CORE);
    let server = Server::start(&file, manners);
    let settings = Settings {
        pins: pins(&server.url, &file_sha256(&file).unwrap()),
        provision_within: LONG,
        ..settings(dir.path())
    };
    (dir, settings, server)
}

fn get(settings: &Settings) -> Binary {
    resolve(Role::Bitcoind, settings, &Quiet).unwrap_or_else(|error| panic!("{error}"))
}

#[test]
fn an_archive_is_downloaded_once() {
    let (_dir, settings, server) = good(&[Manner::Whole]);
    let first = get(&settings);
    assert_eq!(
        (first.origin, first.version.text.as_str()),
        (Origin::Provisioned, "29.4.0")
    );
    assert!(
        matches!(&first.provenance, Some(Provenance::Archive { url, .. }) if *url == server.url)
    );
    assert_eq!(cache_files(&settings), complete_cache());
    let offline = Settings {
        offline: true,
        ..settings
    };
    let second = get(&offline);
    assert_eq!(second.origin, Origin::Cache);
    assert_eq!(
        (second.program, second.version),
        (first.program, first.version)
    );
    assert_eq!(server.ranges(), [None]);
}

#[test]
fn a_corrupted_archive_is_refused_and_deleted() {
    let (_dir, mut settings, server) = good(&[Manner::Whole]);
    settings.pins = pins(&server.url, &"ab".repeat(32));
    let text = resolve(Role::Bitcoind, &settings, &Quiet)
        .unwrap_err()
        .to_string();
    assert!(
        text.contains("has SHA-256") && text.contains(&"ab".repeat(32)),
        "{text}"
    );
    assert_eq!(cache_files(&settings), [""; 0]);
}

#[test]
fn an_archive_of_another_version_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let file = archive(dir.path(), "Bitcoin Core daemon version v29.40.0");
    let server = Server::start(&file, &[Manner::Whole]);
    let pins = pins(&server.url, &file_sha256(&file).unwrap());
    let settings = Settings {
        pins,
        ..settings(dir.path())
    };
    let text = resolve(Role::Bitcoind, &settings, &Quiet)
        .unwrap_err()
        .to_string();
    assert!(
        text.contains("is Bitcoin Core 29.40.0, not Bitcoin Core 29.4"),
        "{text}"
    );
    assert!(
        cache_files(&settings)
            .iter()
            .all(|file| file.starts_with("bitcoind/.downloads/") || file.contains("versions/"))
    );
}

#[test]
fn a_broken_download_is_continued() {
    let (_dir, settings, server) = good(&[Manner::Half, Manner::Whole]);
    let text = resolve(Role::Bitcoind, &settings, &Quiet)
        .unwrap_err()
        .to_string();
    assert!(text.contains("could not download"), "{text}");
    assert_eq!(get(&settings).origin, Origin::Provisioned);
    let ranges = server.ranges();
    assert!(ranges[0].is_none() && ranges[1].is_some(), "{ranges:?}");
    assert_eq!(cache_files(&settings), complete_cache());
}

#[test]
fn a_spoilt_part_is_thrown_away() {
    let (_dir, settings, server) = good(&[Manner::Whole]);
    let part = &settings.pins.bitcoind.archive[&Pins::platform()].sha256;
    let downloads = settings
        .cache_dir
        .clone()
        .unwrap()
        .join("bitcoind/.downloads");
    std::fs::create_dir_all(&downloads).unwrap();
    std::fs::write(downloads.join(format!("{part}.part")), "rubbish").unwrap();
    assert_eq!(get(&settings).origin, Origin::Provisioned);
    assert_eq!(server.ranges(), [Some("bytes=7-".into()), None]);
}

#[test]
fn a_program_that_was_cut_is_replaced() {
    let (_dir, settings, server) = good(&[Manner::Whole]);
    std::fs::write(get(&settings).path, "cut").unwrap();
    assert_eq!(get(&settings).origin, Origin::Provisioned);
    assert_eq!(server.ranges().len(), 2);
    assert_eq!(cache_files(&settings), complete_cache());
}

#[test]
fn of_two_at_a_time_one_downloads_and_the_other_waits() {
    let (_dir, settings, server) = good(&[Manner::Whole]);
    let origins: Vec<_> = thread::scope(|scope| {
        let both = [(); 2].map(|()| scope.spawn(|| get(&settings).origin));
        both.into_iter().map(|one| one.join().unwrap()).collect()
    });
    assert!(
        origins
            .iter()
            .all(|o| [Origin::Provisioned, Origin::Cache].contains(o)),
        "{origins:?}"
    );
    assert_eq!(server.ranges().len(), 1);
}

#[test]
fn waiting_for_another_process_ends() {
    let (_dir, mut settings, _server) = good(&[Manner::Whole]);
    let home = settings.cache_dir.clone().unwrap().join("bitcoind");
    std::fs::create_dir_all(&home).unwrap();
    let holder = lock::acquire(
        &home.join(".lock"),
        crate::time::Deadline::after(LONG),
        &Quiet,
    )
    .unwrap();
    settings.provision_within = Duration::from_millis(100);
    let notes = Notes::default();
    let text = resolve(Role::Bitcoind, &settings, &notes)
        .unwrap_err()
        .to_string();
    let pid = std::process::id().to_string();
    assert!(
        text.contains("waited") && text.contains(".lock") && text.contains(&pid),
        "{text}"
    );
    assert!(
        notes.text().contains("another process") && notes.text().contains("waiting"),
        "{}",
        notes.text()
    );
    drop(holder);
    settings.provision_within = LONG;
    get(&settings);
}

const CHILD: &str = "SWAPRIG_TEST_PROVISION";

/// Not a test of its own: the other process in those below, which run this test binary again.
#[test]
fn child_process() {
    #[expect(
        clippy::disallowed_methods,
        reason = "how a test tells its child what to do"
    )]
    let Ok(task) = std::env::var(CHILD) else {
        return;
    };
    let [dir, url, sha256] = task.split('|').collect::<Vec<_>>()[..] else {
        panic!("{task}")
    };
    get(&Settings {
        pins: pins(url, sha256),
        provision_within: LONG,
        ..settings(Path::new(dir))
    });
}

fn child(dir: &Path, settings: &Settings) -> Command {
    let Archive { url, sha256 } = &settings.pins.bitcoind.archive[&Pins::platform()];
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "binary::provision::tests::child_process"]);
    command.env(CHILD, format!("{}|{url}|{sha256}", dir.display()));
    command
}

#[test]
fn of_two_processes_one_downloads() {
    let (dir, settings, server) = good(&[Manner::Whole]);
    let statuses: Vec<_> = thread::scope(|scope| {
        let run = || {
            run_to_end(child(dir.path(), &settings), LONG)
                .unwrap()
                .status
        };
        let both = [(); 2].map(|()| scope.spawn(run));
        both.into_iter().map(|one| one.join().unwrap()).collect()
    });
    assert!(
        statuses.iter().all(|status| status.success()),
        "{statuses:?}"
    );
    assert_eq!(server.ranges().len(), 1);
    assert_eq!(get(&settings).origin, Origin::Cache);
}

#[test]
fn a_killed_download_is_taken_up_by_the_next_process() {
    let (dir, settings, server) = good(&[Manner::Stall, Manner::Whole]);
    let mut command = child(dir.path(), &settings);
    #[expect(
        clippy::disallowed_methods,
        reason = "it is to be killed half-way; `start` would tie it to a runtime"
    )]
    let mut process = command.stdout(std::process::Stdio::null()).spawn().unwrap();
    server.stalled.recv_timeout(LONG).unwrap();
    process.kill().unwrap();
    process.wait().unwrap();
    // As if it had been killed a moment later, while it unpacked.
    let home = settings.cache_dir.clone().unwrap().join("bitcoind");
    std::fs::create_dir_all(home.join(".staging-archive/bin")).unwrap();
    std::fs::create_dir_all(home.join(".staging-apt/lists")).unwrap();
    assert!(find(Role::Bitcoind, &settings).is_err());
    assert_eq!(get(&settings).origin, Origin::Provisioned);
    assert_eq!(cache_files(&settings), complete_cache());
    assert!(!home.join(".staging-apt").exists());
}

#[cfg(target_os = "linux")]
mod debian;
