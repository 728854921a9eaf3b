//! A correct reply, and each of its fields changed: every lie has its name, or does no harm.

mod lies;

use std::collections::BTreeSet;

use elements::encode::serialize_hex;
use elements::{LockTime, OutPoint, TxIn, TxOut, TxOutWitness};
use uuid::Uuid;

use super::*;
use crate::client::lies::{InvoiceTerms, Lie, NOW, check_all, hash, public};
use crate::swap::FeeRate;

const PRICE: u64 = 60_000_000;
const AMOUNT: u64 = 50_000;
const FEE_VALUE: u64 = 500;
const TIP: u32 = 40_000;
const TIMEOUT: u32 = TIP + 2_000;
const SWAP_ID: &str = "7d1b4c4e-2a53-4a31-9b3e-1f0e3d4c5b6a";

fn asset(n: u8) -> AssetId {
    AssetId::from_byte_array([n; 32])
}

fn honest_invoice() -> InvoiceTerms {
    InvoiceTerms::of(&format!("swap:{SWAP_ID}"), PRICE)
}

/// A whole honest case, to be spoilt.
struct Case {
    request: Request,
    policy: Policy,
    known: Option<SwapId>,
    reply: v1::Swap,
    transaction: Option<Transaction>,
    seen: Seen,
}

fn explicit(asset: AssetId, value: u64, script: Script) -> TxOut {
    TxOut {
        asset: confidential::Asset::Explicit(asset),
        value: confidential::Value::Explicit(value),
        nonce: confidential::Nonce::Null,
        script_pubkey: script,
        witness: TxOutWitness::empty(),
    }
}

impl Case {
    fn lbtc() -> Self {
        Case::of(asset(1), 0)
    }

    fn gold() -> Self {
        Case::of(asset(2), FEE_VALUE)
    }

    fn of(asset_id: AssetId, fee_value: u64) -> Self {
        let request = Request {
            request_id: Uuid::from_bytes([4; 16]),
            asset: asset_id,
            amount: Units(AMOUNT),
            claimer: public(3),
            min_confirmations: 2,
            max_price: Msat(PRICE),
        };
        let htlc = Htlc {
            payment_hash: hash(1),
            claimer: public(3),
            refunder: public(6),
            timeout: Height(TIMEOUT),
        };
        let script = htlc.script_pubkey();
        let mut output = vec![
            explicit(asset(1), 77, Script::new()),
            explicit(asset_id, AMOUNT, script.clone()),
        ];
        if fee_value != 0 {
            output.push(explicit(asset(1), fee_value, script));
        }
        let transaction = Transaction {
            version: 2,
            lock_time: LockTime::ZERO,
            input: vec![TxIn::default()],
            output,
        };
        let reply = v1::Swap {
            swap_id: SWAP_ID.into(),
            request_id: request.request_id.to_string(),
            status: v1::SwapStatus::Funded.into(),
            phase: v1::SwapPhase::Confirmed.into(),
            asset_id: asset_id.to_string(),
            amount: AMOUNT,
            total_price_msat: PRICE,
            invoice: honest_invoice().invoice(),
            payment_hash: hash(1).to_string(),
            htlc: Some(v1::Htlc {
                claim_pubkey: public(3).to_string(),
                refund_pubkey: public(6).to_string(),
                timeout: TIMEOUT,
                witness_script: format!("{:x}", htlc.witness_script()),
                address: htlc.address(&AddressParams::ELEMENTS).to_string(),
                value: AMOUNT,
                fee_value_sat: fee_value,
            }),
            funding: None,
            min_confirmations: 2,
            pay_by_height: TIMEOUT - 100,
            liquid_height: TIP,
            created_at: 1_800_000_000,
            updated_at: 1_800_000_001,
            ..v1::Swap::default()
        };
        let seen = Seen {
            tip: Height(TIP),
            transaction: None,
            block: Some(Height(TIP - 1)),
            spends: Vec::new(),
        };
        let mut case = Case {
            request,
            policy: Policy {
                payee: Some(public(5)),
                ..Policy::default()
            },
            known: Some(SWAP_ID.parse().unwrap()),
            reply,
            transaction: None,
            seen,
        };
        case.fund(transaction);
        case
    }

