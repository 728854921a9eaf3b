//! The swap server's configuration: a TOML file, flags and environment variables over it, checked as a whole.
//!
//! Each setting has one name: `refund_delta_blocks` in the file, `--refund-delta-blocks` as a flag,
//! `SWAPRIG_REFUND_DELTA_BLOCKS` in the environment. A flag goes before the environment, that before the file.

mod loops;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use clap::{Args, ValueEnum};
use elements::{AssetId, BlockHash};
use serde::{Deserialize, Serialize};
use swaprig_units::{BlockDelta, Msat, Sat, Units};

use crate::lightning::CredentialSource;
use crate::swap::{BuyerPolicy, ChainName, ServerPolicy};

pub use loops::Loops;

/// The smallest price of a swap. A held payment below a channel's dust limit (354 sat with anchors, BOLT 3) cannot be seen, and
/// is lost to fees when the channel is closed.
const LEAST_PRICE: Msat = Msat(1_000_000);
/// The smallest amount of L-BTC. Its claim costs 24 sat at the lowest feerate, and an output below some hundred is dust.
const LEAST_LBTC: Sat = Sat(1_000);

/// Why the server cannot run as it is configured.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("the configuration {}: {source}", path.display())]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file is no TOML, or has a key that means nothing.
    #[error("the configuration {}: {reason}", path.display())]
    Malformed {
        /// Which file.
        path: PathBuf,
        /// Where and what.
        reason: String,
    },
    /// A setting without which nothing works is not there.
    #[error("`{key}` is not set: write it in the file, as --{flag}, or as SWAPRIG_{env}", flag = key.replace('_', "-"), env = key.to_uppercase())]
    Missing {
        /// Which.
        key: &'static str,
    },
    /// Settings that would lose money or cannot work.
    #[error("{key}: {reason}")]
    Unsound {
        /// Which setting.
        key: &'static str,
        /// Why, and what to do.
        reason: String,
    },
}

/// A Liquid network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
#[value(rename_all = "lowercase")]
pub enum Network {
    /// The real one.
    Liquid,
    /// The public test network.
    LiquidTestnet,
    /// A chain of one's own.
    LiquidRegtest,
}

/// How the server writes its log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
#[value(rename_all = "lowercase")]
pub enum LogFormat {
    /// A line for people.
    Text,
    /// A JSON object a line.
    Json,
}

/// An asset on sale.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sale {
    /// Which.
    pub asset: AssetId,
    /// Price of one smallest part of it, millisatoshi.
    pub price_msat: u64,
    /// The smallest amount sold, in its smallest parts.
    #[serde(default = "default_min")]
    pub min: u64,
    /// The largest amount sold in one swap, in its smallest parts; as much as there is when not set.
    pub max: Option<u64>,
    /// Size of the coins that are kept ready for swaps; 0 keeps none ready.
    #[serde(default)]
    pub coin: u64,
}

fn default_min() -> u64 {
    1
}

impl FromStr for Sale {
    type Err = String;

    /// `ASSET=PRICE_MSAT`, then `,min=…`, `,max=…`, `,coin=…` in any order.
    fn from_str(text: &str) -> Result<Self, String> {
        let mut parts = text.split(',');
        let first = parts.next().unwrap_or_default();
        let (asset, price) = first
            .split_once('=')
            .ok_or_else(|| format!("{first} is not ASSET=PRICE_MSAT"))?;
        let number = |text: &str| {
            let digits = text.replace('_', "");
            digits
                .parse::<u64>()
                .map_err(|_| format!("{text} is no whole number"))
        };
        let mut sale = Sale {
            asset: asset
                .parse()
                .map_err(|_| format!("{asset} is no asset id of 64 hexadecimal digits"))?,
            price_msat: number(price)?,
            min: default_min(),
            max: None,
            coin: 0,
        };
        for part in parts {
            match part.split_once('=') {
                Some(("min", value)) => sale.min = number(value)?,
                Some(("max", value)) => sale.max = Some(number(value)?),
                Some(("coin", value)) => sale.coin = number(value)?,
                _ => return Err(format!("{part} is none of min=, max= and coin=")),
            }
        }
        Ok(sale)
    }
}

