//! Holds what is said of an output on Bitcoin to what follows from one's own data. Nothing that the other side says is taken
//! for the truth but what only it can know: its key, the timeout and `r`. Whether the timeout will do is policy, not asked here.

use std::fmt;

use bitcoin::address::NetworkUnchecked;
use bitcoin::secp256k1::{PublicKey, XOnlyPublicKey};
use bitcoin::taproot::TapNodeHash;
use bitcoin::{Address, Network, ScriptBuf};
use swaprig_units::{Height, PaymentHash};

use super::{InternalChoice, InternalKey, SpendInfo, Taproot, TaprootError};
use crate::swap::{Htlc, ParseError};

/// What a server says of a swap's output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// SHA-256 of the preimage.
    pub payment_hash: PaymentHash,
    /// Whose key the claim asks for.
    pub claimer: PublicKey,
    /// Whose key the refund asks for.
    pub refunder: PublicKey,
    /// From when on it can be refunded.
    pub timeout: Height,
    /// What taproot tweaks.
    pub internal_key: XOnlyPublicKey,
    /// Only where nobody is to have the internal key: it is H + r·G.
    pub r: Option<[u8; 32]>,
    /// Of the two leaves.
    pub merkle_root: TapNodeHash,
    /// The witness program.
    pub output_key: XOnlyPublicKey,
    /// What a claim shows.
    pub claim_leaf: ScriptBuf,
    /// What a refund shows.
    pub timeout_leaf: ScriptBuf,
    /// Where the coins are.
    pub address: Address<NetworkUnchecked>,
}

/// Which of the two is asking.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// Who claims with the preimage.
    Claimer,
    /// Who refunds after the timeout.
    Refunder,
}

/// What one knows by oneself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Expected {
    /// From one's own preimage, or one's own invoice.
    pub payment_hash: PaymentHash,
    /// Which of the two one is.
    pub side: Side,
    /// One's own key.
    pub key: PublicKey,
    /// What was asked for.
    pub internal: InternalChoice,
    /// The network.
    pub network: Network,
}

/// What of a reply differs. Shown by the name it has in the reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Field {
    /// [`Reply::payment_hash`].
    PaymentHash,
    /// [`Reply::claimer`].
    Claimer,
    /// [`Reply::refunder`].
    Refunder,
    /// [`Reply::timeout`].
    Timeout,
    /// [`Reply::internal_key`].
    InternalKey,
    /// [`Reply::r`].
    Tweak,
    /// [`Reply::merkle_root`].
    MerkleRoot,
    /// [`Reply::output_key`].
    OutputKey,
    /// [`Reply::claim_leaf`].
    ClaimLeaf,
    /// [`Reply::timeout_leaf`].
    TimeoutLeaf,
    /// [`SpendInfo::claim_control`].
    ClaimControl,
    /// [`SpendInfo::timeout_control`].
    TimeoutControl,
    /// [`Reply::address`].
    Address,
}

/// What is said is not what follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("`{field}` is not what follows from the rest: {reason}")]
pub struct Mismatch {
    /// What of it.
    pub field: Field,
    /// Why.
    pub reason: Reason,
}

/// Why a field is not what follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    /// It has another value.
    #[error("it has another value")]
    Value,
    /// It is not such a script.
    #[error(transparent)]
    Script(#[from] ParseError),
    /// No output can be made of it.
    #[error(transparent)]
    Output(#[from] TaprootError),
}

impl Mismatch {
    pub(super) fn of(field: Field) -> Mismatch {
        let reason = Reason::Value;
        Mismatch { field, reason }
    }

    pub(super) fn leaf(field: Field, error: ParseError) -> Mismatch {
        let reason = Reason::Script(error);
        Mismatch { field, reason }
    }

    pub(super) fn output(error: TaprootError) -> Mismatch {
        let field = match error {
            TaprootError::Timeout(_) => Field::Timeout,
            TaprootError::Tweak => Field::Tweak,
            TaprootError::NoInternalKey | TaprootError::Keys(_) => Field::InternalKey,
        };
        let reason = Reason::Output(error);
        Mismatch { field, reason }
    }
}

/// The output, made from one's own data, when everything that was said of it is so.
///
/// # Errors
/// What is not; nothing of the reply is to be used then.
pub fn check(expected: &Expected, reply: &Reply) -> Result<Taproot, Mismatch> {
    same(
        &expected.payment_hash,
        &reply.payment_hash,
        Field::PaymentHash,
    )?;
    match expected.side {
        Side::Claimer => same(&expected.key, &reply.claimer, Field::Claimer)?,
        Side::Refunder => same(&expected.key, &reply.refunder, Field::Refunder)?,
    }
    let internal = match (expected.internal, reply.r) {
        (InternalChoice::Musig2, None) => InternalKey::Musig2,
        (InternalChoice::Unspendable, Some(r)) => InternalKey::Unspendable { r },
        (InternalChoice::Musig2, Some(_)) | (InternalChoice::Unspendable, None) => {
            return Err(Mismatch::of(Field::Tweak));
        }
    };
    let htlc = Htlc {
        payment_hash: expected.payment_hash,
        claimer: reply.claimer,
        refunder: reply.refunder,
        timeout: reply.timeout,
    };
    let taproot = Taproot::new(htlc, internal).map_err(Mismatch::output)?;
    let ours = taproot.spend_info();
    let theirs = SpendInfo {
        internal_key: reply.internal_key,
        merkle_root: reply.merkle_root,
        output_key: reply.output_key,
        claim_leaf: reply.claim_leaf.clone(),
        timeout_leaf: reply.timeout_leaf.clone(),
        ..ours.clone()
    };
    same_info(&ours, &theirs)?;
    let address = taproot.address(expected.network).into_unchecked();
    same(&address, &reply.address, Field::Address)?;
    Ok(taproot)
}

/// Whether everything that follows from keys, hash, timeout and `r` is the same.
pub(super) fn same_info(ours: &SpendInfo, theirs: &SpendInfo) -> Result<(), Mismatch> {
    same(&ours.claim_leaf, &theirs.claim_leaf, Field::ClaimLeaf)?;
    same(&ours.timeout_leaf, &theirs.timeout_leaf, Field::TimeoutLeaf)?;
    same(&ours.internal_key, &theirs.internal_key, Field::InternalKey)?;
    same(&ours.merkle_root, &theirs.merkle_root, Field::MerkleRoot)?;
    same(&ours.output_key, &theirs.output_key, Field::OutputKey)?;
    same(
        &ours.claim_control,
        &theirs.claim_control,
        Field::ClaimControl,
    )?;
    let control = &theirs.timeout_control;
    same(&ours.timeout_control, control, Field::TimeoutControl)
}

fn same<T: PartialEq>(ours: &T, theirs: &T, field: Field) -> Result<(), Mismatch> {
    match ours == theirs {
        true => Ok(()),
        false => Err(Mismatch::of(field)),
    }
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Field::PaymentHash => "payment_hash",
            Field::Claimer => "claimer",
            Field::Refunder => "refunder",
            Field::Timeout => "timeout",
            Field::InternalKey => "internal_key",
            Field::Tweak => "r",
            Field::MerkleRoot => "merkle_root",
            Field::OutputKey => "output_key",
            Field::ClaimLeaf => "claim_leaf",
            Field::TimeoutLeaf => "timeout_leaf",
            Field::ClaimControl => "claim_control",
            Field::TimeoutControl => "timeout_control",
            Field::Address => "address",
        })
    }
}
