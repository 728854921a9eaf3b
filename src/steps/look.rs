//! How the fields of an HTLC that change with time are looked up.

use elements::confidential::{Asset, Value as Amount};
use elements::{AssetId, Txid};
use swaprig_harness::World;
use swaprig_harness::elementsd::lbtc;
use swaprig_harness::time::Deadline;
use swaprig_harness::world::WAIT;
use swaprig_scenarios::lang::{Readable as _, Value};
use swaprig_scenarios::run::{BoxFuture, Look, StepFailure};
use swaprig_units::{Preimage, Sat, Units};

use super::Htlc;
use super::history::{self, Paid};

impl Look for Htlc {
    fn look<'a>(
        &'a self,
        field: &'a str,
        world: &'a World,
    ) -> BoxFuture<'a, Result<Option<Value>, StepFailure>> {
        Box::pin(async move {
            let paid = self.paid(world, Deadline::after(WAIT)).await?;
            Ok(match field {
                "funded" => Sat(locked(&paid, lbtc())).read(),
                "funded_units" => Units(locked(&paid, self.asset)).read(),
                "spent_by" => spends(&paid)
                    .next()
                    .map(|spent| bitcoin_txid(spent.by))
                    .read(),
                "preimage" => spends(&paid).find_map(revealed).read(),
                _ => None,
            })
        })
    }
}

impl Htlc {
    /// What was ever paid to it.
    pub(super) async fn paid(
        &self,
        world: &World,
        deadline: Deadline,
    ) -> Result<Vec<Paid>, StepFailure> {
        let script = self.witness_script.to_v0_p2wsh();
        history::of_script(&script, self.since, world, deadline).await
    }
}

fn spends(paid: &[Paid]) -> impl Iterator<Item = &history::Spent> {
    paid.iter().filter_map(|paid| paid.spent.as_ref())
}

/// What blocks have locked of an asset.
fn locked(paid: &[Paid], asset: AssetId) -> u64 {
    let locked = paid
        .iter()
        .filter(|paid| paid.confirmed && !paid.spent.as_ref().is_some_and(|spent| spent.confirmed));
    let amounts = locked.map(|paid| match (paid.output.asset, paid.output.value) {
        (Asset::Explicit(of), Amount::Explicit(parts)) if of == asset => parts,
        _ => 0,
    });
    amounts.fold(0, u64::saturating_add)
}

/// The preimage in the witness of a claim: `signature preimage 1 script`. A refund's has nothing in its place.
fn revealed(spent: &history::Spent) -> Option<Preimage> {
    let [_, preimage, _, _] = spent.witness.as_slice() else {
        return None;
    };
    <[u8; 32]>::try_from(preimage.as_slice()).ok().map(Preimage)
}

fn bitcoin_txid(txid: Txid) -> bitcoin::Txid {
    use bitcoin::hashes::Hash as _;
    bitcoin::Txid::from_byte_array(txid.to_byte_array())
}
