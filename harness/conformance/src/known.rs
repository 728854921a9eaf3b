//! The differences between the bundled daemons and upstream's that are known and accepted, each with its reason. The list
//! in `docs/bundled-elements.md` is made from this one.

/// A difference, and all places at which it shows.
#[derive(Debug, PartialEq, Eq)]
pub struct Known {
    /// What differs, in a few words.
    pub what: &'static str,
    /// Why that is accepted.
    pub reason: &'static str,
    /// Case and label of each place; `*` stands for anything.
    pub places: &'static [(&'static str, &'static str)],
}

/// All of them.
pub const KNOWN: &[Known] = &[
    Known {
        what: "Methods that no caller on our list uses are not there.",
        reason: "The bundled node has what LWK, Boltz, PeerSwap and swaprig call. Of the others it says `Method not found`, as \
                 elementsd does of a method that it does not have; none of them answers a guess.",
        places: &[
            ("shape/chain", "getblockstats*"),
            ("shape/chain", "getchaintxstats*"),
            ("shape/chain", "getconnectioncount*"),
            ("shape/chain", "getdeploymentinfo*"),
            ("shape/chain", "getindexinfo*"),
            ("shape/chain", "getmininginfo*"),
            ("shape/chain", "getpeerinfo*"),
            ("shape/chain", "getrpcinfo*"),
            ("shape/chain", "gettxoutsetinfo*"),
            ("shape/mempool", "getmempoolancestors*"),
            ("shape/mempool", "getmempooldescendants*"),
            ("shape/transaction", "gettxoutproof"),
            ("shape/addresses", "*"),
            ("error/lookup", "getblockstats*"),
            ("error/lookup", "getmempoolancestors*"),
            ("error/lookup", "gettxoutproof*"),
            ("error/addresses", "validateaddress*"),
            ("error/wallets", "dumpprivkey*"),
            ("issuance/wallet", "*listissuances*"),
            ("wallet/addresses", "getaddressesbylabel"),
            ("wallet/addresses", "getrawchangeaddress"),
            ("wallet/receive", "getreceivedbyaddress"),
            ("wallet/receive", "getunconfirmedbalance"),
            ("wallet/receive", "listaddressgroupings"),
            ("wallet/receive", "listlockunspent"),
            ("wallet/receive", "listreceivedbyaddress"),
            ("wallet/receive", "listsinceblock"),
            ("wallet-raw/psbt", "*"),
        ],
    },
    Known {
        what: "Elements' own opcodes are not known.",
        reason: "A script that reaches one fails with words of its own. It must never be accepted by an interpreter that does not \
                 know what it means.",
        places: &[("script/v0", "OP_CAT*")],
    },
    Known {
        what: "The wallet has no taproot addresses, no wallets that only watch, and no files.",
        reason: "It is there to pay and to be paid. What it does not have is an error; a wallet is named in messages where elementsd \
                 names its file.",
        places: &[
            ("wallet/addresses", "getnewaddress [\"\",\"bech32m\"]*"),
            ("wallet/create", "createwallet without private keys"),
            ("error/wallets", "createwallet: again"),
            ("error/wallets", "loadwallet: unknown"),
        ],
    },
    Known {
        what: "gettxout does not show the fee output of an unconfirmed transaction.",
        reason: "elementsd shows it until the transaction is confirmed, and not after: nobody can spend it.",
        places: &[("shape/outputs", "its fee output, unconfirmed")],
    },
    Known {
        what: "The node offers no services to peers.",
        reason: "It has no peers.",
        places: &[("shape/chain", "getnetworkinfo .localservicesnames[]")],
    },
    Known {
        what: "The index answers errors as JSON-RPC has them.",
        reason: "An object with a code and the node's message, as romanz's electrs, ElectrumX and Fulcrum answer. Blockstream's electrs puts a text in \
                 its place. Clients have to bear both.",
        places: &[
            ("index-error/parameters", "blockchain.*"),
            ("index-error/broadcast", "a missing input"),
            ("index-error/broadcast", "a number"),
            ("index-error/broadcast", "an imbalance"),
            ("index-error/broadcast", "in a block already"),
            ("index-error/broadcast", "junk"),
            ("index-error/broadcast", "nothing"),
            ("index-error/broadcast", "too small a fee"),
            ("index/broadcast", "the same one again"),
            ("index-chain/merkle", "get_merkle in another block"),
        ],
    },
    Known {
        what: "The index answers what it does not know, and stays.",
        reason: "Blockstream's electrs closes the connection at an unknown method and at a line that is no call; the bundled server \
                 says what is wrong with it.",
        places: &[
            ("index-error/parameters", "nosuch: unknown"),
            ("index-error/protocol", "a number"),
            ("index-error/protocol", "no JSON"),
            ("index-error/protocol", "no method"),
            ("index-error/protocol", "parameters by name"),
            ("index-chain/server", "mempool.get_info"),
            ("index/coins", "blockchain.scripthash.get_balance ends"),
        ],
    },
    Known {
        what: "The index has more of the protocol, 1.4 to 1.6, than Blockstream's electrs, and holds clients to it.",
        reason: "`server.features`, `scripthash.get_mempool` and verbose `transaction.get` answer, a version that it does not \
                 speak is refused, and `estimatefee` without an estimate is -1, as the protocol wants it.",
        places: &[
            ("index-chain/server", "server.*"),
            ("index-chain/server", "estimatefee on regtest"),
            ("index/history", "get_mempool"),
            ("index/broadcast", "transaction.get, verbose"),
        ],
    },
];

