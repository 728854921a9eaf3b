//! What the steps of a client of loops do.

use bitcoin::consensus::encode::serialize_hex;
use bitcoin::hex::FromHex as _;
use bitcoin::secp256k1::PublicKey;
use elements::secp256k1_zkp::rand::SeedableRng as _;
use elements::secp256k1_zkp::rand::rngs::StdRng;
use serde_json::json;
use swaprig_harness::World;
use swaprig_harness::time::{Deadline, Probe, poll_until};
use swaprig_harness::world::WAIT;
use swaprig_proto::loops::{
    CosignRequest, Direction, InternalKeyChoice, Loop, LoopInRequest, LoopOutRequest, SpendKind,
};
use swaprig_record::Chain;
use swaprig_scenarios::lang::{Arg, Readable as _, ServerName, Value};
use swaprig_scenarios::run::{BoxFuture, Look, Run, Step, StepFailure};
use swaprig_units::{Height, PaymentHash, Sat};
use uuid::Uuid;

use super::loops::{Cosign, LoopHtlc, LoopIn, LoopOut, LoopState, LoopSwap};
use super::secrets::public;
use super::taproot::{self, Parts};
use super::taproot_spend::{self, Wanted};
use super::{BitcoinHtlc, HtlcTransaction, Internal, SpendPath};
use crate::client::rest::{RestClient, RestError};
use crate::swap::Htlc;
use crate::swap::musig::{PartialSignature, PublicNonce, Session};
use crate::swap::taproot::{InternalKey, Locked, Taproot, cooperative_sighash, finish_cooperative};

fn rest(world: &World, server: &ServerName) -> Result<RestClient, StepFailure> {
    let url = format!("http://{}", world.grpc_target(&server.0)?.address);
    RestClient::new(&url).map_err(|error| StepFailure::refused(error.to_string()))
}

/// What the server says, without its address, which is another in every run.
fn said(server: &ServerName, error: &RestError) -> StepFailure {
    let title = match error.problem() {
        Some(problem) => format!("{server} says {}: {}", problem.status, problem.detail),
        None => error.to_string(),
    };
    StepFailure::refused(title)
}

fn unreadable(server: &ServerName, what: &str) -> StepFailure {
    StepFailure::refused(format!("{server} tells a {what} that cannot be read"))
}

fn choice(internal: Internal) -> InternalKeyChoice {
    match internal {
        Internal::Musig2 => InternalKeyChoice::Musig2,
        Internal::Unspendable => InternalKeyChoice::Unspendable,
    }
}

/// The name of a request: that of one before, or a new one of the scenario's seed.
async fn request(id: Option<&Arg<String>>, run: &Run<'_>) -> Result<Uuid, StepFailure> {
    match run.get_optional(id).await? {
        Some(text) => text.parse().map_err(|error| {
            StepFailure::refused(format!("`{text}` is no UUID: {error}")).at("request_id")
        }),
        None => {
            let [random @ .., _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _] = run.random.bytes();
            Ok(uuid::Builder::from_random_bytes(random).into_uuid())
        }
    }
}

async fn tip(run: &Run<'_>) -> Result<Height, StepFailure> {
    let tip = run.world.bitcoind().rpc().tip(run.deadline).await;
    Ok(tip.map_err(|error| run.world.error(error))?.height)
}

impl Step for LoopOut {
    async fn run(&self, run: &Run<'_>) -> Result<LoopSwap, StepFailure> {
        let (server, since) = (&self.loop_out, tip(run).await?);
        let key = run.get(&self.key).await?.key;
        let hash = run.get_optional(self.hash.as_ref()).await?;
        let deadline = run.get_optional(self.publication_deadline.as_ref()).await?;
        let id = request(self.request_id.as_ref(), run).await?;
        let wanted = LoopOutRequest {
            pubkey: public(&key).to_string(),
            amount: self.amount.0,
            payment_hash: hash.map(|hash| hash.to_string()),
            invoice_first: hash.is_some(),
            internal_key: choice(self.internal),
            // Files are checked before they run; Rust may say more than there is.
            confirmations: u32::try_from(self.confirmations).unwrap_or(u32::MAX),
            publication_deadline: deadline.map(|height| height.0),
            max_fee: self.max_fee.map(|fee| fee.0),
        };
        let client = rest(run.world, server)?;
        let made = client.loop_out(&wanted, Some(id), run.deadline).await;
        let made = made.map_err(|error| said(server, &error))?;
        if hash.is_some_and(|hash| hash.to_string() != made.payment_hash) {
            return Err(StepFailure::refused(format!("{server} tells another hash")));
        }
        bound(made, server, id, (key, self.internal, since))
    }
}

