//! Each kind of proxy before a tiny real server: what passes, and what every fault does to it.

#![expect(clippy::disallowed_methods, reason = "a test may look at the machine")]

mod electrum;
mod grpc;
mod json_rpc;
mod rest;
mod tcp;

use std::time::Duration;

use swaprig_harness::proxy::{Proxy, Upstream};
use swaprig_harness::time::{Deadline, Probe, poll_until};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// How long anything may take that takes milliseconds on a quiet machine.
const SOON: Duration = Duration::from_secs(20);
/// How long something is watched that must not happen while a fault stands.
const A_WHILE: Duration = Duration::from_millis(60);

async fn soon<T>(what: &str, work: impl Future<Output = T>) -> T {
    let done = Deadline::after(SOON).bound(work).await;
    done.unwrap_or_else(|| panic!("{what} took too long"))
}

/// Whether `work` is still waiting after [`A_WHILE`]; it goes on afterwards.
async fn waits<T>(work: &mut (impl Future<Output = T> + Unpin)) -> bool {
    Deadline::after(A_WHILE).bound(work).await.is_none()
}

async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let seen = poll_until::<_, (), _>(what, Deadline::after(SOON), || {
        let holds = holds();
        async move {
            match holds {
                true => Probe::Ready(()),
                false => Probe::Pending("not yet".into()),
            }
        }
    });
    seen.await.unwrap_or_else(|error| panic!("{error:?}"));
}

async fn tcp_proxy(target: std::net::SocketAddr) -> Proxy {
    Proxy::start("client->server", Upstream::Tcp(target.to_string()))
        .await
        .unwrap()
}

#[tokio::test]
async fn a_proxy_listens_on_loopback_alone_and_ends_when_it_is_dropped() {
    let server = tcp::Echo::start().await;
    let proxy = tcp_proxy(server.address).await;
    let address = proxy.address();
    let mut open = TcpStream::connect(&address).await.unwrap();
    open.write_all(b"hello").await.unwrap();
    let mut heard = [0; 5];
    soon("the echo", open.read_exact(&mut heard)).await.unwrap();

    if let Ok(table) = std::fs::read_to_string("/proc/net/tcp") {
        const LISTEN: &str = "0A";
        let port = format!(":{:04X}", proxy.port());
        let rows = table
            .lines()
            .map(|row| row.split_whitespace().collect::<Vec<_>>());
        let own: Vec<_> = rows
            .filter(|row| row.len() > 3 && row[1].ends_with(&port) && row[3] == LISTEN)
            .map(|row| row[1].to_owned())
            .collect();
        assert_eq!(own, [format!("0100007F{port}")]);
        let wide = std::fs::read_to_string("/proc/net/tcp6").unwrap_or_default();
        assert!(
            !wide.contains(&format!("{port} 0000")),
            "it listens on IPv6, too"
        );
    }

    drop(proxy);
    let end = soon("the end of the connection", open.read(&mut heard)).await;
    assert!(matches!(end, Ok(0) | Err(_)), "{end:?}");
    let listens = || std::net::TcpStream::connect(&address).is_ok();
    until("the port to be free", || !listens()).await;
    until("the server to be left", || server.open() == 0).await;
}
