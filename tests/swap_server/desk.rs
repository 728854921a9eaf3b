//! A world with a swap server that has coins, a buyer with a channel to it, and the money oracle over all of it.

use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use bitcoin::Network;
use elements::{AddressParams, AssetId};
use serde_json::json;
use swaprig::client::{Buyer, Chains, Config, Policy, Seed, Wish};
use swaprig::swap::read_tag;
use swaprig_harness::elementsd::{AssetAmount, lbtc};
use swaprig_harness::server::{Ready, ServerSpec};
use swaprig_harness::units::{BlockDelta, Msat, Sat, Units};
use swaprig_harness::world::{Chain, Recipient};
use swaprig_proto::v1;
use swaprig_proto::v1::swap_service_client::SwapServiceClient;
use swaprig_scenarios::lang::{HtlcBooks, HtlcList, JsonPath, JsonPaths, LiquidBooks, ServerBooks};
use swaprig_scenarios::run::Oracle;
use tokio::sync::Mutex;
use tonic::transport::Channel;
use uuid::Uuid;

use crate::served::{SERVER, Served, channel, spec};
use crate::support;

pub(crate) use crate::served::{pause, soon};

/// Millisatoshi for a satoshi of L-BTC.
pub(crate) const PRICE: u64 = 1_010;

/// What a desk begins with.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    /// Further arguments of the server.
    pub(crate) args: Vec<String>,
    /// L-BTC of the server, satoshi.
    pub(crate) stock: u64,
    /// The size of its coins.
    pub(crate) coin: u64,
    /// The capacity of the buyer's channel, satoshi.
    pub(crate) channel: u64,
}

impl Default for Plan {
    fn default() -> Self {
        Plan {
            args: Vec::new(),
            stock: 1_000_000,
            coin: 100_000,
            channel: 1_000_000,
        }
    }
}

pub(crate) struct Desk {
    served: Served,
    oracle: Mutex<Oracle>,
    dir: tempfile::TempDir,
}

impl Deref for Desk {
    type Target = Served;

    fn deref(&self) -> &Served {
        &self.served
    }
}

fn server_spec(plan: &Plan) -> ServerSpec {
    let sale = format!("{}={PRICE},coin={}", lbtc(), plan.coin);
    let args = [
        "--listen",
        "{listen}",
        "--electrum-url",
        "tcp://{electrs-liquid.electrum}",
        "--sell",
        &sale,
    ];
    let all = args.into_iter().chain(plan.args.iter().map(String::as_str));
    spec(Ready::GrpcHealth(String::new()), all)
}

fn books() -> ServerBooks {
    ServerBooks {
        server: SERVER.into(),
        lightning: Some("seller".into()),
        bitcoin: None,
        liquid: Some(LiquidBooks::DescriptorFile("{dir}/descriptor.txt".into())),
        htlcs: Some(HtlcBooks {
            list: HtlcList::Grpc {
                rpc: "ln_liquid_swap.v1.SwapService/ListSwaps".into(),
                send: serde_json::json!({}),
                next: Some((
                    "page_token".into(),
                    JsonPath::parse("$.next_page_token").unwrap(),
                )),
            },
            addresses: JsonPaths::parse("$.swaps[*].htlc.address").unwrap(),
        }),
    }
}

impl Desk {
    /// Opens it, with its coins ready; `None`, said aloud, when `RUN_LDK_E2E=0` asks to skip.
    pub(crate) async fn open(plan: Plan) -> Option<Self> {
        let builder = support::world()?;
        let builder = builder.lightning(["buyer", "seller"]);
        let builder = builder.liquid_wallets(["buyer"]).indexes([Chain::Liquid]);
        let world = Arc::new(builder.server(server_spec(&plan)).start().await.unwrap());
        world
            .open_usable_channel("buyer", "seller", Sat(plan.channel))
            .await
            .unwrap();
        let desk = Desk {
            served: Served { world },
            oracle: Mutex::new(Oracle::with_servers(vec![books()])),
            dir: tempfile::tempdir().unwrap(),
        };
        if plan.stock > 0 {
            desk.deposit(lbtc(), plan.stock).await;
            desk.sells(lbtc()).await;
        }
        Some(desk)
    }

