//! Loop out and loop in over REST: the JSON of every request and reply, shared by the server and its clients.
//!
//! Hashes, keys, scripts and transactions are lower-case hexadecimal; a transaction id is written as block explorers write it.
//! Amounts are whole satoshi. Requests refuse fields that they do not know; replies may get new ones.
//!
//! In both directions `amount` is what the client receives and `fee` what it pays on top. Loop out: `amount` is locked on chain,
//! and `amount + fee` is paid over Lightning. Loop in: the client's invoice asks for `amount`, and `amount + fee` is what the
//! client must lock on chain, to the satoshi.

pub mod form;

use serde::de::IntoDeserializer as _;
use serde::{Deserialize, Deserializer, Serialize};
use utoipa::{IntoParams, ToSchema};

/// Name of the header by which a client says that two requests are one: a UUID that it draws for each loop it wants.
pub const IDEMPOTENCY_KEY: &str = "idempotency-key";
/// Media type of every error (RFC 9457).
pub const PROBLEM_JSON: &str = "application/problem+json";
/// Name of the only event of the streams of updates.
pub const UPDATE: &str = "update";
/// The largest page of a list.
pub const MOST_LOOPS: u32 = 500;
/// The size of a page when the client does not say.
pub const LOOPS: u32 = 100;
/// The largest amount that can be asked for, satoshi: all the bitcoin there will ever be.
pub const MOST_SAT: u64 = 2_100_000_000_000_000;
/// The largest number of confirmations that can be asked for; a server may allow fewer (`Terms::max_confirmations`).
pub const MOST_CONFIRMATIONS: u32 = 144;

/// Which way the money goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(example = "out")]
pub enum Direction {
    /// The client pays over Lightning and receives on chain.
    Out,
    /// The client pays on chain and receives over Lightning.
    In,
}

impl Direction {
    /// The word for it in addresses and in JSON.
    pub fn word(self) -> &'static str {
        match self {
            Direction::Out => "out",
            Direction::In => "in",
        }
    }
}

/// The internal key of the taproot output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(example = "musig2")]
pub enum InternalKeyChoice {
    /// The MuSig2 aggregate of claimer and refunder (BIP 327): together they can spend by key.
    #[default]
    Musig2,
    /// The point of BIP 341 of which nobody knows a key, plus r·G with a published r: spent by script only.
    Unspendable,
}

/// How far a loop is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(example = "funded")]
pub enum State {
    /// Agreed; the coins are not on chain with the wanted depth.
    Created,
    /// The coins are locked on chain.
    Funded,
    /// The claimer has spent the coins.
    Claimed,
    /// The refunder has spent the coins.
    Refunded,
    /// It ended before any coins were locked.
    Failed,
}

impl State {
    /// Every state, in the order in which they are reached.
    pub const ALL: [State; 5] = [
        State::Created,
        State::Funded,
        State::Claimed,
        State::Refunded,
        State::Failed,
    ];

    /// The word for it in JSON and in queries.
    pub fn word(self) -> &'static str {
        match self {
            State::Created => "created",
            State::Funded => "funded",
            State::Claimed => "claimed",
            State::Refunded => "refunded",
            State::Failed => "failed",
        }
    }
}

/// How coins were spent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(example = "claim")]
pub enum SpendKind {
    /// By the claim leaf, which shows the preimage.
    Claim,
    /// By the timeout leaf.
    Refund,
    /// By the key path, which both have signed.
    Cooperative,
}

