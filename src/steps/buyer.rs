//! What the steps of a buyer do.

use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bitcoin::hashes::Hash as _;
use bitcoin::hex::DisplayHex as _;
use elements::AddressParams;
use swaprig_harness::elementsd::lbtc;
use swaprig_harness::proxy::{HARNESS, Link, Proxy};
use swaprig_harness::time::{Deadline, Probe, WaitError, poll_until};
use swaprig_harness::world::{Chain, WAIT};
use swaprig_harness::{World, error_chain};
use swaprig_proto::v1;
use swaprig_proto::v1::admin_service_client::AdminServiceClient;
use swaprig_proto::v1::swap_service_client::SwapServiceClient;
use swaprig_scenarios::LiquidTransaction;
use swaprig_scenarios::lang::{Readable as _, Value};
use swaprig_scenarios::run::{BoxFuture, FailureKind, Look, Run, Step, StepFailure};
use swaprig_units::{BlockDelta, Height, Msat, Units};
use tonic::transport::Endpoint;
use tonic::{Code, Status};

use super::recorded;
use super::swap::{
    BuyerStage, ClaimSwap, CreateSwap, PaidUntil, PaySwap, RefundSwap, Swap, SwapPhase, SwapStatus,
    VerifySwap,
};
use crate::client::{
    BuyError, Buyer, Chains, Config, Policy, Record, Seed, ServerError, Stage, Wish,
};
use crate::lightning::{LdkServer, LdkServerConfig, LightningNode as _, Outgoing, Route};

/// What is left of a step's time for saying what it waited for: a tenth, or less.
const RESERVE: Duration = Duration::from_millis(500);

/// The buyer of a party. Each step opens its store again, as a program that was started again would.
struct Party<'a> {
    world: &'a World,
    swap: Of<'a>,
    min_confirmations: u64,
    max_cltv: Option<BlockDelta>,
    deadline: Deadline,
}

/// Whose buyer, of which server.
#[derive(Clone, Copy)]
struct Of<'a> {
    buyer: &'a str,
    server: &'a str,
}

impl<'a> Party<'a> {
    fn of(swap: &'a Swap, run: &Run<'a>) -> Self {
        Party {
            world: run.world,
            swap: Of {
                buyer: &swap.buyer.0,
                server: &swap.server.0,
            },
            min_confirmations: swap.min_confirmations,
            max_cltv: None,
            deadline: run.deadline,
        }
    }

    fn lightning(&self) -> Result<LdkServer, StepFailure> {
        let buyer = self.swap.buyer;
        let node = self.world.node(buyer)?;
        let certificate = node.tls_cert();
        let storage = certificate.parent().unwrap_or(Path::new("."));
        let address = self.reached(buyer).unwrap_or_else(|| node.grpc_address());
        LdkServer::new(&LdkServerConfig::local(&address, storage, "regtest"))
            .map_err(|error| StepFailure::refused(error_chain(&error)))
    }

    /// Pays the server's invoice as it is, with the buyer's node and not its library.
    async fn pay_unchecked(&self, swap: &Swap, until: PaidUntil) -> Result<(), StepFailure> {
        let told = swap.told(self.world).await?;
        let told = told.ok_or_else(|| StepFailure::refused("nobody tells the invoice"))?;
        let hash = told.payment_hash.parse::<swaprig_units::PaymentHash>();
        let hash = hash.map_err(|error| StepFailure::refused(error.to_string()))?;
        let (lightning, policy) = (&self.lightning()?, Policy::default());
        let cltv = self.max_cltv.unwrap_or(policy.max_total_cltv);
        let route = Route::new(policy.max_routing_fee, cltv);
        let price = Msat(told.total_price_msat);
        recorded::sent(self.world, swap, (hash, price), Instant::now());
        let sent = lightning.pay(&told.invoice, &route).await;
        sent.map_err(|error| StepFailure::refused(error_chain(&error)))?;
        if until == PaidUntil::Sent {
            return Ok(());
        }
        self.again("the payment to settle", || async move {
            match lightning.outgoing(hash).await? {
                Outgoing::Succeeded(_) => Ok(Some(true)),
                Outgoing::Failed => Ok(Some(false)),
                Outgoing::Pending | Outgoing::Unknown => Ok(None),
            }
        })
        .await?
        .then_some(())
        .ok_or_else(|| StepFailure::refused(format!("{}'s payment failed", swap.buyer)))
    }

