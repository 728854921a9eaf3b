//! A desk that keeps loops in memory and lets a test be the chain and the Lightning network. It moves a loop only where the real
//! one may go, and refuses what the real one refuses.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use bitcoin::Transaction;
use bitcoin::hashes::{Hash as _, sha256};
use bitcoin::secp256k1::{PublicKey, Secp256k1, SecretKey};
use futures_util::StreamExt as _;
use futures_util::stream::BoxStream;
use swaprig::api::rest::{Cosigned, Desk, InWanted, LoopError, OutWanted, Place};
use swaprig::swap::InternalChoice;
use swaprig_proto::loops::{
    Direction, Funding, InternalKeyChoice, Loop, Quote, Spend, SpendKind, State, Terms,
};
use swaprig_units::{Height, PaymentHash, Preimage, Sat};
use tokio::sync::watch;
use uuid::Uuid;

pub(crate) const LEAST: u64 = 25_000;
pub(crate) const MOST: u64 = 10_000_000;
pub(crate) const MOST_CONFIRMATIONS: u32 = 6;
const HEIGHT: u32 = 840_000;
const BASE_FEE: u64 = 500;
const FEE_PPM: u32 = 2_000;
/// Blocks of a loop.
const DELTA: u32 = 144;

/// What the server has done about the payment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Payment {
    None,
    Held,
    Paid,
    /// Latched: it is never paid.
    Never,
}

#[derive(Debug)]
struct Kept {
    shown: watch::Sender<Loop>,
    payment: Payment,
}

#[derive(Debug, Default)]
struct Books {
    /// In the order in which they were made.
    loops: Vec<Kept>,
    by_hash: HashMap<PaymentHash, usize>,
    by_request: HashMap<Uuid, ([u8; 32], usize)>,
    /// Milliseconds.
    clock: u64,
}

#[derive(Debug, Default)]
pub(crate) struct MemoryDesk {
    books: Mutex<Books>,
    away: AtomicBool,
}

pub(crate) fn fee(amount: u64) -> u64 {
    BASE_FEE + amount * u64::from(FEE_PPM) / 1_000_000
}

fn param(param: &'static str, reason: impl Into<String>) -> LoopError {
    let reason = reason.into();
    LoopError::Param { param, reason }
}

/// A key of the server, for each loop another.
fn key(index: usize) -> PublicKey {
    let secret = sha256::Hash::hash(&index.to_be_bytes()).to_byte_array();
    let secret = SecretKey::from_slice(&secret).expect("a hash is below the order");
    PublicKey::from_secret_key(&Secp256k1::signing_only(), &secret)
}

struct New {
    direction: Direction,
    request: Option<Uuid>,
    fingerprint: [u8; 32],
    pubkey: PublicKey,
    amount: u64,
    hash: PaymentHash,
    internal: InternalKeyChoice,
    confirmations: u32,
    max_fee: Option<Sat>,
    payment_request: String,
    invoice_first: Option<bool>,
    publication_deadline: Option<u32>,
}

impl Books {
    fn add(&mut self, new: New) -> Result<Loop, LoopError> {
        if let Some((fingerprint, at)) = new.request.and_then(|key| self.by_request.get(&key)) {
            return match *fingerprint == new.fingerprint {
                true => Ok(self.loops[*at].shown.borrow().clone()),
                false => Err(LoopError::KeyConflict(new.request.unwrap_or_default())),
            };
        }
        if new.amount < LEAST || new.amount > MOST {
            return Err(param("amount", format!("is not {LEAST} to {MOST} satoshi")));
        }
        let fee = fee(new.amount);
        if new.max_fee.is_some_and(|most| most.0 < fee) {
            return Err(param("max_fee", format!("the fee is {fee} satoshi")));
        }
        if self.by_hash.contains_key(&new.hash) {
            return Err(LoopError::HashUsed(new.hash));
        }
        self.clock += 1;
        let at = self.loops.len();
        let made = Loop {
            id: Uuid::from_u128(at as u128 + 1).to_string(),
            payment_hash: new.hash.to_string(),
            direction: new.direction,
            state: State::Created,
            phase: "created".into(),
            reason: None,
            amount: new.amount,
            fee,
            payment_request: new.payment_request,
            prepay_payment_request: None,
            pubkey: new.pubkey.to_string(),
            server_pubkey: key(at).to_string(),
            invoice_first: new.invoice_first,
            internal_key: new.internal,
            confirmations: new.confirmations,
            cltv_expiry: (new.invoice_first != Some(true)).then_some(HEIGHT + DELTA),
            address: None,
            script: None,
            funding: None,
            spend: None,
            publication_deadline: new.publication_deadline,
            height: Some(HEIGHT),
            created_at: self.clock,
            updated_at: self.clock,
            is_final: false,
        };
        self.by_hash.insert(new.hash, at);
        if let Some(key) = new.request {
            self.by_request.insert(key, (new.fingerprint, at));
        }
        self.loops.push(Kept {
            shown: watch::Sender::new(made.clone()),
            payment: Payment::None,
        });
        Ok(made)
    }

