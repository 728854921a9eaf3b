//! What a buyer believes before it pays: nothing that it cannot check. Pure: no clock, no network, no store.
//!
//! [`reply`] holds the server's words against the request and against themselves; [`chain`] holds what the buyer's own
//! source shows against those words; [`time`] asks whether enough time is left.

use std::time::Duration;

use bitcoin::Network;
use bitcoin::hex::{DisplayHex as _, FromHex as _};
use bitcoin::secp256k1::PublicKey;
use elements::{AddressParams, AssetId, Script, Transaction, Txid, confidential};
use lightning_invoice::Bolt11InvoiceDescriptionRef;
use swaprig_proto::v1;
use swaprig_units::{BlockDelta, Height, Msat, PaymentHash, Sat, Units};

use super::invoice::{Invoice, InvoiceRules};
use super::record::{Funding, Offer, Prepay, Request};
use super::refusal::{must, no, read};
use super::{Policy, Reason, Refusal};
use crate::swap::Htlc;
use crate::swap::SwapId;

/// Locktimes from here on are times, not heights (BIP 65).
const FIRST_TIME: u32 = 500_000_000;

/// What an honest reply must agree with.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Against<'a> {
    /// What was asked for.
    pub(crate) request: &'a Request,
    /// The server's name for the swap, when it has told it before.
    pub(crate) swap_id: Option<SwapId>,
    /// The buyer's rules.
    pub(crate) policy: &'a Policy,
    /// How addresses of the chain look.
    pub(crate) params: &'static AddressParams,
    /// L-BTC on that chain, from the buyer's own configuration.
    pub(crate) lbtc: AssetId,
    /// Which Bitcoin the invoice must be for.
    pub(crate) bitcoin: Network,
    /// The time since 1970.
    pub(crate) now: Duration,
}

/// Checks all that a reply says, but for what only the chain can tell.
///
/// # Errors
/// The first rule that is broken.
pub(crate) fn reply(against: &Against<'_>, swap: &v1::Swap) -> Result<Offer, Refusal> {
    let swap_id = identity(against, swap)?;
    status(swap)?;
    amounts(against, swap)?;
    let htlc = swap.htlc.as_ref();
    let htlc = htlc.map_or_else(|| no(Reason::MalformedReply, "htlc is missing"), Ok)?;
    let prepay = prepay(against, swap)?;
    let Some(invoice) = invoice(against, swap, swap_id)? else {
        return no(Reason::NotFunded, "the server has not made its invoice yet");
    };
    let contract = contract(against, htlc, invoice.hash)?;
    let fee_value = values(against, htlc)?;
    let pay_by = Height(swap.pay_by_height);
    must(pay_by < contract.timeout, Reason::PayByMismatch, || {
        format!(
            "pay_by_height is {}, the timeout is {}",
            pay_by.0, contract.timeout.0
        )
    })?;
    if prepay
        .as_ref()
        .is_some_and(|p| p.payment_hash == invoice.hash)
    {
        return no(Reason::PrepayInvoice, "it has the swap's own payment hash");
    }
    let funding = swap.funding.as_ref();
    Ok(Offer {
        swap_id,
        invoice: swap.invoice.clone(),
        price: invoice.amount,
        payment_hash: invoice.hash,
        expires_at: invoice.expires_at,
        prepay,
        refunder: contract.refunder,
        timeout: contract.timeout,
        pay_by,
        script: contract.witness_script(),
        fee_value,
        server_height: Height(swap.liquid_height),
        takes_payment: swap.status() == v1::SwapStatus::Funded,
        funding: funding.map(|f| self::funding(f, fee_value)).transpose()?,
    })
}

/// Whose reply it is.
pub(crate) fn identity(against: &Against<'_>, swap: &v1::Swap) -> Result<SwapId, Refusal> {
    let wanted = against.request.request_id.to_string();
    must(swap.request_id == wanted, Reason::RequestMismatch, || {
        format!("request_id is `{}`, not `{wanted}`", swap.request_id)
    })?;
    let id: SwapId = read("swap_id", &swap.swap_id, Reason::MalformedReply)?;
    match against.swap_id {
        Some(known) if known != id => no(
            Reason::SwapIdMismatch,
            format!("swap_id is {id}, it was {known}"),
        ),
        Some(_) | None => Ok(id),
    }
}

