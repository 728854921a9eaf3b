//! `swaprig shell`: a shell, or one command, in a standing world; and the clients that are on its PATH.

use std::ffi::{OsStr, OsString};
use std::io::{IsTerminal as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};

use super::core_cli::{Node, core_cli};
use super::exec::{Forwarded, run_in_front};
use super::exit::complain;
use super::ldk_cli::ldk_cli;
use super::remote::{WorldName, chosen, world_of_environment};
use super::up::Standing;
use super::world::for_process;
use super::{Exit, runtime};

/// What a name of a variable of a Lightning node ends with.
const GRPC: &str = "_GRPC";
const PREFIX: &str = "SWAPRIG_";

#[derive(Debug, Args)]
#[command(after_help = "\
First on PATH are, for this world: bitcoin-cli and elements-cli (with the arguments of Bitcoin Core's client), \
ldk-cli NODE METHOD [FIELD=VALUE…], which lists nodes and methods when it is called alone, and swaprig itself, whose \
commands mean this world (SWAPRIG_WORLD). The variables are those of `swaprig exec`.

Exit status: that of the shell or of COMMAND; 128 and the signal's number when a signal ended it; 126 or 127 when it \
cannot be executed or is not there.")]
pub(super) struct ShellArgs {
    /// The number of the world; needed when more than one is up in this directory [env: SWAPRIG_WORLD]
    #[arg(long, value_name = "N")]
    world: Option<WorldName>,
    /// A command to run in place of $SHELL
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

#[derive(Debug, Args)]
pub(super) struct CliArgs {
    #[command(subcommand)]
    client: Client,
}

#[derive(Debug, Subcommand)]
enum Client {
    /// A client of bitcoind
    #[command(disable_help_flag = true)]
    Bitcoin(Words),
    /// A client of elementsd
    #[command(disable_help_flag = true)]
    Elements(Words),
    /// A client of the Lightning nodes
    #[command(disable_help_flag = true)]
    Ldk(Words),
}

#[derive(Debug, Args)]
struct Words {
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    words: Vec<String>,
}

/// The variables that say where everything in a world is.
#[derive(Debug)]
pub(super) struct Variables {
    all: Vec<(String, String)>,
}

impl Variables {
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        let found = self.all.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    }

    /// `SWAPRIG_ALICE_GRPC` of `alice` and `GRPC`.
    pub(super) fn of_node(&self, node: &str, what: &str) -> Option<&str> {
        let node = node.to_uppercase().replace('-', "_");
        self.get(&format!("{PREFIX}{node}_{what}"))
    }

    /// The Lightning nodes.
    pub(super) fn nodes(&self) -> Vec<String> {
        let names = self.all.iter().filter_map(|(name, _)| {
            let node = name.strip_prefix(PREFIX)?.strip_suffix(GRPC)?;
            Some(node.to_lowercase().replace('_', "-"))
        });
        names.collect()
    }

    /// Of the world that the environment names, of that in which this program was started with `swaprig exec`, or of the
    /// only one that stands here.
    fn found() -> Result<Self, (Exit, String)> {
        let named = world_of_environment().map_err(|why| (Exit::Usage, why))?;
        if named.is_none() {
            let own = Self::own();
            if own.get("SWAPRIG_BITCOIND_RPC_URL").is_some() {
                return Ok(own);
            }
        }
        chosen(named.as_ref()).map(|standing| Variables {
            all: standing.endpoints,
        })
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "the command line reads what `swaprig exec` and `swaprig shell` have set"
    )]
    fn own() -> Self {
        let all = std::env::vars_os().filter_map(|(name, value)| {
            let name = name.into_string().ok()?;
            let is_ours = name.starts_with(PREFIX);
            is_ours.then_some((name, value.into_string().ok()?))
        });
        Variables { all: all.collect() }
    }
}

/// `swaprig cli`: what the commands on PATH in `swaprig shell` call.
pub(super) fn cli(args: CliArgs) -> Exit {
    let variables = match Variables::found() {
        Ok(variables) => variables,
        Err((_, why)) => {
            eprintln!("error: {why}");
            return Exit::Code(1);
        }
    };
    match args.client {
        Client::Bitcoin(args) => core_cli(Node::Bitcoin, &args.words, &variables),
        Client::Elements(args) => core_cli(Node::Elements, &args.words, &variables),
        Client::Ldk(args) => ldk_cli(&args.words, &variables),
    }
}

/// Prints an answer. Whoever has closed the pipe, as `head` does, has seen enough.
pub(super) fn say(text: &str) {
    let _ = writeln!(std::io::stdout().lock(), "{text}");
}

pub(super) fn shell(args: &ShellArgs) -> Exit {
    let standing = match chosen(args.world.as_ref()) {
        Ok(standing) => standing,
        Err((exit, why)) => {
            eprintln!("swaprig: {why}");
            return exit;
        }
    };
    let desk = match Desk::new(&standing) {
        Ok(desk) => desk,
        Err(error) => {
            complain(&error);
            return Exit::Environment;
        }
    };
    let variables = Variables {
        all: standing.endpoints.clone(),
    };
    let (program, words, more) = match args.command.split_first() {
        Some((program, words)) => (program.clone(), words.to_vec(), Vec::new()),
        None => {
            if std::io::stdin().is_terminal() {
                println!("{}", greeting(standing.number, &variables));
            }
            match desk.user_shell() {
                Ok(shell) => shell,
                Err(error) => {
                    complain(&error);
                    return Exit::Environment;
                }
            }
        }
    };
    let mut env = for_process(variables.all);
    env.push(("PATH".to_owned(), desk.path()));
    env.extend(more);
    let ended = runtime().block_on(async {
        let mut signals = Forwarded::listen()?;
        Ok(run_in_front(&program, &words, env, &mut signals).await)
    });
    ended.unwrap_or_else(|error: std::io::Error| {
        complain(&error);
        Exit::Environment
    })
}

