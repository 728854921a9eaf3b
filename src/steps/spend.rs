//! Spending an HTLC, rightly or not: what the node says to it is the step's outcome.

use std::collections::BTreeMap;

use bitcoin::secp256k1::{Message, Secp256k1, SecretKey};
use elements::confidential::{Asset, Nonce, Value as Amount};
use elements::sighash::SighashCache;
use elements::{
    AssetId, AssetIssuance, EcdsaSighashType, LockTime, Script, Sequence, Transaction, TxIn,
    TxInWitness, TxOut, TxOutWitness,
};
use swaprig_harness::elementsd::lbtc;
use swaprig_record::Chain;
use swaprig_scenarios::lang::{Arg, StepCx};
use swaprig_scenarios::run::{Run, Step, StepFailure};
use swaprig_scenarios::step;
use swaprig_units::{Height, Sat};

use super::history::Paid;
use super::taproot_spend::{self, Wanted};
use super::{Htlc, HtlcOf, HtlcTransaction, Key, Purse, Revealed, SpendPath};

/// Says that it may be replaced and that the locktime counts (BIP 125, BIP 65).
const SEQUENCE: u64 = 0xffff_fffd;
/// Above the least fee rate of either chain, 0.1 sat/vB on Liquid and 1 sat/vB on Bitcoin, for the spend of a dozen outputs
/// there and of three here.
const FEE: Sat = Sat(500);

step! {
    /// Spends everything that is in an HTLC, with the preimage (a claim) or without (a refund), or by both keys together on
    /// Bitcoin, and brings the transaction into the mempool. What the node says against it is the reason for `fails`. If all
    /// of it is spent already, that is tried again, so that the node can refuse it.
    pub struct SpendHtlc("spend") -> HtlcTransaction {
        /// Which HTLC.
        spend: HtlcOf,
        /// Who gets it: a wallet on Liquid, at an unconfidential address; the on-chain wallet of a Lightning node on Bitcoin.
        to: Purse,
    } optional {
        /// What is shown as the preimage; left out, it is a refund.
        preimage: Option<Revealed> = None,
        /// How; with a preimage a claim, without one a refund, when it is left out.
        path: Option<SpendPath> = None,
        /// The key that signs, alone; those of the HTLC's claimer, refunder or both when it is left out.
        key: Option<Arg<Key>> = None,
        /// The transaction's locktime; when it is left out, the timeout for a refund and otherwise 0.
        locktime: Option<Arg<Height>> = None,
        /// The sequence number of its inputs; 0xffffffff makes the locktime void.
        sequence: u64 = SEQUENCE,
        /// What the miner gets, out of the L-BTC, or the coins, in the HTLC.
        fee: Sat = FEE,
    }
    check can_be;
}

fn can_be(step: &SpendHtlc, cx: &mut StepCx<'_>) -> bool {
    has_32_bits(step, cx) && goes_one_way(step, cx) && step.to.is_on_chain(&step.spend, "to", cx)
}

fn goes_one_way(step: &SpendHtlc, cx: &mut StepCx<'_>) -> bool {
    let span = cx.value_span("path");
    match (step.path, &step.preimage, &step.spend) {
        (Some(SpendPath::Claim), None, _) => {
            cx.problem(span, "a claim without a preimage")
                .label("shows the preimage to the script")
                .help("add preimage = \"$secret\"");
            false
        }
        (Some(SpendPath::Refund | SpendPath::Cooperative), Some(_), _) => {
            let preimage = cx.key_span("preimage");
            cx.problem(preimage, "nothing takes a preimage here")
                .label("only a claim shows one")
                .also(span, "no claim")
                .help("leave one of the two out");
            false
        }
        (Some(SpendPath::Cooperative), None, HtlcOf::Liquid(_)) => {
            cx.problem(span, "an HTLC on Liquid has no key of both")
                .label("for HTLCs on Bitcoin")
                .help("write \"refund\", or give a preimage");
            false
        }
        _ => true,
    }
}

