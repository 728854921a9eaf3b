//! The tag that every funding transaction carries, so that seed and chain are enough to find every open swap again.
//!
//! An OP_RETURN output of 0 with one push. On Liquid of 45 bytes: `swr1`, the swap's index (u32, little endian), the timeout (u32,
//! little endian), the claimer's key (33 bytes). On Bitcoin of 77: `swr2`, the same, and the payment hash (32 bytes), which need
//! not be the server's. Asset and amounts are those of the outputs; all else follows from the seed and the index. Anyone can write such an output: a tag is a hint, and only an output with the script that follows
//! from it proves it.

use bitcoin::secp256k1::PublicKey;
use elements::{AssetId, Script, TxOut};
use swaprig_units::{Height, PaymentHash};

use super::htlc::explicit;
use super::state::{ChainName, Terms};

const MAGIC: &[u8; 4] = b"swr1";
const SIZE: usize = 4 + 4 + 4 + 33;
const MAGIC_WITH_HASH: &[u8; 4] = b"swr2";
const SIZE_WITH_HASH: usize = SIZE + 32;

/// What a funding says about its swap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tag {
    /// From which the swap's keys are derived.
    pub index: u32,
    /// The height of the timeout.
    pub timeout: Height,
    /// The client's key.
    pub claimer: PublicKey,
    /// The payment hash, where it does not follow from the index; on Bitcoin always.
    pub payment_hash: Option<PaymentHash>,
}

/// The tag of a swap.
pub fn tag_of(index: u32, terms: &Terms) -> Tag {
    Tag {
        index,
        timeout: terms.timeout,
        claimer: terms.claimer,
        payment_hash: match terms.chain {
            ChainName::Liquid => None,
            ChainName::Bitcoin => Some(terms.payment_hash),
        },
    }
}

/// The script of the tag of a swap on Liquid.
pub fn tag(index: u32, terms: &Terms) -> Script {
    Script::new_op_return(&tag_of(index, terms).bytes())
}

impl Tag {
    fn bytes(&self) -> Vec<u8> {
        let mut data = Vec::with_capacity(SIZE_WITH_HASH);
        data.extend_from_slice(match self.payment_hash {
            None => MAGIC,
            Some(_) => MAGIC_WITH_HASH,
        });
        data.extend_from_slice(&self.index.to_le_bytes());
        data.extend_from_slice(&self.timeout.0.to_le_bytes());
        data.extend_from_slice(&self.claimer.serialize());
        data.extend(self.payment_hash.iter().flat_map(|hash| hash.0));
        data
    }

    /// The output with the tag on Bitcoin: 0 satoshi.
    pub fn bitcoin_output(&self) -> bitcoin::TxOut {
        bitcoin::TxOut {
            value: bitcoin::Amount::ZERO,
            script_pubkey: op_return(&self.bytes()),
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
    // OP_RETURN, the length of the push, or OP_PUSHDATA1 and it, the push.
    let data = match script {
        [0x6a, 0x4c, length, data @ ..] if *length > 75 && usize::from(*length) == data.len() => {
            data
        }
        [0x6a, length, data @ ..] if *length <= 75 && usize::from(*length) == data.len() => data,
        _ => return None,
    };
    let (magic, rest) = data.split_first_chunk::<4>()?;
    let (index, rest) = rest.split_first_chunk::<4>()?;
    let (timeout, rest) = rest.split_first_chunk::<4>()?;
    let (claimer, rest) = rest.split_first_chunk::<33>()?;
    let payment_hash = match (magic, rest) {
        (MAGIC, []) => None,
        (MAGIC_WITH_HASH, hash) => Some(PaymentHash(hash.try_into().ok()?)),
        _ => return None,
    };
    Some(Tag {
        index: u32::from_le_bytes(*index),
        timeout: Height(u32::from_le_bytes(*timeout)),
        claimer: PublicKey::from_slice(claimer).ok()?,
        payment_hash,
    })
}

fn op_return(data: &[u8]) -> bitcoin::ScriptBuf {
    let mut push = bitcoin::script::PushBytesBuf::new();
    push.extend_from_slice(data).expect("80 bytes at most");
    bitcoin::ScriptBuf::new_op_return(push)
}
