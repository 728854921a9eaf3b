//! What is decided, by table: from each stage, for each thing that can be seen.

use bitcoin::hashes::Hash as _;
use bitcoin::secp256k1::{SECP256K1, SecretKey};
use swaprig_proto::loops::InternalKeyChoice;
use swaprig_units::{Msat, PaymentHash, Sat};
use uuid::Uuid;

use super::*;
use crate::client::loops::{Ask, Caps, Offer, Signed};
use crate::swap::InternalKey;

const PREIMAGE: Preimage = Preimage([7; 32]);
const VALUE: Sat = Sat(250_000);
const TIMEOUT: u32 = 600;
const TIP: u32 = 500;

fn public(n: u8) -> bitcoin::secp256k1::PublicKey {
    SecretKey::from_slice(&[n; 32])
        .unwrap()
        .public_key(SECP256K1)
}

fn txid(n: u8) -> Txid {
    Txid::from_byte_array([n; 32])
}

fn coin(n: u8, value: Sat) -> Coin {
    Coin {
        outpoint: OutPoint::new(txid(n), 0),
        value,
    }
}

fn record(mode: Mode, stage: Stage) -> Record {
    let hash: PaymentHash = PREIMAGE.payment_hash();
    let ask = Ask {
        id: Uuid::nil(),
        mode,
        amount: VALUE,
        internal: InternalKeyChoice::Musig2,
        confirmations: 2,
        publication_deadline: None,
        publish_by: Height(TIP + 12),
        key: public(3),
        payment_hash: Some(hash),
        payment_request: None,
        caps: Caps {
            swap_fee: Sat(1),
            miner_fee: Sat(1),
            routing_fee: Msat(1),
            prepay: Sat(0),
        },
        conf_target: 6,
        destination: String::new(),
        cooperative: true,
        external: false,
        since: Height(TIP),
    };
    let mut record = Record::new(1, ask);
    record.offer = Some(Offer {
        server_id: Uuid::nil(),
        payment_request: String::new(),
        price: Msat(1),
        payment_hash: hash,
        expires_at: 0,
        fee: Sat(0),
        server_key: public(4),
        prepay: None,
    });
    record.contract = Some(Contract {
        timeout: Height(TIMEOUT),
        internal: InternalKey::Musig2,
        value: VALUE,
    });
    record.attempts = 1;
    record.stage = stage;
    record
}

fn seen(outgoing: Outgoing, outputs: Vec<Output>) -> Seen {
    Seen {
        tip: Height(TIP),
        outputs,
        outgoing,
        received: false,
        over: None,
    }
}

fn output(n: u8, value: Sat, depth: Depth) -> Output {
    Output {
        coin: coin(n, value),
        depth,
        spent: None,
    }
}

/// So many blocks deep at `TIP`.
fn deep(blocks: u32) -> Depth {
    Depth::Block(Height(TIP + 1 - blocks))
}

fn spent(mut output: Output, spend: Spend, depth: Depth) -> Output {
    output.spent = Some((txid(9), spend, depth));
    output
}

fn plan(record: &Record, seen: &Seen) -> Next {
    next(&Policy::default(), record, seen)
}

/// Where a decision leads, without its words.
fn stage_of(next: &Next) -> Option<(Stage, Option<Reason>)> {
    match next {
        Next::Enter(stage, refusal) => Some((*stage, refusal.as_ref().map(|r| r.reason))),
        _ => None,
    }
}

fn waits(next: &Next) -> bool {
    matches!(next, Next::Wait(_))
}