fn has_32_bits(step: &SpendHtlc, cx: &mut StepCx<'_>) -> bool {
    if u32::try_from(step.sequence).is_ok() {
        return true;
    }
    let span = cx.value_span("sequence");
    cx.problem(span, format!("{} is no sequence number", step.sequence))
        .label("too large")
        .help("it has 32 bits: write 0xffffffff or less");
    false
}

impl Step for SpendHtlc {
    async fn run(&self, run: &Run<'_>) -> Result<HtlcTransaction, StepFailure> {
        let preimage = match &self.preimage {
            Some(preimage) => Some(preimage.get(run).await?),
            None => None,
        };
        let htlc = match &self.spend {
            HtlcOf::Liquid(htlc) => run.get(htlc).await?,
            HtlcOf::Bitcoin(htlc) => {
                let htlc = run.get(htlc).await?;
                let wanted = self.on_bitcoin(htlc.timeout, preimage, run).await?;
                return taproot_spend::spend(&htlc, &wanted, run).await;
            }
        };
        let key = self.signer(&htlc, run).await?;
        let locktime = match &self.locktime {
            Some(height) => run.get(height).await?,
            None if preimage.is_some() => Height(0),
            None => htlc.timeout,
        };
        let coins = coins(htlc.paid(run.world, run.deadline).await?)?;
        let rpc = run.world.liquid()?.elementsd().rpc();
        let fail = |error| StepFailure::from(run.world.error(error));
        let address = rpc
            .new_address(&self.to.0, run.deadline)
            .await
            .map_err(fail)?;
        let mut transaction = Transaction {
            version: 2,
            lock_time: LockTime::from_consensus(locktime.0),
            input: coins.iter().map(|coin| self.input(coin)).collect(),
            output: self.outputs(&coins, &address.explicit.script_pubkey())?,
        };
        sign(
            &mut transaction,
            &coins,
            &htlc.witness_script,
            &key,
            preimage,
        );
        let hex = elements::encode::serialize_hex(&transaction);
        let txid = rpc.send_raw(&hex, run.deadline).await.map_err(fail)?;
        let chain = Chain::Liquid;
        Ok(HtlcTransaction { txid, chain })
    }
}

impl SpendHtlc {
    async fn on_bitcoin(
        &self,
        timeout: Height,
        preimage: Option<Vec<u8>>,
        run: &Run<'_>,
    ) -> Result<Wanted, StepFailure> {
        let path = match (self.path, &preimage) {
            (Some(path), _) => path,
            (None, Some(_)) => SpendPath::Claim,
            (None, None) => SpendPath::Refund,
        };
        let key = match &self.key {
            Some(key) => Some(run.get(key).await?.key),
            None => None,
        };
        let locktime = match (&self.locktime, path) {
            (Some(height), _) => run.get(height).await?,
            (None, SpendPath::Refund) => timeout,
            (None, SpendPath::Claim | SpendPath::Cooperative) => Height(0),
        };
        Ok(Wanted {
            to: self.to.clone(),
            path,
            preimage: preimage.unwrap_or_default(),
            key,
            locktime,
            // Files are checked before they run; Rust may say more than there is.
            sequence: u32::try_from(self.sequence).unwrap_or(u32::MAX),
            fee: self.fee,
        })
    }

    async fn signer(&self, htlc: &Htlc, run: &Run<'_>) -> Result<SecretKey, StepFailure> {
        if let Some(key) = &self.key {
            return Ok(run.get(key).await?.key);
        }
        let (known, who) = match self.preimage {
            Some(_) => (htlc.claimer_key, "claimer"),
            None => (htlc.refunder_key, "refunder"),
        };
        known.ok_or_else(|| {
            let title = format!("the {who}'s key is somebody else's");
            let why = "say with which key to sign: key = \"$me\"";
            StepFailure::refused(title).why(why)
        })
    }

