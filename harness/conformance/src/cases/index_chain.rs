//! The index, of the chain: headers, merkle proofs, positions, fees.

use elements::hashes::sha256d;
use elements::{BlockHeader, Txid, encode};
use serde_json::{Value, json};

use super::case;
use super::index::{script_hash, wait_for_history};
use crate::Case;
use crate::lab::Wanted;
use crate::observe::told_by_index;
use crate::trial::{Step, Stop, Trial, text};
use crate::tx::{Draft, FEE, Key};

pub(super) const CASES: &[Case] = &[
    case!(
        "index-chain/headers",
        Shared,
        "block.header and block.headers against the node's",
        headers
    ),
    case!(
        "index-chain/merkle",
        Shared,
        "get_merkle proves a transaction; id_from_pos finds it",
        merkle
    ),
    case!(
        "index-chain/server",
        Shared,
        "version, features, banner, ping, fees",
        server
    ),
];

async fn headers(t: &mut Trial<'_>) -> Step<()> {
    // The tip is not at the start of an epoch, whose headers are longer.
    let rest = t.lab.height().await? % 10;
    t.lab.mine(15 - rest).await?;
    t.lab.index_follows().await?;
    let tip = t.lab.height().await?;
    for height in [0, 1, tip - tip % 10, tip] {
        let hash = t.node("getblockhash", json!([height])).await?;
        let own = t.node("getblockheader", json!([hash, false])).await?;
        let header = t
            .indexed("blockchain.block.header", json!([height]))
            .await?;
        let label = match height {
            0 => "genesis".to_owned(),
            1 => "block 1".to_owned(),
            at if at == tip => "the tip".to_owned(),
            _ => "the start of an epoch".to_owned(),
        };
        t.holds(format!("{label} is the node's"), header == own);
        let bytes = elements::hex::decode_to_vec(&text(&header))
            .map_err(|error| Stop(error.to_string()))?;
        let parsed: BlockHeader =
            encode::deserialize(&bytes).map_err(|error| Stop(format!("{label}: {error}")))?;
        t.holds(
            format!("{label} gives its hash"),
            json!(parsed.block_hash().to_string()) == hash,
        );
    }
    let many = t
        .ask_index("blockchain.block.headers", json!([tip - 3, 3]))
        .await?;
    t.see("block.headers", told_by_index(&many));
    if let Ok(many) = many {
        t.shape("block.headers", &many, &["count: number", "max: number"]);
        t.expect_json("count", &many["count"], &json!(3));
        let mut own = String::new();
        for height in tip - 3..tip {
            let hash = t.node("getblockhash", json!([height])).await?;
            own += &text(&t.node("getblockheader", json!([hash, false])).await?);
        }
        let joined = match &many["headers"] {
            Value::Array(all) => all.iter().map(text).collect(),
            _ => text(&many["hex"]),
        };
        t.holds("they are the node's", joined == own);
    }
    let short = t
        .ask_index("blockchain.block.headers", json!([tip, 5]))
        .await?;
    t.see(
        "block.headers beyond the tip",
        short.map_or_else(
            |error| told_by_index(&Err(error)),
            |all| all["count"].to_string(),
        ),
    );
    Ok(())
}

