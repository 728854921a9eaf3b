//! The client itself: opens everything, drives loops, and looks at what its own node and its own source show.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use bitcoin::ScriptBuf;
use bitcoin::address::NetworkUnchecked;
use swaprig_harness::time::Deadline;
use swaprig_proto::loops::State;
use swaprig_units::Height;
use tokio::sync::watch;
use uuid::Uuid;

use super::super::drive::{Step, call, drive, drive_all};
use super::super::rest::RestClient;
use super::super::store::Store;
use super::super::{Reason, Refusal, RescueError};
use super::plan::{self, Next, Output, Seen};
use super::record::{Ask, Coin, Mode, Record, Stage};
use super::{Config, LoopError, STORE, Wish};
use crate::chain::bitcoin::BitcoinChain;
use crate::failpoint::boundary;
use crate::lightning::{Outgoing, Received};
use crate::swap::taproot::{Taproot, classify};

/// A client of loops. Several loops may be driven at once.
#[derive(Debug)]
pub struct Looper {
    pub(super) config: Config,
    pub(super) store: Store<Record>,
    pub(super) server: RestClient,
    pub(super) chain: BitcoinChain,
    /// Changes whenever the chain tells something.
    news: watch::Receiver<u64>,
    /// Held while coins are chosen and until the funding that spends them is stored.
    pub(super) choosing: tokio::sync::Mutex<()>,
    pub(super) memory: Mutex<Memory>,
}

/// What this process need not do twice; forgotten with it, without harm.
#[derive(Debug, Default)]
pub(super) struct Memory {
    /// Scripts that the chain is watched for.
    watched: HashSet<ScriptBuf>,
    /// Until when the server is waited for to sign.
    pub(super) cooperation: HashMap<Uuid, Deadline>,
    /// Loops whose preimage the server was told.
    pub(super) shown: HashSet<Uuid>,
    /// Loops that the server was told to cancel.
    pub(super) cancelled: HashSet<Uuid>,
}

impl Looper {
    /// Opens the store and the wallet; the source of Bitcoin, the node and the server need not be there yet. Must be called inside a
    /// tokio runtime.
    ///
    /// # Errors
    /// When the store or the wallet cannot be opened, or an address is none.
    pub async fn open(config: Config) -> Result<Self, LoopError> {
        std::fs::create_dir_all(&config.dir).map_err(|source| RescueError::File {
            path: config.dir.clone(),
            source,
        })?;
        let store = Store::open(&config.dir.join(STORE))?;
        let server = RestClient::new(&config.server)?;
        let wallet = config.seed.wallet();
        let (chain, mut events) = BitcoinChain::open(config.bitcoin.clone(), &wallet).await?;
        let (told, news) = watch::channel(0);
        // Ends with the chain.
        tokio::spawn(async move {
            while events.recv().await.is_some() {
                told.send_modify(|count| *count += 1);
            }
        });
        Ok(Looper {
            config,
            store,
            server,
            chain,
            news,
            choosing: tokio::sync::Mutex::default(),
            memory: Mutex::default(),
        })
    }

    /// The client's view of Bitcoin, and its wallet.
    pub fn chain(&self) -> &BitcoinChain {
        &self.chain
    }

    pub(super) fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All its loops, oldest first.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn list(&self) -> Result<Vec<Record>, LoopError> {
        Ok(self.store.all()?)
    }

    /// A loop, by the name of its request or the server's.
    ///
    /// # Errors
    /// When there is none.
    pub fn status(&self, id: Uuid) -> Result<Record, LoopError> {
        self.store.get(id)?.ok_or(LoopError::NoSuchLoop(id))
    }

