//! Correct replies to all three kinds of loops, and each of their fields changed: every lie has its name, or does no harm.

mod lies;

use std::collections::BTreeSet;

use bitcoin::hex::DisplayHex as _;
use swaprig_proto::loops::{Funding, Spend, SpendKind};

use super::*;
use crate::client::lies::{InvoiceTerms, Lie, NOW, check_all, hash, public};
use crate::client::loops::Caps;
use crate::swap::Htlc;
use crate::swap::taproot::Taproot;
use lies::{ALL, IN, OUT, PLAIN, prepaid};

const AMOUNT: u64 = 250_000;
const FEE: u64 = 1_000;
const PREPAY: u64 = 300;
const TIP: u32 = 500;
const TIMEOUT: u32 = TIP + 100;
const R: [u8; 32] = [9; 32];

fn invoice(sat: u64) -> InvoiceTerms {
    InvoiceTerms::of("loop", sat * 1_000)
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
        let own = invoice(AMOUNT).invoice();
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
            let terms = InvoiceTerms {
                hash: hash(2),
                ..invoice(PREPAY)
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
                false => invoice(AMOUNT + FEE - paid).invoice(),
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

fn check_each(mode: Mode, internal: InternalKeyChoice, lies: &[Lie<Case>]) {
    let of = format!("{mode:?} {internal:?}");
    check_all(|| Case::held(mode, internal), Case::verdict, lies, &of);
}

#[test]
fn a_lie_about_any_field_is_refused_by_its_name() {
    for internal in [MUSIG, NUMS] {
        for mode in [Mode::Out, Mode::OutPlain, Mode::In] {
            check_each(mode, internal, ALL);
        }
        check_each(Mode::Out, internal, OUT);
        check_each(Mode::In, internal, IN);
    }
    let late = |(field, ..): &&Lie<Case>| *field != "cltv_expiry";
    let plain: Vec<Lie<Case>> = OUT.iter().filter(late).copied().collect();
    check_each(Mode::OutPlain, MUSIG, &plain);
    check_each(Mode::OutPlain, MUSIG, PLAIN);
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
