//! The commands that ask a standing world: `status`, `mine`, `fund`, `pay`, `fault`, `logs`.

use std::io::{BufRead as _, BufReader, IsTerminal as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use clap::Args;
use serde_json::Value;
use swaprig_harness::elementsd::LBTC;
use swaprig_harness::time::{Deadline, Probe, poll_until};
use swaprig_harness::units::{Msat, Sat};

use super::control::{Answer, Question, Request};
use super::select::wants_colour;
use super::status_view::live;
use super::tail::Tail;
use super::up::{Standing, UP, WORLD, is_up, standing};
use super::{Exit, runtime};

/// Longer than the world itself waits for anything.
const ANSWER_WITHIN: Duration = Duration::from_secs(150);
/// How long one wait for more log lasts; then the next begins.
const LOOK: Duration = Duration::from_secs(3600);

/// Which world.
#[derive(Debug, Args)]
pub(super) struct Which {
    /// The number of the world; needed when more than one is up in this directory [env: SWAPRIG_WORLD]
    #[arg(long, value_name = "N")]
    pub(super) world: Option<WorldName>,
    /// Print the answer as JSON
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Debug, Args)]
pub(super) struct MineArgs {
    /// How many blocks
    #[arg(value_name = "BLOCKS", default_value = "1")]
    blocks: u32,
    /// On which chain
    #[arg(long, default_value = "bitcoin")]
    chain: ChainFlag,
    #[command(flatten)]
    which: Which,
}

#[derive(Debug, Args)]
pub(super) struct FundArgs {
    /// The Lightning node whose on-chain wallet gets the coins, on Liquid the wallet; or an address
    node: String,
    /// How much, such as "0.01 btc" or 1_000_000sat
    amount: Sat,
    /// On which chain
    #[arg(long, default_value = "bitcoin")]
    chain: ChainFlag,
    #[command(flatten)]
    which: Which,
}

/// A chain of a world.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum ChainFlag {
    Bitcoin,
    Liquid,
}

#[derive(Debug, Args)]
pub(super) struct PayArgs {
    /// The Lightning node that pays
    from: String,
    /// The one that is paid, by an invoice of its own
    to: String,
    /// How much, such as "10_000 sat" or 1msat
    amount: Msat,
    #[command(flatten)]
    which: Which,
}

#[derive(Debug, Args)]
#[command(after_help = "\
For example: swaprig fault '{ partition = \"alice->bob\" }', then swaprig fault '{ heal = \"alice->bob\" }'. The world needs \
a proxy on the link: swaprig up --proxy 'alice->bob'.")]
pub(super) struct FaultArgs {
    /// A step, as a scenario file has it
    step: String,
    #[command(flatten)]
    which: Which,
}

#[derive(Debug, Args)]
#[command(after_help = "\
On a terminal the world is looked at every second until `q` is pressed; elsewhere, and with --once or --json, it is told once.")]
pub(super) struct StatusArgs {
    /// Tell it once, also on a terminal
    #[arg(long)]
    once: bool,
    #[command(flatten)]
    which: Which,
}

#[derive(Debug, Args)]
pub(super) struct LogsArgs {
    /// Only this daemon's
    name: Option<String>,
    /// Go on until the world ends
    #[arg(long, short)]
    follow: bool,
    /// The number of the world; needed when more than one is up in this directory [env: SWAPRIG_WORLD]
    #[arg(long, value_name = "N")]
    world: Option<WorldName>,
}

pub(super) fn mine(args: &MineArgs) -> Exit {
    let request = Request::Ask(Question::Mine {
        blocks: args.blocks,
        liquid: args.chain == ChainFlag::Liquid,
    });
    ask(&args.which, &request, |answer| {
        format!("height {}", answer["height"])
    })
}