    /// The stored loop of a wish, made when there is none. The server is not asked. Waits for the source of Bitcoin, to know from which
    /// block on to look.
    ///
    /// # Errors
    /// When the store or the source fails, or the name was used for another wish.
    pub async fn wished(&self, wish: &Wish) -> Result<Record, LoopError> {
        let id = wish.id.unwrap_or_else(Uuid::new_v4);
        if let Some(record) = self.store.get(id)? {
            let Ask {
                mode, amount, caps, ..
            } = record.ask;
            return match (mode, amount, caps) == (wish.mode, wish.amount, wish.caps) {
                true => Ok(record),
                false => Err(LoopError::OtherWish(id)),
            };
        }
        let network = self.config.bitcoin.network;
        let destination = match &wish.destination {
            Some(address) => {
                let unchecked: bitcoin::Address<NetworkUnchecked> = address.as_unchecked().clone();
                let checked = unchecked.require_network(network);
                checked.map_err(|_| LoopError::OtherNetwork(network))?
            }
            None => self.chain.fresh_address()?,
        };
        let since = self.chain.tip().await?;
        let (seed, policy) = (&self.config.seed, &self.config.policy);
        let later = |blocks: u32| Height(since.0.saturating_add(blocks));
        let publication = wish.publication.map(|blocks| later(blocks.0));
        let record = self.store.insert(|key_index| {
            let own = seed.preimage(key_index).payment_hash();
            let ask = Ask {
                id,
                mode: wish.mode,
                amount: wish.amount,
                internal: wish.internal,
                confirmations: wish.confirmations.max(1),
                publication_deadline: publication,
                publish_by: publication
                    .unwrap_or(since)
                    .max(later(policy.publication.0)),
                key: seed.loop_pubkey(key_index),
                payment_hash: (wish.mode == Mode::Out).then_some(own),
                payment_request: None,
                caps: wish.caps,
                conf_target: wish.conf_target.max(1),
                destination: destination.to_string(),
                cooperative: wish.cooperative,
                external: wish.external,
                since,
            };
            Record::new(key_index, ask)
        })?;
        boundary("loops.requested");
        Ok(record)
    }

    /// Drives a loop until nothing more is to be done.
    ///
    /// # Errors
    /// [`LoopError::TimedOut`] with what it waits for; it goes on when it is driven again. Errors of the client's own node and source, and
    /// of a server that does not answer, are waited out; those that are told at once are the store's, and what nobody can mend.
    pub async fn run(&self, id: Uuid, deadline: Deadline) -> Result<Record, LoopError> {
        self.run_until(id, deadline, |_| false).await
    }

    /// Drives a loop until nothing more is to be done, or until it is as `enough` says.
    ///
    /// # Errors
    /// As [`Looper::run`].
    pub async fn run_until(
        &self,
        id: Uuid,
        deadline: Deadline,
        enough: impl Fn(&Record) -> bool,
    ) -> Result<Record, LoopError> {
        let mut wakes = self.config.lightning.events();
        let mut news = self.news.clone();
        let wake = async || {
            // A channel that is closed tells nothing any more; the pause does.
            tokio::select! {
                _ = wakes.next() => {}
                Ok(()) = news.changed() => {}
                else => std::future::pending().await,
            }
        };
        let step = async || match self.step(id, &enough).await {
            Err(error) if is_worth_waiting(&error) => {
                Ok(Step::Waiting(swaprig_harness::error_chain(&error)))
            }
            other => other,
        };
        let poll = self.config.policy.poll;
        drive(format!("loop {id} to end"), deadline, poll, wake, step).await?;
        self.status(id)
    }

    async fn step(&self, id: Uuid, enough: impl Fn(&Record) -> bool) -> Result<Step, LoopError> {
        let record = self.status(id)?;
        if enough(&record) {
            return Ok(Step::Over);
        }
        match self.advance(id).await {
            // Where something is at stake nothing that the server says is a reason to look away.
            Err(error @ LoopError::Server(_)) if record.stage != Stage::Created => {
                Ok(Step::Waiting(error.to_string()))
            }
            other => other,
        }
    }

    /// Drives all loops that are not over, side by side, and tells how each ended.
    ///
    /// # Errors
    /// When the store cannot be read; the errors of single loops are told with them.
    pub async fn resume_all(
        &self,
        deadline: Deadline,
    ) -> Result<Vec<(Uuid, Result<Record, LoopError>)>, LoopError> {
        let open = self.list()?.into_iter().filter(|r| !r.stage.is_final());
        let ids = open.map(|record| record.ask.id);
        Ok(drive_all(ids, |id| self.run(id, deadline)).await)
    }

