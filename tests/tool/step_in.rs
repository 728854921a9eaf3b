//! Stepping in: worlds that stand where a scenario stops or has failed, the shell in them, and what a terminal shows.

use std::cell::RefCell;
use std::io::{Read as _, Write as _};
use std::os::fd::AsFd as _;
use std::path::PathBuf;

use rustix::process::Signal;
use rustix::pty::OpenptFlags;
use serde_json::Value;
use swaprig_harness::time::{Deadline, Probe, poll_until};

use super::support::sandbox::{Started, swaprig};
use super::support::{SOON, assert_says, file_says};
use super::{FAILS, MINES, Sandbox, sandbox, scenario};

const STEPS: &str = r#"
  { mine = 2 },
  { mine = 3, as = "mined" },
  { steps = [{ mine = 1 }, { mine = 1, as = "inner" }] },
  { mine = 50 },
  { mine = 1 },"#;

/// `up --scenario` with more flags, when its world stands.
async fn standing(sandbox: &Sandbox, flags: &[&str]) -> (Started, String) {
    let args = [&["up", "--scenario"], flags].concat();
    let up = sandbox.start(swaprig(), &args, &[]);
    let text = file_says(up.stdout(), "ready;").await;
    (up, text)
}

async fn height(sandbox: &Sandbox) -> u64 {
    let done = sandbox.swaprig(&["status", "--json"]).await.code(0);
    let state: Value = serde_json::from_str(&done.stdout).unwrap();
    state["height"].as_u64().unwrap()
}

#[tokio::test]
async fn a_scenario_stays_at_the_step_that_is_named() {
    let Some(sandbox) = sandbox().await else {
        return;
    };
    sandbox.file("s.scenario.toml", &scenario("Mines", "", STEPS));
    for (flags, blocks, said) in [
        (
            &["--until", "mined"] as &[&str],
            5,
            &[
                "after step 2 of 5",
                "done      1 ",
                "$mined: mined block",
                ".height = height 106",
                "            5     { mine = 1 }",
            ] as &[&str],
        ),
        (
            &["--before", "2"],
            2,
            &["before step 2 of 5", "bound     nothing", "next      2 "],
        ),
        (
            &["--until", "3.1"],
            6,
            &[
                "after step 3.1 of 5",
                "3.1   { mine = 1 }",
                "next      3.2 ",
            ],
        ),
        (&["--until", "inner"], 7, &["after step 3.2 of 5"]),
        (&[], 58, &["after all 5 steps", "next      nothing"]),
    ] {
        let flags = [&["s.scenario.toml"], flags].concat();
        let (up, text) = standing(&sandbox, &flags).await;
        assert_says(&text, said);
        assert_eq!(height(&sandbox).await, 101 + blocks, "{flags:?}");
        sandbox.swaprig(&["mine", "2"]).await.code(0);
        up.running().signal(Signal::INT);
        let done = up.done().await.code(0);
        assert_says(&done.stderr, &["interrupted; stopping the daemons"]);
        assert!(!sandbox.first_run().exists(), "{flags:?}");
    }
}

#[tokio::test]
async fn a_scenario_that_fails_before_stays_where_it_failed() {
    let Some(sandbox) = sandbox().await else {
        return;
    };
    let steps = format!("{FAILS}\n  {{ mine = 1, as = \"later\" }},");
    sandbox.file("f.scenario.toml", &scenario("Fails", "", &steps));
    let (up, text) = standing(&sandbox, &["f.scenario.toml", "--until", "later"]).await;
    assert_says(
        &text,
        &[
            "FAIL f   step 2 of 3",
            "did not become height 999",
            "next      2 ",
            "SWAPRIG_WORLD=",
        ],
    );
    assert!(!text.contains("--step-in"), "{text}");
    assert_eq!(height(&sandbox).await, 102);
    up.running().signal(Signal::INT);
    let done = up.done().await.code(1);
    assert_says(&done.stdout, &["kept "]);
    assert!(sandbox.first_run().exists());
    // Without it the screen says how to get here.
    let done = sandbox.swaprig(&["run", "f.scenario.toml"]).await.code(1);
    assert_says(&done.stdout, &["inspect   the same with --step-in"]);
}

