//! The chain itself: its parameters, its blocks byte by byte, and what the node tells of them.

use elements::dynafed::Params;
use elements::encode::{deserialize, serialize_hex};
use elements::{Block, BlockExtData};
use serde_json::{Value, json};

use super::case;
use crate::Case;
use crate::observe::mask_numbers;
use crate::trial::{Step, Stop, Trial, sat, text};
use crate::tx::{Draft, FEE, Key};

pub(super) const CASES: &[Case] = &[
    case!(
        "chain/parameters",
        Shared,
        "genesis, assets and parameters of liquidregtest",
        parameters
    ),
    case!(
        "chain/genesis-block",
        Shared,
        "the first block and the free coins in it",
        genesis_block
    ),
    case!(
        "chain/headers",
        Shared,
        "dynafed headers: full parameters at the start of an epoch, compact ones in it",
        headers
    ),
    case!(
        "chain/coinbase",
        Shared,
        "the coinbase of an empty block and of one with a fee",
        coinbase
    ),
    case!(
        "chain/blocks",
        Shared,
        "getblock at each verbosity agrees with the raw block",
        blocks
    ),
    case!(
        "chain/generate",
        Shared,
        "generatetoaddress, generatetodescriptor and generateblock",
        generate
    ),
];

/// The asset of the table in the facts page.
const LBTC: &str = "5ac9f65c0efcc4775e0baec4ec03abdde22473cd3cf33c0419ca290e0751b225";

/// The root of the parameters of `liquidregtest`, the same at every height.
const PARAMETERS: &str = "3700bdb2975ff8e0dadaaba2b33857b0ca2610c950a92b1db725025e3647a8e1";

async fn parameters(t: &mut Trial<'_>) -> Step<()> {
    let genesis = t.node("getblockhash", json!([0])).await?;
    let expected = "00902a6b70c2ca83b5d9c815d96a0e2f4202179316970d14ea1847dae5b1ca21";
    t.holds(
        "the genesis hash is that of liquidregtest",
        genesis == json!(expected),
    );
    let sidechain = t.node("getsidechaininfo", json!([])).await?;
    t.holds(
        "pegged_asset is L-BTC",
        sidechain["pegged_asset"] == json!(LBTC),
    );
    for (field, expected) in [
        ("fedpegscript", json!("51")),
        (
            "min_peg_diff",
            json!("7fffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff"),
        ),
        ("pegin_confirmation_depth", json!(8)),
        ("parent_chain_has_pow", json!(true)),
        ("enforce_pak", json!(false)),
    ] {
        t.expect_json(
            format!("getsidechaininfo {field}"),
            &sidechain[field],
            &expected,
        );
    }
    let parent = "0f9188f13cb7b2c71f2a335e3a4fc328bf5beb436012afca590b1a11466e2206";
    t.holds(
        "the parent chain is Bitcoin's regtest",
        sidechain["parent_blockhash"] == json!(parent),
    );
    let labels = t.node("dumpassetlabels", json!([])).await?;
    t.holds(
        "bitcoin is the label of L-BTC",
        labels == json!({"bitcoin": LBTC}),
    );
    let chain = t.node("getblockchaininfo", json!([])).await?;
    for (field, expected) in [
        ("chain", json!("liquidregtest")),
        ("initialblockdownload", json!(false)),
        ("pruned", json!(false)),
        (
            "current_signblock_hex",
            json!("00204ae81572f06e1b88fd5ced7a1a000945432e83e1551e6f721ee9c00b8cc33260"),
        ),
        (
            "current_signblock_asm",
            json!("0 4ae81572f06e1b88fd5ced7a1a000945432e83e1551e6f721ee9c00b8cc33260"),
        ),
        ("max_block_witness", json!(74)),
        ("epoch_length", json!(10)),
        ("total_valid_epochs", json!(2)),
        (
            "extension_space",
            json!(["02fcba7ecf41bc7e1be4ee122d9d22e3333671eb0a3a87b5cdf099d59874e1940f".repeat(2)]),
        ),
    ] {
        t.expect_json(
            format!("getblockchaininfo {field}"),
            &chain[field],
            &expected,
        );
    }
    t.expect_json(
        "headers equals blocks",
        &chain["headers"].eq(&chain["blocks"]).into(),
        &json!(true),
    );
    Ok(())
}

