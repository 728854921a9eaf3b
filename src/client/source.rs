//! The buyer's own view of Liquid: an Electrum server that it chose, asked for proofs where there are any.

use bitcoin::hex::FromHex as _;
use elements::hashes::sha256d;
use elements::{BlockHeader, OutPoint, Script, Transaction, Txid};
use serde::Deserialize;
use serde_json::json;
use swaprig_harness::electrs::{ElectrumClient, ElectrumError, ScriptHash};
use swaprig_harness::time::Deadline;
use swaprig_units::Height;
use tokio::sync::Mutex;

/// Why the source told nothing.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// It did not answer, or refused.
    #[error("the Electrum server at {address}: {source}")]
    Electrum {
        /// Its `host:port`.
        address: String,
        /// What it said.
        source: ElectrumError,
    },
    /// Its answer cannot be true.
    #[error("the Electrum server at {address} gives an answer that cannot be true: {why}")]
    Untrue {
        /// Its `host:port`.
        address: String,
        /// What is wrong.
        why: String,
    },
}

impl SourceError {
    /// Whether the same question may be answered later. A refusal may pass as well: in a reorganisation a transaction that was
    /// just listed is gone.
    pub fn is_transient(&self) -> bool {
        match self {
            SourceError::Electrum { source, .. } => {
                !matches!(source, ElectrumError::Malformed { .. })
            }
            SourceError::Untrue { .. } => false,
        }
    }

    /// Whether it answered, and refused.
    pub fn is_refusal(&self) -> bool {
        let SourceError::Electrum { source, .. } = self else {
            return false;
        };
        matches!(source, ElectrumError::Refused { .. })
    }
}

/// Where a transaction is.
#[derive(Debug, Clone)]
pub(crate) struct Found {
    pub(crate) transaction: Transaction,
    /// The block that the source says it is in; `None` in the mempool.
    pub(crate) block: Option<Height>,
}

/// What the source shows of a script: the tip, and every transaction that pays to it or spends from it.
#[derive(Debug, Clone)]
pub(crate) struct View {
    pub(crate) tip: Height,
    pub(crate) transactions: Vec<Found>,
}

impl View {
    pub(crate) fn find(&self, txid: Txid) -> Option<&Found> {
        self.transactions
            .iter()
            .find(|found| found.transaction.txid() == txid)
    }

    /// What spends an output; one in a block goes before one in the mempool.
    pub(crate) fn spender(&self, outpoint: OutPoint) -> Option<&Found> {
        let spends = |found: &&Found| {
            let inputs = found.transaction.input.iter();
            inputs
                .map(|input| input.previous_output)
                .any(|out| out == outpoint)
        };
        let all = || self.transactions.iter().filter(spends);
        all().find(|found| found.block.is_some()).or(all().next())
    }

    /// How many blocks are on a transaction, its own among them.
    pub(crate) fn depth(&self, found: &Found) -> u32 {
        found
            .block
            .map_or(0, |block| (self.tip.0 + 1).saturating_sub(block.0))
    }
}

#[derive(Debug, Deserialize)]
struct Branch {
    merkle: Vec<String>,
    pos: u64,
}

/// An Electrum server; it is connected to when it is needed, and again after a failure.
#[derive(Debug)]
pub(crate) struct Source {
    address: String,
    client: Mutex<Option<ElectrumClient>>,
}

impl Source {
    /// `host:port`, with or without `tcp://` before it.
    pub(crate) fn new(address: &str) -> Self {
        let address = address.strip_prefix("tcp://").unwrap_or(address);
        Source {
            address: address.to_owned(),
            client: Mutex::new(None),
        }
    }

    fn failed(&self, source: ElectrumError) -> SourceError {
        SourceError::Electrum {
            address: self.address.clone(),
            source,
        }
    }

    fn untrue(&self, why: impl Into<String>) -> SourceError {
        SourceError::Untrue {
            address: self.address.clone(),
            why: why.into(),
        }
    }

    async fn with<T>(
        &self,
        deadline: Deadline,
        ask: impl AsyncFnOnce(&mut ElectrumClient) -> Result<T, ElectrumError>,
    ) -> Result<T, SourceError> {
        let mut slot = self.client.lock().await;
        let mut client = match slot.take() {
            Some(client) => client,
            None => ElectrumClient::connect(&self.address, deadline)
                .await
                .map_err(|e| self.failed(e))?,
        };
        let answer = ask(&mut client).await;
        // After anything but an answer the connection may hold the rest of an old one.
        if matches!(answer, Ok(_) | Err(ElectrumError::Refused { .. })) {
            *slot = Some(client);
        }
        answer.map_err(|e| self.failed(e))
    }

