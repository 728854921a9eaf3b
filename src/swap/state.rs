//! What a swap is, what can happen to it and what is to be done about it. How one leads to the other is said by `machine`.

use std::fmt;
use std::str::FromStr;

use bitcoin::hashes::{Hash as _, sha256};
use bitcoin::secp256k1::PublicKey;
use bitcoin::{OutPoint, Txid};
use elements::AssetId;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use swaprig_units::{BlockDelta, Height, Msat, PaymentHash, Preimage, Sat, Units};
use uuid::Uuid;

use super::taproot::InternalKey;

/// Names a swap, for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SwapId(pub Uuid);

impl SwapId {
    /// The name of the swap with a payment hash: 122 bits of its SHA-256, as a UUID of version 8 (RFC 9562). A swap that is found
    /// again by its seed when the store is lost has the name by which its buyer knows it.
    pub fn of(hash: PaymentHash) -> SwapId {
        let digest = sha256::Hash::hash(&hash.0).to_byte_array();
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&digest[..16]);
        SwapId(uuid::Builder::from_custom_bytes(bytes).into_uuid())
    }
}

impl fmt::Display for SwapId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.hyphenated().fmt(f)
    }
}

impl FromStr for SwapId {
    type Err = uuid::Error;

    fn from_str(text: &str) -> Result<Self, uuid::Error> {
        text.parse().map(SwapId)
    }
}

/// The chain that a swap locks coins on.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum ChainName {
    /// Liquid.
    #[default]
    Liquid,
    /// Bitcoin.
    Bitcoin,
}

impl ChainName {
    /// Its name in a sentence.
    pub fn title(self) -> &'static str {
        match self {
            ChainName::Liquid => "Liquid",
            ChainName::Bitcoin => "Bitcoin",
        }
    }

    /// The word for it, in the store, too.
    pub fn word(self) -> &'static str {
        match self {
            ChainName::Liquid => "liquid",
            ChainName::Bitcoin => "bitcoin",
        }
    }
}

impl fmt::Display for ChainName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// Which way the money goes, who knows the preimage, and so what comes first. Each has a table of its own in `machine`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// From Lightning to the chain with the server's preimage: coins are locked before they are paid for.
    #[default]
    Out,
    /// From Lightning to the chain with the client's preimage: the payment is held before coins are locked.
    OutHeld,
    /// From the chain to Lightning: the client locks coins and has the preimage, the server pays its invoice.
    In,
}

impl Direction {
    /// Whether it is the server that locks coins.
    pub fn is_out(self) -> bool {
        match self {
            Direction::Out | Direction::OutHeld => true,
            Direction::In => false,
        }
    }
}

/// What is locked. Its text is `btc`, or the id of an asset on Liquid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Asset {
    /// Bitcoin's own.
    Bitcoin,
    /// An asset on Liquid; L-BTC is one of them.
    Liquid(AssetId),
}

impl Asset {
    /// The asset on Liquid.
    ///
    /// # Panics
    /// When it is none. Which chain a swap is on is decided before anything of that chain sees it.
    pub fn on_liquid(self) -> AssetId {
        match self {
            Asset::Liquid(id) => id,
            Asset::Bitcoin => panic!("a swap on Bitcoin is handled as one on Liquid"),
        }
    }
}

impl From<AssetId> for Asset {
    fn from(id: AssetId) -> Self {
        Asset::Liquid(id)
    }
}

impl fmt::Display for Asset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Asset::Bitcoin => f.write_str("btc"),
            Asset::Liquid(id) => id.fmt(f),
        }
    }
}

impl FromStr for Asset {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "btc" => Ok(Asset::Bitcoin),
            id => id
                .parse()
                .map(Asset::Liquid)
                .map_err(|_| format!("{id} is neither btc nor the id of an asset")),
        }
    }
}

