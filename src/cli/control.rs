//! What a standing world is asked over its socket: one JSON object a line, and one for the answer.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use swaprig_harness::elementsd::AssetAmount;
use swaprig_harness::ldk_server::LdkServer;
use swaprig_harness::time::Deadline;
use swaprig_harness::units::{BlockDelta, Msat, Sat};
use swaprig_harness::world::{Recipient, WAIT, liquid_address};
use swaprig_harness::{World, WorldError};
use swaprig_scenarios::lang::{self, Action, Bindings, Source};
use swaprig_scenarios::run::{Random, Run};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::UnixStream;

use super::state::state;

/// Columns of a message.
const WIDTH: usize = 100;
/// No request is longer, in bytes.
const LONGEST: u64 = 64 * 1024;

/// A request.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Request {
    /// What the world itself can do.
    Ask(Question),
    /// A step, as a scenario file has it.
    Fault { step: String },
}

/// What the world itself can do.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum Question {
    Mine {
        blocks: u32,
        liquid: bool,
    },
    Fund {
        node: String,
        amount: Sat,
        liquid: bool,
    },
    Pay {
        from: String,
        to: String,
        amount: Msat,
    },
    Status {},
}

/// An answer.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Answer {
    Ok(Value),
    /// Why not, in words.
    Error(String),
}

/// Answers every request of one connection, in order.
pub(super) async fn answer(stream: UnixStream, world: &World) {
    let (read, mut write) = stream.into_split();
    let mut read = BufReader::new(read);
    loop {
        let mut line = String::new();
        // Whoever sends something else than lines is not talking to us.
        match (&mut read).take(LONGEST).read_line(&mut line).await {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
        let answer = match serde_json::from_str(&line) {
            Ok(Request::Fault { step }) => match fault(&step, world).await {
                Ok(()) => Answer::Ok(Value::Null),
                Err(why) => Answer::Error(why),
            },
            Ok(Request::Ask(question)) => match perform(&question, world).await {
                Ok(value) => Answer::Ok(value),
                Err(error) => Answer::Error(swaprig_harness::error_chain(&error.kind)),
            },
            Err(error) => Answer::Error(format!("this is no request: {error}")),
        };
        let Ok(mut text) = serde_json::to_vec(&answer) else {
            return;
        };
        text.push(b'\n');
        if write.write_all(&text).await.is_err() {
            return;
        }
    }
}

async fn perform(question: &Question, world: &World) -> Result<Value, WorldError> {
    match question {
        Question::Mine { blocks, liquid } => {
            let blocks = BlockDelta(*blocks);
            let height = match liquid {
                true => world.mine_liquid(blocks).await?,
                false => world.mine(blocks).await?,
            };
            Ok(json!({ "height": height.0 }))
        }
        Question::Fund {
            node,
            amount,
            liquid: true,
        } => {
            let to = match liquid_address(node) {
                Ok(address) => Recipient::Address(address),
                Err(_) => Recipient::Wallet {
                    name: node.clone(),
                    confidential: true,
                },
            };
            let (amount, deadline) = (AssetAmount::sat(*amount), Deadline::after(WAIT));
            let txid = world.fund_liquid(&to, amount, deadline).await?;
            let height = world.mine_liquid(BlockDelta(1)).await?;
            Ok(json!({ "txid": txid.to_string(), "height": height.0 }))
        }
        Question::Fund {
            node,
            amount,
            liquid: false,
        } => {
            let txid = match bitcoin_address(node) {
                Some(address) => world.bitcoind().send(&address, *amount).await,
                None => Ok(world.fund(node, *amount).await?),
            };
            let txid = txid.map_err(|error| world.error(error))?;
            let height = world.mine(BlockDelta(1)).await?;
            Ok(json!({ "txid": txid.to_string(), "height": height.0 }))
        }
        Question::Pay { from, to, amount } => {
            let paid = world.pay_and_settle(from, to, *amount).await?;
            Ok(json!({
                "hash": paid.hash.to_string(),
                "preimage": paid.preimage.map(|preimage| preimage.to_string()),
                "fee_msat": paid.fee.map(|fee| fee.0),
            }))
        }
        Question::Status {} => Ok(state(world).await),
    }
}

/// An address of a regtest chain.
fn bitcoin_address(text: &str) -> Option<bitcoin::Address> {
    let address = text.parse::<bitcoin::Address<_>>().ok()?;
    address.require_network(bitcoin::Network::Regtest).ok()
}

/// Runs one step as if it stood in a file of this world's own.
///
/// # Errors
/// What is wrong with the step, or how it failed.
async fn fault(step: &str, world: &World) -> Result<(), String> {
    let names: Vec<_> = world.nodes().iter().map(LdkServer::name).collect();
    let proxies: Vec<_> = world.proxies().map(|(link, _)| link.to_string()).collect();
    let liquid = world
        .liquid()
        .map(|liquid| liquid.wallets().collect::<Vec<_>>());
    let index = world.indexes().map(|index| lang::chain_name(index.chain()));
    let index: Vec<_> = index.collect();
    let mut daemons = match (names.as_slice(), &liquid) {
        ([], Err(_)) => "preset = \"bitcoin\"".to_owned(),
        ([], Ok(_)) => String::new(),
        (names, _) => format!("lightning = {names:?}, "),
    };
    if let Ok(wallets) = &liquid {
        daemons.push_str(&format!("liquid = {wallets:?}, "));
    }
    if !index.is_empty() {
        daemons.push_str(&format!("index = {index:?}"));
    }
    let daemons = daemons.trim_end_matches([',', ' ']);
    let text = format!(
        "title = \"A fault\"\nworld = {{ {daemons}, proxies = {proxies:?} }}\nsteps = [\n{step}\n]\n"
    );
    let source = Source::new("fault", "fault", text);
    let registry = swaprig::steps::all_steps().map_err(|error| error.to_string())?;
    let plans = lang::check(&source, &registry).map_err(|problems| {
        let texts = problems.iter().map(|problem| problem.render_plain(WIDTH));
        format!(
            "this is no step for this world\n{}",
            texts.collect::<String>()
        )
    })?;
    let random = Random::new(Random::any_seed(), "fault");
    for planned in plans.iter().flat_map(|plan| &plan.steps) {
        let Action::Step(action) = &planned.action else {
            return Err("write one plain step; composition belongs into a file".to_owned());
        };
        let run = Run {
            world,
            bindings: &Bindings::default(),
            deadline: Deadline::after(planned.within.unwrap_or(WAIT)),
            random: &random,
            name: planned.bind.as_deref(),
        };
        action
            .run(&run)
            .await
            .map_err(|failure| failure.to_string())?;
    }
    Ok(())
}
