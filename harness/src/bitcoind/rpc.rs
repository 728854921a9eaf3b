//! JSON-RPC to one bitcoind: the calls the harness makes, each bounded by its caller's deadline.

use std::fmt;

use bitcoin::{Address, BlockHash, Network, Txid, address::NetworkUnchecked};
use serde::Deserialize;
use serde_json::{Value, json};
use swaprig_units::{BlockDelta, Height, Sat};

use crate::time::Deadline;

/// User of every bitcoind that swaprig starts. It listens on loopback only and holds regtest coins.
pub const USER: &str = "swaprig";
/// Its password.
pub const PASSWORD: &str = "swaprig";
/// The wallet that receives the block rewards and pays for everything.
pub(super) const WALLET: &str = "miner";

/// No such transaction or address (`RPC_INVALID_ADDRESS_OR_KEY` in Bitcoin Core's `rpc/protocol.h`).
const NOT_FOUND: i32 = -5;
/// There is no wallet of that name, or it is not loaded (`RPC_WALLET_NOT_FOUND` in Bitcoin Core's `rpc/protocol.h`).
pub const NO_WALLET: i32 = -18;
/// Still starting (`RPC_IN_WARMUP` in Bitcoin Core's `rpc/protocol.h`).
const IN_WARMUP: i32 = -28;

/// A call that brought no result.
#[derive(Debug, thiserror::Error)]
#[error("{instance} did not carry out {method}: {kind}")]
pub struct RpcError {
    /// The daemon's name.
    pub instance: String,
    /// The JSON-RPC method.
    pub method: String,
    /// What went wrong.
    #[source]
    pub kind: RpcErrorKind,
}

/// What went wrong with a call.
#[derive(Debug, thiserror::Error)]
pub enum RpcErrorKind {
    /// The node's own error: it received the call and refused it.
    #[error("{message} (code {code})")]
    Refused { code: i32, message: String },
    /// The deadline passed first.
    #[error("no answer within {0:.1?}")]
    TimedOut(std::time::Duration),
    /// No connection, or no valid answer.
    #[error("{0}")]
    Transport(#[from] corepc_client::Error),
    /// The same, for a node whose answers are read here.
    #[error("{0}")]
    Broken(String),
}

impl RpcErrorKind {
    /// Whether the node said that it does not know what was asked for.
    pub fn is_not_found(&self) -> bool {
        matches!(
            self,
            RpcErrorKind::Refused {
                code: NOT_FOUND,
                ..
            }
        )
    }

    /// Whether the node said that it has not loaded the wallet that was asked.
    pub fn is_no_wallet(&self) -> bool {
        matches!(
            self,
            RpcErrorKind::Refused {
                code: NO_WALLET,
                ..
            }
        )
    }

    /// Whether the node only said that it is still starting.
    pub fn is_warmup(&self) -> bool {
        matches!(
            self,
            RpcErrorKind::Refused {
                code: IN_WARMUP,
                ..
            }
        )
    }
}

/// Where the best chain ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub struct Tip {
    /// Height of the last block.
    #[serde(rename = "blocks")]
    pub height: Height,
    /// Hash of the last block.
    #[serde(rename = "bestblockhash")]
    pub hash: BlockHash,
}

/// A client of one bitcoind. Every call opens a connection of its own, so it survives a restart of the node.
pub struct Rpc {
    instance: String,
    url: String,
    node: corepc_client::Client,
    wallet: corepc_client::Client,
}

fn client(url: &str) -> corepc_client::Client {
    let auth = corepc_client::Auth::UserPass(USER.into(), PASSWORD.into());
    corepc_client::Client::new_with_auth(url, auth).expect("a user and a password are given")
}

impl Rpc {
    /// A client of the bitcoind that answers on `port` of this machine, directly or through a proxy. `instance` is its
    /// name in messages.
    pub fn new(instance: &str, port: u16) -> Self {
        let url = format!("http://127.0.0.1:{port}");
        Rpc {
            instance: instance.to_owned(),
            node: client(&url),
            wallet: client(&format!("{url}/wallet/{WALLET}")),
            url,
        }
    }

    /// `http://127.0.0.1:PORT`.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Calls any method of the node.
    ///
    /// # Errors
    /// What the node answered, a broken connection, or the deadline.
    pub async fn call<T>(
        &self,
        method: &str,
        params: &[Value],
        deadline: Deadline,
    ) -> Result<T, RpcError>
    where
        T: for<'de> Deserialize<'de>,
    {
        self.send(&self.node, method, params, deadline).await
    }

    /// Calls any method of the miner's wallet.
    ///
    /// # Errors
    /// As [`Rpc::call`].
    pub async fn wallet_call<T>(
        &self,
        method: &str,
        params: &[Value],
        deadline: Deadline,
    ) -> Result<T, RpcError>
    where
        T: for<'de> Deserialize<'de>,
    {
        self.send(&self.wallet, method, params, deadline).await
    }