impl Serialize for Asset {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Asset {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// What was agreed when the swap was made. Never changes, save that [`Direction::OutHeld`] fixes its timeout when the payment
/// is held, before anything is locked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Terms {
    /// Where coins are locked.
    #[serde(default)]
    pub chain: ChainName,
    /// Which way the money goes.
    #[serde(default)]
    pub direction: Direction,
    /// What is locked.
    pub asset: Asset,
    /// How much of it.
    pub amount: Units,
    /// L-BTC that is locked beside, to pay for the claim; zero when the asset is L-BTC.
    pub fee_value: Sat,
    /// What the invoice asks for.
    pub price: Msat,
    /// What is to be paid before anything is locked; zero: nothing.
    pub prepay: Msat,
    /// SHA-256 of the preimage.
    pub payment_hash: PaymentHash,
    /// Whose key claims: the client's, of [`Direction::In`] the server's.
    pub claimer: PublicKey,
    /// Whose key takes back: the server's, of [`Direction::In`] the client's.
    pub refunder: PublicKey,
    /// The height of the chain from which on the coins can be taken back. Of [`Direction::OutHeld`], until the payment is held,
    /// the latest that it can be.
    pub timeout: Height,
    /// How many blocks are kept for the claim before the timeout. [`Direction::Out`] takes no payment any more in them,
    /// [`Direction::In`] makes none, and [`Direction::OutHeld`] locks nothing with fewer.
    pub claim_window: BlockDelta,
    /// How many blocks the server keeps for its refund between the timeout and the lapse of a payment that it holds; of
    /// [`Direction::OutHeld`] alone.
    #[serde(default)]
    pub refund_window: BlockDelta,
    /// Confirmations after which the swap counts as funded; at least 1.
    pub min_confirmations: u32,
    /// Confirmations after which a refund counts as final, so that the payment may be given back; of [`Direction::OutHeld`] alone.
    #[serde(default)]
    pub finality: u32,
    /// How many blocks the funding may take to be confirmed before the swap is cancelled.
    pub funding_window: BlockDelta,
    /// The height of the chain at which it was made.
    pub made_at: Height,
    /// The key path of the HTLC; on Bitcoin alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub internal: Option<InternalKey>,
    /// What the server's payment may cost; of [`Direction::In`] alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub routing: Option<Routing>,
}

/// What a payment by the server may cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Routing {
    /// The most that all hops together may take.
    pub max_fee: Msat,
    /// The most Bitcoin blocks for which it may lock the server's coins.
    pub max_total_cltv: BlockDelta,
}

/// A funding transaction that is signed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FundingTx {
    /// Its id.
    pub txid: Txid,
    /// The output with the asset.
    pub vout: u32,
    /// The output with the L-BTC for the claim's fee; only when [`Terms::fee_value`] is not zero.
    pub fee_vout: Option<u32>,
    /// The whole transaction, consensus encoding in hexadecimal.
    pub raw: String,
}

impl FundingTx {
    /// The output with the asset.
    pub fn outpoint(&self) -> OutPoint {
        OutPoint::new(self.txid, self.vout)
    }
}

/// Why a swap failed before it was funded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum FailureReason {
    /// The Lightning node made no invoice.
    Invoice,
    /// The funding transaction could not be made, or the chain can never take it.
    Funding,
    /// The prepay invoice was not paid in time.
    Prepay,
    /// The payment was not held in time, or never for long enough.
    Payment,
    /// The client locked nothing in time, or asked for the end before.
    NotFunded,
}

/// Where a swap is, for its buyer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Status {
    /// Made, not yet funded.
    Created,
    /// The funding has its confirmations.
    Funded,
    /// The HTLC was spent with the preimage.
    Claimed,
    /// The HTLC was taken back.
    Refunded,
    /// Nothing was ever locked.
    Failed,
}

/// Where a swap is, inside. Each says what it means for a restart, for the timeout and for a reorganisation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Phase {
    /// Coins are reserved; the invoice is to be made.
    /// Restart: the invoice is made again under the same hash. Timeout: cannot be reached. Reorganisation: none of its matter.
    Reserved,
    /// The prepay invoice is to be paid before anything is locked; coins stay reserved.
    /// Restart: goes on waiting. Timeout: fails with the prepay invoice's expiry. Reorganisation: none of its matter.
    AwaitingPrepay,
    /// The invoice is made; nothing is locked before its payment is held for long enough ([`Direction::OutHeld`]).
    /// Restart: goes on waiting. Timeout: fails with the funding window. Reorganisation: none of its matter.
    AwaitingPayment,
    /// The client is to lock coins ([`Direction::In`]).
    /// Restart: goes on watching. Timeout: fails with the funding window. Reorganisation: none of its matter.
    AwaitingFunding,
    /// The invoice is made; the funding transaction is to be signed.
    /// Restart: it is built from the same coins again; none was broadcast. Reorganisation: none of its matter.
    Building,
    /// The funding transaction is stored and is sent until it is confirmed often enough.
    /// Restart: it is sent again. Timeout: as `Cancelling`. Reorganisation: it is sent again.
    Funding,
    /// The funding is confirmed often enough; the payment is awaited.
    /// Restart: goes on waiting. `Terms::claim_window` before the timeout: `Cancelling`. Reorganisation: back to `Funding`.
    Confirmed,
    /// The payment is held and is being taken. From here on the server never refunds by itself.
    /// Restart: it is claimed again. Timeout: an alarm for the operator. Reorganisation: stays; the payment is on its way.
    PaymentHeld,
    /// The server's payment is on its way ([`Direction::In`]). From here on it never agrees to a refund before the payment failed.
    /// Restart: it is asked for again, and sent when it never was. Timeout: goes on. Reorganisation: stays.
    Paying,
    /// The payment has arrived: who claims has the preimage. The server itself claims when it is the claimer.
    /// Restart, timeout: waits for the claim, or sends it again. Reorganisation: the funding is sent again.
    Paid,
    /// Nothing is paid and nothing will be: no payment under this hash is ever taken or made again; what is held is failed.
    /// Restart: failed again. Timeout: `Refunding`, when the server is the refunder. Reorganisation: stays.
    Cancelling,
    /// The timeout is reached and the refund is to be sent until it is confirmed.
    /// Restart: sent again. Reorganisation: sent again as soon as the timeout is reached again.
    Refunding,
    /// The buyer's claim is in a block. Reorganisation: back to what it was before the claim.
    Claimed,
    /// The refund is in a block. Reorganisation: back to `Refunding`.
    Refunded,
    /// It failed before anything was locked. Final.
    Failed(FailureReason),
}

