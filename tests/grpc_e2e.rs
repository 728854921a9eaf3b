//! The step `grpc`, readiness by health, proxies with a server at one end, and books, as authors of scenarios meet them. The
//! server is this executable itself, called with `serve`.

#[path = "servers/maker.rs"]
mod maker;
mod support;

use std::path::Path;

use libtest_mimic::{Arguments, Trial};

use support::assert_says;
use support::sandbox::{Done, Sandbox};

fn main() {
    let args: Vec<String> = std::env::args().collect();
    if let [_, word, rest @ ..] = args.as_slice()
        && word == "serve"
    {
        maker::serve(rest);
    }
    let gate = support::runs();
    let trial = |name: &str, test: fn()| {
        let run = move || {
            test();
            Ok(())
        };
        Trial::test(name, run).with_ignored_flag(!gate)
    };
    let trials = vec![
        trial("calls_are_typed_by_proto_files", || block(by_proto())),
        trial("calls_are_typed_by_reflection", || block(by_reflection())),
        trial("what_goes_wrong_is_said_with_its_reason", || {
            block(goes_wrong())
        }),
        trial("a_reply_that_is_not_as_expected_fails_the_scenario", || {
            block(unexpected())
        }),
        trial("health_is_waited_for_and_its_lack_is_told", || {
            block(health())
        }),
        trial(
            "connections_are_encrypted_by_the_certificate_that_is_named",
            || block(encrypted()),
        ),
        trial("a_certificate_that_is_missing_or_wrong_is_told", || {
            block(wrong_certificates())
        }),
        trial("links_of_a_server_go_wrong_as_asked", || block(links())),
        trial("a_server_without_proto_has_links_of_bytes", || {
            block(bytes())
        }),
        trial("money_of_a_server_is_conserved_by_its_books", || {
            block(books())
        }),
        trial("money_in_the_htlcs_that_a_server_lists_is_its_own", || {
            block(htlcs())
        }),
        trial(
            "money_of_a_server_is_found_by_the_descriptor_that_it_writes",
            || block(written_descriptor()),
        ),
    ];
    libtest_mimic::run(&Arguments::from_args(), trials).exit();
}

fn block(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(test);
}

/// A file with the maker as its server: what the server is told beside where to listen, its other keys, the world, steps.
fn scenario(args: &str, keys: &str, world: &str, steps: &str) -> String {
    let exe = std::env::current_exe().unwrap();
    let exe = exe.to_str().unwrap();
    format!(
        "title = \"A server\"\nworld = {{ {world} }}\nservers = {{ maker = {{ run = [\"{exe}\", \"serve\", \"--listen\", \
         \"{{listen}}\"{args}]{keys} }} }}\nsteps = [\n{steps}\n]\n"
    )
}

/// The key whose secret is 1.
const POINT: &str = "0279be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798";
/// The account key of BIP 84's test vectors, in the form of test networks.
const XPUB: &str = "tpubDC8msFGeGuwnKG9Upg7DM2b4DaRqg3CUZa5g8v2SRQ6K4NSkxUgd7HsL2XVWbVm39yBA4LAxysQAm397zwQSQoQgewGiYZqrA9DsP4zbQ1M";
const BITCOIN: &str = "preset = \"bitcoin\"";
const PROTO: &str = ", proto = [\"maker.proto\"]";
const BITCOIND: &str = ", \"--bitcoind\", \"{bitcoind.rpc}\"";

/// Runs a scenario beside the proto files.
async fn run(text: &str) -> Done {
    let sandbox = Sandbox::new();
    for name in ["maker.proto", "types.proto"] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/servers");
        sandbox.file(name, &std::fs::read_to_string(path.join(name)).unwrap());
    }
    sandbox.file("s.scenario.toml", text);
    support::binaries().await;
    sandbox.swaprig(&["run", "s.scenario.toml"]).await
}

const TYPED: &str = r#"
  { run = ["echo", "0102ff"], as = "bytes" },
  { mine = 1, as = "blocks" },
  { grpc = "maker", rpc = "maker.v1.Maker/Open", send = { sat = 50_000, key = "k {bytes.stdout}", hash = "$bytes.stdout", side = "SIDE_SELL", heights = [1, "$blocks.height"], limits = { day = 7 }, terms = { timeout = 9 } }, as = "o", expect = { "$.state" = "STATE_OPEN", "$.hash" = "0102ff", "$.side" = "SIDE_SELL", "$.heights[1]" = "$blocks.height", "$.limits.day" = 7, "$.terms.timeout" = 9 }, take = { id = "$.id", sat = { sat = "$.sat" }, timeout = { height = "$.terms.timeout" } } },
  { expect = "$o.sat", is = "50_000 sat" },
  { expect = "$o.timeout", is = 9 },
  { expect = "$o.id", is = "k 0102ff-1" },
  { grpc = "maker", rpc = "maker.v1.Maker/Show", send = { id = "$o.id" }, again = true, expect = { "$.state" = "STATE_CLAIMED" }, within = "5 s" },
  { grpc = "maker", rpc = "maker.v1.Maker/Show", send = { id = "nobody" }, fails = "NOT_FOUND" },
  { grpc = "maker", rpc = "maker.v1.Maker/Open", send = { sat = 2_000_000 }, fails = "no liquidity: 100% is out" },
