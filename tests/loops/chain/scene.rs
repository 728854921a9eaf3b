//! A world with a chain to read and a wallet on it, and what the tests of both wait for and lock.

use std::collections::HashSet;
use std::convert::Infallible;

use bitcoin::absolute::LockTime;
use bitcoin::hashes::Hash as _;
use bitcoin::secp256k1::{PublicKey, Secp256k1, SecretKey};
use bitcoin::transaction::Version;
use bitcoin::{
    Address, Amount, Network, OutPoint, ScriptBuf, Sequence, Transaction, TxIn, TxOut, WScriptHash,
    Witness,
};
use swaprig::chain::Seed;
use swaprig::chain::bitcoin::{
    BitcoinChain, BitcoinEvent, BitcoinFees, BitcoinSettings, BitcoinSource, BtcCoin,
};
use swaprig::swap::{Depth, FeeRate, Tag};
use swaprig_harness::World;
use swaprig_harness::bitcoind::{PASSWORD, USER};
use swaprig_harness::time::{Probe, poll_until};
use swaprig_harness::units::{BlockDelta, Height, PaymentHash, Sat};
use swaprig_harness::world::Chain;
use tokio::sync::mpsc;

use crate::served::soon;
use crate::support;
use crate::support::sandbox::Sandbox;

/// Two satoshi per virtual byte.
pub(super) const RATE: FeeRate = FeeRate(2_000);

pub(super) type Events = mpsc::Receiver<BitcoinEvent>;

/// What the chain is read from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Node,
    Electrum,
}

/// A world, and a seed whose wallets lie in the sandbox.
pub(super) struct Scene {
    pub(super) world: World,
    pub(super) sandbox: Sandbox,
    pub(super) seed: Seed,
    kind: Kind,
}

impl Scene {
    pub(super) async fn new(kind: Kind) -> Option<Scene> {
        let builder = support::world()?;
        let builder = match kind {
            Kind::Node => builder,
            Kind::Electrum => builder.indexes([Chain::Bitcoin]),
        };
        let world = builder.start().await.unwrap();
        let sandbox = Sandbox::new();
        let seed = Seed::generate(&sandbox.path().join("seed")).unwrap();
        Some(Scene {
            world,
            sandbox,
            seed,
            kind,
        })
    }

    pub(super) fn settings(&self, dir: &str) -> BitcoinSettings {
        let source = match self.kind {
            Kind::Node => {
                let address = self.world.bitcoind().rpc_address();
                format!("http://{USER}:{PASSWORD}@{address}")
            }
            Kind::Electrum => {
                let address = self.world.index(Chain::Bitcoin).unwrap().electrum_address();
                format!("tcp://{address}")
            }
        };
        BitcoinSettings {
            network: Network::Regtest,
            source: BitcoinSource::parse(&source, None).unwrap(),
            dir: self.sandbox.path().join(dir),
            birthday: Height(0),
            fees: BitcoinFees::default(),
        }
    }

    pub(super) async fn open(&self, dir: &str) -> (BitcoinChain, Events) {
        BitcoinChain::open(self.settings(dir), &self.seed)
            .await
            .unwrap()
    }

    pub(super) async fn mine(&self, blocks: u32) -> Height {
        self.world.mine(BlockDelta(blocks)).await.unwrap()
    }

    pub(super) async fn pay(&self, address: &Address, amount: u64) {
        self.world
            .bitcoind()
            .send(address, Sat(amount))
            .await
            .unwrap();
    }

    /// The wallet gets so many confirmed coins of this size.
    pub(super) async fn stock(&self, chain: &BitcoinChain, count: usize, size: u64) {
        for _ in 0..count {
            self.pay(&chain.fresh_address().unwrap(), size).await;
        }
        let height = self.mine(1).await;
        coins(chain, "confirmed deposits", |coins| {
            let is_one = |coin: &&BtcCoin| coin.height == Some(height) && coin.value == Sat(size);
            coins.iter().filter(is_one).count() == count
        })
        .await;
    }
}

/// Waits until the coins are as `wanted`.
pub(super) async fn coins(chain: &BitcoinChain, what: &str, wanted: impl Fn(&[BtcCoin]) -> bool) {
    let seen = poll_until::<_, Infallible, _>(what, soon(), || async {
        let coins = chain.coins();
        match wanted(&coins) {
            true => Probe::Ready(()),
            false => Probe::Pending(format!("{:?}", worth(&coins))),
        }
    });
    seen.await.unwrap_or_else(|error| panic!("{error}"));
}

pub(super) fn worth(coins: &[BtcCoin]) -> Vec<(u64, Option<Height>)> {
    coins
        .iter()
        .map(|coin| (coin.value.0, coin.height))
        .collect()
}

pub(super) fn all_confirmed(coins: &[BtcCoin]) -> bool {
    coins.iter().all(|coin| coin.height.is_some())
}

