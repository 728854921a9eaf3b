//! Messages by their descriptors: from JSON and to JSON. Bytes are hexadecimal digits there, enum values their names,
//! fields have the names of the `.proto` file and every number is a number.

use std::collections::HashMap;

use prost_reflect::{
    DynamicMessage, FieldDescriptor, Kind, MapKey, MessageDescriptor, ReflectMessage as _, Value,
};
use serde_json::{Map, Value as Json, json};

use crate::proxy::FieldValue;

/// A value that does not fit its place.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Misfit {
    /// The message has no such field.
    #[error("`{message}` has no field `{field}`")]
    NoField {
        /// The message.
        message: String,
        /// What was asked for.
        field: String,
        /// All there are.
        known: Vec<String>,
    },
    /// The value is of another kind.
    #[error("`{field}` is {is}, which {value} is not")]
    Value {
        /// The path to the field.
        field: String,
        /// What it is.
        is: String,
        /// What was given.
        value: String,
    },
    /// Two fields of one `oneof`.
    #[error("`{one}` and `{two}` are of the oneof `{oneof}`, which has one of them at a time")]
    Oneof {
        /// The oneof.
        oneof: String,
        /// The field that was read first.
        one: String,
        /// The other one.
        two: String,
    },
}

/// A message of that type from a JSON object.
///
/// # Errors
/// The first value that does not fit.
pub fn encode(message: &MessageDescriptor, json: &Json) -> Result<DynamicMessage, Misfit> {
    object(message, json, "")
}

fn join(path: &str, name: &str) -> String {
    match path {
        "" => name.to_owned(),
        path => format!("{path}.{name}"),
    }
}

fn wrong(path: &str, is: String, json: &Json) -> Misfit {
    Misfit::Value {
        field: path.to_owned(),
        is,
        value: json.to_string(),
    }
}

fn object(message: &MessageDescriptor, json: &Json, path: &str) -> Result<DynamicMessage, Misfit> {
    let Json::Object(pairs) = json else {
        return Err(wrong(path, describe(&Kind::Message(message.clone())), json));
    };
    let mut made = DynamicMessage::new(message.clone());
    let mut chosen: HashMap<String, &str> = HashMap::new();
    for (name, json) in pairs {
        let field = message.get_field_by_name(name);
        let field = field.ok_or_else(|| Misfit::NoField {
            message: message.name().to_owned(),
            field: name.clone(),
            known: message.fields().map(|f| f.name().to_owned()).collect(),
        })?;
        if let Some(oneof) = field.containing_oneof()
            && let Some(one) = chosen.insert(oneof.name().to_owned(), name)
        {
            return Err(Misfit::Oneof {
                oneof: oneof.name().to_owned(),
                one: one.to_owned(),
                two: name.clone(),
            });
        }
        made.set_field(&field, field_value(&field, json, &join(path, name))?);
    }
    Ok(made)
}

fn field_value(field: &FieldDescriptor, json: &Json, path: &str) -> Result<Value, Misfit> {
    let kind = element_kind(field);
    match json {
        Json::Array(items) if field.is_list() => {
            let items = items.iter().enumerate();
            let items = items.map(|(i, item)| one(&kind, item, &join(path, &i.to_string())));
            Ok(Value::List(items.collect::<Result<_, _>>()?))
        }
        Json::Object(pairs) if field.is_map() => {
            let pairs = pairs.iter().map(|(key, item)| {
                let at = join(path, key);
                let key = map_key(field, key).map_err(|is| wrong(&at, is, &json!(key)))?;
                Ok((key, one(&kind, item, &at)?))
            });
            Ok(Value::Map(pairs.collect::<Result<_, _>>()?))
        }
        json if field.is_list() || field.is_map() => Err(wrong(path, kind_name(field), json)),
        json => one(&kind, json, path),
    }
}

fn one(kind: &Kind, json: &Json, path: &str) -> Result<Value, Misfit> {
    if let Kind::Message(message) = kind {
        return Ok(Value::Message(object(message, json, path)?));
    }
    let unfit = |is: String| wrong(path, is, json);
    let value = match json {
        Json::Bool(flag) => FieldValue::Flag(*flag),
        Json::String(text) => FieldValue::Text(text.clone()),
        Json::Number(number) => match (number.as_i64(), number.as_u64(), kind) {
            (Some(number), ..) => FieldValue::Integer(number),
            (None, Some(number), Kind::Uint64 | Kind::Fixed64) => return Ok(Value::U64(number)),
            _ => FieldValue::Decimal(number.as_f64().unwrap_or(f64::NAN)),
        },
        Json::Null | Json::Array(_) | Json::Object(_) => return Err(unfit(describe(kind))),
    };
    scalar(kind, &value).map_err(unfit)
}