/// Asks for a loop out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LoopOutRequest {
    /// The client's key, with which it claims: 33 bytes, compressed.
    #[schema(value_type = form::PublicKey)]
    pub pubkey: String,
    /// What the client receives on chain, satoshi.
    #[schema(minimum = 1, maximum = 2_100_000_000_000_000u64, example = 250_000)]
    pub amount: u64,
    /// SHA-256 of the client's preimage: needed with `invoice_first`, and not allowed without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<form::PaymentHash>)]
    pub payment_hash: Option<String>,
    /// With `true` (the default) the client chooses the preimage, and the server locks coins only when it holds the payment. With
    /// `false` the server chooses it, and locks coins before it is paid.
    #[serde(default = "yes")]
    #[schema(default = true)]
    pub invoice_first: bool,
    /// The internal key of the output; MuSig2 when not said.
    #[serde(default, deserialize_with = "word")]
    #[schema(default = "musig2")]
    pub internal_key: InternalKeyChoice,
    /// The depth of the funding at which the loop counts as funded; 1 when not said.
    #[serde(default = "one")]
    #[schema(minimum = 1, maximum = 144, default = 1)]
    pub confirmations: u32,
    /// The Bitcoin height until which the server may wait with the funding, to share a transaction's fee with others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(maximum = 499_999_999, example = 840_006)]
    pub publication_deadline: Option<u32>,
    /// The largest fee that the client would pay, satoshi; any when not said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(maximum = 2_100_000_000_000_000u64, example = 5_000)]
    pub max_fee: Option<u64>,
}

fn yes() -> bool {
    true
}

fn one() -> u32 {
    1
}

/// An enum that is a word and nothing else: serde's own would take `{"musig2": null}`, too.
fn word<'de, D: Deserializer<'de>, T: Deserialize<'de>>(reader: D) -> Result<T, D::Error> {
    T::deserialize(String::deserialize(reader)?.into_deserializer())
}

/// Asks for a loop in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LoopInRequest {
    /// The client's key, with which it refunds: 33 bytes, compressed.
    #[schema(value_type = form::PublicKey)]
    pub pubkey: String,
    /// The client's BOLT 11 invoice, with an amount.
    #[schema(
        min_length = 1,
        max_length = 4096,
        example = "lnbc2500u1pvjluezsp5zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zygspp5qqqsyqcyq5rqwzqfqqqsyqcyq5rqwzqfqqqsyqcyq5rqwzqfqypqdq5xysxxatsyp3k7enxv4jsxqzpu9qrsgquk0rl77nj30yxdy8j9vdx85fkpmdla2087ne0xh8nhedh8w27kyke0lp53ut353s06fv3qfegext0eh0ymjpf39tuven09sam30g4vgpfna3rh"
    )]
    pub payment_request: String,
    /// The internal key of the output; MuSig2 when not said.
    #[serde(default, deserialize_with = "word")]
    #[schema(default = "musig2")]
    pub internal_key: InternalKeyChoice,
    /// The largest fee that the client would pay, satoshi; any when not said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(maximum = 2_100_000_000_000_000u64, example = 5_000)]
    pub max_fee: Option<u64>,
}

/// Shows the preimage of a loop out, with which the server settles the payment that it holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PreimageRequest {
    /// 32 bytes whose SHA-256 is the payment hash.
    #[schema(value_type = form::Preimage)]
    pub preimage: String,
}

/// Asks for the server's half of a key-path spend (BIP 327).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CosignRequest {
    /// The unsigned transaction, which spends the funding and nothing else.
    #[schema(value_type = form::Transaction)]
    pub transaction: String,
    /// The client's public nonce, 66 bytes.
    #[schema(value_type = form::Nonce)]
    pub nonce: String,
}

/// The server's half of a key-path spend (BIP 327).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CosignReply {
    /// The server's public nonce, 66 bytes, drawn for this call.
    #[schema(value_type = form::Nonce)]
    pub nonce: String,
    /// The server's partial signature, 32 bytes.
    #[schema(value_type = form::Bytes32)]
    pub partial_signature: String,
}

