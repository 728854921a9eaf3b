//! The proxy for the Electrum protocol: lines of JSON, each a request, an answer or news that was subscribed to. A line
//! that no fault is for passes byte for byte, in its order.
//!
//! Requests do not wait for each other's answers here, so what is held or late on one method lets the others pass. News
//! have the method that subscribes to them.

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::sync::{Mutex, PoisonError};
use std::task::Poll;

use bytes::{Bytes, BytesMut};
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::mpsc;

use super::exchange::Talk as _;
use super::faults::{Faults, Way};
use super::json_rpc::{Calls, Left};

/// Lines under way in one direction. When so many are held, no more are read and the sender notices.
const UNDER_WAY: usize = 1024;
/// Bytes of a line at most; the daemons of this protocol take and send less.
const MAX_LINE: usize = 64 * 1024 * 1024;
/// The code that electrs gives an error with which has none of its own.
const BAD_REQUEST: i32 = 1;

/// Carries one connection until both directions have ended.
pub(super) async fn carry(client: TcpStream, target: &str, faults: &Faults) -> io::Result<()> {
    faults.pass(Way::There, None).await;
    let server = TcpStream::connect(target).await?;
    for socket in [&client, &server] {
        socket.set_nodelay(true)?;
    }
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let waiting = Waiting::default();
    // Answers that no server gives: they take their place among the server's.
    let (refuse, refused) = mpsc::channel(UNDER_WAY);
    tokio::try_join!(
        there(Lines::of(from_client), to_server, &waiting, refuse, faults),
        back(Lines::of(from_server), to_client, &waiting, refused, faults),
    )?;
    Ok(())
}

/// Carries requests.
async fn there(
    mut lines: Lines<impl AsyncRead + Unpin>,
    mut to: impl AsyncWrite + Unpin,
    waiting: &Waiting,
    refuse: mpsc::Sender<Calls>,
    faults: &Faults,
) -> io::Result<()> {
    let mut held = Held::default();
    let mut ended = false;
    while !ended || !held.is_empty() {
        tokio::select! {
            line = lines.next(), if !ended && held.has_room() => match line? {
                Some(line) => {
                    let mut calls = read(&line);
                    calls.meet(faults);
                    let refuse = refuse.clone();
                    held.push(async move { request(line, calls, waiting, refuse, faults).await });
                }
                None => ended = true,
            },
            line = held.next(), if !held.is_empty() => if let Some(line) = line? {
                to.write_all(&line).await?;
            },
        }
    }
    faults.pass(Way::There, None).await;
    to.shutdown().await
}

/// What the server gets for a line of the client, once it may.
async fn request(
    line: Bytes,
    calls: Calls,
    waiting: &Waiting,
    refuse: mpsc::Sender<Calls>,
    faults: &Faults,
) -> io::Result<Option<Bytes>> {
    calls.travel(Way::There, faults).await;
    if matches!(calls.whole_failure(), Some((_, false))) {
        return Err(closed());
    }
    let forwarded = match calls.left() {
        Left::All => line,
        Left::Some(mut batch) => {
            batch.push(b'\n');
            batch.into()
        }
        Left::None => {
            // The other direction ends with the connection alone.
            let _ = refuse.send(calls).await;
            return Ok(None);
        }
    };
    // A line that is no request gets an answer that belongs to none.
    if !calls.list.is_empty() {
        waiting.add(calls);
    }
    Ok(Some(forwarded))
}

/// Carries answers and news.
async fn back(
    mut lines: Lines<impl AsyncRead + Unpin>,
    mut to: impl AsyncWrite + Unpin,
    waiting: &Waiting,
    mut refused: mpsc::Receiver<Calls>,
    faults: &Faults,
) -> io::Result<()> {
    let mut held = Held::default();
    let mut ended = false;
    while !ended || !held.is_empty() {
        tokio::select! {
            line = lines.next(), if !ended && held.has_room() => match line? {
                Some(line) => held.push(async move { answer(line, waiting, faults).await }),
                None => ended = true,
            },
            Some(calls) = refused.recv(), if held.has_room() => held.push(async move {
                calls.travel(Way::Back, faults).await;
                Ok(Some(own_answer(&calls)))
            }),
            line = held.next(), if !held.is_empty() => if let Some(line) = line? {
                to.write_all(&line).await?;
            },
        }
    }
    faults.pass(Way::Back, None).await;
    to.shutdown().await
}

