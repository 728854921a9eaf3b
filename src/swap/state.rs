//! What a swap is, what can happen to it and what is to be done about it. How one leads to the other is said by `machine`.

use std::fmt;
use std::str::FromStr;

use bitcoin::hashes::{Hash as _, sha256};
use bitcoin::secp256k1::PublicKey;
use elements::{AssetId, OutPoint, Txid};
use serde::{Deserialize, Serialize};
use swaprig_units::{BlockDelta, Height, Msat, PaymentHash, Preimage, Sat, Units};
use uuid::Uuid;

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

/// What was agreed when the swap was made. Never changes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Terms {
    /// What is sold.
    pub asset: AssetId,
    /// How much of it, and what is locked of it.
    pub amount: Units,
    /// L-BTC that is locked beside, to pay for the claim; zero when the asset is L-BTC.
    pub fee_value: Sat,
    /// What the invoice asks for.
    pub price: Msat,
    /// What is to be paid before anything is locked; zero: nothing.
    pub prepay: Msat,
    /// SHA-256 of the preimage.
    pub payment_hash: PaymentHash,
    /// The buyer's key.
    pub claimer: PublicKey,
    /// The server's key.
    pub refunder: PublicKey,
    /// The Liquid height from which on the server can take the coins back.
    pub timeout: Height,
    /// How many blocks before the timeout the server stops taking the payment, so that the buyer still has time to claim.
    pub claim_window: BlockDelta,
    /// Confirmations after which the swap counts as funded; at least 1.
    pub min_confirmations: u32,
    /// How many Liquid blocks the funding may take to be confirmed before the swap is cancelled.
    pub funding_window: BlockDelta,
    /// The Liquid height at which it was made.
    pub made_at: Height,
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
    /// The payment was taken: the buyer has the preimage.
    /// Restart, timeout: waits for the claim. Reorganisation: the funding is sent again.
    Paid,
    /// Nothing is paid and nothing will be: no payment under this hash is ever claimed again; what is held is failed.
    /// Restart: failed again. Timeout: `Refunding`. Reorganisation: stays.
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
    /// Whether no payment under its hash may ever be claimed (again). Once set it stays.
    pub never_claim: bool,
    /// Whether a claim of the payment was, or may have been, tried. Once set it stays, and the server does not refund by itself.
    pub claim_tried: bool,
    /// The Bitcoin height at which the held payment lapses, stored before it was claimed.
    pub held_until: Option<Height>,
    /// Whether the payment was seen to have arrived. Once set it stays.
    pub paid: bool,
    /// What spent the HTLC, as the chain has it now; also when not in a block yet.
    pub spend: Option<ChainSpend>,
    /// The server's own refund, once it was signed.
    pub refund: Option<Txid>,
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
    /// Of Bitcoin, as the Lightning node has it.
    pub bitcoin: Height,
}

/// What Liquid shows of a swap.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chain {
    /// How deep its funding is.
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
}

/// All that is known of a swap at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Observation {
    /// The heights.
    pub tips: Tips,
    /// What Liquid shows; `None` before the funding is signed.
    pub chain: Option<Chain>,
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
    /// The refund was signed, or signed anew with a higher fee.
    RefundSigned(Txid),
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
    /// Sign and send the refund with the fee that its age asks for; ends in `RefundSigned`.
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
    /// The payment was, or may have been, taken, and the chain can never take the funding.
    FundingLost,
}
