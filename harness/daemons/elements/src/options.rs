//! The command line and configuration file of elementsd, as far as the bundled node goes.
//!
//! An option is honoured, or without effect here and accepted, or refused by name. One that elementsd does not know gets
//! elementsd's own error.

mod names;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use names::Kind;

use crate::node::{FeeRate, MAX_MONEY, Params};
use crate::rpc::amount::parse_fixed_point;
use crate::wallet::Settings;

/// The port that custom chains of elementsd serve on.
const DEFAULT_RPC_PORT: u16 = 7040;
/// The file that is read from the data directory.
const DEFAULT_CONF: &str = "elements.conf";
/// `-maxtipage`, seconds.
const DEFAULT_MAX_TIP_AGE: u64 = 86_400;

/// Why the process does not start, in elementsd's words where elementsd has some.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OptionsError {
    /// The command line.
    #[error("Error parsing command line arguments: {0}")]
    CommandLine(String),
    /// A word that is no option.
    #[error(
        "Command line contains unexpected token '{0}', see elementsd -h for a list of options."
    )]
    UnexpectedToken(String),
    /// The data directory.
    #[error("Specified data directory \"{0}\" does not exist.")]
    NoDataDir(String),
    /// The configuration file.
    #[error("Error reading configuration file: {0}")]
    File(String),
    /// A value.
    #[error("{0}")]
    Value(String),
    /// An option that the bundled node does not have.
    #[error(
        "-{name}{value} is not supported by the bundled Elements node; remove it, or run elementsd"
    )]
    Unsupported {
        /// The option.
        name: String,
        /// `=` and the value that is not supported, if another one is.
        value: String,
    },
}

/// Who may call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Login {
    /// A password that is made at start and written to this file.
    Cookie(PathBuf),
    /// `-rpcuser` and `-rpcpassword`.
    Password {
        /// The user.
        user: String,
        /// The password.
        password: String,
    },
}

/// Everything the process is started with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// The chain and its rules.
    pub params: Params,
    /// Wallets; the seed is random if the command line gives none.
    pub settings: Settings,
    /// Where to listen: loopback; port 0 takes a free one.
    pub rpc_address: SocketAddr,
    /// The user or the cookie file.
    pub login: Login,
    /// `-rpcauth`: user, salt, hash.
    pub rpc_auth: Vec<(String, String, String)>,
    /// `-maxtipage`, seconds.
    pub max_tip_age: u64,
    /// `-mocktime`, Unix seconds.
    pub mock_time: Option<u64>,
    /// `-simsnapshot`: read at start if it is there, written at the end.
    pub snapshot: Option<PathBuf>,
    /// Whether to log every call (`-debug`).
    pub debug: bool,
}

/// Options by name, each value as it was given, `""` for none; the last one counts.
type Given = HashMap<String, Vec<String>>;

impl Options {
    /// Reads the arguments after the program's name, and the file that they name.
    ///
    /// # Errors
    /// See [`OptionsError`].
    pub fn parse(arguments: &[String]) -> Result<Self, OptionsError> {
        let mut given = command_line(arguments)?;
        let data_dir = match last(&given, "datadir") {
            Some(dir) if !Path::new(dir).is_dir() => {
                return Err(OptionsError::NoDataDir(dir.to_owned()));
            }
            Some(dir) => Some(PathBuf::from(dir)),
            None => None,
        };
        let file = read_file(&given, data_dir.as_deref())?;
        for (name, values) in file {
            given.entry(name).or_insert(values);
        }
        refuse_unsupported(&given)?;
        build(&given, data_dir)
    }
}

/// elementsd's `InterpretKey` and `InterpretValue`: `-nofoo` is `-foo=0`.
fn interpret(name: &str, value: Option<&str>) -> (String, String) {
    match name.strip_prefix("no").filter(|rest| is_known(rest)) {
        Some(rest) if !is_known(name) => {
            let negated = value.is_none_or(is_true);
            (rest.to_owned(), if negated { "0" } else { "1" }.to_owned())
        }
        _ => (name.to_owned(), value.unwrap_or_default().to_owned()),
    }
}

fn is_known(name: &str) -> bool {
    names::kind(name).is_some()
}

