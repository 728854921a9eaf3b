//! A small Electrum client: one question after the other over one connection, for barriers and expectations.

use std::fmt;

use bitcoin::Txid;
use bitcoin::hashes::{Hash as _, sha256};
use bitcoin::hex::{DisplayHex as _, FromHex as _};
use serde::Deserialize;
use serde_json::{Value, json};
use swaprig_units::Height;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;

use crate::time::Deadline;

/// The versions of the protocol that the harness speaks.
const VERSIONS: [&str; 2] = ["1.4", "1.6"];

/// How Electrum names a script: SHA-256 of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ScriptHash(sha256::Hash);

impl ScriptHash {
    /// The name of a script.
    pub fn of(script: &[u8]) -> Self {
        ScriptHash(sha256::Hash::hash(script))
    }
}

/// Its bytes are shown in the reverse order.
impl fmt::Display for ScriptHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = self.0.to_byte_array();
        bytes.reverse();
        write!(f, "{}", bytes.as_hex())
    }
}

/// A transaction that touches a script.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct HistoryItem {
    /// Its id.
    pub tx_hash: Txid,
    /// The height of its block; 0 in the mempool, -1 there when it spends from another one of the mempool.
    pub height: i64,
    /// Its fee in satoshi, in the mempool.
    #[serde(default)]
    pub fee: Option<u64>,
}

/// What a script owns on Bitcoin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub struct Balance {
    /// Satoshi in the chain.
    pub confirmed: u64,
    /// Satoshi that the mempool adds to that, or takes from it.
    pub unconfirmed: i64,
}

/// Why a question brought nothing.
#[derive(Debug, thiserror::Error)]
pub enum ElectrumError {
    /// Nobody listens, or the connection broke.
    #[error("{0}")]
    Connection(#[from] std::io::Error),
    /// The server refused.
    #[error("{method}: {message}")]
    Refused {
        /// The method.
        method: String,
        /// The server's words; an error that is no text as JSON.
        message: String,
    },
    /// The answer has another form than the protocol says.
    #[error("{method}: its answer cannot be used: {why}")]
    Malformed {
        /// The method.
        method: String,
        /// What is wrong.
        why: String,
    },
    /// No answer came in time.
    #[error("{method}: no answer in time")]
    TimedOut {
        /// The method.
        method: String,
    },
}

/// A connection to an Electrum server.
#[derive(Debug)]
pub struct ElectrumClient {
    stream: BufReader<TcpStream>,
    calls: u64,
}

impl ElectrumClient {
    /// Connects and agrees on a version.
    ///
    /// # Errors
    /// [`ElectrumError`].
    pub async fn connect(address: &str, deadline: Deadline) -> Result<Self, ElectrumError> {
        let method = "connecting";
        let stream = bound(method, deadline, TcpStream::connect(address)).await??;
        stream.set_nodelay(true)?;
        let mut client = ElectrumClient {
            stream: BufReader::new(stream),
            calls: 0,
        };
        let params = json!([concat!("swaprig ", env!("CARGO_PKG_VERSION")), VERSIONS]);
        client.call("server.version", params, deadline).await?;
        Ok(client)
    }

    /// Asks `method`; what is pushed meanwhile is passed over.
    ///
    /// # Errors
    /// [`ElectrumError`]. After a timeout the connection is of no more use.
    pub async fn call(
        &mut self,
        method: &str,
        params: Value,
        deadline: Deadline,
    ) -> Result<Value, ElectrumError> {
        bound(method, deadline, self.ask(method, params)).await?
    }

    async fn ask(&mut self, method: &str, params: Value) -> Result<Value, ElectrumError> {
        self.calls += 1;
        let mut line =
            json!({ "jsonrpc": "2.0", "id": self.calls, "method": method, "params": params })
                .to_string();
        line.push('\n');
        self.stream.get_mut().write_all(line.as_bytes()).await?;
        loop {
            let mut answer = String::new();
            if self.stream.read_line(&mut answer).await? == 0 {
                let closed = std::io::ErrorKind::UnexpectedEof;
                return Err(std::io::Error::new(closed, "the server closed the connection").into());
            }
            let answer = serde_json::from_str::<Value>(&answer);
            let mut answer = answer.map_err(|error| malformed(method, error))?;
            if answer.get("id") != Some(&json!(self.calls)) {
                continue;
            }
            return match answer.get("error").filter(|error| !error.is_null()) {
                Some(error) => Err(ElectrumError::Refused {
                    method: method.to_owned(),
                    message: message(error),
                }),
                None => Ok(answer["result"].take()),
            };
        }
    }

