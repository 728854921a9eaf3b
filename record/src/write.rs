//! Writing a record while its run goes.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use crate::{Chain, Event, Line};

/// Appends events to a file, or does nothing at all. Clones write to the same file.
///
/// Every event is one write of one whole line, so that what was recorded is there when the process is killed, and no line is
/// cut in two. A write that fails (a full disk) ends the record, which is said once on standard error; the run goes on.
#[derive(Debug, Clone, Default)]
pub struct Recorder(Option<Arc<Open>>);

#[derive(Debug)]
struct Open {
    path: PathBuf,
    started: Instant,
    /// `None` once a write has failed.
    file: Mutex<Option<File>>,
    /// The heights of Bitcoin and Liquid, plus one; 0 where none is known.
    heights: [AtomicU64; 2],
}

impl Recorder {
    /// Records nothing.
    pub fn off() -> Self {
        Recorder(None)
    }

    /// A record in a new file at `path`; its time begins now.
    ///
    /// # Errors
    /// When the file cannot be made.
    pub fn create(path: &Path) -> io::Result<Self> {
        Ok(Recorder(Some(Arc::new(Open {
            path: path.to_owned(),
            started: Instant::now(),
            file: Mutex::new(Some(File::create(path)?)),
            heights: Default::default(),
        }))))
    }

    /// Whether anything is recorded: what costs something to find out need not be found out otherwise.
    pub fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// Records what happened now.
    pub fn record(&self, event: Event) {
        self.record_at(Instant::now(), event);
    }

    /// Records what happened at `time`; before the record began counts as its beginning.
    pub fn record_at(&self, time: Instant, event: Event) {
        let Some(open) = &self.0 else { return };
        let since = time.saturating_duration_since(open.started);
        let line = Line {
            t: u64::try_from(since.as_micros()).unwrap_or(u64::MAX),
            bitcoin: open.height(Chain::Bitcoin),
            liquid: open.height(Chain::Liquid),
            event,
        };
        let Ok(mut text) = serde_json::to_vec(&line) else {
            return;
        };
        text.push(b'\n');
        let mut file = open.file.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(writer) = file.as_mut() else { return };
        if let Err(error) = writer.write_all(&text) {
            let path = open.path.display();
            eprintln!("swaprig: the event record {path} ends here: {error}");
            *file = None;
        }
    }

    /// The height of `chain` from now on.
    pub fn reached(&self, chain: Chain, height: u32) {
        if let Some(open) = &self.0 {
            open.heights[chain as usize].store(u64::from(height) + 1, Ordering::Relaxed);
        }
    }
}

impl Open {
    fn height(&self, chain: Chain) -> Option<u32> {
        let next = self.heights[chain as usize].load(Ordering::Relaxed);
        next.checked_sub(1)
            .and_then(|height| u32::try_from(height).ok())
    }
}