/// Whether the server itself says that it can be paid, and does not contradict itself.
fn status(swap: &v1::Swap) -> Result<(), Refusal> {
    use v1::{SwapPhase as Phase, SwapStatus as Status};
    let status = Status::try_from(swap.status);
    let phase = Phase::try_from(swap.phase);
    let (Ok(status), Ok(phase)) = (status, phase) else {
        let seen = format!("status {} or phase {}", swap.status, swap.phase);
        return no(Reason::MalformedReply, seen);
    };
    let seen = || format!("{}, {}", status.as_str_name(), phase.as_str_name());
    let fits = match status {
        Status::Unspecified => false,
        Status::Created => matches!(
            phase,
            Phase::Reserved | Phase::AwaitingPrepay | Phase::Funding | Phase::Cancelling
        ),
        Status::Funded => matches!(
            phase,
            Phase::Confirmed
                | Phase::PaymentHeld
                | Phase::Paid
                | Phase::Cancelling
                | Phase::Refunding
        ),
        Status::Claimed => phase == Phase::Claimed,
        Status::Refunded => phase == Phase::Refunded,
        Status::Failed => phase == Phase::Failed,
    };
    must(fits, Reason::InconsistentReply, seen)?;
    let payable = matches!(
        phase,
        Phase::Reserved | Phase::AwaitingPrepay | Phase::Funding | Phase::Confirmed
    );
    must(payable, Reason::NotPayable, seen)?;
    let over = [
        ("claim_txid", &swap.claim_txid),
        ("preimage", &swap.preimage),
        ("refund_txid", &swap.refund_txid),
    ];
    for (field, text) in over {
        must(text.is_empty(), Reason::InconsistentReply, || {
            format!("{}, yet {field} is `{text}`", seen())
        })?;
    }
    must(swap.failure_reason == 0, Reason::InconsistentReply, || {
        format!("{}, yet failure_reason is set", seen())
    })
}

/// Whether it is about what was asked for.
fn amounts(against: &Against<'_>, swap: &v1::Swap) -> Result<(), Refusal> {
    let Request {
        asset,
        amount,
        min_confirmations,
        ..
    } = against.request;
    let asked = asset.to_string();
    must(swap.asset_id == asked, Reason::WrongAsset, || {
        format!("asset_id is `{}`, not `{asked}`", swap.asset_id)
    })?;
    must(swap.amount == amount.0, Reason::AmountMismatch, || {
        format!("amount is {}, not {}", swap.amount, amount.0)
    })?;
    let wanted = (*min_confirmations).max(1);
    must(
        swap.min_confirmations == wanted,
        Reason::ConfirmationsMismatch,
        || {
            format!(
                "min_confirmations is {}, not {wanted}",
                swap.min_confirmations
            )
        },
    )
}

fn read_invoice(against: &Against<'_>, text: &str) -> Result<Invoice, Refusal> {
    let policy = against.policy;
    let rules = InvoiceRules {
        network: against.bitcoin,
        now: against.now,
        margin: policy.invoice_margin,
        payee: policy.payee,
        max_total_cltv: policy.max_total_cltv,
    };
    rules.read(text)
}

/// The invoice of the swap; `None` when the server has not made it, because it waits for the prepayment.
fn invoice(
    against: &Against<'_>,
    swap: &v1::Swap,
    swap_id: SwapId,
) -> Result<Option<Invoice>, Refusal> {
    if swap.invoice.is_empty() {
        return Ok(None);
    }
    let invoice = read_invoice(against, &swap.invoice)?;
    let hash: PaymentHash = read("payment_hash", &swap.payment_hash, Reason::WrongHash)?;
    must(hash == invoice.hash, Reason::WrongHash, || {
        format!("payment_hash is {hash}, the invoice's is {}", invoice.hash)
    })?;
    let told = Msat(swap.total_price_msat);
    must(told == invoice.amount, Reason::InvoiceAmount, || {
        format!("it asks for {}, total_price_msat is {told}", invoice.amount)
    })?;
    let cap = against.request.max_price;
    must(told <= cap, Reason::AmountAboveCap, || {
        format!("it asks for {told}, the most is {cap}")
    })?;
    let wanted = format!("swap:{swap_id}");
    let described = match invoice.parsed.description() {
        Bolt11InvoiceDescriptionRef::Direct(text) => text.to_string(),
        Bolt11InvoiceDescriptionRef::Hash(_) => String::from("a hash"),
    };
    must(described == wanted, Reason::InvoiceDescription, || {
        format!("it is for `{described}`, not `{wanted}`")
    })?;
    Ok(Some(invoice))
}

