//! What a JUnit report may hold.
//!
//! JUnit never published a schema. The common one is `junit-10.xsd` of Jenkins' xUnit plugin, which refuses a report that
//! breaks it, and which Maven Surefire's and pytest's reports are of; `ELEMENTS` is that schema. It types most attributes as
//! mere text. Where the other one that circulates (`JUnit.xsd`, for Apache Ant's reports) is stricter about what both allow,
//! this is as strict: whole numbers, decimals, a time without zone, properties first, one verdict. The two cannot be had
//! together, as Ant's forbids `system-out` in a test case.

use roxmltree::{Document, Node};

/// What an attribute may say.
#[derive(Debug, Clone, Copy)]
enum Says {
    Text,
    /// Text that is not empty.
    Name,
    /// A whole number that is not negative (`xs:int` of Ant's).
    Count,
    /// A decimal with a point that is not negative; fits `SUREFIRE_TIME`, the pattern of seconds, too.
    Seconds,
    /// `xs:dateTime` without a zone, `2026-02-03T04:05:06`.
    DateTime,
}

/// An element of the schema: its attributes, whether each must be there, the elements in it, whether there may be text.
struct Element {
    name: &'static str,
    attributes: &'static [(&'static str, Says, bool)],
    children: &'static [&'static str],
    text: bool,
}

const VERDICT: &[(&str, Says, bool)] =
    &[("type", Says::Name, true), ("message", Says::Text, false)];
const RERUN: &[&str] = &["stackTrace", "system-out", "system-err"];

const ELEMENTS: &[Element] = &[
    Element {
        name: "testsuites",
        attributes: &[
            ("name", Says::Text, false),
            ("time", Says::Seconds, false),
            ("tests", Says::Count, false),
            ("failures", Says::Count, false),
            ("errors", Says::Count, false),
        ],
        children: &["testsuite"],
        text: false,
    },
    Element {
        name: "testsuite",
        attributes: &[
            ("name", Says::Name, true),
            ("tests", Says::Count, true),
            ("failures", Says::Count, true),
            ("errors", Says::Count, true),
            ("skipped", Says::Count, false),
            ("time", Says::Seconds, true),
            ("timestamp", Says::DateTime, true),
            ("hostname", Says::Name, true),
            ("group", Says::Text, false),
            ("id", Says::Text, false),
            ("package", Says::Text, false),
            ("file", Says::Text, false),
            ("log", Says::Text, false),
            ("url", Says::Text, false),
        ],
        children: &["properties", "testcase", "system-out", "system-err"],
        text: false,
    },
    Element {
        name: "properties",
        attributes: &[],
        children: &["property"],
        text: false,
    },
    Element {
        name: "property",
        attributes: &[("name", Says::Name, true), ("value", Says::Text, true)],
        children: &[],
        text: false,
    },
    Element {
        name: "testcase",
        attributes: &[
            ("name", Says::Name, true),
            ("classname", Says::Name, true),
            ("time", Says::Seconds, true),
            ("group", Says::Text, false),
        ],
        children: &[
            "skipped",
            "error",
            "failure",
            "rerunFailure",
            "rerunError",
            "flakyFailure",
            "flakyError",
            "system-out",
            "system-err",
        ],
        text: false,
    },
    Element {
        name: "skipped",
        attributes: &[("type", Says::Text, false), ("message", Says::Text, false)],
        children: &[],
        text: true,
    },
    result("error", &[]),
    result("failure", &[]),
    result("rerunFailure", RERUN),
    result("rerunError", RERUN),
    result("flakyFailure", RERUN),
    result("flakyError", RERUN),
    text("stackTrace"),
    text("system-out"),
    text("system-err"),
];

