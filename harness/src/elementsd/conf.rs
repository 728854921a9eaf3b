//! How an elementsd is started: `liquidregtest`, loopback, fast. All of it stands on the command line, where it can be
//! read and copied, because options of a chain in a file need a section that differs with its name.

use std::ffi::OsString;
use std::path::Path;

use super::rpc::{PASSWORD, USER};

/// The chain: the parameters are those of the values in [`super::GENESIS`].
pub(super) const CHAIN: &str = "liquidregtest";

/// Options that are the same for every elementsd. Policy is given in full, so that a verdict does not depend on which
/// node is found (Elements `chainparams.cpp`, `policy/policy.h`).
const OPTIONS: &[(&str, &str)] = &[
    ("chain", CHAIN),
    // No bitcoind to look peg-ins up in.
    ("validatepegin", "0"),
    ("initialfreecoins", "2100000000000000"),
    ("con_blocksubsidy", "0"),
    ("anyonecanspendaremine", "1"),
    // No fee history on regtest: 0.1 sat/vB, the least that is relayed.
    ("fallbackfee", "0.000001"),
    ("minrelaytxfee", "0.000001"),
    ("blockmintxfee", "0.000001"),
    ("acceptdiscountct", "1"),
    ("txindex", "1"),
    ("server", "1"),
    ("rpcuser", USER),
    ("rpcpassword", PASSWORD),
    ("rpcbind", "127.0.0.1"),
    ("rpcallowip", "127.0.0.1"),
    ("rpcthreads", "16"),
    ("rpcworkqueue", "128"),
    // Nobody speaks to it but over JSON-RPC.
    ("listen", "0"),
    ("connect", "0"),
    // Without this a restarted node is in initial block download until the next block.
    ("maxtipage", "1000000000"),
    ("keypool", "1"),
    ("dbcache", "4"),
    ("par", "1"),
    ("checkblocks", "1"),
    ("checklevel", "0"),
    // A world's wallets are thrown away: nobody waits for the disk.
    ("unsafesqlitesync", "1"),
    // Everything goes to standard output, which is captured from the first byte.
    ("printtoconsole", "1"),
    ("debuglogfile", "0"),
    ("logtimemicros", "1"),
];

/// The arguments of a node with its data in `home`.
pub(super) fn arguments(home: &Path, rpc_port: u16) -> Vec<OsString> {
    let mut datadir = OsString::from("-datadir=");
    datadir.push(home);
    let options = OPTIONS
        .iter()
        .map(|(key, value)| OsString::from(format!("-{key}={value}")));
    let port = OsString::from(format!("-rpcport={rpc_port}"));
    [datadir].into_iter().chain(options).chain([port]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_option_stands_twice_and_only_loopback_is_bound() {
        let all = arguments(Path::new("/home"), 20_001);
        let all: Vec<&str> = all.iter().map(|arg| arg.to_str().unwrap()).collect();
        let mut keys: Vec<_> = all
            .iter()
            .map(|arg| arg.split('=').next().unwrap())
            .collect();
        let count = keys.len();
        keys.sort_unstable();
        keys.dedup();
        assert_eq!(keys.len(), count, "{all:?}");
        assert!(all.contains(&"-rpcbind=127.0.0.1") && all.contains(&"-listen=0"));
        assert!(all.contains(&"-datadir=/home") && all.contains(&"-rpcport=20001"));
    }
}