fn prepay(against: &Against<'_>, swap: &v1::Swap) -> Result<Option<Prepay>, Refusal> {
    if swap.prepay_invoice.is_empty() {
        return Ok(None);
    }
    // Once the coins are locked nothing more is to be paid before: an old invoice may have expired.
    if swap.funding.is_some() {
        return Ok(None);
    }
    let invoice = read_invoice(against, &swap.prepay_invoice)
        .map_err(|refusal| Refusal::new(Reason::PrepayInvoice, refusal.to_string()))?;
    let cap = against.policy.max_prepay;
    must(invoice.amount <= cap, Reason::PrepayAboveCap, || {
        format!("it asks for {}, the most is {cap}", invoice.amount)
    })?;
    Ok(Some(Prepay {
        invoice: swap.prepay_invoice.clone(),
        payment_hash: invoice.hash,
        amount: invoice.amount,
    }))
}

/// Rebuilds the script from the buyer's own key and the invoice's hash, and holds the server's against it.
fn contract(
    against: &Against<'_>,
    htlc: &v1::Htlc,
    payment_hash: PaymentHash,
) -> Result<Htlc, Refusal> {
    let claimer = against.request.claimer;
    must(
        htlc.claim_pubkey == claimer.to_string(),
        Reason::WrongClaimKey,
        || format!("claim_pubkey is `{}`, not {claimer}", htlc.claim_pubkey),
    )?;
    let refunder: PublicKey = read("refund_pubkey", &htlc.refund_pubkey, Reason::WrongRefundKey)?;
    must(
        refunder != claimer && htlc.refund_pubkey == refunder.to_string(),
        Reason::WrongRefundKey,
        || format!("refund_pubkey is `{}`", htlc.refund_pubkey),
    )?;
    let timeout = Height(htlc.timeout);
    must(
        (1..FIRST_TIME).contains(&timeout.0),
        Reason::TimeoutNotAHeight,
        || format!("timeout is {}", timeout.0),
    )?;
    let contract = Htlc {
        payment_hash,
        claimer,
        refunder,
        timeout,
    };
    let script = contract.witness_script().as_bytes().to_lower_hex_string();
    must(htlc.witness_script == script, Reason::WrongScript, || {
        format!(
            "witness_script is `{}`, not `{script}`",
            htlc.witness_script
        )
    })?;
    let address = contract.address(against.params).to_string();
    must(htlc.address == address, Reason::WrongAddress, || {
        format!("address is `{}`, not `{address}`", htlc.address)
    })?;
    Ok(contract)
}

fn values(against: &Against<'_>, htlc: &v1::Htlc) -> Result<Sat, Refusal> {
    let Units(amount) = against.request.amount;
    must(htlc.value == amount, Reason::ValueMismatch, || {
        format!("value is {}, not {amount}", htlc.value)
    })?;
    let fee_value = Sat(htlc.fee_value_sat);
    let is_right = match against.request.asset == against.lbtc {
        true => fee_value == Sat(0),
        false => fee_value >= against.policy.min_fee_value,
    };
    must(is_right, Reason::FeeValueMismatch, || {
        let least = against.policy.min_fee_value;
        format!(
            "fee_value_sat is {}; it is 0 for L-BTC and at least {least} beside another asset",
            fee_value.0
        )
    })?;
    Ok(fee_value)
}

/// The funding in the server's words: its transaction must be the one that it names.
fn funding(funding: &v1::Funding, fee_value: Sat) -> Result<Funding, Refusal> {
    let mismatch = Reason::FundingMismatch;
    let txid: Txid = read("funding.txid", &funding.txid, mismatch)?;
    let bytes = Vec::<u8>::from_hex(&funding.transaction).ok();
    let transaction = bytes.and_then(|raw| elements::encode::deserialize::<Transaction>(&raw).ok());
    let Some(transaction) = transaction else {
        return no(mismatch, "funding.transaction is no transaction");
    };
    must(transaction.txid() == txid, mismatch, || {
        format!("funding.transaction is {}, not {txid}", transaction.txid())
    })?;
    Ok(Funding {
        txid,
        vout: funding.vout,
        fee_vout: (fee_value != Sat(0)).then_some(funding.fee_vout),
        raw: funding.transaction.clone(),
    })
}

/// What the buyer's own source shows of the funding transaction.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    /// The tip of the chain.
    pub(crate) tip: Height,
    /// The transaction; `None` when the source does not know it.
    pub(crate) transaction: Option<Transaction>,
    /// The block that it is proven to be in; `None` in the mempool.
    pub(crate) block: Option<Height>,
    /// What spends outputs of the script, with the number of the output.
    pub(crate) spends: Vec<(u32, Txid)>,
}

