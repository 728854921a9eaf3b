//! The daemons that a case asks: a node, an index of its chain, and coins to spend. How the daemons are started is not
//! known here; see [`crate::start`].

use std::sync::Arc;
use std::time::Duration;

use elements::secp256k1_zkp::PublicKey;
use elements::{AssetId, BlockHash, OutPoint, Script};
use serde_json::{Value, json};
use swaprig_harness::time::{Deadline, Probe, poll_until};

use crate::electrum::Electrum;
use crate::rpc::NodeRpc;
use crate::trial::{Step, Stop, sat, text};
use crate::tx::{Coin, Draft, FEE, Key, Seeded};

/// The transaction that issues the free coins of `liquidregtest`; its output 0 is anyone's.
const FREE_COINS: &str = "12a51d3e6441abbdb3a5b35983260dec3ff457a301a24a4e76d41b0c0adfb99b";
/// How long an index may take to follow its node.
const FOLLOWS: Duration = Duration::from_secs(30);
/// What a lab takes from the node's wallet: 100,000 L-BTC.
const TREASURY: u64 = 10_000_000_000_000;

/// Where the daemons are.
#[derive(Debug, Clone)]
pub struct Endpoints {
    /// The node.
    pub node: NodeRpc,
    /// The index, `HOST:PORT`.
    pub index: String,
    /// Makes the index look at its node.
    pub poke: Poke,
}

/// Makes an index look at its node. Blockstream's electrs looks every five seconds, and when it is told to.
#[derive(Clone)]
pub struct Poke(pub Arc<dyn Fn() + Send + Sync>);

impl std::fmt::Debug for Poke {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Poke")
    }
}

/// The daemons, and coins of the lab's own.
#[derive(Debug)]
pub struct Lab {
    /// The node.
    pub node: NodeRpc,
    /// The index, `HOST:PORT`.
    pub index: String,
    /// Makes the index look at its node.
    pub poke: Poke,
    /// The chain's first block.
    pub genesis: BlockHash,
    /// L-BTC.
    pub lbtc: AssetId,
    /// The wallet of the node that has coins.
    pub faucet: String,
    /// Owns the lab's coins and receives the fees of blocks.
    pub key: Key,
    treasury: Coin,
}

/// An output that a case wants to have.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// Its script.
    pub script: Script,
    /// In satoshi.
    pub value: u64,
    /// For whom it is hidden, if it is.
    pub blinder: Option<PublicKey>,
}

impl Wanted {
    /// An explicit output to `key`.
    pub fn explicit(key: &Key, value: u64) -> Self {
        Wanted {
            script: key.script(),
            value,
            blinder: None,
        }
    }

    /// A confidential output to `key`.
    pub fn confidential(key: &Key, value: u64) -> Self {
        Wanted {
            blinder: Some(key.blinder()),
            ..Wanted::explicit(key, value)
        }
    }
}

impl Lab {
    /// Takes coins from the daemons at `endpoints`, whose node has a wallet or still has its free coins.
    ///
    /// # Errors
    /// When a daemon does not answer, or there are no coins.
    pub async fn new(endpoints: Endpoints) -> Step<Self> {
        let Endpoints { node, index, poke } = endpoints;
        let key = Key::new(&mut Seeded::new("the lab"));
        let ask = async |method: &str, params: Value| -> Step<Value> {
            call(&node, None, method, params).await
        };
        let wallets = ask("listwallets", json!([])).await?;
        let faucet = text(&wallets[0]);
        let parse = |what: &str, value: &Value| Stop(format!("{what}: `{value}`"));
        let genesis = ask("getblockhash", json!([0])).await?;
        let genesis = text(&genesis)
            .parse()
            .map_err(|_| parse("the first block", &genesis))?;
        let sidechain = ask("getsidechaininfo", json!([])).await?;
        let lbtc = &sidechain["pegged_asset"];
        let lbtc = text(lbtc)
            .parse()
            .map_err(|_| parse("pegged_asset", lbtc))?;
        let treasury = match ask("gettxout", json!([FREE_COINS, 0])).await? {
            Value::Null => from_wallet(&node, &faucet, &key, lbtc).await?,
            unspent => from_free_coins(&node, &unspent, &key, lbtc).await?,
        };
        let mut lab = Lab {
            node,
            index,
            poke,
            genesis,
            lbtc,
            faucet,
            key,
            treasury,
        };
        lab.mine(1).await?;
        Ok(lab)
    }

    /// Mines `blocks` blocks to the lab's key and gives their hashes.
    pub async fn mine(&mut self, blocks: u32) -> Step<Vec<String>> {
        let to = self.key.address().to_string();
        let mined = self.call("generatetoaddress", json!([blocks, to])).await?;
        let hashes = mined.as_array().cloned().unwrap_or_default();
        Ok(hashes.iter().map(text).collect())
    }

    /// Calls a method of the node that has to succeed.
    pub async fn call(&self, method: &str, params: Value) -> Step<Value> {
        call(&self.node, None, method, params).await
    }

