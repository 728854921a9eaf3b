//! A run as JUnit XML, as `junit-10.xsd` of Jenkins' xUnit plugin has it, the schema that CI services have in common: one
//! `testsuite`, `failure` for a verdict on what was tested, `error` where there is none, `skipped` with its reason,
//! `flakyFailure` for what passed at a later try and may. The schema gives a test case no place for its file and for logs:
//! these are in its `system-out`, logs as `[[ATTACHMENT|path]]`.

use std::fmt::Write as _;
use std::io;
use std::path::Path;
use std::time::Duration;

use swaprig_harness::time::unix_ms;
use swaprig_report::date_time;

use super::exit::complain;
use super::record::{Case, Run, State, Told};

/// Writes the report.
fn write(path: &Path, run: &Run) -> io::Result<()> {
    whole_file(path, xml(run, &timestamp()).as_bytes())
}

/// Writes the report, and says why when that is not possible.
pub(super) fn write_said(path: &Path, run: &Run) -> io::Result<()> {
    write(path, run).map_err(|error| {
        let text = format!("could not write {}: {error}", path.display());
        let error = io::Error::new(error.kind(), text);
        complain(&error);
        error
    })
}

/// Writes a file that is whole or as it was before; directories on the way are made.
pub(super) fn whole_file(path: &Path, content: &[u8]) -> io::Result<()> {
    let parent = path.parent().filter(|dir| !dir.as_os_str().is_empty());
    let dir = parent.unwrap_or(Path::new("."));
    std::fs::create_dir_all(dir)?;
    let whole = tempfile::Builder::new()
        .permissions(readable())
        .tempfile_in(dir)?;
    std::fs::write(whole.path(), content)?;
    whole.persist(path).map_err(|error| error.error)?;
    Ok(())
}

/// As other reports are: a temporary file is for its owner alone otherwise.
fn readable() -> std::fs::Permissions {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::Permissions::from_mode(0o644)
}

fn xml(run: &Run, timestamp: &str) -> String {
    let count =
        |kind: fn(&State) -> bool| run.cases.iter().filter(|case| kind(&case.state)).count();
    let failures = run.cases.iter().filter(|case| match case.state {
        State::Failed(_) => true,
        State::Flaky(_) => !run.allow_flaky,
        _ => false,
    });
    let failures = failures.count();
    let errors = count(|state| {
        matches!(
            state,
            State::Broken(_) | State::Interrupted | State::Running
        )
    });
    let skipped = count(|state| {
        matches!(
            state,
            State::Skipped(_) | State::Known { .. } | State::Waiting
        )
    });
    let (tests, time) = (run.cases.len(), seconds(run.took));
    let mut text = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
         <testsuites name=\"swaprig\" tests=\"{tests}\" failures=\"{failures}\" errors=\"{errors}\" time=\"{time}\">\n\
         <testsuite name=\"swaprig\" tests=\"{tests}\" failures=\"{failures}\" errors=\"{errors}\" \
         skipped=\"{skipped}\" time=\"{time}\" timestamp=\"{timestamp}\" hostname=\"localhost\">\n<properties>\n"
    );
    let mut property = |name: &str, value: &str| {
        let _ = writeln!(
            text,
            "<property name=\"{}\" value=\"{}\"/>",
            escaped(name),
            escaped(value)
        );
    };
    property("seed", &run.seed);
    property("passport", &run.programs.text);
    for (name, value) in &run.programs.properties {
        property(name, value);
    }
    text.push_str("</properties>\n");
    for case in &run.cases {
        testcase(&mut text, case, run.allow_flaky);
    }
    text.push_str("</testsuite>\n</testsuites>\n");
    text
}

fn testcase(text: &mut String, case: &Case, allow_flaky: bool) {
    let (class, name) = names(&case.id);
    let round = match case.round {
        1 => String::new(),
        round => format!(" (round {round})"),
    };
    let _ = writeln!(
        text,
        "<testcase classname=\"{}\" name=\"{}{round}\" time=\"{}\">",
        escaped(&class),
        escaped(name),
        seconds(case.took),
    );
    match &case.state {
        State::Passed => {}
        State::Failed(told) => verdict(text, "failure", "failed", told),
        State::Flaky(told) if allow_flaky => verdict(text, "flakyFailure", "flaky", told),
        State::Flaky(told) => verdict(text, "failure", "flaky", told),
        State::Broken(told) => verdict(text, "error", "broken", told),
        State::Interrupted | State::Running => {
            text.push_str("<error type=\"interrupted\" message=\"interrupted\"/>\n");
        }
        State::Skipped(why) => skipped(text, why),
        State::Waiting => skipped(text, "not begun: the run was ended before"),
        State::Known { issue, told } => {
            skipped(text, &format!("known failure {issue}: {}", told.title))
        }
    }
    let mut out = format!("{}\n{}", case.title, case.path.display());
    if let Some((line, column)) = case.state.told().and_then(|told| told.place) {
        let _ = write!(out, ":{line}:{column}");
    }
    if case.attempts > 1 {
        let _ = write!(out, "\n{} attempts", case.attempts);
    }
    // The page first: it has the logs in it, by time.
    let logs = case.state.told().into_iter();
    let logs = logs.flat_map(|told| &told.attachments);
    for path in case.page.iter().chain(logs) {
        let _ = write!(out, "\n[[ATTACHMENT|{}]]", path.display());
    }
    let _ = writeln!(
        text,
        "<system-out>{}</system-out>\n</testcase>",
        escaped(&out)
    );
}

fn verdict(text: &mut String, element: &str, kind: &str, told: &Told) {
    let (message, body) = (escaped(&told.title), escaped(&told.text));
    let _ = writeln!(
        text,
        "<{element} type=\"{kind}\" message=\"{message}\">{body}</{element}>"
    );
}

fn skipped(text: &mut String, why: &str) {
    let _ = writeln!(text, "<skipped message=\"{}\"/>", escaped(why));
}

/// The class and the name that viewers group by: `lightning` and `pay#small` of `lightning/pay#small`.
fn names(id: &str) -> (String, &str) {
    let file = id.split('#').next().unwrap_or(id);
    match file.rfind('/') {
        Some(slash) => (
            format!("swaprig.{}", id[..slash].replace('/', ".")),
            &id[slash + 1..],
        ),
        None => ("swaprig".to_owned(), id),
    }
}

fn seconds(time: Duration) -> String {
    format!("{:.3}", time.as_secs_f64())
}

/// `text` for an attribute or an element. Characters that XML 1.0 (section 2.2) cannot hold become U+FFFD.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            // Otherwise an attribute would have a space there.
            '\n' => out.push_str("&#10;"),
            '\t' => out.push_str("&#9;"),
            '\u{0}'..='\u{1f}' | '\u{fffe}' | '\u{ffff}' => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

/// Now, in UTC, as the schema wants it: `2026-02-03T04:05:06`.
fn timestamp() -> String {
    date_time(unix_ms() / 1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_group_by_directory_whatever_a_case_is_called() {
        assert_eq!(names("a/b/c#x/y"), ("swaprig.a.b".to_owned(), "c#x/y"));
        assert_eq!(names("c"), ("swaprig".to_owned(), "c"));
    }

    #[test]
    fn what_xml_cannot_hold_is_replaced() {
        assert_eq!(
            escaped("<a&\"b\u{1b}\n>"),
            "&lt;a&amp;&quot;b\u{fffd}&#10;&gt;"
        );
    }
}