/// What the server offers in one direction.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Terms {
    /// Which direction.
    pub direction: Direction,
    /// The Bitcoin network: `bitcoin`, `testnet`, `testnet4`, `signet` or `regtest`.
    #[schema(example = "regtest")]
    pub network: String,
    /// The Bitcoin height at which this was said.
    #[schema(example = 840_000)]
    pub height: u32,
    /// The smallest amount, satoshi.
    #[schema(example = 25_000)]
    pub min_amount: u64,
    /// The largest amount now, satoshi; less than `min_amount` when nothing can be looped.
    #[schema(example = 10_000_000)]
    pub max_amount: u64,
    /// The part of the fee that does not depend on the amount, satoshi.
    #[schema(example = 500)]
    pub base_fee: u64,
    /// The part of the fee that does, millionths of the amount.
    #[schema(example = 2_000)]
    pub fee_ppm: u32,
    /// What is paid in advance when the server locks coins first (loop out with `invoice_first: false`), satoshi; 0 when nothing.
    #[schema(example = 0)]
    pub prepay: u64,
    /// Out: the largest number of confirmations that a client may ask for. In: what the server waits for before it pays.
    #[schema(example = 6)]
    pub max_confirmations: u32,
    /// Blocks from the making of the loop to the height from which the refunder may spend.
    #[schema(example = 144)]
    pub cltv_delta: u32,
    /// Whether no new loops in this direction are made now.
    #[schema(example = false)]
    pub paused: bool,
}

/// What one loop would cost now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Quote {
    /// Which direction.
    pub direction: Direction,
    /// What the client receives, satoshi.
    #[schema(example = 250_000)]
    pub amount: u64,
    /// What it pays on top, satoshi.
    #[schema(example = 1_000)]
    pub fee: u64,
    /// What of it is paid in advance when the server locks coins first, satoshi.
    #[schema(example = 0)]
    pub prepay: u64,
    /// What the client's own transaction (out: its claim; in: its funding) would cost to be confirmed soon, satoshi.
    #[schema(example = 310)]
    pub miner_fee: u64,
    /// The depth at which the loop counts as funded.
    #[schema(example = 1)]
    pub confirmations: u32,
    /// Blocks from the making of the loop to the height from which the refunder may spend.
    #[schema(example = 144)]
    pub cltv_delta: u32,
    /// The Bitcoin height at which this was said.
    #[schema(example = 840_000)]
    pub height: u32,
}

/// The taproot output, so that a stranger can recompute its address (BIP 341, leaf version 0xc0).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Script {
    /// The internal key, 32 bytes.
    #[schema(value_type = form::XOnlyKey)]
    pub internal_key: String,
    /// With an unspendable internal key: the r of H + r·G, 32 bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<form::Bytes32>)]
    pub tweak: Option<String>,
    /// Root of the tree of the two leaves, 32 bytes.
    #[schema(value_type = form::Bytes32)]
    pub merkle_root: String,
    /// The output key, 32 bytes, which the address encodes.
    #[schema(value_type = form::XOnlyKey)]
    pub output_key: String,
    /// The script of the claimer.
    #[schema(value_type = form::LeafScript)]
    pub claim_leaf: String,
    /// The script of the refunder.
    #[schema(value_type = form::LeafScript)]
    pub timeout_leaf: String,
}

/// Where the coins are locked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Funding {
    /// The transaction.
    #[schema(value_type = form::Txid)]
    pub txid: String,
    /// Which of its outputs.
    #[schema(example = 0)]
    pub vout: u32,
    /// Its depth; 0 when it is not in a block.
    #[schema(example = 1)]
    pub confirmations: u32,
}

/// How the coins were spent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Spend {
    /// The transaction.
    #[schema(value_type = form::Txid)]
    pub txid: String,
    /// How.
    pub kind: SpendKind,
    /// Its depth; 0 when it is not in a block.
    #[schema(example = 0)]
    pub confirmations: u32,
}

