//! Correct replies to all three kinds of loops, and each of their fields changed: every lie has its name, or does no harm.

use std::collections::BTreeSet;

use bitcoin::hex::DisplayHex as _;
use bitcoin::secp256k1::{SECP256K1, SecretKey};
use lightning_invoice::{Currency, InvoiceBuilder, PaymentSecret};
use swaprig_proto::loops::{Funding, Spend, SpendKind};
use swaprig_units::Preimage;

use super::*;
use crate::client::loops::Caps;
use crate::swap::Htlc;
use crate::swap::taproot::Taproot;

const NOW: Duration = Duration::from_secs(1_800_000_000);
const AMOUNT: u64 = 250_000;
const FEE: u64 = 1_000;
const PREPAY: u64 = 300;
const TIP: u32 = 500;
const TIMEOUT: u32 = TIP + 100;
const R: [u8; 32] = [9; 32];

fn key(n: u8) -> SecretKey {
    SecretKey::from_slice(&[n; 32]).unwrap()
}

fn public(n: u8) -> PublicKey {
    key(n).public_key(SECP256K1)
}

fn hash(n: u8) -> PaymentHash {
    Preimage([n; 32]).payment_hash()
}

/// What an invoice says, and who signs it.
struct Terms {
    currency: Currency,
    msat: Option<u64>,
    hash: PaymentHash,
    made: Duration,
    cltv: u64,
    payee: u8,
}

impl Terms {
    fn of(sat: u64) -> Self {
        Terms {
            currency: Currency::Regtest,
            msat: Some(sat * 1_000),
            hash: hash(1),
            made: NOW,
            cltv: 42,
            payee: 5,
        }
    }

    fn invoice(&self) -> String {
        let hash = bitcoin::hashes::Hash::from_byte_array(self.hash.0);
        let builder = InvoiceBuilder::new(self.currency.clone())
            .description("loop".into())
            .payment_hash(hash)
            .payment_secret(PaymentSecret([2; 32]))
            .duration_since_epoch(self.made)
            .expiry_time(Duration::from_secs(600))
            .min_final_cltv_expiry_delta(self.cltv);
        let builder = match self.msat {
            Some(msat) => builder.amount_milli_satoshis(msat),
            None => builder,
        };
        let key = key(self.payee);
        builder
            .build_signed(|message| SECP256K1.sign_ecdsa_recoverable(message, &key))
            .unwrap()
            .to_string()
    }
}

/// A whole honest case, to be spoilt.
struct Case {
    ask: Ask,
    policy: Policy,
    offer: Option<Offer>,
    contract: Option<Contract>,
    told: Loop,
}

/// What a server says of an output.
fn lock(told: &mut Loop, taproot: &Taproot) {
    let info = taproot.spend_info();
    told.cltv_expiry = Some(taproot.htlc().timeout.0);
    told.address = Some(taproot.address(Network::Regtest).to_string());
    told.script = Some(Script {
        internal_key: info.internal_key.to_string(),
        tweak: info.r.map(|r| r.to_lower_hex_string()),
        merkle_root: info.merkle_root.to_string(),
        output_key: info.output_key.to_string(),
        claim_leaf: info.claim_leaf.to_hex_string(),
        timeout_leaf: info.timeout_leaf.to_hex_string(),
    });
}

fn htlc(mode: Mode) -> Htlc {
    let (own, server) = (public(3), public(6));
    let (claimer, refunder) = match mode.direction() {
        Direction::Out => (own, server),
        Direction::In => (server, own),
    };
    Htlc {
        payment_hash: hash(1),
        claimer,
        refunder,
        timeout: Height(TIMEOUT),
    }
}

impl Case {
    /// Before the payment is held, where it is.
    fn of(mode: Mode, internal: InternalKeyChoice) -> Self {
        let own = Terms::of(AMOUNT).invoice();
        let is_in = mode == Mode::In;
        let ask = Ask {
            id: Uuid::from_bytes([4; 16]),
            mode,
            amount: Sat(AMOUNT),
            internal,
            confirmations: 2,
            publication_deadline: (!is_in).then_some(Height(TIP + 6)),
            publish_by: Height(TIP + 12),
            key: public(3),
            payment_hash: (mode != Mode::OutPlain).then(|| hash(1)),
            payment_request: is_in.then(|| own.clone()),
            caps: Caps {
                swap_fee: Sat(FEE),
                miner_fee: Sat(1_000),
                routing_fee: Msat(1_000),
                prepay: Sat(PREPAY),
            },
            conf_target: 6,
            destination: "bcrt1q".into(),
            cooperative: true,
            external: false,
            since: Height(TIP),
        };
        let prepay = (mode == Mode::OutPlain).then(|| {
            let terms = Terms {
                hash: hash(2),
                ..Terms::of(PREPAY)
            };
            terms.invoice()
        });
        let paid = if prepay.is_some() { PREPAY } else { 0 };
        let mut told = Loop {
            id: "7d1b4c4e-2a53-4a31-9b3e-1f0e3d4c5b6a".into(),
            payment_hash: hash(1).to_string(),
            direction: mode.direction(),
            state: State::Created,
            phase: "awaiting_payment".into(),
            reason: None,
            amount: AMOUNT,
            fee: FEE,
            payment_request: match is_in {
                true => own,
                false => Terms::of(AMOUNT + FEE - paid).invoice(),
            },
            prepay_payment_request: prepay,
            pubkey: public(3).to_string(),
            server_pubkey: public(6).to_string(),
            invoice_first: (!is_in).then_some(mode == Mode::Out),
            internal_key: internal,
            confirmations: 2,
            cltv_expiry: None,
            address: None,
            script: None,
            funding: None,
            spend: None,
            publication_deadline: (!is_in).then_some(TIP + 6),
            height: Some(TIP),
            created_at: 1,
            updated_at: 2,
            is_final: false,
        };
        if mode != Mode::Out {
            lock(&mut told, &Case::taproot(mode, internal));
        }
        Case {
            ask,
            policy: Policy::default(),
            offer: None,
            contract: None,
            told,
        }
    }

