//! The commands, their flags and their exit codes. What a command does is in its own module.

mod bench;
mod bench_desk;
mod bench_liquid;
mod bench_loop;
mod bench_loop_desk;
mod bench_market;
mod bench_proxy;
mod bench_record;
mod bench_swap;
mod client;
mod client_loops;
mod client_shared;
mod compare;
mod conformance;
mod control;
mod core_cli;
mod daemon;
mod doctor;
mod exec;
mod exit;
mod failure;
mod filter;
mod flakes;
mod github;
mod help;
mod history;
mod json;
mod junit;
mod ldk_cli;
mod live;
mod merge;
mod new;
mod pages;
mod record;
mod reference;
mod remote;
mod report;
mod run;
mod select;
mod server;
mod shell;
mod signals;
mod state;
mod stats;
mod status_text;
mod status_view;
mod step_in;
mod stored;
mod tail;
mod terminal;
mod up;
mod verbose;
mod world;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, CommandFactory as _, FromArgMatches as _, Parser, Subcommand};
use swaprig_harness::binary::{Choice, Settings};
use swaprig_harness::run_dir::{Keep, RunDirSettings};

pub(crate) use exit::Exit;

/// Where the command line keeps its runs, unless told otherwise: seen by whoever works in the directory.
const RUNS: &str = ".swaprig/runs";

/// Boots a real Bitcoin and Lightning network on regtest and drives it from scenario files.
#[derive(Debug, Parser)]
#[command(version, max_term_width = 110, after_help = AFTER_HELP, disable_help_subcommand = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    command: Command,
}

const AFTER_HELP: &str = "\
Exit status: 0 passed; 1 a scenario failed; 2 a scenario file or the usage is wrong; 3 the environment could not be \
set up, or something was skipped under --require-all; 4 nothing was selected; 130 or 143 interrupted.";

#[derive(Debug, Subcommand)]
enum Command {
    /// Run scenario files, each in a fresh world
    Run(run::RunArgs),
    /// Check scenario files and run nothing
    Check(select::CheckArgs),
    /// List scenario files with their titles
    List(select::ListArgs),
    /// Write a first scenario of your own, which runs as it is
    New(new::NewArgs),
    /// Tell what event records of runs have: pages, where two runs part, shards as one, flakes
    Report(report::ReportArgs),
    /// Print the JSON Schema of scenario files, for editors
    Schema(select::SchemaArgs),
    /// Run another program in a fresh world, with its endpoints in the environment
    Exec(exec::ExecArgs),
    /// Start a world that stays, and tell where its daemons are
    Up(up::UpArgs),
    /// Open a shell in a standing world, with clients for all of its daemons
    Shell(shell::ShellArgs),
    /// Tell how the daemons of a standing world are
    Status(remote::StatusArgs),
    /// Mine blocks in a standing world
    Mine(remote::MineArgs),
    /// Give a Lightning node of a standing world coins on the chain, and confirm them
    Fund(remote::FundArgs),
    /// Pay over Lightning in a standing world
    Pay(remote::PayArgs),
    /// Put a fault on a link of a standing world, or take it away
    Fault(remote::FaultArgs),
    /// Print what the daemons of a standing world say
    Logs(remote::LogsArgs),
    /// Sell L-BTC and other Liquid assets for Lightning payments, and loop between Lightning and Bitcoin
    Server(Box<server::ServerArgs>),
    /// Buy from a swap server: check, pay, claim
    Client(Box<client::ClientArgs>),
    /// Tell what this machine has and lacks
    Doctor(doctor::DoctorArgs),
    /// Measure
    Bench(bench::BenchArgs),
    /// Ask the bundled Liquid daemons and upstream's the same questions, and tell where they differ
    Conformance(conformance::ConformanceArgs),
    /// Be one of the clients of `swaprig shell`
    #[command(hide = true)]
    Cli(shell::CliArgs),
    /// Be one of the bundled daemons
    #[command(hide = true)]
    Daemon(daemon::DaemonArgs),
}

