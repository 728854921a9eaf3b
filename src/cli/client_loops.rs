//! `swaprig client loop-out`, `loop-in`, `refund`, `resume-loops` and `wallet`: the client's side of loops.

use std::path::{Path, PathBuf};
use std::time::Duration;

use bitcoin::address::NetworkUnchecked;
use bitcoin::{Address, Network};
use clap::{Args, ValueEnum};
use serde_json::{Value, json};
use swaprig::chain::bitcoin::{BitcoinChain, BitcoinFees, BitcoinSettings, BitcoinSource};
use swaprig::client::loops::{
    Caps, Config, LoopError, LoopRescue, Looper, Mode, Policy, Record, Stage, Wish, stored,
};
use swaprig::client::{Refusal, Seed};
use swaprig::swap::FeeRate;
use swaprig_harness::time::Deadline;
use swaprig_harness::units::{BlockDelta, Height, Msat, Sat, parse_duration};
use swaprig_proto::loops::InternalKeyChoice;
use uuid::Uuid;

use super::Exit;
#[cfg(feature = "failpoints")]
use super::client_shared::choose_failpoint;
use super::client_shared::{
    Failed, LightningFlags, Shown, StoreFlags, environment, explained, tell_resumed, usage,
};

#[derive(Debug, Args)]
pub(super) struct LoopOutArgs {
    /// What to receive on chain, such as "250_000 sat"
    #[arg(long)]
    amount: Sat,
    /// The most that is paid before anything is locked, and lost if nothing is; with --invoice-second
    #[arg(long, value_name = "AMOUNT", default_value = "0 sat")]
    max_prepay: Sat,
    /// Let the server choose the preimage and lock coins before the payment is sent
    #[arg(long)]
    invoice_second: bool,
    /// Confirmations of what the server locks before the preimage is shown, or the payment sent
    #[arg(long, value_name = "N", default_value = "1")]
    confirmations: u32,
    /// How many blocks the server may wait with its funding, to share a transaction with others
    #[arg(long, value_name = "BLOCKS")]
    publication: Option<BlockDelta>,
    #[command(flatten)]
    terms: TermsFlags,
    #[command(flatten)]
    client: LoopFlags,
}

#[derive(Debug, Args)]
pub(super) struct LoopInArgs {
    /// What to receive over Lightning, such as "250_000 sat"
    #[arg(long)]
    amount: Sat,
    /// Show where to send what, and let another wallet send it
    #[arg(long)]
    external: bool,
    #[command(flatten)]
    terms: TermsFlags,
    #[command(flatten)]
    client: LoopFlags,
}

#[derive(Debug, Args)]
pub(super) struct RefundArgs {
    /// The name of the loop, or the server's name of it
    id: Uuid,
    #[command(flatten)]
    client: LoopFlags,
}

#[derive(Debug, Args)]
pub(super) struct ResumeLoopsArgs {
    #[command(flatten)]
    client: LoopFlags,
}

#[derive(Debug, Args)]
pub(super) struct WalletArgs {
    /// Print this alone
    #[arg(long, value_name = "WHAT", conflicts_with = "json")]
    only: Option<Part>,
    #[command(flatten)]
    client: LoopFlags,
}

/// A part of what is known of the wallet.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Part {
    /// An address to send coins to
    Address,
    /// The output descriptors, without secrets: who has them sees every coin
    Descriptors,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Terms")]
