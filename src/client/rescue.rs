//! The rescue file of a swap: with it alone, and the preimage if it came too late to be in it, the coins can be claimed.

use std::path::{Path, PathBuf};

use bitcoin::secp256k1::{PublicKey, SecretKey};
use elements::secp256k1_zkp::rand::rngs::OsRng;
use elements::{Address, AssetId, OutPoint, Txid};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use swaprig_harness::time::Deadline;
use swaprig_units::{Height, PaymentHash, Preimage};
use uuid::Uuid;

use super::keys::write_private;
use super::source::Source;
use super::{BuyError, SourceError};
use crate::swap::{Coin, FeeRate, Htlc, Locked, SwapId};

/// The form of the file.
const VERSION: u32 = 1;

/// All that a claim needs. Whoever has it and the preimage has the coins: the file is its owner's alone.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rescue {
    version: u32,
    /// The buyer's name of the swap.
    pub request_id: Uuid,
    /// The server's.
    pub swap_id: SwapId,
    claim_key: SecretKey,
    /// The hash that the preimage must have.
    pub payment_hash: PaymentHash,
    /// The preimage, once it is known; the buyer's Lightning node has it, too.
    pub preimage: Option<Preimage>,
    refunder: PublicKey,
    /// The height from which on the server can take the coins back, too.
    pub timeout: Height,
    lbtc: AssetId,
    coins: Vec<Locking>,
    /// The transaction that locks them, consensus encoding in hexadecimal.
    pub funding: String,
    /// Where the coins go.
    pub destination: String,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Locking {
    txid: Txid,
    vout: u32,
    asset: AssetId,
    value: u64,
}

/// Why a rescue file is of no use.
#[derive(Debug, thiserror::Error)]
pub enum RescueError {
    /// It cannot be read or written.
    #[error("the rescue file {}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// It is no rescue file of this version.
    #[error("{} is no rescue file: {why}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// The preimage is not in it.
    #[error(
        "the preimage is not in the file: the payment had not ended when it was written. Ask the Lightning node for that of {0}"
    )]
    NoPreimage(PaymentHash),
}

impl Rescue {
    pub(crate) fn new(
        (request_id, swap_id): (Uuid, SwapId),
        claim_key: SecretKey,
        preimage: Option<Preimage>,
        locked: &Locked,
        funding: String,
        destination: &Address,
    ) -> Self {
        let locking = |coin: &Coin| Locking {
            txid: coin.outpoint.txid,
            vout: coin.outpoint.vout,
            asset: coin.asset,
            value: coin.value,
        };
        Rescue {
            version: VERSION,
            request_id,
            swap_id,
            claim_key,
            payment_hash: locked.htlc.payment_hash,
            preimage,
            refunder: locked.htlc.refunder,
            timeout: locked.htlc.timeout,
            lbtc: locked.lbtc,
            coins: locked.coins.iter().map(locking).collect(),
            funding,
            destination: destination.to_string(),
        }
    }

    /// Where the file of a swap is, below the buyer's directory.
    pub(crate) fn path(dir: &Path, request_id: Uuid) -> PathBuf {
        path_of(dir, request_id)
    }

    /// Writes it, with mode 0600, wholly or not at all.
    ///
    /// # Errors
    /// When the disk does not take it.
    pub fn write(&self, path: &Path) -> Result<(), RescueError> {
        write_file(path, self)
    }

    /// Reads it.
    ///
    /// # Errors
    /// When it is none.
    pub fn read(path: &Path) -> Result<Self, RescueError> {
        read_file(path, VERSION, |rescue: &Rescue| rescue.version)
    }

    /// The same with a preimage that was found elsewhere.
    #[must_use]
    pub fn with_preimage(mut self, preimage: Preimage) -> Self {
        self.preimage = Some(preimage);
        self
    }

    fn locked(&self) -> Locked {
        let coin = |locking: &Locking| Coin {
            outpoint: OutPoint::new(locking.txid, locking.vout),
            asset: locking.asset,
            value: locking.value,
        };
        Locked {
            htlc: Htlc {
                payment_hash: self.payment_hash,
                claimer: self.claim_key.public_key(bitcoin::secp256k1::SECP256K1),
                refunder: self.refunder,
                timeout: self.timeout,
            },
            lbtc: self.lbtc,
            coins: self.coins.iter().map(coin).collect(),
        }
    }

    /// Signs a claim to `destination` and gives it to the network through the Electrum server at `electrum`. Repeat it, with a
    /// higher rate, until it is confirmed.
    ///
    /// # Errors
    /// Without the preimage, when the fee is more than what is locked, or when the network does not take it.
    pub async fn claim(
        &self,
        destination: &Address,
        rate: FeeRate,
        electrum: &str,
        deadline: Deadline,
    ) -> Result<Txid, BuyError> {
        let preimage = self
            .preimage
            .ok_or(RescueError::NoPreimage(self.payment_hash))?;
        let locked = self.locked();
        let claim = crate::swap::claim(
            &locked,
            &preimage,
            &self.claim_key,
            destination,
            rate,
            &mut OsRng,
        )?;
        let source = Source::new(electrum);
        let script = locked.htlc.script_pubkey();
        let view = source.view(&script, deadline).await?;
        if view.find(locked.coins[0].outpoint.txid).is_none() {
            // A reorganisation may have dropped it; that it is there already is no failure.
            let raw = super::from_hex(&self.funding);
            let _: Result<(), SourceError> = source.broadcast(&raw, deadline).await;
        }
        let raw = elements::encode::serialize(&claim);
        source.broadcast(&raw, deadline).await?;
        Ok(claim.txid())
    }
}

/// Where the rescue file of a swap is, below its client's directory.
pub(super) fn path_of(dir: &Path, id: Uuid) -> PathBuf {
    dir.join("rescue").join(format!("{id}.json"))
}

/// Writes a rescue file, with mode 0600, wholly or not at all.
pub(super) fn write_file(path: &Path, rescue: &impl Serialize) -> Result<(), RescueError> {
    let failed = |source| RescueError::File {
        path: path.to_owned(),
        source,
    };
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent).map_err(failed)?;
    }
    let text = serde_json::to_string_pretty(rescue).map_err(|e| failed(e.into()))?;
    write_private(path, text.as_bytes()).map_err(failed)
}

/// Reads a rescue file of a version.
pub(super) fn read_file<T: DeserializeOwned>(
    path: &Path,
    version: u32,
    version_of: impl Fn(&T) -> u32,
) -> Result<T, RescueError> {
    let malformed = |why: String| RescueError::Malformed {
        path: path.to_owned(),
        why,
    };
    let text = std::fs::read_to_string(path).map_err(|source| RescueError::File {
        path: path.to_owned(),
        source,
    })?;
    let rescue = serde_json::from_str(&text).map_err(|error| malformed(error.to_string()))?;
    match version_of(&rescue) {
        same if same == version => Ok(rescue),
        other => Err(malformed(format!("it is of version {other}"))),
    }
}

impl std::fmt::Debug for Rescue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Rescue({})", self.request_id)
    }
}
