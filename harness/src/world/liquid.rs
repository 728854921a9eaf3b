//! The Liquid side of a world: an elementsd with wallets, an index of its chain, and the barrier that both must pass.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use bitcoin::{BlockHash, Txid};
use elements::{Address, AddressParams, AssetId, Script};
use serde_json::{Value, json};
use swaprig_units::{BlockDelta, Height};

use super::builder::Parts;
use super::proxies::{self, OnLink};
use super::{Binaries, Chain, WAIT, World, WorldError, WorldErrorKind, index};
use crate::binary::Role;
use crate::bitcoind::{RpcError, Tip};
use crate::daemon::StartError;
use crate::electrs::Electrs;
use crate::elementsd::{AssetAmount, Elementsd, FAUCET, Issuance};
use crate::process::Running;
use crate::proxy::Link;
use crate::time::Deadline;

/// The Liquid chain of a world.
#[derive(Debug)]
pub struct Liquid {
    elementsd: Elementsd,
    index: Option<Electrs>,
    /// Scripts whose coins belong to somebody outside of the node's wallets, with their owner.
    owners: Mutex<BTreeMap<Script, String>>,
    /// What was issued here, of assets and of their tokens: blinded, the chain does not tell.
    issued: Mutex<BTreeMap<AssetId, u64>>,
}

/// Who gets something on Liquid.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Recipient {
    /// A wallet of the world, at a fresh address.
    Wallet {
        /// Its name.
        name: String,
        /// Whether what is paid is blinded.
        confidential: bool,
    },
    /// An address. What is paid is blinded when it has a blinding key.
    Address(Address),
}

/// From so many blocks on the clock is looked at before they are mined.
const MANY: u32 = 100;
/// How far ahead of the clock the chain may be before that, seconds; two hours are the most that nodes bear.
const AHEAD: u64 = 1_800;

/// The owner of what was paid to an address that no wallet of the world has.
pub const OUTSIDE: &str = "outside";

impl Liquid {
    /// Starts elementsd in `dir`, with the wallets that are named, and the index over it: what a world has beside bitcoind.
    ///
    /// # Errors
    /// When a program is missing or does not come up.
    pub async fn start(
        binaries: &Binaries,
        wallets: &[String],
        dir: &Path,
        deadline: Deadline,
    ) -> Result<Self, StartError> {
        let parts = Parts {
            liquid: Some(wallets),
            index: &[Chain::Liquid].into(),
        };
        let started = start(parts, &[], binaries, dir, deadline).await?;
        let (liquid, _) = started.expect("the parts have Liquid");
        Ok(liquid)
    }

    /// Mines `blocks` blocks; returns when the index, where there is one, has the new tip.
    ///
    /// # Errors
    /// When a daemon does not answer, or the index does not follow before `deadline`.
    pub async fn mine(
        &self,
        blocks: BlockDelta,
        deadline: Deadline,
    ) -> Result<Tip, WorldErrorKind> {
        if blocks.0 >= MANY {
            self.keep_clock(deadline).await?;
        }
        self.elementsd.generate(blocks, deadline).await?;
        self.barrier(deadline).await
    }

