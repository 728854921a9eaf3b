//! What swaps ask of a chain that they lock coins on, whichever chain it is: what it shows of them, what spends their HTLCs, and
//! the coins of the server's wallet there.
//!
//! No lock is held across a question to the network. Which coins belong to which swap is kept in memory here, and for good by
//! the store.

use std::error::Error;
use std::fmt;

use bitcoin::secp256k1::SecretKey;
use bitcoin::{OutPoint, ScriptBuf, Txid};
use futures_util::future::BoxFuture;
use swaprig_units::{Height, Preimage, Sat, Units};

use super::index::{BroadcastError, IndexError};
use super::watcher::WatchEvent;
use crate::store::ReservedCoin;
use crate::swap::{Asset, ChainName, ChainState, FeeRate, FundingTx, Swap, SwapId, Tag, Terms};

/// An error that is only told.
pub type AnyError = Box<dyn Error + Send + Sync>;

/// A chain with the server's wallet on it.
pub trait SwapChain: fmt::Debug + Send + Sync {
    /// Which.
    fn name(&self) -> ChainName;

    /// The height of its last block.
    fn tip(&self) -> BoxFuture<'_, Result<Height, IndexError>>;

    /// Watches what is paid to, and spent from, these scripts from now on. When this returns, every later change will be told;
    /// look at each swap once after. Those that are watched already stay.
    fn watch(&self, scripts: Vec<Watch>) -> BoxFuture<'_, Result<(), IndexError>>;

    /// No longer watches a script.
    fn unwatch(&self, script: ScriptBuf) -> BoxFuture<'_, ()>;

    /// What the chain shows of a swap, looked up anew: nothing is remembered, so that a reorganisation changes the answer.
    /// `None` while there is nothing to look for.
    fn observe<'a>(
        &'a self,
        swap: &'a Swap,
    ) -> BoxFuture<'a, Result<Option<ChainState>, IndexError>>;

    /// Sends a transaction, consensus encoding in hexadecimal. Sending it again is harmless.
    fn broadcast<'a>(&'a self, raw: &'a str) -> BoxFuture<'a, Result<(), BroadcastError>>;

    /// The HTLC that the terms lead to.
    fn lock(&self, terms: &Terms) -> Lock;

    /// The transaction that spends what a swap has locked, all of it to `to`, signed.
    ///
    /// # Errors
    /// Why it cannot be made.
    fn spend(
        &self,
        swap: &Swap,
        way: Way,
        key: &SecretKey,
        to: &str,
        rate: FeeRate,
    ) -> Result<Signed, AnyError>;

    /// What a transaction pays at first, and at most; satoshi for 1,000 virtual bytes.
    fn rates(&self) -> Rates;

    /// An address of the wallet that was not given out before.
    ///
    /// # Errors
    /// When it cannot be noted that it is given out.
    fn fresh_address(&self) -> Result<String, AnyError>;

    /// Chooses coins for a swap, and takes them.
    ///
    /// # Errors
    /// When there are not enough.
    fn reserve(&self, swap: SwapId, terms: &Terms) -> Result<Vec<ReservedCoin>, Shortage>;

    /// The coins of a swap are taken, and known to the store only by their outpoints.
    fn take_stored(&self, swap: SwapId, outpoints: &[OutPoint]);

    /// The signed transaction that locks what the terms say, from the swap's coins. The same each time.
    ///
    /// # Errors
    /// When the coins are not there any more.
    fn fund(&self, swap: SwapId, terms: &Terms, index: u32) -> Result<FundingTx, Shortage>;

    /// The swap is over and its funding is in the chain: its coins are nobody's.
    fn spent(&self, swap: SwapId);

    /// Others may use the coins of the swap.
    fn release(&self, swap: SwapId);

    /// Brings the coins up to date with the chain.
    fn sync(&self) -> BoxFuture<'_, Result<(), AnyError>>;

    /// All fundings of swaps that the seed ever sent and that are still in the mempool or in a block, spent or not, the oldest
    /// first. [`SwapChain::sync`] first.
    fn recover(&self) -> Vec<Recovered>;

    /// Whether the wallet has a history.
    fn is_used(&self) -> bool;
}

/// A script to be watched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Watch {
    /// Which.
    pub script: ScriptBuf,
    /// Nothing was paid to it in a block of this height or before.
    pub since: Height,
}

/// What happens on a chain.
pub type ChainEvent = WatchEvent<ScriptBuf>;

/// A funding that was found again by the seed. With the keys of its index it gives the terms of the HTLC; whoever rebuilds them
/// checks that they lead to `script`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recovered {
    /// What the funding says of its swap.
    pub tag: Tag,
    /// What is locked.
    pub asset: Asset,
    /// How much of it.
    pub amount: Units,
    /// L-BTC beside it, for the claim.
    pub fee_value: Sat,
    /// The script of the HTLC's outputs.
    pub script: ScriptBuf,
    /// The funding.
    pub funding: FundingTx,
}

/// An HTLC as others see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lock {
    /// The script of its outputs.
    pub script: ScriptBuf,
    /// Its address.
    pub address: String,
    /// What a spend by script shows, in hexadecimal: the witness script, or the claim leaf and the timeout leaf.
    pub witness_script: String,
}

/// How the server spends an HTLC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// With the preimage.
    Claim(Preimage),
    /// At the timeout.
    Refund,
}

/// A transaction that is signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signed {
    /// Its id.
    pub txid: Txid,
    /// The whole, consensus encoding in hexadecimal.
    pub raw: String,
}

/// What transactions pay; satoshi for 1,000 virtual bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rates {
    /// At first.
    pub first: FeeRate,
    /// At most.
    pub most: FeeRate,
}

/// There are not enough coins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "{wanted} of {asset} are wanted and {available} are there in confirmed coins that nobody reserved ({elsewhere} more are \
     unconfirmed, confidential or reserved)"
)]
pub struct Shortage {
    /// Of what.
    pub asset: Asset,
    /// How much is needed at least, with the fee.
    pub wanted: Units,
    /// How much could be used now.
    pub available: Units,
    /// How much more there is that could be used later.
    pub elsewhere: Units,
}

/// What the server has of an asset, and in what state; in its smallest parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Sums {
    /// Usable now.
    pub free: u64,
    /// In how many coins.
    pub free_coins: u64,
    /// Taken by swaps.
    pub reserved: u64,
    /// Not usable yet.
    pub pending: u64,
}

/// The fee that a spend bids which was first possible at `since` and is in no block at `tip`: twice as much with every
/// `double_after` blocks in vain.
pub fn bid(rates: Rates, since: Height, tip: Height, double_after: u32) -> FeeRate {
    let late = tip.0.saturating_sub(since.0) / double_after.max(1);
    let factor = 1_u64.checked_shl(late.min(32)).unwrap_or(u64::MAX);
    FeeRate(rates.first.0.saturating_mul(factor).min(rates.most.0))
}
