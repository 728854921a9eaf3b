//! Loop out and loop in with the real server: by script, together, and taken back.

use bitcoin::consensus::encode::serialize_hex;
use bitcoin::secp256k1::rand::thread_rng;
use swaprig::lightning::{Outgoing, Received};
use swaprig::swap::musig::{PartialSignature, PublicNonce, Session};
use swaprig::swap::taproot::{self, InternalKey, Locked, Taproot, cooperative, finish_cooperative};
use swaprig::swap::{FeeRate, Htlc};
use swaprig_harness::units::{Height, Preimage, Sat};
use swaprig_proto::loops::{CosignRequest, Direction, InternalKeyChoice, Loop, SpendKind, State};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use crate::desk::{Desk, hash_of, public, secret, soon};

const PREIMAGE: Preimage = Preimage([0x51; 32]);
pub(crate) const KEY: u8 = 7;
pub(crate) const RATE: FeeRate = FeeRate(2_000);

/// What a loop locks, computed from the client's own data and the server's key.
pub(crate) fn locked(made: &Loop) -> Locked {
    let (client, server) = (public(KEY), made.server_pubkey.parse().unwrap());
    let (claimer, refunder) = match made.direction {
        Direction::Out => (client, server),
        Direction::In => (server, client),
    };
    let htlc = Htlc {
        payment_hash: hash_of(made),
        claimer,
        refunder,
        timeout: Height(made.cltv_expiry.unwrap()),
    };
    let script = made.script.clone().unwrap();
    let internal = match script.tweak {
        None => InternalKey::Musig2,
        Some(r) => InternalKey::Unspendable {
            r: bitcoin::hex::FromHex::from_hex(&r).unwrap(),
        },
    };
    let taproot = Taproot::new(htlc, internal).unwrap();
    let address = taproot.address(bitcoin::Network::Regtest).to_string();
    assert_eq!(made.address.as_deref(), Some(address.as_str()));
    let value = match made.direction {
        Direction::Out => made.amount,
        Direction::In => made.amount + made.fee,
    };
    let coins = made.funding.iter().map(|funding| {
        let outpoint = format!("{}:{}", funding.txid, funding.vout);
        (outpoint.parse().unwrap(), Sat(value))
    });
    Locked {
        taproot,
        coins: coins.collect(),
    }
}

/// The client spends together with the server.
pub(crate) async fn spend_together(
    desk: &Desk,
    made: &Loop,
) -> Result<bitcoin::Transaction, String> {
    let transaction = sign_together(desk, made).await?;
    desk.send(&transaction).await.unwrap();
    Ok(transaction)
}

