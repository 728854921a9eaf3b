//! References: `$name` and `$name.field`, which stand for a whole typed value. What a fragment gives is reached through
//! the name of its use: `$ab.channel` is a name like any other, and `$ab.channel.state` a field of it.

use std::fmt;

use super::types::Type;
use super::value::Value;
use super::words::is_name;

/// What a step before bound, or a field of it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Reference {
    /// The name that `as` gave; with dots in it, an output of a fragment.
    pub name: String,
    /// The field after the last dot.
    pub field: Option<String>,
}

/// A text of a file, as far as the `$` in front of it says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Text {
    /// The text itself, `$$` at its start made into `$`.
    Literal(String),
    /// A reference.
    Reference(Reference),
    /// It starts like a reference and is none.
    Malformed,
}

impl Text {
    pub(super) fn of(text: &str) -> Text {
        let Some(rest) = text.strip_prefix('$') else {
            return Text::Literal(text.to_owned());
        };
        if rest.starts_with('$') {
            return Text::Literal(rest.to_owned());
        }
        if !rest.split('.').all(|part| is_name(part, '_')) {
            return Text::Malformed;
        }
        // Which of the names before the last is an output, and whether the last is one, the scope knows.
        let (name, field) = match rest.rsplit_once('.') {
            Some((name, field)) => (name, Some(field)),
            None => (rest, None),
        };
        Text::Reference(Reference {
            name: name.to_owned(),
            field: field.map(str::to_owned),
        })
    }
}

impl Reference {
    /// A reference to what is bound under `name`.
    pub fn to(name: impl Into<String>) -> Self {
        Reference {
            name: name.into(),
            field: None,
        }
    }

    /// The name and the field, with the dot between them and without the dollar sign.
    pub(super) fn path(&self) -> String {
        match &self.field {
            Some(field) => format!("{}.{field}", self.name),
            None => self.name.clone(),
        }
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "${}", self.path())
    }
}

/// A value, or a reference to one of the same type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Arg<T> {
    /// The value itself.
    Literal(T),
    /// What a step before bound.
    Reference(Reference),
}

impl<T> From<T> for Arg<T> {
    fn from(value: T) -> Self {
        Arg::Literal(value)
    }
}

/// A type that a reference can stand for.
pub trait Bound: Clone {
    /// What a reference must be to stand for it, as [`Type::accepts`] has it.
    const TYPE: Type;

    /// The value back from what was bound; `None` when it is of another type.
    fn from_value(value: &Value) -> Option<Self>;
}

macro_rules! bound {
    ($($rust:ty => $variant:ident),* $(,)?) => {$(
        impl Bound for $rust {
            const TYPE: Type = Type::$variant;

            fn from_value(value: &Value) -> Option<Self> {
                match value {
                    Value::$variant(value) => Some(value.clone()),
                    _ => None,
                }
            }
        }
    )*};
}

bound! {
    swaprig_units::Sat => Sat,
    swaprig_units::Units => Units,
    swaprig_units::Height => Height,
    String => Text,
    swaprig_units::PaymentHash => Hash,
    swaprig_units::Preimage => Preimage,
    bitcoin::Txid => Txid,
}

impl Bound for swaprig_units::Msat {
    const TYPE: Type = Type::Msat;

    fn from_value(value: &Value) -> Option<Self> {
        match value {
            Value::Msat(msat) => Some(*msat),
            Value::Sat(sat) => sat.to_msat(),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_whole_text_is_a_reference() {
        let reference = |name: &str, field: Option<&str>| {
            Text::Reference(Reference {
                name: name.into(),
                field: field.map(Into::into),
            })
        };
        for (text, expected) in [
            ("$inv", reference("inv", None)),
            ("$inv.hash", reference("inv", Some("hash"))),
            ("$$inv", Text::Literal("$inv".into())),
            ("pay $inv", Text::Literal("pay $inv".into())),
            ("$ab.inv.hash", reference("ab.inv", Some("hash"))),
            ("$inv..b", Text::Malformed),
            ("$Inv", Text::Malformed),
            ("$5", Text::Malformed),
            ("$", Text::Malformed),
            ("$inv ", Text::Malformed),
        ] {
            assert_eq!(Text::of(text), expected, "{text}");
        }
    }
}
