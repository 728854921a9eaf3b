//! What can happen in a run.

use serde::{Deserialize, Serialize};

/// One line of a record.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Line {
    /// Microseconds since the run began.
    pub t: u64,
    /// The height of the Bitcoin chain then, where it was known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bitcoin: Option<u32>,
    /// The height of the Liquid chain then, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub liquid: Option<u32>,
    /// What happened.
    pub event: Event,
}

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// The run begins: what is run, with what, on what machine.
    Began(Box<Began>),
    /// The world stands: who is in it.
    Stands(Stands),
    /// A process was started.
    Started(Started),
    /// A process has ended.
    Exited(Exited),
    /// A step begins.
    Step(StepBegan),
    /// A step that waits saw something else than before.
    Seen(Seen),
    /// A step has ended.
    Done(StepDone),
    /// A block is the new tip of its chain.
    Block(Block),
    /// Blocks were mined that were not looked at one by one; none of them took in a transaction that was known.
    Blocks(Blocks),
    /// A block is no longer in the chain.
    Orphaned(Block),
    /// A transaction was seen for the first time.
    Tx(Box<Tx>),
    /// A transaction is in a block.
    Confirmed(Confirmed),
    /// A transaction is neither in a block nor waiting for one any more.
    Dropped(Dropped),
    /// An HTLC was agreed on: what to make of its outputs, and which heights count.
    Htlc(Box<Htlc>),
    /// An invoice was made.
    Invoice(Invoice),
    /// A call to a server, and its answer.
    Call(Box<Call>),
    /// A Lightning payment is in a new state at one of its ends.
    Payment(Payment),
    /// A channel is in a new state at one of its ends.
    Channel(Channel),
    /// A swap is in a new state for one of its parties.
    Swap(SwapState),
    /// The money oracle has added up everything.
    Money(Money),
    /// A fault was put on a link, or taken away.
    Fault(Fault),
    /// The run has ended.
    Ended(Box<Ended>),
}

/// One of the two chains.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Chain {
    /// Bitcoin.
    Bitcoin,
    /// Liquid.
    Liquid,
}

impl Chain {
    /// `bitcoin` or `liquid`.
    pub fn name(self) -> &'static str {
        match self {
            Chain::Bitcoin => "bitcoin",
            Chain::Liquid => "liquid",
        }
    }
}

/// What is run, with what, on what machine.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Began {
    /// The version of this format.
    pub version: u32,
    /// The version of swaprig.
    pub swaprig: String,
    /// The scenario, or the case of it, by its stable name: `ln-to-liquid/claim#gold`.
    pub scenario: String,
    /// What it shows, in one line.
    pub title: String,
    /// Its file, as it was selected, with the case behind `#`.
    pub path: String,
    /// The texts of the file and of the fragments that it uses.
    pub sources: Vec<SourceFile>,
    /// Which of several runs of it, from 1.
    pub round: u32,
    /// Which try of it in this round, from 1.
    pub attempt: u32,
    /// What everything random came from.
    pub seed: u64,
    /// When it began, in milliseconds since 1970, UTC.
    pub unix_ms: u64,
    /// Which programs played the daemons.
    pub daemons: Vec<Daemon>,
    /// The machine.
    pub machine: Machine,
    /// The command that runs it again.
    pub again: String,
}

/// A scenario file or a fragment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SourceFile {
    /// Its name, as steps and failures refer to it.
    pub file: String,
    /// Its text.
    pub text: String,
}

/// A program of the passport.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Daemon {
    /// What it plays, such as `elementsd`.
    pub role: String,
    /// `upstream`, `bundled` and so on, as the passport says it.
    pub kind: String,
    /// Its version.
    pub version: String,
}

/// What a run ran on.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Machine {
    /// Its cores.
    pub cores: u32,
    /// How many processes wanted to run, averaged over the minute before the run, in thousandths; absent where the system
    /// does not tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub load_milli: Option<u64>,
    /// How many scenarios were run at once.
    pub jobs: u32,
    /// Operating system and processor, such as `linux x86_64`.
    pub system: String,
}

/// Who is in the world.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Stands {
    /// Daemons and servers in the order of their start, then the parties that have wallets and no node.
    pub parties: Vec<Party>,
}

/// A daemon, a server, or somebody with a wallet.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Party {
    /// Its name in the scenario, such as `alice`, `bitcoind`, `desk`.
    pub name: String,
    /// What it is.
    pub role: PartyRole,
    /// Its logs, relative to the directory of the record.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub logs: Vec<String>,
    /// The Lightning node that is its own, of a server whose books name one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
}

