//! What a node's wallet does: addresses, payments explicit and confidential, balances by asset, coins and their blinders.

use elements::secp256k1_zkp::{SECP256K1, SecretKey};
use elements::{Address, Transaction, encode};
use serde_json::{Value, json};
use swaprig_harness::time::{Deadline, Probe, poll_until};

use super::case;
use crate::Case;
use crate::observe::told;
use crate::trial::{Step, Stop, Trial, sat, text};
use crate::tx::Key;

pub(super) const CASES: &[Case] = &[
    case!(
        "wallet/create",
        Shared,
        "createwallet in its variants, listwallets, loading and unloading",
        create
    ),
    case!(
        "wallet/addresses",
        Shared,
        "getnewaddress of each type and what getaddressinfo says of it",
        addresses
    ),
    case!(
        "wallet/send",
        Fresh,
        "payments to explicit and confidential addresses, and that they are really blinded",
        send
    ),
    case!(
        "wallet/receive",
        Shared,
        "balances before and after a block, coins with their blinders, history",
        receive
    ),
    case!(
        "wallet/assets",
        Shared,
        "balances and payments of a second asset, by id",
        assets
    ),
    case!(
        "wallet/options",
        Fresh,
        "fee taken from the amount, feerates, many outputs",
        options
    ),
];

/// Makes a wallet of its own for a case.
async fn new_wallet(t: &mut Trial<'_>, name: &str) -> Step<String> {
    t.node("createwallet", json!([name, false, false, "", false, true]))
        .await?;
    Ok(name.to_owned())
}

async fn create(t: &mut Trial<'_>) -> Step<()> {
    let made = t
        .node(
            "createwallet",
            json!(["first", false, false, "", false, true]),
        )
        .await?;
    t.shape("createwallet", &made, &["name: string", "warning: string"]);
    t.expect_json("its name", &made["name"], &json!("first"));
    let named = t
        .reply(
            "createwallet",
            json!({"wallet_name": "second", "descriptors": true}),
        )
        .await?;
    t.see("createwallet with names", told(&named));
    let watching = t
        .reply(
            "createwallet",
            json!(["watching", true, true, "", false, true]),
        )
        .await?;
    t.see("createwallet without private keys", told(&watching));
    let listed = t.node("listwallets", json!([])).await?;
    let has = |name: &str| {
        listed
            .as_array()
            .is_some_and(|all| all.contains(&json!(name)))
    };
    t.holds("both are listed", has("first") && has("second"));
    let info = t.wallet("first", "getwalletinfo", json!([])).await?;
    t.shape(
        "getwalletinfo",
        &info,
        &[
            "walletname: string",
            "txcount: number",
            "balance: object",
            "unconfirmed_balance: object",
        ],
    );
    let unloaded = t.reply("unloadwallet", json!(["second"])).await?;
    t.see("unloadwallet", told(&unloaded));
    if unloaded.result.is_ok() {
        let gone = t.wallet_reply("second", "getbalance", json!([])).await?;
        t.expect(
            "it is gone",
            told(&gone),
            "HTTP 500, -18: Requested wallet does not exist or is not loaded",
        );
        let loaded = t.reply("loadwallet", json!(["second"])).await?;
        t.see("loadwallet", told(&loaded));
        if let Ok(loaded) = loaded.result {
            t.shape("loadwallet", &loaded, &["name: string"]);
        }
    }
    // With several wallets and none named, a wallet's call cannot tell which one is meant.
    let ambiguous = t.reply("getbalance", json!([])).await?;
    t.expect("getbalance of no wallet in particular", told(&ambiguous), "HTTP 500, -19: Wallet file not specified (must request wallet RPC through /wallet/<filename> uri-path).");
    let empty = t.wallet("first", "getbalance", json!([])).await?;
    t.see("balance of an empty wallet", empty.to_string());
    let balances = t.wallet("first", "getbalances", json!([])).await?;
    t.shape(
        "getbalances of an empty wallet",
        &balances,
        &[
            "mine.trusted: object",
            "mine.untrusted_pending: object",
            "mine.immature: object",
        ],
    );
    let unspent = t.wallet("first", "listunspent", json!([])).await?;
    t.expect_json("coins of an empty wallet", &unspent, &json!([]));
    let poor = t
        .wallet_reply(
            "first",
            "sendtoaddress",
            json!([t.lab.key.address().to_string(), 1]),
        )
        .await?;
    t.expect(
        "paying from an empty wallet",
        told(&poor),
        "HTTP 500, -6: Insufficient funds",
    );
    Ok(())
}

