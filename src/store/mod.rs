//! What the server must never forget, in SQLite: swaps, request ids, reserved coins, effects, cursors.
//!
//! Whatever a call wrote is on disk when it returns (`synchronous = FULL`), and a call that fails has written nothing.
//! A crash between two calls leaves the state after the first. It does not decide anything about swaps.

mod index;
mod rows;
mod writer;

use std::collections::HashMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{SystemTime, UNIX_EPOCH};

use bitcoin::OutPoint;
use elements::AssetId;
use rusqlite::{Connection, OpenFlags, OptionalExtension as _, params};
use rusqlite_migration::{M, Migrations};
use rustix::fs::{FlockOperation, flock};
use swaprig_units::{Height, PaymentHash};
use uuid::Uuid;

use crate::chain::Lock;
use crate::config::Sale;
use crate::swap::{Asset, Effect, Kind, Status, Swap, SwapId};
use writer::Writer;

/// Why the store did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The file cannot be opened or locked.
    #[error("{}: {source}", path.display())]
    Io {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Another server has it open: two on one store would fund twice.
    #[error("{} is used by another swap server; one store belongs to one server", path.display())]
    InUse {
        /// Which file.
        path: PathBuf,
    },
    /// It was written by a newer version, or is no store.
    #[error("{} cannot be brought to this version: {reason}", path.display())]
    Migration {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// SQLite refused.
    #[error("the store: {0}")]
    Sqlite(#[from] rusqlite::Error),
    /// What was to be written could not be committed.
    #[error("the store could not commit: {0}")]
    Commit(String),
    /// A row does not say what this version wrote.
    #[error("the store has an unreadable row: {0}")]
    Corrupt(String),
    /// Another request had this request id.
    #[error("request id {request_id} was used by another request")]
    RequestConflict {
        /// Which.
        request_id: Uuid,
    },
    /// A coin belongs to another swap.
    #[error("coin {outpoint} is reserved for another swap")]
    CoinTaken {
        /// Which.
        outpoint: String,
    },
    /// No such swap.
    #[error("swap not found")]
    SwapNotFound,
    /// The server is stopping.
    #[error("the store is closed")]
    Stopped,
}

/// A coin that a swap uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReservedCoin {
    /// Which.
    pub outpoint: OutPoint,
    /// Of what asset.
    pub asset: Asset,
    /// How much, in the asset's smallest parts.
    pub value: u64,
}

/// A swap to be made.
#[derive(Debug, Clone)]
pub struct NewSwap {
    /// In its first phase.
    pub swap: Swap,
    /// The caller's key.
    pub request_id: Uuid,
    /// SHA-256 of the request.
    pub fingerprint: [u8; 32],
    /// What it will be funded from.
    pub coins: Vec<ReservedCoin>,
    /// What is to be done first.
    pub effects: Vec<Effect>,
    /// The HTLC's witness script and address, for people who read the store.
    pub witness_script: String,
    /// See `witness_script`.
    pub address: String,
}

/// A stored effect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredEffect {
    /// Its name in the store.
    pub id: i64,
    /// Whose.
    pub swap: SwapId,
    /// What is to be done.
    pub effect: Effect,
}

/// What came of [`Store::create`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Created {
    /// It is stored, with its effects.
    New(Vec<StoredEffect>),
    /// The same request had made this swap before; nothing was written.
    Existing(SwapId),
}

/// A swap with what the store knows beside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredSwap {
    /// The swap.
    pub swap: Swap,
    /// The key of the request that made it.
    pub request_id: Uuid,
    /// When it was made; milliseconds since 1970.
    pub created_at: i64,
    /// When it changed last; milliseconds since 1970.
    pub updated_at: i64,
}

/// What became of the coins of a swap with a transition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Coins {
    /// Nothing.
    Keep,
    /// A signed transaction spends them.
    Spent,
    /// Others may use them.
    Release,
}

/// The store of one server.
#[derive(Debug)]
pub struct Store {
    writer: Writer,
    reader: Mutex<Connection>,
    path: PathBuf,
    /// Held as long as the store is open.
    _lock: File,
}

fn migrations() -> Migrations<'static> {
    Migrations::new(vec![
        M::up(include_str!("schema.sql")),
        M::up(include_str!("schema2.sql")),
        M::up(include_str!("schema3.sql")),
    ])
}

fn connect(path: &Path, flags: OpenFlags) -> Result<Connection, StoreError> {
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(std::time::Duration::from_secs(5))?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "foreign_keys", "ON")?;
    connection.set_prepared_statement_cache_capacity(64);
    Ok(connection)
}

