//! A seller for tests: it answers the swap's API as an honest server would, funds from the world's faucet, and takes the
//! payment when it is told to. No wallet, no store, no timeouts: those are the real server's.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bitcoin::secp256k1::{SECP256K1, SecretKey};
use elements::AddressParams;
use elements::encode::serialize_hex;
use swaprig::lightning::{LightningNode, Received};
use swaprig::swap::Htlc;
use swaprig_harness::World;
use swaprig_harness::elementsd::{AssetAmount, lbtc};
use swaprig_harness::time::{Deadline, Probe, poll_until};
use swaprig_harness::units::{Height, Msat, PaymentHash, Preimage, Sat};
use swaprig_harness::world::Recipient;
use swaprig_proto::v1;
use swaprig_proto::v1::swap_service_server::{SwapService, SwapServiceServer};
use tonic::{Request, Response, Status};
use uuid::Uuid;

use crate::lightning::node_of;
use crate::support;

pub(crate) const PRICE: Msat = Msat(60_000_000);
const DELTA: u32 = 2_000;
const REFUNDER: [u8; 32] = [9; 32];

#[derive(Clone)]
pub(crate) struct Seller {
    world: Arc<World>,
    node: Arc<dyn LightningNode>,
    /// By request id.
    swaps: Arc<Mutex<HashMap<String, v1::Swap>>>,
}

pub(crate) fn preimage_of(request_id: &str) -> Preimage {
    let mut bytes = [0; 32];
    bytes[..16].copy_from_slice(request_id.parse::<Uuid>().unwrap().as_bytes());
    Preimage(bytes)
}

fn soon() -> Deadline {
    Deadline::after(support::SOON)
}

impl Seller {
    /// Serves until the test ends; gives its address, too.
    pub(crate) async fn start(world: &Arc<World>) -> (Self, String) {
        let seller = Seller {
            world: world.clone(),
            node: node_of(world, "seller"),
            swaps: Arc::default(),
        };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let incoming = tonic::transport::server::TcpIncoming::from(listener);
        let service = SwapServiceServer::new(seller.clone());
        tokio::spawn(
            tonic::transport::Server::builder()
                .add_service(service)
                .serve_with_incoming(incoming),
        );
        (seller, format!("http://{address}"))
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, v1::Swap>> {
        self.swaps.lock().unwrap()
    }

    /// Changes the only swap that there is.
    pub(crate) fn change(&self, change: impl FnOnce(&mut v1::Swap)) {
        change(self.lock().values_mut().next().unwrap());
    }

    /// Says that the funding is confirmed.
    pub(crate) fn funded(&self) {
        self.change(|swap| {
            swap.set_status(v1::SwapStatus::Funded);
            swap.set_phase(v1::SwapPhase::Confirmed);
        });
    }

    /// Whether a swap was made.
    pub(crate) fn has(&self, request_id: &str) -> bool {
        self.lock().contains_key(request_id)
    }

    /// Says that the funding of one of several swaps is confirmed.
    pub(crate) fn funded_one(&self, request_id: &str) {
        let mut swaps = self.lock();
        let swap = swaps.get_mut(request_id).unwrap();
        swap.set_status(v1::SwapStatus::Funded);
        swap.set_phase(v1::SwapPhase::Confirmed);
    }

    /// Takes the payment of a swap if it is held now.
    pub(crate) async fn take_if_held(&self, request_id: &str, hash: PaymentHash) {
        if self.node.held().await.unwrap().contains_key(&hash) {
            let preimage = preimage_of(request_id);
            self.node.claim(preimage, PRICE).await.unwrap();
        }
    }

    pub(crate) async fn tip(&self) -> Height {
        let rpc = self.world.liquid().unwrap().elementsd().rpc();
        rpc.tip(soon()).await.unwrap().height
    }

    /// Takes the payment of a swap as soon as it is held, and returns when it has arrived.
    pub(crate) async fn take(&self, request_id: &str) {
        let preimage = preimage_of(request_id);
        let hash = preimage.payment_hash();
        let taken = poll_until("the payment to be taken", soon(), || async {
            let looked = async {
                if self.node.held().await?.contains_key(&hash) {
                    self.node.claim(preimage, PRICE).await?;
                }
                self.node.received(hash).await
            };
            match looked.await {
                Ok(Received::Yes(amount)) => Probe::Ready(amount),
                Ok(Received::No) => Probe::Pending("it has not arrived".into()),
                Err(error) => Probe::Fatal(error),
            }
        });
        assert_eq!(taken.await.unwrap(), PRICE);
    }

    async fn make(&self, request: &v1::CreateSwapRequest) -> v1::Swap {
        let swap_id = Uuid::new_v4().to_string();
        let preimage = preimage_of(&request.request_id);
        let tip = self.tip().await;
        let invoice = self
            .node
            .hold_invoice(
                preimage.payment_hash(),
                PRICE,
                &format!("swap:{swap_id}"),
                Duration::from_secs(3_600),
            )
            .await
            .unwrap();
        let htlc = Htlc {
            payment_hash: preimage.payment_hash(),
            claimer: request.claim_pubkey.parse().unwrap(),
            refunder: SecretKey::from_slice(&REFUNDER)
                .unwrap()
                .public_key(SECP256K1),
            timeout: Height(tip.0 + DELTA),
        };
        let address = htlc.address(&AddressParams::ELEMENTS);
        let amount = AssetAmount::sat(Sat(request.amount));
        let txid = self
            .world
            .fund_liquid(&Recipient::Address(address.clone()), amount, soon())
            .await
            .unwrap();
        let rpc = self.world.liquid().unwrap().elementsd().rpc();
        let raw: String = rpc
            .call("getrawtransaction", &[serde_json::json!(txid)], soon())
            .await
            .unwrap();
        let bytes: Vec<u8> = bitcoin::hex::FromHex::from_hex(&raw).unwrap();
        let transaction: elements::Transaction = elements::encode::deserialize(&bytes).unwrap();
        assert_eq!(serialize_hex(&transaction), raw);
        let script = htlc.script_pubkey();
        let is_ours = |output: &elements::TxOut| output.script_pubkey == script;
        let vout = transaction.output.iter().position(is_ours).unwrap();
        v1::Swap {
            swap_id,
            request_id: request.request_id.clone(),
            status: v1::SwapStatus::Created.into(),
            phase: v1::SwapPhase::Funding.into(),
            asset_id: lbtc().to_string(),
            amount: request.amount,
            total_price_msat: PRICE.0,
            invoice,
            payment_hash: preimage.payment_hash().to_string(),
            htlc: Some(v1::Htlc {
                claim_pubkey: htlc.claimer.to_string(),
                refund_pubkey: htlc.refunder.to_string(),
                timeout: htlc.timeout.0,
                witness_script: format!("{:x}", htlc.witness_script()),
                address: address.to_string(),
                value: request.amount,
                fee_value_sat: 0,
            }),
            funding: Some(v1::Funding {
                txid: txid.to_string(),
                vout: vout as u32,
                fee_vout: 0,
                transaction: raw,
                confirmations: 0,
            }),
            min_confirmations: request.min_confirmations,
            pay_by_height: htlc.timeout.0 - 100,
            liquid_height: tip.0,
            ..v1::Swap::default()
        }
    }

    async fn shown(&self, mut swap: v1::Swap) -> v1::Swap {
        swap.liquid_height = self.tip().await.0;
        swap
    }
}

#[tonic::async_trait]
impl SwapService for Seller {
    type SubscribeSwapStream = tokio_stream::Empty<Result<v1::SubscribeSwapResponse, Status>>;

