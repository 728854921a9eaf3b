//! The money of servers, as the oracle counts it: by the wallet or the descriptor that their `books` name.

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
        BitcoinBooks::Descriptor(descriptor) => {
            let found = scan(books, descriptor, world, deadline).await?;
            let total = sat(&found["total_amount"]).ok_or_else(|| unreadable("scantxoutset"))?;
            Sat(total)
        }
    };
    Ok(Some((name, held)))
}

/// The unspent outputs of a server on Bitcoin.
pub(super) async fn outputs(
    books: &ServerBooks,
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
        Some(BitcoinBooks::Descriptor(descriptor)) => {
            scan(books, descriptor, world, deadline).await?["unspents"].clone()
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

async fn scan(
    books: &ServerBooks,
    descriptor: &str,
    world: &World,
    deadline: Deadline,
) -> Result<Value, StepFailure> {
    let params = [json!("start"), json!([descriptor])];
    let rpc = world.bitcoind().rpc();
    let found = rpc.call("scantxoutset", &params, deadline).await;
    found.map_err(|error: RpcError| match &error.kind {
        RpcErrorKind::Refused { message, .. } => StepFailure::refused(format!(
            "the books of the server `{}` cannot be read: bitcoind refuses its descriptor: {message}",
            books.server
        )),
        _ => world.error(error).into(),
    })
}
