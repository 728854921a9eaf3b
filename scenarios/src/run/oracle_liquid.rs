//! The money oracle of Liquid: after every step, everything that exists of every asset has an owner.
//!
//! It follows the chain block by block and keeps its unspent outputs. Each belongs to a wallet of the node, which tells
//! what a blinded one holds, to somebody outside who was paid at an address, or to nobody: that one is named. Of each
//! asset, what all owners have is what was issued; fees go to the miner, whose wallet is the faucet.
//!
//! It looks when nothing waits for a block. While the tip is the one of its last look, nothing can have moved.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;
use std::sync::Arc;

use bitcoin::hashes::Hash as _;
use bitcoin::{BlockHash, OutPoint, Txid};
use elements::confidential::{Asset, Value as Amount};
use elements::{AddressParams, AssetId, Script, TxOut};
use futures_util::future::try_join_all;
use serde_json::{Value, json};
use swaprig_harness::World;
use swaprig_harness::bitcoind::{RpcError, Tip};
use swaprig_harness::elementsd::{AssetAmount, Call, FAUCET, Rpc, lbtc};
use swaprig_harness::time::Deadline;
use swaprig_harness::world::OUTSIDE;
use swaprig_units::{Height, Sat, Units};

use super::StepFailure;
use super::books_liquid::{Book, Learnt, Owned};
use crate::lang::{LiquidBooks, ServerBooks};

/// How many calls go into one request.
const BATCH: usize = 500;
/// How many outputs a message names.
const NAMED: usize = 5;
/// Who has what nobody has to sign for.
const ANYONE: &str = "anyone";
/// Who has what can never be spent.
const BURNT: &str = "burnt";

/// Who holds what of each asset, at one block of Liquid.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LiquidSheet {
    /// The block.
    pub height: Height,
    /// Each asset, L-BTC first.
    pub assets: Vec<AssetSheet>,
}

/// Who holds what of one asset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AssetSheet {
    /// Which.
    pub asset: AssetId,
    /// How much of it was issued; `None` when that was blinded by somebody outside.
    pub supply: Option<u64>,
    /// Each owner's part.
    pub books: Vec<(String, u64)>,
    /// Owners whose blinded outputs cannot be read; together they have what is left.
    pub unread: Vec<String>,
}

/// `1_000 sat` or `7 units`.
fn shown(asset: AssetId, parts: u64) -> String {
    match asset == lbtc() {
        true => Sat(parts).to_string(),
        false => Units(parts).to_string(),
    }
}

/// `lbtc`, or the id.
pub(super) fn name_of(asset: AssetId) -> String {
    match asset == lbtc() {
        true => "lbtc".to_owned(),
        false => asset.to_string(),
    }
}

impl AssetSheet {
    fn owned(&self) -> Option<u64> {
        let parts = self.books.iter().map(|(_, part)| *part);
        parts.into_iter().try_fold(0_u64, u64::checked_add)
    }

    fn is_balanced(&self) -> bool {
        match (self.supply, self.owned()) {
            (None, _) => true,
            (Some(supply), Some(owned)) if self.unread.is_empty() => supply == owned,
            (Some(supply), Some(owned)) => supply >= owned,
            (Some(_), None) => false,
        }
    }
}

/// `lbtc: faucet 5 sat, alice 3 sat; issued 8 sat`
impl fmt::Display for AssetSheet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", name_of(self.asset))?;
        for (i, (owner, part)) in self.books.iter().enumerate() {
            let separator = if i == 0 { "" } else { ", " };
            write!(f, "{separator}{owner} {}", shown(self.asset, *part))?;
        }
        for owner in &self.unread {
            write!(f, ", {owner} the rest")?;
        }
        match self.supply {
            Some(supply) => write!(f, "; issued {}", shown(self.asset, supply)),
            None => write!(f, "; issued nobody knows how much"),
        }
    }
}

impl fmt::Display for LiquidSheet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, asset) in self.assets.iter().enumerate() {
            write!(f, "{}{asset}", if i == 0 { "" } else { " · " })?;
        }
        Ok(())
    }
}