    fn kept(&mut self, direction: Direction, hash: PaymentHash) -> Result<&mut Kept, LoopError> {
        self.clock += 1;
        let now = self.clock;
        let unknown = LoopError::Unknown(direction, hash);
        let Some(kept) = self.by_hash.get(&hash).map(|at| &mut self.loops[*at]) else {
            return Err(unknown);
        };
        if kept.shown.borrow().direction != direction {
            return Err(unknown);
        }
        kept.shown
            .send_if_modified(|shown| std::mem::replace(&mut shown.updated_at, now) > u64::MAX - 1);
        Ok(kept)
    }
}

impl MemoryDesk {
    fn books(&self) -> Result<MutexGuard<'_, Books>, LoopError> {
        match self.away.load(Ordering::SeqCst) {
            true => Err(LoopError::NotReady("bitcoind does not answer".into())),
            false => Ok(self.books.lock().expect("nothing panics in it")),
        }
    }

    /// Whether daemons do not answer.
    pub(crate) fn set_away(&self, away: bool) {
        self.away.store(away, Ordering::SeqCst);
    }

    /// How many loops there are.
    pub(crate) fn len(&self) -> usize {
        self.books.lock().expect("nothing panics in it").loops.len()
    }

    fn change(&self, hash: PaymentHash, change: impl FnOnce(&mut Loop, &mut Payment)) {
        let mut books = self.books().expect("the desk is there");
        let at = books.by_hash[&hash];
        let Kept { shown, payment } = &mut books.loops[at];
        shown.send_modify(|shown| change(shown, payment));
    }

    /// The client's payment of a loop out arrives.
    pub(crate) fn payment_arrives(&self, hash: PaymentHash) {
        self.change(hash, |shown, payment| {
            assert_eq!((shown.direction, *payment), (Direction::Out, Payment::None));
            *payment = Payment::Held;
            shown.phase = "payment_held".into();
            shown.cltv_expiry = Some(HEIGHT + DELTA);
        });
    }

    /// The coins are locked in a block.
    pub(crate) fn coins_are_locked(&self, hash: PaymentHash) {
        self.change(hash, |shown, payment| {
            assert_eq!(shown.state, State::Created);
            let held = *payment == Payment::Held || shown.invoice_first != Some(true);
            assert!(held, "nothing is locked before the payment is held");
            shown.state = State::Funded;
            shown.phase = "confirmed".into();
            shown.funding = Some(Funding {
                txid: hash.to_string(),
                vout: 1,
                confirmations: shown.confirmations,
            });
        });
    }

    /// The server tries to pay the client's invoice.
    pub(crate) fn is_being_paid(&self, hash: PaymentHash) {
        self.change(hash, |shown, payment| {
            let before = (shown.direction, shown.state, *payment);
            assert_eq!(before, (Direction::In, State::Funded, Payment::None));
            *payment = Payment::Paid;
            shown.phase = "paid".into();
        });
    }

    /// The coins are spent, finally.
    pub(crate) fn coins_are_spent(&self, hash: PaymentHash, kind: SpendKind) {
        self.change(hash, |shown, _| {
            assert_eq!(shown.state, State::Funded);
            shown.state = match (kind, shown.direction) {
                (SpendKind::Refund, _) | (SpendKind::Cooperative, Direction::In) => State::Refunded,
                (SpendKind::Claim, _) | (SpendKind::Cooperative, Direction::Out) => State::Claimed,
            };
            shown.phase = shown.state.word().into();
            shown.spend = Some(Spend {
                txid: hash.to_string(),
                kind,
                confirmations: 6,
            });
            shown.is_final = true;
        });
    }
}

