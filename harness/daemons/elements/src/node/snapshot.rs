//! The node's state as bytes, for a file: its parameters, every block, the mempool, the clock.
//!
//! Layout: magic, body, SHA-256 of all before it. The checksum is against accidents, not against forgers: what a
//! snapshot holds is not verified a second time.

use std::sync::Arc;

use elements::encode::{Decodable, Encodable, serialize};
use elements::hashes::sha256;
use elements::{Block, BlockHash, Transaction};

use super::accept::{Fees, Judge};
use super::block_check;
use super::fee_rate::FeeRate;
use super::{Node, Params, Removal, SnapshotError, Standing};

/// Ends with the version.
const MAGIC: &[u8; 16] = b"swaprig-liquid-1";

impl Node {
    /// The node's whole state as bytes for a file.
    pub fn snapshot(&self) -> Vec<u8> {
        let mut out = Writer(MAGIC.to_vec());
        write_params(&mut out, &self.params);
        out.number(self.mock_time.map_or(0, |_| 1));
        out.number(self.mock_time.unwrap_or(0));
        let mut records: Vec<_> = self
            .blocks
            .values()
            .filter(|record| record.block.height() > 0)
            .collect();
        records.sort_by_key(|record| record.block.sequence);
        out.number(records.len() as u64);
        for record in records {
            out.number(match record.standing {
                Standing::Unchecked => 0,
                Standing::Valid => 1,
                Standing::Invalid { was_valid: false } => 2,
                Standing::Invalid { was_valid: true } => 3,
            });
            out.bytes(&serialize(&record.block.to_block()));
        }
        out.value(&self.tip().hash);
        out.number(self.mempool.len() as u64);
        for entry in self.mempool.iter() {
            out.number(entry.time);
            out.number(u64::from(entry.height));
            out.value(&*entry.tx);
        }
        let checksum = sha256::Hash::hash(&out.0).to_byte_array();
        out.0.extend(checksum);
        out.0
    }

    /// The node of a snapshot.
    ///
    /// # Errors
    /// See [`SnapshotError`]. With `wanted`, a snapshot of other parameters is refused.
    pub fn restore(snapshot: &[u8], wanted: Option<&Params>) -> Result<Self, SnapshotError> {
        let Some((body, checksum)) = snapshot.split_last_chunk::<32>() else {
            return Err(SnapshotError::Format);
        };
        let Some(rest) = body.strip_prefix(MAGIC) else {
            return Err(SnapshotError::Format);
        };
        if sha256::Hash::hash(body).to_byte_array() != *checksum {
            return Err(SnapshotError::Checksum);
        }
        let mut reader = Reader(rest);
        let params = read_params(&mut reader)?;
        if let Some(wanted) = wanted.filter(|wanted| **wanted != params) {
            return Err(SnapshotError::Params {
                found: params.chain,
                wanted: wanted.chain.clone(),
            });
        }
        let mut node = Node::new(params).map_err(SnapshotError::Invalid)?;
        let (is_set, mock_time) = (reader.number()?, reader.number()?);
        let mut standings = Vec::new();
        for _ in 0..reader.number()? {
            let standing = reader.number()?;
            let block: Block = elements::encode::deserialize(reader.bytes()?).map_err(invalid)?;
            standings.push((block.block_hash(), standing));
            node.read_block(block)?;
        }
        let tip: BlockHash = reader.value()?;
        for (hash, standing) in standings {
            node.read_standing(hash, standing);
        }
        // Last, for what the main chain has comes before what was on it once.
        node.replay_to(tip)?;
        for _ in 0..reader.number()? {
            node.read_waiting(&mut reader)?;
        }
        node.mock_time = (is_set == 1).then_some(mock_time);
        node.events.clear();
        Ok(node)
    }

    fn read_block(&mut self, block: Block) -> Result<(), SnapshotError> {
        let parent = self.block(&block.header.prev_blockhash);
        if parent.and_then(|parent| parent.height().checked_add(1)) != Some(block.header.height) {
            return Err(SnapshotError::Invalid(format!(
                "block {} has no parent",
                block.block_hash()
            )));
        }
        // Signatures and proofs were good when the snapshot was made.
        self.verified
            .extend(block.txdata.iter().map(Transaction::wtxid));
        let block = self.prepare(block);
        block_check::alone(&block).map_err(invalid)?;
        self.keep(block);
        Ok(())
    }

    /// What is known of a block that was read.
    fn read_standing(&mut self, hash: BlockHash, standing: u64) {
        let Some(record) = self.blocks.get_mut(&hash) else {
            return;
        };
        record.standing = match standing {
            0 => Standing::Unchecked,
            1 => Standing::Valid,
            3 => Standing::Invalid { was_valid: true },
            _ => Standing::Invalid { was_valid: false },
        };
        if matches!(standing, 1 | 3) {
            let txids = record.block.txids.iter().map(|txid| (*txid, hash));
            self.tx_index.extend(txids);
        }
    }