/// A loop and how far it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Loop {
    /// The server's id of it, a UUID.
    #[schema(format = "uuid", example = "7f1f9d6e-0f0e-4b57-8f2d-4d0a6f0f5a11")]
    pub id: String,
    /// The payment hash, by which it is asked for.
    #[schema(value_type = form::PaymentHash)]
    pub payment_hash: String,
    /// Which way the money goes.
    pub direction: Direction,
    /// How far it is.
    pub state: State,
    /// What the server is doing about it: a finer word than `state`, for people.
    #[schema(example = "confirmed")]
    pub phase: String,
    /// Why it failed or was undone: a word in snake case.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "payment_failed")]
    pub reason: Option<String>,
    /// What the client receives, satoshi.
    #[schema(example = 250_000)]
    pub amount: u64,
    /// What it pays on top, satoshi.
    #[schema(example = 1_000)]
    pub fee: u64,
    /// Out: the server's BOLT 11 invoice, of `amount + fee` less what was paid in advance. In: the client's.
    #[schema(example = "lnbcrt2510u1pvjluez")]
    pub payment_request: String,
    /// Out, when the server locks coins first: what is paid in advance.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "lnbcrt10u1pvjluez")]
    pub prepay_payment_request: Option<String>,
    /// The client's key.
    #[schema(value_type = form::PublicKey)]
    pub pubkey: String,
    /// The server's key.
    #[schema(value_type = form::PublicKey)]
    pub server_pubkey: String,
    /// Out: whether the payment is held before coins are locked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = true)]
    pub invoice_first: Option<bool>,
    /// Which internal key the output has.
    pub internal_key: InternalKeyChoice,
    /// The depth at which it counts as funded.
    #[schema(example = 1)]
    pub confirmations: u32,
    /// The height from which the refunder may spend. Like `address` and `script`, of a loop out with `invoice_first` it is there
    /// only when the payment is held.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = 840_144)]
    pub cltv_expiry: Option<u32>,
    /// Where the coins are, or must be, locked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "bcrt1pccz8l9zpa47k6vz9gphftsrumpw80rjt3nhnefat4symjhrsnmjse0wm5y")]
    pub address: Option<String>,
    /// What the address is made of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub script: Option<Script>,
    /// Where the coins are locked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub funding: Option<Funding>,
    /// How the coins were spent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spend: Option<Spend>,
    /// Out: until when the server may wait with the funding.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = 840_006)]
    pub publication_deadline: Option<u32>,
    /// The server's Bitcoin height.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = 840_000)]
    pub height: Option<u32>,
    /// When it was made, milliseconds since 1970 UTC.
    #[schema(example = 1_700_000_000_123u64)]
    pub created_at: u64,
    /// When it last changed, milliseconds since 1970 UTC.
    #[schema(example = 1_700_000_001_456u64)]
    pub updated_at: u64,
    /// Whether nothing can happen to it any more, not even by a reorganisation of the usual depth: its stream of updates ends.
    #[schema(example = false)]
    pub is_final: bool,
}

/// A page of loops, the newest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LoopPage {
    /// The loops.
    pub loops: Vec<Loop>,
    /// What to send as `page` for the next ones; nothing when there are no more now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(
        pattern = "^[0-9a-f]{1,16}[.][0-9a-f]{32}$",
        example = "18bcfe5687b.7f1f9d6e0f0e4b578f2d4d0a6f0f5a11"
    )]
    pub next_page: Option<String>,
}

/// Whether loops can be made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Health {
    /// `ready`.
    #[schema(example = "ready")]
    pub status: String,
    /// The server's Bitcoin height.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = 840_000)]
    pub height: Option<u32>,
}

/// What went wrong (RFC 9457).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Problem {
    /// Which kind of problem: `urn:swaprig:problem:` and a word that programs can rely on.
    #[serde(rename = "type")]
    #[schema(example = "urn:swaprig:problem:invalid-parameter")]
    pub kind: String,
    /// The kind in words.
    #[schema(example = "A parameter is invalid")]
    pub title: String,
    /// The HTTP status.
    #[schema(minimum = 400, maximum = 599, example = 400)]
    pub status: u16,
    /// What is wrong this time, and what to do.
    #[schema(example = "amount: 12 is less than 25000, the least that is looped")]
    pub detail: String,
    /// The same as `detail`.
    #[schema(example = "amount: 12 is less than 25000, the least that is looped")]
    pub message: String,
    /// The field, query parameter or header that is wrong.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "amount")]
    pub param: Option<String>,
}

