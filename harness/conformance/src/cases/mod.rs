//! The cases, by area. Each area has its list; a case is a function that asks and notes.

mod amounts;
mod chain;
mod clock;
mod htlc;
mod index;
mod index_chain;
mod index_errors;
mod issuance;
mod locks;
mod mempool;
mod raw;
mod reject;
mod reorg;
mod rpc_errors;
mod rpc_shapes;
mod scripts;
mod wait;
mod wallet;
mod wallet_raw;

use crate::Case;

/// A case from a function.
macro_rules! case {
    ($name:literal, $isolation:ident, $about:literal, $run:path) => {
        $crate::Case {
            name: $name,
            about: $about,
            isolation: $crate::Isolation::$isolation,
            run: |trial| Box::pin($run(trial)),
        }
    };
}
pub(crate) use case;

/// Every case, in the order in which they run.
pub fn all() -> Vec<Case> {
    [
        chain::CASES,
        rpc_shapes::CASES,
        rpc_errors::CASES,
        raw::CASES,
        reject::CASES,
        amounts::CASES,
        htlc::CASES,
        scripts::CASES,
        locks::CASES,
        mempool::CASES,
        issuance::CASES,
        wallet::CASES,
        wallet_raw::CASES,
        index::CASES,
        index_chain::CASES,
        index_errors::CASES,
        reorg::CASES,
        clock::CASES,
        wait::CASES,
    ]
    .concat()
}

#[cfg(test)]
mod tests {
    #[test]
    fn names_are_distinct_and_have_an_area() {
        let mut names: Vec<_> = super::all().iter().map(|case| case.name).collect();
        assert!(names.iter().all(|name| name.split_once('/').is_some()));
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
    }
}