/// An unspent output as the chain tells it.
#[derive(Debug, Clone)]
struct Output {
    script: Script,
    /// What it holds; `None` when that is blinded.
    amount: Option<AssetAmount>,
    /// The whole of one that is blinded, for who has the key.
    blinded: Option<Arc<TxOut>>,
}

/// An output that may be a server's, with the owner that it has otherwise.
type Unknown = (OutPoint, Output, Option<String>);

/// What a block did, so that it can be undone.
#[derive(Debug)]
struct Block {
    hash: BlockHash,
    created: Vec<OutPoint>,
    spent: Vec<(OutPoint, Output)>,
    issued: Vec<(AssetId, Option<u64>)>,
}

/// Knows every unspent output of the Liquid chain.
#[derive(Debug, Default)]
pub struct LiquidOracle {
    /// From the first block on.
    blocks: Vec<Block>,
    unspent: HashMap<OutPoint, Output>,
    /// Whether the faucet has the key of a script that no wallet could spend from when it was met.
    fees: HashMap<Script, bool>,
    last: Option<(BlockHash, LiquidSheet)>,
    /// Wallets that servers make for themselves, each with the owner that the sheet names.
    servers: Vec<(String, String)>,
    /// What servers tell otherwise of their money.
    books: Vec<Book>,
}

impl LiquidOracle {
    /// One that counts the wallets that the books of servers name, too.
    pub fn with_servers(books: &[ServerBooks]) -> Self {
        let wallets = books.iter().filter_map(|books| {
            let Some(LiquidBooks::Wallet(wallet)) = books.liquid.clone() else {
                return None;
            };
            let owner = format!("{} (wallet:{wallet})", books.server);
            Some((wallet, owner))
        });
        LiquidOracle {
            servers: wallets.collect(),
            books: books.iter().filter_map(Book::new).collect(),
            ..LiquidOracle::default()
        }
    }

    /// Checks that everything has an owner. `None` when there is no Liquid, or it cannot be told now: a transaction waits
    /// for a block, or the node is down, or there is an output that may be a server's which is down.
    ///
    /// # Errors
    /// When something has no owner, with its output; or the node does not answer, or a server does not tell its HTLCs.
    pub async fn check(
        &mut self,
        world: &World,
        deadline: Deadline,
    ) -> Result<Option<LiquidSheet>, StepFailure> {
        let Ok(liquid) = world.liquid() else {
            return Ok(None);
        };
        if liquid.elementsd().running().exit().is_some() {
            return Ok(None);
        }
        let fail = |error: RpcError| StepFailure::from(world.error(error));
        let rpc = liquid.elementsd().rpc();
        let (waiting, tip) =
            tokio::try_join!(rpc.mempool(deadline), rpc.tip(deadline)).map_err(fail)?;
        if !waiting.is_empty() {
            return Ok(None);
        }
        if let Some((hash, sheet)) = &self.last
            && *hash == tip.hash
        {
            return Ok(Some(sheet.clone()));
        }
        self.follow(rpc, tip, deadline).await.map_err(fail)??;
        let Some(sheet) = self.take_stock(world, tip, deadline).await? else {
            return Ok(None);
        };
        self.last = Some((tip.hash, sheet.clone()));
        Ok(Some(sheet))
    }

    /// Takes in the blocks up to `tip`, after those that are no longer in the chain were undone.
    async fn follow(
        &mut self,
        rpc: &Rpc,
        tip: Tip,
        deadline: Deadline,
    ) -> Result<Result<(), StepFailure>, RpcError> {
        while let Some(last) = self.blocks.last() {
            let height = height_of(self.blocks.len() - 1);
            if height <= tip.height.0 && rpc.block_hash(height, deadline).await? == last.hash {
                break;
            }
            self.undo();
        }
        let heights: Vec<u32> = (height_of(self.blocks.len())..=tip.height.0).collect();
        for heights in heights.chunks(BATCH) {
            let calls: Vec<Call> = heights
                .iter()
                .map(|height| Call::new("getblockhash", [json!(height)]))
                .collect();
            let hashes = rpc.batch(&calls, deadline).await?;
            let calls: Vec<Call> = hashes
                .iter()
                .map(|hash| Call::new("getblock", [hash.clone(), json!(0)]))
                .collect();
            for hex in rpc.batch(&calls, deadline).await? {
                let Some(block) = decode(&hex) else {
                    return Ok(Err(unreadable("getblock")));
                };
                self.take_in(&block);
            }
        }
        Ok(Ok(()))
    }

