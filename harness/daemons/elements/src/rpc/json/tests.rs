//! JSON as elementsd reads and writes it.

use proptest::prelude::*;

use super::*;

#[test]
fn digits_and_order_survive() {
    let text = r#"{"b":21000000.00000001,"a":[1e-8,-0,123456789012345678901234567890],"b":null}"#;
    assert_eq!(Json::parse(text.as_bytes()).unwrap().write(), text);
}

#[test]
fn what_is_no_json() {
    for text in [
        "",
        " ",
        "{",
        "[",
        "[1",
        "[1,",
        "[1,]",
        "{\"a\"",
        "{\"a\":",
        "{\"a\":1,}",
        "{a:1}",
        "tru",
        "nul",
        "01",
        "1.",
        ".5",
        "-",
        "1e",
        "+1",
        "1x",
        "0x10",
        "\"",
        "\"\\",
        "\"\\q\"",
        "\"\\u12\"",
        "\"\n\"",
        "\"\\ud800\"",
        "\"\\ud800\\u0041\"",
        "\"\\udc00\"",
        "1 2",
        "{}{}",
        "NaN",
    ] {
        assert_eq!(Json::parse(text.as_bytes()), Err(ParseError), "{text}");
    }
    assert_eq!(Json::parse(b"\"\xff\""), Err(ParseError));
}

#[test]
fn depth_and_count_are_bounded() {
    let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    assert!(Json::parse(nested(MAX_DEPTH).as_bytes()).is_ok());
    assert!(Json::parse(nested(MAX_DEPTH + 1).as_bytes()).is_err());
    assert!(Json::parse("[".repeat(10_000_000).as_bytes()).is_err());
    let many = |count: usize| format!("[{}0]", "0,".repeat(count));
    assert!(Json::parse(many(MAX_VALUES - 2).as_bytes()).is_ok());
    assert!(Json::parse(many(MAX_VALUES - 1).as_bytes()).is_err());
}

fn any_json() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<i64>().prop_map(Into::into),
        any::<u64>().prop_map(Into::into),
        ".*".prop_map(Into::into),
    ];
    leaf.prop_recursive(4, 40, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Into::into),
            prop::collection::vec((".*", inner), 0..6)
                .prop_map(|entries| serde_json::Value::Object(entries.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn reads_and_writes_what_serde_json_does(value in any_json()) {
        let ours = Json::parse(value.to_string().as_bytes()).unwrap();
        let back: serde_json::Value = serde_json::from_str(&ours.write()).unwrap();
        prop_assert_eq!(back, value);
    }

    #[test]
    fn refuses_what_serde_json_refuses(text in r#"[\[\]{}:,"\\a-f0-9eE+. \-tn]{0,24}"#) {
        let ours = Json::parse(text.as_bytes()).is_ok();
        let theirs = serde_json::from_str::<serde_json::Value>(&text);
        // A number too large for a float is JSON all the same.
        let too_large = matches!(&theirs, Err(error) if error.to_string().contains("out of range"));
        prop_assert!(ours == theirs.is_ok() || too_large, "{} {}", text, ours);
    }
}
