//! A wallet that other people wrote, LWK, on each kind of daemons: it syncs through the index alone.

use std::time::Duration;

use elements::{Address, AssetId};
use lwk_common::Signer as _;
use lwk_signer::SwSigner;
use lwk_wollet::blocking::BlockchainBackend as _;
use lwk_wollet::{
    ElectrumClient, ElectrumClientBuilder, Network, Wollet, WolletBuilder, WolletDescriptor,
    WolletTxBuilder, full_scan_with_electrum_client,
};
use serde_json::{Value, json};
use swaprig_conformance::lab::Lab;
use swaprig_conformance::tx::{Key, Seeded};
use swaprig_harness::time::{Deadline, Probe, poll_until};

use super::support;
use super::support::sandbox::Sandbox;

/// The words of BIP39's first test vector.
const WORDS: &str =
    "abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon about";

/// A signer, what it watches, and the connection it watches through.
struct Lwk {
    signer: SwSigner,
    wollet: Wollet,
    client: ElectrumClient,
}

impl Lwk {
    fn new(index: &str) -> Self {
        let network = Network::default_regtest();
        let signer = SwSigner::new_with_network(WORDS, network).unwrap();
        let descriptor: WolletDescriptor =
            signer.wpkh_slip77_descriptor().unwrap().parse().unwrap();
        let wollet = WolletBuilder::new(network, descriptor).build().unwrap();
        let client = ElectrumClientBuilder::new(&format!("tcp://{index}"))
            .timeout(Duration::from_secs(20))
            .build()
            .unwrap();
        Lwk {
            signer,
            wollet,
            client,
        }
    }

    fn balance(&self, asset: AssetId) -> u64 {
        self.wollet
            .balance()
            .unwrap()
            .get(&asset)
            .copied()
            .unwrap_or(0)
    }

    fn address(&self) -> Address {
        self.wollet.address(None).unwrap().address().clone()
    }

    /// Syncs until `wanted` holds.
    async fn sync(&mut self, lab: &Lab, what: &str, wanted: impl Fn(&Wollet) -> bool) {
        let own = tokio::sync::Mutex::new(self);
        let synced = poll_until::<_, (), _>(what, Deadline::after(support::SOON), || async {
            (lab.poke.0)();
            let mut own = own.lock().await;
            let Lwk { wollet, client, .. } = &mut **own;
            let scanned =
                tokio::task::block_in_place(|| full_scan_with_electrum_client(wollet, client));
            match scanned {
                Ok(()) if wanted(wollet) => Probe::Ready(()),
                Ok(()) => Probe::Pending(format!(
                    "{:?} at {}",
                    wollet.balance().unwrap().as_ref(),
                    wollet.tip().height()
                )),
                Err(error) => Probe::Pending(error.to_string()),
            }
        });
        synced.await.unwrap_or_else(|error| panic!("{error:?}"));
    }

