//! Bitcoin as swaps see it: the chain with its watch, the wallet, and whose the wallet's coins are.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bitcoin::consensus::encode::{deserialize_hex, serialize_hex};
use bitcoin::secp256k1::SecretKey;
use bitcoin::secp256k1::rand::thread_rng;
use bitcoin::{Address, Amount, Network, OutPoint, ScriptBuf, Transaction, TxOut};
use futures_util::future::BoxFuture;
use swaprig_units::{Height, Sat, Units};

use super::super::index::{BroadcastError, IndexError};
use super::super::reservations::{Owned, Reservations};
use super::super::swap_chain::{
    AnyError, Lock, Rates, Recovered, Shortage, Signed, Sums, SwapChain, Watch, Way,
};
use super::{BitcoinChain, BtcCoin, BtcSelection, BtcShortage, Found};
use crate::store::ReservedCoin;
use crate::swap::taproot::{self, Locked, Taproot};
use crate::swap::{
    Asset, ChainName, ChainSpend, ChainState, Depth, FeeRate, FundingTx, Output, Swap, SwapId,
    Terms, tag_of,
};

/// A funding should be in one of so many next blocks.
const FUNDING_TARGET: u32 = 6;
/// Of a funding without its inputs, rather too much; virtual bytes.
const FUNDING_VSIZE: usize = 200;
/// Of each input, rather too much; virtual bytes.
const INPUT_VSIZE: usize = 58;
/// How many coins one transaction makes ready at most.
const MOST_PIECES: u64 = 100;
/// A coin is divided when it is worth at least so many of the size that is kept ready.
const WORTH_DIVIDING: u64 = 4;

impl Owned for BtcCoin {
    fn outpoint(&self) -> OutPoint {
        self.outpoint
    }

    fn height(&self) -> Option<Height> {
        self.height
    }

    fn asset(&self) -> Asset {
        Asset::Bitcoin
    }

    fn value(&self) -> u64 {
        self.value.0
    }
}

/// Bitcoin, with the server's wallet on it.
#[derive(Debug)]
pub struct Bitcoin {
    chain: BitcoinChain,
    network: Network,
    /// What a funding pays, as it was estimated last; satoshi for 1,000 virtual bytes.
    rate: AtomicU64,
    coins: Mutex<Reservations<BtcCoin>>,
}

impl Bitcoin {
    /// The chain with the server's wallet.
    pub fn new(chain: BitcoinChain, network: Network) -> Arc<Bitcoin> {
        let rate = AtomicU64::new(chain.fees().fallback.0);
        Arc::new(Bitcoin {
            chain,
            network,
            rate,
            coins: Mutex::default(),
        })
    }

    fn coins(&self) -> MutexGuard<'_, Reservations<BtcCoin>> {
        // Nothing in there panics half-way.
        self.coins.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The chain and the wallet themselves.
    pub fn chain(&self) -> &BitcoinChain {
        &self.chain
    }

    /// The network.
    pub fn network(&self) -> Network {
        self.network
    }

    /// What transactions pay now; as it was estimated last.
    pub fn rate(&self) -> FeeRate {
        FeeRate(self.rate.load(Ordering::Relaxed))
    }

    /// Asks anew what transactions should pay.
    pub async fn estimate(&self) {
        let rate = self.chain.fee_rate(FUNDING_TARGET).await;
        self.rate.store(rate.0, Ordering::Relaxed);
    }

    /// The most that could be locked in one swap.
    pub fn most(&self) -> Sat {
        let (sum, count) = self
            .coins()
            .untaken()
            .fold((0_u64, 0_usize), |(sum, count), coin| {
                (sum + coin.value.0, count + 1)
            });
        let fee = self.rate().fee(FUNDING_VSIZE + INPUT_VSIZE * count);
        Sat(sum.saturating_sub(fee.0))
    }

    /// What there is.
    pub fn sums(&self) -> Sums {
        let mut sums = self.coins().sums(|_| ());
        sums.remove(&()).unwrap_or_default()
    }

    /// Divides a coin that is much larger than `size` into coins of it, so that swaps need not wait for each other's change.
    pub async fn make_coins_ready(&self, size: Sat) {
        let planned = {
            let mut coins = self.coins();
            let large = coins
                .untaken()
                .filter(|coin| coin.value.0 / size.0.max(1) >= WORTH_DIVIDING)
                .max_by_key(|coin| coin.value);
            let Some(large) = large else { return };
            // The rest and the fee stay a coin of their own.
            let count = (large.value.0 / size.0 - 1).min(MOST_PIECES);
            let count = usize::try_from(count).unwrap_or(1);
            let made = self
                .chain
                .fan_out(&[large.outpoint], count, size, self.rate());
            if let Ok(made) = &made {
                coins.take_for_split(made.outpoints());
            }
            made
        };
        let made = match planned {
            Ok(made) => made,
            Err(error) => return tracing::debug!(%error, "no coins can be made ready for swaps"),
        };
        match self.chain.broadcast(&made.transaction).await {
            Ok(txid) => {
                tracing::info!(%txid, coins = made.pieces, "coins are made ready for swaps")
            }
            Err(error) => {
                // It can be lost without harm; what it spends is another's when the wallet shows that it is not spent.
                self.coins().release_split(made.outpoints());
                tracing::warn!(%error, "no coins could be made ready for swaps");
            }
        }
    }

