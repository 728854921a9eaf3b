//! Swaps as rows.

use std::fmt::Display;
use std::str::FromStr;

use bitcoin::OutPoint;
use rusqlite::{Connection, Params, Row, params};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{NewSwap, StoreError, StoredSwap};
use crate::chain::Lock;
use crate::swap::{Status, Swap, status};

pub(super) fn parsed<T: FromStr<Err: Display>>(text: &str) -> Result<T, StoreError> {
    text.parse()
        .map_err(|error| StoreError::Corrupt(format!("{text}: {error}")))
}

pub(super) fn to_json<T: Serialize>(value: &T) -> Result<String, StoreError> {
    serde_json::to_string(value).map_err(|error| StoreError::Corrupt(error.to_string()))
}

pub(super) fn from_json<T: DeserializeOwned>(text: &str) -> Result<T, StoreError> {
    serde_json::from_str(text).map_err(|error| StoreError::Corrupt(format!("{text}: {error}")))
}

/// SQLite has signed numbers only.
pub(super) fn signed(value: u64) -> Result<i64, StoreError> {
    i64::try_from(value).map_err(|_| StoreError::Corrupt(format!("{value} is too large")))
}

pub(super) fn unsigned(value: i64) -> Result<u64, StoreError> {
    u64::try_from(value).map_err(|_| StoreError::Corrupt(format!("{value} is negative")))
}

pub(super) fn status_name(status: Status) -> &'static str {
    match status {
        Status::Created => "created",
        Status::Funded => "funded",
        Status::Claimed => "claimed",
        Status::Refunded => "refunded",
        Status::Failed => "failed",
    }
}

/// An output; earlier versions marked those on Liquid as Elements does.
pub(super) fn outpoint(text: &str) -> Result<OutPoint, StoreError> {
    parsed(text.strip_prefix("[elements]").unwrap_or(text))
}

pub(super) fn insert_swap(
    connection: &Connection,
    new: &NewSwap,
    now: i64,
) -> Result<(), StoreError> {
    let NewSwap { swap, .. } = new;
    let terms = &swap.terms;
    connection
        .prepare_cached(
            "INSERT INTO swaps (id, swap_index, request_id, status, phase, asset, amount, fee_value_sat, price_msat, payment_hash, \
             witness_script, address, timeout, min_confirmations, body, created_at, updated_at, kind) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?16, ?17)",
        )?
        .execute(params![
            swap.id.to_string(),
            swap.index,
            new.request_id.to_string(),
            status_name(status(swap)),
            swap.phase.word(),
            terms.asset.to_string(),
            signed(terms.amount.0)?,
            signed(terms.fee_value.0)?,
            signed(terms.price.0)?,
            terms.payment_hash.to_string(),
            new.witness_script,
            new.address,
            terms.timeout.0,
            terms.min_confirmations,
            to_json(swap)?,
            now,
            terms.kind().word(),
        ])?;
    Ok(())
}

pub(super) fn update_swap(
    connection: &Connection,
    swap: &Swap,
    settled: bool,
    lock: Option<&Lock>,
    now: i64,
) -> Result<(), StoreError> {
    let funding = swap.funding.as_ref();
    let changed = connection
        .prepare_cached(
            "UPDATE swaps SET status = ?2, phase = ?3, settled = ?4, invoice = ?5, funding_txid = ?6, funding_vout = ?7, \
             refund_txid = ?8, spend_txid = ?9, body = ?10, updated_at = ?11, timeout = ?12, \
             witness_script = COALESCE(?13, witness_script), address = COALESCE(?14, address) WHERE id = ?1",
        )?
        .execute(params![
            swap.id.to_string(),
            status_name(status(swap)),
            swap.phase.word(),
            settled,
            swap.invoice,
            funding.map(|funding| funding.txid.to_string()),
            funding.map(|funding| funding.vout),
            swap.own_spend.map(|txid| txid.to_string()),
            swap.spend.as_ref().map(|spend| spend.txid.to_string()),
            to_json(swap)?,
            now,
            swap.terms.timeout.0,
            lock.map(|lock| &lock.witness_script),
            lock.map(|lock| &lock.address),
        ])?;
    match changed {
        1 => Ok(()),
        _ => Err(StoreError::SwapNotFound),
    }
}

fn stored(row: &Row<'_>) -> Result<StoredSwap, StoreError> {
    Ok(StoredSwap {
        swap: from_json(&row.get::<_, String>(0)?)?,
        request_id: parsed(&row.get::<_, String>(1)?)?,
        created_at: row.get(2)?,
        updated_at: row.get(3)?,
    })
}

pub(super) fn many(
    connection: &Connection,
    rest: &str,
    params: impl Params,
) -> Result<Vec<StoredSwap>, StoreError> {
    let query = format!("SELECT body, request_id, created_at, updated_at FROM swaps {rest}");
    let mut statement = connection.prepare_cached(&query)?;
    let mut found = statement.query(params)?;
    let mut swaps = Vec::new();
    while let Some(row) = found.next()? {
        swaps.push(stored(row)?);
    }
    Ok(swaps)
}

pub(super) fn one(
    connection: &Connection,
    rest: &str,
    params: impl Params,
) -> Result<Option<StoredSwap>, StoreError> {
    Ok(many(connection, rest, params)?.pop())
}
