//! The rescue file of a loop: with it alone its coins can be claimed, or taken back, when the store is lost.

use std::path::{Path, PathBuf};

use bitcoin::secp256k1::{PublicKey, SecretKey};
use bitcoin::{Address, Transaction, Txid};
use elements::secp256k1_zkp::rand::rngs::OsRng;
use serde::{Deserialize, Serialize};
use swaprig_units::{Height, PaymentHash, Preimage};
use uuid::Uuid;

use super::super::RescueError;
use super::super::rescue::{path_of, read_file, write_file};
use super::policy::MIN_RELAY;
use super::record::{Coin, Record};
use super::{LoopError, Looper};
use crate::chain::bitcoin::BitcoinChain;
use crate::client::policy::affordable;
use crate::swap::taproot::{Locked, Taproot, claim, refund};
use crate::swap::{Depth, FeeRate, Htlc, InternalKey};
use swaprig_proto::loops::Direction;

/// The form of the file.
const VERSION: u32 = 1;

/// All that a claim or a refund needs. Whoever has it has the coins: the file is its owner's alone.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LoopRescue {
    version: u32,
    /// The client's name of the loop.
    pub loop_id: Uuid,
    /// Which way the money goes: a loop out is claimed, a loop in is taken back.
    pub direction: Direction,
    key: SecretKey,
    /// The hash that the preimage has.
    pub payment_hash: PaymentHash,
    /// Out: the preimage. Where it was the client's and not shown yet, showing it pays the server.
    pub preimage: Option<Preimage>,
    claimer: PublicKey,
    refunder: PublicKey,
    /// From which height on it can be taken back.
    pub timeout: Height,
    internal: InternalKey,
    /// No block below this height has to do with it.
    pub since: Height,
    /// The output that is claimed, where it was chosen.
    pub coin: Option<Coin>,
    /// Where the coins are locked, on every network.
    pub script_pubkey: String,
    /// Where they go.
    pub destination: String,
}

impl LoopRescue {
    /// Reads it.
    ///
    /// # Errors
    /// When it is none.
    pub fn read(path: &Path) -> Result<Self, RescueError> {
        read_file(path, VERSION, |rescue: &LoopRescue| rescue.version)
    }

    /// The output.
    ///
    /// # Errors
    /// When the file was changed so that there is none.
    pub fn taproot(&self) -> Result<Taproot, LoopError> {
        let htlc = Htlc {
            payment_hash: self.payment_hash,
            claimer: self.claimer,
            refunder: self.refunder,
            timeout: self.timeout,
        };
        Ok(Taproot::new(htlc, self.internal)?)
    }

    /// The claim, or the refund, of what is locked in `coin`.
    ///
    /// # Errors
    /// Without the preimage, and when the fee is more than what is locked.
    pub fn sign(
        &self,
        coin: Coin,
        destination: &Address,
        rate: FeeRate,
    ) -> Result<Transaction, LoopError> {
        let locked = Locked {
            taproot: self.taproot()?,
            coins: vec![(coin.outpoint, coin.value)],
        };
        let to = destination.script_pubkey();
        let signed = match self.direction {
            Direction::Out => {
                let preimage = self.preimage;
                let preimage = preimage.ok_or(RescueError::NoPreimage(self.payment_hash))?;
                affordable(rate, MIN_RELAY, |rate| {
                    claim(&locked, &preimage, &self.key, &to, rate, &mut OsRng)
                })
            }
            Direction::In => affordable(rate, MIN_RELAY, |rate| {
                refund(&locked, &self.key, &to, rate, &mut OsRng)
            }),
        };
        Ok(signed?)
    }

    /// Finds what is locked and unspent, signs and sends; each transaction that was sent. Repeat it, with a higher rate, until they are
    /// confirmed.
    ///
    /// # Errors
    /// As [`LoopRescue::sign`], and when the network does not take it.
    pub async fn spend(
        &self,
        destination: &Address,
        rate: FeeRate,
        chain: &BitcoinChain,
    ) -> Result<Vec<Txid>, LoopError> {
        let script = self.taproot()?.script_pubkey();
        chain.watch([(script.clone(), self.since)]).await?;
        let mut sent = Vec::new();
        for found in chain.outputs(&script).await? {
            let coin = Coin {
                outpoint: found.outpoint,
                value: found.value,
            };
            let is_wanted = self.coin.is_none_or(|wanted| wanted == coin);
            let is_spent = matches!(found.spent_by, Some((_, Depth::Block(_))));
            if is_wanted && !is_spent {
                let transaction = self.sign(coin, destination, rate)?;
                sent.push(chain.broadcast(&transaction).await?);
            }
        }
        Ok(sent)
    }
}

impl std::fmt::Debug for LoopRescue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "LoopRescue({})", self.loop_id)
    }
}

impl Looper {
    /// Where the rescue file of a loop is.
    pub fn rescue_path(&self, id: Uuid) -> PathBuf {
        path_of(&self.config.dir, id)
    }

    /// Writes the rescue file of a loop whose contract is known.
    pub(super) fn write_rescue(&self, record: &Record) -> Result<(), LoopError> {
        let (Some(taproot), Some(contract)) = (record.taproot(), record.contract) else {
            return Ok(());
        };
        let taproot = taproot?;
        let htlc = *taproot.htlc();
        let rescue = LoopRescue {
            version: VERSION,
            loop_id: record.ask.id,
            direction: record.ask.mode.direction(),
            key: self.config.seed.loop_key(record.key_index),
            payment_hash: htlc.payment_hash,
            preimage: record.preimage,
            claimer: htlc.claimer,
            refunder: htlc.refunder,
            timeout: htlc.timeout,
            internal: contract.internal,
            since: record.ask.since,
            coin: record.coin,
            script_pubkey: taproot.script_pubkey().to_hex_string(),
            destination: record.ask.destination.clone(),
        };
        Ok(write_file(&self.rescue_path(record.ask.id), &rescue)?)
    }
}
