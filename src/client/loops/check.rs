//! What a client believes of a server's reply before it pays or locks anything: nothing that it cannot check. Pure.
//!
//! What the reply says of the state of the chain is not read at all: the client looks by itself.

use std::time::Duration;

use bitcoin::address::NetworkUnchecked;
use bitcoin::hex::FromHex;
use bitcoin::secp256k1::{PublicKey, XOnlyPublicKey};
use bitcoin::taproot::TapNodeHash;
use bitcoin::{Address, Network, ScriptBuf};
use swaprig_proto::loops::{Direction, InternalKeyChoice, Loop, Script, State};
use swaprig_units::{BlockDelta, Height, Msat, PaymentHash, Sat};
use uuid::Uuid;

use super::super::invoice::{Invoice, InvoiceRules};
use super::super::refusal::{must, no, read};
use super::super::{Reason, Refusal};
use super::Policy;
use super::record::{Ask, Contract, Mode, Offer, Prepay, taproot};
use crate::swap::taproot::{self as htlc, Field};
use crate::swap::{InternalChoice, InternalKey};

/// What an honest reply must agree with.
#[derive(Debug, Clone, Copy)]
pub(super) struct Against<'a> {
    /// What was asked for.
    pub(super) ask: &'a Ask,
    /// What was agreed before.
    pub(super) offer: Option<&'a Offer>,
    /// What was locked, or was to be, before.
    pub(super) contract: Option<&'a Contract>,
    /// The client's rules.
    pub(super) policy: &'a Policy,
    /// Which Bitcoin.
    pub(super) network: Network,
    /// The time since 1970.
    pub(super) now: Duration,
}

/// Checks all that a reply says of the terms: of the contract, too, once the server tells it.
///
/// # Errors
/// The first rule that is broken.
pub(super) fn reply(
    against: &Against<'_>,
    told: &Loop,
) -> Result<(Offer, Option<Contract>), Refusal> {
    let ask = against.ask;
    identity(ask, told)?;
    must(told.amount == ask.amount.0, Reason::AmountMismatch, || {
        format!("amount is {}, not {}", told.amount, ask.amount.0)
    })?;
    let fee = Sat(told.fee);
    must(fee <= ask.caps.swap_fee, Reason::SwapFeeAboveCap, || {
        format!("fee is {fee}, the most is {}", ask.caps.swap_fee)
    })?;
    let server_key: PublicKey = read(
        "server_pubkey",
        &told.server_pubkey,
        server_key_reason(ask.mode),
    )?;
    must(
        server_key != ask.key && told.server_pubkey == server_key.to_string(),
        server_key_reason(ask.mode),
        || format!("server_pubkey is `{}`", told.server_pubkey),
    )?;
    let prepay = prepay(against, told)?;
    let offer = match ask.mode {
        Mode::In => own_invoice(against, told, fee, server_key)?,
        Mode::Out | Mode::OutPlain => invoice(against, told, fee, server_key, prepay)?,
    };
    if let Some(before) = against.offer {
        must(*before == offer, Reason::TermsChanged, || {
            "fee, invoice or key differ from the first reply".into()
        })?;
    }
    let contract = contract(against, told, &offer)?;
    if let Some(before) = against.contract {
        must(
            contract.as_ref() == Some(before),
            Reason::TermsChanged,
            || "timeout or internal key differ from the first reply".into(),
        )?;
    }
    Ok((offer, contract))
}

fn server_key_reason(mode: Mode) -> Reason {
    match mode.direction() {
        Direction::Out => Reason::WrongRefundKey,
        Direction::In => Reason::WrongClaimKey,
    }
}

fn own_key_reason(mode: Mode) -> Reason {
    match mode.direction() {
        Direction::Out => Reason::WrongClaimKey,
        Direction::In => Reason::WrongRefundKey,
    }
}

