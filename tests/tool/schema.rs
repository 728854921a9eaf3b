//! The JSON Schema against every file that is shipped, and against files that it must not accept.

use std::path::{Path, PathBuf};

use regex_lite::Regex;
use serde_json::Value as Json;
use swaprig::steps::all_steps;
use swaprig_scenarios::lang::{fragment_schema, schema};

/// Checks `value` against `schema` as draft 2020-12 has it; a keyword that is not known here fails the test, so that
/// nothing in a schema goes unchecked.
fn check(schema: &Json, value: &Json, root: &Json, path: &str, out: &mut Vec<String>) {
    if let Json::Bool(allowed) = schema {
        if !allowed {
            out.push(format!("{path}: not allowed"));
        }
        return;
    }
    for (keyword, rule) in schema.as_object().expect("a schema is an object") {
        let wrong = match keyword.as_str() {
            "$schema" | "$defs" | "title" | "description" | "default" | "examples"
            | "uniqueItems" => false,
            "$ref" => {
                let pointer = rule.as_str().unwrap().trim_start_matches('#');
                let target = root.pointer(pointer).expect("a reference leads somewhere");
                check(target, value, root, path, out);
                false
            }
            "type" => !types(rule).any(|ty| is_type(value, ty)),
            "enum" => !rule.as_array().unwrap().contains(value),
            "pattern" => value
                .as_str()
                .is_some_and(|text| !Regex::new(rule.as_str().unwrap()).unwrap().is_match(text)),
            "minLength" => value
                .as_str()
                .is_some_and(|text| (text.len() as u64) < number(rule)),
            "minimum" => value.as_u64().is_some_and(|n| n < number(rule)),
            "maximum" => value.as_u64().is_some_and(|n| n > number(rule)),
            "minItems" => value
                .as_array()
                .is_some_and(|a| (a.len() as u64) < number(rule)),
            "maxProperties" => value
                .as_object()
                .is_some_and(|o| (o.len() as u64) > number(rule)),
            "minProperties" => value
                .as_object()
                .is_some_and(|o| (o.len() as u64) < number(rule)),
            "required" => types(rule).any(|key| value.is_object() && value.get(key).is_none()),
            "items" => {
                for (index, item) in value.as_array().into_iter().flatten().enumerate() {
                    check(rule, item, root, &format!("{path}/{index}"), out);
                }
                false
            }
            "properties" | "additionalProperties" | "propertyNames" => {
                for (key, inner) in value.as_object().into_iter().flatten() {
                    let own = schema.get("properties").and_then(|own| own.get(key));
                    let at = format!("{path}/{key}");
                    match (keyword.as_str(), own) {
                        ("properties", Some(own)) => check(own, inner, root, &at, out),
                        ("additionalProperties", None) => check(rule, inner, root, &at, out),
                        ("propertyNames", _) => {
                            check(rule, &Json::from(key.as_str()), root, &at, out)
                        }
                        _ => {}
                    }
                }
                false
            }
            "oneOf" => fitting(rule, value, root) != 1,
            "anyOf" => fitting(rule, value, root) == 0,
            other => panic!("`{other}` is not checked"),
        };
        if wrong {
            out.push(format!("{path}: `{keyword}` is not met by {value}"));
        }
    }
}

fn number(rule: &Json) -> u64 {
    rule.as_u64().expect("a number")
}

fn types(rule: &Json) -> Box<dyn Iterator<Item = &str> + '_> {
    match rule {
        Json::Array(all) => Box::new(all.iter().filter_map(Json::as_str)),
        one => Box::new(one.as_str().into_iter()),
    }
}

fn is_type(value: &Json, ty: &str) -> bool {
    match ty {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        other => panic!("unknown type {other}"),
    }
}

fn fitting(any: &Json, value: &Json, root: &Json) -> usize {
    let fits = |schema: &&Json| {
        let mut wrong = Vec::new();
        check(schema, value, root, "", &mut wrong);
        wrong.is_empty()
    };
    any.as_array().unwrap().iter().filter(fits).count()
}

/// What of a file's text does not fit a schema.
pub(crate) fn wrongs(schema: &Json, text: &str) -> Vec<String> {
    let value: Json = toml::from_str(text).unwrap();
    let mut wrong = Vec::new();
    check(schema, &value, schema, "", &mut wrong);
    wrong
}

/// Every file below the directory of scenarios.
fn shipped(suffix: &str) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut pending = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios")];
    while let Some(dir) = pending.pop() {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if path.is_dir() && !matches!(name.as_str(), "src" | "tests" | "target") {
                pending.push(path);
            } else if name.ends_with(suffix) {
                files.push(path);
            }
        }
    }
    files
}

#[test]
fn every_shipped_file_fits_its_schema() {
    let registry = all_steps().unwrap();
    for (suffix, schema, least) in [
        (".scenario.toml", schema(&registry), 45),
        (".fragment.toml", fragment_schema(&registry), 6),
    ] {
        let files = shipped(suffix);
        assert!(files.len() >= least, "only {} {suffix}", files.len());
        for file in files {
            let wrong = wrongs(&schema, &std::fs::read_to_string(&file).unwrap());
            assert!(wrong.is_empty(), "{}: {wrong:#?}", file.display());
        }
    }
}

#[test]
fn what_is_wrong_does_not_fit() {
    let schema = schema(&all_steps().unwrap());
    let file = |steps: &str, rest: &str| {
        format!("title = \"x\"\nworld = {{ preset = \"bitcoin\" }}\nsteps = [ {steps} ]\n{rest}")
    };
    let fits = |steps: &str, rest: &str| wrongs(&schema, &file(steps, rest)).is_empty();
    assert!(fits(
        "{ mine = \"$n\", times = 2 }",
        "cases = { a = { n = 1 } }"
    ));
    assert!(fits(
        "{ use = \"lib/channel\", from = \"a\", as = \"ab\" }",
        ""
    ));
    for (steps, rest) in [
        ("{ mien = 1 }", ""),
        ("{ mine = 1, wihtin = \"5 s\" }", ""),
        ("{ mine = 1, use = \"lib/a\", together = [] }", ""),
        ("{ mine = 1, times = 0 }", ""),
        ("{ together = [] }", ""),
        ("{ together = [{ mien = 1 }] }", ""),
        ("{ await = \"a b\" }", ""),
        ("{ use = \"../a\" }", ""),
        ("{ mine = 1, on = { is = 5 } }", ""),
        (
            "{ http = \"GET\", url = \"a\", take = { n = { nmber = \"$.n\" } } }",
            "",
        ),
        ("{ mine = 1 }", "cases = { A = { n = 1 } }"),
        ("{ mine = 1 }", "matrix = { n = [] }"),
    ] {
        assert!(!fits(steps, rest), "{steps} {rest}");
    }
}
