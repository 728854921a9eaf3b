//! A wallet's coins and whose they are: each belongs to at most one swap or one split. In memory; the store has the same for good.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use bitcoin::OutPoint;
use swaprig_units::Height;

use super::swap_chain::Sums;
use crate::store::ReservedCoin;
use crate::swap::{Asset, SwapId};

/// An unspent output of a wallet.
pub(crate) trait Owned: Clone {
    /// Where it is.
    fn outpoint(&self) -> OutPoint;
    /// The height of its block; `None` in the mempool.
    fn height(&self) -> Option<Height>;
    /// Of which asset.
    fn asset(&self) -> Asset;
    /// How much of it, in its smallest parts.
    fn value(&self) -> u64;

    /// Whether a funding could spend it now, if nobody had it.
    fn is_usable(&self) -> bool {
        self.height().is_some()
    }
}

/// Who has a coin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Owner {
    Swap(SwapId),
    /// A transaction that splits or gathers coins.
    Split,
    /// The funding of a swap that is over, which the wallet may not have seen yet.
    Spent,
}

/// The coins as the wallet saw them last, and who has taken which.
#[derive(Debug)]
pub(crate) struct Reservations<C> {
    coins: Arc<Vec<C>>,
    taken: HashMap<OutPoint, Owner>,
    /// The coins of swaps, also when the wallet no longer shows them.
    of_swaps: HashMap<SwapId, Vec<C>>,
}

impl<C> Default for Reservations<C> {
    fn default() -> Self {
        Reservations {
            coins: Arc::default(),
            taken: HashMap::new(),
            of_swaps: HashMap::new(),
        }
    }
}

impl<C: Owned> Reservations<C> {
    /// What the wallet shows now.
    pub(crate) fn refresh(&mut self, coins: Arc<Vec<C>>) {
        self.coins = coins;
        // A split is over when the wallet shows that its coins are spent; those of swaps stay theirs until they are settled, and
        // nobody else's after that.
        let shown: HashSet<OutPoint> = self.coins.iter().map(Owned::outpoint).collect();
        self.taken.retain(|outpoint, owner| match owner {
            Owner::Split | Owner::Spent => shown.contains(outpoint),
            Owner::Swap(_) => true,
        });
    }

    /// All coins that the wallet shows, and whose they are.
    fn all(&self) -> impl Iterator<Item = (&C, Option<Owner>)> {
        let owner = |coin: &C| self.taken.get(&coin.outpoint()).copied();
        self.coins.iter().map(move |coin| (coin, owner(coin)))
    }

    /// What there is, and in what state, of each kind of coins.
    pub(crate) fn sums<K: Ord>(&self, kind: impl Fn(&C) -> K) -> BTreeMap<K, Sums> {
        let mut all: BTreeMap<K, Sums> = BTreeMap::new();
        for (coin, owner) in self.all() {
            let (sums, value) = (all.entry(kind(coin)).or_default(), coin.value());
            match owner {
                Some(Owner::Swap(_)) => sums.reserved += value,
                Some(Owner::Split) => sums.pending += value,
                Some(Owner::Spent) => {}
                None if coin.is_usable() => {
                    sums.free += value;
                    sums.free_coins += 1;
                }
                None => sums.pending += value,
            }
        }
        all
    }

    /// Confirmed coins that nobody has taken.
    pub(crate) fn untaken(&self) -> impl Iterator<Item = &C> {
        let confirmed = self.coins.iter().filter(|coin| coin.height().is_some());
        confirmed.filter(|coin| !self.taken.contains_key(&coin.outpoint()))
    }

    /// The coins as the wallet shows them, and those of them that are taken.
    pub(crate) fn for_choice(&self) -> (&[C], HashSet<OutPoint>) {
        (&self.coins, self.taken.keys().copied().collect())
    }

