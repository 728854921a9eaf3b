//! Tests against an `apt-get` and a `dpkg-deb` that behave as the real ones do, without a network.

use super::*;

const LOADER: &str = if cfg!(target_arch = "x86_64") {
    "usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2"
} else {
    "usr/lib/aarch64-linux-gnu/ld-linux-aarch64.so.1"
};

const KNOTS_PLAN: &str = "\
    echo 'Inst libc6 (2.43-7 Debian:unstable [amd64])'
    grep -q systemd ../status || echo 'Inst systemd (262 Debian:unstable [amd64])'
    echo 'Inst bitcoin-knots (29.4.3-1 Debian:unstable [amd64])'
    echo 'Conf bitcoin-knots (29.4.3-1 Debian:unstable [amd64])'";

/// Settings whose archive cannot be reached, and a fake apt whose `update` runs `update`.
fn fake(update: &str, libraries: &str) -> (tempfile::TempDir, Settings) {
    let dir = tempfile::tempdir().unwrap();
    let apt_get = format!(
        "echo \"$*\" >> {log}\n\
         case \"$*\" in\n\
         *' update '*) {update};;\n\
         *' -s install '*) {KNOTS_PLAN};;\n\
         *' download '*) for p in \"$@\"; do case $p in *=any) ;; Dir*) ;; APT*) ;; *=*)\n\
           echo \"$p\" > \"${{p%%=*}}_${{p#*=}}_amd64.deb\";; esac; done;;\n\
         esac",
        log = dir.path().join("apt.log").display()
    );
    script(&dir.path().join("bin/apt-get"), "755", &apt_get);
    let loader = format!(
        "case $3 in --list) {libraries};; *) echo 'Bitcoin Knots daemon version v29.4.3.knots20260508';; esac"
    );
    let loader = script(&dir.path().join("loader"), "755", &loader);
    let dpkg_deb = format!(
        "mkdir -p \"$3/usr/bin\" \"$(dirname \"$3/{LOADER}\")\"\n\
         cp {} \"$3/{LOADER}\"; echo program > \"$3/usr/bin/bitcoind\"; cat \"$2\" >> \"$3/unpacked\"",
        loader.display()
    );
    script(&dir.path().join("bin/dpkg-deb"), "755", &dpkg_deb);
    let mut settings = settings(dir.path());
    std::fs::create_dir_all(&settings.environment.apt_dir).unwrap();
    let line = "deb http://user:secret@mirror.test/debian bookworm main\n";
    std::fs::write(settings.environment.apt_dir.join("sources.list"), line).unwrap();
    // Nobody listens on port 1.
    settings.pins = pins("http://127.0.0.1:1/bitcoin-29.4.tar.gz", &"ab".repeat(32));
    (dir, settings)
}

const IN_PLACE: &str = "echo \"libzmq.so.5 => $2/libzmq.so.5 (0x1)\"";

#[test]
fn the_package_steps_in_for_the_archive() {
    let (dir, settings) = fake("true", IN_PLACE);
    let notes = Notes::default();
    let binary = resolve(Role::Bitcoind, &settings, &notes).unwrap();
    assert!(binary.is_knots());
    assert!(
        binary.path.ends_with("usr/bin/bitcoind") && binary.program.ends_with(LOADER),
        "{binary:?}"
    );
    assert_eq!(binary.args[0], "--library-path");
    assert_eq!(binary.args[2], binary.path.as_os_str());
    let Some(Provenance::Debian {
        mirror,
        suite,
        packages,
    }) = &binary.provenance
    else {
        panic!("{binary:?}")
    };
    assert_eq!(
        (mirror.as_str(), suite.as_str()),
        ("http://mirror.test/debian", "sid")
    );
    let names: Vec<_> = packages.iter().map(|p| p.name.as_str()).collect();
    assert_eq!(names, ["bitcoin-knots", "libc6"]);
    assert!(
        packages.iter().all(|p| p.sha256.len() == 64),
        "{packages:?}"
    );
    assert!(
        notes.text().contains("release archive: could not download"),
        "{}",
        notes.text()
    );
    assert!(!notes.text().contains("secret"), "{}", notes.text());
    let home = settings.cache_dir.clone().unwrap().join("bitcoind");
    let left: Vec<_> = std::fs::read_dir(&home)
        .unwrap()
        .map(|e| e.unwrap().file_name())
        .collect();
    assert!(
        left.iter()
            .all(|name| !name.to_string_lossy().starts_with(".staging")),
        "{left:?}"
    );
    let offline = Settings {
        offline: true,
        ..settings
    };
    assert_eq!(get(&offline).origin, Origin::Cache);
    // The signature check was left to apt, which was not told to skip it.
    let log = std::fs::read_to_string(dir.path().join("apt.log")).unwrap();
    assert!(!log.to_lowercase().contains("unauthenticated"), "{log}");
}