    fn take_in(&mut self, block: &elements::Block) {
        let mut done = Block {
            hash: BlockHash::from_byte_array(block.block_hash().to_byte_array()),
            created: Vec::new(),
            spent: Vec::new(),
            issued: Vec::new(),
        };
        for tx in &block.txdata {
            for input in tx.input.iter().filter(|input| !input.is_coinbase()) {
                let outpoint =
                    bitcoin_outpoint(input.previous_output.txid, input.previous_output.vout);
                if let Some(output) = self.unspent.remove(&outpoint) {
                    done.spent.push((outpoint, output));
                }
                if input.has_issuance() {
                    done.issued.extend(issued(input));
                }
            }
            let txid = tx.txid();
            for (vout, output) in (0_u32..).zip(&tx.output) {
                // Fees are no outputs that anybody can have.
                if output.is_fee() || output.value == Amount::Explicit(0) {
                    continue;
                }
                let outpoint = bitcoin_outpoint(txid, vout);
                let amount = match (output.asset, output.value) {
                    (Asset::Explicit(asset), Amount::Explicit(parts)) => {
                        Some(AssetAmount { asset, parts })
                    }
                    _ => None,
                };
                let output = Output {
                    script: output.script_pubkey.clone(),
                    amount,
                    blinded: amount.is_none().then(|| Arc::new(output.clone())),
                };
                self.unspent.insert(outpoint, output);
                done.created.push(outpoint);
            }
        }
        self.blocks.push(done);
    }

    fn undo(&mut self) {
        if let Some(block) = self.blocks.pop() {
            // An output may be both: what a block makes, a later transaction of it may spend.
            self.unspent.extend(block.spent);
            for outpoint in block.created {
                self.unspent.remove(&outpoint);
            }
        }
    }

    /// How much was issued of each asset; `None` where some of it was blinded.
    fn supply(&self) -> BTreeMap<AssetId, Option<u64>> {
        let mut supply = BTreeMap::new();
        for (asset, parts) in self.blocks.iter().flat_map(|block| &block.issued) {
            let sum = supply.entry(*asset).or_insert(Some(0_u64));
            *sum = sum
                .zip(*parts)
                .and_then(|(sum, parts)| sum.checked_add(parts));
        }
        supply
    }

