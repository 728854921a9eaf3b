//! What scripts on Bitcoin hold that steps have given an owner, as the money oracle counts it.

use std::collections::BTreeMap;

use bitcoin::{OutPoint, ScriptBuf};
use serde_json::{Value, json};
use swaprig_harness::World;
use swaprig_harness::time::Deadline;
use swaprig_units::Sat;

use super::StepFailure;
use super::oracle::{sat, unreadable};

/// An unspent output of such a script.
pub(super) struct Owned {
    pub(super) outpoint: OutPoint,
    pub(super) value: Sat,
    pub(super) owner: String,
}

/// All of them that are in blocks.
pub(super) async fn outputs(world: &World, deadline: Deadline) -> Result<Vec<Owned>, StepFailure> {
    let owners = world.owned_scripts();
    if owners.is_empty() {
        return Ok(Vec::new());
    }
    let descriptors: Vec<String> = owners
        .keys()
        .map(|script| format!("raw({})", script.to_hex_string()))
        .collect();
    let params = [json!("start"), json!(descriptors)];
    let rpc = world.bitcoind().rpc();
    let found: Value = rpc
        .call("scantxoutset", &params, deadline)
        .await
        .map_err(|error| world.error(error))?;
    let unspent = found["unspents"].as_array().into_iter().flatten();
    let outputs = unspent.map(|output| read(output, &owners));
    outputs
        .collect::<Option<_>>()
        .ok_or_else(|| unreadable("scantxoutset"))
}

/// Each owner's part, by name.
pub(super) fn books(outputs: &[Owned]) -> BTreeMap<String, Sat> {
    let mut books: BTreeMap<String, Sat> = BTreeMap::new();
    for output in outputs {
        let part = books.entry(output.owner.clone()).or_default();
        part.0 = part.0.saturating_add(output.value.0);
    }
    books
}

fn read(output: &Value, owners: &BTreeMap<ScriptBuf, String>) -> Option<Owned> {
    let script = ScriptBuf::from_hex(output["scriptPubKey"].as_str()?).ok()?;
    let vout = u32::try_from(output["vout"].as_u64()?).ok()?;
    Some(Owned {
        outpoint: OutPoint::new(output["txid"].as_str()?.parse().ok()?, vout),
        value: Sat(sat(&output["amount"])?),
        owner: owners.get(&script)?.clone(),
    })
}