    /// Sets the node's clock forward when its blocks are far ahead of it. Six blocks cannot have the same time, so a chain of
    /// thousands that is mined at once runs ahead, and two hours ahead no block is valid any more.
    async fn keep_clock(&self, deadline: Deadline) -> Result<(), RpcError> {
        let rpc = self.elementsd.rpc();
        let tip = rpc.tip(deadline).await?;
        let asked = [json!(tip.hash.to_string())];
        let header: Value = rpc.call("getblockheader", &asked, deadline).await?;
        let of_tip = header["time"].as_u64().unwrap_or(0);
        #[expect(
            clippy::disallowed_methods,
            reason = "the clock of the chain is the wall clock; nothing waits by it"
        )]
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let now = now.map_or(0, |now| now.as_secs());
        if of_tip > now + AHEAD {
            rpc.call::<Value>("setmocktime", &[json!(of_tip)], deadline)
                .await?;
        }
        Ok(())
    }

    /// Waits until the index, where there is one, has the tip of elementsd's chain.
    ///
    /// # Errors
    /// As [`Liquid::mine`].
    pub async fn barrier(&self, deadline: Deadline) -> Result<Tip, WorldErrorKind> {
        let tip = self.elementsd.rpc().tip(deadline).await?;
        if let Some(index) = &self.index {
            index::follow(index, tip, deadline).await?;
        }
        Ok(tip)
    }

    /// Ends both.
    pub async fn stop(&self, deadline: Deadline) {
        let index = async {
            match &self.index {
                Some(index) => Some(index.stop(deadline).await),
                None => None,
            }
        };
        tokio::join!(index, self.elementsd.stop(deadline));
    }

    /// Its processes.
    pub fn processes(&self) -> impl Iterator<Item = Arc<Running>> {
        let index = self.index.iter().map(Electrs::running);
        std::iter::once(self.elementsd.running()).chain(index)
    }

    /// The node.
    pub fn elementsd(&self) -> &Elementsd {
        &self.elementsd
    }

    /// The index of its chain, where there is one.
    pub fn index(&self) -> Option<&Electrs> {
        self.index.as_ref()
    }

    /// The wallets of parties: all of the node's but the faucet.
    pub fn wallets(&self) -> impl Iterator<Item = &str> {
        let all = self.elementsd.wallets().iter().map(String::as_str);
        all.filter(|name| *name != FAUCET)
    }

    /// Says that what is paid to `script` belongs to `owner`, who is none of the node's wallets.
    pub fn belongs_to(&self, script: Script, owner: impl Into<String>) {
        let mut owners = self.owners.lock().unwrap_or_else(PoisonError::into_inner);
        owners.entry(script).or_insert(owner.into());
    }

    /// How much of an asset, or of a token, was issued by [`World::issue_asset`].
    pub fn issued(&self, asset: AssetId) -> Option<u64> {
        let issued = self.issued.lock().unwrap_or_else(PoisonError::into_inner);
        issued.get(&asset).copied()
    }

    /// Who owns what is paid to `script`, where that was said.
    pub fn owner_of(&self, script: &Script) -> Option<String> {
        let owners = self.owners.lock().unwrap_or_else(PoisonError::into_inner);
        owners.get(script).cloned()
    }
}

/// Starts elementsd, then the index over it, with the proxies in front of both.
pub(super) async fn start(
    parts: Parts<'_>,
    links: &[Link],
    binaries: &Binaries,
    dir: &Path,
    deadline: Deadline,
) -> Result<Option<(Liquid, Vec<OnLink>)>, StartError> {
    let Some(wallets) = parts.liquid else {
        return Ok(None);
    };
    let binary = index::needed(binaries, Role::Elementsd)?;
    let mut elementsd = Elementsd::start(binary, dir, wallets, deadline).await?;
    let mut proxies = proxies::to_elementsd(links, &mut elementsd).await?;
    let index = match parts.index.contains(&Chain::Liquid) {
        true => {
            let over = index::Over::elementsd(&elementsd);
            Some(index::start(over, links, &mut proxies, binaries, (dir, deadline)).await?)
        }
        false => None,
    };
    let liquid = Liquid {
        elementsd,
        index,
        owners: Mutex::default(),
        issued: Mutex::default(),
    };
    Ok(Some((liquid, proxies)))
}

/// Reads an address of the world's Liquid chain.
///
/// # Errors
/// Why it is none.
pub fn liquid_address(text: &str) -> Result<Address, String> {
    match Address::parse_with_params(text, &AddressParams::ELEMENTS) {
        Ok(address) => Ok(address),
        Err(error) => Err(match text.parse::<Address>() {
            Ok(_) => {
                "it belongs to another network: those of regtest begin with el1 or ert1".into()
            }
            Err(_) => crate::error_chain(&error),
        }),
    }
}

