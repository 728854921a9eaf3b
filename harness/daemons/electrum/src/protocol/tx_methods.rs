//! `blockchain.transaction.*`.

use std::time::Duration;

use bitcoin::Txid;
use serde_json::{Value, json};

use super::args::Args;
use super::{Answer, Refusal, Session, hex};
use crate::node::NodeError;

/// How long a client that has sent a transaction waits for the index to have it. The index is late only when the node
/// has dropped it again.
const INDEXED_WITHIN: Duration = Duration::from_millis(500);

impl Session {
    /// Sends a transaction to the node. When it is accepted, the index knows it before the client hears so.
    pub(super) async fn broadcast(&self, args: &Args) -> Answer {
        let raw = args.text(0, "a transaction in hexadecimal digits")?;
        let node = &self.server.node;
        let sent = node.call("sendrawtransaction", &json!([raw])).await?;
        if let Some(txid) = sent.as_str().and_then(|txid| txid.parse().ok()) {
            self.indexed(txid).await;
        }
        Ok(sent)
    }

    async fn indexed(&self, txid: Txid) {
        let shared = &self.server.shared;
        let mut version = shared.version.subscribe();
        let known = async {
            while !shared.read(|index| index.tx(&txid).is_some()) {
                shared.nudge.notify_one();
                if version.changed().await.is_err() {
                    return;
                }
            }
        };
        // Without it the answer is as right as that of a server that is behind.
        let _ = tokio::time::timeout(INDEXED_WITHIN, known).await;
    }

    /// Sends a package to a node that can take one (`submitpackage`).
    pub(super) async fn broadcast_package(&self, args: &Args) -> Answer {
        let is_verbose = args.flag_or(1, false)?;
        let texts = args.get(0).and_then(Value::as_array);
        let texts = texts.filter(|texts| texts.iter().all(Value::is_string));
        let texts = texts.ok_or_else(|| {
            Refusal::invalid_params("`raw_txs` is not a list of transactions in hexadecimal digits")
        })?;
        let node = &self.server.node;
        let answer = match node.call("submitpackage", &json!([texts])).await {
            Err(error) if error.is_unknown_method() => {
                let why = "the node cannot take packages: it has no `submitpackage`";
                return Err(Refusal::bad_request(why));
            }
            Err(error @ NodeError::Refused { .. }) => {
                let why = format!("the tx package was rejected by network rules: {error}");
                return Err(Refusal::bad_request(why));
            }
            answer => answer?,
        };
        self.server.shared.nudge.notify_one();
        if is_verbose {
            return Ok(answer);
        }
        let results = answer["tx-results"].as_object();
        let errors = results.into_iter().flat_map(|results| results.values());
        let errors = errors.filter(|result| !result["error"].is_null());
        let errors: Vec<Value> = errors
            .map(|result| json!({ "txid": result["txid"], "error": result["error"] }))
            .collect();
        let mut shown = json!({ "success": answer["package_msg"] == "success" });
        if !errors.is_empty() {
            shown["errors"] = json!(errors);
        }
        Ok(shown)
    }

    pub(super) async fn transaction(&self, args: &Args) -> Answer {
        let (txid, is_verbose) = (args.txid(0)?, args.flag_or(1, false)?);
        let (raw, block) = self.server.shared.read(|index| {
            let raw = index.tx(&txid).map(|tx| hex(&tx.raw));
            let height = index.place(&txid).map(|(height, _)| height as usize);
            (raw, height.and_then(|height| index.block_hash(height)))
        });
        let node = &self.server.node;
        match (raw, is_verbose) {
            (Some(raw), false) => Ok(json!(raw)),
            // The node may know what the index does not have yet.
            (None, false) => match self.of_node(txid).await?.get("hex") {
                Some(raw) => Ok(raw.clone()),
                None => Err(Refusal::bad_request("the node's answer has no transaction")),
            },
            (None, true) => self.of_node(txid).await,
            // With its block, a node without an index of its own finds it.
            (Some(_), true) => {
                let mut params = vec![json!(txid), json!(true)];
                params.extend(block.map(|block| json!(block)));
                Ok(node.call("getrawtransaction", &json!(params)).await?)
            }
        }
    }

    /// What the node tells of a transaction of its chain or mempool. Its own index (`-txindex`) keeps those of blocks that
    /// have left the chain, and gives them no confirmations.
    async fn of_node(&self, txid: Txid) -> Answer {
        let params = json!([txid, true]);
        let told = self.server.node.call("getrawtransaction", &params).await?;
        if told.get("blockhash").is_some() && told["confirmations"] == json!(0) {
            let why = "no such transaction in the mempool or the chain: its block has left it";
            return Err(Refusal::bad_request(why));
        }
        Ok(told)
    }

    pub(super) fn merkle(&self, args: &Args) -> Answer {
        let (txid, height) = (args.txid(0)?, args.number(1)?);
        let proof = self.server.shared.read(|index| {
            let (own, position) = index.place(&txid)?;
            let position = position as usize;
            let (_, branch) = index.tx_proof(own as usize, position)?;
            (own as usize == height).then_some((position, branch))
        });
        let (position, branch) = proof.ok_or_else(|| {
            Refusal::bad_request(format!("tx {txid} not in block at height {height}"))
        })?;
        Ok(json!({ "block_height": height, "pos": position, "merkle": shown(&branch) }))
    }

    pub(super) fn id_from_pos(&self, args: &Args) -> Answer {
        let (height, position) = (args.number(0)?, args.number(1)?);
        let with_branch = args.flag_or(2, false)?;
        let proof = self
            .server
            .shared
            .read(|index| index.tx_proof(height, position));
        let (txid, branch) = proof.ok_or_else(|| {
            Refusal::bad_request(format!(
                "no tx at position {position} in block at height {height}"
            ))
        })?;
        Ok(match with_branch {
            true => json!({ "tx_hash": txid.to_string(), "merkle": shown(&branch) }),
            false => json!(txid.to_string()),
        })
    }
}

fn shown(branch: &[Txid]) -> Vec<String> {
    branch.iter().map(ToString::to_string).collect()
}