    /// Signs, finalises and broadcasts what `build` makes; gives the fee.
    fn send(&self, build: impl FnOnce(WolletTxBuilder<'_>) -> WolletTxBuilder<'_>) -> u64 {
        let builder = build(self.wollet.tx_builder());
        let mut pset = builder.finish().unwrap();
        assert!(self.signer.sign(&mut pset).unwrap() > 0);
        let tx = self.wollet.finalize(&mut pset).unwrap();
        let txid = tokio::task::block_in_place(|| self.client.broadcast(&tx)).unwrap();
        assert_eq!(txid, tx.txid());
        tx.all_fees().values().sum()
    }
}

async fn wallet_call(lab: &Lab, method: &str, params: Value) -> Value {
    let reply = lab
        .node
        .ask(Some(&lab.faucet), method, params)
        .await
        .unwrap();
    reply
        .result
        .unwrap_or_else(|refused| panic!("{method}: {}", refused.message))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lwk_receives_sends_drains_and_follows_a_reorganisation() {
    for programs in super::all_programs() {
        let sandbox = Sandbox::new();
        let daemons = super::start(&programs, sandbox.path()).await;
        let mut lab = daemons.lab().await.unwrap();
        let mut lwk = Lwk::new(&lab.index);
        receives(&mut lab, &mut lwk).await;
        issued_asset(&mut lab, &mut lwk).await;
        sends(&mut lab, &mut lwk).await;
        reorganises(&mut lab, &mut lwk).await;
        drains(&mut lab, &mut lwk).await;
        daemons.stop(Deadline::after(support::SOON)).await;
    }
}

/// What the faucet sends is seen before and after its block; what it sends without blinding is set apart.
async fn receives(lab: &mut Lab, lwk: &mut Lwk) {
    let lbtc = lab.lbtc;
    lwk.sync(lab, "an empty wallet", |wollet| {
        wollet.balance().unwrap().values().all(|value| *value == 0)
    })
    .await;
    let to = lwk.address();
    wallet_call(lab, "sendtoaddress", json!([to.to_string(), 1])).await;
    let has = move |amount: u64| {
        move |wollet: &Wollet| wollet.balance().unwrap().get(&lbtc) == Some(&amount)
    };
    lwk.sync(lab, "an unconfirmed L-BTC", has(100_000_000))
        .await;
    assert_eq!(lwk.wollet.transactions().unwrap()[0].height, None);
    lab.mine(1).await.unwrap();
    let height = lab.height().await.unwrap();
    lwk.sync(lab, "a confirmed L-BTC", |wollet| {
        wollet.transactions().unwrap()[0].height == Some(height)
    })
    .await;
    let explicit = lwk.address().to_unconfidential();
    wallet_call(lab, "sendtoaddress", json!([explicit.to_string(), 0.5])).await;
    lab.mine(1).await.unwrap();
    lwk.sync(lab, "an explicit output, set apart", |wollet| {
        wollet.explicit_utxos().is_ok_and(|all| all.len() == 1)
    })
    .await;
    assert_eq!(
        lwk.balance(lbtc),
        100_000_000,
        "what is not blinded is not of its balance"
    );
}

async fn issued_asset(lab: &mut Lab, lwk: &mut Lwk) {
    let issued = wallet_call(lab, "issueasset", json!([10, 0, false])).await;
    let gold: AssetId = issued["asset"].as_str().unwrap().parse().unwrap();
    lab.mine(1).await.unwrap();
    let to = lwk.address().to_string();
    wallet_call(
        lab,
        "sendtoaddress",
        json!([
            to,
            7,
            "",
            "",
            false,
            true,
            1,
            "unset",
            false,
            gold.to_string()
        ]),
    )
    .await;
    lab.mine(1).await.unwrap();
    lwk.sync(lab, "seven of gold", |wollet| {
        wollet.balance().unwrap().get(&gold) == Some(&700_000_000)
    })
    .await;
    let other = Key::new(&mut Seeded::new("gold"));
    lwk.send(|builder| {
        builder
            .add_recipient(&other.confidential_address(), 200_000_000, gold)
            .unwrap()
    });
    lab.mine(1).await.unwrap();
    lwk.sync(lab, "five of gold", |wollet| {
        wollet.balance().unwrap().get(&gold) == Some(&500_000_000)
    })
    .await;
}

/// A payment to somebody else, who finds it by unblinding.
async fn sends(lab: &mut Lab, lwk: &mut Lwk) {
    let (lbtc, before) = (lab.lbtc, lwk.balance(lab.lbtc));
    let other = Key::new(&mut Seeded::new("somebody else"));
    let fee = lwk.send(|builder| {
        builder
            .add_lbtc_recipient(&other.confidential_address(), 10_000)
            .unwrap()
    });
    lab.mine(1).await.unwrap();
    let left = before - 10_000 - fee;
    lwk.sync(lab, "the change", |wollet| {
        wollet.balance().unwrap().get(&lbtc) == Some(&left)
    })
    .await;
}

/// A payment is mined, its block is replaced by a longer branch without it, and it is mined again.
async fn reorganises(lab: &mut Lab, lwk: &mut Lwk) {
    let (lbtc, before) = (lab.lbtc, lwk.balance(lab.lbtc));
    let other = Key::new(&mut Seeded::new("after the fork"));
    let fee = lwk.send(|builder| {
        builder
            .add_lbtc_recipient(&other.confidential_address(), 20_000)
            .unwrap()
    });
    let block = lab.mine(1).await.unwrap().remove(0);
    let left = before - 20_000 - fee;
    let height = lab.height().await.unwrap();
    lwk.sync(lab, "a confirmed payment", |wollet| {
        wollet.transactions().unwrap().iter().any(|tx| {
            tx.height == Some(height) && wollet.balance().unwrap().get(&lbtc) == Some(&left)
        })
    })
    .await;
    // An index looks again only when the branch is the longer one: Blockstream's electrs does not survive a chain that
    // is shorter than the one it knows.
    lab.call("invalidateblock", json!([block])).await.unwrap();
    let time = lab.call("getblockchaininfo", json!([])).await.unwrap()["mediantime"]
        .as_u64()
        .unwrap();
    lab.call("setmocktime", json!([time + 10_000]))
        .await
        .unwrap();
    let to = lab.key.address().to_string();
    for _ in 0..2 {
        lab.call("generateblock", json!([to, []])).await.unwrap();
    }
    lwk.sync(lab, "the payment, unconfirmed again", |wollet| {
        wollet.tip().height() == height + 1
            && wollet
                .transactions()
                .unwrap()
                .iter()
                .any(|tx| tx.height.is_none())
    })
    .await;
    assert_eq!(lwk.balance(lbtc), left, "it is still spent");
    lab.mine(1).await.unwrap();
    lwk.sync(lab, "the payment, confirmed on the branch", |wollet| {
        wollet
            .transactions()
            .unwrap()
            .iter()
            .any(|tx| tx.height == Some(height + 2))
    })
    .await;
    assert_eq!(lwk.balance(lbtc), left);
}

async fn drains(lab: &mut Lab, lwk: &mut Lwk) {
    let lbtc = lab.lbtc;
    let other = Key::new(&mut Seeded::new("all of it"));
    lwk.send(|builder| {
        builder
            .drain_lbtc_wallet()
            .drain_lbtc_to(&other.confidential_address())
            .unwrap()
    });
    lab.mine(1).await.unwrap();
    lwk.sync(lab, "no L-BTC", |wollet| {
        wollet
            .balance()
            .unwrap()
            .get(&lbtc)
            .is_none_or(|left| *left == 0)
    })
    .await;
}
