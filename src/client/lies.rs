//! What the tests of the checks share: keys, the invoices that servers make, and lies about replies.

use std::fmt::Debug;
use std::time::Duration;

use bitcoin::secp256k1::{PublicKey, SECP256K1, SecretKey};
use lightning_invoice::{Currency, InvoiceBuilder, PaymentSecret};
use swaprig_units::{PaymentHash, Preimage};

use super::{Reason, Refusal};

pub(super) const NOW: Duration = Duration::from_secs(1_800_000_000);

pub(super) fn key(n: u8) -> SecretKey {
    SecretKey::from_slice(&[n; 32]).unwrap()
}

pub(super) fn public(n: u8) -> PublicKey {
    key(n).public_key(SECP256K1)
}

pub(super) fn hash(n: u8) -> PaymentHash {
    Preimage([n; 32]).payment_hash()
}

/// What an invoice says, and who signs it.
#[derive(Clone)]
pub(super) struct InvoiceTerms {
    pub(super) currency: Currency,
    pub(super) description: String,
    pub(super) msat: Option<u64>,
    pub(super) hash: PaymentHash,
    pub(super) made: Duration,
    pub(super) expiry: Duration,
    pub(super) cltv: u64,
    pub(super) payee: u8,
}

impl InvoiceTerms {
    /// An honest one, of the first hash.
    pub(super) fn of(description: &str, msat: u64) -> Self {
        InvoiceTerms {
            currency: Currency::Regtest,
            description: description.into(),
            msat: Some(msat),
            hash: hash(1),
            made: NOW,
            expiry: Duration::from_secs(600),
            cltv: 42,
            payee: 5,
        }
    }

    pub(super) fn invoice(&self) -> String {
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

/// A field, a lie about it, and the refusal of it; `None`: it does no harm.
pub(super) type Lie<C> = (&'static str, fn(&mut C), Option<Reason>);

/// Spoils an honest case with each lie in turn.
pub(super) fn check_all<C, T: Debug>(
    honest: impl Fn() -> C,
    verdict: impl Fn(&C) -> Result<T, Refusal>,
    lies: &[Lie<C>],
    of: &str,
) {
    assert!(verdict(&honest()).is_ok(), "{of}");
    for (at, (field, lie, wanted)) in lies.iter().enumerate() {
        let mut case = honest();
        lie(&mut case);
        let told = verdict(&case);
        let reason = told.as_ref().err().map(|refusal| refusal.reason);
        assert_eq!(reason, *wanted, "{of} {field} ({at}): {told:?}");
    }
}
