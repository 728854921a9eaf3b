//! The step that looks: `expect`.

use std::time::Duration;

use serde_json::json;
use swaprig_harness::elementsd::FAUCET;
use swaprig_units::{Height, Msat, PaymentHash, Preimage, Sat, Units};
use toml::de::DeValue;

use crate::lang::{
    AssetOf, Field, FieldType, Holder, Node, Reference, StepCx, Type, Value, all_of, nearest,
    one_of_quoted, quoted,
};
use crate::steps::Chain;
use crate::{step, words};

words! {
    /// What `expect` can look at without a reference.
    pub enum Observable("observable") {
        /// What a party's on-chain wallet holds, confirmed or not, in sat.
        OnchainBalance = "onchain_balance",
        /// What a party owns in its channels, in sat.
        LightningBalance = "lightning_balance",
        /// What a party's wallet on Liquid holds of an asset, confirmed or not: L-BTC in sat, others in units.
        LiquidBalance = "liquid_balance",
        /// The height of a chain, as its node or as a party has it.
        Height = "height",
        /// The height of a chain, as its index has it.
        IndexHeight = "index_height",
        /// How many transactions wait for a block, as the node of a chain has it.
        Mempool = "mempool",
        /// How many outputs of closed channels a party has sent to its wallet and waits for a block with.
        Sweeps = "sweeps",
        /// How many channels a party lists.
        Channels = "channels",
        /// How many payments over Lightning a party lists, sent and received.
        Payments = "payments",
        /// How many peers a party is connected to.
        Peers = "peers",
    }
}

impl Observable {
    /// The type of what is seen; of L-BTC for an asset.
    pub fn ty(self) -> Type {
        match self {
            Observable::OnchainBalance
            | Observable::LightningBalance
            | Observable::LiquidBalance => Type::Sat,
            Observable::Height | Observable::IndexHeight => Type::Height,
            Observable::Mempool
            | Observable::Sweeps
            | Observable::Channels
            | Observable::Payments
            | Observable::Peers => Type::Count,
        }
    }

    /// Whether it is a party's only, so that `of` must be there.
    pub fn needs_party(self) -> bool {
        !self.is_of_a_chain()
    }

    /// Whether every chain has its own.
    pub fn is_of_a_chain(self) -> bool {
        matches!(
            self,
            Observable::Height | Observable::IndexHeight | Observable::Mempool
        )
    }
}

/// What `expect` looks at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Observed {
    /// A field of what a step before bound.
    Reference(Reference),
    /// A figure of the world.
    World(Observable),
}

impl From<Observable> for Observed {
    fn from(observable: Observable) -> Self {
        Observed::World(observable)
    }
}

impl From<Reference> for Observed {
    fn from(reference: Reference) -> Self {
        Observed::Reference(reference)
    }
}

impl Field for Observed {
    fn field_type() -> FieldType {
        let words: Vec<&str> = Observable::WORDS.list().collect();
        FieldType {
            name: format!(
                "a field such as \"$inv.status\", or {}",
                one_of_quoted(words.iter().copied())
            ),
            example: "\"$inv.status\"".to_owned(),
            schema: json!({ "anyOf": [
                { "type": "string", "enum": words },
                { "type": "string", "pattern": r"^\$[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)+$" },
            ] }),
        }
    }