async fn addresses(t: &mut Trial<'_>) -> Step<()> {
    let wallet = new_wallet(t, "addresses").await?;
    for params in [
        json!([]),
        json!(["", "blech32"]),
        json!(["", "bech32"]),
        json!(["", "p2sh-segwit"]),
        json!(["", "legacy"]),
        json!(["", "bech32m"]),
        json!(["a label"]),
    ] {
        let label = format!("getnewaddress {params}");
        let reply = t.wallet_reply(&wallet, "getnewaddress", params).await?;
        t.see(&label, told(&reply));
        let Ok(address) = reply.result else { continue };
        let parsed: Address = text(&address)
            .parse()
            .map_err(|_| Stop(format!("{address} is no address")))?;
        let script = parsed.script_pubkey();
        let kind = match () {
            () if script.is_v0_p2wpkh() => "P2WPKH",
            () if script.is_p2sh() => "P2SH",
            () if script.is_p2pkh() => "P2PKH",
            () if script.is_v1_p2tr() => "P2TR",
            () => "another kind",
        };
        t.see(
            format!("{label} is"),
            format!(
                "{kind}, {}",
                if parsed.is_blinded() {
                    "confidential"
                } else {
                    "explicit"
                }
            ),
        );
        let info = t
            .wallet(&wallet, "getaddressinfo", json!([address]))
            .await?;
        t.shape(
            &format!("{label} getaddressinfo"),
            &info,
            &[
                "address: string",
                "scriptPubKey: string",
                "ismine: bool",
                "confidential: string",
                "unconfidential: string",
                "confidential_key: string",
                "labels: array",
            ],
        );
        t.expect_json(format!("{label} is mine"), &info["ismine"], &json!(true));
        t.holds(
            format!("{label} unconfidential"),
            info["unconfidential"] == json!(parsed.to_unconfidential().to_string()),
        );
        let confidential: Address = text(&info["confidential"])
            .parse()
            .map_err(|_| Stop("getaddressinfo gives no confidential address".into()))?;
        let key = t
            .wallet(&wallet, "dumpblindingkey", json!([info["confidential"]]))
            .await?;
        let key: SecretKey = text(&key)
            .parse()
            .map_err(|_| Stop("dumpblindingkey gives no key".into()))?;
        t.holds(
            format!("{label} blinding key"),
            confidential.blinding_pubkey == Some(key.public_key(SECP256K1)),
        );
    }
    let stranger = Key::new(&mut t.random).address();
    let info = t
        .wallet(&wallet, "getaddressinfo", json!([stranger.to_string()]))
        .await?;
    t.shape("a stranger's address", &info, &["ismine: bool"]);
    t.expect_json("is not mine", &info["ismine"], &json!(false));
    let change = t
        .wallet_reply(&wallet, "getrawchangeaddress", json!([]))
        .await?;
    t.see("getrawchangeaddress", told(&change));
    let label = t.wallet(&wallet, "getnewaddress", json!(["old"])).await?;
    let set = t
        .wallet_reply(&wallet, "setlabel", json!([label, "new"]))
        .await?;
    t.see("setlabel", told(&set));
    let info = t.wallet(&wallet, "getaddressinfo", json!([label])).await?;
    t.see("labels after setlabel", info["labels"].to_string());
    let by_label = t
        .wallet_reply(&wallet, "getaddressesbylabel", json!(["new"]))
        .await?;
    t.see("getaddressesbylabel", told(&by_label));
    Ok(())
}

