//! How what steps on Liquid take is read: wallets, recipients, assets, amounts of them.

use std::fmt;

use serde_json::json;
use swaprig_harness::elementsd::FAUCET;
use swaprig_harness::world::{Chain, liquid_address};
use swaprig_units::{Sat, Units};
use toml::de::DeValue;

use super::chains::ADD_LIQUID;
use super::cx::{Field, FieldType, StepCx};
use super::parties;
use super::problem::Span;
use super::reference::{Arg, Reference};
use super::step::REFERENCE_PATTERN;
use super::types::Type;
use super::words::{Node, is_name, nearest, one_of_quoted, quoted};
use crate::entities::Asset;

/// A wallet of the world on Liquid, by name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wallet(pub String);

/// Whoever something is looked at of: a Lightning node, or a wallet on Liquid.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder(pub String);

/// Who gets something on Liquid.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum To {
    /// A wallet of the world.
    Wallet(Wallet),
    /// An address.
    Address(String),
    /// A text that a step before bound, which is an address.
    Reference(Reference),
}

/// An asset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AssetOf {
    /// L-BTC, the one that fees are paid in.
    Lbtc,
    /// One that a step before made.
    Issued(Reference),
}

/// An amount of an asset: satoshis of L-BTC, units of every other one.
#[derive(Debug, Clone, PartialEq)]
pub enum LiquidAmount {
    /// L-BTC.
    Sat(Arg<Sat>),
    /// Another asset.
    Units(Arg<Units>),
}

/// The name of L-BTC in files.
pub(crate) const LBTC: &str = "lbtc";

impl From<&str> for Wallet {
    fn from(name: &str) -> Self {
        Wallet(name.to_owned())
    }
}

impl From<&str> for Holder {
    fn from(name: &str) -> Self {
        Holder(name.to_owned())
    }
}

impl From<Wallet> for To {
    fn from(wallet: Wallet) -> Self {
        To::Wallet(wallet)
    }
}

impl From<Sat> for LiquidAmount {
    fn from(sat: Sat) -> Self {
        LiquidAmount::Sat(Arg::Literal(sat))
    }
}

impl From<Units> for LiquidAmount {
    fn from(units: Units) -> Self {
        LiquidAmount::Units(Arg::Literal(units))
    }
}

impl fmt::Display for Wallet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl StepCx<'_> {
    /// The wallets of the world on Liquid; `None` when the world itself has a problem.
    pub fn wallets(&self) -> Option<&[String]> {
        self.scope.chains.as_ref().map(|chains| chains.wallets())
    }

    /// Whether the world is known to have no Liquid chain.
    fn lacks_liquid(&self) -> bool {
        let lacks = |chains: &super::Chains| chains.liquid.is_none();
        self.scope.chains.as_ref().is_some_and(lacks)
    }

    /// Whether the world has an index of a chain; also when that could not be read.
    pub fn has_index(&self, chain: Chain) -> bool {
        let chains = self.scope.chains.as_ref();
        chains.is_none_or(|chains| chains.index.contains(&chain))
    }

    /// Whether the value of a key is a reference.
    pub fn is_reference(&self, key: &str) -> bool {
        let value = self.table.get(key).map(|node| node.get_ref());
        matches!(value, Some(DeValue::String(text)) if text.starts_with('$'))
    }

    /// Whether the world has a Liquid chain. When not, that is said of `span`; when it could not be read, it has been said.
    pub fn needs_liquid(&mut self, span: Span) -> bool {
        if !self.lacks_liquid() {
            return true;
        }
        let title = "this world has no Liquid chain".to_owned();
        self.problem(span, title)
            .label("needs Liquid")
            .help(ADD_LIQUID);
        false
    }
}

/// What to do about a name that is no wallet.
fn no_wallet(name: &str, known: &[String], or: &str) -> String {
    let names = || known.iter().map(String::as_str).chain([FAUCET]);
    if let Some(meant) = nearest(name, names()) {
        return format!("did you mean \"{meant}\"?");
    }
    let list = one_of_quoted(names());
    if !is_name(name, '-') {
        return format!("write {list}{or}");
    }
    let all: Vec<String> = known
        .iter()
        .map(String::as_str)
        .chain([name])
        .map(|name| format!("\"{name}\""))
        .collect();
    format!(
        "write {list}{or}, or name the wallets yourself: world = {{ …, liquid = [{}] }}",
        all.join(", ")
    )
}

impl Field for Wallet {
    fn field_type() -> FieldType {
        let schema = json!({ "type": "string", "pattern": "^[a-z][a-z0-9-]*$" });
        FieldType::new("the name of a wallet on Liquid", "\"alice\"", schema)
    }

