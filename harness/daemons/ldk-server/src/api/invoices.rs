//! BOLT 11 invoices: create, hold, claim, fail, decode.

use ldk_node::bitcoin::hashes::{Hash, sha256};
use ldk_node::bitcoin::hex::DisplayHex;
use ldk_node::lightning_invoice::{Bolt11Invoice, Bolt11InvoiceDescriptionRef, Currency};
use ldk_node::lightning_types::features::Bolt11InvoiceFeatures;
use ldk_node::lightning_types::payment::{PaymentHash, PaymentPreimage};
use ldk_server_protos::api::{
    Bolt11ClaimForHashRequest, Bolt11ClaimForHashResponse, Bolt11FailForHashRequest,
    Bolt11FailForHashResponse, Bolt11ReceiveForHashRequest, Bolt11ReceiveForHashResponse,
    Bolt11ReceiveRequest, Bolt11ReceiveResponse, DecodeInvoiceRequest, DecodeInvoiceResponse,
};
use ldk_server_protos::grpc::Status;
use ldk_server_protos::types;

use super::{Context, parse};
use crate::convert;
use crate::error::from_node;

pub(super) fn bolt11_receive(
    context: &Context,
    request: Bolt11ReceiveRequest,
) -> Result<Bolt11ReceiveResponse, Status> {
    let description = parse::description(request.description)?;
    let bolt11 = context.node.bolt11_payment();
    let invoice = match request.amount_msat {
        Some(amount) => bolt11.receive(amount, &description, request.expiry_secs),
        None => bolt11.receive_variable_amount(&description, request.expiry_secs),
    }
    .map_err(from_node)?;
    Ok(Bolt11ReceiveResponse {
        payment_hash: invoice.payment_hash().to_string(),
        payment_secret: invoice.payment_secret().0.to_lower_hex_string(),
        invoice: invoice.to_string(),
    })
}

pub(super) fn bolt11_receive_for_hash(
    context: &Context,
    request: Bolt11ReceiveForHashRequest,
) -> Result<Bolt11ReceiveForHashResponse, Status> {
    let description = parse::description(request.description)?;
    let hash = PaymentHash(parse::hex32("payment_hash", &request.payment_hash)?);
    let bolt11 = context.node.bolt11_payment();
    let invoice = match request.amount_msat {
        Some(amount) => bolt11.receive_for_hash(amount, &description, request.expiry_secs, hash),
        None => bolt11.receive_variable_amount_for_hash(&description, request.expiry_secs, hash),
    }
    .map_err(from_node)?;
    Ok(Bolt11ReceiveForHashResponse {
        invoice: invoice.to_string(),
    })
}

pub(super) fn bolt11_claim_for_hash(
    context: &Context,
    request: Bolt11ClaimForHashRequest,
) -> Result<Bolt11ClaimForHashResponse, Status> {
    let preimage = parse::hex32("preimage", &request.preimage)?;
    let hash = match &request.payment_hash {
        Some(hash) => parse::hex32("payment_hash", hash)?,
        None => sha256::Hash::hash(&preimage).to_byte_array(),
    };
    // Without an amount nothing is too little.
    let amount = request.claimable_amount_msat.unwrap_or(u64::MAX);
    let bolt11 = context.node.bolt11_payment();
    bolt11
        .claim_for_hash(PaymentHash(hash), amount, PaymentPreimage(preimage))
        .map_err(from_node)?;
    Ok(Bolt11ClaimForHashResponse {})
}

pub(super) fn bolt11_fail_for_hash(
    context: &Context,
    request: Bolt11FailForHashRequest,
) -> Result<Bolt11FailForHashResponse, Status> {
    let hash = PaymentHash(parse::hex32("payment_hash", &request.payment_hash)?);
    context
        .node
        .bolt11_payment()
        .fail_for_hash(hash)
        .map_err(from_node)?;
    Ok(Bolt11FailForHashResponse {})
}

pub(super) fn decode_invoice(
    _: &Context,
    request: DecodeInvoiceRequest,
) -> Result<DecodeInvoiceResponse, Status> {
    parse::invoice(&request.invoice).map(|invoice| decoded(&invoice))
}