/// Every setting as it was given, or not.
#[derive(Debug, Clone, Default, Args, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Where buyers connect: host:port [default: 127.0.0.1:9745]
    #[arg(long, env = "SWAPRIG_LISTEN", value_name = "ADDRESS")]
    pub listen: Option<SocketAddr>,
    /// Where the operator connects: host:port [default: 127.0.0.1:9746]
    #[arg(long, env = "SWAPRIG_ADMIN_LISTEN", value_name = "ADDRESS")]
    pub admin_listen: Option<SocketAddr>,
    /// Where Prometheus reads metrics over HTTP: host:port [default: nowhere]
    #[arg(long, env = "SWAPRIG_METRICS_LISTEN", value_name = "ADDRESS")]
    pub metrics_listen: Option<SocketAddr>,
    /// Bitcoin, for loops: http://USER:PASSWORD@HOST:PORT of a bitcoind, http://HOST:PORT with `bitcoin_cookie`, or tcp://HOST:PORT of an Electrum server
    #[arg(long, env = "SWAPRIG_BITCOIN_URL", value_name = "URL")]
    pub bitcoin_url: Option<String>,
    /// The cookie file of that bitcoind
    #[arg(long, env = "SWAPRIG_BITCOIN_COOKIE", value_name = "FILE")]
    pub bitcoin_cookie: Option<PathBuf>,
    /// The Bitcoin height before which the seed was not used: the wallet is scanned from there [default: 0]
    #[arg(long, env = "SWAPRIG_BITCOIN_BIRTHDAY", value_name = "HEIGHT")]
    pub bitcoin_birthday: Option<u32>,
    /// A service that tells fee rates as mempool.space does, asked before bitcoind: its URL
    #[arg(long, env = "SWAPRIG_BITCOIN_FEE_URL", value_name = "URL")]
    pub bitcoin_fee_url: Option<String>,
    /// The lowest fee rate on Bitcoin, satoshi per 1,000 vbytes [default: 1000]
    #[arg(long, env = "SWAPRIG_BITCOIN_FEE_FLOOR", value_name = "SAT_PER_KVB")]
    pub bitcoin_fee_floor: Option<u64>,
    /// The highest fee rate on Bitcoin, of late claims and refunds, too; satoshi per 1,000 vbytes [default: 500000]
    #[arg(long, env = "SWAPRIG_BITCOIN_FEE_CAP", value_name = "SAT_PER_KVB")]
    pub bitcoin_fee_cap: Option<u64>,
    /// The fee rate on Bitcoin when nobody can tell one, satoshi per 1,000 vbytes [default: 5000]
    #[arg(long, env = "SWAPRIG_BITCOIN_FEE_FALLBACK", value_name = "SAT_PER_KVB")]
    pub bitcoin_fee_fallback: Option<u64>,
    /// The server's part of a loop's fee that does not depend on the amount, satoshi; what the chain costs comes on top [default: 0]
    #[arg(long, env = "SWAPRIG_LOOP_BASE_FEE_SAT", value_name = "SAT")]
    pub loop_base_fee_sat: Option<u64>,
    /// The part that does, millionths of the amount [default: 2000]
    #[arg(long, env = "SWAPRIG_LOOP_FEE_PPM", value_name = "PPM")]
    pub loop_fee_ppm: Option<u32>,
    /// The smallest loop, satoshi [default: 20000]
    #[arg(long, env = "SWAPRIG_LOOP_MIN_SAT", value_name = "SAT")]
    pub loop_min_sat: Option<u64>,
    /// The largest loop, satoshi [default: as much as there is]
    #[arg(long, env = "SWAPRIG_LOOP_MAX_SAT", value_name = "SAT")]
    pub loop_max_sat: Option<u64>,
    /// Size of the coins that are kept ready for loops, satoshi; 0 keeps none ready [default: 0]
    #[arg(long, env = "SWAPRIG_LOOP_COIN_SAT", value_name = "SAT")]
    pub loop_coin_sat: Option<u64>,
    /// Bitcoin blocks from the making of a loop to its timeout, at most [default: 288]
    #[arg(long, env = "SWAPRIG_LOOP_DELTA_BLOCKS", value_name = "BLOCKS")]
    pub loop_delta_blocks: Option<u32>,
    /// Bitcoin blocks that a client has to claim a loop out, at least [default: 24]
    #[arg(long, env = "SWAPRIG_LOOP_CLAIM_WINDOW_BLOCKS", value_name = "BLOCKS")]
    pub loop_claim_window_blocks: Option<u32>,
    /// Bitcoin blocks between the timeout of a loop out and the lapse of the payment that is held for it [default: 18 on mainnet, else 12]
    #[arg(long, env = "SWAPRIG_LOOP_REFUND_WINDOW_BLOCKS", value_name = "BLOCKS")]
    pub loop_refund_window_blocks: Option<u32>,
    /// Confirmations after which a claim or a refund on Bitcoin is final [default: 6 on mainnet, else 2]
    #[arg(long, env = "SWAPRIG_LOOP_FINAL_CONFIRMATIONS", value_name = "N")]
    pub loop_final_confirmations: Option<u32>,
    /// Bitcoin blocks in which a loop must be funded [default: 36]
    #[arg(long, env = "SWAPRIG_LOOP_FUNDING_BLOCKS", value_name = "BLOCKS")]
    pub loop_funding_blocks: Option<u32>,
    /// Confirmations of a client's coins before a loop in is paid [default: 3]
    #[arg(long, env = "SWAPRIG_LOOP_IN_CONFIRMATIONS", value_name = "N")]
    pub loop_in_confirmations: Option<u32>,
    /// The most Bitcoin blocks for which a payment of a loop in may lock coins [default: 144]
    #[arg(long, env = "SWAPRIG_LOOP_IN_MAX_CLTV", value_name = "BLOCKS")]
    pub loop_in_max_cltv: Option<u32>,
    /// Whether loops out may have coins locked before they are paid for without a prepay: anybody can lock them for nothing then [default: false]
    #[arg(long, env = "SWAPRIG_LOOP_COINS_FIRST", value_name = "BOOL", num_args = 0..=1, default_missing_value = "true")]
    pub loop_coins_first: Option<bool>,
    /// The most loops in at once whose clients have not locked their coins yet; they do not count as in flight [default: 5000]
    #[arg(long, env = "SWAPRIG_LOOP_IN_MAX_UNFUNDED", value_name = "N")]
    pub loop_in_max_unfunded: Option<u32>,
    /// The most that the routing of a loop in may cost, millionths of the amount [default: 1000]
    #[arg(long, env = "SWAPRIG_LOOP_IN_ROUTING_PPM", value_name = "PPM")]
    pub loop_in_routing_ppm: Option<u32>,
    /// Where clients of loop out and loop in connect, over HTTP: host:port [default: nowhere, and no loops are made]
    #[arg(long, env = "SWAPRIG_REST_LISTEN", value_name = "ADDRESS")]
    pub rest_listen: Option<SocketAddr>,
    /// Directory of the store and of the wallet's cache
    #[arg(long, env = "SWAPRIG_DATA_DIR", value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// File with the mnemonic of the wallet, mode 0600 [default: DATA_DIR/seed; made when it is not there]
    #[arg(long, env = "SWAPRIG_SEED_FILE", value_name = "FILE")]
    pub seed_file: Option<PathBuf>,
    /// The store [default: DATA_DIR/swaps.db]
    #[arg(long, env = "SWAPRIG_STORE", value_name = "FILE")]
    pub store: Option<PathBuf>,
    /// Cache of the wallet [default: DATA_DIR/wallet]
    #[arg(long, env = "SWAPRIG_WALLET_DIR", value_name = "DIR")]
    pub wallet_dir: Option<PathBuf>,
    /// The Liquid network [default: liquidregtest]
    #[arg(long, env = "SWAPRIG_NETWORK")]
    pub network: Option<Network>,
    /// L-BTC of a regtest network [default: the one of swaprig's worlds]
    #[arg(long, env = "SWAPRIG_POLICY_ASSET", value_name = "ASSET")]
    pub policy_asset: Option<AssetId>,
    /// Electrum server of the Liquid chain: tcp://host:port or ssl://host:port
    #[arg(long, env = "SWAPRIG_ELECTRUM_URL", value_name = "URL")]
    pub electrum_url: Option<String>,
    /// ldk-server's gRPC listener: host:port
    #[arg(long, env = "SWAPRIG_LDK_ADDRESS", value_name = "ADDRESS")]
    pub ldk_address: Option<String>,
    /// Hash of the first block of a regtest network [default: the one of swaprig's worlds]
    #[arg(long, env = "SWAPRIG_GENESIS_HASH", value_name = "HASH")]
    pub genesis_hash: Option<BlockHash>,
    /// File with ldk-server's API key or macaroon [default: found in LDK_DIR]
    #[arg(long, env = "SWAPRIG_LDK_CREDENTIAL", value_name = "FILE")]
    pub ldk_credential: Option<PathBuf>,
    /// ldk-server's storage directory, with its certificate and credential
    #[arg(long, env = "SWAPRIG_LDK_DIR", value_name = "DIR")]
    pub ldk_dir: Option<PathBuf>,
    /// ldk-server's certificate [default: LDK_DIR/tls.crt]
    #[arg(long, env = "SWAPRIG_LDK_CERT", value_name = "FILE")]
    pub ldk_cert: Option<PathBuf>,
    /// Bitcoin's network, as ldk-server names it [default: regtest]
    #[arg(long, env = "SWAPRIG_BITCOIN_NETWORK", value_name = "NAME")]
    pub bitcoin_network: Option<String>,
    /// An asset on sale: ASSET=PRICE_MSAT,min=N,max=N,coin=N, amounts in its smallest parts, the last three as wanted; repeat for more
    #[arg(long, env = "SWAPRIG_SELL", value_name = "SALE", value_delimiter = ';')]
    pub sell: Vec<Sale>,
    /// L-BTC added to a swap of another asset for the claim's fee, satoshi [default: 100]
    #[arg(long, env = "SWAPRIG_FEE_SUBSIDY_SAT", value_name = "SAT")]
    pub fee_subsidy_sat: Option<u64>,
    /// Liquid blocks from the making of a swap to its timeout [default: 2000]
    #[arg(long, env = "SWAPRIG_REFUND_DELTA_BLOCKS", value_name = "BLOCKS")]
    pub refund_delta_blocks: Option<u32>,
    /// Liquid blocks before the timeout at which no payment is taken any more [default: 120]
    #[arg(long, env = "SWAPRIG_CLAIM_WINDOW_BLOCKS", value_name = "BLOCKS")]
    pub claim_window_blocks: Option<u32>,
    /// Liquid blocks in which a funding must be confirmed [default: 120]
    #[arg(long, env = "SWAPRIG_FUNDING_TIMEOUT_BLOCKS", value_name = "BLOCKS")]
    pub funding_timeout_blocks: Option<u32>,
    /// How long an invoice can be paid, seconds [default: 3600]
    #[arg(long, env = "SWAPRIG_INVOICE_EXPIRY_SECONDS", value_name = "SECONDS")]
    pub invoice_expiry_seconds: Option<u32>,
    /// The most confirmations that a buyer may ask for, up to 6 [default: 6]
    #[arg(long, env = "SWAPRIG_MAX_CONFIRMATIONS", value_name = "N")]
    pub max_confirmations: Option<u32>,
    /// Confirmations after which a claim or a refund on Liquid is final [default: 2]
    #[arg(long, env = "SWAPRIG_FINAL_CONFIRMATIONS", value_name = "N")]
    pub final_confirmations: Option<u32>,
    /// How long CreateSwap may take, and wait for confirmations; seconds [default: 300]
    #[arg(long, env = "SWAPRIG_CREATE_TIMEOUT_SECONDS", value_name = "SECONDS")]
    pub create_timeout_seconds: Option<u32>,
    /// The most swaps in flight, without loops in that nothing was locked for [default: 1000]
    #[arg(long, env = "SWAPRIG_MAX_IN_FLIGHT", value_name = "N")]
    pub max_in_flight: Option<u32>,
    /// The most that unpaid swaps may be worth together, millisatoshi [default: no limit]
    #[arg(long, env = "SWAPRIG_MAX_EXPOSURE_MSAT", value_name = "MSAT")]
    pub max_exposure_msat: Option<u64>,
    /// What a buyer pays before a swap is funded, not returned, millisatoshi; 0 asks for nothing [default: 0]
    #[arg(long, env = "SWAPRIG_PREPAY_MSAT", value_name = "MSAT")]
    pub prepay_msat: Option<u64>,
    /// Fee of fundings and splits, and of refunds at first; satoshi per 1,000 discounted vbytes [default: 100]
    #[arg(long, env = "SWAPRIG_FEE_RATE", value_name = "SAT_PER_KVB")]
    pub fee_rate: Option<u64>,
    /// The highest fee that a late refund is raised to; satoshi per 1,000 discounted vbytes [default: 5000]
    #[arg(long, env = "SWAPRIG_MAX_FEE_RATE", value_name = "SAT_PER_KVB")]
    pub max_fee_rate: Option<u64>,
    /// How often what waits is looked at although nothing was told, milliseconds [default: 1000]
    #[arg(long, env = "SWAPRIG_POLL_INTERVAL_MILLIS", value_name = "MILLIS")]
    pub poll_interval_millis: Option<u32>,
    /// How often a refund that is not confirmed is sent again, Liquid blocks [default: 1]
    #[arg(long, env = "SWAPRIG_REFUND_INTERVAL_BLOCKS", value_name = "BLOCKS")]
    pub refund_interval_blocks: Option<u32>,
    /// How the log is written [default: text]
    #[arg(long, env = "SWAPRIG_LOG_FORMAT")]
    pub log_format: Option<LogFormat>,
    /// What the log tells: error, warn, info, debug or trace [default: info]
    #[arg(long, env = "SWAPRIG_LOG_LEVEL", value_name = "LEVEL")]
    pub log_level: Option<String>,
}