struct TermsFlags {
    /// A name for the loop; the same name again is the same loop
    #[arg(long, value_name = "UUID")]
    request_id: Option<Uuid>,
    /// The most that the server may take
    #[arg(long, value_name = "AMOUNT")]
    max_swap_fee: Sat,
    /// The most that the client's own transaction may pay while there is time
    #[arg(long, value_name = "AMOUNT", default_value = "5_000 sat")]
    max_miner_fee: Sat,
    /// The most that routing may cost
    #[arg(long, value_name = "AMOUNT", default_value = "10 sat")]
    max_routing_fee: Msat,
    /// Within how many blocks the client's own transactions are to be confirmed while there is time
    #[arg(long, value_name = "BLOCKS", default_value = "6")]
    sweep_conf_target: u32,
    /// The internal key of the output
    #[arg(long, default_value = "musig2")]
    internal_key: Internal,
    /// Where coins go, instead of to the client's own wallet
    #[arg(long, value_name = "ADDRESS")]
    to: Option<String>,
    /// Never ask the server for its signature: spend by script
    #[arg(long)]
    no_cooperation: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Internal {
    /// The two together can spend without a script
    Musig2,
    /// Nobody can
    Unspendable,
}

#[derive(Debug, Args)]
pub(super) struct RescueLoopArgs {
    /// The file; it is below `rescue/` in the client's directory
    file: PathBuf,
    /// Where the coins go instead
    #[arg(long, value_name = "ADDRESS")]
    to: Option<String>,
    /// What to bid for the block, satoshi for 1,000 virtual bytes
    #[arg(long, value_name = "SAT", default_value = "5000")]
    fee_rate: u64,
    #[command(flatten)]
    bitcoin: BitcoinFlags,
}

#[derive(Debug, Args)]
struct BitcoinFlags {
    /// Your own source of Bitcoin: http://USER:PASSWORD@HOST:PORT of a bitcoind, http://HOST:PORT with --bitcoin-cookie, or
    /// tcp://HOST:PORT of an Electrum server
    #[arg(
        long,
        value_name = "URL",
        env = "SWAPRIG_LOOP_BITCOIN",
        hide_env_values = true
    )]
    bitcoin: String,
    /// The cookie file of that bitcoind
    #[arg(long, value_name = "FILE", env = "SWAPRIG_LOOP_BITCOIN_COOKIE")]
    bitcoin_cookie: Option<PathBuf>,
    /// The Bitcoin network: bitcoin, testnet, testnet4, signet or regtest
    #[arg(long, default_value = "regtest", env = "SWAPRIG_LOOP_NETWORK")]
    bitcoin_network: Network,
}

impl BitcoinFlags {
    fn settings(&self, dir: PathBuf, birthday: u32) -> Result<BitcoinSettings, Failed> {
        let source = BitcoinSource::parse(&self.bitcoin, self.bitcoin_cookie.clone());
        Ok(BitcoinSettings {
            network: self.bitcoin_network,
            source: source.map_err(|error| usage(format!("--bitcoin: {error}")))?,
            dir,
            birthday: Height(birthday),
            fees: BitcoinFees::default(),
        })
    }

    fn address(&self, text: &str) -> Result<Address, Failed> {
        let parsed: Result<Address<NetworkUnchecked>, _> = text.parse();
        let checked = parsed.map_err(|e| e.to_string()).and_then(|address| {
            let checked = address.require_network(self.bitcoin_network);
            checked.map_err(|e| e.to_string())
        });
        checked.map_err(|error| usage(format!("--to {text}: {error}")))
    }
}

#[derive(Debug, Args)]
struct LoopFlags {
    #[command(flatten)]
    store: StoreFlags,
    /// The swap server's REST service
    #[arg(long, value_name = "URL", env = "SWAPRIG_LOOP_SERVER")]
    server: String,
    #[command(flatten)]
    bitcoin: BitcoinFlags,
    /// No coin of the wallet is in a block below this height
    #[arg(long, value_name = "HEIGHT", default_value = "0")]
    wallet_birthday: u32,
    #[command(flatten)]
    lightning: LightningFlags,
    /// The seed of all keys, 64 hexadecimal digits, mode 0600; made when there is none [default: DIR/seed]
    #[arg(long, value_name = "FILE", env = "SWAPRIG_BUYER_SEED_FILE")]
    seed_file: Option<PathBuf>,
    /// Confirmations of a claim or a refund after which it is done
    #[arg(long, value_name = "N", default_value = "3")]
    depth: u32,
    /// How long the server has for its signature before the client goes on alone, such as "30 s"
    #[arg(long, value_name = "TIME", default_value = "30 s", value_parser = parse_duration)]
    cooperation: Duration,
    /// How long to go on before the loop is left as it is, such as "10 min"
    #[arg(long, value_name = "TIME", default_value = "10 min", value_parser = parse_duration)]
    within: Duration,
    /// For crash tests: abort:N, abort-at:NAME or file:FILE; refused outside regtest
    #[cfg(feature = "failpoints")]
    #[arg(long, hide = true)]
    failpoint: Option<swaprig::failpoint::Failpoint>,
}

