//! `swaprig client`: the buyer's side of a swap, and the client's of a loop (in `client_loops`).

use std::path::{Path, PathBuf};
use std::time::Duration;

use bitcoin::Network as Bitcoin;
use bitcoin::secp256k1::PublicKey;
use clap::{Args, Subcommand};
use elements::{Address, AddressParams, AssetId};
use serde_json::{Value, json};
use swaprig::client::{
    Bid, BuyError, Buyer, Chains, Config, Policy, Record, Refusal, Rescue, Stage, Wish,
};
use swaprig::config::Network;
use swaprig::swap::FeeRate;
use swaprig_harness::time::Deadline;
use swaprig_harness::units::{BlockDelta, Msat, Preimage, Sat, Units, parse_duration};
use uuid::Uuid;

use super::client_loops::{
    self, LoopInArgs, LoopOutArgs, RefundArgs, RescueLoopArgs, ResumeLoopsArgs, WalletArgs,
};
#[cfg(feature = "failpoints")]
use super::client_shared::choose_failpoint;
use super::client_shared::{
    Failed, LightningFlags, Shown, StoreFlags, explained, list_lines, tell_resumed, usage,
};
use super::{Exit, runtime};

#[derive(Debug, Args)]
#[command(after_help = "\
Exit status: 0 the swap is claimed, the loop claimed or paid, or what was asked for was shown or done; 1 it was refused, failed, was \
undone, or the coins are lost; \
2 the usage is wrong; 3 a server, a node, an index or the disk failed, or the time was over (`resume` goes on); \
4 there is no such swap.")]
pub(super) struct ClientArgs {
    #[command(subcommand)]
    command: ClientCommand,
}

#[derive(Debug, Subcommand)]
enum ClientCommand {
    /// Buy L-BTC or another asset: ask for a swap, check it, pay it, claim it
    Buy(BuyArgs),
    /// Pay over Lightning and receive bitcoin on chain
    LoopOut(LoopOutArgs),
    /// Pay bitcoin on chain and receive over Lightning
    LoopIn(LoopInArgs),
    /// Give a loop in up and take its coins back
    Refund(RefundArgs),
    /// Show a swap or a loop
    Status(StatusArgs),
    /// List the swaps and loops of this client
    List(ListArgs),
    /// Drive on all purchases that are not over
    Resume(ResumeArgs),
    /// Drive on all loops that are not over
    ResumeLoops(ResumeLoopsArgs),
    /// Show the balance of the loops' Bitcoin wallet and an address to send coins to
    Wallet(WalletArgs),
    /// Claim with a rescue file alone, when the store is lost
    Rescue(RescueArgs),
    /// Claim a loop out, or take a loop in back after its timeout, with a rescue file alone
    RescueLoop(RescueLoopArgs),
}

#[derive(Debug, Args)]
struct BuyArgs {
    /// What to buy: lbtc, or an asset id of 64 hexadecimal digits
    #[arg(long, default_value = "lbtc")]
    asset: String,
    /// How much, such as "50_000 sat" or "7 units"
    #[arg(long, value_parser = amount)]
    amount: Units,
    /// The most to pay for it, such as "60_000 sat"; routing comes on top
    #[arg(long)]
    max_price: Msat,
    /// A name for the purchase; the same name again is the same purchase
    #[arg(long, value_name = "UUID")]
    request_id: Option<Uuid>,
    #[command(flatten)]
    buyer: BuyerFlags,
}

#[derive(Debug, Args)]
struct StatusArgs {
    /// The name of the purchase, or the server's name of the swap
    id: Uuid,
    #[command(flatten)]
    store: StoreFlags,
}

#[derive(Debug, Args)]
struct ListArgs {
    #[command(flatten)]
    store: StoreFlags,
}

#[derive(Debug, Args)]
struct ResumeArgs {
    #[command(flatten)]
    buyer: BuyerFlags,
}

