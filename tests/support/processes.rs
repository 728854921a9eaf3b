//! Looking at processes and ports from outside, and programs that only pretend to be daemons.

use std::convert::Infallible;
use std::net::{Ipv4Addr, TcpStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::{Pid, test_kill_process};
use swaprig_harness::binary::{Binary, Flavour, Kind, Origin, Role, Version};
use swaprig_harness::time::{Deadline, Probe, poll_until};

use super::files_called;

/// The promise: this long after the end of a harness, however it ended, nothing of it is left.
const GONE_WITHIN: Duration = Duration::from_secs(2);

/// A shell script in place of a daemon.
pub(crate) struct Fake;

impl Fake {
    /// A bitcoind that does what `script` says. It runs in its data directory.
    pub(crate) fn bitcoind(script: &str) -> Binary {
        Fake::of(Role::Bitcoind, Some(Flavour::Core), script)
    }

    /// An ldk-server that does what `script` says. It runs in its directory.
    pub(crate) fn ldk_server(script: &str) -> Binary {
        Fake::of(Role::LdkServer, None, script)
    }

    /// `real`, which first lets somebody else look at its configuration: it makes a file `started` in its directory
    /// and waits until it can take a file `go` away.
    pub(crate) fn waiting(real: &Binary) -> Binary {
        let script = r#": > started; until rm go 2>/dev/null; do sleep 0.01; done; exec "$@""#;
        let mut args = vec![
            "-c".into(),
            script.into(),
            "sh".into(),
            real.program.clone().into(),
        ];
        args.extend(real.args.iter().cloned());
        Binary {
            program: "sh".into(),
            args,
            ..real.clone()
        }
    }

    fn of(role: Role, flavour: Option<Flavour>, script: &str) -> Binary {
        let version = Version {
            text: "99.0".to_owned(),
            major: 99,
            minor: 0,
            flavour,
        };
        Binary {
            role,
            kind: Kind::Upstream,
            path: PathBuf::from("/fake"),
            program: "sh".into(),
            args: ["-c", script, "fake"].map(Into::into).to_vec(),
            version,
            origin: Origin::Flag,
            provenance: None,
        }
    }
}

/// Whether the process is gone: neither running nor a zombie that nobody has reaped.
pub(crate) fn is_gone(pid: u32) -> bool {
    let pid = Pid::from_raw(pid.try_into().unwrap()).unwrap();
    test_kill_process(pid) == Err(rustix::io::Errno::SRCH)
}

/// The processes whose command line mentions `path`. A zombie has no command line.
pub(crate) fn pids_mentioning(path: &Path) -> Vec<u32> {
    let needle = path.to_str().unwrap();
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok())
        else {
            continue;
        };
        let command = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        if String::from_utf8_lossy(&command).contains(needle) {
            found.push(pid);
        }
    }
    found
}

/// Waits until no process mentions `dir` any more, for as long as the harness promises.
pub(crate) async fn no_process_left(dir: &Path) {
    let what = format!("the end of all processes of {}", dir.display());
    let gone = poll_until::<_, Infallible, _>(what, Deadline::after(GONE_WITHIN), || async {
        match pids_mentioning(dir) {
            none if none.is_empty() => Probe::Ready(()),
            left => Probe::Pending(format!("processes {left:?}")),
        }
    });
    gone.await.unwrap_or_else(|error| panic!("{error}"));
}

/// Waits until nobody listens on `ports`, for as long as the harness promises.
pub(crate) async fn ports_fall_silent(ports: &[u16]) {
    for port in ports {
        let what = format!("port {port} to fall silent");
        let silent = poll_until::<_, Infallible, _>(what, Deadline::after(GONE_WITHIN), || async {
            match TcpStream::connect((Ipv4Addr::LOCALHOST, *port)) {
                Ok(_) => Probe::Pending("somebody listens".to_owned()),
                Err(_) => Probe::Ready(()),
            }
        });
        silent.await.unwrap_or_else(|error| panic!("{error}"));
    }
}

/// The ports of all daemons whose configuration lies below `dir`.
pub(crate) fn ports_below(dir: &Path) -> Vec<u16> {
    let mut ports = Vec::new();
    for conf in files_called("bitcoin.conf", dir) {
        let text = std::fs::read_to_string(conf).unwrap();
        let values = text.lines().filter_map(|line| line.split_once('='));
        let own = values.filter(|(key, _)| matches!(*key, "rpcport" | "port"));
        ports.extend(own.map(|(_, port)| port.parse::<u16>().unwrap()));
    }
    for conf in files_called("ldk-server.toml", dir) {
        let text = std::fs::read_to_string(conf).unwrap();
        let own = text.lines().filter(|line| {
            line.starts_with("listening_addresses") || line.starts_with("grpc_service_address")
        });
        let port = |line: &str| {
            let digits = line.rsplit_once(':').unwrap().1;
            digits
                .trim_end_matches(|c: char| !c.is_ascii_digit())
                .parse::<u16>()
                .unwrap()
        };
        ports.extend(own.map(port));
    }
    ports
}
