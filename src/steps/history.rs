//! What happened to the coins of a script on Liquid, read from the node's blocks and its mempool.

use bitcoin::hex::FromHex as _;
use elements::{OutPoint, Script, Transaction, Txid, encode};
use serde_json::{Value, json};
use swaprig_harness::World;
use swaprig_harness::elementsd::Call;
use swaprig_harness::time::Deadline;
use swaprig_scenarios::run::StepFailure;
use swaprig_units::Height;

/// How many calls go into one request.
const BATCH: usize = 500;

/// An output that pays to the script.
#[derive(Debug, Clone)]
pub(super) struct Paid {
    pub(super) outpoint: OutPoint,
    pub(super) output: elements::TxOut,
    /// Whether it is in a block.
    pub(super) confirmed: bool,
    /// What spends it.
    pub(super) spent: Option<Spent>,
}

/// How an output was spent.
#[derive(Debug, Clone)]
pub(super) struct Spent {
    pub(super) by: Txid,
    pub(super) witness: Vec<Vec<u8>>,
    /// Whether it is in a block.
    pub(super) confirmed: bool,
}

/// Every output that paid to `script` in a block after `from` or waits for one, the oldest first.
pub(super) async fn of_script(
    script: &Script,
    from: Height,
    world: &World,
    deadline: Deadline,
) -> Result<Vec<Paid>, StepFailure> {
    let rpc = world.liquid()?.elementsd().rpc();
    let fail = |error| StepFailure::from(world.error(error));
    // The mempool first: what is mined in between is then met twice, and not missed.
    let waiting = rpc.mempool(deadline).await.map_err(fail)?;
    let calls: Vec<Call> = waiting
        .iter()
        .map(|txid| Call::new("getrawtransaction", [json!(txid)]))
        .collect();
    let waiting = match rpc.batch(&calls, deadline).await {
        Ok(answers) => answers,
        // It is in a block by now.
        Err(error) if error.kind.is_not_found() => Vec::new(),
        Err(error) => return Err(fail(error)),
    };
    let tip = rpc.tip(deadline).await.map_err(fail)?.height;
    let mut paid = Vec::new();
    let heights: Vec<u32> = (from.0 + 1..=tip.0).collect();
    for heights in heights.chunks(BATCH) {
        let calls = heights
            .iter()
            .map(|height| Call::new("getblockhash", [json!(height)]));
        let hashes = rpc.batch(&calls.collect::<Vec<_>>(), deadline).await;
        let calls = hashes
            .map_err(fail)?
            .into_iter()
            .map(|hash| Call::new("getblock", [hash, json!(0)]));
        let blocks = rpc.batch(&calls.collect::<Vec<_>>(), deadline).await;
        for block in blocks.map_err(fail)? {
            let block: elements::Block = decode(&block, "getblock")?;
            for transaction in &block.txdata {
                take_in(script, transaction, true, &mut paid);
            }
        }
    }
    for transaction in &waiting {
        let transaction: Transaction = decode(transaction, "getrawtransaction")?;
        take_in(script, &transaction, false, &mut paid);
    }
    // A spend may stand before what it spends in the list of the mempool.
    for transaction in &waiting {
        let transaction: Transaction = decode(transaction, "getrawtransaction")?;
        mark_spent(&transaction, false, &mut paid);
    }
    Ok(paid)
}

fn decode<T: encode::Decodable>(hex: &Value, method: &str) -> Result<T, StepFailure> {
    let unreadable =
        || StepFailure::refused(format!("elementsd's answer to {method} cannot be read"));
    let bytes = Vec::from_hex(hex.as_str().unwrap_or("-")).map_err(|_| unreadable())?;
    encode::deserialize(&bytes).map_err(|_| unreadable())
}

fn take_in(script: &Script, transaction: &Transaction, confirmed: bool, paid: &mut Vec<Paid>) {
    mark_spent(transaction, confirmed, paid);
    let txid = transaction.txid();
    for (vout, output) in (0..).zip(&transaction.output) {
        let outpoint = OutPoint::new(txid, vout);
        if output.script_pubkey == *script && paid.iter().all(|known| known.outpoint != outpoint) {
            paid.push(Paid {
                outpoint,
                output: output.clone(),
                confirmed,
                spent: None,
            });
        }
    }
}

fn mark_spent(transaction: &Transaction, confirmed: bool, paid: &mut [Paid]) {
    for input in &transaction.input {
        let spent = paid
            .iter_mut()
            .find(|paid| paid.outpoint == input.previous_output);
        if let Some(paid) = spent
            && paid.spent.is_none()
        {
            paid.spent = Some(Spent {
                by: transaction.txid(),
                witness: input.witness.script_witness.to_vec(),
                confirmed,
            });
        }
    }
}
