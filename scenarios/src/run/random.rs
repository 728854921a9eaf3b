//! Everything random in a run, from one seed: the same seed gives the same scenario the same values. Not for secrets
//! that anybody could want: what it makes is worth regtest coins.

use std::sync::atomic::{AtomicU64, Ordering};

/// The step of SplitMix64, and the constants of its mixing function (Steele, Lea and Flood, 2014).
const GAMMA: u64 = 0x9e37_79b9_7f4a_7c15;

/// A sequence of random values. Steps that run side by side share one, so their order decides who gets which value.
#[derive(Debug)]
pub struct Random {
    state: AtomicU64,
}

impl Random {
    /// The sequence of `stream`, such as a scenario's id, under `seed`.
    pub fn new(seed: u64, stream: &str) -> Self {
        Random {
            state: AtomicU64::new(mix(seed.wrapping_add(GAMMA)) ^ stable_hash(stream)),
        }
    }

    /// A seed that nobody has chosen, short enough to be typed again.
    ///
    /// # Panics
    /// When the operating system gives no random bytes.
    pub fn any_seed() -> u64 {
        let mut bytes = [0; 4];
        getrandom::fill(&mut bytes).expect("the operating system gives random bytes");
        u32::from_le_bytes(bytes).into()
    }

    /// The next value.
    pub fn next(&self) -> u64 {
        let before = self.state.fetch_add(GAMMA, Ordering::Relaxed);
        mix(before.wrapping_add(GAMMA))
    }

    /// The next 32 bytes, for a preimage or a key.
    pub fn bytes(&self) -> [u8; 32] {
        let mut bytes = [0; 32];
        for part in bytes.chunks_mut(8) {
            part.copy_from_slice(&self.next().to_le_bytes());
        }
        bytes
    }

    /// Puts `items` into an order that the sequence decides (Fisher and Yates).
    pub fn shuffle<T>(&self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            // The bias of the remainder is below 2^-50 for any number of scenarios.
            let other = self.next() % (last as u64 + 1);
            items.swap(last, usize::try_from(other).expect("below a length"));
        }
    }
}

/// A hash of `text` that is the same on every machine and in every version: FNV-1a, then mixed so that its last bits
/// depend on all of it.
pub fn stable_hash(text: &str) -> u64 {
    let fnv = text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    mix(fnv)
}

fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_decides_everything() {
        let order = |seed| {
            let mut items: Vec<u32> = (0..20).collect();
            Random::new(seed, "order").shuffle(&mut items);
            items
        };
        assert_eq!(order(7), order(7));
        assert_ne!(order(7), order(8));
        let mut sorted = order(7);
        sorted.sort_unstable();
        assert_eq!(sorted, (0..20).collect::<Vec<_>>());
        let (one, two) = (Random::new(7, "a"), Random::new(7, "b"));
        assert_ne!(one.bytes(), two.bytes());
        assert_ne!(one.bytes(), Random::new(7, "a").bytes());
    }

    #[test]
    fn the_hash_never_changes() {
        // Shards of a run on several machines, of several versions, must fit together.
        let hashes = ["", "lightning/pay-invoice", "a#b"].map(stable_hash);
        assert_eq!(
            hashes,
            [
                0xf52a_15e9_a9b5_e89b,
                0x7e36_612f_1a75_ea90,
                0xa842_a38a_7538_bec8
            ]
        );
    }
}