#[tokio::test]
async fn what_cannot_be_stepped_into_is_refused_before_anything_starts() {
    let sandbox = Sandbox::new();
    sandbox.file("s.scenario.toml", &scenario("Mines", "", STEPS));
    let cases = scenario("Mines", "", "  { mine = \"$n\" },")
        + "[cases]\none = { n = 1 }\ntwo = { n = 2 }\n";
    sandbox.file("c.scenario.toml", &cases);
    let up = |flags: &[&'static str]| [&["up", "--scenario"], flags].concat();
    for (args, said) in [
        (
            up(&["s.scenario.toml", "--until", "9"]),
            &["has no step `9`", "3.2   { mine = 1, as = \"inner\" }"] as &[&str],
        ),
        (
            up(&["s.scenario.toml", "--before", "nobody"]),
            &["has no step `nobody`"],
        ),
        (
            up(&["c.scenario.toml"]),
            &["2 scenarios are selected", "c#one", "c#two"],
        ),
        (
            up(&["s.scenario.toml", "--until", "1", "--before", "2"]),
            &["cannot be used with"],
        ),
        (
            up(&["s.scenario.toml", "--liquid"]),
            &["cannot be used with"],
        ),
        (vec!["up", "--until", "1"], &["--scenario"]),
        (
            vec!["run", "s.scenario.toml", "--step-in"],
            &["--step-in needs a terminal, and standard input is none"],
        ),
        (
            vec!["run", "s.scenario.toml", "--step-in", "--jobs", "2"],
            &["one scenario at a time"],
        ),
        (
            vec!["run", "s.scenario.toml", "--step-in", "--retries", "2"],
            &["cannot be used with"],
        ),
    ] {
        let done = sandbox.swaprig(&args).await.code(2);
        assert_says(&done.stderr, said);
        assert!(!sandbox.first_run().exists(), "{args:?}");
    }
    assert!(!sandbox.path().join(".swaprig/up").exists());
}

#[tokio::test]
async fn the_clients_of_a_shell_reach_their_daemons() {
    let Some(sandbox) = sandbox().await else {
        return;
    };
    let up = sandbox.start(swaprig(), &["up", "--preset", "ln-liquid"], &[]);
    file_says(up.stdout(), "ready;").await;
    let script = r#"
        set -e
        says() { [ "$1" = "$2" ] || { echo "'$1' is not '$2'" >&2; exit 99; }; }
        fails() { want=$1; shift; code=0; "$@" >out 2>err || code=$?; says "$code" "$want"; }
        cd /tmp && work=$(mktemp -d) && cd "$work"
        says "$(bitcoin-cli getblockcount)" 101
        hash=$(bitcoin-cli getblockhash 101)
        says "$(bitcoin-cli -named getblockheader blockhash="$hash" verbose=true | grep '"height"')" '  "height": 101,'
        says "$(bitcoin-cli decodescript 51 | head -2 | tail -1)" '  "asm": "1",'
        bitcoin-cli -rpcwallet=miner getwalletinfo >out
        fails 8 bitcoin-cli getblockhash 5000
        says "$(cat err)" "error code: -8
error message:
Block height out of range"
        fails 18 bitcoin-cli -rpcwallet=nobody getwalletinfo
        fails 1 bitcoin-cli -rpcport=1 getblockcount
        says "$(elements-cli getblockcount)" 1
        elements-cli -rpcwallet=alice getnewaddress >out
        says "$(elements-cli getblockhash 0 | wc -c | tr -d ' ')" 65
        fails 19 elements-cli getbalance
        ldk-cli >out; grep -q 'Nodes: alice, bob' out; grep -q '  ListChannels$' out
        says "$(ldk-cli alice list-channels | tr -d ' \n')" '{"channels":[]}'
        ldk-cli bob Bolt11Receive amount_msat=1_000 description.direct=tea >out
        invoice=$(sed -n 's/.*"invoice": "\(.*\)",*/\1/p' out)
        ldk-cli alice DecodeInvoice invoice="$invoice" >out; grep -q '"amount_msat": 1000' out
        fails 2 ldk-cli carol GetNodeInfo
        fails 2 ldk-cli alice GetNodeInf
        fails 2 ldk-cli alice GetNodeInfo x=1
        fails 1 ldk-cli alice Bolt11Send invoice=nonsense
        says "$(swaprig mine 1)" "height 102"
        says "$(bitcoin-cli getblockcount | head -0)" ""
        rm -r "$work"
        exit 37"#;
    let shell = ["shell", "--", "sh", "-c", script];
    sandbox.swaprig(&shell).await.code(37);
    // The user's own shell, which reads commands where there is no terminal; nothing of a shell is left.
    let read = [
        "-c",
        r#"echo 'bitcoin-cli getblockcount; exit 5' | "$0" shell"#,
    ];
    let exe = swaprig();
    let exe = exe.to_str().unwrap();
    let args = [&read as &[&str], &[exe]].concat();
    let done = sandbox
        .start("sh", &args, &[("SHELL", Some("/bin/sh"))])
        .done();
    assert_eq!(done.await.code(5).stdout, "102\n");
    let left = std::fs::read_dir(sandbox.path().join(".swaprig/up")).unwrap();
    let left = left.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let shells: Vec<String> = left.filter(|name| name.starts_with("shell")).collect();
    assert!(shells.is_empty(), "{shells:?}");
    // The same clients in `exec`, whose world has no number.
    let exec = [
        "exec",
        "--preset",
        "bitcoin",
        "--",
        exe,
        "cli",
        "bitcoin",
        "getblockcount",
    ];
    assert_eq!(sandbox.swaprig(&exec).await.code(0).stdout, "101\n");
    up.running().signal(Signal::INT);
    up.done().await.code(0);
    let done = sandbox.swaprig(&["shell"]).await.code(3);
    assert_says(&done.stderr, &["no world is up in this directory"]);
}

#[tokio::test]
async fn the_swaps_of_a_server_are_seen() {
    let Some(sandbox) = sandbox().await else {
        return;
    };
    let file = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/scenarios/ln-to-liquid/claim.scenario.toml#lbtc"
    );
    let (up, text) = standing(&sandbox, &[file, "--until", "swap"]).await;
    assert_says(
        &text,
        &[
            "after step 3 of",
            "$swap: swap",
            ".status = created",
            "SWAPRIG_SELLER_LISTEN=",
        ],
    );
    let done = sandbox.swaprig(&["status", "--json"]).await.code(0);
    let state: Value = serde_json::from_str(&done.stdout).unwrap();
    let (server, alice) = (&state["servers"][0], &state["nodes"][0]);
    assert_eq!(server["name"], "seller", "{state:#}");
    assert_eq!(server["swaps"][0]["status"], "created", "{state:#}");
    assert_eq!(server["swaps"][0]["amount"], 50_000, "{state:#}");
    assert_eq!(alice["channel_list"][0]["with"], "bob", "{state:#}");
    let script = "ldk-cli bob ListChannels && elements-cli getrawmempool && elements-cli -rpcwallet=alice getbalance";
    sandbox
        .swaprig(&["shell", "--", "sh", "-c", script])
        .await
        .code(0);
    up.running().signal(Signal::INT);
    up.done().await.code(0);
}

