//! `swaprig new`: a first scenario of somebody's own, which runs and passes as it is.

use std::fmt::Write as _;
use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::path::{Component, Path, PathBuf};

use clap::Args;
use swaprig_harness::server::OWN;
use swaprig_harness::world::endpoints::{BITCOIND, ELEMENTSD, INDEX, NODE, SWAPRIG};
use swaprig_scenarios::lang::{self, Preset, Source};

use super::Exit;
use super::exit::complain;
use super::select::{registry, render};

#[derive(Debug, Args)]
pub(super) struct NewArgs {
    /// What it is called: writes NAME.scenario.toml; directories before the name must be there
    #[arg(value_name = "NAME")]
    name: PathBuf,
    /// A server of yours that it starts and asks: the program and its arguments, such as "./my-server --listen {listen}"
    #[arg(long, value_name = "COMMAND")]
    server: Option<String>,
    /// The daemons of its world
    #[arg(long, default_value = "lightning", value_parser = clap::builder::PossibleValuesParser::new(lang::preset_names()))]
    preset: String,
}

const SUFFIX: &str = ".scenario.toml";
/// Where the schema goes, beside the runs.
const SCHEMA: &str = ".swaprig/scenario.schema.json";

/// Why there is no new scenario.
#[derive(Debug, thiserror::Error)]
enum NewError {
    #[error(
        "{0} is no name for a scenario: write lowercase letters, digits, `-` and `_`, such as {1}"
    )]
    Name(String, String),
    #[error("{0}: there is such a file already, and it stays as it is; choose another name")]
    Exists(PathBuf),
    #[error("{0}: there is no such directory; make it first: mkdir -p {0}")]
    NoDirectory(PathBuf),
    #[error("`{0}`: no shell reads the command; write it without quotes, {1}")]
    Command(String, &'static str),
    #[error("{path}: cannot be written")]
    Write {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
}

impl NewError {
    fn exit(&self) -> Exit {
        match self {
            NewError::Write { .. } => Exit::Environment,
            NewError::Name(..)
            | NewError::Exists(_)
            | NewError::NoDirectory(_)
            | NewError::Command(..) => Exit::Usage,
        }
    }
}

pub(super) fn new(args: &NewArgs) -> Exit {
    match written(args) {
        Ok(exit) => exit,
        Err(error) => {
            complain(&error);
            error.exit()
        }
    }
}

fn written(args: &NewArgs) -> Result<Exit, NewError> {
    let path = file(&args.name)?;
    let (schema, link) = schema_of(&path);
    let server = args.server.as_deref();
    let server = server.map(|line| words(line, &path)).transpose()?;
    let preset = lang::preset(&args.preset).expect("clap takes no other");
    let text = scenario(&path, &link, preset, server.as_deref());
    // What stands in braces may be nothing that this world has.
    let source = Source::new("new", &path, text.as_str());
    if let Err(problems) = lang::check(&source, &registry()) {
        for problem in &problems {
            eprint!("{}", render(problem));
        }
        eprintln!("nothing was written");
        return Ok(Exit::Usage);
    }
    write_new(&path, &text)?;
    let written = write_schema(&schema);
    let shown = path.display();
    println!("wrote     {shown}");
    match &written {
        Ok(()) => println!(
            "          {}, with which editors complete and explain it",
            schema.display()
        ),
        Err(error) => complain(error),
    }
    if let Some(program) = server.as_deref().and_then(|words| missing(words, &path)) {
        println!("missing   {program}: there is no such program yet");
    }
    println!("run       swaprig run {shown}");
    println!("check     swaprig check {shown}");
    println!(
        "go on     in swaprig's repository docs/scenarios.md has every step, docs/write-a-swap.md leads to a swap of your own"
    );
    Ok(written.map_or_else(|error| error.exit(), |()| Exit::Passed))
}

/// The file for a name, `dir/NAME` or `dir/NAME.scenario.toml`.
fn file(name: &Path) -> Result<PathBuf, NewError> {
    let last = name
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    let stem = last.strip_suffix(SUFFIX).unwrap_or(&last);
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_';
    let begins = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    if !stem.starts_with(begins) || !stem.chars().all(fits) {
        let shown = format!("`{}`", name.display());
        let stem = stem.split('.').next().unwrap_or_default().to_lowercase();
        let better: String = stem
            .chars()
            .map(|c| if fits(c) { c } else { '-' })
            .collect();
        let better = better.trim_matches(['-', '_']);
        let better = if better.is_empty() { "my-swap" } else { better };
        return Err(NewError::Name(shown, better.to_owned()));
    }
    let path = name.with_file_name(format!("{stem}{SUFFIX}"));
    let dir = path.parent().unwrap_or(Path::new(""));
    if !dir.as_os_str().is_empty() && !dir.is_dir() {
        return Err(NewError::NoDirectory(dir.to_owned()));
    }
    match path.symlink_metadata() {
        Ok(_) => Err(NewError::Exists(path)),
        Err(_) => Ok(path),
    }
}

/// How many directories below the current one a file is; `None` when it is elsewhere.
fn depth(path: &Path) -> Option<usize> {
    let dirs = path.parent()?.components();
    let down = |part: Component<'_>| match part {
        Component::Normal(_) => Some(1),
        Component::CurDir => Some(0),
        _ => None,
    };
    dirs.map(down).sum()
}