/// A configuration that is complete and sound.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where buyers connect.
    pub listen: SocketAddr,
    /// Where the operator connects.
    pub admin_listen: SocketAddr,
    /// Where Prometheus reads.
    pub metrics_listen: Option<SocketAddr>,
    /// Where clients of loops connect; `None`: nowhere.
    pub rest_listen: Option<SocketAddr>,
    /// How loops are made.
    pub loops: Loops,
    /// The server's own directory.
    pub data_dir: PathBuf,
    /// The mnemonic.
    pub seed_file: PathBuf,
    /// The store.
    pub store: PathBuf,
    /// The wallet's cache.
    pub wallet_dir: PathBuf,
    /// The Liquid network.
    pub network: Network,
    /// L-BTC.
    pub lbtc: AssetId,
    /// Hash of the first block of a regtest network.
    pub genesis_hash: BlockHash,
    /// The Liquid index; `None`: nothing is sold on Liquid.
    pub electrum_url: Option<String>,
    /// ldk-server.
    pub ldk_address: String,
    /// Where ldk-server's credential is.
    pub ldk_credential: CredentialSource,
    /// ldk-server's certificate.
    pub ldk_cert: PathBuf,
    /// What is on sale, unless the operator has said otherwise by the admin service.
    pub sell: Vec<Sale>,
    /// L-BTC beside another asset.
    pub fee_subsidy: Sat,
    /// From the making of a swap to its timeout.
    pub refund_delta: BlockDelta,
    /// Before the timeout, when no payment is taken.
    pub claim_window: BlockDelta,
    /// In which a funding must be confirmed.
    pub funding_window: BlockDelta,
    /// How long an invoice can be paid.
    pub invoice_expiry: Duration,
    /// The most confirmations of a funding.
    pub max_confirmations: u32,
    /// After which a spend on Liquid is final.
    pub final_confirmations: u32,
    /// How long CreateSwap may take.
    pub create_timeout: Duration,
    /// The most swaps in flight.
    pub max_in_flight: u32,
    /// The most that unpaid swaps may be worth.
    pub max_exposure: Option<Msat>,
    /// Paid before a swap is funded.
    pub prepay: Msat,
    /// Satoshi per 1,000 discounted vbytes.
    pub fee_rate: u64,
    /// Satoshi per 1,000 discounted vbytes.
    pub max_fee_rate: u64,
    /// Between two looks.
    pub poll_interval: Duration,
    /// Between two sendings of a refund.
    pub refund_interval: BlockDelta,
    /// How the log is written.
    pub log_format: LogFormat,
    /// What it tells.
    pub log_level: tracing::Level,
}

