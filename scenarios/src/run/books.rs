//! The money of servers, as the oracle counts it: by the wallet or the descriptor that their `books` name.

use std::collections::BTreeMap;

use bitcoin::OutPoint;
use serde_json::{Value, json};
use swaprig_harness::World;
use swaprig_harness::bitcoind::{RpcError, RpcErrorKind};
use swaprig_harness::time::Deadline;
use swaprig_units::Sat;

use super::StepFailure;
use super::oracle::{sat, unreadable, wallet_total};
use crate::lang::{BitcoinBooks, ServerBooks};

/// What a server has on Bitcoin, and under which name the sheet has it; `None` when its books name nothing there.
pub(super) async fn on_bitcoin(
    books: &ServerBooks,
    derived: &mut Derived,
    world: &World,
    deadline: Deadline,
) -> Result<Option<(String, Sat)>, StepFailure> {
    let Some(place) = &books.bitcoin else {
        return Ok(None);
    };
    let mut name = format!("{} ({place})", books.server);
    let held = match place {
        BitcoinBooks::Wallet(wallet) => {
            let rpc = world.bitcoind().rpc();
            let answer: Result<Value, RpcError> = rpc
                .call_of_wallet(wallet, "getbalances", &[], deadline)
                .await;
            match answer {
                Ok(balances) => wallet_total(&balances)?,
                // It may make its wallet later; if it never does, the sheet says so.
                Err(error) if error.kind.is_no_wallet() => {
                    name = format!("{} ({place}, which bitcoind has not loaded)", books.server);
                    Sat(0)
                }
                Err(error) => return Err(world.error(error).into()),
            }
        }
        BitcoinBooks::Descriptor(_) | BitcoinBooks::DescriptorFile(_) => {
            match derived.descriptors(books, world, deadline).await? {
                Ok(descriptors) => {
                    let found = scan(books, &descriptors, world, deadline).await?;
                    let total = sat(&found["total_amount"]);
                    Sat(total.ok_or_else(|| unreadable("scantxoutset"))?)
                }
                Err(why) => {
                    name = format!("{} ({place}: {why})", books.server);
                    Sat(0)
                }
            }
        }
    };
    Ok(Some((name, held)))
}

/// The unspent outputs of a server on Bitcoin.
pub(super) async fn outputs(
    books: &ServerBooks,
    derived: &mut Derived,
    world: &World,
    deadline: Deadline,
) -> Result<Vec<OutPoint>, StepFailure> {
    let unspent = match &books.bitcoin {
        None => return Ok(Vec::new()),
        Some(BitcoinBooks::Wallet(wallet)) => {
            let rpc = world.bitcoind().rpc();
            let answer: Result<Value, RpcError> = rpc
                .call_of_wallet(wallet, "listunspent", &[json!(0)], deadline)
                .await;
            match answer {
                Ok(unspent) => unspent,
                Err(error) if error.kind.is_no_wallet() => return Ok(Vec::new()),
                Err(error) => return Err(world.error(error).into()),
            }
        }
        Some(BitcoinBooks::Descriptor(_) | BitcoinBooks::DescriptorFile(_)) => {
            match derived.descriptors(books, world, deadline).await? {
                Ok(found) => scan(books, &found, world, deadline).await?["unspents"].clone(),
                Err(_) => return Ok(Vec::new()),
            }
        }
    };
    let outputs = unspent.as_array().into_iter().flatten().map(|output| {
        let vout = u32::try_from(output["vout"].as_u64()?).ok()?;
        Some(OutPoint::new(output["txid"].as_str()?.parse().ok()?, vout))
    });
    outputs
        .collect::<Option<_>>()
        .ok_or_else(|| unreadable("listunspent"))
}

/// The addresses of the descriptors that servers write, by descriptor: deriving a thousand of them takes bitcoind long.
#[derive(Debug, Default)]
pub(super) struct Derived(BTreeMap<String, Vec<String>>);

/// Of a ranged descriptor the first 1,001, as `scantxoutset` has it, too.
const RANGE: [u32; 2] = [0, 1_000];

impl Derived {
    /// What is to be scanned for; or why it is not there yet, which the sheet says.
    async fn descriptors(
        &mut self,
        books: &ServerBooks,
        world: &World,
        deadline: Deadline,
    ) -> Result<Result<Vec<String>, String>, StepFailure> {
        let path = match &books.bitcoin {
            None | Some(BitcoinBooks::Wallet(_)) => return Ok(Ok(Vec::new())),
            Some(BitcoinBooks::Descriptor(descriptor)) => return Ok(Ok(vec![descriptor.clone()])),
            Some(BitcoinBooks::DescriptorFile(path)) => path,
        };
        let path = world.server(&books.server)?.dir().join(path);
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) => return Ok(Err(error.to_string())),
        };
        let mut all = Vec::new();
        for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
            if !self.0.contains_key(line) {
                let derived = derive(line, RANGE, world, deadline).await;
                let derived = derived.map_err(|error| refused(books, world, error))?;
                let each = derived.iter().map(|address| format!("addr({address})"));
                self.0.insert(line.to_owned(), each.collect());
            }
            all.extend(self.0.get(line).into_iter().flatten().cloned());
        }
        Ok(Ok(all))
    }
}

/// The addresses of a descriptor; of a ranged one those of this range, both ends included.
pub(super) async fn derive(
    descriptor: &str,
    range: [u32; 2],
    world: &World,
    deadline: Deadline,
) -> Result<Vec<String>, RpcError> {
    let rpc = world.bitcoind().rpc();
    let params = [json!(descriptor)];
    let known: Value = rpc.call("getdescriptorinfo", &params, deadline).await?;
    let mut params = vec![known["descriptor"].clone()];
    if known["isrange"] == json!(true) {
        params.push(json!(range));
    }
    rpc.call("deriveaddresses", &params, deadline).await
}

async fn scan(
    books: &ServerBooks,
    descriptors: &[String],
    world: &World,
    deadline: Deadline,
) -> Result<Value, StepFailure> {
    let params = [json!("start"), json!(descriptors)];
    let rpc = world.bitcoind().rpc();
    let found = rpc.call("scantxoutset", &params, deadline).await;
    found.map_err(|error| refused(books, world, error))
}

fn refused(books: &ServerBooks, world: &World, error: RpcError) -> StepFailure {
    match &error.kind {
        RpcErrorKind::Refused { message, .. } => StepFailure::refused(format!(
            "the books of the server `{}` cannot be read: bitcoind refuses its descriptor: {message}",
            books.server
        )),
        _ => world.error(error).into(),
    }
}