/// The key of a map from its text; the error says what would fit.
fn map_key(field: &FieldDescriptor, text: &str) -> Result<MapKey, String> {
    let Kind::Message(entry) = field.kind() else {
        return Err("no map".to_owned());
    };
    let kind = entry.map_entry_key_field().kind();
    let value = match kind {
        Kind::String => FieldValue::Text(text.to_owned()),
        Kind::Bool => FieldValue::Flag(text.parse().map_err(|_| describe(&kind))?),
        _ => FieldValue::Integer(text.parse().map_err(|_| describe(&kind))?),
    };
    scalar(&kind, &value)?
        .into_map_key()
        .ok_or_else(|| describe(&kind))
}

/// Whether `value` fits a single value of that kind.
pub fn fits(kind: &Kind, value: &FieldValue) -> bool {
    scalar(kind, value).is_ok()
}

/// What a whole field is, for a sentence: "a list, each a text".
pub fn kind_name(field: &FieldDescriptor) -> String {
    let kind = describe(&element_kind(field));
    if field.is_map() {
        format!("a map, each value {kind}")
    } else if field.is_list() {
        format!("a list, each {kind}")
    } else {
        kind
    }
}

/// A message as JSON. A field without presence is there with its default value; one with presence that is not set is
/// not there.
pub fn to_json(message: &DynamicMessage) -> Json {
    let descriptor = message.descriptor();
    let fields = descriptor.fields().filter_map(|field| {
        let is_there = !field.supports_presence() || message.has_field(&field);
        is_there.then(|| {
            let value = json_of(&message.get_field(&field), &element_kind(&field));
            (field.name().to_owned(), value)
        })
    });
    Json::Object(fields.collect())
}

fn json_of(value: &Value, kind: &Kind) -> Json {
    match (value, kind) {
        (Value::Bool(flag), _) => json!(flag),
        (Value::I32(number), _) => json!(number),
        (Value::I64(number), _) => json!(number),
        (Value::U32(number), _) => json!(number),
        (Value::U64(number), _) => json!(number),
        (Value::F32(number), _) => json!(number),
        (Value::F64(number), _) => json!(number),
        (Value::String(text), _) => json!(text),
        (Value::Bytes(bytes), _) => json!(hex(bytes)),
        (Value::EnumNumber(number), Kind::Enum(names)) => match names.get_value(*number) {
            Some(value) => json!(value.name()),
            None => json!(number),
        },
        (Value::EnumNumber(number), _) => json!(number),
        (Value::Message(message), _) => to_json(message),
        (Value::List(items), kind) => items.iter().map(|item| json_of(item, kind)).collect(),
        (Value::Map(pairs), kind) => {
            let pairs = pairs
                .iter()
                .map(|(key, value)| (key_text(key), json_of(value, kind)));
            Json::Object(pairs.collect::<Map<_, _>>())
        }
    }
}

/// The key of a map as text.
pub(crate) fn key_text(key: &MapKey) -> String {
    match key {
        MapKey::Bool(key) => key.to_string(),
        MapKey::I32(key) => key.to_string(),
        MapKey::I64(key) => key.to_string(),
        MapKey::U32(key) => key.to_string(),
        MapKey::U64(key) => key.to_string(),
        MapKey::String(key) => key.clone(),
    }
}

/// The kind of a field, of an element of a list, or of a value in a map.
pub fn element_kind(field: &FieldDescriptor) -> Kind {
    match field.kind() {
        Kind::Message(entry) if field.is_map() => entry.map_entry_value_field().kind(),
        kind => kind,
    }
}

/// `value` as a protobuf value of that kind; the error says what would fit.
pub(crate) fn scalar(kind: &Kind, value: &FieldValue) -> Result<Value, String> {
    use FieldValue::{Decimal, Flag, Integer, Text};
    let found = match (kind, value) {
        (Kind::Bool, Flag(flag)) => Some(Value::Bool(*flag)),
        (Kind::String, Text(text)) => Some(Value::String(text.clone())),
        (Kind::Bytes, Text(text)) => unhex(text).map(|bytes| Value::Bytes(bytes.into())),
        (Kind::Enum(names), Text(text)) => names
            .get_value_by_name(text)
            .map(|value| Value::EnumNumber(value.number())),
        (Kind::Enum(_), Integer(number)) => i32::try_from(*number).ok().map(Value::EnumNumber),
        (Kind::Double, Decimal(number)) => Some(Value::F64(*number)),
        // A fraction may be left out where a number can have one.
        #[expect(
            clippy::cast_precision_loss,
            reason = "whole numbers of tests are small"
        )]
        (Kind::Double, Integer(number)) => Some(Value::F64(*number as f64)),
        #[expect(
            clippy::cast_precision_loss,
            reason = "whole numbers of tests are small"
        )]
        (Kind::Float, Integer(number)) => Some(Value::F32(*number as f32)),
        #[expect(clippy::cast_possible_truncation, reason = "a lie needs no precision")]
        (Kind::Float, Decimal(number)) => Some(Value::F32(*number as f32)),
        (Kind::Int32 | Kind::Sint32 | Kind::Sfixed32, Integer(number)) => {
            i32::try_from(*number).ok().map(Value::I32)
        }
        (Kind::Int64 | Kind::Sint64 | Kind::Sfixed64, Integer(number)) => Some(Value::I64(*number)),
        (Kind::Uint32 | Kind::Fixed32, Integer(number)) => {
            u32::try_from(*number).ok().map(Value::U32)
        }
        (Kind::Uint64 | Kind::Fixed64, Integer(number)) => {
            u64::try_from(*number).ok().map(Value::U64)
        }
        _ => None,
    };
    found.ok_or_else(|| describe(kind))
}