/// The query of a loop out's quote.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct OutQuoteQuery {
    /// What the client would receive on chain, satoshi.
    #[param(minimum = 1, maximum = 2_100_000_000_000_000u64, example = 250_000)]
    pub amount: u64,
    /// The depth at which the loop would count as funded; 1 when not said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[param(minimum = 1, maximum = 144, example = 1)]
    pub confirmations: Option<u32>,
}

/// The query of a loop in's quote.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct InQuoteQuery {
    /// What the client would receive over Lightning, satoshi.
    #[param(minimum = 1, maximum = 2_100_000_000_000_000u64, example = 250_000)]
    pub amount: u64,
}

/// The query of a list.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ListQuery {
    /// Only loops in this state.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[param(inline, example = "funded")]
    pub state: Option<State>,
    /// The size of the page; 100 when not said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[param(minimum = 1, maximum = 500, example = 100)]
    pub limit: Option<u32>,
    /// Where the page begins: `next_page` of the one before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[param(
        pattern = "^[0-9a-f]{1,16}[.][0-9a-f]{32}$",
        example = "18bcfe5687b.7f1f9d6e0f0e4b578f2d4d0a6f0f5a11"
    )]
    pub page: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    const PUBKEY: &str = "02c6047f9441ed7d6d3045406e95c07cd85c778e4b8cef3ca7abac09b95c709ee5";

    #[test]
    fn what_is_not_said_has_its_default() {
        let text = format!(r#"{{"pubkey":"{PUBKEY}","amount":7}}"#);
        let read: LoopOutRequest = serde_json::from_str(&text).unwrap();
        let LoopOutRequest {
            pubkey,
            amount,
            payment_hash,
            invoice_first,
            internal_key,
            confirmations,
            publication_deadline,
            max_fee,
        } = &read;
        assert_eq!((pubkey.as_str(), *amount), (PUBKEY, 7));
        assert_eq!(*payment_hash, None);
        assert_eq!((*invoice_first, *confirmations), (true, 1));
        assert_eq!(*internal_key, InternalKeyChoice::Musig2);
        assert_eq!((*publication_deadline, *max_fee), (None, None));
        let again = serde_json::to_string(&read).unwrap();
        assert_eq!(
            serde_json::from_str::<LoopOutRequest>(&again).unwrap(),
            read
        );
    }

    #[test]
    fn requests_refuse_what_they_do_not_know_and_replies_do_not() {
        let asked = format!(r#"{{"pubkey":"{PUBKEY}","amount":7,"more":1}}"#);
        assert!(serde_json::from_str::<LoopOutRequest>(&asked).is_err());
        let reply = r#"{"status":"ready","more":1}"#;
        assert_eq!(serde_json::from_str::<Health>(reply).unwrap().height, None);
    }

    #[test]
    fn an_internal_key_is_a_word_and_nothing_else() {
        for (value, good) in [
            ("\"musig2\"", true),
            ("\"unspendable\"", true),
            ("\"MuSig2\"", false),
            ("{\"musig2\":null}", false),
            ("null", false),
            ("0", false),
        ] {
            let text = format!(r#"{{"pubkey":"{PUBKEY}","amount":7,"internal_key":{value}}}"#);
            let read = serde_json::from_str::<LoopOutRequest>(&text);
            assert_eq!(read.is_ok(), good, "{value}");
        }
    }

    #[test]
    fn words_are_those_of_the_json() {
        for state in State::ALL {
            let word = serde_json::to_string(&state).unwrap();
            assert_eq!(word, format!("\"{}\"", state.word()));
        }
        for direction in [Direction::Out, Direction::In] {
            let word = serde_json::to_string(&direction).unwrap();
            assert_eq!(word, format!("\"{}\"", direction.word()));
        }
    }
}
