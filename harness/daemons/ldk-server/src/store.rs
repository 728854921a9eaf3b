//! ldk-node's key-value store for regtest: the same SQLite file, without waiting for the disk.
//!
//! ldk-node's own store syncs every write to disk, some thirty of them in a payment. Coins on regtest need not survive
//! a power cut, only a killed process, and for that it is enough that the kernel has the data. Table and schema
//! version are ldk-node's, so either store opens the other's file. Other networks use ldk-node's.

use std::future::{Future, ready};
use std::path::Path;
use std::pin::Pin;
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use anyhow::{Context, bail};
use ldk_node::lightning::io;
use ldk_node::lightning::util::persist::{KVStore, KVStoreSync};
use rusqlite::{Connection, OptionalExtension, params};

const FILE_NAME: &str = ldk_node::io::sqlite_store::SQLITE_DB_FILE_NAME;

/// How long a predecessor that is on its way out may keep the file locked.
const LOCK_TIMEOUT: Duration = Duration::from_millis(500);

/// The schema version that ldk-node 0.7 writes.
const SCHEMA_VERSION: u16 = 2;

const SETUP: &str = "
    PRAGMA locking_mode = EXCLUSIVE;
    PRAGMA journal_mode = WAL;
    PRAGMA synchronous = OFF;
";

const CREATE: &str = "
    CREATE TABLE IF NOT EXISTS ldk_node_data (
        primary_namespace TEXT NOT NULL,
        secondary_namespace TEXT DEFAULT \"\" NOT NULL,
        key TEXT NOT NULL CHECK (key <> ''),
        value BLOB,
        PRIMARY KEY (primary_namespace, secondary_namespace, key)
    );
";

const READ: &str = "SELECT value FROM ldk_node_data WHERE primary_namespace = ?1 AND secondary_namespace = ?2 AND key = ?3";
const WRITE: &str = "INSERT OR REPLACE INTO ldk_node_data VALUES (?1, ?2, ?3, ?4)";
const REMOVE: &str = "DELETE FROM ldk_node_data WHERE primary_namespace = ?1 AND secondary_namespace = ?2 AND key = ?3";
const LIST: &str =
    "SELECT key FROM ldk_node_data WHERE primary_namespace = ?1 AND secondary_namespace = ?2";

/// A store whose every operation is done when the call returns: with no disk to wait for, handing the work to another
/// thread would take longer than the work.
pub(crate) struct Store {
    connection: Mutex<Connection>,
}

type AsyncResult<T> = Pin<Box<dyn Future<Output = Result<T, io::Error>> + Send>>;

impl Store {
    /// Opens or creates the store in a directory that exists.
    ///
    /// # Errors
    /// Also when another process has it open.
    pub(crate) fn open(dir: &Path) -> anyhow::Result<Self> {
        let path = dir.join(FILE_NAME);
        let connection = Self::open_file(&path)
            .with_context(|| format!("cannot use the database {}", path.display()))?;
        Ok(Self {
            connection: Mutex::new(connection),
        })
    }

    fn open_file(path: &Path) -> anyhow::Result<Connection> {
        let connection = Connection::open(path)?;
        connection.busy_timeout(LOCK_TIMEOUT)?;
        connection.execute_batch(SETUP)?;
        match connection.query_row("PRAGMA user_version", [], |row| row.get::<_, u16>(0))? {
            SCHEMA_VERSION => {}
            0 => connection.pragma_update(None, "user_version", SCHEMA_VERSION)?,
            other => bail!("it has schema version {other}, ldk-node 0.7 writes {SCHEMA_VERSION}"),
        }
        connection.execute_batch(CREATE)?;
        Ok(connection)
    }

    fn connection(&self) -> MutexGuard<'_, Connection> {
        self.connection.lock().expect("a panic ends the process")
    }
}

fn failed(doing: &str, error: &rusqlite::Error) -> io::Error {
    io::Error::new(
        io::ErrorKind::Other,
        format!("cannot {doing} the node's database: {error}"),
    )
}

impl KVStoreSync for Store {
    fn read(&self, primary: &str, secondary: &str, key: &str) -> Result<Vec<u8>, io::Error> {
        let connection = self.connection();
        let read = || {
            connection
                .prepare_cached(READ)?
                .query_row(params![primary, secondary, key], |row| row.get(0))
                .optional()
        };
        match read() {
            Ok(Some(value)) => Ok(value),
            Ok(None) => Err(io::Error::new(
                io::ErrorKind::NotFound,
                format!("no entry {primary}/{secondary}/{key}"),
            )),
            Err(error) => Err(failed("read", &error)),
        }
    }