/// `swaprig` on a terminal of its own.
struct Terminal {
    master: std::fs::File,
    program: Started,
    said: String,
}

impl Terminal {
    fn start(sandbox: &Sandbox, args: &[&str], env: &[(&str, Option<&str>)]) -> Self {
        let master = rustix::pty::openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        rustix::pty::grantpt(&master).unwrap();
        rustix::pty::unlockpt(&master).unwrap();
        let name = rustix::pty::ptsname(&master, Vec::new()).unwrap();
        let size = rustix::termios::Winsize {
            ws_row: 24,
            ws_col: 80,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        rustix::termios::tcsetwinsize(master.as_fd(), size).unwrap();
        let flags = rustix::fs::fcntl_getfl(&master).unwrap();
        rustix::fs::fcntl_setfl(&master, flags | rustix::fs::OFlags::NONBLOCK).unwrap();
        // The shell opens the terminal and becomes the program.
        let exe: PathBuf = swaprig();
        let script = r#"tty=$1; shift; exec "$@" <"$tty" >"$tty" 2>"$tty""#;
        let words = [
            "-c",
            script,
            "sh",
            name.to_str().unwrap(),
            exe.to_str().unwrap(),
        ];
        let program = sandbox.start("sh", &[&words, args].concat(), env);
        Terminal {
            master: master.into(),
            program,
            said: String::new(),
        }
    }

    /// Waits until it has said `text` since the last time, and gives what it has said.
    async fn says(&mut self, text: &str) -> String {
        let since = self.said.len();
        self.until(text, |said| said[since..].contains(text)).await;
        self.said[since..].to_owned()
    }

    /// Waits until `text` stands on its screen.
    async fn shows(&mut self, text: &str) {
        self.until(text, |said| screen(said).contains(text)).await;
    }

    async fn until(&mut self, what: &str, is_there: impl Fn(&str) -> bool) {
        let (master, said) = (&self.master, RefCell::new(std::mem::take(&mut self.said)));
        let look = || async {
            let mut bytes = [0; 4096];
            // Nothing yet, or nobody has the other end open now.
            let read = (&mut &*master).read(&mut bytes).unwrap_or(0);
            let mut said = said.borrow_mut();
            said.push_str(&String::from_utf8_lossy(&bytes[..read]));
            match is_there(&said) {
                true => Probe::Ready(()),
                false => Probe::Pending(screen(&said)),
            }
        };
        let what = format!("{what} on the terminal");
        let wait = poll_until::<_, std::convert::Infallible, _>(what, Deadline::after(SOON), look);
        wait.await.unwrap_or_else(|error| panic!("{error}"));
        self.said = said.into_inner();
    }

    fn types(&mut self, text: &str) {
        self.master.write_all(text.as_bytes()).unwrap();
    }
}

/// What stands on a terminal to which this was written: text, where the sequences of ECMA-48 put it (CUP).
fn screen(written: &str) -> String {
    let mut rows: Vec<Vec<char>> = vec![Vec::new(); 200];
    let (mut row, mut column) = (0, 0);
    let mut parts = written.split("\u{1b}[");
    let mut put = |text: &str, row: &mut usize, column: &mut usize| {
        for c in text.chars() {
            match c {
                '\n' => (*row, *column) = (*row + 1, 0),
                '\r' => *column = 0,
                c => {
                    let cells = &mut rows[*row];
                    cells.resize(cells.len().max(*column + 1), ' ');
                    cells[*column] = c;
                    *column += 1;
                }
            }
        }
    };
    put(parts.next().unwrap_or_default(), &mut row, &mut column);
    for part in parts {
        let Some(end) = part.find(|c: char| c.is_ascii_alphabetic()) else {
            continue;
        };
        let (numbers, rest) = part.split_at(end);
        if rest.starts_with('H') {
            let mut numbers = numbers.split(';').map(|n| n.parse().unwrap_or(1));
            row = numbers.next().unwrap_or(1) - 1;
            column = numbers.next().unwrap_or(1) - 1;
        }
        put(&rest[1..], &mut row, &mut column);
    }
    let rows = rows.into_iter().map(String::from_iter);
    rows.collect::<Vec<String>>()
        .join("\n")
        .trim_end()
        .to_owned()
}

#[tokio::test]
async fn on_a_terminal_a_failed_scenario_waits_for_its_user() {
    let Some(sandbox) = sandbox().await else {
        return;
    };
    sandbox.file("a.scenario.toml", &scenario("Fails", "", FAILS));
    sandbox.file("b.scenario.toml", &scenario("Passes", "", MINES));
    let args = ["run", "a.scenario.toml", "b.scenario.toml", "--step-in"];
    let mut terminal = Terminal::start(&sandbox, &args, &[]);
    let text = terminal.says("Enter ends it and goes on").await;
    assert_says(
        &text,
        &[
            "FAIL a   step 2 of 2",
            "done      1 ",
            "world 1",
            "swaprig shell --world 1",
        ],
    );
    assert_eq!(height(&sandbox).await, 102);
    sandbox.swaprig(&["mine", "3"]).await.code(0);
    let done = sandbox.swaprig(&["shell", "--", "bitcoin-cli", "getblockcount"]);
    assert_eq!(done.await.code(0).stdout, "105\n");
    terminal.types("\n");
    let text = terminal.says("1 failed, 1 passed").await;
    assert_says(&text, &["FAIL a   step 2 of 2", "PASS b"]);
    assert!(!text.contains("last seen"), "told twice: {text}");
    terminal.program.done().await.code(1);
    let up = std::fs::read_dir(sandbox.path().join(".swaprig/up")).unwrap();
    assert_eq!(up.count(), 0);

    // A signal ends the run while a world stands.
    let mut terminal = Terminal::start(&sandbox, &args, &[]);
    terminal.says("Enter ends it and goes on").await;
    terminal.program.running().signal(Signal::INT);
    let text = terminal.says("1 failed of 1 run").await;
    assert!(!text.contains("PASS"), "{text}");
    terminal.program.done().await.code(130);
}

#[tokio::test]
async fn the_live_view_shows_the_world_and_gives_the_terminal_back() {
    const ALTERNATE: &str = "\u{1b}[?1049h";
    const BACK: &str = "\u{1b}[?1049l";
    const GREEN: &str = "[38;5;2;";
    let Some(sandbox) = sandbox().await else {
        return;
    };
    let up = sandbox.start(swaprig(), &["up", "--preset", "bitcoin"], &[]);
    file_says(up.stdout(), "ready;").await;
    let colour = [("NO_COLOR", None), ("TERM", Some("xterm"))];
    let plain = [("NO_COLOR", Some("1")), ("TERM", Some("xterm"))];
    for (env, is_green) in [(&colour, true), (&plain, false)] {
        let mut terminal = Terminal::start(&sandbox, &["status"], env);
        let text = terminal.says("q leaves").await;
        assert_says(&text, &[ALTERNATE, "world 1", "bitcoin 10", "bitcoind"]);
        assert_eq!(text.contains(GREEN), is_green, "{text:?}");
        terminal.types("q");
        terminal.says(BACK).await;
        terminal.program.done().await.code(0);
    }
    let mut terminal = Terminal::start(&sandbox, &["status"], &colour);
    terminal.shows("q leaves").await;
    terminal.program.running().signal(Signal::TERM);
    terminal.says(BACK).await;
    terminal.program.done().await.code(0);

    // It follows the world: a new block, and its end.
    let mut terminal = Terminal::start(&sandbox, &["status"], &colour);
    terminal.shows("q leaves").await;
    sandbox.swaprig(&["mine", "998"]).await.code(0);
    terminal.shows("bitcoin 1099, mempool 0").await;
    terminal.shows("running, height 1099").await;
    up.running().signal(Signal::INT);
    terminal.says("world 1 has ended").await;
    terminal.program.done().await.code(0);
    up.done().await.code(0);
    let once = Terminal::start(&sandbox, &["status", "--once"], &colour);
    once.program.done().await.code(3);
}
