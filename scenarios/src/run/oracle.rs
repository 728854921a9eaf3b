//! The money oracle: after every step, every satoshi that exists has an owner.
//!
//! All coins that were ever mined are held by the miner, by the wallets of the nodes, by servers (as their `books` say),
//! by scripts whose owner a step has named, by channels (through their funding outputs, at full capacity) and by the outputs
//! of closed channels that no wallet has yet. The sum is exact. What is left over lies in an output that nobody owns, which
//! is named, not counted.
//!
//! It looks when nothing waits for a block and every node runs: before, a wallet may not have seen what is on its way.
//! It does not look into channels; how their capacity is split is what scenarios assert.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use bitcoin::{Amount, Denomination, OutPoint, Txid};
use futures_util::future::try_join_all;
use serde_json::{Value, json};
use swaprig_harness::World;
use swaprig_harness::bitcoind::FIRST_BLOCKS;
use swaprig_harness::time::{Deadline, Probe, WaitError, poll_until};
use swaprig_units::{Height, Sat};

use super::oracle_liquid::LiquidSheet;
use super::{StepFailure, owned};
use crate::lang::ServerBooks;

/// How long wallets have to take in what the chain says. They follow a block in tens of milliseconds, upstream's in two
/// seconds.
const SETTLE: Duration = Duration::from_secs(6);
/// Blocks between two halvings on regtest (Bitcoin Core, `kernel/chainparams.cpp`).
const HALVING: u32 = 150;
/// The first subsidy, in satoshi.
const SUBSIDY: u64 = 50 * 100_000_000;
/// How many outputs a message names.
const NAMED: usize = 5;
/// The kinds of script that hold the coins of a closed channel until a node sweeps them (BOLT 3): everything else that
/// leaves a channel goes to a wallet.
const UNSWEPT: &[&str] = &["witness_v0_scripthash", "anchor"];

/// Knows the outputs of channels, open and closed.
#[derive(Debug, Default)]
pub struct Oracle {
    /// Every output that is or was a channel's, spent ones included: a reorganisation may bring them back.
    channels: BTreeMap<OutPoint, Sat>,
    /// Where the servers have their money.
    servers: Vec<ServerBooks>,
}

/// Who holds what, at one block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sheet {
    /// The block.
    pub height: Height,
    /// All coins that were mined up to it.
    pub supply: Sat,
    /// Each owner's part.
    pub books: Vec<(String, Sat)>,
    /// The same of Liquid, where there is one and it could be told.
    pub liquid: Option<LiquidSheet>,
}

impl Sheet {
    fn owned(&self) -> Option<Sat> {
        self.books
            .iter()
            .try_fold(Sat(0), |sum, (_, part)| sum.checked_add(*part))
    }

    fn is_balanced(&self) -> bool {
        self.owned() == Some(self.supply)
    }
}

/// `conserved: miner 5_097 sat, alice 3 sat` or what is missing.
impl fmt::Display for Sheet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, (owner, part)) in self.books.iter().enumerate() {
            write!(f, "{}{owner} {part}", if i == 0 { "" } else { ", " })?;
        }
        write!(f, "; mined {}", self.supply)?;
        match &self.liquid {
            Some(liquid) => write!(f, " · {liquid}"),
            None => Ok(()),
        }
    }
}

impl Oracle {
    /// An oracle for a world with servers that have these books.
    pub fn with_servers(servers: Vec<ServerBooks>) -> Self {
        Oracle {
            servers,
            ..Oracle::default()
        }
    }

    /// Whose money a Lightning node holds: its own, or that of a server.
    fn owner(&self, node: &str) -> String {
        let is_its = |books: &&ServerBooks| books.lightning.as_deref() == Some(node);
        match self.servers.iter().find(is_its) {
            Some(books) => format!("{} ({node})", books.server),
            None => node.to_owned(),
        }
    }

