//! The HTLC of a swap on Bitcoin: a taproot output (BIP 341), what has to be known to spend it, and what a spend of it was.
//! Spending it is `spend`'s matter.
//!
//! ```text
//! internal key: the two together (MuSig2), or nobody: see `InternalKey`
//!     leaf: OP_SIZE <32> OP_EQUALVERIFY OP_SHA256 <payment hash> OP_EQUALVERIFY <claimer> OP_CHECKSIG
//!     leaf: <refunder> OP_CHECKSIGVERIFY <timeout> OP_CHECKLOCKTIMEVERIFY
//! ```
//!
//! OP_SIZE holds the preimage to the 32 bytes that Lightning asks for. The leaves have the x-only keys; MuSig2 aggregates the
//! plain ones, the claimer's first.

mod check;
mod internal;
mod script;
mod spend;
#[cfg(test)]
mod tests;

use bitcoin::secp256k1::{PublicKey, SECP256K1, XOnlyPublicKey};
use bitcoin::taproot::{ControlBlock, LeafVersion, TapNodeHash, TaprootBuilder, TaprootSpendInfo};
use bitcoin::{Address, Network, OutPoint, ScriptBuf, Transaction};
use swaprig_units::{Height, Preimage};

use super::Htlc;
use super::musig::{Aggregate, MusigError};
use super::state::{Spend, Terms};

pub use check::{Expected, Field, Mismatch, Reason, Reply, Side, check};
pub use internal::{InternalChoice, InternalKey};
pub use spend::{
    Locked, NotTheSpend, claim, cooperative, cooperative_sighash, finish_cooperative, refund,
};

/// Why there is no such output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TaprootError {
    /// A locktime that is a time, or none.
    #[error("the timeout {0} is not a block height from 1 to 499999999")]
    Timeout(Height),
    /// Zero, or not below the order of the group.
    #[error("r of the unspendable internal key is not a scalar of secp256k1 other than zero")]
    Tweak,
    /// The terms are of a swap on another chain.
    #[error("the terms say nothing of the internal key")]
    NoInternalKey,
    /// The keys come to no key.
    #[error("the internal key cannot be made: {0}")]
    Keys(#[from] MusigError),
}

/// The output: its contract, its internal key, and all that follows from them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Taproot {
    htlc: Htlc,
    internal: InternalKey,
    claim_leaf: ScriptBuf,
    timeout_leaf: ScriptBuf,
    spend: TaprootSpendInfo,
}

/// Everything that a stranger needs to compute the address, and to see that nobody but the two can spend without a script.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpendInfo {
    /// The claimer's plain key: MuSig2 aggregates it, the claim's leaf has its x coordinate.
    pub claimer: PublicKey,
    /// The refunder's plain key.
    pub refunder: PublicKey,
    /// What taproot tweaks.
    pub internal_key: XOnlyPublicKey,
    /// The internal key is H + r·G (BIP 341); without it, it is the aggregate of the claimer's key and the refunder's (BIP 327).
    pub r: Option<[u8; 32]>,
    /// Of the two leaves.
    pub merkle_root: TapNodeHash,
    /// The witness program of the output.
    pub output_key: XOnlyPublicKey,
    /// What a claim shows.
    pub claim_leaf: ScriptBuf,
    /// What a refund shows.
    pub timeout_leaf: ScriptBuf,
    /// What proves the claim's leaf.
    pub claim_control: ControlBlock,
    /// What proves the refund's leaf.
    pub timeout_control: ControlBlock,
}

impl Taproot {
    /// That of a swap on Bitcoin.
    ///
    /// # Errors
    /// As [`Taproot::new`]; with terms that say nothing of the internal key, too.
    pub fn of(terms: &Terms) -> Result<Taproot, TaprootError> {
        let internal = terms.internal.ok_or(TaprootError::NoInternalKey)?;
        Taproot::new(Htlc::of(terms), internal)
    }

    /// Of a contract, with the internal key.
    ///
    /// # Errors
    /// Where one of them makes no output that could be spent.
    pub fn new(htlc: Htlc, internal: InternalKey) -> Result<Taproot, TaprootError> {
        if !script::is_height(htlc.timeout) {
            return Err(TaprootError::Timeout(htlc.timeout));
        }
        let internal_key = internal.key(&htlc.claimer, &htlc.refunder)?;
        let (claimer, _) = htlc.claimer.x_only_public_key();
        let (refunder, _) = htlc.refunder.x_only_public_key();
        let claim_leaf = script::claim_leaf(htlc.payment_hash, claimer);
        let timeout_leaf = script::timeout_leaf(refunder, htlc.timeout);
        let spend = TaprootBuilder::new()
            .add_leaf(1, claim_leaf.clone())
            .and_then(|tree| tree.add_leaf(1, timeout_leaf.clone()))
            .expect("two leaves fit at depth one")
            .finalize(SECP256K1, internal_key)
            .expect("two leaves at depth one are a tree");
        Ok(Taproot {
            htlc,
            internal,
            claim_leaf,
            timeout_leaf,
            spend,
        })
    }

    /// What it says.
    pub fn htlc(&self) -> &Htlc {
        &self.htlc
    }

    /// What its internal key is made of.
    pub fn internal(&self) -> InternalKey {
        self.internal
    }