    /// Everything that touches a script. The tip is read first: depths are never told too large.
    pub(crate) async fn view(
        &self,
        script: &Script,
        deadline: Deadline,
    ) -> Result<View, SourceError> {
        let hash = ScriptHash::of(script.as_bytes());
        let (tip, raw) = self
            .with(deadline, async |client| {
                let (tip, _) = client.tip(deadline).await?;
                let mut raw = Vec::new();
                for item in client.history(hash, deadline).await? {
                    let bytes = client.transaction(item.tx_hash, deadline).await?;
                    raw.push((item, bytes));
                }
                Ok((tip, raw))
            })
            .await?;
        let mut transactions = Vec::new();
        for (item, bytes) in raw {
            let transaction: Transaction =
                elements::encode::deserialize(&bytes).map_err(|error| {
                    self.untrue(format!("{} is no transaction: {error}", item.tx_hash))
                })?;
            if transaction.txid().to_string() != item.tx_hash.to_string() {
                return Err(self.untrue(format!("{} is {}", item.tx_hash, transaction.txid())));
            }
            let block = u32::try_from(item.height).ok().filter(|height| *height > 0);
            transactions.push(Found {
                transaction,
                block: block.map(Height),
            });
        }
        Ok(View { tip, transactions })
    }

    /// A transaction by its id, whatever it pays; `None` when the source does not know it.
    pub(crate) async fn transaction(
        &self,
        txid: Txid,
        deadline: Deadline,
    ) -> Result<Option<Transaction>, SourceError> {
        let id = Txid::to_string(&txid).parse();
        let id = id.map_err(|_| self.untrue(format!("{txid} is no id")))?;
        let found = self.with(deadline, async |client| {
            client.transaction(id, deadline).await
        });
        match found.await {
            Ok(bytes) => elements::encode::deserialize(&bytes)
                .map(Some)
                .map_err(|error| self.untrue(format!("{txid} is no transaction: {error}"))),
            Err(error) if error.is_refusal() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Whether a transaction is in the block of that height, by a branch of its Merkle tree up to the header's root. That the
    /// header is the federation's is not checked.
    ///
    /// # Errors
    /// As for every question; a branch that leads elsewhere is `Ok(false)`.
    pub(crate) async fn proves(
        &self,
        txid: Txid,
        block: Height,
        deadline: Deadline,
    ) -> Result<bool, SourceError> {
        let (header, branch) = self
            .with(deadline, async |client| {
                let header = client.header(block, deadline).await?;
                let method = "blockchain.transaction.get_merkle";
                let branch = client
                    .call(method, json!([txid.to_string(), block.0]), deadline)
                    .await?;
                Ok((header, branch))
            })
            .await?;
        let Ok(header) = elements::encode::deserialize::<BlockHeader>(&header) else {
            return Err(self.untrue(format!("the header of {block} is none")));
        };
        let Ok(branch) = serde_json::from_value::<Branch>(branch) else {
            return Err(self.untrue(format!("the proof for {txid} is none")));
        };
        if header.height != block.0 {
            return Ok(false);
        }
        let root = header.merkle_root.to_byte_array();
        Ok(root_of(txid, &branch.merkle, branch.pos) == Some(root))
    }

    /// Gives a transaction to the network.
    pub(crate) async fn broadcast(
        &self,
        raw: &[u8],
        deadline: Deadline,
    ) -> Result<(), SourceError> {
        self.with(deadline, async |client| {
            client.broadcast(raw, deadline).await
        })
        .await
        .map(drop)
    }
}

/// The root that a branch leads to from a leaf; `None` for a branch that is none.
fn root_of(txid: Txid, branch: &[String], position: u64) -> Option<[u8; 32]> {
    // A tree of more than 2^32 transactions is none, and a position beyond the branch is another leaf's.
    if branch.len() > 32 || position >> branch.len() != 0 {
        return None;
    }
    let mut node = txid.to_byte_array();
    for (level, sibling) in branch.iter().enumerate() {
        let mut sibling = <[u8; 32]>::from_hex(sibling).ok()?;
        sibling.reverse();
        let pair = match position >> level & 1 {
            0 => [node, sibling],
            _ => [sibling, node],
        };
        node = sha256d::Hash::hash(&pair.concat()).to_byte_array();
    }
    Some(node)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(bytes: [u8; 32]) -> String {
        Txid::from_byte_array(bytes).to_string()
    }

    #[test]
    fn a_branch_leads_from_its_leaf_to_the_root_and_from_no_other() {
        let leaves: Vec<[u8; 32]> = (0..4).map(|n| [n; 32]).collect();
        let pair = |a: [u8; 32], b: [u8; 32]| sha256d::Hash::hash(&[a, b].concat()).to_byte_array();
        let (left, right) = (pair(leaves[0], leaves[1]), pair(leaves[2], leaves[3]));
        let root = Some(pair(left, right));
        let branch = [shown(leaves[3]), shown(left)];
        let leaf = Txid::from_byte_array(leaves[2]);
        assert_eq!(root_of(leaf, &branch, 2), root);
        for position in [0, 1, 3, 6] {
            assert_ne!(root_of(leaf, &branch, position), root, "{position}");
        }
        assert_ne!(root_of(Txid::from_byte_array(leaves[1]), &branch, 2), root);
        assert_eq!(root_of(leaf, &[], 0), Some(leaves[2]));
        assert_eq!(root_of(leaf, &["no hash".into()], 0), None);
    }
}