    /// Stores that a loop in is given up: its coins come back as soon as the server signs that, or the timeout has passed. Drive it on
    /// with [`Looper::run`]. One that ended before anything was locked is looked at again: somebody may have sent coins late.
    ///
    /// # Errors
    /// For a loop out, whose payment comes back by itself, and for one that is over.
    pub fn give_up(&self, id: Uuid) -> Result<Record, LoopError> {
        let mut record = self.status(id)?;
        let not_now = |what| LoopError::NotNow {
            stage: record.stage,
            what,
        };
        if record.ask.mode != Mode::In {
            let what = "nothing of a loop out is to be taken back: a payment that is not claimed comes back by itself";
            return Err(not_now(what));
        }
        match record.stage {
            Stage::Created => {
                record.refusal = Some(Refusal::new(Reason::GivenUp, "by its owner"));
                record.stage = Stage::Refused;
            }
            Stage::Funding | Stage::Refunding => {}
            Stage::Refused if record.contract.is_some() => record.stage = Stage::Refunding,
            Stage::Refunded => record.stage = Stage::Refunding,
            Stage::Refused | Stage::Paid => return Err(not_now("it is over")),
            Stage::Paying
            | Stage::Claiming
            | Stage::Lapsing
            | Stage::Claimed
            | Stage::PaymentFailed
            | Stage::Lapsed
            | Stage::Lost => return Err(not_now("no loop in is there")),
        }
        record.is_given_up = true;
        self.store.update(&mut record)?;
        Ok(record)
    }

    /// One step of a loop, whatever it is that comes next.
    pub(super) async fn advance(&self, id: Uuid) -> Result<Step, LoopError> {
        let mut record = self.status(id)?;
        if record.stage.is_final() {
            return Ok(Step::Over);
        }
        if record.stage == Stage::Created {
            return self.agree(&mut record).await;
        }
        let seen = self.look(&record).await?;
        let next = plan::next(&self.config.policy, &record, &seen);
        tracing::debug!(loop_id = %id, stage = record.stage.name(), "next: {next:?}");
        self.perform(&mut record, &seen, next).await
    }

    async fn perform(
        &self,
        record: &mut Record,
        seen: &Seen,
        next: Next,
    ) -> Result<Step, LoopError> {
        match next {
            Next::Wait(reason) => Ok(Step::Waiting(reason)),
            Next::Pay => self.pay_again(record).await,
            Next::AskContract => self.ask_contract(record, seen.tip).await,
            Next::Reveal(coin) => {
                let preimage = self.config.seed.preimage(record.key_index);
                self.enter_claiming(record, seen.tip, preimage, Some(coin))
            }
            Next::Learn(preimage, coin) => self.enter_claiming(record, seen.tip, preimage, coin),
            Next::Rebind(coin) => {
                record.coin = Some(coin);
                self.store.update(record)?;
                Ok(Step::Moved)
            }
            Next::Spend { coin, is_waiting } => match record.ask.mode {
                Mode::Out | Mode::OutPlain => self.claim(record, seen, coin, is_waiting).await,
                Mode::In => self.take_back(record, seen, coin, is_waiting).await,
            },
            Next::Fund => self.fund(record, seen.tip).await,
            Next::NotePaid => {
                record.is_paid = true;
                record.refusal = None;
                self.store.update(record)?;
                boundary("loops.paid");
                Ok(Step::Moved)
            }
            Next::Enter(stage, refusal) => {
                if let (Stage::Refused, Some(offer)) = (stage, &record.offer) {
                    // Nothing was locked: a courtesy to the server, which lets it go sooner.
                    let told = self.server.cancel(offer.payment_hash, call()).await;
                    tracing::debug!(loop_id = %record.ask.id, "told the server: {told:?}");
                }
                record.stage = stage;
                if refusal.is_some() {
                    record.refusal = refusal;
                }
                self.store.update(record)?;
                boundary("loops.entered");
                Ok(Step::Moved)
            }
        }
    }

    /// Stores, before anything shows the preimage, that it is shown from now on: the bidding never stops again.
    fn enter_claiming(
        &self,
        record: &mut Record,
        tip: Height,
        preimage: swaprig_units::Preimage,
        coin: Option<Coin>,
    ) -> Result<Step, LoopError> {
        record.preimage = Some(preimage);
        record.coin = coin.or(record.coin);
        record.revealed_at = Some(tip);
        record.stage = Stage::Claiming;
        record.refusal = None;
        self.store.update(record)?;
        boundary("loops.revealed");
        self.write_rescue(record)?;
        Ok(Step::Moved)
    }