    /// Checks that every satoshi has an owner. `None` when it cannot be told now: a transaction waits for a block, or a
    /// node is down.
    ///
    /// # Errors
    /// When the sum is not exact and does not become so within six seconds, with the outputs that nobody owns.
    pub async fn check(
        &mut self,
        world: &World,
        deadline: Deadline,
    ) -> Result<Option<Sheet>, StepFailure> {
        if !world.is_whole() {
            return Ok(None);
        }
        let deadline = deadline.at_most(SETTLE);
        // The wait cuts a count that is under way when time is up, and keeps what it saw before. A call that gave up by
        // itself at that moment would be the failure instead.
        let later = Deadline::after(SETTLE * 2);
        let oracle = tokio::sync::Mutex::new(&mut *self);
        let last = std::sync::Mutex::new(None);
        let balanced = poll_until("all coins to have an owner", deadline, || async {
            match oracle.lock().await.take_stock(world, later).await {
                Ok(Some(sheet)) if sheet.is_balanced() => Probe::Ready(Some(sheet)),
                Ok(Some(sheet)) => {
                    let seen = sheet.to_string();
                    *last
                        .lock()
                        .unwrap_or_else(std::sync::PoisonError::into_inner) = Some(sheet);
                    Probe::Pending(seen)
                }
                Ok(None) => Probe::Ready(None),
                Err(failure) => Probe::Fatal(failure),
            }
        });
        let error = match balanced.await {
            Ok(sheet) => return Ok(sheet),
            Err(WaitError::Fatal(failure)) => return Err(failure),
            Err(WaitError::TimedOut(timeout)) => StepFailure::timed_out("", &timeout),
        };
        let last = last
            .into_inner()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        let Some(sheet) = last else {
            return Err(StepFailure {
                title: "the coins were not counted in time".into(),
                ..error
            });
        };
        Err(self.accuse(world, &sheet, Deadline::after(SETTLE)).await?)
    }

    /// Counts everything once; `None` while a transaction waits for a block.
    async fn take_stock(
        &mut self,
        world: &World,
        deadline: Deadline,
    ) -> Result<Option<Sheet>, StepFailure> {
        let rpc = world.bitcoind().rpc();
        let fail = |e| StepFailure::from(world.error(e));
        let nodes = world.nodes().iter().map(|node| async move {
            tokio::try_join!(node.balances(), node.channels())
                .map_err(|e| StepFailure::from(world.error(e)))
        });
        let (mempool, tip, balances, nodes) = tokio::try_join!(
            async { rpc.mempool(deadline).await.map_err(fail) },
            async { rpc.tip(deadline).await.map_err(fail) },
            async {
                rpc.wallet_call::<Value>("getbalances", &[], deadline)
                    .await
                    .map_err(fail)
            },
            try_join_all(nodes),
        )?;
        if !mempool.is_empty() {
            return Ok(None);
        }
        let mut books = vec![("miner".to_owned(), wallet_total(&balances)?)];
        for (node, (wallet, channels)) in world.nodes().iter().zip(nodes) {
            books.push((self.owner(node.name()), wallet.onchain_total));
            for channel in channels {
                if let Some(funding) = channel.funding {
                    self.channels.entry(funding).or_insert(channel.size);
                }
            }
        }
        for server in &self.servers {
            books.extend(super::books::on_bitcoin(server, world, deadline).await?);
        }
        books.extend(owned::books(&owned::outputs(world, deadline).await?));
        let mut sheet = Sheet {
            height: tip.height,
            supply: supply(tip.height),
            books,
            liquid: None,
        };
        let (held, any_spent) = self.held_by_channels(world, deadline).await?;
        sheet.books.push(("channels".to_owned(), held));
        if any_spent && !sheet.is_balanced() {
            self.follow_spends(world, tip.height, deadline).await?;
            let (held, _) = self.held_by_channels(world, deadline).await?;
            sheet.books.pop();
            sheet.books.push(("channels".to_owned(), held));
        }
        Ok(Some(sheet))
    }

    /// What the unspent ones of the known outputs hold, and whether any is spent.
    async fn held_by_channels(
        &self,
        world: &World,
        deadline: Deadline,
    ) -> Result<(Sat, bool), StepFailure> {
        let (mut held, mut any_spent) = (0, false);
        for (outpoint, value) in &self.channels {
            match is_unspent(world, outpoint, deadline).await? {
                true => held += value.0,
                false => any_spent = true,
            }
        }
        Ok((Sat(held), any_spent))
    }