pub(super) fn fund(args: &FundArgs) -> Exit {
    let (node, amount) = (args.node.clone(), args.amount);
    let liquid = args.chain == ChainFlag::Liquid;
    let request = Request::Ask(Question::Fund {
        node,
        amount,
        liquid,
    });
    ask(&args.which, &request, |answer| {
        let (txid, height) = (text(&answer["txid"]), &answer["height"]);
        format!("{} has {amount} more, in {txid}, block {height}", args.node)
    })
}

pub(super) fn pay(args: &PayArgs) -> Exit {
    let request = Request::Ask(Question::Pay {
        from: args.from.clone(),
        to: args.to.clone(),
        amount: args.amount,
    });
    ask(&args.which, &request, |answer| {
        let hash = text(&answer["hash"]);
        format!(
            "{} paid {} {}, hash {hash}",
            args.from, args.to, args.amount
        )
    })
}

pub(super) fn fault(args: &FaultArgs) -> Exit {
    let step = args.step.clone();
    ask(&args.which, &Request::Fault { step }, |_| "done".to_owned())
}

pub(super) fn status(args: &StatusArgs) -> Exit {
    let on_terminal = std::io::stdin().is_terminal() && std::io::stdout().is_terminal();
    if on_terminal && !args.once && !args.which.json {
        return match chosen(args.which.world.as_ref()) {
            Ok(standing) => live(&standing, wants_colour()),
            Err((exit, why)) => {
                eprintln!("swaprig: {why}");
                exit
            }
        };
    }
    ask(&args.which, &Request::Ask(Question::Status {}), |answer| {
        let mut lines = vec![
            match (answer["height"].as_u64(), answer["error"].as_str()) {
                (Some(height), _) => format!("bitcoind  height {height}"),
                (None, Some(why)) => format!("bitcoind  {why}"),
                (None, None) => "bitcoind  has ended".to_owned(),
            },
        ];
        for node in answer["nodes"].as_array().into_iter().flatten() {
            let name = text(&node["name"]);
            lines.push(match not_there(node) {
                Some(end) => format!("{name:<9} {end}"),
                None => format!(
                    "{name:<9} height {}, {} sat on chain, {} sat in {} of {} channels usable, {}",
                    node["height"],
                    node["onchain_sat"],
                    node["lightning_sat"],
                    node["usable_channels"],
                    node["channels"],
                    text(&node["node_id"])
                ),
            });
        }
        lines.extend(liquid_lines(answer));
        for server in answer["servers"].as_array().into_iter().flatten() {
            let name = text(&server["name"]);
            let there = not_there(server).unwrap_or(text(&server["address"]));
            lines.push(format!("{name:<9} {there}"));
        }
        lines.join("\n")
    })
}

/// The lines of elementsd, its wallets, and the indexes.
fn liquid_lines(answer: &Value) -> Vec<String> {
    let mut lines = Vec::new();
    let liquid = &answer["liquid"];
    if let Some(end) = not_there(liquid) {
        lines.push(format!("elementsd {end}"));
    } else if let Some(height) = liquid["height"].as_u64() {
        lines.push(format!("elementsd height {height}"));
    }
    for wallet in liquid["wallets"].as_array().into_iter().flatten() {
        let held = wallet["balances"].as_object().into_iter().flatten();
        let held: Vec<String> = held
            .map(|(asset, parts)| match asset == LBTC {
                true => format!("{parts} sat"),
                false => format!("{parts} units of {asset}"),
            })
            .collect();
        let held = match held.as_slice() {
            [] => "nothing".to_owned(),
            held => held.join(", "),
        };
        lines.push(format!("  wallet {}: {held}", text(&wallet["name"])));
    }
    for index in answer["indexes"].as_array().into_iter().flatten() {
        let name = text(&index["name"]);
        lines.push(match not_there(index) {
            Some(end) => format!("{name:<9} {end}"),
            None => format!("{name:<9} height {}", index["height"]),
        });
    }
    lines
}

/// Why a part of a world tells nothing: it has ended, or does not answer.
pub(super) fn not_there(part: &Value) -> Option<&str> {
    part["ended"].as_str().or_else(|| part["error"].as_str())
}