    /// Waits for the next thing that the server pushes under `method`, and gives its parameters. What it pushed while it
    /// was asked something was passed over.
    ///
    /// # Errors
    /// [`ElectrumError`]. After a timeout the connection is of no more use.
    pub async fn pushed(
        &mut self,
        method: &str,
        deadline: Deadline,
    ) -> Result<Value, ElectrumError> {
        let listen = async {
            loop {
                let mut line = String::new();
                if self.stream.read_line(&mut line).await? == 0 {
                    let closed = std::io::ErrorKind::UnexpectedEof;
                    return Err(
                        std::io::Error::new(closed, "the server closed the connection").into(),
                    );
                }
                let said = serde_json::from_str::<Value>(&line);
                let mut said = said.map_err(|error| malformed(method, error))?;
                if said["method"] == method {
                    return Ok(said["params"].take());
                }
            }
        };
        bound(method, deadline, listen).await?
    }

    async fn typed<T: serde::de::DeserializeOwned>(
        &mut self,
        method: &str,
        params: Value,
        deadline: Deadline,
    ) -> Result<T, ElectrumError> {
        let answer = self.call(method, params, deadline).await?;
        serde_json::from_value(answer).map_err(|error| malformed(method, error))
    }

    /// The height and the header of the index's tip.
    ///
    /// # Errors
    /// [`ElectrumError`].
    pub async fn tip(&mut self, deadline: Deadline) -> Result<(Height, Vec<u8>), ElectrumError> {
        #[derive(Deserialize)]
        struct Header {
            height: u32,
            hex: String,
        }
        let method = "blockchain.headers.subscribe";
        let Header { height, hex } = self.typed(method, json!([]), deadline).await?;
        let bytes = Vec::from_hex(&hex).map_err(|error| malformed(method, error))?;
        Ok((Height(height), bytes))
    }

    /// The header of a block.
    ///
    /// # Errors
    /// [`ElectrumError`].
    pub async fn header(
        &mut self,
        height: Height,
        deadline: Deadline,
    ) -> Result<Vec<u8>, ElectrumError> {
        let method = "blockchain.block.header";
        let hex: String = self.typed(method, json!([height.0]), deadline).await?;
        Vec::from_hex(&hex).map_err(|error| malformed(method, error))
    }

    /// The transactions that touch a script, those of the chain first.
    ///
    /// # Errors
    /// [`ElectrumError`].
    pub async fn history(
        &mut self,
        script: ScriptHash,
        deadline: Deadline,
    ) -> Result<Vec<HistoryItem>, ElectrumError> {
        let method = "blockchain.scripthash.get_history";
        self.typed(method, json!([script.to_string()]), deadline)
            .await
    }

    /// What a script owns, on Bitcoin; Liquid's servers do not tell.
    ///
    /// # Errors
    /// [`ElectrumError`].
    pub async fn balance(
        &mut self,
        script: ScriptHash,
        deadline: Deadline,
    ) -> Result<Balance, ElectrumError> {
        let method = "blockchain.scripthash.get_balance";
        self.typed(method, json!([script.to_string()]), deadline)
            .await
    }

    /// A transaction with its witnesses.
    ///
    /// # Errors
    /// [`ElectrumError`].
    pub async fn transaction(
        &mut self,
        txid: Txid,
        deadline: Deadline,
    ) -> Result<Vec<u8>, ElectrumError> {
        let method = "blockchain.transaction.get";
        let hex: String = self.typed(method, json!([txid]), deadline).await?;
        Vec::from_hex(&hex).map_err(|error| malformed(method, error))
    }

    /// Sends a transaction to the network.
    ///
    /// # Errors
    /// [`ElectrumError`]; a refusal has the node's words in it.
    pub async fn broadcast(
        &mut self,
        transaction: &[u8],
        deadline: Deadline,
    ) -> Result<Txid, ElectrumError> {
        let method = "blockchain.transaction.broadcast";
        let params = json!([transaction.to_lower_hex_string()]);
        self.typed(method, params, deadline).await
    }
}

async fn bound<T>(
    method: &str,
    deadline: Deadline,
    work: impl Future<Output = T>,
) -> Result<T, ElectrumError> {
    let done = deadline.bound(work).await;
    done.ok_or_else(|| ElectrumError::TimedOut {
        method: method.to_owned(),
    })
}

fn malformed(method: &str, why: impl fmt::Display) -> ElectrumError {
    ElectrumError::Malformed {
        method: method.to_owned(),
        why: why.to_string(),
    }
}

/// What an error says: servers give an object with a message, or a text.
fn message(error: &Value) -> String {
    let text = error.get("message").unwrap_or(error);
    text.as_str()
        .map_or_else(|| text.to_string(), str::to_owned)
}
