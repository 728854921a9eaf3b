//! The key `on`: what a step waits for.

use toml::de::{DeTable, DeValue};

use super::cx::StepCx;
use super::frame::{File, Frame};
use super::inputs::Replaced;
use super::plan::{Action, PlannedStep};
use super::problem::Report;
use super::step::{COMMON_KEYS, StepEntry};
use super::steps::{Place, key_spans};
use super::words::{Node, all_of, describe};

impl File<'_> {
    /// What `on` waits for: an `expect` without the key that every step takes.
    pub(super) fn read_event(
        &self,
        node: &Node<'_>,
        replaced: &Replaced<'_>,
        frame: &Frame<'_>,
        place: Place<'_>,
        report: &mut Report,
    ) -> Option<PlannedStep> {
        const HELP: &str = "write what to wait for as `expect` does: on = { expect = \"$inv.status\", is = \"held\" }";
        let table = match node.get_ref() {
            DeValue::Table(table) if table.contains_key("expect") => table,
            found => {
                let title = match found {
                    DeValue::Table(_) => "`on` does not say what it waits for".to_owned(),
                    _ => format!("expected an event, found {}", describe(node)),
                };
                report
                    .push(node.span(), title)
                    .label("the value of `on`")
                    .help(HELP);
                return None;
            }
        };
        let entry = self.registry.get("expect")?;
        let before = report.count();
        event_keys(table, entry, report);
        let mut cx = StepCx {
            report,
            scope: &frame.scope,
            table,
            span: node.span(),
            step: entry.name,
            field: String::new(),
            misspelt: Vec::new(),
            observed: None,
        };
        let step = (entry.read)(&mut cx);
        frame.values.explain(replaced, report.since(before));
        if report.count() > before {
            return None;
        }
        Some(PlannedStep {
            number: place.number.unwrap_or_default(),
            place: place.prefix.trim_end_matches('.').to_owned(),
            key: entry.name.to_owned(),
            action: Action::Step(step?),
            bind: None,
            within: None,
            fails: None,
            times: 1,
            start: None,
            on: None,
            source: frame.source.clone(),
            span: node.span(),
            keys: key_spans(table),
            used: frame.used.clone(),
            names: frame.targets.clone(),
            text: Vec::new(),
            is_in_sequence: true,
        })
    }
}

/// Says which keys are none of `expect`'s.
fn event_keys(table: &DeTable<'_>, entry: &StepEntry, report: &mut Report) {
    for (key, _) in table {
        let name: &str = key.get_ref();
        if entry.fields.iter().all(|field| field.name != name) {
            let own = all_of(entry.fields.iter().map(|field| field.name));
            let help = match COMMON_KEYS.iter().any(|(common, ..)| *common == name) {
                true => format!("write `{name}` beside `on`: it is a key of the step"),
                false => format!("`on` takes {own}"),
            };
            report
                .push(key.span(), format!("unknown key `{name}` in `on`"))
                .label("unknown")
                .help(help);
        }
    }
}
