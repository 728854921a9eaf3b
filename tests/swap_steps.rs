//! The steps of swaps: their mistakes in files, and that a theft from an HTLC is found.

mod support;

use std::path::{Path, PathBuf};

use bitcoin::hashes::Hash as _;
use serde_json::{Value, json};
use swaprig::steps::{BitcoinHtlc, Htlc, Revealed, all_steps};
use swaprig::swap::{Coin, FeeRate, Locked, claim, taproot};
use swaprig_harness::elementsd::{lbtc, parts};
use swaprig_harness::units::{Preimage, Sat};
use swaprig_harness::world::liquid_address;
use swaprig_scenarios::lang::{Arg, Source, check};
use swaprig_scenarios::run::{Failure, Run, Step, StepFailure, Verdict};
use swaprig_scenarios::step;

use support::assert_says;

/// How wide golden messages are.
const WIDTH: usize = 110;

/// A P2WPKH of all zeros: whose hash that is, nobody knows.
const NOBODY: &str = "ert1qqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqq4zf532";

/// Every file in `tests/steps_invalid` has one kind of mistake, and beside it the whole message that it gets.
/// `UPDATE_GOLDEN=1 cargo test -p swaprig --test swap_steps` writes the messages anew; read them as a stranger would.
#[test]
#[expect(
    clippy::disallowed_methods,
    reason = "the switch that rewrites golden files"
)]
fn every_mistake_gets_its_message() {
    let update = std::env::var_os("UPDATE_GOLDEN").is_some();
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/steps_invalid");
    let files = std::fs::read_dir(dir).unwrap();
    let mut files: Vec<PathBuf> = files.map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|end| end == "toml"));
    files.sort();
    assert!(files.len() >= 6, "only {} mistakes", files.len());
    let registry = all_steps().unwrap();
    let mut wrong = Vec::new();
    for path in files {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let source = Source::from_bytes("test", &name, &std::fs::read(&path).unwrap());
        let Err(problems) = check(&source, &registry) else {
            panic!("{name} is valid")
        };
        let messages = problems.iter().map(|problem| problem.render_plain(WIDTH));
        let message = messages.collect::<Vec<_>>().join("\n");
        let golden = path.with_extension("err");
        if update {
            std::fs::write(&golden, &message).unwrap();
        } else if std::fs::read_to_string(&golden).unwrap_or_default() != message {
            wrong.push(format!("{name}:\n{message}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

step! {
    /// Claims what is in an HTLC to a key that nobody has.
    pub struct Steal("steal") -> () {
        /// From which HTLC.
        steal: Arg<Htlc>,
        /// What opens it.
        preimage: Arg<Preimage>,
    } optional {}
}

impl Step for Steal {
    async fn run(&self, run: &Run<'_>) -> Result<(), StepFailure> {
        let htlc = run.get(&self.steal).await?;
        let preimage = run.get(&self.preimage).await?;
        let rpc = run.world.liquid()?.elementsd().rpc();
        let fail = |error| StepFailure::from(run.world.error(error));
        let wanted = [json!("start"), json!([format!("addr({})", htlc.address)])];
        let found: Value = rpc
            .call("scantxoutset", &wanted, run.deadline)
            .await
            .map_err(fail)?;
        let coins = found["unspents"].as_array().unwrap().iter();
        let coins = coins.map(|coin| Coin {
            outpoint: elements::OutPoint::new(
                coin["txid"].as_str().unwrap().parse().unwrap(),
                u32::try_from(coin["vout"].as_u64().unwrap()).unwrap(),
            ),
            asset: coin["asset"].as_str().unwrap().parse().unwrap(),
            value: parts(&coin["amount"]).unwrap(),
        });
        let locked = Locked {
            htlc: swaprig::swap::Htlc::parse(&htlc.witness_script).unwrap(),
            lbtc: lbtc(),
            coins: coins.collect(),
        };
        let (to, key) = (liquid_address(NOBODY).unwrap(), htlc.claimer_key.unwrap());
        let stolen = {
            let rng = &mut elements::secp256k1_zkp::rand::thread_rng();
            claim(&locked, &preimage, &key, &to, FeeRate(1_000), rng).unwrap()
        };
        let hex = elements::encode::serialize_hex(&stolen);
        rpc.send_raw(&hex, run.deadline).await.map_err(fail)?;
        Ok(())
    }
}

/// Runs a scenario in which the step `steal` takes what was locked in an HTLC; it fails when the books are looked at, and its title
/// has `says`.
async fn theft<S: Step>(
    chain: &str,
    mine: &str,
    steal: &str,
    says: &[&str],
) -> Option<Box<Failure>> {
    if !support::runs() {
        return None;
    }
    let mut registry = all_steps().unwrap();
    registry.add::<S>().unwrap();
    let scenario = format!(
        r#"
title = "A thief who knows the preimage"
world = {{ preset = "{chain}" }}
steps = [
  {{ preimage = 32, as = "p" }},
  {{ key = "{chain}", as = "me" }},
  {{ htlc = "{chain}", hash = "$p.hash", claimer = "$me", refunder = "$me", timeout_in = 100, as = "lock" }},
  {{ fund_htlc = "$lock", amount = "123_456 sat" }},
  {mine},
  {{ {steal} = "$lock", preimage = "$p.preimage" }},
  {mine},
  {{ expect = "height", at_least = 1 }},
]
"#
    );
    let outcome = support::run::outcome_of(&scenario, &registry).await;
    let Verdict::Failed(failure) = outcome.verdict else {
        panic!("{:?}", outcome.verdict)
    };
    assert_eq!(failure.step, Some(7), "{}", failure.failure);
    assert_says(&failure.failure.title, says);
    Some(failure)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_theft_from_an_htlc_is_noticed_and_until_then_its_coins_are_its_own() {
    let says = ["on Liquid", "nobody owns 123_", "sat of lbtc"];
    let mine = r#"{ mine = 1, chain = "liquid" }"#;
    let Some(failure) = theft::<Steal>("liquid", mine, "steal", &says).await else {
        return;
    };
    // The last sheet that added up says where they were before.
    let sheet = failure
        .money
        .as_ref()
        .and_then(|money| money.liquid.clone());
    let before = ("HTLC lock".to_owned(), 123_456);
    assert!(sheet.unwrap().assets[0].books.contains(&before));
}

step! {
    /// Claims what is in an HTLC on Bitcoin to a script that nobody can spend by.
    pub struct StealOnBitcoin("steal_on_bitcoin") -> () {
        /// From which HTLC.
        steal_on_bitcoin: Arg<BitcoinHtlc>,
        /// What opens it.
        preimage: Arg<Preimage>,
    } optional {}
}

impl Step for StealOnBitcoin {
    async fn run(&self, run: &Run<'_>) -> Result<(), StepFailure> {
        let htlc = run.get(&self.steal_on_bitcoin).await?;
        let preimage = run.get(&self.preimage).await?;
        let rpc = run.world.bitcoind().rpc();
        let fail = |error| StepFailure::from(run.world.error(error));
        let wanted = [json!("start"), json!([format!("addr({})", htlc.address)])];
        let found: Value = rpc
            .call("scantxoutset", &wanted, run.deadline)
            .await
            .map_err(fail)?;
        let coins = found["unspents"].as_array().unwrap().iter();
        let coins = coins.map(|coin| {
            let txid = coin["txid"].as_str().unwrap().parse().unwrap();
            let vout = u32::try_from(coin["vout"].as_u64().unwrap()).unwrap();
            let value = Sat(parts(&coin["amount"]).unwrap());
            (bitcoin::OutPoint::new(txid, vout), value)
        });
        let locked = taproot::Locked {
            taproot: htlc.taproot.clone(),
            coins: coins.collect(),
        };
        let nobody = bitcoin::ScriptBuf::new_p2wsh(&bitcoin::WScriptHash::all_zeros());
        let key = htlc.claimer_key.unwrap();
        let stolen = {
            let rng = &mut elements::secp256k1_zkp::rand::thread_rng();
            taproot::claim(&locked, &preimage, &key, &nobody, FeeRate(2_000), rng).unwrap()
        };
        let hex = [json!(bitcoin::consensus::encode::serialize_hex(&stolen))];
        let sent = rpc.call::<Value>("sendrawtransaction", &hex, run.deadline);
        sent.await.map_err(fail)?;
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_theft_from_an_htlc_on_bitcoin_is_noticed_and_until_then_its_coins_are_its_own() {
    let says = ["money vanished", "nobody owns 123_"];
    let stolen = theft::<StealOnBitcoin>("bitcoin", "{ mine = 1 }", "steal_on_bitcoin", &says);
    let Some(failure) = stolen.await else {
        return;
    };
    // The last sheet that added up says where they were before.
    let books = &failure.money.as_ref().unwrap().books;
    let before = ("HTLC lock".to_owned(), Sat(123_456));
    assert!(books.contains(&before), "{books:?}");
}

#[test]
fn a_preimage_can_be_given_from_rust() {
    let Revealed::Bytes(bytes) = Revealed::from(Preimage([7; 32])) else {
        panic!("bytes are bytes")
    };
    assert_eq!(bytes, [7; 32]);
}

/// What a server may say as it likes, and why that hurts nobody.
type Harmless = &'static [(&'static str, &'static str)];

/// Of a seller. Everything else has a case in the scenario of the lying seller.
const HARMLESS: Harmless = &[
    (
        "swap.prepay_invoice",
        "not looked at once a funding is named; before, it is paid up to the buyer's own limit, which is 0, and \
         PREPAY_ABOVE_CAP is tested with the buyer's rules",
    ),
    (
        "swap.funding.confirmations",
        "the buyer counts them by its own index",
    ),
    ("swap.created_at", "for people only"),
    ("swap.updated_at", "for people only"),
];

/// Of who loops, in both directions.
const HARMLESS_OF_LOOPS: Harmless = &[
    ("phase", "for people only"),
    ("funding.txid", LOOKS),
    ("funding.vout", LOOKS),
    ("funding.confirmations", LOOKS),
    ("spend.txid", LOOKS),
    ("spend.kind", LOOKS),
    ("spend.confirmations", LOOKS),
    ("height", LOOKS),
    ("created_at", "for people only"),
    ("updated_at", "for people only"),
];
const LOOKS: &str = "the client looks at its own source of Bitcoin";

/// Of a loop out alone.
const HARMLESS_OUT: Harmless = &[(
    "reason",
    "for people only: the state says whether it is over",
)];

/// Of a loop in alone.
const HARMLESS_IN: Harmless = &[
    (
        "confirmations",
        "how deep the server wants the coins before it pays is its own matter: until then they come back at the timeout",
    ),
    (
        "publication_deadline",
        "it is the client that funds, and when it likes",
    ),
];

/// The fields of a message that are single values, by their paths; messages inside it are gone through.
fn leaves(message: &prost_reflect::MessageDescriptor, before: &str, out: &mut Vec<String>) {
    for field in message.fields() {
        let path = format!("{before}{}", field.name());
        match field.kind() {
            prost_reflect::Kind::Message(inner) => leaves(&inner, &format!("{path}."), out),
            _ => out.push(path),
        }
    }
}

/// The same of a schema of OpenAPI, whose `components` are these.
fn leaves_of_schema(schemas: &Value, name: &str, before: &str, out: &mut Vec<String>) {
    for (field, schema) in schemas[name]["properties"].as_object().unwrap() {
        let path = format!("{before}{field}");
        // What may be absent is one of null and the other.
        let either = schema["oneOf"].as_array().into_iter().flatten();
        let inner = either.chain([schema]).find_map(|one| one["$ref"].as_str());
        let inner = inner.and_then(|reference| reference.rsplit('/').next());
        match inner.filter(|inner| schemas[inner]["properties"].is_object()) {
            Some(inner) => leaves_of_schema(schemas, inner, &format!("{path}."), out),
            None => out.push(path),
        }
    }
}

/// The fields that the cases of scenarios lie about; each case must name a refusal.
fn lied_about(scenarios: &[&str]) -> Vec<String> {
    let mut lies = Vec::new();
    for name in scenarios {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios");
        let file = file.join(format!("{name}.scenario.toml"));
        let scenario: toml::Table = std::fs::read_to_string(file).unwrap().parse().unwrap();
        for (case, values) in scenario["cases"].as_table().unwrap() {
            lies.push(values["field"].as_str().unwrap().to_owned());
            let reason = values["reason"].as_str().unwrap();
            let mut known = swaprig::client::Reason::ALL.iter();
            assert!(
                known.any(|known| known.name() == reason),
                "{name}#{case}: `{reason}` is no refusal"
            );
        }
    }
    lies
}

/// A field that is added to a reply needs a lie of its own in one of the scenarios, or a reason why it cannot hurt; a case needs a
/// field.
fn all_are_lied_about(scenarios: &[&str], fields: &[String], harmless: &[Harmless]) {
    let lies = lied_about(scenarios);
    let harmless: Vec<&str> = harmless.concat().iter().map(|(path, _)| *path).collect();
    for field in fields {
        assert!(
            lies.contains(field) != harmless.contains(&field.as_str()),
            "`{field}` needs a case in {scenarios:?}, or a reason why it is harmless; not both"
        );
    }
    for field in lies.iter().map(String::as_str).chain(harmless) {
        let is_known = fields.iter().any(|known| known == field);
        assert!(is_known, "`{field}` is no field of the reply");
    }
}

#[test]
fn every_field_of_a_reply_is_lied_about_or_cannot_hurt() {
    let pool = prost_reflect::DescriptorPool::decode(swaprig_proto::DESCRIPTORS).unwrap();
    let reply = pool.get_message_by_name("ln_liquid_swap.v1.GetSwapResponse");
    let created = pool.get_message_by_name("ln_liquid_swap.v1.CreateSwapResponse");
    let (mut fields, mut of_create) = (Vec::new(), Vec::new());
    leaves(&reply.unwrap(), "", &mut fields);
    leaves(&created.unwrap(), "", &mut of_create);
    assert_eq!(fields, of_create, "the two replies tell the same");
    all_are_lied_about(&["ln-to-liquid/lying-seller"], &fields, &[HARMLESS]);

    let document = serde_json::to_value(swaprig::api::rest::document()).unwrap();
    let mut fields = Vec::new();
    leaves_of_schema(&document["components"]["schemas"], "Loop", "", &mut fields);
    assert!(fields.contains(&"script.tweak".to_owned()), "{fields:?}");
    let out = ["loop/lying-desk-out", "loop/lying-desk-coins-first"];
    all_are_lied_about(&out, &fields, &[HARMLESS_OF_LOOPS, HARMLESS_OUT]);
    let inward = ["loop/lying-desk-in"];
    all_are_lied_about(&inward, &fields, &[HARMLESS_OF_LOOPS, HARMLESS_IN]);
    // Once the payment is held the same rules hold, and what was agreed stays as it is.
    for field in lied_about(&["loop/lying-desk-held"]) {
        assert!(
            fields.contains(&field),
            "`{field}` is no field of the reply"
        );
    }
}
