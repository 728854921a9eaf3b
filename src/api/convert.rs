//! Swaps as messages, and requests as what the engine understands.

use elements::AssetId;
use swaprig_proto::v1;
use tonic::{Code, Status as Rpc};
use uuid::Uuid;

use crate::swap::{Depth, FailureReason, Phase, Spend, Status, status};
use crate::watch::View;

/// Refuses a message that breaks a constraint of its .proto file.
pub(super) fn checked<M: swaprig_proto::validate::Checked>(message: &M) -> Result<(), Rpc> {
    swaprig_proto::validate::check(message)
        .map_err(|violations| Rpc::invalid_argument(violations.to_string()))
}

/// An asset whose text was checked.
pub(super) fn asset(text: &str) -> Result<AssetId, Rpc> {
    text.parse()
        .map_err(|_| Rpc::invalid_argument("asset_id: is no asset id of 64 hexadecimal digits"))
}

/// A UUID whose text was checked.
pub(super) fn uuid(field: &str, text: &str) -> Result<Uuid, Rpc> {
    text.parse()
        .map_err(|_| Rpc::invalid_argument(format!("{field}: is no UUID")))
}

pub(super) fn error(code: Code, error: &(dyn std::error::Error + 'static)) -> Rpc {
    Rpc::new(code, swaprig_harness::error_chain(error))
}

fn status_message(status: Status) -> v1::SwapStatus {
    match status {
        Status::Created => v1::SwapStatus::Created,
        Status::Funded => v1::SwapStatus::Funded,
        Status::Claimed => v1::SwapStatus::Claimed,
        Status::Refunded => v1::SwapStatus::Refunded,
        Status::Failed => v1::SwapStatus::Failed,
    }
}

/// The status that a request names; `None` when it names none.
pub(super) fn status_wanted(number: i32) -> Option<Status> {
    match v1::SwapStatus::try_from(number) {
        Ok(v1::SwapStatus::Created) => Some(Status::Created),
        Ok(v1::SwapStatus::Funded) => Some(Status::Funded),
        Ok(v1::SwapStatus::Claimed) => Some(Status::Claimed),
        Ok(v1::SwapStatus::Refunded) => Some(Status::Refunded),
        Ok(v1::SwapStatus::Failed) => Some(Status::Failed),
        Ok(v1::SwapStatus::Unspecified) | Err(_) => None,
    }
}

fn phase_message(phase: &Phase) -> v1::SwapPhase {
    match phase {
        Phase::Reserved | Phase::Building | Phase::AwaitingPayment | Phase::AwaitingFunding => {
            v1::SwapPhase::Reserved
        }
        Phase::AwaitingPrepay => v1::SwapPhase::AwaitingPrepay,
        Phase::Funding => v1::SwapPhase::Funding,
        Phase::Confirmed => v1::SwapPhase::Confirmed,
        Phase::PaymentHeld | Phase::Paying => v1::SwapPhase::PaymentHeld,
        Phase::Paid => v1::SwapPhase::Paid,
        Phase::Cancelling => v1::SwapPhase::Cancelling,
        Phase::Refunding => v1::SwapPhase::Refunding,
        Phase::Claimed => v1::SwapPhase::Claimed,
        Phase::Refunded => v1::SwapPhase::Refunded,
        Phase::Failed(_) => v1::SwapPhase::Failed,
    }
}

fn failure_message(phase: &Phase) -> v1::FailureReason {
    match phase {
        Phase::Failed(FailureReason::Invoice | FailureReason::Payment) => {
            v1::FailureReason::Invoice
        }
        Phase::Failed(FailureReason::Funding | FailureReason::NotFunded) => {
            v1::FailureReason::Funding
        }
        Phase::Failed(FailureReason::Prepay) => v1::FailureReason::Prepay,
        _ => v1::FailureReason::Unspecified,
    }
}

/// A swap as the API shows it.
pub(super) fn swap(view: &View) -> v1::Swap {
    let swap = &view.swap;
    let terms = &swap.terms;
    let depth = view.funding_depth.unwrap_or(Depth::Unseen);
    let claim = swap.spend.as_ref().and_then(|spend| match spend.spend {
        Spend::Claim(preimage) => Some((spend.txid, preimage)),
        Spend::Refund | Spend::Cooperative => None,
    });
    // Of several that were signed, the one that the chain has.
    let refund = match &swap.spend {
        Some(spend) if spend.spend == Spend::Refund => Some(spend.txid),
        Some(_) | None => swap.own_spend,
    };
    v1::Swap {
        swap_id: swap.id.to_string(),
        request_id: view.request_id.to_string(),
        status: status_message(status(swap)).into(),
        phase: phase_message(&swap.phase).into(),
        failure_reason: failure_message(&swap.phase).into(),
        asset_id: terms.asset.to_string(),
        amount: terms.amount.0,
        total_price_msat: terms.price.0,
        invoice: swap.invoice.clone().unwrap_or_default(),
        payment_hash: terms.payment_hash.to_string(),
        prepay_invoice: swap.prepay_invoice.clone().unwrap_or_default(),
        htlc: Some(v1::Htlc {
            claim_pubkey: terms.claimer.to_string(),
            refund_pubkey: terms.refunder.to_string(),
            timeout: terms.timeout.0,
            witness_script: view.lock.witness_script.clone(),
            address: view.lock.address.clone(),
            value: terms.amount.0,
            fee_value_sat: terms.fee_value.0,
        }),
        funding: swap.funding.as_ref().map(|funding| v1::Funding {
            txid: funding.txid.to_string(),
            vout: funding.vout,
            fee_vout: funding.fee_vout.unwrap_or_default(),
            transaction: funding.raw.clone(),
            confirmations: depth.confirmations(view.height),
        }),
        min_confirmations: terms.min_confirmations,
        pay_by_height: terms.timeout.0.saturating_sub(terms.claim_window.0),
        liquid_height: view.height.0,
        claim_txid: claim.map(|(txid, _)| txid.to_string()).unwrap_or_default(),
        preimage: claim
            .map(|(_, preimage)| preimage.to_string())
            .unwrap_or_default(),
        refund_txid: refund.map(|txid| txid.to_string()).unwrap_or_default(),
        created_at: view.created_at / 1_000,
        updated_at: view.updated_at / 1_000,
    }
}
