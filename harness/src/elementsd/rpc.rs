//! JSON-RPC to one elementsd: the calls the harness makes, typed, and any other by name.

use bitcoin::{BlockHash, OutPoint, Txid};
use elements::{Address, AddressParams, AssetId};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use swaprig_units::BlockDelta;

use super::amount::{Amounts, AssetAmount, POLICY_LABEL, amounts, decimal, lbtc, parts};
use super::client::{Call, Client};
use crate::bitcoind::{RpcError, RpcErrorKind, Tip};
use crate::time::Deadline;

/// User of every elementsd that swaprig starts. It listens on loopback only and holds regtest coins.
pub const USER: &str = "swaprig";
/// Its password.
pub const PASSWORD: &str = "swaprig";
/// `RPC_WALLET_ALREADY_LOADED` in Bitcoin Core's `rpc/protocol.h`.
const ALREADY_LOADED: i32 = -35;

/// A client of one elementsd.
#[derive(Debug, Clone)]
pub struct Rpc {
    client: Client,
}

/// Addresses of a wallet for the same script: with a blinding key, and without one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AddressPair {
    /// What is paid to it is blinded.
    pub confidential: Address,
    /// What is paid to it can be read by everybody.
    pub explicit: Address,
}

/// An unspent output of a wallet, unblinded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WalletOutput {
    /// Which.
    pub outpoint: OutPoint,
    /// What it holds.
    pub amount: AssetAmount,
}

/// What a new asset is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Issuance {
    /// Its id.
    pub asset: AssetId,
    /// The asset that allows to issue more of it.
    pub token: AssetId,
    /// The transaction that made it.
    pub txid: Txid,
}

impl Rpc {
    /// A client of the elementsd that answers on `port` of this machine, directly or through a proxy. `instance` is its
    /// name in messages.
    pub fn new(instance: &str, port: u16) -> Self {
        Rpc {
            client: Client::new(instance, port, USER, PASSWORD),
        }
    }

