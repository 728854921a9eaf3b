//! What the steps on the chain and on processes do.

use bitcoin::address::NetworkUnchecked;
use bitcoin::{Address, Network, ScriptBuf};
use swaprig_harness::bitcoind::RpcErrorKind;
use swaprig_harness::process::Stopped;
use swaprig_units::BlockDelta;

use super::books::derive;
use super::{Run, Step, StepFailure};
use crate::entities::{FundingTx, Mined};
use crate::lang::{Arg, Daemon, Funded};
use crate::steps::{Chain, Fund, Kill, Mine, MineTo, Owner, Reorg, Restart, Signal};

impl Step for Fund {
    async fn run(&self, run: &Run<'_>) -> Result<FundingTx, StepFailure> {
        let amount = run.get(&self.amount).await?;
        let txid = match &self.fund {
            Funded::Party(party) => run.world.fund(&party.0, amount).await?,
            Funded::Address(reference) => {
                let text = Arg::<String>::Reference(reference.clone());
                let text = run.get(&text).await?;
                let address = on_regtest(text.trim(), "fund")?;
                let sent = run.world.bitcoind().send(&address, amount).await;
                sent.map_err(|error| run.world.error(error))?
            }
        };
        Ok(FundingTx { txid, amount })
    }
}

/// The scripts of a ranged descriptor that `owner` is about: programs have few, and every count of the coins looks for all of them.
const OWNED: [u32; 2] = [0, 99];

impl Step for Owner {
    async fn run(&self, run: &Run<'_>) -> Result<(), StepFailure> {
        let text = run.get(&self.coins).await?;
        let mut scripts = Vec::new();
        for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
            let is_address = line.parse::<Address<NetworkUnchecked>>().is_ok();
            match is_address {
                true => scripts.push(on_regtest(line, "coins")?.script_pubkey()),
                false => scripts.extend(of_descriptor(line, run).await?),
            }
        }
        if scripts.is_empty() {
            return Err(StepFailure::refused("there is no address and no descriptor").at("coins"));
        }
        for script in scripts {
            run.world.belongs_to(script, self.owner.trim());
        }
        Ok(())
    }
}

async fn of_descriptor(line: &str, run: &Run<'_>) -> Result<Vec<ScriptBuf>, StepFailure> {
    let addresses = derive(line, OWNED, run.world, run.deadline).await;
    let addresses = addresses.map_err(|error| match &error.kind {
        RpcErrorKind::Refused { message, .. } => {
            let title = format!("`{line}` is no address and no descriptor: {message}");
            StepFailure::refused(title).at("coins")
        }
        _ => run.world.error(error).into(),
    })?;
    let scripts = addresses.iter().map(|text| {
        let address = on_regtest(text, "coins")?;
        Ok(address.script_pubkey())
    });
    scripts.collect()
}

/// An address on this chain; `key` is where it stands.
fn on_regtest(text: &str, key: &'static str) -> Result<Address, StepFailure> {
    let address = text.parse::<Address<NetworkUnchecked>>();
    let address = address.and_then(|address| address.require_network(Network::Regtest));
    address.map_err(|error| {
        let title = format!("`{text}` is no address on this chain: {error}");
        StepFailure::refused(title).at(key)
    })
}

impl Step for Mine {
    async fn run(&self, run: &Run<'_>) -> Result<Mined, StepFailure> {
        mine(self.chain, self.mine, run).await
    }
}

async fn mine(chain: Chain, blocks: BlockDelta, run: &Run<'_>) -> Result<Mined, StepFailure> {
    let height = match chain {
        Chain::Bitcoin => run.world.mine_within(blocks, run.deadline).await?,
        Chain::Liquid => run.world.mine_liquid_within(blocks, run.deadline).await?,
    };
    Ok(Mined { height })
}

impl Step for MineTo {
    async fn run(&self, run: &Run<'_>) -> Result<Mined, StepFailure> {
        let height = run.get(&self.mine_to).await?;
        let tip = match self.chain {
            Chain::Bitcoin => run.world.bitcoind().rpc().tip(run.deadline).await,
            Chain::Liquid => {
                let elementsd = run.world.liquid()?.elementsd();
                elementsd.rpc().tip(run.deadline).await
            }
        };
        let tip = tip.map_err(|error| run.world.error(error))?.height;
        let blocks = height.0.saturating_sub(self.less.0).saturating_sub(tip.0);
        if blocks == 0 {
            let title = format!(
                "the chain is at {tip}, {} below {height} or nearer",
                self.less
            );
            return Err(StepFailure::refused(title).at("mine_to"));
        }
        mine(self.chain, BlockDelta(blocks), run).await
    }
}

impl Step for Reorg {
    async fn run(&self, run: &Run<'_>) -> Result<Mined, StepFailure> {
        let (depth, blocks) = (self.reorg, self.new_blocks());
        let (world, deadline) = (run.world, run.deadline);
        let tip = match self.chain {
            Chain::Bitcoin => world.reorg(depth, blocks, self.empty, deadline).await?,
            Chain::Liquid => {
                world
                    .reorg_liquid(depth, blocks, self.empty, deadline)
                    .await?
            }
        };
        Ok(Mined { height: tip.height })
    }
}

impl Step for Kill {
    async fn run(&self, run: &Run<'_>) -> Result<(), StepFailure> {
        let world = run.world;
        let running = match &self.kill {
            Daemon::Bitcoind => world.bitcoind().running(),
            Daemon::Elementsd => world.liquid()?.elementsd().running(),
            Daemon::Index(chain) => world.index(*chain)?.running(),
            Daemon::Party(party) => world.node(&party.0)?.running(),
            Daemon::Server(name) => world.server(name)?.running(),
        };
        if let Some(exit) = running.exit() {
            return Err(
                StepFailure::refused(format!("{} does not run: it {exit}", self.kill)).at("kill"),
            );
        }
        if let Daemon::Server(name) = &self.kill {
            // Its exit status is then no crash.
            world.server(name)?.expect_end();
        }
        match self.signal {
            Signal::Kill => drop(running.kill().await),
            Signal::Term => match running.terminate(run.deadline).await {
                Stopped::Killed => {
                    let title = format!("SIGTERM did not end {}; SIGKILL did", self.kill);
                    return Err(StepFailure::refused(title).at("kill"));
                }
                Stopped::Already | Stopped::Asked | Stopped::Terminated => {}
            },
        }
        Ok(())
    }
}

impl Step for Restart {
    async fn run(&self, run: &Run<'_>) -> Result<(), StepFailure> {
        let world = run.world;
        let started = match &self.restart {
            Daemon::Bitcoind => world.bitcoind().restart(run.deadline).await,
            Daemon::Elementsd => world.liquid()?.elementsd().restart(run.deadline).await,
            Daemon::Index(chain) => world.index(*chain)?.restart(run.deadline).await,
            Daemon::Party(party) => world.node(&party.0)?.restart(run.deadline).await,
            Daemon::Server(name) => world.server(name)?.restart(run.deadline).await,
        };
        started.map_err(|error| world.error(error))?;
        // What was mined while it was down has to reach it before the next step looks.
        world.barrier(run.deadline).await?;
        if world.has_liquid() {
            world.liquid_barrier(run.deadline).await?;
        }
        Ok(())
    }
}