#[expect(
    clippy::disallowed_methods,
    reason = "rows say when they were written, and a prepay invoice expires at a time of day (BOLT 11)"
)]
pub(crate) fn now_millis() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| {
        i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
    })
}

impl Store {
    /// Opens the file, makes it when it is not there, and brings it to this version.
    ///
    /// # Errors
    ///
    /// When it cannot be opened, is in use, or is of a newer version.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let lock = lock(path)?;
        let flags = OpenFlags::default();
        let mut connection = connect(path, flags)?;
        migrations()
            .to_latest(&mut connection)
            .map_err(|error| StoreError::Migration {
                path: path.to_owned(),
                reason: error.to_string(),
            })?;
        let reader = connect(path, flags)?;
        Ok(Self {
            writer: Writer::start(connection, path)?,
            reader: Mutex::new(reader),
            path: path.to_owned(),
            _lock: lock,
        })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn read<T>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        // A panic while reading leaves nothing behind that the next reader could see.
        let reader = self.reader.lock();
        let reader = reader.unwrap_or_else(std::sync::PoisonError::into_inner);
        work(&reader)
    }

    /// Stores a new swap with its request id, its coins and its effects: all or nothing.
    ///
    /// # Errors
    ///
    /// [`StoreError::RequestConflict`], [`StoreError::CoinTaken`], and when the disk fails. Then nothing was written.
    pub async fn create(&self, new: NewSwap) -> Result<Created, StoreError> {
        self.writer
            .write(move |connection| create(connection, &new))
            .await
    }

    /// The swap of a request.
    ///
    /// # Errors
    ///
    /// [`StoreError::RequestConflict`] when another request had this id; when the disk fails.
    pub fn by_request(
        &self,
        request_id: Uuid,
        fingerprint: &[u8; 32],
    ) -> Result<Option<SwapId>, StoreError> {
        self.read(|connection| by_request(connection, request_id, fingerprint))
    }

    /// Stores a swap after a transition, what is to be done now, and that an effect was done. Effects that are pending
    /// already are not doubled; the new ones are returned.
    ///
    /// # Errors
    ///
    /// [`StoreError::SwapNotFound`], and when the disk fails. Then nothing was written.
    pub async fn update(
        &self,
        swap: &Swap,
        settled: bool,
        effects: Vec<Effect>,
        done: Option<i64>,
        coins: Coins,
        lock: Option<Lock>,
    ) -> Result<Vec<StoredEffect>, StoreError> {
        let swap = swap.clone();
        self.writer
            .write(move |connection| {
                let now = now_millis();
                if let Some(id) = done {
                    effect_done(connection, id, now)?;
                }
                rows::update_swap(connection, &swap, settled, lock.as_ref(), now)?;
                match coins {
                    Coins::Keep => {}
                    Coins::Spent => set_coins(connection, swap.id, "spent")?,
                    Coins::Release => set_coins(connection, swap.id, "released")?,
                }
                insert_effects(connection, swap.id, &effects, now)
            })
            .await
    }

    /// Notes that an effect was done.
    ///
    /// # Errors
    ///
    /// When the disk fails.
    pub async fn effect_done(&self, id: i64) -> Result<(), StoreError> {
        self.writer
            .write(move |connection| effect_done(connection, id, now_millis()))
            .await
    }

    /// One swap.
    ///
    /// # Errors
    ///
    /// When the disk fails or a row is unreadable.
    pub fn swap(&self, id: SwapId) -> Result<Option<StoredSwap>, StoreError> {
        self.read(|connection| rows::one(connection, "WHERE id = ?1", params![id.to_string()]))
    }

    /// The swap with a payment hash.
    ///
    /// # Errors
    ///
    /// As [`Store::swap`].
    pub fn by_hash(&self, hash: PaymentHash) -> Result<Option<StoredSwap>, StoreError> {
        self.read(|connection| {
            let hash = hash.to_string();
            rows::one(connection, "WHERE payment_hash = ?1", params![hash])
        })
    }

    /// All swaps to which something can still happen.
    ///
    /// # Errors
    ///
    /// As [`Store::swap`].
    pub fn unsettled(&self) -> Result<Vec<StoredSwap>, StoreError> {
        self.read(|connection| {
            rows::many(
                connection,
                "WHERE settled = 0 ORDER BY created_at, id",
                params![],
            )
        })
    }

    /// A page of swaps, newest first, after the one that `after` names by its time and id.
    ///
    /// # Errors
    ///
    /// As [`Store::swap`].
    pub fn page(
        &self,
        kind: Kind,
        status: Option<Status>,
        after: Option<(i64, SwapId)>,
        size: u32,
    ) -> Result<Vec<StoredSwap>, StoreError> {
        let status = status.map(rows::status_name);
        let (time, id) = after.map_or((i64::MAX, String::new()), |(time, id)| {
            (time, id.to_string())
        });
        self.read(|connection| {
            rows::many(
                connection,
                "WHERE kind = ?5 AND (?1 IS NULL OR status = ?1) AND (created_at < ?2 OR (created_at = ?2 AND id < ?3)) \
                 ORDER BY created_at DESC, id DESC LIMIT ?4",
                params![status, time, id, size, kind.word()],
            )
        })
    }

    /// Everything that is still to be done.
    ///
    /// # Errors
    ///
    /// As [`Store::swap`].
    pub fn pending_effects(&self) -> Result<Vec<StoredEffect>, StoreError> {
        self.read(|connection| {
            let mut statement = connection.prepare_cached(
                "SELECT id, swap_id, effect FROM effects WHERE state = 'pending' ORDER BY id",
            )?;
            let mut found = statement.query([])?;
            let mut effects = Vec::new();
            while let Some(row) = found.next()? {
                effects.push(StoredEffect {
                    id: row.get(0)?,
                    swap: rows::parsed(&row.get::<_, String>(1)?)?,
                    effect: rows::from_json(&row.get::<_, String>(2)?)?,
                });
            }
            Ok(effects)
        })
    }

    /// The coins that no other swap may use, by swap: reserved ones, and ones that a signed funding spends.
    ///
    /// # Errors
    ///
    /// As [`Store::swap`].
    pub fn coins(&self) -> Result<HashMap<SwapId, Vec<ReservedCoin>>, StoreError> {
        self.read(|connection| {
            let mut statement = connection.prepare_cached(
                "SELECT swap_id, outpoint, asset, value FROM reservations WHERE state <> 'released' ORDER BY id",
            )?;
            let mut found = statement.query([])?;
            let mut coins: HashMap<SwapId, Vec<ReservedCoin>> = HashMap::new();
            while let Some(row) = found.next()? {
                let swap = rows::parsed(&row.get::<_, String>(0)?)?;
                coins.entry(swap).or_default().push(ReservedCoin {
                    outpoint: rows::outpoint(&row.get::<_, String>(1)?)?,
                    asset: rows::parsed(&row.get::<_, String>(2)?)?,
                    value: rows::unsigned(row.get(3)?)?,
                });
            }
            Ok(coins)
        })
    }

    /// How far a chain was followed.
    ///
    /// # Errors
    ///
    /// As [`Store::swap`].
    pub fn cursor(&self, chain: &str) -> Result<Option<Height>, StoreError> {
        self.read(|connection| {
            let query = "SELECT height FROM cursors WHERE chain = ?1";
            let height: Option<u32> = connection
                .query_row(query, [chain], |row| row.get(0))
                .optional()?;
            Ok(height.map(Height))
        })
    }

    /// Notes how far a chain was followed.
    ///
    /// # Errors
    ///
    /// When the disk fails.
    pub async fn set_cursor(&self, chain: &'static str, height: Height) -> Result<(), StoreError> {
        self.writer
            .write(move |connection| {
                connection
                    .prepare_cached(
                        "INSERT OR REPLACE INTO cursors (chain, height) VALUES (?1, ?2)",
                    )?
                    .execute(params![chain, height.0])?;
                Ok(())
            })
            .await
    }

    /// How the operator wants assets to be sold, whatever the configuration says.
    ///
    /// # Errors
    ///
    /// As [`Store::swap`].
    pub fn sales(&self) -> Result<Vec<Sale>, StoreError> {
        self.read(|connection| {
            let mut statement = connection.prepare_cached("SELECT sale FROM sales")?;
            let found = statement.query_map([], |row| row.get::<_, String>(0))?;
            found.map(|sale| rows::from_json(&sale?)).collect()
        })
    }

    /// Notes how an asset is sold from now on.
    ///
    /// # Errors
    ///
    /// When the disk fails.
    pub async fn set_sale(&self, sale: Sale) -> Result<(), StoreError> {
        self.writer
            .write(move |connection| {
                connection.execute(
                    "INSERT OR REPLACE INTO sales (asset, sale) VALUES (?1, ?2)",
                    params![sale.asset.to_string(), rows::to_json(&sale)?],
                )?;
                Ok(())
            })
            .await
    }

    /// The assets of which no new swaps are made.
    ///
    /// # Errors
    ///
    /// As [`Store::swap`].
    pub fn paused(&self) -> Result<Vec<AssetId>, StoreError> {
        self.read(|connection| {
            let mut statement = connection.prepare_cached("SELECT asset FROM paused")?;
            let found = statement.query_map([], |row| row.get::<_, String>(0))?;
            found.map(|asset| rows::parsed(&asset?)).collect()
        })
    }

    /// Pauses or resumes an asset.
    ///
    /// # Errors
    ///
    /// When the disk fails.
    pub async fn set_paused(&self, asset: AssetId, paused: bool) -> Result<(), StoreError> {
        self.writer
            .write(move |connection| {
                let statement = match paused {
                    true => "INSERT OR IGNORE INTO paused (asset) VALUES (?1)",
                    false => "DELETE FROM paused WHERE asset = ?1",
                };
                connection.execute(statement, [asset.to_string()])?;
                Ok(())
            })
            .await
    }
}