/// Which programs play the daemons.
#[derive(Debug, Args)]
#[command(next_help_heading = "Daemons")]
struct DaemonFlags {
    /// upstream's daemons, the bundled ones, or whichever is found (upstream's first)
    #[arg(long, value_name = "auto|upstream|bundled", default_value = "auto")]
    daemons: Choice,
    /// The bitcoind to use [env: BITCOIND_EXE]
    #[arg(long, value_name = "FILE")]
    bitcoind: Option<PathBuf>,
    /// The ldk-server to use [env: LDK_SERVER_EXE]
    #[arg(long, value_name = "FILE")]
    ldk_server: Option<PathBuf>,
    /// The elementsd to use [env: ELEMENTSD_EXE]
    #[arg(long, value_name = "FILE")]
    elementsd: Option<PathBuf>,
    /// The electrs to use on Bitcoin, romanz's [env: ELECTRS_EXE]
    #[arg(long, value_name = "FILE")]
    electrs: Option<PathBuf>,
    /// The electrs to use on Liquid, Blockstream's [env: ELECTRS_LIQUID_EXE]
    #[arg(long, value_name = "FILE")]
    electrs_liquid: Option<PathBuf>,
    /// Download nothing
    #[arg(long)]
    offline: bool,
}

impl DaemonFlags {
    fn settings(&self) -> Settings {
        let environment = Settings::from_env();
        Settings {
            // Whatever it is called, this executable holds the bundled daemons.
            self_exe: environment
                .self_exe
                .or_else(|| std::env::current_exe().ok()),
            choice: self.daemons,
            bitcoind: self.bitcoind.clone(),
            ldk_server: self.ldk_server.clone(),
            elementsd: self.elementsd.clone(),
            electrs: self.electrs.clone(),
            electrs_liquid: self.electrs_liquid.clone(),
            offline: self.offline,
            ..environment
        }
    }
}

/// Where runs are kept.
#[derive(Debug, Args)]
#[command(next_help_heading = "Run directories")]
struct RunDirFlags {
    /// Keep the run directory of a run that passed, too [env: KEEP_E2E_ARTIFACTS=1]
    #[arg(long)]
    keep: bool,
    #[command(flatten)]
    base: BaseFlag,
}

/// Where runs are, for commands that make none.
#[derive(Debug, Args)]
#[command(next_help_heading = "Run directories")]
struct BaseFlag {
    /// Where run directories are made [env: SWAPRIG_RUN_DIR] [default: .swaprig/runs]
    #[arg(long, value_name = "DIR")]
    run_dir: Option<PathBuf>,
}

impl BaseFlag {
    fn settings(&self) -> RunDirSettings {
        let environment = RunDirSettings::from_env(RUNS.as_ref());
        RunDirSettings {
            base: self.run_dir.clone().unwrap_or(environment.base),
            ..environment
        }
    }
}

impl RunDirFlags {
    fn settings(&self) -> RunDirSettings {
        let found = self.base.settings();
        let keep = if self.keep { Keep::Always } else { found.keep };
        RunDirSettings { keep, ..found }
    }
}

/// The exit status of a program whose reader has gone, as shells tell it: 128 + SIGPIPE.
const READER_GONE: i32 = 141;

/// Ends the process without a word when what it prints is read no more: `swaprig logs | head` has seen enough.
fn end_with_the_reader() {
    let otherwise = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        // The words of the standard library's `println!`, the only place where this is a panic.
        let gone = |text: &str| text.starts_with("failed printing to stdout: Broken pipe");
        if panic.payload_as_str().is_some_and(gone) {
            std::process::exit(READER_GONE);
        }
        otherwise(panic);
    }));
}

pub(crate) fn main() -> ExitCode {
    end_with_the_reader();
    let matches = help::grouped(Cli::command()).get_matches();
    let cli = Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    let exit = match cli.command {
        Command::Run(args) => run::run(&args),
        Command::Check(args) => select::check(&args),
        Command::List(args) => select::list(&args),
        Command::New(args) => new::new(&args),
        Command::Report(args) => report::report(&args),
        Command::Schema(args) => select::schema(&args),
        Command::Exec(args) => exec::exec(&args),
        Command::Up(args) => up::up(&args),
        Command::Shell(args) => shell::shell(&args),
        Command::Cli(args) => shell::cli(args),
        Command::Status(args) => remote::status(&args),
        Command::Mine(args) => remote::mine(&args),
        Command::Fund(args) => remote::fund(&args),
        Command::Pay(args) => remote::pay(&args),
        Command::Fault(args) => remote::fault(&args),
        Command::Logs(args) => remote::logs(&args),
        Command::Server(args) => server::server(*args),
        Command::Client(args) => client::client(*args),
        Command::Doctor(args) => doctor::doctor(&args),
        Command::Bench(args) => bench::bench(&args),
        Command::Conformance(args) => conformance::conformance(&args),
        Command::Daemon(args) => daemon::run(args),
    };
    exit.into()
}

/// The runtime of a command. Two workers: a world is mostly waiting, and scenarios run side by side.
fn runtime() -> tokio::runtime::Runtime {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("the operating system gives threads and a poller")
}