impl World {
    /// Its Liquid chain.
    ///
    /// # Errors
    /// When it has none.
    pub fn liquid(&self) -> Result<&Liquid, WorldError> {
        self.liquid.as_ref().ok_or_else(|| {
            let text =
                "this world has no Liquid chain; ask for one when it is described: liquid = true";
            self.error(WorldErrorKind::Setup(text.to_owned()))
        })
    }

    /// Whether it has a Liquid chain.
    pub fn has_liquid(&self) -> bool {
        self.liquid.is_some()
    }

    fn wallet(&self, name: &str) -> Result<&Elementsd, WorldError> {
        let liquid = self.liquid()?;
        let wallets = liquid.elementsd.wallets();
        if wallets.iter().any(|wallet| wallet == name) {
            return Ok(&liquid.elementsd);
        }
        let text = format!(
            "this world has no Liquid wallet called `{name}`; it has {}",
            wallets.join(", ")
        );
        Err(self.error(WorldErrorKind::Setup(text)))
    }

    /// Mines `blocks` blocks on Liquid; returns when the index, where there is one, has the new tip.
    ///
    /// # Errors
    /// When there is no Liquid, elementsd does not answer, or the index does not follow within a minute.
    pub async fn mine_liquid(&self, blocks: BlockDelta) -> Result<Height, WorldError> {
        self.mine_liquid_within(blocks, Deadline::after(WAIT)).await
    }

    /// As [`World::mine_liquid`], with the caller's deadline.
    ///
    /// # Errors
    /// As [`World::mine_liquid`].
    pub async fn mine_liquid_within(
        &self,
        blocks: BlockDelta,
        deadline: Deadline,
    ) -> Result<Height, WorldError> {
        let tip = self.liquid()?.mine(blocks, deadline).await;
        Ok(tip.map_err(|error| self.error(error))?.height)
    }

    /// Waits until the index of the Liquid chain, where there is one, has the tip of elementsd's chain.
    ///
    /// # Errors
    /// When there is no Liquid, a daemon does not answer, or the index does not follow before `deadline`.
    pub async fn liquid_barrier(&self, deadline: Deadline) -> Result<Tip, WorldError> {
        let tip = self.liquid()?.barrier(deadline).await;
        tip.map_err(|error| self.error(error))
    }

    /// Pays `amount` from the faucet. It takes a block to confirm. An address that is nobody's in this world is from now on
    /// [`OUTSIDE`]'s.
    ///
    /// # Errors
    /// When there is no Liquid, no such wallet, or elementsd refuses or does not answer.
    pub async fn fund_liquid(
        &self,
        to: &Recipient,
        amount: AssetAmount,
        deadline: Deadline,
    ) -> Result<Txid, WorldError> {
        self.send_liquid(FAUCET, to, amount, deadline).await
    }

    /// Pays `amount` from a wallet; the fee comes on top. As [`World::fund_liquid`].
    ///
    /// # Errors
    /// As [`World::fund_liquid`].
    pub async fn send_liquid(
        &self,
        from: &str,
        to: &Recipient,
        amount: AssetAmount,
        deadline: Deadline,
    ) -> Result<Txid, WorldError> {
        let elementsd = self.wallet(from)?;
        let rpc = elementsd.rpc();
        let address = match to {
            Recipient::Wallet { name, confidential } => {
                self.wallet(name)?;
                let pair = rpc.new_address(name, deadline).await;
                let pair = pair.map_err(|e| self.error(e))?;
                match confidential {
                    true => pair.confidential,
                    false => pair.explicit,
                }
            }
            Recipient::Address(address) => {
                if !self.is_in_a_wallet(address, deadline).await? {
                    self.liquid()?.belongs_to(address.script_pubkey(), OUTSIDE);
                }
                address.clone()
            }
        };
        rpc.send_to_address(from, &address, amount, deadline)
            .await
            .map_err(|e| self.error(e))
    }

