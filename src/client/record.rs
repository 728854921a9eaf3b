//! What a buyer knows of one of its swaps, as it is stored.

use bitcoin::secp256k1::PublicKey;
use elements::{AssetId, OutPoint, Script, Txid};
use serde::{Deserialize, Serialize};
use swaprig_units::{Height, Msat, PaymentHash, Preimage, Sat, Units};
use uuid::Uuid;

use super::Refusal;
use super::store::Row;
use crate::swap::SwapId;

/// A swap, from the buyer's side.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// From which its claim key is derived.
    pub key_index: u32,
    /// What was asked for. Stored before it is sent.
    pub request: Request,
    /// The server's name for it, once the server has answered.
    pub swap_id: Option<SwapId>,
    /// What the server offers, checked; replaced until the buyer pays, never after.
    pub offer: Option<Offer>,
    /// Where it is.
    pub stage: Stage,
    /// How often the payment was sent, or was about to be.
    pub attempts: u32,
    /// Whether the prepayment was sent, or was about to be.
    pub prepaying: bool,
    /// The preimage. Stored before anything that shows it is sent, and never forgotten.
    pub preimage: Option<Preimage>,
    /// Every claim that was ever signed, oldest first. Stored before it is sent.
    pub claims: Vec<Claim>,
    /// Why the buyer does not pay, as last seen.
    pub refusal: Option<Refusal>,
    /// How often it was stored; two that change it at once do not overwrite each other.
    #[serde(skip)]
    pub(crate) version: i64,
}

impl Row for Record {
    fn key_index(&self) -> u32 {
        self.key_index
    }

    fn id(&self) -> Uuid {
        self.request.request_id
    }

    fn server_id(&self) -> Option<Uuid> {
        self.swap_id.map(|id| id.0)
    }

    fn payment_hash(&self) -> Option<PaymentHash> {
        self.offer.as_ref().map(|offer| offer.payment_hash)
    }

    fn stage(&self) -> &'static str {
        self.stage.name()
    }

    fn version(&self) -> i64 {
        self.version
    }

    fn set_version(&mut self, version: i64) {
        self.version = version;
    }
}

/// Where a swap is, for its buyer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// Asked for; nothing was paid. Restart: asked for again under the same name, checked again.
    Created,
    /// The payment was, or is about to be, sent. Restart: the node is asked what became of it before anything else.
    Paying,
    /// The preimage is known: the claim is to be sent until it is deep enough. Restart: sent again.
    Claiming,
    /// The claim is as deep as the policy asks. Final, but for a deeper reorganisation.
    Claimed,
    /// Not paid, for a reason that does not pass. Nothing was lost but a prepayment.
    Refused,
    /// The payment failed for good. Nothing was lost but a prepayment.
    PaymentFailed,
    /// Paid, and the server has taken the coins back. The preimage is the proof of payment.
    Lost,
}

impl Stage {
    /// Whether nothing more is to be done.
    pub fn is_final(self) -> bool {
        match self {
            Stage::Created | Stage::Paying | Stage::Claiming => false,
            Stage::Claimed | Stage::Refused | Stage::PaymentFailed | Stage::Lost => true,
        }
    }

    /// As it is stored and shown.
    pub fn name(self) -> &'static str {
        match self {
            Stage::Created => "created",
            Stage::Paying => "paying",
            Stage::Claiming => "claiming",
            Stage::Claimed => "claimed",
            Stage::Refused => "refused",
            Stage::PaymentFailed => "payment_failed",
            Stage::Lost => "lost",
        }
    }
}

/// What was asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// Names it, at the server too.
    pub request_id: Uuid,
    /// What is bought.
    pub asset: AssetId,
    /// How much of it.
    pub amount: Units,
    /// The buyer's key.
    pub claimer: PublicKey,
    /// Confirmations that the funding needs before it is paid.
    pub min_confirmations: u32,
    /// The most that is paid in all, routing apart.
    pub max_price: Msat,
}

/// What the server offers, as far as its own words go: everything here agrees with the request and with itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Offer {
    /// The server's name for the swap.
    pub swap_id: SwapId,
    /// What to pay, BOLT 11; its amount is the price.
    pub invoice: String,
    /// What the invoice asks for.
    pub price: Msat,
    /// Its hash.
    pub payment_hash: PaymentHash,
    /// When it expires; seconds since 1970, UTC.
    pub expires_at: u64,
    /// What to pay before anything is locked.
    pub prepay: Option<Prepay>,
    /// The server's key.
    pub refunder: PublicKey,
    /// The Liquid height from which on the server can take the coins back.
    pub timeout: Height,
    /// The Liquid height from which on the server takes no payment.
    pub pay_by: Height,
    /// The witness script, rebuilt by the buyer.
    pub script: Script,
    /// L-BTC that is locked beside the asset; zero when the asset is L-BTC.
    pub fee_value: Sat,
    /// The Liquid height that the server saw.
    pub server_height: Height,
    /// Whether the server counts the swap as funded and takes the payment.
    pub takes_payment: bool,
    /// What locks the coins, once the server tells it.
    pub funding: Option<Funding>,
}

impl Offer {
    /// Whether another reply about the same swap tells the same terms; what it adds later is no change.
    pub(crate) fn agrees_with(&self, later: &Offer) -> bool {
        let terms = |offer: &Offer| {
            (
                offer.swap_id,
                offer.invoice.clone(),
                offer.refunder,
                offer.timeout,
                offer.pay_by,
                offer.fee_value,
            )
        };
        let places = |funding: &Funding| (funding.txid, funding.vout, funding.fee_vout);
        let funded_alike = match (&self.funding, &later.funding) {
            (None, _) => true,
            (Some(before), Some(now)) => places(before) == places(now),
            (Some(_), None) => false,
        };
        terms(self) == terms(later) && funded_alike
    }
}

/// What to pay before anything is locked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Prepay {
    /// BOLT 11.
    pub invoice: String,
    /// Its hash.
    pub payment_hash: PaymentHash,
    /// What it asks for.
    pub amount: Msat,
}

/// Where the coins are locked, in the server's words.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Funding {
    /// The transaction.
    pub txid: Txid,
    /// The output with the asset.
    pub vout: u32,
    /// The output with the L-BTC for the claim's fee.
    pub fee_vout: Option<u32>,
    /// The whole transaction, consensus encoding in hexadecimal: the buyer can send it, too.
    pub raw: String,
}

impl Funding {
    /// The outputs, that of the asset first.
    pub fn outpoints(&self) -> impl Iterator<Item = OutPoint> + '_ {
        std::iter::once(self.vout)
            .chain(self.fee_vout)
            .map(|vout| OutPoint::new(self.txid, vout))
    }
}

/// A claim that was signed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claim {
    /// Its id.
    pub txid: Txid,
    /// Consensus encoding in hexadecimal.
    pub raw: String,
    /// What it pays to the block's maker.
    pub fee: Sat,
    /// The bid that it was signed for, satoshi for 1,000 discounted virtual bytes; more than it pays where there was less.
    pub bid: u64,
}
