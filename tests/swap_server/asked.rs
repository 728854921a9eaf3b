//! What the tests ask of a server, and what they find in its store.

use std::time::Duration;

use futures_util::future::join_all;
use rusqlite::{Connection, OpenFlags, Params};
use swaprig_harness::elementsd::lbtc;
use swaprig_proto::v1;
use tonic::{Code, Status};

use crate::desk::Desk;

/// The server's store, which is only read.
pub(crate) fn store(desk: &Desk) -> Connection {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY;
    let connection = Connection::open_with_flags(desk.dir().join("swaps.db"), flags).unwrap();
    connection.busy_timeout(Duration::from_secs(10)).unwrap();
    connection
}

/// A number out of the server's store.
pub(crate) fn in_store(desk: &Desk, query: &str, params: impl Params) -> i64 {
    store(desk)
        .query_row(query, params, |row| row.get(0))
        .unwrap()
}

/// How many coins a swap has; released ones are not its own.
pub(crate) fn coins_of(desk: &Desk, swap: &str) -> i64 {
    let query = "SELECT COUNT(*) FROM reservations WHERE swap_id = ?1 AND state <> 'released'";
    in_store(desk, query, [swap])
}

pub(crate) async fn create(
    desk: &Desk,
    request: &v1::CreateSwapRequest,
) -> Result<v1::Swap, Status> {
    let answer = desk.swaps().create_swap(request.clone()).await?;
    Ok(answer.into_inner().swap.unwrap())
}

/// What the server has of L-BTC, once nothing of it waits for a block or is reserved.
pub(crate) async fn settled(desk: &Desk) -> v1::Inventory {
    let lbtc = lbtc().to_string();
    desk.until("all coins to be free", async || {
        let stocks = desk.stocks().await.map_err(|status| status.to_string())?;
        let stock = stocks.assets.into_iter().find(|one| one.asset_id == lbtc);
        match stock {
            Some(stock) if stock.pending + stock.reserved == 0 => Ok(stock),
            other => Err(format!("{other:?}")),
        }
    })
    .await
}

/// As many callers as there are requests, each with a connection of its own, all at once.
pub(crate) async fn at_once(
    desk: &Desk,
    requests: &[v1::CreateSwapRequest],
) -> Vec<Result<v1::Swap, Status>> {
    join_all(requests.iter().map(|request| create(desk, request))).await
}

/// The answer is a refusal that says so.
#[track_caller]
pub(crate) fn refused<T: std::fmt::Debug>(answer: Result<T, Status>, code: Code, says: &str) {
    let status = answer.unwrap_err();
    assert_eq!(status.code(), code, "{status}");
    assert!(status.message().contains(says), "{says}: {status}");
}
