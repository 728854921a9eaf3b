//! What the steps on the chain and on processes do.

use swaprig_harness::process::Stopped;

use super::{Run, Step, StepFailure};
use crate::entities::{FundingTx, Mined};
use crate::lang::Daemon;
use crate::steps::{Chain, Fund, Kill, Mine, Reorg, Restart, Signal};

impl Step for Fund {
    async fn run(&self, run: &Run<'_>) -> Result<FundingTx, StepFailure> {
        let amount = run.get(&self.amount).await?;
        let txid = run.world.fund(&self.fund.0, amount).await?;
        Ok(FundingTx { txid, amount })
    }
}

impl Step for Mine {
    async fn run(&self, run: &Run<'_>) -> Result<Mined, StepFailure> {
        let height = match self.chain {
            Chain::Bitcoin => run.world.mine_within(self.mine, run.deadline).await?,
            Chain::Liquid => {
                run.world
                    .mine_liquid_within(self.mine, run.deadline)
                    .await?
            }
        };
        Ok(Mined { height })
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