const fn result(name: &'static str, children: &'static [&'static str]) -> Element {
    Element {
        name,
        attributes: VERDICT,
        children,
        text: true,
    }
}

const fn text(name: &'static str) -> Element {
    Element {
        name,
        attributes: &[],
        children: &[],
        text: true,
    }
}

/// Asserts that `text` is what the schema allows, and that its totals are those of its parts.
#[track_caller]
pub(crate) fn check_junit(text: &str) {
    if let Err(why) = checked(text) {
        panic!("{why} in\n{text}");
    }
}

fn checked(text: &str) -> Result<(), String> {
    let document = Document::parse(text).map_err(|error| error.to_string())?;
    let root = document.root_element();
    if !root.has_tag_name("testsuites") {
        return Err(format!("the root is {}", root.tag_name().name()));
    }
    check(root)?;
    let mut sum = [0; 4];
    for suite in elements(root) {
        let counts = check_totals(suite)?;
        check_order(suite)?;
        sum = std::array::from_fn(|at| sum[at] + counts[at]);
    }
    says_counts(root, sum)
}

fn elements<'a, 'input>(node: Node<'a, 'input>) -> impl Iterator<Item = Node<'a, 'input>> {
    node.children().filter(Node::is_element)
}

/// An element and all in it against the schema.
fn check(node: Node<'_, '_>) -> Result<(), String> {
    let name = node.tag_name().name();
    let known = ELEMENTS.iter().find(|known| node.has_tag_name(known.name));
    let known = known.ok_or(format!("{name} is no element of the schema"))?;
    for attribute in node.attributes() {
        let mut known = known.attributes.iter();
        let found = known.find(|(known, ..)| *known == attribute.name());
        let plain = found.filter(|_| attribute.namespace().is_none());
        let (_, says, _) = plain.ok_or(format!("{name} has {}", attribute.name()))?;
        if !says.allows(attribute.value()) {
            let (key, value) = (attribute.name(), attribute.value());
            return Err(format!("{key} of {name} is {value:?}, not a {says:?}"));
        }
    }
    for (required, _, must) in known.attributes {
        if *must && !node.has_attribute(*required) {
            return Err(format!("{name} has no {required}"));
        }
    }
    let is_text = |node: &Node<'_, '_>| node.is_text() && !node.text().unwrap().trim().is_empty();
    if !known.text && node.children().any(|node| is_text(&node)) {
        return Err(format!("{name} has text"));
    }
    for child in elements(node) {
        let inner = child.tag_name().name();
        if !known.children.contains(&inner) {
            return Err(format!("{name} has {inner} in it"));
        }
        check(child)?;
    }
    Ok(())
}

impl Says {
    fn allows(self, text: &str) -> bool {
        let digits = |text: &str| !text.is_empty() && text.bytes().all(|c| c.is_ascii_digit());
        match self {
            Says::Text => true,
            Says::Name => !text.trim().is_empty(),
            Says::Count => digits(text) && text.parse::<i32>().is_ok(),
            Says::Seconds => text
                .split_once('.')
                .is_some_and(|(whole, part)| digits(whole) && digits(part)),
            Says::DateTime => is_date_time(text),
        }
    }
}

fn is_date_time(text: &str) -> bool {
    let shape = text.chars();
    let shape: String = shape
        .map(|c| if c.is_ascii_digit() { '0' } else { c })
        .collect();
    if shape != "0000-00-00T00:00:00" {
        return false;
    }
    let number = |at: usize| text[at..at + 2].parse::<u8>().unwrap();
    (1..=12).contains(&number(5))
        && (1..=31).contains(&number(8))
        && number(11) < 24
        && number(14) < 60
        && number(17) < 60
}

/// Tests, failures, errors and skipped ones in a suite, which it must say itself.
fn check_totals(suite: Node<'_, '_>) -> Result<[usize; 4], String> {
    let mut counts = [0; 4];
    for case in elements(suite).filter(|node| node.has_tag_name("testcase")) {
        counts[0] += 1;
        let verdicts = ["failure", "error", "skipped"];
        let said = elements(case).filter_map(|node| {
            let at = verdicts.iter().position(|name| node.has_tag_name(*name));
            at.map(|at| at + 1)
        });
        let said: Vec<usize> = said.collect();
        match said.as_slice() {
            [] => {}
            [one] => counts[*one] += 1,
            _ => return Err("testcase has two verdicts".to_owned()),
        }
    }
    says_counts(suite, counts)?;
    Ok(counts)
}

fn says_counts(node: Node<'_, '_>, counts: [usize; 4]) -> Result<(), String> {
    for (name, count) in ["tests", "failures", "errors", "skipped"]
        .iter()
        .zip(counts)
    {
        let said = node.attribute(*name);
        if said.is_some_and(|said| said != count.to_string()) {
            let said = said.unwrap_or_default();
            return Err(format!("{name} is {said}, and there are {count}"));
        }
    }
    Ok(())
}

/// Ant's order: properties, which are always there, then cases, then output; in a case, its result before its output.
fn check_order(suite: Node<'_, '_>) -> Result<(), String> {
    let names = |node| elements(node).map(|node| node.tag_name().name());
    let parts: Vec<&str> = names(suite).collect();
    let properties = parts.iter().filter(|name| **name == "properties").count();
    let order = ["properties", "testcase", "system-out", "system-err"];
    let place = |name: &&str| order.iter().position(|known| known == name);
    if properties != 1 || !parts.is_sorted_by_key(place) {
        return Err(format!("testsuite has {}", parts.join(", ")));
    }
    for case in elements(suite) {
        let parts: Vec<&str> = names(case).collect();
        if !parts.is_sorted_by_key(|name| name.starts_with("system-")) {
            return Err(format!("testcase has {}", parts.join(", ")));
        }
    }
    Ok(())
}

const SOUND: &str = r#"<?xml version="1.0" encoding="UTF-8"?>
<testsuites name="s" tests="5" failures="1" errors="1" time="1234.500">
<testsuite name="s" tests="5" failures="1" errors="1" skipped="1" time="1234.500" timestamp="2026-02-03T04:05:06" hostname="localhost">
<properties>
<property name="seed" value="7"/>
</properties>
<testcase classname="c" name="a" time="0.100">
<failure type="failed" message="m">body</failure>
<system-out>out</system-out>
</testcase>
<testcase classname="c" name="b" time="0.100"><error type="broken"/></testcase>
<testcase classname="c" name="c" time="0.100"><skipped message="why"/></testcase>
<testcase classname="c" name="d" time="0.100"><flakyFailure type="flaky" message="m">body</flakyFailure></testcase>
<testcase classname="c" name="e" time="0.100"/>
</testsuite>
</testsuites>
"#;

#[test]
fn a_spoilt_report_is_refused() {
    assert_eq!(checked(SOUND), Ok(()));
    for (from, to, why) in [
        (
            "</testsuites>\n",
            "",
            "root node was opened but never closed",
        ),
        ("testsuites", "results", "the root is results"),
        (
            "name=\"a\" ",
            "name=\"a\" file=\"a.toml\" ",
            "testcase has file",
        ),
        ("name=\"a\" ", "name=\"a\" line=\"3\" ", "testcase has line"),
        ("name=\"a\" ", "", "testcase has no name"),
        ("name=\"a\" ", "name=\" \" ", "name of testcase"),
        ("type=\"flaky\" ", "", "flakyFailure has no type"),
        ("value=\"7\"", "", "property has no value"),
        (
            "tests=\"5\"",
            "tests=\"-5\"",
            "tests of testsuites is \"-5\"",
        ),
        ("tests=\"5\"", "tests=\"6\"", "tests is 6, and there are 5"),
        (
            "skipped=\"1\"",
            "skipped=\"0\"",
            "skipped is 0, and there are 1",
        ),
        ("time=\"0.100\"", "time=\"1e-1\"", "time of testcase"),
        (
            "time=\"1234.500\"",
            "time=\"1,234.500\"",
            "time of testsuites",
        ),
        ("04:05:06", "04:05:06Z", "timestamp of testsuite"),
        ("2026-02-03", "2026-13-03", "timestamp of testsuite"),
        ("hostname=\"localhost\"", "", "testsuite has no hostname"),
        ("<properties>", "lost<properties>", "testsuite has text"),
        (
            "out</system-out>",
            "<b>out</b></system-out>",
            "system-out has b in it",
        ),
        ("<error ", "<skipped/><error ", "testcase has two verdicts"),
        (
            "<error type=\"broken\"/>",
            "<passed/>",
            "testcase has passed in it",
        ),
        (
            "<failure type=\"failed\" message=\"m\">body</failure>\n<system-out>out</system-out>",
            "<system-out>out</system-out>\n<failure type=\"failed\" message=\"m\">body</failure>",
            "testcase has system-out, failure",
        ),
        (
            "<properties>\n<property name=\"seed\" value=\"7\"/>\n</properties>\n",
            "",
            "testsuite has testcase",
        ),
    ] {
        let spoilt = SOUND.replace(from, to);
        assert_ne!(spoilt, SOUND, "{from}");
        let refused = checked(&spoilt).expect_err(why);
        assert!(refused.contains(why), "{refused:?} is not {why:?}");
    }
}