"#;

async fn by_proto() {
    // Fields that `take` does not name are there with the types of the descriptor.
    let more = format!(
        "{TYPED}  {{ grpc = \"maker\", rpc = \"Open\", send = {{ hash = \"ff\" }}, as = \"p\" }},\n  {{ expect = \
         \"$p.hash\", is = \"ff\" }},\n  {{ expect = \"$p.sat\", is = 0 }},\n  {{ expect = \"$p.state\", is = \
         \"STATE_OPEN\" }},"
    );
    run(&scenario("", PROTO, BITCOIN, &more)).await.code(0);
}

async fn by_reflection() {
    for version in ["v1", "v1alpha"] {
        let args = format!(", \"--reflection\", \"grpc.reflection.{version}.ServerReflection\"");
        run(&scenario(&args, "", BITCOIN, TYPED)).await.code(0);
    }
}

async fn goes_wrong() {
    let v1 = ", \"--reflection\", \"grpc.reflection.v1.ServerReflection\"";
    for (args, step, said) in [
        (
            "",
            "rpc = \"maker.v1.Maker/Open\"",
            "the server has no reflection",
        ),
        (
            v1,
            "rpc = \"maker.v1.Makr/Open\"",
            "did you mean \"maker.v1.Maker\"?",
        ),
        (
            v1,
            "rpc = \"maker.v1.Maker/Opn\"",
            "did you mean \"maker.v1.Maker/Open\"?",
        ),
        (
            v1,
            "rpc = \"maker.v1.Maker/Watch\"",
            "`maker.v1.Maker/Watch` is a stream",
        ),
        (
            v1,
            "rpc = \"maker.v1.Maker/Open\", send = { sum = 1 }",
            "it has `sat`, `key`, `hash`",
        ),
        (
            v1,
            "rpc = \"maker.v1.Maker/Open\", send = { terms = { timeout = \"soon\" } }",
            "`terms.timeout` is a whole number that is not negative, which \"soon\" is not",
        ),
        (
            v1,
            "rpc = \"maker.v1.Maker/Open\", take = { memo = \"$.terms.memo\" }, as = \"o\"",
            "the answer has nothing at $.terms.memo",
        ),
    ] {
        let steps = format!("  {{ grpc = \"maker\", {step} }},");
        let done = run(&scenario(args, "", BITCOIN, &steps)).await.code(1);
        assert_says(&done.stdout, &[said]);
    }
    let killed = "  { kill = \"maker\" },\n  { grpc = \"maker\", rpc = \"Open\" },";
    let done = run(&scenario("", PROTO, BITCOIN, killed)).await.code(1);
    assert_says(&done.stdout, &["maker.v1.Maker/Open of maker: ", "refused"]);
}

async fn unexpected() {
    let steps =
        r#"  { grpc = "maker", rpc = "Open", send = { sat = 7 }, expect = { "$.sat" = 8 } },"#;
    let done = run(&scenario("", PROTO, BITCOIN, steps)).await.code(1);
    assert_says(
        &done.stdout,
        &[
            "FAIL",
            "maker.v1.Maker/Open of maker was answered with 7, expected $.sat to be 8",
        ],
    );
    let steps = r#"
  { grpc = "maker", rpc = "Open", as = "o" },
  { grpc = "maker", rpc = "Show", send = { id = "$o.id" }, again = true, expect = { "$.state" = "STATE_UNSPECIFIED" }, within = "1 s" },"#;
    let done = run(&scenario("", PROTO, BITCOIN, steps)).await.code(1);
    assert_says(
        &done.stdout,
        &[
            "did not give $.state to be \"STATE_UNSPECIFIED\" within",
            "last seen: \"STATE_CLAIMED\"",
        ],
    );
}

