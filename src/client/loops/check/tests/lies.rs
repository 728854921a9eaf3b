//! What a server may say of a loop that is not so.

use lightning_invoice::Currency;

use super::*;

/// For every kind of loop.
pub(super) const ALL: &[Lie<Case>] = &[
    (
        "id",
        |c| c.told.id = "7".into(),
        Some(Reason::MalformedReply),
    ),
    (
        "payment_hash",
        |c| c.told.payment_hash = hash(7).to_string(),
        Some(Reason::WrongHash),
    ),
    (
        "payment_hash",
        |c| c.told.payment_hash.truncate(62),
        Some(Reason::WrongHash),
    ),
    (
        "direction",
        |c| {
            c.told.direction = match c.told.direction {
                Direction::Out => Direction::In,
                Direction::In => Direction::Out,
            }
        },
        Some(Reason::RequestMismatch),
    ),
    (
        "state",
        |c| c.told.state = State::Failed,
        Some(Reason::NotPayable),
    ),
    (
        "state",
        |c| c.told.state = State::Claimed,
        Some(Reason::NotPayable),
    ),
    (
        "state",
        |c| c.told.state = State::Refunded,
        Some(Reason::NotPayable),
    ),
    (
        "is_final",
        |c| c.told.is_final = true,
        Some(Reason::NotPayable),
    ),
    // The client looks by itself.
    ("state", |c| c.told.state = State::Funded, None),
    ("phase", |c| c.told.phase = "whatever".into(), None),
    ("reason", |c| c.told.reason = Some("none".into()), None),
    (
        "amount",
        |c| c.told.amount -= 1,
        Some(Reason::AmountMismatch),
    ),
    ("fee", |c| c.told.fee += 1, Some(Reason::SwapFeeAboveCap)),
    (
        "fee",
        |c| c.told.fee = u64::MAX,
        Some(Reason::SwapFeeAboveCap),
    ),
    (
        "internal_key",
        |c| c.told.internal_key = other(c.told.internal_key),
        Some(Reason::WrongInternalKey),
    ),
    (
        "cltv_expiry",
        |c| c.told.cltv_expiry = None,
        Some(Reason::MalformedReply),
    ),
    (
        "address",
        |c| c.told.address = None,
        Some(Reason::MalformedReply),
    ),
    (
        "script",
        |c| c.told.script = None,
        Some(Reason::MalformedReply),
    ),
    (
        "cltv_expiry",
        |c| c.told.cltv_expiry = Some(TIMEOUT + 1),
        Some(Reason::WrongScript),
    ),
    (
        "cltv_expiry",
        |c| c.told.cltv_expiry = Some(500_000_000),
        Some(Reason::TimeoutNotAHeight),
    ),
    (
        "cltv_expiry",
        |c| c.told.cltv_expiry = Some(0),
        Some(Reason::TimeoutNotAHeight),
    ),
    (
        "address",
        |c| {
            let other = Taproot::new(htlc(c.ask.mode), InternalKey::Unspendable { r: [8; 32] });
            c.told.address = Some(other.unwrap().address(Network::Regtest).to_string());
        },
        Some(Reason::WrongAddress),
    ),
    (
        "address",
        |c| {
            let same = Case::taproot(c.ask.mode, c.ask.internal);
            c.told.address = Some(same.address(Network::Bitcoin).to_string());
        },
        Some(Reason::WrongAddress),
    ),
    (
        "address",
        |c| c.told.address = Some("bcrt1".into()),
        Some(Reason::WrongAddress),
    ),
    (
        "script.internal_key",
        |c| c.script().internal_key = public(8).x_only_public_key().0.to_string(),
        Some(Reason::WrongInternalKey),
    ),
    (
        "script.internal_key",
        |c| c.script().internal_key.clear(),
        Some(Reason::WrongInternalKey),
    ),
    (
        "script.merkle_root",
        |c| c.script().merkle_root = "07".repeat(32),
        Some(Reason::WrongScript),
    ),
    (
        "script.merkle_root",
        |c| c.script().merkle_root.clear(),
        Some(Reason::WrongScript),
    ),
    (
        "script.output_key",
        |c| c.script().output_key = public(8).x_only_public_key().0.to_string(),
        Some(Reason::WrongScript),
    ),
    (
        "script.output_key",
        |c| c.script().output_key.clear(),
        Some(Reason::WrongScript),
    ),
    (
        "script.claim_leaf",
        |c| c.script().claim_leaf.replace_range(2..4, "00"),
        Some(Reason::WrongScript),
    ),
    (
        "script.claim_leaf",
        |c| c.script().claim_leaf.push('0'),
        Some(Reason::WrongScript),
    ),
    (
        "script.timeout_leaf",
        |c| c.script().timeout_leaf.replace_range(2..4, "00"),
        Some(Reason::WrongScript),
    ),
    (
        "script.timeout_leaf",
        |c| c.script().timeout_leaf.clear(),
        Some(Reason::WrongScript),
    ),
    (
        "funding",
        |c| {
            c.told.funding = Some(Funding {
                txid: "03".repeat(32),
                vout: 9,
                confirmations: 99,
            })
        },
        None,
    ),
    (
        "spend",
        |c| {
            c.told.spend = Some(Spend {
                txid: "03".repeat(32),
                kind: SpendKind::Refund,
                confirmations: 9,
            })
        },
        None,
    ),
    ("height", |c| c.told.height = Some(1), None),
    ("created_at", |c| c.told.created_at = 0, None),
    ("updated_at", |c| c.told.updated_at = 0, None),
];