    /// These coins are a swap's; as the store is to have them.
    pub(crate) fn take(&mut self, swap: SwapId, coins: Vec<C>) -> Vec<ReservedCoin> {
        for coin in &coins {
            self.taken.insert(coin.outpoint(), Owner::Swap(swap));
        }
        let reserved = coins.iter().map(|coin| ReservedCoin {
            outpoint: coin.outpoint(),
            asset: coin.asset(),
            value: coin.value(),
        });
        let reserved = reserved.collect();
        self.of_swaps.insert(swap, coins);
        reserved
    }

    /// The coins of a swap are taken, and known to the store only by their outpoints.
    pub(crate) fn take_stored(&mut self, swap: SwapId, outpoints: &[OutPoint]) {
        let coins = self.coins.iter();
        let coins: Vec<C> = coins
            .filter(|coin| outpoints.contains(&coin.outpoint()))
            .cloned()
            .collect();
        for outpoint in outpoints {
            self.taken.insert(*outpoint, Owner::Swap(swap));
        }
        self.of_swaps.insert(swap, coins);
    }

    /// The coins that a swap has taken.
    pub(crate) fn of_swap(&self, swap: SwapId) -> &[C] {
        self.of_swaps
            .get(&swap)
            .map(Vec::as_slice)
            .unwrap_or_default()
    }

    pub(crate) fn take_for_split(&mut self, coins: impl IntoIterator<Item = OutPoint>) {
        for outpoint in coins {
            self.taken.insert(outpoint, Owner::Split);
        }
    }

    pub(crate) fn release_split(&mut self, coins: impl IntoIterator<Item = OutPoint>) {
        for outpoint in coins {
            if self.taken.get(&outpoint) == Some(&Owner::Split) {
                self.taken.remove(&outpoint);
            }
        }
    }

    /// The swap is over and its funding is in the chain: its coins are nobody's, though the wallet may show them for a while.
    pub(crate) fn spent(&mut self, swap: SwapId) {
        for coin in self.of_swaps.remove(&swap).unwrap_or_default() {
            self.taken.insert(coin.outpoint(), Owner::Spent);
        }
        // Those that the wallet showed no more when the server started.
        self.taken.retain(|_, owner| *owner != Owner::Swap(swap));
    }

    /// Others may use the coins of the swap.
    pub(crate) fn release(&mut self, swap: SwapId) {
        self.of_swaps.remove(&swap);
        self.taken.retain(|_, owner| *owner != Owner::Swap(swap));
    }
}

#[cfg(test)]
mod tests {
    use bitcoin::Txid;
    use bitcoin::hashes::Hash as _;
    use uuid::Uuid;

    use super::*;

    impl Owned for OutPoint {
        fn outpoint(&self) -> OutPoint {
            *self
        }

        fn height(&self) -> Option<Height> {
            Some(Height(1))
        }

        fn asset(&self) -> Asset {
            Asset::Bitcoin
        }

        fn value(&self) -> u64 {
            7
        }
    }

    /// A swap can be over before the wallet shows that its coins are spent: they are not for another one.
    #[test]
    fn coins_of_a_swap_that_is_over_are_not_taken_again() {
        let coin = OutPoint::new(Txid::from_byte_array([1; 32]), 0);
        let first = SwapId(Uuid::from_u128(1));
        let mut kept = Reservations::default();
        let free = |kept: &Reservations<OutPoint>| kept.untaken().count();
        kept.refresh(Arc::new(vec![coin]));
        assert_eq!(free(&kept), 1);
        kept.take(first, vec![coin]);
        assert_eq!((free(&kept), kept.of_swap(first)), (0, &[coin][..]));
        kept.spent(first);
        assert_eq!(free(&kept), 0);
        // The wallet has not come so far.
        kept.refresh(Arc::new(vec![coin]));
        assert_eq!(free(&kept), 0);
        kept.refresh(Arc::default());
        assert!(kept.taken.is_empty() && kept.of_swaps.is_empty());
        // One that was never funded gives its coins back.
        kept.refresh(Arc::new(vec![coin]));
        kept.take(first, vec![coin]);
        kept.release(first);
        assert_eq!(free(&kept), 1);
    }
}