#[derive(Debug, Args)]
struct RescueArgs {
    /// The file; it is below `rescue/` in the buyer's directory
    file: PathBuf,
    /// The preimage, when it is not in the file; the Lightning node has it
    #[arg(long, value_name = "HEX")]
    preimage: Option<Preimage>,
    /// Where the coins go instead
    #[arg(long, value_name = "ADDRESS")]
    to: Option<String>,
    /// What to bid for the block, satoshi for 1,000 virtual bytes
    #[arg(long, value_name = "SAT", default_value = "1000")]
    fee_rate: u64,
    /// The Liquid network
    #[arg(long, default_value = "liquidregtest", env = "SWAPRIG_BUYER_NETWORK")]
    network: Network,
    /// Your Electrum server of Liquid
    #[arg(long, value_name = "HOST:PORT", env = "SWAPRIG_BUYER_ELECTRUM")]
    electrum: String,
}

#[derive(Debug, Args)]
struct BuyerFlags {
    #[command(flatten)]
    store: StoreFlags,
    #[command(flatten)]
    connections: Connections,
    #[command(flatten)]
    rules: Rules,
    /// How long to go on before the swap is left as it is, such as "10 min"
    #[arg(long, value_name = "TIME", default_value = "10 min", value_parser = parse_duration)]
    within: Duration,
    /// For crash tests: abort:N, abort-at:NAME or file:FILE; refused outside regtest
    #[cfg(feature = "failpoints")]
    #[arg(long, hide = true)]
    failpoint: Option<swaprig::failpoint::Failpoint>,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Connections")]
struct Connections {
    /// The swap server
    #[arg(long, value_name = "URL", env = "SWAPRIG_BUYER_SERVER")]
    server: String,
    /// Your own Electrum server of Liquid
    #[arg(long, value_name = "HOST:PORT", env = "SWAPRIG_BUYER_ELECTRUM")]
    electrum: String,
    #[command(flatten)]
    lightning: LightningFlags,
    /// The Liquid network; Bitcoin is the one that belongs to it
    #[arg(long, default_value = "liquidregtest", env = "SWAPRIG_BUYER_NETWORK")]
    network: Network,
    /// L-BTC, on a regtest of your own
    #[arg(long, value_name = "HEX", env = "SWAPRIG_BUYER_POLICY_ASSET")]
    policy_asset: Option<AssetId>,
    /// Where claims go, confidential or not
    #[arg(long, value_name = "ADDRESS", env = "SWAPRIG_BUYER_TO")]
    to: String,
    /// The seed of the claim keys, 64 hexadecimal digits, mode 0600; made when there is none [default: DIR/seed]
    #[arg(long, value_name = "FILE", env = "SWAPRIG_BUYER_SEED_FILE")]
    seed_file: Option<PathBuf>,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Rules")]
struct Rules {
    /// Confirmations of the funding before it is paid
    #[arg(long, value_name = "N", default_value = "2")]
    min_confirmations: u32,
    /// The most Bitcoin blocks for which a payment may be locked; at least 45
    #[arg(long, value_name = "BLOCKS", default_value = "64")]
    max_total_cltv: BlockDelta,
    /// Liquid blocks that must be left to claim after that
    #[arg(long, value_name = "BLOCKS", default_value = "120")]
    claim_margin: BlockDelta,
    /// The most that routing may cost
    #[arg(long, value_name = "AMOUNT", default_value = "10 sat")]
    max_routing_fee: Msat,
    /// The most that is paid before anything is locked, and lost if nothing is
    #[arg(long, value_name = "AMOUNT", default_value = "0 sat")]
    max_prepay: Msat,
    /// The only Lightning node that is paid
    #[arg(long, value_name = "KEY")]
    payee: Option<PublicKey>,
    /// The least L-BTC that must be locked beside another asset for the claim's fee
    #[arg(long, value_name = "AMOUNT", default_value = "49 sat")]
    min_fee_value: Sat,
    /// The first bid for the claim, satoshi for 1,000 virtual bytes
    #[arg(long, value_name = "SAT", default_value = "100")]
    fee_rate: u64,
    /// The highest bid, at the timeout
    #[arg(long, value_name = "SAT", default_value = "10000")]
    max_fee_rate: u64,
    /// Confirmations of the claim after which the swap is over
    #[arg(long, value_name = "N", default_value = "2")]
    claim_depth: u32,
}

fn amount(text: &str) -> Result<Units, String> {
    let units = text.parse::<Units>();
    match (units, text.parse::<Sat>()) {
        (Ok(units), _) => Ok(units),
        (Err(_), Ok(sat)) => Ok(Units(sat.0)),
        (Err(error), Err(_)) => Err(error.to_string()),
    }
}

fn failed(error: BuyError) -> Failed {
    let exit = match &error {
        BuyError::Refused(_) | BuyError::NotNow { .. } | BuyError::Spend(_) => Exit::Failed,
        BuyError::NoSuchSwap(_) => Exit::Nothing,
        BuyError::OtherWish(_) | BuyError::Policy(_) => Exit::Usage,
        BuyError::Server(_)
        | BuyError::Lightning(_)
        | BuyError::Source(_)
        | BuyError::Store(_)
        | BuyError::Rescue(_)
        | BuyError::TimedOut(_) => Exit::Environment,
    };
    let refusal = match &error {
        BuyError::Refused(refusal) => Some(refusal),
        _ => None,
    };
    (exit, explained(&error, refusal))
}

pub(super) fn client(args: ClientArgs) -> Exit {
    let done = match args.command {
        ClientCommand::Buy(args) => runtime().block_on(buy(args)),
        ClientCommand::LoopOut(args) => runtime().block_on(client_loops::loop_out(args)),
        ClientCommand::LoopIn(args) => runtime().block_on(client_loops::loop_in(args)),
        ClientCommand::Refund(args) => runtime().block_on(client_loops::refund(args)),
        ClientCommand::ResumeLoops(args) => runtime().block_on(client_loops::resume(&args)),
        ClientCommand::Wallet(args) => runtime().block_on(client_loops::wallet(&args)),
        ClientCommand::Status(args) => status(&args),
        ClientCommand::List(args) => list(&args),
        ClientCommand::Resume(args) => runtime().block_on(resume(&args)),
        ClientCommand::Rescue(args) => runtime().block_on(rescue(args)),
        ClientCommand::RescueLoop(args) => runtime().block_on(client_loops::rescue(&args)),
    };
    done.unwrap_or_else(|(exit, why)| {
        eprintln!("swaprig client: {why}");
        exit
    })
}

fn chains(network: Network, policy_asset: Option<AssetId>) -> Chains {
    let regtest = policy_asset.unwrap_or_else(swaprig_harness::elementsd::lbtc);
    let (params, lbtc, bitcoin) = match network {
        Network::Liquid => (
            &AddressParams::LIQUID,
            AssetId::LIQUID_BTC,
            Bitcoin::Bitcoin,
        ),
        Network::LiquidTestnet => (
            &AddressParams::LIQUID_TESTNET,
            AssetId::LIQUIDTESTNET_BTC,
            Bitcoin::Testnet,
        ),
        Network::LiquidRegtest => (&AddressParams::ELEMENTS, regtest, Bitcoin::Regtest),
    };
    Chains {
        params,
        lbtc,
        bitcoin,
    }
}

fn address(text: &str, params: &'static AddressParams) -> Result<Address, Failed> {
    Address::parse_with_params(text, params)
        .map_err(|error| usage(format!("`{text}` is no address of this network: {error}")))
}

/// Opens the buyer that the flags describe. Must be called inside a runtime.
fn open(flags: &BuyerFlags) -> Result<(Buyer, Chains), Failed> {
    let BuyerFlags {
        store,
        connections,
        rules,
        ..
    } = flags;
    #[cfg(feature = "failpoints")]
    choose_failpoint(
        flags.failpoint.as_ref(),
        connections.network == Network::LiquidRegtest,
    )?;
    let chains = chains(connections.network, connections.policy_asset);
    let seed = store.seed(connections.seed_file.as_deref())?;
    let lightning = connections
        .lightning
        .node(bitcoin_of(connections.network))?;
    let config = Config {
        witness: None,
        server: connections.server.clone(),
        lightning,
        electrum: connections.electrum.clone(),
        dir: store.dir.clone(),
        chains,
        policy: policy(rules),
        seed,
        destination: address(&connections.to, chains.params)?,
    };
    Ok((Buyer::open(config).map_err(failed)?, chains))
}

fn bitcoin_of(network: Network) -> &'static str {
    match network {
        Network::Liquid => "bitcoin",
        Network::LiquidTestnet => "testnet",
        Network::LiquidRegtest => "regtest",
    }
}

fn policy(rules: &Rules) -> Policy {
    Policy {
        min_confirmations: rules.min_confirmations,
        max_total_cltv: rules.max_total_cltv,
        max_routing_fee: rules.max_routing_fee,
        claim_margin: rules.claim_margin,
        max_prepay: rules.max_prepay,
        payee: rules.payee,
        min_fee_value: rules.min_fee_value,
        bid: Bid {
            first: FeeRate(rules.fee_rate),
            cap: FeeRate(rules.max_fee_rate),
            ..Bid::default()
        },
        claim_depth: rules.claim_depth,
        ..Policy::default()
    }
}

async fn buy(args: BuyArgs) -> Result<Exit, Failed> {
    let (buyer, chains) = open(&args.buyer)?;
    let asset = match args.asset.as_str() {
        "lbtc" => chains.lbtc,
        text => text
            .parse()
            .map_err(|_| usage(format!("`{text}` is neither lbtc nor an asset id")))?,
    };
    let wish = Wish {
        request_id: args.request_id,
        asset,
        amount: args.amount,
        max_price: args.max_price,
    };
    let record = buyer.wished(&wish).map_err(failed)?;
    let id = record.request.request_id;
    if !args.buyer.store.json {
        // Before anything else, so that it can be driven on whatever happens.
        println!("purchase {id}");
    }
    let deadline = Deadline::after(args.buyer.within);
    let ended = buyer.run(id, deadline).await;
    let shown = buyer.status(id).map_err(failed)?;
    shown.show(args.buyer.store.json);
    match ended {
        // A server that makes no such swap has ended it: the refusal was shown.
        Err(_) if shown.stage.is_final() => {}
        ended => drop(ended.map_err(failed)?),
    }
    Ok(shown.verdict())
}

fn find(dir: &Path, id: Uuid) -> Result<Record, Failed> {
    let records = swaprig::client::stored(dir).map_err(|e| failed(e.into()))?;
    let is_it = |record: &Record| {
        record.request.request_id == id || record.swap_id.is_some_and(|swap| swap.0 == id)
    };
    let found = records.into_iter().find(is_it);
    found.ok_or_else(|| {
        let why = format!("there is no purchase and no loop {id} in {dir}; `swaprig client list --dir {dir}` shows what there is", dir = dir.display());
        (Exit::Nothing, why)
    })
}

fn status(args: &StatusArgs) -> Result<Exit, Failed> {
    if client_loops::shown(&args.store, args.id)? {
        return Ok(Exit::Passed);
    }
    find(&args.store.dir, args.id)?.show(args.store.json);
    Ok(Exit::Passed)
}

fn list(args: &ListArgs) -> Result<Exit, Failed> {
    let purchases = swaprig::client::stored(&args.store.dir).map_err(|e| failed(e.into()))?;
    let loops = client_loops::all(&args.store.dir)?;
    match args.store.json {
        true => {
            let purchases = purchases.iter().map(Shown::object);
            let all: Vec<Value> = purchases.chain(loops.iter().map(Shown::object)).collect();
            println!("{:#}", Value::from(all));
        }
        false => {
            list_lines(&purchases);
            list_lines(&loops);
        }
    }
    Ok(Exit::Passed)
}

async fn resume(args: &ResumeArgs) -> Result<Exit, Failed> {
    let (buyer, _) = open(&args.buyer)?;
    let deadline = Deadline::after(args.buyer.within);
    let ended = buyer.resume_all(deadline).await.map_err(failed)?;
    let ended = ended.into_iter().map(|(id, outcome)| {
        let shown = buyer.status(id).map_err(failed)?;
        Ok((shown, outcome.map(drop).map_err(failed)))
    });
    let ended = ended.collect::<Result<Vec<_>, Failed>>()?;
    Ok(tell_resumed(&ended, args.buyer.store.json))
}

async fn rescue(args: RescueArgs) -> Result<Exit, Failed> {
    let read = Rescue::read(&args.file).map_err(|e| failed(e.into()))?;
    let rescue = match args.preimage {
        Some(preimage) => read.with_preimage(preimage),
        None => read,
    };
    let params = chains(args.network, None).params;
    let text = args.to.as_deref().unwrap_or(&rescue.destination);
    let to = address(text, params)?;
    let deadline = Deadline::after(Duration::from_secs(60));
    let claim = rescue.claim(&to, FeeRate(args.fee_rate), &args.electrum, deadline);
    let txid = claim.await.map_err(failed)?;
    println!("sent {txid} to {to}");
    Ok(Exit::Passed)
}

impl Shown for Record {
    fn id(&self) -> Uuid {
        self.request.request_id
    }

