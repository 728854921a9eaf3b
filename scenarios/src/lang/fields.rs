//! How the plain types of a step's fields are read: amounts, times, block counts, texts, words.

use std::str::FromStr;
use std::time::Duration;

use serde_json::json;
use swaprig_units::{
    BlockDelta, Height, Msat, PaymentHash, Preimage, Sat, UnitError, Units, parse_duration,
    show_duration,
};
use toml::de::{DeInteger, DeValue};

use super::cx::{ANY_TEXT, Field, FieldType, StepCx};
use super::problem::Problem;
use super::types::{EntityType, WordType};
use super::words::{Node, nearest, one_of_quoted, quoted, with_article};

impl FieldType {
    /// A type with this name, such as "an amount", with an example as it is typed, quotes included.
    pub fn new(name: &str, example: &str, schema: serde_json::Value) -> Self {
        FieldType {
            name: name.to_owned(),
            example: example.to_owned(),
            schema,
        }
    }

    /// A reference to an output of that type, which has no other form.
    pub fn reference_to(entity: &EntityType) -> Self {
        let example = format!("\"${}\"", entity.name.replace(' ', "_"));
        FieldType {
            name: entity.name.to_owned(),
            example,
            schema: serde_json::Value::Null,
        }
    }

    /// One word of a list.
    pub fn word(words: &WordType) -> Self {
        let list: Vec<&str> = words.list().collect();
        let name = one_of_quoted(list.iter().copied());
        let example = format!("\"{}\"", list.first().copied().unwrap_or_default());
        FieldType {
            name,
            example,
            schema: json!({ "type": "string", "enum": list }),
        }
    }
}

/// A value with a unit, as messages speak of it.
struct Unit {
    /// "an amount"
    what: &'static str,
    /// "50_000 sat"
    example: &'static str,
    /// The unit that a bare number most likely has.
    usual: &'static str,
    /// A value in the smallest unit.
    smaller: &'static str,
}

const AMOUNT: Unit = Unit {
    what: "an amount",
    example: "50_000 sat",
    usual: "sat",
    smaller: "500 msat",
};
const UNITS: Unit = Unit {
    what: "an amount in units",
    example: "1_000 units",
    usual: "units",
    smaller: "1 unit",
};
const TIME: Unit = Unit {
    what: "a time",
    example: "5 s",
    usual: "s",
    smaller: "500 ms",
};

const AMOUNT_PATTERN: &str = r"^\s*[0-9_]+(\.[0-9]+)?\s*(msat|sats?|btc|BTC)\s*$";
const UNITS_PATTERN: &str = r"^\s*[0-9_]+\s*units?\s*$";
const TIME_PATTERN: &str = r"^\s*[0-9_]+\s*(ms|s|min)\s*$";

impl Unit {
    /// `read` for a text with a unit; a bare number is told which text to type.
    fn read<T>(
        &self,
        node: &Node<'_>,
        cx: &mut StepCx<'_>,
        parse: fn(&str) -> Result<T, UnitError>,
    ) -> Option<T> {
        let what = format!("{} such as \"{}\"", self.what, self.example);
        if let DeValue::Integer(number) = node.get_ref() {
            let help = format!("it has no unit; write \"{number} {}\"", self.usual);
            cx.expected(node, &what).help(help);
            return None;
        }
        if !matches!(node.get_ref(), DeValue::String(_)) {
            let help = format!("write it as a text with its unit: \"{}\"", self.example);
            cx.expected(node, &what).help(help);
            return None;
        }
        let text = cx.text(node, &what)?;
        match parse(&text) {
            Ok(value) => Some(value),
            Err(error) => {
                let help = self.help(&text, &error);
                cx.expected(node, &what).help(help);
                None
            }
        }
    }

    fn help(&self, text: &str, error: &UnitError) -> String {
        let write = format!("write {} such as \"{}\"", self.what, self.example);
        let text = text.trim();
        if text.is_empty() {
            return write;
        }
        if text.starts_with('-') {
            return format!("{} cannot be negative; {write}", self.what);
        }
        let without_commas = text.replace(',', "_");
        if without_commas != text {
            return format!("commas do not separate digits; write \"{without_commas}\"");
        }
        let unitless = text
            .bytes()
            .all(|b| b.is_ascii_digit() || b == b'_' || b == b'.');
        match error {
            UnitError::MissingUnit { .. } if unitless => {
                format!("it has no unit; write \"{text} {}\"", self.usual)
            }
            UnitError::NotANumber { .. } if text.contains('.') => {
                format!(
                    "it is not a whole number; use a smaller unit, such as \"{}\"",
                    self.smaller
                )
            }
            UnitError::UnknownUnit { unit, expected } => {
                format!(
                    "`{unit}` is not a unit of {}; use {expected}; {write}",
                    self.what
                )
            }
            UnitError::FractionOfASatoshi { .. } => {
                format!("{error}; only Lightning has parts of one")
            }
            error => format!("{error}; {write}"),
        }
    }
}

