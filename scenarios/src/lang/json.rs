//! JSON in steps: what is sent, places in what comes back, and what is taken from there with its type.

use std::fmt;

use serde_json::{Value as Json, json};
use swaprig_units::{Height, Msat, Sat, Units};
use toml::de::DeValue;

use super::answer::Answer;
use super::cx::{Field, FieldType, StepCx};
use super::fill::Filled;
use super::reference::Reference;
use super::types::Type;
use super::value::Value;
use super::words::{Node, is_name, nearest, one_of, quoted, to_name};

/// A JSON value that a file writes as TOML.
#[derive(Debug, Clone, PartialEq)]
pub enum Body {
    /// A text, in which names in braces are filled in.
    Text(Filled),
    /// A number, `true` or `false`.
    Plain(Json),
    /// What a step before bound, as a number where it is one.
    Reference(Reference),
    /// An array.
    Array(Vec<Body>),
    /// A table.
    Object(Vec<(String, Body)>),
}

impl Body {
    fn of(node: &Node<'_>, cx: &mut StepCx<'_>) -> Option<Self> {
        if let Some(reference) = cx.reference(node) {
            let reference = reference?;
            let ty = cx.type_of(node, &reference)?;
            if let Type::Entity(entity) = ty {
                let field = entity.all_fields().first().map_or("", |field| field.name);
                let title = format!("`{reference}` is {}, not a single value", ty.a_name());
                cx.problem(node.span(), title)
                    .label("no field")
                    .help(format!(
                        "write a field of it, such as \"{reference}.{field}\""
                    ));
                return None;
            }
            return Some(Body::Reference(reference));
        }
        match node.get_ref() {
            DeValue::String(_) => Filled::read(node, cx).map(Body::Text),
            DeValue::Boolean(flag) => Some(Body::Plain(json!(flag))),
            DeValue::Integer(number) => {
                match i64::from_str_radix(number.as_str(), number.radix()) {
                    Ok(number) => Some(Body::Plain(json!(number))),
                    Err(_) => {
                        cx.expected(node, "a number of 64 bits")
                            .help("it is too large");
                        None
                    }
                }
            }
            DeValue::Float(number) => {
                let number: f64 = number.as_str().parse().unwrap_or(f64::NAN);
                match number.is_finite() {
                    true => Some(Body::Plain(json!(number))),
                    false => {
                        cx.expected(node, "a number")
                            .help("JSON has no such number");
                        None
                    }
                }
            }
            DeValue::Datetime(_) => {
                cx.expected(node, "a value that JSON has")
                    .help("write it as a text, in quotes");
                None
            }
            DeValue::Array(items) => {
                let items: Vec<_> = items.iter().map(|item| Body::of(item, cx)).collect();
                Some(Body::Array(items.into_iter().collect::<Option<_>>()?))
            }
            DeValue::Table(table) => {
                let pairs: Vec<_> = table
                    .iter()
                    .map(|(key, value)| Some((key.get_ref().to_string(), Body::of(value, cx)?)))
                    .collect();
                Some(Body::Object(pairs.into_iter().collect::<Option<_>>()?))
            }
        }
    }
}

impl Field for Body {
    fn field_type() -> FieldType {
        FieldType::new(
            "a table that is sent, as JSON or as the message that it describes; whole references keep their type",
            "{ sat = 50_000, key = \"$me.pub\" }",
            json!({ "type": "object", "additionalProperties": true }),
        )
    }

    fn read(node: &Node<'_>, cx: &mut StepCx<'_>) -> Option<Self> {
        if !matches!(node.get_ref(), DeValue::Table(_)) {
            cx.expected(node, "a table").help("write { sat = 50_000 }");
            return None;
        }
        Body::of(node, cx)
    }

    fn references(&self, out: &mut Vec<Reference>) {
        match self {
            Body::Text(text) => text.references(out),
            Body::Plain(_) => {}
            Body::Reference(reference) => out.push(reference.clone()),
            Body::Array(items) => items.iter().for_each(|item| item.references(out)),
            Body::Object(pairs) => pairs.iter().for_each(|(_, value)| value.references(out)),
        }
    }
}

