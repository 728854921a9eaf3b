//! A correct reply, and each of its fields changed: every lie has its name, or does no harm.

use std::collections::BTreeSet;

use bitcoin::secp256k1::{SECP256K1, SecretKey};
use elements::encode::serialize_hex;
use elements::{LockTime, OutPoint, TxIn, TxOut, TxOutWitness};
use lightning_invoice::{Currency, InvoiceBuilder, PaymentSecret};
use swaprig_units::Preimage;
use uuid::Uuid;

use super::*;
use crate::swap::FeeRate;

const NOW: Duration = Duration::from_secs(1_800_000_000);
const PRICE: u64 = 60_000_000;
const AMOUNT: u64 = 50_000;
const FEE_VALUE: u64 = 500;
const TIP: u32 = 40_000;
const TIMEOUT: u32 = TIP + 2_000;
const SWAP_ID: &str = "7d1b4c4e-2a53-4a31-9b3e-1f0e3d4c5b6a";

fn key(n: u8) -> SecretKey {
    SecretKey::from_slice(&[n; 32]).unwrap()
}

fn public(n: u8) -> PublicKey {
    key(n).public_key(SECP256K1)
}

fn asset(n: u8) -> AssetId {
    AssetId::from_byte_array([n; 32])
}

/// What an invoice says, and who signs it.
#[derive(Clone)]
struct Terms {
    currency: Currency,
    description: String,
    msat: Option<u64>,
    hash: PaymentHash,
    made: Duration,
    expiry: Duration,
    cltv: u64,
    payee: u8,
}

impl Terms {
    fn honest() -> Self {
        Terms {
            currency: Currency::Regtest,
            description: format!("swap:{SWAP_ID}"),
            msat: Some(PRICE),
            hash: Preimage([1; 32]).payment_hash(),
            made: NOW,
            expiry: Duration::from_secs(600),
            cltv: 42,
            payee: 5,
        }
    }

    fn invoice(&self) -> String {
        let hash = bitcoin::hashes::Hash::from_byte_array(self.hash.0);
        let builder = InvoiceBuilder::new(self.currency.clone())
            .description(self.description.clone())
            .payment_hash(hash)
            .payment_secret(PaymentSecret([2; 32]))
            .duration_since_epoch(self.made)
            .expiry_time(self.expiry)
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
            payment_hash: Terms::honest().hash,
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
            invoice: Terms::honest().invoice(),
            payment_hash: Terms::honest().hash.to_string(),
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

    fn with_invoice(&mut self, change: impl FnOnce(&mut Terms)) {
        let mut terms = Terms::honest();
        change(&mut terms);
        self.reply.invoice = terms.invoice();
    }

    /// A contract that is right in itself and not what it should be.
    fn with_contract(&mut self, change: impl FnOnce(&mut Htlc)) {
        let mut htlc = Htlc {
            payment_hash: Terms::honest().hash,
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

type Lie = (&'static str, fn(&mut Case), Option<Reason>);

/// A lie about each field of the reply in turn: the field, the lie, the refusal. `None`: it cannot hurt.
const FIELDS: &[Lie] = &[
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
const REST: &[Lie] = &[
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
const FEE: &[Lie] = &[
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

fn check_all(honest: fn() -> Case, lies: &[Lie]) {
    let offer = honest().verdict().unwrap();
    assert_eq!(offer.payment_hash, Terms::honest().hash);
    for (what, lie, expected) in lies {
        let mut case = honest();
        lie(&mut case);
        let verdict = case.verdict();
        let reason = verdict.as_ref().err().map(|refusal| refusal.reason);
        assert_eq!(reason, *expected, "{what}: {verdict:?}");
    }
}

#[test]
fn a_lie_about_any_field_is_refused_by_its_name() {
    check_all(Case::lbtc, FIELDS);
    check_all(Case::gold, FIELDS);
}

#[test]
fn what_the_chain_shows_goes_before_what_the_server_says() {
    check_all(Case::lbtc, REST);
    check_all(Case::gold, REST);
    check_all(Case::gold, FEE);
}

#[test]
fn every_field_of_the_reply_is_lied_about() {
    let pool = protox::prost_reflect::DescriptorPool::decode(swaprig_proto::DESCRIPTORS).unwrap();
    let lies = FIELDS
        .iter()
        .chain(FEE)
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
    let prepay = |change: fn(&mut Terms)| {
        let mut case = Case::lbtc();
        let mut terms = Terms::honest();
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
    assert_eq!(
        prepay(|t| t.hash = Terms::honest().hash),
        Err(Reason::PrepayInvoice)
    );
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
    let lies = FIELDS.iter().chain(REST).chain(FEE);
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
