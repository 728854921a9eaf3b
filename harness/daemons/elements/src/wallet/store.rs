//! Wallets in a snapshot file: seeds and what was given out. Coins are found again on the chain.

use elements::Script;

use super::coins::Wallet;
use super::keys::AddressType;
use super::{Settings, Wallets};
use crate::node::Node;
use crate::rpc::encode;
use crate::rpc::json::{Json, Object};

const KINDS: [(AddressType, &str); 3] = [
    (AddressType::Legacy, "legacy"),
    (AddressType::P2shSegwit, "p2sh-segwit"),
    (AddressType::Bech32, "bech32"),
];

impl Wallets {
    /// All wallets, for a snapshot file.
    pub(crate) fn export(&self) -> Json {
        let loaded = self.loaded.iter().map(|entry| (entry, true));
        let unloaded = self.unloaded.iter().map(|entry| (entry, false));
        let wallets = loaded.chain(unloaded).map(|((name, wallet), is_loaded)| {
            let mut out = Object::new();
            out.put("name", name.as_str());
            out.put("loaded", is_loaded);
            out.put("seed", encode::hex(&wallet.keys.seed()));
            out.put("blank", wallet.blank);
            out.put("created", wallet.created);
            let used = wallet.keys.used().map(|(kind, change, next)| {
                let name = KINDS.iter().find(|(other, _)| *other == kind);
                let mut out = Object::new();
                out.put("type", name.map_or("", |(_, name)| name));
                out.put("change", change);
                out.put("next", next);
                Json::from(out)
            });
            out.put("used", Json::Arr(used.collect()));
            let mut labels = Object::new();
            for (script, label) in wallet.labels() {
                labels.put(&encode::hex(script.as_bytes()), label);
            }
            out.put("labels", labels);
            Json::from(out)
        });
        Json::Arr(wallets.collect())
    }

    /// The wallets of a snapshot file; none if it makes no sense.
    pub(crate) fn import(node: &Node, settings: Settings, wallets: &Json) -> Option<Self> {
        let mut all = Wallets::new(node, settings);
        for entry in wallets.as_arr()? {
            let name = entry.get("name").as_str()?.to_owned();
            let seed = encode::from_hex(entry.get("seed").as_str()?)?
                .try_into()
                .ok()?;
            let blank = *entry.get("blank") == Json::Bool(true);
            let created = entry.get("created").as_num()?.parse().ok()?;
            let tip = node.tip().height;
            let mut wallet = Wallet::new(seed, all.facts, blank, created, tip);
            for used in entry.get("used").as_arr()? {
                let kind = used.get("type").as_str()?;
                let (kind, _) = KINDS.iter().find(|(_, name)| *name == kind)?;
                let change = *used.get("change") == Json::Bool(true);
                let next: u32 = used.get("next").as_num()?.parse().ok()?;
                for _ in 0..next {
                    wallet.new_address(&all.secp, *kind, change, false);
                }
            }
            if let Json::Obj(labels) = entry.get("labels") {
                for (script, label) in labels {
                    let script = Script::from(encode::from_hex(script)?);
                    wallet.set_label(script, label.as_str()?.to_owned());
                }
            }
            if *entry.get("loaded") == Json::Bool(true) {
                wallet.rescan(&all.secp, node);
                all.loaded.insert(name, wallet);
            } else {
                all.unloaded.insert(name, wallet);
            }
        }
        Some(all)
    }
}