/// Keeps a second server away from the store: SQLite alone would let it in.
fn lock(path: &Path) -> Result<File, StoreError> {
    let name = path.with_extension("lock");
    let io = |source| StoreError::Io {
        path: name.clone(),
        source,
    };
    let file = File::create(&name).map_err(io)?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(StoreError::InUse {
            path: path.to_owned(),
        }),
        Err(error) => Err(io(error.into())),
    }
}

fn by_request(
    connection: &Connection,
    request_id: Uuid,
    fingerprint: &[u8; 32],
) -> Result<Option<SwapId>, StoreError> {
    let found: Option<(String, Vec<u8>)> = connection
        .prepare_cached("SELECT swap_id, fingerprint FROM request_ids WHERE request_id = ?1")?
        .query_row([request_id.to_string()], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })
        .optional()?;
    match found {
        None => Ok(None),
        Some((id, known)) if known == fingerprint => rows::parsed(&id).map(Some),
        Some(_) => Err(StoreError::RequestConflict { request_id }),
    }
}

fn create(connection: &Connection, new: &NewSwap) -> Result<Created, StoreError> {
    if let Some(id) = by_request(connection, new.request_id, &new.fingerprint)? {
        return Ok(Created::Existing(id));
    }
    let now = now_millis();
    rows::insert_swap(connection, new, now)?;
    connection
        .prepare_cached(
            "INSERT INTO request_ids (request_id, swap_id, fingerprint) VALUES (?1, ?2, ?3)",
        )?
        .execute(params![
            new.request_id.to_string(),
            new.swap.id.to_string(),
            new.fingerprint
        ])?;
    let mut statement = connection.prepare_cached(
        "INSERT INTO reservations (swap_id, outpoint, asset, value, state) VALUES (?1, ?2, ?3, ?4, 'reserved')",
    )?;
    for coin in &new.coins {
        let outpoint = coin.outpoint.to_string();
        let row = params![
            new.swap.id.to_string(),
            outpoint,
            coin.asset.to_string(),
            rows::signed(coin.value)?
        ];
        statement
            .execute(row)
            .map_err(|error| match error.sqlite_error_code() {
                Some(rusqlite::ErrorCode::ConstraintViolation) => {
                    StoreError::CoinTaken { outpoint }
                }
                _ => error.into(),
            })?;
    }
    insert_effects(connection, new.swap.id, &new.effects, now).map(Created::New)
}