async fn health() {
    let steps = "  { mine = 1 },\n  { kill = \"maker\" },\n  { restart = \"maker\" },";
    let good = ", \"--health\", \"good\"";
    for ready in ["true", "\"maker.v1.Maker\""] {
        let keys = format!(", ready = {{ grpc_health = {ready} }}");
        run(&scenario(good, &keys, BITCOIN, steps)).await.code(0);
    }
    let short = "preset = \"bitcoin\", deadline = \"5 s\"";
    for (args, ready, said) in [
        (", \"--health\", \"bad\"", "true", "it is NOT_SERVING"),
        (good, "\"other.v1.Other\"", "NOT_FOUND: unknown service"),
        ("", "true", "it has no service grpc.health.v1.Health"),
    ] {
        let keys = format!(", ready = {{ grpc_health = {ready} }}");
        let done = run(&scenario(args, &keys, short, steps)).await.code(3);
        assert_says(&done.stdout, &["maker ", said]);
    }
}

const TLS: &str = ", \"--tls\", \"{dir}/tls.crt\"";
const TRUSTED: &str = ", proto = [\"maker.proto\"], tls = \"{dir}/tls.crt\"";

async fn encrypted() {
    let ready = format!("{TRUSTED}, ready = {{ grpc_health = true }}");
    let args = format!("{TLS}, \"--health\", \"good\"");
    let done = run(&scenario(&args, &ready, BITCOIN, TYPED)).await;
    done.code(0);
    // A proxy passes what it cannot read. The file may also be named from the server's own directory.
    let world = "preset = \"bitcoin\", proxies = [\"harness->maker\"]";
    let keys = ", tls = \"tls.crt\"";
    let args = format!("{TLS}, \"--reflection\", \"grpc.reflection.v1.ServerReflection\"");
    let delayed = format!("  {{ delay = \"harness->maker\", by = \"5 ms\" }},{TYPED}");
    run(&scenario(&args, keys, world, &delayed)).await.code(0);
}

/// Without the line breaks that messages with long paths in them get.
fn unwrapped(text: &str) -> String {
    let words: Vec<&str> = text.split_whitespace().filter(|w| *w != "│").collect();
    words.join(" ")
}

async fn wrong_certificates() {
    let call = "  { grpc = \"maker\", rpc = \"Open\" },";
    let nowhere = "tls.crt: No such file or directory";
    let other = "tls.crt: invalid peer certificate";
    for (leaves, said) in [
        ("nothing", nowhere),
        ("nonsense", "tls.crt is not a certificate in PEM"),
        ("another", other),
    ] {
        let args = format!("{TLS}, \"--leaves\", \"{leaves}\"");
        let done = run(&scenario(&args, TRUSTED, BITCOIN, call)).await.code(1);
        let step = "step 1 of 1";
        assert_says(
            &unwrapped(&done.stdout),
            &[step, "maker.v1.Maker/Open of maker: ", said],
        );
    }
    // What waits for it to be ready says the same.
    let args = format!("{TLS}, \"--leaves\", \"another\"");
    let keys = format!("{TRUSTED}, ready = {{ grpc_health = true }}");
    let short = "preset = \"bitcoin\", deadline = \"5 s\"";
    let done = run(&scenario(&args, &keys, short, call)).await.code(3);
    assert_says(&unwrapped(&done.stdout), &["maker ", other]);
    // Neither side guesses whether the other one encrypts.
    let done = run(&scenario(TLS, PROTO, BITCOIN, call)).await.code(1);
    assert_says(
        &unwrapped(&done.stdout),
        &["maker.v1.Maker/Open of maker: "],
    );
}

async fn links() {
    let args = format!("{BITCOIND}, \"--ldk\", \"{{alice.grpc}}\", \"--cert\", \"{{alice.cert}}\"");
    let world = "preset = \"lightning\", proxies = [\"maker->bitcoind\", \"maker->alice\", \"harness->maker\"]";
    let steps = r#"
  { mine = 1, as = "blocks" },
  { grpc = "maker", rpc = "Look", expect = { "$.height" = "$blocks.height" }, take = { node_id = "$.node_id" }, as = "seen" },
  { run = ["echo", "{alice.id}"], stdout = "{seen.node_id}" },
  { tamper = "maker->bitcoind", rpc = "getblockcount", value = 999, next = 1, as = "chain" },
  { tamper = "maker->alice", rpc = "GetNodeInfo", field = "node_id", value = "forged", next = 1, as = "node" },
  { grpc = "maker", rpc = "Look", expect = { "$.height" = 999, "$.node_id" = "forged" } },
  { expect = "$chain.hits", is = 1 },
  { expect = "$node.hits", is = 1 },
  { fail = "maker->alice", rpc = "GetNodeInfo", next = 1, with = "unavailable" },
  { grpc = "maker", rpc = "Look", fails = "INTERNAL" },
  { tamper = "harness->maker", rpc = "Look", field = "height", value = 5, next = 1, as = "reply" },
  { grpc = "maker", rpc = "Look", expect = { "$.height" = 5, "$.node_id" = "$seen.node_id" } },
  { fail = "harness->maker", rpc = "Look", next = 1, with = "not_found", message = "lost" },
  { grpc = "maker", rpc = "Look", fails = "NOT_FOUND: lost" },
  { partition = "harness->maker" },
  { start = "late", grpc = "maker", rpc = "Look", within = "20 s" },
  { heal = "harness->maker" },
  { await = "late" },
  { expect = "height", is = "$blocks.height" },"#;
    run(&scenario(&args, PROTO, world, steps)).await.code(0);
}

