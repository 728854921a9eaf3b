//! The tag that every funding transaction carries, so that seed and chain are enough to find every open swap again.
//!
//! An OP_RETURN output of 0 L-BTC with one push of 45 bytes: `swr1`, the swap's index (u32, little endian), the timeout (u32,
//! little endian), the claimer's key (33 bytes). Asset and amounts are those of the outputs; hash and refund key follow from
//! the seed and the index. Anyone can write such an output: a tag is a hint, and only an output with the script that follows
//! from it proves it.

use bitcoin::secp256k1::PublicKey;
use elements::{AssetId, Script, TxOut};
use swaprig_units::Height;

use super::htlc::explicit;
use super::state::Terms;

const MAGIC: &[u8; 4] = b"swr1";
const SIZE: usize = 4 + 4 + 4 + 33;

/// What a funding says about its swap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tag {
    /// From which the swap's keys are derived.
    pub index: u32,
    /// The Liquid height of the timeout.
    pub timeout: Height,
    /// The buyer's key.
    pub claimer: PublicKey,
}

/// The script of the tag of a swap.
pub fn tag(index: u32, terms: &Terms) -> Script {
    let tag = Tag {
        index,
        timeout: terms.timeout,
        claimer: terms.claimer,
    };
    Script::new_op_return(&tag.bytes())
}

impl Tag {
    fn bytes(&self) -> [u8; SIZE] {
        let mut data = [0; SIZE];
        data[..4].copy_from_slice(MAGIC);
        data[4..8].copy_from_slice(&self.index.to_le_bytes());
        data[8..12].copy_from_slice(&self.timeout.0.to_le_bytes());
        data[12..].copy_from_slice(&self.claimer.serialize());
        data
    }

    /// The output with the tag on Bitcoin: 0 satoshi.
    pub fn bitcoin_output(&self) -> bitcoin::TxOut {
        bitcoin::TxOut {
            value: bitcoin::Amount::ZERO,
            script_pubkey: bitcoin::ScriptBuf::new_op_return(self.bytes()),
        }
    }

    /// The tag in an output's script, of Bitcoin or of Liquid; `None` for every other script.
    pub fn read(script: &[u8]) -> Option<Tag> {
        read_bytes(script)
    }
}

/// The output with the tag.
pub fn tag_output(index: u32, terms: &Terms, lbtc: AssetId) -> TxOut {
    explicit(lbtc, 0, tag(index, terms))
}

/// Reads [`tag`] back; `None` for every other script.
pub fn read_tag(script: &Script) -> Option<Tag> {
    Tag::read(script.as_bytes())
}

fn read_bytes(script: &[u8]) -> Option<Tag> {
    // OP_RETURN, the length of the push, the push.
    let [0x6a, length, data @ ..] = script else {
        return None;
    };
    if usize::from(*length) != SIZE || data.len() != SIZE {
        return None;
    }
    let (magic, rest) = data.split_first_chunk::<4>()?;
    let (index, rest) = rest.split_first_chunk::<4>()?;
    let (timeout, claimer) = rest.split_first_chunk::<4>()?;
    Some(Tag {
        index: u32::from_le_bytes(*index),
        timeout: Height(u32::from_le_bytes(*timeout)),
        claimer: PublicKey::from_slice(claimer)
            .ok()
            .filter(|_| magic == MAGIC)?,
    })
}