    async fn open(&self) -> Result<Buyer, StepFailure> {
        let (world, Of { buyer, server }) = (self.world, self.swap);
        let dir = directory(world, buyer);
        let index = world.index(Chain::Liquid)?;
        let electrum = self
            .reached(index.name())
            .unwrap_or_else(|| index.electrum_address());
        let rpc = world.liquid()?.elementsd().rpc();
        let address = rpc.new_address(buyer, self.deadline).await;
        let defaults = Policy::default();
        let config = Config {
            witness: recorded::witness(world, buyer, server),
            server: format!("http://{}", world.grpc_target(server)?.address),
            lightning: Arc::new(self.lightning()?),
            electrum,
            seed: Seed::open_or_make(&dir.join(SEED))
                .map_err(|error| StepFailure::refused(error_chain(&error)))?,
            dir,
            chains: Chains {
                params: &AddressParams::ELEMENTS,
                lbtc: lbtc(),
                bitcoin: bitcoin::Network::Regtest,
            },
            policy: Policy {
                min_confirmations: u32::try_from(self.min_confirmations).unwrap_or(u32::MAX),
                max_total_cltv: self.max_cltv.unwrap_or(defaults.max_total_cltv),
                // Scenarios mine: nothing has to be waited for that long.
                poll: Duration::from_millis(100),
                ..defaults
            },
            destination: address.map_err(|error| world.error(error))?.confidential,
        };
        Buyer::open(config).map_err(|error| self.failure(&error))
    }

    /// The proxy through which the harness reaches a daemon, if there is one.
    fn reached(&self, daemon: &str) -> Option<String> {
        let proxy = self.world.proxy(&Link::new(HARNESS, daemon));
        proxy.ok().map(Proxy::address)
    }

    /// The reason of a step's failure: the name of a refusal, or the gRPC code of the server, is in it.
    fn failure(&self, error: &BuyError) -> StepFailure {
        let Of { buyer, server } = self.swap;
        let title = match error {
            BuyError::Refused(refusal) => {
                let failure = StepFailure::refused(format!("{buyer} refuses: {refusal}"));
                return failure.why(refusal.reason.sentence());
            }
            BuyError::Server(ServerError::Status { code, message, .. }) => {
                format!("{server} says {}: {message}", code_name(*code))
            }
            other => format!("{buyer} cannot: {}", error_chain(other)),
        };
        StepFailure {
            kind: match error {
                BuyError::TimedOut(_) => FailureKind::TimedOut,
                _ => FailureKind::Refused,
            },
            ..StepFailure::refused(title)
        }
    }

    /// Looks until there is an end, or an error that does not pass. When time is up, what stood in the way is the failure.
    async fn again<T, F>(&self, what: &str, look: impl Fn() -> F) -> Result<T, StepFailure>
    where
        F: Future<Output = Result<Option<T>, BuyError>>,
    {
        let remaining = self.deadline.remaining();
        let deadline = self
            .deadline
            .at_most(remaining.saturating_sub(RESERVE.min(remaining / 10)));
        let last = std::sync::Mutex::new(None);
        let locked = || {
            last.lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner)
        };
        let seen = poll_until(what, deadline, || async {
            match look().await {
                Ok(Some(end)) => Probe::Ready(end),
                Ok(None) => Probe::Pending("not yet".to_owned()),
                Err(error) if error.is_transient() => {
                    let why = error.to_string();
                    *locked() = Some(self.failure(&error));
                    Probe::Pending(why)
                }
                Err(error) => Probe::Fatal(self.failure(&error)),
            }
        });
        match seen.await {
            Ok(end) => Ok(end),
            Err(WaitError::Fatal(failure)) => Err(failure),
            Err(error @ WaitError::TimedOut(_)) => {
                Err(locked().take().unwrap_or_else(|| error.into()))
            }
        }
    }
}

/// Where a buyer's seed is, in its directory.
const SEED: &str = "seed";

/// The directory of a party's buyer.
fn directory(world: &World, buyer: &str) -> std::path::PathBuf {
    world.dir().join(format!("{buyer}-buyer"))
}

/// Leaves a seed for the buyer to find, so that the scenario's seed decides its keys.
fn leave_seed(run: &Run<'_>, buyer: &str) -> Result<(), StepFailure> {
    let dir = directory(run.world, buyer);
    let left = || {
        std::fs::create_dir_all(&dir)?;
        let mut options = std::fs::OpenOptions::new();
        let file = options
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(dir.join(SEED));
        match file {
            Ok(mut file) => writeln!(file, "{}", run.random.bytes().to_lower_hex_string()),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
            Err(error) => Err(error),
        }
    };
    left().map_err(|error: std::io::Error| StepFailure {
        kind: FailureKind::Broken,
        ..StepFailure::refused(format!("{}: {error}", dir.display()))
    })
}

