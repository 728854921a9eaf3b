//! What `swaprig bench swap` measures in: a world with a swap server that has coins, and a buyer with a channel to it.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bitcoin::Network;
use elements::{AddressParams, AssetId};
use swaprig::client::{Buyer, Chains, Config, Policy, Record, Seed, Wish};
use swaprig_harness::World;
use swaprig_harness::binary::Settings;
use swaprig_harness::elementsd::{AssetAmount, FAUCET, Rpc, lbtc};
use swaprig_harness::process::Usage;
use swaprig_harness::run_dir::{Keep, RunDir};
use swaprig_harness::server::{Ready, ServerSpec};
use swaprig_harness::time::{Deadline, Probe, poll_until};
use swaprig_harness::units::{BlockDelta, Msat, Sat, Units};
use swaprig_harness::world::{Binaries, Chain, Recipient};
use swaprig_proto::v1;
use swaprig_proto::v1::swap_service_client::SwapServiceClient;
use tonic::transport::Channel;
use uuid::Uuid;

use super::bench_market::{BoxError, admin, lazy, lightning, server, soon, spec, stocks, until};

/// What each swap sells: of L-BTC satoshi, of the other asset its smallest parts. Above what Lightning can hold (354 sat).
pub(super) const AMOUNT: u64 = 2_000;
/// What a coin of L-BTC holds: one swap, its fee, and change that is worth another swap.
pub(super) const COIN: u64 = 6_000;
/// Millisatoshi for a smallest part, of either asset.
const PRICE: u64 = 1_010;
/// The buyer's channel: a tenth of it may be in flight to the server, hundreds of swaps.
const CHANNEL: Sat = Sat(16_000_000);
/// The longest pause between two looks of the buyer while nothing happens: of blocks nobody tells it.
const POLL: Duration = Duration::from_millis(50);
pub(super) struct Desk {
    pub(super) world: World,
}

fn server_spec() -> Result<ServerSpec, BoxError> {
    let sale = format!("{}={PRICE},coin={COIN}", lbtc());
    let args = [
        "--listen",
        "{listen}",
        "--electrum-url",
        "tcp://{electrs-liquid.electrum}",
        "--sell",
        &sale,
    ];
    spec(Ready::GrpcHealth(String::new()), &args)
}

impl Desk {
    /// Everything, with `coins` coins of L-BTC that swaps can use and a channel that they can be paid through.
    pub(super) async fn open(
        base: &Path,
        settings: &Settings,
        binaries: &Arc<Binaries>,
        coins: u32,
    ) -> Result<Self, BoxError> {
        let builder = World::builder()
            .lightning(["buyer", "seller"])
            .liquid_wallets(["buyer"])
            .indexes([Chain::Liquid])
            .server(server_spec()?)
            .settings(settings.clone())
            .binaries(binaries.clone())
            .run_dir(RunDir::numbered(base, Keep::OnFailure)?);
        let desk = Desk {
            world: builder.start().await?,
        };
        let channel = async {
            Ok(desk
                .world
                .open_usable_channel("buyer", "seller", CHANNEL)
                .await?)
        };
        let stock = desk.stock(lbtc(), COIN, coins);
        tokio::try_join!(channel, stock).map(drop)?;
        until("the channel to be offered", async || {
            let most = desk.offer().await?;
            Ok(if most >= AMOUNT {
                Ok(())
            } else {
                Err(format!("{most} sat can be sold"))
            })
        })
        .await?;
        Ok(desk)
    }

    async fn offer(&self) -> Result<u64, BoxError> {
        let request = v1::GetOfferRequest {
            asset_id: lbtc().to_string(),
        };
        let offer = self.swaps()?.get_offer(request).await?.into_inner().offer;
        Ok(offer.map_or(0, |offer| offer.max_amount))
    }

    fn rpc(&self) -> Result<&Rpc, BoxError> {
        Ok(self.world.liquid()?.elementsd().rpc())
    }

    pub(super) async fn mine(&self, blocks: u32) -> Result<(), BoxError> {
        self.world
            .mine_liquid_within(BlockDelta(blocks), soon())
            .await?;
        Ok(())
    }

    /// Gives the server so much of an asset that it has `count` coins for swaps, and mines until it has.
    pub(super) async fn stock(
        &self,
        asset: AssetId,
        coin: u64,
        count: u32,
    ) -> Result<(), BoxError> {
        let now = stocks(&self.world).await?;
        if free(&now, asset).free_coins >= count {
            return Ok(());
        }
        let to = Recipient::Address(now.deposit_address.parse()?);
        // A twentieth for the fees of making coins of it.
        let parts = u64::from(count) * (coin + coin.div_ceil(20)) + COIN;
        self.world
            .fund_liquid(&to, AssetAmount { asset, parts }, soon())
            .await?;
        self.mine(1).await?;
        loop {
            let enough = until("coins for swaps", async || {
                let coins = free(&stocks(&self.world).await?, asset).free_coins;
                if coins >= count {
                    return Ok(Ok(true));
                }
                let waits = !self.rpc()?.mempool(soon()).await?.is_empty();
                Ok(if waits {
                    Ok(false)
                } else {
                    Err(format!("{coins} of {count} are there"))
                })
            });
            if enough.await? {
                return Ok(());
            }
            // What makes coins of the deposit waits for a block.
            self.mine(1).await?;
        }
    }

