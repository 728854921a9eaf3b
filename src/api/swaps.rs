//! What buyers call.

use std::pin::Pin;
use std::sync::Arc;

use bitcoin::hashes::{Hash as _, sha256};
use futures_util::Stream;
use swaprig_proto::v1::swap_service_server::SwapService;
use swaprig_proto::v1::{self, CreateSwapRequest, ListSwapsResponse, SubscribeSwapResponse};
use swaprig_units::{Msat, Units};
use tokio::sync::watch;
use tonic::{Code, Request, Response, Status as Rpc};

use super::convert;
use crate::swap::{Kind, SwapId};
use crate::watch::{CreateError, Engine, Wanted};

/// The largest page of ListSwaps when the caller does not say.
const PAGE: u32 = 100;

/// The service of one engine.
#[derive(Debug, Clone)]
pub(super) struct Swaps {
    pub(super) engine: Arc<Engine>,
    /// Says when the server stops.
    pub(super) stopping: watch::Receiver<bool>,
}

type Updates = Pin<Box<dyn Stream<Item = Result<SubscribeSwapResponse, Rpc>> + Send>>;

/// What makes two requests the same: every field but the wish to wait.
fn fingerprint(request: &CreateSwapRequest) -> [u8; 32] {
    let CreateSwapRequest {
        request_id: _,
        asset_id,
        amount,
        claim_pubkey,
        min_confirmations,
        max_total_price_msat,
        wait_for_confirmations: _,
    } = request;
    let text =
        format!("{asset_id} {amount} {claim_pubkey} {min_confirmations} {max_total_price_msat}");
    sha256::Hash::hash(text.as_bytes()).to_byte_array()
}

fn refused(error: &CreateError) -> Rpc {
    let code = match error {
        CreateError::NotSold(_) => Code::NotFound,
        CreateError::TooSmall { .. } | CreateError::TooManyConfirmations { .. } => {
            Code::InvalidArgument
        }
        CreateError::PriceTooHigh { .. } | CreateError::PriceOverflow => Code::InvalidArgument,
        CreateError::BadKey => Code::InvalidArgument,
        CreateError::RequestConflict(_) => Code::AlreadyExists,
        CreateError::Shortage(_)
        | CreateError::TooLarge { .. }
        | CreateError::NoCapacity { .. } => Code::FailedPrecondition,
        CreateError::TooMany { .. }
        | CreateError::TooManyUnfunded { .. }
        | CreateError::TooExposed { .. } => Code::ResourceExhausted,
        CreateError::Paused(_) | CreateError::Stopping | CreateError::NotReady(_) => {
            Code::Unavailable
        }
        CreateError::Failed { .. } => Code::Aborted,
        CreateError::TimedOut { .. } => Code::DeadlineExceeded,
        CreateError::Keys(_) | CreateError::Store(_) => Code::Internal,
    };
    convert::error(code, error)
}

impl Swaps {
    async fn create(&self, request: &CreateSwapRequest) -> Result<v1::Swap, Rpc> {
        convert::checked(request)?;
        let wanted = Wanted {
            request_id: convert::uuid("request_id", &request.request_id)?,
            fingerprint: fingerprint(request),
            asset: convert::asset(&request.asset_id)?,
            amount: Units(request.amount),
            claimer: request
                .claim_pubkey
                .parse()
                .map_err(|_| refused(&CreateError::BadKey))?,
            min_confirmations: request.min_confirmations.max(1),
            max_price: (request.max_total_price_msat != 0)
                .then_some(Msat(request.max_total_price_msat)),
            wait: request.wait_for_confirmations,
        };
        let view = self
            .engine
            .create(wanted)
            .await
            .map_err(|error| refused(&error))?;
        Ok(convert::swap(&view))
    }

    fn find(&self, text: &str) -> Result<v1::Swap, Rpc> {
        let id = SwapId(convert::uuid("swap_id", text)?);
        let found = self.engine.view(id);
        let found = found.map_err(|error| convert::error(Code::Internal, &error))?;
        let view = found.filter(|view| view.swap.terms.kind() == Kind::LnToLiquid);
        let view = view.ok_or_else(|| Rpc::not_found(format!("there is no swap {id}")))?;
        Ok(convert::swap(&view))
    }
}

#[tonic::async_trait]
impl SwapService for Swaps {
    async fn get_offer(
        &self,
        request: Request<v1::GetOfferRequest>,
    ) -> Result<Response<v1::GetOfferResponse>, Rpc> {
        let request = request.into_inner();
        convert::checked(&request)?;
        let asset = convert::asset(&request.asset_id)?;
        let offer = self.engine.offer(asset);
        let offer = offer.ok_or_else(|| refused(&CreateError::NotSold(asset)))?;
        let config = self.engine.config();
        Ok(Response::new(v1::GetOfferResponse {
            offer: Some(v1::Offer {
                asset_id: asset.to_string(),
                price_msat_per_unit: offer.price_msat,
                min_amount: offer.least.0,
                max_amount: offer.most.0,
                fee_subsidy_sat: config.fee_value(asset).0,
                refund_delta_blocks: config.refund_delta.0,
                invoice_expiry_seconds: u32::try_from(config.invoice_expiry.as_secs())
                    .unwrap_or(u32::MAX),
                max_confirmations: config.max_confirmations,
                paused: offer.paused,
                prepay_msat: config.prepay.0,
                claim_window_blocks: config.claim_window.0,
            }),
        }))
    }

