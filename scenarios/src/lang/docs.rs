//! The documentation of the language, as data: every step with its fields, types and defaults.

use super::block::BLOCKS;
use super::check::FILE_KEYS;
use super::fragment::FRAGMENT_KEYS;
use super::inputs::input_types;
use super::servers::SERVER_KEYS;
use super::step::{COMMON_KEYS, Registry};
use super::types::{EntityType, Type};
use super::words::{one_of_quoted, with_article};
use super::world::{PRESETS, WORLD_KEYS};

/// A step.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct StepDocs {
    /// The key that makes a table this step.
    pub name: &'static str,
    /// What it does.
    pub doc: String,
    /// Its own keys, then those that every step takes.
    pub keys: Vec<KeyDocs>,
    /// What `as` names.
    pub output: Option<OutputDocs>,
}

/// A key of a step, or a field of an output.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct KeyDocs {
    /// The key.
    pub name: &'static str,
    /// What it does.
    pub doc: String,
    /// What its values are.
    pub ty: String,
    /// Whether what a step bound can stand for a value.
    pub reference: bool,
    /// A value as it is typed; fields of outputs have none.
    pub example: Option<String>,
    /// Whether it must be there.
    pub required: bool,
    /// What it is when it is left out, as it is typed.
    pub default: Option<String>,
}

/// What a step binds.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct OutputDocs {
    /// What it is called.
    pub name: &'static str,
    /// What it is.
    pub doc: String,
    /// What `$name.field` can read of it.
    pub fields: Vec<KeyDocs>,
}

/// A key with what it does: of a file, of a fragment, or of a step that is made of steps.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct BlockDocs {
    /// The key.
    pub name: &'static str,
    /// A value of it as it is typed.
    pub example: &'static str,
    /// What it does.
    pub doc: &'static str,
}

