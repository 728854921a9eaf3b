//! `blockchain.scripthash.*`.

use serde_json::{Value, json};

use super::args::Args;
use super::{Answer, MAX_SUBSCRIPTIONS, Refusal, Session, status_json};
use crate::index::HistoryItem;

impl Session {
    /// Confirmed and unconfirmed, in satoshi. A Liquid chain hides amounts: electrs's Liquid build does not have the
    /// method either.
    pub(super) fn balance(&self, args: &Args) -> Answer {
        let script = args.script(0)?;
        let balance = self.server.shared.read(|index| index.balance(&script));
        let balance = balance.ok_or_else(|| {
            let why =
                "`blockchain.scripthash.get_balance` is no method on a chain that hides amounts";
            Refusal::new(-32601, why)
        })?;
        let unconfirmed = i64::try_from(balance.unconfirmed)
            .map_err(|_| Refusal::bad_request("the balance is out of range"))?;
        Ok(json!({ "confirmed": balance.confirmed, "unconfirmed": unconfirmed }))
    }

    pub(super) fn history(&self, args: &Args) -> Answer {
        let script = args.script(0)?;
        let history = self.server.shared.read(|index| index.history(&script));
        Ok(history.iter().map(item).collect())
    }

    pub(super) fn mempool(&self, args: &Args) -> Answer {
        let script = args.script(0)?;
        let waiting = self.server.shared.read(|index| index.waiting(&script));
        Ok(waiting.iter().map(item).collect())
    }

    pub(super) fn list_unspent(&self, args: &Args) -> Answer {
        let script = args.script(0)?;
        let unspent = self.server.shared.read(|index| index.unspent(&script));
        let shown = unspent.iter().map(|one| {
            let mut shown = one.amount.to_json();
            shown["tx_hash"] = json!(one.outpoint.txid.to_string());
            shown["tx_pos"] = json!(one.outpoint.vout);
            shown["height"] = json!(one.height);
            shown
        });
        Ok(shown.collect())
    }

    pub(super) fn subscribe(&mut self, args: &Args) -> Answer {
        let script = args.script(0)?;
        if self.scripts.len() >= MAX_SUBSCRIPTIONS && !self.scripts.contains_key(&script) {
            let why = format!("a client may subscribe to {MAX_SUBSCRIPTIONS} scripts");
            return Err(Refusal::bad_request(why));
        }
        let server = self.server.clone();
        server.shared.read(|index| {
            if !self.is_subscribed() {
                self.seen = index.version();
            }
            let status = index.status(&script);
            self.scripts.insert(script, status);
            Ok(status_json(status))
        })
    }

    pub(super) fn unsubscribe(&mut self, args: &Args) -> Answer {
        let script = args.script(0)?;
        Ok(json!(self.scripts.remove(&script).is_some()))
    }
}

fn item(item: &HistoryItem) -> Value {
    let mut shown = json!({ "tx_hash": item.txid.to_string(), "height": item.height });
    if let Some(fee) = item.fee {
        shown["fee"] = json!(fee);
    }
    shown
}
