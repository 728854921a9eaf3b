//! Whose money went where while a loop was made: counted from the blocks and the channels, not from what the server says.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use swaprig_harness::units::{Height, PaymentHash};
use swaprig_proto::loops::{Direction, Loop, State};

use crate::desk::{Desk, soon};

/// So many addresses of each of the server's descriptors are looked for.
const ADDRESSES: u32 = 400;

/// Where everything stood.
#[derive(Debug)]
pub(crate) struct Books {
    height: Height,
    /// What the client has in its channels, millisatoshi.
    client: u64,
}

/// What the blocks since then have in them.
#[derive(Debug, Default)]
struct Moves {
    /// What the server's wallet has more, satoshi.
    server: i64,
    /// How many transactions spend its coins.
    spent: u32,
    /// What those pay as fees, and those that take coins out of the HTLC for it.
    fees: i64,
    /// Outputs of the HTLC.
    locked: Vec<u64>,
    /// What came out of the HTLC, fees included, to the server and to others.
    to_server: u64,
    to_others: u64,
}

fn sat(value: &Value) -> u64 {
    let coins = value["value"].as_f64().unwrap();
    bitcoin::Amount::from_btc(coins).unwrap().to_sat()
}

fn address(value: &Value) -> &str {
    value["scriptPubKey"]["address"].as_str().unwrap_or("")
}

impl Moves {
    fn add(&mut self, transaction: &Value, own: &BTreeSet<String>, htlc: &str) {
        let inputs = transaction["vin"].as_array().unwrap().iter();
        // What a block makes is nobody's here.
        let inputs: Vec<_> = inputs.filter_map(|input| input.get("prevout")).collect();
        let outputs = transaction["vout"].as_array().unwrap();
        let is_own = |value: &&Value| own.contains(address(value));
        let is_locked = |value: &&Value| address(value) == htlc;
        let sum = |values: &mut dyn Iterator<Item = &Value>| values.map(sat).sum::<u64>();
        let given = sum(&mut inputs.iter().copied().filter(is_own));
        let got = sum(&mut outputs.iter().filter(is_own));
        self.server += i64::try_from(got).unwrap() - i64::try_from(given).unwrap();
        self.locked
            .extend(outputs.iter().filter(is_locked).map(sat));
        let unlocked = sum(&mut inputs.iter().copied().filter(is_locked));
        match got > 0 {
            true => self.to_server += unlocked,
            false => self.to_others += unlocked,
        }
        let spends = given > 0;
        self.spent += u32::from(spends);
        if spends || (unlocked > 0 && got > 0) {
            let all = sum(&mut inputs.iter().copied());
            let fee = all - sum(&mut outputs.iter());
            self.fees += i64::try_from(fee).unwrap();
        }
    }
}

impl Desk {
    async fn ask(&self, method: &str, params: &[Value]) -> Value {
        let rpc = self.world.bitcoind().rpc();
        let asked = rpc.call::<Value>(method, params, soon()).await;
        asked.unwrap_or_else(|error| panic!("{method}: {error}"))
    }

    /// What the client has in channels, once nothing is on its way in them. A channel's founder tells it: the other side may have
    /// less than its reserve, which no capacity shows.
    async fn channels_of_client(&self) -> u64 {
        let mut before = None;
        self.until("the channels to be still", async || {
            let mut sum = 0_u64;
            for founder in ["client", "seller"] {
                let node = self.world.node(founder).unwrap();
                let failed = |error| format!("{founder}: {error}");
                // Of no payment in particular: whether anything is missing that no open one explains, or is open.
                if node
                    .is_settling(PaymentHash([0; 32]))
                    .await
                    .map_err(failed)?
                {
                    return Err(format!("{founder} settles a payment"));
                }
                let channels = node.channels().await.map_err(failed)?;
                // Both nodes list both; the one that a node has founded was opened with all of the coins on its side.
                let own = channels.iter().max_by_key(|channel| channel.outbound);
                let own = own.ok_or("there is no channel")?;
                sum += match founder {
                    "client" => own.outbound.0,
                    _ => own.size.0 * 1_000 - own.outbound.0,
                };
            }
            // Seen twice: between two states of a channel there may be a moment with neither.
            match before.replace(sum) == Some(sum) {
                true => Ok(sum),
                false => Err("seen once".to_owned()),
            }
        })
        .await
    }

    pub(crate) async fn books(&self) -> Books {
        Books {
            height: self.world.bitcoind().height().await.unwrap(),
            client: self.channels_of_client().await,
        }
    }

    async fn own_addresses(&self) -> BTreeSet<String> {
        let file = self.server().dir().join("bitcoin-descriptors.txt");
        let mut all = BTreeSet::new();
        for descriptor in std::fs::read_to_string(file).unwrap().lines() {
            // With its checksum (BIP-380), which the node asks for.
            let whole = self.ask("getdescriptorinfo", &[json!(descriptor)]).await;
            let asked = [whole["descriptor"].clone(), json!([0, ADDRESSES])];
            let found = self.ask("deriveaddresses", &asked).await;
            let found = found.as_array().unwrap().iter();
            all.extend(found.map(|address| address.as_str().unwrap().to_owned()));
        }
        all
    }

    async fn moves(&self, since: Height, htlc: &str) -> Moves {
        let own = self.own_addresses().await;
        let tip = self.world.bitcoind().height().await.unwrap();
        let mut moves = Moves::default();
        for height in since.0 + 1..=tip.0 {
            let hash = self.ask("getblockhash", &[json!(height)]).await;
            let block = self.ask("getblock", &[hash, json!(3)]).await;
            for transaction in block["tx"].as_array().unwrap() {
                moves.add(transaction, &own, htlc);
            }
        }
        moves
    }

    /// Whether one loop that has ended moved the money that its end asks for, and nothing else did since `before`.
    ///
    /// # Errors
    /// What is wrong, and by how much.
    pub(crate) async fn balance(&self, before: &Books, ended: &Loop) -> Result<(), String> {
        let paid = i128::from(before.client) - i128::from(self.channels_of_client().await);
        let htlc = ended.address.as_deref().ok_or("it has no address")?;
        let moves = self.moves(before.height, htlc).await;
        let (amount, whole) = (ended.amount, ended.amount + ended.fee);
        let is_out = ended.direction == Direction::Out;
        let claimed = match ended.state {
            State::Claimed => true,
            State::Refunded => false,
            state => return Err(format!("it ended as {state:?}")),
        };
        let locked = if is_out { amount } else { whole };
        // Satoshi: what the client pays over Lightning, what the server has more on the chain, its fees apart.
        let (over_lightning, on_chain) = match (is_out, claimed) {
            (true, true) => (i128::from(whole), -i128::from(amount)),
            (false, true) => (-i128::from(amount), i128::from(whole)),
            (_, false) => (0, 0),
        };
        let right = [
            ("Lightning", paid == over_lightning * 1_000),
            ("one output", moves.locked == [locked]),
            ("the server's coins spent", moves.spent == u32::from(is_out)),
            (
                "the chain",
                i128::from(moves.server) + i128::from(moves.fees) == on_chain,
            ),
            // Out and claimed, or in and refunded: the client's.
            (
                "who has it",
                (moves.to_server, moves.to_others)
                    == match is_out == claimed {
                        true => (0, locked),
                        false => (locked, 0),
                    },
            ),
        ];
        let wrong: Vec<_> = right.iter().filter(|(_, right)| !right).collect();
        match wrong.is_empty() {
            true => Ok(()),
            false => Err(format!(
                "{wrong:?}: {paid} msat over Lightning, {moves:?}, {ended:?}"
            )),
        }
    }
}
