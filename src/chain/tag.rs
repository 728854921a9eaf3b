//! What a funding says of itself in an `OP_RETURN` output, so that it is found again with the seed alone.

use bitcoin::secp256k1::PublicKey;
use elements::Script;
use elements::opcodes::all::OP_RETURN;
use elements::script::{Builder, Instruction};
use swaprig_units::Height;

/// The first bytes of every tag: `SWR` and the version.
const MARK: [u8; 4] = *b"SWR\x01";
/// Bytes of a tag: mark, swap index, timeout, the claimer's key.
pub(super) const LENGTH: usize = 4 + 4 + 4 + 33;

/// What cannot be derived from the seed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Tag {
    /// From which the swap's keys and preimage are derived.
    pub(super) index: u32,
    /// The HTLC's timeout.
    pub(super) timeout: Height,
    /// The buyer's key.
    pub(super) claimer: PublicKey,
}

impl Tag {
    /// The script of the output that holds it.
    pub(super) fn script(&self) -> Script {
        let mut data = [0; LENGTH];
        data[..4].copy_from_slice(&MARK);
        data[4..8].copy_from_slice(&self.index.to_le_bytes());
        data[8..12].copy_from_slice(&self.timeout.0.to_le_bytes());
        data[12..].copy_from_slice(&self.claimer.serialize());
        Builder::new()
            .push_opcode(OP_RETURN)
            .push_slice(&data)
            .into_script()
    }

    /// Reads a tag back; `None` for any other script.
    pub(super) fn parse(script: &Script) -> Option<Tag> {
        let mut parts = script.instructions();
        let (Some(Ok(Instruction::Op(OP_RETURN))), Some(Ok(Instruction::PushBytes(data))), None) =
            (parts.next(), parts.next(), parts.next())
        else {
            return None;
        };
        if data.len() != LENGTH || data[..4] != MARK {
            return None;
        }
        let number =
            |at: usize| u32::from_le_bytes(data[at..at + 4].try_into().expect("four bytes"));
        Some(Tag {
            index: number(4),
            timeout: Height(number(8)),
            claimer: PublicKey::from_slice(&data[12..]).ok()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bitcoin::secp256k1::{Secp256k1, SecretKey};
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_tag_is_read_back(index: u32, timeout: u32, secret in 1..=u8::MAX) {
            let secret = SecretKey::from_slice(&[secret; 32]).unwrap();
            let tag = Tag { index, timeout: Height(timeout), claimer: secret.public_key(&Secp256k1::new()) };
            prop_assert_eq!(Tag::parse(&tag.script()), Some(tag));
        }

        #[test]
        fn what_is_no_tag_is_none(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            prop_assert_eq!(Tag::parse(&Script::from(bytes)), None);
        }
    }
}