/// A place in a JSON value: `$`, `$.a.b[0]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JsonPath(Vec<Way>);

/// A part of a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Way {
    Key(String),
    Index(usize),
}

impl JsonPath {
    /// Reads a path; an error says what to write.
    pub fn parse(text: &str) -> Result<Self, String> {
        let Some(mut rest) = text.strip_prefix('$') else {
            let bare = text.trim_start_matches('.');
            return Err(format!("it starts with `$`: \"$.{bare}\""));
        };
        let mut ways = Vec::new();
        while !rest.is_empty() {
            if let Some(after) = rest.strip_prefix('.') {
                let end = after.find(['.', '[']).unwrap_or(after.len());
                if end == 0 {
                    return Err("a name comes after the dot: \"$.a.b\"".to_owned());
                }
                ways.push(Way::Key(after[..end].to_owned()));
                rest = &after[end..];
            } else if let Some(after) = rest.strip_prefix('[') {
                let (index, after) = after.split_once(']').unwrap_or((after, ""));
                let index = index
                    .parse()
                    .map_err(|_| "in brackets is a number, from 0: \"$.a[0]\"".to_owned())?;
                ways.push(Way::Index(index));
                rest = after;
            } else {
                return Err(
                    "after `$` comes a dot and a name, or a number in brackets: \"$.a[0]\"".into(),
                );
            }
        }
        Ok(JsonPath(ways))
    }

    pub(super) fn ways(&self) -> &[Way] {
        &self.0
    }

    /// What is there.
    pub fn find<'j>(&self, whole: &'j Json) -> Option<&'j Json> {
        self.0.iter().try_fold(whole, |json, way| match way {
            Way::Key(key) => json.get(key),
            Way::Index(index) => json.get(index),
        })
    }
}

impl fmt::Display for JsonPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("$")?;
        self.0.iter().try_for_each(|way| match way {
            Way::Key(key) => write!(f, ".{key}"),
            Way::Index(index) => write!(f, "[{index}]"),
        })
    }
}

/// Places in a JSON value: as [`JsonPath`], with `[*]` for every element of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JsonPaths(Vec<JsonPath>);

impl JsonPaths {
    /// Reads them; an error says what to write.
    pub fn parse(text: &str) -> Result<Self, String> {
        if !text.starts_with('$') {
            let bare = text.trim_start_matches('.');
            return Err(format!("it starts with `$`: \"$.{bare}\""));
        }
        let mut parts = text.split("[*]");
        let first = JsonPath::parse(parts.next().unwrap_or_default())?;
        let rest = parts.map(|part| JsonPath::parse(&format!("${part}")));
        let all = std::iter::once(Ok(first)).chain(rest);
        Ok(JsonPaths(all.collect::<Result<_, _>>()?))
    }

    /// What is there.
    pub fn find<'j>(&self, whole: &'j Json) -> Vec<&'j Json> {
        let Some((first, rest)) = self.0.split_first() else {
            return Vec::new();
        };
        let mut found: Vec<&Json> = first.find(whole).into_iter().collect();
        for path in rest {
            let elements = found.iter().filter_map(|list| list.as_array()).flatten();
            found = elements.filter_map(|element| path.find(element)).collect();
        }
        found
    }
}

/// As it is written.
impl fmt::Display for JsonPaths {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, path) in self.0.iter().enumerate() {
            let text = path.to_string();
            match i {
                0 => f.write_str(&text)?,
                _ => write!(f, "[*]{}", text.trim_start_matches('$'))?,
            }
        }
        Ok(())
    }
}

fn read_path(
    node: &Node<'_>,
    text: &str,
    span: super::problem::Span,
    cx: &mut StepCx<'_>,
) -> Option<JsonPath> {
    let _ = node;
    match JsonPath::parse(text) {
        Ok(path) => Some(path),
        Err(help) => {
            cx.problem(span, format!("{} is not a place in JSON", quoted(text)))
                .label("expected a path such as \"$.state\"")
                .help(help);
            None
        }
    }
}

