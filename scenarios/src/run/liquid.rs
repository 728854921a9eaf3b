//! What the steps on Liquid do.

use elements::AssetId;
use swaprig_harness::elementsd::{AssetAmount, lbtc};
use swaprig_harness::world::{Recipient, liquid_address};

use super::{Run, Step, StepFailure};
use crate::entities::{Asset, LiquidTransaction};
use crate::lang::{Arg, AssetOf, LiquidAmount, To};
use crate::steps::{FundLiquid, IssueAsset, SendLiquid};

impl Step for FundLiquid {
    async fn run(&self, run: &Run<'_>) -> Result<LiquidTransaction, StepFailure> {
        let amount = run.liquid_amount(&self.asset, &self.amount).await?;
        let to = recipient(&self.fund_liquid, self.confidential, "fund_liquid", run).await?;
        let txid = run.world.fund_liquid(&to, amount, run.deadline).await?;
        Ok(LiquidTransaction { txid })
    }
}

impl Step for SendLiquid {
    async fn run(&self, run: &Run<'_>) -> Result<LiquidTransaction, StepFailure> {
        let amount = run.liquid_amount(&self.asset, &self.amount).await?;
        let to = recipient(&self.send_liquid, self.confidential, "send_liquid", run).await?;
        let sent = run.world.send_liquid(&self.by.0, &to, amount, run.deadline);
        Ok(LiquidTransaction { txid: sent.await? })
    }
}

impl Step for IssueAsset {
    async fn run(&self, run: &Run<'_>) -> Result<Asset, StepFailure> {
        let amount = run.get(&self.issue_asset).await?;
        let issued = run.world.issue_asset(
            &self.by.0,
            amount.0,
            self.tokens.0,
            self.blind,
            run.deadline,
        );
        let issued = issued.await?;
        Ok(Asset {
            id: issued.asset.to_string(),
            token: issued.token.to_string(),
            amount,
            txid: issued.txid,
        })
    }
}

impl Run<'_> {
    /// The id of an asset.
    ///
    /// # Errors
    /// As [`Run::get`].
    pub async fn asset(&self, asset: &AssetOf) -> Result<AssetId, StepFailure> {
        match asset {
            AssetOf::Lbtc => Ok(lbtc()),
            AssetOf::Issued(reference) => {
                let asset = Arg::<Asset>::Reference(reference.clone());
                let asset = self.get(&asset).await?;
                let id = asset.id.parse();
                id.map_err(|_| {
                    StepFailure::refused(format!("`{}` is not the id of an asset", asset.id))
                })
            }
        }
    }

    /// An amount of an asset.
    ///
    /// # Errors
    /// As [`Run::get`].
    pub async fn liquid_amount(
        &self,
        asset: &AssetOf,
        amount: &LiquidAmount,
    ) -> Result<AssetAmount, StepFailure> {
        let parts = match amount {
            LiquidAmount::Sat(sat) => self.get(sat).await?.0,
            LiquidAmount::Units(units) => self.get(units).await?.0,
        };
        Ok(AssetAmount {
            asset: self.asset(asset).await?,
            parts,
        })
    }
}

async fn recipient(
    to: &To,
    confidential: bool,
    key: &'static str,
    run: &Run<'_>,
) -> Result<Recipient, StepFailure> {
    let text = match to {
        To::Wallet(wallet) => {
            return Ok(Recipient::Wallet {
                name: wallet.0.clone(),
                confidential,
            });
        }
        To::Address(text) => text.clone(),
        To::Reference(reference) => {
            run.get(&Arg::<String>::Reference(reference.clone()))
                .await?
        }
    };
    liquid_address(text.trim())
        .map(Recipient::Address)
        .map_err(|why| {
            StepFailure::refused(format!("`{text}` is not an address of Liquid: {why}")).at(key)
        })
}