/// A transaction of the node, decoded.
async fn transaction(t: &mut Trial<'_>, txid: &Value) -> Step<Transaction> {
    let hex = text(&t.node("getrawtransaction", json!([txid])).await?);
    let bytes = elements::hex::decode_to_vec(&hex).map_err(|error| Stop(error.to_string()))?;
    encode::deserialize(&bytes).map_err(|error| Stop(error.to_string()))
}

/// What a transaction pays, of its full size and of its discounted one, in steps that a signature's length does not move.
fn feerate(fee: u64, tx: &Transaction) -> String {
    let of = |size: usize| {
        let rate = fee as f64 / size as f64;
        match rate {
            0.095..0.125 => "0.1".to_owned(),
            4.9..5.2 => "5".to_owned(),
            other => format!("{other:.1}"),
        }
    };
    match of(tx.vsize()) {
        full if full == "0.1" || full == "5" => format!("{full} sat/vB of its full size"),
        _ => format!("{} sat/vB of its discounted size", of(tx.discount_vsize())),
    }
}

async fn send(t: &mut Trial<'_>) -> Step<()> {
    let wallet = t.lab.faucet.clone();
    let key = Key::new(&mut t.random);
    // What waits from earlier cases is settled first.
    t.lab.mine(1).await?;
    let before = sat(&t.wallet(&wallet, "getbalance", json!([])).await?["bitcoin"])?;
    for (label, address) in [
        ("explicit", key.address()),
        ("confidential", key.confidential_address()),
    ] {
        let txid = t
            .wallet(&wallet, "sendtoaddress", json!([address.to_string(), 0.5]))
            .await?;
        t.holds(format!("{label}: an id"), text(&txid).len() == 64);
        let tx = transaction(t, &txid).await?;
        let paid = tx
            .output
            .iter()
            .find(|out| out.script_pubkey == key.script());
        let paid = paid.ok_or_else(|| Stop(format!("{txid} does not pay {address}")))?;
        match label {
            "explicit" => {
                t.expect(
                    format!("{label}: value"),
                    format!("{:?}", paid.value.explicit()),
                    "Some(50000000)",
                );
                t.holds(
                    format!("{label}: asset"),
                    paid.asset.explicit() == Some(t.lab.lbtc),
                );
            }
            _ => {
                let opened = paid.unblind(SECP256K1, key.blinding);
                let opened = opened
                    .map_err(|error| Stop(format!("the output cannot be unblinded: {error}")))?;
                t.expect(
                    format!("{label}: value"),
                    opened.value.to_string(),
                    "50000000",
                );
                t.holds(format!("{label}: asset"), opened.asset == t.lab.lbtc);
            }
        }
        let fees: Vec<_> = tx.output.iter().filter(|out| out.is_fee()).collect();
        t.expect(format!("{label}: fee outputs"), fees.len().to_string(), "1");
        let blinded = tx
            .output
            .iter()
            .filter(|out| out.value.is_confidential())
            .count();
        t.see(
            format!("{label}: outputs"),
            format!("{} of which {blinded} are blinded", tx.output.len()),
        );
        t.see(
            format!("{label}: sequence"),
            format!("{:08x}", tx.input[0].sequence.0),
        );
        t.see(format!("{label}: version"), tx.version.to_string());
        let fee = fees[0].value.explicit().unwrap_or_default();
        t.see(format!("{label}: feerate"), feerate(fee, &tx));
        let told = t.wallet(&wallet, "gettransaction", json!([txid])).await?;
        t.shape(
            &format!("{label}: gettransaction"),
            &told,
            &[
                "amount: object",
                "fee: object",
                "confirmations: number",
                "txid: string",
                "hex: string",
                "details[].category: string",
            ],
        );
        let amount = told["amount"]["bitcoin"].as_f64().unwrap_or_default();
        t.holds(format!("{label}: amount is negative"), amount < 0.0);
    }
    t.lab.mine(1).await?;
    let after = sat(&t.wallet(&wallet, "getbalance", json!([])).await?["bitcoin"])?;
    let spent = before - after;
    let expected = if (100_000_000..100_010_000).contains(&spent) {
        "two payments and little more"
    } else {
        ""
    };
    t.expect(
        "the balance went down by",
        if expected.is_empty() {
            spent.to_string()
        } else {
            expected.into()
        },
        "two payments and little more",
    );
    Ok(())
}

