//! What options come to, and what is said of wrong ones.

use super::*;

fn parse(arguments: &[&str]) -> Result<Options, OptionsError> {
    let arguments: Vec<String> = arguments.iter().map(|text| (*text).to_owned()).collect();
    Options::parse(&arguments)
}

#[test]
fn the_flags_of_the_facts() {
    let options = parse(&[
        "-chain=liquidregtest",
        "-validatepegin=0",
        "-initialfreecoins=2100000000000000",
        "-con_blocksubsidy=0",
        "-anyonecanspendaremine=1",
        "-fallbackfee=0.000001",
        "-txindex",
        "-acceptdiscountct=1",
        "-minrelaytxfee=0.000001",
        "-blockmintxfee=0.000001",
        "-dustrelayfee=0.000001",
        "-server",
        "-listen=0",
        "-rpcuser=user",
        "-rpcpassword=pass",
        "-rpcport=0",
        "--rpcbind=127.0.0.1",
        "-nodnsseed",
        "-maxtipage=100",
    ])
    .unwrap();
    assert_eq!(options.params, Params::liquid_regtest());
    assert_eq!(
        options.settings.fallback_fee,
        Some(FeeRate::from_sat_per_kvb(100))
    );
    assert_eq!(options.rpc_address, "127.0.0.1:0".parse().unwrap());
    assert_eq!(options.max_tip_age, 100);
    assert_eq!(
        options.login,
        Login::Password {
            user: "user".to_owned(),
            password: "pass".to_owned()
        }
    );
}

#[test]
fn what_is_wrong_is_said() {
    let base = ["-chain=liquidregtest", "-rpcpassword=x"];
    let cases = [
        (
            "-foo",
            "Error parsing command line arguments: Invalid parameter -foo",
        ),
        (
            "-foo=1",
            "Error parsing command line arguments: Invalid parameter -foo=1",
        ),
        (
            "--nofoo",
            "Error parsing command line arguments: Invalid parameter --nofoo",
        ),
        (
            "foo",
            "Command line contains unexpected token 'foo', see elementsd -h for a list of options.",
        ),
        (
            "-daemon",
            "-daemon=1 is not supported by the bundled Elements node; remove it, or run elementsd",
        ),
        (
            "-validatepegin",
            "-validatepegin=1 is not supported by the bundled Elements node; remove it, or run elementsd",
        ),
        (
            "-notxindex",
            "-txindex=0 is not supported by the bundled Elements node; remove it, or run elementsd",
        ),
        (
            "-zmqpubrawtx=tcp://x",
            "-zmqpubrawtx is not supported by the bundled Elements node; remove it, or run elementsd",
        ),
        (
            "-fallbackfee=a",
            "Invalid amount for -fallbackfee=<amount>: 'a'",
        ),
        (
            "-rpcport=99999",
            "Invalid port specified in -rpcport: '99999'",
        ),
        (
            "-rpcbind=0.0.0.0",
            "-rpcbind=0.0.0.0: the bundled Elements node listens on loopback addresses only; use -rpcbind=127.0.0.1",
        ),
        (
            "-chain=liquidv1",
            "The bundled Elements node has custom chains only; -chain=liquidv1 is none. Use -chain=liquidregtest",
        ),
        (
            "-datadir=/nonexistent/dir",
            "Specified data directory \"/nonexistent/dir\" does not exist.",
        ),
        (
            "-simseed=12",
            "-simseed=12: expected 64 digits of hexadecimal",
        ),
    ];
    for (argument, message) in cases {
        let mut arguments = base.to_vec();
        arguments.push(argument);
        assert_eq!(parse(&arguments).unwrap_err().to_string(), message);
    }
}

#[test]
fn a_file_is_read_and_the_command_line_wins() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("elements.conf");
    std::fs::write(
        &path,
        "# comment\nchain=liquidregtest\nrpcport=1 # not for a custom chain\nfallbackfee=0.00002\nunknown=1\n\
         [other]\nrpcport=2\n[liquidregtest]\nrpcport=3\nfallbackfee=0.00001\ninitialfreecoins=5\n",
    )
    .unwrap();
    let data_dir = format!("-datadir={}", dir.path().display());
    let options = parse(&[&data_dir, "-initialfreecoins=7"]).unwrap();
    assert_eq!(options.rpc_address.port(), 3);
    assert_eq!(options.params.initial_free_coins, 7);
    assert_eq!(
        options.settings.fallback_fee,
        Some(FeeRate::from_sat_per_kvb(1000))
    );
    assert_eq!(
        options.login,
        Login::Cookie(dir.path().join("liquidregtest").join(".cookie"))
    );
    for (text, message) in [
        (
            "noserver",
            "Error reading configuration file: parse error on line 1: noserver, if you intended to specify a negated option, use noserver=1 instead",
        ),
        (
            "\n-server=1",
            "Error reading configuration file: parse error on line 2: -server=1, options in configuration file must be specified without leading -",
        ),
    ] {
        std::fs::write(&path, text).unwrap();
        assert_eq!(parse(&[&data_dir]).unwrap_err().to_string(), message);
    }
    assert!(
        parse(&[&data_dir, "-conf=missing.conf"])
            .unwrap_err()
            .to_string()
            .contains("could not be opened")
    );
}
