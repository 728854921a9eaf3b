//! Random lives: whatever happens, no asset grows or shrinks, and the coins are those of the main chain.

use std::collections::{BTreeMap, HashMap};

use elements::{AssetId, OutPoint, TxOut};
use proptest::prelude::*;
use swaprig_elements::node::{Coin, Node};

use crate::common::{fund, node, output, spend_wsh, tx, wsh_true};

#[derive(Clone, Debug)]
enum Step {
    /// Spend some coins (by index) into outputs of about equal value; maybe issue an asset; maybe signal.
    Pay {
        coins: Vec<usize>,
        outputs: u64,
        fee: u64,
        issue: Option<u64>,
        replaceable: bool,
        waiting: bool,
    },
    Mine(u32),
    Invalidate(u32),
    Fork {
        depth: u32,
        length: u32,
    },
    Snapshot,
}

fn step() -> impl Strategy<Value = Step> {
    let pay = (
        prop::collection::vec(0_usize..64, 1..4),
        1_u64..4,
        50_u64..3_000,
        prop::option::of(1_u64..1_000_000),
        any::<bool>(),
        any::<bool>(),
    );
    prop_oneof![
        6 => pay.prop_map(|(coins, outputs, fee, issue, replaceable, waiting)| {
            Step::Pay { coins, outputs, fee, issue, replaceable, waiting }
        }),
        3 => (1_u32..4).prop_map(Step::Mine),
        1 => (0_u32..4).prop_map(Step::Invalidate),
        1 => (1_u32..4, 1_u32..5).prop_map(|(depth, length)| Step::Fork { depth, length }),
        1 => Just(Step::Snapshot),
    ]
}

/// Coins that could be spent, in a fixed order.
fn spendable(node: &Node, waiting: bool) -> Vec<(OutPoint, TxOut)> {
    let mut coins: Vec<_> = node
        .coins()
        .filter(|(_, coin)| !coin.coinbase || node.tip().height + 1 >= coin.height + 100)
        .map(|(outpoint, coin)| (*outpoint, coin.output.clone()))
        .collect();
    if waiting {
        let of_mempool = node.mempool().iter().flat_map(|entry| {
            let outputs = (0_u32..)
                .zip(&entry.tx.output)
                .filter(|(_, output)| !output.is_fee());
            outputs.map(|(vout, output)| (OutPoint::new(entry.txid, vout), output.clone()))
        });
        coins.extend(of_mempool);
    }
    coins.retain(|(_, output)| output.script_pubkey == wsh_true());
    coins.sort_by_key(|(outpoint, _)| *outpoint);
    coins
}

fn pay(
    node: &mut Node,
    coins: &[usize],
    outputs: u64,
    fee: u64,
    issue: Option<u64>,
    sequence: u32,
    waiting: bool,
) {
    let available = spendable(node, waiting);
    let mut chosen: Vec<usize> = coins
        .iter()
        .map(|index| index % available.len().max(1))
        .collect();
    chosen.sort_unstable();
    chosen.dedup();
    let chosen: Vec<_> = chosen
        .into_iter()
        .filter_map(|index| available.get(index))
        .collect();
    let mut sums: BTreeMap<AssetId, u64> = BTreeMap::new();
    for (_, output) in &chosen {
        *sums.entry(output.asset.explicit().unwrap()).or_default() +=
            output.value.explicit().unwrap();
    }
    let mut inputs: Vec<_> = chosen
        .iter()
        .map(|(outpoint, _)| spend_wsh(*outpoint, sequence))
        .collect();
    if let (Some(amount), Some(first)) = (issue, inputs.first_mut()) {
        first.asset_issuance.amount = elements::confidential::Value::Explicit(amount);
        sums.insert(first.issuance_ids().0, amount);
    }
    let mut outs = Vec::new();
    for (asset, sum) in sums {
        let fee = if asset == node.policy_asset() {
            fee.min(sum)
        } else {
            0
        };
        let each = (sum - fee) / outputs;
        for index in 0..outputs {
            let value = if index == 0 {
                sum - fee - each * (outputs - 1)
            } else {
                each
            };
            outs.extend((value > 0).then(|| output(asset, value, wsh_true())));
        }
        outs.extend((fee > 0).then(|| TxOut::new_fee(fee, asset)));
    }
    // Refusals are fine (no fee, dust, conflicts); what is accepted must keep the books.
    let _refused = node.accept(tx(inputs, outs), None);
}

