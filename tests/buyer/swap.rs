//! The buyer against a scripted seller, over real daemons: the whole way, crashes, reorganisations, the rescue file.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bitcoin::Network;
use elements::{Address, AddressParams};
use swaprig::client::{
    BuyError, Buyer, Chains, Config, Policy, Reason, Record, Rescue, Seed, Stage, Wish,
};
use swaprig::swap::FeeRate;
use swaprig_harness::World;
use swaprig_harness::elementsd::lbtc;
use swaprig_harness::time::{Deadline, Probe, poll_until};
use swaprig_harness::units::{BlockDelta, Sat, Units};
use swaprig_harness::world::Chain;
use uuid::Uuid;

use crate::lightning::node_of;
use crate::seller::{PRICE, Seller, preimage_of};
use crate::support;

pub(crate) const AMOUNT: Units = Units(50_000);

pub(crate) fn soon() -> Deadline {
    Deadline::after(support::SOON)
}

/// A world, a seller, and what a buyer needs.
pub(crate) struct Market {
    pub(crate) world: Arc<World>,
    pub(crate) seller: Seller,
    pub(crate) address: String,
    pub(crate) destination: Address,
    pub(crate) dir: tempfile::TempDir,
}

impl Market {
    pub(crate) async fn open() -> Option<Self> {
        let builder = support::world()?;
        let builder = builder.lightning(["buyer", "seller"]);
        let builder = builder.liquid_wallets(["buyer"]).indexes([Chain::Liquid]);
        let world = Arc::new(builder.start().await.unwrap());
        world
            .open_usable_channel("buyer", "seller", Sat(1_000_000))
            .await
            .unwrap();
        let (seller, address) = Seller::start(&world).await;
        let rpc = world.liquid().unwrap().elementsd().rpc();
        let pair = rpc.new_address("buyer", soon()).await.unwrap();
        Some(Market {
            destination: pair.confidential,
            world,
            seller,
            address,
            dir: tempfile::tempdir().unwrap(),
        })
    }

    pub(crate) fn electrum(&self) -> String {
        let index = self.world.liquid().unwrap().index().unwrap();
        index.electrum_address()
    }

    fn buyer_in(&self, dir: &Path, server: &str) -> Buyer {
        let config = Config {
            witness: None,
            server: server.to_owned(),
            lightning: node_of(&self.world, "buyer"),
            electrum: self.electrum(),
            dir: dir.to_owned(),
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
            destination: self.destination.clone(),
        };
        Buyer::open(config).unwrap()
    }

    fn buyer(&self) -> Buyer {
        self.buyer_in(self.dir.path(), &self.address)
    }

    fn wish(&self) -> Wish {
        Wish {
            request_id: Some(Uuid::new_v4()),
            asset: lbtc(),
            amount: AMOUNT,
            max_price: PRICE,
        }
    }

    pub(crate) async fn mine(&self, blocks: u32) {
        self.world.mine_liquid(BlockDelta(blocks)).await.unwrap();
    }

    /// What the buyer's wallet has of L-BTC in the chain.
    async fn received(&self) -> u64 {
        let rpc = self.world.liquid().unwrap().elementsd().rpc();
        let balances = rpc.balances("buyer", soon()).await.unwrap();
        balances.get(&lbtc()).copied().unwrap_or(0)
    }

    /// How often the buyer's node has paid.
    pub(crate) async fn payments(&self) -> usize {
        let node = self.world.node("buyer").unwrap();
        node.payments().await.unwrap().len()
    }
}

fn reason(error: BuyError) -> Reason {
    match error {
        BuyError::Refused(refusal) => refusal.reason,
        other => panic!("{other}"),
    }
}

fn fee(record: &Record) -> u64 {
    record.claims.last().unwrap().fee.0
}