async fn genesis_block(t: &mut Trial<'_>) -> Step<()> {
    let hash = t.node("getblockhash", json!([0])).await?;
    let block = t.node("getblock", json!([hash, 1])).await?;
    let root = "bb41199b48c21b133f15978d4689d173ae94af6cfca4ba382ec38640e1f94b2e";
    t.holds("the merkle root", block["merkleroot"] == json!(root));
    let issuance = "12a51d3e6441abbdb3a5b35983260dec3ff457a301a24a4e76d41b0c0adfb99b";
    t.holds(
        "transaction 1 issues the free coins",
        block["tx"][1] == json!(issuance),
    );
    let full = t.node("getblock", json!([hash, 2])).await?;
    let out = &full["tx"][1]["vout"][0];
    t.expect(
        "their value",
        sat(&out["value"])?.to_string(),
        "2100000000000000",
    );
    t.expect_json("their script", &out["scriptPubKey"]["hex"], &json!("51"));
    t.shape(
        "the block with its transactions",
        &full,
        &["tx[].vin[].issuance: object"],
    );
    let raw = text(&t.node("getblock", json!([hash, 0])).await?);
    let decoded: Block = decode(&raw)?;
    t.holds(
        "its bytes give its hash",
        json!(decoded.block_hash().to_string()) == hash,
    );
    t.holds("its header is no dynafed one", !decoded.header.is_dynafed());
    t.see(
        "its header",
        mask_numbers(&format!("{:?}", decoded.header.ext)),
    );
    t.expect_reply(
        "getrawtransaction of its coinbase",
        "getrawtransaction",
        json!([block["tx"][0]]),
        "HTTP 200, a result",
    )
    .await
}

fn decode<T: elements::encode::Decodable>(hex: &str) -> Step<T> {
    let not = |why: String| Stop(format!("the node gave no valid encoding: {why}"));
    let bytes: Vec<u8> =
        elements::hex::decode_to_vec(hex).map_err(|error| not(error.to_string()))?;
    deserialize(&bytes).map_err(|error| not(error.to_string()))
}

async fn headers(t: &mut Trial<'_>) -> Step<()> {
    t.lab.mine(25).await?;
    let tip = t.lab.height().await?;
    let start = tip - tip % 10 - 10;
    let mut previous: Option<String> = None;
    for height in start..=start + 11 {
        let hash = t.node("getblockhash", json!([height])).await?;
        let raw = text(&t.node("getblock", json!([hash, 0])).await?);
        let block: Block = decode(&raw)?;
        t.holds(
            format!("+{}: its bytes give its hash", height - start),
            json!(block.block_hash().to_string()) == hash,
        );
        t.holds(
            format!("+{}: its height", height - start),
            block.header.height == height,
        );
        let parent = block.header.prev_blockhash.to_string();
        if let Some(previous) = &previous {
            t.holds(
                format!("+{}: its parent", height - start),
                *previous == parent,
            );
        }
        previous = Some(text(&hash));
        let header = text(&t.node("getblockheader", json!([hash, false])).await?);
        t.holds(
            format!("+{}: its header stands alone", height - start),
            header == serialize_hex(&block.header),
        );
        let BlockExtData::Dynafed {
            current,
            proposed,
            signblock_witness,
        } = &block.header.ext
        else {
            t.expect(format!("+{}: kind", height - start), "proof", "dynafed");
            continue;
        };
        let kind = |params: &Params| match params {
            Params::Null => "null",
            Params::Compact { .. } => "compact",
            Params::Full(_) => "full",
        };
        let expected = if height % 10 == 0 { "full" } else { "compact" };
        t.expect(
            format!("+{}: current parameters", height - start),
            kind(current),
            expected,
        );
        t.expect(
            format!("+{}: proposed parameters", height - start),
            kind(proposed),
            "null",
        );
        let witness: Vec<Vec<u8>> = signblock_witness.to_vec();
        t.expect(
            format!("+{}: signblock witness", height - start),
            format!("{witness:?}"),
            "[[81]]",
        );
        t.expect(
            format!("+{}: version", height - start),
            format!("{:08x}", block.header.version),
            "20000000",
        );
        // The node shows it backwards, as every hash.
        let mut root = current.calculate_root().to_byte_array();
        root.reverse();
        let root: String = root.iter().map(|byte| format!("{byte:02x}")).collect();
        t.holds(
            format!("+{}: root of the parameters", height - start),
            root == PARAMETERS,
        );
    }
    Ok(())
}

