//! The cases notice a daemon that lies: a proxy changes one answer, and the case that asks for it fails; without the lie
//! the same case on the same daemons passes.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::json;
use swaprig_conformance::all;
use swaprig_conformance::lab::{Endpoints, Lab};
use swaprig_conformance::report::is_good;
use swaprig_conformance::rpc::NodeRpc;
use swaprig_conformance::start::{Daemons, Programs};
use swaprig_conformance::trial::{CaseRun, run};
use swaprig_harness::binary::Kind;
use swaprig_harness::elementsd::{PASSWORD, USER};
use swaprig_harness::proxy::{Calls, Failure, FieldValue, Proxy, Upstream};
use swaprig_harness::time::Deadline;

use super::support;
use super::support::sandbox::Sandbox;

/// What is told instead of the truth, of which method, and the case that notices.
enum Lie {
    /// A field of an answer of the node.
    Node(&'static str, Option<&'static str>, FieldValue),
    /// The node refuses.
    Refuses(&'static str),
    /// A field of an answer of the index.
    Index(&'static str, Option<&'static str>, FieldValue),
}

fn lies() -> Vec<(&'static str, Lie)> {
    let text = |text: &str| FieldValue::Text(text.into());
    let hash = || text(&"ab".repeat(32));
    vec![
        (
            "chain/parameters",
            Lie::Node(
                "getsidechaininfo",
                Some("pegin_confirmation_depth"),
                FieldValue::Integer(9),
            ),
        ),
        (
            "chain/blocks",
            Lie::Node("getblockheader", Some("merkleroot"), hash()),
        ),
        ("error/lookup", Lie::Refuses("getblockhash")),
        (
            "amounts/explicit",
            Lie::Node("testmempoolaccept", Some("0.reject-reason"), text("dust")),
        ),
        (
            "amounts/confidential",
            Lie::Node(
                "testmempoolaccept",
                Some("0.allowed"),
                FieldValue::Flag(true),
            ),
        ),
        (
            "htlc/v0-explicit",
            Lie::Node(
                "testmempoolaccept",
                Some("0.allowed"),
                FieldValue::Flag(true),
            ),
        ),
        (
            "htlc/taproot-confidential",
            Lie::Refuses("sendrawtransaction"),
        ),
        (
            "mempool/replace",
            Lie::Node("getrawmempool", None, FieldValue::Json(json!([]))),
        ),
        (
            "shape/outputs",
            Lie::Node("gettxout", None, FieldValue::Json(json!(null))),
        ),
        (
            "wallet/receive",
            Lie::Node("listunspent", Some("0.amountblinder"), hash()),
        ),
        (
            "wallet/send",
            Lie::Node("getbalance", Some("bitcoin"), FieldValue::Integer(3)),
        ),
        (
            "index-chain/merkle",
            Lie::Index(
                "blockchain.transaction.get_merkle",
                Some("pos"),
                FieldValue::Integer(77),
            ),
        ),
        (
            "index-chain/headers",
            Lie::Index(
                "blockchain.block.headers",
                Some("count"),
                FieldValue::Integer(7),
            ),
        ),
        (
            "index/broadcast",
            Lie::Index("blockchain.transaction.get", None, text("00")),
        ),
        (
            "index/unindexed",
            Lie::Index(
                "blockchain.scripthash.get_history",
                None,
                FieldValue::Json(
                    json!([{"tx_hash": "ab", "height": 1}, {"tx_hash": "cd", "height": 2}]),
                ),
            ),
        ),
        (
            "index/history",
            Lie::Index("blockchain.scripthash.subscribe", None, hash()),
        ),
    ]
}

impl Lie {
    fn tell(self, node: &Proxy, index: &Proxy) {
        let told = match self {
            Lie::Node(method, field, value) => node.tamper(Calls::of(method), field, value),
            Lie::Index(method, field, value) => index.tamper(Calls::of(method), field, value),
            Lie::Refuses(method) => {
                node.fail(Calls::of(method), Failure::Error("no".into()), false)
            }
        };
        told.unwrap();
    }
}

/// Daemons behind proxies, and a lab that knows the proxies alone.
struct Behind {
    daemons: Daemons,
    node: Proxy,
    index: Proxy,
    lab: Lab,
}

impl Behind {
    async fn start(programs: &Programs, dir: &Path) -> Self {
        let daemons = super::start(programs, dir).await;
        let Endpoints { node, index, poke } = daemons.endpoints();
        let node = Upstream::JsonRpc(node.address().to_owned());
        let node = Proxy::start("the node", node).await.unwrap();
        let index = Proxy::start("the index", Upstream::Electrum(index))
            .await
            .unwrap();
        let endpoints = Endpoints {
            node: NodeRpc::new(node.address(), USER, PASSWORD),
            index: index.address(),
            poke,
        };
        let lab = Lab::new(endpoints).await.unwrap();
        Behind {
            daemons,
            node,
            index,
            lab,
        }
    }

    /// Runs the case of this name.
    async fn run(&mut self, name: &str) -> CaseRun {
        let mut cases = all().into_iter();
        let case = cases.find(|case| case.name == name);
        run(
            &case.unwrap_or_else(|| panic!("no case {name}")),
            &mut self.lab,
        )
        .await
    }

    async fn stop(self) {
        self.daemons.stop(Deadline::after(support::SOON)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_case_fails_when_a_daemon_lies_and_passes_when_it_does_not() {
    if !support::runs() {
        return;
    }
    let sandbox = Sandbox::new();
    let programs = super::programs(Kind::Bundled).expect("this build contains them");
    let mut liars = Behind::start(&programs, &sandbox.path().join("lies")).await;
    let mut unnoticed = Vec::new();
    for (name, lie) in lies() {
        lie.tell(&liars.node, &liars.index);
        if is_good(Kind::Bundled, &liars.run(name).await) {
            unnoticed.push(name);
        }
        assert!(liars.node.heal() + liars.index.heal() > 0);
        // A case that was broken off leaves transactions behind.
        liars.lab.mine(1).await.unwrap();
    }
    assert!(
        unnoticed.is_empty(),
        "these passed though their daemon lied: {unnoticed:?}"
    );
    liars.stop().await;

    let mut honest = Behind::start(&programs, &sandbox.path().join("truth")).await;
    let names: BTreeSet<&str> = lies().iter().map(|(name, _)| *name).collect();
    for name in names {
        let told = honest.run(name).await;
        assert!(
            is_good(Kind::Bundled, &told),
            "{name}: {:?} {:?}",
            told.unmet,
            told.stopped
        );
    }
    honest.stop().await;
}