async fn receive(t: &mut Trial<'_>) -> Step<()> {
    let (faucet, wallet) = (t.lab.faucet.clone(), new_wallet(t, "receives").await?);
    let confidential = t.wallet(&wallet, "getnewaddress", json!([])).await?;
    let explicit = t
        .wallet(&wallet, "getnewaddress", json!(["", "bech32"]))
        .await?;
    let first = t
        .wallet(&faucet, "sendtoaddress", json!([confidential, 2]))
        .await?;
    t.wallet(&faucet, "sendtoaddress", json!([explicit, 1]))
        .await?;
    has_coins(t, &wallet, 2).await?;
    let balances = t.wallet(&wallet, "getbalances", json!([])).await?;
    t.shape(
        "getbalances with unconfirmed coins",
        &balances,
        &["mine.trusted: object", "mine.untrusted_pending: object"],
    );
    t.expect_json(
        "pending",
        &balances["mine"]["untrusted_pending"]["bitcoin"],
        &json!(3.0),
    );
    t.see(
        "getbalance before a block",
        t.wallet(&wallet, "getbalance", json!([]))
            .await?
            .to_string(),
    );
    let none = t.wallet(&wallet, "listunspent", json!([])).await?;
    t.expect_json("coins with a confirmation", &none, &json!([]));
    let waiting = t.wallet(&wallet, "listunspent", json!([0])).await?;
    t.expect(
        "coins with or without",
        waiting.as_array().map_or(0, Vec::len).to_string(),
        "2",
    );
    t.lab.mine(1).await?;
    t.expect_json(
        "getbalance after a block",
        &t.wallet(&wallet, "getbalance", json!([])).await?,
        &json!({"bitcoin": 3.0}),
    );
    let one = t
        .wallet_reply(
            &wallet,
            "getbalance",
            json!(["*", 1, false, false, "bitcoin"]),
        )
        .await?;
    t.see(
        "getbalance of one asset",
        one.result.map_or_else(|e| e.message, |v| v.to_string()),
    );
    let coins = t.wallet(&wallet, "listunspent", json!([])).await?;
    t.shape(
        "listunspent",
        &coins,
        &[
            "[].txid: string",
            "[].vout: number",
            "[].address: string",
            "[].scriptPubKey: string",
            "[].amount: number",
            "[].asset: string",
            "[].amountblinder: string",
            "[].assetblinder: string",
            "[].confirmations: number",
            "[].spendable: bool",
        ],
    );
    for coin in coins.as_array().into_iter().flatten() {
        let amount = sat(&coin["amount"])?;
        let zero = json!("0".repeat(64));
        let is_hidden = coin["amountblinder"] != zero && coin["assetblinder"] != zero;
        t.expect(
            format!("the coin of {amount} sat is hidden"),
            is_hidden.to_string(),
            (amount == 200_000_000).to_string(),
        );
        if is_hidden {
            let tx = transaction(t, &coin["txid"]).await?;
            let vout = coin["vout"]
                .as_u64()
                .and_then(|n| usize::try_from(n).ok())
                .unwrap_or_default();
            let opened = open(coin, &tx, vout)?;
            t.holds("its blinders open its commitments", opened);
            t.holds(
                "its asset commitment is listed",
                coin["assetcommitment"] == json!(encode::serialize_hex(&tx.output[vout].asset)),
            );
            t.holds(
                "its value commitment is listed",
                coin["amountcommitment"] == json!(encode::serialize_hex(&tx.output[vout].value)),
            );
        }
    }
    let told = t.wallet(&wallet, "gettransaction", json!([first])).await?;
    t.shape(
        "gettransaction of a receiver",
        &told,
        &[
            "blockhash: string",
            "blockheight: number",
            "details[].amount: number",
            "details[].address: string",
            "details[].asset: string",
            "details[].amountblinder: string",
        ],
    );
    t.expect_json("its amount", &told["amount"], &json!({"bitcoin": 2.0}));
    let listed = t.wallet(&wallet, "listtransactions", json!([])).await?;
    t.shape("listtransactions", &listed, &[]);
    for (method, params) in [
        ("getreceivedbyaddress", json!([confidential])),
        ("listreceivedbyaddress", json!([])),
        ("listsinceblock", json!([])),
        ("getunconfirmedbalance", json!([])),
        ("rescanblockchain", json!([])),
        ("listaddressgroupings", json!([])),
        ("listlockunspent", json!([])),
    ] {
        let reply = t.wallet_reply(&wallet, method, params).await?;
        t.see(method, told_or_shape(&reply));
    }
    Ok(())
}

