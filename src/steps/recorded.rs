//! What the steps of a buyer leave in the event record: its calls, what it was told of its swap, every state of either side.

use std::sync::LazyLock;
use std::time::{Duration, Instant};

use lightning_invoice::Bolt11Invoice;
use prost::Message as _;
use prost_reflect::{DescriptorPool, DynamicMessage};
use swaprig_harness::elementsd::LBTC;
use swaprig_harness::time::{Deadline, unix_ms};
use swaprig_harness::{World, grpc};
use swaprig_proto::v1;
use swaprig_proto::v1::swap_service_client::SwapServiceClient;
use swaprig_record::{Chain, Event, Htlc, Invoice, Payment, PaymentState, Recorder, SwapState};
use swaprig_scenarios::run::Calls;
use swaprig_units::{Msat, PaymentHash};
use tonic::transport::Endpoint;
use tonic::{Code, Status};

use super::swap::Swap;
use crate::client::{Exchange, Witness};

/// The service that a buyer calls.
const SERVICE: &str = "ln_liquid_swap.v1.SwapService";
/// How long a server that is down is left alone before its updates are asked for again.
const AGAIN: Duration = Duration::from_millis(100);

/// The messages of the swap server's API.
static API: LazyLock<Option<DescriptorPool>> =
    LazyLock::new(|| DescriptorPool::decode(swaprig_proto::DESCRIPTORS).ok());

/// Records the calls of `buyer` to `server`, and the swap that it is told of; `None` in a world that is not recorded.
pub(super) fn witness(world: &World, buyer: &str, server: &str) -> Option<Witness> {
    let recorder = world.recorder().clone();
    if !recorder.is_on() {
        return None;
    }
    let (buyer, server) = (buyer.to_owned(), server.to_owned());
    let calls = Calls::to(world, &server).by(&buyer);
    Some(Witness::new(move |exchange: &Exchange<'_>| {
        let Exchange { method, .. } = exchange;
        let request = json(&format!("{method}Request"), exchange.request);
        let answer = match &exchange.answer {
            Ok(reply) => Ok(json(&format!("{method}Response"), reply)),
            Err(status) => Err(said(status)),
        };
        let answer = answer.as_deref().map_err(String::as_str);
        let method_path = format!("{SERVICE}/{method}");
        calls.answered(&method_path, &request, exchange.started, answer);
        if let Ok(reply) = exchange.answer
            && *method == "CreateSwap"
            && let Ok(reply) = v1::CreateSwapResponse::decode(reply)
            && let Some(swap) = reply.swap
        {
            record_terms(&recorder, &swap, &buyer, &server);
        }
    }))
}

fn said(status: &Status) -> String {
    let code = super::buyer::code_name(status.code());
    format!("{code}: {}", status.message())
}

/// A message as JSON; empty when it is none.
fn json(message: &str, bytes: &[u8]) -> String {
    let name = format!("ln_liquid_swap.v1.{message}");
    let descriptor = API.as_ref().and_then(|api| api.get_message_by_name(&name));
    let read = descriptor.and_then(|descriptor| DynamicMessage::decode(descriptor, bytes).ok());
    read.map(|message| grpc::to_json(&message).to_string())
        .unwrap_or_default()
}

/// Records the HTLC and the invoice that a buyer was told of.
fn record_terms(recorder: &Recorder, swap: &v1::Swap, buyer: &str, server: &str) {
    if let Some(htlc) = &swap.htlc {
        recorder.record(Event::Htlc(Box::new(Htlc {
            name: None,
            chain: Chain::Liquid,
            address: htlc.address.clone(),
            hash: swap.payment_hash.clone(),
            timeout: htlc.timeout,
            value: Some(htlc.value),
            asset: Some(asset(&swap.asset_id)),
            claimer: Some(buyer.to_owned()),
            refunder: Some(server.to_owned()),
        })));
    }
    if let Ok(invoice) = swap.invoice.parse::<Bolt11Invoice>() {
        let expires = invoice.expires_at().map(|at| at.as_millis());
        let expires = expires.and_then(|at| u64::try_from(at).ok());
        recorder.record(Event::Invoice(Invoice {
            payee: server.to_owned(),
            hash: swap.payment_hash.clone(),
            amount_msat: invoice.amount_milli_satoshis(),
            expires_unix_ms: expires.unwrap_or_else(unix_ms),
        }));
    }
}

/// `lbtc`, or the id.
pub(super) fn asset(id: &str) -> String {
    if id == LBTC { "lbtc" } else { id }.to_owned()
}

/// Records a state of one side of a swap.
fn record_state(recorder: &Recorder, party: &str, swap: &str, state: &str, before: Option<String>) {
    recorder.record(Event::Swap(SwapState {
        party: party.to_owned(),
        swap: swap.to_owned(),
        state: state.to_owned(),
        before,
    }));
}

/// Records that its buyer has sent, at `began`, the payment of a swap with this hash and amount.
pub(super) fn sent(world: &World, swap: &Swap, paid: (PaymentHash, Msat), began: Instant) {
    let payment = Payment {
        node: swap.buyer.0.clone(),
        peer: Some(swap.server.0.clone()),
        hash: paid.0.to_string(),
        state: PaymentState::Sent,
        amount_msat: Some(paid.1.0),
        fee_msat: None,
        claim_deadline: None,
    };
    world.recorder().record_at(began, Event::Payment(payment));
}

/// Records where a swap is for its buyer.
pub(super) fn stage(world: &World, swap: &Swap, stage: &str) {
    record_state(world.recorder(), &swap.buyer.0, &swap.id, stage, None);
}

/// Records every phase that the server tells of a swap, as long as the world stands. It asks the server itself, on which no
/// proxy and no fault of the scenario stands in the way.
pub(super) fn follow(world: &World, swap: &Swap) {
    let server = swap.server.0.clone();
    let address = world.server(&server).map(|server| server.address());
    let endpoint = address
        .ok()
        .and_then(|address| Endpoint::from_shared(format!("http://{address}")).ok());
    let Some(endpoint) = endpoint.filter(|_| world.recorder().is_on()) else {
        return;
    };
    let (recorder, swap_id) = (world.recorder().clone(), swap.id.clone());
    world.beside(async move {
        let mut client = SwapServiceClient::new(endpoint.connect_lazy());
        let mut before: Option<String> = None;
        loop {
            let request = v1::SubscribeSwapRequest {
                swap_id: swap_id.clone(),
            };
            match client.subscribe_swap(request).await {
                Ok(updates) => {
                    let mut updates = updates.into_inner();
                    while let Ok(Some(update)) = updates.message().await {
                        let Some(swap) = update.swap else { continue };
                        let phase = swap.phase().as_str_name().to_lowercase();
                        let phase = phase.trim_start_matches("swap_phase_").to_owned();
                        if before.as_ref() != Some(&phase) {
                            let last = before.replace(phase.clone());
                            record_state(&recorder, &server, &swap_id, &phase, last);
                        }
                    }
                }
                Err(status) if status.code() != Code::Unavailable => return,
                Err(_) => {}
            }
            Deadline::after(AGAIN).reach().await;
        }
    });
}
