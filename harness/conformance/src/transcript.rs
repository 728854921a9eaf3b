//! What daemons said, as a file: recorded once from upstream's, read where there are none to ask.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use serde::{Deserialize, Serialize};

use crate::trial::CaseRun;

/// What was seen in each case, by label.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Transcript {
    /// Which programs said it.
    pub passport: String,
    /// Case → label → what was seen. A case that did not get to its end is not in it.
    pub cases: BTreeMap<String, BTreeMap<String, String>>,
}

impl Transcript {
    /// Of a run.
    pub fn of(passport: impl Into<String>, runs: &[CaseRun]) -> Self {
        let ended = runs.iter().filter(|run| run.stopped.is_none());
        let cases = ended.map(|run| {
            let seen = run
                .seen
                .iter()
                .map(|one| (one.label.clone(), one.saw.clone()));
            (run.name.to_owned(), seen.collect())
        });
        Transcript {
            passport: passport.into(),
            cases: cases.collect(),
        }
    }

    /// What upstream's daemons said when they were last recorded (`UPDATE_GOLDEN=1 cargo test --test conformance`, with
    /// them at hand).
    pub fn recorded() -> &'static Self {
        static RECORDED: LazyLock<Transcript> = LazyLock::new(|| {
            serde_json::from_str(include_str!("../recorded/upstream.json"))
                .expect("the recording was written by this crate")
        });
        &RECORDED
    }

    /// As the text of its file.
    pub fn text(&self) -> String {
        let mut text = serde_json::to_string_pretty(self).expect("it is text alone");
        text.push('\n');
        text
    }
}
