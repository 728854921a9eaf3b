//! The JSON Schema of scenario files, from the same structs that read them.

use serde_json::{Map, Value as Json, json};

use super::check::FILE_KEYS;
use super::cx::Field as _;
use super::docs::tidy;
use super::fill::{Argv, Env};
use super::known::KNOWN_KEYS;
use super::proxies::OnProxy;
use super::servers::SERVER_KEYS;
use super::step::{COMMON_KEYS, Registry, StepEntry};
use super::world::{PRESETS, WORLD_KEYS};

const DURATION: &str = r"^\s*[0-9_]+\s*(ms|s|min)\s*$";

const ISSUE: &str = r"^(#[0-9]+|https?://\S+)$";

/// The JSON Schema (draft 2020-12) of a scenario file with the steps of the registry. Editors use it for completion;
/// [`check`](super::check) finds more.
pub fn schema(registry: &Registry) -> Json {
    let described = |keys: &[(&str, &str, &str)], name: &str, mut schema: Json| {
        if let Some((_, _, doc)) = keys.iter().find(|(key, ..)| *key == name) {
            schema["description"] = json!(doc);
        }
        schema
    };
    let file = |name: &str, schema: Json| described(FILE_KEYS, name, schema);
    let world = |name: &str, schema: Json| described(WORLD_KEYS, name, schema);
    let presets: Vec<&str> = PRESETS.iter().map(|(name, ..)| *name).collect();
    let name = json!({ "type": "string", "pattern": "^[a-z][a-z0-9-]*$" });
    let steps: Vec<Json> = registry.entries().map(step).collect();
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "swaprig scenario",
        "type": "object",
        "additionalProperties": false,
        "required": ["title", "world", "steps"],
        "properties": {
            "title": file("title", json!({ "type": "string", "minLength": 1 })),
            "tags": file("tags", json!({ "type": "array", "uniqueItems": true, "items": name })),
            "world": file("world", json!({
                "type": "object",
                "additionalProperties": false,
                "oneOf": [{ "required": ["preset"] }, { "required": ["lightning"] }],
                "properties": {
                    "preset": world("preset", json!({ "type": "string", "enum": presets })),
                    "lightning": world("lightning", json!({
                        "type": "array", "minItems": 1, "uniqueItems": true, "items": name,
                    })),
                    "proxies": world("proxies", json!({
                        "type": "array", "uniqueItems": true,
                        "items": OnProxy::field_type().schema,
                    })),
                    "deadline": world("deadline", json!({ "type": "string", "pattern": DURATION })),
                },
            })),
            "needs": file("needs", json!({
                "type": "array", "uniqueItems": true,
                "items": { "type": "string", "pattern": "^[^/]+$" },
            })),
            "servers": file("servers", json!({
                "type": "object",
                "propertyNames": { "pattern": "^[a-z][a-z0-9-]*$" },
                "additionalProperties": {
                    "type": "object",
                    "additionalProperties": false,
                    "required": ["run"],
                    "properties": {
                        "run": described(SERVER_KEYS, "run", Argv::field_type().schema),
                        "ready": described(SERVER_KEYS, "ready", json!({
                            "type": "object", "minProperties": 1, "maxProperties": 1,
                            "additionalProperties": false,
                            "properties": {
                                "tcp": { "const": true },
                                "http": { "type": "string", "pattern": "^/" },
                                "log": { "type": "string", "minLength": 1 },
                            },
                        })),
                        "env": described(SERVER_KEYS, "env", Env::field_type().schema),
                    },
                },
            })),
            "known_failure": file("known_failure", json!({
                "type": "object",
                "additionalProperties": false,
                "required": ["issue", "match"],
                "properties": {
                    "issue": described(KNOWN_KEYS, "issue", json!({ "type": "string", "pattern": ISSUE })),
                    "match": described(KNOWN_KEYS, "match", json!({ "type": "string", "minLength": 1 })),
                },
            })),
            "steps": file("steps", json!({
                "type": "array", "minItems": 1, "items": { "oneOf": steps },
            })),
        },
    })
}

fn step(entry: &StepEntry) -> Json {
    let mut properties = Map::new();
    for field in &entry.fields {
        let mut schema = field.ty.schema.clone();
        schema["description"] = json!(tidy(field.doc));
        properties.insert(field.name.to_owned(), schema);
    }
    for (name, _, doc) in COMMON_KEYS {
        let schema = match *name {
            "as" if entry.output.is_none() => continue,
            "as" => json!({ "type": "string", "pattern": "^[a-z][a-z0-9_]*$", "description": doc }),
            "within" => json!({ "type": "string", "pattern": DURATION, "description": doc }),
            _ => json!({ "type": "string", "minLength": 1, "description": doc }),
        };
        properties.insert((*name).to_owned(), schema);
    }
    let required: Vec<&str> = entry
        .fields
        .iter()
        .filter(|field| field.required)
        .map(|field| field.name)
        .collect();
    json!({
        "title": entry.name,
        "description": tidy(entry.doc),
        "type": "object",
        "additionalProperties": false,
        "required": required,
        "properties": properties,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_step_and_field_is_in_the_schema() {
        let registry = crate::steps::core_steps().unwrap();
        let schema = schema(&registry);
        let steps = schema["properties"]["steps"]["items"]["oneOf"]
            .as_array()
            .unwrap();
        for entry in registry.entries() {
            let step = steps
                .iter()
                .find(|step| step["title"] == entry.name)
                .unwrap();
            for field in &entry.fields {
                let property = &step["properties"][field.name];
                assert!(property.is_object(), "{}.{}", entry.name, field.name);
                let typed = ["type", "anyOf"]
                    .iter()
                    .any(|key| property.get(key).is_some());
                assert!(typed, "{}.{} accepts anything", entry.name, field.name);
            }
        }
    }
}