    /// Calls a method of another wallet of the node.
    ///
    /// # Errors
    /// As [`Rpc::call`]; a wallet that is not loaded is refused with [`NO_WALLET`].
    pub async fn call_of_wallet<T>(
        &self,
        wallet: &str,
        method: &str,
        params: &[Value],
        deadline: Deadline,
    ) -> Result<T, RpcError>
    where
        T: for<'de> Deserialize<'de>,
    {
        let client = client(&format!("{}/wallet/{wallet}", self.url));
        self.send(&client, method, params, deadline).await
    }

    async fn send<T>(
        &self,
        client: &corepc_client::Client,
        method: &str,
        params: &[Value],
        deadline: Deadline,
    ) -> Result<T, RpcError>
    where
        T: for<'de> Deserialize<'de>,
    {
        let answer = deadline.bound(client.call(method, params)).await;
        let result = match answer {
            Some(Ok(value)) => return Ok(value),
            Some(Err(corepc_client::Error::JsonRpc(jsonrpc::Error::Rpc(e)))) => {
                RpcErrorKind::Refused {
                    code: e.code,
                    message: e.message,
                }
            }
            Some(Err(error)) => RpcErrorKind::Transport(error),
            None => RpcErrorKind::TimedOut(deadline.elapsed()),
        };
        Err(RpcError {
            instance: self.instance.clone(),
            method: method.to_owned(),
            kind: result,
        })
    }

    /// The end of the best chain.
    pub async fn tip(&self, deadline: Deadline) -> Result<Tip, RpcError> {
        self.call("getblockchaininfo", &[], deadline).await
    }

    /// Mines `blocks` blocks to `address` and gives their hashes.
    pub async fn generate(
        &self,
        blocks: BlockDelta,
        address: &Address,
        deadline: Deadline,
    ) -> Result<Vec<BlockHash>, RpcError> {
        self.call(
            "generatetoaddress",
            &[json!(blocks.0), json!(address.to_string())],
            deadline,
        )
        .await
    }

    /// Pays `amount` to `address` from the miner's wallet; the fee comes on top.
    pub async fn send_to_address(
        &self,
        address: &Address,
        amount: Sat,
        deadline: Deadline,
    ) -> Result<Txid, RpcError> {
        let btc = amount
            .to_amount()
            .to_string_in(bitcoin::Denomination::Bitcoin);
        self.wallet_call(
            "sendtoaddress",
            &[json!(address.to_string()), json!(btc)],
            deadline,
        )
        .await
    }

    /// A fresh address of the miner's wallet.
    pub async fn new_address(&self, deadline: Deadline) -> Result<Address, RpcError> {
        let address: Address<NetworkUnchecked> =
            self.wallet_call("getnewaddress", &[], deadline).await?;
        let wrong = |e: bitcoin::address::ParseError| RpcError {
            instance: self.instance.clone(),
            method: "getnewaddress".into(),
            kind: RpcErrorKind::Refused {
                code: 0,
                message: e.to_string(),
            },
        };
        address.require_network(Network::Regtest).map_err(wrong)
    }

    /// What the miner's wallet can spend.
    pub async fn balance(&self, deadline: Deadline) -> Result<Sat, RpcError> {
        let btc: Value = self.wallet_call("getbalance", &[], deadline).await?;
        let amount = bitcoin::Amount::from_str_in(&btc.to_string(), bitcoin::Denomination::Bitcoin);
        amount.map(Sat::from).map_err(|e| RpcError {
            instance: self.instance.clone(),
            method: "getbalance".into(),
            kind: RpcErrorKind::Refused {
                code: 0,
                message: format!("`{btc}` is not an amount: {e}"),
            },
        })
    }

    /// The transactions that wait for a block.
    pub async fn mempool(&self, deadline: Deadline) -> Result<Vec<Txid>, RpcError> {
        self.call("getrawmempool", &[], deadline).await
    }

    /// Declares a block invalid, and with it every block on top: the chain is cut back to its parent.
    pub async fn invalidate_block(
        &self,
        hash: BlockHash,
        deadline: Deadline,
    ) -> Result<(), RpcError> {
        self.call("invalidateblock", &[json!(hash)], deadline).await
    }

    /// Takes back [`Rpc::invalidate_block`].
    pub async fn reconsider_block(
        &self,
        hash: BlockHash,
        deadline: Deadline,
    ) -> Result<(), RpcError> {
        self.call("reconsiderblock", &[json!(hash)], deadline).await
    }

    /// Asks the node to end itself.
    pub(super) async fn stop(&self, deadline: Deadline) -> Result<(), RpcError> {
        self.call::<Value>("stop", &[], deadline).await.map(drop)
    }
}

impl fmt::Debug for Rpc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Rpc({} at {})", self.instance, self.url)
    }
}