/// Waits until a wallet knows of so many coins: a node tells one wallet of what another one has sent when it gets to it.
async fn has_coins(t: &Trial<'_>, wallet: &str, count: usize) -> Step<()> {
    let deadline = Deadline::after(std::time::Duration::from_secs(20));
    let told = poll_until(
        format!("{wallet} to have {count} coins"),
        deadline,
        || async {
            match t.wallet(wallet, "listunspent", json!([0])).await {
                Ok(coins) if coins.as_array().is_some_and(|all| all.len() == count) => {
                    Probe::Ready(())
                }
                Ok(coins) => {
                    Probe::Pending(format!("it has {}", coins.as_array().map_or(0, Vec::len)))
                }
                Err(stop) => Probe::Fatal(stop),
            }
        },
    );
    told.await.map_err(|error| Stop(error.to_string()))
}

/// How a reply ends, and if it has a result, of which type.
fn told_or_shape(reply: &crate::rpc::Reply) -> String {
    match &reply.result {
        Ok(value) => crate::observe::type_of(value).to_owned(),
        Err(_) => told(reply),
    }
}

/// Whether the blinders of a listed coin give the commitments of its output.
fn open(coin: &Value, tx: &Transaction, vout: usize) -> Step<bool> {
    use elements::confidential::{
        Asset, AssetBlindingFactor, Value as Committed, ValueBlindingFactor,
    };
    let bad = |what: &str| Stop(format!("`{what}` of listunspent cannot be read"));
    let asset = text(&coin["asset"]).parse().map_err(|_| bad("asset"))?;
    let asset_bf = text(&coin["assetblinder"])
        .parse::<AssetBlindingFactor>()
        .map_err(|_| bad("assetblinder"))?;
    let value_bf = text(&coin["amountblinder"])
        .parse::<ValueBlindingFactor>()
        .map_err(|_| bad("amountblinder"))?;
    let own_asset = Asset::new_confidential(SECP256K1, asset, asset_bf);
    let generator = own_asset.commitment().ok_or_else(|| bad("asset"))?;
    let own_value =
        Committed::new_confidential(SECP256K1, sat(&coin["amount"])?, generator, value_bf);
    let output = &tx.output[vout];
    Ok(output.asset == own_asset && output.value == own_value)
}