impl Settings {
    /// Reads the file.
    ///
    /// # Errors
    ///
    /// When it is unreadable, no TOML, or has an unknown key; it says where.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Unreadable {
            path: path.to_owned(),
            source,
        })?;
        toml::from_str(&text).map_err(|error| ConfigError::Malformed {
            path: path.to_owned(),
            reason: error.to_string(),
        })
    }

    /// These settings, and where they say nothing, those of `file`.
    #[must_use]
    pub fn over(self, file: Settings) -> Settings {
        macro_rules! over {
            ($($field:ident)*) => {
                Settings {
                    sell: match self.sell.is_empty() {
                        true => file.sell,
                        false => self.sell,
                    },
                    $($field: self.$field.or(file.$field),)*
                }
            };
        }
        over! {
            listen admin_listen metrics_listen rest_listen bitcoin_url bitcoin_cookie bitcoin_birthday bitcoin_fee_url bitcoin_fee_floor
            bitcoin_fee_cap bitcoin_fee_fallback loop_base_fee_sat loop_fee_ppm loop_min_sat loop_max_sat loop_coin_sat loop_delta_blocks
            loop_claim_window_blocks loop_refund_window_blocks loop_funding_blocks loop_in_confirmations loop_in_max_cltv loop_in_max_unfunded loop_in_routing_ppm loop_coins_first loop_final_confirmations data_dir seed_file store wallet_dir network policy_asset genesis_hash electrum_url ldk_address ldk_credential
            ldk_dir ldk_cert bitcoin_network fee_subsidy_sat refund_delta_blocks claim_window_blocks funding_timeout_blocks
            invoice_expiry_seconds max_confirmations final_confirmations create_timeout_seconds max_in_flight
            max_exposure_msat prepay_msat fee_rate max_fee_rate poll_interval_millis refund_interval_blocks log_format log_level
        }
    }

    /// Fills in the defaults and checks the whole.
    ///
    /// # Errors
    ///
    /// When something is missing or unsound; it says what to do.
    pub fn check(self) -> Result<Config, ConfigError> {
        let bitcoin_network = self
            .bitcoin_network
            .clone()
            .unwrap_or_else(|| "regtest".into());
        let loops = Loops::of(&self, &bitcoin_network)?;
        let data_dir = self
            .data_dir
            .ok_or(ConfigError::Missing { key: "data_dir" })?;
        let missing = |key| ConfigError::Missing { key };
        let of_dir = |name: &str| self.ldk_dir.as_ref().map(|dir| dir.join(name));
        let ldk_cert = self
            .ldk_cert
            .or_else(|| of_dir("tls.crt"))
            .ok_or(missing("ldk_dir"))?;
        let ldk_credential = match (self.ldk_credential, &self.ldk_dir) {
            (Some(file), _) => CredentialSource::File(file),
            (None, Some(dir)) => CredentialSource::Storage {
                dir: dir.clone(),
                network: bitcoin_network.clone(),
            },
            (None, None) => return Err(missing("ldk_dir")),
        };
        if self.electrum_url.is_none() && loops.source.is_none() {
            return Err(missing(
                "electrum_url, for swaps on Liquid, or bitcoin_url, for loops",
            ));
        }
        let network = self.network.unwrap_or(Network::LiquidRegtest);
        let lbtc = match (network, self.policy_asset) {
            (Network::Liquid, None) => AssetId::LIQUID_BTC,
            (Network::LiquidTestnet, None) => AssetId::LIQUIDTESTNET_BTC,
            (Network::LiquidRegtest, asset) => {
                asset.unwrap_or_else(swaprig_harness::elementsd::lbtc)
            }
            (_, Some(_)) => {
                return Err(ConfigError::Unsound {
                    key: "policy_asset",
                    reason: "is for liquidregtest only: the public networks have their own".into(),
                });
            }
        };
        let level = self.log_level.unwrap_or_else(|| "info".into());
        let config = Config {
            listen: self
                .listen
                .unwrap_or(SocketAddr::from(([127, 0, 0, 1], 9745))),
            admin_listen: self
                .admin_listen
                .unwrap_or(SocketAddr::from(([127, 0, 0, 1], 9746))),
            metrics_listen: self.metrics_listen,
            rest_listen: self.rest_listen,
            loops,
            seed_file: self.seed_file.unwrap_or_else(|| data_dir.join("seed")),
            store: self.store.unwrap_or_else(|| data_dir.join("swaps.db")),
            wallet_dir: self.wallet_dir.unwrap_or_else(|| data_dir.join("wallet")),
            data_dir,
            network,
            lbtc,
            genesis_hash: self.genesis_hash.unwrap_or_else(regtest_genesis),
            electrum_url: self.electrum_url,
            ldk_address: self
                .ldk_address
                .ok_or(ConfigError::Missing { key: "ldk_address" })?,
            ldk_cert,
            ldk_credential,
            sell: self.sell,
            fee_subsidy: Sat(self.fee_subsidy_sat.unwrap_or(100)),
            refund_delta: self
                .refund_delta_blocks
                .map_or(ServerPolicy::DEFAULT.refund_delta, BlockDelta),
            claim_window: self
                .claim_window_blocks
                .map_or(ServerPolicy::DEFAULT.claim_window, BlockDelta),
            funding_window: self
                .funding_timeout_blocks
                .map_or(ServerPolicy::DEFAULT.funding_window, BlockDelta),
            invoice_expiry: Duration::from_secs(
                self.invoice_expiry_seconds.unwrap_or(3_600).into(),
            ),
            max_confirmations: self
                .max_confirmations
                .unwrap_or(ServerPolicy::DEFAULT.max_confirmations),
            final_confirmations: self.final_confirmations.unwrap_or(2),
            create_timeout: Duration::from_secs(self.create_timeout_seconds.unwrap_or(300).into()),
            max_in_flight: self.max_in_flight.unwrap_or(1_000),
            max_exposure: self.max_exposure_msat.map(Msat),
            prepay: Msat(self.prepay_msat.unwrap_or(0)),
            fee_rate: self.fee_rate.unwrap_or(100),
            max_fee_rate: self.max_fee_rate.unwrap_or(5_000),
            poll_interval: Duration::from_millis(self.poll_interval_millis.unwrap_or(1_000).into()),
            refund_interval: BlockDelta(self.refund_interval_blocks.unwrap_or(1)),
            log_format: self.log_format.unwrap_or(LogFormat::Text),
            log_level: level.parse().map_err(|_| ConfigError::Unsound {
                key: "log_level",
                reason: format!("{level} is none of error, warn, info, debug and trace"),
            })?,
        };
        config.check_numbers()?;
        Ok(config)
    }
}