fn internal(choice: InternalChoice) -> InternalKeyChoice {
    match choice {
        InternalChoice::Musig2 => InternalKeyChoice::Musig2,
        InternalChoice::Unspendable => InternalKeyChoice::Unspendable,
    }
}

#[tonic::async_trait]
impl Desk for MemoryDesk {
    async fn health(&self) -> Result<Height, LoopError> {
        self.books().map(|_| Height(HEIGHT))
    }

    async fn terms(&self, direction: Direction) -> Result<Terms, LoopError> {
        drop(self.books()?);
        Ok(Terms {
            direction,
            network: "regtest".into(),
            height: HEIGHT,
            min_amount: LEAST,
            max_amount: MOST,
            base_fee: BASE_FEE,
            fee_ppm: FEE_PPM,
            prepay: 0,
            max_confirmations: MOST_CONFIRMATIONS,
            cltv_delta: DELTA,
            paused: false,
        })
    }

    async fn quote(
        &self,
        direction: Direction,
        amount: Sat,
        confirmations: Option<u32>,
    ) -> Result<Quote, LoopError> {
        drop(self.books()?);
        if amount.0 < LEAST || amount.0 > MOST {
            return Err(param("amount", format!("is not {LEAST} to {MOST} satoshi")));
        }
        Ok(Quote {
            direction,
            amount: amount.0,
            fee: fee(amount.0),
            prepay: 0,
            miner_fee: 310,
            confirmations: confirmations.unwrap_or(3),
            cltv_delta: DELTA,
            height: HEIGHT,
        })
    }

    async fn loop_out(&self, wanted: OutWanted) -> Result<Loop, LoopError> {
        let mut books = self.books()?;
        if wanted.confirmations > MOST_CONFIRMATIONS {
            let reason = format!("is more than {MOST_CONFIRMATIONS}");
            return Err(param("confirmations", reason));
        }
        let own = sha256::Hash::hash(&books.loops.len().to_be_bytes()).to_byte_array();
        let hash = wanted
            .payment_hash
            .unwrap_or_else(|| Preimage(own).payment_hash());
        books.add(New {
            direction: Direction::Out,
            request: wanted.request,
            fingerprint: wanted.fingerprint,
            pubkey: wanted.pubkey,
            amount: wanted.amount.0,
            hash,
            internal: internal(wanted.internal),
            confirmations: wanted.confirmations,
            max_fee: wanted.max_fee,
            payment_request: format!("lnbcrt{}n1{hash}", wanted.amount.0 * 10),
            invoice_first: Some(wanted.payment_hash.is_some()),
            publication_deadline: wanted.publication_deadline.map(|height| height.0),
        })
    }

    async fn loop_in(&self, wanted: InWanted) -> Result<Loop, LoopError> {
        let invoice: lightning_invoice::Bolt11Invoice = wanted
            .payment_request
            .parse()
            .map_err(|_| param("payment_request", "is no invoice"))?;
        let msat = invoice.amount_milli_satoshis().unwrap_or_default();
        self.books()?.add(New {
            direction: Direction::In,
            request: wanted.request,
            fingerprint: wanted.fingerprint,
            pubkey: wanted.pubkey,
            amount: msat / 1_000,
            hash: PaymentHash(invoice.payment_hash().to_byte_array()),
            internal: internal(wanted.internal),
            confirmations: 3,
            max_fee: wanted.max_fee,
            payment_request: wanted.payment_request,
            invoice_first: None,
            publication_deadline: None,
        })
    }

    async fn find(
        &self,
        direction: Direction,
        hash: PaymentHash,
    ) -> Result<Option<Loop>, LoopError> {
        let books = self.books()?;
        let at = books.by_hash.get(&hash);
        let found = at.map(|at| books.loops[*at].shown.borrow().clone());
        Ok(found.filter(|found| found.direction == direction))
    }