impl Step for LoopIn {
    async fn run(&self, run: &Run<'_>) -> Result<LoopSwap, StepFailure> {
        let (server, since) = (&self.loop_in, tip(run).await?);
        let key = run.get(&self.key).await?.key;
        let id = request(self.request_id.as_ref(), run).await?;
        let wanted = LoopInRequest {
            pubkey: public(&key).to_string(),
            payment_request: run.get(&self.invoice).await?,
            internal_key: choice(self.internal),
            max_fee: self.max_fee.map(|fee| fee.0),
        };
        let client = rest(run.world, server)?;
        let made = client.loop_in(&wanted, Some(id), run.deadline).await;
        let made = made.map_err(|error| said(server, &error))?;
        bound(made, server, id, (key, self.internal, since))
    }
}

fn bound(
    made: Loop,
    server: &ServerName,
    request: Uuid,
    (key, internal, since): (bitcoin::secp256k1::SecretKey, Internal, Height),
) -> Result<LoopSwap, StepFailure> {
    let hash = made.payment_hash.parse::<PaymentHash>();
    Ok(LoopSwap {
        hash: hash.map_err(|_| unreadable(server, "payment hash"))?,
        id: made.id,
        request_id: request.to_string(),
        amount: Sat(made.amount),
        fee: Sat(made.fee),
        total: Sat(made.amount.saturating_add(made.fee)),
        invoice: made.payment_request,
        server_key: made.server_pubkey,
        direction: made.direction,
        server: server.clone(),
        key,
        internal,
        since,
    })
}

impl LoopSwap {
    async fn told(&self, world: &World, deadline: Deadline) -> Result<Loop, RestError> {
        let target = world.grpc_target(&self.server.0);
        let target = target.map_err(|error| RestError::Address(error.to_string()))?;
        let client = RestClient::new(&format!("http://{}", target.address))?;
        client.get(self.direction, self.hash, deadline).await
    }

    /// The HTLC from the client's own data; it waits until the server tells the timeout.
    async fn taproot(&self, run: &Run<'_>) -> Result<Taproot, StepFailure> {
        let told = poll_until("the server to tell the HTLC", run.deadline, || async {
            match self.told(run.world, run.deadline).await {
                Ok(told) if told.address.is_some() => Probe::Ready(told),
                Ok(told) => Probe::Pending(format!("it is {}", told.phase)),
                Err(error) if error.is_transient() => Probe::Pending(error.to_string()),
                Err(error) => Probe::Fatal(said(&self.server, &error)),
            }
        });
        self.computed(&told.await?)
    }

    fn computed(&self, told: &Loop) -> Result<Taproot, StepFailure> {
        let server = &self.server;
        let theirs = self.server_key.parse::<PublicKey>();
        let theirs = theirs.map_err(|_| unreadable(server, "public key"))?;
        let (claimer, refunder) = match self.direction {
            Direction::Out => (public(&self.key), theirs),
            Direction::In => (theirs, public(&self.key)),
        };
        let r = told.script.as_ref().and_then(|script| script.tweak.clone());
        let internal = match (self.internal, r) {
            (Internal::Musig2, None) => InternalKey::Musig2,
            (Internal::Unspendable, Some(r)) => InternalKey::Unspendable {
                r: <[u8; 32]>::from_hex(&r).map_err(|_| unreadable(server, "tweak"))?,
            },
            (Internal::Musig2, Some(_)) | (Internal::Unspendable, None) => {
                let title = format!("{server} tells another internal key than was asked for");
                return Err(StepFailure::refused(title));
            }
        };
        let timeout = told.cltv_expiry.map(Height);
        let htlc = Htlc {
            payment_hash: self.hash,
            claimer,
            refunder,
            timeout: timeout.ok_or_else(|| unreadable(server, "timeout"))?,
        };
        let taproot = Taproot::new(htlc, internal)
            .map_err(|error| StepFailure::refused(format!("there is no such HTLC: {error}")))?;
        let address = taproot.address(bitcoin::Network::Regtest).to_string();
        match told.address.as_deref() == Some(address.as_str()) {
            true => Ok(taproot),
            false => {
                let title = format!("{server} tells another address than follows from its words");
                let why = format!("it should be {address}");
                Err(StepFailure::refused(title).why(why))
            }
        }
    }

    /// The same as a step binds it.
    async fn htlc(&self, run: &Run<'_>) -> Result<BitcoinHtlc, StepFailure> {
        let taproot = self.taproot(run).await?;
        let own = Some(self.key);
        let (claimer_key, refunder_key) = match self.direction {
            Direction::Out => (own, None),
            Direction::In => (None, own),
        };
        let parts = Parts {
            htlc: *taproot.htlc(),
            claimer_key,
            refunder_key,
            since: self.since,
        };
        taproot::make(parts, taproot.internal(), run)
    }
}

