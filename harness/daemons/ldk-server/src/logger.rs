//! The log: every line to the file, the important ones to the console.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Context;
use log::{Level, LevelFilter, Log, Metadata, Record};

/// What our own targets start with.
const OWN_TARGET: &str = "swaprig_ldk_server";

/// On regtest there are never enough blocks to estimate fees from; the node says so ten times a block.
const EXPECTED_NOISE: &str = "Failed to retrieve fee rate estimates";

struct Logger {
    level: LevelFilter,
    file: Option<File>,
}

/// Starts logging for the rest of the process.
pub(crate) fn init(level: LevelFilter, path: Option<&Path>) -> anyhow::Result<()> {
    let open = |path: &Path| OpenOptions::new().create(true).append(true).open(path);
    let file = path
        .map(|path| {
            open(path).with_context(|| format!("cannot write the log file {}", path.display()))
        })
        .transpose()?;
    log::set_boxed_logger(Box::new(Logger { level, file }))
        .context("logging was started before")?;
    log::set_max_level(level);
    Ok(())
}

impl Log for Logger {
    /// ldk-node hands over every record, whatever the maximum level of the `log` crate.
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= self.level
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let own = record.target().starts_with(OWN_TARGET);
        let target = if own { "ldk_server" } else { record.target() };
        let line = format!(
            "[{} {:<5} {}:{}] {}\n",
            timestamp(now()),
            record.level(),
            target,
            record.line().unwrap_or(0),
            record.args(),
        );
        // A log that cannot be written must not stop the node; there is nowhere left to say so.
        if let Some(mut file) = self.file.as_ref() {
            let _ = file.write_all(line.as_bytes());
        }
        let important = if own { Level::Info } else { Level::Warn };
        if record.level() <= important && !line.contains(EXPECTED_NOISE) {
            let _ = match record.level() {
                Level::Error => io::stderr().write_all(line.as_bytes()),
                _ => io::stdout().write_all(line.as_bytes()),
            };
        }
    }

    fn flush(&self) {}
}

#[expect(clippy::disallowed_methods, reason = "log lines tell the time of day")]
fn now() -> SystemTime {
    SystemTime::now()
}

/// RFC 3339 in UTC with milliseconds.
fn timestamp(time: SystemTime) -> String {
    let since_epoch = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    let seconds = since_epoch.as_secs();
    let (year, month, day) = civil_date(seconds / 86_400);
    format!(
        "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}.{:03}Z",
        seconds / 3600 % 24,
        seconds / 60 % 60,
        seconds % 60,
        since_epoch.subsec_millis(),
    )
}

/// Year, month and day of a day counted from 1970-01-01, in the Gregorian calendar: counts from a March 1st, so that
/// the leap day is the last of its year.
fn civil_date(days_since_epoch: u64) -> (u64, u64, u64) {
    let days = days_since_epoch + 719_468;
    let era = days / 146_097;
    let day_of_era = days % 146_097;
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 {
        month_from_march + 3
    } else {
        month_from_march - 9
    };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn timestamps() {
        let cases = [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (951_868_800_000, "2000-03-01T00:00:00.000Z"),
            (1_798_761_599_999, "2026-12-31T23:59:59.999Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
        ];
        for (millis, text) in cases {
            assert_eq!(timestamp(UNIX_EPOCH + Duration::from_millis(millis)), text);
        }
    }
}
