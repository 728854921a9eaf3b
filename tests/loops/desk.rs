//! A world with a server that makes loops and has coins, a client with channels to it, and the typed REST client.

use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use bitcoin::secp256k1::{PublicKey, SECP256K1, SecretKey};
use bitcoin::{Address, Network, OutPoint, ScriptBuf, Transaction};
use swaprig::client::rest::{RestClient, RestError};
use swaprig::lightning::{Outgoing, Route};
use swaprig_harness::bitcoind::{PASSWORD, USER};
use swaprig_harness::server::{Ready, ServerSpec};
use swaprig_harness::units::{BlockDelta, Height, Msat, PaymentHash, Preimage, Sat};
use swaprig_proto::loops::{
    Direction, InternalKeyChoice, Loop, LoopInRequest, LoopOutRequest, State,
};

use crate::served::{Served, spec};
use crate::support;

pub(crate) use crate::served::soon;

pub(crate) struct Desk {
    served: Served,
}

impl Deref for Desk {
    type Target = Served;

    fn deref(&self) -> &Served {
        &self.served
    }
}

fn server_spec(args: &[&str]) -> ServerSpec {
    let bitcoin = format!("http://{USER}:{PASSWORD}@{{bitcoind.rpc}}");
    let own = [
        "--rest-listen",
        "{listen}",
        "--listen",
        "127.0.0.1:0",
        "--bitcoin-url",
        &bitcoin,
        "--loop-coins-first",
    ];
    let all = own.into_iter().chain(args.iter().copied());
    spec(Ready::Http("/health".into()), all)
}

/// What the server has on Bitcoin, in coins of 1,000,000 sat.
const STOCK: u64 = 4;

impl Desk {
    /// Opens it, with coins of the server and channels both ways; `None`, said aloud, when `RUN_LDK_E2E=0` asks to skip.
    pub(crate) async fn open(args: &[&str]) -> Option<Desk> {
        let builder = support::world()?;
        let builder = builder.lightning(["client", "seller"]);
        let world = Arc::new(builder.server(server_spec(args)).start().await.unwrap());
        for (from, to) in [("client", "seller"), ("seller", "client")] {
            world
                .open_usable_channel(from, to, Sat(5_000_000))
                .await
                .unwrap();
        }
        let desk = Desk {
            served: Served { world },
        };
        for _ in 0..STOCK {
            let to = desk.stocks().await.unwrap().bitcoin_deposit_address;
            let to = to.parse::<Address<_>>().unwrap().assume_checked();
            desk.pay(&to, 1_000_000).await;
            desk.mine(1).await;
        }
        desk.until("the deposits to be usable", async || {
            let free = desk.stocks().await.unwrap().bitcoin.unwrap().free;
            let terms = desk.rest().terms(Direction::Out, soon()).await;
            let most = terms.map_err(|error| error.to_string())?.max_amount;
            match free == STOCK * 1_000_000 && most > 250_000 {
                true => Ok(()),
                false => Err(format!("{free} are free, {most} can be looped out")),
            }
        })
        .await;
        Some(desk)
    }

    pub(crate) fn rest(&self) -> RestClient {
        RestClient::new(&format!("http://{}", self.server().address())).unwrap()
    }

    pub(crate) async fn mine(&self, blocks: u32) -> Height {
        self.world.mine(BlockDelta(blocks)).await.unwrap()
    }

    pub(crate) async fn pay(&self, to: &Address, sat: u64) {
        self.world.bitcoind().send(to, Sat(sat)).await.unwrap();
    }

    /// Waits until a loop is as `wanted` says.
    pub(crate) async fn loop_is(
        &self,
        made: &Loop,
        what: &str,
        wanted: impl Fn(&Loop) -> bool,
    ) -> Loop {
        let hash = hash_of(made);
        self.until(what, async || {
            let found = self.rest().get(made.direction, hash, soon()).await;
            let found = found.map_err(|error| error.to_string())?;
            match wanted(&found) {
                true => Ok(found),
                false => Err(format!("{found:?}")),
            }
        })
        .await
    }

    pub(crate) async fn state_is(&self, made: &Loop, state: State) -> Loop {
        self.loop_is(made, state.word(), |found| found.state == state)
            .await
    }

    /// Asks for a loop out of 250,000 sat with the client's preimage.
    pub(crate) async fn ask_out(
        &self,
        preimage: Preimage,
        key: u8,
        internal: InternalKeyChoice,
    ) -> Loop {
        let request = LoopOutRequest {
            pubkey: public(key).to_string(),
            amount: 250_000,
            payment_hash: Some(preimage.payment_hash().to_string()),
            invoice_first: true,
            internal_key: internal,
            confirmations: 1,
            publication_deadline: None,
            max_fee: Some(10_000),
        };
        let made = self.rest().loop_out(&request, None, soon()).await;
        made.unwrap_or_else(|error| panic!("{error:?}\n{}", self.log_tail()))
    }

