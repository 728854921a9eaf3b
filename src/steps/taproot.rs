//! HTLCs on Bitcoin: making their output, paying to it, and what happened to it since.

use bitcoin::consensus::encode::deserialize_hex;
use bitcoin::hex::DisplayHex as _;
use bitcoin::secp256k1::SecretKey;
use bitcoin::{Block, Network, OutPoint, Transaction, Txid};
use serde_json::json;
use swaprig_harness::World;
use swaprig_harness::elementsd::FAUCET;
use swaprig_harness::time::Deadline;
use swaprig_harness::world::WAIT;
use swaprig_record::{Chain, Event};
use swaprig_scenarios::lang::{Readable as _, Value};
use swaprig_scenarios::run::{BoxFuture, Look, Run, StepFailure};
use swaprig_scenarios::{entity, words};
use swaprig_units::{Height, PaymentHash, Preimage, Sat};

use super::{HtlcTransaction, Purse};
use crate::swap::Spend;
use crate::swap::taproot::{InternalKey, Taproot, classify};

words! {
    /// The internal key of an HTLC on Bitcoin.
    pub enum Internal("internal key") {
        /// Claimer and refunder can spend together, with one signature (BIP 327).
        Musig2 = "musig2",
        /// Nobody has it: only the scripts spend.
        Unspendable = "unspendable",
    }
}

words! {
    /// How an HTLC is spent.
    pub enum SpendPath("way to spend") {
        /// With the preimage, by the claimer.
        Claim = "claim",
        /// From the timeout on, by the refunder.
        Refund = "refund",
        /// By both together, on Bitcoin: with one signature, without a script.
        Cooperative = "cooperative",
    }
}

entity! {
    /// A hashed timelock contract on Bitcoin, a taproot output: its claimer can spend it with the preimage, its refunder from
    /// the timeout on, and the two together at any time where its internal key is theirs.
    pub struct BitcoinHtlc("bitcoin htlc") {
        known {
            /// Its address (P2TR).
            address: String,
            /// The script of a claim, in hexadecimal digits.
            claim_leaf: String,
            /// The script of a refund, in hexadecimal digits.
            timeout_leaf: String,
            /// The key that the leaves are tied to (BIP 341), 32 bytes in hexadecimal digits.
            internal_key: String,
            /// What makes the internal key nobody's, in hexadecimal digits: it is H + r·G. Absent when it is a key of both.
            r: Option<String>,
            /// The root of the two leaves, in hexadecimal digits.
            merkle_root: String,
            /// The key of the output, 32 bytes in hexadecimal digits.
            output_key: String,
            /// The hash whose preimage opens it.
            hash: PaymentHash,
            /// The public key of who can claim it.
            claimer: String,
            /// The public key of who can take it back.
            refunder: String,
            /// The height from which on it can be taken back (BIP 65).
            timeout: Height,
        }
        late {}
        live {
            /// What blocks have locked in it, and no block has taken out.
            funded: Sat,
            /// What spends it first, in a block or waiting for one; none while nothing does.
            spent_by: Txid,
            /// How that spends it.
            spent_as: SpendPath,
            /// The preimage, once a claim that is in a block or waits for one has told it.
            preimage: Preimage,
        }
        private {
            /// All of it.
            taproot: Taproot,
            /// The claimer's key, where the scenario has it.
            claimer_key: Option<SecretKey>,
            /// The refunder's key, where the scenario has it.
            refunder_key: Option<SecretKey>,
            /// The tip when it was made: nothing was paid to it before.
            since: Height,
        }
    }
}

/// What the step knows before the tip and the keys are put together.
pub(super) struct Parts {
    pub(super) htlc: crate::swap::Htlc,
    pub(super) claimer_key: Option<SecretKey>,
    pub(super) refunder_key: Option<SecretKey>,
    pub(super) since: Height,
}