async fn coinbase(t: &mut Trial<'_>) -> Step<()> {
    let empty = t.lab.mine(1).await?.remove(0);
    let block: Block = decode(&text(&t.node("getblock", json!([empty, 0])).await?))?;
    note_coinbase(t, "empty", &block);

    let (random, key) = (
        &mut t.random,
        Key::new(&mut crate::tx::Seeded::new("coinbase")),
    );
    let coin = t
        .lab
        .fund(random, &[crate::lab::Wanted::explicit(&key, 100_000)])
        .await?
        .remove(0);
    let lbtc = t.lab.lbtc;
    let draft = Draft::spending(&[&coin])
        .pay(key.script(), 100_000 - FEE, lbtc)
        .fee(FEE, lbtc)
        .sign(0, &key);
    t.send(&draft).await?;
    let full = t.lab.mine(1).await?.remove(0);
    let block: Block = decode(&text(&t.node("getblock", json!([full, 0])).await?))?;
    note_coinbase(t, "with a fee", &block);
    let first = &block.txdata[0].output[0];
    t.expect(
        "with a fee: output 0 carries it",
        format!("{:?}", first.value.explicit()),
        format!("Some({FEE})"),
    );
    t.holds(
        "with a fee: to the miner",
        first.script_pubkey == t.lab.key.script(),
    );
    let verbose = t.node("getblock", json!([full, 2])).await?;
    let required = ["vout[].value: number", "vout[].n: number"];
    t.shape("getblock 2, the coinbase", &verbose["tx"][0], &required);
    t.shape("getblock 2, the payment", &verbose["tx"][1], &required);
    t.holds("nTx", verbose["nTx"] == json!(2));
    Ok(())
}

/// Notes every field of a coinbase that a reader could trip over.
fn note_coinbase(t: &mut Trial<'_>, label: &str, block: &Block) {
    let coinbase = &block.txdata[0];
    let height = block.header.height;
    let script = elements::script::Builder::new()
        .push_int(height.into())
        .into_script();
    let mut expected = script.to_bytes();
    expected.extend([1, 1]);
    t.holds(
        format!("{label}: script"),
        coinbase.input[0].script_sig.to_bytes() == expected,
    );
    t.expect(
        format!("{label}: sequence"),
        format!("{:08x}", coinbase.input[0].sequence.0),
        "ffffffff",
    );
    t.expect(
        format!("{label}: version"),
        coinbase.version.to_string(),
        "2",
    );
    t.expect(
        format!("{label}: nLockTime"),
        coinbase.lock_time.to_consensus_u32().to_string(),
        "0",
    );
    let witness = coinbase.input[0].witness.script_witness.to_vec();
    t.expect(
        format!("{label}: witness"),
        format!("{}", witness == [vec![0; 32]]),
        "true",
    );
    t.expect(
        format!("{label}: outputs"),
        coinbase.output.len().to_string(),
        "2",
    );
    for (index, output) in coinbase.output.iter().enumerate() {
        let script: String = output
            .script_pubkey
            .as_bytes()
            .iter()
            .take(6)
            .map(|byte| format!("{byte:02x}"))
            .collect();
        let what = format!(
            "{} in {}, nonce {}, script {}",
            output.value,
            if output.asset.explicit() == Some(t.lab.lbtc) {
                "L-BTC"
            } else {
                "another asset"
            },
            if output.nonce.is_null() {
                "null"
            } else {
                "not null"
            },
            if output.script_pubkey.is_v0_p2wpkh() {
                "P2WPKH".into()
            } else {
                script
            },
        );
        t.see(format!("{label}: output {index}"), what);
    }
}

