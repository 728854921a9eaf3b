//! What a step is: one struct, from which the parser, the schema, the documentation and the Rust call come.

use std::any::Any;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use swaprig_harness::server::ServerSpec;

use super::block::BLOCKS;
use super::cx::{Field, FieldType, StepCx};
use super::reference::{Arg, Bound, Reference};
use super::types::EntityType;
use super::value::{Bind, Value};
use super::words::Node;
use crate::run::{BoxFuture, Run, Step, StepFailure};

/// One field of a step.
#[derive(Debug, Clone)]
pub struct FieldSpec {
    /// The key.
    pub name: &'static str,
    /// What it does.
    pub doc: &'static str,
    /// What its values are.
    pub ty: FieldType,
    /// Whether it must be there.
    pub required: bool,
    /// What it is when it is left out, as it is typed.
    pub default: Option<String>,
}

/// A step of the language. Made by [`step!`](crate::step).
pub trait StepSpec: fmt::Debug + Clone + Send + Sync + 'static {
    /// The key that makes a table this step.
    const NAME: &'static str;

    /// What it does.
    const DOC: &'static str;

    /// How long it may take when neither `within` nor the caller says; `None`: what is left of the world's deadline.
    const WITHIN: Option<Duration>;

    /// What `as` names.
    type Output: Bind;

    /// Its keys, the one that names it first.
    fn fields() -> Vec<FieldSpec>;

    /// Reads it from a table; on `None` the problem is in `cx`.
    fn read(cx: &mut StepCx<'_>) -> Option<Self>;

    /// Every reference in it.
    fn references(&self) -> Vec<Reference>;

    /// What `as` names in a step with this table, in a file with these servers.
    fn output(_table: &Table<'_>, _servers: &[ServerSpec]) -> Option<&'static EntityType> {
        <Self::Output as Bind>::ENTITY
    }
}

/// The table of a step as it stands in the file.
pub type Table<'a> = toml::de::DeTable<'a>;

/// A step whose type is not known, as a plan holds it.
pub trait AnyStep: fmt::Debug + Send + Sync {
    /// The key that makes a table this step.
    fn name(&self) -> &'static str;

    /// Every reference in it.
    fn references(&self) -> Vec<Reference>;

    /// Does it; gives what `as` names.
    fn run<'a>(&'a self, run: &'a Run<'a>) -> BoxFuture<'a, Result<Option<Value>, StepFailure>>;

    /// For taking it back as the type that it is.
    fn as_any(&self) -> &dyn Any;
}

impl<S: Step> AnyStep for S {
    fn name(&self) -> &'static str {
        S::NAME
    }

    fn references(&self) -> Vec<Reference> {
        StepSpec::references(self)
    }

    fn run<'a>(&'a self, run: &'a Run<'a>) -> BoxFuture<'a, Result<Option<Value>, StepFailure>> {
        Box::pin(async move { Step::run(self, run).await.map(Bind::bind) })
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// Keys that every step takes, with what they do.
pub const COMMON_KEYS: &[(&str, &str, &str)] = &[
    (
        "as",
        "\"inv\"",
        "the name under which later steps refer to what this one made",
    ),
    ("within", "\"5 s\"", "how long the step may take"),
    (
        "fails",
        "\"INSUFFICIENT\"",
        "the step must fail, and its reason must contain this text",
    ),
    (
        "times",
        "3",
        "how often to do the step, one time after the other; what it binds inside can be read inside only",
    ),
    (
        "start",
        "\"payment\"",
        "runs the step beside those after it, until { await = \"payment\" } in the same list; \
         what it binds can be read from then on",
    ),
    (
        "on",
        "{ expect = \"$inv.status\", is = \"held\" }",
        "runs the step beside those after it, once this is seen; it must have been seen when the list ends",
    ),
];