    /// Makes `transaction` the one that the server names and that the source has.
    fn fund(&mut self, transaction: Transaction) {
        let fee_vout = match self.htlc().fee_value_sat {
            0 => 0,
            _ => 2,
        };
        self.reply.funding = Some(v1::Funding {
            txid: transaction.txid().to_string(),
            vout: 1,
            fee_vout,
            transaction: serialize_hex(&transaction),
            confirmations: 2,
        });
        self.seen.transaction = Some(transaction.clone());
        self.transaction = Some(transaction);
    }

    /// The same with outputs that `change` has changed, by a seller who names the changed transaction.
    fn with_outputs(&mut self, change: impl FnOnce(&mut Vec<TxOut>)) {
        let mut transaction = self.transaction.clone().unwrap();
        change(&mut transaction.output);
        self.fund(transaction);
    }

    fn with_invoice(&mut self, change: impl FnOnce(&mut InvoiceTerms)) {
        let mut terms = honest_invoice();
        change(&mut terms);
        self.reply.invoice = terms.invoice();
    }

    /// A contract that is right in itself and not what it should be.
    fn with_contract(&mut self, change: impl FnOnce(&mut Htlc)) {
        let mut htlc = Htlc {
            payment_hash: hash(1),
            claimer: public(3),
            refunder: public(6),
            timeout: Height(TIMEOUT),
        };
        change(&mut htlc);
        self.reply.pay_by_height = htlc.timeout.0.saturating_sub(100);
        let reply = self.htlc();
        reply.timeout = htlc.timeout.0;
        reply.witness_script = format!("{:x}", htlc.witness_script());
        reply.address = htlc.address(&AddressParams::ELEMENTS).to_string();
    }

    fn htlc(&mut self) -> &mut v1::Htlc {
        self.reply.htlc.as_mut().unwrap()
    }

    fn funding(&mut self) -> &mut v1::Funding {
        self.reply.funding.as_mut().unwrap()
    }

    fn verdict(&self) -> Result<Offer, Refusal> {
        let against = Against {
            request: &self.request,
            swap_id: self.known,
            policy: &self.policy,
            params: &AddressParams::ELEMENTS,
            lbtc: asset(1),
            bitcoin: Network::Regtest,
            now: NOW,
        };
        let offer = reply(&against, &self.reply)?;
        time(&self.policy, &offer, self.seen.tip)?;
        chain(&against, &offer, &self.seen)?;
        Ok(offer)
    }
}

fn check_each(honest: fn() -> Case, lies: &[Lie<Case>]) {
    let offer = honest().verdict().unwrap();
    assert_eq!(offer.payment_hash, hash(1));
    check_all(honest, Case::verdict, lies, "swap");
}

#[test]
fn a_lie_about_any_field_is_refused_by_its_name() {
    check_each(Case::lbtc, lies::FIELDS);
    check_each(Case::gold, lies::FIELDS);
}

#[test]
fn what_the_chain_shows_goes_before_what_the_server_says() {
    check_each(Case::lbtc, lies::REST);
    check_each(Case::gold, lies::REST);
    check_each(Case::gold, lies::FEE);
}

#[test]
fn every_field_of_the_reply_is_lied_about() {
    let pool = protox::prost_reflect::DescriptorPool::decode(swaprig_proto::DESCRIPTORS).unwrap();
    let lies = lies::FIELDS
        .iter()
        .chain(lies::FEE)
        .map(|(what, ..)| (*what).to_owned());
    let lies: BTreeSet<String> = lies.collect();
    for name in ["Swap", "Htlc", "Funding"] {
        let message = pool.get_message_by_name(&format!("ln_liquid_swap.v1.{name}"));
        for field in message.unwrap().fields() {
            let field = format!("{name}.{}", field.name());
            assert!(lies.contains(&field), "nobody lies about {field}");
        }
    }
}

