//! Blocks that leave the main chain, and what becomes of their transactions.

use elements::OutPoint;
use swaprig_elements::node::{BranchStatus, Event, Removal};

use crate::common::{FEE, Whereabouts, fund, node, spend, whereabouts, wsh_true};

const VALUE: u64 = 1_000_000;

#[test]
fn invalidating_the_tip_returns_its_transactions_and_reconsidering_mines_them_again() {
    let mut node = node();
    let coins = fund(&mut node, 1, VALUE);
    let txid = node
        .accept(spend(&node, coins[0], VALUE, FEE, 0xffff_ffff), None)
        .unwrap();
    let hash = node.generate(1, &wsh_true()).unwrap()[0];
    assert_eq!(whereabouts(&node, &txid), Whereabouts::Block(2));
    node.take_events();
    assert!(node.invalidate(&hash));
    assert_eq!(
        (node.tip().height, whereabouts(&node, &txid)),
        (1, Whereabouts::Mempool)
    );
    assert_eq!(node.confirmations(&hash), Some(-1));
    assert!(node.coin(&coins[0]).is_some());
    assert!(matches!(
        &node.take_events()[..],
        [Event::Disconnected(_), Event::Accepted(_)]
    ));
    assert_eq!(node.chain_tips()[1].1, BranchStatus::Invalid);
    assert!(node.reconsider(&hash));
    assert_eq!(
        (node.tip().hash, whereabouts(&node, &txid)),
        (hash, Whereabouts::Block(2))
    );
    assert!(matches!(
        &node.take_events()[..],
        [Event::Connected(_), Event::Removed(_, Removal::Block)]
    ));
    assert!(!node.invalidate(&elements::BlockHash::from_byte_array([1; 32])));
}

#[test]
fn an_invalidated_block_is_not_mined_again_in_the_same_second() {
    let mut node = node();
    let first = node.generate(1, &wsh_true()).unwrap()[0];
    node.invalidate(&first);
    let second = node.generate(1, &wsh_true()).unwrap()[0];
    assert_ne!(first, second);
    assert_eq!(node.tip().hash, second);
}

#[test]
fn a_longer_branch_takes_over() {
    let mut node = node();
    let coins = fund(&mut node, 3, VALUE);
    let fork = node.tip().hash;
    let stays = spend(&node, coins[0], VALUE, FEE, 0xffff_ffff);
    let doomed = spend(&node, coins[1], VALUE, FEE, 0xffff_ffff);
    let [stays_id, doomed_id] = [stays.txid(), doomed.txid()];
    node.accept(stays, None).unwrap();
    node.accept(doomed, None).unwrap();
    let child = spend(
        &node,
        OutPoint::new(doomed_id, 0),
        VALUE - FEE,
        FEE,
        0xffff_ffff,
    );
    let child_id = child.txid();
    node.accept(child, None).unwrap();
    let old_tip = node.generate(1, &wsh_true()).unwrap()[0];
    let waiting = spend(&node, coins[2], VALUE, FEE, 0xffff_ffff);
    let waiting_id = node.accept(waiting, None).unwrap();
    node.take_events();
    // The branch spends one of the coins in another way.
    let other = spend(&node, coins[1], VALUE, 3 * FEE, 0xffff_ffff);
    let other_id = other.txid();
    let first = node
        .generate_on(&fork, 1, &wsh_true(), vec![other])
        .unwrap()[0];
    assert_eq!(node.tip().hash, old_tip, "of equals the first stays");
    assert_eq!(node.chain_tips()[1].1, BranchStatus::ValidHeaders);
    let second = node.generate_on(&first, 1, &wsh_true(), vec![]).unwrap()[0];
    assert_eq!(node.tip().hash, second);
    let expected = [
        (other_id, Whereabouts::Block(2)),
        (stays_id, Whereabouts::Mempool),
        (waiting_id, Whereabouts::Mempool),
        (doomed_id, Whereabouts::OffChain(2)),
        (child_id, Whereabouts::OffChain(2)),
    ];
    for (txid, place) in expected {
        assert_eq!(whereabouts(&node, &txid), place, "{txid}");
    }
    let kinds: Vec<_> = node
        .take_events()
        .iter()
        .map(|event| match event {
            Event::Connected(_) => "connected",
            Event::Disconnected(_) => "disconnected",
            Event::Accepted(_) => "accepted",
            Event::Removed(..) => "removed",
        })
        .collect();
    assert_eq!(
        kinds,
        ["disconnected", "connected", "connected", "accepted"]
    );
    assert_eq!(
        node.chain_tips()[1],
        (
            swaprig_elements::node::Tip {
                hash: old_tip,
                height: 2
            },
            BranchStatus::ValidFork
        )
    );
    // And back, by invalidating the new branch.
    node.invalidate(&first);
    assert_eq!(node.tip().hash, old_tip);
    assert_eq!(whereabouts(&node, &doomed_id), Whereabouts::Block(2));
    assert_eq!(whereabouts(&node, &other_id), Whereabouts::OffChain(2));
}

