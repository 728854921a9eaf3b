//! The OpenAPI document as a judge: whether a request is one of its operations, and whether an answer is what it says.

use hyper::{Method, StatusCode};
use regex_lite::Regex;
use serde_json::Value;

use super::service::Answer;

/// Words that say nothing about what is valid.
const SILENT: [&str; 6] = [
    "description",
    "example",
    "examples",
    "default",
    "format",
    "deprecated",
];

/// The document.
#[derive(Debug, Clone)]
pub(crate) struct Document(pub(crate) Value);

/// An operation of it.
#[derive(Debug, Clone)]
pub(crate) struct Operation<'a> {
    pub(crate) method: Method,
    pub(crate) path: &'a str,
    pub(crate) written: &'a Value,
}

fn fits(template: &str, path: &str) -> bool {
    let (mut template, mut path) = (template.split('/'), path.split('/'));
    loop {
        match (template.next(), path.next()) {
            (None, None) => return true,
            (Some(part), Some(word)) if part == word => {}
            (Some(part), Some(word)) if part.starts_with('{') && !word.is_empty() => {}
            _ => return false,
        }
    }
}

impl Document {
    pub(crate) fn operations(&self) -> Vec<Operation<'_>> {
        let paths = self.0["paths"].as_object().expect("it has paths");
        let mut operations = Vec::new();
        for (path, item) in paths {
            for (method, written) in item.as_object().expect("an item is an object") {
                let method = method.to_uppercase();
                operations.push(Operation {
                    method: method.parse().expect("it is a method"),
                    path,
                    written,
                });
            }
        }
        operations
    }

    /// The operations at an address, by the rule that written words go before parameters.
    pub(crate) fn at(&self, path: &str) -> Vec<Operation<'_>> {
        let mut all = self.operations();
        all.retain(|operation| fits(operation.path, path));
        let written = all.iter().any(|operation| !operation.path.contains('{'));
        all.retain(|operation| !written || !operation.path.contains('{'));
        all
    }

    /// Whether an answer is documented, and as its schema says.
    pub(crate) fn check(&self, method: &Method, path: &str, answer: &Answer) -> Result<(), String> {
        let path = path.split('?').next().unwrap_or_default();
        let all = self.at(path);
        // Every GET answers HEAD.
        let of = match *method {
            Method::HEAD => Method::GET,
            _ => method.clone(),
        };
        let found = all.iter().find(|operation| operation.method == of);
        let status = answer.status;
        let content = match found {
            Some(operation) => {
                let response = &operation.written["responses"][status.as_str()];
                if !response.is_object() {
                    return Err(format!("status {status} is not documented"));
                }
                &response["content"]
            }
            None if status == StatusCode::NOT_FOUND && all.is_empty() => {
                return self.problem(answer);
            }
            None if status == StatusCode::METHOD_NOT_ALLOWED && !all.is_empty() => {
                return match &answer.allow {
                    Some(_) => self.problem(answer),
                    None => Err("405 without `allow`".into()),
                };
            }
            None => return Err(format!("status {status} where nothing is documented")),
        };
        if answer.to_head || answer.kind == "text/event-stream" {
            return Ok(());
        }
        let schema = &content[&answer.kind]["schema"];
        if schema.is_null() {
            return Err(format!("content type {:?} is not documented", answer.kind));
        }
        self.valid(schema, &answer.json())
    }

    fn problem(&self, answer: &Answer) -> Result<(), String> {
        if answer.to_head {
            return Ok(());
        }
        if answer.kind != "application/problem+json" {
            return Err(format!("content type {:?} of a problem", answer.kind));
        }
        self.valid(&self.0["components"]["schemas"]["Problem"], &answer.json())
    }

    /// What a `$ref` means.
    pub(crate) fn resolve<'a>(&'a self, schema: &'a Value) -> &'a Value {
        match schema["$ref"].as_str() {
            None => schema,
            Some(name) => {
                let found = self.0.pointer(name.trim_start_matches('#'));
                found.unwrap_or_else(|| panic!("{name} is not there"))
            }
        }
    }

    /// Whether a value is what a schema says. A keyword that this does not know is an error: nothing passes unseen.
    pub(crate) fn valid(&self, schema: &Value, value: &Value) -> Result<(), String> {
        let schema = self.resolve(schema);
        let words = schema.as_object().ok_or("a schema is an object")?;
        for (word, says) in words {
            let holds = match word.as_str() {
                word if SILENT.contains(&word) => true,
                "type" => is(says, value),
                "enum" => says.as_array().is_some_and(|all| all.contains(value)),
                "pattern" => value.as_str().is_none_or(|text| matches(says, text)),
                "minLength" => value
                    .as_str()
                    .is_none_or(|text| text.chars().count() as u64 >= number(says)),
                "maxLength" => value
                    .as_str()
                    .is_none_or(|text| text.chars().count() as u64 <= number(says)),
                "minimum" => whole(value).is_none_or(|value| value >= number(says).into()),
                "maximum" => whole(value).is_none_or(|value| value <= number(says).into()),
                "required" => self.required(says, value),
                "properties" => return self.properties(schema, value),
                // Judged with the properties.
                "additionalProperties" => true,
                "items" => {
                    for item in value.as_array().into_iter().flatten() {
                        self.valid(says, item)?;
                    }
                    true
                }
                "oneOf" => {
                    let all = says.as_array().ok_or("oneOf is a list")?;
                    let fit = all.iter().filter(|one| self.valid(one, value).is_ok());
                    fit.count() == 1
                }
                unknown => return Err(format!("schema keyword {unknown} is not judged")),
            };
            if !holds {
                return Err(format!("{value} breaks {word} {says}"));
            }
        }
        Ok(())
    }

    fn required(&self, names: &Value, value: &Value) -> bool {
        let mut names = names.as_array().into_iter().flatten();
        names.all(|name| name.as_str().is_some_and(|name| value.get(name).is_some()))
    }

    fn properties(&self, schema: &Value, value: &Value) -> Result<(), String> {
        if !is(&schema["type"], value) {
            return Err(format!("{value} is no {}", schema["type"]));
        }
        if !self.required(&schema["required"], value) {
            return Err(format!("{value} lacks one of {}", schema["required"]));
        }
        for (name, value) in value.as_object().into_iter().flatten() {
            match schema["properties"].get(name) {
                Some(schema) => self
                    .valid(schema, value)
                    .map_err(|error| format!("{name}: {error}"))?,
                None => {
                    if schema["additionalProperties"] == Value::Bool(false) {
                        return Err(format!("{name} is unknown"));
                    }
                }
            }
        }
        Ok(())
    }
}

fn whole(value: &Value) -> Option<i128> {
    value
        .as_u64()
        .map(i128::from)
        .or_else(|| value.as_i64().map(i128::from))
}

fn number(value: &Value) -> u64 {
    value.as_u64().expect("limits are whole numbers")
}

fn matches(pattern: &Value, text: &str) -> bool {
    let pattern = pattern.as_str().expect("a pattern is text");
    Regex::new(pattern)
        .expect("a pattern is one")
        .is_match(text)
}

fn is(kind: &Value, value: &Value) -> bool {
    match kind {
        Value::Array(kinds) => kinds.iter().any(|kind| is(kind, value)),
        kind => match kind.as_str() {
            Some("object") => value.is_object(),
            Some("array") => value.is_array(),
            Some("string") => value.is_string(),
            Some("integer") => value.is_u64() || value.is_i64(),
            Some("number") => value.is_number(),
            Some("boolean") => value.is_boolean(),
            Some("null") => value.is_null(),
            Some(_) | None => false,
        },
    }
}