    /// Takes in the outputs of transactions that spend a channel's and that are no wallet's.
    async fn follow_spends(
        &mut self,
        world: &World,
        tip: Height,
        deadline: Deadline,
    ) -> Result<(), StepFailure> {
        for height in FIRST_BLOCKS.0 + 1..=tip.0 {
            for tx in transactions(world, Height(height), deadline).await? {
                if !tx
                    .inputs
                    .iter()
                    .any(|input| self.channels.contains_key(input))
                {
                    continue;
                }
                for (vout, value, kind) in &tx.outputs {
                    if UNSWEPT.contains(&kind.as_str()) {
                        self.channels.insert(OutPoint::new(tx.txid, *vout), *value);
                    }
                }
            }
        }
        Ok(())
    }

    /// The failure for a sheet that does not add up.
    async fn accuse(
        &self,
        world: &World,
        sheet: &Sheet,
        deadline: Deadline,
    ) -> Result<StepFailure, StepFailure> {
        let owned = sheet.owned().unwrap_or(Sat(u64::MAX));
        let Some(missing) = sheet.supply.checked_sub(owned) else {
            let surplus = owned.checked_sub(sheet.supply).unwrap_or_default();
            let title = format!("money appeared: {surplus} more is owned than was ever mined");
            return Ok(StepFailure::refused(title).why(sheet.to_string()));
        };
        let mut unclaimed = self
            .outputs_of_no_known_owner(world, sheet.height, deadline)
            .await?;
        let exact: Vec<_> = unclaimed
            .iter()
            .filter(|(_, value)| *value == missing)
            .copied()
            .collect();
        if !exact.is_empty() {
            unclaimed = exact;
        }
        let named = unclaimed
            .iter()
            .take(NAMED)
            .map(|(outpoint, value)| format!("{outpoint} ({value})"));
        let named = named.collect::<Vec<_>>().join(", ");
        let title = format!("money vanished: nobody owns {missing}; it is in {named}");
        Ok(StepFailure::refused(title).why(sheet.to_string()))
    }

    /// Unspent outputs since the first blocks that are neither the miner's, a server's, a named owner's nor a channel's, the
    /// newest first. The wallets of nodes do not tell theirs one by one, so they are among them.
    async fn outputs_of_no_known_owner(
        &self,
        world: &World,
        tip: Height,
        deadline: Deadline,
    ) -> Result<Vec<(OutPoint, Sat)>, StepFailure> {
        let unspent: Vec<Value> = world
            .bitcoind()
            .rpc()
            .wallet_call("listunspent", &[json!(0)], deadline)
            .await
            .map_err(|e| world.error(e))?;
        let mut servers = Vec::new();
        for server in &self.servers {
            servers.extend(super::books::outputs(server, world, deadline).await?);
        }
        let owned = owned::outputs(world, deadline).await?;
        let miners: Vec<_> = unspent
            .iter()
            .map(|output| (output["txid"].clone(), output["vout"].clone()))
            .collect();
        let mut found = Vec::new();
        for height in (FIRST_BLOCKS.0 + 1..=tip.0).rev() {
            // The first transaction of a block is the miner's.
            for tx in transactions(world, Height(height), deadline)
                .await?
                .into_iter()
                .skip(1)
            {
                for (vout, value, _) in tx.outputs {
                    let outpoint = OutPoint::new(tx.txid, vout);
                    let known = self.channels.contains_key(&outpoint)
                        || servers.contains(&outpoint)
                        || owned.iter().any(|owned| owned.outpoint == outpoint)
                        || miners.contains(&(json!(tx.txid), json!(vout)));
                    if !known && is_unspent(world, &outpoint, deadline).await? {
                        found.push((outpoint, value));
                    }
                }
            }
        }
        Ok(found)
    }
}

/// What a block's transaction moves.
struct Transaction {
    txid: Txid,
    inputs: Vec<OutPoint>,
    /// Index, value and kind of script.
    outputs: Vec<(u32, Sat, String)>,
}

