//! Which script rules are in force: one bit per rule, at the positions Bitcoin Core and Elements give them.

use std::fmt;
use std::ops::{BitAnd, BitOr, Sub};

/// A set of script verification rules.
///
/// Bits equal `SCRIPT_VERIFY_*` of Bitcoin Core 29 and Elements Core 23, so a set can be handed to their libraries
/// with [`Flags::bits`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Flags(u32);

macro_rules! flags {
    ($($(#[$doc:meta])* $name:ident = $bit:literal;)*) => {
        impl Flags {
            $($(#[$doc])* pub const $name: Flags = Flags(1 << $bit);)*
        }
        const NAMES: &[(&str, Flags)] = &[$((stringify!($name), Flags::$name)),*];
    };
}

flags! {
    /// Evaluate pay-to-script-hash redeem scripts (BIP16).
    P2SH = 0;
    /// Signatures and public keys must be well encoded, hash types defined. Policy.
    STRICTENC = 1;
    /// Signatures must be strict DER (BIP66).
    DERSIG = 2;
    /// The S value of an ECDSA signature must be in the lower half of the order (BIP62 rule 5). Policy.
    LOW_S = 3;
    /// The extra stack element that CHECKMULTISIG takes must be empty (BIP147).
    NULLDUMMY = 4;
    /// The scriptSig may hold only pushes (BIP62 rule 2). Not in any standard set.
    SIGPUSHONLY = 5;
    /// Pushes and numbers must be as short as possible (BIP62 rules 3 and 4). Policy.
    MINIMALDATA = 6;
    /// NOPs kept for upgrades must not be executed. Policy.
    DISCOURAGE_UPGRADABLE_NOPS = 7;
    /// Exactly one element may remain on the stack (BIP62 rule 6). Policy; needs P2SH and WITNESS.
    CLEANSTACK = 8;
    /// CHECKLOCKTIMEVERIFY (BIP65).
    CHECKLOCKTIMEVERIFY = 9;
    /// CHECKSEQUENCEVERIFY (BIP112).
    CHECKSEQUENCEVERIFY = 10;
    /// Segregated witness (BIP141); needs P2SH.
    WITNESS = 11;
    /// Witness versions without a meaning are refused. Policy.
    DISCOURAGE_UPGRADABLE_WITNESS_PROGRAM = 12;
    /// Segwit v0: the argument of IF and NOTIF must be empty or `01`. Policy (a consensus rule in tapscript).
    MINIMALIF = 13;
    /// A failed signature check must have been given an empty signature (BIP146). Policy.
    NULLFAIL = 14;
    /// Public keys in segwit v0 scripts must be compressed. Policy.
    WITNESS_PUBKEYTYPE = 15;
    /// CODESEPARATOR and a signature inside its own script code are refused in legacy scripts. Policy.
    CONST_SCRIPTCODE = 16;
    /// Taproot and tapscript (BIP341, BIP342).
    TAPROOT = 17;
    /// Unknown taproot leaf versions are refused. Policy.
    DISCOURAGE_UPGRADABLE_TAPROOT_VERSION = 18;
    /// `OP_SUCCESSx` is refused. Policy.
    DISCOURAGE_OP_SUCCESS = 19;
    /// Public keys of an unknown kind in tapscript are refused. Policy.
    DISCOURAGE_UPGRADABLE_PUBKEYTYPE = 20;
    /// Elements: hash type bit `0x40` covers the range and surjection proofs. In force once dynamic federations are.
    SIGHASH_RANGEPROOF = 22;
    /// Elements: Simplicity leaves (`0xbe`). This interpreter refuses them whether the flag is set or not.
    SIMPLICITY = 23;
}

impl Flags {
    /// No rule but the original ones.
    pub const NONE: Flags = Flags(0);

    /// What a Bitcoin block must satisfy.
    pub const BITCOIN_CONSENSUS: Flags = Flags(
        Self::P2SH.0
            | Self::DERSIG.0
            | Self::NULLDUMMY.0
            | Self::CHECKLOCKTIMEVERIFY.0
            | Self::CHECKSEQUENCEVERIFY.0
            | Self::WITNESS.0
            | Self::TAPROOT.0,
    );

    /// Rules a relayed transaction must satisfy beside the consensus ones, the same on both chains.
    const POLICY: Flags = Flags(
        Self::STRICTENC.0
            | Self::LOW_S.0
            | Self::MINIMALDATA.0
            | Self::DISCOURAGE_UPGRADABLE_NOPS.0
            | Self::CLEANSTACK.0
            | Self::DISCOURAGE_UPGRADABLE_WITNESS_PROGRAM.0
            | Self::MINIMALIF.0
            | Self::NULLFAIL.0
            | Self::WITNESS_PUBKEYTYPE.0
            | Self::CONST_SCRIPTCODE.0
            | Self::DISCOURAGE_UPGRADABLE_TAPROOT_VERSION.0
            | Self::DISCOURAGE_OP_SUCCESS.0
            | Self::DISCOURAGE_UPGRADABLE_PUBKEYTYPE.0,
    );

    /// What Bitcoin Core asks of a relayed transaction.
    pub const BITCOIN_STANDARD: Flags = Flags(Self::BITCOIN_CONSENSUS.0 | Self::POLICY.0);

    /// What an Elements block must satisfy on a chain where every deployment is active (the regtest chains).
    pub const ELEMENTS_CONSENSUS: Flags =
        Flags(Self::BITCOIN_CONSENSUS.0 | Self::SIGHASH_RANGEPROOF.0 | Self::SIMPLICITY.0);

    /// What Elements Core 23 asks of a relayed transaction on such a chain.
    ///
    /// Elements counts only P2SH as mandatory, so a failure under this set, or under [`Flags::ELEMENTS_CONSENSUS`] in a
    /// block, is reported as `mempool-script-verify-flag-failed (…)` with the [`crate::ScriptError`] in brackets.
    pub const ELEMENTS_STANDARD: Flags = Flags(Self::ELEMENTS_CONSENSUS.0 | Self::POLICY.0);

    /// The set as an integer, bit for bit what Bitcoin Core and Elements use.
    pub const fn bits(self) -> u32 {
        self.0
    }

    /// A set from such an integer; bits without a name here are kept.
    pub const fn from_bits(bits: u32) -> Flags {
        Flags(bits)
    }

    /// Whether all of `other` are in the set.
    pub const fn contains(self, other: Flags) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether any of `other` is in the set.
    pub const fn intersects(self, other: Flags) -> bool {
        self.0 & other.0 != 0
    }

    /// The flag that Core calls `SCRIPT_VERIFY_{name}`.
    pub fn from_name(name: &str) -> Option<Flags> {
        NAMES
            .iter()
            .find(|(n, _)| *n == name)
            .map(|(_, flag)| *flag)
    }
}

impl BitOr for Flags {
    type Output = Flags;
    fn bitor(self, other: Flags) -> Flags {
        Flags(self.0 | other.0)
    }
}

impl BitAnd for Flags {
    type Output = Flags;
    fn bitand(self, other: Flags) -> Flags {
        Flags(self.0 & other.0)
    }
}

impl Sub for Flags {
    type Output = Flags;
    /// The set without `other`.
    fn sub(self, other: Flags) -> Flags {
        Flags(self.0 & !other.0)
    }
}

impl fmt::Debug for Flags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = NAMES
            .iter()
            .filter(|(_, flag)| self.contains(*flag))
            .map(|(name, _)| *name)
            .collect();
        write!(f, "Flags({})", names.join("|"))
    }
}
