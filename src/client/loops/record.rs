//! What a client knows of one of its loops, as it is stored.

use bitcoin::secp256k1::PublicKey;
use bitcoin::{Address, Network, OutPoint, Txid};
use serde::{Deserialize, Serialize};
use swaprig_proto::loops::{Direction, InternalKeyChoice};
use swaprig_units::{Height, Msat, PaymentHash, Preimage, Sat};
use uuid::Uuid;

use super::super::Refusal;
use super::super::store::Row;
use crate::swap::taproot::{Taproot, TaprootError};
use crate::swap::{Htlc, InternalKey};

/// A loop, from the client's side.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// From which its key, and its preimage, are derived.
    pub key_index: u32,
    /// What was asked for. Stored before it is sent.
    pub ask: Ask,
    /// What the server has agreed to, checked; never replaced.
    pub offer: Option<Offer>,
    /// What the coins are locked with, checked; never replaced.
    pub contract: Option<Contract>,
    /// Where it is.
    pub stage: Stage,
    /// How often the payment was sent, or was about to be.
    pub attempts: u32,
    /// The preimage, where it is the client's to show or was paid for. From the stage `claiming` on it may have been shown.
    pub preimage: Option<Preimage>,
    /// Out: the output that is claimed.
    pub coin: Option<Coin>,
    /// Out: the height at which the preimage was first shown, or about to be.
    pub revealed_at: Option<Height>,
    /// Whether the server is not asked for its signature any more.
    pub is_alone: bool,
    /// In: the client's own funding. Stored before it is sent.
    pub funding: Option<Signed>,
    /// Every claim or refund that was ever signed, oldest first. Stored before it is sent.
    pub spends: Vec<Signed>,
    /// In: whether the payment has arrived.
    pub is_paid: bool,
    /// In: whether the client wants its coins back.
    pub is_given_up: bool,
    /// Why it does not go on, or did not, as last seen.
    pub refusal: Option<Refusal>,
    /// How often it was stored; two that change it at once do not overwrite each other.
    #[serde(skip)]
    pub(crate) version: i64,
}

/// Which of the three kinds of loops.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// Loop out with the client's preimage: the server holds the payment before it locks coins.
    Out,
    /// Loop out with the server's preimage: the coins are locked before they are paid for.
    OutPlain,
    /// Loop in.
    In,
}

impl Mode {
    /// Which way the money goes.
    pub fn direction(self) -> Direction {
        match self {
            Mode::Out | Mode::OutPlain => Direction::Out,
            Mode::In => Direction::In,
        }
    }

    /// As it is shown.
    pub fn name(self) -> &'static str {
        match self {
            Mode::Out => "loop out",
            Mode::OutPlain => "loop out, invoice second",
            Mode::In => "loop in",
        }
    }
}

/// What was asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ask {
    /// Names it; the idempotency key at the server.
    pub id: Uuid,
    /// Of which kind it is.
    pub mode: Mode,
    /// What the client receives.
    pub amount: Sat,
    /// The internal key that the output is to have.
    pub internal: InternalKeyChoice,
    /// Out: confirmations of the funding before the client relies on it.
    pub confirmations: u32,
    /// Out: the height until which the server may wait with the funding, as it is told.
    pub publication_deadline: Option<Height>,
    /// Out: the height from which the client lets a loop go for which nothing is locked.
    pub publish_by: Height,
    /// The client's key.
    pub key: PublicKey,
    /// The hash, where the client chooses it.
    pub payment_hash: Option<PaymentHash>,
    /// In: the client's invoice. Stored before it is sent.
    pub payment_request: Option<String>,
    /// What it may cost.
    pub caps: Caps,
    /// Within how many blocks the claim, the refund or the funding is to be confirmed while there is time.
    pub conf_target: u32,
    /// Where the coins go: out, those of the claim; in, those of a refund.
    pub destination: String,
    /// Whether the server is asked for its signature, which makes the spend smaller.
    pub cooperative: bool,
    /// In: whether somebody else sends the coins.
    pub external: bool,
    /// The height when it was asked for: nothing of it is in an earlier block.
    pub since: Height,
}

/// What a loop may cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Caps {
    /// The server's fee.
    pub swap_fee: Sat,
    /// The client's own transaction, while there is time.
    pub miner_fee: Sat,
    /// The route of the payment.
    pub routing_fee: Msat,
    /// What is paid before anything is locked. Whoever takes that and locks nothing has it.
    pub prepay: Sat,
}

/// What the server has agreed to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Offer {
    /// The server's name of the loop.
    pub server_id: Uuid,
    /// The invoice: out, what to pay; in, the client's own.
    pub payment_request: String,
    /// What it asks for.
    pub price: Msat,
    /// Its hash.
    pub payment_hash: PaymentHash,
    /// When it expires; seconds since 1970, UTC.
    pub expires_at: u64,
    /// The server's fee.
    pub fee: Sat,
    /// The server's key.
    pub server_key: PublicKey,
    /// Out, when the coins are locked first: what to pay before.
    pub prepay: Option<Prepay>,
}