/// What the client gets for a line of the server, once it may.
async fn answer(line: Bytes, waiting: &Waiting, faults: &Faults) -> io::Result<Option<Bytes>> {
    let Ok(mut parsed) = serde_json::from_slice::<Value>(&line) else {
        faults.pass(Way::Back, None).await;
        return Ok(Some(line));
    };
    let Some(calls) = waiting.take(&parsed) else {
        // News.
        let mut news = read(&line);
        if news.list.is_empty() {
            news.late = faults.call_delays(None);
        }
        for call in &news.list {
            news.late = faults.call_delays(Some(&call.method));
        }
        news.travel(Way::Back, faults).await;
        return Ok(Some(line));
    };
    calls.travel(Way::Back, faults).await;
    if calls.whole_failure().is_some() {
        return Err(closed());
    }
    if !calls.changes(faults) {
        return Ok(Some(line));
    }
    let before = parsed.clone();
    for call in &calls.list {
        call.change(&mut parsed, faults);
    }
    Ok(Some(match parsed == before {
        true => line,
        false => encoded(&parsed),
    }))
}

/// The answer to calls that all fail with an error before the server hears of them.
fn own_answer(calls: &Calls) -> Bytes {
    let errors: Vec<Value> = calls.list.iter().filter_map(|call| call.error()).collect();
    match (calls.parsed.is_array(), errors.into_iter()) {
        (true, errors) => encoded(&errors.collect()),
        (false, mut errors) => encoded(&errors.next().unwrap_or_default()),
    }
}

fn encoded(answer: &Value) -> Bytes {
    let mut text = answer.to_string();
    text.push('\n');
    text.into()
}

/// The calls of a line. A call about a script has it behind its method, so that a fault can be for it alone.
fn read(line: &[u8]) -> Calls {
    let mut calls = Calls::of(line);
    let parsed = match &calls.parsed {
        Value::Array(all) => all.iter().collect(),
        one => vec![one],
    };
    for (call, parsed) in calls.list.iter_mut().zip(parsed) {
        call.is_version_2 = true;
        call.code = BAD_REQUEST;
        let subject = parsed.get("params").and_then(|params| match params {
            Value::Array(all) => all.first(),
            Value::Object(all) => all.get("scripthash").or_else(|| all.get("tx_hash")),
            _ => None,
        });
        if let Some(Value::String(subject)) = subject {
            call.method = format!("{} {subject}", call.method);
        }
    }
    calls
}

fn closed() -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionReset, "closed on purpose")
}

/// Requests whose answers are still to come.
#[derive(Default)]
struct Waiting(Mutex<VecDeque<Calls>>);

impl Waiting {
    fn add(&self, calls: Calls) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // A server that never answers is not remembered for ever.
        if all.len() == UNDER_WAY * 8 {
            all.pop_front();
        }
        all.push_back(calls);
    }

    /// The request that `answer` is for.
    fn take(&self, answer: &Value) -> Option<Calls> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_for = |calls: &Calls| match answer {
            Value::Array(answers) => {
                let mut ids = answers.iter().filter_map(|answer| answer.get("id"));
                let has = |id: &Value| calls.list.iter().any(|call| call.id == *id);
                calls.parsed.is_array() && ids.any(has)
            }
            answer => {
                let id = answer.get("id");
                let own = calls.list.first().map(|call| &call.id);
                !calls.parsed.is_array() && answer.get("method").is_none() && id == own
            }
        };
        let at = all.iter().position(is_for)?;
        all.remove(at)
    }
}

type Line<'f> = Pin<Box<dyn Future<Output = io::Result<Option<Bytes>>> + Send + 'f>>;

/// Lines that wait for their time. Those that may pass do so in their order; those that may not are overtaken.
#[derive(Default)]
struct Held<'f>(VecDeque<Line<'f>>);

impl<'f> Held<'f> {
    fn push(&mut self, line: impl Future<Output = io::Result<Option<Bytes>>> + Send + 'f) {
        self.0.push_back(Box::pin(line));
    }

    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn has_room(&self) -> bool {
        self.0.len() < UNDER_WAY
    }

    /// The first line that may pass.
    async fn next(&mut self) -> io::Result<Option<Bytes>> {
        poll_fn(|cx| {
            for at in 0..self.0.len() {
                if let Poll::Ready(line) = self.0[at].as_mut().poll(cx) {
                    // What it holds is gone with it.
                    drop(self.0.remove(at));
                    return Poll::Ready(line);
                }
            }
            Poll::Pending
        })
        .await
    }
}