fn plain(keys: &[(&'static str, &'static str, &'static str)]) -> Vec<BlockDocs> {
    let docs = |(name, example, doc): &(&'static str, &'static str, &'static str)| BlockDocs {
        name,
        example,
        doc,
    };
    keys.iter().map(docs).collect()
}

/// The steps that are made of steps.
pub fn block_docs() -> Vec<BlockDocs> {
    plain(BLOCKS)
}

/// The keys of a scenario.
pub fn file_docs() -> Vec<BlockDocs> {
    plain(FILE_KEYS)
}

/// The keys of a fragment.
pub fn fragment_docs() -> Vec<BlockDocs> {
    plain(FRAGMENT_KEYS)
}

/// The types that an input of a fragment can have, each with what its values are.
pub fn input_type_docs(registry: &Registry) -> Vec<(String, String)> {
    let types = input_types(registry).into_iter();
    types.map(|ty| (ty.name, ty.doc)).collect()
}

/// A doc comment as one paragraph.
pub(super) fn tidy(doc: &str) -> String {
    doc.lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .collect::<Vec<_>>()
        .join(" ")
}

impl OutputDocs {
    fn of(entity: &'static EntityType) -> Self {
        let fields = entity.all_fields().into_iter().map(|field| KeyDocs {
            name: field.name,
            doc: tidy(field.doc),
            ty: match field.ty {
                Type::Word(words) => one_of_quoted(words.list()),
                ty => ty.a_name(),
            },
            reference: false,
            example: None,
            required: !field.live,
            default: None,
        });
        OutputDocs {
            name: entity.name,
            doc: tidy(entity.doc),
            fields: fields.collect(),
        }
    }
}

/// Whether a field with that schema takes a reference.
fn takes_reference(schema: &serde_json::Value) -> bool {
    let any = schema.get("anyOf").and_then(serde_json::Value::as_array);
    let mut all = any.into_iter().flatten().chain([schema]);
    all.any(is_reference)
}

/// Whether a schema has references alone.
fn is_reference(schema: &serde_json::Value) -> bool {
    let pattern = schema.get("pattern").and_then(serde_json::Value::as_str);
    pattern.is_some_and(|pattern| pattern.starts_with(r"^\$[a-z]"))
}

/// The keys of a world.
pub fn world_docs() -> Vec<BlockDocs> {
    plain(WORLD_KEYS)
}

/// The presets of worlds, each with what it is.
pub fn preset_docs() -> Vec<(&'static str, &'static str)> {
    let presets = PRESETS.iter();
    presets.map(|preset| (preset.name, preset.doc)).collect()
}

/// The keys of a server.
pub fn server_docs() -> Vec<BlockDocs> {
    plain(SERVER_KEYS)
}

/// The keys that every step takes.
pub fn common_docs() -> Vec<BlockDocs> {
    plain(COMMON_KEYS)
}

/// Every step of the registry, in its order.
pub fn docs(registry: &Registry) -> Vec<StepDocs> {
    let common = COMMON_KEYS.iter().map(|(name, example, doc)| KeyDocs {
        name,
        doc: (*doc).to_owned(),
        ty: match *name {
            "within" => "a time".to_owned(),
            "as" | "start" => "a name".to_owned(),
            "times" => "a number from 1 to 1000".to_owned(),
            "on" => "what to wait for, as `expect` has it".to_owned(),
            _ => "a text".to_owned(),
        },
        reference: false,
        example: Some((*example).to_owned()),
        required: false,
        default: None,
    });
    let step = |entry: &super::StepEntry| {
        let own = entry.fields.iter().map(|field| KeyDocs {
            name: field.name,
            doc: tidy(field.doc),
            ty: match is_reference(&field.ty.schema) {
                true => format!("{}, by reference", with_article(&field.ty.name)),
                false => field.ty.name.clone(),
            },
            reference: takes_reference(&field.ty.schema),
            example: Some(field.ty.example.clone()),
            required: field.required,
            default: field.default.clone(),
        });
        let common = common.clone().map(|key| match (key.name, entry.within) {
            ("within", Some(within)) => {
                let default = format!("\"{}\"", swaprig_units::show_duration(within));
                KeyDocs {
                    default: Some(default),
                    ..key
                }
            }
            _ => key,
        });
        // What cannot be named has no `as`.
        let common = common.filter(|key| key.name != "as" || entry.output.is_some());
        StepDocs {
            name: entry.name,
            doc: tidy(entry.doc),
            keys: own.chain(common).collect(),
            output: entry.output.map(OutputDocs::of),
        }
    };
    registry.entries().map(step).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_is_documented_with_types_and_defaults() {
        let registry = crate::steps::core_steps().unwrap();
        let docs = docs(&registry);
        let pay = docs.iter().find(|step| step.name == "pay").unwrap();
        let until = pay.keys.iter().find(|key| key.name == "until").unwrap();
        assert_eq!(until.default.as_deref(), Some("\"settled\""));
        assert_eq!(until.ty, "\"settled\", \"held\" or \"sent\"");
        assert!(!until.required && until.doc == "How far to wait.");
        let invoice = pay.keys.first().unwrap();
        assert_eq!(invoice.ty, "an invoice, by reference");
        let amount = pay.keys.iter().find(|key| key.name == "amount").unwrap();
        assert!(invoice.reference && amount.reference && !until.reference);
        let names: Vec<_> = pay
            .output
            .as_ref()
            .unwrap()
            .fields
            .iter()
            .map(|f| f.name)
            .collect();
        assert_eq!(names, ["hash", "preimage", "fee", "status"]);
        let expect = docs.iter().find(|step| step.name == "expect").unwrap();
        assert!(expect.keys.iter().all(|key| key.name != "as"));
        assert!(
            expect
                .keys
                .iter()
                .any(|key| key.default.as_deref() == Some("\"5 s\""))
        );
    }

    #[test]
    fn composition_is_documented() {
        let registry = crate::steps::core_steps().unwrap();
        let names = |docs: Vec<BlockDocs>| docs.into_iter().map(|key| key.name).collect::<Vec<_>>();
        assert_eq!(names(block_docs()), ["use", "together", "steps", "await"]);
        assert_eq!(
            names(fragment_docs()),
            ["title", "inputs", "outputs", "steps"]
        );
        assert!(names(file_docs()).ends_with(&["cases", "matrix"]));
        let types = input_type_docs(&registry);
        for wanted in [
            "party", "sat", "msat", "blocks", "duration", "text", "channel", "invoice",
        ] {
            assert!(types.iter().any(|(name, _)| name == wanted), "{wanted}");
        }
        for step in docs(&registry) {
            for wanted in ["within", "fails", "times", "start", "on"] {
                assert!(
                    step.keys.iter().any(|key| key.name == wanted),
                    "{} {wanted}",
                    step.name
                );
            }
        }
    }
}