    fn outputs(&self, terms: &Terms, index: u32) -> Vec<TxOut> {
        vec![
            TxOut {
                value: Amount::from_sat(terms.amount.0),
                script_pubkey: taproot_of(terms).script_pubkey(),
            },
            tag_of(index, terms).bitcoin_output(),
        ]
    }

    fn selected(
        &self,
        coins: &[BtcCoin],
        terms: &Terms,
        taken: &std::collections::HashSet<OutPoint>,
    ) -> Result<BtcSelection, Shortage> {
        let outputs = self.outputs(terms, 0);
        self.chain
            .select_from(coins, &outputs, self.rate(), taken)
            .map_err(shortage)
    }
}

fn shortage(short: BtcShortage) -> Shortage {
    Shortage {
        asset: Asset::Bitcoin,
        wanted: Units(short.wanted.0),
        available: Units(short.available.0),
        elsewhere: Units(short.elsewhere.0),
    }
}

/// The HTLC of a swap on Bitcoin.
///
/// # Panics
/// When the terms lead to none: those of a swap that was made always do.
fn taproot_of(terms: &Terms) -> Taproot {
    Taproot::of(terms).expect("the terms of a swap on Bitcoin were checked when it was made")
}

/// What spends an output, as the machine has it.
fn spend_of(taproot: &Taproot, found: &Found) -> Option<ChainSpend> {
    let (transaction, depth) = found.spent_by.as_ref()?;
    Some(ChainSpend {
        txid: transaction.compute_txid(),
        spend: taproot::classify(taproot, transaction, found.outpoint)?,
        depth: *depth,
        whole: true,
    })
}

impl SwapChain for Bitcoin {
    fn name(&self) -> ChainName {
        ChainName::Bitcoin
    }

