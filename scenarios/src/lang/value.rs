//! Values at run time: what steps bind, and how references find it again.

use std::any::Any;
use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use swaprig_units::{Height, Msat, PaymentHash, Preimage, Sat, Units};

use swaprig_harness::World;

use super::reference::{Arg, Bound, Reference};
#[cfg(doc)]
use super::types::EntityField;
use super::types::{EntityType, Type, WordType};
use crate::run::{BoxFuture, StepFailure};

/// A value of the language.
#[derive(Debug, Clone)]
pub enum Value {
    /// An amount in satoshi.
    Sat(Sat),
    /// An amount in millisatoshi.
    Msat(Msat),
    /// An amount of an issued asset.
    Units(Units),
    /// The height of a block.
    Height(Height),
    /// A number of things.
    Count(u64),
    /// `true` or `false`.
    Flag(bool),
    /// Any text.
    Text(String),
    /// A payment hash.
    Hash(PaymentHash),
    /// The preimage of a payment hash.
    Preimage(Preimage),
    /// The id of a transaction.
    Txid(bitcoin::Txid),
    /// One word of a fixed list.
    Word(&'static WordType, &'static str),
    /// What a step bound.
    Entity(Arc<dyn Entity>),
}

/// A thing that a step binds. Made by [`entity!`](crate::entity).
pub trait Entity: Any + fmt::Debug + Send + Sync {
    /// What it is and which fields it has.
    fn entity_type(&self) -> &'static EntityType;

    /// The value of a field as the step left it; `None` when it must be looked up, or is absent.
    fn field(&self, name: &str) -> Option<Value>;

    /// The value of a [live](EntityField::live) field now; `None` when it has none yet.
    fn look<'a>(
        &'a self,
        field: &'a str,
        world: &'a World,
    ) -> BoxFuture<'a, Result<Option<Value>, StepFailure>>;

    /// For taking it back as the type that it is.
    fn as_any(&self) -> &dyn Any;

    /// What it is when it stands for its [parent](EntityType::parent).
    fn parent(&self) -> Option<&dyn Any>;
}

/// Takes an entity back as the Rust type `T`, be it that or a child of it.
pub fn downcast<T: Clone + 'static>(value: &Value) -> Option<T> {
    let Value::Entity(entity) = value else {
        return None;
    };
    let parent = || {
        entity
            .parent()
            .and_then(|parent| parent.downcast_ref::<T>())
    };
    entity.as_any().downcast_ref::<T>().or_else(parent).cloned()
}

/// The output of a step.
pub trait Bind: Send + 'static {
    /// What `as` names; `None` when the step has nothing to name.
    const ENTITY: Option<&'static EntityType>;

    /// The value to keep under the name.
    fn bind(self) -> Option<Value>;
}

/// A step without an output.
impl Bind for () {
    const ENTITY: Option<&'static EntityType> = None;

    fn bind(self) -> Option<Value> {
        None
    }
}

/// A Rust value that can be read through `$name.field`.
pub trait Readable: Clone {
    /// Its type in the language.
    const TYPE: Type;

    /// The value; `None` when there is none, such as the amount of an invoice for any amount.
    fn read(&self) -> Option<Value>;
}

macro_rules! readable {
    ($($rust:ty => $variant:ident),* $(,)?) => {$(
        impl Readable for $rust {
            const TYPE: Type = Type::$variant;

            fn read(&self) -> Option<Value> {
                Some(Value::$variant(self.clone()))
            }
        }
    )*};
}

readable! {
    Sat => Sat,
    Msat => Msat,
    Units => Units,
    Height => Height,
    u64 => Count,
    bool => Flag,
    String => Text,
    PaymentHash => Hash,
    Preimage => Preimage,
    bitcoin::Txid => Txid,
}

impl<T: Readable> Readable for Option<T> {
    const TYPE: Type = T::TYPE;

