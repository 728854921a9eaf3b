//! Finding open swaps again on the chain when the store is lost: by the seed, and by what every funding says of itself.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use swaprig_units::{Height, Msat, PaymentHash};

use super::Engine;
use crate::chain::{Lock, Recovered};
use crate::lightning::{LightningError, Received};
use crate::store::{Coins, Created, NewSwap, StoreError};
use crate::swap::{Asset, ChainName, Direction, InternalKey, Phase, Swap, SwapKeys, Terms};

/// Indices that are left out after the last one on the chain: those of swaps that were never funded.
const INDEX_GAP: u32 = 1_000;

/// Why the lost swaps could not all be found; it is tried again.
#[derive(Debug, thiserror::Error)]
pub(super) enum RecoverError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Lightning(#[from] LightningError),
}

impl Engine {
    /// Stores the swaps that the chain has and the store has not. For a store that is empty; with one that is not it only
    /// finds what is known.
    pub(super) async fn recover(self: &Arc<Self>) -> Result<(), RecoverError> {
        let mut lost = Vec::new();
        let mut highest = None;
        let found = self.chains.iter().flat_map(|(name, chain)| {
            let found = chain.recover().into_iter();
            found.map(|found| (*name, found))
        });
        for (chain, found) in found {
            highest = highest.max(Some(found.tag.index));
            let Ok(keys) = self.keys.keys(found.tag.index) else {
                continue;
            };
            let own = keys.preimage.payment_hash();
            let hash = found.tag.payment_hash.unwrap_or(own);
            if self.store.by_hash(hash)?.is_none() {
                lost.push((chain, found, keys));
            }
        }
        // A wallet has a history and the store has none: there may have been swaps that were never funded, too.
        let is_another =
            self.chains.values().any(|chain| chain.is_used()) && self.store.is_new()?;
        if lost.is_empty() && !is_another {
            return Ok(());
        }
        // First of all: when this is cut off, the next start must know it, too.
        let used = highest.map_or(0, |highest| highest.saturating_add(1));
        let floor = used.saturating_add(INDEX_GAP);
        self.store.raise_index_floor(floor).await?;
        self.next_index.fetch_max(floor, Ordering::SeqCst);
        let mut recovered = 0_u32;
        for (chain, lost, keys) in lost {
            recovered += u32::from(self.recover_one(chain, lost, &keys).await?);
        }
        match recovered {
            0 => tracing::info!(
                next_index = floor,
                "a new store with a seed that was used before"
            ),
            _ => tracing::warn!(
                recovered,
                next_index = floor,
                "swaps that the store did not have were found on the chain"
            ),
        }
        Ok(())
    }

    /// What its invoice asks for, as the Lightning node knows; as it is sold now when the node does not.
    async fn price_of(&self, lost: &Recovered, hash: PaymentHash) -> Result<Msat, LightningError> {
        if let Some(price) = self.node.asked(hash).await? {
            return Ok(price);
        }
        let each = match lost.asset {
            Asset::Bitcoin => 1_000,
            Asset::Liquid(asset) => self.sale(asset).map_or(0, |sale| sale.price_msat),
        };
        Ok(Msat(lost.amount.0.saturating_mul(each)))
    }

    async fn recover_one(
        self: &Arc<Self>,
        chain: ChainName,
        lost: Recovered,
        keys: &SwapKeys,
    ) -> Result<bool, RecoverError> {
        let own = keys.preimage.payment_hash();
        let hash = lost.tag.payment_hash.unwrap_or(own);
        let price = self.price_of(&lost, hash).await?;
        let paid = matches!(self.node.received(hash).await?, Received::Yes(_));
        // Of a client's payment it is known only as long as it is held; how long that is the Lightning node tells.
        let held = match hash == own {
            true => None,
            false => self.node.held().await?.get(&hash).map(|held| held.until),
        };
        let Some((terms, lock)) = self.terms_of(chain, &lost, keys, hash, price) else {
            tracing::warn!(
                index = lost.tag.index,
                "a funding on the chain is not of this seed's swaps"
            );
            return Ok(false);
        };
        let swap = Swap {
            phase: match paid {
                true => Phase::Paid,
                false => Phase::Funding,
            },
            funding: Some(lost.funding.clone()),
            settle_tried: paid,
            paid,
            held_until: held,
            ..Swap::new(lost.tag.index, terms)
        };
        let created = self
            .store
            .create(NewSwap {
                // The one of the caller is lost: whoever repeats it is sold another swap.
                request_id: swap.id.0,
                fingerprint: [0; 32],
                coins: Vec::new(),
                effects: Vec::new(),
                witness_script: lock.witness_script,
                address: lock.address,
                swap: swap.clone(),
            })
            .await?;
        debug_assert!(matches!(created, Created::New(_)));
        // With the funding, which `create` does not write.
        self.store
            .update(&swap, false, Vec::new(), None, Coins::Keep, None)
            .await?;
        Ok(true)
    }

    /// The terms that lead to what is locked, and the HTLC; `None` when there are none.
    fn terms_of(
        &self,
        chain: ChainName,
        lost: &Recovered,
        keys: &SwapKeys,
        hash: PaymentHash,
        price: Msat,
    ) -> Option<(Terms, Lock)> {
        let config = &self.config;
        let (delta, window) = match chain {
            ChainName::Liquid => (config.refund_delta, config.claim_window),
            ChainName::Bitcoin => (config.loops.delta, config.loops.claim_window),
        };
        let terms = Terms {
            chain,
            direction: match hash == keys.preimage.payment_hash() {
                true => Direction::Out,
                false => Direction::OutHeld,
            },
            asset: lost.asset,
            amount: lost.amount,
            fee_value: lost.fee_value,
            price,
            prepay: Msat(0),
            payment_hash: hash,
            claimer: lost.tag.claimer,
            refunder: keys.public(),
            timeout: lost.tag.timeout,
            claim_window: window,
            refund_window: config.loops.refund_window,
            min_confirmations: 1,
            finality: config.finality(chain),
            funding_window: delta,
            made_at: Height(lost.tag.timeout.0.saturating_sub(delta.0)),
            internal: None,
            routing: None,
        };
        let internals = match chain {
            ChainName::Liquid => vec![None],
            ChainName::Bitcoin => vec![
                Some(InternalKey::Musig2),
                Some(InternalKey::Unspendable { r: keys.r }),
            ],
        };
        internals.into_iter().find_map(|internal| {
            let terms = Terms {
                internal,
                ..terms.clone()
            };
            let lock = self.chain(chain).lock(&terms);
            (lock.script == lost.script).then_some((terms, lock))
        })
    }
}
