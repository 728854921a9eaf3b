//! Liquid: the wallet's coins, the index, and what is watched there.
//!
//! [`Index`] asks and sends, [`Watcher`] listens, [`Wallet`] owns; [`observe`] tells what the chain shows of a swap.

pub mod bitcoin;
mod coins;
mod connection;
mod fan_out;
mod fee;
mod funding;
mod index;
mod keys;
mod ledger;
mod observe;
mod recover;
mod scan;
mod seed;
mod size;
mod wallet;
mod watcher;

#[cfg(test)]
pub(crate) use coins::tests::coin as test_coin;
pub use coins::{Coin, Needs, Reselect, Selection, Shortage, reselect, select};
pub use connection::BadUrl;
pub use fan_out::{FanOut, FanOutError, Split};
pub use fee::FeePolicy;
pub use index::{BroadcastError, HistoryItem, Index, IndexError, IndexSettings, Tip};
pub use lwk_wollet::Network;
pub use observe::observe;
pub use recover::Recovered;
pub use seed::{Seed, SeedError};
pub use wallet::{Synced, Wallet, WalletError, WalletSettings};
pub use watcher::{WatchEvent, Watcher};