    /// What the client's own source shows of the output of a contract.
    pub(super) async fn outputs(
        &self,
        taproot: &Taproot,
        since: Height,
    ) -> Result<Vec<Output>, LoopError> {
        let script = taproot.script_pubkey();
        let is_new = !self.memory().watched.contains(&script);
        if is_new {
            self.chain.watch([(script.clone(), since)]).await?;
            self.memory().watched.insert(script.clone());
        }
        let found = self.chain.outputs(&script).await?;
        let output = |found: crate::chain::bitcoin::Found| {
            let spent = found.spent_by.and_then(|(transaction, depth)| {
                // No other spend is valid: a source shows one that no node has checked.
                let spend = classify(taproot, &transaction, found.outpoint)?;
                Some((transaction.compute_txid(), spend, depth))
            });
            Output {
                coin: Coin {
                    outpoint: found.outpoint,
                    value: found.value,
                },
                depth: found.depth,
                spent,
            }
        };
        Ok(found.into_iter().map(output).collect())
    }

    /// Everything that the plan looks at. The tip is read first: depths are never told too large.
    async fn look(&self, record: &Record) -> Result<Seen, LoopError> {
        let tip = self.chain.tip().await?;
        let outputs = match record.taproot() {
            Some(taproot) => self.outputs(&taproot?, record.ask.since).await?,
            None => Vec::new(),
        };
        let hash = record.offer.as_ref().map(|offer| offer.payment_hash);
        let lightning = &self.config.lightning;
        let mut seen = Seen {
            tip,
            outputs,
            outgoing: Outgoing::Unknown,
            received: false,
            over: None,
        };
        match (record.ask.mode, hash) {
            (Mode::Out | Mode::OutPlain, Some(hash)) if record.stage != Stage::Claiming => {
                seen.outgoing = lightning.outgoing(hash).await?;
            }
            (Mode::In, Some(hash)) => {
                seen.received = match lightning.received(hash).await? {
                    Received::Yes(_) => true,
                    Received::No => record.is_paid,
                };
                if record.stage == Stage::Funding && !seen.received {
                    seen.over = self.says_over(record).await;
                }
            }
            (Mode::Out | Mode::OutPlain, _) | (Mode::In, None) => {}
        }
        Ok(seen)
    }

    /// Whether the server says that it will not pay. A server that says nothing is waited for until the timeout.
    async fn says_over(&self, record: &Record) -> Option<String> {
        let hash = record.offer.as_ref()?.payment_hash;
        let direction = record.ask.mode.direction();
        match self.server.get(direction, hash, call()).await {
            Ok(told) => match (told.state, told.reason) {
                (State::Claimed, _) => None,
                (State::Failed | State::Refunded, None) => Some(told.state.word().to_owned()),
                (_, reason) => reason,
            },
            Err(error) => {
                tracing::debug!(%error, "the server tells nothing");
                None
            }
        }
    }

    /// Notes a refusal, without ending the loop.
    pub(super) fn judged<T>(
        &self,
        record: &mut Record,
        judged: Result<T, Refusal>,
    ) -> Result<T, LoopError> {
        match judged {
            Ok(fine) => Ok(fine),
            Err(refusal) => {
                if record.refusal.as_ref() != Some(&refusal) {
                    record.refusal = Some(refusal.clone());
                    self.store.update(record)?;
                }
                Err(refusal.into())
            }
        }
    }

    /// Ends a loop, or a part of it, for a reason.
    pub(super) fn end(
        &self,
        record: &mut Record,
        stage: Stage,
        refusal: Refusal,
    ) -> Result<Step, LoopError> {
        record.stage = stage;
        record.refusal = Some(refusal);
        self.store.update(record)?;
        Ok(Step::Moved)
    }
}

/// What the client's own node or source says now is no reason to leave a loop: a payment that it refuses is looked at again, a claim is
/// due whatever it says.
fn is_worth_waiting(error: &LoopError) -> bool {
    error.is_transient() || matches!(error, LoopError::Lightning(_) | LoopError::Source(_))
}
