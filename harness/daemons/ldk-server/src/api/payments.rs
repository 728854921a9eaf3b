//! Payments, on chain and over Lightning: send, look up, list.

use std::cmp::Reverse;
use std::str::FromStr;

use bytes::Bytes;
use ldk_node::NodeError;
use ldk_node::bitcoin::hex::{DisplayHex, FromHex};
use ldk_node::bitcoin::{Address, FeeRate};
use ldk_node::lightning::ln::channelmanager::PaymentId;
use ldk_node::payment::PaymentDetails;
use ldk_server_protos::api::onchain_send_request::Amount;
use ldk_server_protos::api::{
    Bolt11SendRequest, Bolt11SendResponse, GetPaymentDetailsRequest, GetPaymentDetailsResponse,
    ListPaymentsRequest, ListPaymentsResponse, OnchainReceiveRequest, OnchainReceiveResponse,
    OnchainSendRequest, OnchainSendResponse,
};
use ldk_server_protos::grpc::Status;

use super::{Context, parse};
use crate::convert;
use crate::error::{from_node, invalid};

/// Payments in one answer of ListPayments; upstream's number.
const PAGE_SIZE: usize = 100;

pub(super) fn onchain_receive(
    context: &Context,
    _: OnchainReceiveRequest,
) -> Result<OnchainReceiveResponse, Status> {
    let address = context
        .node
        .onchain_payment()
        .new_address()
        .map_err(from_node)?
        .to_string();
    Ok(OnchainReceiveResponse { address })
}

pub(super) fn onchain_send(
    context: &Context,
    request: OnchainSendRequest,
) -> Result<OnchainSendResponse, Status> {
    let address = Address::from_str(&request.address)
        .map_err(|_| from_node(NodeError::InvalidAddress))?
        .require_network(context.node.config().network)
        .map_err(|_| invalid("Address is not valid for the configured network."))?;
    let fee_rate = request
        .fee_rate_sat_per_vb
        .map(|rate| {
            FeeRate::from_sat_per_vb(rate).ok_or_else(|| from_node(NodeError::InvalidFeeRate))
        })
        .transpose()?;
    let onchain = context.node.onchain_payment();
    let sent = match request.amount {
        Some(Amount::AmountSats(amount)) => onchain.send_to_address(&address, amount, fee_rate),
        Some(Amount::AllFunds(_)) => onchain.send_all_to_address(&address, true, fee_rate),
        None => {
            return Err(invalid(
                "Must specify either an exact amount or all available funds",
            ));
        }
    };
    Ok(OnchainSendResponse {
        txid: sent.map_err(from_node)?.to_string(),
    })
}

pub(super) fn bolt11_send(
    context: &Context,
    request: Bolt11SendRequest,
) -> Result<Bolt11SendResponse, Status> {
    let invoice = parse::invoice(&request.invoice)?;
    let route_parameters = parse::route_parameters(request.route_parameters)?;
    let bolt11 = context.node.bolt11_payment();
    let sent = match request.amount_msat {
        None => bolt11.send(&invoice, route_parameters),
        Some(amount) => bolt11.send_using_amount(&invoice, amount, route_parameters),
    };
    Ok(Bolt11SendResponse {
        payment_id: sent.map_err(from_node)?.to_string(),
    })
}

pub(super) fn get_payment_details(
    context: &Context,
    request: GetPaymentDetailsRequest,
) -> Result<GetPaymentDetailsResponse, Status> {
    let id = PaymentId(parse::hex32("payment_id", &request.payment_id)?);
    Ok(GetPaymentDetailsResponse {
        payment: context.node.payment(&id).map(convert::payment),
    })
}

pub(super) fn list_payments(
    context: &Context,
    request: ListPaymentsRequest,
) -> Result<ListPaymentsResponse, Status> {
    let after = request
        .page_token
        .as_deref()
        .map(PageToken::decode)
        .transpose()?;
    let (page, next) = page(context.node.list_payments(), after, PAGE_SIZE);
    Ok(ListPaymentsResponse {
        payments: page.into_iter().map(convert::payment).collect(),
        next_page_token: next.map(|token| token.encode()),
    })
}

