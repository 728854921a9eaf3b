//! The Electrum protocol, before a server that keeps every line it hears and pushes news when it is told to.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use swaprig_harness::proxy::{Calls, Failure, FaultError, FieldValue, Proxy, Upstream};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::broadcast;

use super::{soon, until, waits};

const HISTORY: &str = "blockchain.scripthash.get_history";
const BROADCAST: &str = "blockchain.transaction.broadcast";
const HEADERS: &str = "blockchain.headers.subscribe";

struct Server {
    address: SocketAddr,
    lines: Arc<Mutex<Vec<String>>>,
    news: broadcast::Sender<String>,
}

impl Server {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let lines = Arc::new(Mutex::new(Vec::new()));
        let (news, _) = broadcast::channel(16);
        let (all, sender) = (lines.clone(), news.clone());
        tokio::spawn(async move {
            loop {
                let (socket, _) = listener.accept().await.unwrap();
                tokio::spawn(serve(socket, all.clone(), sender.subscribe()));
            }
        });
        Server {
            address,
            lines,
            news,
        }
    }

    async fn proxy(&self) -> Proxy {
        let upstream = Upstream::Electrum(self.address.to_string());
        Proxy::start("client->server", upstream).await.unwrap()
    }

    fn lines(&self) -> Vec<String> {
        self.lines.lock().unwrap().clone()
    }
}

/// Answers with what was asked, in an unusual spelling.
fn answer(line: &str) -> String {
    let one = |call: &Value| {
        let (id, method, about) = (&call["id"], &call["method"], &call["params"][0]);
        format!("{{ \"result\":[{{\"height\" :1,\"of\":{about}}}],\"id\":{id},\"x\":{method}}}")
    };
    match serde_json::from_str::<Value>(line) {
        Ok(Value::Array(calls)) => {
            let all: Vec<String> = calls.iter().map(one).collect();
            format!("[ {} ]\n", all.join(" ,"))
        }
        Ok(call) => one(&call) + " \n",
        Err(_) => "what?\n".to_owned(),
    }
}

async fn serve(
    mut socket: TcpStream,
    all: Arc<Mutex<Vec<String>>>,
    mut news: broadcast::Receiver<String>,
) {
    let (reader, mut writer) = socket.split();
    let mut lines = BufReader::new(reader).lines();
    loop {
        let text = tokio::select! {
            line = lines.next_line() => match line {
                Ok(Some(line)) => {
                    let answer = answer(&line);
                    all.lock().unwrap().push(line);
                    answer
                }
                _ => return,
            },
            Ok(news) = news.recv() => news,
        };
        if writer.write_all(text.as_bytes()).await.is_err() {
            return;
        }
    }
}

struct Client(BufReader<TcpStream>);

impl Client {
    async fn of(proxy: &Proxy) -> Self {
        Client(BufReader::new(
            TcpStream::connect(proxy.address()).await.unwrap(),
        ))
    }

    async fn send(&mut self, line: &str) {
        let line = format!("{line}\n");
        self.0.get_mut().write_all(line.as_bytes()).await.unwrap();
    }

    /// The next line; empty at the end of the connection.
    async fn line(&mut self) -> String {
        let mut line = String::new();
        let read = soon("a line", self.0.read_line(&mut line)).await;
        read.map_or(String::new(), |_| line)
    }

    async fn json(&mut self) -> Value {
        serde_json::from_str(&self.line().await).unwrap()
    }

    async fn ask(&mut self, id: u32, method: &str, about: &str) -> Value {
        self.send(&call(id, method, about)).await;
        self.json().await
    }
}

fn call(id: u32, method: &str, about: &str) -> String {
    json!({ "id": id, "method": method, "params": [about] }).to_string()
}

#[tokio::test]
async fn without_a_fault_every_byte_passes_in_its_order() {
    let server = Server::start().await;
    let proxy = server.proxy().await;
    for fault in [false, true] {
        if fault {
            let other = || Calls::of("other");
            proxy.fail(other(), Failure::Closed, false).unwrap();
            proxy.tamper(other(), None, FieldValue::Integer(1)).unwrap();
            proxy.freeze(other()).unwrap();
        }
        let mut client = Client::of(&proxy).await;
        let sent = [
            "{ \"id\" :1, \"method\":\"a\" }",
            "[ {\"method\":\"a\",\"id\":\"x\"} ,{\"method\":\"b\",\"id\":null}]",
            "nonsense \u{7f}",
            "{\"id\":2,\"method\":\"c\",\"params\":[\"z\"]}",
        ];
        for line in sent {
            client.send(line).await;
        }
        for line in sent {
            assert_eq!(client.line().await, answer(line));
        }
        let news = "{ \"method\": \"b\",\"params\":[]}\n";
        server.news.send(news.to_owned()).unwrap();
        assert_eq!(client.line().await, news);
        let lines = server.lines();
        assert_eq!(lines[lines.len() - sent.len()..], sent);
    }
}

