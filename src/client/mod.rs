//! The buyer: checks everything, pays, claims, and survives a crash at any point.
//!
//! Every promise to itself is stored before it acts on it: the request before it is sent, "paying" before the payment, the
//! preimage before a claim shows it, a claim before it is broadcast. From the payment on the server is asked nothing any
//! more: the buyer's own store, its Lightning node and its own index of Liquid are enough.

mod buyer;
mod check;
mod claiming;
mod drive;
mod invoice;
mod keys;
#[cfg(test)]
mod lies;
pub mod loops;
mod policy;
mod record;
mod refusal;
mod rescue;
pub mod rest;
mod server;
mod source;
mod store;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bitcoin::Network;
use bitcoin::hex::FromHex as _;
use elements::{Address, AddressParams, AssetId};
use swaprig_harness::time::TimedOut;
use swaprig_units::{Msat, Units};
use uuid::Uuid;

use crate::lightning::{LightningError, LightningNode};
use crate::swap::{PolicyError, SpendError};

pub use buyer::Buyer;
pub use keys::{Seed, SeedError};
pub use policy::{Bid, Policy};
pub use record::{Claim, Funding, Offer, Prepay, Record, Request, Stage};
pub use refusal::{Reason, Refusal};
pub use rescue::{Rescue, RescueError};
pub use server::{Exchange, ServerError, Witness};
pub use source::SourceError;
pub use store::StoreError;

/// What a buyer needs.
#[derive(Debug)]
pub struct Config {
    /// The swap server: `http://HOST:PORT`.
    pub server: String,
    /// The buyer's own Lightning node.
    pub lightning: Arc<dyn LightningNode>,
    /// The buyer's own Electrum server of Liquid, `HOST:PORT`; not one of the swap server's.
    pub electrum: String,
    /// Where its store (`buyer.db`) and its rescue files are.
    pub dir: PathBuf,
    /// The chains.
    pub chains: Chains,
    /// Its rules.
    pub policy: Policy,
    /// Its keys.
    pub seed: Seed,
    /// Where claims go, confidential or not.
    pub destination: Address,
    /// Who sees its calls to the swap server.
    pub witness: Option<Witness>,
}

/// The chains of a swap, as the buyer knows them.
#[derive(Debug, Clone, Copy)]
pub struct Chains {
    /// How addresses of Liquid look.
    pub params: &'static AddressParams,
    /// L-BTC there.
    pub lbtc: AssetId,
    /// The Bitcoin that is paid over Lightning.
    pub bitcoin: Network,
}

/// What to buy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wish {
    /// Names it; a wish with a name that was used before is the one of before. `None`: a new one.
    pub request_id: Option<Uuid>,
    /// What.
    pub asset: AssetId,
    /// How much.
    pub amount: Units,
    /// For how much at most, routing apart.
    pub max_price: Msat,
}

/// Why a buyer did not do what it was asked to.
#[derive(Debug, thiserror::Error)]
pub enum BuyError {
    /// A rule of the buyer's own. Nothing was paid by this call.
    #[error("refused: {0}")]
    Refused(#[from] Refusal),
    /// The swap server.
    #[error(transparent)]
    Server(#[from] ServerError),
    /// The Lightning node.
    #[error(transparent)]
    Lightning(#[from] LightningError),
    /// The Electrum server.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The rescue file. Without one nothing is paid.
    #[error(transparent)]
    Rescue(#[from] RescueError),
    /// The claim cannot be signed.
    #[error("the claim: {0}")]
    Spend(#[from] SpendError),
    /// The buyer's rules let nothing be paid.
    #[error("the buyer's rules: {0}")]
    Policy(#[from] PolicyError),
    /// There is no such swap.
    #[error("this buyer has no swap {0}")]
    NoSuchSwap(Uuid),
    /// The name was used for another wish.
    #[error("the request {0} was made before, for something else")]
    OtherWish(Uuid),
    /// It is too early or too late for that.
    #[error("the swap is {}: {what}", stage.name())]
    NotNow {
        /// Where it is.
        stage: Stage,
        /// Why not.
        what: &'static str,
    },
    /// The time that the caller gave is over. The swap goes on when it is driven again.
    #[error("{0}")]
    TimedOut(#[from] TimedOut),
}

impl BuyError {
    /// Whether the same call may succeed later without anybody changing anything.
    pub fn is_transient(&self) -> bool {
        match self {
            BuyError::Refused(refusal) => refusal.reason.may_pass(),
            BuyError::Server(error) => error.is_transient(),
            BuyError::Lightning(error) => error.is_transient(),
            BuyError::Source(error) => error.is_transient(),
            BuyError::TimedOut(_) => true,
            BuyError::Store(_)
            | BuyError::Rescue(_)
            | BuyError::Spend(_)
            | BuyError::Policy(_)
            | BuyError::NoSuchSwap(_)
            | BuyError::OtherWish(_)
            | BuyError::NotNow { .. } => false,
        }
    }
}

/// The swaps that are stored in a buyer's directory, oldest first. Nothing else is needed to see them.
///
/// # Errors
/// When the store cannot be read.
pub fn stored(dir: &Path) -> Result<Vec<Record>, StoreError> {
    let path = dir.join(STORE);
    match path.exists() {
        true => store::Store::open(&path)?.all(),
        false => Ok(Vec::new()),
    }
}

/// The file of the store in the buyer's directory.
const STORE: &str = "buyer.db";

/// Bytes that this buyer wrote as hexadecimal digits itself.
fn from_hex(text: &str) -> Vec<u8> {
    Vec::<u8>::from_hex(text).unwrap_or_default()
}