/// Makes it, and says whose is what is paid into it.
pub(super) fn make(
    parts: Parts,
    internal: Internal,
    run: &Run<'_>,
) -> Result<BitcoinHtlc, StepFailure> {
    let internal = match internal {
        Internal::Musig2 => InternalKey::Musig2,
        Internal::Unspendable => InternalKey::Unspendable {
            r: super::secrets::secret_key(run).secret_bytes(),
        },
    };
    let htlc = parts.htlc;
    let taproot = Taproot::new(htlc, internal)
        .map_err(|error| StepFailure::refused(format!("there is no such HTLC: {error}")))?;
    let address = taproot.address(Network::Regtest).to_string();
    let owner = match run.name {
        Some(name) => format!("HTLC {name}"),
        None => format!("HTLC {}", htlc.payment_hash),
    };
    run.world.belongs_to(taproot.script_pubkey(), owner);
    let told = swaprig_record::Htlc {
        name: run.name.map(str::to_owned),
        chain: Chain::Bitcoin,
        address: address.clone(),
        hash: htlc.payment_hash.to_string(),
        timeout: htlc.timeout.0,
        value: None,
        asset: None,
        claimer: None,
        refunder: None,
    };
    run.world.recorder().record(Event::Htlc(Box::new(told)));
    let info = taproot.spend_info();
    Ok(BitcoinHtlc {
        address,
        claim_leaf: info.claim_leaf.to_hex_string(),
        timeout_leaf: info.timeout_leaf.to_hex_string(),
        internal_key: info.internal_key.to_string(),
        r: info.r.map(|r| r.to_lower_hex_string()),
        merkle_root: info.merkle_root.to_string(),
        output_key: info.output_key.to_string(),
        hash: htlc.payment_hash,
        claimer: htlc.claimer.to_string(),
        refunder: htlc.refunder.to_string(),
        timeout: htlc.timeout,
        taproot,
        claimer_key: parts.claimer_key,
        refunder_key: parts.refunder_key,
        since: parts.since,
    })
}

/// Pays into it.
pub(super) async fn fund(
    htlc: &BitcoinHtlc,
    amount: Sat,
    by: &Purse,
    run: &Run<'_>,
) -> Result<HtlcTransaction, StepFailure> {
    let (world, address) = (run.world, htlc.taproot.address(Network::Regtest));
    let txid = match by.0.as_str() {
        FAUCET => {
            let rpc = world.bitcoind().rpc();
            let sent = rpc.send_to_address(&address, amount, run.deadline).await;
            sent.map_err(|error| world.error(error))?
        }
        node => {
            let sent = world.node(node)?.send_onchain(&address, amount).await;
            sent.map_err(|error| world.error(error))?
        }
    };
    let chain = Chain::Bitcoin;
    Ok(HtlcTransaction { txid, chain })
}

/// An output that pays to it.
#[derive(Debug, Clone)]
pub(super) struct Paid {
    pub(super) outpoint: OutPoint,
    pub(super) value: Sat,
    /// Whether it is in a block.
    confirmed: bool,
    /// What spends it.
    pub(super) spent: Option<Spent>,
}

/// How an output was spent.
#[derive(Debug, Clone)]
pub(super) struct Spent {
    by: Txid,
    how: Option<Spend>,
    /// Whether it is in a block.
    confirmed: bool,
}

