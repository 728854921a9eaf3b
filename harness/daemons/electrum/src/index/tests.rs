//! An index after any changes is the one that is built from nothing; and what it answers.

use std::collections::{HashMap, HashSet};

use bitcoin::hashes::{Hash as _, sha256d};
use bitcoin::{BlockHash, OutPoint, Txid};
use proptest::prelude::*;

use super::query::status;
use super::*;
use crate::chain::{Amount, Bitcoin, Elements, Output};

fn script(name: u8) -> ScriptHash {
    ScriptHash::of(&[name])
}

/// A transaction with an id of its own.
fn tx(seed: u64, inputs: Vec<OutPoint>, outputs: &[(u8, u64)]) -> Tx {
    let output = |(name, sat): &(u8, u64)| Output {
        // One script is never indexed, as OP_RETURN is not.
        script: (*name != 0).then(|| script(*name)),
        amount: Amount::Sat(*sat),
    };
    let outputs: Vec<Output> = outputs.iter().map(output).collect();
    let text = format!("{seed} {inputs:?} {outputs:?}");
    Tx {
        txid: Txid::from_byte_array(sha256d::Hash::hash(text.as_bytes()).to_byte_array()),
        raw: text.into_bytes().into(),
        vsize: 100,
        inputs,
        outputs,
        fee: None,
    }
}

fn block(prev: Option<&Block>, seed: u64, txs: Vec<Tx>) -> Block {
    let prev = prev.map_or(BlockHash::all_zeros(), |block| block.hash);
    let ids: Vec<Txid> = txs.iter().map(|tx| tx.txid).collect();
    let text = format!("{prev} {seed} {ids:?}");
    Block {
        hash: BlockHash::from_byte_array(sha256d::Hash::hash(text.as_bytes()).to_byte_array()),
        prev,
        header: text.into_bytes().into(),
        txs,
    }
}

fn outpoint(tx: &Tx, vout: u32) -> OutPoint {
    OutPoint {
        txid: tx.txid,
        vout,
    }
}

/// What is compared: everything but the counters that tell subscribers of changes.
type Content<'i> = (
    &'i [Entry],
    &'i HashMap<Txid, Confirmed>,
    &'i HashMap<OutPoint, Txid>,
    &'i HashMap<ScriptHash, Vec<(u32, u32)>>,
    &'i Mempool,
);

fn content(index: &Index) -> Content<'_> {
    (
        &index.blocks,
        &index.confirmed,
        &index.spent,
        &index.history,
        &index.mempool,
    )
}

/// A node: its chain and its mempool, which are always consistent.
#[derive(Clone, Default)]
struct Model {
    chain: Vec<Block>,
    mempool: Vec<Tx>,
    seed: u64,
}

impl Model {
    fn fresh(&mut self) -> u64 {
        self.seed += 1;
        self.seed
    }

    /// Outputs that neither the chain nor the mempool spends.
    fn unspent(&self) -> Vec<OutPoint> {
        let chain = self.chain.iter().skip(1).flat_map(|block| &block.txs);
        let all: Vec<&Tx> = chain.chain(&self.mempool).collect();
        let spent: HashSet<OutPoint> = all.iter().flat_map(|tx| tx.inputs.clone()).collect();
        let made = all.iter().flat_map(|tx| {
            let vouts = 0..u32::try_from(tx.outputs.len()).unwrap();
            vouts.map(|vout| outpoint(tx, vout))
        });
        made.filter(|outpoint| !spent.contains(outpoint)).collect()
    }

    fn coinbase(&mut self, to: u8) -> Tx {
        let seed = self.fresh();
        tx(seed, vec![], &[(to, 50)])
    }

    fn mine(&mut self, to: u8, take: usize) {
        let take = take.min(self.mempool.len());
        let mut txs = vec![self.coinbase(to)];
        // Parents stand before their children, so a beginning of the list is closed.
        txs.extend(self.mempool.drain(..take));
        let seed = self.fresh();
        let next = block(self.chain.last(), seed, txs);
        self.chain.push(next);
    }

    fn send(&mut self, pick: usize, outputs: &[(u8, u64)]) {
        let unspent = self.unspent();
        if unspent.is_empty() {
            return;
        }
        let inputs = vec![unspent[pick % unspent.len()]];
        let seed = self.fresh();
        self.mempool.push(tx(seed, inputs, outputs));
    }

    /// A replacement: one leaves with all that depend on it, and another one spends the same.
    fn replace(&mut self, pick: usize, outputs: &[(u8, u64)]) {
        if self.mempool.is_empty() {
            return;
        }
        let old = self.mempool[pick % self.mempool.len()].clone();
        self.evict(&old.txid);
        let seed = self.fresh();
        self.mempool.push(tx(seed, old.inputs, outputs));
    }

