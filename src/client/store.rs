//! What a client must never forget, in SQLite: one row for each swap. Knows nothing of what the rows mean.

use std::marker::PhantomData;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rusqlite::{Connection, OptionalExtension as _, params};
use rusqlite_migration::{M, Migrations};
use serde::Serialize;
use serde::de::DeserializeOwned;
use swaprig_units::PaymentHash;
use uuid::Uuid;

/// How long another process may hold the file before a write fails.
const BUSY: Duration = Duration::from_secs(10);

/// Why the store did not do what it was asked to.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The disk, or the file.
    #[error("the client's store {}: {source}", path.display())]
    Database {
        /// The file.
        path: PathBuf,
        /// What SQLite said.
        source: rusqlite::Error,
    },
    /// It cannot be brought to this version's form.
    #[error("the client's store {} cannot be migrated: {source}", path.display())]
    Migration {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: rusqlite_migration::Error,
    },
    /// A row is not a record of this version.
    #[error("the client's store has a row that cannot be read: {0}")]
    Row(String),
    /// Another process changed the swap meanwhile; nothing was written.
    #[error("swap {0} is being driven by another process; nothing was changed")]
    Conflict(Uuid),
    /// Another swap of this client has the same payment hash.
    #[error("another swap has the same payment hash")]
    ReusedHash,
}

/// A swap as a client keeps it: what the store has to know of it.
pub(crate) trait Row: Serialize + DeserializeOwned {
    /// From which its keys are derived.
    fn key_index(&self) -> u32;
    /// The client's name for it.
    fn id(&self) -> Uuid;
    /// The server's name for it, once it is known.
    fn server_id(&self) -> Option<Uuid>;
    /// Its payment hash, once it is known.
    fn payment_hash(&self) -> Option<PaymentHash>;
    /// The name of the stage that it is in.
    fn stage(&self) -> &'static str;
    /// How often it was stored.
    fn version(&self) -> i64;
    /// Notes how often it was stored.
    fn set_version(&mut self, version: i64);
}

/// The swaps of a client, of one kind. Every write is on the disk when it returns.
#[derive(Debug)]
pub(crate) struct Store<R> {
    path: PathBuf,
    connection: Mutex<Connection>,
    rows: PhantomData<fn() -> R>,
}

impl<R: Row> Store<R> {
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
            rows: PhantomData,
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
    pub(crate) fn insert(&self, make: impl FnOnce(u32) -> R) -> Result<R, StoreError> {
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
        record.set_version(1);
        let written = transaction.execute(
            "INSERT INTO swaps (key_index, request_id, payment_hash, stage, record, version)
             VALUES (?1, ?2, ?3, ?4, ?5, 1)",
            params![
                record.key_index(),
                record.id().to_string(),
                record.payment_hash().map(|hash| hash.to_string()),
                record.stage(),
                json(&record)?
            ],
        );
        self.written(written)?;
        transaction.commit().map_err(|e| self.failed(e))?;
        Ok(record)
    }

    /// Writes a swap, unless somebody else has written it since it was read.
    pub(crate) fn update(&self, record: &mut R) -> Result<(), StoreError> {
        let written = self.lock().execute(
            "UPDATE swaps SET swap_id = ?1, payment_hash = ?2, stage = ?3, record = ?4, version = version + 1
             WHERE key_index = ?5 AND version = ?6",
            params![
                record.server_id().map(|id| id.to_string()),
                record.payment_hash().map(|hash| hash.to_string()),
                record.stage(),
                json(record)?,
                record.key_index(),
                record.version()
            ],
        );
        match self.written(written)? {
            0 => Err(StoreError::Conflict(record.id())),
            _ => {
                record.set_version(record.version() + 1);
                Ok(())
            }
        }
    }

    fn written(&self, written: Result<usize, rusqlite::Error>) -> Result<usize, StoreError> {
        written.map_err(|error| match is_unique_violation(&error) {
            true => StoreError::ReusedHash,
            false => self.failed(error),
        })
    }