    /// Waits until the server knows that it can be paid for an asset that it has.
    async fn sells(&self, asset: AssetId) {
        self.until("something to be on offer", async || {
            let asset_id = asset.to_string();
            let request = v1::GetOfferRequest { asset_id };
            let offer = self.swaps().get_offer(request).await;
            let offer = offer
                .map_err(|status| status.to_string())?
                .into_inner()
                .offer
                .unwrap();
            match offer.max_amount >= offer.min_amount {
                true => Ok(()),
                false => Err(format!("{offer:?}")),
            }
        })
        .await;
    }

    /// Gives the server coins, and waits until swaps can use them.
    pub(crate) async fn deposit(&self, asset: AssetId, parts: u64) {
        let stocks = self.stocks().await.unwrap();
        let before = free(&stocks, asset);
        let to = Recipient::Address(stocks.deposit_address.parse().unwrap());
        let amount = AssetAmount { asset, parts };
        self.world.fund_liquid(&to, amount, soon()).await.unwrap();
        self.mine(1).await;
        // It splits the deposit as soon as it sees it.
        self.mempool_is_not_empty().await;
        self.mine(1).await;
        let wanted = before + parts / 2;
        self.until("the deposit to be usable", async || {
            let stocks = self.stocks().await.map_err(|status| status.to_string())?;
            let free = free(&stocks, asset);
            if free >= wanted {
                Ok(())
            } else {
                Err(format!("{free} of it are"))
            }
        })
        .await;
    }

    async fn mempool_is_not_empty(&self) {
        self.until("a transaction of the server's", async || {
            let rpc = self.world.liquid().unwrap().elementsd().rpc();
            let mempool = rpc
                .mempool(soon())
                .await
                .map_err(|error| error.to_string())?;
            if mempool.is_empty() {
                Err("none".into())
            } else {
                Ok(())
            }
        })
        .await;
    }

    /// How many transactions of the chain fund an HTLC of the server's: they say so of themselves.
    pub(crate) async fn fundings(&self) -> usize {
        let rpc = self.world.liquid().unwrap().elementsd().rpc();
        let tip = rpc.tip(soon()).await.unwrap().height;
        let mut found = 0;
        for height in 1..=tip.0 {
            let hash = rpc.block_hash(height, soon()).await.unwrap();
            let asked = [json!(hash.to_string()), json!(0)];
            let hex: String = rpc.call("getblock", &asked, soon()).await.unwrap();
            let bytes = elements::hex::decode_to_vec(&hex).unwrap();
            let block: elements::Block = elements::encode::deserialize(&bytes).unwrap();
            let outputs = block.txdata.iter().flat_map(|tx| &tx.output);
            found += outputs
                .filter(|output| read_tag(&output.script_pubkey).is_some())
                .count();
        }
        found
    }

    pub(crate) fn swaps(&self) -> SwapServiceClient<Channel> {
        SwapServiceClient::new(channel(&self.server().address()))
    }

    pub(crate) async fn mine(&self, blocks: u32) {
        self.world.mine_liquid(BlockDelta(blocks)).await.unwrap();
    }

    /// Starts a Lightning node again, and waits until its channel can be used.
    pub(crate) async fn node_is_back(&self, name: &str) {
        let node = self.world.node(name).unwrap();
        node.restart(soon()).await.unwrap();
        let others = self.world.nodes().iter();
        let other = others.clone().find(|other| other.name() != name).unwrap();
        self.until("the channel to be usable again", async || {
            let address = node.p2p_address();
            let connected = other.connect(node.node_id(), &address, true);
            connected.await.map_err(|error| error.to_string())?;
            for side in [node, other] {
                let channels = side.channels().await.map_err(|error| error.to_string())?;
                if !channels.iter().all(|channel| channel.is_usable) {
                    return Err(format!("{}: {channels:?}", side.name()));
                }
            }
            Ok(())
        })
        .await;
    }

