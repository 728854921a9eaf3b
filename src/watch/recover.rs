//! Finding open swaps again on the chain when the store is lost: by the seed, and by what every funding says of itself.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use swaprig_units::{Height, Msat};
use uuid::Uuid;

use super::Engine;
use crate::chain::Recovered;
use crate::lightning::Received;
use crate::store::{Coins, Created, NewSwap, StoreError};
use crate::swap::{Htlc, Phase, Swap, SwapId, Terms};

/// Indices that are left out after the last one on the chain: those of swaps that were never funded.
const INDEX_GAP: u32 = 1_000;

impl Engine {
    /// Stores the swaps that the chain has and the store has not. For a store that is empty; with one that is not it only
    /// finds what is known.
    pub(super) async fn recover(self: &Arc<Self>) -> Result<(), StoreError> {
        let found = self.wallet.recover();
        let mut recovered = 0_u32;
        let mut highest = None;
        for lost in found {
            highest = highest.max(Some(lost.index));
            recovered += u32::from(self.recover_one(lost).await?);
        }
        if let Some(highest) = highest.filter(|_| recovered > 0) {
            let next = highest.saturating_add(INDEX_GAP);
            self.next_index.fetch_max(next, Ordering::SeqCst);
            tracing::warn!(
                recovered,
                "swaps that the store did not have were found on the chain"
            );
        }
        Ok(())
    }

    async fn recover_one(self: &Arc<Self>, lost: Recovered) -> Result<bool, StoreError> {
        let Ok(keys) = self.keys.keys(lost.index) else {
            return Ok(false);
        };
        let hash = keys.preimage.payment_hash();
        if self.store.by_hash(hash)?.is_some() {
            return Ok(false);
        }
        let made_at = lost.timeout.0.saturating_sub(self.config.refund_delta.0);
        // The price is known to the Lightning node only, which holds no less than its invoice asks for.
        let sale = self.sale(lost.asset);
        let price = sale.map_or(0, |sale| lost.amount.0.saturating_mul(sale.price_msat));
        // Without an answer it counts as not taken; the held payment then shows itself, or the timeout comes.
        let paid = matches!(self.node.received(hash).await, Ok(Received::Yes(_)));
        let swap = Swap {
            id: SwapId(Uuid::new_v4()),
            index: lost.index,
            terms: Terms {
                asset: lost.asset,
                amount: lost.amount,
                fee_value: lost.fee_value,
                price: Msat(price),
                prepay: Msat(0),
                payment_hash: hash,
                claimer: lost.claimer,
                refunder: keys.refunder(),
                timeout: lost.timeout,
                claim_window: self.config.claim_window,
                min_confirmations: 1,
                funding_window: self.config.refund_delta,
                made_at: Height(made_at),
            },
            phase: match paid {
                true => Phase::Paid,
                false => Phase::Funding,
            },
            invoice: None,
            prepay_invoice: None,
            funding: Some(lost.funding.clone()),
            never_claim: false,
            claim_tried: paid,
            held_until: None,
            paid,
            spend: None,
            refund: None,
        };
        let htlc = Htlc::of(&swap.terms);
        if htlc.script_pubkey() != lost.lock {
            tracing::warn!(
                index = lost.index,
                "a funding on the chain is not of this seed's swaps"
            );
            return Ok(false);
        }
        let id = swap.id;
        let created = self
            .store
            .create(NewSwap {
                request_id: id.0,
                fingerprint: [0; 32],
                coins: Vec::new(),
                effects: Vec::new(),
                witness_script: format!("{:x}", htlc.witness_script()),
                address: htlc.address(self.params).to_string(),
                swap: swap.clone(),
            })
            .await?;
        debug_assert!(matches!(created, Created::New(_)));
        // With the funding, which `create` does not write.
        self.store
            .update(&swap, false, Vec::new(), None, Coins::Keep)
            .await?;
        Ok(true)
    }
}
