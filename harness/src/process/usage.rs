//! What a process has used, as Linux tells it in `/proc`; nothing elsewhere.

use std::time::Duration;

/// How many processes want to run, averaged over the last minute, in thousandths; `None` where the system does not tell.
pub fn load_milli() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/loadavg").ok()?;
    let (whole, hundredths) = text.split_whitespace().next()?.split_once('.')?;
    Some(whole.parse::<u64>().ok()? * 1000 + hundredths.parse::<u64>().ok()? * 10)
}

/// Processor time and memory of one process or of several together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Processor time since the start, in user and in kernel mode.
    pub cpu: Duration,
    /// Resident memory, in bytes.
    pub rss: u64,
}

impl Usage {
    /// Of this process.
    pub fn of_self() -> Self {
        Usage::of(std::process::id()).unwrap_or_default()
    }

    /// Of the process `pid`; `None` when it is gone or the system does not tell.
    pub fn of(pid: u32) -> Option<Self> {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The name stands in parentheses and may hold any character, parentheses too (proc_pid_stat(5)).
        let fields: Vec<&str> = stat[stat.rfind(')')? + 1..].split_whitespace().collect();
        let number = |field: usize| fields.get(field - 3)?.parse::<u64>().ok();
        let ticks = number(14)? + number(15)?;
        let seconds = Duration::from_secs(ticks);
        let per_second = u32::try_from(rustix::param::clock_ticks_per_second()).ok()?;
        let page = u64::try_from(rustix::param::page_size()).ok()?;
        Some(Usage {
            cpu: seconds / per_second,
            rss: number(24)? * page,
        })
    }

    /// Both together.
    #[must_use]
    pub fn and(self, other: Usage) -> Self {
        Usage {
            cpu: self.cpu + other.cpu,
            rss: self.rss + other.rss,
        }
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_used_memory() {
        assert!(Usage::of_self().rss > 1_000_000);
        assert_eq!(Usage::of(0), None);
    }
}
