//! Judges runs: what is not as expected, what differs between bundled and upstream's, and whether that is known.

use swaprig_harness::binary::Kind;

use crate::known::{KNOWN, Known};
use crate::transcript::Transcript;
use crate::trial::{CaseRun, Unmet};

/// Something that the daemons of both kinds do not agree on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// The case.
    pub case: String,
    /// The observation.
    pub label: String,
    /// What the bundled daemons said; `None`: there was no such observation.
    pub bundled: Option<String>,
    /// What upstream's said.
    pub upstream: Option<String>,
    /// Why that is accepted, if it is.
    pub known: Option<&'static Known>,
}

/// Everything that differs, by case and label. Only cases that are in both are compared.
pub fn differences(bundled: &Transcript, upstream: &Transcript) -> Vec<Difference> {
    let mut all = Vec::new();
    for (case, own) in &bundled.cases {
        let Some(theirs) = upstream.cases.get(case) else {
            continue;
        };
        let labels: std::collections::BTreeSet<&String> = own.keys().chain(theirs.keys()).collect();
        for label in labels {
            if let Some(root) = root_of(label)
                && own.contains_key(&root) != theirs.contains_key(&root)
            {
                // The whole answer is missing, which its root tells.
                continue;
            }
            let (ours, theirs) = (own.get(label), theirs.get(label));
            if ours != theirs {
                all.push(Difference {
                    case: case.clone(),
                    label: label.clone(),
                    bundled: ours.cloned(),
                    upstream: theirs.cloned(),
                    known: Known::of(case, label),
                });
            }
        }
    }
    all
}

/// The label of the root of the shape that `label` is a path in; `None` for the root itself, and for what is no shape.
fn root_of(label: &str) -> Option<String> {
    let (name, path) = label.rsplit_once(' ')?;
    (path.len() > 1 && path.starts_with(['.', '['])).then(|| format!("{name} ."))
}

/// The places of the table of known differences at which nothing differs any more, among those whose case was compared.
pub fn stale(
    bundled: &Transcript,
    upstream: &Transcript,
    found: &[Difference],
) -> Vec<(&'static Known, &'static str, &'static str)> {
    let compared = |pattern: &str| {
        let names = bundled.cases.keys();
        names
            .filter(|name| upstream.cases.contains_key(*name))
            .any(|name| Known::fits(pattern, name))
    };
    let mut all = Vec::new();
    for known in KNOWN {
        for (case, label) in known.places {
            let differs = found
                .iter()
                .any(|one| Known::fits(case, &one.case) && Known::fits(label, &one.label));
            if compared(case) && !differs {
                all.push((known, *case, *label));
            }
        }
    }
    all
}

/// What is wrong with a run: expectations that were not met, except on bundled daemons where that is a known difference.
pub fn unmet(kind: Kind, run: &CaseRun) -> Vec<&Unmet> {
    let accepted =
        |unmet: &&Unmet| kind == Kind::Bundled && Known::of(run.name, &unmet.label).is_some();
    run.unmet.iter().filter(|unmet| !accepted(unmet)).collect()
}

/// Whether a run is as it should be.
pub fn is_good(kind: Kind, run: &CaseRun) -> bool {
    run.stopped.is_none() && unmet(kind, run).is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn transcript(entries: &[(&str, &str, &str)]) -> Transcript {
        let mut transcript = Transcript::default();
        for (case, label, saw) in entries {
            let case = transcript.cases.entry((*case).to_owned()).or_default();
            case.insert((*label).to_owned(), (*saw).to_owned());
        }
        transcript
    }

    #[test]
    fn what_one_side_alone_has_differs_and_a_case_of_one_side_does_not() {
        let ours = transcript(&[
            ("a/b", "same", "1"),
            ("a/b", "other", "1"),
            ("a/b", "more", "1"),
            ("only/ours", "x", "1"),
        ]);
        let theirs = transcript(&[
            ("a/b", "same", "1"),
            ("a/b", "other", "2"),
            ("a/b", "less", "1"),
        ]);
        let found = differences(&ours, &theirs);
        let text: Vec<_> = found
            .iter()
            .map(|one| {
                format!(
                    "{} {:?} {:?}",
                    one.label,
                    one.bundled.as_deref(),
                    one.upstream.as_deref()
                )
            })
            .collect();
        assert_eq!(
            text,
            [
                "less None Some(\"1\")",
                "more Some(\"1\") None",
                "other Some(\"1\") Some(\"2\")",
            ]
        );
    }
}
