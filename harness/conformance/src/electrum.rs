//! The Electrum protocol as it is on the wire: a line for each message, answers by their ids, notifications kept apart.

use std::collections::VecDeque;
use std::time::Duration;

use serde_json::{Value, json};
use swaprig_harness::time::Deadline;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

/// How long an index has for one answer or notification.
const CALL: Duration = Duration::from_secs(30);

/// How long to wait for a notification before the index is told to look again.
const LOOK: Duration = Duration::from_millis(300);

/// A connection.
#[derive(Debug)]
pub struct Electrum {
    lines: BufReader<OwnedReadHalf>,
    writer: OwnedWriteHalf,
    next_id: u64,
    notifications: VecDeque<Value>,
}

/// No answer came, or none that is one.
#[derive(Debug, thiserror::Error)]
#[error("the index: {what}: {why}")]
pub struct NoAnswer {
    /// What was asked for.
    pub what: String,
    /// What happened.
    pub why: String,
    /// The server closed the connection.
    pub is_closed: bool,
}

impl Electrum {
    /// Connects to `HOST:PORT`.
    ///
    /// # Errors
    /// When nobody listens.
    pub async fn connect(address: &str) -> Result<Self, NoAnswer> {
        let broken = |error: std::io::Error| NoAnswer {
            what: format!("connect to {address}"),
            why: error.to_string(),
            is_closed: false,
        };
        let stream = TcpStream::connect(address).await.map_err(broken)?;
        stream.set_nodelay(true).map_err(broken)?;
        let (reader, writer) = stream.into_split();
        Ok(Electrum {
            lines: BufReader::new(reader),
            writer,
            next_id: 0,
            notifications: VecDeque::new(),
        })
    }

    /// Calls `method`: its result, or its error as it stands in the answer.
    ///
    /// # Errors
    /// When no answer came.
    pub async fn ask(
        &mut self,
        method: &str,
        params: Value,
    ) -> Result<Result<Value, Value>, NoAnswer> {
        self.next_id += 1;
        let id = self.next_id;
        let line = json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params});
        self.write(method, &format!("{line}\n")).await?;
        let deadline = Deadline::after(CALL);
        loop {
            let mut message = self.message(method, deadline).await?;
            if message["id"] == json!(id) {
                return Ok(match message["error"].take() {
                    Value::Null => Ok(message["result"].take()),
                    error => Err(error),
                });
            }
            self.keep(message);
        }
    }

    /// Writes `text` as it is, and gives the next message that is no notification.
    ///
    /// # Errors
    /// When no answer came.
    pub async fn raw(&mut self, text: &str) -> Result<Value, NoAnswer> {
        self.write("a raw line", text).await?;
        self.next_answer().await
    }

    /// The next message that is no notification.
    ///
    /// # Errors
    /// When none came.
    pub async fn next_answer(&mut self) -> Result<Value, NoAnswer> {
        let deadline = Deadline::after(CALL);
        loop {
            let message = self.message("an answer", deadline).await?;
            if message["method"].is_null() {
                return Ok(message);
            }
            self.keep(message);
        }
    }

    /// The parameters of the next notification of `method` that `wanted` is true for. Others are passed over. `poke`
    /// makes the index look at its node.
    ///
    /// # Errors
    /// When none came.
    pub async fn notified(
        &mut self,
        method: &str,
        wanted: impl Fn(&Value) -> bool,
        poke: impl Fn(),
    ) -> Result<Value, NoAnswer> {
        let deadline = Deadline::after(CALL);
        loop {
            while let Some(message) = self.notifications.pop_front() {
                if message["method"] == json!(method) && wanted(&message["params"]) {
                    return Ok(message["params"].clone());
                }
            }
            // What is told to look may have looked a moment too early, so it is told again.
            poke();
            let soon = deadline.at_most(LOOK);
            match soon.bound(self.lines.fill_buf()).await {
                None if !deadline.has_passed() => continue,
                _ => {}
            }
            let message = self.message(method, deadline).await?;
            self.keep(message);
        }
    }

    fn keep(&mut self, message: Value) {
        if !message["method"].is_null() {
            self.notifications.push_back(message);
        }
    }

    async fn write(&mut self, what: &str, text: &str) -> Result<(), NoAnswer> {
        let written = self.writer.write_all(text.as_bytes()).await;
        written.map_err(|error| NoAnswer {
            what: what.to_owned(),
            why: error.to_string(),
            is_closed: true,
        })
    }

    async fn message(&mut self, what: &str, deadline: Deadline) -> Result<Value, NoAnswer> {
        let failed = |why: String, is_closed| NoAnswer {
            what: what.to_owned(),
            why,
            is_closed,
        };
        let no_answer = |why| failed(why, false);
        let mut line = String::new();
        match deadline.bound(self.lines.read_line(&mut line)).await {
            None => Err(no_answer(format!("nothing within {CALL:?}"))),
            Some(Err(error)) => Err(failed(error.to_string(), true)),
            Some(Ok(0)) => Err(failed("the connection was closed".into(), true)),
            Some(Ok(_)) => serde_json::from_str(&line)
                .map_err(|error| no_answer(format!("{error} in `{}`", line.trim()))),
        }
    }
}
