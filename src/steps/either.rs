//! What HTLCs on either chain have in common: a field that takes one of both, whose coins they are paid with and go to, and
//! the transactions of steps.

use bitcoin::Txid;
use serde_json::{Value as Json, json};
use swaprig_harness::World;
use swaprig_harness::elementsd::FAUCET;
use swaprig_harness::time::Deadline;
use swaprig_harness::world::WAIT;
use swaprig_record::Chain;
use swaprig_scenarios::lang::{
    Arg, Field, FieldType, Node, Readable as _, Reference, StepCx, Type, Value, Wallet, nearest,
    one_of_quoted, quoted,
};
use swaprig_scenarios::run::{BoxFuture, Look, StepFailure};
use swaprig_scenarios::{LiquidTransaction, entity};

use super::{BitcoinHtlc, Htlc};

entity! {
    /// A transaction that pays into an HTLC or spends one.
    pub struct HtlcTransaction("htlc transaction") {
        known {
            /// The id of the transaction.
            txid: Txid,
        }
        late {}
        live {
            /// How many blocks deep it is; 0 while it waits for one.
            confirmations: u64,
        }
        private {
            /// Its chain.
            chain: Chain,
        }
    }
}

impl Look for HtlcTransaction {
    fn look<'a>(
        &'a self,
        field: &'a str,
        world: &'a World,
    ) -> BoxFuture<'a, Result<Option<Value>, StepFailure>> {
        Box::pin(async move {
            if self.chain == Chain::Liquid {
                let same = LiquidTransaction { txid: self.txid };
                return same.look(field, world).await;
            }
            if field != "confirmations" {
                return Ok(None);
            }
            let params = [json!(self.txid), json!(true)];
            let rpc = world.bitcoind().rpc();
            let found = rpc.call::<Json>("getrawtransaction", &params, Deadline::after(WAIT));
            let found = found.await.map_err(|error| world.error(error))?;
            // Absent while it waits.
            Ok(found["confirmations"].as_u64().unwrap_or(0).read())
        })
    }
}

/// An HTLC that a step before made, on either chain.
#[expect(
    clippy::large_enum_variant,
    reason = "a step of a file has one, and there are few"
)]
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HtlcOf {
    /// On Liquid.
    Liquid(Arg<Htlc>),
    /// On Bitcoin.
    Bitcoin(Arg<BitcoinHtlc>),
}

impl From<Htlc> for HtlcOf {
    fn from(htlc: Htlc) -> Self {
        HtlcOf::Liquid(Arg::Literal(htlc))
    }
}

impl From<BitcoinHtlc> for HtlcOf {
    fn from(htlc: BitcoinHtlc) -> Self {
        HtlcOf::Bitcoin(Arg::Literal(htlc))
    }
}

impl Field for HtlcOf {
    fn field_type() -> FieldType {
        FieldType {
            name: "htlc or bitcoin htlc".to_owned(),
            example: "\"$lock\"".to_owned(),
            ..<Arg<Htlc>>::field_type()
        }
    }

    fn read(node: &Node<'_>, cx: &mut StepCx<'_>) -> Option<Self> {
        let Some(reference) = cx.reference(node) else {
            cx.wants_reference(node, Type::Entity(Htlc::ENTITY_TYPE));
            return None;
        };
        let reference = reference?;
        let on_bitcoin = Type::Entity(BitcoinHtlc::ENTITY_TYPE);
        if on_bitcoin.accepts(cx.type_of(node, &reference)?) {
            return Some(HtlcOf::Bitcoin(Arg::Reference(reference)));
        }
        let fits = cx.check_reference(node, &reference, Type::Entity(Htlc::ENTITY_TYPE));
        fits.then_some(HtlcOf::Liquid(Arg::Reference(reference)))
    }

    fn references(&self, out: &mut Vec<Reference>) {
        match self {
            HtlcOf::Liquid(htlc) => htlc.references(out),
            HtlcOf::Bitcoin(htlc) => htlc.references(out),
        }
    }
}

/// Whose coins: a wallet on Liquid, the on-chain wallet of a Lightning node, or the faucet, which on Bitcoin is the miner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Purse(pub String);

impl Purse {
    /// The faucet's, which is never empty.
    pub fn faucet() -> Self {
        Purse(FAUCET.to_owned())
    }

    /// Whether it has a wallet on the chain of `htlc`; when not, that is said of `field`.
    pub(super) fn is_on_chain(&self, htlc: &HtlcOf, field: &str, cx: &mut StepCx<'_>) -> bool {
        let (known, chain, help) = match htlc {
            HtlcOf::Liquid(_) => (
                cx.wallets(),
                "Liquid",
                "write liquid = true in the world: every Lightning node has a wallet then",
            ),
            HtlcOf::Bitcoin(_) => (
                cx.parties(),
                "Bitcoin",
                "write the name of a Lightning node, whose on-chain wallet it is, or \"faucet\"",
            ),
        };
        // Where there is none at all, or the world is not known, that has been said.
        let any = known.is_some_and(|known| !known.is_empty());
        let is_known = known.is_some_and(|known| known.contains(&self.0));
        let nobody_on_liquid = !any && matches!(htlc, HtlcOf::Liquid(_));
        if self.0 == FAUCET || is_known || known.is_none() || nobody_on_liquid {
            return true;
        }
        let span = cx.value_span(field);
        cx.problem(span, format!("{} has no wallet on {chain}", self.0))
            .label(format!("the HTLC is on {chain}"))
            .help(help);
        false
    }
}

impl From<&str> for Purse {
    fn from(name: &str) -> Self {
        Purse(name.to_owned())
    }
}

impl Field for Purse {
    fn field_type() -> FieldType {
        FieldType {
            name: "the name of a party with a wallet on that chain".to_owned(),
            ..Wallet::field_type()
        }
    }

    fn read(node: &Node<'_>, cx: &mut StepCx<'_>) -> Option<Self> {
        const WHAT: &str = "a party of this world with coins on a chain";
        let text = cx.text(node, WHAT)?;
        let (Some(parties), Some(wallets)) = (cx.parties(), cx.wallets()) else {
            return Some(Purse(text));
        };
        let more = wallets.iter().filter(|name| !parties.contains(name));
        let known: Vec<String> = parties.iter().chain(more).cloned().collect();
        let known = || known.iter().map(String::as_str).chain([FAUCET]);
        if known().any(|name| name == text) {
            return Some(Purse(text));
        }
        let list = one_of_quoted(known());
        let help = match nearest(&text, known()) {
            Some(meant) => format!("did you mean \"{meant}\"?"),
            None => format!("write {list}"),
        };
        let title = format!("{} is not {WHAT}", quoted(&text));
        cx.problem(node.span(), title)
            .label(format!("known: {list}"))
            .help(help);
        None
    }

    fn shown(&self) -> Option<String> {
        Some(format!("\"{}\"", self.0))
    }
}
