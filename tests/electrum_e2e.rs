//! Indexes over real nodes, each program that is found held to the same: the bundled one always, upstream's where there
//! is one. The client is electrum-client, which BDK and LWK use, too.

mod support;

use std::path::Path;
use std::time::Duration;

use bitcoin::consensus::encode::{deserialize, serialize_hex};
use bitcoin::{Address, ScriptBuf, Transaction};
use electrum_client::{Client, ElectrumApi as _, Param, utils::validate_merkle_proof};
use serde_json::{Value, json};
use swaprig_harness::binary::{Binary, Choice, Kind, Role, Settings, Stderr, resolve};
use swaprig_harness::bitcoind::{Bitcoind, PASSWORD, USER};
use swaprig_harness::electrs::{Chain, Electrs, ElectrumClient, FollowedNode, ScriptHash};
use swaprig_harness::elementsd::{AssetAmount, Elementsd, FAUCET};
use swaprig_harness::process::Stopped;
use swaprig_harness::proxy::{Calls, Failure, FieldValue, Proxy, Upstream};
use swaprig_harness::time::{Deadline, Probe, poll_until};
use swaprig_harness::units::{BlockDelta, Height, Sat};

fn soon() -> Deadline {
    Deadline::after(support::SOON)
}

/// The program for a role; upstream's only when there is one.
fn program(role: Role, choice: Choice) -> Option<Binary> {
    let settings = Settings {
        choice,
        ..support::settings()
    };
    resolve(role, &settings, &Stderr::default()).ok()
}

/// The bundled index and, said aloud when there is none, upstream's.
fn indexes(role: Role) -> Vec<Binary> {
    let upstream = program(role, Choice::Upstream);
    if upstream.is_none() {
        eprintln!("SKIPPED: no upstream {role} on this machine");
    }
    let bundled = program(role, Choice::Bundled).expect("this build contains one");
    std::iter::once(bundled).chain(upstream).collect()
}

fn over_bitcoind(node: &Bitcoind) -> FollowedNode {
    FollowedNode {
        rpc: node.rpc_address(),
        p2p: node.p2p_address(),
        user: USER.to_owned(),
        password: PASSWORD.to_owned(),
        dir: node.dir().to_owned(),
    }
}

async fn bitcoind(dir: &Path) -> Bitcoind {
    let found = tokio::task::spawn_blocking(|| {
        resolve(Role::Bitcoind, &support::settings(), &Stderr::default()).unwrap()
    });
    Bitcoind::start(&found.await.unwrap(), dir, None, soon())
        .await
        .unwrap()
}

/// Waits until the index shows `wanted`.
async fn shows<T: PartialEq + std::fmt::Debug>(
    index: &Electrs,
    what: &str,
    wanted: T,
    mut look: impl AsyncFnMut(&mut ElectrumClient) -> T,
) {
    let client = tokio::sync::Mutex::new((index.client(soon()).await.unwrap(), &mut look));
    let seen = poll_until::<_, (), _>(what, soon(), || async {
        index.poke();
        let (client, look) = &mut *client.lock().await;
        let seen = look(client).await;
        match seen == wanted {
            true => Probe::Ready(()),
            false => Probe::Pending(format!("{seen:?}")),
        }
    });
    seen.await
        .unwrap_or_else(|error| panic!("{}: {error:?}", index.binary().kind));
}

