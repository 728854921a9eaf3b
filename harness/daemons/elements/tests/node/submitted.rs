//! Blocks of others: what is wrong with them, and where they go.

use elements::confidential::Value;
use elements::{Block, BlockExtData, OutPoint, Transaction, TxMerkleNode};
use swaprig_elements::node::{Node, Submitted};

use crate::common::{FEE, START, fund, node, spend, wsh_true};

const VALUE: u64 = 1_000_000;

/// The block that `node` would mine next with these transactions, not given to it.
fn block(node: &Node, txs: Vec<Transaction>) -> Block {
    let mut other = node.clone();
    let hash = other.generate_block(&wsh_true(), txs).unwrap();
    other.block(&hash).unwrap().to_block()
}

#[test]
fn good_blocks() {
    let mut node = node();
    let coins = fund(&mut node, 1, VALUE);
    let parent = spend(&node, coins[0], VALUE, FEE, 0xffff_ffff);
    let child = spend(
        &node,
        OutPoint::new(parent.txid(), 0),
        VALUE - FEE,
        FEE,
        0xffff_ffff,
    );
    let next = block(&node, vec![parent, child]);
    assert_eq!(node.submit_block(next.clone()), Ok(Submitted::Connected));
    assert_eq!(node.submit_block(next.clone()), Ok(Submitted::Duplicate));
    assert_eq!(node.tip().hash, next.block_hash());
    node.invalidate(&next.block_hash());
    assert_eq!(node.submit_block(next), Ok(Submitted::DuplicateInvalid));
}

#[test]
fn a_coinbase_that_commits_gets_its_witness() {
    let mut node = node();
    let mut next = block(&node, Vec::new());
    next.txdata[0].input[0].witness.script_witness = elements::Witness::new();
    let hash = next.block_hash();
    assert_eq!(node.submit_block(next), Ok(Submitted::Connected));
    let kept = node.block(&hash).unwrap();
    assert!(kept.transactions()[0].has_witness());
}

#[test]
fn what_was_valid_once_is_again() {
    let mut node = node();
    let once = node.generate(1, &wsh_true()).unwrap()[0];
    node.invalidate(&once);
    node.set_mock_time(Some(START + 9_999));
    node.generate(2, &wsh_true()).unwrap();
    node.reconsider(&once);
    assert_eq!(
        node.chain_tips()[1].1,
        swaprig_elements::node::BranchStatus::ValidFork
    );
    let known = node.block(&once).unwrap().to_block();
    assert_eq!(node.submit_block(known), Ok(Submitted::Duplicate));
}

#[test]
fn double_spends_in_a_block() {
    let mut node = node();
    let coins = fund(&mut node, 1, VALUE);
    let [one, two] = [FEE, 2 * FEE].map(|fee| spend(&node, coins[0], VALUE, fee, 0xffff_ffff));
    let error = node
        .generate_block(&wsh_true(), vec![one.clone(), two.clone()])
        .unwrap_err();
    assert_eq!(error.reason, "bad-txns-inputs-missingorspent");
    let child = spend(
        &node,
        OutPoint::new(one.txid(), 0),
        VALUE - FEE,
        FEE,
        0xffff_ffff,
    );
    let error = node
        .generate_block(&wsh_true(), vec![child, one.clone()])
        .unwrap_err();
    assert_eq!(
        error.reason, "bad-txns-inputs-missingorspent",
        "children come after their parents"
    );
    let error = node
        .generate_block(&wsh_true(), vec![one.clone(), one])
        .unwrap_err();
    assert_eq!(error.reason, "bad-txns-inputs-missingorspent");
    assert_eq!(node.tip().height, 1);
}

#[test]
fn a_conflict_in_a_block_drives_out_what_waits() {
    let mut node = node();
    let coins = fund(&mut node, 1, VALUE);
    let waiting = node
        .accept(spend(&node, coins[0], VALUE, FEE, 0xffff_ffff), None)
        .unwrap();
    node.accept(
        spend(
            &node,
            OutPoint::new(waiting, 0),
            VALUE - FEE,
            FEE,
            0xffff_ffff,
        ),
        None,
    )
    .unwrap();
    let other = spend(&node, coins[0], VALUE, 2 * FEE, 0xffff_ffff);
    node.generate_block(&wsh_true(), vec![other]).unwrap();
    assert!(node.mempool().is_empty());
}

type Spoil = Box<dyn Fn(&mut Block)>;