fn read_amount<T: FromStr<Err = UnitError>>(node: &Node<'_>, cx: &mut StepCx<'_>) -> Option<T> {
    AMOUNT.read(node, cx, str::parse)
}

impl Field for Sat {
    fn field_type() -> FieldType {
        let schema = json!({ "type": "string", "pattern": AMOUNT_PATTERN });
        FieldType::new(
            "an amount, a whole number of satoshis",
            "\"50_000 sat\"",
            schema,
        )
    }

    fn read(node: &Node<'_>, cx: &mut StepCx<'_>) -> Option<Self> {
        read_amount(node, cx)
    }
}

impl Field for Msat {
    fn field_type() -> FieldType {
        let schema = json!({ "type": "string", "pattern": AMOUNT_PATTERN });
        FieldType::new("an amount", "\"50_000 sat\"", schema)
    }

    fn read(node: &Node<'_>, cx: &mut StepCx<'_>) -> Option<Self> {
        read_amount(node, cx)
    }
}

impl Field for Units {
    fn field_type() -> FieldType {
        let schema = json!({ "type": "string", "pattern": UNITS_PATTERN });
        FieldType::new("an amount of an issued asset", "\"1_000 units\"", schema)
    }

    fn read(node: &Node<'_>, cx: &mut StepCx<'_>) -> Option<Self> {
        UNITS.read(node, cx, str::parse)
    }

    fn shown(&self) -> Option<String> {
        Some(format!("\"{self}\""))
    }
}

impl Field for Duration {
    fn field_type() -> FieldType {
        let schema = json!({ "type": "string", "pattern": TIME_PATTERN });
        FieldType::new("a time", "\"5 s\"", schema)
    }

    fn read(node: &Node<'_>, cx: &mut StepCx<'_>) -> Option<Self> {
        let duration = TIME.read(node, cx, parse_duration)?;
        if duration.is_zero() {
            cx.expected(node, "a time longer than none")
                .help("write a time such as \"5 s\"");
            return None;
        }
        Some(duration)
    }

    fn shown(&self) -> Option<String> {
        Some(format!("\"{}\"", show_duration(*self)))
    }
}

/// The number as `u64`, or `None` when it is negative or does not fit.
fn integer(number: &DeInteger<'_>) -> Option<u64> {
    u64::from_str_radix(number.as_str(), number.radix()).ok()
}

/// Says why an integer does not fit.
fn out_of_range<'p>(
    problem: &'p mut Problem,
    number: &DeInteger<'_>,
    what: &str,
) -> &'p mut Problem {
    let why = if number.as_str().starts_with('-') {
        "it cannot be negative"
    } else {
        "it is too large"
    };
    problem.help(format!("{why}; write {what}"))
}

/// Reads a number of blocks or a height: an integer, or a text with its unit.
fn read_blocks<T: FromStr<Err = UnitError>>(
    node: &Node<'_>,
    cx: &mut StepCx<'_>,
    what: &str,
    make: fn(u32) -> T,
) -> Option<T> {
    match node.get_ref() {
        DeValue::Integer(number) => {
            let blocks = integer(number).and_then(|n| u32::try_from(n).ok());
            if blocks.is_none() {
                out_of_range(cx.expected(node, what), number, what);
            }
            blocks.map(make)
        }
        DeValue::String(_) => {
            let text = cx.text(node, what)?;
            match text.parse() {
                Ok(value) => Some(value),
                Err(_) => {
                    cx.expected(node, what).help(format!("write {what}"));
                    None
                }
            }
        }
        _ => {
            cx.expected(node, what).help(format!("write {what}"));
            None
        }
    }
}

impl Field for BlockDelta {
    fn field_type() -> FieldType {
        let text = json!({ "type": "string", "pattern": r"^\s*[0-9_]+\s*(blocks?)?\s*$" });
        let number = json!({ "type": "integer", "minimum": 0, "maximum": u32::MAX });
        FieldType::new(
            "a number of blocks",
            "6",
            json!({ "anyOf": [number, text] }),
        )
    }

    fn read(node: &Node<'_>, cx: &mut StepCx<'_>) -> Option<Self> {
        read_blocks(
            node,
            cx,
            "a number of blocks such as 6 or \"6 blocks\"",
            BlockDelta,
        )
    }
}

impl Field for Height {
    fn field_type() -> FieldType {
        let text = json!({ "type": "string", "pattern": r"^\s*(height)?\s*[0-9_]+\s*$" });
        let number = json!({ "type": "integer", "minimum": 0, "maximum": u32::MAX });
        FieldType::new("a block height", "107", json!({ "anyOf": [number, text] }))
    }

    fn read(node: &Node<'_>, cx: &mut StepCx<'_>) -> Option<Self> {
        read_blocks(node, cx, "a block height such as 107", Height)
    }
}

impl Field for u64 {
    fn field_type() -> FieldType {
        let schema = json!({ "type": "integer", "minimum": 0 });
        FieldType::new("a number", "1", schema)
    }

