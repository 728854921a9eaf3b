//! Log lines on standard output, each with the seconds since the start.

use std::io::Write as _;
use std::time::Instant;

use log::{LevelFilter, Log, Metadata, Record};

struct Logger {
    started: Instant,
}

impl Log for Logger {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with(env!("CARGO_CRATE_NAME"))
    }

    fn log(&self, record: &Record<'_>) {
        if self.enabled(record.metadata()) {
            let at = self.started.elapsed();
            let (seconds, millis) = (at.as_secs(), at.subsec_millis());
            let line = format!(
                "{seconds}.{millis:03} {} {}\n",
                record.level(),
                record.args()
            );
            // Nobody reads it any more: no reason to end.
            let _ = std::io::stdout().lock().write_all(line.as_bytes());
        }
    }

    fn flush(&self) {}
}

/// Sends log lines to standard output from now on.
pub(crate) fn init() -> anyhow::Result<()> {
    let logger = Logger {
        started: Instant::now(),
    };
    log::set_boxed_logger(Box::new(logger))?;
    log::set_max_level(LevelFilter::Debug);
    Ok(())
}
