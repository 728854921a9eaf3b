//! Tests of the search, with real files.

use std::time::{Duration, Instant};

use super::testing::{CORE, KNOTS, Notes, program, script, settings, times_asked};
use super::*;

fn dir() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

#[test]
fn the_flag_beats_the_environment_and_that_beats_path() {
    let dir = dir();
    let on_path = program(&dir.path().join("bin/bitcoind"), CORE);
    let from_env = program(&dir.path().join("env/bitcoind"), KNOTS);
    let from_flag = program(&dir.path().join("flag/any-name"), CORE);
    let mut settings = settings(dir.path());

    let found = find(Role::Bitcoind, &settings).unwrap();
    assert_eq!(
        (found.path, found.origin, found.kind),
        (on_path, Origin::Path, Kind::Upstream)
    );
    settings.environment.bitcoind = Some(from_env.clone());
    let found = find(Role::Bitcoind, &settings).unwrap();
    assert!(found.is_knots());
    assert_eq!((found.path, found.origin), (from_env, Origin::Environment));
    settings.bitcoind = Some(from_flag.clone());
    let found = find(Role::Bitcoind, &settings).unwrap();
    assert!(!found.is_knots());
    assert_eq!((found.path, found.origin), (from_flag, Origin::Flag));
}

/// What was named must be used, whatever else there is.
#[test]
fn a_named_file_that_cannot_be_used_is_an_error() {
    let dir = dir();
    program(&dir.path().join("bin/bitcoind"), CORE);
    let old = program(&dir.path().join("old"), "Bitcoin Core version v0.21.1");
    let other = program(&dir.path().join("other"), "Elements Core version v23.3.1");
    let failing = script(
        &dir.path().join("failing"),
        "755",
        "echo no such option >&2; exit 3",
    );
    let plain = script(&dir.path().join("plain"), "644", "echo");
    let cases = [
        (dir.path().join("missing"), "does not exist"),
        (dir.path().join("bin"), "is not a file"),
        (plain, "is not executable"),
        (failing, "no such option"),
        (other, "Elements Core"),
        (
            old,
            "is Bitcoin Core 0.21.1, but Bitcoin Core ≥ 28 or Bitcoin Knots ≥ 29 is needed",
        ),
    ];
    for (path, expected) in cases {
        let mut by_flag = settings(dir.path());
        by_flag.bitcoind = Some(path.clone());
        let mut by_environment = settings(dir.path());
        by_environment.environment.bitcoind = Some(path.clone());
        for (settings, named) in [(by_flag, "--bitcoind"), (by_environment, "BITCOIND_EXE")] {
            let error = resolve(Role::Bitcoind, &settings, &Quiet).unwrap_err();
            let text = error.to_string();
            assert!(matches!(error, ResolveError::Unusable { .. }), "{text}");
            assert!(text.contains(expected), "{text}");
            assert!(
                text.starts_with(&format!("{named} names {}", path.display())),
                "{text}"
            );
            assert!(text.contains("or leave it out"), "{text}");
        }
    }
}

#[test]
fn an_unusable_program_on_path_is_passed_over_aloud() {
    let dir = dir();
    let mut settings = settings(dir.path());
    settings.environment.path = vec![dir.path().join("a"), dir.path().join("b")];
    program(
        &dir.path().join("a/bitcoind"),
        "Bitcoin Core version v27.0.0",
    );
    let good = program(&dir.path().join("b/bitcoind"), CORE);
    let notes = Notes::default();
    let found = resolve(Role::Bitcoind, &settings, &notes).unwrap();
    assert_eq!(found.path, good);
    assert!(
        notes
            .text()
            .contains("a/bitcoind is Bitcoin Core 27.0.0, but"),
        "{}",
        notes.text()
    );
}