    async fn page(
        &self,
        direction: Direction,
        state: Option<State>,
        after: Option<Place>,
        size: u32,
    ) -> Result<Vec<Loop>, LoopError> {
        let books = self.books()?;
        let all = books.loops.iter().rev();
        let all = all.map(|kept| kept.shown.borrow().clone());
        Ok(all
            .filter(|shown| shown.direction == direction)
            .filter(|shown| state.is_none_or(|state| shown.state == state))
            .filter(|shown| {
                after.is_none_or(|after| {
                    (shown.created_at, shown.id.clone()) < (after.created_at, after.id.to_string())
                })
            })
            .take(size as usize)
            .collect())
    }

    async fn updates(
        &self,
        direction: Direction,
        hash: PaymentHash,
    ) -> Result<Option<BoxStream<'static, Loop>>, LoopError> {
        if self.find(direction, hash).await?.is_none() {
            return Ok(None);
        }
        let books = self.books()?;
        let changes = books.loops[books.by_hash[&hash]].shown.subscribe();
        let states = tokio_stream::wrappers::WatchStream::new(changes);
        let until_final = states.scan(false, |ended, shown| {
            let before = std::mem::replace(ended, shown.is_final);
            std::future::ready((!before).then_some(shown))
        });
        // `scan` would wait for one more change before it ends.
        let until_final = until_final.flat_map(|shown| {
            let last = shown.is_final;
            futures_util::stream::iter(std::iter::once(Some(shown)).chain(last.then_some(None)))
        });
        let open = until_final.take_while(|shown| std::future::ready(shown.is_some()));
        Ok(Some(open.filter_map(std::future::ready).boxed()))
    }

    async fn show_preimage(&self, hash: PaymentHash, _: Preimage) -> Result<Loop, LoopError> {
        let mut books = self.books()?;
        let kept = books.kept(Direction::Out, hash)?;
        match (kept.payment, kept.shown.borrow().state) {
            (Payment::Held, State::Funded) => {}
            (Payment::Paid, _) => return Ok(kept.shown.borrow().clone()),
            _ => return Err(LoopError::WrongState("no payment is held".into())),
        }
        kept.payment = Payment::Paid;
        kept.shown.send_modify(|shown| shown.phase = "paid".into());
        Ok(kept.shown.borrow().clone())
    }

    async fn cosign(
        &self,
        direction: Direction,
        hash: PaymentHash,
        transaction: Transaction,
        nonce: [u8; 66],
    ) -> Result<Cosigned, LoopError> {
        let mut books = self.books()?;
        let calls = books.clock;
        let kept = books.kept(direction, hash)?;
        if kept.shown.borrow().internal_key == InternalKeyChoice::Unspendable {
            return Err(LoopError::WrongState("the key path is unspendable".into()));
        }
        match (direction, kept.payment, kept.shown.borrow().state) {
            (Direction::Out, Payment::Paid, State::Funded) => {}
            (Direction::In, Payment::Never, State::Funded) => {}
            _ => return Err(LoopError::WrongState("the server might lose".into())),
        }
        PublicKey::from_slice(&nonce[..33]).map_err(|_| param("nonce", "is no nonce"))?;
        // For each call another, as it must be.
        let text = format!("{calls} {}", transaction.compute_txid());
        let drawn = sha256::Hash::hash(text.as_bytes()).to_byte_array();
        let mut answer = [0; 66];
        let point = key(drawn[0].into()).serialize();
        answer[..33].copy_from_slice(&point);
        answer[33..].copy_from_slice(&point);
        Ok(Cosigned {
            nonce: answer,
            partial_signature: drawn,
        })
    }

    async fn cancel(&self, hash: PaymentHash) -> Result<Loop, LoopError> {
        let mut books = self.books()?;
        let kept = books.kept(Direction::In, hash)?;
        if kept.payment == Payment::Paid {
            return Err(LoopError::WrongState("the server has tried to pay".into()));
        }
        kept.payment = Payment::Never;
        kept.shown.send_modify(|shown| {
            shown.phase = "cancelled".into();
            shown.reason = Some("cancelled".into());
        });
        Ok(kept.shown.borrow().clone())
    }
}

/// The desk as the service takes it.
pub(crate) fn desk() -> Arc<MemoryDesk> {
    Arc::new(MemoryDesk::default())
}