    /// The height of the chain.
    pub async fn height(&self) -> Step<u32> {
        let height = self.call("getblockcount", json!([])).await?;
        let height = height.as_u64().and_then(|height| height.try_into().ok());
        height.ok_or_else(|| Stop("getblockcount is no height".into()))
    }

    /// Pays the outputs from the lab's coins, confirms them, and gives them as coins.
    pub async fn fund(&mut self, random: &mut Seeded, wanted: &[Wanted]) -> Step<Vec<Coin>> {
        let coins = self.fund_unconfirmed(random, wanted).await?;
        self.mine(1).await?;
        Ok(coins)
    }

    /// As [`Lab::fund`], and leaves them in the mempool.
    pub async fn fund_unconfirmed(
        &mut self,
        random: &mut Seeded,
        wanted: &[Wanted],
    ) -> Step<Vec<Coin>> {
        let total: u64 = wanted.iter().map(|out| out.value).sum();
        let change = self.treasury.value() - total - FEE * 5;
        let mut draft =
            Draft::spending(&[&self.treasury]).pay(self.key.script(), change, self.lbtc);
        for out in wanted {
            draft = match out.blinder {
                Some(blinder) => {
                    draft.pay_blinded(out.script.clone(), out.value, self.lbtc, blinder)
                }
                None => draft.pay(out.script.clone(), out.value, self.lbtc),
            };
        }
        draft = draft.fee(FEE * 5, self.lbtc);
        if wanted.iter().any(|out| out.blinder.is_some()) {
            draft = draft.blind(random);
        }
        let draft = draft.sign(0, &self.key);
        self.call("sendrawtransaction", json!([draft.hex()]))
            .await?;
        self.treasury = draft.coin(0);
        Ok((1..=wanted.len()).map(|index| draft.coin(index)).collect())
    }

    /// Waits until the index has the node's tip.
    pub async fn index_follows(&self) -> Step<()> {
        let tip = text(&self.call("getbestblockhash", json!([])).await?);
        let header = text(&self.call("getblockheader", json!([tip, false])).await?);
        let height = self.height().await?;
        let mut index = Electrum::connect(&self.index).await?;
        let hello = json!(["swaprig conformance", "1.4"]);
        let _ = index.ask("server.version", hello).await?;
        let index = tokio::sync::Mutex::new(index);
        let what = format!("the index to have block {height}");
        let followed = poll_until(what, Deadline::after(FOLLOWS), || async {
            (self.poke.0)();
            let answer = index
                .lock()
                .await
                .ask("blockchain.block.header", json!([height]))
                .await;
            match answer {
                Ok(Ok(own)) if own == json!(header) => Probe::Ready(()),
                Ok(Ok(_)) => Probe::Pending("it has another block there".into()),
                Ok(Err(error)) => Probe::Pending(error.to_string()),
                Err(error) => Probe::Fatal(error),
            }
        });
        followed.await.map_err(|error| Stop(error.to_string()))
    }
}

async fn call(node: &NodeRpc, wallet: Option<&str>, method: &str, params: Value) -> Step<Value> {
    let reply = node.ask(wallet, method, params).await?;
    reply
        .result
        .map_err(|refused| Stop(format!("{method}: {} ({})", refused.message, refused.code)))
}

/// Takes the free coins, which need no signature, and leaves the larger part of them to nobody's harm.
async fn from_free_coins(node: &NodeRpc, unspent: &Value, key: &Key, lbtc: AssetId) -> Step<Coin> {
    let value = sat(&unspent["value"])?;
    let txid = FREE_COINS
        .parse()
        .map_err(|_| Stop("the free coins have no id".into()))?;
    let anyone = Script::from(vec![0x51]);
    let free = Coin::explicit(OutPoint::new(txid, 0), anyone, value, lbtc);
    let draft = Draft::spending(&[&free])
        .pay(key.script(), value - FEE, lbtc)
        .fee(FEE, lbtc);
    call(node, None, "sendrawtransaction", json!([draft.hex()])).await?;
    Ok(draft.coin(0))
}

/// Asks the node's wallet for coins.
async fn from_wallet(node: &NodeRpc, wallet: &str, key: &Key, lbtc: AssetId) -> Step<Coin> {
    let to = key.address().to_string();
    let amount = TREASURY / 100_000_000;
    let txid = call(node, Some(wallet), "sendtoaddress", json!([to, amount])).await?;
    let sent = call(node, None, "getrawtransaction", json!([txid, true])).await?;
    let script = key.script();
    let script_hex: String = script
        .as_bytes()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let outputs = sent["vout"].as_array().cloned().unwrap_or_default();
    let index = outputs
        .iter()
        .position(|out| out["scriptPubKey"]["hex"] == json!(script_hex))
        .and_then(|index| index.try_into().ok())
        .ok_or_else(|| Stop(format!("{txid} does not pay {to}")))?;
    let txid = text(&txid)
        .parse()
        .map_err(|_| Stop(format!("{txid} is no id")))?;
    Ok(Coin::explicit(
        OutPoint::new(txid, index),
        script,
        TREASURY,
        lbtc,
    ))
}