/// Checks that the coins are locked as the offer says, deep enough, and unspent.
///
/// # Errors
/// The first rule that is broken.
pub(crate) fn chain(against: &Against<'_>, offer: &Offer, seen: &Seen) -> Result<(), Refusal> {
    let Some(funding) = &offer.funding else {
        return no(
            Reason::NotFunded,
            "the server has not signed the funding transaction yet",
        );
    };
    let Some(transaction) = &seen.transaction else {
        return no(Reason::FundingNotFound, funding.txid.to_string());
    };
    must(
        transaction.txid() == funding.txid,
        Reason::FundingNotFound,
        || {
            format!(
                "the source gave {} for {}",
                transaction.txid(),
                funding.txid
            )
        },
    )?;
    outputs(against, offer, funding, transaction)?;
    if let Some((vout, by)) = seen.spends.first() {
        return no(Reason::OutputSpent, format!("output {vout} by {by}"));
    }
    let wanted = against
        .request
        .min_confirmations
        .max(against.policy.min_confirmations)
        .max(1);
    let depth = seen
        .block
        .map_or(0, |block| (seen.tip.0 + 1).saturating_sub(block.0));
    must(depth >= wanted, Reason::TooFewConfirmations, || {
        format!("{depth} of {wanted}")
    })?;
    must(offer.takes_payment, Reason::NotFunded, || {
        "the server does not count it as funded yet".into()
    })
}

fn outputs(
    against: &Against<'_>,
    offer: &Offer,
    funding: &Funding,
    transaction: &Transaction,
) -> Result<(), Refusal> {
    let script = offer.script.to_v0_p2wsh();
    let Request { asset, amount, .. } = against.request;
    let value = (amount.0, Reason::ValueMismatch);
    output(transaction, funding.vout, &script, *asset, value)?;
    if let Some(vout) = funding.fee_vout {
        must(vout != funding.vout, Reason::DuplicateOutput, || {
            format!("output {vout} is named twice")
        })?;
        let value = (offer.fee_value.0, Reason::FeeValueMismatch);
        output(transaction, vout, &script, against.lbtc, value)?;
    }
    let agreed = 1 + usize::from(funding.fee_vout.is_some());
    let all = transaction.output.iter();
    let found = all.filter(|output| output.script_pubkey == script).count();
    must(found == agreed, Reason::DuplicateOutput, || {
        format!("{found} outputs of the script, {agreed} agreed")
    })
}

fn output(
    transaction: &Transaction,
    vout: u32,
    script: &Script,
    asset: AssetId,
    (value, mismatch): (u64, Reason),
) -> Result<(), Refusal> {
    let found = transaction.output.get(vout as usize);
    let Some(output) = found.filter(|output| output.script_pubkey == *script) else {
        return no(Reason::OutputMissing, format!("output {vout}"));
    };
    let (confidential::Asset::Explicit(has), confidential::Value::Explicit(holds)) =
        (output.asset, output.value)
    else {
        return no(Reason::NotExplicit, format!("output {vout}"));
    };
    must(
        output.nonce == confidential::Nonce::Null,
        Reason::NonceNotNull,
        || format!("output {vout}"),
    )?;
    must(has == asset, Reason::WrongAsset, || {
        format!("output {vout} is of {has}, not {asset}")
    })?;
    must(holds == value, mismatch, || {
        format!("output {vout} holds {holds}, not {value}")
    })
}

/// Checks that there is time to be paid, and to claim after the payment however long it takes.
///
/// # Errors
/// The rule that is broken.
pub(crate) fn time(policy: &Policy, offer: &Offer, tip: Height) -> Result<(), Refusal> {
    let gap = tip.0.abs_diff(offer.server_height.0);
    must(
        gap <= policy.max_height_gap.0,
        Reason::HeightMismatch,
        || {
            format!(
                "the server sees {}, the source {}",
                offer.server_height, tip
            )
        },
    )?;
    // Rules that let nothing be paid are refused when a buyer is opened; here they would let nothing pass.
    let needed = policy.needed_blocks().unwrap_or(BlockDelta(u32::MAX));
    let left = offer.timeout.0.saturating_sub(tip.0);
    must(left >= needed.0, Reason::TimeoutTooNear, || {
        format!(
            "{left} blocks are left until {}, {} are needed",
            offer.timeout, needed.0
        )
    })?;
    must(tip < offer.pay_by, Reason::PayByPassed, || {
        format!(
            "it takes payments until {}, the tip is {}",
            offer.pay_by, tip
        )
    })
}

#[cfg(test)]
mod tests;
