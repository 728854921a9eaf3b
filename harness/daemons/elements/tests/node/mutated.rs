//! Spoilt bytes: whatever they decode to is answered, never a panic, and changes nothing unless it is accepted.

use std::sync::LazyLock;

use elements::Transaction;
use elements::encode::serialize;
use proptest::prelude::*;
use swaprig_elements::node::{Node, decode_block, decode_transaction};

use crate::common::{FEE, fund, node, spend, wsh_true};

const VALUE: u64 = 1_000_000;

struct Chain {
    node: Node,
    transactions: Vec<Vec<u8>>,
    block: Vec<u8>,
}

static CHAIN: LazyLock<Chain> = LazyLock::new(|| {
    let mut node = node();
    let coins = fund(&mut node, 4, VALUE);
    let plain = spend(&node, coins[0], VALUE, FEE, 0xffff_fffd);
    let issuing = crate::assets::issue(&node, coins[1], 1_000, 2);
    let blinded = crate::confidential::blinded(&node, coins[2], FEE, 1);
    let txs: Vec<Transaction> = vec![plain, issuing, blinded];
    let mut other = node.clone();
    let hash = other.generate_block(&wsh_true(), txs.clone()).unwrap();
    let block = serialize(&other.block(&hash).unwrap().to_block());
    Chain {
        node,
        transactions: txs.iter().map(serialize).collect(),
        block,
    }
});

/// Writes, repeats and cuts; small numbers make it likely that the outcome still decodes.
fn spoil(bytes: &mut Vec<u8>, changes: &[(prop::sample::Index, u8, u8)]) {
    for (at, how, value) in changes {
        if bytes.is_empty() {
            return;
        }
        let at = at.index(bytes.len());
        match how {
            0 => bytes.truncate(at),
            1 => bytes.insert(at, *value),
            2 => drop(bytes.remove(at)),
            _ => bytes[at] = *value,
        }
    }
}

fn changes() -> impl Strategy<Value = Vec<(prop::sample::Index, u8, u8)>> {
    let value = prop_oneof![any::<u8>(), 0_u8..4];
    prop::collection::vec((any::<prop::sample::Index>(), 0_u8..40, value), 1..4)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn transactions(which in 0_usize..3, changes in changes()) {
        let mut bytes = CHAIN.transactions[which].clone();
        spoil(&mut bytes, &changes);
        if let Ok(tx) = decode_transaction(&bytes) {
            let test = CHAIN.node.test_accept(std::slice::from_ref(&tx), None).remove(0);
            let mut node = CHAIN.node.clone();
            let accepted = node.accept(tx, None);
            prop_assert_eq!(accepted.is_ok(), node.mempool().len() == 1);
            prop_assert_eq!(accepted.err(), test.verdict.unwrap().err());
        }
    }

    #[test]
    fn blocks(changes in changes()) {
        let mut bytes = CHAIN.block.clone();
        spoil(&mut bytes, &changes);
        if let Ok(block) = decode_block(&bytes) {
            let mut node = CHAIN.node.clone();
            let joined = node.submit_block(block).is_ok();
            prop_assert_eq!(joined, node.tip().height == 2);
        }
    }
}