/// `InterpretBool`: an option without a value is on, and any number but zero is.
fn is_true(value: &str) -> bool {
    let digits = value.trim_start_matches(['-', '+']);
    let digits = digits.split(|c: char| !c.is_ascii_digit()).next();
    value.is_empty() || digits.is_some_and(|digits| digits.bytes().any(|digit| digit != b'0'))
}

fn command_line(arguments: &[String]) -> Result<Given, OptionsError> {
    let mut given = Given::new();
    let mut unexpected = None;
    for argument in arguments {
        let Some(option) = argument.strip_prefix('-').filter(|rest| !rest.is_empty()) else {
            // elementsd stops reading options here, and complains later.
            unexpected = Some(argument.clone());
            break;
        };
        let option = option.strip_prefix('-').unwrap_or(option);
        let (name, value) = match option.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (option, None),
        };
        let (name, value) = interpret(name, value);
        if !is_known(&name) {
            return Err(OptionsError::CommandLine(format!(
                "Invalid parameter {argument}"
            )));
        }
        given.entry(name).or_default().push(value);
    }
    match unexpected {
        Some(token) => Err(OptionsError::UnexpectedToken(token)),
        None => Ok(given),
    }
}

fn last<'g>(given: &'g Given, name: &str) -> Option<&'g str> {
    given.get(name)?.last().map(String::as_str)
}

/// The configuration file: what is said for this chain comes before what is said for all.
fn read_file(given: &Given, data_dir: Option<&Path>) -> Result<Given, OptionsError> {
    let named = last(given, "conf");
    let path = data_dir.map_or_else(PathBuf::new, Path::to_path_buf);
    let path = path.join(named.unwrap_or(DEFAULT_CONF));
    if named.is_none() && (data_dir.is_none() || !path.exists()) {
        return Ok(Given::new());
    }
    let text = std::fs::read_to_string(&path).map_err(|_| {
        OptionsError::File(format!(
            "specified config file \"{}\" could not be opened.",
            path.display()
        ))
    })?;
    let lines = parse_file(&text)?;
    let chain = last(given, "chain").map(str::to_owned);
    let global = |name: &str| {
        lines
            .iter()
            .find(|line| line.section.is_empty() && line.name == name)
    };
    let chain = chain.or_else(|| global("chain").map(|line| line.value.clone()));
    let chain = chain.unwrap_or_default();
    let mut found = Given::new();
    for of_chain in [true, false] {
        let mut part = Given::new();
        for line in &lines {
            let applies = if of_chain {
                line.section == chain
            } else {
                line.section.is_empty() && !names::is_network_only(&line.name)
            };
            // Unknown keys of a file are passed over, as by elementsd.
            if applies && is_known(&line.name) {
                part.entry(line.name.clone())
                    .or_default()
                    .push(line.value.clone());
            }
        }
        for (name, mut values) in part {
            // In a file the first one counts.
            values.reverse();
            found.entry(name).or_insert(values);
        }
    }
    Ok(found)
}

struct Line {
    section: String,
    name: String,
    value: String,
}

fn parse_file(text: &str) -> Result<Vec<Line>, OptionsError> {
    let mut lines = Vec::new();
    let mut section = String::new();
    for (number, line) in (1..).zip(text.lines()) {
        let has_comment = line.contains('#');
        let line = line.split('#').next().unwrap_or_default().trim();
        if line.is_empty() {
            continue;
        }
        if let Some(name) = line
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'))
        {
            name.clone_into(&mut section);
            continue;
        }
        let wrong =
            |what: String| OptionsError::File(format!("parse error on line {number}: {what}"));
        if line.starts_with('-') {
            return Err(wrong(format!(
                "{line}, options in configuration file must be specified without leading -"
            )));
        }
        let Some((name, value)) = line.split_once('=') else {
            let hint = if line.starts_with("no") {
                format!(", if you intended to specify a negated option, use {line}=1 instead")
            } else {
                String::new()
            };
            return Err(wrong(format!("{line}{hint}")));
        };
        let (name, value) = (name.trim(), value.trim());
        if has_comment && name.contains("rpcpassword") {
            return Err(wrong(
                "using # in rpcpassword can be ambiguous and should be avoided".to_owned(),
            ));
        }
        let (of, name) = match name.split_once('.') {
            Some((of, name)) => (of.to_owned(), name),
            None => (section.clone(), name),
        };
        let (name, value) = interpret(name, Some(value));
        lines.push(Line {
            section: of,
            name,
            value,
        });
    }
    Ok(lines)
}

