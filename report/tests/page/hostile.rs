//! A record in which everything that can be said is an attempt at markup.

use serde_json::Value;
use swaprig_record::{Contents, Line};
use swaprig_report::{Logs, page};

use crate::html::tags;
use crate::{logs, record};

const HOSTILE: &str = "\"'><img src=x onerror=alert(1)></code></pre></style></script><script>alert(2)</script>&lt;b&gt;<!--";

/// The tags that pages are made of.
const TAGS: &[&str] = &[
    "a",
    "article",
    "b",
    "body",
    "br",
    "button",
    "code",
    "dd",
    "details",
    "div",
    "dl",
    "dt",
    "figcaption",
    "figure",
    "footer",
    "h1",
    "h2",
    "h3",
    "head",
    "header",
    "html",
    "i",
    "input",
    "label",
    "li",
    "main",
    "meta",
    "nav",
    "noscript",
    "ol",
    "option",
    "p",
    "path",
    "pre",
    "rect",
    "script",
    "section",
    "select",
    "span",
    "strong",
    "style",
    "summary",
    "svg",
    "table",
    "tbody",
    "td",
    "th",
    "thead",
    "time",
    "title",
    "tr",
    "ul",
];

/// Puts `HOSTILE` behind every text of a line that may be any text, one after the other.
fn poisoned(line: &Line) -> Line {
    let mut value = serde_json::to_value(line).unwrap();
    let mut paths = Vec::new();
    texts(&value, &mut String::new(), &mut paths);
    for path in paths {
        let mut tried = value.clone();
        let text = tried.pointer_mut(&path).unwrap();
        *text = Value::String(format!("{}{HOSTILE}", text.as_str().unwrap_or_default()));
        if serde_json::from_value::<Line>(tried.clone()).is_ok() {
            value = tried;
        }
    }
    serde_json::from_value(value).unwrap()
}

/// The JSON pointers of all texts.
fn texts(value: &Value, path: &mut String, paths: &mut Vec<String>) {
    let mut step = |key: String, inner: &Value| {
        let length = path.len();
        path.push('/');
        path.push_str(&key);
        texts(inner, path, paths);
        path.truncate(length);
    };
    match value {
        Value::Object(members) => members
            .iter()
            .for_each(|(key, inner)| step(key.clone(), inner)),
        Value::Array(items) => {
            items
                .iter()
                .enumerate()
                .for_each(|(at, inner)| step(at.to_string(), inner));
        }
        Value::String(_) => paths.push(path.clone()),
        _ => {}
    }
}

fn poisoned_record(name: &str) -> Contents {
    let clean = record(name);
    let lines: Vec<Line> = clean.lines.iter().map(poisoned).collect();
    let began = match &lines[0].event {
        swaprig_record::Event::Began(began) => (**began).clone(),
        other => panic!("{other:?}"),
    };
    Contents {
        began,
        lines,
        ..clean
    }
}

#[test]
fn nothing_that_a_record_says_becomes_markup() {
    for name in ["claim", "tampered"] {
        let contents = poisoned_record(name);
        let mut logs: Logs = logs(&record(name), 50);
        for file in &mut logs.files {
            file.party.push_str(HOSTILE);
            file.path.push_str(HOSTILE);
            file.text
                .push_str(&format!("2026-11-21T22:22:39.0Z ERROR {HOSTILE}\n"));
        }
        logs.dir.push_str(HOSTILE);
        logs.record.push_str(HOSTILE);
        logs.previous = Some(HOSTILE.to_owned());
        let page = page(&contents, &logs);
        assert!(page.contains("&lt;img src=x"), "{name} says it, as text");
        let tags = tags(&page);
        for tag in &tags {
            assert!(TAGS.contains(&&*tag.name), "{name}: {tag:?}");
            let handler = tag.attributes.keys().find(|name| name.starts_with("on"));
            assert_eq!(handler, None, "{name}: {tag:?}");
        }
        let scripts = tags.iter().filter(|tag| tag.name == "script").count();
        assert_eq!(scripts, 2, "{name}: the logs and the page's own");
        assert!(!page.contains("<!--"), "{name}");
    }
}