    fn evict(&mut self, txid: &Txid) {
        let mut gone = HashSet::from([*txid]);
        self.mempool.retain(|tx| {
            let goes = gone.contains(&tx.txid) || tx.inputs.iter().any(|i| gone.contains(&i.txid));
            if goes {
                gone.insert(tx.txid);
            }
            !goes
        });
    }

    /// Takes blocks away; their transactions wait again, those that spend a lost coinbase do not.
    fn rewind(&mut self, depth: usize) {
        let keep = self.chain.len().saturating_sub(depth).max(1);
        let mut back = Vec::new();
        let mut lost = Vec::new();
        for block in self.chain.split_off(keep) {
            let mut txs = block.txs.into_iter();
            lost.extend(txs.next().map(|coinbase| coinbase.txid));
            back.extend(txs);
        }
        back.append(&mut self.mempool);
        self.mempool = back;
        for coinbase in lost {
            self.evict(&coinbase);
        }
    }

    fn update_for(&self, index: &Index, shuffle: usize) -> Update {
        let same = (0..self.chain.len())
            .take_while(|height| index.block_hash(*height) == Some(self.chain[*height].hash));
        let keep = same.count();
        let mut new: Vec<Tx> = self.mempool.clone();
        if !new.is_empty() {
            let at = shuffle % new.len();
            new.rotate_left(at);
        }
        new.retain(|tx| !index.is_waiting(&tx.txid));
        Update {
            keep,
            blocks: self.chain[keep..].to_vec(),
            mempool: Some(MempoolUpdate {
                txids: self.mempool.iter().map(|tx| tx.txid).collect(),
                new,
            }),
        }
    }
}

#[derive(Debug, Clone)]
enum Op {
    Mine(u8, usize),
    Send(usize, Vec<(u8, u64)>),
    Replace(usize, Vec<(u8, u64)>),
    Evict(usize),
    Rewind(usize),
    Look(usize),
}

fn op() -> impl Strategy<Value = Op> {
    let outputs = || prop::collection::vec((0u8..5, 1u64..9), 1..4);
    prop_oneof![
        3 => (1u8..5, 0usize..4).prop_map(|(to, take)| Op::Mine(to, take)),
        4 => (any::<usize>(), outputs()).prop_map(|(pick, outputs)| Op::Send(pick, outputs)),
        1 => (any::<usize>(), outputs()).prop_map(|(pick, outputs)| Op::Replace(pick, outputs)),
        1 => any::<usize>().prop_map(Op::Evict),
        1 => (1usize..5).prop_map(Op::Rewind),
        3 => any::<usize>().prop_map(Op::Look),
    ]
}