/// What to pay before anything is locked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Prepay {
    /// BOLT 11.
    pub payment_request: String,
    /// Its hash.
    pub payment_hash: PaymentHash,
    /// What it asks for.
    pub amount: Msat,
}

/// What the coins are locked with: with the keys and the hash all that makes the output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Contract {
    /// From which height the refunder may spend.
    pub timeout: Height,
    /// The internal key.
    pub internal: InternalKey,
    /// How much must be locked, exactly.
    pub value: Sat,
}

/// An output of the contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Coin {
    /// Where it is.
    pub outpoint: OutPoint,
    /// How much it holds.
    pub value: Sat,
}

/// A transaction that the client has signed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signed {
    /// Its id.
    pub txid: Txid,
    /// What it spends of the contract's outputs; nothing in a funding.
    pub spends: Option<OutPoint>,
    /// Consensus encoding in hexadecimal.
    pub raw: String,
    /// What it pays to the block's maker.
    pub fee: Sat,
    /// The bid that it was signed for, satoshi for 1,000 virtual bytes; more than it pays where there was less.
    pub bid: u64,
    /// Whether both have signed it.
    pub cooperative: bool,
}

/// Where a loop is, for its client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// Asked for; nothing is at stake but a prepayment. Restart: asked for again under the same name, checked again.
    Created,
    /// Out: the payment was, or is about to be, sent, and the preimage was not shown. Restart: the node is asked what became of it.
    Paying,
    /// Out: the preimage is known, or about to be shown: the claim is to be sent until it is deep enough. Restart: sent again.
    Claiming,
    /// Out: the preimage was not shown and never will be; the payment comes back by itself. Restart: waits on.
    Lapsing,
    /// In: the coins are, or are about to be, locked; the server is to pay. Restart: the funding is sent again.
    Funding,
    /// In: coins are to be taken back. Restart: goes on.
    Refunding,
    /// Out: the claim is as deep as the policy asks. Final, but for a deeper reorganisation.
    Claimed,
    /// In: the payment has arrived. Final.
    Paid,
    /// In: all coins came back. Final, but for a deeper reorganisation.
    Refunded,
    /// Ended before anything was paid or locked. Nothing was lost but a prepayment.
    Refused,
    /// Out: the payment failed for good. Nothing was lost but a prepayment.
    PaymentFailed,
    /// Out: the payment came back, the coins were left to the server.
    Lapsed,
    /// The other side has both. The preimage is the proof of payment.
    Lost,
}

impl Stage {
    /// Whether nothing more is to be done.
    pub fn is_final(self) -> bool {
        match self {
            Stage::Created
            | Stage::Paying
            | Stage::Claiming
            | Stage::Lapsing
            | Stage::Funding
            | Stage::Refunding => false,
            Stage::Claimed
            | Stage::Paid
            | Stage::Refunded
            | Stage::Refused
            | Stage::PaymentFailed
            | Stage::Lapsed
            | Stage::Lost => true,
        }
    }

    /// As it is stored and shown.
    pub fn name(self) -> &'static str {
        match self {
            Stage::Created => "created",
            Stage::Paying => "paying",
            Stage::Claiming => "claiming",
            Stage::Lapsing => "lapsing",
            Stage::Funding => "funding",
            Stage::Refunding => "refunding",
            Stage::Claimed => "claimed",
            Stage::Paid => "paid",
            Stage::Refunded => "refunded",
            Stage::Refused => "refused",
            Stage::PaymentFailed => "payment_failed",
            Stage::Lapsed => "lapsed",
            Stage::Lost => "lost",
        }
    }
}

impl Record {
    /// A new one.
    pub(super) fn new(key_index: u32, ask: Ask) -> Self {
        Record {
            key_index,
            ask,
            offer: None,
            contract: None,
            stage: Stage::Created,
            attempts: 0,
            preimage: None,
            coin: None,
            revealed_at: None,
            is_alone: false,
            funding: None,
            spends: Vec::new(),
            is_paid: false,
            is_given_up: false,
            refusal: None,
            version: 0,
        }
    }

    /// The output, from the client's own data; `None` as long as nothing is agreed.
    pub(super) fn taproot(&self) -> Option<Result<Taproot, TaprootError>> {
        let (offer, contract) = (self.offer.as_ref()?, self.contract.as_ref()?);
        Some(taproot(&self.ask, offer, contract))
    }

    /// Where the coins are, or must be, locked; `None` as long as nothing is agreed.
    pub fn address(&self, network: Network) -> Option<Address> {
        let taproot = self.taproot()?.ok()?;
        Some(taproot.address(network))
    }

    /// The last claim or refund of an output.
    pub fn last_spend(&self, outpoint: OutPoint) -> Option<&Signed> {
        let mut all = self.spends.iter().rev();
        all.find(|signed| signed.spends == Some(outpoint))
    }
}