fn refuse_unsupported(given: &Given) -> Result<(), OptionsError> {
    let mut names: Vec<&String> = given.keys().collect();
    names.sort_unstable();
    for name in names {
        let value = match names::kind(name) {
            Some(Kind::Refused) => String::new(),
            Some(Kind::Only(only)) if last(given, name).map(is_true) != Some(only) => {
                format!("={}", u8::from(!only))
            }
            _ => continue,
        };
        return Err(OptionsError::Unsupported {
            name: name.clone(),
            value,
        });
    }
    Ok(())
}

/// Reads single values.
struct Reader<'g>(&'g Given);

impl Reader<'_> {
    fn boolean(&self, name: &str, default: bool) -> bool {
        last(self.0, name).map_or(default, is_true)
    }

    fn number(&self, name: &str, default: u64) -> Result<u64, OptionsError> {
        match last(self.0, name) {
            None => Ok(default),
            Some(text) => text.parse().map_err(|_| {
                OptionsError::Value(format!("-{name}={text}: expected a whole number"))
            }),
        }
    }

    /// An amount in units of the policy asset, as satoshi.
    fn amount(&self, name: &str) -> Result<Option<u64>, OptionsError> {
        let Some(text) = last(self.0, name) else {
            return Ok(None);
        };
        let sat = parse_fixed_point(text, 8).and_then(|sat| u64::try_from(sat).ok());
        sat.filter(|sat| *sat <= MAX_MONEY)
            .map(Some)
            .ok_or_else(|| {
                OptionsError::Value(format!("Invalid amount for -{name}=<amount>: '{text}'"))
            })
    }

    fn fee_rate(&self, name: &str, default: u64) -> Result<FeeRate, OptionsError> {
        let rate = self.amount(name)?.unwrap_or(default);
        Ok(FeeRate::from_sat_per_kvb(rate))
    }
}

fn build(given: &Given, data_dir: Option<PathBuf>) -> Result<Options, OptionsError> {
    let reader = Reader(given);
    let chain = last(given, "chain").unwrap_or("liquidv1").to_owned();
    let built_in = [
        "main",
        "test",
        "signet",
        "regtest",
        "liquidv1",
        "liquidv1test",
        "liquidtestnet",
    ];
    if built_in.contains(&chain.as_str()) || chain.is_empty() {
        return Err(OptionsError::Value(format!(
            "The bundled Elements node has custom chains only; -chain={chain} is none. Use -chain=liquidregtest"
        )));
    }
    if chain.contains(['/', '\\', '\0']) || chain.starts_with('.') {
        return Err(OptionsError::Value(format!(
            "-chain={chain} cannot name a directory"
        )));
    }
    let params = params(&reader, chain.clone())?;
    let settings = settings(&reader)?;
    let login = login(given, data_dir.as_deref(), &chain)?;
    let seconds = reader.number("mocktime", 0)?;
    Ok(Options {
        params,
        settings,
        rpc_address: rpc_address(given)?,
        login,
        rpc_auth: rpc_auth(given)?,
        max_tip_age: reader.number("maxtipage", DEFAULT_MAX_TIP_AGE)?,
        mock_time: (seconds > 0).then_some(seconds),
        snapshot: last(given, "simsnapshot").map(PathBuf::from),
        debug: last(given, "debug").is_some_and(|value| !["0", "none"].contains(&value)),
    })
}

fn params(reader: &Reader<'_>, chain: String) -> Result<Params, OptionsError> {
    let initial_free_coins = reader.number("initialfreecoins", 0)?;
    if initial_free_coins > MAX_MONEY {
        return Err(OptionsError::Value(format!(
            "-initialfreecoins={initial_free_coins}: at most {MAX_MONEY} satoshi"
        )));
    }
    Ok(Params {
        chain,
        initial_free_coins,
        con_block_subsidy: reader.number("con_blocksubsidy", 0)?,
        min_relay_fee: reader.fee_rate("minrelaytxfee", 100)?,
        block_min_fee: reader.fee_rate("blockmintxfee", 100)?,
        dust_relay_fee: reader.fee_rate("dustrelayfee", 100)?,
        incremental_relay_fee: reader.fee_rate("incrementalrelayfee", 100)?,
        accept_discount_ct: reader.boolean("acceptdiscountct", false),
        accept_non_std_txn: reader.boolean("acceptnonstdtxn", false),
        accept_unlimited_issuances: reader.boolean("acceptunlimitedissuances", false),
        multi_data_permitted: reader.boolean("multi_data_permitted", false),
        permit_bare_multisig: reader.boolean("permitbaremultisig", true),
        limit_ancestor_count: reader.number("limitancestorcount", 25)?,
        limit_ancestor_size: reader
            .number("limitancestorsize", 101)?
            .saturating_mul(1000),
        limit_descendant_count: reader.number("limitdescendantcount", 25)?,
        limit_descendant_size: reader
            .number("limitdescendantsize", 101)?
            .saturating_mul(1000),
    })
}