    fn read(node: &Node<'_>, cx: &mut StepCx<'_>) -> Option<Self> {
        if let Some(reference) = cx.reference(node) {
            let reference = reference?;
            let ty = cx.type_of(node, &reference)?;
            if let Type::Entity(entity) = ty {
                let fields = entity.all_fields().into_iter().map(|field| field.name);
                let usual = |field: &&str| matches!(*field, "status" | "state");
                let example = fields
                    .clone()
                    .find(usual)
                    .or(fields.clone().next())
                    .unwrap_or_default();
                let help = format!(
                    "write \"{reference}.{example}\"; {} has {}",
                    ty.a_name(),
                    all_of(fields)
                );
                let title = format!(
                    "`{reference}` is {}, `expect` wants a field of it",
                    ty.a_name()
                );
                cx.problem(node.span(), title).label("no field").help(help);
                return None;
            }
            cx.set_observed(ty);
            return Some(Observed::Reference(reference));
        }
        let DeValue::String(text) = node.get_ref() else {
            let what = "a field such as \"$inv.status\" or an observable such as \"height\"";
            cx.expected(node, what).help(format!("write {what}"));
            return None;
        };
        let Some(observable) = Observable::from_word(text) else {
            unknown_observable(node, text, cx);
            return None;
        };
        // Issued assets are referred to, L-BTC has a name. What is wrong with the value is said when it is read.
        let issued = observable == Observable::LiquidBalance && cx.is_reference("asset");
        cx.set_observed(if issued { Type::Units } else { observable.ty() });
        Some(Observed::World(observable))
    }

    fn references(&self, out: &mut Vec<Reference>) {
        if let Observed::Reference(reference) = self {
            out.push(reference.clone());
        }
    }
}

fn unknown_observable(node: &Node<'_>, text: &str, cx: &mut StepCx<'_>) {
    let (name, field) = text.split_once('.').unwrap_or((text, ""));
    let help = if cx.is_bound(name) {
        let field = if field.is_empty() { "" } else { "." }.to_owned() + field;
        format!("did you mean \"${name}{field}\"? a reference starts with `$`")
    } else if let Some(meant) = nearest(text, Observable::WORDS.list()) {
        format!("did you mean \"{meant}\"?")
    } else {
        let list = one_of_quoted(Observable::WORDS.list());
        format!("write {list}, or a field of what a step bound, such as \"$inv.status\"")
    };
    let title = format!("{} cannot be observed", quoted(text));
    cx.problem(node.span(), title)
        .label("unknown observable")
        .help(help);
}

/// What `expect` compares with; of the type of what it looks at.
#[derive(Debug, Clone)]
pub enum Operand {
    /// The value itself.
    Value(Value),
    /// What a step before bound.
    Reference(Reference),
}

impl Operand {
    /// Reads a value of the type that is observed.
    fn of_type(ty: Type, node: &Node<'_>, cx: &mut StepCx<'_>) -> Option<Value> {
        match ty {
            Type::Sat => Sat::read(node, cx).map(Value::Sat),
            Type::Msat => Msat::read(node, cx).map(Value::Msat),
            Type::Units => Units::read(node, cx).map(Value::Units),
            Type::Height => Height::read(node, cx).map(Value::Height),
            Type::Count => u64::read(node, cx).map(Value::Count),
            Type::Flag => bool::read(node, cx).map(Value::Flag),
            Type::Text => String::read(node, cx).map(Value::Text),
            Type::Hash => PaymentHash::read(node, cx).map(Value::Hash),
            Type::Preimage => Preimage::read(node, cx).map(Value::Preimage),
            Type::Txid => bitcoin::Txid::read(node, cx).map(Value::Txid),
            Type::Word(words) => cx.word(node, words).map(|word| Value::Word(words, word)),
            Type::Entity(_) => {
                cx.wants_reference(node, ty);
                None
            }
        }
    }
}

impl Field for Operand {
    fn field_type() -> FieldType {
        FieldType {
            name: "a value of the type that is observed, or a reference to one".to_owned(),
            example: "\"50_000 sat\"".to_owned(),
            schema: json!({ "type": ["string", "integer", "boolean"] }),
        }
    }

    fn read(node: &Node<'_>, cx: &mut StepCx<'_>) -> Option<Self> {
        // What is observed has a problem of its own; nothing can be said of what it is compared with.
        let observed = cx.observed()?;
        let Some(reference) = cx.reference(node) else {
            return Operand::of_type(observed, node, cx).map(Operand::Value);
        };
        let reference = reference?;
        let found = cx.type_of(node, &reference)?;
        let fits = observed.comparable(found) || cx.check_reference(node, &reference, observed);
        fits.then_some(Operand::Reference(reference))
    }