/// Looks until the claim was sent.
async fn poll_claim(buyer: &Buyer, id: Uuid) -> Record {
    let claimed = poll_until("the claim to be sent", soon(), || async {
        match buyer.claim(id).await {
            Ok(record) if !record.claims.is_empty() => Probe::Ready(record),
            Ok(record) => Probe::Pending(record.stage.name().into()),
            Err(error @ BuyError::NotNow { .. }) => Probe::Pending(error.to_string()),
            Err(error) => Probe::Fatal(error),
        }
    });
    claimed.await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_swap_is_checked_paid_and_claimed_and_a_shallow_claim_is_no_end() {
    let Some(market) = Market::open().await else {
        return;
    };
    let (buyer, wish) = (market.buyer(), market.wish());
    let made = buyer.create(&wish).await.unwrap();
    let id = made.request.request_id;
    let again = buyer.create(&wish).await.unwrap();
    assert_eq!(made, again);
    let other = Wish {
        amount: Units(1),
        ..wish
    };
    let error = buyer.create(&other).await.unwrap_err();
    assert!(matches!(error, BuyError::OtherWish(_)), "{error}");

    let refused = buyer.verify(id).await.unwrap_err();
    assert_eq!(reason(refused), Reason::TooFewConfirmations);
    market.mine(2).await;
    let refused = buyer.verify(id).await.unwrap_err();
    assert_eq!(reason(refused), Reason::NotFunded);
    market.seller.funded();
    let offer = buyer.verify(id).await.unwrap();
    assert_eq!(offer.price, PRICE);
    assert_eq!(market.payments().await, 0);

    buyer.pay(id).await.unwrap();
    let request_id = id.to_string();
    market.seller.take(&request_id).await;
    let claiming = poll_claim(&buyer, id).await;
    assert_eq!(claiming.preimage, Some(preimage_of(&request_id)));
    assert_eq!(claiming.claims.len(), 1);
    market.mine(1).await;
    // One block deep, taken away again: it is sent again.
    buyer.claim(id).await.unwrap();
    assert_eq!(market.received().await, AMOUNT.0 - fee(&claiming));
    let (depth, blocks) = (BlockDelta(1), BlockDelta(2));
    let reorg = market.world.reorg_liquid(depth, blocks, true, soon());
    reorg.await.unwrap();
    let claiming = buyer.claim(id).await.unwrap();
    assert_eq!(claiming.stage, Stage::Claiming);
    market.mine(2).await;
    let claimed = buyer.run(id, soon()).await.unwrap();
    assert_eq!(claimed.stage, Stage::Claimed);
    assert_eq!(market.received().await, AMOUNT.0 - fee(&claimed));
    assert_eq!(market.payments().await, 1);
}

/// A buyer is cut off after ever longer whiles, wherever that may be, and opened anew on its files.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_buyer_that_is_cut_off_again_and_again_pays_once_and_claims() {
    let Some(market) = Market::open().await else {
        return;
    };
    let wish = market.wish();
    let id = wish.request_id.unwrap();
    let mut budget = Duration::from_millis(1);
    let mut cuts = 0;
    let end = soon();
    let record = loop {
        assert!(!end.has_passed(), "{:?}", market.buyer().status(id));
        let buyer = market.buyer();
        let work = async {
            buyer.create(&wish).await?;
            buyer.run(id, soon()).await
        };
        match Deadline::after(budget).bound(work).await {
            Some(Ok(record)) => break record,
            Some(Err(error)) => panic!("{error}"),
            None => cuts += 1,
        }
        budget += Duration::from_millis(1);
        let Ok(record) = market.buyer().status(id) else {
            continue;
        };
        match record.stage {
            Stage::Created if record.offer.is_some() => {
                market.mine(1).await;
                market.seller.funded();
            }
            Stage::Paying if market.payments().await > 0 => {
                market.seller.take(&id.to_string()).await;
            }
            Stage::Claiming => market.mine(1).await,
            _ => {}
        }
    };
    assert!(cuts > 3, "{cuts}");
    assert_eq!(record.stage, Stage::Claimed);
    assert_eq!(market.payments().await, 1);
    assert_eq!(market.received().await, AMOUNT.0 - fee(&record));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_rescue_file_alone_claims_and_the_bid_rises_as_the_timeout_nears() {
    let Some(market) = Market::open().await else {
        return;
    };
    let (buyer, wish) = (market.buyer(), market.wish());
    let id = buyer.create(&wish).await.unwrap().request.request_id;
    market.mine(2).await;
    market.seller.funded();
    buyer.pay(id).await.unwrap();
    let path = market.dir.path().join(format!("rescue/{id}.json"));
    let liquid = market.world.liquid().unwrap();
    let electrum = market.electrum();
    // Without the preimage it says what is missing.
    let rescue = Rescue::read(&path).unwrap();
    let early = rescue.claim(&market.destination, FeeRate(100), &electrum, soon());
    assert!(matches!(early.await, Err(BuyError::Rescue(_))));
    market.seller.take(&id.to_string()).await;
    let first = poll_claim(&buyer, id).await;
    assert_eq!(first.claims.len(), 1);

    // Nobody mines it: near the timeout more is bid, and the network takes the replacement.
    let timeout = first.offer.as_ref().unwrap().timeout;
    let away = timeout.0 - market.seller.tip().await.0 - 20;
    let elementsd = liquid.elementsd();
    let mined = elementsd.generate_empty(BlockDelta(away), soon());
    mined.await.unwrap();
    market.world.liquid_barrier(soon()).await.unwrap();
    let second = buyer.claim(id).await.unwrap();
    assert_eq!(second.claims.len(), 2);
    assert!(second.claims[1].fee > second.claims[0].fee);
    let mempool = elementsd.rpc().mempool(soon()).await.unwrap();
    let shown: Vec<String> = mempool.iter().map(ToString::to_string).collect();
    assert_eq!(shown, [second.claims[1].txid.to_string()]);

    // The store is gone: the file bids still more.
    drop(buyer);
    for file in std::fs::read_dir(market.dir.path()).unwrap() {
        let file = file.unwrap().path();
        if file.is_file() {
            std::fs::remove_file(file).unwrap();
        }
    }
    let rescue = Rescue::read(&path).unwrap();
    assert_eq!(rescue.preimage, Some(preimage_of(&id.to_string())));
    let claim = rescue.claim(&market.destination, FeeRate(20_000), &electrum, soon());
    let txid = claim.await.unwrap();
    market.mine(1).await;
    let txid = txid.to_string().parse().unwrap();
    let depth = market.world.liquid_confirmations(txid, soon()).await;
    assert_eq!(depth.unwrap(), Some(1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_seller_that_lies_is_refused_by_name_and_gets_nothing() {
    let Some(market) = Market::open().await else {
        return;
    };
    let (buyer, wish) = (market.buyer(), market.wish());
    let id = buyer.create(&wish).await.unwrap().request.request_id;
    market.mine(2).await;
    market.seller.funded();
    buyer.verify(id).await.unwrap();
    let lie = |swap: &mut swaprig_proto::v1::Swap| swap.funding.as_mut().unwrap().vout ^= 1;
    market.seller.change(lie);
    let refused = buyer.verify(id).await.unwrap_err();
    assert_eq!(reason(refused), Reason::TermsChanged);
    let record = buyer.run(id, soon()).await.unwrap();
    assert_eq!(record.stage, Stage::Refused);
    assert_eq!(record.refusal.unwrap().reason, Reason::TermsChanged);
    let error = buyer.pay(id).await.unwrap_err();
    assert!(matches!(error, BuyError::NotNow { .. }), "{error}");
    assert_eq!(market.payments().await, 0);

    // A buyer that sees the output for the first time sees that it is not the script's.
    let other = tempfile::tempdir().unwrap();
    let fresh = market.buyer_in(other.path(), &market.address);
    fresh.create(&wish).await.unwrap();
    let refused = fresh.verify(id).await.unwrap_err();
    assert_eq!(reason(refused), Reason::OutputMissing);
    // Nobody listens there: the wish is stored and the error passes.
    let alone = market.buyer_in(market.dir.path(), "http://127.0.0.1:1");
    let wish = market.wish();
    let id = wish.request_id.unwrap();
    let error = alone.create(&wish).await.unwrap_err();
    assert!(error.is_transient(), "{error}");
    let stored = alone.status(id).unwrap();
    assert_eq!((stored.stage, stored.swap_id), (Stage::Created, None));
    let late = alone.run(id, Deadline::after(Duration::from_millis(200)));
    let late = late.await.unwrap_err();
    assert!(matches!(late, BuyError::TimedOut(_)), "{late}");
}