/// The lines of one direction, each with its end.
struct Lines<R> {
    from: R,
    buffer: BytesMut,
    scanned: usize,
}

impl<R: AsyncRead + Unpin> Lines<R> {
    fn of(from: R) -> Self {
        Lines {
            from,
            buffer: BytesMut::new(),
            scanned: 0,
        }
    }

    /// The next line; what is left at the end of the stream is one, too. It may be dropped while it waits: nothing is
    /// lost.
    async fn next(&mut self) -> io::Result<Option<Bytes>> {
        loop {
            let found = self.buffer[self.scanned..]
                .iter()
                .position(|byte| *byte == b'\n');
            if let Some(at) = found {
                let line = self.buffer.split_to(self.scanned + at + 1).freeze();
                self.scanned = 0;
                return Ok(Some(line));
            }
            self.scanned = self.buffer.len();
            if self.scanned > MAX_LINE {
                return Err(io::Error::other("a line is too long"));
            }
            self.buffer.reserve(16 * 1024);
            if self.from.read_buf(&mut self.buffer).await? == 0 {
                self.scanned = 0;
                let rest = self.buffer.split().freeze();
                return Ok(Some(rest).filter(|rest| !rest.is_empty()));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::faults::{Action, Calls as Which};
    use super::super::tamper::{FieldValue, Lie};
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    #[test]
    fn an_answer_finds_its_request() {
        let waiting = Waiting::default();
        for line in [
            r#"{"id":1,"method":"a"}"#,
            r#"[{"id":2,"method":"b"},{"id":3,"method":"c"}]"#,
            r#"{"id":"1","method":"d"}"#,
        ] {
            waiting.add(read(line.as_bytes()));
        }
        let method = |answer: Value| {
            waiting
                .take(&answer)
                .map(|calls| calls.list[0].method.clone())
        };
        assert_eq!(method(json!({ "method": "a", "params": [] })), None);
        assert_eq!(method(json!({ "id": 2, "result": 0 })), None);
        assert_eq!(method(json!([{ "id": 3, "result": 0 }])), Some("b".into()));
        assert_eq!(method(json!({ "id": "1", "result": 0 })), Some("d".into()));
        assert_eq!(method(json!({ "id": 1, "result": 0 })), Some("a".into()));
        assert_eq!(method(json!({ "id": 1, "result": 0 })), None);
    }

    #[test]
    fn a_fault_can_be_for_one_script_alone() {
        let faults = Faults::default();
        let lie = Action::Tamper(Lie {
            field: None,
            value: FieldValue::Json(json!([])),
            adds: false,
        });
        faults.add(Which::of("get_history").about("aa"), lie);
        for (line, is_told) in [
            (r#"{"id":1,"method":"get_history","params":["aa"]}"#, true),
            (
                r#"{"id":1,"method":"get_history","params":{"scripthash":"aa"}}"#,
                true,
            ),
            (r#"{"id":1,"method":"get_history","params":["ab"]}"#, false),
            (r#"{"id":1,"method":"get_history","params":["a"]}"#, false),
            (r#"{"id":1,"method":"get_history"}"#, false),
            (r#"{"id":1,"method":"get_balance","params":["aa"]}"#, false),
        ] {
            assert_eq!(read(line.as_bytes()).changes(&faults), is_told, "{line}");
        }
    }

    #[tokio::test]
    async fn what_may_pass_overtakes_what_is_held_and_nothing_else() {
        let mut held = Held::default();
        held.push(std::future::pending());
        for text in ["a", "b", "c"] {
            held.push(async move { Ok(Some(Bytes::from(text))) });
        }
        for text in ["a", "b", "c"] {
            assert_eq!(held.next().await.unwrap().unwrap(), text);
        }
        assert_eq!(held.0.len(), 1);
    }

    proptest! {
        #[test]
        fn lines_are_the_bytes_that_came(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let mut lines = Lines::of(&bytes[..]);
            let mut all = Vec::new();
            while let Some(line) = runtime.block_on(lines.next()).unwrap() {
                prop_assert!(line.iter().rev().skip(1).all(|byte| *byte != b'\n'));
                let _ = read(&line);
                all.extend_from_slice(&line);
            }
            prop_assert_eq!(all, bytes);
        }
    }
}