/// What an answer must say, place by place.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Expected(pub Vec<(JsonPath, Body)>);

impl Field for Expected {
    fn field_type() -> FieldType {
        FieldType::new(
            "a table of places in the answer and what must be there",
            "{ \"$.state\" = \"claimed\" }",
            json!({ "type": "object", "propertyNames": { "pattern": r"^\$" }, "additionalProperties": true }),
        )
    }

    fn read(node: &Node<'_>, cx: &mut StepCx<'_>) -> Option<Self> {
        let DeValue::Table(table) = node.get_ref() else {
            cx.expected(node, "a table of places and values")
                .help("write expect = { \"$.state\" = \"claimed\" }");
            return None;
        };
        let pairs: Vec<_> = table
            .iter()
            .map(|(key, value)| {
                let path = read_path(node, key.get_ref(), key.span(), cx);
                let value = Body::of(value, cx);
                Some((path?, value?))
            })
            .collect();
        Some(Expected(pairs.into_iter().collect::<Option<_>>()?))
    }

    fn references(&self, out: &mut Vec<Reference>) {
        self.0.iter().for_each(|(_, value)| value.references(out));
    }
}

/// What is kept of an answer: name, type, place.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Taken(pub Vec<(String, Type, JsonPath)>);

/// The types that a value of an answer can be given.
const TYPES: &[(&str, Type)] = &[
    ("text", Type::Text),
    ("number", Type::Count),
    ("flag", Type::Flag),
    ("sat", Type::Sat),
    ("msat", Type::Msat),
    ("units", Type::Units),
    ("height", Type::Height),
    ("hash", Type::Hash),
    ("preimage", Type::Preimage),
    ("txid", Type::Txid),
];

const TAKE: &str = "write take = { id = \"$.id\", amount = { sat = \"$.amount\" } }";

impl Field for Taken {
    fn field_type() -> FieldType {
        let place = json!({ "type": "string", "pattern": r"^\$" });
        let types = TYPES
            .iter()
            .map(|(name, _)| ((*name).to_owned(), place.clone()));
        let types: serde_json::Map<String, Json> = types.collect();
        FieldType::new(
            "a table of names and places in the answer; a text, or { number = \"$.height\" } and the like",
            "{ id = \"$.id\", amount = { sat = \"$.amount\" } }",
            json!({ "type": "object", "additionalProperties": { "anyOf": [
                place,
                {
                    "type": "object",
                    "additionalProperties": false,
                    "minProperties": 1,
                    "maxProperties": 1,
                    "properties": types,
                },
            ] } }),
        )
    }

    fn read(node: &Node<'_>, cx: &mut StepCx<'_>) -> Option<Self> {
        let DeValue::Table(table) = node.get_ref() else {
            cx.expected(node, "a table of names and places").help(TAKE);
            return None;
        };
        let all: Vec<_> = table
            .iter()
            .map(|(key, value)| {
                let name: &str = key.get_ref();
                let base = match cx.step() {
                    "grpc" => Answer::REPLY,
                    _ => Answer::BASE,
                };
                let of_every = base.field(name).is_some();
                if !is_name(name, '_') || of_every {
                    let example = to_name(name, '_').filter(|_| !of_every);
                    let help = match example {
                        Some(example) => format!("write {example}"),
                        None => "choose another name, such as id".to_owned(),
                    };
                    let title = match of_every {
                        true => format!("every {} has a `{name}` of its own", base.name),
                        false => format!("{} is not a name", quoted(name)),
                    };
                    cx.problem(key.span(), title).label("in `take`").help(help);
                    return None;
                }
                let (ty, path) = read_taken(value, cx)?;
                Some((name.to_owned(), ty, path))
            })
            .collect();
        Some(Taken(all.into_iter().collect::<Option<_>>()?))
    }
}