/// What a value of that kind is, for a sentence.
pub fn describe(kind: &Kind) -> String {
    match kind {
        Kind::Bool => "`true` or `false`".to_owned(),
        Kind::String => "a text".to_owned(),
        Kind::Bytes => "bytes, written as hexadecimal digits".to_owned(),
        Kind::Double | Kind::Float => "a number with a fraction".to_owned(),
        Kind::Uint32 | Kind::Fixed32 | Kind::Uint64 | Kind::Fixed64 => {
            "a whole number that is not negative".to_owned()
        }
        Kind::Enum(names) => {
            let names: Vec<_> = names
                .values()
                .map(|value| value.name().to_owned())
                .collect();
            format!("one of {}", names.join(", "))
        }
        Kind::Message(message) => format!("a `{}`", message.name()),
        _ => "a whole number".to_owned(),
    }
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let pairs = text.as_bytes().chunks(2);
    pairs
        .map(|pair| match pair {
            [high, low] => u8::try_from(digit(*high)? * 16 + digit(*low)?).ok(),
            _ => None,
        })
        .collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proxy::ldk_server_descriptors;
    use proptest::prelude::*;
    use prost::Message as _;

    fn message(name: &str) -> MessageDescriptor {
        let all = ldk_server_descriptors();
        let found = all.all_messages().find(|message| message.name() == name);
        found.unwrap_or_else(|| panic!("no {name}"))
    }

    #[test]
    fn what_does_not_fit_says_where_and_why() {
        for (name, json, said) in [
            (
                "Bolt11SendRequest",
                json!({ "invoic": "x" }),
                "`Bolt11SendRequest` has no field `invoic`",
            ),
            (
                "Bolt11SendRequest",
                json!({ "invoice": 7 }),
                "`invoice` is a text, which 7 is not",
            ),
            (
                "Bolt11SendRequest",
                json!({ "amount_msat": -1 }),
                "`amount_msat` is a whole number that is not negative, which -1 is not",
            ),
            (
                "ListChannelsResponse",
                json!({ "channels": [{}, { "is_usable": 1 }] }),
                "`channels.1.is_usable` is `true` or `false`, which 1 is not",
            ),
            (
                "ListChannelsResponse",
                json!({ "channels": {} }),
                "`channels` is a list, each a `Channel`, which {} is not",
            ),
        ] {
            let error = encode(&message(name), &json).unwrap_err();
            assert_eq!(error.to_string(), said);
        }
    }

    #[test]
    fn the_largest_number_keeps_all_its_digits() {
        let json = json!({ "amount_msat": u64::MAX });
        let made = encode(&message("Bolt11SendRequest"), &json).unwrap();
        assert_eq!(to_json(&made)["amount_msat"], json!(u64::MAX));
    }

    proptest! {
        #[test]
        fn what_is_read_is_written_again(
            texts in prop::collection::vec(".{0,8}", 0..4),
            numbers in prop::collection::vec(any::<u64>(), 0..4),
            usable: bool,
        ) {
            let channel = |(id, sat): (&String, &u64)| {
                json!({ "channel_id": id, "channel_value_sats": sat, "is_usable": usable })
            };
            let channels: Vec<Json> = texts.iter().zip(&numbers).map(channel).collect();
            let list = message("ListChannelsResponse");
            let made = encode(&list, &json!({ "channels": channels })).unwrap();
            let again = DynamicMessage::decode(list.clone(), &made.encode_to_vec()[..]).unwrap();
            let json = to_json(&again);
            // On the wire, where a default value and none are the same.
            prop_assert_eq!(encode(&list, &json).unwrap().encode_to_vec(), made.encode_to_vec());
            for (told, written) in json["channels"].as_array().unwrap().iter().zip(&channels) {
                for (key, value) in written.as_object().unwrap() {
                    prop_assert_eq!(&told[key], value);
                }
            }
        }
    }
}