impl Step for LoopHtlc {
    async fn run(&self, run: &Run<'_>) -> Result<BitcoinHtlc, StepFailure> {
        run.get(&self.loop_htlc).await?.htlc(run).await
    }
}

impl Step for Cosign {
    async fn run(&self, run: &Run<'_>) -> Result<HtlcTransaction, StepFailure> {
        let made = run.get(&self.cosign).await?;
        let htlc = made.htlc(run).await?;
        let taproot = htlc.taproot.clone();
        let paid = htlc.paid(run.world, run.deadline).await?;
        let coin = paid.into_iter().find(|paid| paid.spent.is_none());
        let Some(coin) = coin else {
            return Err(StepFailure::refused("there is nothing to spend").at("cosign"));
        };
        let locked = Locked {
            taproot,
            coins: vec![(coin.outpoint, coin.value)],
        };
        let wanted = Wanted {
            to: self.to.clone(),
            path: SpendPath::Cooperative,
            preimage: Vec::new(),
            key: None,
            locktime: Height(0),
            sequence: 0xffff_fffd,
            fee: self.fee,
        };
        let to = taproot_spend::script_of(&wanted.to, run).await?;
        let mut transaction = taproot_spend::unsigned(&locked, &wanted, to)?;
        let fail = |error| StepFailure::refused(format!("the two cannot sign together: {error}"));
        let sighash = cooperative_sighash(&locked, &transaction, 0).expect("it spends this");
        let Some(signers) = locked.taproot.signers() else {
            let title = "the two cannot sign together: nobody has the internal key of this loop";
            return Err(StepFailure::refused(title));
        };
        let rng = &mut StdRng::from_seed(run.random.bytes());
        let session = Session::begin(&signers, &made.key, sighash, rng).map_err(fail)?;
        let request = CosignRequest {
            transaction: serialize_hex(&transaction),
            nonce: session.nonce().to_string(),
        };
        let server = &made.server;
        let answer = rest(run.world, server)?
            .cosign(made.direction, made.hash, &request, run.deadline)
            .await
            .map_err(|error| said(server, &error))?;
        let nonce = answer.nonce.parse::<PublicNonce>();
        let partial = answer.partial_signature.parse::<PartialSignature>();
        let nonce = nonce.map_err(|_| unreadable(server, "nonce"))?;
        let partial = partial.map_err(|_| unreadable(server, "signature"))?;
        let signature = session.finish(&nonce, &partial).map_err(fail)?;
        finish_cooperative(&mut transaction, 0, &signature);
        let hex = [json!(serialize_hex(&transaction))];
        let rpc = run.world.bitcoind().rpc();
        let sent = rpc.call("sendrawtransaction", &hex, run.deadline).await;
        Ok(HtlcTransaction {
            txid: sent.map_err(|error| run.world.error(error))?,
            chain: Chain::Bitcoin,
        })
    }
}

impl Look for LoopSwap {
    fn look<'a>(
        &'a self,
        field: &'a str,
        world: &'a World,
    ) -> BoxFuture<'a, Result<Option<Value>, StepFailure>> {
        Box::pin(async move {
            match self.told(world, Deadline::after(WAIT)).await {
                Ok(told) => Ok(field_of(&told, field)),
                // Nobody answers, or it is not ready yet.
                Err(error) if error.is_transient() => Ok(None),
                Err(error) => Err(said(&self.server, &error)),
            }
        })
    }
}

/// A field of the server's words; `None` when it is not there or cannot be read as what it should be.
fn field_of(told: &Loop, field: &str) -> Option<Value> {
    let txid = |text: &str| text.parse::<bitcoin::Txid>().ok();
    let (funding, spend) = (told.funding.as_ref(), told.spend.as_ref());
    match field {
        "state" => LoopState::from_word(told.state.word()).read(),
        "phase" => told.phase.clone().read(),
        "reason" => told.reason.clone().read(),
        "address" => told.address.clone().read(),
        "timeout" => told.cltv_expiry.map(Height).read(),
        "funding_txid" => txid(&funding?.txid).read(),
        "confirmations" => u64::from(funding?.confirmations).read(),
        "spend_txid" => txid(&spend?.txid).read(),
        "spent_as" => match spend?.kind {
            SpendKind::Claim => SpendPath::Claim,
            SpendKind::Refund => SpendPath::Refund,
            SpendKind::Cooperative => SpendPath::Cooperative,
        }
        .read(),
        "is_final" => told.is_final.read(),
        _ => None,
    }
}