    /// `http://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        self.client.url()
    }

    /// Calls any method of the node.
    ///
    /// # Errors
    /// What the node answered, a broken connection, or the deadline.
    pub async fn call<T: DeserializeOwned>(
        &self,
        method: &str,
        params: &[Value],
        deadline: Deadline,
    ) -> Result<T, RpcError> {
        self.client.call(None, method, params, deadline).await
    }

    /// Calls any method of a wallet.
    ///
    /// # Errors
    /// As [`Rpc::call`].
    pub async fn wallet_call<T: DeserializeOwned>(
        &self,
        wallet: &str,
        method: &str,
        params: &[Value],
        deadline: Deadline,
    ) -> Result<T, RpcError> {
        self.client
            .call(Some(wallet), method, params, deadline)
            .await
    }

    /// Calls many methods of the node in one request; gives their results in their order.
    ///
    /// # Errors
    /// The first error that there is, as [`Rpc::call`].
    pub async fn batch(&self, calls: &[Call], deadline: Deadline) -> Result<Vec<Value>, RpcError> {
        self.client.batch(None, calls, deadline).await
    }

    fn unreadable(&self, method: &str, value: &Value) -> RpcError {
        let mut shown = value.to_string();
        if shown.len() > 200 {
            shown = format!("{}…", shown.chars().take(200).collect::<String>());
        }
        let text = format!("its answer cannot be read: {shown}");
        self.client.error(method, RpcErrorKind::Broken(text))
    }

    /// The end of the best chain.
    ///
    /// # Errors
    /// As [`Rpc::call`], and so for all methods below.
    pub async fn tip(&self, deadline: Deadline) -> Result<Tip, RpcError> {
        self.call("getblockchaininfo", &[], deadline).await
    }

    /// The hash of the first block, and the policy asset.
    pub(super) async fn parameters(
        &self,
        deadline: Deadline,
    ) -> Result<(String, String), RpcError> {
        let genesis = self.call("getblockhash", &[json!(0)], deadline).await?;
        let sidechain: Value = self.call("getsidechaininfo", &[], deadline).await?;
        let asset = sidechain["pegged_asset"].as_str();
        let asset = asset.ok_or_else(|| self.unreadable("getsidechaininfo", &sidechain))?;
        Ok((genesis, asset.to_owned()))
    }

    /// Mines `blocks` blocks to `address` and gives their hashes.
    pub async fn generate(
        &self,
        blocks: BlockDelta,
        address: &Address,
        deadline: Deadline,
    ) -> Result<Vec<BlockHash>, RpcError> {
        let params = [json!(blocks.0), json!(address.to_string())];
        self.call("generatetoaddress", &params, deadline).await
    }

    /// Mines one block with these transactions of the mempool and no other.
    pub async fn generate_block(
        &self,
        address: &Address,
        transactions: &[Txid],
        deadline: Deadline,
    ) -> Result<BlockHash, RpcError> {
        let params = [json!(address.to_string()), json!(transactions)];
        let made: Value = self.call("generateblock", &params, deadline).await?;
        let hash = made["hash"].as_str().and_then(|hash| hash.parse().ok());
        hash.ok_or_else(|| self.unreadable("generateblock", &made))
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

    /// The hash of the block at a height.
    pub async fn block_hash(&self, height: u32, deadline: Deadline) -> Result<BlockHash, RpcError> {
        self.call("getblockhash", &[json!(height)], deadline).await
    }

    /// Brings a transaction into the mempool.
    pub async fn send_raw(&self, hex: &str, deadline: Deadline) -> Result<Txid, RpcError> {
        self.call("sendrawtransaction", &[json!(hex)], deadline)
            .await
    }

    /// Makes a wallet with this name; one that is there already is loaded.
    pub(super) async fn open_wallet(&self, name: &str, deadline: Deadline) -> Result<(), RpcError> {
        // Descriptors: version 23 makes a wallet of the old kind otherwise, which not every build can.
        let params = [
            json!(name),
            json!(false),
            json!(false),
            json!(""),
            json!(false),
            json!(true),
        ];
        self.call::<Value>("createwallet", &params, deadline)
            .await
            .map(drop)
    }

    /// Loads a wallet after a restart.
    pub(super) async fn load_wallet(&self, name: &str, deadline: Deadline) -> Result<(), RpcError> {
        let loaded = self
            .call::<Value>("loadwallet", &[json!(name)], deadline)
            .await;
        match loaded {
            Err(RpcError {
                kind:
                    RpcErrorKind::Refused {
                        code: ALREADY_LOADED,
                        ..
                    },
                ..
            })
            | Ok(_) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// A fresh address of a wallet, in both its forms.
    pub async fn new_address(
        &self,
        wallet: &str,
        deadline: Deadline,
    ) -> Result<AddressPair, RpcError> {
        let text: String = self
            .wallet_call(
                wallet,
                "getnewaddress",
                &[json!(""), json!("blech32")],
                deadline,
            )
            .await?;
        let wrong = || self.unreadable("getnewaddress", &json!(text));
        let confidential =
            Address::parse_with_params(&text, &AddressParams::ELEMENTS).map_err(|_| wrong())?;
        if confidential.blinding_pubkey.is_none() {
            return Err(wrong());
        }
        Ok(AddressPair {
            explicit: confidential.to_unconfidential(),
            confidential,
        })
    }

    /// Pays `amount` to `address`; the fee comes on top, in L-BTC. What it pays is blinded when the address is.
    pub async fn send_to_address(
        &self,
        wallet: &str,
        address: &Address,
        amount: AssetAmount,
        deadline: Deadline,
    ) -> Result<Txid, RpcError> {
        // Position 9 is the asset (Elements `wallet/rpc/spend.cpp`).
        let params = [
            json!(address.to_string()),
            json!(decimal(amount.parts)),
            json!(""),
            json!(""),
            json!(false),
            json!(false),
            json!(1),
            json!("unset"),
            json!(false),
            json!(asset_name(amount.asset)),
        ];
        self.wallet_call(wallet, "sendtoaddress", &params, deadline)
            .await
    }

    /// Makes a new asset: `parts` of it and `tokens` of what allows to issue more, both for the wallet.
    pub async fn issue_asset(
        &self,
        wallet: &str,
        parts: u64,
        tokens: u64,
        blind: bool,
        deadline: Deadline,
    ) -> Result<Issuance, RpcError> {
        let params = [json!(decimal(parts)), json!(decimal(tokens)), json!(blind)];
        let made: Value = self
            .wallet_call(wallet, "issueasset", &params, deadline)
            .await?;
        let read = || {
            Some(Issuance {
                asset: made["asset"].as_str()?.parse().ok()?,
                token: made["token"].as_str()?.parse().ok()?,
                txid: made["txid"].as_str()?.parse().ok()?,
            })
        };
        read().ok_or_else(|| self.unreadable("issueasset", &made))
    }

    /// What a wallet holds, confirmed or not, spendable or not yet.
    pub async fn balances(&self, wallet: &str, deadline: Deadline) -> Result<Amounts, RpcError> {
        let answer: Value = self
            .wallet_call(wallet, "getbalances", &[], deadline)
            .await?;
        let mut sum = Amounts::new();
        for kind in ["trusted", "untrusted_pending", "immature"] {
            let part = amounts(&answer["mine"][kind]);
            let part = part.ok_or_else(|| self.unreadable("getbalances", &answer))?;
            for (asset, parts) in part {
                *sum.entry(asset).or_default() += parts;
            }
        }
        sum.retain(|_, parts| *parts > 0);
        Ok(sum)
    }

    /// The outputs that a wallet could spend now, those of the mempool among them.
    pub async fn unspent(
        &self,
        wallet: &str,
        deadline: Deadline,
    ) -> Result<Vec<WalletOutput>, RpcError> {
        let answer: Value = self
            .wallet_call(wallet, "listunspent", &[json!(0)], deadline)
            .await?;
        let output = |value: &Value| {
            Some(WalletOutput {
                outpoint: OutPoint::new(
                    value["txid"].as_str()?.parse().ok()?,
                    u32::try_from(value["vout"].as_u64()?).ok()?,
                ),
                amount: AssetAmount {
                    asset: value["asset"].as_str()?.parse().ok()?,
                    parts: parts(&value["amount"])?,
                },
            })
        };
        let list = answer.as_array().map(Vec::as_slice).unwrap_or_default();
        let all: Option<Vec<WalletOutput>> = list.iter().map(output).collect();
        all.ok_or_else(|| self.unreadable("listunspent", &answer))
    }

    /// Asks the node to end itself.
    pub(super) async fn stop(&self, deadline: Deadline) -> Result<(), RpcError> {
        self.call::<Value>("stop", &[], deadline).await.map(drop)
    }
}

/// The asset as calls take it: the policy asset has a label, an issued one its id alone.
fn asset_name(asset: AssetId) -> String {
    match asset == lbtc() {
        true => POLICY_LABEL.to_owned(),
        false => asset.to_string(),
    }
}
