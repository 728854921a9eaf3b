//! Lies about a named field of an answer: the path to it, the value, and how both fit JSON and protobuf.

use std::fmt;

use prost_reflect::{
    DescriptorPool, DynamicMessage, FieldDescriptor, Kind as FieldKind, MessageDescriptor,
    MethodDescriptor, ReflectMessage as _, Value as ProtoValue,
};
use serde_json::Value as Json;

use crate::grpc::{describe, element_kind, key_text, scalar};

/// A value that takes the place of another one.
#[derive(Debug, Clone, PartialEq)]
pub enum FieldValue {
    /// A whole number.
    Integer(i64),
    /// A number with a fraction, as bitcoind writes amounts.
    Decimal(f64),
    /// A text; of a protobuf `bytes` its hexadecimal digits, of an enum its name.
    Text(String),
    /// `true` or `false`.
    Flag(bool),
    /// Anything, such as a list. Only JSON has a place for it.
    Json(Json),
}

/// A value in the place of a field's own.
#[derive(Debug, Clone)]
pub(super) struct Lie {
    /// The path to the field; `None`: the whole answer.
    pub(super) field: Option<String>,
    pub(super) value: FieldValue,
    /// Whether JSON without the field gets it. A protobuf message has every field of its type.
    pub(super) adds: bool,
}

impl fmt::Display for FieldValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FieldValue::Integer(number) => number.fmt(f),
            FieldValue::Decimal(number) => number.fmt(f),
            FieldValue::Text(text) => write!(f, "{text:?}"),
            FieldValue::Flag(flag) => flag.fmt(f),
            FieldValue::Json(value) => value.fmt(f),
        }
    }
}

/// Why a lie cannot be told.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TamperError {
    /// The API has no such method.
    #[error("there is no method `{method}`")]
    NoMethod {
        /// What was asked for.
        method: String,
        /// All there are.
        known: Vec<String>,
    },
    /// The answer has no such field.
    #[error("`{message}` has no field `{field}`")]
    NoField {
        /// The message that should have it.
        message: String,
        /// The part of the path that was not found.
        field: String,
        /// All there are.
        known: Vec<String>,
    },
    /// The path goes on below something that has no fields.
    #[error("`{field}` is {is}, it has no `{below}`")]
    NoFieldsBelow {
        /// The last part that was found.
        field: String,
        /// What it is.
        is: String,
        /// The part after it.
        below: String,
    },
    /// The path ends at something that no single value can take the place of.
    #[error("`{field}` is {is}, not a single value")]
    NotSingle {
        /// The last part of the path.
        field: String,
        /// What it is.
        is: String,
    },
    /// The value does not fit.
    #[error("`{field}` is {is}, which {value} is not")]
    WrongValue {
        /// The last part of the path.
        field: String,
        /// What it is.
        is: String,
        /// What was given.
        value: String,
    },
}

/// Puts the lie where its path leads from `json`: an existing field, or, when it adds, one that an existing object has not. Says
/// whether it could.
pub(super) fn in_json(json: &mut Json, lie: &Lie) -> bool {
    let mut at = json;
    let mut parts = lie.field.iter().flat_map(|path| path.split('.')).peekable();
    while let Some(part) = parts.next() {
        let adds = lie.adds && parts.peek().is_none();
        let next = match at {
            Json::Object(fields) => match adds {
                true => Some(fields.entry(part).or_insert(Json::Null)),
                false => fields.get_mut(part),
            },
            Json::Array(items) => part.parse().ok().and_then(|i: usize| items.get_mut(i)),
            _ => None,
        };
        match next {
            Some(next) => at = next,
            None => return false,
        }
    }
    *at = match &lie.value {
        FieldValue::Integer(number) => Json::from(*number),
        FieldValue::Decimal(number) => Json::from(*number),
        FieldValue::Text(text) => Json::from(text.as_str()),
        FieldValue::Flag(flag) => Json::from(*flag),
        FieldValue::Json(value) => value.clone(),
    };
    true
}

/// The method of that name, with or without its service, in `pool`.
pub(super) fn method(pool: &DescriptorPool, name: &str) -> Result<MethodDescriptor, TamperError> {
    let all = || {
        pool.services()
            .flat_map(|service| service.methods().collect::<Vec<_>>())
    };
    let found = all().find(|method| {
        let path = format!("{}/{}", method.parent_service().full_name(), method.name());
        method.name() == name || path == name.trim_start_matches('/')
    });
    found.ok_or_else(|| TamperError::NoMethod {
        method: name.to_owned(),
        known: all().map(|method| method.name().to_owned()).collect(),
    })
}