    fn read(node: &Node<'_>, cx: &mut StepCx<'_>) -> Option<Self> {
        const WHAT: &str = "a number such as 1";
        match node.get_ref() {
            DeValue::Integer(number) => {
                let value = integer(number);
                if value.is_none() {
                    out_of_range(cx.expected(node, WHAT), number, WHAT);
                }
                value
            }
            DeValue::String(text) if text.trim().parse::<u64>().is_ok() => {
                let help = format!("it is a plain number; write {} without quotes", text.trim());
                cx.expected(node, WHAT).help(help);
                None
            }
            _ => {
                cx.expected(node, WHAT)
                    .help("write a plain number, without quotes or a unit");
                None
            }
        }
    }
}

impl Field for bool {
    fn field_type() -> FieldType {
        FieldType::new("`true` or `false`", "true", json!({ "type": "boolean" }))
    }

    fn read(node: &Node<'_>, cx: &mut StepCx<'_>) -> Option<Self> {
        if let DeValue::Boolean(flag) = node.get_ref() {
            return Some(*flag);
        }
        let help = match node.get_ref() {
            DeValue::String(text) if matches!(text.as_ref(), "true" | "false") => {
                format!("write {text} without quotes")
            }
            _ => "write true or false, without quotes".to_owned(),
        };
        cx.expected(node, "`true` or `false`").help(help);
        None
    }

    fn shown(&self) -> Option<String> {
        Some(self.to_string())
    }
}

impl Field for String {
    fn field_type() -> FieldType {
        FieldType::new("a text", "\"coffee\"", json!({ "type": "string" }))
    }

    fn read(node: &Node<'_>, cx: &mut StepCx<'_>) -> Option<Self> {
        cx.text(node, ANY_TEXT)
    }

    fn shown(&self) -> Option<String> {
        Some(format!("{self:?}"))
    }
}

/// A text that names something, with an example of its own in messages.
macro_rules! named_text {
    ($(#[doc = $doc:literal])+ $name:ident, $what:literal, $example:literal) => {
        $(#[doc = $doc])+
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub struct $name(pub String);

        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                $name(text.to_owned())
            }
        }

        impl Field for $name {
            fn field_type() -> FieldType {
                FieldType::new($what, $example, json!({ "type": "string" }))
            }

            fn read(node: &Node<'_>, cx: &mut StepCx<'_>) -> Option<Self> {
                cx.text(node, $what).map($name)
            }

            fn shown(&self) -> Option<String> {
                self.0.shown()
            }
        }
    };
}

named_text! {
    /// A method of a gRPC server, with its service or, where only one service has it, without.
    GrpcMethod, "the name of a method", "\"maker.v1.Maker/Open\""
}

named_text! {
    /// A method of the calls on a link: JSON-RPC's, Electrum's or, without its service, gRPC's.
    LinkMethod, "the name of a method", "\"getblockcount\""
}

/// Reads 64 hexadecimal digits.
fn read_hex<T: FromStr>(node: &Node<'_>, cx: &mut StepCx<'_>, what: &str) -> Option<T> {
    let what = format!("{what} of 64 hexadecimal digits");
    let text = cx.text(node, &what)?;
    let value = text.trim().parse().ok();
    if value.is_none() {
        let trimmed = text.trim();
        let help = match trimmed.chars().find(|c| !c.is_ascii_hexdigit()) {
            Some(odd) => format!("{odd:?} is not a hexadecimal digit"),
            None => format!("it has {} digits, not 64", trimmed.len()),
        };
        cx.expected(node, &what).help(help);
    }
    value
}

macro_rules! hex_field {
    ($($rust:ty, $what:literal;)*) => {$(
        impl Field for $rust {
            fn field_type() -> FieldType {
                let example = format!("\"{}\"", "01".repeat(32));
                let schema = json!({ "type": "string", "pattern": "^[0-9a-fA-F]{64}$" });
                FieldType::new($what, &example, schema)
            }

            fn read(node: &Node<'_>, cx: &mut StepCx<'_>) -> Option<Self> {
                read_hex(node, cx, $what)
            }
        }
    )*};
}

hex_field! {
    Preimage, "a preimage";
    PaymentHash, "a payment hash";
    bitcoin::Txid, "a transaction id";
}

impl StepCx<'_> {
    /// Reads one word of a list.
    pub fn word(&mut self, node: &Node<'_>, words: &'static WordType) -> Option<&'static str> {
        let what = one_of_quoted(words.list());
        let text = self.text(node, &what)?;
        let found = words.list().find(|word| *word == text);
        if found.is_none() {
            let help = match nearest(&text, words.list()) {
                Some(meant) => format!("did you mean \"{meant}\"?"),
                None => format!("write {what}"),
            };
            let title = format!("{} is not {}", quoted(&text), with_article(words.name));
            self.problem(node.span(), title)
                .label(format!("expected {what}"))
                .help(help);
        }
        found
    }
}