pub(super) fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// Asks the world and prints what it answers.
fn ask(which: &Which, request: &Request, show: impl Fn(&Value) -> String) -> Exit {
    let standing = match chosen(which.world.as_ref()) {
        Ok(standing) => standing,
        Err((exit, why)) => {
            eprintln!("swaprig: {why}");
            return exit;
        }
    };
    match exchange(&standing.socket, request) {
        Ok(Answer::Ok(value)) => {
            match which.json {
                true => println!("{value:#}"),
                false => println!("{}", show(&value)),
            }
            Exit::Passed
        }
        Ok(Answer::Error(why)) => {
            eprintln!("swaprig: {why}");
            Exit::Failed
        }
        Err(error) => {
            eprintln!(
                "swaprig: world {} does not answer: {error}",
                standing.number
            );
            Exit::Environment
        }
    }
}

pub(super) fn exchange(socket: &Path, request: &Request) -> std::io::Result<Answer> {
    let mut stream = UnixStream::connect(reachable(socket))?;
    stream.set_read_timeout(Some(ANSWER_WITHIN))?;
    let mut line = serde_json::to_vec(request)?;
    line.push(b'\n');
    stream.write_all(&line)?;
    let mut answer = String::new();
    BufReader::new(stream).read_line(&mut answer)?;
    Ok(serde_json::from_str(&answer)?)
}

/// The path of a socket as short as it can be written: about a hundred bytes are all that an address holds (unix(7)).
fn reachable(socket: &Path) -> PathBuf {
    let here = std::env::current_dir().ok();
    let below = here.and_then(|here| Some(socket.strip_prefix(here).ok()?.to_owned()));
    below.unwrap_or_else(|| socket.to_owned())
}

/// How a world is named on the command line and in `SWAPRIG_WORLD`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum WorldName {
    /// By its number, in this directory.
    Number(u32),
    /// By its state file, from anywhere.
    State(PathBuf),
}

impl FromStr for WorldName {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.parse() {
            Ok(number) => Ok(WorldName::Number(number)),
            Err(_) if text.ends_with(".json") => Ok(WorldName::State(text.into())),
            Err(_) => Err("write the number of a world, or the path of its state file"),
        }
    }
}

/// The world that the environment names, as `swaprig shell` sets it.
#[expect(
    clippy::disallowed_methods,
    reason = "the command line reads what its own shell has set"
)]
pub(super) fn world_of_environment() -> Result<Option<WorldName>, String> {
    match std::env::var(WORLD) {
        Ok(text) if !text.is_empty() => text
            .parse()
            .map(Some)
            .map_err(|why| format!("{WORLD}={text}: {why}")),
        _ => Ok(None),
    }
}

/// The world that is meant: by the command line, by the environment, or because there is but one. Otherwise why there is
/// none.
pub(super) fn chosen(named: Option<&WorldName>) -> Result<Standing, (Exit, String)> {
    let of_environment = match named {
        Some(_) => None,
        None => world_of_environment().map_err(|why| (Exit::Usage, why))?,
    };
    match named.or(of_environment.as_ref()) {
        None => choose(Path::new(UP), None),
        Some(WorldName::Number(number)) => choose(Path::new(UP), Some(*number)),
        Some(WorldName::State(path)) => {
            let text = is_up(path).then(|| std::fs::read_to_string(path).unwrap_or_default());
            let standing = text.and_then(|text| serde_json::from_str(&text).ok());
            standing.ok_or_else(|| {
                let why = format!("the world of {} has ended", path.display());
                (Exit::Environment, why)
            })
        }
    }
}