/// Checks that `path` leads to a single field of `message` that `value` fits.
pub(super) fn check(
    message: &MessageDescriptor,
    path: &str,
    value: &FieldValue,
) -> Result<(), TamperError> {
    let (field, whole) = walk(message, path)?;
    if whole && (field.is_list() || field.is_map()) {
        let is = if field.is_map() { "a map" } else { "a list" };
        return Err(TamperError::NotSingle {
            field: path.to_owned(),
            is: is.to_owned(),
        });
    }
    scalar(&element_kind(&field), value).map_err(|is| match element_kind(&field) {
        FieldKind::Message(_) => TamperError::NotSingle {
            field: path.to_owned(),
            is,
        },
        _ => TamperError::WrongValue {
            field: path.to_owned(),
            is,
            value: value.to_string(),
        },
    })?;
    Ok(())
}

/// The field where `path` ends, and whether the whole of it is meant, not an element of it.
fn walk(message: &MessageDescriptor, path: &str) -> Result<(FieldDescriptor, bool), TamperError> {
    let mut at = message.clone();
    let mut parts = path.split('.').peekable();
    loop {
        let part = parts.next().unwrap_or_default();
        let field = at
            .get_field_by_name(part)
            .ok_or_else(|| TamperError::NoField {
                message: at.name().to_owned(),
                field: part.to_owned(),
                known: at.fields().map(|field| field.name().to_owned()).collect(),
            })?;
        let mut whole = true;
        if (field.is_list() || field.is_map()) && parts.peek().is_some() {
            let index = parts.next().unwrap_or_default();
            if field.is_list() && index.parse::<usize>().is_err() {
                return Err(TamperError::NoFieldsBelow {
                    field: part.to_owned(),
                    is: "a list, whose elements are named 0, 1, 2 …".to_owned(),
                    below: index.to_owned(),
                });
            }
            whole = false;
        }
        match (parts.peek(), element_kind(&field)) {
            (None, _) => return Ok((field, whole)),
            (Some(_), FieldKind::Message(next)) => at = next,
            (Some(below), kind) => {
                return Err(TamperError::NoFieldsBelow {
                    field: part.to_owned(),
                    is: describe(&kind),
                    below: (*below).to_owned(),
                });
            }
        }
    }
}

/// Puts `value` where `path` leads in `message`. A list element must be there; a field that is not set is set. Says
/// whether it could.
pub(super) fn in_message(message: &mut DynamicMessage, path: &str, value: &FieldValue) -> bool {
    let (name, rest) = split(path);
    let Some(field) = message.descriptor().get_field_by_name(name) else {
        return false;
    };
    let kind = element_kind(&field);
    let is_map = field.is_map();
    let slot = message.get_field_mut(&field);
    match (slot, rest) {
        (ProtoValue::List(items), Some(rest)) => {
            let (index, rest) = split(rest);
            let item = index.parse().ok().and_then(|i: usize| items.get_mut(i));
            item.is_some_and(|item| put(item, rest, &kind, value))
        }
        (ProtoValue::Map(entries), Some(rest)) => {
            let (wanted, rest) = split(rest);
            let entry = entries.iter_mut().find(|(key, _)| key_text(key) == wanted);
            entry.is_some_and(|(_, slot)| put(slot, rest, &kind, value))
        }
        (slot, rest) if !is_map => put(slot, rest, &kind, value),
        _ => false,
    }
}

fn put(slot: &mut ProtoValue, rest: Option<&str>, kind: &FieldKind, value: &FieldValue) -> bool {
    match (rest, slot) {
        (Some(rest), ProtoValue::Message(message)) => in_message(message, rest, value),
        (Some(_), _) | (None, ProtoValue::Message(_) | ProtoValue::List(_)) => false,
        (None, slot) => match scalar(kind, value) {
            Ok(value) => {
                *slot = value;
                true
            }
            Err(_) => false,
        },
    }
}