async fn blocks(t: &mut Trial<'_>) -> Step<()> {
    // The first block is no start of an epoch.
    t.lab.mine(10).await?;
    let hash = t.lab.mine(1).await?.remove(0);
    let raw = text(&t.node("getblock", json!([hash, 0])).await?);
    let block: Block = decode(&raw)?;
    let told = t.node("getblock", json!([hash])).await?;
    let header = t.node("getblockheader", json!([hash])).await?;
    for field in [
        "hash",
        "height",
        "version",
        "versionHex",
        "merkleroot",
        "time",
        "mediantime",
        "nTx",
        "previousblockhash",
        "confirmations",
    ] {
        t.holds(
            format!("getblock and getblockheader agree on {field}"),
            told[field] == header[field] && !told[field].is_null(),
        );
    }
    t.holds(
        "merkle root",
        told["merkleroot"] == json!(block.header.merkle_root.to_string()),
    );
    t.holds("time", told["time"] == json!(block.header.time));
    t.holds("size", told["size"] == json!(raw.len() / 2));
    let parts = |field: &str| told[field].as_u64().unwrap_or_default();
    t.holds(
        "weight",
        parts("weight") == 3 * parts("strippedsize") + parts("size"),
    );
    t.holds(
        "transactions",
        told["tx"] == json!([block.txdata[0].txid().to_string()]),
    );
    t.holds("nTx", told["nTx"] == json!(1));
    t.shape(
        "getblock",
        &told,
        &[
            "confirmations: number",
            "tx[]: string",
            "previousblockhash: string",
        ],
    );
    t.shape(
        "getblockheader",
        &header,
        &[
            "hash: string",
            "height: number",
            "time: number",
            "mediantime: number",
        ],
    );
    let verbose = t.node("getblock", json!([hash, true])).await?;
    t.holds("getblock true is getblock 1", verbose == told);
    let own = text(&t.node("getblock", json!([hash, false])).await?);
    t.holds("getblock false is getblock 0", own == raw);
    let epoch = t.lab.height().await?;
    let full = t.node("getblockhash", json!([epoch - epoch % 10])).await?;
    let full = t.node("getblockheader", json!([full])).await?;
    t.shape(
        "getblockheader at the start of an epoch",
        &full,
        &["dynamic_parameters: object"],
    );
    Ok(())
}

async fn generate(t: &mut Trial<'_>) -> Step<()> {
    let before = t.lab.height().await?;
    let to = t.lab.key.address().to_string();
    let mined = t.node("generatetoaddress", json!([3, to])).await?;
    t.holds(
        "three hashes",
        mined.as_array().is_some_and(|all| all.len() == 3),
    );
    t.holds("three blocks", t.lab.height().await? == before + 3);
    let none = t.node("generatetoaddress", json!([0, to])).await?;
    t.expect_json("no block", &none, &json!([]));
    let confidential = t.lab.key.confidential_address().to_string();
    t.expect_reply(
        "generatetoaddress to a confidential address",
        "generatetoaddress",
        json!([1, confidential]),
        "HTTP 200, a result",
    )
    .await?;

    let key = Key::new(&mut t.random);
    let coins = t
        .lab
        .fund(
            &mut t.random,
            &[
                crate::lab::Wanted::explicit(&key, 50_000),
                crate::lab::Wanted::explicit(&key, 60_000),
            ],
        )
        .await?;
    let lbtc = t.lab.lbtc;
    let pay = |index: usize| {
        Draft::spending(&[&coins[index]])
            .pay(key.script(), coins[index].value() - FEE, lbtc)
            .fee(FEE, lbtc)
            .sign(0, &key)
    };
    let (pooled, direct) = (pay(0), pay(1));
    t.send(&pooled).await?;
    let made = t
        .reply("generateblock", json!([to, [direct.hex()]]))
        .await?;
    t.see("generateblock", crate::observe::told(&made));
    if let Ok(made) = made.result {
        t.shape("generateblock", &made, &["hash: string"]);
        let block = t.node("getblock", json!([made["hash"], 1])).await?;
        t.holds(
            "it has what it was given",
            block["tx"][1] == json!(direct.txid()),
        );
        let pool = t.node("getrawmempool", json!([])).await?;
        t.holds(
            "and leaves the mempool alone",
            pool.as_array()
                .is_some_and(|all| all.contains(&json!(pooled.txid()))),
        );
    }
    let empty = t.reply("generateblock", json!([to, []])).await?;
    t.see("generateblock of nothing", crate::observe::told(&empty));
    t.lab.mine(1).await?;
    let pool: Value = t.node("getrawmempool", json!([])).await?;
    t.expect_json("the next block takes the rest", &pool, &json!([]));
    Ok(())
}