    fn references(&self, out: &mut Vec<Reference>) {
        if let Operand::Reference(reference) = self {
            out.push(reference.clone());
        }
    }
}

step! {
    /// Looks at one thing until it is as expected. It only looks: nothing is mined, sent or connected.
    pub struct Expect("expect") -> () {
        /// What to look at.
        expect: Observed,
    } optional {
        /// Whose; for an observable only. The height may do without: it is then the node's of the chain.
        of: Option<Holder> = None,
        /// Of which chain; for `height`, `index_height` and `mempool`.
        chain: Chain = Chain::Bitcoin,
        /// Of which asset; for `liquid_balance`.
        asset: AssetOf = AssetOf::Lbtc,
        /// What it must be.
        is: Option<Operand> = None,
        /// What it must not be below.
        at_least: Option<Operand> = None,
        /// What it must not be above.
        at_most: Option<Operand> = None,
    }
    within Duration::from_secs(5);
    keys one_comparator;
    check whose_it_is;
}

impl Expect {
    /// The same with what it must be.
    pub fn is(self, value: Operand) -> Self {
        Expect {
            is: Some(value),
            ..self
        }
    }

    /// The same with what it must not be below.
    pub fn at_least(self, value: Operand) -> Self {
        Expect {
            at_least: Some(value),
            ..self
        }
    }

    /// The same with what it must not be above.
    pub fn at_most(self, value: Operand) -> Self {
        Expect {
            at_most: Some(value),
            ..self
        }
    }

    /// The same, of a party.
    pub fn of(self, party: impl Into<Holder>) -> Self {
        Expect {
            of: Some(party.into()),
            ..self
        }
    }
}

fn whose_it_is(step: &Expect, cx: &mut StepCx<'_>) -> bool {
    let span = cx.value_span("expect");
    if !keys_fit(step, cx) {
        return false;
    }
    match (&step.expect, &step.of) {
        (Observed::Reference(reference), Some(_)) => {
            let of = cx.key_span("of");
            cx.problem(
                of,
                format!("`of` beside `{reference}`, which already says whose it is"),
            )
            .label("too much")
            .also(span, "a reference")
            .help("leave `of` out");
            false
        }
        (
            Observed::World(observable @ (Observable::Mempool | Observable::IndexHeight)),
            Some(_),
        ) => {
            let of = cx.key_span("of");
            let owner = match (observable, step.chain) {
                (Observable::IndexHeight, _) => "the index's",
                (_, Chain::Bitcoin) => "bitcoind's",
                (_, Chain::Liquid) => "elementsd's",
            };
            cx.problem(of, format!("`{observable}` is {owner}, not a party's"))
                .label("too much")
                .also(span, "there is one for all")
                .help("leave `of` out");
            false
        }
        (Observed::World(Observable::Height), Some(holder)) if step.chain == Chain::Liquid => {
            let (of, chain) = (cx.key_span("of"), cx.value_span("chain"));
            cx.problem(of, format!("{holder} has no Liquid chain of its own"))
                .label("too much")
                .also(chain, "elementsd has it")
                .help("leave `of` out");
            false
        }
        (Observed::World(observable), Some(holder)) => is_a(holder, *observable, cx),
        (Observed::World(observable), None) if observable.needs_party() => {
            let (example, other) = match observable {
                Observable::LiquidBalance => (cx.wallets().and_then(|all| all.first()), FAUCET),
                _ => (cx.parties().and_then(|all| all.first()), "alice"),
            };
            let help = format!("add of = \"{}\"", example.map_or(other, String::as_str));
            cx.problem(span, format!("`{observable}` of whom?"))
                .label("every party has its own")
                .help(help);
            false
        }
        _ => true,
    }
}