    /// Whether a wallet of the node has the key of an address.
    async fn is_in_a_wallet(
        &self,
        address: &Address,
        deadline: Deadline,
    ) -> Result<bool, WorldError> {
        let elementsd = &self.liquid()?.elementsd;
        for wallet in elementsd.wallets() {
            let info: Value = elementsd
                .rpc()
                .wallet_call(
                    wallet,
                    "getaddressinfo",
                    &[json!(address.to_string())],
                    deadline,
                )
                .await
                .map_err(|e| self.error(e))?;
            if info["ismine"] == true {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Makes a new asset for a wallet, which pays the fee. It takes a block to confirm.
    ///
    /// # Errors
    /// When there is no Liquid, no such wallet, or elementsd refuses or does not answer.
    pub async fn issue_asset(
        &self,
        wallet: &str,
        parts: u64,
        tokens: u64,
        blind: bool,
        deadline: Deadline,
    ) -> Result<Issuance, WorldError> {
        let rpc = self.wallet(wallet)?.rpc();
        let made = rpc
            .issue_asset(wallet, parts, tokens, blind, deadline)
            .await
            .map_err(|e| self.error(e))?;
        let liquid = self.liquid()?;
        let mut issued = liquid.issued.lock().unwrap_or_else(PoisonError::into_inner);
        issued.insert(made.asset, parts);
        issued.insert(made.token, tokens);
        Ok(made)
    }

    /// How many blocks deep a transaction of the Liquid chain is, as the node has it; zero while it waits in the mempool,
    /// `None` when the node does not know it.
    ///
    /// # Errors
    /// When there is no Liquid, or elementsd does not answer.
    pub async fn liquid_confirmations(
        &self,
        txid: Txid,
        deadline: Deadline,
    ) -> Result<Option<u64>, WorldError> {
        let rpc = self.liquid()?.elementsd.rpc();
        let found = rpc
            .call::<Value>("getrawtransaction", &[json!(txid), json!(true)], deadline)
            .await;
        match found {
            Ok(transaction) => Ok(Some(transaction["confirmations"].as_u64().unwrap_or(0))),
            Err(error) if error.kind.is_not_found() => Ok(None),
            Err(error) => Err(self.error(error)),
        }
    }

    /// Takes the last `depth` blocks of the Liquid chain away and mines `blocks` in their place, `empty` of what the old
    /// ones held or not; returns when the index has followed.
    ///
    /// # Errors
    /// When there is no Liquid, the chain is shorter than that, a daemon does not answer, or the index does not follow.
    pub async fn reorg_liquid(
        &self,
        depth: BlockDelta,
        blocks: BlockDelta,
        empty: bool,
        deadline: Deadline,
    ) -> Result<Tip, WorldError> {
        let elementsd = &self.liquid()?.elementsd;
        let rpc = elementsd.rpc();
        let work = async {
            let tip = rpc.tip(deadline).await?;
            // The first two blocks are those that the world itself stands on.
            let Some(height) = tip
                .height
                .0
                .checked_sub(depth.0)
                .filter(|below| *below >= 1)
            else {
                return Ok(Err(too_short(depth, tip.height)));
            };
            let first: BlockHash = rpc.block_hash(height + 1, deadline).await?;
            rpc.invalidate_block(first, deadline).await?;
            match empty {
                true => elementsd.generate_empty(blocks, deadline).await?,
                false => drop(elementsd.generate(blocks, deadline).await?),
            }
            Ok::<_, RpcError>(Ok(()))
        };
        match work.await {
            Ok(Ok(())) => self.liquid_barrier(deadline).await,
            Ok(Err(why)) => Err(self.error(WorldErrorKind::Ruled(why))),
            Err(error) => Err(self.error(error)),
        }
    }
}

pub(super) fn too_short(depth: BlockDelta, height: Height) -> String {
    format!(
        "{depth} cannot be taken away: the chain ends at {height}, and the world stands on its first blocks"
    )
}