    /// The leaf that the claimer spends with the preimage: 73 bytes.
    pub fn claim_script(&self) -> &ScriptBuf {
        &self.claim_leaf
    }

    /// The leaf that the refunder spends from the timeout on: 39 bytes for timeouts of three bytes.
    pub fn timeout_script(&self) -> &ScriptBuf {
        &self.timeout_leaf
    }

    /// What taproot tweaks.
    pub fn internal_key(&self) -> XOnlyPublicKey {
        self.spend.internal_key()
    }

    /// The script of its outputs: P2TR, version 1.
    pub fn script_pubkey(&self) -> ScriptBuf {
        ScriptBuf::new_p2tr_tweaked(self.spend.output_key())
    }

    /// Its address.
    pub fn address(&self, network: Network) -> Address {
        Address::p2tr_tweaked(self.spend.output_key(), network)
    }

    /// What is published of it.
    pub fn spend_info(&self) -> SpendInfo {
        SpendInfo {
            claimer: self.htlc.claimer,
            refunder: self.htlc.refunder,
            internal_key: self.internal_key(),
            r: match self.internal {
                InternalKey::Musig2 => None,
                InternalKey::Unspendable { r } => Some(r),
            },
            merkle_root: self.merkle_root(),
            output_key: self.spend.output_key().to_x_only_public_key(),
            claim_leaf: self.claim_leaf.clone(),
            timeout_leaf: self.timeout_leaf.clone(),
            claim_control: self.control(&self.claim_leaf),
            timeout_control: self.control(&self.timeout_leaf),
        }
    }

    /// The signers of a co-operative spend and their key, tweaked; `None` when there is none by its internal key.
    pub fn signers(&self) -> Option<Aggregate> {
        match self.internal {
            InternalKey::Unspendable { .. } => None,
            InternalKey::Musig2 => {
                let keys = Aggregate::of(&[self.htlc.claimer, self.htlc.refunder]);
                let root = self.merkle_root();
                let keys = keys.and_then(|keys| keys.with_taproot_tweak(root.as_ref()));
                Some(keys.expect("the output was made of them"))
            }
        }
    }

    /// Reads [`Taproot::spend_info`] back, and nothing else: the contract is what the leaves say, and the internal key, the
    /// root, the output key and the proofs are those that follow from it.
    ///
    /// # Errors
    /// What of it is something else.
    pub fn parse(info: &SpendInfo) -> Result<Taproot, Mismatch> {
        let claim = script::read_claim(&info.claim_leaf);
        let (payment_hash, claimer) =
            claim.map_err(|error| Mismatch::leaf(Field::ClaimLeaf, error))?;
        let timeout = script::read_timeout(&info.timeout_leaf);
        let (refunder, timeout) =
            timeout.map_err(|error| Mismatch::leaf(Field::TimeoutLeaf, error))?;
        let htlc = Htlc {
            payment_hash,
            claimer: info.claimer,
            refunder: info.refunder,
            timeout,
        };
        if htlc.claimer.x_only_public_key().0 != claimer {
            return Err(Mismatch::of(Field::ClaimLeaf));
        }
        if htlc.refunder.x_only_public_key().0 != refunder {
            return Err(Mismatch::of(Field::TimeoutLeaf));
        }
        let internal = match info.r {
            None => InternalKey::Musig2,
            Some(r) => InternalKey::Unspendable { r },
        };
        let taproot = Taproot::new(htlc, internal).map_err(Mismatch::output)?;
        check::same_info(&taproot.spend_info(), info)?;
        Ok(taproot)
    }

    fn merkle_root(&self) -> TapNodeHash {
        self.spend.merkle_root().expect("it has leaves")
    }

    fn control(&self, leaf: &ScriptBuf) -> ControlBlock {
        let leaf = (leaf.clone(), LeafVersion::TapScript);
        self.spend
            .control_block(&leaf)
            .expect("it is one of its leaves")
    }
}

/// How `tx` spends the output `outpoint` of the HTLC; `None` when it does not.
///
/// It reads the witness only and takes it for valid, as that of any transaction that a node accepted is. An annex (BIP 341)
/// is passed over: no node relays one, a miner may take it.
pub fn classify(taproot: &Taproot, tx: &Transaction, outpoint: OutPoint) -> Option<Spend> {
    let input = tx
        .input
        .iter()
        .find(|input| input.previous_output == outpoint)?;
    let mut witness: Vec<&[u8]> = input.witness.iter().collect();
    if witness.len() > 1
        && witness
            .last()
            .is_some_and(|last| last.first() == Some(&0x50))
    {
        witness.pop();
    }
    if let [_signature] = witness.as_slice() {
        return Some(Spend::Cooperative);
    }
    let control = witness.pop()?;
    let leaf = witness.pop()?;
    let shows = |script: &ScriptBuf| {
        leaf == script.as_bytes() && control == taproot.control(script).serialize()
    };
    match witness.as_slice() {
        [_signature, preimage] if shows(&taproot.claim_leaf) => {
            let preimage = Preimage((*preimage).try_into().ok()?);
            (preimage.payment_hash() == taproot.htlc.payment_hash).then_some(Spend::Claim(preimage))
        }
        [_signature] if shows(&taproot.timeout_leaf) => Some(Spend::Refund),
        _ => None,
    }
}