async fn bytes() {
    let world = "preset = \"bitcoin\", proxies = [\"harness->maker\"]";
    let args = ", \"--reflection\", \"grpc.reflection.v1.ServerReflection\"";
    let steps = r#"
  { delay = "harness->maker", by = "5 ms" },
  { grpc = "maker", rpc = "maker.v1.Maker/Open", expect = { "$.sat" = 0 } },
  { partition = "harness->maker" },
  { grpc = "maker", rpc = "maker.v1.Maker/Open", within = "500 ms" },"#;
    let done = run(&scenario(args, "", world, steps)).await.code(1);
    assert_says(&done.stdout, &["step 4 of 4", "no answer within"]);
}

async fn books() {
    let steps = r#"
  { grpc = "maker", rpc = "Withdraw", send = { sat = 123_456 }, as = "w" },
  { expect = "mempool", is = 1 },
  { mine = 1 },
  { expect = "height", is = 102 },"#;
    let kept = format!("{PROTO}, books = {{ bitcoin = \"wallet:maker\" }}");
    run(&scenario(BITCOIND, &kept, BITCOIN, steps))
        .await
        .code(0);

    let done = run(&scenario(BITCOIND, PROTO, BITCOIN, steps))
        .await
        .code(1);
    assert_says(
        &done.stdout,
        &[
            "money vanished: nobody owns 123_456 sat",
            ":",
            "(123_456 sat)",
        ],
    );

    // Another wallet than the one that has the coins is of no use, and the sheet says why.
    let other = format!("{PROTO}, books = {{ bitcoin = \"wallet:other\" }}");
    let done = run(&scenario(BITCOIND, &other, BITCOIN, steps))
        .await
        .code(1);
    assert_says(
        &done.stdout,
        &[
            "nobody owns 123_456 sat",
            "wallet:other, which bitcoind has not loaded",
        ],
    );

    // By a descriptor: that of the key whose secret is 1, to which the server sends.
    let own = format!("{PROTO}, books = {{ bitcoin = \"descriptor:wpkh({POINT})\" }}");
    let to = format!("{BITCOIND}, \"--to\", \"bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080\"");
    run(&scenario(&to, &own, BITCOIN, steps)).await.code(0);
    let wrong = format!("{PROTO}, books = {{ bitcoin = \"descriptor:wpkh(nonsense)\" }}");
    let done = run(&scenario(&to, &wrong, BITCOIN, steps)).await.code(1);
    assert_says(
        &done.stdout,
        &[
            "books of the server `maker` cannot be read",
            "refuses its descriptor",
        ],
    );
}

/// A P2WPKH of all zeros: whose hash that is, nobody knows.
const NOBODY: &str = "ert1qqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqq4zf532";
const LIQUID: &str = "preset = \"liquid\"";
const ELEMENTSD: &str = ", \"--elementsd\", \"{elementsd.rpc}\"";

/// Two outputs that no wallet has, of which the second is listed on a second page.
fn lock_twice(second: &str) -> String {
    format!(
        r#"
  {{ grpc = "maker", rpc = "maker.v1.Maker/Lock", send = {{ sat = 123_456, address = "{NOBODY}" }} }},
  {{ grpc = "maker", rpc = "maker.v1.Maker/Lock", send = {{ sat = 7_000, address = "{second}" }} }},
  {{ mine = 1, chain = "liquid" }},
  {{ expect = "height", chain = "liquid", at_least = 1 }},"#
    )
}