fn split(path: &str) -> (&str, Option<&str>) {
    path.split_once('.')
        .map_or((path, None), |(first, rest)| (first, Some(rest)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use ldk_server_protos::{Message as _, api, types};
    use proptest::prelude::*;
    use serde_json::json;

    use super::super::ldk_server_descriptors;

    fn answer(name: &str) -> MessageDescriptor {
        method(ldk_server_descriptors(), name).unwrap().output()
    }

    fn lie(field: Option<&str>, value: FieldValue) -> Lie {
        Lie {
            field: field.map(str::to_owned),
            value,
            adds: false,
        }
    }

    #[test]
    fn a_json_field_is_found_by_its_path() {
        let mut json = json!({ "blocks": 7, "list": [{ "height": 1 }, 2] });
        for (path, value) in [
            ("blocks", FieldValue::Integer(-5)),
            ("list.0.height", FieldValue::Text("x".into())),
            ("list.1", FieldValue::Flag(true)),
        ] {
            assert!(in_json(&mut json, &lie(Some(path), value)), "{path}");
        }
        for absent in ["height", "list.2", "list.x", "blocks.0", ""] {
            let lie = lie(Some(absent), FieldValue::Flag(true));
            assert!(!in_json(&mut json, &lie), "{absent}");
        }
        assert_eq!(
            json,
            json!({ "blocks": -5, "list": [{ "height": "x" }, true] })
        );
        assert!(in_json(&mut json, &lie(None, FieldValue::Decimal(0.5))));
        assert_eq!(json, json!(0.5));
    }

    #[test]
    fn a_json_field_is_added_where_there_is_a_place_for_it() {
        let mut json = json!({ "blocks": 7, "list": [{ "height": 1 }] });
        let add = |field: &str| Lie {
            adds: true,
            ..lie(Some(field), FieldValue::Flag(true))
        };
        for path in ["header", "list.0.depth", "blocks"] {
            assert!(in_json(&mut json, &add(path)), "{path}");
        }
        for nowhere in ["header.depth", "other.depth", "list.1", "list.x"] {
            assert!(!in_json(&mut json, &add(nowhere)), "{nowhere}");
        }
        let list = json!([{ "height": 1, "depth": true }]);
        assert_eq!(
            json,
            json!({ "blocks": true, "header": true, "list": list })
        );
    }

    #[test]
    fn a_message_field_is_found_by_its_path() {
        let tell = |bytes: &[u8], name: &str, path: &str, value: FieldValue| {
            check(&answer(name), path, &value).unwrap();
            let mut message = DynamicMessage::decode(answer(name), bytes).unwrap();
            let told = in_message(&mut message, path, &value);
            (told, message.encode_to_vec())
        };
        let height = FieldValue::Integer(7);
        let (told, bytes) = tell(&[], "GetNodeInfo", "current_best_block.height", height);
        assert!(told);
        let info = api::GetNodeInfoResponse::decode(&bytes[..]).unwrap();
        assert_eq!(info.current_best_block.unwrap().height, 7);

        let channels = api::ListChannelsResponse {
            channels: vec![types::Channel::default(); 2],
        }
        .encode_to_vec();
        let usable = || FieldValue::Flag(true);
        let (told, bytes) = tell(&channels, "ListChannels", "channels.1.is_usable", usable());
        assert!(told);
        let listed = api::ListChannelsResponse::decode(&bytes[..]).unwrap();
        let usable_ones: Vec<_> = listed.channels.iter().map(|one| one.is_usable).collect();
        assert_eq!(usable_ones, [false, true]);
        let (told, _) = tell(&channels, "ListChannels", "channels.2.is_usable", usable());
        assert!(!told, "there is no third channel");
    }

    #[test]
    fn a_lie_that_cannot_be_told_says_why() {
        let cases = [
            (
                "height",
                FieldValue::Integer(1),
                "`GetNodeInfoResponse` has no field `height`",
            ),
            (
                "current_best_block",
                FieldValue::Integer(1),
                "`current_best_block` is a `BestBlock`, not a single value",
            ),
            (
                "node_id.x",
                FieldValue::Integer(1),
                "`node_id` is a text, it has no `x`",
            ),
            (
                "current_best_block.height",
                FieldValue::Text("7".into()),
                "`current_best_block.height` is a whole number that is not negative, which \"7\" is not",
            ),
            (
                "current_best_block.height",
                FieldValue::Integer(-1),
                "`current_best_block.height` is a whole number that is not negative, which -1 is not",
            ),
            (
                "listening_addresses",
                FieldValue::Text("x".into()),
                "`listening_addresses` is a list, not a single value",
            ),
            (
                "listening_addresses.first",
                FieldValue::Text("x".into()),
                "`listening_addresses` is a list, whose elements are named 0, 1, 2 …, it has no `first`",
            ),
        ];
        for (path, value, text) in cases {
            let error = check(&answer("GetNodeInfo"), path, &value).unwrap_err();
            assert_eq!(error.to_string(), text);
        }
        assert!(method(ldk_server_descriptors(), "GetNode").is_err());
        assert!(method(ldk_server_descriptors(), "/api.LightningNode/GetNodeInfo").is_ok());
    }

    proptest! {
        #[test]
        fn any_path_is_told_or_refused(path in "[a-z_.0-9]{0,40}", number: i64) {
            let value = FieldValue::Integer(number);
            let mut message = DynamicMessage::new(answer("GetNodeInfo"));
            let _ = check(&answer("GetNodeInfo"), &path, &value);
            let _ = in_message(&mut message, &path, &value);
            for adds in [false, true] {
                let lie = Lie { adds, ..lie(Some(&path), value.clone()) };
                let _ = in_json(&mut json!({ "a": [1] }), &lie);
            }
        }
    }
}
