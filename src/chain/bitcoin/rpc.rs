//! bitcoind's JSON-RPC, blocking: for threads that may wait. Connections are kept and shared by all calls.

use std::path::PathBuf;
use std::time::Duration;

use bdk_bitcoind_rpc::bitcoincore_rpc::jsonrpc::error::{Error as JsonError, RpcError};
use bdk_bitcoind_rpc::bitcoincore_rpc::{self, RpcApi};
use bitcoin::base64::Engine as _;
use bitcoin::base64::prelude::BASE64_STANDARD;
use bitcoin::consensus::encode::{deserialize_hex, serialize_hex};
use bitcoin::{Amount, BlockHash, Denomination, OutPoint, ScriptBuf, Transaction, Txid};
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use swaprig_units::{Height, Sat};

use super::super::fee::rate_from_coins;
use super::super::index::{BroadcastError, IndexError, malformed, verdict};
use super::settings::{NodeAuth, NodeSettings};
use crate::swap::FeeRate;

/// Longest answer that is read, in bytes: the mempool's txids at their most, and a full block in hexadecimal, are below.
const LONGEST: u64 = 256 << 20;
/// Transactions that are asked for at once.
const BATCH: usize = 100;
/// bitcoind is starting: it says what it does meanwhile.
const WARMING_UP: i32 = -28;

/// A node that is asked. The credentials are read anew for each call, because a cookie changes when bitcoind starts.
#[derive(Debug)]
pub(super) struct Rpc {
    agent: ureq::Agent,
    url: String,
    auth: NodeAuth,
}

#[derive(Deserialize)]
struct Reply {
    id: Option<u64>,
    result: Option<Box<RawValue>>,
    error: Option<RpcError>,
}

/// What `gettxout` says of an output, of what is needed of it.
#[derive(Deserialize)]
struct Unspent {
    /// In bitcoin, with eight decimals: read from its text, so that nothing is rounded.
    value: Box<RawValue>,
    #[serde(rename = "scriptPubKey")]
    script: UnspentScript,
}

#[derive(Deserialize)]
struct UnspentScript {
    hex: ScriptBuf,
}

/// Takes `result` for what it is asked to be.
fn parse<T: for<'a> Deserialize<'a>>(
    result: Option<Box<RawValue>>,
) -> Result<T, bitcoincore_rpc::Error> {
    let text = result.as_ref().map_or("null", |raw| raw.get());
    Ok(serde_json::from_str(text)?)
}

impl Rpc {
    /// A node whose every call ends within `timeout`.
    pub(super) fn new(settings: &NodeSettings, timeout: Duration) -> Rpc {
        let config = ureq::Agent::config_builder()
            .timeout_global(Some(timeout))
            .http_status_as_error(false)
            .max_redirects(0)
            .proxy(None)
            .build();
        Rpc {
            agent: config.into(),
            url: settings.url.clone(),
            auth: settings.auth.clone(),
        }
    }

    fn authorization(&self) -> Result<String, bitcoincore_rpc::Error> {
        let text = match &self.auth {
            NodeAuth::Password { user, password } => format!("{user}:{password}"),
            NodeAuth::Cookie(path) => read_cookie(path)?,
        };
        Ok(format!("Basic {}", BASE64_STANDARD.encode(text)))
    }

    fn post<T: for<'a> Deserialize<'a>>(&self, body: &Value) -> Result<T, bitcoincore_rpc::Error> {
        let authorization = self.authorization()?;
        let send = || {
            let request = self.agent.post(&self.url);
            let request = request.header("Authorization", &authorization);
            request.send(body.to_string().as_bytes())
        };
        // A kept connection that the node has closed meanwhile is noticed only by using it. Every call may be made twice.
        let answer = match send() {
            Err(ureq::Error::Io(_)) => send(),
            answer => answer,
        };
        let mut answer = answer.map_err(transport)?;
        let status = answer.status();
        let read = answer.body_mut().with_config().limit(LONGEST).read_to_vec();
        let text = read.map_err(transport)?;
        serde_json::from_slice(&text).map_err(|error| match status.as_u16() {
            200 => error.into(),
            // Wrong credentials, too many calls at once: there is no JSON then.
            _ => transport(format!("HTTP status {status}")),
        })
    }

