//! What a JUnit report may hold.

use roxmltree::{Document, Node};

/// Asserts that `text` is what the schema that CI services have in common (Jenkins' junit-10.xsd, which the one of Apache
/// Ant's task is a part of) allows, and that its totals are those of its parts.
#[track_caller]
pub(crate) fn check_junit(text: &str) {
    let document = Document::parse(text).unwrap_or_else(|error| panic!("{error} in\n{text}"));
    let root = document.root_element();
    element(
        root,
        "testsuites",
        &["name", "tests", "failures", "errors", "time"],
        &["testsuite"],
    );
    for suite in root.children().filter(Node::is_element) {
        let attributes = [
            "name",
            "tests",
            "failures",
            "errors",
            "skipped",
            "time",
            "timestamp",
            "hostname",
        ];
        element(suite, "testsuite", &attributes, &["properties", "testcase"]);
        let children: Vec<_> = suite.children().filter(Node::is_element).collect();
        // Ant's wants the properties first, and always.
        element(children[0], "properties", &[], &["property"]);
        for property in children[0].children().filter(Node::is_element) {
            element(property, "property", &["name", "value"], &[]);
        }
        let mut counts = [0; 3];
        for case in &children[1..] {
            check_case(*case, &mut counts);
        }
        for (name, count) in ["failures", "errors", "skipped"].iter().zip(counts) {
            assert_eq!(
                suite.attribute(*name),
                Some(count.to_string().as_str()),
                "{name} in\n{text}"
            );
        }
        assert_eq!(
            suite.attribute("tests"),
            Some((children.len() - 1).to_string().as_str())
        );
        let timestamp = suite.attribute("timestamp").unwrap();
        let shape: String = timestamp
            .chars()
            .map(|c| if c.is_ascii_digit() { '0' } else { c })
            .collect();
        assert_eq!(shape, "0000-00-00T00:00:00");
    }
}

#[track_caller]
fn check_case(case: Node<'_, '_>, counts: &mut [usize; 3]) {
    let results = ["failure", "error", "skipped"];
    let all: Vec<&str> = results
        .iter()
        .copied()
        .chain(["system-out", "system-err"])
        .collect();
    element(
        case,
        "testcase",
        &["name", "classname", "time", "file", "line"],
        &all,
    );
    for required in ["name", "classname", "time"] {
        assert!(
            case.has_attribute(required),
            "a test case without {required}"
        );
    }
    let names: Vec<_> = case.children().filter(Node::is_element).collect();
    let names: Vec<_> = names.iter().map(|node| node.tag_name().name()).collect();
    let verdicts = names.iter().filter(|name| results.contains(name)).count();
    assert!(verdicts <= 1, "{names:?}");
    // The order of the schema.
    let mut sorted = names.clone();
    sorted.sort_by_key(|name| all.iter().position(|known| known == name));
    assert_eq!(names, sorted);
    for node in case.children().filter(Node::is_element) {
        match node.tag_name().name() {
            "skipped" => element(node, "skipped", &["message", "type"], &[]),
            name @ ("failure" | "error") => {
                element(node, name, &["message", "type"], &[]);
                assert!(node.has_attribute("type"));
            }
            name => element(node, name, &[], &[]),
        }
        if let Some(at) = results
            .iter()
            .position(|name| *name == node.tag_name().name())
        {
            counts[at] += 1;
        }
    }
}

/// Asserts the name of an element, and that it has no other attributes and children than these.
#[track_caller]
fn element(node: Node<'_, '_>, name: &str, attributes: &[&str], children: &[&str]) {
    assert_eq!(node.tag_name().name(), name);
    for attribute in node.attributes() {
        assert!(
            attributes.contains(&attribute.name()),
            "{name} has {}",
            attribute.name()
        );
        if matches!(
            attribute.name(),
            "tests" | "failures" | "errors" | "skipped" | "line"
        ) {
            attribute.value().parse::<u32>().unwrap();
        }
        if attribute.name() == "time" {
            attribute.value().parse::<f64>().unwrap();
        }
    }
    for child in node.children().filter(Node::is_element) {
        let child = child.tag_name().name();
        assert!(children.contains(&child), "{name} has {child}");
    }
}