/// A step that files can use.
#[derive(Debug, Clone)]
pub struct StepEntry {
    /// The key that makes a table this step.
    pub name: &'static str,
    /// What it does.
    pub doc: &'static str,
    /// Its keys, the one that names it first.
    pub fields: Vec<FieldSpec>,
    /// What `as` names.
    pub output: Option<&'static EntityType>,
    /// How long it may take when nothing says otherwise.
    pub within: Option<Duration>,
    /// The same for a table, where that depends on it.
    pub(super) output_of: fn(&Table<'_>, &[ServerSpec]) -> Option<&'static EntityType>,
    pub(super) read: fn(&mut StepCx<'_>) -> Option<Arc<dyn AnyStep>>,
}

impl StepEntry {
    fn of<S: Step>() -> Self {
        StepEntry {
            name: S::NAME,
            doc: S::DOC,
            fields: S::fields(),
            output: <S::Output as Bind>::ENTITY,
            within: S::WITHIN,
            output_of: S::output,
            read: |cx| S::read(cx).map(|step| Arc::new(step) as Arc<dyn AnyStep>),
        }
    }

    /// Its keys and those that every step takes.
    pub fn keys(&self) -> impl Iterator<Item = &'static str> {
        let own = self.fields.iter().map(|field| field.name);
        own.chain(COMMON_KEYS.iter().map(|(key, _, _)| *key))
    }
}

/// The steps that files can use. Other crates add theirs.
#[derive(Debug, Clone, Default)]
pub struct Registry {
    entries: Vec<StepEntry>,
}

/// Why a step cannot be added.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RegistryError {
    /// There is one of that name.
    #[error("there is already a step `{name}`; give the new one another name")]
    Duplicate { name: &'static str },
    /// The name or a field of it is a key that every step takes.
    #[error("`{key}` of step `{step}` is a key that every step takes; give it another name")]
    Reserved {
        step: &'static str,
        key: &'static str,
    },
    /// No field carries the step's name, so that no table could be it.
    #[error("step `{name}` has no field `{name}`; its first field must carry its name")]
    NoMainField { name: &'static str },
}

impl Registry {
    /// No steps at all.
    pub fn empty() -> Self {
        Registry::default()
    }

    /// Adds a step.
    pub fn add<S: Step>(&mut self) -> Result<&mut Self, RegistryError> {
        let entry = StepEntry::of::<S>();
        let name = entry.name;
        if self.get(name).is_some() {
            return Err(RegistryError::Duplicate { name });
        }
        let block = |key: &str| BLOCKS.iter().any(|(block, ..)| *block == key);
        let common = |key: &str| COMMON_KEYS.iter().any(|(common, ..)| *common == key);
        let reserved = |key: &str| common(key) || block(key);
        if let Some(field) = entry.fields.iter().find(|field| reserved(field.name)) {
            return Err(RegistryError::Reserved {
                step: name,
                key: field.name,
            });
        }
        if !entry.fields.iter().any(|field| field.name == name) {
            return Err(RegistryError::NoMainField { name });
        }
        self.entries.push(entry);
        Ok(self)
    }

    /// The step of that name.
    pub fn get(&self, name: &str) -> Option<&StepEntry> {
        self.entries.iter().find(|entry| entry.name == name)
    }

    /// All steps, in the order in which they were added.
    pub fn entries(&self) -> impl Iterator<Item = &StepEntry> {
        self.entries.iter()
    }

    /// The names of all steps.
    pub fn names(&self) -> impl Iterator<Item = &'static str> {
        self.entries.iter().map(|entry| entry.name)
    }
}

/// What a reference looks like, for the schema of fields that take one.
pub const REFERENCE_PATTERN: &str = r"^\$[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)*$";

impl<T: Field> Field for Option<T> {
    fn field_type() -> FieldType {
        T::field_type()
    }

    fn read(node: &Node<'_>, cx: &mut StepCx<'_>) -> Option<Self> {
        T::read(node, cx).map(Some)
    }

    fn references(&self, out: &mut Vec<Reference>) {
        if let Some(value) = self {
            value.references(out);
        }
    }

    fn shown(&self) -> Option<String> {
        self.as_ref().and_then(Field::shown)
    }
}

impl<T: Field + Bound> Field for Arg<T> {
    fn field_type() -> FieldType {
        let FieldType {
            name,
            example,
            schema,
        } = T::field_type();
        let reference = serde_json::json!({
            "type": "string",
            "pattern": REFERENCE_PATTERN,
        });
        // An entity has no literal form: its schema is the reference.
        let schema = match schema.is_null() {
            true => reference,
            false => serde_json::json!({ "anyOf": [schema, reference] }),
        };
        FieldType {
            name,
            example,
            schema,
        }
    }

    fn read(node: &Node<'_>, cx: &mut StepCx<'_>) -> Option<Self> {
        match cx.reference(node) {
            None => T::read(node, cx).map(Arg::Literal),
            Some(reference) => {
                let reference = reference?;
                let fits = cx.check_reference(node, &reference, T::TYPE);
                fits.then_some(Arg::Reference(reference))
            }
        }
    }

    fn references(&self, out: &mut Vec<Reference>) {
        if let Arg::Reference(reference) = self {
            out.push(reference.clone());
        }
    }
}