    /// The swap of a request, or the one that the server calls so.
    pub(crate) fn get(&self, id: Uuid) -> Result<Option<R>, StoreError> {
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
    pub(crate) fn all(&self) -> Result<Vec<R>, StoreError> {
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

fn columns(row: &rusqlite::Row<'_>) -> Result<(String, i64), rusqlite::Error> {
    Ok((row.get(0)?, row.get(1)?))
}

fn read<R: Row>((text, version): (String, i64)) -> Result<R, StoreError> {
    let mut record: R =
        serde_json::from_str(&text).map_err(|error| StoreError::Row(error.to_string()))?;
    record.set_version(version);
    Ok(record)
}

fn json(record: &impl Row) -> Result<String, StoreError> {
    serde_json::to_string(record).map_err(|error| StoreError::Row(error.to_string()))
}

fn is_unique_violation(error: &rusqlite::Error) -> bool {
    let rusqlite::Error::SqliteFailure(failure, _) = error else {
        return false;
    };
    failure.extended_code == rusqlite::ffi::SQLITE_CONSTRAINT_UNIQUE
}

#[cfg(test)]
mod tests {
    use bitcoin::secp256k1::{SECP256K1, SecretKey};
    use elements::{AssetId, Script};
    use swaprig_units::{Height, Msat, PaymentHash, Preimage, Sat, Units};

    use super::*;
    use crate::client::record::{Offer, Record, Request, Stage};
    use crate::swap::SwapId;

    fn record(key_index: u32) -> Record {
        let key = SecretKey::from_slice(&[3; 32]).unwrap();
        Record {
            key_index,
            request: Request {
                request_id: Uuid::new_v4(),
                asset: AssetId::LIQUID_BTC,
                amount: Units(5),
                claimer: key.public_key(SECP256K1),
                min_confirmations: 2,
                max_price: Msat(7),
            },
            swap_id: None,
            offer: None,
            stage: Stage::Created,
            attempts: 0,
            prepaying: false,
            preimage: None,
            claims: Vec::new(),
            refusal: None,
            version: 0,
        }
    }

    fn offer(record: &Record, hash: u8) -> Offer {
        Offer {
            swap_id: SwapId(Uuid::new_v4()),
            invoice: "lnbcrt".into(),
            price: Msat(7),
            payment_hash: PaymentHash([hash; 32]),
            expires_at: 1,
            prepay: None,
            refunder: record.request.claimer,
            timeout: Height(9),
            pay_by: Height(8),
            script: Script::new(),
            fee_value: Sat(0),
            server_height: Height(1),
            takes_payment: false,
            funding: None,
        }
    }

    #[test]
    fn what_was_stored_is_there_when_the_file_is_opened_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("buyer.db");
        let store = Store::<Record>::open(&path).unwrap();
        let mut first = store.insert(record).unwrap();
        let second = store.insert(record).unwrap();
        assert_eq!((first.key_index, second.key_index), (1, 2));
        first.swap_id = Some(SwapId(Uuid::new_v4()));
        first.offer = Some(offer(&first, 1));
        first.preimage = Some(Preimage([4; 32]));
        first.stage = Stage::Claiming;
        store.update(&mut first).unwrap();
        drop(store);

        let store = Store::<Record>::open(&path).unwrap();
        assert_eq!(store.all().unwrap(), [first.clone(), second]);
        let by_server = store.get(first.swap_id.unwrap().0).unwrap();
        assert_eq!(by_server, Some(first.clone()));
        assert_eq!(store.get(first.request.request_id).unwrap(), Some(first));
        assert_eq!(store.get(Uuid::new_v4()).unwrap(), None);
        let mode: String = store
            .lock()
            .query_row("PRAGMA journal_mode", [], |row| row.get(0))
            .unwrap();
        assert_eq!(mode, "wal");
    }

    #[test]
    fn two_that_drive_one_swap_do_not_overwrite_each_other() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("buyer.db");
        let (one, other) = (
            Store::<Record>::open(&path).unwrap(),
            Store::<Record>::open(&path).unwrap(),
        );
        let mut mine = one.insert(record).unwrap();
        let id = mine.request.request_id;
        let mut theirs = other.get(id).unwrap().unwrap();
        mine.stage = Stage::Paying;
        one.update(&mut mine).unwrap();
        theirs.stage = Stage::Refused;
        let error = other.update(&mut theirs).unwrap_err();
        assert!(
            matches!(error, StoreError::Conflict(swap) if swap == id),
            "{error}"
        );
        assert_eq!(other.get(id).unwrap().unwrap().stage, Stage::Paying);
        // Whoever has written may write again.
        mine.stage = Stage::Claiming;
        one.update(&mut mine).unwrap();
    }

    #[test]
    fn a_payment_hash_belongs_to_one_swap() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::<Record>::open(&dir.path().join("buyer.db")).unwrap();
        let (mut one, mut other) = (store.insert(record).unwrap(), store.insert(record).unwrap());
        one.offer = Some(offer(&one, 1));
        store.update(&mut one).unwrap();
        other.offer = Some(offer(&other, 1));
        let error = store.update(&mut other).unwrap_err();
        assert!(matches!(error, StoreError::ReusedHash), "{error}");
        other.offer = Some(offer(&other, 2));
        store.update(&mut other).unwrap();
    }

    #[test]
    fn a_file_of_another_kind_or_a_later_version_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("buyer.db");
        std::fs::write(&path, "this is no database, however long it may be").unwrap();
        assert!(Store::<Record>::open(&path).is_err());
        std::fs::remove_file(&path).unwrap();
        let store = Store::<Record>::open(&path).unwrap();
        store
            .lock()
            .pragma_update(None, "user_version", 99)
            .unwrap();
        drop(store);
        let error = Store::<Record>::open(&path).unwrap_err();
        assert!(matches!(error, StoreError::Migration { .. }), "{error}");
    }
}