#[test]
fn bad_blocks() {
    let mut node = node();
    let coins = fund(&mut node, 1, VALUE);
    let good = block(&node, vec![spend(&node, coins[0], VALUE, FEE, 0xffff_ffff)]);
    let table: Vec<(&str, Spoil)> = vec![
        (
            "prev-blk-not-found",
            Box::new(|block| block.header.prev_blockhash = block.block_hash()),
        ),
        (
            "bad-header-height",
            Box::new(|block| block.header.height += 1),
        ),
        (
            "time-too-old",
            Box::new(|block| block.header.time = 1_296_688_602),
        ),
        (
            "time-too-new",
            Box::new(|block| block.header.time = u32::try_from(START).unwrap() + 7_300),
        ),
        (
            "bad-version(0x00000003)",
            Box::new(|block| block.header.version = 3),
        ),
        (
            "invalid-dyna-fed",
            Box::new(|block| block.header.version |= 1 << 24),
        ),
        (
            "bad-txnmrklroot",
            Box::new(|block| block.header.merkle_root = TxMerkleNode::from_byte_array([1; 32])),
        ),
        (
            "bad-txnmrklroot",
            Box::new(|block| block.txdata.truncate(1)),
        ),
        (
            "bad-txns-duplicate",
            Box::new(|block| {
                let last = block.txdata[1].clone();
                block.txdata.push(last.clone());
                mend(block);
                // The root of three leaves is that of four of which the last repeats.
                block.txdata.push(last);
            }),
        ),
        (
            "bad-blk-length",
            Box::new(|block| {
                block.txdata.clear();
                block.header.merkle_root = TxMerkleNode::from_byte_array([0; 32]);
            }),
        ),
        (
            "bad-cb-missing",
            Box::new(|block| {
                block.txdata.remove(0);
                mend(block);
            }),
        ),
        (
            "bad-cb-multiple",
            Box::new(|block| {
                let coinbase = block.txdata[0].clone();
                block.txdata.push(coinbase);
                mend(block);
            }),
        ),
        (
            "bad-cb-amount",
            Box::new(|block| {
                block.txdata[0].output[0].value = Value::Explicit(FEE + 1);
                mend(block);
            }),
        ),
        (
            "bad-cb-amount",
            Box::new(|block| {
                // A spendable output of nothing.
                block.txdata[0].output[0].script_pubkey = wsh_true();
                mend(block);
            }),
        ),
        (
            "bad-cb-height",
            Box::new(|block| {
                block.txdata[0].input[0].script_sig = elements::Script::from(vec![0x53, 0x51]);
                mend(block);
            }),
        ),
        (
            "bad-witness-merkle-match",
            Box::new(|block| {
                block.txdata[1].input[0].witness.script_witness =
                    elements::Witness::from(vec![vec![0x52]]);
            }),
        ),
        (
            "bad-witness-nonce-size",
            Box::new(|block| {
                block.txdata[0].input[0].witness.script_witness =
                    elements::Witness::from(vec![vec![0; 31]]);
            }),
        ),
        (
            "unexpected-witness",
            Box::new(|block| {
                block.txdata[0].output.truncate(1);
                mend(block);
            }),
        ),
        (
            "bad-txns-nonfinal",
            Box::new(|block| {
                block.txdata[1].lock_time = elements::LockTime::from_consensus(block.header.height);
                block.txdata[1].input[0].sequence = elements::Sequence(0);
                mend(block);
            }),
        ),
        (
            "bad-txns-nonfinal",
            Box::new(|block| {
                block.txdata[1].input[0].sequence = elements::Sequence(2);
                mend(block);
            }),
        ),
        (
            "bad-txns-in-ne-out",
            Box::new(|block| {
                block.txdata[1].output[0].value = Value::Explicit(VALUE);
                mend(block);
            }),
        ),
        (
            "block-proof-invalid",
            Box::new(|block| match &mut block.header.ext {
                BlockExtData::Dynafed {
                    signblock_witness, ..
                } => signblock_witness.push(vec![1]),
                BlockExtData::Proof { .. } => unreachable!(),
            }),
        ),
        (
            "invalid-dyna-fed",
            Box::new(|block| match &mut block.header.ext {
                BlockExtData::Dynafed { current, .. } => *current = elements::dynafed::Params::Null,
                BlockExtData::Proof { .. } => unreachable!(),
            }),
        ),
        (
            "not supported by the bundled node",
            Box::new(|block| match &mut block.header.ext {
                BlockExtData::Dynafed {
                    current, proposed, ..
                } => *proposed = current.clone(),
                BlockExtData::Proof { .. } => unreachable!(),
            }),
        ),
    ];
    for (reason, spoil) in table {
        let mut node = node.clone();
        let mut bad = good.clone();
        spoil(&mut bad);
        assert_eq!(node.submit_block(bad).unwrap_err().reason, reason);
        assert_eq!(node.tip().height, 1, "{reason}");
        assert_eq!(
            node.submit_block(good.clone()),
            Ok(Submitted::Connected),
            "{reason}"
        );
    }
}

/// Makes the header fit the transactions again; the witness commitment does not cover what these tests change but once.
fn mend(block: &mut Block) {
    let mut level: Vec<[u8; 32]> = block
        .txdata
        .iter()
        .map(|tx| tx.txid().to_byte_array())
        .collect();
    while level.len() > 1 {
        if level.len() % 2 == 1 {
            level.push(level[level.len() - 1]);
        }
        level = level
            .chunks(2)
            .map(|pair| elements::hashes::sha256d::Hash::hash(&pair.concat()).to_byte_array())
            .collect();
    }
    block.header.merkle_root = TxMerkleNode::from_byte_array(level[0]);
}

#[test]
fn a_bad_block_on_a_branch_leaves_the_old_chain() {
    let mut node = node();
    let coins = fund(&mut node, 1, VALUE);
    let fork = node.tip().hash;
    let old = node.generate(1, &wsh_true()).unwrap()[0];
    // Nobody can spend this coin twice, which shows when the branch's coins are looked at.
    let one = spend(&node, coins[0], VALUE, FEE, 0xffff_ffff);
    let two = spend(&node, coins[0], VALUE, 2 * FEE, 0xffff_ffff);
    let first = node
        .generate_on(&fork, 1, &wsh_true(), vec![one, two])
        .unwrap()[0];
    let error = node.generate_on(&first, 1, &wsh_true(), vec![]);
    assert!(error.is_err(), "{error:?}");
    assert_eq!(node.tip().hash, old);
    assert_eq!(
        node.generate_on(&first, 1, &wsh_true(), vec![])
            .unwrap_err()
            .reason,
        "bad-prevblk"
    );
    assert!(node.coin(&coins[0]).is_some());
}