    async fn create_swap(
        &self,
        request: Request<CreateSwapRequest>,
    ) -> Result<Response<v1::CreateSwapResponse>, Rpc> {
        let swap = self.create(&request.into_inner()).await?;
        Ok(Response::new(v1::CreateSwapResponse { swap: Some(swap) }))
    }

    async fn get_swap(
        &self,
        request: Request<v1::GetSwapRequest>,
    ) -> Result<Response<v1::GetSwapResponse>, Rpc> {
        let request = request.into_inner();
        convert::checked(&request)?;
        let swap = self.find(&request.swap_id)?;
        Ok(Response::new(v1::GetSwapResponse { swap: Some(swap) }))
    }

    async fn list_swaps(
        &self,
        request: Request<v1::ListSwapsRequest>,
    ) -> Result<Response<ListSwapsResponse>, Rpc> {
        let request = request.into_inner();
        convert::checked(&request)?;
        let after = match request.page_token.as_str() {
            "" => None,
            token => Some(read_token(token).ok_or_else(|| {
                Rpc::invalid_argument("page_token: was not given by this server")
            })?),
        };
        let size = match request.page_size {
            0 => PAGE,
            size => size,
        };
        let wanted = convert::status_wanted(request.status);
        let page = self.engine.page(Kind::LnToLiquid, wanted, after, size);
        let page = page.map_err(|error| convert::error(Code::Internal, &error))?;
        let full = u32::try_from(page.len()).is_ok_and(|length| length == size);
        let next = page.last().filter(|_| full);
        Ok(Response::new(ListSwapsResponse {
            next_page_token: next
                .map(|view| token(view.created_at, view.swap.id))
                .unwrap_or_default(),
            swaps: page.iter().map(convert::swap).collect(),
        }))
    }

    type SubscribeSwapStream = Updates;

    async fn subscribe_swap(
        &self,
        request: Request<v1::SubscribeSwapRequest>,
    ) -> Result<Response<Updates>, Rpc> {
        let request = request.into_inner();
        convert::checked(&request)?;
        let first = self.find(&request.swap_id)?;
        let id = SwapId(convert::uuid("swap_id", &request.swap_id)?);
        let Some(changes) = self.engine.subscribe(id) else {
            // Nothing can happen to it any more.
            let only =
                futures_util::stream::iter([Ok(SubscribeSwapResponse { swap: Some(first) })]);
            return Ok(Response::new(Box::pin(only)));
        };
        let listening = Some((changes, self.stopping.clone(), true));
        let updates = futures_util::stream::unfold(listening, |listening| async move {
            let (mut changes, mut stopping, first) = listening?;
            if !first {
                tokio::select! {
                    changed = changes.changed() => changed.ok()?,
                    // A server that stops does not wait for those who listen; they may ask again.
                    _ = stopping.wait_for(|stopping| *stopping) => {
                        return Some((Err(Rpc::unavailable("the server stops")), None));
                    }
                }
            }
            let swap = Some(convert::swap(&changes.borrow_and_update()));
            let next = (changes, stopping, false);
            Some((Ok(SubscribeSwapResponse { swap }), Some(next)))
        });
        Ok(Response::new(Box::pin(updates)))
    }
}

fn token(time: i64, id: SwapId) -> String {
    format!("{time:x}.{}", id.0.simple())
}

fn read_token(token: &str) -> Option<(i64, SwapId)> {
    let (time, id) = token.split_once('.')?;
    let id = id.parse().ok()?;
    Some((i64::from_str_radix(time, 16).ok()?, SwapId(id)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_read_back_and_rubbish_is_not() {
        let id = SwapId(uuid::Uuid::from_u128(7));
        assert_eq!(
            read_token(&token(1_700_000_000_123, id)),
            Some((1_700_000_000_123, id))
        );
        for rubbish in ["", ".", "zz.00", "12", "12.34", "12.00000000-0000"] {
            assert_eq!(read_token(rubbish), None, "{rubbish}");
        }
    }

    #[test]
    fn the_fingerprint_covers_what_is_asked_for() {
        let request = CreateSwapRequest {
            amount: 1,
            ..Default::default()
        };
        let other = CreateSwapRequest {
            amount: 2,
            ..request.clone()
        };
        let waiting = CreateSwapRequest {
            wait_for_confirmations: true,
            ..request.clone()
        };
        assert_ne!(fingerprint(&request), fingerprint(&other));
        assert_eq!(fingerprint(&request), fingerprint(&waiting));
    }
}