/// The heights of what touches a script.
async fn heights(client: &mut ElectrumClient, script: &ScriptBuf) -> Vec<i64> {
    let history = client.history(ScriptHash::of(script.as_bytes()), soon());
    let history = history.await.unwrap();
    history.iter().map(|item| item.height).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_index_of_bitcoin_follows_its_chain() {
    if !support::runs() {
        return;
    }
    for binary in indexes(Role::Electrs) {
        let sandbox = support::sandbox::Sandbox::new();
        let node = bitcoind(sandbox.path()).await;
        let over = over_bitcoind(&node);
        let index = Electrs::start(&binary, sandbox.path(), Chain::Bitcoin, &over, soon())
            .await
            .unwrap();
        index
            .wait_tip(node.tip().await.unwrap(), soon())
            .await
            .unwrap();
        confirms_and_reorganises(&node, &index).await;
        restarts(&node, &index).await;
        assert_eq!(index.stop(soon()).await, Stopped::Terminated);
        node.stop(soon()).await;
    }
}

/// A payment waits, confirms, and waits again when its block is taken away.
async fn confirms_and_reorganises(node: &Bitcoind, index: &Electrs) {
    let address = node.rpc().new_address(soon()).await.unwrap();
    let script = address.script_pubkey();
    let txid = node.send(&address, Sat(70_000)).await.unwrap();
    shows(
        index,
        "the payment in the mempool",
        vec![0],
        async |client| heights(client, &script).await,
    )
    .await;
    let mut client = index.client(soon()).await.unwrap();
    let hash = ScriptHash::of(script.as_bytes());
    let balance = client.balance(hash, soon()).await.unwrap();
    assert_eq!((balance.confirmed, balance.unconfirmed), (0, 70_000));
    let raw = client.transaction(txid, soon()).await.unwrap();
    let tx: Transaction = deserialize(&raw).unwrap();
    assert_eq!(tx.compute_txid(), txid);
    let history = client.history(hash, soon()).await.unwrap();
    assert!(history[0].fee.is_some_and(|fee| fee > 0));

    let mined = node.generate(BlockDelta(1), soon()).await.unwrap()[0];
    let tip = node.tip().await.unwrap();
    index.wait_tip(tip, soon()).await.unwrap();
    let height = i64::from(tip.height.0);
    if index.binary().kind == Kind::Bundled {
        // Whoever has seen the header sees what is in its block, and nothing of it in the mempool.
        assert_eq!(heights(&mut client, &script).await, [height]);
    }
    shows(
        index,
        "the payment in its block",
        vec![height],
        async |client| heights(client, &script).await,
    )
    .await;
    let balance = client.balance(hash, soon()).await.unwrap();
    assert_eq!((balance.confirmed, balance.unconfirmed), (70_000, 0));

    // The replacement is longer before the index looks: upstream's cannot follow a chain that is shorter.
    node.rpc().invalidate_block(mined, soon()).await.unwrap();
    let miner = node.rpc().new_address(soon()).await.unwrap();
    for _ in 0..2 {
        let params = [json!(miner.to_string()), json!([])];
        node.rpc()
            .call::<Value>("generateblock", &params, soon())
            .await
            .unwrap();
    }
    let tip = node.tip().await.unwrap();
    index.wait_tip(tip, soon()).await.unwrap();
    shows(
        index,
        "the payment back in the mempool",
        vec![0],
        async |client| heights(client, &script).await,
    )
    .await;
    node.generate(BlockDelta(1), soon()).await.unwrap();
    let tip = node.tip().await.unwrap();
    index.wait_tip(tip, soon()).await.unwrap();
    let height = vec![i64::from(tip.height.0)];
    shows(
        index,
        "the payment in another block",
        height,
        async |client| heights(client, &script).await,
    )
    .await;
}

async fn restarts(node: &Bitcoind, index: &Electrs) {
    index.kill().await;
    assert!(!index.is_running());
    node.generate(BlockDelta(3), soon()).await.unwrap();
    index.restart(soon()).await.unwrap();
    let tip = node.tip().await.unwrap();
    index.wait_tip(tip, soon()).await.unwrap();
    assert_eq!(index.height(soon()).await.unwrap(), tip.height);
    // What can never come is told of in time, with what there is instead.
    let mut never = tip;
    never.height = Height(tip.height.0 + 1);
    let deadline = Deadline::after(Duration::from_millis(200));
    let error = index.wait_tip(never, deadline).await.unwrap_err();
    let seen = tip.height.to_string();
    assert!(error.to_string().contains(&seen), "{error}");
}

/// The bundled one, as electrum-client sees it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn electrum_client_gets_along_with_the_bundled_index() {
    if !support::runs() {
        return;
    }
    let sandbox = support::sandbox::Sandbox::new();
    let node = bitcoind(sandbox.path()).await;
    let bundled = program(Role::Electrs, Choice::Bundled).unwrap();
    let over = over_bitcoind(&node);
    let index = Electrs::start(&bundled, sandbox.path(), Chain::Bitcoin, &over, soon())
        .await
        .unwrap();
    assert_eq!(index.binary().kind, Kind::Bundled);
    let url = format!("tcp://{}", index.electrum_address());
    let client = tokio::task::spawn_blocking(move || Client::new(&url).unwrap());
    let client = client.await.unwrap();
    asks_everything(&node, &client).await;
    spends(&node, &client).await;
    index.stop(soon()).await;
    node.stop(soon()).await;
}

