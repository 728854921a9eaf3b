//! The shape of blocks, against what was measured on elementsd.

use elements::dynafed::Params as DynafedParams;
use elements::{Script, TxOut};
use swaprig_elements::node::{COIN, Params};

use crate::common::{START, node, output, spend, with, wsh_true};

#[test]
fn block_1_carries_the_measured_parameters() {
    let mut node = node();
    let hash = node.generate(1, &wsh_true()).unwrap()[0];
    let header = node.block(&hash).unwrap().header().clone();
    let current = header.dynafed_current().unwrap();
    let root = "3700bdb2975ff8e0dadaaba2b33857b0ca2610c950a92b1db725025e3647a8e1";
    assert_eq!(current.calculate_root().to_string(), root);
    let full = current.full().expect("in full");
    assert_eq!(full.signblock_witness_limit, 74);
    let signblock = "00204ae81572f06e1b88fd5ced7a1a000945432e83e1551e6f721ee9c00b8cc33260";
    assert_eq!(format!("{:x}", full.signblockscript), signblock);
    let fedpeg = "a91472c44f957fc011d97e3406667dca5b1c930c402687";
    assert_eq!(format!("{:x}", full.fedpeg_program), fedpeg);
    assert_eq!(full.fedpegscript, [0x51]);
    let compact = current.clone().into_compact().unwrap();
    assert!(
        compact
            .elided_root()
            .unwrap()
            .to_string()
            .starts_with("b1089ab8"),
        "{compact:?}"
    );
    assert_eq!(header.dynafed_proposed(), Some(&DynafedParams::Null));
    assert_eq!(node.dynafed_params(), full);
    match &header.ext {
        elements::BlockExtData::Dynafed {
            signblock_witness, ..
        } => assert_eq!(*signblock_witness, [[0x51]]),
        elements::BlockExtData::Proof { .. } => panic!("not a dynafed header"),
    }
}

#[test]
fn parameters_are_full_where_epochs_begin() {
    let mut node = node();
    let full: Vec<u32> = node
        .generate(31, &wsh_true())
        .unwrap()
        .into_iter()
        .map(|hash| node.block(&hash).unwrap().header().clone())
        .filter(|header| header.dynafed_current().unwrap().is_full())
        .map(|header| header.height)
        .collect();
    assert_eq!(full, [1, 10, 20, 30]);
}

#[test]
fn an_empty_block_pays_nobody() {
    let mut node = node();
    let hashes = node.generate(17, &wsh_true()).unwrap();
    let block = node.block(&hashes[1]).unwrap();
    let [coinbase] = block.transactions() else {
        panic!("one transaction")
    };
    assert_eq!(format!("{:x}", coinbase.input[0].script_sig), "520101");
    assert_eq!(
        coinbase.output[0],
        output(node.policy_asset(), 0, Script::from(vec![0x6a]))
    );
    assert_eq!(coinbase.output[1].value.explicit(), Some(0));
    assert!(format!("{:x}", coinbase.output[1].script_pubkey).starts_with("6a24aa21a9ed"));
    assert_eq!(coinbase.output.len(), 2);
    assert_eq!(coinbase.input[0].witness.script_witness.to_vec(), [[0; 32]]);
    let seventeen = node.block(&hashes[16]).unwrap();
    assert_eq!(
        format!("{:x}", seventeen.transactions()[0].input[0].script_sig),
        "01110101"
    );
    assert_eq!(node.tip().height, 17);
    assert_eq!(node.confirmations(&hashes[1]), Some(16));
    assert_eq!(node.next_block_hash(&hashes[1]), Some(hashes[2]));
    assert_eq!(node.next_block_hash(&hashes[16]), None);
}

#[test]
fn fees_and_subsidy_go_to_the_miner_per_policy_asset() {
    let mut node = with(Params {
        con_block_subsidy: 50 * COIN,
        ..Params::liquid_regtest()
    });
    let coins = crate::common::fund(&mut node, 1, 10_000);
    let fee = spend(&node, coins[0], 10_000, 4_321, 0xffff_ffff);
    node.accept(fee, None).unwrap();
    let hash = node.generate(1, &wsh_true()).unwrap()[0];
    let coinbase = &node.block(&hash).unwrap().transactions()[0];
    assert_eq!(
        coinbase.output[0],
        output(node.policy_asset(), 50 * COIN + 4_321, wsh_true())
    );
    node.generate(147, &wsh_true()).unwrap();
    let last_before = node.block(&node.block_hash(149).unwrap()).unwrap();
    assert_eq!(
        last_before.transactions()[0].output[0].value.explicit(),
        Some(50 * COIN)
    );
    node.generate(1, &wsh_true()).unwrap();
    let halved = node.block(&node.tip().hash).unwrap();
    assert_eq!(
        halved.transactions()[0].output[0].value.explicit(),
        Some(25 * COIN)
    );
}

#[test]
fn times_follow_the_clock_and_the_median() {
    let mut node = node();
    let time =
        |node: &swaprig_elements::node::Node| node.block(&node.tip().hash).unwrap().header().time;
    node.generate(1, &wsh_true()).unwrap();
    assert_eq!(u64::from(time(&node)), START);
    // The clock stands, and the median of two times is the later one.
    node.generate(1, &wsh_true()).unwrap();
    assert_eq!(u64::from(time(&node)), START + 1);
    node.set_mock_time(Some(START + 10_000));
    node.generate(1, &wsh_true()).unwrap();
    assert_eq!(u64::from(time(&node)), START + 10_000);
    node.generate(20, &wsh_true()).unwrap();
    // Set back by more than two hours, the least possible time is too far ahead.
    node.set_mock_time(Some(START));
    assert_eq!(
        node.generate(1, &wsh_true()).unwrap_err().reason,
        "time-too-new"
    );
    node.set_mock_time(None);
    node.generate(1, &wsh_true()).unwrap();
    assert!(u64::from(time(&node)) > START + 20_000);
}

#[test]
fn the_block_version_signals_as_regtest_does() {
    let mut node = node();
    node.generate(440, &wsh_true()).unwrap();
    let version = |height| {
        node.block(&node.block_hash(height).unwrap())
            .unwrap()
            .header()
            .version
    };
    assert_eq!(
        [1, 143, 144, 431, 432].map(version),
        [
            0x2000_0000,
            0x2000_0000,
            0x3000_0000,
            0x3000_0000,
            0x2000_0000
        ]
    );
}

#[test]
fn sizes_add_up() {
    let mut node = node();
    crate::common::fund(&mut node, 3, 10_000);
    let stored = node.block(&node.tip().hash).unwrap();
    let block = stored.to_block();
    assert_eq!(stored.size(), elements::encode::serialize(&block).len());
    // The `elements` crate counts the block's signature, three bytes, four times; elementsd counts it as a witness.
    assert_eq!(stored.weight() + 3 * 3, block.weight());
    assert_eq!(stored.size() + 3 * stored.stripped_size(), stored.weight());
    assert!(stored.transactions()[1].output.iter().any(TxOut::is_fee));
}
