//! What the commands of `swaprig client` have in common, whether they are about purchases or loops: where the client keeps its
//! things, which Lightning node is its own, how what it has is shown.

use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use serde_json::{Value, json};
use swaprig::client::{Refusal, Seed};
use swaprig::lightning::{CredentialSource, LdkServer, LdkServerConfig};
use uuid::Uuid;

use super::Exit;

/// Why a command did not come to its end, and the exit code for it.
pub(super) type Failed = (Exit, String);

pub(super) fn usage(why: impl Into<String>) -> Failed {
    (Exit::Usage, why.into())
}

pub(super) fn environment(why: impl Display) -> Failed {
    (Exit::Environment, why.to_string())
}

/// An error in words; what a refusal means is said with it.
pub(super) fn explained(
    error: &(dyn std::error::Error + 'static),
    refusal: Option<&Refusal>,
) -> String {
    match refusal {
        Some(refusal) => format!("{error}\n{}", refusal.reason.sentence()),
        None => swaprig_harness::error_chain(error),
    }
}

#[derive(Debug, Args)]
pub(super) struct StoreFlags {
    /// Where the client keeps its store and its rescue files
    #[arg(
        long,
        value_name = "DIR",
        default_value = ".swaprig/buyer",
        env = "SWAPRIG_BUYER_DIR"
    )]
    pub(super) dir: PathBuf,
    /// Print the answer as JSON
    #[arg(long)]
    pub(super) json: bool,
}

impl StoreFlags {
    /// The seed in a file, or in the directory; both are made when there are none.
    pub(super) fn seed(&self, file: Option<&Path>) -> Result<Seed, Failed> {
        let dir = &self.dir;
        std::fs::create_dir_all(dir).map_err(|e| environment(format!("{}: {e}", dir.display())))?;
        let file = file.map_or_else(|| dir.join("seed"), Path::to_owned);
        Seed::open_or_make(&file).map_err(environment)
    }
}

/// Chooses where the client dies.
#[cfg(feature = "failpoints")]
pub(super) fn choose_failpoint(
    failpoint: Option<&swaprig::failpoint::Failpoint>,
    is_regtest: bool,
) -> Result<(), Failed> {
    let Some(failpoint) = failpoint else {
        return Ok(());
    };
    if !is_regtest {
        return Err(usage("--failpoint is for regtest only"));
    }
    swaprig::failpoint::choose(failpoint.clone())
        .map_err(|error| usage(format!("--failpoint: {error}")))
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Connections")]
pub(super) struct LightningFlags {
    /// Your own ldk-server
    #[arg(long, value_name = "HOST:PORT", env = "SWAPRIG_BUYER_LDK_ADDRESS")]
    ldk_address: String,
    /// Its storage directory
    #[arg(long, value_name = "DIR", env = "SWAPRIG_BUYER_LDK_DIR", required_unless_present_all = ["ldk_cert", "ldk_credential"])]
    ldk_dir: Option<PathBuf>,
    /// Its certificate, instead of the one in its storage directory
    #[arg(long, value_name = "FILE", env = "SWAPRIG_BUYER_LDK_CERT")]
    ldk_cert: Option<PathBuf>,
    /// Its API key or macaroon, instead of the one in its storage directory
    #[arg(long, value_name = "FILE", env = "SWAPRIG_BUYER_LDK_CREDENTIAL")]
    ldk_credential: Option<PathBuf>,
}

impl LightningFlags {
    /// The node, as it is called on a network that Bitcoin's own software names so.
    pub(super) fn node(&self, network: &str) -> Result<Arc<LdkServer>, Failed> {
        let dir = self.ldk_dir.clone().unwrap_or_default();
        let mut config = LdkServerConfig::local(&self.ldk_address, &dir, network);
        if let Some(certificate) = &self.ldk_cert {
            config.certificate = certificate.clone();
        }
        if let Some(file) = &self.ldk_credential {
            config.credential = CredentialSource::File(file.clone());
        }
        let node = LdkServer::new(&config);
        node.map(Arc::new)
            .map_err(|e| environment(swaprig_harness::error_chain(&e)))
    }
}

/// A purchase or a loop of the client, as it is shown.
pub(super) trait Shown {
    /// Its name.
    fn id(&self) -> Uuid;
    /// How far it is, in a word.
    fn stage(&self) -> &'static str;
    /// What it is about, behind name and stage in a list.
    fn about(&self) -> String;
    /// What a command that drove it this far ends with.
    fn verdict(&self) -> Exit;
    /// All of it, except for why it was refused.
    fn fields(&self) -> Value;
    /// All of it for people, each with its title, except for why it was refused.
    fn lines(&self) -> Vec<(&'static str, String)>;
    /// Why it was refused.
    fn refusal(&self) -> Option<&Refusal>;

    /// All of it.
    fn object(&self) -> Value {
        let refusal = self.refusal().map(|refusal| {
            json!({
                "reason": refusal.reason,
                "meaning": refusal.reason.sentence(),
                "seen": refusal.seen,
            })
        });
        let mut object = self.fields();
        object["refusal"] = Value::from(refusal);
        object
    }

    /// Prints it.
    fn show(&self, as_json: bool) {
        if as_json {
            println!("{:#}", self.object());
            return;
        }
        let mut lines = self.lines();
        if let Some(refusal) = self.refusal() {
            lines.push(("refusal", format!("{}: {}", refusal.reason, refusal.seen)));
            lines.push(("", refusal.reason.sentence().to_owned()));
        }
        for (title, value) in lines {
            println!("{title:<12}{value}");
        }
    }
}

/// Prints a line for each.
pub(super) fn list_lines(all: &[impl Shown]) {
    for one in all {
        println!("{}  {:<14}  {}", one.id(), one.stage(), one.about());
    }
}

/// Prints what came of those that were driven on, and says what is worst.
pub(super) fn tell_resumed(ended: &[(impl Shown, Result<(), Failed>)], as_json: bool) -> Exit {
    let mut worst = Exit::Passed;
    for (one, outcome) in ended {
        let exit = match outcome {
            Ok(()) => one.verdict(),
            Err((exit, why)) => {
                eprintln!("swaprig client: {}: {why}", one.id());
                *exit
            }
        };
        // Coins that are lost outrank a node that does not answer.
        if worst != Exit::Failed && exit != Exit::Passed {
            worst = exit;
        }
    }
    match as_json {
        true => {
            let all: Vec<Value> = ended.iter().map(|(one, _)| one.object()).collect();
            println!("{:#}", Value::from(all));
        }
        false => ended.iter().for_each(|(one, _)| one.show(false)),
    }
    worst
}
