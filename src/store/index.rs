//! Which indices swaps may take: each once, for ever, as its keys and its preimage are derived from it.

use super::{Store, StoreError};

impl Store {
    /// The first index that no swap has used.
    ///
    /// # Errors
    ///
    /// As [`Store::swap`].
    pub fn next_index(&self) -> Result<u32, StoreError> {
        self.read(|connection| {
            let next: i64 = connection.query_row(
                "SELECT MAX((SELECT COALESCE(MAX(swap_index) + 1, 0) FROM swaps), \
                 (SELECT COALESCE(MAX(floor), 0) FROM index_floor))",
                [],
                |row| row.get(0),
            )?;
            u32::try_from(next).map_err(|_| StoreError::Corrupt("all indices are used".into()))
        })
    }

    /// Whether nothing was ever noted in it about swaps and their indices.
    ///
    /// # Errors
    ///
    /// As [`Store::swap`].
    pub fn is_new(&self) -> Result<bool, StoreError> {
        self.read(|connection| {
            let query = "SELECT NOT EXISTS (SELECT 1 FROM swaps) AND NOT EXISTS (SELECT 1 FROM index_floor)";
            Ok(connection.query_row(query, [], |row| row.get(0))?)
        })
    }

    /// Notes that indices below `floor` may have been used. A lower one than before changes nothing.
    ///
    /// # Errors
    ///
    /// When the disk fails.
    pub async fn raise_index_floor(&self, floor: u32) -> Result<(), StoreError> {
        self.writer
            .write(move |connection| {
                connection.execute(
                    "INSERT INTO index_floor (only, floor) VALUES (1, ?1) \
                     ON CONFLICT (only) DO UPDATE SET floor = MAX(floor, excluded.floor)",
                    [floor],
                )?;
                Ok(())
            })
            .await
    }
}
