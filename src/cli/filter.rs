//! Which of the scenarios that were found are meant: by tag, by text, by the last run, by shard.

use std::collections::BTreeSet;
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;

use clap::Args;
use swaprig_scenarios::lang::Plan;
use swaprig_scenarios::run::stable_hash;

use super::history::{self, HistoryError};
use super::select::count;

/// What narrows a selection. A scenario must satisfy all that are given.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Selection")]
pub(super) struct FilterFlags {
    /// Only scenarios with this tag; more than one: with any of them
    #[arg(long = "tag", short = 't', value_name = "TAG")]
    tags: Vec<String>,
    /// No scenario with this tag
    #[arg(long, value_name = "TAG")]
    skip_tag: Vec<String>,
    /// Only scenarios with this text in their id or title, in capitals or not
    #[arg(short = 'k', value_name = "TEXT")]
    text: Option<String>,
    /// Only those that failed, were flaky or were cut short in the last run that is recorded in the run directory
    #[arg(long)]
    failed: bool,
    /// Only the second of four parts (`hash:2/4`). A scenario's part depends on its id alone
    #[arg(long, value_name = "hash:M/N")]
    partition: Option<Partition>,
}

/// One of several parts into which scenarios fall by a hash of their ids.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Partition {
    /// From 1.
    part: u64,
    of: u64,
}

impl FromStr for Partition {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts = text
            .strip_prefix("hash:")
            .and_then(|rest| rest.split_once('/'));
        let numbers = parts.and_then(|(part, of)| Some((part.parse().ok()?, of.parse().ok()?)));
        match numbers {
            Some((part, of)) if (1..=of).contains(&part) => Ok(Partition { part, of }),
            Some((_, of)) => Err(format!(
                "parts are numbered from 1 to {of}, as in hash:1/{of}"
            )),
            None => Err("write it as hash:2/4, the second of four parts".to_owned()),
        }
    }
}

impl Partition {
    fn holds(self, id: &str) -> bool {
        stable_hash(id) % self.of == self.part - 1
    }
}

/// Nothing is left, or the last run cannot be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum FilterError {
    /// Every scenario was filtered away.
    #[error("nothing is selected: {0}")]
    Empty(String),
    /// There is no last run.
    #[error("--failed: {0}")]
    History(#[from] HistoryError),
}

impl FilterFlags {
    /// Those of `plans` that are meant, in their order. `base` is where runs are recorded.
    pub(super) fn apply(
        &self,
        plans: Vec<Arc<Plan>>,
        base: &Path,
    ) -> Result<Vec<Arc<Plan>>, FilterError> {
        let failed = match self.failed {
            true => Some(history::not_passed(base)?),
            false => None,
        };
        self.narrow(plans, failed.as_ref(), |plan| Facts {
            id: plan.id(),
            title: &plan.title,
            tags: &plan.tags,
        })
        .map_err(FilterError::Empty)
    }

    /// What is left of `all`, or how it came to nothing, filter by filter.
    fn narrow<T>(
        &self,
        all: Vec<T>,
        failed: Option<&BTreeSet<String>>,
        facts: impl Fn(&T) -> Facts<'_>,
    ) -> Result<Vec<T>, String> {
        let mut account = format!("{} found", count(all.len(), "scenario"));
        let mut left = all;
        let mut filter = |name: String, keep: &dyn Fn(Facts<'_>) -> bool| {
            let before = left.len();
            left.retain(|item| keep(facts(item)));
            if left.len() < before {
                account.push_str(&format!("; {name} leaves {}", left.len()));
            }
        };
        let has =
            |facts: &Facts<'_>, tags: &[String]| facts.tags.iter().any(|tag| tags.contains(tag));
        if !self.tags.is_empty() {
            filter(format!("--tag {}", self.tags.join(" --tag ")), &|item| {
                has(&item, &self.tags)
            });
        }
        if !self.skip_tag.is_empty() {
            let name = format!("--skip-tag {}", self.skip_tag.join(" --skip-tag "));
            filter(name, &|item| !has(&item, &self.skip_tag));
        }
        if let Some(text) = &self.text {
            let wanted = text.to_lowercase();
            filter(format!("-k {text}"), &|item| {
                [item.id, item.title]
                    .iter()
                    .any(|said| said.to_lowercase().contains(&wanted))
            });
        }
        if let Some(failed) = failed {
            let name = match failed.len() {
                0 => "--failed (all of the last run passed)".to_owned(),
                n => format!("--failed ({n} of the last run)"),
            };
            filter(name, &|item| failed.contains(item.id));
        }
        if let Some(partition) = self.partition {
            let name = format!("--partition hash:{}/{}", partition.part, partition.of);
            filter(name, &|item| partition.holds(item.id));
        }
        if left.is_empty() {
            Err(account)
        } else {
            Ok(left)
        }
    }
}