/// Waits for an event; others are passed over.
pub(super) async fn told(events: &mut Events, wanted: BitcoinEvent) {
    let mut passed = Vec::new();
    let heard = soon().bound(async {
        loop {
            match events.recv().await {
                Some(event) if event == wanted => return true,
                Some(event) => passed.push(event),
                None => return false,
            }
        }
    });
    let heard = heard.await;
    assert_eq!(heard, Some(true), "{wanted:?} was not told, but {passed:?}");
}

/// Waits until `script` has one output that is `depth` deep, and is spent as `spent` says.
pub(super) async fn is_seen(
    chain: &BitcoinChain,
    script: &ScriptBuf,
    depth: Depth,
    spent: Option<Depth>,
) {
    let what = format!("an output at {depth:?}, spent {spent:?}");
    let seen = poll_until::<_, Infallible, _>(what, soon(), || async {
        let found = chain.outputs(script).await;
        match found.as_deref() {
            Ok([one])
                if one.depth == depth && one.spent_by.as_ref().map(|spend| spend.1) == spent =>
            {
                Probe::Ready(())
            }
            other => Probe::Pending(format!("{other:?}")),
        }
    });
    seen.await.unwrap_or_else(|error| panic!("{error}"));
}

/// What everybody can spend who shows `secret`.
pub(super) fn open_script(secret: u8) -> ScriptBuf {
    bitcoin::script::Builder::new()
        .push_opcode(bitcoin::opcodes::all::OP_DROP)
        .push_int(i64::from(secret % 16) + 1)
        .into_script()
}

/// An output that [`taken`] can spend: it stands for an HTLC here, whose spends the tests of taproot make.
pub(super) fn lock(secret: u8, value: u64) -> TxOut {
    let hash = WScriptHash::hash(open_script(secret).as_bytes());
    TxOut {
        value: Amount::from_sat(value),
        script_pubkey: ScriptBuf::new_p2wsh(&hash),
    }
}

/// Spends a [`lock`].
pub(super) fn taken(secret: u8, outpoint: OutPoint, value: u64, to: &ScriptBuf) -> Transaction {
    let mut witness = Witness::new();
    witness.push([1; 32]);
    witness.push(open_script(secret));
    Transaction {
        version: Version::TWO,
        lock_time: LockTime::ZERO,
        input: vec![TxIn {
            previous_output: outpoint,
            script_sig: ScriptBuf::new(),
            sequence: Sequence::ENABLE_RBF_NO_LOCKTIME,
            witness,
        }],
        output: vec![TxOut {
            value: Amount::from_sat(value - 1_000),
            script_pubkey: to.clone(),
        }],
    }
}

pub(super) fn tag(index: u32) -> Tag {
    let key = SecretKey::from_slice(&[7; 32]).unwrap();
    Tag {
        index,
        timeout: Height(500),
        claimer: PublicKey::from_secret_key(&Secp256k1::new(), &key),
        payment_hash: Some(PaymentHash([9; 32])),
    }
}

/// A funding of `value`, built twice.
pub(super) fn funded(
    chain: &BitcoinChain,
    index: u32,
    value: u64,
    reserved: &mut HashSet<OutPoint>,
) -> Transaction {
    let secret = u8::try_from(index).unwrap();
    let outputs = vec![lock(secret, value), tag(index).bitcoin_output()];
    let chosen = chain.select(&outputs, RATE, reserved).unwrap();
    let mut outpoints: Vec<OutPoint> = chosen.outpoints().collect();
    let transaction = chain
        .fund(&outpoints, outputs.clone(), index, RATE)
        .unwrap();
    outpoints.reverse();
    let again = chain
        .fund(&outpoints, outputs.clone(), index, RATE)
        .unwrap();
    assert_eq!(transaction, again, "it is the same each time");
    let paid: u64 = chosen.coins.iter().map(|coin| coin.value.0).sum::<u64>()
        - transaction
            .output
            .iter()
            .map(|output| output.value.to_sat())
            .sum::<u64>();
    assert_eq!(Sat(paid), chosen.fee);
    let least = RATE.fee(transaction.vsize());
    assert!(
        chosen.fee >= least,
        "{paid} sat for {} vB",
        transaction.vsize()
    );
    let has_change = transaction.output.len() > outputs.len();
    assert_eq!(has_change, chosen.change > Sat(0));
    assert!(!has_change || chosen.fee == least, "no satoshi too many");
    reserved.extend(outpoints);
    transaction
}

/// Replaces the last `depth` blocks by `blocks` empty ones; gives the new height.
pub(super) async fn reorg(scene: &Scene, depth: u32, blocks: u32) -> Height {
    let (depth, blocks) = (BlockDelta(depth), BlockDelta(blocks));
    scene
        .world
        .reorg(depth, blocks, true, soon())
        .await
        .unwrap()
        .height
}