    fn taproot(mode: Mode, internal: InternalKeyChoice) -> Taproot {
        let internal = match internal {
            InternalKeyChoice::Musig2 => InternalKey::Musig2,
            InternalKeyChoice::Unspendable => InternalKey::Unspendable { r: R },
        };
        Taproot::new(htlc(mode), internal).unwrap()
    }

    /// With the contract, which the server tells once it holds the payment.
    fn held(mode: Mode, internal: InternalKeyChoice) -> Self {
        let mut case = Case::of(mode, internal);
        lock(&mut case.told, &Case::taproot(mode, internal));
        case
    }

    fn script(&mut self) -> &mut Script {
        self.told.script.as_mut().unwrap()
    }

    /// Another output, told without a contradiction.
    fn relock(&mut self, change: impl FnOnce(&mut Htlc), internal: InternalKey) {
        let mut htlc = htlc(self.ask.mode);
        change(&mut htlc);
        lock(&mut self.told, &Taproot::new(htlc, internal).unwrap());
    }

    fn verdict(&self) -> Result<(Offer, Option<Contract>), Refusal> {
        let against = Against {
            ask: &self.ask,
            offer: self.offer.as_ref(),
            contract: self.contract.as_ref(),
            policy: &self.policy,
            network: Network::Regtest,
            now: NOW,
        };
        let agreed = reply(&against, &self.told)?;
        is_open(&self.told)?;
        if let Some(contract) = &agreed.1 {
            time(&self.policy, &self.ask, contract, Height(TIP))?;
        }
        Ok(agreed)
    }
}

const MUSIG: InternalKeyChoice = InternalKeyChoice::Musig2;
const NUMS: InternalKeyChoice = InternalKeyChoice::Unspendable;

#[test]
fn honest_replies_are_believed_and_what_is_stored_makes_the_same_output() {
    for mode in [Mode::Out, Mode::OutPlain, Mode::In] {
        for internal in [MUSIG, NUMS] {
            let mut case = Case::of(mode, internal);
            let (offer, before) = case.verdict().unwrap();
            assert_eq!(before.is_none(), mode == Mode::Out, "{mode:?}");
            case = Case {
                offer: Some(offer.clone()),
                ..Case::held(mode, internal)
            };
            let (again, contract) = case.verdict().unwrap();
            assert_eq!(again, offer);
            let contract = contract.unwrap();
            let locked = AMOUNT + if mode == Mode::In { FEE } else { 0 };
            assert_eq!(contract.value, Sat(locked));
            assert_eq!(can_cooperate(&contract), internal == MUSIG);
            let rebuilt = taproot(&case.ask, &offer, &contract).unwrap();
            assert_eq!(rebuilt, Case::taproot(mode, internal));
            // The same reply later, when the invoice has expired, is no news.
            case.contract = Some(contract);
            case.policy.invoice_margin = Duration::from_secs(9_999);
            assert!(case.verdict().is_ok(), "{mode:?}");
        }
    }
}