    fn read(node: &Node<'_>, cx: &mut StepCx<'_>) -> Option<Self> {
        let text = cx.text(node, "a wallet of this world on Liquid")?;
        let Some(known) = cx.wallets() else {
            return Some(Wallet(text));
        };
        if text == FAUCET || known.contains(&text) {
            return Some(Wallet(text));
        }
        if cx.lacks_liquid() {
            // The step says that.
            return Some(Wallet(text));
        }
        let known = cx.wallets().unwrap_or_default().to_vec();
        let help = no_wallet(&text, &known, "");
        let list = one_of_quoted(known.iter().map(String::as_str).chain([FAUCET]));
        cx.problem(
            node.span(),
            format!("{} is not a wallet of this world on Liquid", quoted(&text)),
        )
        .label(format!("known: {list}"))
        .help(help);
        None
    }

    fn shown(&self) -> Option<String> {
        Some(quoted(&self.0))
    }
}

impl Field for Holder {
    fn field_type() -> FieldType {
        let schema = json!({ "type": "string", "pattern": "^[a-z][a-z0-9-]*$" });
        FieldType::new("the name of a party", "\"alice\"", schema)
    }

    fn read(node: &Node<'_>, cx: &mut StepCx<'_>) -> Option<Self> {
        let of_liquid = cx.table.get("expect").map(|node| node.get_ref());
        if cx.lacks_liquid()
            && matches!(of_liquid, Some(DeValue::String(text)) if text == "liquid_balance")
        {
            // The step says that there is no Liquid.
            return cx.text(node, "a party of this world").map(Holder);
        }
        let wallets: Vec<String> = cx.wallets().unwrap_or_default().to_vec();
        let parties = cx.parties().unwrap_or_default();
        let mut extra: Vec<&str> = wallets
            .iter()
            .filter(|name| !parties.contains(name))
            .map(String::as_str)
            .collect();
        if cx
            .scope
            .chains
            .as_ref()
            .is_some_and(|chains| chains.liquid.is_some())
        {
            extra.push(FAUCET);
        }
        parties::read_name(node, cx, "a party of this world", &extra).map(Holder)
    }
}

impl Field for To {
    fn field_type() -> FieldType {
        FieldType::new(
            "the name of a wallet on Liquid, an address, or a reference to the text of one",
            "\"alice\"",
            json!({ "type": "string" }),
        )
    }

    fn read(node: &Node<'_>, cx: &mut StepCx<'_>) -> Option<Self> {
        const WHAT: &str = "a wallet of this world on Liquid, or an address";
        if let Some(reference) = cx.reference(node) {
            let reference = reference?;
            let fits = cx.check_reference(node, &reference, Type::Text);
            return fits.then_some(To::Reference(reference));
        }
        let text = cx.text(node, WHAT)?;
        let Some(known) = cx.wallets() else {
            return Some(To::Wallet(Wallet(text)));
        };
        if text == FAUCET || known.contains(&text) {
            return Some(To::Wallet(Wallet(text)));
        }
        let known = known.to_vec();
        if cx.lacks_liquid() {
            // The step says that.
            return Some(To::Wallet(Wallet(text)));
        }
        let is_bitcoin = text.parse::<bitcoin::Address<_>>().is_ok();
        let why = match liquid_address(&text) {
            Ok(_) => return Some(To::Address(text)),
            Err(_) if is_bitcoin => "it is an address of Bitcoin".to_owned(),
            Err(why) => why,
        };
        // A name has no digits in its first half, nor is it as long as an address.
        let help = match text.len() > 25 {
            true => format!("as an address it cannot be read: {why}"),
            false => no_wallet(&text, &known, ", or an address"),
        };
        let list = one_of_quoted(known.iter().map(String::as_str).chain([FAUCET]));
        cx.problem(node.span(), format!("{} is not {WHAT}", quoted(&text)))
            .label(format!("known: {list}"))
            .help(help);
        None
    }

    fn references(&self, out: &mut Vec<Reference>) {
        if let To::Reference(reference) = self {
            out.push(reference.clone());
        }
    }
}

impl Field for AssetOf {
    fn field_type() -> FieldType {
        FieldType::new(
            "\"lbtc\", or an asset that a step before made",
            "\"$gold\"",
            json!({ "anyOf": [
                { "type": "string", "enum": [LBTC] },
                { "type": "string", "pattern": REFERENCE_PATTERN },
            ] }),
        )
    }