    fn read(&self) -> Option<Value> {
        self.as_ref().and_then(Readable::read)
    }
}

impl Value {
    /// The type of it.
    pub fn ty(&self) -> Type {
        match self {
            Value::Sat(_) => Type::Sat,
            Value::Msat(_) => Type::Msat,
            Value::Units(_) => Type::Units,
            Value::Height(_) => Type::Height,
            Value::Count(_) => Type::Count,
            Value::Flag(_) => Type::Flag,
            Value::Text(_) => Type::Text,
            Value::Hash(_) => Type::Hash,
            Value::Preimage(_) => Type::Preimage,
            Value::Txid(_) => Type::Txid,
            Value::Word(words, _) => Type::Word(words),
            Value::Entity(entity) => Type::Entity(entity.entity_type()),
        }
    }

    /// An amount in millisatoshi, whichever unit it has. As `u128`, because every satoshi amount fits.
    fn msat(&self) -> Option<u128> {
        match self {
            Value::Sat(sat) => Some(u128::from(sat.0) * 1_000),
            Value::Msat(msat) => Some(u128::from(msat.0)),
            _ => None,
        }
    }

    /// How it compares; amounts compare across their units. `None` when the two cannot be compared. Values
    /// whose type is not [ordered](Type::is_ordered) are only `Equal` or not comparable.
    pub fn compare(&self, other: &Value) -> Option<Ordering> {
        if let (Some(a), Some(b)) = (self.msat(), other.msat()) {
            return Some(a.cmp(&b));
        }
        let equal = match (self, other) {
            (Value::Units(a), Value::Units(b)) => return Some(a.cmp(b)),
            (Value::Height(a), Value::Height(b)) => return Some(a.cmp(b)),
            (Value::Count(a), Value::Count(b)) => return Some(a.cmp(b)),
            (Value::Flag(a), Value::Flag(b)) => a == b,
            (Value::Text(a), Value::Text(b)) => a == b,
            (Value::Hash(a), Value::Hash(b)) => a == b,
            (Value::Preimage(a), Value::Preimage(b)) => a == b,
            (Value::Txid(a), Value::Txid(b)) => a == b,
            (Value::Word(a, x), Value::Word(b, y)) => a.name == b.name && x == y,
            _ => false,
        };
        equal.then_some(Ordering::Equal)
    }
}

/// As a scenario would write it, without quotes.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Sat(sat) => sat.fmt(f),
            Value::Msat(msat) => msat.fmt(f),
            Value::Units(units) => units.fmt(f),
            Value::Height(height) => height.fmt(f),
            Value::Count(count) => count.fmt(f),
            Value::Flag(flag) => flag.fmt(f),
            Value::Text(text) => text.fmt(f),
            Value::Hash(hash) => hash.fmt(f),
            Value::Preimage(preimage) => preimage.fmt(f),
            Value::Txid(txid) => txid.fmt(f),
            Value::Word(_, word) => word.fmt(f),
            Value::Entity(entity) => entity.entity_type().name.fmt(f),
        }
    }
}

/// What the steps of a run have bound so far.
#[derive(Debug, Default, Clone)]
pub struct Bindings {
    values: BTreeMap<String, Slot>,
}

/// What stands behind a name.
#[derive(Debug, Clone)]
enum Slot {
    Value(Value),
    /// A field that a fragment was given in place of a value; it is looked up when it is used.
    Field(Arc<dyn Entity>, &'static str),
}

/// A reference, followed as far as it goes without asking a daemon.
#[derive(Debug, Clone)]
pub enum Resolved {
    /// The value.
    Value(Value),
    /// A field that must be looked up.
    Live {
        entity: Arc<dyn Entity>,
        field: &'static str,
    },
}

/// Why a reference has no value. The checker rules all but `Absent` out for scenario files.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BindingError {
    /// No step has bound the name.
    #[error("`${name}` is not bound by any step that has run")]
    Unbound { name: String },
    /// The output has no such field.
    #[error("`{reference}` does not exist: {kind} has no field `{field}`")]
    NoField {
        reference: Reference,
        kind: String,
        field: String,
    },
    /// The field exists and has no value.
    #[error("`{reference}` has no value")]
    Absent { reference: Reference },
    /// The field changes with time and must be looked up first.
    #[error("`{reference}` must be looked up when it is used")]
    Live { reference: Reference },
    /// The value has another type than the one wanted.
    #[error("`{reference}` is {found}, not {wanted}")]
    WrongType {
        reference: Reference,
        found: String,
        wanted: String,
    },
}