    fn write(
        &self,
        primary: &str,
        secondary: &str,
        key: &str,
        value: Vec<u8>,
    ) -> Result<(), io::Error> {
        let connection = self.connection();
        let write = || {
            connection
                .prepare_cached(WRITE)?
                .execute(params![primary, secondary, key, value])
        };
        write().map(|_| ()).map_err(|error| failed("write", &error))
    }

    fn remove(
        &self,
        primary: &str,
        secondary: &str,
        key: &str,
        _lazy: bool,
    ) -> Result<(), io::Error> {
        let connection = self.connection();
        let remove = || {
            connection
                .prepare_cached(REMOVE)?
                .execute(params![primary, secondary, key])
        };
        remove()
            .map(|_| ())
            .map_err(|error| failed("remove from", &error))
    }

    fn list(&self, primary: &str, secondary: &str) -> Result<Vec<String>, io::Error> {
        let connection = self.connection();
        let list = || {
            let mut statement = connection.prepare_cached(LIST)?;
            let keys = statement.query_map(params![primary, secondary], |row| row.get(0))?;
            keys.collect::<Result<_, _>>()
        };
        list().map_err(|error| failed("list", &error))
    }
}

/// Writes are applied in the order of the calls, as the trait demands, because they are applied in the calls.
impl KVStore for Store {
    fn read(&self, primary: &str, secondary: &str, key: &str) -> AsyncResult<Vec<u8>> {
        Box::pin(ready(KVStoreSync::read(self, primary, secondary, key)))
    }

    fn write(&self, primary: &str, secondary: &str, key: &str, value: Vec<u8>) -> AsyncResult<()> {
        Box::pin(ready(KVStoreSync::write(
            self, primary, secondary, key, value,
        )))
    }

    fn remove(&self, primary: &str, secondary: &str, key: &str, lazy: bool) -> AsyncResult<()> {
        Box::pin(ready(KVStoreSync::remove(
            self, primary, secondary, key, lazy,
        )))
    }

    fn list(&self, primary: &str, secondary: &str) -> AsyncResult<Vec<String>> {
        Box::pin(ready(KVStoreSync::list(self, primary, secondary)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ldk_node::io::sqlite_store::{KV_TABLE_NAME, SqliteStore};

    #[test]
    fn what_was_written_is_there_after_reopening() {
        let dir = tempfile::tempdir().unwrap();
        {
            let store = Store::open(dir.path()).unwrap();
            KVStoreSync::write(&store, "a", "b", "1", vec![1]).unwrap();
            KVStoreSync::write(&store, "a", "b", "2", vec![2]).unwrap();
            KVStoreSync::write(&store, "a", "b", "1", vec![3]).unwrap();
            KVStoreSync::write(&store, "a", "", "3", vec![]).unwrap();
            KVStoreSync::remove(&store, "a", "b", "2", false).unwrap();
            KVStoreSync::remove(&store, "a", "b", "never there", false).unwrap();
        }
        let store = Store::open(dir.path()).unwrap();
        assert_eq!(KVStoreSync::read(&store, "a", "b", "1").unwrap(), [3]);
        assert_eq!(
            KVStoreSync::read(&store, "a", "", "3").unwrap(),
            Vec::<u8>::new()
        );
        assert_eq!(
            KVStoreSync::read(&store, "a", "b", "2").unwrap_err().kind(),
            io::ErrorKind::NotFound
        );
        assert_eq!(KVStoreSync::list(&store, "a", "b").unwrap(), ["1"]);
        assert!(KVStoreSync::list(&store, "x", "").unwrap().is_empty());
    }

    #[test]
    fn it_shares_its_file_with_ldk_nodes_own_store() {
        let dir = tempfile::tempdir().unwrap();
        KVStoreSync::write(&Store::open(dir.path()).unwrap(), "a", "", "ours", vec![1]).unwrap();
        {
            let theirs = SqliteStore::new(
                dir.path().into(),
                Some(FILE_NAME.into()),
                Some(KV_TABLE_NAME.into()),
            )
            .unwrap();
            assert_eq!(KVStoreSync::read(&theirs, "a", "", "ours").unwrap(), [1]);
            KVStoreSync::write(&theirs, "a", "", "theirs", vec![2]).unwrap();
        }
        assert_eq!(
            KVStoreSync::read(&Store::open(dir.path()).unwrap(), "a", "", "theirs").unwrap(),
            [2]
        );
    }

    #[test]
    fn a_directory_has_one_daemon() {
        let dir = tempfile::tempdir().unwrap();
        let _first = Store::open(dir.path()).unwrap();
        let message = format!("{:#}", Store::open(dir.path()).err().unwrap());
        assert!(
            message.contains("ldk_node_data.sqlite") && message.contains("locked"),
            "{message}"
        );
    }
}
