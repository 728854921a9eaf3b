//! The methods of the API: which are served, and how a request becomes a call of the node.
//!
//! Handlers block, so they run on threads for that; they know nothing of HTTP.

mod channels;
mod invoices;
mod node;
mod parse;
mod payments;

use std::sync::Arc;

use bytes::Bytes;
use ldk_node::Node;
use ldk_server_protos::Message;
use ldk_server_protos::endpoints::{Method, method};
use ldk_server_protos::grpc::{self, Code, Status};

use crate::error::invalid;
use crate::watcher::Nudge;

/// What a handler works with.
pub(crate) struct Context {
    pub(crate) node: Arc<Node>,
    pub(crate) nudge: Nudge,
}

/// The table of unary methods: the framed answer to the body of a request.
pub(crate) fn answer(context: &Context, name: &str, body: &[u8]) -> Result<Bytes, Status> {
    match name {
        method::GET_NODE_INFO => unary(context, body, node::get_node_info),
        method::GET_BALANCES => unary(context, body, node::get_balances),
        method::CONNECT_PEER => unary(context, body, node::connect_peer),
        method::DISCONNECT_PEER => unary(context, body, node::disconnect_peer),
        method::LIST_PEERS => unary(context, body, node::list_peers),
        method::SIGN_MESSAGE => unary(context, body, node::sign_message),
        method::VERIFY_SIGNATURE => unary(context, body, node::verify_signature),
        method::ONCHAIN_RECEIVE => unary(context, body, payments::onchain_receive),
        method::ONCHAIN_SEND => unary(context, body, payments::onchain_send),
        method::BOLT11_SEND => unary(context, body, payments::bolt11_send),
        method::GET_PAYMENT_DETAILS => unary(context, body, payments::get_payment_details),
        method::LIST_PAYMENTS => unary(context, body, payments::list_payments),
        method::OPEN_CHANNEL => unary(context, body, channels::open_channel),
        method::CLOSE_CHANNEL => unary(context, body, channels::close_channel),
        method::FORCE_CLOSE_CHANNEL => unary(context, body, channels::force_close_channel),
        method::UPDATE_CHANNEL_CONFIG => unary(context, body, channels::update_channel_config),
        method::LIST_CHANNELS => unary(context, body, channels::list_channels),
        method::BOLT11_RECEIVE => unary(context, body, invoices::bolt11_receive),
        method::BOLT11_RECEIVE_FOR_HASH => unary(context, body, invoices::bolt11_receive_for_hash),
        method::BOLT11_CLAIM_FOR_HASH => unary(context, body, invoices::bolt11_claim_for_hash),
        method::BOLT11_FAIL_FOR_HASH => unary(context, body, invoices::bolt11_fail_for_hash),
        method::DECODE_INVOICE => unary(context, body, invoices::decode_invoice),
        name => Err(not_served(name)),
    }
}

/// What a method gets that this daemon does not serve.
fn not_served(name: &str) -> Status {
    let message = match Method::find(name) {
        Method::Supported(name) | Method::KnownElsewhere(name) => {
            format!(
                "{name} is not implemented by the bundled ldk-server; run upstream's ldk-server for it"
            )
        }
        Method::Unknown => format!("Unknown method: {name}"),
    };
    Status::new(Code::Unimplemented, message)
}

/// The message in the body of a request.
pub(crate) fn decode<Q: Message + Default>(body: &[u8]) -> Result<Q, Status> {
    let payload =
        grpc::decode_unary(body).map_err(|error| Status::new(error.code(), error.to_string()))?;
    Q::decode(payload).map_err(|error| invalid(format!("Malformed request: {error}")))
}

fn unary<Q: Message + Default, A: Message>(
    context: &Context,
    body: &[u8],
    handler: fn(&Context, Q) -> Result<A, Status>,
) -> Result<Bytes, Status> {
    handler(context, decode(body)?).map(|answer| grpc::encode_message(&answer))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn methods_that_are_not_served_say_whose_fault_that_is() {
        assert!(
            not_served("Bolt12Send")
                .message
                .starts_with("Bolt12Send is not implemented by the bundled")
        );
        assert_eq!(
            not_served("Bolt13Send").message,
            "Unknown method: Bolt13Send"
        );
        assert_eq!(not_served("Bolt13Send").code, Code::Unimplemented);
    }
}