/// The output of what was agreed.
pub(super) fn taproot(
    ask: &Ask,
    offer: &Offer,
    contract: &Contract,
) -> Result<Taproot, TaprootError> {
    let (claimer, refunder) = match ask.mode.direction() {
        Direction::Out => (ask.key, offer.server_key),
        Direction::In => (offer.server_key, ask.key),
    };
    let htlc = Htlc {
        payment_hash: offer.payment_hash,
        claimer,
        refunder,
        timeout: contract.timeout,
    };
    Taproot::new(htlc, contract.internal)
}

impl Row for Record {
    fn key_index(&self) -> u32 {
        self.key_index
    }

    fn id(&self) -> Uuid {
        self.ask.id
    }

    fn server_id(&self) -> Option<Uuid> {
        self.offer.as_ref().map(|offer| offer.server_id)
    }

    fn payment_hash(&self) -> Option<PaymentHash> {
        let agreed = self.offer.as_ref().map(|offer| offer.payment_hash);
        self.ask.payment_hash.or(agreed)
    }

    fn stage(&self) -> &'static str {
        self.stage.name()
    }

    fn version(&self) -> i64 {
        self.version
    }

    fn set_version(&mut self, version: i64) {
        self.version = version;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::StoreError;
    use crate::client::store::Store;

    fn record(key_index: u32, hash: Option<u8>) -> Record {
        let key = bitcoin::secp256k1::SecretKey::from_slice(&[3; 32]).unwrap();
        let ask = Ask {
            id: Uuid::new_v4(),
            mode: Mode::Out,
            amount: Sat(5),
            internal: InternalKeyChoice::Musig2,
            confirmations: 1,
            publication_deadline: Some(Height(9)),
            publish_by: Height(9),
            key: key.public_key(bitcoin::secp256k1::SECP256K1),
            payment_hash: hash.map(|byte| PaymentHash([byte; 32])),
            payment_request: None,
            caps: Caps {
                swap_fee: Sat(1),
                miner_fee: Sat(2),
                routing_fee: Msat(3),
                prepay: Sat(4),
            },
            conf_target: 6,
            destination: "somewhere".into(),
            cooperative: true,
            external: false,
            since: Height(3),
        };
        Record::new(key_index, ask)
    }

    fn full(mut record: Record) -> Record {
        let coin = Coin {
            outpoint: OutPoint::null(),
            value: Sat(5),
        };
        record.offer = Some(Offer {
            server_id: Uuid::new_v4(),
            payment_request: "lnbcrt".into(),
            price: Msat(7),
            payment_hash: PaymentHash([1; 32]),
            expires_at: 1,
            fee: Sat(1),
            server_key: record.ask.key,
            prepay: None,
        });
        record.contract = Some(Contract {
            timeout: Height(99),
            internal: InternalKey::Unspendable { r: [5; 32] },
            value: Sat(5),
        });
        record.stage = Stage::Claiming;
        record.preimage = Some(Preimage([4; 32]));
        record.coin = Some(coin);
        record.revealed_at = Some(Height(8));
        record.spends = [false, true]
            .map(|cooperative| Signed {
                txid: coin.outpoint.txid,
                spends: Some(coin.outpoint),
                raw: "00".into(),
                fee: Sat(1),
                bid: 2,
                cooperative,
            })
            .to_vec();
        record
    }

    #[test]
    fn everything_that_was_latched_is_there_when_the_file_is_opened_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("loops.db");
        let store = Store::<Record>::open(&path).unwrap();
        let made = store.insert(|index| record(index, Some(1))).unwrap();
        let mut latched = full(made);
        store.update(&mut latched).unwrap();
        drop(store);
        let store = Store::<Record>::open(&path).unwrap();
        assert_eq!(store.get(latched.ask.id).unwrap(), Some(latched.clone()));
        let by_server = latched.offer.as_ref().unwrap().server_id;
        assert_eq!(store.get(by_server).unwrap(), Some(latched.clone()));
        assert!(latched.last_spend(OutPoint::null()).unwrap().cooperative);
        let next = store.insert(|index| record(index, None)).unwrap();
        assert_eq!(next.key_index, latched.key_index + 1);
    }

    #[test]
    fn a_payment_hash_belongs_to_one_loop_from_its_wish_on() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::<Record>::open(&dir.path().join("loops.db")).unwrap();
        store.insert(|index| record(index, Some(1))).unwrap();
        let error = store.insert(|index| record(index, Some(1))).unwrap_err();
        assert!(matches!(error, StoreError::ReusedHash), "{error}");
        let mut other = store.insert(|index| record(index, None)).unwrap();
        other.ask.payment_hash = Some(PaymentHash([1; 32]));
        let error = store.update(&mut other).unwrap_err();
        assert!(matches!(error, StoreError::ReusedHash), "{error}");
    }
}