/// The balance and the history that the model's own lists say.
fn check_answers(model: &Model, index: &Index) -> Result<(), TestCaseError> {
    let unspent: HashSet<OutPoint> = model.unspent().into_iter().collect();
    for name in 1u8..5 {
        let script = script(name);
        let listed: HashSet<OutPoint> = index
            .unspent(&script)
            .iter()
            .map(|one| one.outpoint)
            .collect();
        let own = |outpoint: &&OutPoint| {
            let tx = index.tx(&outpoint.txid).expect("the index has them all");
            tx.outputs[usize::try_from(outpoint.vout).unwrap()].script == Some(script)
        };
        prop_assert_eq!(&listed, &unspent.iter().filter(own).copied().collect());
        let balance = index.balance(&script).unwrap();
        let total: u64 = index
            .unspent(&script)
            .iter()
            .map(|one| one.amount.sat().unwrap())
            .sum();
        prop_assert_eq!(
            i128::from(balance.confirmed) + balance.unconfirmed,
            i128::from(total)
        );
        let heights: Vec<i64> = index.history(&script).iter().map(|i| i.height).collect();
        let (confirmed, waiting): (Vec<i64>, Vec<i64>) = heights.iter().partition(|h| **h > 0);
        prop_assert!(confirmed.is_sorted());
        prop_assert!(waiting.is_sorted_by(|a, b| a >= b), "{:?}", waiting);
        prop_assert!(heights.starts_with(&confirmed));
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn after_any_changes_it_is_the_one_that_is_built_from_nothing(ops in prop::collection::vec(op(), 1..40)) {
        let mut model = Model::default();
        model.mine(1, 0);
        let mut index = Index::new(&Bitcoin);
        let mut told: HashMap<u8, _> = HashMap::new();
        let mut seen = 0;
        for op in ops.into_iter().chain([Op::Look(0)]) {
            match op {
                Op::Mine(to, take) => model.mine(to, take),
                Op::Send(pick, outputs) => model.send(pick, &outputs),
                Op::Replace(pick, outputs) => model.replace(pick, &outputs),
                Op::Evict(pick) => if !model.mempool.is_empty() {
                    let txid = model.mempool[pick % model.mempool.len()].txid;
                    model.evict(&txid);
                },
                Op::Rewind(depth) => {
                    model.rewind(depth);
                    model.mine(1, 0);
                }
                Op::Look(shuffle) => {
                    let update = model.update_for(&index, shuffle);
                    prop_assert_eq!(index.apply(update), Ok(0));
                    let mut fresh = Index::new(&Bitcoin);
                    fresh.apply(model.update_for(&fresh, 0)).unwrap();
                    prop_assert_eq!(content(&index), content(&fresh));
                    check_answers(&model, &index)?;
                    // Whoever looks only at what was touched misses no change.
                    for name in 1u8..5 {
                        let status = index.status(&script(name));
                        if index.touched_since(&script(name), seen) {
                            told.insert(name, status);
                        }
                        prop_assert_eq!(told.get(&name).copied().flatten(), status);
                    }
                    seen = index.version();
                }
            }
        }
    }
}

/// The example of the protocol's documentation.
#[test]
fn the_status_of_the_protocol_documentation() {
    let confirmed = [
        (
            "a6c9c361bd0bc536d6a22648efbf8f9b200e425ef6c3a7a9669dc444c532a347",
            2472,
        ),
        (
            "9c42f84b2fcdaff676ba25d9d4941741cc0d1a01cce0c23fdc4c0b2afa38431c",
            2473,
        ),
        (
            "770f2d4371b3fabb902dd9a103e2dd005fcd3971181078fca4a2a1d6ff127b30",
            2473,
        ),
        (
            "80b19848aed792565ab7c5a79b7c2a00fbf985741579396ebe0ab6098e607311",
            0,
        ),
        (
            "e02a1dadfa83b996b24175df807b271ea5d02937ef5b35c195fac1e1bdc3198f",
            0,
        ),
        (
            "bb4c8ab438c13b89ca80d1d5bee25b0b6b7f55673f4d801998ba97db161d9e85",
            -1,
        ),
    ];
    let history = confirmed.map(|(txid, height)| HistoryItem {
        txid: txid.parse().unwrap(),
        height,
        fee: None,
    });
    assert_eq!(
        status(&history).unwrap().to_string(),
        "78e96c6562cafa71c115503b9411fdfdc595a45031e2ab76ff75162fe1b0590d"
    );
    assert_eq!(status(&[]), None);
}

/// Those of the mempool come in the protocol's order, whatever order the node lists them in.
#[test]
fn the_mempool_comes_in_its_canonical_order() {
    let mut model = Model::default();
    model.mine(1, 0);
    for _ in 0..4 {
        model.mine(1, 0);
    }
    for _ in 0..3 {
        model.send(0, &[(2, 5), (2, 6)]);
    }
    let parent = model.mempool[0].clone();
    let seed = model.fresh();
    model
        .mempool
        .push(tx(seed, vec![outpoint(&parent, 0)], &[(2, 4)]));
    let mut index = Index::new(&Bitcoin);
    index.apply(model.update_for(&index, 2)).unwrap();
    let waiting = index.waiting(&script(2));
    let heights: Vec<i64> = waiting.iter().map(|item| item.height).collect();
    assert_eq!(heights, [0, 0, 0, -1]);
    let ids: Vec<String> = waiting[..3].iter().map(|i| i.txid.to_string()).collect();
    assert!(ids.is_sorted(), "{ids:?}");
    let child = waiting.last().unwrap();
    assert_eq!(child.fee, Some(1));
}

/// The first block's outputs can be spent on Liquid alone.
#[test]
fn genesis_is_indexed_where_it_can_be_spent() {
    let mut model = Model::default();
    model.mine(1, 0);
    for (chain, count) in [(&Bitcoin as &dyn Chain, 0), (&Elements, 1)] {
        let mut index = Index::new(match count {
            0 => &Bitcoin,
            _ => &Elements,
        });
        index.apply(model.update_for(&index, 0)).unwrap();
        assert_eq!(index.history(&script(1)).len(), count);
        assert_eq!(chain.spends_genesis(), count == 1);
        assert!(index.tx_proof(0, 0).is_some());
    }
}

#[test]
fn a_change_for_another_state_changes_nothing() {
    let mut model = Model::default();
    model.mine(1, 0);
    model.mine(1, 0);
    let mut index = Index::new(&Bitcoin);
    index.apply(model.update_for(&index, 0)).unwrap();
    let stray = block(None, 99, vec![]);
    for keep in [2, 7] {
        let update = Update {
            keep,
            blocks: vec![stray.clone()],
            mempool: None,
        };
        assert_eq!(index.apply(update), Err(DoesNotFollow(keep)));
    }
    assert_eq!(index.block_count(), 2);
}
