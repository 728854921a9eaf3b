//! The client of loop out and loop in: checks everything, pays or locks, claims or takes back, and survives a crash at any point.
//!
//! Every promise to itself is stored before it acts on it: the request before it is sent, "paying" before the payment, "claiming" before
//! anything shows the preimage, a transaction before it is broadcast. What it believes of the chain comes from its own source, what it
//! believes of its payments from its own Lightning node; the server is believed nothing that cannot be checked.
//!
//! `check` judges replies, `plan` decides, `looper` drives; `agree`, `funding` and `spending` do what is decided.

mod agree;
mod check;
mod funding;
mod looper;
mod plan;
mod policy;
mod record;
mod rescue;
mod spending;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bitcoin::Address;
use swaprig_harness::time::TimedOut;
use swaprig_proto::loops::InternalKeyChoice;
use swaprig_units::{BlockDelta, Sat};
use uuid::Uuid;

use super::rest::RestError;
use super::store::Store;
use super::{Refusal, RescueError, Seed, StoreError};
use crate::chain::bitcoin::{BitcoinError, BitcoinSettings, BtcShortage, FundError};
use crate::chain::{BroadcastError, IndexError};
use crate::lightning::{LightningError, LightningNode};
use crate::swap::SpendError;
use crate::swap::musig::MusigError;
use crate::swap::taproot::{NotTheSpend, TaprootError};

pub use looper::Looper;
pub use policy::Policy;
pub use record::{Ask, Caps, Coin, Contract, Mode, Offer, Prepay, Record, Signed, Stage};
pub use rescue::LoopRescue;

/// What a client of loops needs.
#[derive(Debug)]
pub struct Config {
    /// The swap server's REST service: `http://HOST:PORT`.
    pub server: String,
    /// The client's own Lightning node.
    pub lightning: Arc<dyn LightningNode>,
    /// The client's own source of Bitcoin, not one of the swap server's, and where its wallet is.
    pub bitcoin: BitcoinSettings,
    /// Where its store (`loops.db`) and its rescue files are.
    pub dir: PathBuf,
    /// Its rules.
    pub policy: Policy,
    /// Its keys, those of the wallet among them.
    pub seed: Seed,
}

/// What is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wish {
    /// Names it; a wish with a name that was used before is the one of before. `None`: a new one.
    pub id: Option<Uuid>,
    /// Which kind of loop.
    pub mode: Mode,
    /// What the client receives: on chain, or over Lightning.
    pub amount: Sat,
    /// What it may cost.
    pub caps: Caps,
    /// The internal key that the output is to have.
    pub internal: InternalKeyChoice,
    /// Out: confirmations of the funding before the client relies on it.
    pub confirmations: u32,
    /// Out: how many blocks the server may wait with the funding, to share a transaction with others; `None`: it should not.
    pub publication: Option<BlockDelta>,
    /// Within how many blocks the client's own transactions are to be confirmed while there is time.
    pub conf_target: u32,
    /// Where coins go; `None`: to the client's own wallet.
    pub destination: Option<Address>,
    /// Whether the server is asked for its signature, which makes spends smaller.
    pub cooperative: bool,
    /// In: whether somebody else sends the coins.
    pub external: bool,
}

/// Why a client did not do what it was asked to.
#[derive(Debug, thiserror::Error)]
pub enum LoopError {
    /// A rule of the client's own. Nothing was paid or locked by this call.
    #[error("refused: {0}")]
    Refused(#[from] Refusal),
    /// The swap server.
    #[error(transparent)]
    Server(#[from] RestError),
    /// The Lightning node.
    #[error(transparent)]
    Lightning(#[from] LightningError),
    /// The source of Bitcoin.
    #[error("the source of Bitcoin: {0}")]
    Source(#[from] IndexError),
    /// A transaction was not sent.
    #[error(transparent)]
    Broadcast(#[from] BroadcastError),
    /// The wallet.
    #[error(transparent)]
    Wallet(#[from] BitcoinError),
    /// The wallet has too little.
    #[error("the wallet: {0}")]
    Shortage(#[from] BtcShortage),
    /// The funding cannot be signed.
    #[error("the funding: {0}")]
    Fund(#[from] FundError),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The rescue file. Without one nothing is paid or locked.
    #[error(transparent)]
    Rescue(#[from] RescueError),
    /// A claim or a refund cannot be signed.
    #[error("the claim or refund: {0}")]
    Spend(#[from] SpendError),
    /// The two do not come to a signature.
    #[error("the signature of both: {0}")]
    Musig(#[from] MusigError),
    /// What was to be signed together is not what was agreed.
    #[error("the co-operative spend: {0}")]
    NotTheSpend(#[from] NotTheSpend),
    /// What was stored makes no output.
    #[error("the stored contract: {0}")]
    Contract(#[from] TaprootError),
    /// There is no such loop.
    #[error("this client has no loop {0}")]
    NoSuchLoop(Uuid),
    /// The name was used for another wish.
    #[error("the request {0} was made before, for something else")]
    OtherWish(Uuid),
    /// An address that is not of this network.
    #[error("the destination is no address of {0}")]
    OtherNetwork(bitcoin::Network),
    /// It is too early or too late for that.
    #[error("the loop is {}: {what}", stage.name())]
    NotNow {
        /// Where it is.
        stage: Stage,
        /// Why not.
        what: &'static str,
    },
    /// The time that the caller gave is over. The loop goes on when it is driven again.
    #[error("{0}")]
    TimedOut(#[from] TimedOut),
}

impl LoopError {
    /// Whether the same call may succeed later without anybody changing anything.
    pub fn is_transient(&self) -> bool {
        match self {
            LoopError::Refused(refusal) => refusal.reason.may_pass(),
            LoopError::Server(error) => error.is_transient(),
            LoopError::Lightning(error) => error.is_transient(),
            LoopError::Source(error) => matches!(error, IndexError::Unreachable(_)),
            LoopError::Broadcast(error) => matches!(error, BroadcastError::Unreachable(_)),
            LoopError::TimedOut(_) => true,
            LoopError::Wallet(_)
            | LoopError::Shortage(_)
            | LoopError::Fund(_)
            | LoopError::Store(_)
            | LoopError::Rescue(_)
            | LoopError::Spend(_)
            | LoopError::Musig(_)
            | LoopError::NotTheSpend(_)
            | LoopError::Contract(_)
            | LoopError::NoSuchLoop(_)
            | LoopError::OtherWish(_)
            | LoopError::OtherNetwork(_)
            | LoopError::NotNow { .. } => false,
        }
    }
}

/// The loops that are stored in a client's directory, oldest first. Nothing else is needed to see them.
///
/// # Errors
/// When the store cannot be read.
pub fn stored(dir: &Path) -> Result<Vec<Record>, StoreError> {
    let path = dir.join(STORE);
    match path.exists() {
        true => Store::open(&path)?.all(),
        false => Ok(Vec::new()),
    }
}

/// The file of the store in the client's directory.
const STORE: &str = "loops.db";
