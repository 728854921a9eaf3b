//! What the buyer must never forget, in SQLite: one row for each swap. Knows nothing of what the rows mean.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rusqlite::{Connection, OptionalExtension as _, Row, params};
use rusqlite_migration::{M, Migrations};
use uuid::Uuid;

use super::record::Record;

/// How long another process may hold the file before a write fails.
const BUSY: Duration = Duration::from_secs(10);

/// Why the store did not do what it was asked to.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The disk, or the file.
    #[error("the buyer's store {}: {source}", path.display())]
    Database {
        /// The file.
        path: PathBuf,
        /// What SQLite said.
        source: rusqlite::Error,
    },
    /// It cannot be brought to this version's form.
    #[error("the buyer's store {} cannot be migrated: {source}", path.display())]
    Migration {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: rusqlite_migration::Error,
    },
    /// A row is not a record of this version.
    #[error("the buyer's store has a row that cannot be read: {0}")]
    Row(String),
    /// Another process changed the swap meanwhile; nothing was written.
    #[error("swap {0} is being driven by another process; nothing was changed")]
    Conflict(Uuid),
    /// Another swap of this buyer has the same payment hash.
    #[error("another swap has the same payment hash")]
    ReusedHash,
}

/// The buyer's swaps. Every write is on the disk when it returns.
#[derive(Debug)]
pub(crate) struct Store {
    path: PathBuf,
    connection: Mutex<Connection>,
}

impl Store {
    /// Opens or makes the file, and brings it to this version's form.
    pub(crate) fn open(path: &Path) -> Result<Self, StoreError> {
        let database = |source| StoreError::Database {
            path: path.to_owned(),
            source,
        };
        let mut connection = Connection::open(path).map_err(database)?;
        connection.busy_timeout(BUSY).map_err(database)?;
        connection
            .pragma_update(None, "journal_mode", "WAL")
            .map_err(database)?;
        // A preimage must survive a power cut, too.
        connection
            .pragma_update(None, "synchronous", "FULL")
            .map_err(database)?;
        Migrations::new(vec![M::up(include_str!("store.sql"))])
            .to_latest(&mut connection)
            .map_err(|source| StoreError::Migration {
                path: path.to_owned(),
                source,
            })?;
        Ok(Store {
            path: path.to_owned(),
            connection: Mutex::new(connection),
        })
    }

    fn lock(&self) -> MutexGuard<'_, Connection> {
        self.connection
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn failed(&self, source: rusqlite::Error) -> StoreError {
        StoreError::Database {
            path: self.path.clone(),
            source,
        }
    }

    /// Stores a new swap that `make` gives for its index, which was never used before.
    pub(crate) fn insert(&self, make: impl FnOnce(u32) -> Record) -> Result<Record, StoreError> {
        let mut connection = self.lock();
        let behaviour = rusqlite::TransactionBehavior::Immediate;
        let transaction = connection
            .transaction_with_behavior(behaviour)
            .map_err(|e| self.failed(e))?;
        let last: Option<u32> = transaction
            .query_row(
                "SELECT seq FROM sqlite_sequence WHERE name = 'swaps'",
                [],
                |row| row.get(0),
            )
            .optional()
            .map_err(|e| self.failed(e))?;
        let mut record = make(last.unwrap_or(0) + 1);
        record.version = 1;
        transaction
            .execute(
                "INSERT INTO swaps (key_index, request_id, stage, record, version) VALUES (?1, ?2, ?3, ?4, 1)",
                params![record.key_index, record.request.request_id.to_string(), record.stage.name(), json(&record)?],
            )
            .map_err(|e| self.failed(e))?;
        transaction.commit().map_err(|e| self.failed(e))?;
        Ok(record)
    }

    /// Writes a swap, unless somebody else has written it since it was read.
    pub(crate) fn update(&self, record: &mut Record) -> Result<(), StoreError> {
        let hash = record
            .offer
            .as_ref()
            .map(|offer| offer.payment_hash.to_string());
        let written = self.lock().execute(
            "UPDATE swaps SET swap_id = ?1, payment_hash = ?2, stage = ?3, record = ?4, version = version + 1
             WHERE key_index = ?5 AND version = ?6",
            params![
                record.swap_id.map(|id| id.to_string()),
                hash,
                record.stage.name(),
                json(record)?,
                record.key_index,
                record.version
            ],
        );
        match written {
            Ok(0) => Err(StoreError::Conflict(record.request.request_id)),
            Ok(_) => {
                record.version += 1;
                Ok(())
            }
            Err(error) if is_unique_violation(&error) => Err(StoreError::ReusedHash),
            Err(error) => Err(self.failed(error)),
        }
    }

    /// The swap of a request, or the one that the server calls so.
    pub(crate) fn get(&self, id: Uuid) -> Result<Option<Record>, StoreError> {
        let connection = self.lock();
        let found = connection
            .query_row(
                "SELECT record, version FROM swaps WHERE request_id = ?1 OR swap_id = ?1
                 ORDER BY request_id = ?1 DESC LIMIT 1",
                params![id.to_string()],
                columns,
            )
            .optional();
        found.map_err(|e| self.failed(e))?.map(read).transpose()
    }

    /// All swaps, oldest first.
    pub(crate) fn all(&self) -> Result<Vec<Record>, StoreError> {
        let connection = self.lock();
        let rows = || -> Result<Vec<(String, i64)>, rusqlite::Error> {
            connection
                .prepare("SELECT record, version FROM swaps ORDER BY key_index")?
                .query_map([], columns)?
                .collect()
        };
        let rows = rows().map_err(|e| self.failed(e))?;
        rows.into_iter().map(read).collect()
    }
}

fn columns(row: &Row<'_>) -> Result<(String, i64), rusqlite::Error> {
    Ok((row.get(0)?, row.get(1)?))
}

fn read((text, version): (String, i64)) -> Result<Record, StoreError> {
    let mut record: Record =
        serde_json::from_str(&text).map_err(|error| StoreError::Row(error.to_string()))?;
    record.version = version;
    Ok(record)
}

fn json(record: &Record) -> Result<String, StoreError> {
    serde_json::to_string(record).map_err(|error| StoreError::Row(error.to_string()))
}

fn is_unique_violation(error: &rusqlite::Error) -> bool {
    let rusqlite::Error::SqliteFailure(failure, _) = error else {
        return false;
    };
    failure.extended_code == rusqlite::ffi::SQLITE_CONSTRAINT_UNIQUE
}
