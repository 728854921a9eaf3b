//! Merkle branches as Electrum clients check them: of a transaction in its block, of a header below a checkpoint.

use bitcoin::hashes::{Hash as _, sha256d};

/// The branch of the leaf at `at`, deepest pairing first, and the root. `None` when there is no such leaf.
///
/// The last hash of a row of odd length is paired with itself.
pub(crate) fn branch(leaves: Vec<[u8; 32]>, mut at: usize) -> Option<(Vec<[u8; 32]>, [u8; 32])> {
    if at >= leaves.len() {
        return None;
    }
    let mut branch = Vec::new();
    let mut row = leaves;
    while row.len() > 1 {
        if row.len() % 2 == 1 {
            row.push(*row.last()?);
        }
        branch.push(*row.get(at ^ 1)?);
        at /= 2;
        row = row.chunks_exact(2).map(pair).collect();
    }
    Some((branch, *row.first()?))
}

fn pair(two: &[[u8; 32]]) -> [u8; 32] {
    sha256d::Hash::hash(two.as_flattened()).to_byte_array()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_single_leaf_is_its_own_root() {
        assert_eq!(branch(vec![[7; 32]], 0), Some((vec![], [7; 32])));
        assert_eq!(branch(vec![[7; 32]], 1), None);
        assert_eq!(branch(vec![], 0), None);
    }

    /// The example of the protocol's documentation: Bitcoin's header 5 under a checkpoint at 8.
    #[test]
    fn headers_of_the_protocol_documentation() {
        let hashes = [
            "000000000019d6689c085ae165831e934ff763ae46a2a6c172b3f1b60a8ce26f",
            "00000000839a8e6886ab5951d76f411475428afc90947ee320161bbf18eb6048",
            "000000006a625f06636b8bb6ac7b960a8d03705d1ace08b1a19da3fdcc99ddbd",
            "0000000082b5015589a3fdf2d4baff403e6f0be035a5d9742c1cae6295464449",
            "000000004ebadb55ee9096c9a2f8880e09da59c0d68b1c228da88e48844a1485",
            "000000009b7262315dbf071787ad3656097b892abffd1f95a1a022f896f533fc",
            "000000003031a0e73735690c5a1ff2a4be82553b2a12b776fbd3a215dc8f778d",
            "0000000071966c2b1d065fd446b1e485b2c9d9594acd2007ccbd5441cfc89444",
            "00000000408c48f847aa786c2268fc3e6ec2af68e8468a34a28c61b7f1de0dc6",
        ];
        let leaves = hashes
            .iter()
            .map(|hash| hash.parse::<bitcoin::BlockHash>().unwrap().to_byte_array())
            .collect();
        let (branch, root) = branch(leaves, 5).unwrap();
        let shown = |bytes| bitcoin::BlockHash::from_byte_array(bytes).to_string();
        assert_eq!(
            shown(root),
            "e347b1c43fd9b5415bf0d92708db8284b78daf4d0e24f9c3405f45feb85e25db"
        );
        assert_eq!(
            branch.into_iter().map(shown).collect::<Vec<_>>(),
            [
                "000000004ebadb55ee9096c9a2f8880e09da59c0d68b1c228da88e48844a1485",
                "96cbbc84783888e4cc971ae8acf86dd3c1a419370336bb3c634c97695a8c5ac9",
                "965ac94082cebbcffe458075651e9cc33ce703ab0115c72d9e8b1a9906b2b636",
                "89e5daa6950b895190716dd26054432b564ccdc2868188ba1da76de8e1dc7591",
            ]
        );
    }

    proptest! {
        #[test]
        fn a_branch_leads_to_the_root(count in 1usize..40, at in 0usize..40) {
            let leaves: Vec<[u8; 32]> = (0..count).map(|i| [u8::try_from(i).unwrap(); 32]).collect();
            let at = at % count;
            let (branch, root) = branch(leaves.clone(), at).unwrap();
            let mut hash = leaves[at];
            let mut position = at;
            for other in branch {
                hash = match position % 2 {
                    0 => pair(&[hash, other]),
                    _ => pair(&[other, hash]),
                };
                position /= 2;
            }
            prop_assert_eq!(hash, root);
        }
    }
}