#[test]
fn a_library_that_is_missing_brings_all_dependencies() {
    // Its loader finds the library only when systemd was unpacked, too.
    let libraries = "if grep -q systemd \"${2%/usr/lib/*}/unpacked\"; then \
        echo \"libsystemd.so => $2/libsystemd.so (0x1)\"; else echo 'libsystemd.so => not found'; fi";
    let (_dir, settings) = fake("true", libraries);
    let notes = Notes::default();
    let binary = resolve(Role::Bitcoind, &settings, &notes).unwrap();
    assert!(
        notes.text().contains("also needs libsystemd.so"),
        "{}",
        notes.text()
    );
    let Some(Provenance::Debian { packages, .. }) = &binary.provenance else {
        panic!("{binary:?}")
    };
    assert!(packages.iter().any(|p| p.name == "systemd"), "{packages:?}");
}

#[test]
fn a_missing_key_is_explained() {
    let update = "echo 'W: GPG error: sid InRelease: NO_PUBKEY 6ED0E7B82643E131' >&2; exit 100";
    let (_dir, settings) = fake(update, IN_PLACE);
    let text = resolve(Role::Bitcoind, &settings, &Quiet)
        .unwrap_err()
        .to_string();
    assert!(
        text.contains("6ED0E7B82643E131") && text.contains("debian-archive-keyring"),
        "{text}"
    );
    assert!(!text.contains("secret"), "{text}");
    assert_eq!(cache_files(&settings), [""; 0]);
}

#[test]
fn what_apt_says_is_passed_on() {
    let (_dir, settings) = fake(
        "echo 'E: Failed to fetch http://mirror.test' >&2; exit 100",
        IN_PLACE,
    );
    let text = resolve(Role::Bitcoind, &settings, &Quiet)
        .unwrap_err()
        .to_string();
    assert!(text.contains("E: Failed to fetch"), "{text}");
    assert!(
        text.contains("release archive") && text.contains("Debian package"),
        "{text}"
    );
    assert!(text.contains("BITCOIND_EXE"), "{text}");
}

#[test]
fn other_families_are_told_so() {
    let dir = tempfile::tempdir().unwrap();
    let pins = pins("http://127.0.0.1:1/bitcoin-29.4.tar.gz", &"ab".repeat(32));
    let settings = Settings {
        pins,
        ..settings(dir.path())
    };
    let text = resolve(Role::Bitcoind, &settings, &Quiet)
        .unwrap_err()
        .to_string();
    assert!(text.contains("no machine of the Debian family"), "{text}");
}

#[test]
fn a_machine_without_a_debian_mirror_is_told_so() {
    let (_dir, settings) = fake("true", IN_PLACE);
    let empty = tempfile::tempdir().unwrap();
    let environment = Environment {
        apt_dir: empty.path().to_owned(),
        ..settings.environment.clone()
    };
    let settings = Settings {
        environment,
        ..settings
    };
    let text = resolve(Role::Bitcoind, &settings, &Quiet)
        .unwrap_err()
        .to_string();
    assert!(text.contains("name no Debian mirror"), "{text}");
}
