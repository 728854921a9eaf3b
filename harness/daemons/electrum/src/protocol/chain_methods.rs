//! `blockchain.block.*`, `blockchain.headers.subscribe`, fees: what does not concern a script or a transaction.

use serde_json::{Value, json};

use super::args::Args;
use super::{Answer, Refusal, Session, Version, header_json, hex};

/// Headers in one answer.
const MAX_HEADERS: usize = 2016;
/// Transactions of so many vbytes share an entry of the fee histogram.
const HISTOGRAM_STEP: u64 = 100_000;

impl Session {
    pub(super) fn block_header(&self, args: &Args) -> Answer {
        let (height, checkpoint) = (args.number(0)?, args.number_or(1, 0)?);
        let shared = &self.server.shared;
        let header = shared.read(|index| index.header(height).map(hex));
        let header = header.ok_or_else(|| no_header(height))?;
        if checkpoint == 0 {
            return Ok(json!(header));
        }
        let mut answer = self.header_proof(height, checkpoint)?;
        answer["header"] = json!(header);
        Ok(answer)
    }

    pub(super) fn block_headers(&self, args: &Args) -> Answer {
        let (start, count) = (args.number(0)?, args.number(1)?.min(MAX_HEADERS));
        let checkpoint = args.number_or(2, 0)?;
        let headers: Vec<String> = self.server.shared.read(|index| {
            let heights = start..start.saturating_add(count);
            let headers = heights.map_while(|height| index.header(height).map(hex));
            headers.collect()
        });
        let mut answer = match (headers.last(), checkpoint) {
            (None, _) | (_, 0) => json!({}),
            (Some(_), _) => self.header_proof(start + headers.len() - 1, checkpoint)?,
        };
        answer["count"] = json!(headers.len());
        answer["max"] = json!(MAX_HEADERS);
        match self.version >= Some(Version::V1_6) {
            true => answer["headers"] = json!(headers),
            false => answer["hex"] = json!(headers.concat()),
        }
        Ok(answer)
    }

    fn header_proof(&self, height: usize, checkpoint: usize) -> Answer {
        let shared = &self.server.shared;
        let (proof, tip) = shared.read(|index| {
            let proof = index.header_proof(height, checkpoint);
            (
                proof.filter(|_| height <= checkpoint),
                index.tip().map(|tip| tip.height),
            )
        });
        let (branch, root) = proof.ok_or_else(|| {
            Refusal::bad_request(format!(
                "header height {height} must be <= cp_height {checkpoint} which must be <= chain height {}",
                tip.unwrap_or(0)
            ))
        })?;
        let branch: Vec<String> = branch.iter().map(ToString::to_string).collect();
        Ok(json!({ "branch": branch, "root": root.to_string() }))
    }

    pub(super) fn subscribe_headers(&mut self) -> Answer {
        let server = self.server.clone();
        server.shared.read(|index| {
            let tip = index
                .tip()
                .ok_or_else(|| Refusal::bad_request("no block is known yet"))?;
            if !self.is_subscribed() {
                self.seen = index.version();
            }
            self.headers = Some(tip.hash);
            Ok(header_json(tip))
        })
    }

    /// The node's estimate in coins per kvB, or -1 when it has none.
    pub(super) async fn estimate_fee(&self, args: &Args) -> Answer {
        let mut params = vec![json!(args.number(0)?)];
        if args.get(1).is_some() {
            params.push(json!(args.text(1, "a mode of estimatesmartfee")?));
        }
        let node = &self.server.node;
        let estimate = node.call("estimatesmartfee", &json!(params)).await?;
        Ok(match &estimate["feerate"] {
            Value::Null => json!(-1),
            rate => rate.clone(),
        })
    }

    /// The lowest fee rate that the node relays, in coins per kvB.
    pub(super) async fn relay_fee(&self) -> Answer {
        let info = self.server.node.call("getmempoolinfo", &json!([])).await?;
        Ok(info["minrelaytxfee"].clone())
    }

    /// The node's limits on fee rates, in coins per kvB.
    pub(super) async fn mempool_info(&self) -> Answer {
        let node = &self.server.node;
        let info = node.call("getmempoolinfo", &json!([])).await?;
        let mut increment = info["incrementalrelayfee"].clone();
        if increment.is_null() {
            // Nodes of before Core 24 tell it elsewhere.
            let network = node.call("getnetworkinfo", &json!([])).await?;
            increment = network["incrementalfee"].clone();
        }
        Ok(json!({
            "mempoolminfee": info["mempoolminfee"],
            "minrelaytxfee": info["minrelaytxfee"],
            "incrementalrelayfee": increment,
        }))
    }

    /// Fee rates in satoshi per vbyte, the highest first, each with how many vbytes pay it or more than the next one.
    pub(super) fn fee_histogram(&self) -> Value {
        let shared = &self.server.shared;
        let mut waiting: Vec<(u64, u64)> = shared.read(|index| index.waiting_fees().collect());
        let rate = |(fee, vsize): &(u64, u64)| fee.saturating_mul(10) / (*vsize).max(1);
        waiting.sort_by_key(|one| std::cmp::Reverse(rate(one)));
        let mut entries: Vec<(u64, u64)> = Vec::new();
        let mut size = 0u64;
        for (i, one) in waiting.iter().enumerate() {
            size = size.saturating_add(one.1);
            let is_last = waiting
                .get(i + 1)
                .is_none_or(|next| rate(next) != rate(one));
            if is_last && (size >= HISTOGRAM_STEP || i + 1 == waiting.len()) {
                entries.push((rate(one), size));
                size = 0;
            }
        }
        let shown = entries.into_iter().map(|(tenths, size)| {
            // At the edge alone, and exact enough: tenths of a satoshi per vbyte.
            #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
            let rate = tenths as f64 / 10.0;
            json!([rate, size])
        });
        Value::Array(shown.collect())
    }
}

fn no_header(height: usize) -> Refusal {
    Refusal::bad_request(format!("height {height} out of range"))
}