/// What a filter looks at.
#[derive(Debug, Clone, Copy)]
struct Facts<'a> {
    id: &'a str,
    title: &'a str,
    tags: &'a [String],
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Item {
        id: &'static str,
        title: &'static str,
        tags: Vec<String>,
    }

    fn items() -> Vec<Item> {
        let item = |id, title, tags: &[&str]| Item {
            id,
            title,
            tags: tags.iter().map(|tag| (*tag).to_owned()).collect(),
        };
        vec![
            item("ln/pay", "Pay an invoice", &["smoke", "ln"]),
            item("ln/close#both", "Close a channel", &["ln"]),
            item("chain/mine", "Mine and look", &["smoke", "slow"]),
        ]
    }

    fn ids(
        flags: &FilterFlags,
        failed: Option<&BTreeSet<String>>,
    ) -> Result<Vec<&'static str>, String> {
        let left = flags.narrow(items(), failed, |item| Facts {
            id: item.id,
            title: item.title,
            tags: &item.tags,
        });
        left.map(|left| left.iter().map(|item| item.id).collect())
    }

    fn owned(words: &[&str]) -> Vec<String> {
        words.iter().map(|word| (*word).to_owned()).collect()
    }

    #[test]
    fn tags_and_texts() {
        let any = FilterFlags {
            tags: owned(&["slow", "ln"]),
            ..FilterFlags::default()
        };
        assert_eq!(ids(&any, None).unwrap().len(), 3);
        let skip = FilterFlags {
            skip_tag: owned(&["slow"]),
            tags: owned(&["smoke"]),
            ..FilterFlags::default()
        };
        assert_eq!(ids(&skip, None).unwrap(), ["ln/pay"]);
        for (text, expected) in [("#BOTH", "ln/close#both"), ("look", "chain/mine")] {
            let flags = FilterFlags {
                text: Some(text.to_owned()),
                ..FilterFlags::default()
            };
            assert_eq!(ids(&flags, None).unwrap(), [expected]);
        }
        let failed = BTreeSet::from(["ln/pay".to_owned(), "gone".to_owned()]);
        assert_eq!(
            ids(&FilterFlags::default(), Some(&failed)).unwrap(),
            ["ln/pay"]
        );
    }

    #[test]
    fn an_empty_selection_says_what_took_what_away() {
        let flags = FilterFlags {
            tags: owned(&["smoke"]),
            text: Some("liquid".to_owned()),
            ..FilterFlags::default()
        };
        let account = ids(&flags, None).unwrap_err();
        assert_eq!(
            account,
            "3 scenarios found; --tag smoke leaves 2; -k liquid leaves 0"
        );
        let account = ids(&FilterFlags::default(), Some(&BTreeSet::new())).unwrap_err();
        assert!(account.contains("all of the last run passed"), "{account}");
    }

    #[test]
    fn parts_are_disjoint_complete_and_of_a_size() {
        let ids: Vec<String> = (0..400)
            .map(|n| format!("dir-{}/case#{n}", n % 7))
            .collect();
        for of in 1..=9 {
            let parts: Vec<Partition> = (1..=of)
                .map(|part| format!("hash:{part}/{of}").parse().unwrap())
                .collect();
            for id in &ids {
                let holders = parts.iter().filter(|part| part.holds(id)).count();
                assert_eq!(holders, 1, "{id} of {of}");
            }
            for part in parts {
                let size = ids.iter().filter(|id| part.holds(id)).count() as u64;
                assert!(size * of > 400 / 2, "part {part:?} has {size} of 400");
            }
        }
    }

    #[test]
    fn a_part_that_cannot_be_is_refused_with_what_to_write() {
        for (text, advice) in [
            ("2/4", "hash:2/4"),
            ("hash:0/4", "from 1 to 4"),
            ("hash:5/4", "from 1 to 4"),
            ("hash:a/b", "hash:2/4"),
        ] {
            let error = text.parse::<Partition>().unwrap_err();
            assert!(error.contains(advice), "{text}: {error}");
        }
    }
}