/// The name that gRPC gives a code: `NOT_FOUND`.
pub(super) fn code_name(code: Code) -> String {
    let mut name = String::new();
    for c in format!("{code:?}").chars() {
        if c.is_ascii_uppercase() && !name.is_empty() {
            name.push('_');
        }
        name.push(c.to_ascii_uppercase());
    }
    name
}

impl Step for CreateSwap {
    async fn run(&self, run: &Run<'_>) -> Result<Swap, StepFailure> {
        let amount = run.liquid_amount(&self.asset, &self.amount).await?;
        let max_price = run.get(&self.max_price).await?;
        let request = match run.get_optional(self.request_id.as_ref()).await? {
            Some(text) => text.parse().map_err(|error| {
                StepFailure::refused(format!("`{text}` is no UUID: {error}")).at("request_id")
            })?,
            None => {
                let [random @ .., _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _] =
                    run.random.bytes();
                uuid::Builder::from_random_bytes(random).into_uuid()
            }
        };
        leave_seed(run, &self.by.0)?;
        let party = Party {
            world: run.world,
            swap: Of {
                buyer: &self.by.0,
                server: &self.create_swap.0,
            },
            min_confirmations: self.min_confirmations,
            max_cltv: None,
            deadline: run.deadline,
        };
        let wish = Wish {
            request_id: Some(request),
            asset: amount.asset,
            amount: Units(amount.parts),
            max_price,
        };
        let made = party.open().await?.create(&wish).await;
        let record = made.map_err(|error| party.failure(&error))?;
        let id = record.swap_id.map(|id| id.to_string()).unwrap_or_default();
        let swap = Swap {
            id,
            request_id: request.to_string(),
            request,
            server: self.create_swap.clone(),
            buyer: self.by.clone(),
            min_confirmations: self.min_confirmations,
        };
        recorded::stage(run.world, &swap, record.stage.name());
        recorded::follow(run.world, &swap);
        Ok(swap)
    }
}

impl Step for VerifySwap {
    async fn run(&self, run: &Run<'_>) -> Result<(), StepFailure> {
        let swap = run.get(&self.verify_swap).await?;
        let party = Party {
            max_cltv: self.max_cltv,
            ..Party::of(&swap, run)
        };
        let buyer = party.open().await?;
        let verified = party.again("everything to be as the buyer wants it", || async {
            buyer.verify(swap.request).await.map(Some)
        });
        verified.await.map(drop)
    }
}

impl Step for PaySwap {
    async fn run(&self, run: &Run<'_>) -> Result<(), StepFailure> {
        let swap = run.get(&self.pay_swap).await?;
        let party = Party {
            max_cltv: self.max_cltv,
            ..Party::of(&swap, run)
        };
        if self.unchecked {
            return party.pay_unchecked(&swap, self.until).await;
        }
        let buyer = party.open().await?;
        let told = AtomicBool::new(false);
        let paid = party.again("the payment to settle", || async {
            let began = Instant::now();
            let record = buyer.pay(swap.request).await?;
            if let Some(offer) = record.offer.as_ref().filter(|_| record.attempts > 0)
                && !told.swap(true, Ordering::Relaxed)
            {
                recorded::sent(run.world, &swap, (offer.payment_hash, offer.price), began);
            }
            let sent = self.until == PaidUntil::Sent && record.attempts > 0;
            let over = record.preimage.is_some() || record.stage.is_final();
            Ok((sent || over).then_some(record))
        });
        let record = paid.await?;
        recorded::stage(run.world, &swap, record.stage.name());
        match record.stage {
            Stage::PaymentFailed | Stage::Refused | Stage::Lost => {
                let title = format!("{}'s payment failed: {}", swap.buyer, record.stage.name());
                Err(StepFailure::refused(title))
            }
            Stage::Created | Stage::Paying | Stage::Claiming | Stage::Claimed => Ok(()),
        }
    }
}

impl Step for ClaimSwap {
    async fn run(&self, run: &Run<'_>) -> Result<LiquidTransaction, StepFailure> {
        let swap = run.get(&self.claim).await?;
        let party = Party::of(&swap, run);
        let buyer = party.open().await?;
        let claimed = party.again("the claim to be sent", || async {
            let record = buyer.claim(swap.request).await?;
            let claim = record.claims.last().map(|claim| claim.txid);
            Ok(claim.map(|txid| (txid, record.stage.name())))
        });
        let (txid, stage) = claimed.await?;
        recorded::stage(run.world, &swap, stage);
        Ok(LiquidTransaction {
            txid: bitcoin::Txid::from_byte_array(elements_bytes(txid)),
        })
    }
}

