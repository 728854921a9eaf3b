//! What LWK scans through: our index, asked for histories of changed scripts only.
//!
//! LWK asks for the history of every script at every scan. Here each script is subscribed to before its history is fetched, and
//! the history is fetched again only once the index says that it changed.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, PoisonError};

use elements::{BlockHash, BlockHeader, Script, Transaction, Txid};
use lwk_wollet::blocking::BlockchainBackend;
use lwk_wollet::{Error, History};
use swaprig_units::Height;
use tokio::runtime::Handle;

use super::index::{HistoryItem, Index, IndexError};
use super::watcher::Watcher;
use crate::swap::Depth;

/// The histories that are known, each as of its script's last change.
pub(super) type Histories = HashMap<Script, Vec<HistoryItem>>;

/// The blockchain, for one scan. Its methods block: outside of the async runtime only.
pub(super) struct Backend<'a> {
    pub(super) runtime: Handle,
    pub(super) index: &'a Index,
    pub(super) watcher: &'a Watcher,
    pub(super) histories: Mutex<&'a mut Histories>,
    /// What went wrong, which LWK's errors do not carry.
    pub(super) failed: Mutex<Option<IndexError>>,
    /// The tip, asked for before anything else.
    pub(super) tip: BlockHeader,
}

impl Backend<'_> {
    /// Asks the index, and keeps in mind how it fails.
    fn ask<T>(&self, question: impl Future<Output = Result<T, IndexError>>) -> Result<T, Error> {
        self.runtime.block_on(question).map_err(|error| {
            let text = error.to_string();
            *self.failed.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
            Error::Generic(text)
        })
    }
}

impl BlockchainBackend for Backend<'_> {
    fn tip(&mut self) -> Result<BlockHeader, Error> {
        Ok(self.tip.clone())
    }

    fn broadcast(&self, _: &Transaction) -> Result<Txid, Error> {
        Err(Error::Generic("a scan sends nothing".to_owned()))
    }

    fn get_transactions(&self, txids: &[Txid]) -> Result<Vec<Transaction>, Error> {
        self.ask(self.index.transactions(txids))
    }

    fn get_headers(
        &self,
        heights: &[u32],
        _: &HashMap<u32, BlockHash>,
    ) -> Result<Vec<BlockHeader>, Error> {
        let heights: Vec<Height> = heights.iter().copied().map(Height).collect();
        self.ask(self.index.headers(&heights))
    }

    fn get_scripts_history(&self, scripts: &[&Script]) -> Result<Vec<Vec<History>>, Error> {
        let mut histories = self
            .histories
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let missing: HashSet<&Script> = scripts
            .iter()
            .copied()
            .filter(|script| !histories.contains_key(*script))
            .collect();
        if !missing.is_empty() {
            let missing: Vec<Script> = missing.into_iter().cloned().collect();
            // In this order: what changes after the subscription is told.
            self.ask(self.watcher.watch(missing.clone()))?;
            let fetched = self.ask(self.index.histories(&missing))?;
            histories.extend(missing.into_iter().zip(fetched));
        }
        let of = |script: &&Script| histories[*script].iter().map(known).collect();
        Ok(scripts.iter().map(of).collect())
    }
}

fn known(item: &HistoryItem) -> History {
    let height = match item.depth {
        Depth::Block(height) => i32::try_from(height.0).unwrap_or(i32::MAX),
        Depth::Mempool | Depth::Unseen => 0,
    };
    History {
        txid: item.txid,
        height,
        block_hash: None,
        block_timestamp: None,
        v: 0,
    }
}
