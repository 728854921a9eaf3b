//! Follows a chain for the record: blocks, and every transaction when it is first seen, confirmed, gone.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use serde_json::{Value, json};
use swaprig_record::{Block, Blocks, Chain, Confirmed, Dropped, Event, Recorder};

use super::tx;
use crate::bitcoind::{PASSWORD, RpcError, USER};
use crate::elementsd::{Call, JsonRpc, parts};
use crate::proxy::{BITCOIND, ELEMENTSD};
use crate::time::Deadline;

/// How long one look may take. The node answers in less than a millisecond, or is busy, or down.
const LOOK: Duration = Duration::from_secs(5);
/// Of many new blocks, so many are looked at from either end: timeouts lie thousands of empty blocks away.
const ENDS: u32 = 12;

/// Where a transaction is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Waiting,
    Confirmed,
    Dropped,
}

/// A block that was looked at.
#[derive(Debug)]
struct Known {
    hash: String,
    /// Its transactions without the coinbase.
    txids: Vec<String>,
}

/// What was recorded of a chain. Changed only by what was recorded.
#[derive(Debug, Default)]
struct State {
    blocks: BTreeMap<u32, Known>,
    txs: HashMap<String, Place>,
}

/// Follows one chain, over connections of its own, which no proxy and no fault of a test stands on.
#[derive(Debug)]
pub(super) struct ChainFollower {
    chain: Chain,
    node: JsonRpc,
    recorder: Recorder,
    /// Held during a look, so that there is one at a time.
    state: tokio::sync::Mutex<State>,
}

/// The new end of a chain.
struct Grown {
    /// The height up to which it is what it was.
    fork: u32,
    tip: u32,
    /// The blocks that were looked at, by height.
    blocks: BTreeMap<u32, Known>,
}

impl ChainFollower {
    pub(super) fn bitcoin(recorder: Recorder, port: u16) -> Self {
        Self::new(
            Chain::Bitcoin,
            JsonRpc::new(BITCOIND, port, USER, PASSWORD),
            recorder,
        )
    }

    pub(super) fn liquid(recorder: Recorder, port: u16) -> Self {
        Self::new(
            Chain::Liquid,
            JsonRpc::new(ELEMENTSD, port, USER, PASSWORD),
            recorder,
        )
    }

    fn new(chain: Chain, node: JsonRpc, recorder: Recorder) -> Self {
        ChainFollower {
            chain,
            node,
            recorder,
            state: tokio::sync::Mutex::default(),
        }
    }

    /// Records what is new. A node that does not answer, or whose chain changes meanwhile, is looked at again next time.
    pub(super) async fn look(&self) {
        let mut state = self.state.lock().await;
        let _ = self.look_once(&mut state, Deadline::after(LOOK)).await;
    }

    async fn look_once(&self, state: &mut State, deadline: Deadline) -> Result<(), RpcError> {
        // The mempool first: what left it for a block is in the chain that is looked at after it.
        let calls = [
            Call::new("getrawmempool", []),
            Call::new("getblockchaininfo", []),
        ];
        let answers = self.node.batch(None, &calls, deadline).await?;
        let waiting: BTreeSet<String> = texts(&answers[0]).collect();
        let tip = (&answers[1]["blocks"], &answers[1]["bestblockhash"]);
        let (Some(height), Some(hash)) = (tip.0.as_u64(), tip.1.as_str()) else {
            return Ok(());
        };
        let height = u32::try_from(height).unwrap_or(u32::MAX);
        self.first_seen(state, &waiting, deadline).await?;
        self.recorder.reached(self.chain, height);
        let Some((last, known)) = state.blocks.last_key_value() else {
            // The blocks that were there before are no news.
            let (hash, txids) = (hash.to_owned(), Vec::new());
            state.blocks.insert(height, Known { hash, txids });
            return Ok(());
        };
        if *last != height || known.hash != hash {
            let grown = self.grown(state, height, deadline).await?;
            self.advance(state, grown, &waiting, deadline).await?;
        }
        self.dropped(state, &waiting);
        Ok(())
    }

    /// Records the transactions in the mempool that are new.
    async fn first_seen(
        &self,
        state: &mut State,
        waiting: &BTreeSet<String>,
        deadline: Deadline,
    ) -> Result<(), RpcError> {
        let news = |txid: &&String| !matches!(state.txs.get(*txid), Some(Place::Waiting));
        let news: Vec<String> = waiting.iter().filter(news).cloned().collect();
        for txid in news {
            // One that a block took meanwhile is found there.
            let raw = self.transaction(&txid, None, deadline);
            let Some(raw) = raw.await else { continue };
            let fee = match self.chain {
                Chain::Bitcoin => self.mempool_fee(&txid, deadline).await,
                Chain::Liquid => None,
            };
            self.record_tx(&raw, fee);
            state.txs.insert(txid, Place::Waiting);
        }
        Ok(())
    }

    /// What the node says of a transaction in the mempool, or in this block; `None` when it is not there.
    async fn transaction(
        &self,
        txid: &str,
        block: Option<&str>,
        deadline: Deadline,
    ) -> Option<Value> {
        // Bitcoin Core tells the fee of one in a block at verbosity 2; Elements knows a flag alone.
        let verbosity = match (self.chain, block) {
            (Chain::Liquid, _) => json!(true),
            (Chain::Bitcoin, None) => json!(1),
            (Chain::Bitcoin, Some(_)) => json!(2),
        };
        let mut params = vec![json!(txid), verbosity];
        params.extend(block.map(|block| json!(block)));
        let raw = self.node.call(None, "getrawtransaction", &params, deadline);
        raw.await.ok()
    }