/// The world that is meant, or why there is none.
fn choose(dir: &Path, number: Option<u32>) -> Result<Standing, (Exit, String)> {
    let mut all = standing(dir);
    let numbers = all.iter().map(|(number, _)| number.to_string());
    let numbers = numbers.collect::<Vec<_>>().join(", ");
    if all.is_empty() {
        let why = "no world is up in this directory; `swaprig up` starts one";
        return Err((Exit::Environment, why.to_owned()));
    }
    if let Some(wanted) = number {
        all.retain(|(number, _)| *number == wanted);
    }
    match (all.pop(), all.is_empty()) {
        (Some((_, Some(standing))), true) => Ok(standing),
        (Some((number, None)), true) => Err((
            Exit::Environment,
            format!("world {number} is still starting"),
        )),
        (Some(_), false) => {
            let why = format!("worlds {numbers} are up; choose one with --world");
            Err((Exit::Usage, why))
        }
        (None, _) => Err((
            Exit::Usage,
            format!("there is no such world; up: {numbers}"),
        )),
    }
}

pub(super) fn logs(args: &LogsArgs) -> Exit {
    let standing = match chosen(args.world.as_ref()) {
        Ok(standing) => standing,
        Err((exit, why)) => {
            eprintln!("swaprig: {why}");
            return exit;
        }
    };
    let known: Vec<&str> = standing
        .logs
        .iter()
        .map(|(name, ..)| name.as_str())
        .collect();
    if let Some(name) = &args.name
        && !known.contains(&name.as_str())
    {
        eprintln!(
            "swaprig: no daemon is called `{name}`; there are {}",
            known.join(", ")
        );
        return Exit::Usage;
    }
    let wanted = standing.logs.iter();
    let wanted = wanted.filter(|(name, ..)| args.name.as_ref().is_none_or(|only| only == name));
    let width = known.iter().map(|name| name.len()).max().unwrap_or(0);
    let mut tails: Vec<Printed> = wanted
        .flat_map(|(name, stdout, stderr)| {
            let prefix = match args.name {
                Some(_) => String::new(),
                None => format!("{name:<width$} | "),
            };
            [Printed::new(stdout, &prefix), Printed::new(stderr, &prefix)]
        })
        .collect();
    let printed = match args.follow {
        false => tails.iter_mut().try_for_each(|tail| tail.print().map(drop)),
        true => follow(&mut tails, &standing),
    };
    match printed {
        Ok(()) => Exit::Passed,
        // `swaprig logs | head` has seen enough.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Exit::Passed,
        Err(error) => {
            eprintln!("swaprig: {error}");
            Exit::Environment
        }
    }
}

fn follow(tails: &mut [Printed], standing: &Standing) -> std::io::Result<()> {
    let state = standing.socket.with_extension("json");
    let runtime = runtime();
    loop {
        let is_over = !is_up(&state);
        let mut printed = false;
        for tail in tails.iter_mut() {
            printed |= tail.print()?;
        }
        // Looked at before the last lines were printed, so that none of them is lost.
        if is_over {
            return Ok(());
        }
        if !printed {
            // What comes of it is looked at above, so its end is all that matters here.
            let more = poll_until::<(), std::convert::Infallible, _>(
                "more log",
                Deadline::after(LOOK),
                || async {
                    match tails.iter().any(|printed| printed.tail.has_more()) || !is_up(&state) {
                        true => Probe::Ready(()),
                        false => Probe::Pending(String::new()),
                    }
                },
            );
            let _ = runtime.block_on(more);
        }
    }
}

/// A log that is printed as it grows.
struct Printed {
    tail: Tail,
    prefix: String,
}

impl Printed {
    fn new(path: &Path, prefix: &str) -> Self {
        Printed {
            tail: Tail::new(path),
            prefix: prefix.to_owned(),
        }
    }

    /// Prints the lines that have come; whether there were any.
    fn print(&mut self) -> std::io::Result<bool> {
        let lines = self.tail.take()?;
        let mut out = std::io::stdout().lock();
        for line in &lines {
            writeln!(out, "{}{line}", self.prefix)?;
        }
        out.flush()?;
        Ok(!lines.is_empty())
    }
}