/// The first block of the Liquid chain of swaprig's worlds.
fn regtest_genesis() -> BlockHash {
    swaprig_harness::elementsd::GENESIS
        .parse()
        .expect("it is 32 bytes in hexadecimal")
}

impl Config {
    /// The network as the wallet needs it.
    pub fn network(&self) -> lwk_wollet::Network {
        match self.network {
            Network::Liquid => lwk_wollet::Network::Liquid,
            Network::LiquidTestnet => lwk_wollet::Network::TestnetLiquid,
            Network::LiquidRegtest => {
                let params = lwk_common::ElementsParamsBuilder::new()
                    .with_policy_asset(self.lbtc)
                    .with_genesis_hash(self.genesis_hash)
                    .build();
                lwk_wollet::Network::CustomElements(params.expect("all that it asks for is there"))
            }
        }
    }

    /// How many confirmations make a spend on a chain final.
    pub fn finality(&self, chain: ChainName) -> u32 {
        match chain {
            ChainName::Liquid => self.final_confirmations,
            ChainName::Bitcoin => self.loops.final_confirmations,
        }
    }

    /// What is locked beside an amount of the asset.
    pub fn fee_value(&self, asset: AssetId) -> Sat {
        match asset == self.lbtc {
            true => Sat(0),
            false => self.fee_subsidy,
        }
    }