impl BitcoinHtlc {
    /// Every output that paid to it in a block since it was made or waits for one, the oldest first.
    pub(super) async fn paid(
        &self,
        world: &World,
        deadline: Deadline,
    ) -> Result<Vec<Paid>, StepFailure> {
        let rpc = world.bitcoind().rpc();
        let fail = |error| StepFailure::from(world.error(error));
        let unreadable = |method: &str| {
            StepFailure::refused(format!("bitcoind's answer to {method} cannot be read"))
        };
        // The mempool first: what is mined in between is then met twice, and not missed.
        let mut waiting = Vec::new();
        for txid in rpc.mempool(deadline).await.map_err(fail)? {
            match rpc
                .call::<String>("getrawtransaction", &[json!(txid)], deadline)
                .await
            {
                Ok(hex) => waiting.push(
                    deserialize_hex::<Transaction>(&hex)
                        .map_err(|_| unreadable("getrawtransaction"))?,
                ),
                // It was replaced in this moment.
                Err(error) if error.kind.is_not_found() => {}
                Err(error) => return Err(fail(error)),
            }
        }
        let tip = rpc.tip(deadline).await.map_err(fail)?.height;
        let mut paid = Vec::new();
        for height in self.since.0 + 1..=tip.0 {
            let hash: String = rpc
                .call("getblockhash", &[json!(height)], deadline)
                .await
                .map_err(fail)?;
            let block: String = rpc
                .call("getblock", &[json!(hash), json!(0)], deadline)
                .await
                .map_err(fail)?;
            let block: Block = deserialize_hex(&block).map_err(|_| unreadable("getblock"))?;
            for transaction in &block.txdata {
                self.take_in(transaction, true, &mut paid);
            }
        }
        // Twice: a spend may stand before what it spends in the list of the mempool.
        for transaction in waiting.iter().chain(&waiting) {
            self.take_in(transaction, false, &mut paid);
        }
        Ok(paid)
    }

    fn take_in(&self, transaction: &Transaction, confirmed: bool, paid: &mut Vec<Paid>) {
        for input in &transaction.input {
            let mut known = paid.iter_mut();
            let known = known.find(|paid| paid.outpoint == input.previous_output);
            if let Some(known) = known.filter(|known| known.spent.is_none()) {
                known.spent = Some(Spent {
                    by: transaction.compute_txid(),
                    how: classify(&self.taproot, transaction, known.outpoint),
                    confirmed,
                });
            }
        }
        let (txid, script) = (transaction.compute_txid(), self.taproot.script_pubkey());
        for (vout, output) in (0..).zip(&transaction.output) {
            let outpoint = OutPoint::new(txid, vout);
            let is_new = paid.iter().all(|known| known.outpoint != outpoint);
            if output.script_pubkey == script && is_new {
                paid.push(Paid {
                    outpoint,
                    value: Sat(output.value.to_sat()),
                    confirmed,
                    spent: None,
                });
            }
        }
    }
}

impl Look for BitcoinHtlc {
    fn look<'a>(
        &'a self,
        field: &'a str,
        world: &'a World,
    ) -> BoxFuture<'a, Result<Option<Value>, StepFailure>> {
        Box::pin(async move {
            let paid = self.paid(world, Deadline::after(WAIT)).await?;
            let mut spends = paid.iter().filter_map(|paid| paid.spent.as_ref());
            Ok(match field {
                "funded" => locked(&paid).read(),
                "spent_by" => spends.next().map(|spent| spent.by).read(),
                "spent_as" => spends.find_map(|spent| spent.how).map(path).read(),
                "preimage" => spends.find_map(revealed).read(),
                _ => None,
            })
        })
    }
}

/// What blocks have locked.
fn locked(paid: &[Paid]) -> Sat {
    let is_spent = |paid: &&Paid| paid.spent.as_ref().is_some_and(|spent| spent.confirmed);
    let locked = paid.iter().filter(|paid| paid.confirmed && !is_spent(paid));
    Sat(locked.map(|paid| paid.value.0).fold(0, u64::saturating_add))
}

fn path(spend: Spend) -> SpendPath {
    match spend {
        Spend::Claim(_) => SpendPath::Claim,
        Spend::Refund => SpendPath::Refund,
        Spend::Cooperative => SpendPath::Cooperative,
    }
}

fn revealed(spent: &Spent) -> Option<Preimage> {
    match spent.how? {
        Spend::Claim(preimage) => Some(preimage),
        Spend::Refund | Spend::Cooperative => None,
    }
}