/// The last payment of a page. Newer payments may come while somebody turns the pages: they then miss those, but see
/// nothing twice unless it changes in between.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct PageToken {
    timestamp: Reverse<u64>,
    id: [u8; 32],
}

/// Newest first, ties by id; the payments that follow `after`, and where the next page goes on.
fn page(
    mut payments: Vec<PaymentDetails>,
    after: Option<PageToken>,
    size: usize,
) -> (Vec<PaymentDetails>, Option<PageToken>) {
    payments.retain(|payment| after.is_none_or(|after| PageToken::of(payment) > after));
    payments.sort_by_key(PageToken::of);
    let is_last = payments.len() <= size;
    payments.truncate(size);
    let next = payments.last().filter(|_| !is_last).map(PageToken::of);
    (payments, next)
}

impl PageToken {
    /// Field 1, a string: read as upstream's message PageToken this is its `token`, and as a string it is text.
    const HEADER: [u8; 2] = [0x0a, TEXT_LEN as u8];

    fn of(payment: &PaymentDetails) -> Self {
        Self {
            timestamp: Reverse(payment.latest_update_timestamp),
            id: payment.id.0,
        }
    }

    fn encode(self) -> Bytes {
        let text = format!("{:016x}{}", self.timestamp.0, self.id.to_lower_hex_string());
        [&Self::HEADER, text.as_bytes()].concat().into()
    }

    fn decode(bytes: &[u8]) -> Result<Self, Status> {
        let decode = || {
            let text = bytes.strip_prefix(&Self::HEADER)?;
            let (timestamp, id) = std::str::from_utf8(text)
                .ok()?
                .split_at_checked(TIMESTAMP_LEN)?;
            let timestamp = u64::from_be_bytes(<[u8; 8]>::from_hex(timestamp).ok()?);
            Some(Self {
                timestamp: Reverse(timestamp),
                id: <[u8; 32]>::from_hex(id).ok()?,
            })
        };
        decode().ok_or_else(|| invalid("Invalid page_token, must be one that ListPayments gave."))
    }
}

const TIMESTAMP_LEN: usize = 16;
const TEXT_LEN: usize = TIMESTAMP_LEN + 64;

#[cfg(test)]
mod tests {
    use super::*;
    use ldk_node::lightning_types::payment::PaymentHash;
    use ldk_node::payment::{PaymentDirection, PaymentKind, PaymentStatus};

    fn payment(id: u8, latest_update_timestamp: u64) -> PaymentDetails {
        PaymentDetails {
            id: PaymentId([id; 32]),
            kind: PaymentKind::Bolt11 {
                hash: PaymentHash([id; 32]),
                preimage: None,
                secret: None,
            },
            amount_msat: None,
            fee_paid_msat: None,
            direction: PaymentDirection::Inbound,
            status: PaymentStatus::Pending,
            latest_update_timestamp,
        }
    }

    fn ids(payments: &[PaymentDetails]) -> Vec<u8> {
        payments.iter().map(|payment| payment.id.0[0]).collect()
    }

    #[test]
    fn pages_are_newest_first_and_complete() {
        let all = vec![
            payment(3, 10),
            payment(1, 20),
            payment(2, 10),
            payment(4, 5),
            payment(5, 5),
        ];
        let mut after = None;
        let mut seen = Vec::new();
        loop {
            let (found, next) = page(all.clone(), after, 2);
            seen.push(ids(&found));
            match next {
                Some(token) => after = Some(PageToken::decode(&token.encode()).unwrap()),
                None => break,
            }
        }
        assert_eq!(seen, [vec![1, 2], vec![3, 4], vec![5]]);
        assert_eq!(page(all, None, 5).1, None);
        assert_eq!(page(Vec::new(), None, 5), (Vec::new(), None));
    }

    #[test]
    fn tokens_are_text_for_clients_that_expect_text() {
        let token = PageToken::of(&payment(7, u64::MAX)).encode();
        assert!(std::str::from_utf8(&token).is_ok());
        for malformed in [
            &b""[..],
            b"x",
            &token[1..],
            &token[..token.len() - 1],
            &[0xff; 82],
        ] {
            assert!(PageToken::decode(malformed).is_err());
        }
    }
}
