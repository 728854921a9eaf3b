//! Plain bytes, before a server that says back what it hears.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use swaprig_harness::proxy::{Calls, Failure, FaultError, FieldValue};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::{soon, tcp_proxy, until, waits};

/// Says back what it hears, and counts what it has heard.
pub(crate) struct Echo {
    pub(crate) address: SocketAddr,
    heard: Arc<AtomicUsize>,
    open: Arc<AtomicUsize>,
}

impl Echo {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (heard, open) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let (counts, connections) = (heard.clone(), open.clone());
        tokio::spawn(async move {
            loop {
                let (mut socket, _) = listener.accept().await.unwrap();
                let (heard, open) = (counts.clone(), connections.clone());
                open.fetch_add(1, Ordering::Relaxed);
                tokio::spawn(async move {
                    let mut buffer = [0; 4096];
                    while let Ok(n @ 1..) = socket.read(&mut buffer).await {
                        heard.fetch_add(n, Ordering::Relaxed);
                        if socket.write_all(&buffer[..n]).await.is_err() {
                            break;
                        }
                    }
                    open.fetch_sub(1, Ordering::Relaxed);
                });
            }
        });
        Echo {
            address,
            heard,
            open,
        }
    }

    fn heard(&self) -> usize {
        self.heard.load(Ordering::Relaxed)
    }

    pub(crate) fn open(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }
}

async fn say(socket: &mut TcpStream, text: &str) {
    soon("writing", socket.write_all(text.as_bytes()))
        .await
        .unwrap();
}

async fn hear(socket: &mut TcpStream, length: usize) -> String {
    let mut buffer = vec![0; length];
    soon("reading", socket.read_exact(&mut buffer))
        .await
        .unwrap();
    String::from_utf8(buffer).unwrap()
}

#[tokio::test]
async fn bytes_pass_in_order_and_so_does_the_end() {
    let server = Echo::start().await;
    let proxy = tcp_proxy(server.address).await;
    let mut client = TcpStream::connect(proxy.address()).await.unwrap();
    let sent: Vec<u8> = (0..1_000_000_u32).flat_map(u32::to_le_bytes).collect();
    let (mut from, mut to) = client.split();
    let write = async {
        to.write_all(&sent).await.unwrap();
        to.shutdown().await.unwrap();
    };
    let read = async {
        let mut all = Vec::new();
        from.read_to_end(&mut all).await.unwrap();
        all
    };
    let ((), came) = soon("four megabytes", async { tokio::join!(write, read) }).await;
    assert!(came == sent);
    until("the server to be left", || server.open() == 0).await;
}

#[tokio::test]
async fn a_partition_holds_what_is_sent_and_new_connections_hear_nothing() {
    let server = Echo::start().await;
    let proxy = tcp_proxy(server.address).await;
    let mut old = TcpStream::connect(proxy.address()).await.unwrap();
    say(&mut old, "before").await;
    assert_eq!(hear(&mut old, 6).await, "before");

    proxy.partition();
    say(&mut old, "held").await;
    let mut new = soon("a new connection", TcpStream::connect(proxy.address()))
        .await
        .unwrap();
    say(&mut new, "new").await;
    let mut nothing = [0; 1];
    assert!(waits(&mut Box::pin(old.read(&mut nothing))).await);
    assert!(waits(&mut Box::pin(new.read(&mut nothing))).await);
    assert_eq!((server.heard(), server.open()), (6, 1));

    assert_eq!(proxy.heal(), 1);
    assert_eq!(hear(&mut old, 4).await, "held");
    assert_eq!(hear(&mut new, 3).await, "new");
}

#[tokio::test]
async fn frozen_answers_are_held_while_requests_arrive() {
    let server = Echo::start().await;
    let proxy = tcp_proxy(server.address).await;
    let mut client = TcpStream::connect(proxy.address()).await.unwrap();
    let frozen = proxy.freeze(Calls::all()).unwrap();
    say(&mut client, "one").await;
    until("the server to hear it", || server.heard() == 3).await;
    let mut nothing = [0; 1];
    assert!(waits(&mut Box::pin(client.read(&mut nothing))).await);
    assert_eq!(frozen.hits(), 1);
    assert_eq!(proxy.thaw(None), 1);
    assert_eq!(hear(&mut client, 3).await, "one");
    assert_eq!(proxy.thaw(None), 0);
}

#[tokio::test]
async fn a_delay_makes_late_and_keeps_the_order() {
    let server = Echo::start().await;
    let proxy = tcp_proxy(server.address).await;
    let mut client = TcpStream::connect(proxy.address()).await.unwrap();
    let ms = Duration::from_millis;
    let late = proxy.delay(Calls::all(), ms(80), ms(40)).unwrap();
    let started = Instant::now();
    say(&mut client, "a").await;
    assert_eq!(hear(&mut client, 1).await, "a");
    assert!(started.elapsed() >= ms(120), "{:?}", started.elapsed());
    assert_eq!(late.hits(), 2);
    // What is sent after the end of the delay does not overtake what was sent before it.
    say(&mut client, "b").await;
    until("the piece to be under way", || late.hits() == 3).await;
    proxy.heal();
    say(&mut client, "c").await;
    assert_eq!(hear(&mut client, 2).await, "bc");
}

#[tokio::test]
async fn dropped_connections_end_on_both_sides_and_new_ones_are_welcome() {
    let server = Echo::start().await;
    let proxy = tcp_proxy(server.address).await;
    let mut client = TcpStream::connect(proxy.address()).await.unwrap();
    say(&mut client, "a").await;
    assert_eq!(hear(&mut client, 1).await, "a");
    proxy.partition();
    proxy.drop_connections();
    let mut nothing = [0; 1];
    let end = soon("the end", client.read(&mut nothing)).await;
    assert!(matches!(end, Ok(0) | Err(_)), "{end:?}");
    until("the server to be left", || server.open() == 0).await;
    proxy.heal();
    let mut client = TcpStream::connect(proxy.address()).await.unwrap();
    say(&mut client, "b").await;
    assert_eq!(hear(&mut client, 1).await, "b");
}

#[tokio::test]
async fn faults_of_calls_are_refused() {
    let server = Echo::start().await;
    let proxy = tcp_proxy(server.address).await;
    let no_methods = Err(FaultError::NoMethods("client->server".into()));
    let failing = proxy.fail(Calls::all(), Failure::Closed, false);
    assert_eq!(failing, no_methods);
    let lying = proxy.tamper(Calls::all(), None, FieldValue::Integer(1));
    assert_eq!(lying, no_methods);
    assert_eq!(proxy.freeze(Calls::of("ping")), no_methods);
}

#[tokio::test]
async fn a_server_that_is_not_there_closes_the_connection() {
    let server = Echo::start().await;
    let gone = {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        listener.local_addr().unwrap()
    };
    assert_ne!(gone, server.address);
    let proxy = tcp_proxy(gone).await;
    let mut client = TcpStream::connect(proxy.address()).await.unwrap();
    let mut nothing = [0; 1];
    let end = soon("the end", client.read(&mut nothing)).await;
    assert!(matches!(end, Ok(0) | Err(_)), "{end:?}");
}
