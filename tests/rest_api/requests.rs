//! Requests as they should be.

use std::time::Duration;

use bitcoin::hashes::{Hash as _, sha256};
use bitcoin::secp256k1::{Secp256k1, SecretKey};
use lightning_invoice::{Currency, InvoiceBuilder, PaymentSecret};
use swaprig_proto::loops::{InternalKeyChoice, LoopInRequest, LoopOutRequest};
use swaprig_units::Preimage;

/// Of a key that everybody knows.
pub(crate) const PUBKEY: &str =
    "02c6047f9441ed7d6d3045406e95c07cd85c778e4b8cef3ca7abac09b95c709ee5";

/// One input, one output, not signed.
pub(crate) const TRANSACTION: &str = "020000000101010101010101010101010101010101010101010101010101010101010101010000000000fdffff\
     ff0190d0030000000000225120c6047f9441ed7d6d3045406e95c07cd85c778e4b8cef3ca7abac09b95c709ee5\
     00000000";

pub(crate) fn preimage(number: u8) -> Preimage {
    Preimage([number; 32])
}

pub(crate) fn out(number: u8) -> LoopOutRequest {
    LoopOutRequest {
        pubkey: PUBKEY.into(),
        amount: 250_000,
        payment_hash: Some(preimage(number).payment_hash().to_string()),
        invoice_first: true,
        internal_key: InternalKeyChoice::Musig2,
        confirmations: 2,
        publication_deadline: None,
        max_fee: Some(5_000),
    }
}

pub(crate) fn into(number: u8) -> LoopInRequest {
    LoopInRequest {
        pubkey: PUBKEY.into(),
        payment_request: invoice(number, Some(250_000_000)),
        internal_key: InternalKeyChoice::Musig2,
        max_fee: None,
    }
}

/// An invoice whose hash is that of [`preimage`].
pub(crate) fn invoice(number: u8, msat: Option<u64>) -> String {
    let hash = sha256::Hash::from_byte_array(preimage(number).payment_hash().0);
    let mut builder = InvoiceBuilder::new(Currency::Regtest)
        .description("loop in".into())
        .payment_hash(hash)
        .payment_secret(PaymentSecret([3; 32]))
        .duration_since_epoch(Duration::from_secs(1_700_000_000))
        .min_final_cltv_expiry_delta(42);
    if let Some(msat) = msat {
        builder = builder.amount_milli_satoshis(msat);
    }
    let key = SecretKey::from_slice(&[9; 32]).expect("it is below the order");
    let curve = Secp256k1::signing_only();
    let signed = builder.build_signed(|message| curve.sign_ecdsa_recoverable(message, &key));
    signed.expect("all that it needs is there").to_string()
}