#[test]
fn a_held_payment_is_followed_to_the_preimage_and_no_further_than_is_safe() {
    let held = |outputs| seen(Outgoing::Pending, outputs);
    let record = record(Mode::Out, Stage::Paying);
    let fine = output(1, VALUE, deep(2));
    assert_eq!(plan(&record, &held(vec![fine])), Next::Reveal(fine.coin));
    // The one that is there first, whatever else is paid to the script.
    let stray = output(2, Sat(1), deep(50));
    let later = output(3, VALUE, deep(1));
    let all = held(vec![later, stray, fine]);
    assert_eq!(plan(&record, &all), Next::Reveal(fine.coin));
    for outputs in [
        vec![],
        vec![stray],
        vec![output(1, Sat(VALUE.0 + 1), deep(9))],
        vec![output(1, VALUE, Depth::Mempool)],
        vec![output(1, VALUE, Depth::Unseen)],
        vec![output(1, VALUE, deep(1))],
        vec![spent(fine, Spend::Refund, Depth::Mempool)],
        vec![spent(fine, Spend::Refund, deep(1))],
    ] {
        assert!(waits(&plan(&record, &held(outputs.clone()))), "{outputs:?}");
    }
    // 20 blocks must be left.
    let mut late = held(vec![fine]);
    late.tip = Height(TIMEOUT - 20);
    assert_eq!(plan(&record, &late), Next::Reveal(fine.coin));
    late.tip = Height(TIMEOUT - 19);
    let decided = stage_of(&plan(&record, &late));
    assert_eq!(decided, Some((Stage::Lapsing, Some(Reason::RevealTooLate))));
}

#[test]
fn before_the_server_says_what_it_locks_it_is_asked_and_not_for_ever() {
    let mut record = record(Mode::Out, Stage::Paying);
    record.contract = None;
    let mut pending = seen(Outgoing::Pending, vec![]);
    assert_eq!(plan(&record, &pending), Next::AskContract);
    pending.tip = Height(TIP + 12);
    let decided = stage_of(&plan(&record, &pending));
    assert_eq!(decided, Some((Stage::Lapsing, Some(Reason::NotPublished))));
    for lost in [Outgoing::Failed, Outgoing::Unknown] {
        let mut failed = seen(lost, vec![]);
        assert_eq!(plan(&record, &failed), Next::Pay);
        failed.tip = Height(TIP + 12);
        let decided = stage_of(&plan(&record, &failed));
        assert_eq!(
            decided,
            Some((Stage::PaymentFailed, Some(Reason::NotPublished)))
        );
    }
    record.attempts = 10;
    let decided = stage_of(&plan(&record, &seen(Outgoing::Failed, vec![])));
    assert_eq!(decided, Some((Stage::PaymentFailed, Some(Reason::GivenUp))));
}

#[test]
fn coins_of_a_payment_that_came_back_are_left_alone() {
    let record = record(Mode::Out, Stage::Paying);
    let failed = seen(Outgoing::Failed, vec![output(1, VALUE, deep(9))]);
    let decided = stage_of(&plan(&record, &failed));
    assert_eq!(decided, Some((Stage::Lapsed, Some(Reason::NotPayable))));
    // A preimage that is known without the client's doing is no secret to keep.
    let taken = seen(Outgoing::Succeeded(PREIMAGE), failed.outputs.clone());
    let coin = Some(failed.outputs[0].coin);
    assert_eq!(plan(&record, &taken), Next::Learn(PREIMAGE, coin));
}

#[test]
fn the_servers_preimage_is_paid_for_and_learnt() {
    let mut record = record(Mode::OutPlain, Stage::Paying);
    let fine = output(1, VALUE, deep(2));
    let with = |outgoing| seen(outgoing, vec![fine]);
    assert!(waits(&plan(&record, &with(Outgoing::Pending))));
    let taken = plan(&record, &with(Outgoing::Succeeded(PREIMAGE)));
    assert_eq!(taken, Next::Learn(PREIMAGE, Some(fine.coin)));
    assert_eq!(plan(&record, &with(Outgoing::Failed)), Next::Pay);
    record.attempts = 10;
    let decided = stage_of(&plan(&record, &with(Outgoing::Failed)));
    assert_eq!(decided, Some((Stage::PaymentFailed, Some(Reason::GivenUp))));
}

