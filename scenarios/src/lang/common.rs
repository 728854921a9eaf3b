//! The keys that every step takes.

use std::time::Duration;

use toml::de::DeValue;

use super::cx::{Field, StepCx};
use super::frame::File;
use super::words::{is_name, quoted, to_name};

/// What the keys that every step takes say.
pub(super) struct Common {
    pub(super) within: Option<Duration>,
    pub(super) fails: Option<String>,
    pub(super) times: u32,
    pub(super) start: Option<String>,
}

/// The most times that one step can be repeated.
const MOST: u64 = 1_000;

impl File<'_> {
    /// Reads them; `None` when one of them has a problem. `as` and `on` are read by themselves.
    pub(super) fn common(&self, cx: &mut StepCx<'_>) -> Option<Common> {
        let within = cx.optional::<Option<Duration>>("within", || None);
        let within = within.and_then(|within| self.within(within, cx));
        let fails = fails(cx);
        let times = times(cx);
        let start = start(cx);
        Some(Common {
            within: within?,
            fails: fails?,
            times: times?,
            start: start?,
        })
    }
}

fn times(cx: &mut StepCx<'_>) -> Option<u32> {
    let table = cx.table;
    let Some(node) = table.get("times") else {
        return Some(1);
    };
    cx.field = "times".to_owned();
    let times = u64::read(node, cx)?;
    if (1..=MOST).contains(&times) {
        return u32::try_from(times).ok();
    }
    let help = match times {
        0 => "leave the step out, or write how often to do it, such as 3".to_owned(),
        _ => format!("write a number up to {MOST}"),
    };
    cx.expected(node, &format!("a number from 1 to {MOST}"))
        .help(help);
    None
}

/// The name under which the step runs beside others.
fn start(cx: &mut StepCx<'_>) -> Option<Option<String>> {
    let table = cx.table;
    let Some(node) = table.get("start") else {
        return Some(None);
    };
    cx.field = "start".to_owned();
    let name = task_name(node, cx)?;
    if cx.has("on") {
        let (span, on) = (cx.key_span("start"), cx.key_span("on"));
        cx.problem(span, "a step has either `start` or `on`")
            .label("starts it now")
            .also(on, "starts it at an event")
            .help("leave one of the two out; a step with `on` is awaited at the end of its list");
        return None;
    }
    Some(Some(name))
}

/// The name of a step that runs beside others, in `start` and `await`.
pub(super) fn task_name(node: &super::words::Node<'_>, cx: &mut StepCx<'_>) -> Option<String> {
    let DeValue::String(name) = node.get_ref() else {
        cx.expected(node, "a name such as \"payment\"")
            .help("write a name in quotes");
        return None;
    };
    let name: &str = name;
    if !is_name(name, '_') {
        let example = to_name(name, '_').unwrap_or_else(|| "payment".to_owned());
        let title = format!("{} is not a name", quoted(name));
        cx.problem(node.span(), title)
            .label("a lowercase letter, then lowercase letters, digits and `_`")
            .help(format!("write \"{example}\""));
        return None;
    }
    Some(name.to_owned())
}

pub(super) fn fails(cx: &mut StepCx<'_>) -> Option<Option<String>> {
    let table = cx.table;
    let Some(node) = table.get("fails") else {
        return Some(None);
    };
    cx.field = "fails".to_owned();
    let what = "a part of the reason, such as \"expired\"";
    let help = match node.get_ref() {
        DeValue::String(text) if text.trim().is_empty() => {
            "every reason contains an empty text; write a part of the one that is meant: fails = \"expired\""
        }
        DeValue::String(_) => return String::read(node, cx).map(Some),
        DeValue::Boolean(_) => {
            "say why it must fail, for a failure for another reason is no success: fails = \"expired\""
        }
        _ => "write a part of the reason in quotes",
    };
    cx.expected(node, what).help(help);
    None
}