fn greeting(number: u32, variables: &Variables) -> String {
    let mut text = format!("In world {number}. Leaving this shell does not end it.");
    let mut line = |command: &str, what: &str| {
        text.push_str(&format!("\n  {command:<34} {what}"));
    };
    line("bitcoin-cli getblockcount", "any method of bitcoind");
    if variables.get("SWAPRIG_ELEMENTSD_RPC_URL").is_some() {
        line(
            "elements-cli getblockcount",
            "of elementsd; -rpcwallet=NAME for a wallet",
        );
    }
    let nodes = variables.nodes();
    if let Some(node) = nodes.first() {
        let command = format!("ldk-cli {node} ListChannels");
        line(&command, &format!("of {}", nodes.join(", ")));
    }
    line("swaprig status", "also mine, fund, pay, fault, logs");
    text
}

/// A program, its arguments, and variables beside those of the world.
type ShellCommand = (OsString, Vec<OsString>, Vec<(String, OsString)>);

/// The directory with the commands of a shell. It is deleted with it.
struct Desk {
    dir: tempfile::TempDir,
    number: u32,
}

impl Desk {
    fn new(standing: &Standing) -> std::io::Result<Self> {
        let place = standing.socket.parent().unwrap_or(Path::new("."));
        let dir = tempfile::Builder::new()
            .prefix("shell-")
            .tempdir_in(place)?;
        let desk = Desk {
            dir,
            number: standing.number,
        };
        let exe = quoted(std::env::current_exe()?.as_os_str());
        for (name, words) in [
            ("swaprig", ""),
            ("bitcoin-cli", " cli bitcoin"),
            ("elements-cli", " cli elements"),
            ("ldk-cli", " cli ldk"),
        ] {
            let path = desk.write(
                &format!("bin/{name}"),
                &format!("#!/bin/sh\nexec {exe}{words} \"$@\"\n"),
            )?;
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755))?;
        }
        Ok(desk)
    }

    fn write(&self, name: &str, text: &str) -> std::io::Result<PathBuf> {
        let path = self.dir.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap_or(self.dir.path()))?;
        std::fs::write(&path, text)?;
        Ok(path)
    }

    fn bin(&self) -> PathBuf {
        self.dir.path().join("bin")
    }

    /// PATH with our commands first.
    #[expect(clippy::disallowed_methods, reason = "PATH is what is added to")]
    fn path(&self) -> OsString {
        let mut path = self.bin().into_os_string();
        if let Some(before) = std::env::var_os("PATH") {
            path.push(":");
            path.push(before);
        }
        path
    }

    /// The user's shell, which reads its own files and then says in its prompt which world it is in. Those files may change
    /// PATH, so ours is set again after them.
    #[expect(
        clippy::disallowed_methods,
        reason = "which shell the user has, and where its files are, is in the environment"
    )]
    fn user_shell(&self) -> std::io::Result<ShellCommand> {
        let shell = std::env::var_os("SHELL").filter(|shell| !shell.is_empty());
        let shell = shell.unwrap_or_else(|| "/bin/sh".into());
        let bin = quoted(self.bin().as_os_str());
        let mark = format!("[world {}] ", self.number);
        let (mut words, mut more) = (Vec::new(), Vec::new());
        let set = format!("PATH={bin}:\"$PATH\"\nexport PATH\n");
        match Path::new(&shell).file_name().and_then(OsStr::to_str) {
            Some("bash") => {
                let text = format!("[ -r ~/.bashrc ] && . ~/.bashrc\n{set}PS1='{mark}'\"$PS1\"\n");
                let file = self.write("bashrc", &text)?;
                words = vec!["--rcfile".into(), file.into_os_string(), "-i".into()];
            }
            Some("zsh") => {
                let home = std::env::var_os("ZDOTDIR").or_else(|| std::env::var_os("HOME"));
                let home = quoted(&home.unwrap_or_default());
                self.write(
                    "zsh/.zshenv",
                    &format!("[ -r {home}/.zshenv ] && . {home}/.zshenv\n"),
                )?;
                let text = format!(
                    "ZDOTDIR={home}\n[ -r {home}/.zshrc ] && . {home}/.zshrc\n{set}PROMPT='{mark}'\"$PROMPT\"\n"
                );
                let file = self.write("zsh/.zshrc", &text)?;
                let dir = file.parent().unwrap_or(self.dir.path());
                more.push(("ZDOTDIR".to_owned(), dir.as_os_str().to_owned()));
            }
            Some("fish") => {
                let text = format!(
                    "set -gx PATH {bin} $PATH\nfunctions -c fish_prompt world_prompt\n\
                     function fish_prompt\n  echo -n '{mark}'\n  world_prompt\nend\n"
                );
                words = vec!["-C".into(), text.into()];
            }
            _ => {
                let text = format!("{set}PS1='{mark}'\"$PS1\"\n");
                let file = self.write("shrc", &text)?;
                more.push(("ENV".to_owned(), file.into_os_string()));
            }
        }
        // With -i bash would complain of a terminal that it does not have.
        if !std::io::stdin().is_terminal() {
            words.clear();
        }
        Ok((shell, words, more))
    }
}

/// A text as one word of a shell.
fn quoted(text: &OsStr) -> String {
    let text = text.to_string_lossy();
    format!("'{}'", text.replace('\'', r"'\''"))
}