fn other(choice: InternalKeyChoice) -> InternalKeyChoice {
    match choice {
        InternalKeyChoice::Musig2 => InternalKeyChoice::Unspendable,
        InternalKeyChoice::Unspendable => InternalKeyChoice::Musig2,
    }
}

/// Of loops out.
pub(super) const OUT: &[Lie<Case>] = &[
    (
        "pubkey",
        |c| c.told.pubkey = public(7).to_string(),
        Some(Reason::WrongClaimKey),
    ),
    (
        "server_pubkey",
        |c| c.told.server_pubkey = public(3).to_string(),
        Some(Reason::WrongRefundKey),
    ),
    (
        "server_pubkey",
        |c| c.told.server_pubkey.truncate(60),
        Some(Reason::WrongRefundKey),
    ),
    (
        "invoice_first",
        |c| c.told.invoice_first = c.told.invoice_first.map(|f| !f),
        Some(Reason::RequestMismatch),
    ),
    (
        "invoice_first",
        |c| c.told.invoice_first = None,
        Some(Reason::RequestMismatch),
    ),
    (
        "confirmations",
        |c| c.told.confirmations = 1,
        Some(Reason::ConfirmationsMismatch),
    ),
    (
        "publication_deadline",
        |c| c.told.publication_deadline = Some(TIP + 99),
        Some(Reason::RequestMismatch),
    ),
    (
        "payment_request",
        |c| c.told.payment_request = "lnbcrt1".into(),
        Some(Reason::InvoiceMalformed),
    ),
    (
        "payment_request",
        |c| c.told.payment_request = spoilt(c, |t| t.currency = Currency::Bitcoin),
        Some(Reason::InvoiceNetwork),
    ),
    (
        "payment_request",
        |c| c.told.payment_request = spoilt(c, |t| t.msat = t.msat.map(|msat| msat + 1)),
        Some(Reason::InvoiceAmount),
    ),
    (
        "payment_request",
        |c| c.told.payment_request = spoilt(c, |t| t.msat = t.msat.map(|msat| msat - 1)),
        Some(Reason::InvoiceAmount),
    ),
    (
        "payment_request",
        |c| c.told.payment_request = spoilt(c, |t| t.msat = None),
        Some(Reason::InvoiceAmount),
    ),
    (
        "payment_request",
        |c| c.told.payment_request = spoilt(c, |t| t.hash = hash(7)),
        Some(Reason::WrongHash),
    ),
    (
        "payment_request",
        |c| c.told.payment_request = spoilt(c, |t| t.made = NOW - Duration::from_secs(595)),
        Some(Reason::InvoiceExpired),
    ),
    (
        "payment_request",
        |c| c.told.payment_request = spoilt(c, |t| t.cltv = 999),
        Some(Reason::InvoiceCltv),
    ),
    (
        "payment_request",
        |c| {
            c.policy.payee = Some(public(5));
            c.told.payment_request = spoilt(c, |t| t.payee = 6);
        },
        Some(Reason::WrongPayee),
    ),
    ("fee", |c| c.told.fee -= 1, Some(Reason::InvoiceAmount)),
    (
        "cltv_expiry",
        |c| {
            c.relock(
                |htlc| htlc.timeout = Height(TIP + 21),
                own_internal(c.ask.internal),
            )
        },
        Some(Reason::RevealTooLate),
    ),
];