    /// Puts a new asset on sale, with `count` coins for one swap each, and coins of L-BTC for their fees.
    pub(super) async fn stock_asset(&self, count: u32) -> Result<AssetId, BoxError> {
        let parts = 2 * AMOUNT * u64::from(count) + 2 * COIN;
        let issued = self
            .world
            .issue_asset(FAUCET, parts, 1, false, soon())
            .await?;
        self.mine(1).await?;
        let sale = v1::SetSaleRequest {
            asset_id: issued.asset.to_string(),
            price_msat_per_unit: PRICE,
            coin_amount: AMOUNT,
            ..Default::default()
        };
        admin(&self.world)?.set_sale(sale).await?;
        self.stock(lbtc(), COIN, count + 20).await?;
        self.stock(issued.asset, AMOUNT, count).await?;
        self.stock(lbtc(), COIN, count).await?;
        Ok(issued.asset)
    }

    /// Waits until a transaction is in the mempool that `wanted` names.
    pub(super) async fn sent(
        &self,
        what: &str,
        wanted: impl Fn() -> Result<Option<elements::Txid>, BoxError>,
    ) -> Result<(), BoxError> {
        let rpc = self.rpc()?;
        until(what, async || {
            let Some(txid) = wanted()? else {
                return Ok(Err("there is none yet".into()));
            };
            let txid = txid.to_string();
            let all = rpc.mempool(soon()).await?;
            let is_there = all.iter().any(|other| other.to_string() == txid);
            Ok(if is_there {
                Ok(())
            } else {
                Err(format!("{txid} is not in the mempool"))
            })
        })
        .await
    }

    /// Mines whenever something waits for a block, and now and then without that: confirmations come of themselves.
    pub(super) async fn keep_mining(&self) -> Result<std::convert::Infallible, BoxError> {
        let rpc = self.rpc()?;
        loop {
            let waits = poll_until::<(), String, _>("a transaction", soon(), || async {
                match rpc.mempool(soon()).await {
                    Ok(all) if all.is_empty() => Probe::Pending("none".into()),
                    Ok(_) => Probe::Ready(()),
                    Err(error) => Probe::Fatal(error.to_string()),
                }
            });
            if let Some(Err(error)) = Deadline::after(2 * POLL).bound(waits).await {
                return Err(error.to_string().into());
            }
            self.mine(1).await?;
        }
    }

    /// Bytes that the server holds.
    pub(super) fn resident(&self) -> Result<u64, BoxError> {
        let pid = server(&self.world)?.running().pid();
        Ok(Usage::of(pid).ok_or("the server is gone")?.rss)
    }

    /// Calls over a connection of its own.
    pub(super) fn swaps(&self) -> Result<SwapServiceClient<Channel>, BoxError> {
        let address = server(&self.world)?.address();
        Ok(SwapServiceClient::new(lazy(&address)?))
    }

    /// The buyer, with its store in the world's directory.
    pub(super) async fn buyer(&self) -> Result<Buyer, BoxError> {
        let liquid = self.world.liquid()?;
        let pair = liquid
            .elementsd()
            .rpc()
            .new_address("buyer", soon())
            .await?;
        let index = liquid.index().ok_or("a bench without an index")?;
        Ok(Buyer::open(Config {
            witness: None,
            server: format!("http://{}", server(&self.world)?.address()),
            lightning: Arc::new(lightning(&self.world, "buyer")?),
            electrum: index.electrum_address(),
            dir: self.world.dir().join("buyer-store"),
            chains: Chains {
                params: &AddressParams::ELEMENTS,
                lbtc: lbtc(),
                bitcoin: Network::Regtest,
            },
            policy: Policy {
                poll: POLL,
                claim_depth: 1,
                ..Policy::default()
            },
            seed: Seed::from_bytes([3; 32]),
            destination: pair.confidential,
        })?)
    }
}

/// Makes a swap of L-BTC with the buyer's library.
pub(super) async fn wish(buyer: &Buyer) -> Result<Record, BoxError> {
    let wish = Wish {
        request_id: Some(Uuid::new_v4()),
        asset: lbtc(),
        amount: Units(AMOUNT),
        max_price: Msat(AMOUNT * PRICE),
    };
    Ok(buyer.create(&wish).await?)
}

pub(super) fn free(stocks: &v1::GetInventoryResponse, asset: AssetId) -> v1::Inventory {
    let asset = asset.to_string();
    let mut all = stocks.assets.iter();
    let found = all.find(|stock| stock.asset_id == asset);
    found.cloned().unwrap_or_default()
}