async fn transactions(
    world: &World,
    height: Height,
    deadline: Deadline,
) -> Result<Vec<Transaction>, StepFailure> {
    let rpc = world.bitcoind().rpc();
    let fail = |e| StepFailure::from(world.error(e));
    let hash: Value = rpc
        .call("getblockhash", &[json!(height.0)], deadline)
        .await
        .map_err(fail)?;
    let block: Value = rpc
        .call("getblock", &[hash, json!(2)], deadline)
        .await
        .map_err(fail)?;
    let txs = block["tx"]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default();
    txs.iter()
        .map(|tx| transaction(tx).ok_or_else(|| unreadable("getblock")))
        .collect()
}

fn transaction(tx: &Value) -> Option<Transaction> {
    let index = |value: &Value| u32::try_from(value.as_u64()?).ok();
    let inputs = tx["vin"]
        .as_array()?
        .iter()
        .filter(|input| input.get("coinbase").is_none());
    let inputs = inputs.map(|input| {
        Some(OutPoint::new(
            input["txid"].as_str()?.parse().ok()?,
            index(&input["vout"])?,
        ))
    });
    let outputs = tx["vout"].as_array()?.iter().map(|output| {
        let kind = output["scriptPubKey"]["type"].as_str()?.to_owned();
        Some((index(&output["n"])?, Sat(sat(&output["value"])?), kind))
    });
    Some(Transaction {
        txid: tx["txid"].as_str()?.parse().ok()?,
        inputs: inputs.collect::<Option<_>>()?,
        outputs: outputs.collect::<Option<_>>()?,
    })
}

async fn is_unspent(
    world: &World,
    outpoint: &OutPoint,
    deadline: Deadline,
) -> Result<bool, StepFailure> {
    let params = [json!(outpoint.txid), json!(outpoint.vout), json!(false)];
    let found: Option<Value> = world
        .bitcoind()
        .rpc()
        .call("gettxout", &params, deadline)
        .await
        .map_err(|e| world.error(e))?;
    Ok(found.is_some())
}

/// Everything that a wallet's `getbalances` tells of.
pub(super) fn wallet_total(balances: &Value) -> Result<Sat, StepFailure> {
    let mine = ["trusted", "untrusted_pending", "immature"]
        .iter()
        .map(|kind| sat(&balances["mine"][kind]));
    let total = mine.sum::<Option<u64>>();
    total.map(Sat).ok_or_else(|| unreadable("getbalances"))
}

/// An amount that JSON-RPC gives as a number of bitcoins. Its text is exact: it has eight decimals at most.
pub(super) fn sat(value: &Value) -> Option<u64> {
    let amount = Amount::from_str_in(&value.as_number()?.to_string(), Denomination::Bitcoin);
    // Scientific notation, for less than 10 sat: such a number has no more than a digit or two before the exponent.
    amount
        .ok()
        .map(Amount::to_sat)
        .or_else(|| Amount::from_btc(value.as_f64()?).ok().map(Amount::to_sat))
}

pub(super) fn unreadable(method: &str) -> StepFailure {
    StepFailure::refused(format!("bitcoind's answer to {method} cannot be read"))
}

/// Everything that the blocks up to `height` have brought into being. The first block's reward cannot be spent and is
/// not counted; fees only change hands.
fn supply(height: Height) -> Sat {
    let subsidy = |height: u32| SUBSIDY.checked_shr(height / HALVING).unwrap_or(0);
    Sat((1..=height.0).map(subsidy).sum())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_supply_halves_every_150_blocks() {
        for (height, expected) in [
            (0, 0),
            (1, SUBSIDY),
            (149, 149 * SUBSIDY),
            (150, 149 * SUBSIDY + SUBSIDY / 2),
        ] {
            assert_eq!(supply(Height(height)), Sat(expected), "{height}");
        }
        // Nothing comes of the 64th halving and later ones.
        assert_eq!(supply(Height(20_000)), supply(Height(30_000)));
    }

    #[test]
    fn amounts_are_read_exactly() {
        for (text, expected) in [
            ("0.00000001", 1),
            ("1e-8", 1),
            ("0.1", 10_000_000),
            ("5050.0", 505_000_000_000),
            ("49.99999859", 4_999_999_859),
        ] {
            let value: Value = serde_json::from_str(text).unwrap();
            assert_eq!(sat(&value), Some(expected), "{text}");
        }
        assert_eq!(sat(&json!(null)), None);
    }
}