async fn assets(t: &mut Trial<'_>) -> Step<()> {
    let (faucet, wallet) = (t.lab.faucet.clone(), new_wallet(t, "assets").await?);
    let issued = t
        .wallet(&faucet, "issueasset", json!([50, 0, false]))
        .await?;
    let gold = text(&issued["asset"]);
    t.lab.mine(1).await?;
    let to = t.wallet(&wallet, "getnewaddress", json!([])).await?;
    let explicit = t
        .wallet(&wallet, "getnewaddress", json!(["", "bech32"]))
        .await?;
    // Position 9 is the asset.
    let pay =
        |to: &Value, amount: u64| json!([to, amount, "", "", false, true, 1, "unset", false, gold]);
    let txid = t.wallet(&faucet, "sendtoaddress", pay(&to, 7)).await?;
    t.wallet(&faucet, "sendtoaddress", pay(&explicit, 3))
        .await?;
    t.lab.mine(1).await?;
    let balance = t.wallet(&wallet, "getbalance", json!([])).await?;
    t.expect(
        "it has ten",
        sat(&balance[&gold])?.to_string(),
        "1000000000",
    );
    let has_lbtc = balance
        .get("bitcoin")
        .map_or("nothing".to_owned(), Value::to_string);
    t.see("its L-BTC", has_lbtc);
    let rest = t.wallet(&faucet, "getbalance", json!([])).await?;
    t.expect(
        "the faucet has forty",
        sat(&rest[&gold])?.to_string(),
        "4000000000",
    );
    let told = t.wallet(&wallet, "gettransaction", json!([txid])).await?;
    t.holds(
        "gettransaction names the asset",
        told["amount"].get(&gold) == Some(&json!(7.0)),
    );
    let too_much = t
        .wallet_reply(&faucet, "sendtoaddress", pay(&to, 41))
        .await?;
    t.expect(
        "more than there is of it",
        crate::observe::told(&too_much),
        "HTTP 500, -6: Insufficient funds",
    );
    let named = json!({"address": to, "amount": 1, "assetlabel": gold});
    let named = t.wallet_reply(&faucet, "sendtoaddress", named).await?;
    t.see("sendtoaddress with names", crate::observe::told(&named));
    t.lab.mine(1).await?;
    Ok(())
}

async fn options(t: &mut Trial<'_>) -> Step<()> {
    let wallet = t.lab.faucet.clone();
    let key = Key::new(&mut t.random);
    let to = key.address().to_string();
    let from_amount = t
        .wallet(&wallet, "sendtoaddress", json!([to, 0.1, "", "", true]))
        .await?;
    let tx = transaction(t, &from_amount).await?;
    let paid = tx
        .output
        .iter()
        .find(|out| out.script_pubkey == key.script())
        .and_then(|out| out.value.explicit());
    let fee = tx.fee_in(t.lab.lbtc);
    t.holds(
        "the fee is taken from the amount",
        paid == Some(10_000_000 - fee),
    );
    for (label, params) in [
        (
            "a feerate",
            json!([
                to, 0.1, "", "", false, true, null, "unset", false, null, null, 5
            ]),
        ),
        (
            "confirmation target",
            json!([to, 0.1, "", "", false, true, 6]),
        ),
        ("not replaceable", json!([to, 0.1, "", "", false, false])),
        ("amount as text", json!([to, "0.1"])),
        (
            "label of the asset",
            json!([to, 0.1, "", "", false, true, 1, "unset", false, "bitcoin"]),
        ),
        (
            "verbose",
            json!([
                to, 0.1, "", "", false, true, 1, "unset", false, "bitcoin", true, null, true
            ]),
        ),
    ] {
        let reply = t.wallet_reply(&wallet, "sendtoaddress", params).await?;
        t.see(label, told(&reply));
        let Ok(sent) = reply.result else { continue };
        let txid = sent.get("txid").unwrap_or(&sent).clone();
        let tx = transaction(t, &txid).await?;
        t.see(
            format!("{label}: feerate"),
            feerate(tx.fee_in(t.lab.lbtc), &tx),
        );
        t.see(
            format!("{label}: replaceable"),
            tx.input
                .iter()
                .any(|input| input.sequence.is_rbf())
                .to_string(),
        );
    }
    let other = Key::new(&mut t.random).confidential_address().to_string();
    let many = t
        .wallet_reply(
            &wallet,
            "sendmany",
            json!(["", {to.as_str(): 0.1, other.as_str(): 0.2}]),
        )
        .await?;
    t.see("sendmany", told(&many));
    t.lab.mine(1).await?;
    Ok(())
}