fn failed(error: LoopError) -> Failed {
    let exit = match &error {
        LoopError::Refused(_)
        | LoopError::NotNow { .. }
        | LoopError::Spend(_)
        | LoopError::Fund(_)
        | LoopError::Shortage(_) => Exit::Failed,
        LoopError::NoSuchLoop(_) => Exit::Nothing,
        LoopError::OtherWish(_) | LoopError::OtherNetwork(_) => Exit::Usage,
        LoopError::Server(_)
        | LoopError::Lightning(_)
        | LoopError::Source(_)
        | LoopError::Broadcast(_)
        | LoopError::Wallet(_)
        | LoopError::Store(_)
        | LoopError::Rescue(_)
        | LoopError::Musig(_)
        | LoopError::NotTheSpend(_)
        | LoopError::Contract(_)
        | LoopError::TimedOut(_) => Exit::Environment,
    };
    let refusal = match &error {
        LoopError::Refused(refusal) => Some(refusal),
        _ => None,
    };
    (exit, explained(&error, refusal))
}

/// Opens the client that the flags describe. Must be called inside a runtime.
async fn open(flags: &LoopFlags) -> Result<Looper, Failed> {
    #[cfg(feature = "failpoints")]
    choose_failpoint(
        flags.failpoint.as_ref(),
        flags.bitcoin.bitcoin_network == Network::Regtest,
    )?;
    let seed = flags.store.seed(flags.seed_file.as_deref())?;
    let dir = &flags.store.dir;
    let bitcoin = flags
        .bitcoin
        .settings(dir.join("wallet"), flags.wallet_birthday)?;
    let config = Config {
        server: flags.server.clone(),
        lightning: flags
            .lightning
            .node(&flags.bitcoin.bitcoin_network.to_string())?,
        bitcoin,
        dir: dir.clone(),
        policy: Policy {
            depth: flags.depth,
            cooperation: flags.cooperation,
            ..Policy::default()
        },
        seed,
    };
    let looper = Looper::open(config).await.map_err(failed)?;
    // The wallet knows nothing before the source was read.
    let synced = Deadline::after(flags.within).bound(looper.chain().sync());
    match synced.await {
        Some(Ok(_)) => Ok(looper),
        Some(Err(error)) => Err(no_source(error)),
        None => Err(no_source("it does not answer in time")),
    }
}

fn wish(
    terms: &TermsFlags,
    bitcoin: &BitcoinFlags,
    mode: Mode,
    amount: Sat,
) -> Result<Wish, Failed> {
    let address = |text: &String| bitcoin.address(text);
    Ok(Wish {
        id: terms.request_id,
        mode,
        amount,
        caps: Caps {
            swap_fee: terms.max_swap_fee,
            miner_fee: terms.max_miner_fee,
            routing_fee: terms.max_routing_fee,
            prepay: Sat(0),
        },
        internal: match terms.internal_key {
            Internal::Musig2 => InternalKeyChoice::Musig2,
            Internal::Unspendable => InternalKeyChoice::Unspendable,
        },
        confirmations: 1,
        publication: None,
        conf_target: terms.sweep_conf_target,
        destination: terms.to.as_ref().map(address).transpose()?,
        cooperative: !terms.no_cooperation,
        external: false,
    })
}

pub(super) async fn loop_out(args: LoopOutArgs) -> Result<Exit, Failed> {
    let mode = match args.invoice_second {
        false => Mode::Out,
        true => Mode::OutPlain,
    };
    let mut wish = wish(&args.terms, &args.client.bitcoin, mode, args.amount)?;
    wish.caps.prepay = args.max_prepay;
    wish.confirmations = args.confirmations;
    wish.publication = args.publication;
    let looper = open(&args.client).await?;
    go(&looper, &wish, &args.client).await
}

pub(super) async fn loop_in(args: LoopInArgs) -> Result<Exit, Failed> {
    let mut wish = wish(&args.terms, &args.client.bitcoin, Mode::In, args.amount)?;
    wish.external = args.external;
    let looper = open(&args.client).await?;
    go(&looper, &wish, &args.client).await
}