    /// Connects the blocks up to the tip of the snapshot.
    fn replay_to(&mut self, tip: BlockHash) -> Result<(), SnapshotError> {
        let mut path = Vec::new();
        let mut next = tip;
        while next != self.genesis_hash() {
            let block = self
                .block(&next)
                .ok_or_else(|| SnapshotError::Invalid(format!("no block {next}")))?;
            path.push(next);
            next = block.header().prev_blockhash;
        }
        for hash in path.into_iter().rev() {
            self.connect(hash).map_err(invalid)?;
        }
        self.verified.clear();
        Ok(())
    }

    fn read_waiting(&mut self, reader: &mut Reader<'_>) -> Result<(), SnapshotError> {
        let (time, height) = (reader.number()?, reader.number()?);
        let tx: Arc<Transaction> = Arc::new(reader.value()?);
        self.verified.insert(tx.wtxid());
        let mut plan = Judge {
            node: self,
            pool: &self.mempool,
        }
        .judge(&tx, Fees::Any)
        .map_err(invalid)?;
        plan.entry.time = time;
        plan.entry.height = u32::try_from(height).unwrap_or(u32::MAX);
        for txid in &plan.replaced {
            self.remove_with_descendants(txid, Removal::Replaced);
        }
        self.enter(plan);
        Ok(())
    }
}

fn invalid(error: impl ToString) -> SnapshotError {
    SnapshotError::Invalid(error.to_string())
}

fn write_params(out: &mut Writer, params: &Params) {
    let Params {
        chain,
        initial_free_coins,
        con_block_subsidy,
        ..
    } = params;
    out.bytes(chain.as_bytes());
    for number in [*initial_free_coins, *con_block_subsidy] {
        out.number(number);
    }
    for rate in [
        params.min_relay_fee,
        params.block_min_fee,
        params.dust_relay_fee,
        params.incremental_relay_fee,
    ] {
        out.number(rate.sat_per_kvb());
    }
    for switch in [
        params.accept_discount_ct,
        params.accept_non_std_txn,
        params.accept_unlimited_issuances,
        params.multi_data_permitted,
        params.permit_bare_multisig,
    ] {
        out.number(u64::from(switch));
    }
    for limit in [
        params.limit_ancestor_count,
        params.limit_ancestor_size,
        params.limit_descendant_count,
        params.limit_descendant_size,
    ] {
        out.number(limit);
    }
}

fn read_params(reader: &mut Reader<'_>) -> Result<Params, SnapshotError> {
    let chain = String::from_utf8(reader.bytes()?.to_vec()).map_err(invalid)?;
    Ok(Params {
        chain,
        initial_free_coins: reader.number()?,
        con_block_subsidy: reader.number()?,
        min_relay_fee: FeeRate::from_sat_per_kvb(reader.number()?),
        block_min_fee: FeeRate::from_sat_per_kvb(reader.number()?),
        dust_relay_fee: FeeRate::from_sat_per_kvb(reader.number()?),
        incremental_relay_fee: FeeRate::from_sat_per_kvb(reader.number()?),
        accept_discount_ct: reader.number()? != 0,
        accept_non_std_txn: reader.number()? != 0,
        accept_unlimited_issuances: reader.number()? != 0,
        multi_data_permitted: reader.number()? != 0,
        permit_bare_multisig: reader.number()? != 0,
        limit_ancestor_count: reader.number()?,
        limit_ancestor_size: reader.number()?,
        limit_descendant_count: reader.number()?,
        limit_descendant_size: reader.number()?,
    })
}

struct Writer(Vec<u8>);

impl Writer {
    fn number(&mut self, number: u64) {
        self.0.extend(number.to_le_bytes());
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.number(bytes.len() as u64);
        self.0.extend(bytes);
    }

    fn value<T: Encodable>(&mut self, value: &T) {
        self.bytes(&serialize(value));
    }
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn number(&mut self) -> Result<u64, SnapshotError> {
        let (number, rest) = self.0.split_first_chunk().ok_or(SnapshotError::Format)?;
        self.0 = rest;
        Ok(u64::from_le_bytes(*number))
    }

    fn bytes(&mut self) -> Result<&'a [u8], SnapshotError> {
        let length = usize::try_from(self.number()?).map_err(invalid)?;
        let (bytes, rest) = self
            .0
            .split_at_checked(length)
            .ok_or(SnapshotError::Format)?;
        self.0 = rest;
        Ok(bytes)
    }

    fn value<T: Decodable>(&mut self) -> Result<T, SnapshotError> {
        elements::encode::deserialize(self.bytes()?).map_err(invalid)
    }
}