/// Whether the reply is about what was asked for.
fn identity(ask: &Ask, told: &Loop) -> Result<(), Refusal> {
    let invoice_first = match ask.mode {
        Mode::Out => Some(true),
        Mode::OutPlain => Some(false),
        Mode::In => None,
    };
    let direction = ask.mode.direction();
    must(
        told.direction == direction && told.invoice_first == invoice_first,
        Reason::RequestMismatch,
        || {
            let (way, first) = (told.direction.word(), told.invoice_first);
            format!("direction is {way}, invoice_first is {first:?}")
        },
    )?;
    must(
        told.pubkey == ask.key.to_string(),
        own_key_reason(ask.mode),
        || format!("pubkey is `{}`, not {}", told.pubkey, ask.key),
    )?;
    must(
        told.internal_key == ask.internal,
        Reason::WrongInternalKey,
        || {
            format!(
                "internal_key is {:?}, not {:?}",
                told.internal_key, ask.internal
            )
        },
    )?;
    if direction == Direction::Out {
        must(
            told.confirmations == ask.confirmations,
            Reason::ConfirmationsMismatch,
            || {
                format!(
                    "confirmations is {}, not {}",
                    told.confirmations, ask.confirmations
                )
            },
        )?;
        let asked = ask.publication_deadline.map(|height| height.0);
        must(
            told.publication_deadline == asked || asked.is_none(),
            Reason::RequestMismatch,
            || {
                let told = told.publication_deadline;
                format!("publication_deadline is {told:?}, not {asked:?}")
            },
        )?;
    }
    Ok(())
}

fn read_invoice(against: &Against<'_>, text: &str) -> Result<Invoice, Refusal> {
    let policy = against.policy;
    let rules = InvoiceRules {
        network: against.network,
        now: against.now,
        margin: policy.invoice_margin,
        payee: policy.payee,
        max_total_cltv: max_total_cltv(policy, against.ask.mode),
    };
    rules.read(text)
}

/// The most blocks for which a payment of that kind may be locked.
pub(super) fn max_total_cltv(policy: &Policy, mode: Mode) -> BlockDelta {
    match mode {
        Mode::Out => policy.max_held_cltv,
        Mode::OutPlain | Mode::In => policy.max_plain_cltv,
    }
}

fn hash_of(told: &Loop) -> Result<PaymentHash, Refusal> {
    read("payment_hash", &told.payment_hash, Reason::WrongHash)
}

fn server_id(told: &Loop) -> Result<Uuid, Refusal> {
    read("id", &told.id, Reason::MalformedReply)
}

/// The server's invoice, of a loop out. One that was agreed before may have expired meanwhile, and is not read again.
fn invoice(
    against: &Against<'_>,
    told: &Loop,
    fee: Sat,
    server_key: PublicKey,
    prepay: Option<Prepay>,
) -> Result<Offer, Refusal> {
    let hash = hash_of(told)?;
    let server_id = server_id(told)?;
    let ask = against.ask;
    if let Some(own) = ask.payment_hash {
        must(hash == own, Reason::WrongHash, || {
            format!("payment_hash is {hash}, not {own}")
        })?;
    }
    let (price, expires_at) = match against.offer {
        Some(before) if before.payment_request == told.payment_request => {
            (before.price, before.expires_at)
        }
        Some(_) => return no(Reason::TermsChanged, "payment_request is another invoice"),
        None => {
            let invoice = read_invoice(against, &told.payment_request)?;
            must(invoice.hash == hash, Reason::WrongHash, || {
                format!("payment_hash is {hash}, the invoice's is {}", invoice.hash)
            })?;
            let paid = prepay.as_ref().map_or(Msat(0), |prepay| prepay.amount);
            let wanted = ask.amount.checked_add(fee).and_then(Sat::to_msat);
            let wanted = wanted.and_then(|all| all.checked_sub(paid));
            must(
                Some(invoice.amount) == wanted,
                Reason::InvoiceAmount,
                || {
                    let all = "amount, and fee, less what is paid before, are";
                    format!("it asks for {}; {all} {wanted:?}", invoice.amount)
                },
            )?;
            (invoice.amount, invoice.expires_at)
        }
    };
    if prepay.as_ref().is_some_and(|p| p.payment_hash == hash) {
        return no(Reason::PrepayInvoice, "it has the loop's own payment hash");
    }
    Ok(Offer {
        server_id,
        payment_request: told.payment_request.clone(),
        price,
        payment_hash: hash,
        expires_at,
        fee,
        server_key,
        prepay,
    })
}