fn own_internal(choice: InternalKeyChoice) -> InternalKey {
    Case::taproot(Mode::Out, choice).internal()
}

fn spoilt(case: &Case, change: impl FnOnce(&mut InvoiceTerms)) -> String {
    let paid = if case.ask.mode == Mode::OutPlain {
        PREPAY
    } else {
        0
    };
    let mut terms = invoice(AMOUNT + FEE - paid);
    change(&mut terms);
    terms.invoice()
}

pub(super) fn prepaid(change: impl FnOnce(&mut InvoiceTerms)) -> Option<String> {
    let mut terms = InvoiceTerms {
        hash: hash(2),
        ..invoice(PREPAY)
    };
    change(&mut terms);
    Some(terms.invoice())
}

/// Of loops out whose coins are locked first.
pub(super) const PLAIN: &[Lie<Case>] = &[
    (
        "prepay_payment_request",
        |c| c.told.prepay_payment_request = prepaid(|t| t.msat = Some(300_001)),
        Some(Reason::PrepayAboveCap),
    ),
    (
        "prepay_payment_request",
        |c| c.told.prepay_payment_request = prepaid(|t| t.hash = hash(1)),
        Some(Reason::PrepayInvoice),
    ),
    (
        "prepay_payment_request",
        |c| c.told.prepay_payment_request = prepaid(|t| t.made = NOW - Duration::from_secs(601)),
        Some(Reason::PrepayInvoice),
    ),
    // What was not paid before cannot be left out of the invoice.
    (
        "prepay_payment_request",
        |c| c.told.prepay_payment_request = None,
        Some(Reason::InvoiceAmount),
    ),
];

/// Of loops in.
pub(super) const IN: &[Lie<Case>] = &[
    (
        "pubkey",
        |c| c.told.pubkey = public(7).to_string(),
        Some(Reason::WrongRefundKey),
    ),
    (
        "server_pubkey",
        |c| c.told.server_pubkey = public(3).to_string(),
        Some(Reason::WrongClaimKey),
    ),
    (
        "server_pubkey",
        |c| c.told.server_pubkey = "02".into(),
        Some(Reason::WrongClaimKey),
    ),
    (
        "invoice_first",
        |c| c.told.invoice_first = Some(true),
        Some(Reason::RequestMismatch),
    ),
    (
        "payment_request",
        |c| c.told.payment_request = invoice(AMOUNT - 1).invoice(),
        Some(Reason::WrongInvoice),
    ),
    (
        "prepay_payment_request",
        |c| c.told.prepay_payment_request = prepaid(|_| {}),
        Some(Reason::PrepayInvoice),
    ),
    // How deep the server wants it is the server's matter.
    ("confirmations", |c| c.told.confirmations = 9, None),
    (
        "publication_deadline",
        |c| c.told.publication_deadline = Some(1),
        None,
    ),
    (
        "cltv_expiry",
        |c| {
            c.relock(
                |htlc| htlc.timeout = Height(TIP + 1_009),
                own_internal(c.ask.internal),
            )
        },
        Some(Reason::TimeoutTooFar),
    ),
    (
        "cltv_expiry",
        |c| {
            c.relock(
                |htlc| htlc.timeout = Height(TIP + 23),
                own_internal(c.ask.internal),
            )
        },
        Some(Reason::TimeoutTooNear),
    ),
];
