//! Boundaries at which a test can end the server, and two planted bugs that such a test must find (design D12).
//!
//! Without the feature `failpoints` nothing of it is compiled.

#[cfg(feature = "failpoints")]
mod enabled {
    use std::path::PathBuf;
    use std::str::FromStr;
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU64, Ordering};

    /// What happens at the boundaries.
    #[derive(Debug, Clone)]
    pub enum Failpoint {
        /// The process aborts at the n-th one, counted from 1.
        Abort(u64),
        /// The process aborts at the first one of this name.
        AbortAt(String),
        /// As the file says; nothing when there is none. It is read once and deleted, so that a restart goes on undisturbed.
        File(PathBuf),
        /// `CreateSwap` sends the funding before anything is stored, and then aborts: a bug that a crash test must find.
        FundBeforeStore,
        /// An invoice is paid before it is stored that it is, and the process then aborts: another such bug.
        PayBeforeStore,
    }

    impl FromStr for Failpoint {
        type Err = String;

        fn from_str(text: &str) -> Result<Self, String> {
            match text.split_once(':') {
                Some(("file", path)) => Ok(Failpoint::File(path.into())),
                Some(("abort-at", name)) => Ok(Failpoint::AbortAt(name.into())),
                Some(("abort", n)) => n
                    .parse()
                    .map(Failpoint::Abort)
                    .map_err(|_| format!("{n} is no number")),
                None if text == "fund-before-store" => Ok(Failpoint::FundBeforeStore),
                None if text == "pay-before-store" => Ok(Failpoint::PayBeforeStore),
                _ => Err("is none of file:FILE, abort:N, abort-at:NAME, fund-before-store and pay-before-store".into()),
            }
        }
    }

    static CHOSEN: OnceLock<Failpoint> = OnceLock::new();
    static PASSED: AtomicU64 = AtomicU64::new(0);

    /// Chooses for the whole process; the first choice stays.
    ///
    /// # Errors
    ///
    /// When a file is named that says something else.
    pub fn choose(failpoint: Failpoint) -> Result<(), String> {
        let Failpoint::File(path) = failpoint else {
            let _ = CHOSEN.set(failpoint);
            return Ok(());
        };
        let Ok(text) = std::fs::read_to_string(&path) else {
            return Ok(());
        };
        std::fs::remove_file(&path).map_err(|error| error.to_string())?;
        choose(text.trim().parse()?)
    }

    /// A boundary is passed.
    pub(crate) fn boundary(name: &str) {
        let Some(chosen) = CHOSEN.get() else { return };
        let n = PASSED.fetch_add(1, Ordering::SeqCst) + 1;
        match chosen {
            Failpoint::Abort(at) if n == *at => {
                eprintln!("failpoint {n}: {name}");
                std::process::abort();
            }
            Failpoint::AbortAt(at) if name == at => {
                eprintln!("failpoint {n}: {name}");
                std::process::abort();
            }
            Failpoint::Abort(_)
            | Failpoint::AbortAt(_)
            | Failpoint::File(_)
            | Failpoint::FundBeforeStore
            | Failpoint::PayBeforeStore => {}
        }
    }

    /// Whether the planted bug of fundings is in.
    pub(crate) fn funds_before_store() -> bool {
        matches!(CHOSEN.get(), Some(Failpoint::FundBeforeStore))
    }

    /// Whether the planted bug of payments is in.
    pub(crate) fn pays_before_store() -> bool {
        matches!(CHOSEN.get(), Some(Failpoint::PayBeforeStore))
    }
}

#[cfg(feature = "failpoints")]
pub use enabled::{Failpoint, choose};
#[cfg(feature = "failpoints")]
pub(crate) use enabled::{boundary, funds_before_store, pays_before_store};

/// A boundary is passed: nothing, without the feature.
#[cfg(not(feature = "failpoints"))]
pub(crate) fn boundary(_name: &str) {}

/// Never, without the feature.
#[cfg(not(feature = "failpoints"))]
pub(crate) fn funds_before_store() -> bool {
    false
}

/// Never, without the feature.
#[cfg(not(feature = "failpoints"))]
pub(crate) fn pays_before_store() -> bool {
    false
}
