//! State to bytes and back.

use swaprig_elements::node::{Node, Params, SnapshotError};

use crate::common::{FEE, START, fund, node, spend, wsh_true};

const VALUE: u64 = 1_000_000;

fn lived_in() -> Node {
    let mut node = node();
    let coins = fund(&mut node, 4, VALUE);
    node.accept(spend(&node, coins[0], VALUE, FEE, 0xffff_ffff), None)
        .unwrap();
    let fork = node.tip().hash;
    let hashes = node.generate(3, &wsh_true()).unwrap();
    let branch = node.generate_on(&fork, 2, &wsh_true(), vec![]).unwrap();
    node.generate(2, &wsh_true()).unwrap();
    node.invalidate(&branch[1]);
    node.invalidate(&hashes[2]);
    let parent = node
        .accept(spend(&node, coins[1], VALUE, FEE, 0xffff_ffff), None)
        .unwrap();
    let child = spend(
        &node,
        elements::OutPoint::new(parent, 0),
        VALUE - FEE,
        FEE,
        0xffff_fffd,
    );
    node.set_mock_time(Some(START + 77));
    node.accept(child, None).unwrap();
    node
}

/// The ends of the branches that are not the main chain.
fn hashes_off_chain(node: &Node) -> Vec<elements::BlockHash> {
    let tips = node.chain_tips().into_iter().skip(1);
    tips.map(|(tip, _)| tip.hash).collect()
}

#[test]
fn a_node_comes_back_as_it_was() {
    let mut before = lived_in();
    let bytes = before.snapshot();
    let mut after = Node::restore(&bytes, Some(before.params())).unwrap();
    assert_eq!(after.tip(), before.tip());
    assert_eq!(after.chain_tips(), before.chain_tips());
    assert_eq!(after.mock_time(), Some(START + 77));
    let coins = |node: &Node| {
        let mut coins: Vec<_> = node
            .coins()
            .map(|(outpoint, coin)| (*outpoint, coin.clone()))
            .collect();
        coins.sort_by_key(|(outpoint, _)| *outpoint);
        coins
    };
    assert_eq!(coins(&after), coins(&before));
    let waiting = |node: &Node| -> Vec<_> {
        node.mempool()
            .iter()
            .map(|entry| (entry.txid, entry.time, entry.fee, entry.parents.clone()))
            .collect()
    };
    assert_eq!(waiting(&after), waiting(&before));
    let of_branch = hashes_off_chain(&before);
    assert!(!of_branch.is_empty());
    for hash in of_branch {
        for txid in before.block(&hash).unwrap().txids() {
            let place = |node: &Node| node.transaction(txid).map(|found| found.block);
            assert_eq!(place(&after), place(&before), "{txid}");
        }
    }
    assert!(after.take_events().is_empty());
    assert_eq!(after.snapshot(), bytes);
    // And lives on in the same way.
    assert_eq!(
        after.generate(2, &wsh_true()).unwrap(),
        before.generate(2, &wsh_true()).unwrap()
    );
    let tip = before.tip().hash;
    before.invalidate(&tip);
    after.invalidate(&tip);
    assert_eq!(after.tip(), before.tip());
}

#[test]
fn a_clone_is_a_checkpoint() {
    let mut node = lived_in();
    let checkpoint = node.clone();
    node.generate(5, &wsh_true()).unwrap();
    assert_ne!(node.tip(), checkpoint.tip());
    let mut node = checkpoint.clone();
    assert_eq!(node.snapshot(), checkpoint.snapshot());
    node.generate(1, &wsh_true()).unwrap();
}

#[test]
fn damage_is_noticed() {
    let bytes = lived_in().snapshot();
    for at in [20, bytes.len() / 2, bytes.len() - 1] {
        let mut damaged = bytes.clone();
        damaged[at] ^= 1;
        assert_eq!(
            Node::restore(&damaged, None).unwrap_err(),
            SnapshotError::Checksum
        );
    }
    assert_eq!(
        Node::restore(&bytes[..bytes.len() - 1], None).unwrap_err(),
        SnapshotError::Checksum
    );
    assert_eq!(
        Node::restore(b"something else, long enough to have a checksum", None).unwrap_err(),
        SnapshotError::Format
    );
    assert_eq!(Node::restore(b"", None).unwrap_err(), SnapshotError::Format);
    let other = Params {
        initial_free_coins: 5,
        ..Params::liquid_regtest()
    };
    assert!(matches!(
        Node::restore(&bytes, Some(&other)),
        Err(SnapshotError::Params { .. })
    ));
}