#[test]
fn waiting_transactions_lose_what_a_reorganisation_takes() {
    let mut node = node();
    fund(&mut node, 1, VALUE);
    let coinbase = node.block(&node.tip().hash).unwrap().txids()[0];
    node.generate(99, &wsh_true()).unwrap();
    let mature = spend(&node, OutPoint::new(coinbase, 0), 100_000, FEE, 0xffff_ffff);
    let txid = node.accept(mature, None).unwrap();
    let child = spend(
        &node,
        OutPoint::new(txid, 0),
        100_000 - FEE,
        FEE,
        0xffff_ffff,
    );
    let child_id = node.accept(child, None).unwrap();
    node.take_events();
    node.invalidate(&node.tip().hash);
    assert!(node.mempool().is_empty(), "the coinbase is young again");
    let removed = node
        .take_events()
        .into_iter()
        .filter(|event| matches!(event, Event::Removed(_, Removal::Reorg)));
    assert_eq!(removed.count(), 2);
    assert_eq!(whereabouts(&node, &child_id), Whereabouts::Nowhere);
}

#[test]
fn only_ten_blocks_give_their_transactions_back() {
    let mut node = node();
    let coins = fund(&mut node, 12, VALUE);
    let mut blocks = Vec::new();
    for coin in coins {
        node.accept(spend(&node, coin, VALUE, FEE, 0xffff_ffff), None)
            .unwrap();
        blocks.push(node.generate(1, &wsh_true()).unwrap()[0]);
    }
    node.invalidate(&blocks[0]);
    assert_eq!((node.tip().height, node.mempool().len()), (1, 10));
}

#[test]
fn what_waits_too_long_leaves() {
    let mut node = node();
    let coins = fund(&mut node, 2, VALUE);
    let old = spend(&node, coins[0], VALUE, FEE, 0xffff_ffff);
    let child = spend(
        &node,
        OutPoint::new(old.txid(), 0),
        VALUE - FEE,
        FEE,
        0xffff_ffff,
    );
    node.accept(old, None).unwrap();
    node.set_mock_time(Some(crate::common::START + 336 * 3_600 + 1));
    node.take_events();
    let refused = node.accept(child, None).unwrap_err();
    assert_eq!(
        refused.reason, "mempool full",
        "its parent leaves, and it too"
    );
    assert!(node.mempool().is_empty());
    assert_eq!(node.take_events().len(), 3);
    node.accept(spend(&node, coins[1], VALUE, FEE, 0xffff_ffff), None)
        .unwrap();
}

#[test]
fn the_genesis_block_stays() {
    let mut node = node();
    node.generate(3, &wsh_true()).unwrap();
    assert!(node.invalidate(&node.genesis_hash()));
    assert_eq!(node.tip().height, 3);
    node.invalidate(&node.block_hash(1).unwrap());
    assert_eq!(node.tip().height, 0);
    node.generate(1, &wsh_true()).unwrap();
    assert_eq!(node.tip().height, 1);
}