/// What a swap is to whoever makes one: each has a service of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Something on Liquid for Lightning.
    LnToLiquid,
    /// Bitcoin for Lightning.
    LoopOut,
    /// Lightning for Bitcoin.
    LoopIn,
}

impl Kind {
    /// The word for it, in the store and in metrics.
    pub fn word(self) -> &'static str {
        match self {
            Kind::LnToLiquid => "ln_to_liquid",
            Kind::LoopOut => "loop_out",
            Kind::LoopIn => "loop_in",
        }
    }
}

impl Terms {
    /// What they are the terms of.
    pub fn kind(&self) -> Kind {
        match (self.chain, self.direction.is_out()) {
            (ChainName::Liquid, _) => Kind::LnToLiquid,
            (ChainName::Bitcoin, true) => Kind::LoopOut,
            (ChainName::Bitcoin, false) => Kind::LoopIn,
        }
    }
}

/// A swap, as it is stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Swap {
    /// Its name.
    pub id: SwapId,
    /// From which its keys and its preimage are derived.
    pub index: u32,
    /// What was agreed.
    pub terms: Terms,
    /// Where it is.
    pub phase: Phase,
    /// The invoice to pay, BOLT 11.
    pub invoice: Option<String>,
    /// The invoice to pay before, BOLT 11.
    pub prepay_invoice: Option<String>,
    /// What locks the coins.
    pub funding: Option<FundingTx>,
    /// Whether no payment under its hash may ever be taken, or made, (again). Once set it stays.
    #[serde(alias = "never_claim")]
    pub never_settle: bool,
    /// Whether to take, or to make, the payment was, or may have been, tried. Once set it stays, and the server neither refunds
    /// by itself nor agrees to a refund.
    #[serde(alias = "claim_tried")]
    pub settle_tried: bool,
    /// The Bitcoin height at which the held payment lapses, stored before it was claimed.
    pub held_until: Option<Height>,
    /// Whether the payment was seen to have arrived. Once set it stays.
    pub paid: bool,
    /// What spent the HTLC, as the chain has it now; also when not in a block yet.
    pub spend: Option<ChainSpend>,
    /// The server's own refund, or its claim, once it was signed.
    #[serde(alias = "refund")]
    pub own_spend: Option<Txid>,
    /// The client's preimage, once it is known. Once set it stays. That of [`Direction::Out`] follows from the seed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preimage: Option<Preimage>,
}

impl Swap {
    /// A swap as it begins: nothing is made and nothing is locked.
    pub fn new(index: u32, terms: Terms) -> Swap {
        Swap {
            id: SwapId::of(terms.payment_hash),
            index,
            phase: match terms.direction {
                Direction::Out | Direction::OutHeld => Phase::Reserved,
                Direction::In => Phase::AwaitingFunding,
            },
            terms,
            invoice: None,
            prepay_invoice: None,
            funding: None,
            never_settle: false,
            settle_tried: false,
            held_until: None,
            paid: false,
            spend: None,
            own_spend: None,
            preimage: None,
        }
    }
}

/// How deep a transaction is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Depth {
    /// Neither in a block nor in the mempool.
    Unseen,
    /// In the mempool.
    Mempool,
    /// In the block of this height.
    Block(Height),
}

impl Depth {
    /// How many blocks are on it at a tip, its own among them; 0 when it is in none.
    pub fn confirmations(self, tip: Height) -> u32 {
        match self {
            Depth::Block(height) => (tip.0 + 1).saturating_sub(height.0),
            Depth::Mempool | Depth::Unseen => 0,
        }
    }
}

/// How an HTLC was spent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Spend {
    /// By the claimer, who thereby showed the preimage.
    Claim(Preimage),
    /// By the refunder after the timeout.
    Refund,
    /// By both together, through the key path (BIP 341).
    Cooperative,
}

/// A spend of the HTLC on the chain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChainSpend {
    /// What spent it.
    pub txid: Txid,
    /// How.
    pub spend: Spend,
    /// How deep it is.
    pub depth: Depth,
    /// Whether all outputs of the HTLC are spent; an asset has two.
    pub whole: bool,
}

