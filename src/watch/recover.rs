//! Finding open swaps again on the chain when the store is lost: by the seed, and by what every funding says of itself.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use swaprig_units::{BlockDelta, Height, Msat, PaymentHash};

use super::Engine;
use crate::chain::Recovered;
use crate::lightning::{LightningError, Received};
use crate::store::{Coins, Created, NewSwap, StoreError};
use crate::swap::{ChainName, Direction, Phase, Swap, SwapId, SwapKeys, Terms};

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
        let Some(liquid) = &self.liquid else {
            return Ok(());
        };
        let mut lost = Vec::new();
        let mut highest = None;
        for found in liquid.wallet().recover() {
            highest = highest.max(Some(found.index));
            let Ok(keys) = self.keys.keys(found.index) else {
                continue;
            };
            if self.store.by_hash(keys.preimage.payment_hash())?.is_none() {
                lost.push((found, keys));
            }
        }
        // The wallet has a history and the store has none: there may have been swaps that were never funded, too.
        let is_another = liquid.wallet().transactions() > 0 && self.store.is_new()?;
        if lost.is_empty() && !is_another {
            return Ok(());
        }
        // First of all: when this is cut off, the next start must know it, too.
        let used = highest.map_or(0, |highest| highest.saturating_add(1));
        let floor = used.saturating_add(INDEX_GAP);
        self.store.raise_index_floor(floor).await?;
        self.next_index.fetch_max(floor, Ordering::SeqCst);
        let mut recovered = 0_u32;
        for (lost, keys) in lost {
            recovered += u32::from(self.recover_one(lost, &keys).await?);
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
        let sale = self.sale(lost.asset);
        let price = sale.map_or(0, |sale| lost.amount.0.saturating_mul(sale.price_msat));
        Ok(Msat(price))
    }

    async fn recover_one(
        self: &Arc<Self>,
        lost: Recovered,
        keys: &SwapKeys,
    ) -> Result<bool, RecoverError> {
        let hash = keys.preimage.payment_hash();
        let made_at = lost.timeout.0.saturating_sub(self.config.refund_delta.0);
        let price = self.price_of(&lost, hash).await?;
        let paid = matches!(self.node.received(hash).await?, Received::Yes(_));
        let swap = Swap {
            id: SwapId::of(hash),
            index: lost.index,
            terms: Terms {
                chain: ChainName::Liquid,
                direction: Direction::Out,
                asset: lost.asset.into(),
                amount: lost.amount,
                fee_value: lost.fee_value,
                price,
                prepay: Msat(0),
                payment_hash: hash,
                claimer: lost.claimer,
                refunder: keys.public(),
                timeout: lost.timeout,
                claim_window: self.config.claim_window,
                min_confirmations: 1,
                funding_window: self.config.refund_delta,
                made_at: Height(made_at),
                refund_window: BlockDelta(0),
                finality: 0,
                internal: None,
                routing: None,
            },
            phase: match paid {
                true => Phase::Paid,
                false => Phase::Funding,
            },
            invoice: None,
            prepay_invoice: None,
            funding: Some(lost.funding.clone()),
            never_settle: false,
            settle_tried: paid,
            held_until: None,
            paid,
            spend: None,
            own_spend: None,
            preimage: None,
        };
        let lock = self.chain(swap.terms.chain).lock(&swap.terms);
        if lock.script.as_bytes() != lost.lock.as_bytes() {
            tracing::warn!(
                index = lost.index,
                "a funding on the chain is not of this seed's swaps"
            );
            return Ok(false);
        }
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
}