    /// The smallest amount of an asset that is sold: as configured, and never one whose payment or whose claim is dust.
    pub fn least(&self, sale: &Sale) -> Units {
        let payable = LEAST_PRICE.0.div_ceil(sale.price_msat.max(1));
        let claimable = match sale.asset == self.lbtc {
            true => LEAST_LBTC.0,
            false => 1,
        };
        Units(sale.min.max(payable).max(claimable))
    }

    fn check_numbers(&self) -> Result<(), ConfigError> {
        let unsound = |key, reason: String| Err(ConfigError::Unsound { key, reason });
        for (place, sale) in self.sell.iter().enumerate() {
            if sale.price_msat == 0 {
                return unsound(
                    "sell",
                    format!("{} would be given away: its price is 0", sale.asset),
                );
            }
            if self.sell[..place]
                .iter()
                .any(|other| other.asset == sale.asset)
            {
                return unsound("sell", format!("{} is there twice", sale.asset));
            }
        }
        let policy = ServerPolicy {
            refund_delta: self.refund_delta,
            claim_window: self.claim_window,
            funding_window: self.funding_window,
            max_confirmations: self.max_confirmations,
        };
        if let Err(error) = policy.validate(&BuyerPolicy::DEFAULT) {
            return unsound("refund_delta_blocks", error.to_string());
        }
        if self.max_confirmations == 0 || self.max_confirmations > 6 {
            return unsound("max_confirmations", "must be 1 to 6".into());
        }
        if self.final_confirmations == 0 {
            return unsound(
                "final_confirmations",
                "must be 1 at least: nothing is final before it is in a block".into(),
            );
        }
        if self.fee_rate == 0 || self.max_fee_rate < self.fee_rate {
            return unsound(
                "max_fee_rate",
                "must not be below `fee_rate`, and that not 0".into(),
            );
        }
        if self.poll_interval.is_zero() || self.create_timeout.is_zero() {
            return unsound(
                "poll_interval_millis",
                "and create_timeout_seconds must be 1 at least".into(),
            );
        }
        let rest = self.rest_listen.filter(|rest| rest.port() != 0);
        if rest.is_some_and(|rest| rest == self.listen || rest == self.admin_listen) {
            return unsound(
                "rest_listen",
                "must not be where buyers or the operator connect: they speak gRPC".into(),
            );
        }
        if self.listen.port() != 0 && self.listen == self.admin_listen {
            return unsound(
                "admin_listen",
                "must not be where buyers connect: anyone could pause the server".into(),
            );
        }
        Ok(())
    }
}