fn run(node: &mut Node, step: &Step) {
    match step {
        Step::Pay {
            coins,
            outputs,
            fee,
            issue,
            replaceable,
            waiting,
        } => {
            let sequence = if *replaceable {
                0xffff_fffd
            } else {
                0xffff_ffff
            };
            pay(node, coins, *outputs, *fee, *issue, sequence, *waiting);
        }
        Step::Mine(n) => drop(node.generate(*n, &wsh_true()).unwrap()),
        Step::Invalidate(depth) => {
            let height = node.tip().height.saturating_sub(*depth);
            node.invalidate(&node.block_hash(height.max(1)).unwrap());
        }
        Step::Fork { depth, length } => {
            let parent = node
                .block_hash(node.tip().height.saturating_sub(*depth))
                .unwrap();
            node.generate_on(&parent, *length, &wsh_true(), vec![])
                .unwrap();
        }
        Step::Snapshot => *node = Node::restore(&node.snapshot(), None).unwrap(),
    }
}

/// The coins that the blocks of the main chain leave, and what they issued.
fn rebuilt(node: &Node) -> (HashMap<OutPoint, Coin>, BTreeMap<AssetId, u64>) {
    let mut coins = HashMap::new();
    let mut supply = BTreeMap::new();
    for height in 0..=node.tip().height {
        let block = node.block(&node.block_hash(height).unwrap()).unwrap();
        for (tx, txid) in block.transactions().iter().zip(block.txids()) {
            for input in &tx.input {
                if input.has_issuance() {
                    *supply.entry(input.issuance_ids().0).or_default() +=
                        input.asset_issuance.amount.explicit().unwrap();
                }
                let spent = coins.remove(&input.previous_output);
                assert!(
                    height == 0 || tx.is_coinbase() || spent.is_some(),
                    "{txid} spends nothing"
                );
            }
            for (vout, output) in (0_u32..).zip(&tx.output) {
                if !output.script_pubkey.is_provably_unspendable() {
                    let coin = Coin {
                        output: output.clone(),
                        height,
                        coinbase: tx.is_coinbase(),
                    };
                    coins.insert(OutPoint::new(*txid, vout), coin);
                }
            }
        }
    }
    (coins, supply)
}

fn check(node: &Node) {
    let (coins, supply) = rebuilt(node);
    let actual: HashMap<_, _> = node
        .coins()
        .map(|(outpoint, coin)| (*outpoint, coin.clone()))
        .collect();
    assert_eq!(actual, coins);
    let mut held: BTreeMap<AssetId, u64> = BTreeMap::new();
    for coin in coins.values() {
        *held
            .entry(coin.output.asset.explicit().unwrap())
            .or_default() += coin.output.value.explicit().unwrap();
    }
    assert_eq!(held, supply);
    let mut spent = HashMap::new();
    for entry in node.mempool().iter() {
        for input in &entry.tx.input {
            let outpoint = input.previous_output;
            assert_eq!(
                spent.insert(outpoint, entry.txid),
                None,
                "two waiting transactions spend {outpoint}"
            );
            assert!(
                node.mempool().contains(&outpoint.txid) || node.coin(&outpoint).is_some(),
                "{outpoint} is nowhere"
            );
            assert_eq!(node.mempool().spender_of(&outpoint), Some(entry.txid));
        }
        assert!(entry.parents.iter().all(|parent| {
            node.mempool()
                .get(parent)
                .unwrap()
                .children
                .contains(&entry.txid)
        }));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn nothing_is_made_or_lost(steps in prop::collection::vec(step(), 1..40)) {
        let mut node = node();
        fund(&mut node, 8, 1_000_000);
        // Blocks by which forks and invalidations do not reach the funding.
        node.generate(110, &wsh_true()).unwrap();
        for step in &steps {
            run(&mut node, step);
            check(&node);
        }
        // Whatever waits can be mined.
        let waiting = node.mempool().len();
        node.generate(1, &wsh_true()).unwrap();
        prop_assert!(waiting == 0 || node.mempool().len() < waiting);
        check(&node);
    }
}