#[test]
fn a_payment_that_lapses_comes_back_or_was_taken_after_all() {
    let record = record(Mode::Out, Stage::Lapsing);
    let decide = |outgoing| plan(&record, &seen(outgoing, vec![output(1, VALUE, deep(9))]));
    assert!(waits(&decide(Outgoing::Pending)));
    assert_eq!(decide(Outgoing::Failed), Next::Enter(Stage::Lapsed, None));
    let taken = decide(Outgoing::Succeeded(PREIMAGE));
    assert_eq!(taken, Next::Learn(PREIMAGE, None));
}

#[test]
fn once_shown_the_bidding_ends_only_deep_in_the_chain() {
    let mut record = record(Mode::Out, Stage::Claiming);
    let fine = output(1, VALUE, deep(2));
    record.coin = Some(fine.coin);
    let decide = |outputs: Vec<Output>| plan(&record, &seen(Outgoing::Unknown, outputs));
    let bid = |is_waiting| Next::Spend {
        coin: fine.coin,
        is_waiting,
    };
    let claim = Spend::Claim(PREIMAGE);
    assert_eq!(decide(vec![fine]), bid(false));
    assert_eq!(decide(vec![output(1, VALUE, Depth::Mempool)]), bid(false));
    for own in [claim, Spend::Cooperative] {
        assert_eq!(decide(vec![spent(fine, own, Depth::Mempool)]), bid(true));
        assert_eq!(decide(vec![spent(fine, own, Depth::Unseen)]), bid(true));
        assert!(waits(&decide(vec![spent(fine, own, deep(2))])));
        let done = decide(vec![spent(fine, own, deep(3))]);
        assert_eq!(done, Next::Enter(Stage::Claimed, None));
    }
    // Against a refund that is not deep, too: who is in the chain in the end decides.
    assert_eq!(
        decide(vec![spent(fine, Spend::Refund, Depth::Mempool)]),
        bid(false)
    );
    assert_eq!(
        decide(vec![spent(fine, Spend::Refund, deep(2))]),
        bid(false)
    );
    let lost = decide(vec![spent(fine, Spend::Refund, deep(3))]);
    assert_eq!(lost, Next::Enter(Stage::Lost, None));
    // A reorganisation, or a replacement of the funding before it was in a block.
    assert!(waits(&decide(vec![])));
    let moved = output(4, VALUE, deep(1));
    assert_eq!(decide(vec![moved]), Next::Rebind(moved.coin));
    let mut past = seen(Outgoing::Unknown, vec![fine]);
    past.tip = Height(TIMEOUT + 1_000);
    assert_eq!(plan(&record, &past), bid(false));
}

fn funded(record: &mut Record) {
    record.funding = Some(Signed {
        txid: txid(1),
        spends: None,
        raw: String::new(),
        fee: Sat(1),
        bid: 1,
        cooperative: false,
    });
}

#[test]
fn a_loop_in_is_funded_and_waits_for_its_payment() {
    let mut record = record(Mode::In, Stage::Funding);
    let empty = seen(Outgoing::Unknown, vec![]);
    assert_eq!(plan(&record, &empty), Next::Fund);
    record.ask.external = true;
    assert!(waits(&plan(&record, &empty)));
    record.ask.external = false;
    funded(&mut record);
    assert_eq!(plan(&record, &empty), Next::Fund, "sent again");
    for depth in [Depth::Mempool, deep(1), deep(9)] {
        let there = seen(Outgoing::Unknown, vec![output(1, VALUE, depth)]);
        assert!(waits(&plan(&record, &there)), "{depth:?}");
    }
    let claimed = spent(output(1, VALUE, deep(9)), Spend::Claim(PREIMAGE), deep(8));
    assert!(waits(&plan(
        &record,
        &seen(Outgoing::Unknown, vec![claimed])
    )));
    let mut paid = seen(Outgoing::Unknown, vec![output(1, VALUE, deep(1))]);
    paid.received = true;
    assert_eq!(plan(&record, &paid), Next::NotePaid);
    record.is_paid = true;
    assert_eq!(plan(&record, &paid), Next::Enter(Stage::Paid, None));
}