    async fn mempool_fee(&self, txid: &str, deadline: Deadline) -> Option<u64> {
        let params = [json!(txid)];
        let entry = self
            .node
            .call::<Value>(None, "getmempoolentry", &params, deadline);
        parts(&entry.await.ok()?["fees"]["base"])
    }

    fn record_tx(&self, raw: &Value, fee: Option<u64>) {
        if let Some(tx) = tx::read(self.chain, raw, fee) {
            self.recorder.record(Event::Tx(Box::new(tx)));
        }
    }

    /// Finds where the chain still is what it was, and looks at what is new.
    async fn grown(&self, state: &State, tip: u32, deadline: Deadline) -> Result<Grown, RpcError> {
        let mut fork = 0;
        for (height, known) in state
            .blocks
            .iter()
            .rev()
            .filter(|(height, _)| **height <= tip)
        {
            let now: String = self
                .node
                .call(None, "getblockhash", &[json!(height)], deadline)
                .await?;
            if now == known.hash {
                fork = *height;
                break;
            }
        }
        let heights: Vec<u32> = match tip - fork {
            few if few <= 2 * ENDS => (fork + 1..=tip).collect(),
            _ => (fork + 1..=fork + ENDS)
                .chain(tip + 1 - ENDS..=tip)
                .collect(),
        };
        let blocks = self.blocks(heights, deadline).await?;
        Ok(Grown { fork, tip, blocks })
    }

    async fn blocks(
        &self,
        heights: Vec<u32>,
        deadline: Deadline,
    ) -> Result<BTreeMap<u32, Known>, RpcError> {
        let hashes = heights
            .iter()
            .map(|height| Call::new("getblockhash", [json!(height)]));
        let hashes = self
            .node
            .batch(None, &hashes.collect::<Vec<_>>(), deadline)
            .await?;
        let blocks = hashes
            .into_iter()
            .map(|hash| Call::new("getblock", [hash, json!(1)]));
        let blocks = self
            .node
            .batch(None, &blocks.collect::<Vec<_>>(), deadline)
            .await?;
        let known = blocks.iter().map(|block| Known {
            hash: block["hash"].as_str().unwrap_or_default().to_owned(),
            txids: texts(&block["tx"]).skip(1).collect(),
        });
        Ok(heights.into_iter().zip(known).collect())
    }

    /// Records the new end of the chain.
    async fn advance(
        &self,
        state: &mut State,
        mut grown: Grown,
        waiting: &BTreeSet<String>,
        deadline: Deadline,
    ) -> Result<(), RpcError> {
        let found: BTreeSet<&String> = grown
            .blocks
            .values()
            .flat_map(|known| &known.txids)
            .collect();
        let lost = state.txs.iter().any(|(txid, place)| {
            *place == Place::Waiting && !waiting.contains(txid) && !found.contains(txid)
        });
        if lost {
            // It may be in a block in between.
            let rest = (grown.fork + 1..=grown.tip).filter(|h| !grown.blocks.contains_key(h));
            let rest = self.blocks(rest.collect(), deadline).await?;
            grown.blocks.extend(rest);
        }
        let gone = state.blocks.split_off(&(grown.fork + 1));
        for (height, known) in gone.into_iter().rev() {
            let block = self.block(height, &known);
            self.recorder.record(Event::Orphaned(block));
            for txid in known.txids {
                state.txs.insert(txid, Place::Waiting);
            }
        }
        let mut next = grown.fork + 1;
        for (height, known) in grown.blocks {
            if height > next {
                let (chain, from, to) = (self.chain, next, height - 1);
                self.recorder
                    .record(Event::Blocks(Blocks { chain, from, to }));
            }
            next = height + 1;
            self.record_block(state, height, &known, deadline).await;
            state.blocks.insert(height, known);
        }
        Ok(())
    }

    async fn record_block(
        &self,
        state: &mut State,
        height: u32,
        known: &Known,
        deadline: Deadline,
    ) {
        let chain = self.chain;
        self.recorder
            .record(Event::Block(self.block(height, known)));
        for txid in &known.txids {
            if !state.txs.contains_key(txid) {
                let raw = self.transaction(txid, Some(&known.hash), deadline).await;
                raw.iter().for_each(|raw| self.record_tx(raw, None));
            }
            state.txs.insert(txid.clone(), Place::Confirmed);
            let txid = txid.clone();
            self.recorder.record(Event::Confirmed(Confirmed {
                chain,
                txid,
                height,
            }));
        }
    }

    fn block(&self, height: u32, known: &Known) -> Block {
        Block {
            chain: self.chain,
            height,
            hash: known.hash.clone(),
            txs: u32::try_from(known.txids.len()).unwrap_or(u32::MAX),
        }
    }

    /// Records what neither waits nor is in a block any more.
    fn dropped(&self, state: &mut State, waiting: &BTreeSet<String>) {
        for (txid, place) in &mut state.txs {
            if *place == Place::Waiting && !waiting.contains(txid) {
                *place = Place::Dropped;
                let (chain, txid) = (self.chain, txid.clone());
                self.recorder
                    .record(Event::Dropped(Dropped { chain, txid }));
            }
        }
    }
}

fn texts(list: &Value) -> impl Iterator<Item = String> {
    let items = list.as_array().into_iter().flatten();
    items.filter_map(|item| item.as_str().map(str::to_owned))
}
