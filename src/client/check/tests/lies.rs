//! What a server may say of a swap, and what the chain may show, that is not so.

use elements::confidential;
use lightning_invoice::Currency;

use super::*;

/// A lie about each field of the reply in turn: the field, the lie, the refusal. `None`: it cannot hurt.
pub(super) const FIELDS: &[Lie<Case>] = &[
    (
        "Swap.swap_id",
        |c| c.reply.swap_id = "1".into(),
        Some(Reason::MalformedReply),
    ),
    (
        "Swap.swap_id",
        |c| c.reply.swap_id = Uuid::nil().to_string(),
        Some(Reason::SwapIdMismatch),
    ),
    (
        "Swap.request_id",
        |c| c.reply.request_id = SWAP_ID.into(),
        Some(Reason::RequestMismatch),
    ),
    (
        "Swap.status",
        |c| c.reply.status = 99,
        Some(Reason::MalformedReply),
    ),
    (
        "Swap.status",
        |c| c.reply.set_status(v1::SwapStatus::Unspecified),
        Some(Reason::InconsistentReply),
    ),
    (
        "Swap.status",
        |c| c.reply.set_status(v1::SwapStatus::Created),
        Some(Reason::InconsistentReply),
    ),
    (
        "Swap.status",
        |c| c.reply.set_status(v1::SwapStatus::Refunded),
        Some(Reason::InconsistentReply),
    ),
    (
        "Swap.phase",
        |c| c.reply.set_phase(v1::SwapPhase::Refunding),
        Some(Reason::NotPayable),
    ),
    (
        "Swap.phase",
        |c| c.reply.set_phase(v1::SwapPhase::PaymentHeld),
        Some(Reason::NotPayable),
    ),
    (
        "Swap.phase",
        |c| c.reply.set_phase(v1::SwapPhase::Funding),
        Some(Reason::InconsistentReply),
    ),
    (
        "Swap.failure_reason",
        |c| c.reply.failure_reason = 2,
        Some(Reason::InconsistentReply),
    ),
    (
        "Swap.asset_id",
        |c| c.reply.asset_id = asset(9).to_string(),
        Some(Reason::WrongAsset),
    ),
    (
        "Swap.amount",
        |c| c.reply.amount += 1,
        Some(Reason::AmountMismatch),
    ),
    (
        "Swap.total_price_msat",
        |c| c.reply.total_price_msat -= 1,
        Some(Reason::InvoiceAmount),
    ),
    (
        "Swap.invoice",
        |c| c.reply.invoice = "lnbcrt1".into(),
        Some(Reason::InvoiceMalformed),
    ),
    (
        "Swap.invoice",
        |c| c.reply.invoice.clear(),
        Some(Reason::NotFunded),
    ),
    (
        "Swap.invoice",
        |c| c.with_invoice(|i| i.currency = Currency::Bitcoin),
        Some(Reason::InvoiceNetwork),
    ),
    (
        "Swap.invoice",
        |c| c.with_invoice(|i| i.msat = None),
        Some(Reason::InvoiceAmount),
    ),
    (
        "Swap.invoice",
        |c| c.with_invoice(|i| i.msat = Some(PRICE + 1)),
        Some(Reason::InvoiceAmount),
    ),
    (
        "Swap.invoice",
        |c| c.with_invoice(|i| i.hash = PaymentHash([9; 32])),
        Some(Reason::WrongHash),
    ),
    (
        "Swap.invoice",
        |c| c.with_invoice(|i| i.description = "swap:".into()),
        Some(Reason::InvoiceDescription),
    ),
    (
        "Swap.invoice",
        |c| c.with_invoice(|i| i.made -= Duration::from_secs(601)),
        Some(Reason::InvoiceExpired),
    ),
    (
        "Swap.invoice",
        |c| c.with_invoice(|i| i.expiry = Duration::from_secs(9)),
        Some(Reason::InvoiceExpired),
    ),
    (
        "Swap.invoice",
        |c| c.with_invoice(|i| i.cltv = 65),
        Some(Reason::InvoiceCltv),
    ),
    (
        "Swap.invoice",
        |c| c.with_invoice(|i| i.payee = 6),
        Some(Reason::WrongPayee),
    ),
    (
        "Swap.payment_hash",
        |c| c.reply.payment_hash = PaymentHash([9; 32]).to_string(),
        Some(Reason::WrongHash),
    ),
    (
        "Swap.payment_hash",
        |c| c.reply.payment_hash.clear(),
        Some(Reason::WrongHash),
    ),
    // Nothing is to be paid before once the coins are locked.
    (
        "Swap.prepay_invoice",
        |c| c.reply.prepay_invoice = "x".into(),
        None,
    ),
    (
        "Swap.htlc",
        |c| c.reply.htlc = None,
        Some(Reason::MalformedReply),
    ),
    (
        "Swap.funding",
        |c| c.reply.funding = None,
        Some(Reason::NotFunded),
    ),
    (
        "Swap.min_confirmations",
        |c| c.reply.min_confirmations = 1,
        Some(Reason::ConfirmationsMismatch),
    ),
    (
        "Swap.pay_by_height",
        |c| c.reply.pay_by_height = TIMEOUT,
        Some(Reason::PayByMismatch),
    ),
    (
        "Swap.pay_by_height",
        |c| c.reply.pay_by_height = TIP,
        Some(Reason::PayByPassed),
    ),
    (
        "Swap.liquid_height",
        |c| c.reply.liquid_height = TIP + 11,
        Some(Reason::HeightMismatch),
    ),
    (
        "Swap.liquid_height",
        |c| c.reply.liquid_height = 1,
        Some(Reason::HeightMismatch),
    ),
    (
        "Swap.claim_txid",
        |c| c.reply.claim_txid = "00".into(),
        Some(Reason::InconsistentReply),
    ),
    (
        "Swap.preimage",
        |c| c.reply.preimage = "00".into(),
        Some(Reason::InconsistentReply),
    ),
    (
        "Swap.refund_txid",
        |c| c.reply.refund_txid = "00".into(),
        Some(Reason::InconsistentReply),
    ),
    // For people; nothing is decided by them.
    ("Swap.created_at", |c| c.reply.created_at = 0, None),
    ("Swap.updated_at", |c| c.reply.updated_at = 0, None),
    (
        "Htlc.claim_pubkey",
        |c| c.htlc().claim_pubkey = public(8).to_string(),
        Some(Reason::WrongClaimKey),
    ),
    (
        "Htlc.refund_pubkey",
        |c| c.htlc().refund_pubkey = "02".into(),
        Some(Reason::WrongRefundKey),
    ),
    (
        "Htlc.refund_pubkey",
        |c| c.htlc().refund_pubkey = public(3).to_string(),
        Some(Reason::WrongRefundKey),
    ),
    (
        "Htlc.refund_pubkey",
        |c| c.htlc().refund_pubkey = public(8).to_string(),
        Some(Reason::WrongScript),
    ),
    (
        "Htlc.timeout",
        |c| c.htlc().timeout += 1,
        Some(Reason::WrongScript),
    ),
    (
        "Htlc.timeout",
        |c| c.htlc().timeout = 500_000_000,
        Some(Reason::TimeoutNotAHeight),
    ),
    (
        "Htlc.timeout",
        |c| c.htlc().timeout = 0,
        Some(Reason::TimeoutNotAHeight),
    ),
    (
        "Htlc.witness_script",
        |c| c.htlc().witness_script.push_str("51"),
        Some(Reason::WrongScript),
    ),
    (
        "Htlc.witness_script",
        |c| c.with_contract(|h| h.claimer = public(8)),
        Some(Reason::WrongScript),
    ),
    (
        "Htlc.witness_script",
        |c| c.with_contract(|h| h.payment_hash.0[0] ^= 1),
        Some(Reason::WrongScript),
    ),
    (
        "Htlc.address",
        |c| c.htlc().address.push('q'),
        Some(Reason::WrongAddress),
    ),
    (
        "Htlc.value",
        |c| c.htlc().value += 1,
        Some(Reason::ValueMismatch),
    ),
    (
        "Htlc.fee_value_sat",
        |c| c.htlc().fee_value_sat ^= 1,
        Some(Reason::FeeValueMismatch),
    ),
    (
        "Funding.txid",
        |c| c.funding().txid = Txid::from_byte_array([9; 32]).to_string(),
        Some(Reason::FundingMismatch),
    ),
    (
        "Funding.txid",
        |c| c.funding().txid = "9".into(),
        Some(Reason::FundingMismatch),
    ),
    (
        "Funding.vout",
        |c| c.funding().vout = 0,
        Some(Reason::OutputMissing),
    ),
    (
        "Funding.vout",
        |c| c.funding().vout = 7,
        Some(Reason::OutputMissing),
    ),
    (
        "Funding.transaction",
        |c| c.funding().transaction.push_str("00"),
        Some(Reason::FundingMismatch),
    ),
    (
        "Funding.transaction",
        |c| c.funding().transaction.clear(),
        Some(Reason::FundingMismatch),
    ),
    // The buyer counts for itself.
    (
        "Funding.confirmations",
        |c| c.funding().confirmations = 0,
        None,
    ),
];