impl Known {
    /// The one that a place belongs to.
    pub fn of(case: &str, label: &str) -> Option<&'static Known> {
        let here = |known: &&Known| {
            let mut places = known.places.iter();
            places.any(|(own, at)| Known::fits(own, case) && Known::fits(at, label))
        };
        KNOWN.iter().find(here)
    }

    /// Whether `text` is `pattern`, in which `*` stands for anything.
    pub(crate) fn fits(pattern: &str, text: &str) -> bool {
        let mut parts = pattern.split('*');
        let first = parts.next().unwrap_or_default();
        let Some(mut rest) = text.strip_prefix(first) else {
            return false;
        };
        let parts: Vec<&str> = parts.collect();
        let Some((last, middle)) = parts.split_last() else {
            return rest.is_empty();
        };
        for part in middle {
            let Some(at) = rest.find(part) else {
                return false;
            };
            rest = &rest[at + part.len()..];
        }
        rest.ends_with(last)
    }

    /// The list as Markdown, for the documentation.
    pub fn markdown() -> String {
        use std::fmt::Write as _;
        let mut text = String::new();
        for known in KNOWN {
            let _ = writeln!(text, "- **{}** {}", known.what, known.reason);
            let mut cases: Vec<&str> = known.places.iter().map(|(case, _)| *case).collect();
            cases.dedup();
            let cases: Vec<String> = cases.iter().map(|case| format!("`{case}`")).collect();
            let _ = writeln!(text, "  ({})", cases.join(", "));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_anything() {
        for (pattern, text, fits) in [
            ("a", "a", true),
            ("a", "ab", false),
            ("a*", "ab", true),
            ("*", "", true),
            ("*b", "ab", true),
            ("a*c", "abc", true),
            ("a*c*e", "abcde", true),
            ("a*d*e", "abcde", true),
            ("a*e*d", "abcde", false),
            ("b*", "ab", false),
        ] {
            assert_eq!(Known::fits(pattern, text), fits, "{pattern} {text}");
        }
    }

    #[test]
    fn every_known_difference_says_why_and_names_a_case_that_exists() {
        let names: Vec<_> = crate::all().iter().map(|case| case.name).collect();
        for known in KNOWN {
            assert!(
                !known.reason.is_empty() && known.what.ends_with('.'),
                "{known:?}"
            );
            for (case, _) in known.places {
                assert!(names.iter().any(|name| Known::fits(case, name)), "{case}");
            }
        }
    }
}
