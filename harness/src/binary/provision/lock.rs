//! The lock under which one process at a time fills the cache.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read as _, Seek as _, Write as _};
use std::path::Path;
use std::sync::mpsc::channel;

use super::ProvisionError;
use crate::binary::Progress;
use crate::time::Deadline;

/// Holds the lock while it lives. The kernel releases it when the process dies, however it dies.
pub(super) struct Lock {
    _file: File,
}

/// Takes the lock, waiting for another holder until `deadline`.
pub(super) fn acquire(
    path: &Path,
    deadline: Deadline,
    progress: &dyn Progress,
) -> Result<Lock, ProvisionError> {
    let cache = |doing| ProvisionError::cache(doing, path);
    let open = OpenOptions::new()
        .create(true)
        .truncate(false)
        .read(true)
        .write(true)
        .open(path);
    let mut file = open.map_err(cache("open"))?;
    let mut file = match file.try_lock() {
        Ok(()) => file,
        Err(TryLockError::Error(error)) => return Err(cache("lock")(error)),
        Err(TryLockError::WouldBlock) => {
            let mut owner = String::new();
            let _ = file.read_to_string(&mut owner);
            let owner = if owner.is_empty() {
                owner
            } else {
                format!(" (pid {})", owner.trim())
            };
            let seconds = deadline.remaining().as_secs();
            progress.note(&format!(
                "bitcoind: another process{owner} is downloading it; waiting, at most {seconds} s"
            ));
            wait(file, deadline).ok_or_else(|| ProvisionError::Busy {
                lock: path.to_owned(),
                waited: deadline.elapsed(),
                owner,
            })?
        }
    };
    // Only for other processes' messages.
    let _ = file
        .set_len(0)
        .and_then(|()| file.rewind())
        .and_then(|()| write!(file, "{}", std::process::id()));
    Ok(Lock { _file: file })
}

/// A thread waits in the kernel, so that the lock is had at once when it is released. After the deadline the thread
/// stays behind, and gives the lock back as soon as it has it.
fn wait(file: File, deadline: Deadline) -> Option<File> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        if file.lock().is_ok() {
            let _ = sender.send(file);
        }
    });
    receiver.recv_timeout(deadline.remaining()).ok()
}
