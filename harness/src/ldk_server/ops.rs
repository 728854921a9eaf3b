//! What a Lightning node can be asked: coins, peers, channels, invoices, payments.

use std::str::FromStr as _;
use std::time::Duration;

use bitcoin::secp256k1::PublicKey;
use bitcoin::{Address, Network, Txid, address::NetworkUnchecked};
use ldk_server_client::ClientError;
use ldk_server_client::{api, types};
use swaprig_units::{BlockDelta, Msat, PaymentHash, Preimage, Sat};

use super::{
    Balances, ChannelView, Direction, Htlc, LdkServer, MalformedAnswer, NodeError, NodeErrorKind,
    NodeInfo, PaymentView,
};

/// What an invoice should say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvoiceRequest {
    /// The amount; `None` leaves it to the payer.
    pub amount: Option<Msat>,
    /// Shown to the payer.
    pub description: String,
    /// How long it can be paid.
    pub expiry: Duration,
}

/// A BOLT 11 invoice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invoice {
    /// The text that a payer gets.
    pub bolt11: String,
    /// Its payment hash.
    pub hash: PaymentHash,
}

/// What somebody else's invoice says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadInvoice {
    /// Whose it is.
    pub payee: PublicKey,
    /// Its payment hash.
    pub hash: PaymentHash,
    /// What it asks for; `None` leaves it to the payer.
    pub amount: Option<Msat>,
}

/// What a channel should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenChannel {
    /// The other side.
    pub peer: PublicKey,
    /// Where it listens, `HOST:PORT`.
    pub address: String,
    /// Its capacity. The opener needs a reserve of 25,000 sat and the fee on top.
    pub size: Sat,
    /// What of it belongs to the other side from the start.
    pub push: Option<Msat>,
    /// Whether it is announced to the network (BOLT 7).
    pub announce: bool,
}

/// Bounds of a payment's route.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RouteLimits {
    /// The largest fee.
    pub max_fee: Option<Msat>,
    /// The most blocks that the payer's coins may be locked.
    pub max_cltv: Option<BlockDelta>,
}

/// Defaults of LDK for the fields that [`RouteLimits`] leaves out: a message with zeros would not mean the default.
const DEFAULT_MAX_CLTV: u32 = 1008;
const DEFAULT_MAX_PATHS: u32 = 10;
const DEFAULT_SATURATION: u32 = 2;

