//! How a standing world is now, as JSON: what `swaprig status` shows. A part that does not answer says so in its place, and
//! keeps nobody from seeing the others.

use std::sync::LazyLock;
use std::time::Duration;

use futures_util::future::join_all;
use prost_reflect::{DescriptorPool, MethodDescriptor};
use serde_json::{Map, Value, json};
use swaprig_harness::bitcoind::RpcError;
use swaprig_harness::electrs::Electrs;
use swaprig_harness::grpc::{self, Target};
use swaprig_harness::ldk_server::{ChannelView, LdkServer, NodeError};
use swaprig_harness::process::Running;
use swaprig_harness::server::{Ready, Server};
use swaprig_harness::time::Deadline;
use swaprig_harness::world::Liquid;
use swaprig_harness::{World, error_chain};

/// How long one part may take to answer.
const LOOK: Duration = Duration::from_secs(5);
/// How many swaps of a server are told, the newest.
const SWAPS: u32 = 8;

/// Everything, the parts side by side.
pub(super) async fn state(world: &World) -> Value {
    let bitcoind = world.bitcoind().running();
    let bitcoin = part(&bitcoind, bitcoin(world));
    let nodes = join_all(world.nodes().iter().map(|node| async {
        let state = part(&node.running(), lightning(world, node)).await;
        named(node.name(), state)
    }));
    let indexes =
        join_all(world.indexes().map(|index| async {
            named(index.name(), part(&index.running(), height(index)).await)
        }));
    let servers = join_all(world.servers().iter().map(server));
    let liquid = async {
        match world.liquid() {
            Ok(liquid) => Some(part(&liquid.elementsd().running(), chain(liquid)).await),
            Err(_) => None,
        }
    };
    let (bitcoin, nodes, indexes, servers, liquid) =
        tokio::join!(bitcoin, nodes, indexes, servers, liquid);
    let mut state = bitcoin;
    state.entry("height".to_owned()).or_insert(Value::Null);
    state.insert("nodes".to_owned(), json!(nodes));
    state.insert("indexes".to_owned(), json!(indexes));
    state.insert("servers".to_owned(), json!(servers));
    if let Some(liquid) = liquid {
        state.insert("liquid".to_owned(), Value::Object(liquid));
    }
    Value::Object(state)
}

/// What a daemon tells of itself; when it has ended, how, and when it does not answer, why.
async fn part(
    running: &Running,
    look: impl Future<Output = Result<Value, String>>,
) -> Map<String, Value> {
    let pair = |name: &str, text: String| Map::from_iter([(name.to_owned(), json!(text))]);
    if let Some(exit) = running.exit() {
        return pair("ended", exit.to_string());
    }
    match Deadline::after(LOOK).bound(look).await {
        Some(Ok(Value::Object(pairs))) => pairs,
        Some(Ok(other)) => Map::from_iter([("value".to_owned(), other)]),
        Some(Err(why)) => pair("error", why),
        None => pair("error", format!("no answer within {LOOK:?}")),
    }
}

fn named(name: &str, mut state: Map<String, Value>) -> Value {
    state.insert("name".to_owned(), json!(name));
    Value::Object(state)
}

async fn bitcoin(world: &World) -> Result<Value, String> {
    let bitcoind = world.bitcoind();
    let look = async {
        let height = bitcoind.height().await?;
        Ok((height, bitcoind.rpc().mempool(Deadline::after(LOOK)).await?))
    };
    let (height, mempool) = look.await.map_err(|error: RpcError| error_chain(&error))?;
    Ok(json!({ "height": height.0, "mempool": mempool.len() }))
}

async fn lightning(world: &World, node: &LdkServer) -> Result<Value, String> {
    let look = async {
        let (info, balances) = (node.info().await?, node.balances().await?);
        Ok((info, balances, node.channels().await?))
    };
    let (info, balances, channels) = look.await.map_err(|error: NodeError| error_chain(&error))?;
    let usable = channels.iter().filter(|channel| channel.is_usable).count();
    let list = channels.iter().map(|one| channel(world, one));
    Ok(json!({
        "node_id": info.node_id.to_string(),
        "height": info.height.0,
        "onchain_sat": balances.onchain_total.0,
        "lightning_sat": balances.lightning.0,
        "channels": channels.len(),
        "usable_channels": usable,
        "channel_list": list.collect::<Vec<_>>(),
    }))
}