#[test]
fn a_prepayment_is_small_and_has_a_hash_of_its_own() {
    let prepay = |change: fn(&mut InvoiceTerms)| {
        let mut case = Case::lbtc();
        let mut terms = honest_invoice();
        terms.hash = PaymentHash([9; 32]);
        terms.msat = Some(1_000);
        change(&mut terms);
        case.reply.prepay_invoice = terms.invoice();
        case.reply.funding = None;
        case.reply.set_status(v1::SwapStatus::Created);
        case.reply.set_phase(v1::SwapPhase::AwaitingPrepay);
        case.policy.max_prepay = Msat(1_000);
        let against = Against {
            request: &case.request,
            swap_id: case.known,
            policy: &case.policy,
            params: &AddressParams::ELEMENTS,
            lbtc: asset(1),
            bitcoin: Network::Regtest,
            now: NOW,
        };
        let offer = reply(&against, &case.reply).map_err(|refusal| refusal.reason)?;
        Ok(offer.prepay.unwrap().amount)
    };
    assert_eq!(prepay(|_| ()), Ok(Msat(1_000)));
    assert_eq!(
        prepay(|t| t.msat = Some(1_001)),
        Err(Reason::PrepayAboveCap)
    );
    assert_eq!(prepay(|t| t.hash = hash(1)), Err(Reason::PrepayInvoice));
    assert_eq!(prepay(|t| t.payee = 6), Err(Reason::PrepayInvoice));
    assert_eq!(
        prepay(|t| t.made -= Duration::from_secs(601)),
        Err(Reason::PrepayInvoice)
    );
}

#[test]
fn every_rule_has_a_case_here_or_is_held_elsewhere() {
    let elsewhere = [
        // The server's own refusal, a change of terms, the store's unique hash, the source's proof.
        Reason::ServerRefused,
        Reason::TermsChanged,
        Reason::ReusedHash,
        Reason::BadProof,
        // `a_prepayment_is_small_and_has_a_hash_of_its_own`
        Reason::PrepayAboveCap,
        Reason::PrepayInvoice,
        // Of loops alone: their own tests.
        Reason::SwapFeeAboveCap,
        Reason::MinerFeeAboveCap,
        Reason::WrongInvoice,
        Reason::WrongInternalKey,
        Reason::TimeoutTooFar,
        Reason::RevealTooLate,
        Reason::NotPublished,
        Reason::GivenUp,
    ];
    let lies = lies::FIELDS.iter().chain(lies::REST).chain(lies::FEE);
    let here: BTreeSet<Reason> = lies.filter_map(|(_, _, reason)| *reason).collect();
    for reason in Reason::ALL {
        assert_ne!(
            here.contains(reason),
            elsewhere.contains(reason),
            "{reason}"
        );
    }
}

#[test]
fn terms_are_the_same_until_one_of_them_changes() {
    let offer = Case::lbtc().verdict().unwrap();
    let mut earlier = offer.clone();
    earlier.funding = None;
    earlier.takes_payment = false;
    earlier.server_height = Height(1);
    assert!(earlier.agrees_with(&offer) && offer.agrees_with(&offer));
    assert!(!offer.agrees_with(&earlier), "a funding does not vanish");
    let changes: [fn(&mut Offer); 5] = [
        |o| o.invoice.push('x'),
        |o| o.timeout = Height(o.timeout.0 + 1),
        |o| o.refunder = public(8),
        |o| o.pay_by = Height(1),
        |o| o.funding.as_mut().unwrap().vout += 1,
    ];
    for change in changes {
        let mut later = offer.clone();
        change(&mut later);
        assert!(!offer.agrees_with(&later));
    }
    let outpoints: Vec<OutPoint> = offer.funding.unwrap().outpoints().collect();
    assert_eq!(outpoints.len(), 1);
    assert_eq!(Policy::default().bid.first, FeeRate::MIN_RELAY);
}