    fn stage(&self) -> &'static str {
        self.stage.name()
    }

    fn about(&self) -> String {
        format!("{} of {}", self.request.amount, self.request.asset)
    }

    fn verdict(&self) -> Exit {
        match self.stage {
            Stage::Claimed => Exit::Passed,
            Stage::Refused | Stage::PaymentFailed | Stage::Lost => Exit::Failed,
            Stage::Created | Stage::Paying | Stage::Claiming => Exit::Environment,
        }
    }

    fn fields(&self) -> Value {
        let offer = self.offer.as_ref();
        let funding = offer.and_then(|offer| offer.funding.as_ref());
        let claim = self.claims.last();
        json!({
            "request_id": self.request.request_id,
            "swap_id": self.swap_id,
            "stage": self.stage.name(),
            "asset_id": self.request.asset,
            "amount": self.request.amount,
            "max_price_msat": self.request.max_price,
            "price_msat": offer.map(|offer| offer.price),
            "payment_hash": offer.map(|offer| offer.payment_hash),
            "timeout": offer.map(|offer| offer.timeout),
            "funding_txid": funding.map(|funding| funding.txid),
            "preimage": self.preimage,
            "claim_txid": claim.map(|claim| claim.txid),
            "claim_fee_sat": claim.map(|claim| claim.fee),
        })
    }

    fn lines(&self) -> Vec<(&'static str, String)> {
        let max_price = self.request.max_price;
        let mut lines = vec![
            ("purchase", self.id().to_string()),
            ("stage", self.stage().to_owned()),
            ("buys", self.about()),
        ];
        if let Some(offer) = &self.offer {
            let price = format!("{} (at most {max_price})", offer.price);
            lines.push(("swap", offer.swap_id.to_string()));
            lines.push(("price", price));
            lines.push(("timeout", offer.timeout.to_string()));
            if let Some(funding) = &offer.funding {
                let coin = format!("{}:{}", funding.txid, funding.vout);
                lines.push(("locked in", coin));
            }
        }
        if let Some(claim) = self.claims.last() {
            let text = format!("{} (fee {})", claim.txid, claim.fee);
            lines.push(("claim", text));
        }
        lines
    }

    fn refusal(&self) -> Option<&Refusal> {
        self.refusal.as_ref()
    }
}