fn channel(world: &World, channel: &ChannelView) -> Value {
    let other = world
        .nodes()
        .iter()
        .find(|node| node.node_id() == channel.counterparty);
    let state = match (channel.is_usable, channel.is_ready) {
        (true, _) => "usable".to_owned(),
        (false, true) => "not connected".to_owned(),
        (false, false) => format!("{} confirmations", channel.confirmations.0),
    };
    json!({
        "channel_id": channel.channel_id,
        "with": other.map_or_else(|| channel.counterparty.to_string(), |node| node.name().to_owned()),
        "state": state,
        "size_sat": channel.size.0,
        "outbound_msat": channel.outbound.0,
        "inbound_msat": channel.inbound.0,
        "committed_msat": channel.committed.0,
    })
}

async fn height(index: &Electrs) -> Result<Value, String> {
    let height = index.height(Deadline::after(LOOK)).await;
    let height = height.map_err(|error| error_chain(&error))?;
    Ok(json!({ "height": height.0 }))
}

async fn chain(liquid: &Liquid) -> Result<Value, String> {
    let elementsd = liquid.elementsd();
    let deadline = Deadline::after(LOOK);
    let look = async {
        let height = elementsd.height().await?;
        let mempool = elementsd.rpc().mempool(deadline).await?.len();
        let mut wallets = Vec::new();
        for name in elementsd.wallets() {
            let balances = elementsd.rpc().balances(name, deadline).await?;
            let balances: Map<_, _> = balances
                .into_iter()
                .map(|(asset, parts)| (asset.to_string(), json!(parts)))
                .collect();
            wallets.push(json!({ "name": name, "balances": balances }));
        }
        Ok(json!({ "height": height.0, "mempool": mempool, "wallets": wallets }))
    };
    look.await.map_err(|error: RpcError| error_chain(&error))
}

async fn server(server: &Server) -> Value {
    let look = async {
        let mut state = json!({ "address": server.address() });
        if let Some(swaps) = swaps(server).await {
            state["swaps"] = swaps;
        }
        Ok(state)
    };
    named(server.name(), part(&server.running(), look).await)
}

/// The newest swaps of a server that serves our API; it is asked itself, not through a proxy, so that no fault is used up.
async fn swaps(server: &Server) -> Option<Value> {
    static LIST: LazyLock<Option<MethodDescriptor>> = LazyLock::new(|| {
        let api = DescriptorPool::decode(swaprig_proto::DESCRIPTORS).ok()?;
        grpc::method(&api, "ln_liquid_swap.v1.SwapService/ListSwaps").ok()
    });
    let method = LIST.as_ref()?;
    // A server of another kind is not bothered with gRPC.
    let speaks_grpc = matches!(server.ready(), Ready::GrpcHealth(_));
    let is_ours = |api: &DescriptorPool| grpc::method(api, &grpc::method_path(method)).is_ok();
    if !server.api().map_or(speaks_grpc, is_ours) {
        return None;
    }
    let request = grpc::encode(&method.input(), &json!({ "page_size": SWAPS })).ok()?;
    let target = Target {
        address: server.address(),
        certificate: server.certificate().map(Into::into),
    };
    let answer = grpc::call(&target, method, &request, Deadline::after(LOOK)).await;
    let answer = grpc::to_json(&answer.ok()?);
    let word = |value: &Value, prefix: &str| {
        let text = value.as_str().unwrap_or_default();
        text.trim_start_matches(prefix).to_lowercase()
    };
    let swaps = answer["swaps"].as_array()?.iter().map(|swap| {
        json!({
            "swap_id": swap["swap_id"],
            "status": word(&swap["status"], "SWAP_STATUS_"),
            "phase": word(&swap["phase"], "SWAP_PHASE_"),
            "asset_id": swap["asset_id"],
            "amount": swap["amount"],
            "timeout": swap["htlc"]["timeout"],
        })
    });
    Some(swaps.collect())
}
