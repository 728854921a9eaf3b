//! What the operator calls.

use std::sync::Arc;

use elements::AssetId;
use swaprig_proto::v1;
use swaprig_proto::v1::admin_service_server::AdminService;
use swaprig_units::Units;
use tonic::{Code, Request, Response, Status as Rpc};

use super::convert;
use crate::config::Sale;
use crate::swap::{Asset, SwapId};
use crate::watch::{AdminError, Engine, Stock};

/// The admin service of one engine.
#[derive(Debug, Clone)]
pub(super) struct Admin {
    pub(super) engine: Arc<Engine>,
}

fn refused(error: &AdminError) -> Rpc {
    let code = match error {
        AdminError::NotSold(_) | AdminError::NoSuchSwap(_) => Code::NotFound,
        AdminError::Shortage(_) | AdminError::Refused(_) => Code::FailedPrecondition,
        AdminError::Unreachable(_) => Code::Unavailable,
        AdminError::Store(_) | AdminError::Wallet(_) | AdminError::Bitcoin(_) => Code::Internal,
    };
    convert::error(code, error)
}

fn stocked(stock: &Stock) -> v1::Inventory {
    v1::Inventory {
        asset_id: match stock.asset {
            Asset::Bitcoin => String::new(),
            Asset::Liquid(asset) => asset.to_string(),
        },
        free: stock.free,
        free_coins: stock.free_coins,
        reserved: stock.reserved,
        locked: stock.locked,
        pending: stock.pending,
        paused: stock.paused,
    }
}

impl Admin {
    async fn set_paused(&self, asset_id: &str, paused: bool) -> Result<(), Rpc> {
        let asset: Option<AssetId> = match asset_id {
            "" => None,
            text => Some(convert::asset(text)?),
        };
        let done = self.engine.set_paused(asset, paused).await;
        done.map_err(|error| refused(&error))
    }
}

#[tonic::async_trait]
impl AdminService for Admin {
    async fn pause_swaps(
        &self,
        request: Request<v1::PauseSwapsRequest>,
    ) -> Result<Response<v1::PauseSwapsResponse>, Rpc> {
        let request = request.into_inner();
        convert::checked(&request)?;
        self.set_paused(&request.asset_id, true).await?;
        Ok(Response::new(v1::PauseSwapsResponse {}))
    }

    async fn resume_swaps(
        &self,
        request: Request<v1::ResumeSwapsRequest>,
    ) -> Result<Response<v1::ResumeSwapsResponse>, Rpc> {
        let request = request.into_inner();
        convert::checked(&request)?;
        self.set_paused(&request.asset_id, false).await?;
        Ok(Response::new(v1::ResumeSwapsResponse {}))
    }

    async fn set_sale(
        &self,
        request: Request<v1::SetSaleRequest>,
    ) -> Result<Response<v1::SetSaleResponse>, Rpc> {
        let request = request.into_inner();
        convert::checked(&request)?;
        let sale = Sale {
            asset: convert::asset(&request.asset_id)?,
            price_msat: request.price_msat_per_unit,
            min: request.min_amount.max(1),
            max: (request.max_amount != 0).then_some(request.max_amount),
            coin: request.coin_amount,
        };
        let set = self.engine.set_sale(sale).await;
        set.map_err(|error| refused(&error))?;
        Ok(Response::new(v1::SetSaleResponse {}))
    }

    async fn get_inventory(
        &self,
        request: Request<v1::GetInventoryRequest>,
    ) -> Result<Response<v1::GetInventoryResponse>, Rpc> {
        convert::checked(&request.into_inner())?;
        let inventory = self.engine.inventory();
        let inventory = inventory.map_err(|error| refused(&error))?;
        let (bitcoin_deposit_address, bitcoin) = inventory.bitcoin.unzip();
        Ok(Response::new(v1::GetInventoryResponse {
            assets: inventory.assets.iter().map(stocked).collect(),
            bitcoin_deposit_address: bitcoin_deposit_address.unwrap_or_default(),
            bitcoin: bitcoin.as_ref().map(stocked),
            deposit_address: inventory.deposit_address.to_string(),
            swaps_in_flight: inventory.in_flight,
            exposure_msat: inventory.exposure.0,
        }))
    }

    async fn split_coins(
        &self,
        request: Request<v1::SplitCoinsRequest>,
    ) -> Result<Response<v1::SplitCoinsResponse>, Rpc> {
        let request = request.into_inner();
        convert::checked(&request)?;
        let asset = convert::asset(&request.asset_id)?;
        let size = Units(request.coin_amount);
        let txid = self.engine.split(asset, size, request.coins).await;
        let txid = txid.map_err(|error| refused(&error))?.to_string();
        Ok(Response::new(v1::SplitCoinsResponse { txid }))
    }

    async fn force_refund(
        &self,
        request: Request<v1::ForceRefundRequest>,
    ) -> Result<Response<v1::ForceRefundResponse>, Rpc> {
        let request = request.into_inner();
        convert::checked(&request)?;
        let id = SwapId(convert::uuid("swap_id", &request.swap_id)?);
        let view = self.engine.force_refund(id).await;
        let view = view.map_err(|error| refused(&error))?;
        let swap = Some(convert::swap(&view));
        Ok(Response::new(v1::ForceRefundResponse { swap }))
    }
}