#[test]
fn a_loop_in_that_will_not_be_paid_is_taken_back() {
    let fine = vec![output(1, VALUE, deep(1))];
    let mut record = record(Mode::In, Stage::Funding);
    funded(&mut record);
    let mut over = seen(Outgoing::Unknown, fine.clone());
    over.over = Some("payment_failed".into());
    let decided = stage_of(&plan(&record, &over));
    assert_eq!(decided, Some((Stage::Refunding, Some(Reason::NotPayable))));
    let mut late = seen(Outgoing::Unknown, fine.clone());
    late.tip = Height(TIMEOUT);
    let decided = stage_of(&plan(&record, &late));
    assert_eq!(
        decided,
        Some((Stage::Refunding, Some(Reason::TimeoutTooNear)))
    );
    let wrong = seen(
        Outgoing::Unknown,
        vec![output(1, Sat(VALUE.0 - 1), deep(1))],
    );
    let decided = stage_of(&plan(&record, &wrong));
    assert_eq!(
        decided,
        Some((Stage::Refunding, Some(Reason::ValueMismatch)))
    );
    record.is_given_up = true;
    let decided = stage_of(&plan(&record, &seen(Outgoing::Unknown, fine)));
    assert_eq!(decided, Some((Stage::Refunding, Some(Reason::GivenUp))));
}

#[test]
fn every_coin_of_a_loop_in_comes_back_but_the_one_that_was_paid_for() {
    let mut record = record(Mode::In, Stage::Refunding);
    let decide = |record: &Record, outputs| plan(record, &seen(Outgoing::Unknown, outputs));
    let take = |n: u8, value, is_waiting| Next::Spend {
        coin: coin(n, value),
        is_waiting,
    };
    assert_eq!(decide(&record, vec![]), Next::Enter(Stage::Refused, None));
    let (one, two) = (output(1, VALUE, deep(5)), output(2, Sat(7_000), deep(4)));
    assert_eq!(decide(&record, vec![one, two]), take(1, VALUE, false));
    for own in [Spend::Refund, Spend::Cooperative] {
        let waiting = spent(one, own, Depth::Mempool);
        assert_eq!(decide(&record, vec![waiting]), take(1, VALUE, true));
        let shallow = spent(one, own, deep(1));
        assert!(waits(&decide(&record, vec![shallow])));
        assert_eq!(
            decide(&record, vec![shallow, two]),
            take(2, Sat(7_000), false)
        );
        let back = vec![spent(one, own, deep(3)), spent(two, own, deep(3))];
        assert_eq!(decide(&record, back), Next::Enter(Stage::Refunded, None));
    }
    // The server has claimed: its payment will be told, and is no refund.
    let claimed = spent(one, Spend::Claim(PREIMAGE), deep(9));
    assert!(waits(&decide(&record, vec![claimed])));
    record.is_paid = true;
    assert_eq!(
        decide(&record, vec![claimed]),
        Next::Enter(Stage::Paid, None)
    );
    assert_eq!(
        decide(&record, vec![claimed, two]),
        take(2, Sat(7_000), false)
    );
    let back = spent(two, Spend::Refund, deep(3));
    let ended = decide(&record, vec![back, claimed]);
    assert_eq!(ended, Next::Enter(Stage::Paid, None));
    // Paid, not claimed yet, and funded twice: the first is the server's.
    let twin = output(3, VALUE, deep(2));
    assert_eq!(decide(&record, vec![twin, one]), take(3, VALUE, false));
}

#[test]
fn a_funding_that_somebody_may_have_is_sent_before_it_is_taken_back() {
    let mut record = record(Mode::In, Stage::Refunding);
    funded(&mut record);
    assert_eq!(plan(&record, &seen(Outgoing::Unknown, vec![])), Next::Fund);
    let gone = output(1, VALUE, Depth::Unseen);
    assert_eq!(
        plan(&record, &seen(Outgoing::Unknown, vec![gone])),
        Next::Fund
    );
}