    /// Pays a loop out's invoice until the server holds a payment that lapses late enough and has locked coins.
    pub(crate) async fn pay_until_locked(&self, made: &Loop) -> Loop {
        let node = self.node("client");
        let hash = hash_of(made);
        let route = Route::new(Msat(10_000), BlockDelta(200));
        self.until("coins to be locked", async || {
            let outgoing = node
                .outgoing(hash)
                .await
                .map_err(|error| error.to_string())?;
            if matches!(outgoing, Outgoing::Unknown | Outgoing::Failed) {
                let paid = node.pay(&made.payment_request, &route).await;
                paid.map_err(|error| error.to_string())?;
            }
            let found = self.rest().get(Direction::Out, hash, soon()).await;
            let found = found.map_err(|error| error.to_string())?;
            // It is stored before it is sent, and a block that comes between would be without it.
            match &found.funding {
                Some(funding) if funding.confirmations > 0 => Ok(found),
                Some(funding) => self.is_waiting(&funding.txid).await.map(|()| found),
                None => Err(format!("{outgoing:?} {found:?}")),
            }
        })
        .await
    }

    /// Whether a transaction is in bitcoind's mempool.
    async fn is_waiting(&self, txid: &str) -> Result<(), String> {
        let rpc = self.world.bitcoind().rpc();
        let params = [txid.into()];
        let entry = rpc.call::<serde_json::Value>("getmempoolentry", &params, soon());
        entry.await.map(drop).map_err(|error| error.to_string())
    }

    /// Asks for a loop in of 200,000 sat.
    pub(crate) async fn ask_in(&self, key: u8, internal: InternalKeyChoice) -> Loop {
        let made = self.try_ask_in(key, internal).await;
        made.unwrap_or_else(|error| panic!("{error:?}\n{}", self.log_tail()))
    }

    pub(crate) async fn try_ask_in(
        &self,
        key: u8,
        internal: InternalKeyChoice,
    ) -> Result<Loop, RestError> {
        let node = self.node("client");
        let invoice = node.invoice(Msat(200_000_000), "loop in", Duration::from_secs(3_600));
        let (payment_request, _) = invoice.await.unwrap();
        let request = LoopInRequest {
            pubkey: public(key).to_string(),
            payment_request,
            internal_key: internal,
            max_fee: Some(10_000),
        };
        self.rest().loop_in(&request, None, soon()).await
    }

    /// Sends a transaction straight to bitcoind.
    pub(crate) async fn send(&self, transaction: &Transaction) -> Result<(), String> {
        let raw = bitcoin::consensus::encode::serialize_hex(transaction);
        let rpc = self.world.bitcoind().rpc();
        let params = [raw.into()];
        let sent = rpc.call::<String>("sendrawtransaction", &params, soon());
        sent.await.map(drop).map_err(|error| error.to_string())
    }

    /// The unspent outputs to an address that are in blocks.
    pub(crate) async fn outputs_to(&self, to: &Address) -> Vec<(OutPoint, Sat)> {
        let rpc = self.world.bitcoind().rpc();
        let wanted = [
            serde_json::json!("start"),
            serde_json::json!([format!("addr({to})")]),
        ];
        let found: serde_json::Value = rpc.call("scantxoutset", &wanted, soon()).await.unwrap();
        let outputs = found["unspents"].as_array().unwrap().iter();
        let outputs = outputs.map(|found| {
            let vout = u32::try_from(found["vout"].as_u64().unwrap()).unwrap();
            let outpoint = OutPoint::new(found["txid"].as_str().unwrap().parse().unwrap(), vout);
            let amount = bitcoin::Amount::from_btc(found["amount"].as_f64().unwrap()).unwrap();
            (outpoint, Sat(amount.to_sat()))
        });
        outputs.collect()
    }

    /// Where the client wants its coins.
    pub(crate) async fn destination(&self) -> ScriptBuf {
        let params = [serde_json::json!("client"), serde_json::json!("bech32m")];
        let rpc = self.world.bitcoind().rpc();
        let address: String = rpc.call("getnewaddress", &params, soon()).await.unwrap();
        let address: Address<_> = address.parse().unwrap();
        address
            .require_network(Network::Regtest)
            .unwrap()
            .script_pubkey()
    }
}

pub(crate) fn secret(key: u8) -> SecretKey {
    SecretKey::from_slice(&[key; 32]).unwrap()
}

pub(crate) fn public(key: u8) -> PublicKey {
    secret(key).public_key(SECP256K1)
}

pub(crate) fn hash_of(made: &Loop) -> PaymentHash {
    made.payment_hash.parse().unwrap()
}