async fn sign_together(desk: &Desk, made: &Loop) -> Result<bitcoin::Transaction, String> {
    let locked = locked(made);
    let to = desk.destination().await;
    let mut transaction = cooperative(&locked, &to, RATE).unwrap();
    let sighash = taproot::cooperative_sighash(&locked, &transaction, 0).unwrap();
    let signers = locked.taproot.signers().unwrap();
    let session = Session::begin(&signers, &secret(KEY), sighash, &mut thread_rng()).unwrap();
    let request = CosignRequest {
        transaction: serialize_hex(&transaction),
        nonce: session.nonce().to_string(),
    };
    let answer = desk
        .rest()
        .cosign(made.direction, hash_of(made), &request, soon())
        .await
        .map_err(|error| error.to_string())?;
    let nonce: PublicNonce = answer.nonce.parse().unwrap();
    let partial: PartialSignature = answer.partial_signature.parse().unwrap();
    let signature = session.finish(&nonce, &partial).unwrap();
    finish_cooperative(&mut transaction, 0, &signature);
    Ok(transaction)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_loop_out_by_script() {
    let Some(desk) = Desk::open(&[]).await else {
        return;
    };
    let made = desk
        .ask_out(PREIMAGE, KEY, InternalKeyChoice::Unspendable)
        .await;
    assert_eq!((made.state, made.address.as_ref()), (State::Created, None));
    let made = desk.pay_until_locked(&made).await;
    desk.mine(1).await;
    let made = desk.state_is(&made, State::Funded).await;
    let locked = locked(&made);
    let to = desk.destination().await;
    let claim = taproot::claim(
        &locked,
        &PREIMAGE,
        &secret(KEY),
        &to,
        RATE,
        &mut thread_rng(),
    );
    desk.send(&claim.unwrap()).await.unwrap();
    // The preimage in the mempool is enough for the server to take its payment.
    let client = desk.node("client");
    desk.until("the payment to arrive", async || {
        match client.outgoing(hash_of(&made)).await {
            Ok(Outgoing::Succeeded(_)) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    desk.mine(1).await;
    let made = desk.state_is(&made, State::Claimed).await;
    assert_eq!(made.spend.unwrap().kind, SpendKind::Claim);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_loop_out_together() {
    let Some(desk) = Desk::open(&[]).await else {
        return;
    };
    let made = desk.ask_out(PREIMAGE, KEY, InternalKeyChoice::Musig2).await;
    let made = desk.pay_until_locked(&made).await;
    // Nothing is signed, and no preimage is taken, before the coins are confirmed and the payment has arrived.
    assert!(spend_together(&desk, &made).await.is_err());
    let hash = hash_of(&made);
    let early = desk.rest().show_preimage(hash, &PREIMAGE, soon()).await;
    assert!(early.is_err(), "{early:?}");
    desk.mine(1).await;
    desk.state_is(&made, State::Funded).await;
    assert!(spend_together(&desk, &made).await.is_err());
    desk.rest()
        .show_preimage(hash, &PREIMAGE, soon())
        .await
        .unwrap();
    let made = desk
        .loop_is(&made, "paid", |made| made.phase == "paid")
        .await;
    spend_together(&desk, &made).await.unwrap();
    desk.mine(1).await;
    let made = desk.state_is(&made, State::Claimed).await;
    assert_eq!(made.spend.unwrap().kind, SpendKind::Cooperative);
}

/// Sends a request and hangs up without waiting for an answer.
async fn say_and_hang_up(desk: &Desk, path: &str, json: &str) {
    let address = desk.server().address();
    let mut connection = TcpStream::connect(&address).await.unwrap();
    let length = json.len();
    let request = format!(
        "POST {path} HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{json}"
    );
    connection.write_all(request.as_bytes()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_client_asked_for_is_done_although_it_hangs_up() {
    let Some(desk) = Desk::open(&[]).await else {
        return;
    };
    let made = desk.ask_out(PREIMAGE, KEY, InternalKeyChoice::Musig2).await;
    let made = desk.pay_until_locked(&made).await;
    desk.mine(1).await;
    let made = desk.state_is(&made, State::Funded).await;
    let path = format!("/loop/out/{}/preimage", made.payment_hash);
    let json = format!(r#"{{"preimage": "{PREIMAGE}"}}"#);
    // Whether a request is read before the end of its connection is a matter of chance; what was begun must come to its end.
    desk.until("the payment to be taken", async || {
        say_and_hang_up(&desk, &path, &json).await;
        let found = desk
            .rest()
            .get(Direction::Out, hash_of(&made), soon())
            .await;
        match found.map_err(|error| error.to_string())?.phase.as_str() {
            "paid" => Ok(()),
            phase => Err(phase.to_owned()),
        }
    })
    .await;
    spend_together(&desk, &made).await.unwrap();
    desk.mine(1).await;
    desk.state_is(&made, State::Claimed).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_loop_out_that_nobody_claims_is_taken_back_and_the_payment_given_back() {
    let Some(desk) = Desk::open(&[]).await else {
        return;
    };
    let made = desk.ask_out(PREIMAGE, KEY, InternalKeyChoice::Musig2).await;
    let made = desk.pay_until_locked(&made).await;
    let tip = desk.mine(1).await;
    let made = desk.state_is(&made, State::Funded).await;
    let client = desk.node("client");
    let timeout = made.cltv_expiry.unwrap();
    desk.mine(timeout - tip.0).await;
    desk.loop_is(&made, "refunding", |made| made.spend.is_some())
        .await;
    // One block more: it is taken back, and still the payment is held, until that is final.
    desk.mine(1).await;
    desk.state_is(&made, State::Refunded).await;
    assert_eq!(
        client.outgoing(hash_of(&made)).await.unwrap(),
        Outgoing::Pending
    );
    desk.mine(1).await;
    desk.until("the payment to be given back", async || {
        match client.outgoing(hash_of(&made)).await {
            Ok(Outgoing::Failed) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_loop_in() {
    let Some(desk) = Desk::open(&[]).await else {
        return;
    };
    let made = desk.ask_in(KEY, InternalKeyChoice::Musig2).await;
    locked(&made);
    let to: bitcoin::Address<_> = made.address.as_ref().unwrap().parse().unwrap();
    desk.pay(&to.assume_checked(), made.amount + made.fee).await;
    desk.loop_is(&made, "seen", |made| made.funding.is_some())
        .await;
    desk.mine(3).await;
    let client = desk.node("client");
    desk.until("the invoice to be paid", async || {
        match client.received(hash_of(&made)).await {
            Ok(Received::Yes(_)) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    desk.loop_is(&made, "the claim", |made| made.spend.is_some())
        .await;
    assert!(
        spend_together(&desk, &desk.state_is(&made, State::Funded).await)
            .await
            .is_err()
    );
    desk.mine(1).await;
    let made = desk.state_is(&made, State::Claimed).await;
    assert_eq!(made.spend.unwrap().kind, SpendKind::Claim);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_loop_in_that_is_funded_with_too_little_is_given_back_together() {
    let Some(desk) = Desk::open(&[]).await else {
        return;
    };
    let made = desk.ask_in(KEY, InternalKeyChoice::Musig2).await;
    let to: bitcoin::Address<_> = made.address.as_ref().unwrap().parse().unwrap();
    let to = to.assume_checked();
    desk.pay(&to, made.amount + made.fee - 1).await;
    desk.mine(3).await;
    let made = desk
        .loop_is(&made, "cancelling", |made| made.phase == "cancelling")
        .await;
    // Which output is the client's own to know.
    let mut own = locked(&made);
    own.coins = desk.outputs_to(&to).await;
    assert_eq!(own.coins.len(), 1);
    let mut shown = made.clone();
    shown.amount -= 1;
    let (outpoint, _) = own.coins[0];
    shown.funding = Some(swaprig_proto::loops::Funding {
        txid: outpoint.txid.to_string(),
        vout: outpoint.vout,
        confirmations: 3,
    });
    spend_together(&desk, &shown).await.unwrap();
    desk.mine(1).await;
}

/// Whoever asks and locks nothing takes no place from others; and what such a one locks too late is its own, also when nobody looks at
/// the loop any more.
#[tokio::test(flavor = "multi_thread")]
async fn loops_in_that_nobody_funds_keep_nobody_away_and_late_coins_are_given_back_together() {
    let limits = ["--max-in-flight", "1", "--loop-in-max-unfunded", "2"];
    let window = ["--loop-funding-blocks", "2"];
    let Some(desk) = Desk::open(&[limits.as_slice(), &window].concat()).await else {
        return;
    };
    let musig = InternalKeyChoice::Musig2;
    let first = desk.ask_in(KEY, musig).await;
    let second = desk.ask_in(KEY, musig).await;
    let third = desk.try_ask_in(KEY, musig).await.unwrap_err().to_string();
    assert!(third.contains("2 loops in wait"), "{third}");
    // The one place for a swap in flight is free; then it is not.
    desk.ask_out(PREIMAGE, KEY, musig).await;
    let fourth = desk.try_ask_in(KEY, musig).await.unwrap_err().to_string();
    assert!(fourth.contains("2 loops in wait"), "{fourth}");
    // Their time is over: others may ask again.
    desk.mine(2).await;
    for made in [&first, &second] {
        let made = desk.state_is(made, State::Failed).await;
        assert_eq!(made.reason.as_deref(), Some("not_funded"));
    }
    desk.ask_in(KEY, musig).await;
    // The loop is over and not looked at any more; its coins come all the same.
    let to: bitcoin::Address<_> = first.address.as_ref().unwrap().parse().unwrap();
    let to = to.assume_checked();
    desk.pay(&to, first.amount + first.fee).await;
    desk.mine(1).await;
    let (outpoint, _) = desk.outputs_to(&to).await[0];
    let late = Loop {
        funding: Some(swaprig_proto::loops::Funding {
            txid: outpoint.txid.to_string(),
            vout: outpoint.vout,
            confirmations: 1,
        }),
        ..first
    };
    // As often as it is asked: before it is spent, and while the spend waits.
    sign_together(&desk, &late).await.unwrap();
    spend_together(&desk, &late).await.unwrap();
    sign_together(&desk, &late).await.unwrap();
    desk.mine(1).await;
    let spent = sign_together(&desk, &late).await.unwrap_err();
    assert!(spent.contains("is spent"), "{spent}");
}
