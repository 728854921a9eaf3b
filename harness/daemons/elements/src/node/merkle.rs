//! Merkle roots of blocks: of the transactions, as Bitcoin's, and of their witnesses, as only Elements has it.

use elements::encode::{Encodable, serialize};
use elements::hashes::sha256d;
use elements::{Transaction, TxInWitness, TxOutWitness, fast_merkle_root};

/// Bitcoin's Merkle root, and whether the list repeats itself so that another has the same root (CVE-2012-2459).
/// All zeros for no leaves.
pub(crate) fn merkle_root(leaves: &[[u8; 32]]) -> ([u8; 32], bool) {
    let mut level = leaves.to_vec();
    let mut mutated = false;
    while level.len() > 1 {
        mutated |= level.chunks_exact(2).any(|pair| pair[0] == pair[1]);
        if level.len() % 2 == 1 {
            level.extend(level.last().copied());
        }
        level = level
            .chunks_exact(2)
            .map(|pair| sha256d::Hash::hash(&pair.concat()).to_byte_array())
            .collect();
    }
    (level.first().copied().unwrap_or([0; 32]), mutated)
}

/// The root over the witnesses of a block's transactions, input and output witnesses alike. The coinbase's input counts
/// as having none.
pub(crate) fn witness_merkle_root<'a>(
    transactions: impl Iterator<Item = &'a Transaction>,
) -> [u8; 32] {
    let leaves: Vec<_> = transactions.map(witness_hash).collect();
    root(&leaves)
}

/// What the coinbase's commitment output commits to, with the reserved value of its witness.
pub(crate) fn witness_commitment(root: [u8; 32], reserved: &[u8]) -> [u8; 32] {
    sha256d::Hash::hash(&[&root, reserved].concat()).to_byte_array()
}

fn witness_hash(tx: &Transaction) -> [u8; 32] {
    let none = TxInWitness::default();
    let inputs: Vec<_> = tx
        .input
        .iter()
        .map(|input| {
            input_hash(if input.previous_output.is_null() {
                &none
            } else {
                &input.witness
            })
        })
        .collect();
    let outputs: Vec<_> = tx
        .output
        .iter()
        .map(|output| output_hash(&output.witness))
        .collect();
    root(&[root(&inputs), root(&outputs)])
}

fn input_hash(witness: &TxInWitness) -> [u8; 32] {
    root(&[
        hash(&witness.amount_rangeproof),
        hash(&witness.inflation_keys_rangeproof),
        hash(&witness.script_witness),
        hash(&witness.pegin_witness),
    ])
}

fn output_hash(witness: &TxOutWitness) -> [u8; 32] {
    root(&[hash(&witness.surjection_proof), hash(&witness.rangeproof)])
}

fn hash<T: Encodable>(value: &T) -> [u8; 32] {
    sha256d::Hash::hash(&serialize(value)).to_byte_array()
}

fn root(leaves: &[[u8; 32]]) -> [u8; 32] {
    fast_merkle_root(leaves).to_parts().0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repeated_tail_is_noticed() {
        let [a, b, c] = [[1; 32], [2; 32], [3; 32]];
        let odd = merkle_root(&[a, b, c]);
        let repeated = merkle_root(&[a, b, c, c]);
        assert_eq!(odd.0, repeated.0);
        assert_eq!((odd.1, repeated.1), (false, true));
        assert_eq!(merkle_root(&[a]), (a, false));
        assert_eq!(merkle_root(&[]), ([0; 32], false));
    }
}
