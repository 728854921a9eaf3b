//! What came out of the last run, for `--failed`: one small file beside the run directories.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// The file, in the directory of run directories.
const FILE: &str = "last-run.json";
/// Raise it when a field changes its meaning or goes.
const VERSION: u32 = 1;

#[derive(Debug, Serialize, Deserialize)]
struct LastRun {
    version: u32,
    seed: u64,
    /// Ids of scenarios that are to be looked at again.
    not_passed: BTreeSet<String>,
    /// Ids of all the others.
    passed: BTreeSet<String>,
}

/// Why the last run is not known.
#[derive(Debug, thiserror::Error)]
pub(super) enum HistoryError {
    /// There was none.
    #[error("no run is recorded in {}; run the scenarios once without it", .0.display())]
    None(PathBuf),
    /// The file is not what this program writes.
    #[error("{} cannot be read ({why}); run the scenarios once without it", path.display())]
    Unreadable { path: PathBuf, why: String },
}

/// Remembers a run. `outcomes` has each scenario's id and whether there is a reason to look at it again.
pub(super) fn remember(
    base: &Path,
    seed: u64,
    outcomes: impl IntoIterator<Item = (String, bool)>,
) -> io::Result<()> {
    let (mut not_passed, mut passed) = (BTreeSet::new(), BTreeSet::new());
    for (id, again) in outcomes {
        if again {
            passed.remove(&id);
            not_passed.insert(id);
        } else if !not_passed.contains(&id) {
            passed.insert(id);
        }
    }
    let run = LastRun {
        version: VERSION,
        seed,
        not_passed,
        passed,
    };
    let text = serde_json::to_string_pretty(&run)?;
    std::fs::create_dir_all(base)?;
    // Whole or not at all: two runs may end at once.
    let whole = tempfile::NamedTempFile::new_in(base)?;
    std::fs::write(whole.path(), text)?;
    whole
        .persist(base.join(FILE))
        .map_err(|error| error.error)?;
    Ok(())
}

/// The ids of the scenarios that did not pass in the last run.
pub(super) fn not_passed(base: &Path) -> Result<BTreeSet<String>, HistoryError> {
    let path = base.join(FILE);
    let unreadable = |why: String| HistoryError::Unreadable {
        path: path.clone(),
        why,
    };
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(HistoryError::None(base.to_owned()));
        }
        Err(error) => return Err(unreadable(error.to_string())),
    };
    let run: LastRun =
        serde_json::from_str(&text).map_err(|error| unreadable(error.to_string()))?;
    if run.version != VERSION {
        return Err(unreadable(format!("it is of version {}", run.version)));
    }
    Ok(run.not_passed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_bad_round_is_enough_to_be_looked_at_again() {
        let base = tempfile::tempdir().unwrap();
        let none = not_passed(base.path()).unwrap_err();
        assert!(matches!(none, HistoryError::None(_)), "{none}");
        let outcomes = [
            ("a", true),
            ("b", false),
            ("a", false),
            ("b", true),
            ("c", false),
        ];
        let outcomes = outcomes.map(|(id, again)| (id.to_owned(), again));
        remember(base.path(), 7, outcomes).unwrap();
        assert!(not_passed(base.path()).unwrap().iter().eq(["a", "b"]));
        remember(base.path(), 7, [("a".to_owned(), false)]).unwrap();
        assert!(not_passed(base.path()).unwrap().is_empty());
        std::fs::write(base.path().join(FILE), "{}").unwrap();
        assert!(not_passed(base.path()).is_err());
    }
}