/// What a party is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PartyRole {
    /// The Bitcoin node.
    Bitcoind,
    /// The Liquid node.
    Elementsd,
    /// An index of a chain.
    Index,
    /// A Lightning node.
    Lightning,
    /// A server of the scenario.
    Server,
    /// A wallet on Liquid alone.
    Wallet,
}

/// A process was started.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Started {
    /// The party.
    pub name: String,
    /// The process id.
    pub pid: u32,
    /// The command line.
    pub command: String,
}

/// A process has ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Exited {
    /// The party.
    pub name: String,
    /// The process id.
    pub pid: u32,
    /// How, such as `exit status: 0` or `signal: 9 (SIGKILL)`.
    pub how: String,
}

/// A step begins.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StepBegan {
    /// Its place, such as `3`, inside of another step `3.2`. A step that is repeated has it several times.
    pub step: String,
    /// The key that says what it does, such as `pay`.
    pub key: String,
    /// Its text in the file, on one line.
    pub text: String,
    /// The file, as [`SourceFile::file`].
    pub file: String,
    /// Its line, from 1.
    pub line: u32,
    /// Its column, from 1.
    pub column: u32,
    /// The name that `as` gives to what it makes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The reason with which it must fail.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fails: Option<String>,
    /// How long it may take, in milliseconds.
    pub within_ms: u64,
}

/// A step that waits saw something else than before.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Seen {
    /// The step; of several that run beside each other, the one that waits.
    pub step: String,
    /// What is waited for.
    pub wait: String,
    /// What was seen instead.
    pub seen: String,
    /// How long it waits already, in milliseconds.
    pub after_ms: u64,
}

/// A step has ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StepDone {
    /// Its place.
    pub step: String,
    /// How it ended.
    pub outcome: StepOutcome,
    /// How long it took, in microseconds.
    pub took_us: u64,
    /// What it made, by field, as a scenario would write it; fields that change are not among them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub made: Vec<(String, String)>,
    /// Why it failed, also where it had to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,
}

/// How a step ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StepOutcome {
    /// As it should.
    Passed,
    /// It failed, as `fails` says that it must.
    FailedAsExpected,
    /// It failed.
    Failed,
}

/// Why something failed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Failure {
    /// What went wrong, one lowercase fragment.
    pub title: String,
    /// What was seen last, where something was looked at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seen: Option<String>,
    /// Why, where it is known; several lines.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

/// A block.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Block {
    /// Its chain.
    pub chain: Chain,
    /// Its height.
    pub height: u32,
    /// Its hash.
    pub hash: String,
    /// How many transactions it has beside the coinbase.
    pub txs: u32,
}

/// Blocks that were not looked at one by one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Blocks {
    /// Their chain.
    pub chain: Chain,
    /// The height of the first one.
    pub from: u32,
    /// The height of the last one.
    pub to: u32,
}

/// A transaction, coinbases left out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Tx {
    /// Its chain.
    pub chain: Chain,
    /// Its id.
    pub txid: String,
    /// Virtual bytes; on Liquid discounted where the node tells.
    pub vsize: u64,
    /// Its fee in satoshi, where it could be told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fee_sat: Option<u64>,
    /// `nLockTime`.
    pub lock_time: u32,
    /// What it spends.
    pub inputs: Vec<Input>,
    /// What it makes.
    pub outputs: Vec<Output>,
}

/// An input.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Input {
    /// The transaction whose output is spent.
    pub txid: String,
    /// Which of its outputs.
    pub vout: u32,
    /// The witness stack, in hexadecimal digits.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub witness: Vec<String>,
}

/// An output.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Output {
    /// Satoshi, or smallest parts of an asset; absent where it is blinded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<u64>,
    /// The asset on Liquid: `lbtc`, or its id; absent where it is blinded, and on Bitcoin.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asset: Option<String>,
    /// Its address, unconfidential on Liquid; absent where its script has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// What kind of script, as bitcoind names it: `witness_v0_scripthash`, `nulldata`; `fee` on Liquid.
    pub kind: String,
}

/// A transaction is in a block.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Confirmed {
    /// Its chain.
    pub chain: Chain,
    /// Its id.
    pub txid: String,
    /// The height of the block.
    pub height: u32,
}

/// A transaction that is gone: replaced, or its block was taken away and it cannot come back.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Dropped {
    /// Its chain.
    pub chain: Chain,
    /// Its id.
    pub txid: String,
}

