//! Tests of the swap protocol: tables and properties. What they share is here.

mod contract;
mod drawing;
mod held_world;
mod in_world;
mod loop_table;
mod loop_walk;
mod model;
mod policy;
mod spends;
mod table;
mod walk;
mod world;

use bitcoin::Txid;
use bitcoin::hashes::Hash as _;
use bitcoin::secp256k1::{PublicKey, SECP256K1, SecretKey};
use elements::AssetId;
use elements::secp256k1_zkp::rand::SeedableRng as _;
use elements::secp256k1_zkp::rand::rngs::StdRng;
use swaprig_units::{BlockDelta, Height, Msat, Preimage, Sat, Units};
use uuid::Uuid;

use super::*;

pub(super) const PREIMAGE: Preimage = Preimage([7; 32]);

pub(super) fn secret(byte: u8) -> SecretKey {
    SecretKey::from_slice(&[byte; 32]).expect("in range")
}

pub(super) fn public(byte: u8) -> PublicKey {
    secret(byte).public_key(SECP256K1)
}

pub(super) fn lbtc() -> AssetId {
    AssetId::from_byte_array([0xb7; 32])
}

pub(super) fn gold() -> AssetId {
    AssetId::from_byte_array([0x60; 32])
}

pub(super) fn txid(byte: u8) -> Txid {
    Txid::from_byte_array([byte; 32])
}

/// Always the same one: a test that fails fails again.
pub(super) fn rng() -> StdRng {
    StdRng::seed_from_u64(5)
}

/// 100,000 sat of L-BTC, made at 1,000, timeout 3,000 (so `pay_by` is 2,880), two confirmations.
pub(super) fn terms() -> Terms {
    Terms {
        chain: ChainName::Liquid,
        direction: Direction::Out,
        asset: lbtc().into(),
        amount: Units(100_000),
        fee_value: Sat(0),
        price: Msat(100_500_000),
        prepay: Msat(0),
        payment_hash: PREIMAGE.payment_hash(),
        claimer: public(1),
        refunder: public(2),
        timeout: Height(3_000),
        claim_window: BlockDelta(120),
        min_confirmations: 2,
        funding_window: BlockDelta(120),
        made_at: Height(1_000),
        refund_window: BlockDelta(0),
        finality: 0,
        internal: None,
        routing: None,
    }
}

pub(super) fn swap(terms: Terms) -> Swap {
    Swap {
        id: SwapId(Uuid::nil()),
        ..Swap::new(3, terms)
    }
}

pub(super) fn funding(terms: &Terms) -> FundingTx {
    FundingTx {
        txid: txid(0xf0),
        vout: 0,
        fee_vout: (terms.fee_value.0 != 0).then_some(1),
        raw: String::new(),
    }
}

/// A loop of 100,000 sat, made at 1,000, timeout 1,288 at the latest. Out: 2 confirmations, 24 blocks to claim, 12 to refund. In: 3
/// confirmations, and nothing is paid from 1,126 on.
pub(super) fn loop_terms(direction: Direction) -> Terms {
    let is_out = direction.is_out();
    Terms {
        chain: ChainName::Bitcoin,
        direction,
        asset: Asset::Bitcoin,
        timeout: Height(1_288),
        claim_window: BlockDelta(if is_out { 24 } else { 162 }),
        refund_window: BlockDelta(if is_out { 12 } else { 0 }),
        min_confirmations: if is_out { 2 } else { 3 },
        finality: 2,
        funding_window: BlockDelta(36),
        internal: Some(InternalKey::Musig2),
        routing: (!is_out).then_some(Routing {
            max_fee: Msat(1_000_000),
            max_total_cltv: BlockDelta(144),
        }),
        ..terms()
    }
}

/// A loop in with its invoice.
pub(super) fn loop_in() -> Swap {
    Swap {
        invoice: Some("lnbcrt1".to_owned()),
        ..swap(loop_terms(Direction::In))
    }
}

/// Bitcoin's heights, of its source and of the Lightning node.
pub(super) fn bitcoin_tips(height: u32) -> Tips {
    Tips {
        liquid: Height(0),
        bitcoin: Height(height),
        lightning: Height(height),
    }
}