async fn go(looper: &Looper, wish: &Wish, flags: &LoopFlags) -> Result<Exit, Failed> {
    let id = looper.wished(wish).await.map_err(failed)?.ask.id;
    if !flags.store.json {
        // Before anything else, so that it can be driven on whatever happens.
        println!("loop {id}");
    }
    let deadline = Deadline::after(flags.within);
    if wish.external {
        let agreed = looper.run_until(id, deadline, |record| record.contract.is_some());
        let agreed = agreed.await.map_err(failed)?;
        if let (Some(contract), Some(address)) = (
            agreed.contract,
            agreed.address(flags.bitcoin.bitcoin_network),
        ) {
            let (value, timeout) = (contract.value, contract.timeout);
            // Not among the answer's JSON.
            eprintln!("send exactly {value} to {address}, long before height {timeout}");
        }
    }
    let ended = looper.run(id, deadline).await;
    let shown = looper.status(id).map_err(failed)?;
    shown.show(flags.store.json);
    ended.map_err(failed)?;
    Ok(shown.verdict())
}

pub(super) async fn refund(args: RefundArgs) -> Result<Exit, Failed> {
    let looper = open(&args.client).await?;
    let id = looper.give_up(args.id).map_err(failed)?.ask.id;
    let ended = looper.run(id, Deadline::after(args.client.within)).await;
    let shown = looper.status(id).map_err(failed)?;
    shown.show(args.client.store.json);
    ended.map_err(failed)?;
    Ok(match shown.stage {
        // Nothing was there to take back, all of it came back, or it was paid for after all.
        Stage::Refunded | Stage::Refused | Stage::Paid => Exit::Passed,
        _ => shown.verdict(),
    })
}

pub(super) async fn resume(args: &ResumeLoopsArgs) -> Result<Exit, Failed> {
    let looper = open(&args.client).await?;
    let deadline = Deadline::after(args.client.within);
    let ended = looper.resume_all(deadline).await.map_err(failed)?;
    let ended = ended.into_iter().map(|(id, outcome)| {
        let shown = looper.status(id).map_err(failed)?;
        Ok((shown, outcome.map(drop).map_err(failed)))
    });
    let ended = ended.collect::<Result<Vec<_>, Failed>>()?;
    Ok(tell_resumed(&ended, args.client.store.json))
}

pub(super) async fn wallet(args: &WalletArgs) -> Result<Exit, Failed> {
    let looper = open(&args.client).await?;
    let chain = looper.chain();
    let coins = chain.coins();
    let sum = |confirmed: bool| {
        let all = coins
            .iter()
            .filter(|coin| coin.height.is_some() == confirmed);
        Sat(all.map(|coin| coin.value.0).sum())
    };
    let address = chain.deposit_address().map_err(|e| failed(e.into()))?;
    let (confirmed, unconfirmed) = (sum(true), sum(false));
    match (args.only, args.client.store.json) {
        (Some(Part::Address), _) => println!("{address}"),
        (Some(Part::Descriptors), _) => println!("{}", chain.descriptors().join("\n")),
        (None, true) => {
            let shown = json!({
                "confirmed_sat": confirmed,
                "unconfirmed_sat": unconfirmed,
                "address": address.to_string(),
            });
            println!("{shown:#}");
        }
        (None, false) => {
            println!("confirmed   {confirmed}\nunconfirmed {unconfirmed}\naddress     {address}")
        }
    }
    Ok(Exit::Passed)
}

pub(super) async fn rescue(args: &RescueLoopArgs) -> Result<Exit, Failed> {
    let rescue = LoopRescue::read(&args.file).map_err(|e| failed(e.into()))?;
    let text = args.to.as_deref().unwrap_or(&rescue.destination);
    let to = args.bitcoin.address(text)?;
    // It is only read through: the wallet of this seed has no coins, and is gone in the end.
    let dir = tempfile::tempdir().map_err(environment)?;
    let seed = Seed::random().map_err(environment)?;
    let settings = args
        .bitcoin
        .settings(dir.path().to_owned(), rescue.since.0)?;
    let opened = BitcoinChain::open(settings, &seed.wallet()).await;
    let (chain, _events) = opened.map_err(|e| failed(e.into()))?;
    let work = async {
        chain.sync().await?;
        rescue.spend(&to, FeeRate(args.fee_rate), &chain).await
    };
    let sent = Deadline::after(Duration::from_secs(60)).bound(work).await;
    let sent = sent.ok_or_else(|| no_source("it does not answer in time"))?;
    let sent = sent.map_err(failed)?;
    for txid in &sent {
        println!("sent {txid} to {to}");
    }
    match sent.is_empty() {
        true => Err((
            Exit::Nothing,
            "nothing is locked that is not spent already".into(),
        )),
        false => Ok(Exit::Passed),
    }
}