/// An HTLC that somebody agreed on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Htlc {
    /// Its name in the scenario, where it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Its chain.
    pub chain: Chain,
    /// Its address, unconfidential.
    pub address: String,
    /// The payment hash.
    pub hash: String,
    /// The height from which on it can be refunded.
    pub timeout: u32,
    /// What must be in it: satoshi, or smallest parts of the asset; absent where it was not agreed on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<u64>,
    /// The asset: `lbtc`, or its id; absent on Bitcoin.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asset: Option<String>,
    /// Who can claim it with the preimage, where it is known by name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claimer: Option<String>,
    /// Who can take it back, where it is known by name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refunder: Option<String>,
}

/// An invoice that was made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Invoice {
    /// Whose node made it.
    pub payee: String,
    /// The payment hash.
    pub hash: String,
    /// Its amount in millisatoshi, where it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub amount_msat: Option<u64>,
    /// When it expires, in milliseconds since 1970, UTC.
    pub expires_unix_ms: u64,
}

/// A call to a server and its answer, or a message between two parties.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Call {
    /// Who called: a party, or `harness`.
    pub from: String,
    /// Who was called.
    pub to: String,
    /// Which method, such as `SwapService/CreateSwap` or `GET /orders/7`.
    pub method: String,
    /// The request as JSON, cut where it is long.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub request: String,
    /// The answer as JSON, cut where it is long; empty when there was an error.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reply: String,
    /// What went wrong, such as `NOT_FOUND: no such swap`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// How long it took, in microseconds. The line has the time of the end.
    pub took_us: u64,
}

/// A Lightning payment is in a new state at one of its ends.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Payment {
    /// The node that tells.
    pub node: String,
    /// The other end, where it is known: a node of this world, or the server whose node it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peer: Option<String>,
    /// The payment hash.
    pub hash: String,
    /// What happened.
    pub state: PaymentState,
    /// Its amount in millisatoshi, where it is told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub amount_msat: Option<u64>,
    /// What it cost the payer in millisatoshi, where it is told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fee_msat: Option<u64>,
    /// The height at which its payee lets go of it, of one that is held.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claim_deadline: Option<u32>,
}

/// What happened to a payment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PaymentState {
    /// The payer was asked to send it.
    Sent,
    /// It arrived and is held by its payee.
    Held,
    /// The payee has settled it.
    Received,
    /// The payer knows the preimage.
    Succeeded,
    /// The payer knows that it failed.
    Failed,
    /// It went through a node.
    Forwarded,
}

/// A channel is in a new state at one of its ends.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Channel {
    /// The node that tells.
    pub node: String,
    /// The other end, where it is a node of this world.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peer: Option<String>,
    /// Its id.
    pub channel_id: String,
    /// `pending`, `ready`, `open_failed` or `closed`.
    pub state: String,
    /// Its funding output, `TXID:VOUT`, where it is told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub funding: Option<String>,
    /// Why it closed or failed, where it is told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// A swap is in a new state for one of its parties.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SwapState {
    /// Who tells: a server, or a buyer.
    pub party: String,
    /// The swap's name: its id at the server.
    pub swap: String,
    /// The state, in the party's words.
    pub state: String,
    /// The state before, where it was seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<String>,
}

/// What everybody has, as the oracle adds it up.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Money {
    /// Whether everything that exists has an owner.
    pub conserved: bool,
    /// Who has what.
    pub holdings: Vec<Holding>,
}

/// What an owner has of an asset.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Holding {
    /// Who: a party, `miner`, `faucet`, `channels`, the name of an HTLC …
    pub owner: String,
    /// Of what: `btc`, `lbtc`, or an asset's id.
    pub asset: String,
    /// How much: satoshi, or smallest parts of the asset.
    pub amount: u64,
}

/// A fault was put on a link, or taken away.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Fault {
    /// The link, `alice->bob`.
    pub link: String,
    /// What is done to it, such as `delay 500ms` or `tamper CreateSwap htlc.value_sat = 49999`; `heal` when all are taken away.
    pub what: String,
}

/// The run has ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Ended {
    /// `passed`, `failed`, `broken` or `interrupted`.
    pub verdict: String,
    /// How long the scenario took, from the start of its world to its end, in microseconds.
    pub took_us: u64,
    /// The step that failed, by its place; absent when none did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<String>,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,
    /// The place of the failure in its file, drawn with its lines and a caret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
    /// The last line of each process, by party.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub last_words: Vec<(String, String)>,
}