    /// Asks all of `calls` in one request; the node answers them one after the other.
    fn batch(
        &self,
        calls: impl IntoIterator<Item = (&'static str, Value)>,
    ) -> Result<Vec<Reply>, bitcoincore_rpc::Error> {
        let one = |(id, (method, params)): (usize, (&str, Value))| json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params});
        let body: Vec<Value> = calls.into_iter().enumerate().map(one).collect();
        let mut replies: Vec<Reply> = self.post(&Value::Array(body.clone()))?;
        replies.sort_by_key(|reply| reply.id);
        match replies.len() == body.len() {
            true => Ok(replies),
            false => Err(bitcoincore_rpc::Error::UnexpectedStructure),
        }
    }

    /// The last block and what the mempool holds on top of it; `None` when there was another block meanwhile.
    pub(super) fn look(&self) -> Result<Option<(BlockHash, Vec<Txid>)>, bitcoincore_rpc::Error> {
        let calls = ["getbestblockhash", "getrawmempool", "getbestblockhash"];
        let replies = self.batch(calls.map(|method| (method, json!([]))))?;
        let mut results = Vec::new();
        for reply in replies {
            match reply.error {
                Some(error) => return Err(JsonError::Rpc(error).into()),
                None => results.push(reply.result),
            }
        }
        let [before, mempool, after] =
            <[_; 3]>::try_from(results).map_err(|_| bitcoincore_rpc::Error::UnexpectedStructure)?;
        let (before, after): (BlockHash, BlockHash) = (parse(before)?, parse(after)?);
        Ok(match before == after {
            true => Some((before, parse(mempool)?)),
            false => None,
        })
    }

    /// Asks for each of `params`; `None` for those that the node does not know.
    fn each<T: for<'a> Deserialize<'a>>(
        &self,
        method: &'static str,
        params: &[Value],
    ) -> Result<Vec<Option<T>>, bitcoincore_rpc::Error> {
        let mut found = Vec::with_capacity(params.len());
        for chunk in params.chunks(BATCH) {
            let calls = chunk.iter().map(|params| (method, params.clone()));
            for reply in self.batch(calls)? {
                found.push(match reply.error {
                    Some(error) if error.code == -5 => None,
                    Some(error) => return Err(JsonError::Rpc(error).into()),
                    None => Some(parse(reply.result)?),
                });
            }
        }
        Ok(found)
    }

    /// The transactions of the mempool among `txids`, in their order; `None` for each that is not there any more.
    pub(super) fn mempool_transactions(
        &self,
        txids: &[Txid],
    ) -> Result<Vec<Option<Transaction>>, bitcoincore_rpc::Error> {
        let params: Vec<Value> = txids.iter().map(|txid| json!([txid])).collect();
        let all: Vec<Option<String>> = self.each("getrawtransaction", &params)?;
        let read = |hex: Option<String>| hex.map(|hex| deserialize_hex(&hex)).transpose();
        Ok(all.into_iter().map(read).collect::<Result<_, _>>()?)
    }

    /// The last block.
    pub(super) fn best(&self) -> Result<BlockHash, bitcoincore_rpc::Error> {
        self.get_best_block_hash()
    }

    /// Returns when there is another block than now, or after `within`.
    pub(super) fn wait_for_block(&self, within: Duration) -> Result<(), bitcoincore_rpc::Error> {
        let within = u64::try_from(within.as_millis()).unwrap_or(u64::MAX);
        self.call::<Value>("waitfornewblock", &[json!(within)])
            .map(drop)
    }

    /// Sends a transaction; one that is known already counts as sent.
    pub(super) fn broadcast(&self, transaction: &Transaction) -> Result<Txid, BroadcastError> {
        let txid = transaction.compute_txid();
        // The node's own limit on the rate stands in for our cap; nothing is burnt beyond the tag, which holds nothing.
        let sent = self.call::<Txid>("sendrawtransaction", &[json!(serialize_hex(transaction))]);
        match sent.map_err(|error| index_error("sendrawtransaction", error)) {
            Ok(_) => Ok(txid),
            Err(IndexError::Refused { text, .. }) => verdict(text).map(|()| txid),
            Err(error) => Err(BroadcastError::Unreachable(error.to_string())),
        }
    }

    /// What the node thinks a transaction has to pay to be in one of the next `blocks` blocks; `None` when it cannot tell.
    pub(super) fn estimate(&self, blocks: u32) -> Result<Option<FeeRate>, IndexError> {
        const METHOD: &str = "estimatesmartfee";
        let said: Value = self
            .call(METHOD, &[json!(blocks)])
            .map_err(|error| index_error(METHOD, error))?;
        Ok(said["feerate"].as_f64().and_then(rate_from_coins))
    }

    /// What an output holds and whom it pays, unless a block has spent it. It may be in the mempool, or be spent there.
    pub(super) fn output(
        &self,
        outpoint: OutPoint,
    ) -> Result<Option<(Sat, ScriptBuf)>, IndexError> {
        const METHOD: &str = "gettxout";
        // With the mempool, what is in a block and spent in the mempool would be missing; without it, what is in no block.
        for with_mempool in [false, true] {
            let params = [
                json!(outpoint.txid),
                json!(outpoint.vout),
                json!(with_mempool),
            ];
            let found: Option<Unspent> = self
                .call(METHOD, &params)
                .map_err(|error| index_error(METHOD, error))?;
            let Some(Unspent { value, script }) = found else {
                continue;
            };
            let amount = Amount::from_str_in(value.get(), Denomination::Bitcoin);
            let amount = amount.map_err(|error| malformed(METHOD, error.to_string()))?;
            return Ok(Some((Sat(amount.to_sat()), script.hex)));
        }
        Ok(None)
    }

    /// The block at `height` of the node's chain.
    pub(super) fn block_at(
        &self,
        height: Height,
    ) -> Result<(BlockHash, bitcoin::Block), bitcoincore_rpc::Error> {
        let hash = self.get_block_hash(u64::from(height.0))?;
        Ok((hash, self.get_block(&hash)?))
    }
}