async fn asks_everything(node: &Bitcoind, client: &Client) {
    assert_eq!(client.protocol_version().unwrap(), "1.6");
    client.ping().unwrap();
    let tip = node.tip().await.unwrap();
    let header = client.block_headers_subscribe().unwrap();
    assert_eq!(header.header.block_hash(), tip.hash);
    let headers = client.block_headers(0, 5_000).unwrap();
    assert_eq!(headers.count, tip.height.0 as usize + 1);
    let linked = headers.headers.windows(2);
    assert!(
        linked
            .into_iter()
            .all(|two| two[1].prev_blockhash == two[0].block_hash())
    );
    let features = client.server_features().unwrap();
    let mut genesis = features.genesis_hash;
    genesis.reverse();
    let own = bitcoin::constants::genesis_block(bitcoin::Network::Regtest).block_hash();
    assert_eq!(serialize_hex(&own), hex(&genesis));
    assert!(client.mempool_get_info().unwrap().minrelaytxfee > 0.0);
    assert!(client.estimate_fee(1, None).is_ok());
    assert!(client.relay_fee().is_err(), "1.6 has it no more");
    let error = client.transaction_broadcast_raw(&[0]).unwrap_err();
    assert!(error.to_string().contains("TX decode failed"), "{error}");
    // Requests after each other on one connection, unread: the answers come in bounded time.
    let scripts: Vec<ScriptBuf> = (0..2_000u32)
        .map(|i| ScriptBuf::from_bytes(i.to_be_bytes().to_vec()))
        .collect();
    let refs = scripts.iter().map(ScriptBuf::as_script);
    let histories = client.batch_script_get_history(refs).unwrap();
    assert!(histories.len() == 2_000 && histories.iter().all(Vec::is_empty));
    let coinbase = client.txid_from_pos_with_merkle(5, 0).unwrap();
    let merkle = client.transaction_get_merkle(&coinbase.tx_hash, 5).unwrap();
    let block = client.block_header(5).unwrap();
    assert!(validate_merkle_proof(
        &coinbase.tx_hash,
        &block.merkle_root,
        &merkle
    ));
    let verbose = [
        Param::String(coinbase.tx_hash.to_string()),
        Param::Bool(true),
    ];
    let verbose = client
        .raw_call("blockchain.transaction.get", verbose)
        .unwrap();
    assert_eq!(verbose["blockhash"], json!(block.block_hash()));
}

/// A transaction that this client sends is known at once; news come by themselves.
async fn spends(node: &Bitcoind, client: &Client) {
    let wallet = |method: &'static str, params: Vec<Value>| async move {
        let answer = node
            .rpc()
            .wallet_call::<Value>(method, &params, soon())
            .await;
        answer.unwrap()
    };
    let address = node.rpc().new_address(soon()).await.unwrap();
    let script = address.script_pubkey();
    assert_eq!(client.script_subscribe(&script).unwrap(), None);
    let tx = signed_payment(&address, wallet).await;
    let txid = client.transaction_broadcast(&tx).unwrap();
    assert_eq!(txid, tx.compute_txid());
    let history = client.script_get_history(&script).unwrap();
    assert_eq!((history[0].tx_hash, history[0].height), (txid, 0));
    assert_eq!(
        client.script_list_unspent(&script).unwrap()[0].value,
        50_000
    );
    node.generate(BlockDelta(1), soon()).await.unwrap();
    let told = poll_until::<_, (), _>("news of the block and the payment", soon(), || async {
        client.ping().unwrap();
        match (
            client.block_headers_pop().unwrap(),
            client.script_pop(&script).unwrap(),
        ) {
            (None, _) => Probe::Pending("no news of a block".to_owned()),
            (Some(header), status) => Probe::Ready((header, status)),
        }
    });
    let (header, status) = told.await.unwrap();
    assert_eq!(header.header.block_hash(), node.tip().await.unwrap().hash);
    assert!(
        status.is_some(),
        "the payment entered the mempool and then a block"
    );
    let balance = client.script_get_balance(&script).unwrap();
    assert_eq!((balance.confirmed, balance.unconfirmed), (50_000, 0));
    let history = client.script_get_history(&script).unwrap();
    let height = usize::try_from(history[0].height).unwrap();
    let merkle = client.transaction_get_merkle(&txid, height).unwrap();
    let root = client.block_header(height).unwrap().merkle_root;
    assert!(validate_merkle_proof(&txid, &root, &merkle));
    let again = client.transaction_broadcast(&tx).unwrap_err().to_string();
    assert!(again.contains("already in"), "{again}");
}