fn insert_effects(
    connection: &Connection,
    swap: SwapId,
    effects: &[Effect],
    now: i64,
) -> Result<Vec<StoredEffect>, StoreError> {
    let mut statement = connection.prepare_cached(
        "INSERT OR IGNORE INTO effects (swap_id, effect, state, created_at) VALUES (?1, ?2, 'pending', ?3)",
    )?;
    let mut stored = Vec::new();
    for effect in effects {
        let row = params![swap.to_string(), rows::to_json(effect)?, now];
        if statement.execute(row)? == 1 {
            stored.push(StoredEffect {
                id: connection.last_insert_rowid(),
                swap,
                effect: effect.clone(),
            });
        }
    }
    Ok(stored)
}

fn effect_done(connection: &Connection, id: i64, now: i64) -> Result<(), StoreError> {
    connection
        .prepare_cached("UPDATE effects SET state = 'done', done_at = ?2 WHERE id = ?1")?
        .execute(params![id, now])?;
    Ok(())
}

fn set_coins(connection: &Connection, swap: SwapId, state: &str) -> Result<(), StoreError> {
    connection
        .prepare_cached(
            "UPDATE reservations SET state = ?2 WHERE swap_id = ?1 AND state <> 'released'",
        )?
        .execute(params![swap.to_string(), state])?;
    Ok(())
}

#[cfg(test)]
mod tests;