impl Step for RefundSwap {
    async fn run(&self, run: &Run<'_>) -> Result<(), StepFailure> {
        let swap = run.get(&self.refund).await?;
        let server = &swap.server.0;
        let url = format!("http://{}", run.world.server(server)?.admin_address());
        let endpoint =
            Endpoint::from_shared(url).map_err(|e| StepFailure::refused(e.to_string()))?;
        let mut client = AdminServiceClient::new(endpoint.connect_lazy());
        let swap_id = swap.id.clone();
        let call = client.force_refund(v1::ForceRefundRequest { swap_id });
        let answer = run.deadline.bound(call).await;
        let answer = answer.unwrap_or_else(|| Err(Status::deadline_exceeded("no answer")));
        answer.map(drop).map_err(|status| said(server, &status))
    }
}

fn said(server: &str, status: &Status) -> StepFailure {
    let (code, words) = (code_name(status.code()), status.message());
    StepFailure::refused(format!("{server} says {code}: {words}"))
}

fn elements_bytes(txid: elements::Txid) -> [u8; 32] {
    elements::hashes::Hash::to_byte_array(txid)
}

impl Look for Swap {
    fn look<'a>(
        &'a self,
        field: &'a str,
        world: &'a World,
    ) -> BoxFuture<'a, Result<Option<Value>, StepFailure>> {
        Box::pin(async move {
            if matches!(field, "stage" | "preimage") {
                let record = self.stored(world)?;
                return Ok(match field {
                    "stage" => BuyerStage::from_word(record.stage.name()).read(),
                    _ => record.preimage.read(),
                });
            }
            let told = self.told(world).await?;
            Ok(told.and_then(|swap| field_of(&swap, field)))
        })
    }
}

impl Swap {
    /// What the buyer has stored of it.
    fn stored(&self, world: &World) -> Result<Record, StepFailure> {
        let failed = |error: &dyn std::fmt::Display| StepFailure::refused(error.to_string());
        let dir = directory(world, &self.buyer.0);
        let records = crate::client::stored(&dir).map_err(|error| failed(&error))?;
        let mut records = records.into_iter();
        let record = records.find(|record| record.request.request_id == self.request);
        record.ok_or_else(|| failed(&BuyError::NoSuchSwap(self.request)))
    }

    /// What the server tells of it now; `None` while nobody answers.
    async fn told(&self, world: &World) -> Result<Option<v1::Swap>, StepFailure> {
        let server = &self.server.0;
        let url = format!("http://{}", world.grpc_target(server)?.address);
        let endpoint =
            Endpoint::from_shared(url).map_err(|e| StepFailure::refused(e.to_string()))?;
        let mut client = SwapServiceClient::new(endpoint.connect_lazy());
        let swap_id = self.id.clone();
        let call = client.get_swap(v1::GetSwapRequest { swap_id });
        let answer = Deadline::after(WAIT).bound(call).await;
        match answer.unwrap_or_else(|| Err(Status::unavailable("no answer"))) {
            Ok(reply) => Ok(reply.into_inner().swap),
            Err(status) if status.code() == Code::Unavailable => Ok(None),
            Err(status) => Err(said(server, &status)),
        }
    }
}

/// A field of the server's words; `None` when it is empty or cannot be read as what it should be.
fn field_of(swap: &v1::Swap, field: &str) -> Option<Value> {
    let text = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    let word = |name: &str, prefix: &str| name.trim_start_matches(prefix).to_lowercase();
    let (htlc, funding) = (swap.htlc.as_ref(), swap.funding.as_ref());
    match field {
        "status" => {
            SwapStatus::from_word(&word(swap.status().as_str_name(), "SWAP_STATUS_")).read()
        }
        "phase" => SwapPhase::from_word(&word(swap.phase().as_str_name(), "SWAP_PHASE_")).read(),
        "invoice" => text(&swap.invoice).read(),
        "hash" => swap
            .payment_hash
            .parse::<swaprig_units::PaymentHash>()
            .ok()
            .read(),
        "price" => Msat(swap.total_price_msat).read(),
        "htlc_address" => text(&htlc?.address).read(),
        "htlc_script" => text(&htlc?.witness_script).read(),
        "timeout" => Height(htlc?.timeout).read(),
        "pay_by" => Height(swap.pay_by_height).read(),
        "funding_txid" => funding?.txid.parse::<bitcoin::Txid>().ok().read(),
        "confirmations" => u64::from(funding?.confirmations).read(),
        "claim_txid" => swap.claim_txid.parse::<bitcoin::Txid>().ok().read(),
        "refund_txid" => swap.refund_txid.parse::<bitcoin::Txid>().ok().read(),
        _ => None,
    }
}