    fn tip(&self) -> BoxFuture<'_, Result<Height, IndexError>> {
        Box::pin(self.chain.tip())
    }

    fn watch(&self, scripts: Vec<Watch>) -> BoxFuture<'_, Result<(), IndexError>> {
        let scripts = scripts.into_iter();
        let scripts: Vec<_> = scripts.map(|watch| (watch.script, watch.since)).collect();
        Box::pin(self.chain.watch(scripts))
    }

    fn unwatch(&self, script: ScriptBuf) -> BoxFuture<'_, ()> {
        Box::pin(async move { self.chain.unwatch(&script).await })
    }

    fn observe<'a>(
        &'a self,
        swap: &'a Swap,
    ) -> BoxFuture<'a, Result<Option<ChainState>, IndexError>> {
        Box::pin(async move {
            let taproot = taproot_of(&swap.terms);
            let found = match self.chain.outputs(&taproot.script_pubkey()).await {
                // Nothing is watched before something is locked.
                Err(IndexError::Refused { .. }) => {
                    let watch = (taproot.script_pubkey(), swap.terms.made_at);
                    self.chain.watch([watch]).await?;
                    self.chain.outputs(&taproot.script_pubkey()).await?
                }
                found => found?,
            };
            let Some(funding) = swap
                .funding
                .as_ref()
                .filter(|_| swap.terms.direction.is_out())
            else {
                let outputs = found.iter().filter(|found| found.depth != Depth::Unseen);
                let outputs = outputs.map(|found| Output {
                    outpoint: found.outpoint,
                    value: Units(found.value.0),
                    depth: found.depth,
                    spend: spend_of(&taproot, found),
                });
                return Ok(Some(ChainState {
                    outputs: outputs.collect(),
                    funding: Depth::Unseen,
                    conflicted: false,
                    spend: None,
                }));
            };
            let own = found
                .iter()
                .find(|found| found.outpoint == funding.outpoint());
            let depth = own.map_or(Depth::Unseen, |found| found.depth);
            let conflicted = match depth {
                Depth::Unseen => {
                    let transaction = transaction_of(&funding.raw)?;
                    self.chain.standing(&transaction).await?.conflicted
                }
                Depth::Mempool | Depth::Block(_) => false,
            };
            Ok(Some(ChainState {
                outputs: Vec::new(),
                funding: depth,
                conflicted,
                spend: own.and_then(|found| spend_of(&taproot, found)),
            }))
        })
    }

    fn broadcast<'a>(&'a self, raw: &'a str) -> BoxFuture<'a, Result<(), BroadcastError>> {
        Box::pin(async move {
            let transaction = transaction_of(raw).map_err(|error| BroadcastError::Rejected {
                text: error.to_string(),
            })?;
            self.chain.broadcast(&transaction).await.map(drop)
        })
    }

    fn lock(&self, terms: &Terms) -> Lock {
        let taproot = taproot_of(terms);
        Lock {
            script: taproot.script_pubkey(),
            address: taproot.address(self.network).to_string(),
            witness_script: format!(
                "{:x} {:x}",
                taproot.claim_script(),
                taproot.timeout_script()
            ),
        }
    }

    fn spend(
        &self,
        swap: &Swap,
        way: Way,
        key: &SecretKey,
        to: &str,
        rate: FeeRate,
    ) -> Result<Signed, AnyError> {
        let locked = locked_of(swap).ok_or("nothing is locked")?;
        let to = to.parse::<Address<_>>()?.require_network(self.network)?;
        let to = to.script_pubkey();
        let mut rng = thread_rng();
        let transaction = match way {
            Way::Claim(preimage) => taproot::claim(&locked, &preimage, key, &to, rate, &mut rng)?,
            Way::Refund => taproot::refund(&locked, key, &to, rate, &mut rng)?,
        };
        Ok(Signed {
            txid: transaction.compute_txid(),
            raw: serialize_hex(&transaction),
        })
    }

    fn rates(&self) -> Rates {
        Rates {
            first: self.rate(),
            most: self.chain.fees().cap,
        }
    }

    fn fresh_address(&self) -> Result<String, AnyError> {
        Ok(self.chain.fresh_address()?.to_string())
    }

    fn reserve(&self, swap: SwapId, terms: &Terms) -> Result<Vec<ReservedCoin>, Shortage> {
        let mut coins = self.coins();
        let (all, taken) = coins.for_choice();
        let chosen = self.selected(all, terms, &taken)?.coins;
        Ok(coins.take(swap, chosen))
    }

    fn take_stored(&self, swap: SwapId, outpoints: &[OutPoint]) {
        self.coins().take_stored(swap, outpoints);
    }

    fn fund(&self, swap: SwapId, terms: &Terms, index: u32) -> Result<FundingTx, Shortage> {
        let outpoints: Vec<_> = {
            let coins = self.coins();
            coins
                .of_swap(swap)
                .iter()
                .map(|coin| coin.outpoint)
                .collect()
        };
        let outputs = self.outputs(terms, index);
        let funded = self.chain.fund(&outpoints, outputs, index, self.rate());
        let transaction = funded.map_err(|_| Shortage {
            asset: Asset::Bitcoin,
            wanted: terms.amount,
            available: Units(0),
            elsewhere: Units(0),
        })?;
        Ok(FundingTx {
            txid: transaction.compute_txid(),
            vout: 0,
            fee_vout: None,
            raw: serialize_hex(&transaction),
        })
    }

    fn spent(&self, swap: SwapId) {
        self.coins().spent(swap);
    }

    fn release(&self, swap: SwapId) {
        self.coins().release(swap);
    }

    fn sync(&self) -> BoxFuture<'_, Result<(), AnyError>> {
        Box::pin(async {
            self.chain.sync().await?;
            self.coins().refresh(self.chain.coins());
            Ok(())
        })
    }

    fn recover(&self) -> Vec<Recovered> {
        let found = self.chain.recover().into_iter();
        let read = found.filter_map(|found| {
            let locked = found.transaction.output.first()?;
            Some(Recovered {
                tag: found.tag,
                asset: Asset::Bitcoin,
                amount: Units(locked.value.to_sat()),
                fee_value: Sat(0),
                script: locked.script_pubkey.clone(),
                funding: FundingTx {
                    txid: found.transaction.compute_txid(),
                    vout: 0,
                    fee_vout: None,
                    raw: serialize_hex(&*found.transaction),
                },
            })
        });
        read.collect()
    }

    fn is_used(&self) -> bool {
        !self.chain.coins().is_empty() || !self.chain.recover().is_empty()
    }
}

/// What a swap has locked; `None` while nothing is.
pub fn locked_of(swap: &Swap) -> Option<Locked> {
    let funding = swap.funding.as_ref()?;
    Some(Locked {
        taproot: taproot_of(&swap.terms),
        coins: vec![(funding.outpoint(), Sat(swap.terms.amount.0))],
    })
}

fn transaction_of(raw: &str) -> Result<Transaction, IndexError> {
    deserialize_hex(raw).map_err(|error| IndexError::Malformed {
        method: "the stored funding".to_owned(),
        why: error.to_string(),
    })
}