    async fn get_offer(
        &self,
        _: Request<v1::GetOfferRequest>,
    ) -> Result<Response<v1::GetOfferResponse>, Status> {
        Err(Status::unimplemented("the buyer needs none"))
    }

    async fn create_swap(
        &self,
        request: Request<v1::CreateSwapRequest>,
    ) -> Result<Response<v1::CreateSwapResponse>, Status> {
        let request = request.into_inner();
        let known = self.lock().get(&request.request_id).cloned();
        let swap = match known {
            Some(swap) => swap,
            None => {
                let swap = self.make(&request).await;
                self.lock().insert(request.request_id, swap.clone());
                swap
            }
        };
        let swap = Some(self.shown(swap).await);
        Ok(Response::new(v1::CreateSwapResponse { swap }))
    }

    async fn get_swap(
        &self,
        request: Request<v1::GetSwapRequest>,
    ) -> Result<Response<v1::GetSwapResponse>, Status> {
        let id = request.into_inner().swap_id;
        let found = self
            .lock()
            .values()
            .find(|swap| swap.swap_id == id)
            .cloned();
        let swap = found.ok_or_else(|| Status::not_found("no such swap"))?;
        let swap = Some(self.shown(swap).await);
        Ok(Response::new(v1::GetSwapResponse { swap }))
    }

    async fn list_swaps(
        &self,
        _: Request<v1::ListSwapsRequest>,
    ) -> Result<Response<v1::ListSwapsResponse>, Status> {
        Err(Status::unimplemented("the buyer needs none"))
    }

    async fn subscribe_swap(
        &self,
        _: Request<v1::SubscribeSwapRequest>,
    ) -> Result<Response<Self::SubscribeSwapStream>, Status> {
        Err(Status::unimplemented("the buyer needs none"))
    }
}