/// The client's own invoice, of a loop in.
fn own_invoice(
    against: &Against<'_>,
    told: &Loop,
    fee: Sat,
    server_key: PublicKey,
) -> Result<Offer, Refusal> {
    let ask = against.ask;
    let own = ask.payment_request.as_deref().unwrap_or_default();
    must(told.payment_request == own, Reason::WrongInvoice, || {
        format!("payment_request is `{}`", told.payment_request)
    })?;
    let hash = hash_of(told)?;
    must(ask.payment_hash == Some(hash), Reason::WrongHash, || {
        format!("payment_hash is {hash}, not {:?}", ask.payment_hash)
    })?;
    let parsed = own.parse::<lightning_invoice::Bolt11Invoice>();
    let parsed = parsed.map_err(|e| Refusal::new(Reason::InvoiceMalformed, format!("own: {e}")))?;
    Ok(Offer {
        server_id: server_id(told)?,
        payment_request: told.payment_request.clone(),
        price: Msat(parsed.amount_milli_satoshis().unwrap_or(0)),
        payment_hash: hash,
        expires_at: parsed.expires_at().map_or(u64::MAX, |at| at.as_secs()),
        fee,
        server_key,
        prepay: None,
    })
}

fn prepay(against: &Against<'_>, told: &Loop) -> Result<Option<Prepay>, Refusal> {
    let Some(text) = &told.prepay_payment_request else {
        return Ok(None);
    };
    if against.ask.mode != Mode::OutPlain {
        let seen = "there is one, and nothing is to be paid before";
        return no(Reason::PrepayInvoice, seen);
    }
    if let Some(before) = against.offer.and_then(|offer| offer.prepay.as_ref())
        && before.payment_request == *text
    {
        return Ok(Some(before.clone()));
    }
    let invoice = read_invoice(against, text)
        .map_err(|refusal| Refusal::new(Reason::PrepayInvoice, refusal.to_string()))?;
    let cap = against.ask.caps.prepay;
    must(
        Some(invoice.amount) <= cap.to_msat(),
        Reason::PrepayAboveCap,
        || format!("it asks for {}, the most is {cap}", invoice.amount),
    )?;
    Ok(Some(Prepay {
        payment_request: text.clone(),
        payment_hash: invoice.hash,
        amount: invoice.amount,
    }))
}

/// The contract, rebuilt from the client's own data and held against what the server says of it; `None` when it says nothing of it yet,
/// which it may only while it waits for the payment.
fn contract(
    against: &Against<'_>,
    told: &Loop,
    offer: &Offer,
) -> Result<Option<Contract>, Refusal> {
    let (Some(timeout), Some(address), Some(script)) =
        (told.cltv_expiry, &told.address, &told.script)
    else {
        let is_nothing =
            told.cltv_expiry.is_none() && told.address.is_none() && told.script.is_none();
        must(
            is_nothing && against.ask.mode == Mode::Out,
            Reason::MalformedReply,
            || "cltv_expiry, address or script is missing".into(),
        )?;
        return Ok(None);
    };
    let ask = against.ask;
    let reply = said(ask, offer, timeout, address, script)?;
    let expected = htlc::Expected {
        payment_hash: offer.payment_hash,
        side: match ask.mode.direction() {
            Direction::Out => htlc::Side::Claimer,
            Direction::In => htlc::Side::Refunder,
        },
        key: ask.key,
        internal: choice(ask.internal),
        network: against.network,
    };
    let checked = htlc::check(&expected, &reply)
        .map_err(|wrong| Refusal::new(reason_of(wrong.field, ask.mode), wrong.to_string()))?;
    let value = match ask.mode.direction() {
        Direction::Out => Some(ask.amount),
        Direction::In => ask.amount.checked_add(offer.fee),
    };
    let Some(value) = value else {
        return no(Reason::SwapFeeAboveCap, "amount and fee do not fit");
    };
    let contract = Contract {
        timeout: Height(timeout),
        internal: checked.internal(),
        value,
    };
    // What is stored must come to the same output as what was checked.
    let again = taproot(ask, offer, &contract);
    must(again.as_ref() == Ok(&checked), Reason::WrongScript, || {
        "the stored terms come to another output".into()
    })?;
    Ok(Some(contract))
}

/// What is asked for, as the core calls it.
pub(super) fn choice(choice: InternalKeyChoice) -> InternalChoice {
    match choice {
        InternalKeyChoice::Musig2 => InternalChoice::Musig2,
        InternalKeyChoice::Unspendable => InternalChoice::Unspendable,
    }
}