fn settings(reader: &Reader<'_>) -> Result<Settings, OptionsError> {
    let mut seed = [0; 32];
    match last(reader.0, "simseed") {
        Some(text) => {
            let bytes = crate::rpc::seed_from_hex(text);
            seed = bytes.ok_or_else(|| {
                OptionsError::Value(format!(
                    "-simseed={text}: expected 64 digits of hexadecimal"
                ))
            })?;
        }
        None => getrandom::fill(&mut seed)
            .map_err(|error| OptionsError::Value(format!("no randomness: {error}")))?,
    }
    let fallback = reader.amount("fallbackfee")?.filter(|sat| *sat > 0);
    Ok(Settings {
        fallback_fee: fallback.map(FeeRate::from_sat_per_kvb),
        min_tx_fee: reader.fee_rate("mintxfee", 100)?,
        max_tx_fee: reader.amount("maxtxfee")?.unwrap_or(10_000_000),
        signal_rbf: reader.boolean("walletrbf", true),
        blinded_addresses: reader.boolean("blindedaddresses", true),
        seed,
    })
}

fn login(given: &Given, data_dir: Option<&Path>, chain: &str) -> Result<Login, OptionsError> {
    let password = last(given, "rpcpassword").unwrap_or_default();
    if !password.is_empty() {
        return Ok(Login::Password {
            user: last(given, "rpcuser").unwrap_or_default().to_owned(),
            password: password.to_owned(),
        });
    }
    let name = last(given, "rpccookiefile").unwrap_or(".cookie");
    if Path::new(name).is_absolute() {
        return Ok(Login::Cookie(PathBuf::from(name)));
    }
    match data_dir {
        Some(dir) => Ok(Login::Cookie(dir.join(chain).join(name))),
        None => Err(OptionsError::Value(
            "The bundled Elements node has no default data directory: use -datadir=<dir>, or -rpcuser and -rpcpassword"
                .to_owned(),
        )),
    }
}

fn rpc_auth(given: &Given) -> Result<Vec<(String, String, String)>, OptionsError> {
    let lines = given.get("rpcauth").map(Vec::as_slice).unwrap_or_default();
    let parse = |line: &String| {
        let (user, rest) = line.split_once(':')?;
        let (salt, hash) = rest.split_once('$')?;
        Some((user.to_owned(), salt.to_owned(), hash.to_owned()))
    };
    let parsed = lines.iter().map(|line| {
        parse(line).ok_or_else(|| OptionsError::Value("Invalid -rpcauth argument.".to_owned()))
    });
    parsed.collect()
}

/// Loopback, whatever is asked for; anything else is refused.
fn rpc_address(given: &Given) -> Result<SocketAddr, OptionsError> {
    let port = match last(given, "rpcport") {
        None => DEFAULT_RPC_PORT,
        Some(text) => text.parse().map_err(|_| {
            OptionsError::Value(format!("Invalid port specified in -rpcport: '{text}'"))
        })?,
    };
    let Some(text) = last(given, "rpcbind") else {
        return Ok(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port));
    };
    let address = if let Ok(address) = text.parse::<SocketAddr>() {
        Some(address)
    } else {
        let host = text.trim_start_matches('[').trim_end_matches(']');
        let host = if host == "localhost" {
            "127.0.0.1"
        } else {
            host
        };
        host.parse::<IpAddr>()
            .ok()
            .map(|host| SocketAddr::new(host, port))
    };
    match address {
        Some(address) if address.ip().is_loopback() => Ok(address),
        _ => Err(OptionsError::Value(format!(
            "-rpcbind={text}: the bundled Elements node listens on loopback addresses only; use -rpcbind=127.0.0.1"
        ))),
    }
}