/// A field, a lie about it, and its name; `None`: it does no harm.
type Lie = (&'static str, fn(&mut Case), Option<Reason>);

/// For every kind of loop.
const ALL: &[Lie] = &[
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
const OUT: &[Lie] = &[
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

fn spoilt(case: &Case, change: impl FnOnce(&mut Terms)) -> String {
    let paid = if case.ask.mode == Mode::OutPlain {
        PREPAY
    } else {
        0
    };
    let mut terms = Terms::of(AMOUNT + FEE - paid);
    change(&mut terms);
    terms.invoice()
}

fn prepaid(change: impl FnOnce(&mut Terms)) -> Option<String> {
    let mut terms = Terms {
        hash: hash(2),
        ..Terms::of(PREPAY)
    };
    change(&mut terms);
    Some(terms.invoice())
}

/// Of loops out whose coins are locked first.
const PLAIN: &[Lie] = &[
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
const IN: &[Lie] = &[
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
        |c| c.told.payment_request = Terms::of(AMOUNT - 1).invoice(),
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

fn check_all(mode: Mode, internal: InternalKeyChoice, lies: &[Lie]) {
    for (at, (field, lie, wanted)) in lies.iter().enumerate() {
        let mut case = Case::held(mode, internal);
        assert!(case.verdict().is_ok());
        lie(&mut case);
        let reason = case.verdict().err();
        let shown = format!("{mode:?} {internal:?} {field} ({at}): {reason:?}");
        assert_eq!(reason.map(|refusal| refusal.reason), *wanted, "{shown}");
    }
}

#[test]
fn a_lie_about_any_field_is_refused_by_its_name() {
    for internal in [MUSIG, NUMS] {
        for mode in [Mode::Out, Mode::OutPlain, Mode::In] {
            check_all(mode, internal, ALL);
        }
        check_all(Mode::Out, internal, OUT);
        check_all(Mode::In, internal, IN);
    }
    let late = |(field, ..): &&Lie| *field != "cltv_expiry";
    let plain: Vec<Lie> = OUT.iter().filter(late).copied().collect();
    check_all(Mode::OutPlain, MUSIG, &plain);
    check_all(Mode::OutPlain, MUSIG, PLAIN);
    let mut held = Case::held(Mode::Out, MUSIG);
    held.told.prepay_payment_request = prepaid(|_| {});
    assert_eq!(held.verdict().unwrap_err().reason, Reason::PrepayInvoice);
}

#[test]
fn every_field_of_a_reply_is_lied_about() {
    let mut fields: BTreeSet<String> = BTreeSet::new();
    for mode in [Mode::OutPlain, Mode::In] {
        let mut told = Case::held(mode, NUMS).told;
        told.funding = Some(Funding {
            txid: String::new(),
            vout: 0,
            confirmations: 0,
        });
        told.spend = Some(Spend {
            txid: String::new(),
            kind: SpendKind::Claim,
            confirmations: 0,
        });
        told.reason = Some(String::new());
        let value = serde_json::to_value(&told).unwrap();
        fields.extend(value.as_object().unwrap().keys().cloned());
        let script = value["script"].as_object().unwrap();
        fields.extend(script.keys().map(|key| format!("script.{key}")));
    }
    let lies = ALL.iter().chain(OUT).chain(PLAIN).chain(IN);
    let mut lied: BTreeSet<String> = lies.map(|(field, ..)| (*field).to_owned()).collect();
    // `the_proof_of_an_unspendable_key_is_its_r`
    lied.insert("script.tweak".into());
    assert_eq!(lied, fields);
}

#[test]
fn the_proof_of_an_unspendable_key_is_its_r() {
    for tweak in [
        None,
        Some("08".repeat(32)),
        Some("00".repeat(32)),
        Some("zz".into()),
    ] {
        let mut case = Case::held(Mode::Out, NUMS);
        case.script().tweak = tweak.clone();
        let reason = case.verdict().unwrap_err().reason;
        assert_eq!(reason, Reason::WrongInternalKey, "{tweak:?}");
    }
    // A MuSig2 key that is told to be tweaked, and a key that the server alone has.
    let mut case = Case::held(Mode::Out, MUSIG);
    case.script().tweak = Some("09".repeat(32));
    assert_eq!(case.verdict().unwrap_err().reason, Reason::WrongInternalKey);
    case.relock(|_| {}, InternalKey::Unspendable { r: R });
    assert_eq!(case.verdict().unwrap_err().reason, Reason::WrongInternalKey);
}

#[test]
fn a_contract_of_other_keys_or_another_hash_is_no_contract_of_ours() {
    for mode in [Mode::Out, Mode::OutPlain, Mode::In] {
        let changes: [fn(&mut Htlc); 3] = [
            |htlc| htlc.claimer = public(8),
            |htlc| htlc.refunder = public(8),
            |htlc| htlc.payment_hash = hash(8),
        ];
        for change in changes {
            let mut case = Case::held(mode, MUSIG);
            case.relock(change, InternalKey::Musig2);
            assert!(case.verdict().is_err(), "{mode:?}");
        }
    }
}

#[test]
fn terms_do_not_change_once_they_are_agreed() {
    for mode in [Mode::Out, Mode::OutPlain, Mode::In] {
        let agreed = || {
            let mut case = Case::held(mode, MUSIG);
            let (offer, contract) = case.verdict().unwrap();
            (case.offer, case.contract) = (Some(offer), contract);
            case
        };
        assert!(agreed().verdict().is_ok());
        let changes: [fn(&mut Case); 4] = [
            |c| c.told.fee -= 1,
            |c| c.told.server_pubkey = public(8).to_string(),
            |c| c.told.id = Uuid::nil().to_string(),
            |c| {
                c.relock(
                    |htlc| htlc.timeout = Height(TIMEOUT - 1),
                    InternalKey::Musig2,
                )
            },
        ];
        for (at, change) in changes.into_iter().enumerate() {
            let mut case = agreed();
            change(&mut case);
            let reason = case.verdict().unwrap_err().reason;
            assert_eq!(reason, Reason::TermsChanged, "{mode:?} {at}");
        }
        let mut vanished = agreed();
        (
            vanished.told.cltv_expiry,
            vanished.told.address,
            vanished.told.script,
        ) = (None, None, None);
        assert!(vanished.verdict().is_err());
    }
}