    /// A buyer with a store of its own.
    pub(crate) async fn buyer(&self, name: &str) -> Buyer {
        let liquid = self.world.liquid().unwrap();
        let rpc = liquid.elementsd().rpc();
        let destination = rpc.new_address("buyer", soon()).await.unwrap().confidential;
        let dir = self.dir.path().join(name);
        std::fs::create_dir_all(&dir).unwrap();
        let config = Config {
            witness: None,
            server: format!("http://{}", self.server().address()),
            lightning: self.node("buyer"),
            electrum: liquid.index().unwrap().electrum_address(),
            dir,
            chains: Chains {
                params: &AddressParams::ELEMENTS,
                lbtc: lbtc(),
                bitcoin: Network::Regtest,
            },
            policy: Policy {
                poll: Duration::from_millis(50),
                ..Policy::default()
            },
            seed: Seed::from_bytes([3; 32]),
            destination,
        };
        Buyer::open(config).unwrap()
    }

    pub(crate) fn wish(amount: u64) -> Wish {
        Wish {
            request_id: Some(Uuid::new_v4()),
            asset: lbtc(),
            amount: Units(amount),
            max_price: Msat(amount * PRICE),
        }
    }

    /// A request with a key that nobody has to have.
    pub(crate) fn request(amount: u64) -> v1::CreateSwapRequest {
        v1::CreateSwapRequest {
            request_id: Uuid::new_v4().to_string(),
            asset_id: lbtc().to_string(),
            amount,
            claim_pubkey: "0279be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798"
                .into(),
            min_confirmations: 1,
            max_total_price_msat: 0,
            wait_for_confirmations: false,
        }
    }

    pub(crate) async fn swap(&self, id: &str) -> Result<v1::Swap, tonic::Status> {
        let request = v1::GetSwapRequest { swap_id: id.into() };
        let answer = self.swaps().get_swap(request).await?;
        Ok(answer.into_inner().swap.unwrap())
    }

    pub(crate) async fn all_swaps(&self) -> Vec<v1::Swap> {
        let mut all = Vec::new();
        let mut request = v1::ListSwapsRequest {
            page_size: 1_000,
            ..Default::default()
        };
        loop {
            let page = self
                .swaps()
                .list_swaps(request.clone())
                .await
                .unwrap()
                .into_inner();
            all.extend(page.swaps);
            if page.next_page_token.is_empty() {
                return all;
            }
            request.page_token = page.next_page_token;
        }
    }

    /// Waits until a swap has a status.
    pub(crate) async fn swap_is(&self, id: &str, status: v1::SwapStatus) -> v1::Swap {
        self.until(&format!("swap {id} to be {status:?}"), async || {
            let swap = self.swap(id).await.map_err(|status| status.to_string())?;
            match swap.status() == status {
                true => Ok(swap),
                false => Err(format!("{:?} {:?}", swap.status(), swap.phase())),
            }
        })
        .await
    }

    /// Every satoshi has an owner. A block must have settled everything.
    pub(crate) async fn money_is_conserved(&self) {
        let mut oracle = self.oracle.lock().await;
        let sheet = oracle.check(&self.world, soon()).await;
        let sheet = sheet.unwrap_or_else(|error| panic!("{error:?}\n{}", self.log_tail()));
        assert!(sheet.is_some(), "the money could not be counted");
    }
}

pub(crate) fn free(stocks: &v1::GetInventoryResponse, asset: AssetId) -> u64 {
    let asset = asset.to_string();
    let stock = stocks.assets.iter().find(|stock| stock.asset_id == asset);
    stock.map_or(0, |stock| stock.free)
}