impl LdkServer {
    fn failed(&self, method: &'static str) -> impl FnOnce(ClientError) -> NodeError + '_ {
        move |error| NodeError {
            node: self.name.clone(),
            method,
            kind: error.into(),
        }
    }

    fn malformed(&self, method: &'static str) -> impl FnOnce(MalformedAnswer) -> NodeError + '_ {
        move |error| NodeError {
            node: self.name.clone(),
            method,
            kind: NodeErrorKind::Malformed(error),
        }
    }

    /// Its identity, and the block it has reached.
    ///
    /// # Errors
    /// When the node cannot be reached or refuses; this holds for every method here.
    pub async fn info(&self) -> Result<NodeInfo, NodeError> {
        const METHOD: &str = "GetNodeInfo";
        let info = self
            .client()
            .get_node_info(api::GetNodeInfoRequest {})
            .await
            .map_err(self.failed(METHOD))?;
        info.try_into().map_err(self.malformed(METHOD))
    }

    /// Its coins.
    pub async fn balances(&self) -> Result<Balances, NodeError> {
        Ok(self.raw_balances().await?.into())
    }

    async fn raw_balances(&self) -> Result<api::GetBalancesResponse, NodeError> {
        self.client()
            .get_balances(api::GetBalancesRequest {})
            .await
            .map_err(self.failed("GetBalances"))
    }

    /// A fresh address of its on-chain wallet.
    pub async fn new_address(&self) -> Result<Address, NodeError> {
        const METHOD: &str = "OnchainReceive";
        let request = api::OnchainReceiveRequest {};
        let answer = self
            .client()
            .onchain_receive(request)
            .await
            .map_err(self.failed(METHOD))?;
        let address = Address::<NetworkUnchecked>::from_str(&answer.address)
            .and_then(|address| address.require_network(Network::Regtest));
        let expected = "a regtest address";
        address
            .map_err(|_| MalformedAnswer {
                field: "address",
                expected,
                found: answer.address,
            })
            .map_err(self.malformed(METHOD))
    }

    /// Pays `amount` from its on-chain wallet.
    pub async fn send_onchain(&self, address: &Address, amount: Sat) -> Result<Txid, NodeError> {
        const METHOD: &str = "OnchainSend";
        let request = api::OnchainSendRequest {
            address: address.to_string(),
            amount: Some(api::onchain_send_request::Amount::AmountSats(amount.0)),
            fee_rate_sat_per_vb: None,
        };
        let answer = self
            .client()
            .onchain_send(request)
            .await
            .map_err(self.failed(METHOD))?;
        answer
            .txid
            .parse()
            .map_err(|_| MalformedAnswer {
                field: "txid",
                expected: "a transaction id",
                found: answer.txid,
            })
            .map_err(self.malformed(METHOD))
    }

    /// Connects to another node, and again after a restart when `persist` is set.
    pub async fn connect(
        &self,
        peer: PublicKey,
        address: &str,
        persist: bool,
    ) -> Result<(), NodeError> {
        let request = api::ConnectPeerRequest {
            node_pubkey: peer.to_string(),
            address: address.to_owned(),
            persist,
        };
        self.client()
            .connect_peer(request)
            .await
            .map(drop)
            .map_err(self.failed("ConnectPeer"))
    }

    /// The nodes it is connected to now.
    pub async fn connected_peers(&self) -> Result<Vec<PublicKey>, NodeError> {
        const METHOD: &str = "ListPeers";
        let answer = self
            .client()
            .list_peers(api::ListPeersRequest {})
            .await
            .map_err(self.failed(METHOD))?;
        let connected = answer.peers.into_iter().filter(|peer| peer.is_connected);
        let key = |peer: types::Peer| {
            let wrong = |_| MalformedAnswer {
                field: "node_id",
                expected: "a public key",
                found: peer.node_id.clone(),
            };
            peer.node_id.parse().map_err(wrong)
        };
        connected
            .map(key)
            .collect::<Result<_, _>>()
            .map_err(self.malformed(METHOD))
    }

    /// Begins to open a channel and gives the id by which this node knows it. Negotiation and funding happen after the
    /// call has returned, and may fail without a word: watch [`LdkServer::channels`].
    pub async fn open_channel(&self, channel: &OpenChannel) -> Result<u128, NodeError> {
        const METHOD: &str = "OpenChannel";
        let request = api::OpenChannelRequest {
            node_pubkey: channel.peer.to_string(),
            address: channel.address.clone(),
            amount: Some(api::open_channel_request::Amount::ChannelAmountSats(
                channel.size.0,
            )),
            push_to_counterparty_msat: channel.push.map(|push| push.0),
            channel_config: None,
            announce_channel: channel.announce,
            disable_counterparty_reserve: false,
        };
        let answer = self
            .client()
            .open_channel(request)
            .await
            .map_err(self.failed(METHOD))?;
        let expected = "a decimal number of 128 bits";
        answer
            .user_channel_id
            .parse()
            .map_err(|_| MalformedAnswer {
                field: "user_channel_id",
                expected,
                found: answer.user_channel_id,
            })
            .map_err(self.malformed(METHOD))
    }

    /// Its channels that are not closed.
    pub async fn channels(&self) -> Result<Vec<ChannelView>, NodeError> {
        const METHOD: &str = "ListChannels";
        let request = api::ListChannelsRequest {};
        let answer = self
            .client()
            .list_channels(request)
            .await
            .map_err(self.failed(METHOD))?;
        let views = answer.channels.into_iter().map(ChannelView::try_from);
        views
            .collect::<Result<_, _>>()
            .map_err(self.malformed(METHOD))
    }

    /// Begins to close a channel together with the other side (BOLT 2).
    pub async fn close_channel(&self, channel: &ChannelView) -> Result<(), NodeError> {
        let request = api::CloseChannelRequest {
            user_channel_id: channel.user_channel_id.to_string(),
            counterparty_node_id: channel.counterparty.to_string(),
        };
        self.client()
            .close_channel(request)
            .await
            .map(drop)
            .map_err(self.failed("CloseChannel"))
    }

    /// Closes a channel with this side's latest commitment transaction (BOLT 5).
    pub async fn force_close_channel(&self, channel: &ChannelView) -> Result<(), NodeError> {
        let request = api::ForceCloseChannelRequest {
            user_channel_id: channel.user_channel_id.to_string(),
            counterparty_node_id: channel.counterparty.to_string(),
            force_close_reason: None,
        };
        self.client()
            .force_close_channel(request)
            .await
            .map(drop)
            .map_err(self.failed("ForceCloseChannel"))
    }

    /// Makes an invoice that settles as soon as it is paid.
    pub async fn invoice(&self, request: &InvoiceRequest) -> Result<Invoice, NodeError> {
        const METHOD: &str = "Bolt11Receive";
        let bolt11_request = api::Bolt11ReceiveRequest {
            amount_msat: request.amount.map(|amount| amount.0),
            description: Some(description(&request.description)),
            expiry_secs: whole_seconds(request.expiry),
        };
        let answer = self
            .client()
            .bolt11_receive(bolt11_request)
            .await
            .map_err(self.failed(METHOD))?;
        let expected = "32 bytes in hex";
        let hash = answer.payment_hash.parse().map_err(|_| MalformedAnswer {
            field: "payment_hash",
            expected,
            found: answer.payment_hash,
        });
        Ok(Invoice {
            bolt11: answer.invoice,
            hash: hash.map_err(self.malformed(METHOD))?,
        })
    }

    /// Makes an invoice for `hash` whose payment is held until it is claimed or failed.
    pub async fn hold_invoice(
        &self,
        request: &InvoiceRequest,
        hash: PaymentHash,
    ) -> Result<Invoice, NodeError> {
        let bolt11_request = api::Bolt11ReceiveForHashRequest {
            amount_msat: request.amount.map(|amount| amount.0),
            description: Some(description(&request.description)),
            expiry_secs: whole_seconds(request.expiry),
            payment_hash: hash.to_string(),
        };
        let answer = self.client().bolt11_receive_for_hash(bolt11_request).await;
        Ok(Invoice {
            bolt11: answer.map_err(self.failed("Bolt11ReceiveForHash"))?.invoice,
            hash,
        })
    }

    /// Whether an invoice has expired, by this node's clock.
    pub async fn has_expired(&self, bolt11: &str) -> Result<bool, NodeError> {
        Ok(self.decode(bolt11).await?.is_expired)
    }

    /// What an invoice says, whoever made it.
    pub async fn read_invoice(&self, bolt11: &str) -> Result<ReadInvoice, NodeError> {
        let said = self.decode(bolt11).await?;
        let hash = said.payment_hash.parse().map_err(|_| MalformedAnswer {
            field: "payment_hash",
            expected: "32 bytes in hex",
            found: said.payment_hash,
        });
        let payee = said.destination.parse().map_err(|_| MalformedAnswer {
            field: "destination",
            expected: "a public key in hex",
            found: said.destination,
        });
        Ok(ReadInvoice {
            payee: payee.map_err(self.malformed("DecodeInvoice"))?,
            hash: hash.map_err(self.malformed("DecodeInvoice"))?,
            amount: said.amount_msat.map(Msat),
        })
    }

    async fn decode(&self, bolt11: &str) -> Result<api::DecodeInvoiceResponse, NodeError> {
        let request = api::DecodeInvoiceRequest {
            invoice: bolt11.to_owned(),
        };
        let said = self.client().decode_invoice(request).await;
        said.map_err(self.failed("DecodeInvoice"))
    }

    /// Claims a held payment. OK proves nothing, not even that one is held: watch [`LdkServer::payment`].
    pub async fn claim(&self, preimage: Preimage) -> Result<(), NodeError> {
        let request = api::Bolt11ClaimForHashRequest {
            payment_hash: Some(preimage.payment_hash().to_string()),
            claimable_amount_msat: None,
            preimage: preimage.to_string(),
        };
        self.client()
            .bolt11_claim_for_hash(request)
            .await
            .map(drop)
            .map_err(self.failed("Bolt11ClaimForHash"))
    }

    /// Fails a held payment. The invoice stays payable. Never call it after a claim was tried: the node's store would
    /// say FAILED of a payment that succeeded.
    pub async fn fail(&self, hash: PaymentHash) -> Result<(), NodeError> {
        let request = api::Bolt11FailForHashRequest {
            payment_hash: hash.to_string(),
        };
        self.client()
            .bolt11_fail_for_hash(request)
            .await
            .map(drop)
            .map_err(self.failed("Bolt11FailForHash"))
    }

    /// Hands a payment to the first hop. OK does not mean that it has settled: watch [`LdkServer::payment`].
    /// `amount` is for an invoice that has none.
    pub async fn pay(
        &self,
        bolt11: &str,
        amount: Option<Msat>,
        limits: RouteLimits,
    ) -> Result<(), NodeError> {
        let limited = limits != RouteLimits::default();
        let request = api::Bolt11SendRequest {
            invoice: bolt11.to_owned(),
            amount_msat: amount.map(|amount| amount.0),
            route_parameters: limited.then(|| types::RouteParametersConfig {
                max_total_routing_fee_msat: limits.max_fee.map(|fee| fee.0),
                max_total_cltv_expiry_delta: limits
                    .max_cltv
                    .map_or(DEFAULT_MAX_CLTV, |cltv| cltv.0),
                max_path_count: DEFAULT_MAX_PATHS,
                max_channel_saturation_power_of_half: DEFAULT_SATURATION,
            }),
        };
        self.client()
            .bolt11_send(request)
            .await
            .map(drop)
            .map_err(self.failed("Bolt11Send"))
    }

    /// Its BOLT 11 payments, newest first. One that is still pending may be missing from some versions' lists.
    pub async fn payments(&self) -> Result<Vec<PaymentView>, NodeError> {
        const METHOD: &str = "ListPayments";
        let payments = self
            .client()
            .list_all_payments()
            .await
            .map_err(self.failed(METHOD))?;
        let views = payments
            .iter()
            .map(PaymentView::bolt11)
            .filter_map(Result::transpose);
        views
            .collect::<Result<_, _>>()
            .map_err(self.malformed(METHOD))
    }

    /// Its view of the payment with this hash, if it has one.
    pub async fn payment(
        &self,
        hash: PaymentHash,
        direction: Direction,
    ) -> Result<Option<PaymentView>, NodeError> {
        let payments = self.payments().await?;
        Ok(payments
            .into_iter()
            .find(|payment| payment.hash == hash && payment.direction == direction))
    }

    /// Whether this node holds a payment with this hash and would claim it now. It was offered, and its HTLC is still in
    /// a channel; one below the dust limit (354 sat) cannot be seen there and counts as not held.
    pub async fn holds(&self, hash: PaymentHash) -> Result<bool, NodeError> {
        let offered = {
            let api = self
                .api
                .read()
                .unwrap_or_else(std::sync::PoisonError::into_inner);
            api.held.was_offered(hash) || api.held.is_after_restart()
        };
        if !offered {
            return Ok(false);
        }
        Ok(self
            .open_htlcs()
            .await?
            .iter()
            .any(|htlc| htlc.hash == hash && htlc.inbound))
    }

    /// Whether the payment `hash` still occupies a commitment transaction of this node (BOLT 2), so that what it moved
    /// cannot be spent yet. A payment that its node calls succeeded may be so for another round trip or two.
    ///
    /// An HTLC that was claimed is listed nowhere; it shows as an amount that is missing from the channel's capacities
    /// and that no open HTLC explains. One of less than about 1 000 sat cannot be seen.
    pub async fn is_settling(&self, hash: PaymentHash) -> Result<bool, NodeError> {
        let open = self.open_htlcs().await?;
        if open.iter().any(|htlc| htlc.hash == hash) {
            return Ok(true);
        }
        let channels = self.channels().await?;
        let committed: u64 = channels
            .iter()
            .map(|channel| channel.committed.0.saturating_sub(UNSEEN.0))
            .sum();
        let explained: u64 = open
            .iter()
            .map(|htlc| (htlc.amount.0 + 1).saturating_mul(1_000))
            .sum();
        Ok(committed > explained)
    }

    async fn open_htlcs(&self) -> Result<Vec<Htlc>, NodeError> {
        let balances = self.raw_balances().await?.lightning_balances;
        balances
            .iter()
            .filter_map(Htlc::of)
            .collect::<Result<_, _>>()
            .map_err(self.malformed("GetBalances"))
    }
}

/// Two anchor outputs (2 x 330 sat) and an HTLC below the dust limit (354 sat): together what is missing from the
/// capacities of a channel on which nothing moves.
const UNSEEN: Msat = Msat(1_014_000);

fn description(text: &str) -> types::Bolt11InvoiceDescription {
    types::Bolt11InvoiceDescription {
        kind: Some(types::bolt11_invoice_description::Kind::Direct(
            text.to_owned(),
        )),
    }
}

/// BOLT 11 counts an expiry in whole seconds; a shorter one would be none at all.
fn whole_seconds(expiry: Duration) -> u32 {
    let seconds = expiry.as_secs() + u64::from(expiry.subsec_nanos() > 0);
    u32::try_from(seconds).unwrap_or(u32::MAX)
}