/// Keys beside what they say nothing about.
fn keys_fit(step: &Expect, cx: &mut StepCx<'_>) -> bool {
    let span = cx.value_span("expect");
    let of_a_chain =
        matches!(&step.expect, Observed::World(observable) if observable.is_of_a_chain());
    let of_an_asset = matches!(&step.expect, Observed::World(Observable::LiquidBalance));
    let listed = |test: fn(Observable) -> bool| {
        let all = Observable::WORDS
            .list()
            .filter(|word| Observable::from_word(word).is_some_and(test));
        all_of(all)
    };
    for (key, fits, whose) in [
        ("chain", of_a_chain, listed(Observable::is_of_a_chain)),
        ("asset", of_an_asset, "`liquid_balance`".to_owned()),
    ] {
        if cx.has(key) && !fits {
            let at = cx.key_span(key);
            cx.problem(at, format!("`{key}` says nothing here"))
                .label(format!("belongs to {whose}"))
                .also(span, "what is looked at")
                .help(format!("leave `{key}` out"));
            return false;
        }
    }
    match &step.expect {
        Observed::World(Observable::IndexHeight) => {
            step.chain.is_there(cx) && step.chain.has_index(cx)
        }
        Observed::World(Observable::LiquidBalance) => cx.needs_liquid(span),
        Observed::World(_) => step.chain.is_there(cx),
        Observed::Reference(_) => true,
    }
}

/// Whether a holder can have what is looked at: Lightning nodes and wallets have names of their own.
fn is_a(holder: &Holder, observable: Observable, cx: &mut StepCx<'_>) -> bool {
    let known = match observable {
        Observable::LiquidBalance => cx.wallets().map(|all| [all, &[FAUCET.to_owned()]].concat()),
        _ => cx.parties().map(<[String]>::to_vec),
    };
    let Some(known) = known else { return true };
    if known.contains(&holder.0) {
        return true;
    }
    let what = match observable {
        Observable::LiquidBalance => "a wallet on Liquid",
        _ => "a Lightning node",
    };
    let span = cx.value_span("of");
    let help = match known.as_slice() {
        [] => "this world has none".to_owned(),
        known => format!("write {}", one_of_quoted(known.iter().map(String::as_str))),
    };
    cx.problem(
        span,
        format!("\"{holder}\" is not {what}, and `{observable}` is of one"),
    )
    .label("has none")
    .help(help);
    false
}

fn one_comparator(cx: &mut StepCx<'_>) -> bool {
    let given: Vec<&str> = ["is", "at_least", "at_most"]
        .into_iter()
        .filter(|key| cx.has(key))
        .collect();
    match given.as_slice() {
        [] => {
            let span = cx.key_span("expect");
            let help = match cx.observed() {
                Some(ty) if ty.is_ordered() => "add `is`, `at_least` or `at_most` with a value",
                _ => "add `is` with a value",
            };
            cx.problem(span, "`expect` does not say what it expects")
                .label("compared with nothing")
                .help(help);
            false
        }
        ["is"] => true,
        [only] => ordered(only, cx),
        [first, .., last] => {
            let (one, two) = (cx.key_span(first), cx.key_span(last));
            cx.problem(
                two,
                format!("{} in one `expect`", all_of(given.iter().copied())),
            )
            .label("one too many")
            .also(one, "the first")
            .help("keep one of them, and write a second `expect` for the other");
            false
        }
    }
}

fn ordered(key: &str, cx: &mut StepCx<'_>) -> bool {
    let Some(ty) = cx.observed().filter(|ty| !ty.is_ordered()) else {
        return true;
    };
    let span = cx.key_span(key);
    cx.problem(
        span,
        format!("`{key}` needs something that can be more or less"),
    )
    .label(format!("{} has no order", ty.a_name()))
    .help("use `is`");
    false
}
