//! The reference of the language in docs/scenarios.md: `swaprig schema --docs docs/scenarios.md` writes it anew.

use std::io;
use std::path::{Path, PathBuf};

use swaprig_scenarios::lang::{self, LoadError, NoExample, Source, reference_page};

use super::Exit;
use super::exit::complain;
use super::select::registry;

const BEGIN: &str = "<!-- The reference begins: written by `swaprig schema --docs docs/scenarios.md`; a test compares. -->\n";
const END: &str = "<!-- The reference ends. -->\n";

/// Why the page was not written.
#[derive(Debug, thiserror::Error)]
enum ReferenceError {
    #[error("{path}: cannot be read or written")]
    Io {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("{path} has not both marks, each on a line of its own:\n{BEGIN}{END}")]
    NoMarks { path: PathBuf },
    #[error("the examples cannot be read")]
    Examples(#[from] LoadError),
    #[error(transparent)]
    NoExample(#[from] NoExample),
}

/// Writes the reference into a page that has the marks.
pub(super) fn write(page: &Path) -> Exit {
    match rewritten(page) {
        Ok(()) => Exit::Passed,
        Err(error) => {
            complain(&error);
            Exit::Usage
        }
    }
}

fn rewritten(page: &Path) -> Result<(), ReferenceError> {
    let failed = |source| ReferenceError::Io {
        path: page.to_owned(),
        source,
    };
    let text = std::fs::read_to_string(page).map_err(failed)?;
    let marks = (text.find(BEGIN), text.find(END));
    let (Some(begin), Some(end)) = marks else {
        let path = page.to_owned();
        return Err(ReferenceError::NoMarks { path });
    };
    let root = page.parent().unwrap_or(Path::new("")).join("../scenarios");
    let sources = lang::load(&[root])?;
    let link = |source: &Source| format!("../scenarios/{}.scenario.toml", source.id());
    let reference = reference_page(&registry(), &sources, link)?;
    let before = &text[..begin + BEGIN.len()];
    let after = text.get(end..).unwrap_or_default();
    let whole = format!("{before}{reference}\n{after}");
    std::fs::write(page, whole).map_err(failed)
}