impl Bindings {
    /// Keeps `value` under `name`, over an older one.
    pub fn bind(&mut self, name: impl Into<String>, value: Value) {
        self.values.insert(name.into(), Slot::Value(value));
    }

    /// Every name that has a value, with it.
    pub fn values(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.values.iter().filter_map(|(name, slot)| match slot {
            Slot::Value(value) => Some((name.as_str(), value)),
            Slot::Field(..) => None,
        })
    }

    /// What is bound so far under the names that a step knows: `names` says what each is called in the whole plan.
    #[must_use]
    pub fn view(&self, names: &BTreeMap<String, Reference>) -> Self {
        let slot = |target: &Reference| {
            let slot = self.values.get(&target.name)?;
            let (Some(field), Slot::Value(Value::Entity(entity))) = (&target.field, slot) else {
                return Some(slot.clone());
            };
            let field = entity.entity_type().field(field)?;
            Some(match entity.field(field.name) {
                Some(value) => Slot::Value(value),
                None => Slot::Field(entity.clone(), field.name),
            })
        };
        let known = names
            .iter()
            .filter_map(|(name, target)| Some((name.clone(), slot(target)?)));
        Bindings {
            values: known.collect(),
        }
    }

    /// Follows a reference. The caller looks up what comes back as [`Resolved::Live`].
    pub fn resolve(&self, reference: &Reference) -> Result<Resolved, BindingError> {
        let slot = self
            .values
            .get(&reference.name)
            .ok_or_else(|| BindingError::Unbound {
                name: reference.name.clone(),
            })?;
        let value = match slot {
            Slot::Value(value) => value,
            Slot::Field(entity, field) => {
                let entity = entity.clone();
                return Ok(Resolved::Live { entity, field });
            }
        };
        let Some(name) = &reference.field else {
            return Ok(Resolved::Value(value.clone()));
        };
        let no_field = || BindingError::NoField {
            reference: reference.clone(),
            kind: value.ty().a_name(),
            field: name.clone(),
        };
        let Value::Entity(entity) = value else {
            return Err(no_field());
        };
        let field = entity.entity_type().field(name).ok_or_else(no_field)?;
        match entity.field(name) {
            Some(value) => Ok(Resolved::Value(value)),
            None if field.live => Ok(Resolved::Live {
                entity: entity.clone(),
                field: field.name,
            }),
            None => Err(BindingError::Absent {
                reference: reference.clone(),
            }),
        }
    }

    /// The value of an argument that needs no look-up.
    pub fn get<T: Bound>(&self, arg: &Arg<T>) -> Result<T, BindingError> {
        let reference = match arg {
            Arg::Literal(value) => return Ok(value.clone()),
            Arg::Reference(reference) => reference,
        };
        match self.resolve(reference)? {
            Resolved::Value(value) => Self::take(reference, &value),
            Resolved::Live { .. } => Err(BindingError::Live {
                reference: reference.clone(),
            }),
        }
    }

    /// `value`, which `reference` stands for, as the type that is wanted.
    pub fn take<T: Bound>(reference: &Reference, value: &Value) -> Result<T, BindingError> {
        T::from_value(value).ok_or_else(|| BindingError::WrongType {
            reference: reference.clone(),
            found: value.ty().a_name(),
            wanted: T::TYPE.a_name(),
        })
    }
}