    async fn take_stock(
        &mut self,
        world: &World,
        tip: Tip,
        deadline: Deadline,
    ) -> Result<Option<LiquidSheet>, StepFailure> {
        let liquid = world.liquid()?;
        let rpc = liquid.elementsd().rpc();
        let fail = |error: RpcError| StepFailure::from(world.error(error));
        let own = liquid.elementsd().wallets().iter();
        let wallets: Vec<(&String, &String)> = own
            .map(|wallet| (wallet, wallet))
            .chain(self.servers.iter().map(|(wallet, owner)| (wallet, owner)))
            .collect();
        let lists = wallets.iter().map(|(wallet, _)| async move {
            match rpc.unspent(wallet, deadline).await {
                // A server may make its wallet later.
                Err(error) if error.kind.is_no_wallet() => Ok(Vec::new()),
                list => list,
            }
        });
        let lists = try_join_all(lists).await.map_err(fail)?;
        let mut owners = HashMap::new();
        for ((_, owner), outputs) in wallets.iter().zip(&lists) {
            let its = outputs.iter();
            owners.extend(its.map(|output| (output.outpoint, (*owner, output.amount))));
        }
        let mut books: BTreeMap<(AssetId, String), u64> = BTreeMap::new();
        let mut unread = HashSet::new();
        let mut unknown = Vec::new();
        let mut fees = std::mem::take(&mut self.fees);
        for (outpoint, output) in &self.unspent {
            let owner = match owners.get(outpoint) {
                Some((owner, amount)) => {
                    *books.entry((amount.asset, (*owner).clone())).or_default() += amount.parts;
                    continue;
                }
                None if output.script.is_provably_unspendable() => Some(BURNT.to_owned()),
                None if is_op_true(&output.script) => Some(ANYONE.to_owned()),
                None => liquid.owner_of(&output.script),
            };
            let owner = match owner {
                Some(owner) => Some(owner),
                None => fees_owner(&mut fees, output, rpc, deadline)
                    .await
                    .map_err(fail)?,
            };
            // An address that a step paid to may be a server's, and its books say more of what is there.
            let is_open = owner.is_none() || owner.as_deref() == Some(OUTSIDE);
            match (owner, output.amount) {
                (owner, _) if is_open => unknown.push((*outpoint, output.clone(), owner)),
                (Some(owner), Some(amount)) => {
                    *books.entry((amount.asset, owner)).or_default() += amount.parts;
                }
                // A blinded output that nobody can spend makes a transaction balance and holds nothing. If it holds something
                // after all, that is missing from the sum, and is lost.
                (Some(owner), None) if owner == BURNT => {}
                (Some(owner), None) => drop(unread.insert(owner)),
                (None, _) => {}
            }
        }
        self.fees = fees;
        let mut unowned = Vec::new();
        let learnt = self.learn(&unknown, world).await?;
        for (outpoint, output, otherwise) in unknown {
            let otherwise = otherwise.map(|owner| Owned {
                owner,
                amount: output.amount,
            });
            match self.server_of(&output).or(otherwise) {
                Some(Owned {
                    owner,
                    amount: Some(amount),
                }) => *books.entry((amount.asset, owner)).or_default() += amount.parts,
                Some(Owned { owner, .. }) => drop(unread.insert(owner)),
                None if learnt == Learnt::Down => return Ok(None),
                None => unowned.push((outpoint, output.amount)),
            }
        }
        let supply = self.known_supply(world);
        let sheet = sheet(tip.height, supply, books, unread);
        match unowned.is_empty() && sheet.assets.iter().all(AssetSheet::is_balanced) {
            true => Ok(Some(sheet)),
            false => Err(accusation(&sheet, unowned, learnt)),
        }
    }

    /// Reads the books of servers, where there are outputs that may be theirs.
    async fn learn(&mut self, unknown: &[Unknown], world: &World) -> Result<Learnt, StepFailure> {
        let mut learnt = Learnt::All;
        for book in self.books.iter_mut().filter(|_| !unknown.is_empty()) {
            match book.learn(world).await? {
                Learnt::All => {}
                Learnt::Down => return Ok(Learnt::Down),
                not_all => learnt = not_all,
            }
        }
        Ok(learnt)
    }

    /// The server whose books have an output.
    fn server_of(&mut self, output: &Output) -> Option<Owned> {
        let blinded = output.blinded.as_deref();
        let mut books = self.books.iter_mut();
        books.find_map(|book| book.owner(&output.script, output.amount, blinded))
    }

    /// The supply, with what the world itself has issued blinded.
    fn known_supply(&self, world: &World) -> BTreeMap<AssetId, Option<u64>> {
        let mut supply = self.supply();
        for (asset, sum) in &mut supply {
            let made = world.liquid().ok().and_then(|liquid| liquid.issued(*asset));
            *sum = sum.or(made);
        }
        supply
    }
}

/// The faucet, if an output that no wallet could spend now is one of its fees: those wait for a hundred blocks.
async fn fees_owner(
    known: &mut HashMap<Script, bool>,
    output: &Output,
    rpc: &Rpc,
    deadline: Deadline,
) -> Result<Option<String>, RpcError> {
    let is_its = match known.get(&output.script) {
        Some(is_its) => *is_its,
        None => {
            let params = &AddressParams::ELEMENTS;
            let Some(address) = elements::Address::from_script(&output.script, None, params) else {
                return Ok(None);
            };
            let params = [json!(address.to_string())];
            let info: Value = rpc
                .wallet_call(FAUCET, "getaddressinfo", &params, deadline)
                .await?;
            let is_its = info["ismine"] == true;
            known.insert(output.script.clone(), is_its);
            is_its
        }
    };
    Ok(is_its.then(|| FAUCET.to_owned()))
}