    fn read(node: &Node<'_>, cx: &mut StepCx<'_>) -> Option<Self> {
        if let Some(reference) = cx.reference(node) {
            let reference = reference?;
            let wanted = Type::Entity(Asset::ENTITY_TYPE);
            let fits = cx.check_reference(node, &reference, wanted);
            return fits.then_some(AssetOf::Issued(reference));
        }
        let text = cx.text(node, "an asset, \"lbtc\" or such as \"$gold\"")?;
        if text == LBTC {
            return Some(AssetOf::Lbtc);
        }
        let help = if cx.is_bound(&text) {
            format!("write \"${text}\"; a reference starts with `$`")
        } else if nearest(&text, [LBTC, "l-btc", "btc", "bitcoin"]).is_some() {
            format!("did you mean \"{LBTC}\"?")
        } else {
            format!(
                "write \"{LBTC}\", or make it with {{ issue_asset = \"1_000 units\", as = \"gold\" }} and write \"$gold\""
            )
        };
        cx.problem(node.span(), format!("{} is not an asset", quoted(&text)))
            .label("unknown asset")
            .help(help);
        None
    }

    fn references(&self, out: &mut Vec<Reference>) {
        if let AssetOf::Issued(reference) = self {
            out.push(reference.clone());
        }
    }

    fn shown(&self) -> Option<String> {
        match self {
            AssetOf::Lbtc => Some(quoted(LBTC)),
            AssetOf::Issued(_) => None,
        }
    }
}

impl Field for LiquidAmount {
    fn field_type() -> FieldType {
        let (sat, units) = (<Arg<Sat>>::field_type(), <Arg<Units>>::field_type());
        FieldType::new(
            "an amount: satoshis of L-BTC, units of another asset",
            "\"50_000 sat\"",
            json!({ "anyOf": [sat.schema, units.schema] }),
        )
    }

    fn read(node: &Node<'_>, cx: &mut StepCx<'_>) -> Option<Self> {
        if let Some(reference) = cx.reference(node) {
            let reference = reference?;
            return match cx.type_of(node, &reference)? {
                Type::Units => Some(LiquidAmount::Units(Arg::Reference(reference))),
                _ => cx
                    .check_reference(node, &reference, Type::Sat)
                    .then_some(LiquidAmount::Sat(Arg::Reference(reference))),
            };
        }
        let in_units = matches!(node.get_ref(), DeValue::String(text) if text.contains("unit"));
        match in_units {
            true => Units::read(node, cx).map(|units| LiquidAmount::Units(Arg::Literal(units))),
            false => Sat::read(node, cx).map(|sat| LiquidAmount::Sat(Arg::Literal(sat))),
        }
    }

    fn references(&self, out: &mut Vec<Reference>) {
        match self {
            LiquidAmount::Sat(arg) => arg.references(out),
            LiquidAmount::Units(arg) => arg.references(out),
        }
    }
}

impl LiquidAmount {
    /// Checks that it is an amount of `asset` and more than nothing; when not, that is said.
    pub fn fits(&self, asset: &AssetOf, cx: &mut StepCx<'_>) -> bool {
        let span = cx.value_span("amount");
        let nothing = match self {
            LiquidAmount::Sat(arg) => *arg == Arg::Literal(Sat(0)),
            LiquidAmount::Units(arg) => *arg == Arg::Literal(Units(0)),
        };
        if nothing {
            let title = format!("`{}` sends nothing", cx.step());
            cx.problem(span, title)
                .label("no coins")
                .help("write an amount such as \"50_000 sat\", or leave the step out");
            return false;
        }
        match (self, asset) {
            (LiquidAmount::Sat(_), AssetOf::Lbtc)
            | (LiquidAmount::Units(_), AssetOf::Issued(_)) => true,
            (LiquidAmount::Sat(_), AssetOf::Issued(reference)) => {
                let at = cx.value_span("asset");
                let title = format!("`{reference}` is not counted in satoshis");
                cx.problem(span, title)
                    .label("an amount in sat")
                    .also(at, "an issued asset")
                    .help("write how many units: \"7 units\"");
                false
            }
            (LiquidAmount::Units(_), AssetOf::Lbtc) => {
                let known = cx.assets();
                let help = match known.as_slice() {
                    [] => {
                        "write satoshis: \"50_000 sat\"; units are of assets that issue_asset made"
                            .to_owned()
                    }
                    known => format!(
                        "write satoshis: \"50_000 sat\", or say of which asset: asset = {}",
                        one_of_quoted(known.iter().map(String::as_str))
                    ),
                };
                cx.problem(span, "L-BTC is not counted in units")
                    .label("an amount in units")
                    .help(help);
                false
            }
        }
    }
}

impl StepCx<'_> {
    /// The assets that steps before have made, as they are referred to.
    fn assets(&self) -> Vec<String> {
        let wanted = Type::Entity(Asset::ENTITY_TYPE);
        let names = self.scope.readable();
        names
            .filter(|(_, name)| matches!(name.kind, super::NameKind::Value(ty) if ty == wanted))
            .map(|(name, _)| format!("${name}"))
            .collect()
    }
}
