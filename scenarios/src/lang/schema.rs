//! The JSON Schema of scenario files, from the same structs that read them.

use serde_json::{Map, Value as Json, json};

use super::block::BLOCKS;
use super::check::{FILE_KEYS, REQUIRED};
use super::cx::Field as _;
use super::docs::tidy;
use super::fill::{Argv, Env};
use super::fragment::FRAGMENT_KEYS;
use super::inputs::input_types;
use super::known::KNOWN_KEYS;
use super::proxies::OnProxy;
use super::servers::SERVER_KEYS;
use super::step::{COMMON_KEYS, REFERENCE_PATTERN, Registry, StepEntry};
use super::world::{PRESETS, WORLD_KEYS};

const NAME: &str = "^[a-z][a-z0-9-]*$";
const BINDING: &str = "^[a-z][a-z0-9_]*$";
const CASE: &str = "^[a-z0-9][a-z0-9_-]*$";
/// An input stands for a value wherever a step has one.
const INPUT: &str = r"^\$[a-z][a-z0-9_]*$";
const DURATION: &str = r"^\s*[0-9_]+\s*(ms|s|min)\s*$";

const ISSUE: &str = r"^(#[0-9]+|https?://\S+)$";

/// The JSON Schema (draft 2020-12) of a scenario file with the steps of the registry. Editors use it for completion;
/// [`check`](super::check) finds more.
pub fn schema(registry: &Registry) -> Json {
    let file = |name: &str, schema: Json| described(FILE_KEYS, name, schema);
    let world = |name: &str, schema: Json| described(WORLD_KEYS, name, schema);
    let presets: Vec<&str> = PRESETS.iter().map(|preset| preset.name).collect();
    let name = json!({ "type": "string", "pattern": NAME });
    let row = json!({
        "type": "object", "propertyNames": { "pattern": BINDING }, "additionalProperties": true,
    });
    let axis = json!({ "anyOf": [
        { "type": "array", "minItems": 1, "items": { "type": ["string", "integer"] } },
        { "type": "object", "minProperties": 1, "propertyNames": { "pattern": CASE } },
    ] });
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "swaprig scenario",
        "type": "object",
        "additionalProperties": false,
        "required": REQUIRED,
        "properties": {
            "title": file("title", json!({ "type": "string", "minLength": 1 })),
            "tags": file("tags", json!({ "type": "array", "uniqueItems": true, "items": name })),
            "world": file("world", json!({
                "type": "object",
                "additionalProperties": false,
                "oneOf": [
                    { "required": ["preset"] },
                    { "anyOf": [{ "required": ["lightning"] }, { "required": ["liquid"] }] },
                ],
                "properties": {
                    "preset": world("preset", json!({ "type": "string", "enum": presets })),
                    "lightning": world("lightning", json!({
                        "type": "array", "minItems": 1, "uniqueItems": true, "items": name,
                    })),
                    "liquid": world("liquid", json!({ "anyOf": [
                        { "type": "boolean" },
                        { "type": "array", "uniqueItems": true, "items": name },
                    ] })),
                    "index": world("index", json!({
                        "type": "array", "uniqueItems": true,
                        "items": { "type": "string", "enum": ["bitcoin", "liquid"] },
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
                        "ready": described(SERVER_KEYS, "ready", json!({ "anyOf": [
                            only("tcp", json!({ "enum": [true] })),
                            only("http", json!({ "type": "string", "pattern": "^/" })),
                            only("log", json!({ "type": "string", "minLength": 1 })),
                            only("grpc_health", json!({ "anyOf": [
                                { "enum": [true] }, { "type": "string", "minLength": 1 },
                            ] })),
                        ] })),
                        "env": described(SERVER_KEYS, "env", Env::field_type().schema),
                        "proto": described(SERVER_KEYS, "proto", json!({
                            "type": "array", "minItems": 1, "items": { "type": "string" },
                        })),
                        "tls": described(SERVER_KEYS, "tls", json!({ "type": "string" })),
                        "books": described(SERVER_KEYS, "books", json!({
                            "type": "object",
                            "additionalProperties": false,
                            "properties": {
                                "lightning": { "type": "string", "pattern": NAME },
                                "bitcoin": { "type": "string", "pattern": "^(wallet|descriptor):." },
                                "liquid": { "type": "string", "pattern": "^(wallet|descriptor):." },
                                "htlcs": htlcs(),
                            },
                        })),
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
            "steps": file("steps", steps()),
            "cases": file("cases", json!({
                "type": "object", "minProperties": 1, "propertyNames": { "pattern": CASE },
                "additionalProperties": row,
            })),
            "matrix": file("matrix", json!({
                "type": "object", "minProperties": 1, "propertyNames": { "pattern": BINDING },
                "additionalProperties": axis,
            })),
        },
        "$defs": { "step": any_step(registry), "event": event(registry) },
    })
}

/// The JSON Schema of a fragment with the steps of the registry.
pub fn fragment_schema(registry: &Registry) -> Json {
    let file = |name: &str, schema: Json| described(FRAGMENT_KEYS, name, schema);
    let types: Vec<String> = input_types(registry)
        .into_iter()
        .map(|ty| ty.name)
        .collect();
    let ty = json!({ "type": "string", "enum": types });
    let input = json!({ "anyOf": [ty, {
        "type": "object",
        "additionalProperties": false,
        "required": ["type"],
        "properties": { "type": ty, "default": { "type": ["string", "integer", "boolean"] } },
    }] });
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "swaprig fragment",
        "type": "object",
        "additionalProperties": false,
        "required": ["steps"],
        "properties": {
            "title": file("title", json!({ "type": "string" })),
            "inputs": file("inputs", json!({
                "type": "object", "propertyNames": { "pattern": BINDING }, "additionalProperties": input,
            })),
            "outputs": file("outputs", json!({ "anyOf": [
                { "type": "array", "items": { "type": "string", "pattern": BINDING } },
                {
                    "type": "object", "propertyNames": { "pattern": BINDING },
                    "additionalProperties": { "type": "string", "pattern": REFERENCE_PATTERN },
                },
            ] })),
            "steps": file("steps", steps()),
        },
        "$defs": { "step": any_step(registry), "event": event(registry) },
    })
}

/// How a server lists its HTLCs.
fn htlcs() -> Json {
    let text = json!({ "type": "string", "minLength": 1 });
    let addresses = json!({ "type": "string", "pattern": r"^\$" });
    let path = json!({ "type": "string", "pattern": "^/" });
    let paths = json!({ "anyOf": [path, { "type": "array", "minItems": 1, "items": path }] });
    json!({ "anyOf": [
        {
            "type": "object",
            "additionalProperties": false,
            "required": ["rpc", "addresses"],
            "properties": {
                "rpc": text,
                "addresses": addresses,
                "send": { "type": "object", "additionalProperties": true },
                "next": { "type": "object", "additionalProperties": addresses },
            },
        },
        {
            "type": "object",
            "additionalProperties": false,
            "required": ["http", "addresses"],
            "properties": { "http": paths, "addresses": addresses },
        },
    ] })
}

fn described(keys: &[(&str, &str, &str)], name: &str, mut schema: Json) -> Json {
    if let Some((_, example, doc)) = keys.iter().find(|(key, ..)| *key == name) {
        schema["description"] = json!(doc);
        if let Some(example) = as_json(example) {
            schema["examples"] = json!([example]);
        }
    }
    schema
}

/// A value as it is typed in a file.
fn as_json(typed: &str) -> Option<Json> {
    let file: Json = toml::from_str(&format!("value = {typed}")).ok()?;
    file.get("value").cloned()
}

fn steps() -> Json {
    json!({ "type": "array", "minItems": 1, "items": { "$ref": "#/$defs/step" } })
}

fn any_step(registry: &Registry) -> Json {
    let own = registry.entries().map(step);
    let blocks = BLOCKS.iter().map(|(name, _, doc)| block(name, doc));
    json!({ "oneOf": own.chain(blocks).collect::<Vec<_>>() })
}

/// What `on` waits for: the keys of `expect`.
fn event(registry: &Registry) -> Json {
    json!({
        "type": "object",
        "additionalProperties": false,
        "required": ["expect"],
        "properties": registry.get("expect").map(fields).unwrap_or_default(),
    })
}

/// A value, or an input that stands for one.
fn or_input(schema: Json) -> Json {
    let input = json!({ "type": "string", "pattern": INPUT });
    match schema.get("anyOf").and_then(Json::as_array) {
        Some(any) => {
            let any: Vec<&Json> = any.iter().chain([&input]).collect();
            json!({ "anyOf": any })
        }
        None => json!({ "anyOf": [schema, input] }),
    }
}

/// A step that is made of steps.
fn block(name: &str, doc: &str) -> Json {
    let mut properties = common(false);
    let own = match name {
        "use" => {
            json!({ "type": "string", "pattern": "^[A-Za-z0-9][A-Za-z0-9_-]*(/[A-Za-z0-9][A-Za-z0-9_-]*)*$" })
        }
        "await" => json!({ "type": "string", "pattern": BINDING }),
        _ => steps(),
    };
    properties.insert(name.to_owned(), own);
    // The inputs of a fragment are its own.
    let additional = match name {
        "use" => {
            properties.insert("as".to_owned(), binding());
            json!({ "type": ["string", "integer", "boolean"] })
        }
        _ => json!(false),
    };
    json!({
        "title": name,
        "description": doc,
        "type": "object",
        "additionalProperties": additional,
        "required": [name],
        "properties": properties,
    })
}

/// An object with that key and no other.
fn only(key: &str, value: Json) -> Json {
    json!({
        "type": "object",
        "additionalProperties": false,
        "required": [key],
        "properties": { key: value },
    })
}

fn binding() -> Json {
    described(
        COMMON_KEYS,
        "as",
        json!({ "type": "string", "pattern": BINDING }),
    )
}

/// The keys that every step takes.
fn common(named: bool) -> Map<String, Json> {
    let mut properties = Map::new();
    for (name, ..) in COMMON_KEYS {
        let schema = match *name {
            "as" if !named => continue,
            "as" => binding(),
            "within" => or_input(json!({ "type": "string", "pattern": DURATION })),
            "times" => or_input(json!({ "type": "integer", "minimum": 1, "maximum": 1000 })),
            "start" => json!({ "type": "string", "pattern": BINDING }),
            "on" => json!({ "$ref": "#/$defs/event" }),
            _ => json!({ "type": "string", "minLength": 1 }),
        };
        properties.insert((*name).to_owned(), described(COMMON_KEYS, name, schema));
    }
    properties
}

fn fields(entry: &StepEntry) -> Map<String, Json> {
    let mut properties = Map::new();
    for field in &entry.fields {
        let mut schema = or_input(field.ty.schema.clone());
        let must = if field.required {
            "; must be there"
        } else {
            ""
        };
        let doc = format!("{} ({}{must})", tidy(field.doc), field.ty.name);
        schema["description"] = json!(doc);
        if let Some(example) = as_json(&field.ty.example) {
            schema["examples"] = json!([example]);
        }
        if let Some(default) = field.default.as_deref().and_then(as_json) {
            schema["default"] = default;
        }
        properties.insert(field.name.to_owned(), schema);
    }
    properties
}

fn step(entry: &StepEntry) -> Json {
    let mut properties = fields(entry);
    properties.extend(common(entry.output.is_some()));
    if let Some(within) = entry.within {
        properties["within"]["default"] = json!(swaprig_units::show_duration(within));
    }
    json!({
        "title": entry.name,
        "description": tidy(entry.doc),
        "type": "object",
        "additionalProperties": false,
        // Its first key alone makes a table this step, so that an editor knows which keys can follow. `check` tells which must.
        "required": [entry.name],
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
        let steps = schema["$defs"]["step"]["oneOf"].as_array().unwrap();
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
                let example = &property["examples"][0];
                assert!(
                    !example.is_null(),
                    "{}.{} has no example",
                    entry.name,
                    field.name
                );
            }
        }
    }
}