#[test]
fn without_network_the_error_lists_every_place() {
    let dir = dir();
    let settings = Settings {
        offline: true,
        ..settings(dir.path())
    };
    let text = resolve(Role::Bitcoind, &settings, &Quiet)
        .unwrap_err()
        .to_string();
    for part in [
        "--bitcoind",
        "BITCOIND_EXE",
        "PATH",
        "cache",
        "ruled out by --offline",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(
        text.contains("what to do: run once without --offline"),
        "{text}"
    );
    assert!(!dir.path().join("cache").exists());
}

#[test]
fn without_a_cache_nothing_is_downloaded() {
    let dir = dir();
    let settings = Settings {
        cache_dir: None,
        ..settings(dir.path())
    };
    let text = resolve(Role::Bitcoind, &settings, &Quiet)
        .unwrap_err()
        .to_string();
    assert!(
        text.contains("HOME are all unset") && text.contains("set SWAPRIG_CACHE_DIR"),
        "{text}"
    );
}

#[test]
fn bundled_plays_where_upstream_is_not_found() {
    let dir = dir();
    let swaprig = program(&dir.path().join("swaprig"), "swaprig 0.1.0");
    let mut settings = settings(dir.path());
    let text = find(Role::LdkServer, &settings).unwrap_err().to_string();
    assert!(text.contains("set SWAPRIG_EXE"), "{text}");

    settings.self_exe = Some(swaprig.clone());
    let bundled = find(Role::LdkServer, &settings).unwrap();
    assert_eq!((bundled.kind, &bundled.program), (Kind::Bundled, &swaprig));
    assert_eq!(
        bundled.with_args(["config.toml"]),
        ["daemon", "ldk-server", "config.toml"]
    );

    let upstream = program(
        &dir.path().join("bin/ldk-server"),
        "ldk-server 0.1.0 (7f3276a)",
    );
    let found = find(Role::LdkServer, &settings).unwrap();
    assert_eq!((found.kind, &found.path), (Kind::Upstream, &upstream));

    settings.choice = Choice::Bundled;
    assert_eq!(
        find(Role::LdkServer, &settings).unwrap().kind,
        Kind::Bundled
    );
    settings.ldk_server = Some(upstream);
    let error = find(Role::LdkServer, &settings).unwrap_err();
    assert!(
        matches!(error, ResolveError::Contradiction { .. }),
        "{error}"
    );
}

#[test]
fn upstream_never_means_bundled() {
    let dir = dir();
    let mut settings = settings(dir.path());
    settings.self_exe = Some(program(&dir.path().join("swaprig"), "swaprig 0.1.0"));
    settings.choice = Choice::Upstream;
    let text = find(Role::LdkServer, &settings).unwrap_err().to_string();
    assert!(text.contains("ruled out by --daemons upstream"), "{text}");
    assert!(text.contains("LDK_SERVER_EXE"), "{text}");
}

#[test]
fn the_bitcoin_node_is_real_even_when_bundled_is_asked_for() {
    let dir = dir();
    program(&dir.path().join("bin/bitcoind"), CORE);
    let settings = Settings {
        choice: Choice::Bundled,
        ..settings(dir.path())
    };
    assert_eq!(
        find(Role::Bitcoind, &settings).unwrap().kind,
        Kind::Upstream
    );
}

/// A program that is called electrs may be of either project, and for either chain.
#[test]
fn electrs_is_told_apart_by_asking_it() {
    let dir = dir();
    let mut settings = settings(dir.path());
    let blockstream = |path: &str, networks: &str| {
        let body = format!(
            "case $1 in --version) echo 'Electrum Rust Server 0.4.1';; *) echo 'network ({networks})';; esac"
        );
        script(&dir.path().join(path), "755", &body)
    };
    settings.environment.path = ["new", "bitcoin", "liquid", "romanz"]
        .map(|name| dir.path().join(name))
        .to_vec();
    program(&dir.path().join("new/electrs"), "v0.12.0");
    blockstream("bitcoin/electrs", "mainnet, regtest");
    let liquid = blockstream("liquid/electrs", "liquid, liquidregtest");
    let romanz = program(&dir.path().join("romanz/electrs"), "v0.11.1");

    let notes = Notes::default();
    let found = resolve(Role::Electrs, &settings, &notes).unwrap();
    assert_eq!((found.path, &*found.version.text), (romanz, "0.11.1"));
    let text = notes.text();
    assert!(
        text.contains("new/electrs is 0.12.0, but romanz's electrs < 0.12")
            && text.contains("Bitcoin Core 31"),
        "{text}"
    );
    let notes = Notes::default();
    let found = resolve(Role::ElectrsLiquid, &settings, &notes).unwrap();
    assert_eq!(found.path, liquid);
    let text = notes.text();
    assert!(
        text.contains("bitcoin/electrs is not built for Liquid"),
        "{text}"
    );
    // The name of its own goes before the common one, wherever it is.
    let own = blockstream("romanz/electrs-liquid", "liquidregtest");
    let found = find(Role::ElectrsLiquid, &settings).unwrap();
    assert_eq!((found.path, found.kind), (own, Kind::Upstream));
}

#[test]
fn an_executable_that_is_not_swaprig_is_refused() {
    let dir = dir();
    let mut settings = settings(dir.path());
    settings.self_exe = Some(program(&dir.path().join("swaprig"), "something 1.2.3"));
    let text = find(Role::LdkServer, &settings).unwrap_err().to_string();
    assert!(
        text.contains("something 1.2.3") && text.contains("SWAPRIG_EXE"),
        "{text}"
    );
}

#[test]
fn a_version_is_asked_once_until_the_file_changes() {
    let dir = dir();
    let path = program(&dir.path().join("bin/bitcoind"), CORE);
    let settings = settings(dir.path());
    find(Role::Bitcoind, &settings).unwrap();
    let start = Instant::now();
    for _ in 0..20 {
        find(Role::Bitcoind, &settings).unwrap();
    }
    // It takes 0.1 ms. Twenty times the bound is far from what a loaded machine needs, and from twenty starts.
    assert!(
        start.elapsed() < Duration::from_millis(20 * 5),
        "{:?}",
        start.elapsed()
    );
    assert_eq!(times_asked(&path), 1);
    program(&path, KNOTS);
    assert!(find(Role::Bitcoind, &settings).unwrap().is_knots());
    assert_eq!(times_asked(&path), 2);
}

#[test]
fn the_passport_is_one_line_and_json() {
    let dir = dir();
    program(&dir.path().join("bin/bitcoind"), KNOTS);
    let mut settings = settings(dir.path());
    settings.self_exe = Some(program(&dir.path().join("swaprig"), "swaprig 0.1.0"));
    let bitcoind = find(Role::Bitcoind, &settings).unwrap();
    let ldk_server = find(Role::LdkServer, &settings).unwrap();
    let mut passport: Passport = [&ldk_server, &bitcoind].into_iter().collect();
    assert_eq!(
        passport.to_string(),
        "bitcoind 29.4.3 (knots) · ldk-server bundled"
    );
    passport.merge(&[&bitcoind].into_iter().collect());
    assert_eq!(passport.stamps().len(), 2);
    let json = serde_json::to_value(&passport).unwrap();
    let path = dir.path().join("bin/bitcoind");
    let expected = serde_json::json!({
        "role": "bitcoind", "kind": "upstream", "path": path, "version": "29.4.3", "flavour": "knots",
        "origin": "path",
    });
    assert_eq!(json[0], expected);
    assert_eq!(json[1]["kind"], "bundled");
}