fn read_taken(node: &Node<'_>, cx: &mut StepCx<'_>) -> Option<(Type, JsonPath)> {
    match node.get_ref() {
        DeValue::String(text) => Some((Type::Text, read_path(node, text, node.span(), cx)?)),
        DeValue::Table(table) if table.len() == 1 => {
            let (key, value) = table.iter().next()?;
            let word: &str = key.get_ref();
            let names = || TYPES.iter().map(|(name, _)| *name);
            let Some((_, ty)) = TYPES.iter().find(|(name, _)| *name == word) else {
                let help = match nearest(word, names()) {
                    Some(meant) => format!("did you mean `{meant}`?"),
                    None => format!("a type is {}", one_of(names())),
                };
                cx.problem(key.span(), format!("unknown type `{word}` in `take`"))
                    .label("the type of what is taken")
                    .help(help);
                return None;
            };
            let DeValue::String(text) = value.get_ref() else {
                cx.expected(value, "a place such as \"$.id\"").help(TAKE);
                return None;
            };
            Some((*ty, read_path(value, text, value.span(), cx)?))
        }
        _ => {
            cx.expected(node, "a place such as \"$.id\"").help(TAKE);
            None
        }
    }
}

/// The type of a field that `take` names, as far as that can be told without a word.
pub(super) fn type_taken(value: &DeValue<'_>) -> Option<Type> {
    match value {
        DeValue::String(_) => Some(Type::Text),
        DeValue::Table(table) => {
            let key = table.keys().next()?;
            let found = TYPES
                .iter()
                .find(|(name, _)| *name == key.get_ref().as_ref());
            found.map(|(_, ty)| *ty)
        }
        _ => None,
    }
}

/// A JSON value as a value of that type; `None` when it is none.
pub(crate) fn typed(json: &Json, ty: Type) -> Option<Value> {
    let text = || json.as_str();
    Some(match ty {
        Type::Text => Value::Text(text()?.to_owned()),
        Type::Count => Value::Count(json.as_u64()?),
        Type::Flag => Value::Flag(json.as_bool()?),
        Type::Sat => Value::Sat(Sat(json.as_u64()?)),
        Type::Msat => Value::Msat(Msat(json.as_u64()?)),
        Type::Units => Value::Units(Units(json.as_u64()?)),
        Type::Height => Value::Height(Height(json.as_u64()?.try_into().ok()?)),
        Type::Hash => Value::Hash(text()?.parse().ok()?),
        Type::Preimage => Value::Preimage(text()?.parse().ok()?),
        Type::Txid => Value::Txid(text()?.parse().ok()?),
        Type::Word(_) | Type::Entity(_) => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_every_element() {
        let whole = json!({ "a": [{ "b": 1 }, { "c": 2 }, { "b": [3, 4] }], "b": 5 });
        for (path, found) in [
            ("$.a[*].b", vec![json!(1), json!([3, 4])]),
            ("$.a[*].b[*]", vec![json!(3), json!(4)]),
            ("$.b", vec![json!(5)]),
            ("$.b[*]", vec![]),
            ("$.x[*].b", vec![]),
        ] {
            let parsed = JsonPaths::parse(path).unwrap();
            let all: Vec<_> = parsed.find(&whole).into_iter().cloned().collect();
            assert_eq!((all, parsed.to_string().as_str()), (found, path));
        }
        for path in ["a[*]", "$.a[*]b", "$[*]x"] {
            assert!(JsonPaths::parse(path).is_err(), "{path}");
        }
    }

    #[test]
    fn a_path_leads_to_a_place() {
        let whole = json!({ "a": { "b": [1, { "c": "x" }] } });
        for (path, found) in [
            ("$", Some(&whole)),
            ("$.a.b[0]", Some(&json!(1))),
            ("$.a.b[1].c", Some(&json!("x"))),
            ("$.a.c", None),
            ("$.a[0]", None),
        ] {
            let parsed = JsonPath::parse(path).unwrap();
            assert_eq!(
                (parsed.find(&whole), parsed.to_string().as_str()),
                (found, path)
            );
        }
        for path in ["a", "$a", "$.", "$.a..b", "$[x]", ".a"] {
            assert!(JsonPath::parse(path).is_err(), "{path}");
        }
    }
}