async fn merkle(t: &mut Trial<'_>) -> Step<()> {
    let key = Key::new(&mut t.random);
    let wanted = vec![Wanted::explicit(&key, 50_000); 5];
    let coins = t.lab.fund(&mut t.random, &wanted).await?;
    let mut last = None;
    for coin in &coins {
        let draft = Draft::spending(&[coin])
            .pay(key.script(), 50_000 - FEE, t.lab.lbtc)
            .fee(FEE, t.lab.lbtc)
            .sign(0, &key);
        t.send(&draft).await?;
        last = Some(draft);
    }
    let last = last.ok_or_else(|| Stop("five coins were asked for".into()))?;
    let block = t.lab.mine(1).await?.remove(0);
    let height = t.lab.height().await?;
    wait_for_history(t, &script_hash(&key.script()), 6, true).await?;
    let block = t.node("getblock", json!([block])).await?;
    let ids = block["tx"].as_array().cloned().unwrap_or_default();
    for (pos, id) in ids.iter().enumerate() {
        let proof = t
            .indexed("blockchain.transaction.get_merkle", json!([id, height]))
            .await?;
        if pos == 1 {
            t.shape(
                "get_merkle",
                &proof,
                &["block_height: number", "merkle[]: string", "pos: number"],
            );
        }
        t.expect_json(format!("position {pos}"), &proof["pos"], &json!(pos));
        t.holds(
            format!("height of {pos}"),
            proof["block_height"] == json!(height),
        );
        t.holds(
            format!("the proof of {pos} leads to the root"),
            root(id, pos, &proof["merkle"])? == text(&block["merkleroot"]),
        );
        let found = t
            .ask_index("blockchain.transaction.id_from_pos", json!([height, pos]))
            .await?;
        if pos < 2 {
            t.see(format!("id_from_pos {pos}"), told_by_index(&found));
        }
        if let Ok(found) = found {
            t.holds(format!("id_from_pos finds {pos}"), found == *id);
        }
    }
    let with_proof = t
        .ask_index(
            "blockchain.transaction.id_from_pos",
            json!([height, 1, true]),
        )
        .await?;
    if let Ok(with_proof) = with_proof {
        t.shape("id_from_pos with its proof", &with_proof, &[]);
    }
    let elsewhere = t
        .ask_index(
            "blockchain.transaction.get_merkle",
            json!([last.txid(), height - 1]),
        )
        .await?;
    t.see(
        "get_merkle in another block",
        crate::observe::mask_numbers(&told_by_index(&elsewhere)),
    );
    Ok(())
}

/// The root that a proof leads to, in the node's spelling.
fn root(id: &Value, mut pos: usize, branch: &Value) -> Step<String> {
    let parse = |value: &Value| -> Step<[u8; 32]> {
        let id: Txid = text(value)
            .parse()
            .map_err(|_| Stop(format!("{value} is no hash")))?;
        Ok(id.to_byte_array())
    };
    let mut hash = parse(id)?;
    for sibling in branch.as_array().into_iter().flatten() {
        let sibling = parse(sibling)?;
        let pair = if pos.is_multiple_of(2) {
            [hash, sibling]
        } else {
            [sibling, hash]
        };
        hash = sha256d::Hash::hash(&pair.concat()).to_byte_array();
        pos /= 2;
    }
    Ok(Txid::from_byte_array(hash).to_string())
}

async fn server(t: &mut Trial<'_>) -> Step<()> {
    let mut other = crate::electrum::Electrum::connect(&t.lab.index).await?;
    let version = other
        .ask("server.version", json!(["conformance", "1.4"]))
        .await?;
    t.see(
        "server.version 1.4",
        match &version {
            Ok(both) => format!(
                "{} with {}",
                crate::observe::type_of(&both[0]),
                text(&both[1])
            ),
            Err(_) => told_by_index(&version),
        },
    );
    for (label, params) in [
        ("a range", json!(["conformance", ["1.4", "1.6"]])),
        ("too old", json!(["conformance", "1.0"])),
        ("too new", json!(["conformance", "9.9"])),
        ("nothing", json!([])),
    ] {
        let mut other = crate::electrum::Electrum::connect(&t.lab.index).await?;
        let answer = match other.ask("server.version", params).await {
            Ok(Ok(both)) => format!("a list with {}", text(&both[1])),
            Ok(Err(error)) => told_by_index(&Err(error)),
            Err(_) => "the connection ends".into(),
        };
        t.see(format!("server.version {label}"), answer);
    }
    let pong = t.indexed("server.ping", json!([])).await?;
    t.expect_json("ping", &pong, &Value::Null);
    for (method, params) in [
        ("server.banner", json!([])),
        ("server.donation_address", json!([])),
        ("server.features", json!([])),
        ("server.peers.subscribe", json!([])),
        ("blockchain.relayfee", json!([])),
        ("blockchain.estimatefee", json!([6])),
        ("mempool.get_fee_histogram", json!([])),
        ("mempool.get_info", json!([])),
    ] {
        let answer = t.ask_index(method, params).await?;
        t.see(
            method,
            match &answer {
                Ok(value) => crate::observe::type_of(value).to_owned(),
                Err(_) => told_by_index(&answer),
            },
        );
    }
    let fee = t.ask_index("blockchain.estimatefee", json!([6])).await?;
    t.see(
        "estimatefee on regtest",
        fee.map_or_else(
            |error| error.to_string(),
            |fee| fee.as_f64().unwrap_or_default().to_string(),
        ),
    );
    if let Ok(fee) = t.ask_index("blockchain.relayfee", json!([])).await? {
        t.expect_json("relayfee is the node's", &fee, &json!(0.000_001));
    }
    Ok(())
}
