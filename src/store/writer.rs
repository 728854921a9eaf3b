//! The one thread that writes: it commits what has queued up meanwhile in one transaction, each job in a savepoint of its own.

use std::path::Path;
use std::sync::mpsc;
use std::thread;

use rusqlite::Connection;
use tokio::sync::oneshot;

use super::StoreError;

/// How many jobs go into one commit at most.
const BATCH: usize = 256;

/// Runs in the transaction, when there is one, and returns what is to happen with the outcome of the commit.
type Job = Box<dyn FnOnce(Option<&Connection>) -> Reply + Send>;
type Reply = Box<dyn FnOnce(Result<(), StoreError>) + Send>;

/// Hands jobs to the thread. The thread ends when the last one is dropped.
#[derive(Debug)]
pub(super) struct Writer {
    jobs: mpsc::Sender<Job>,
}

impl Writer {
    pub(super) fn start(connection: Connection, path: &Path) -> Result<Self, StoreError> {
        let (sender, jobs) = mpsc::channel();
        let thread = thread::Builder::new().name("store".into());
        thread
            .spawn(move || serve(&connection, &jobs))
            .map_err(|source| StoreError::Io {
                path: path.to_owned(),
                source,
            })?;
        Ok(Self { jobs: sender })
    }

    /// Does something in a transaction. When this returns without an error it is on disk; with an error nothing of it is.
    pub(super) async fn write<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (sender, receiver) = oneshot::channel();
        let job: Job = Box::new(move |connection| {
            let done = connection.map(|connection| in_savepoint(connection, work));
            Box::new(move |committed| {
                let done = done.unwrap_or(Err(StoreError::Stopped));
                // Nobody waits any more when the caller was cut off; what is written stays written.
                let _ = sender.send(committed.and(done));
            })
        });
        self.jobs.send(job).map_err(|_| StoreError::Stopped)?;
        receiver.await.map_err(|_| StoreError::Stopped)?
    }
}

fn in_savepoint<T>(
    connection: &Connection,
    work: impl FnOnce(&Connection) -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    connection.execute_batch("SAVEPOINT job")?;
    match work(connection) {
        Ok(value) => {
            connection.execute_batch("RELEASE job")?;
            Ok(value)
        }
        Err(error) => {
            connection.execute_batch("ROLLBACK TO job; RELEASE job")?;
            Err(error)
        }
    }
}

fn serve(connection: &Connection, jobs: &mpsc::Receiver<Job>) {
    while let Ok(first) = jobs.recv() {
        let begun = connection.execute_batch("BEGIN IMMEDIATE");
        let batch = std::iter::once(first).chain(jobs.try_iter().take(BATCH - 1));
        let begun_well = begun.is_ok();
        // A full disk can make SQLite end the whole transaction: what came after would each be committed by itself, though its
        // caller is told that nothing was.
        let inside = || (begun_well && !connection.is_autocommit()).then_some(connection);
        let replies: Vec<Reply> = batch.map(|job| job(inside())).collect();
        let committed = begun.and_then(|()| connection.execute_batch("COMMIT"));
        if committed.is_err() && !connection.is_autocommit() {
            // What could not be committed must not be part of the next transaction.
            let _ = connection.execute_batch("ROLLBACK");
        }
        for reply in replies {
            reply(match &committed {
                Ok(()) => Ok(()),
                Err(error) => Err(StoreError::Commit(error.to_string())),
            });
        }
    }
}
