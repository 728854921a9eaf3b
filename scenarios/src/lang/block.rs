//! Steps that are made of steps: `use`, `steps`, `together`, and `await`.

use super::check::step_items;
use super::common::task_name;
use super::cx::StepCx;
use super::frame::{File, Frame};
use super::inputs::Replaced;
use super::plan::Action;
use super::problem::Report;
use super::step::COMMON_KEYS;
use super::steps::{Place, Read};
use super::words::{Node, all_of, nearest};

/// The steps that are made of steps: name, example, what they do.
pub(super) const BLOCKS: &[(&str, &str, &str)] = &[
    (
        "use",
        "\"lib/channel\"",
        "Does the steps of a fragment: the file of that path and `.fragment.toml`, below the directory `scenarios` or \
         beside this file. Its other keys are the fragment's inputs; `$name.output` reads what the fragment gives.",
    ),
    (
        "together",
        "[ { mine = 1 }, { fund = \"alice\", amount = \"1 btc\" } ]",
        "Starts all its steps at the same time and waits for every one. The first that fails ends the others. Its steps \
         cannot use what another of them makes; those after it can.",
    ),
    (
        "steps",
        "[ { mine = 1 }, { mine = 2 } ]",
        "Does its steps one after the other, as one step of a `together`, or to be repeated or started as a whole.",
    ),
    (
        "await",
        "\"payment\"",
        "Waits until the step that was started under that name has ended, and fails as it does.",
    ),
];

impl<'a> File<'a> {
    /// Reads the step that `key` makes of a table.
    pub(super) fn read_block(
        &self,
        key: &'static str,
        replaced: &Replaced<'a>,
        item: &Node<'a>,
        frame: &Frame<'a>,
        place: Place<'_>,
        report: &mut Report,
    ) -> Option<Read> {
        if key == "use" {
            return self.read_use(replaced, item, frame, place, report);
        }
        let mut sound = self.block_keys(key, replaced, report);
        let mut cx = self.cx(key, replaced, item, frame, report);
        let common = self.common(&mut cx);
        if cx.has("as") {
            let span = cx.value_span("as");
            let help = match key {
                "await" => "write `as` into the step that is started",
                _ => "write `as` into the steps inside, whose names can be read after it",
            };
            cx.problem(
                span,
                format!("`{key}` makes nothing that could have a name"),
            )
            .label("names nothing")
            .help(help);
            sound = false;
        }
        let node = replaced.table.get(key)?;
        let action = match key {
            "await" => {
                "await".clone_into(&mut cx.field);
                let awaited = task_name(node, &mut cx);
                for other in ["start", "on", "times"] {
                    if !cx.has(other) {
                        continue;
                    }
                    sound = false;
                    let span = cx.key_span(other);
                    cx.problem(span, format!("`await` cannot have `{other}`"))
                        .label("too much")
                        .help(format!(
                            "leave `{other}` out, or write it into the step that is started"
                        ));
                }
                let flat = |name: String| super::frame::flat(&frame.prefix, &name);
                awaited.map(flat).map(Action::Await)
            }
            _ => {
                let together = key == "together";
                let empty = format!("`{key}` without steps");
                let items = step_items(node, key, &empty, report);
                let place = Place { together, ..place };
                let steps = items.and_then(|items| self.read(items, frame, place, report));
                steps.map(if together {
                    Action::Together
                } else {
                    Action::Steps
                })
            }
        };
        let (common, action) = (common?, action?);
        sound.then(|| Read {
            key: key.to_owned(),
            action,
            bind: None,
            common,
        })
    }

    /// Says which keys of a block are unknown.
    fn block_keys(&self, key: &str, replaced: &Replaced<'_>, report: &mut Report) -> bool {
        let mut sound = true;
        for (name, _) in &replaced.table {
            let common = COMMON_KEYS
                .iter()
                .any(|(common, ..)| *common == name.get_ref());
            if common || name.get_ref() == key || self.strays.contains(&name.get_ref().as_ref()) {
                continue;
            }
            sound = false;
            let takes = all_of(COMMON_KEYS.iter().map(|(common, ..)| *common));
            let help = match nearest(name.get_ref(), COMMON_KEYS.iter().map(|(c, ..)| *c)) {
                Some(meant) => format!("did you mean `{meant}`? every step takes {takes}"),
                None => format!("`{key}` has no keys of its own; every step takes {takes}"),
            };
            report
                .push(
                    name.span(),
                    format!("unknown key `{}` in `{key}`", name.get_ref()),
                )
                .label("unknown")
                .help(help);
        }
        sound
    }

    /// What the keys of a step that is made of steps are read with.
    pub(super) fn cx<'x>(
        &self,
        step: &'x str,
        replaced: &'x Replaced<'_>,
        item: &Node<'_>,
        frame: &'x Frame<'_>,
        report: &'x mut Report,
    ) -> StepCx<'x> {
        StepCx {
            report,
            scope: &frame.scope,
            table: &replaced.table,
            span: item.span(),
            step,
            field: String::new(),
            misspelt: Vec::new(),
            observed: None,
        }
    }
}