    fn input(&self, coin: &Coin) -> TxIn {
        TxIn {
            previous_output: coin.paid.outpoint,
            is_pegin: false,
            script_sig: Script::new(),
            // Files are checked before they run; Rust may say more than there is.
            sequence: Sequence(u32::try_from(self.sequence).unwrap_or(u32::MAX)),
            asset_issuance: AssetIssuance::default(),
            witness: TxInWitness::default(),
        }
    }

    /// One output of each asset, then the fee.
    fn outputs(&self, coins: &[Coin], to: &Script) -> Result<Vec<TxOut>, StepFailure> {
        let mut sums: BTreeMap<AssetId, u64> = BTreeMap::new();
        for coin in coins {
            let sum = sums.entry(coin.asset).or_default();
            *sum = sum.saturating_add(coin.parts);
        }
        let bitcoin = sums.entry(lbtc()).or_default();
        *bitcoin = bitcoin.checked_sub(self.fee.0).ok_or_else(|| {
            let title = format!("the HTLC has {} for a fee of {}", Sat(*bitcoin), self.fee);
            let why = "pay L-BTC into it, too, with fund_htlc, or ask for a smaller `fee`";
            StepFailure::refused(title).why(why)
        })?;
        let output = |asset, parts, script_pubkey| TxOut {
            asset: Asset::Explicit(asset),
            value: Amount::Explicit(parts),
            nonce: Nonce::Null,
            script_pubkey,
            witness: TxOutWitness::default(),
        };
        let kept = sums.into_iter().filter(|(_, parts)| *parts > 0);
        let mut outputs: Vec<TxOut> = kept
            .map(|(asset, parts)| output(asset, parts, to.clone()))
            .collect();
        outputs.push(output(lbtc(), self.fee.0, Script::new()));
        Ok(outputs)
    }
}

/// An output that can be spent: its amount can be read.
struct Coin {
    paid: Paid,
    asset: AssetId,
    parts: u64,
}

/// What is to be spent: what is unspent, or everything when nothing is.
fn coins(paid: Vec<Paid>) -> Result<Vec<Coin>, StepFailure> {
    if paid.is_empty() {
        return Err(StepFailure::refused("nothing was paid into the HTLC").at("spend"));
    }
    let any_unspent = paid.iter().any(|paid| paid.spent.is_none());
    let wanted = paid
        .into_iter()
        .filter(|paid| paid.spent.is_none() || !any_unspent);
    let coins = wanted.map(|paid| match (paid.output.asset, paid.output.value) {
        (Asset::Explicit(asset), Amount::Explicit(parts)) => Ok(Coin { paid, asset, parts }),
        _ => {
            let title = format!("{} is blinded, and nobody has the key", paid.outpoint);
            Err(StepFailure::refused(title).at("spend"))
        }
    });
    coins.collect()
}

/// Signs every input and shows `preimage`, or nothing, to the script.
fn sign(
    transaction: &mut Transaction,
    coins: &[Coin],
    script: &Script,
    key: &SecretKey,
    preimage: Option<Vec<u8>>,
) {
    let secp = Secp256k1::signing_only();
    let branch = match preimage {
        Some(preimage) => vec![preimage, vec![1]],
        None => vec![Vec::new()],
    };
    let signed: Vec<Vec<u8>> = (0..coins.len())
        .map(|index| {
            let value = coins[index].paid.output.value;
            let all = EcdsaSighashType::All;
            let sighash =
                SighashCache::new(&*transaction).segwitv0_sighash(index, script, value, all);
            let message = Message::from_digest(sighash.to_byte_array());
            let mut signature = secp.sign_ecdsa(&message, key).serialize_der().to_vec();
            signature.push(all as u8);
            signature
        })
        .collect();
    for (input, signature) in transaction.input.iter_mut().zip(signed) {
        let mut witness = vec![signature];
        witness.extend(branch.iter().cloned());
        witness.push(script.to_bytes());
        input.witness.script_witness = witness.into();
    }
}
