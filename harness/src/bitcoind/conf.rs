//! The `bitcoin.conf` of a world: regtest, loopback, fast, and neutral between Core and Knots.

use std::fmt::Write as _;

use super::rpc::{PASSWORD, USER, WALLET};

/// What differs from one bitcoind to the next.
#[derive(Debug, Clone, Copy)]
pub(super) struct Conf {
    pub rpc_port: u16,
    pub p2p_port: u16,
    pub knots: bool,
    /// The miner's wallet exists already and is loaded at start.
    pub with_wallet: bool,
}

/// Settings of every network, before the `[regtest]` section.
const GLOBAL: &[(&str, &str)] = &[("regtest", "1")];

/// Settings that are the same for every bitcoind.
const REGTEST: &[(&str, &str)] = &[
    ("server", "1"),
    ("rpcuser", USER),
    ("rpcpassword", PASSWORD),
    ("rpcbind", "127.0.0.1"),
    ("rpcallowip", "127.0.0.1"),
    // Each ldk-server holds one call open while it waits for a block.
    ("rpcthreads", "16"),
    ("rpcworkqueue", "128"),
    // Regtest has no fee history; 1 sat/vB.
    ("fallbackfee", "0.00001"),
    ("txindex", "1"),
    // An index over the peer-to-peer port (electrs) needs a listening node.
    ("listen", "1"),
    ("listenonion", "0"),
    ("discover", "0"),
    ("dnsseed", "0"),
    ("fixedseeds", "0"),
    ("natpmp", "0"),
    // The cached blocks are older than a day; without this the node would stay in initial block download.
    ("maxtipage", "1000000000"),
    // The default of 1,000 keys for each kind of address costs 0.7 s when the wallet is made.
    ("keypool", "1"),
    // Small block files instead of 16 MiB each, so that the cached chain is copied in milliseconds.
    ("fastprune", "1"),
    ("dbcache", "4"),
    ("par", "1"),
    ("checkblocks", "1"),
    ("checklevel", "0"),
    // A world's wallet is thrown away: nobody waits for the disk.
    ("unsafesqlitesync", "1"),
    // Everything goes to standard output, which is captured from the first byte.
    ("printtoconsole", "1"),
    ("nodebuglogfile", "1"),
    ("logtimemicros", "1"),
];

impl Conf {
    /// The text of the file.
    pub(super) fn text(self) -> String {
        let mut text = String::from("# Written by swaprig for one world.\n");
        let mut line = |key: &str, value: &str| {
            let _ = writeln!(text, "{key}={value}");
        };
        for (key, value) in GLOBAL {
            line(key, value);
        }
        let _ = writeln!(text, "\n[regtest]");
        let mut line = |key: &str, value: &str| {
            let _ = writeln!(text, "{key}={value}");
        };
        line("rpcport", &self.rpc_port.to_string());
        line("port", &self.p2p_port.to_string());
        line("bind", &format!("127.0.0.1:{}", self.p2p_port));
        for (key, value) in REGTEST {
            line(key, value);
        }
        if self.knots {
            // Knots refuses some standard transactions by default; a verdict must not depend on which node is found.
            line("corepolicy", "1");
        }
        if self.with_wallet {
            line("wallet", WALLET);
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(knots: bool, with_wallet: bool) -> String {
        let conf = Conf {
            rpc_port: 20_001,
            p2p_port: 20_002,
            knots,
            with_wallet,
        };
        conf.text()
    }

    #[test]
    fn what_belongs_to_the_chain_stands_in_its_section() {
        let text = text(false, false);
        // bitcoind ignores these outside of the section of the chain it runs on.
        let (global, section) = text.split_once("[regtest]\n").unwrap();
        assert!(
            global.contains("regtest=1\n") && !global.contains("port="),
            "{text}"
        );
        for line in [
            "rpcport=20001",
            "port=20002",
            "bind=127.0.0.1:20002",
            "rpcbind=127.0.0.1",
        ] {
            assert!(
                section.lines().any(|own| own == line),
                "{line} is not in:\n{text}"
            );
        }
    }

    #[test]
    fn no_key_stands_twice_and_only_loopback_is_bound() {
        for text in [text(true, true), text(false, false)] {
            let mut keys: Vec<_> = text
                .lines()
                .filter_map(|line| line.split_once('='))
                .collect();
            let bound = keys.iter().filter(|(key, _)| key.ends_with("bind"));
            assert!(
                bound.clone().count() == 2
                    && bound.clone().all(|(_, to)| to.starts_with("127.0.0.1"))
            );
            let count = keys.len();
            keys.sort_unstable();
            keys.dedup_by_key(|(key, _)| *key);
            assert_eq!(keys.len(), count, "{text}");
        }
    }

    #[test]
    fn knots_keeps_to_the_policy_of_core_and_core_does_not_hear_of_it() {
        assert!(text(true, false).contains("\ncorepolicy=1\n"));
        assert!(!text(false, false).contains("corepolicy"));
    }

    #[test]
    fn a_wallet_is_loaded_only_where_there_is_one() {
        assert!(text(false, true).contains(&format!("\nwallet={WALLET}\n")));
        assert!(!text(false, false).contains("wallet="));
    }
}