/// What only the chain, the buyer's rules, or two outputs show.
pub(super) const REST: &[Lie<Case>] = &[
    (
        "price",
        |c| c.request.max_price = Msat(PRICE - 1),
        Some(Reason::AmountAboveCap),
    ),
    (
        "near",
        |c| c.with_contract(|h| h.timeout = Height(TIP + 1_399)),
        Some(Reason::TimeoutTooNear),
    ),
    (
        "late",
        |c| c.seen.tip = Height(TIP + 700),
        Some(Reason::HeightMismatch),
    ),
    (
        "unknown",
        |c| c.seen.transaction = None,
        Some(Reason::FundingNotFound),
    ),
    (
        "mempool",
        |c| c.seen.block = None,
        Some(Reason::TooFewConfirmations),
    ),
    (
        "one block",
        |c| c.seen.block = Some(Height(TIP)),
        Some(Reason::TooFewConfirmations),
    ),
    (
        "my own rule",
        |c| c.policy.min_confirmations = 3,
        Some(Reason::TooFewConfirmations),
    ),
    (
        "spent",
        |c| c.seen.spends = vec![(1, Txid::from_byte_array([7; 32]))],
        Some(Reason::OutputSpent),
    ),
    (
        "stray",
        |c| c.with_outputs(|o| o[0] = o[1].clone()),
        Some(Reason::DuplicateOutput),
    ),
    (
        "too little",
        |c| c.with_outputs(|o| o[1].value = confidential::Value::Explicit(AMOUNT - 1)),
        Some(Reason::ValueMismatch),
    ),
    (
        "too much",
        |c| c.with_outputs(|o| o[1].value = confidential::Value::Explicit(AMOUNT + 1)),
        Some(Reason::ValueMismatch),
    ),
    (
        "other asset",
        |c| c.with_outputs(|o| o[1].asset = confidential::Asset::Explicit(asset(9))),
        Some(Reason::WrongAsset),
    ),
    (
        "nonce",
        |c| c.with_outputs(|o| o[1].nonce = nonce()),
        Some(Reason::NonceNotNull),
    ),
    (
        "blinded",
        |c| c.with_outputs(|o| o[1].value = blinded()),
        Some(Reason::NotExplicit),
    ),
    (
        "other script",
        |c| c.with_outputs(|o| o[1].script_pubkey = Script::new()),
        Some(Reason::OutputMissing),
    ),
    (
        "unfunded",
        |c| {
            c.reply.set_status(v1::SwapStatus::Created);
            c.reply.set_phase(v1::SwapPhase::Funding);
        },
        Some(Reason::NotFunded),
    ),
    (
        "over",
        |c| {
            c.reply.set_status(v1::SwapStatus::Failed);
            c.reply.set_phase(v1::SwapPhase::Failed);
        },
        Some(Reason::NotPayable),
    ),
];