async fn signed_payment<F: Future<Output = Value>>(
    to: &Address,
    wallet: impl Fn(&'static str, Vec<Value>) -> F,
) -> Transaction {
    let outputs = json!([{ to.to_string(): "0.0005" }]);
    let funded = wallet("walletcreatefundedpsbt", vec![json!([]), outputs]).await;
    let signed = wallet("walletprocesspsbt", vec![funded["psbt"].clone()]).await;
    let psbt: bitcoin::Psbt = signed["psbt"].as_str().unwrap().parse().unwrap();
    match signed["hex"].as_str() {
        Some(hex) => bitcoin::consensus::encode::deserialize_hex(hex).unwrap(),
        None => psbt.extract_tx().unwrap(),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Each program over each Liquid node that is found.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_index_of_liquid_follows_its_chain() {
    if !support::runs() {
        return;
    }
    let nodes = [Choice::Bundled, Choice::Upstream];
    for node in nodes
        .into_iter()
        .filter_map(|choice| program(Role::Elementsd, choice))
    {
        for binary in indexes(Role::ElectrsLiquid) {
            let sandbox = support::sandbox::Sandbox::new();
            let wallets = ["alice".to_owned()];
            let node = Elementsd::start(&node, sandbox.path(), &wallets, soon())
                .await
                .unwrap();
            let over = FollowedNode {
                rpc: node.rpc_address(),
                p2p: String::new(),
                user: USER.to_owned(),
                password: PASSWORD.to_owned(),
                dir: node.dir().to_owned(),
            };
            let index = Electrs::start(&binary, sandbox.path(), Chain::Liquid, &over, soon())
                .await
                .unwrap();
            pays_on_liquid(&node, &index).await;
            assert_eq!(index.stop(soon()).await, Stopped::Terminated);
            node.stop(soon()).await;
        }
    }
}

async fn pays_on_liquid(node: &Elementsd, index: &Electrs) {
    index
        .wait_tip(node.tip().await.unwrap(), soon())
        .await
        .unwrap();
    let pair = node.rpc().new_address("alice", soon()).await.unwrap();
    for to in [&pair.confidential, &pair.explicit] {
        let script = to.script_pubkey();
        let script = ScriptBuf::from_bytes(script.to_bytes());
        let mut client = index.client(soon()).await.unwrap();
        let mut before = heights(&mut client, &script).await;
        let amount = AssetAmount::sat(Sat(60_000));
        let txid = node
            .rpc()
            .send_to_address(FAUCET, to, amount, soon())
            .await
            .unwrap();
        before.push(0);
        shows(
            index,
            "the payment in the mempool",
            before,
            async |client| heights(client, &script).await,
        )
        .await;
        node.generate(BlockDelta(1), soon()).await.unwrap();
        let tip = node.tip().await.unwrap();
        index.wait_tip(tip, soon()).await.unwrap();
        let height = Some(i64::from(tip.height.0));
        shows(index, "the payment in its block", height, async |client| {
            heights(client, &script).await.last().copied()
        })
        .await;
        let raw = client.transaction(txid, soon()).await.unwrap();
        let tx: elements::Transaction = elements::encode::deserialize(&raw).unwrap();
        assert_eq!(tx.txid().to_string(), txid.to_string());
        // Fees are outputs here, and nobody's.
        let fee = client.history(ScriptHash::of(&[]), soon()).await.unwrap();
        assert_eq!(fee, []);
    }
}

/// What a server's client meets when faults stand between it and an index of its own making.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn faults_stand_before_every_index() {
    if !support::runs() {
        return;
    }
    for binary in indexes(Role::Electrs) {
        let sandbox = support::sandbox::Sandbox::new();
        let node = bitcoind(sandbox.path()).await;
        let over = over_bitcoind(&node);
        let index = Electrs::start(&binary, sandbox.path(), Chain::Bitcoin, &over, soon())
            .await
            .unwrap();
        let upstream = Upstream::Electrum(index.electrum_address());
        let proxy = Proxy::start("server->electrs", upstream).await.unwrap();
        let address = proxy.address();
        let mut client = ElectrumClient::connect(&address, soon()).await.unwrap();
        let payee = node.rpc().new_address(soon()).await.unwrap();
        let hash = ScriptHash::of(payee.script_pubkey().as_bytes());
        node.send(&payee, Sat(70_000)).await.unwrap();
        node.generate(BlockDelta(1), soon()).await.unwrap();
        index
            .wait_tip(node.tip().await.unwrap(), soon())
            .await
            .unwrap();

        let history = "blockchain.scripthash.get_history";
        let lie = FieldValue::Json(json!([]));
        proxy
            .tamper(Calls::of(history).about(hash).next(1), None, lie)
            .unwrap();
        assert_eq!(client.history(hash, soon()).await.unwrap(), []);
        assert_eq!(client.history(hash, soon()).await.unwrap().len(), 1);

        let refusal = Failure::Error("mempool full".to_owned());
        let broadcast = Calls::of("blockchain.transaction.broadcast").next(1);
        proxy.fail(broadcast, refusal, false).unwrap();
        let refused = client.broadcast(&[0], soon()).await.unwrap_err();
        assert!(refused.to_string().contains("mempool full"), "{refused}");
        let refused = client.broadcast(&[0], soon()).await.unwrap_err();
        assert!(!refused.to_string().contains("mempool full"), "{refused}");

        proxy.partition();
        let within = Deadline::after(Duration::from_millis(60));
        assert!(client.history(hash, within).await.is_err());
        proxy.heal();
        let mut client = ElectrumClient::connect(&address, soon()).await.unwrap();
        assert_eq!(client.history(hash, soon()).await.unwrap().len(), 1);
        index.stop(soon()).await;
        node.stop(soon()).await;
    }
}
