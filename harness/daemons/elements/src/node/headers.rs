//! Block headers: who signs, which dynafed parameters they carry, which times and versions fit.

use elements::dynafed::{FullParams, Params as DynafedParams};
use elements::{BlockExtData, BlockHeader};

use super::genesis::op_true;
use super::params::EPOCH_LENGTH;
use super::rejection::Rejection;

/// How far ahead of the node's clock a block may be, in seconds.
const MAX_FUTURE: u64 = 2 * 60 * 60;
/// Header versions with these bits are kept for hard forks.
const RESERVED_BITS: u32 = 0b1111 << 23;
/// `VERSIONBITS_TOP_BITS`.
const VERSION: u32 = 0x2000_0000;
/// The deployment that regtest chains practise with.
const TEST_DEPLOYMENT: u32 = 1 << 28;
/// Blocks in a window of version bits.
const WINDOW: u32 = 144;

/// The parameters that the header at `height` carries: in full in block 1 and where an epoch begins, compact otherwise.
pub(crate) fn current_params(full: &FullParams, height: u32) -> DynafedParams {
    match height == 1 || height.is_multiple_of(EPOCH_LENGTH) {
        true => DynafedParams::Full(full.clone()),
        false => full.clone().into_compact(),
    }
}

/// The dynafed part of a new header at `height`: no vote, signed as `OP_TRUE` asks.
pub(crate) fn signed(full: &FullParams, height: u32) -> BlockExtData {
    BlockExtData::Dynafed {
        current: current_params(full, height),
        proposed: DynafedParams::Null,
        signblock_witness: vec![op_true().into_bytes()],
    }
}

/// The version of a new block at `height`. Every block signals for the test deployment, which starts in the second
/// window, is locked in in the third and active in the fourth.
pub(crate) fn version(height: u32) -> u32 {
    match height / WINDOW {
        1 | 2 => VERSION | TEST_DEPLOYMENT,
        _ => VERSION,
    }
}

/// A header's own rules, and those about its parent. `median_time` is the parent's.
pub(crate) fn check(
    header: &BlockHeader,
    parent_height: u32,
    median_time: u32,
    now: u64,
    full: &FullParams,
) -> Result<(), Rejection> {
    let dynafed = |details| Rejection::with("invalid-dyna-fed", details);
    let BlockExtData::Dynafed {
        current,
        proposed,
        signblock_witness,
    } = &header.ext
    else {
        return Err(dynafed(
            "dynamic block headers must have non-empty current signblockscript field",
        ));
    };
    if *signblock_witness != [op_true().into_bytes()] {
        return Err(Rejection::with(
            "block-proof-invalid",
            "proof of work failed",
        ));
    }
    if header.time <= median_time {
        return Err(Rejection::with(
            "time-too-old",
            "block's timestamp is too early",
        ));
    }
    if parent_height.checked_add(1) != Some(header.height) {
        return Err(Rejection::new("bad-header-height"));
    }
    if u64::from(header.time) > now.saturating_add(MAX_FUTURE) {
        return Err(Rejection::with(
            "time-too-new",
            "block timestamp too far in the future",
        ));
    }
    if header.version < 4 {
        let version = header.version;
        let details = format!("rejected nVersion=0x{version:08x} block");
        return Err(Rejection::with(
            format!("bad-version(0x{version:08x})"),
            details,
        ));
    }
    if current.is_null() {
        return Err(dynafed(
            "dynamic block headers must have non-empty current signblockscript field",
        ));
    }
    if header.version & RESERVED_BITS != 0 {
        return Err(dynafed(
            "dynamic block header has unknown HF extension bits set",
        ));
    }
    if *current != current_params(full, header.height) {
        return Err(dynafed(
            "dynamic block header's current parameters do not match expected",
        ));
    }
    match proposed {
        DynafedParams::Null => Ok(()),
        _ => Err(Rejection::not_supported(
            "a vote on the federation's parameters",
        )),
    }
}