/// What there is about the second output of an asset's swap.
pub(super) const FEE: &[Lie<Case>] = &[
    (
        "Funding.fee_vout",
        |c| c.funding().fee_vout = 1,
        Some(Reason::DuplicateOutput),
    ),
    (
        "Funding.fee_vout",
        |c| c.funding().fee_vout = 0,
        Some(Reason::OutputMissing),
    ),
    (
        "Htlc.fee_value_sat",
        |c| c.htlc().fee_value_sat = 48,
        Some(Reason::FeeValueMismatch),
    ),
    (
        "Htlc.fee_value_sat",
        |c| c.htlc().fee_value_sat += 1,
        Some(Reason::FeeValueMismatch),
    ),
    (
        "fee asset",
        |c| c.with_outputs(|o| o[2].asset = confidential::Asset::Explicit(asset(2))),
        Some(Reason::WrongAsset),
    ),
    (
        "missing",
        |c| c.with_outputs(|o| drop(o.pop())),
        Some(Reason::OutputMissing),
    ),
    (
        "spent",
        |c| c.seen.spends = vec![(2, Txid::from_byte_array([7; 32]))],
        Some(Reason::OutputSpent),
    ),
];

fn nonce() -> confidential::Nonce {
    confidential::Nonce::Confidential(public(7))
}

fn blinded() -> confidential::Value {
    let generator = elements::secp256k1_zkp::Generator::new_unblinded(
        elements::secp256k1_zkp::SECP256K1,
        asset(1).into_tag(),
    );
    let commitment = elements::secp256k1_zkp::PedersenCommitment::new_unblinded(
        elements::secp256k1_zkp::SECP256K1,
        AMOUNT,
        generator,
    );
    confidential::Value::Confidential(commitment)
}