/// The source of Bitcoin is of no use. Its address is not shown: there may be a password in it.
fn no_source(why: impl std::fmt::Display) -> Failed {
    environment(format!(
        "the source of Bitcoin that --bitcoin names cannot be read: {why}. Is it running, and are its address and password right?"
    ))
}

/// The loops of a directory.
pub(super) fn all(dir: &Path) -> Result<Vec<Record>, Failed> {
    stored(dir).map_err(|e| failed(e.into()))
}

/// Prints the loop of that name; false when there is none.
pub(super) fn shown(store: &StoreFlags, id: Uuid) -> Result<bool, Failed> {
    let is_it = |record: &Record| {
        let offer = record.offer.as_ref();
        record.ask.id == id || offer.is_some_and(|offer| offer.server_id == id)
    };
    let found = all(&store.dir)?.into_iter().find(is_it);
    if let Some(record) = &found {
        record.show(store.json);
    }
    Ok(found.is_some())
}

impl Shown for Record {
    fn id(&self) -> Uuid {
        self.ask.id
    }

    fn stage(&self) -> &'static str {
        self.stage.name()
    }

    fn about(&self) -> String {
        format!("{} {}", self.ask.mode.name(), self.ask.amount)
    }

    fn verdict(&self) -> Exit {
        match self.stage {
            Stage::Claimed | Stage::Paid => Exit::Passed,
            Stage::Refunded
            | Stage::Refused
            | Stage::PaymentFailed
            | Stage::Lapsed
            | Stage::Lost => Exit::Failed,
            Stage::Created
            | Stage::Paying
            | Stage::Claiming
            | Stage::Lapsing
            | Stage::Funding
            | Stage::Refunding => Exit::Environment,
        }
    }

    fn fields(&self) -> Value {
        let ask = &self.ask;
        let (offer, contract) = (self.offer.as_ref(), self.contract.as_ref());
        let (funding, spend) = (self.funding.as_ref(), self.spends.last());
        let locked_in = self.coin.map(|coin| coin.outpoint.txid);
        json!({
            "request_id": ask.id,
            "direction": ask.mode.direction(),
            "invoice_first": (ask.mode != Mode::In).then_some(ask.mode == Mode::Out),
            "loop_id": offer.map(|offer| offer.server_id),
            "stage": self.stage.name(),
            "amount": ask.amount,
            "fee": offer.map(|offer| offer.fee),
            "payment_hash": offer.map(|offer| offer.payment_hash),
            "payment_request": offer.map(|offer| &offer.payment_request),
            "cltv_expiry": contract.map(|contract| contract.timeout),
            "locked_sat": contract.map(|contract| contract.value),
            "funding_txid": locked_in.or(funding.map(|funding| funding.txid)),
            "funding_fee_sat": funding.map(|funding| funding.fee),
            "preimage": self.preimage,
            "spend_txid": spend.map(|spend| spend.txid),
            "spend_fee_sat": spend.map(|spend| spend.fee),
            "cooperative": spend.map(|spend| spend.cooperative),
            "destination": ask.destination,
        })
    }

    fn lines(&self) -> Vec<(&'static str, String)> {
        let ask = &self.ask;
        let mut lines = vec![
            (ask.mode.direction().word(), self.id().to_string()),
            ("stage", self.stage().to_owned()),
            ("receives", ask.amount.to_string()),
        ];
        if let Some(offer) = &self.offer {
            let fee = format!("{} (at most {})", offer.fee, ask.caps.swap_fee);
            lines.push(("loop", offer.server_id.to_string()));
            lines.push(("fee", fee));
        }
        if let Some(contract) = &self.contract {
            lines.push(("locks", contract.value.to_string()));
            lines.push(("timeout", contract.timeout.to_string()));
        }
        if let Some(coin) = &self.coin {
            lines.push(("locked in", coin.outpoint.to_string()));
        }
        if let Some(spend) = self.spends.last() {
            let how = match spend.cooperative {
                true => "together",
                false => "by script",
            };
            let text = format!("{} {how} (fee {})", spend.txid, spend.fee);
            lines.push(("spend", text));
        }
        lines
    }

    fn refusal(&self) -> Option<&Refusal> {
        self.refusal.as_ref()
    }
}
