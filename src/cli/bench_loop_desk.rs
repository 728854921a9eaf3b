//! What `swaprig bench swap --direction loop-out` and `loop-in` measure in: a world with a server that makes loops, and a client.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bitcoin::secp256k1::{PublicKey, SECP256K1, SecretKey};
use bitcoin::{Address, ScriptBuf, Transaction};
use swaprig::client::rest::RestClient;
use swaprig::lightning::LightningNode;
use swaprig::swap::Htlc;
use swaprig::swap::taproot::{InternalKey, Locked, Taproot};
use swaprig_harness::World;
use swaprig_harness::binary::Settings;
use swaprig_harness::bitcoind::{PASSWORD, USER};
use swaprig_harness::run_dir::{Keep, RunDir};
use swaprig_harness::server::{Ready, ServerSpec};
use swaprig_harness::time::{Deadline, Probe, poll_until};
use swaprig_harness::units::{BlockDelta, Height, Sat};
use swaprig_harness::world::Binaries;
use swaprig_proto::loops::Loop;

use super::bench_market::{BoxError, lightning, server, soon, spec, stocks, until};

/// What each loop moves, satoshi: somewhat above the least that the server loops.
pub(super) const AMOUNT: u64 = 25_000;
/// What a coin of the server holds, satoshi: one loop and its fee.
const COIN: u64 = 40_000;
/// So many coins one deposit is divided into: no more fit in one transaction of the server's.
const DEPOSIT: u64 = 100;
/// Each channel: hundreds of loops.
const CHANNEL: Sat = Sat(16_000_000);
/// Blocks do not come faster than this while loops are made side by side, or their timeouts would pass.
const BETWEEN_BLOCKS: Duration = Duration::from_millis(150);
/// A world, ready for loops in both directions.
pub(super) struct LoopDesk {
    pub(super) world: World,
    pub(super) rest: RestClient,
    pub(super) node: Arc<dyn LightningNode>,
    /// Where the client wants its coins.
    pub(super) destination: ScriptBuf,
}

fn server_spec() -> Result<ServerSpec, BoxError> {
    let bitcoin = format!("http://{USER}:{PASSWORD}@{{bitcoind.rpc}}");
    let coin = COIN.to_string();
    let args = [
        "--rest-listen",
        "{listen}",
        "--listen",
        "127.0.0.1:0",
        "--bitcoin-url",
        &bitcoin,
        "--loop-coin-sat",
        &coin,
    ];
    spec(Ready::Http("/health".into()), &args)
}

impl LoopDesk {
    /// Everything, with `coins` coins for loops out and a channel each way.
    pub(super) async fn open(
        base: &Path,
        settings: &Settings,
        binaries: &Arc<Binaries>,
        coins: u32,
    ) -> Result<Self, BoxError> {
        let builder = World::builder()
            .lightning(["client", "seller"])
            .server(server_spec()?)
            .settings(settings.clone())
            .binaries(binaries.clone())
            .run_dir(RunDir::numbered(base, Keep::OnFailure)?);
        let world = builder.start().await?;
        for (from, to) in [("client", "seller"), ("seller", "client")] {
            world.open_usable_channel(from, to, CHANNEL).await?;
        }
        let rest = RestClient::new(&format!("http://{}", server(&world)?.address()))?;
        let destination = world.bitcoind().rpc().new_address(soon()).await?;
        let desk = LoopDesk {
            rest,
            node: Arc::new(lightning(&world, "client")?),
            destination: destination.script_pubkey(),
            world,
        };
        desk.stock(coins).await?;
        until("loops to be offered", async || {
            let out = swaprig_proto::loops::Direction::Out;
            let terms = desk.rest.terms(out, soon()).await?;
            Ok(match terms.max_amount >= AMOUNT {
                true => Ok(()),
                false => Err(format!("{} sat can be looped out", terms.max_amount)),
            })
        })
        .await?;
        Ok(desk)
    }

    pub(super) async fn mine(&self, blocks: u32) -> Result<Height, BoxError> {
        Ok(self.world.mine_within(BlockDelta(blocks), soon()).await?)
    }

    /// Mines whenever something waits for a block, and now and then without that: confirmations come of themselves.
    pub(super) async fn keep_mining(&self) -> Result<std::convert::Infallible, BoxError> {
        let never = || async { Probe::Pending::<(), String>("a pause".into()) };
        loop {
            // It cannot become ready: this is the time between two blocks.
            let _ = poll_until("the next block", Deadline::after(BETWEEN_BLOCKS), never).await;
            self.mine(1).await?;
        }
    }

    /// Gives the server so many coins for one loop each, and mines until it has them.
    pub(super) async fn stock(&self, count: u32) -> Result<(), BoxError> {
        let bitcoind = self.world.bitcoind();
        let now = stocks(&self.world).await?;
        let there = now.bitcoin.unwrap_or_default().free_coins;
        if there >= count {
            return Ok(());
        }
        let to: Address<_> = now.bitcoin_deposit_address.parse()?;
        let to = to.assume_checked();
        let mut missing = u64::from(count - there);
        while missing > 0 {
            let coins = missing.min(DEPOSIT);
            // One coin more for the fee, and enough for a coin to be worth dividing.
            bitcoind.send(&to, Sat((coins + 5) * COIN)).await?;
            missing -= coins;
        }
        until("coins for loops", async || {
            if !bitcoind.rpc().mempool(soon()).await?.is_empty() {
                self.mine(1).await?;
            }
            let coins = stocks(&self.world).await?.bitcoin;
            let coins = coins.unwrap_or_default().free_coins;
            Ok(match coins >= count {
                true => Ok(()),
                false => Err(format!("{coins} of {count} are there")),
            })
        })
        .await
    }

    /// Sends a transaction of the client's.
    pub(super) async fn send(&self, transaction: &Transaction) -> Result<(), BoxError> {
        let raw = bitcoin::consensus::encode::serialize_hex(transaction);
        let rpc = self.world.bitcoind().rpc();
        rpc.call::<String>("sendrawtransaction", &[raw.into()], soon())
            .await?;
        Ok(())
    }
}

/// The key of one loop of the client's.
pub(super) fn fresh_key() -> SecretKey {
    SecretKey::new(&mut bitcoin::secp256k1::rand::thread_rng())
}

pub(super) fn public(key: &SecretKey) -> PublicKey {
    key.public_key(SECP256K1)
}

/// What a loop out has locked, computed from the client's own key and not taken from the server.
pub(super) fn locked(made: &Loop, key: &SecretKey) -> Result<Locked, BoxError> {
    let htlc = Htlc {
        payment_hash: made.payment_hash.parse()?,
        claimer: public(key),
        refunder: made.server_pubkey.parse()?,
        timeout: Height(made.cltv_expiry.ok_or("a loop without a timeout")?),
    };
    let taproot = Taproot::new(htlc, InternalKey::Musig2)?;
    let address = taproot.address(bitcoin::Network::Regtest).to_string();
    if made.address.as_deref() != Some(address.as_str()) {
        return Err(format!("the loop locks at {:?}, not at {address}", made.address).into());
    }
    let funding = made.funding.as_ref().ok_or("a loop without a funding")?;
    let outpoint = format!("{}:{}", funding.txid, funding.vout).parse()?;
    Ok(Locked {
        taproot,
        coins: vec![(outpoint, Sat(made.amount))],
    })
}
