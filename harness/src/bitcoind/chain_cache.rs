//! The first 101 blocks, mined once per bitcoind version and copied into every world.
//!
//! A coinbase can be spent after 100 blocks, so a world needs 101 before anybody can be paid. The cache is a data
//! directory of a node that was stopped cleanly. It appears by a rename, whole or not at all, and is never written to
//! again, so that any number of processes may use it at once. An entry that a node cannot use is taken away as a whole.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Raise it when the settings that made the cached data change.
const FORMAT: u32 = 1;
/// Files of a stopped node that belong to that one node.
const LEFT_OUT: &[&str] = &[
    ".lock",
    ".cookie",
    "peers.dat",
    "anchors.dat",
    "banlist.json",
    "bitcoind.pid",
];

/// Where cached chains are kept; a missing one is made by the first world that needs it.
#[derive(Debug, Clone)]
pub struct ChainCache {
    dir: PathBuf,
}

impl ChainCache {
    /// A cache in `dir`, which is made when something is stored.
    pub fn in_dir(dir: impl Into<PathBuf>) -> Self {
        ChainCache { dir: dir.into() }
    }

    /// The entry for nodes of this version text.
    pub(super) fn entry(&self, version: &str) -> PathBuf {
        let name: String = version
            .chars()
            .map(|c| {
                if c.is_ascii_alphanumeric() || c == '.' {
                    c
                } else {
                    '-'
                }
            })
            .collect();
        self.dir.join(format!("{name}-v{FORMAT}"))
    }

    /// Copies the entry for `version` to `to`. `Ok(false)` when there is none.
    pub(super) fn restore(&self, version: &str, to: &Path) -> io::Result<bool> {
        let entry = self.entry(version);
        if !entry.exists() {
            return Ok(false);
        }
        copy_tree(&entry, to)?;
        Ok(true)
    }

    /// Takes the entry for `version` away, whole and at once. Who copies it at this moment sees an error and mines.
    pub(super) fn discard(&self, version: &str) -> io::Result<()> {
        let aside = tempfile::Builder::new()
            .prefix(".discarded-")
            .tempdir_in(&self.dir)?;
        match fs::rename(self.entry(version), aside.path().join("data")) {
            // Another process was first.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            done => done,
        }
    }

    /// Makes an entry of the data directory of a stopped node. When another process was first, its entry stays.
    pub(super) fn store(&self, version: &str, from: &Path) -> io::Result<()> {
        let entry = self.entry(version);
        fs::create_dir_all(&self.dir)?;
        let staging = tempfile::Builder::new()
            .prefix(".staging-")
            .tempdir_in(&self.dir)?;
        let whole = staging.path().join("data");
        copy_tree(from, &whole)?;
        match fs::rename(&whole, &entry) {
            Err(_) if entry.exists() => Ok(()),
            other => other,
        }
    }
}

fn copy_tree(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let name = entry.file_name();
        if LEFT_OUT.iter().any(|left_out| *left_out == name) {
            continue;
        }
        let target = to.join(&name);
        if entry.file_type()?.is_dir() {
            copy_tree(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A data directory with what a copy must have and must not have.
    fn data(dir: &Path) -> PathBuf {
        let from = dir.join("from");
        fs::create_dir_all(from.join("blocks")).unwrap();
        fs::write(from.join("blocks/blk00000.dat"), "blocks").unwrap();
        fs::write(from.join(".lock"), "").unwrap();
        fs::write(from.join("peers.dat"), "").unwrap();
        from
    }

    fn names(dir: &Path) -> Vec<String> {
        let entries = fs::read_dir(dir).unwrap();
        let mut names: Vec<_> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort_unstable();
        names
    }

    #[test]
    fn an_entry_is_stored_once_restored_often_and_discarded_whole() {
        let dir = tempfile::tempdir().unwrap();
        let cache = ChainCache::in_dir(dir.path().join("chains"));
        let to = dir.path().join("to");
        assert!(!cache.restore("core-29.0", &to).unwrap());
        let from = data(dir.path());
        cache.store("core-29.0", &from).unwrap();
        assert!(cache.restore("core-29.0", &to).unwrap());
        assert_eq!(names(&to), ["blocks"]);
        assert_eq!(
            fs::read_to_string(to.join("blocks/blk00000.dat")).unwrap(),
            "blocks"
        );
        assert!(
            !cache
                .restore("core-29.1", &dir.path().join("other"))
                .unwrap()
        );

        // Who comes second changes nothing, and leaves nothing lying about.
        fs::write(from.join("blocks/blk00000.dat"), "others").unwrap();
        cache.store("core-29.0", &from).unwrap();
        assert_eq!(
            names(&dir.path().join("chains")),
            [format!("core-29.0-v{FORMAT}")]
        );
        let kept = cache.entry("core-29.0").join("blocks/blk00000.dat");
        assert_eq!(fs::read_to_string(kept).unwrap(), "blocks");

        cache.discard("core-29.0").unwrap();
        cache.discard("core-29.0").unwrap();
        assert!(names(&dir.path().join("chains")).is_empty());
        assert!(!cache.restore("core-29.0", &to).unwrap());
    }

    #[test]
    fn an_entry_that_is_no_directory_is_an_error_and_can_be_discarded() {
        let dir = tempfile::tempdir().unwrap();
        let cache = ChainCache::in_dir(dir.path());
        fs::write(cache.entry("core-29.0"), "garbage").unwrap();
        assert!(cache.restore("core-29.0", &dir.path().join("to")).is_err());
        cache.discard("core-29.0").unwrap();
        assert!(!cache.entry("core-29.0").exists());
    }

    #[test]
    fn a_version_names_one_file_whatever_it_says() {
        let cache = ChainCache::in_dir("/chains");
        let entry = cache.entry("../knots 29.4/../x");
        assert_eq!(entry.parent(), Some(Path::new("/chains")));
    }
}