/// The heights of both chains.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tips {
    /// Of Liquid.
    pub liquid: Height,
    /// Of Bitcoin, as its source has it.
    pub bitcoin: Height,
    /// Of Bitcoin, as the Lightning node has it.
    pub lightning: Height,
}

impl Tips {
    /// That of a chain.
    pub fn of(self, chain: ChainName) -> Height {
        match chain {
            ChainName::Liquid => self.liquid,
            ChainName::Bitcoin => self.bitcoin,
        }
    }
}

/// An output that somebody paid to the HTLC of a swap.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// Where it is.
    pub outpoint: OutPoint,
    /// How much it has.
    pub value: Units,
    /// How deep it is.
    pub depth: Depth,
    /// What spent it.
    pub spend: Option<ChainSpend>,
}

/// What the chain shows of a swap.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChainState {
    /// What was paid to the HTLC, whoever did, in the order of the chain; told of [`Direction::In`] alone.
    pub outputs: Vec<Output>,
    /// How deep its funding is; not told of [`Direction::In`], as that of `outputs` is.
    pub funding: Depth,
    /// Whether one of the funding's inputs was spent, in a block, by another transaction.
    pub conflicted: bool,
    /// What spent it.
    pub spend: Option<ChainSpend>,
}

/// What the Lightning node shows under the hash of a swap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Payment {
    /// Nothing is held and nothing has arrived.
    Absent,
    /// Held until it is claimed or failed, or lapses.
    Held {
        /// The Bitcoin height at which the node itself fails it.
        until: Height,
    },
    /// It has arrived.
    Succeeded,
    /// It is the server's own ([`Direction::In`]); `Absent` when it was never sent.
    Sent(Sent),
}

/// Where a payment by the server stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sent {
    /// On its way.
    Pending,
    /// It has arrived; the preimage is the proof.
    Succeeded(Preimage),
    /// It has failed for good.
    Failed,
}

/// All that is known of a swap at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Observation {
    /// The heights.
    pub tips: Tips,
    /// What the chain shows; `None` before the funding is signed by the server.
    pub chain: Option<ChainState>,
    /// What Lightning shows.
    pub payment: Payment,
}

/// What happens to a swap.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The invoices were made.
    InvoiceMade {
        /// The invoice to pay.
        invoice: String,
        /// The invoice to pay before, when the terms ask for one.
        prepay: Option<String>,
    },
    /// The prepay invoice was paid.
    Prepaid,
    /// It cannot be funded.
    CreationFailed(FailureReason),
    /// The funding transaction was signed.
    FundingSigned(FundingTx),
    /// The chains and the Lightning node were looked at.
    Observed(Observation),
    /// The client showed its preimage ([`Direction::OutHeld`]), with what was seen then.
    PreimageShown(Preimage, Observation),
    /// The client wants no more of it ([`Direction::In`]), with what was seen then.
    CancelAsked(Observation),
    /// The refund, or the server's claim, was signed, or signed anew with a higher fee.
    SpendSigned(Txid),
    /// The operator asks for the refund.
    ForceRefund(Observation),
}

/// What is to be done, stored together with the transition that asks for it, and done after. Doing it twice is harmless.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Effect {
    /// Have the invoices made; ends in `InvoiceMade` or `CreationFailed`.
    MakeInvoice,
    /// Build and sign the funding from the reserved coins; ends in `FundingSigned` or `CreationFailed`.
    SignFunding,
    /// Send the funding transaction.
    BroadcastFunding,
    /// Give the preimage to the Lightning node.
    ClaimPayment,
    /// Have the Lightning node fail what it holds under the hash.
    FailPayment,
    /// Pay the client's invoice.
    PayInvoice,
    /// Sign and send the server's claim with the fee that its age asks for; ends in `SpendSigned`.
    Claim,
    /// Sign and send the refund with the fee that its age asks for; ends in `SpendSigned`.
    Refund,
    /// Let go of the coins that were reserved. Done by the store itself.
    ReleaseCoins,
    /// Tell the operator. Done by a counter and a line in the log.
    Alarm(Alarm),
}

/// What an operator has to look at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Alarm {
    /// One output of the HTLC is spent and the other is not.
    PartlySpent,
    /// The payment was taken and the buyer has not claimed before the timeout.
    PaidUnclaimed,
    /// The payment was to be taken and is gone without having arrived.
    PaymentLost,
    /// The buyer claimed although no payment was taken.
    ClaimedUnpaid,
    /// The payment was, or may have been, taken or made, and the chain can never take the funding.
    FundingLost,
    /// The server has paid, and the client took the coins back.
    RefundedThoughPaid,
    /// What is held lapses while the coins can still be claimed.
    LapsesUnclaimed,
}