impl RpcApi for Rpc {
    fn call<T: for<'a> Deserialize<'a>>(
        &self,
        method: &str,
        params: &[Value],
    ) -> Result<T, bitcoincore_rpc::Error> {
        let body = json!({"jsonrpc": "2.0", "id": 0, "method": method, "params": params});
        let reply: Reply = self.post(&body)?;
        match reply.error {
            Some(error) => Err(JsonError::Rpc(error).into()),
            None => parse(reply.result),
        }
    }
}

fn transport(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> bitcoincore_rpc::Error {
    JsonError::Transport(error.into()).into()
}

fn read_cookie(path: &PathBuf) -> Result<String, bitcoincore_rpc::Error> {
    let read = std::fs::read_to_string(path);
    let text = read.map_err(|error| transport(format!("{}: {error}", path.display())))?;
    Ok(text.trim_end().to_owned())
}

/// What a failure of `method` is for those who ask.
pub(super) fn index_error(method: &str, error: bitcoincore_rpc::Error) -> IndexError {
    match error {
        bitcoincore_rpc::Error::JsonRpc(JsonError::Rpc(error)) if error.code == WARMING_UP => {
            IndexError::Unreachable(error.message)
        }
        bitcoincore_rpc::Error::JsonRpc(JsonError::Rpc(error)) => IndexError::Refused {
            method: method.to_owned(),
            text: error.message,
        },
        bitcoincore_rpc::Error::JsonRpc(JsonError::Transport(error)) => {
            IndexError::Unreachable(error.to_string())
        }
        error => malformed(method, error.to_string()),
    }
}