/// Where the schema of a file is, and how the file names it: in the current directory's `.swaprig`, as the runs are, or
/// beside a file that is elsewhere.
fn schema_of(path: &Path) -> (PathBuf, String) {
    match depth(path) {
        Some(0) => (SCHEMA.into(), format!("./{SCHEMA}")),
        Some(depth) => (SCHEMA.into(), format!("{}{SCHEMA}", "../".repeat(depth))),
        None => (path.with_file_name(SCHEMA), format!("./{SCHEMA}")),
    }
}

/// The words of a command, with paths that are right where the server runs, and the address on which it is to listen.
fn words(line: &str, path: &Path) -> Result<Vec<String>, NewError> {
    const AFTERWARDS: &str = "and put it right in the file afterwards";
    const SOME: &str = "such as ./my-server";
    if line.contains(['"', '\'', '\\']) {
        return Err(NewError::Command(line.to_owned(), AFTERWARDS));
    }
    let mut words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
    if words.is_empty() {
        return Err(NewError::Command(line.to_owned(), SOME));
    }
    // The program is found from the directory of the file; everything else from the server's own directory.
    let up = depth(path).map(|depth| "../".repeat(depth));
    for (at, word) in words.iter_mut().enumerate() {
        let is_here = Path::new(word).is_file();
        let program = at == 0 && (word.contains('/') || is_here);
        if Path::new(word).is_absolute() || !(program || at > 0 && is_here) {
            continue;
        }
        let plain = word.trim_start_matches("./");
        *word = match (&up, program) {
            (Some(up), true) if up.is_empty() => format!("./{plain}"),
            (Some(up), true) => format!("{up}{plain}"),
            (Some(up), false) => format!("{{here}}/{up}{plain}"),
            // The file is elsewhere: only a whole path is sure.
            (None, _) => std::path::absolute(&word)
                .unwrap_or_else(|_| PathBuf::from(&*word))
                .display()
                .to_string(),
        };
    }
    if !words.iter().any(|word| word.contains("{listen}")) {
        words.extend(["--listen".to_owned(), "{listen}".to_owned()]);
    }
    Ok(words)
}

/// The program of a server, when it is named by a path and is not there.
fn missing(words: &[String], path: &Path) -> Option<String> {
    let program = words.first().filter(|program| program.contains('/'))?;
    let dir = path.parent().unwrap_or(Path::new(""));
    (!dir.join(program).exists()).then(|| program.clone())
}

fn write_new(path: &Path, text: &str) -> Result<(), NewError> {
    let made = OpenOptions::new().write(true).create_new(true).open(path);
    let written = made.and_then(|mut file| file.write_all(text.as_bytes()));
    written.map_err(|source| match source.kind() {
        io::ErrorKind::AlreadyExists => NewError::Exists(path.to_owned()),
        _ => NewError::Write {
            path: path.to_owned(),
            source,
        },
    })
}

fn write_schema(path: &Path) -> Result<(), NewError> {
    let dir = path.parent().unwrap_or(Path::new(""));
    let text = format!("{:#}\n", lang::schema(&registry()));
    let written = std::fs::create_dir_all(dir).and_then(|()| std::fs::write(path, text));
    written.map_err(|source| NewError::Write {
        path: path.to_owned(),
        source,
    })
}

/// What a preset's scenario shows, and its steps.
fn story(preset: &str) -> (&'static str, &'static str) {
    match preset {
        "bitcoin" => (
            "Blocks are mined",
            r#"  { mine = 2, as = "blocks" },                         # `as` gives what a step makes a name
  { expect = "height", is = "$blocks.height" },        # "$blocks" stands for it; `expect` looks for 5 s, or `within`
"#,
        ),
        "liquid" => (
            "Alice pays Bob on Liquid",
            r#"  { fund_liquid = "alice", amount = "100_000 sat" },   # from the faucet
  { mine = 1, chain = "liquid" },                      # nothing is mined by itself
  { send_liquid = "bob", by = "alice", amount = "40_000 sat", as = "sent" },   # `as` gives what a step makes a name
  { mine = 1, chain = "liquid" },
  { expect = "$sent.confirmations", is = 1 },          # "$sent" stands for it; `expect` looks for 5 s, or `within`
  { expect = "liquid_balance", of = "bob", is = "40_000 sat" },
"#,
        ),
        "ln-liquid" => (
            "Alice pays Bob over Lightning, and takes L-BTC of his on Liquid for it",
            r#"  { use = "lib/channel", from = "alice", to = "bob" },   # steps that come with swaprig: a channel that can be used
  { fund_liquid = "bob", amount = "1_000_000 sat" },
  { mine = 1, chain = "liquid" },                        # nothing is mined by itself
  { preimage = 32, as = "secret" },                      # `as` gives what a step makes a name
  { key = "liquid", as = "buyer" },
  { key = "liquid", as = "seller" },
  { hold_invoice = "bob", amount = "50_500 sat", preimage = "$secret.preimage", as = "invoice" },
  { htlc = "liquid", hash = "$invoice.hash", claimer = "$buyer", refunder = "$seller", timeout_in = 2_000, as = "lock" },
  { fund_htlc = "$lock", by = "bob", amount = "50_000 sat" },
  { mine = 2, chain = "liquid" },
  { expect = "$lock.funded", is = "50_000 sat" },        # "$lock" stands for it; `expect` looks for 5 s, or `within`
  { pay = "$invoice", by = "alice", until = "held", as = "paid" },
  { claim_hold_invoice = "$invoice" },
  { spend = "$lock", to = "alice", preimage = "$paid.preimage" },   # without `preimage` a refund, at the timeout
  { mine = 1, chain = "liquid" },
  { expect = "liquid_balance", of = "alice", is = "49_500 sat" },
"#,
        ),
        _ => (
            "Alice pays Bob over Lightning",
            r#"  { use = "lib/channel", from = "alice", to = "bob" },        # steps that come with swaprig: a channel that can be used
  { invoice = "bob", amount = "50_000 sat", as = "invoice" }, # `as` gives what a step makes a name
  { pay = "$invoice", by = "alice" },                         # "$invoice" stands for it
  { expect = "$invoice.status", is = "paid" },                # `expect` looks until it is so, for 5 s or `within`
  { expect = "lightning_balance", of = "bob", is = "50_000 sat" },
"#,
        ),
    }
}