fn decoded(invoice: &Bolt11Invoice) -> DecodeInvoiceResponse {
    let (description, description_hash) = match invoice.description() {
        Bolt11InvoiceDescriptionRef::Direct(text) => (Some(text.to_string()), None),
        Bolt11InvoiceDescriptionRef::Hash(hash) => (None, Some(hash.0.to_string())),
    };
    let currency = match invoice.currency() {
        Currency::Bitcoin => "bitcoin",
        Currency::BitcoinTestnet => "testnet",
        Currency::Regtest => "regtest",
        Currency::Simnet => "simnet",
        Currency::Signet => "signet",
    };
    let features = invoice.features().map(|features| {
        convert::features(features.le_flags(), |flags| {
            Bolt11InvoiceFeatures::from_le_bytes(flags).to_string()
        })
    });
    DecodeInvoiceResponse {
        destination: invoice.get_payee_pub_key().to_string(),
        payment_hash: invoice.payment_hash().to_string(),
        amount_msat: invoice.amount_milli_satoshis(),
        timestamp: invoice.duration_since_epoch().as_secs(),
        expiry: invoice.expiry_time().as_secs(),
        description,
        description_hash,
        fallback_address: invoice
            .fallback_addresses()
            .first()
            .map(ToString::to_string),
        min_final_cltv_expiry_delta: invoice.min_final_cltv_expiry_delta(),
        payment_secret: invoice.payment_secret().0.to_lower_hex_string(),
        route_hints: invoice.route_hints().iter().map(route_hint).collect(),
        features: features.unwrap_or_default(),
        currency: currency.to_owned(),
        payment_metadata: invoice
            .payment_metadata()
            .map(|metadata| metadata.to_lower_hex_string()),
        is_expired: invoice.is_expired(),
    }
}

fn route_hint(hint: &ldk_node::lightning::routing::router::RouteHint) -> types::Bolt11RouteHint {
    let hop_hints = hint.0.iter().map(|hop| types::Bolt11HopHint {
        node_id: hop.src_node_id.to_string(),
        short_channel_id: hop.short_channel_id,
        fee_base_msat: hop.fees.base_msat,
        fee_proportional_millionths: hop.fees.proportional_millionths,
        cltv_expiry_delta: hop.cltv_expiry_delta.into(),
    });
    types::Bolt11RouteHint {
        hop_hints: hop_hints.collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The second example of BOLT 11: coffee for 2500 µBTC, one minute.
    const COFFEE: &str = "lnbc2500u1pvjluezsp5zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zygspp5qqqsyqcyq5rqwzqfqqqsyqcyq5\
                          rqwzqfqqqsyqcyq5rqwzqfqypqdq5xysxxatsyp3k7enxv4jsxqzpu9qrsgquk0rl77nj30yxdy8j9vdx85fkpmdla2087ne0xh8n\
                          hedh8w27kyke0lp53ut353s06fv3qfegext0eh0ymjpf39tuven09sam30g4vgpfna3rh";

    #[test]
    fn an_invoice_of_the_specification() {
        let decoded = decoded(&parse::invoice(COFFEE).unwrap());
        assert_eq!(
            decoded.destination,
            "03e7156ae33b0a208d0744199163177e909e80176e55d97a2f221ede0f934dd9ad"
        );
        assert_eq!(
            decoded.payment_hash,
            "0001020304050607080900010203040506070809000102030405060708090102"
        );
        assert_eq!(decoded.payment_secret, "11".repeat(32));
        assert_eq!(decoded.amount_msat, Some(250_000_000));
        assert_eq!((decoded.timestamp, decoded.expiry), (1_496_314_658, 60));
        assert_eq!(decoded.description.as_deref(), Some("1 cup coffee"));
        assert_eq!(decoded.description_hash, None);
        assert_eq!(decoded.currency, "bitcoin");
        assert!(decoded.is_expired);
        let mut features: Vec<_> = decoded
            .features
            .iter()
            .map(|(bit, feature)| (*bit, feature.name.as_str(), feature.is_required))
            .collect();
        features.sort();
        assert_eq!(
            features,
            [
                (8, "VariableLengthOnion", true),
                (14, "PaymentSecret", true)
            ]
        );
    }
}