#[tokio::test]
async fn the_next_broadcasts_are_refused_and_never_arrive() {
    let server = Server::start().await;
    let proxy = server.proxy().await;
    let mut client = Client::of(&proxy).await;
    let refusal = Failure::Error("mempool full".into());
    let fault = proxy
        .fail(Calls::of(BROADCAST).next(2), refusal, false)
        .unwrap();
    for id in [7, 8] {
        let refused = client.ask(id, BROADCAST, "00").await;
        let error = json!({ "code": 1, "message": "mempool full" });
        assert_eq!(
            refused,
            json!({ "jsonrpc": "2.0", "id": id, "error": error })
        );
    }
    assert_eq!(client.ask(9, BROADCAST, "00").await["id"], 9);
    assert_eq!((fault.hits(), server.lines().len()), (2, 1));

    // Carried out all the same, in a batch whose other calls are answered.
    let refusal = Failure::Error("lost".into());
    proxy
        .fail(Calls::of(BROADCAST).next(1), refusal, true)
        .unwrap();
    let batch = format!("[{},{}]", call(1, HISTORY, "aa"), call(2, BROADCAST, "00"));
    client.send(&batch).await;
    let answers = client.json().await;
    assert_eq!(answers[0]["result"][0]["of"], "aa");
    assert_eq!(answers[1]["error"]["message"], "lost");
    assert_eq!(server.lines()[1], batch);

    proxy
        .fail(Calls::all().next(1), Failure::Closed, false)
        .unwrap();
    client.send(&call(3, HISTORY, "aa")).await;
    assert_eq!(client.line().await, "");
    let refused = proxy.fail(Calls::all(), Failure::Http(503), false);
    assert!(matches!(refused, Err(FaultError::NoSuchFailure { .. })));
}

#[tokio::test]
async fn a_lie_is_about_one_script_alone() {
    let server = Server::start().await;
    let proxy = server.proxy().await;
    let mut client = Client::of(&proxy).await;
    let about = || Calls::of(HISTORY).about("aa");
    let fault = proxy
        .tamper(about().next(1), None, FieldValue::Json(json!([])))
        .unwrap();
    assert_eq!(client.ask(1, HISTORY, "bb").await["result"][0]["of"], "bb");
    assert_eq!(client.ask(2, HISTORY, "aa").await["result"], json!([]));
    assert_eq!(client.ask(3, HISTORY, "aa").await["result"][0]["of"], "aa");
    assert_eq!(fault.hits(), 1);
    let height = FieldValue::Integer(-5);
    proxy.tamper(about(), Some("0.height"), height).unwrap();
    assert_eq!(
        client.ask(4, HISTORY, "aa").await["result"][0]["height"],
        -5
    );
    assert_eq!(client.ask(5, HISTORY, "bb").await["result"][0]["height"], 1);
    proxy.heal();
    assert_eq!(client.ask(6, HISTORY, "aa").await["result"][0]["height"], 1);
}

#[tokio::test]
async fn news_are_held_while_questions_are_answered() {
    let server = Server::start().await;
    let proxy = server.proxy().await;
    let mut client = Client::of(&proxy).await;
    assert_eq!(client.ask(1, HEADERS, "x").await["id"], 1);
    let fault = proxy.freeze(Calls::of(HEADERS)).unwrap();
    let news = |n: u32| format!("{{\"method\":\"{HEADERS}\",\"params\":[{n}]}}\n");
    server.news.send(news(1)).unwrap();
    server.news.send(news(2)).unwrap();
    assert_eq!(client.ask(2, HISTORY, "aa").await["id"], 2);
    {
        let mut line = Box::pin(client.line());
        assert!(waits(&mut line).await);
        proxy.thaw(None);
        assert_eq!(line.await, news(1));
    }
    assert_eq!(client.line().await, news(2));
    assert_eq!(fault.hits(), 2);
}

#[tokio::test]
async fn an_index_is_late_cut_off_and_back() {
    let server = Server::start().await;
    let proxy = server.proxy().await;
    let mut client = Client::of(&proxy).await;
    let ms = Duration::from_millis;
    proxy
        .delay(Calls::of(HISTORY).next(1), ms(40), ms(60))
        .unwrap();
    let started = Instant::now();
    client.send(&call(1, HISTORY, "aa")).await;
    client.send(&call(2, "server.ping", "")).await;
    // What is not late overtakes it.
    assert_eq!(client.json().await["id"], 2);
    assert_eq!(client.json().await["id"], 1);
    assert!(started.elapsed() >= ms(100), "{:?}", started.elapsed());

    proxy.partition();
    let arrived = server.lines().len();
    client.send(&call(3, HISTORY, "aa")).await;
    {
        let mut line = Box::pin(client.line());
        assert!(waits(&mut line).await);
        assert_eq!(server.lines().len(), arrived, "it must not arrive");
        proxy.heal();
        let answer: Value = serde_json::from_str(&line.await).unwrap();
        assert_eq!(answer["id"], 3);
    }
    until("the request to arrive", || {
        server.lines().len() == arrived + 1
    })
    .await;
}