async fn htlcs() {
    let other = swaprig::swap::Htlc {
        payment_hash: swaprig_harness::units::PaymentHash([1; 32]),
        claimer: POINT.parse().unwrap(),
        refunder: POINT.parse().unwrap(),
        timeout: swaprig_harness::units::Height(9),
    };
    let other = other
        .address(&elements::AddressParams::ELEMENTS)
        .to_string();
    let steps = lock_twice(&other);
    let books = |proto: &str, htlcs: &str| format!("{proto}, books = {{ htlcs = {{ {htlcs} }} }}");
    let rpc = "rpc = \"maker.v1.Maker/List\", addresses = \"$.swaps[*].htlc.address\"";
    let paged = format!("{rpc}, next = {{ after = \"$.next\" }}");
    let reflection =
        format!("{ELEMENTSD}, \"--reflection\", \"grpc.reflection.v1.ServerReflection\"");
    for (args, proto) in [(ELEMENTSD, PROTO), (reflection.as_str(), "")] {
        run(&scenario(args, &books(proto, &paged), LIQUID, &steps))
            .await
            .code(0);
    }
    // Down, it cannot be asked, and nobody is accused; up again, it still has what is its own.
    let crash = format!(
        "{steps}\n  {{ kill = \"maker\" }},\n  {{ mine = 1, chain = \"liquid\" }},\n  {{ restart = \"maker\" }},\n  \
         {{ mine = 1, chain = \"liquid\" }},"
    );
    run(&scenario(ELEMENTSD, &books(PROTO, &paged), LIQUID, &crash))
        .await
        .code(0);
    // What is on the second page nobody reads, and what is not listed at all.
    let one_page = scenario(ELEMENTSD, &books(PROTO, rpc), LIQUID, &steps);
    let done = run(&one_page).await.code(1);
    assert_says(
        &done.stdout,
        &[
            "money vanished on Liquid: nobody owns 7_000 sat of lbtc",
            "maker (HTLCs) 123_456 sat",
        ],
    );
    let done = run(&scenario(ELEMENTSD, PROTO, LIQUID, &steps))
        .await
        .code(1);
    assert_says(&done.stdout, &["nobody owns 130_456 sat of lbtc"]);
    // A list of something else.
    let ids = "rpc = \"List\", addresses = \"$.swaps[*].id\"";
    let done = run(&scenario(ELEMENTSD, &books(PROTO, ids), LIQUID, &steps))
        .await
        .code(1);
    assert_says(
        &done.stdout,
        &[
            "books of the server `maker` cannot be read",
            "is no address",
        ],
    );
}

async fn written_descriptor() {
    use lwk_wollet::WolletDescriptor;
    let params = &elements::AddressParams::ELEMENTS;
    let text = |key: &str| format!("ct(slip77({key}),elwpkh({XPUB}/<0;1>/*))");
    let (own, other) = (text(&"01".repeat(32)), text(&"02".repeat(32)));
    let descriptor: WolletDescriptor = own.parse().unwrap();
    let receive = descriptor.address(3, params).unwrap();
    let change = descriptor.change(700, params).unwrap().to_unconfidential();
    let steps = format!(
        r#"
  {{ grpc = "maker", rpc = "maker.v1.Maker/Lock", send = {{ sat = 123_456, address = "{receive}" }} }},
  {{ grpc = "maker", rpc = "maker.v1.Maker/Lock", send = {{ sat = 7_000, address = "{change}" }} }},
  {{ mine = 1, chain = "liquid" }},
  {{ expect = "height", chain = "liquid", at_least = 1 }},"#
    );
    let file = format!("{PROTO}, books = {{ liquid = \"descriptor:@{{dir}}/wallet.txt\" }}");
    let writes = |text: &str| format!("{ELEMENTSD}, \"--descriptor\", \"{text}\"");
    run(&scenario(&writes(&own), &file, LIQUID, &steps))
        .await
        .code(0);
    let literal = format!("{PROTO}, books = {{ liquid = \"descriptor:{own}\" }}");
    run(&scenario(ELEMENTSD, &literal, LIQUID, &steps))
        .await
        .code(0);
    // With another blinding key the blinded output is the server's, and what is in it is the rest.
    run(&scenario(&writes(&other), &file, LIQUID, &steps))
        .await
        .code(0);
    // One that the server does not write, or that is none.
    let done = run(&scenario(ELEMENTSD, &file, LIQUID, &steps))
        .await
        .code(1);
    assert_says(
        &done.stdout,
        &[
            "(blinded)",
            "(7_000 sat of lbtc)",
            "wallet.txt cannot be read",
        ],
    );
    let done = run(&scenario(&writes("nonsense"), &file, LIQUID, &steps))
        .await
        .code(1);
    assert_says(
        &done.stdout,
        &[
            "books of the server `maker` cannot be read",
            "is no CT descriptor",
        ],
    );
}
