//! Reading the texts in requests; a malformed one is status 3.

use std::str::FromStr;

use ldk_node::NodeError;
use ldk_node::UserChannelId;
use ldk_node::bitcoin::hex::FromHex;
use ldk_node::bitcoin::secp256k1::PublicKey;
use ldk_node::lightning::ln::msgs::SocketAddress;
use ldk_node::lightning::routing::router::RouteParametersConfig;
use ldk_node::lightning_invoice::{Bolt11Invoice, Bolt11InvoiceDescription, Description, Sha256};
use ldk_server_protos::grpc::Status;
use ldk_server_protos::types;
use ldk_server_protos::types::bolt11_invoice_description::Kind;

use crate::error::{from_node, invalid};

pub(super) fn node_id(text: &str) -> Result<PublicKey, Status> {
    PublicKey::from_str(text).map_err(|_| from_node(NodeError::InvalidPublicKey))
}

pub(super) fn counterparty(text: &str) -> Result<PublicKey, Status> {
    PublicKey::from_str(text)
        .map_err(|error| invalid(format!("Invalid counterparty node ID, error: {error}")))
}

pub(super) fn address(text: &str) -> Result<SocketAddress, Status> {
    SocketAddress::from_str(text).map_err(|_| from_node(NodeError::InvalidSocketAddress))
}

pub(super) fn user_channel_id(text: &str) -> Result<UserChannelId, Status> {
    // `parse` alone would accept a leading plus.
    let digits = text
        .bytes()
        .all(|byte| byte.is_ascii_digit())
        .then_some(text);
    digits
        .and_then(|digits| digits.parse().ok())
        .map(UserChannelId)
        .ok_or_else(|| invalid("Invalid UserChannelId."))
}

/// 32 bytes in hex: a hash, a preimage or an id.
pub(super) fn hex32(field: &str, text: &str) -> Result<[u8; 32], Status> {
    <[u8; 32]>::from_hex(text)
        .map_err(|_| invalid(format!("Invalid {field}, must be a 32-byte hex string.")))
}

pub(super) fn invoice(text: &str) -> Result<Bolt11Invoice, Status> {
    Bolt11Invoice::from_str(text).map_err(|_| from_node(NodeError::InvalidInvoice))
}

pub(super) fn description(
    description: Option<types::Bolt11InvoiceDescription>,
) -> Result<Bolt11InvoiceDescription, Status> {
    match description.and_then(|description| description.kind) {
        None => Ok(Bolt11InvoiceDescription::Direct(Description::empty())),
        Some(Kind::Direct(text)) => Description::new(text)
            .map(Bolt11InvoiceDescription::Direct)
            .map_err(|error| invalid(format!("Invalid invoice description: {error}"))),
        Some(Kind::Hash(text)) => text
            .parse()
            .map(|hash| Bolt11InvoiceDescription::Hash(Sha256(hash)))
            .map_err(|_| {
                invalid("Invalid invoice description_hash, must be a 32-byte hex string.")
            }),
    }
}

pub(super) fn route_parameters(
    parameters: Option<types::RouteParametersConfig>,
) -> Result<Option<RouteParametersConfig>, Status> {
    let small = |field: &str, value: u32| {
        u8::try_from(value).map_err(|_| {
            invalid(format!(
                "Invalid {field}, must be between 0 and {}",
                u8::MAX
            ))
        })
    };
    parameters
        .map(|given| {
            Ok(RouteParametersConfig {
                max_total_routing_fee_msat: given.max_total_routing_fee_msat,
                max_total_cltv_expiry_delta: given.max_total_cltv_expiry_delta,
                max_path_count: small("max_path_count", given.max_path_count)?,
                max_channel_saturation_power_of_half: small(
                    "max_channel_saturation_power_of_half",
                    given.max_channel_saturation_power_of_half,
                )?,
            })
        })
        .transpose()
}

#[cfg(test)]
mod tests {
    use super::*;
    use ldk_server_protos::grpc::Code;

    #[test]
    fn channel_ids_are_decimal() {
        assert_eq!(
            user_channel_id("340282366920938463463374607431768211455"),
            Ok(UserChannelId(u128::MAX))
        );
        for malformed in [
            "",
            "-1",
            "+1",
            "0x10",
            "340282366920938463463374607431768211456",
            "1 ",
        ] {
            assert_eq!(
                user_channel_id(malformed).unwrap_err(),
                invalid("Invalid UserChannelId."),
                "{malformed:?}"
            );
        }
    }

    #[test]
    fn malformed_texts_are_invalid_arguments() {
        let refusals = [
            node_id("02").map(drop),
            node_id(&"00".repeat(33)).map(drop),
            counterparty("zz").map(drop),
            address("127.0.0.1").map(drop),
            hex32("payment_id", "abcd").map(drop),
            hex32("payment_id", &"xy".repeat(32)).map(drop),
            invoice("lnbcrt1").map(drop),
            description(Some(types::Bolt11InvoiceDescription {
                kind: Some(Kind::Hash("00".into())),
            }))
            .map(drop),
            description(Some(types::Bolt11InvoiceDescription {
                kind: Some(Kind::Direct("x".repeat(1000))),
            }))
            .map(drop),
            route_parameters(Some(types::RouteParametersConfig {
                max_path_count: 256,
                ..Default::default()
            }))
            .map(drop),
        ];
        for (index, refusal) in refusals.into_iter().enumerate() {
            assert_eq!(
                refusal.unwrap_err().code,
                Code::InvalidArgument,
                "refusal {index}"
            );
        }
    }

    #[test]
    fn route_parameters_are_taken_as_they_are() {
        let given = types::RouteParametersConfig {
            max_total_routing_fee_msat: Some(5),
            max_total_cltv_expiry_delta: 45,
            max_path_count: 1,
            max_channel_saturation_power_of_half: 0,
        };
        let taken = route_parameters(Some(given)).unwrap().unwrap();
        assert_eq!(
            (
                taken.max_total_routing_fee_msat,
                taken.max_total_cltv_expiry_delta
            ),
            (Some(5), 45)
        );
        assert_eq!(
            (
                taken.max_path_count,
                taken.max_channel_saturation_power_of_half
            ),
            (1, 0)
        );
        assert!(route_parameters(None).unwrap().is_none());
    }
}