fn reason_of(field: Field, mode: Mode) -> Reason {
    match field {
        Field::PaymentHash => Reason::WrongHash,
        Field::Claimer | Field::Refunder => server_key_reason(mode),
        Field::Timeout => Reason::TimeoutNotAHeight,
        Field::InternalKey | Field::Tweak => Reason::WrongInternalKey,
        Field::MerkleRoot
        | Field::OutputKey
        | Field::ClaimLeaf
        | Field::TimeoutLeaf
        | Field::ClaimControl
        | Field::TimeoutControl => Reason::WrongScript,
        Field::Address => Reason::WrongAddress,
    }
}

/// What the server says, in types.
fn said(
    ask: &Ask,
    offer: &Offer,
    timeout: u32,
    address: &str,
    script: &Script,
) -> Result<htlc::Reply, Refusal> {
    let (claimer, refunder) = match ask.mode.direction() {
        Direction::Out => (ask.key, offer.server_key),
        Direction::In => (offer.server_key, ask.key),
    };
    let leaf = |field: &str, text: &str| {
        let bytes = Vec::<u8>::from_hex(text);
        let wrong = |_| Refusal::new(Reason::WrongScript, format!("{field} is `{text}`"));
        bytes.map(ScriptBuf::from_bytes).map_err(wrong)
    };
    let tweak = |text: &String| {
        let wrong = |_| Refusal::new(Reason::WrongInternalKey, format!("tweak is `{text}`"));
        <[u8; 32]>::from_hex(text).map_err(wrong)
    };
    let address: Address<NetworkUnchecked> = read("address", address, Reason::WrongAddress)?;
    Ok(htlc::Reply {
        payment_hash: offer.payment_hash,
        claimer,
        refunder,
        timeout: Height(timeout),
        internal_key: read::<XOnlyPublicKey>(
            "internal_key",
            &script.internal_key,
            Reason::WrongInternalKey,
        )?,
        r: script.tweak.as_ref().map(tweak).transpose()?,
        merkle_root: read::<TapNodeHash>("merkle_root", &script.merkle_root, Reason::WrongScript)?,
        output_key: read::<XOnlyPublicKey>("output_key", &script.output_key, Reason::WrongScript)?,
        claim_leaf: leaf("claim_leaf", &script.claim_leaf)?,
        timeout_leaf: leaf("timeout_leaf", &script.timeout_leaf)?,
        address,
    })
}

/// Whether the loop is one that can still be paid or funded, as far as the server says.
///
/// # Errors
/// When it is over.
pub(super) fn is_open(told: &Loop) -> Result<(), Refusal> {
    let over = match told.state {
        State::Created | State::Funded => told.is_final,
        State::Claimed | State::Refunded | State::Failed => true,
    };
    must(!over, Reason::NotPayable, || {
        let reason = told.reason.as_deref().unwrap_or("it tells no reason");
        format!("{}: {reason}", told.state.word())
    })
}

/// Whether the time is right to rely on a contract that was just agreed.
///
/// # Errors
/// The rule that is broken.
pub(super) fn time(
    policy: &Policy,
    ask: &Ask,
    contract: &Contract,
    tip: Height,
) -> Result<(), Refusal> {
    let left = contract.timeout.0.saturating_sub(tip.0);
    let seen = |needed: BlockDelta| {
        format!(
            "{left} blocks are left until {}, {} are needed",
            contract.timeout, needed.0
        )
    };
    match ask.mode {
        // The preimage must be shown, when the funding is deep enough, with this many blocks left.
        Mode::Out => {
            let needed = BlockDelta(policy.claim_margin.0.saturating_add(ask.confirmations));
            must(left >= needed.0, Reason::RevealTooLate, || seen(needed))
        }
        Mode::OutPlain => {
            let needed = policy.needed();
            must(left >= needed.0, Reason::TimeoutTooNear, || seen(needed))
        }
        Mode::In => {
            let (least, most) = (policy.min_lock, policy.max_lock);
            must(left >= least.0, Reason::TimeoutTooNear, || seen(least))?;
            must(left <= most.0, Reason::TimeoutTooFar, || {
                format!(
                    "the coins would be locked for {left} blocks, the most is {}",
                    most.0
                )
            })
        }
    }
}

/// Whether a contract can be spent by one signature of both.
pub(super) fn can_cooperate(contract: &Contract) -> bool {
    match contract.internal {
        InternalKey::Musig2 => true,
        InternalKey::Unspendable { .. } => false,
    }
}

#[cfg(test)]
mod tests;