fn sheet(
    height: Height,
    supply: BTreeMap<AssetId, Option<u64>>,
    books: BTreeMap<(AssetId, String), u64>,
    unread: HashSet<String>,
) -> LiquidSheet {
    let mut assets: Vec<AssetSheet> = Vec::new();
    for (asset, supply) in supply {
        let own = books.iter().filter(|((of, _), _)| *of == asset);
        let books: Vec<(String, u64)> = own
            .map(|((_, owner), parts)| (owner.clone(), *parts))
            .collect();
        let mut unread: Vec<String> = unread.iter().cloned().collect();
        unread.sort();
        assets.push(AssetSheet {
            asset,
            supply,
            books,
            unread,
        });
    }
    // Tokens that were never made are no assets that anybody could have.
    assets.retain(|asset| asset.supply != Some(0) || !asset.books.is_empty());
    assets.sort_by_key(|sheet| (sheet.asset != lbtc(), sheet.asset));
    LiquidSheet { height, assets }
}

/// The failure for outputs that nobody owns, or for sums that do not add up.
fn accusation(
    sheet: &LiquidSheet,
    mut unowned: Vec<(OutPoint, Option<AssetAmount>)>,
    learnt: Learnt,
) -> StepFailure {
    unowned.sort();
    let named: Vec<String> = unowned
        .iter()
        .take(NAMED)
        .map(|(outpoint, amount)| match amount {
            Some(AssetAmount { asset, parts }) => {
                format!(
                    "{outpoint} ({} of {})",
                    shown(*asset, *parts),
                    name_of(*asset)
                )
            }
            None => format!("{outpoint} (blinded)"),
        })
        .collect();
    let wrong = sheet.assets.iter().filter(|asset| !asset.is_balanced());
    let missing: Vec<String> = wrong
        .map(|sheet| {
            let (supply, owned) = (sheet.supply.unwrap_or(0), sheet.owned().unwrap_or(u64::MAX));
            let (asset, name) = (sheet.asset, name_of(sheet.asset));
            match supply.checked_sub(owned) {
                Some(missing) => format!("nobody owns {} of {name}", shown(asset, missing)),
                None => format!(
                    "{} of {name} more is owned than was issued",
                    shown(asset, owned - supply)
                ),
            }
        })
        .collect();
    let what = match missing.as_slice() {
        [] => "somebody unknown was paid".to_owned(),
        missing => missing.join(", "),
    };
    let title = match named.as_slice() {
        [] => format!("money does not add up on Liquid: {what}"),
        named => format!(
            "money vanished on Liquid: {what}; it is in {}",
            named.join(", ")
        ),
    };
    let why = match learnt {
        Learnt::NotAll(why) => format!("{why}; {sheet}"),
        Learnt::All | Learnt::Down => sheet.to_string(),
    };
    StepFailure::refused(title).why(why)
}

/// What an input issues: of the asset, and of the token that allows to issue more.
fn issued(input: &elements::TxIn) -> Vec<(AssetId, Option<u64>)> {
    let parts = |amount: Amount| match amount {
        Amount::Null => Some(0),
        Amount::Explicit(parts) => Some(parts),
        Amount::Confidential(_) => None,
    };
    let (asset, token) = input.issuance_ids();
    let issuance = &input.asset_issuance;
    vec![
        (asset, parts(issuance.amount)),
        (token, parts(issuance.inflation_keys)),
    ]
}

fn is_op_true(script: &Script) -> bool {
    script.as_bytes() == [0x51]
}

fn bitcoin_outpoint(txid: elements::Txid, vout: u32) -> OutPoint {
    OutPoint::new(Txid::from_byte_array(txid.to_byte_array()), vout)
}

fn height_of(index: usize) -> u32 {
    u32::try_from(index).unwrap_or(u32::MAX)
}

fn decode(hex: &Value) -> Option<elements::Block> {
    let bytes = bitcoin::hex::FromHex::from_hex(hex.as_str()?).ok();
    let bytes: Vec<u8> = bytes?;
    elements::encode::deserialize(&bytes).ok()
}

fn unreadable(method: &str) -> StepFailure {
    StepFailure::refused(format!("elementsd's answer to {method} cannot be read"))
}