/// The text of the file. It is TOML 1.0, so that every editor reads it.
fn scenario(path: &Path, schema: &str, preset: &Preset, server: Option<&[String]>) -> String {
    let (title, steps) = story(preset.name);
    let file = path.file_name().unwrap_or_default().to_string_lossy();
    let needs = server
        .and_then(<[String]>::first)
        .filter(|program| !program.contains('/'));
    let needs = needs.map_or(String::new(), |program| {
        format!("needs = [{program:?}]   # not on PATH: the scenario is skipped, and says so\n")
    });
    let asks = server.map_or("", |_| {
        "  # Your server is asked. Write the path that it has, and what must come back: status = 404, expect = { \"$.state\" = \"ok\" },\n  \
           # take = { id = \"$.id\" }, as = \"answer\". For gRPC: { grpc = \"server\", rpc = \"maker.v1.Maker/Open\", send = { sat = 1 } }\n  \
           { http = \"GET\", url = \"{server.listen}/\" },\n"
    });
    let others = lang::preset_names().filter(|name| *name != preset.name);
    let others: Vec<_> = others.collect();
    let others = others.join(", ");
    let mut text = format!(
        "#:schema {schema}\n\
         # A scenario: a world of real daemons, started for it alone, and steps in it, one after the other.\n\
         # swaprig run {file}     runs it; --keep keeps the logs of all daemons\n\
         # swaprig check {file}   only reads it\n\
         # Change the title, then the steps. Every coin must have an owner after every step, whatever they do.\n\n\
         title = \"{title}\"\n\
         tags  = [\"draft\"]   # to select it by: swaprig run . --tag draft\n\
         {needs}\n\
         steps = [\n{asks}{steps}]\n\n\
         # {}\n\
         [world]\n\
         preset = \"{}\"   # or {others}\n",
        preset.doc, preset.name
    );
    if let Some(words) = server {
        text += &servers(preset, words);
    }
    text
}

/// The block of a server, and what can stand in its texts.
fn servers(preset: &Preset, words: &[String]) -> String {
    let run: Vec<String> = words.iter().map(|word| format!("{word:?}")).collect();
    let mut text = format!(
        "\n# Started after the daemons, before the first step; it may have any name in place of `server`.\n\
         [servers.server]\n\
         run   = [{}]\n\
         ready = {{ tcp = true }}   # or {{ http = \"/health\" }}, {{ grpc_health = true }}, {{ log = \"listening\" }}\n\
         # env   = {{ RPC_USER = \"{{bitcoind.user}}\", RPC_PASSWORD = \"{{bitcoind.password}}\" }}\n\
         # books = {{ bitcoin = \"wallet:NAME\" }}   # whose coins are its own: lightning, bitcoin, liquid, htlcs\n\
         #\n\
         # What can stand in braces in `run` and `env`; in steps {{server.listen}} and {{server.dir}}, too:\n",
        run.join(", ")
    );
    let mut line = |name: String, doc: &str| {
        let _ = writeln!(text, "#   {:<24} {doc}", format!("{{{name}}}"));
    };
    for (name, doc) in OWN {
        line((*name).to_owned(), doc);
    }
    line("here".to_owned(), "the directory of this file");
    line(SWAPRIG.to_owned(), "this very program");
    let mut owner = |owner: &str, has: &[(&str, &str)]| {
        for (what, doc) in has {
            line(format!("{owner}.{what}"), doc);
        }
    };
    owner("bitcoind", BITCOIND);
    if preset.liquid.is_some() {
        owner("elementsd", ELEMENTSD);
        owner("electrs-liquid", INDEX);
    }
    if let Some(node) = preset.lightning.first() {
        owner(node, NODE);
    }
    text
}
