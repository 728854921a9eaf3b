//! The chains that swaps lock coins on, as [`SwapChain`]s: what they show, what is sent to them, and the wallet's coins there.
//!
//! [`Liquid`] is made of [`Index`], which asks and sends, [`Watcher`], which listens, and [`Wallet`], which owns; [`observe`]
//! tells what it shows of a swap.

pub mod bitcoin;
mod coins;
mod connection;
mod fan_out;
mod fee;
mod funding;
mod index;
mod keys;
mod ledger;
mod liquid;
mod observe;
mod recover;
mod reservations;
mod scan;
mod seed;
mod size;
mod swap_chain;
mod wallet;
mod watcher;

pub use coins::{Coin, Needs, Reselect, Selection, reselect, select};
pub use connection::BadUrl;
pub use fan_out::{FanOut, FanOutError, Split};
pub use fee::FeePolicy;
pub use index::{BroadcastError, HistoryItem, Index, IndexError, IndexSettings, Tip};
pub use liquid::Liquid;
pub use lwk_wollet::Network;
pub use observe::observe;
pub use seed::{Seed, SeedError};
pub use swap_chain::{
    AnyError, ChainEvent, Lock, Rates, Recovered, Shortage, Signed, Sums, SwapChain, Watch, Way,
    bid,
};
pub use wallet::{Synced, Wallet, WalletError, WalletSettings};
pub use watcher::{WatchEvent, Watcher};
