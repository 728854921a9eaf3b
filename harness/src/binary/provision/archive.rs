//! The official release archive, pinned by version and SHA-256.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use bitcoin::hashes::{Hash as _, HashEngine as _, sha256};

use super::manifest::{Layout, Manifest, ManifestError, hash_into};
use super::{CachedBitcoind, Provenance, Source};
use crate::binary::{Archive, Flavour, Pins, Total};
use crate::process::{RunError, Said, run_to_end};
use crate::time::Deadline;

/// A host that does not answer by then counts as out of reach, and the next source gets its turn.
const REACH_WITHIN: Duration = Duration::from_secs(4);
/// The longest silence in the middle of a download.
const STALL: Duration = Duration::from_secs(30);
/// Where unfinished downloads lie, in the directory of cached nodes.
pub(super) const DOWNLOADS: &str = ".downloads";
/// No release archive is anywhere near this size.
const MAX_BYTES: u64 = 512 << 20;
/// For `tar`, which needs a second or two.
const UNPACK_WITHIN: Duration = Duration::from_secs(120);

#[derive(Debug, thiserror::Error)]
pub(super) enum ArchiveError {
    #[error("there is none for {0}")]
    NoPlatform(String),
    #[error("could not download {url}: {why}")]
    Download { url: String, why: String },
    #[error("{url} has SHA-256 {found}, but daemons.lock says {pinned}; it was deleted")]
    Hash {
        url: String,
        found: String,
        pinned: String,
    },
    #[error("could not unpack {url}: {why}")]
    Unpack { url: String, why: String },
    #[error(transparent)]
    Run(#[from] RunError),
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    #[error("could not write to the cache: {0}")]
    Io(#[from] io::Error),
}

/// Downloads, verifies, unpacks and tries the archive of this platform.
pub(super) fn get(source: &Source<'_>) -> Result<CachedBitcoind, ArchiveError> {
    let platform = Pins::platform();
    let pins = &source.settings.pins.bitcoind;
    let archive = pins
        .archive
        .get(&platform)
        .ok_or_else(|| ArchiveError::NoPlatform(platform.clone()))?;
    let file = fetch(source, archive)?;
    let staging = source.staging("archive")?;
    let limit = source.deadline.at_most(UNPACK_WITHIN);
    unpack(&file, &staging.path, &pins.version, limit).map_err(|why| ArchiveError::Unpack {
        url: archive.url.clone(),
        why,
    })?;
    let provenance = Provenance::Archive {
        url: archive.url.clone(),
        sha256: archive.sha256.clone(),
    };
    let layout = Layout {
        program: "bin/bitcoind".into(),
        loader: None,
    };
    let name = format!("core-{}-{platform}", pins.version);
    let pinned = pins.version.clone();
    // Core 29.4 says 29.4.0.
    let fits = |version: &crate::binary::Version| {
        version.flavour == Some(Flavour::Core)
            && (format!("{}.", version.text)).starts_with(&format!("{pinned}."))
    };
    let expected = (fits, format!("Bitcoin Core {}", pins.version));
    let manifest = Manifest::of_tried(&staging.path, name, layout, provenance, expected)?;
    // The cache keeps the program only. Deleted first: once the program is there, nobody looks for the archive again.
    std::fs::remove_file(&file)?;
    Ok(source.publish(staging, manifest)?)
}

/// The archive's file, downloaded and verified. A part that an earlier process left is continued.
fn fetch(source: &Source<'_>, archive: &Archive) -> Result<PathBuf, ArchiveError> {
    let downloads = source.home.join(DOWNLOADS);
    // Named by its hash: a part of one release is never continued with another.
    let part = downloads.join(format!("{}.part", archive.sha256));
    let resumed = part.metadata().is_ok_and(|meta| meta.len() > 0);
    match download(source, archive, &part) {
        Err(ArchiveError::Hash { .. }) if resumed => {
            source
                .progress
                .note("bitcoind: the continued download is not what is pinned; starting over");
            download(source, archive, &part)?;
        }
        done => done?,
    }
    Ok(part)
}

/// Downloads into `part`, from its end on, and verifies the whole. A file with the wrong hash is deleted.
fn download(source: &Source<'_>, archive: &Archive, part: &Path) -> Result<(), ArchiveError> {
    let failed = |why: String| ArchiveError::Download {
        url: archive.url.clone(),
        why,
    };
    let mut engine = sha256::HashEngine::default();
    let mut have = match File::open(part) {
        Ok(mut file) => hash_into(&mut engine, &mut file)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
        Err(error) => return Err(error.into()),
    };
    if have > 0 && sha256::Hash::from_engine(engine.clone()).to_string() == archive.sha256 {
        return Ok(());
    }
    let (response, from) = request(archive, have, source.deadline).map_err(failed)?;
    std::fs::create_dir_all(part.parent().expect("it lies in the downloads"))?;
    let mut file = OpenOptions::new().create(true).append(true).open(part)?;
    if from < have {
        file.set_len(0)?;
        (engine, have) = (sha256::HashEngine::default(), 0);
    }
    let total = response
        .body()
        .content_length()
        .map_or(Total::Unknown, |rest| Total::Bytes(have + rest));
    let name = archive.url.rsplit('/').next().unwrap_or(&archive.url);
    source
        .progress
        .begin(&format!("bitcoind: downloading {name}"), total);
    let copied = copy(source, response, &mut file, &mut engine, have);
    source
        .progress
        .end(if copied.is_ok() { "done" } else { "failed" });
    copied.map_err(|error| failed(error.to_string()))?;
    let found = sha256::Hash::from_engine(engine).to_string();
    if found != archive.sha256 {
        std::fs::remove_file(part)?;
        let (url, pinned) = (archive.url.clone(), archive.sha256.clone());
        return Err(ArchiveError::Hash { url, found, pinned });
    }
    Ok(())
}

type Response = ureq::http::Response<ureq::Body>;

/// Asks for the archive from byte `have` on; gives the answer and the byte with which it begins.
fn request(archive: &Archive, have: u64, deadline: Deadline) -> Result<(Response, u64), String> {
    let agent = ureq::Agent::config_builder()
        .timeout_resolve(Some(REACH_WITHIN))
        .timeout_connect(Some(REACH_WITHIN))
        .timeout_recv_response(Some(STALL))
        .timeout_per_read(Some(STALL))
        .timeout_global(Some(deadline.remaining()))
        .http_status_as_error(false)
        .build()
        .new_agent();
    let get = |from: u64| {
        let mut request = agent.get(&archive.url);
        if from > 0 {
            request = request.header("Range", format!("bytes={from}-"));
        }
        request.call().map_err(|error| error.to_string())
    };
    let response = get(have)?;
    let continues = format!("bytes {have}-");
    let range = response
        .headers()
        .get("content-range")
        .and_then(|value| value.to_str().ok());
    match response.status().as_u16() {
        200 => Ok((response, 0)),
        206 if range.is_some_and(|range| range.starts_with(&continues)) => Ok((response, have)),
        // The part is as long as the file or longer, and not the file: it is worth nothing.
        206 | 416 if have > 0 => match get(0)? {
            whole if whole.status().as_u16() == 200 => Ok((whole, 0)),
            other => Err(format!("the server answered {}", other.status())),
        },
        _ => Err(format!("the server answered {}", response.status())),
    }
}

fn copy(
    source: &Source<'_>,
    response: Response,
    file: &mut File,
    engine: &mut sha256::HashEngine,
    mut have: u64,
) -> io::Result<()> {
    let mut body = response.into_body().into_reader();
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let count = body.read(&mut buffer)?;
        if count == 0 {
            return Ok(());
        }
        have += count as u64;
        if have > MAX_BYTES {
            return Err(io::Error::other("it is larger than any release"));
        }
        engine.input(&buffer[..count]);
        file.write_all(&buffer[..count])?;
        source.progress.at(have);
    }
}

/// Takes the two programs of use out of the archive.
fn unpack(file: &Path, into: &Path, version: &str, limit: Deadline) -> Result<(), String> {
    let mut tar = Command::new("tar");
    tar.arg("-xzf")
        .arg(file)
        .arg("-C")
        .arg(into)
        .arg("--strip-components=1");
    tar.args(["bitcoind", "bitcoin-cli"].map(|program| format!("bitcoin-{version}/bin/{program}")));
    let output = run_to_end(tar, limit.remaining()).map_err(|error| error.to_string())?;
    if output.status.success() {
        return Ok(());
    }
    let stderr = String::from_utf8_lossy(&output.stderr);
    Err(format!("tar ended with {}{}", output.status, Said(&stderr)))
}
