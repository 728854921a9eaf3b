//! ldk-server as a [`LightningNode`]. The one file of the swap services that knows its messages.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use ldk_server_client::events::Event;
use ldk_server_client::{
    ClientError, Config, Credential, CredentialError, Detected, LdkServerClient, api, types,
};
use swaprig_harness::time::{Deadline, Probe, poll_until};
use swaprig_units::{BlockDelta, Height, Msat, PaymentHash, Preimage};

use super::wakes::Queue;
use super::{
    Held, LightningError, LightningNode, NodeInfo, Outgoing, Received, Route, Wake, Wakes,
};

/// How long the node has for one call.
const CALL: Duration = Duration::from_secs(20);
/// How many blocks before its expiry LDK fails a held HTLC by itself (`HTLC_FAIL_BACK_BUFFER` and the claim buffer).
const FAILED_BEFORE_EXPIRY: BlockDelta = BlockDelta(39);
/// How long a node that does not answer is asked for its events before that is logged (again).
const SILENCE: Duration = Duration::from_secs(60);
/// The part of a channel's value that LDK lets be in flight to it where it does not say how much that is: a tenth.
const IN_FLIGHT_DIVISOR: u64 = 10;
const MSAT_PER_SAT: u64 = 1_000;

/// Where an ldk-server is and how to prove ourselves to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LdkServerConfig {
    /// `host:port` of its API.
    pub address: String,
    /// Its certificate (PEM), `tls.crt` in its storage directory.
    pub certificate: PathBuf,
    /// What to authenticate with.
    pub credential: CredentialSource,
}

/// Where the credential is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CredentialSource {
    /// Wherever a server of its version leaves it: an API key or a macaroon.
    Storage {
        /// The server's storage directory.
        dir: PathBuf,
        /// `bitcoin`, `testnet`, `testnet4`, `signet` or `regtest`.
        network: String,
    },
    /// In this file: 32 bytes of an API key, or a macaroon in hexadecimal digits.
    File(PathBuf),
}

impl LdkServerConfig {
    /// A server on this machine whose storage directory can be read.
    pub fn local(address: &str, storage: &Path, network: &str) -> Self {
        LdkServerConfig {
            address: address.to_owned(),
            certificate: storage.join("tls.crt"),
            credential: CredentialSource::Storage {
                dir: storage.to_owned(),
                network: network.to_owned(),
            },
        }
    }
}

/// Why there is no client of a node.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// The certificate cannot be read.
    #[error("cannot read the Lightning node's certificate {}", path.display())]
    Certificate {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// The credential is not there, or not completely written; the node may not have been started yet.
    #[error("the Lightning node has no credential yet: {0}")]
    NoCredential(String),
    /// The credential cannot be used.
    #[error("the Lightning node's credential cannot be used")]
    Credential(#[from] CredentialError),
    /// The address or the certificate cannot be used.
    #[error("the Lightning node cannot be called")]
    Client(#[from] ClientError),
}

/// A Lightning node that is an ldk-server, upstream's or the bundled one. Clones share the connection.
#[derive(Debug, Clone)]
pub struct LdkServer {
    client: LdkServerClient,
}

impl LdkServer {
    /// Reads certificate and credential. It connects at the first call, and again whenever the connection is lost.
    ///
    /// # Errors
    /// [`SetupError`].
    pub fn new(config: &LdkServerConfig) -> Result<Self, SetupError> {
        let tls_cert_pem =
            std::fs::read(&config.certificate).map_err(|source| SetupError::Certificate {
                path: config.certificate.clone(),
                source,
            })?;
        let credential = match &config.credential {
            CredentialSource::File(path) => Credential::from_file(path)?,
            CredentialSource::Storage { dir, network } => match Credential::detect(dir, network)? {
                Detected::Ready(credential) => credential,
                Detected::Pending(reason) => return Err(SetupError::NoCredential(reason)),
            },
        };
        let client = LdkServerClient::new(Config {
            address: config.address.clone(),
            tls_cert_pem,
            credential,
        })?;
        Ok(LdkServer {
            client: client.with_timeout(CALL),
        })
    }

    fn failed(&self, method: &'static str) -> impl FnOnce(ClientError) -> LightningError + '_ {
        move |error| {
            let address = self.client.address().to_owned();
            match error {
                error if error.is_transient() => LightningError::Unreachable {
                    address,
                    method,
                    source: error.into(),
                },
                ClientError::Status { message, .. } => LightningError::Refused {
                    address,
                    method,
                    message,
                },
                ClientError::Decode { source, .. } => self.unusable(method, source.to_string()),
                ClientError::Incompatible { difference, .. } => self.unusable(method, difference),
                other => self.unusable(method, other.to_string()),
            }
        }
    }

    fn unusable(&self, method: &'static str, why: impl Into<String>) -> LightningError {
        LightningError::Unusable {
            address: self.client.address().to_owned(),
            method,
            why: why.into(),
        }
    }

    fn parse<T: FromStr>(
        &self,
        method: &'static str,
        field: &'static str,
        text: &str,
    ) -> Result<T, LightningError> {
        text.parse()
            .map_err(|_| self.unusable(method, format!("{field} is `{text}`")))
    }

    async fn read_info(&self) -> Result<NodeInfo, LightningError> {
        const METHOD: &str = "GetNodeInfo";
        let info = self
            .client
            .get_node_info(api::GetNodeInfoRequest {})
            .await
            .map_err(self.failed(METHOD))?;
        let best = info
            .current_best_block
            .ok_or_else(|| self.unusable(METHOD, "it tells no best block"))?;
        Ok(NodeInfo {
            node_id: self.parse(METHOD, "node_id", &info.node_id)?,
            height: Height(best.height),
        })
    }

    async fn balances(&self) -> Result<Vec<types::LightningBalance>, LightningError> {
        let request = api::GetBalancesRequest {};
        let answer = self.client.get_balances(request).await;
        Ok(answer
            .map_err(self.failed("GetBalances"))?
            .lightning_balances)
    }

    async fn read_receivable(&self) -> Result<Msat, LightningError> {
        let request = api::ListChannelsRequest {};
        let answer = self.client.list_channels(request).await;
        let channels = answer.map_err(self.failed("ListChannels"))?.channels;
        let balances = self.balances().await?;
        let usable = channels.iter().filter(|channel| channel.is_usable);
        let each = usable.map(|channel| channel_receivable(channel, &balances));
        Ok(Msat(each.max().unwrap_or(0)))
    }

    async fn make_hold_invoice(
        &self,
        hash: PaymentHash,
        amount: Msat,
        description: &str,
        expiry: Duration,
    ) -> Result<String, LightningError> {
        let request = api::Bolt11ReceiveForHashRequest {
            amount_msat: Some(amount.0),
            description: Some(direct(description)),
            expiry_secs: whole_seconds(expiry),
            payment_hash: hash.to_string(),
        };
        let answer = self.client.bolt11_receive_for_hash(request).await;
        Ok(answer.map_err(self.failed("Bolt11ReceiveForHash"))?.invoice)
    }

    async fn make_invoice(
        &self,
        amount: Msat,
        description: &str,
        expiry: Duration,
    ) -> Result<(String, PaymentHash), LightningError> {
        const METHOD: &str = "Bolt11Receive";
        let request = api::Bolt11ReceiveRequest {
            amount_msat: Some(amount.0),
            description: Some(direct(description)),
            expiry_secs: whole_seconds(expiry),
        };
        let answer = self.client.bolt11_receive(request).await;
        let answer = answer.map_err(self.failed(METHOD))?;
        let hash = self.parse(METHOD, "payment_hash", &answer.payment_hash)?;
        Ok((answer.invoice, hash))
    }

    async fn read_held(&self) -> Result<HashMap<PaymentHash, Held>, LightningError> {
        let mut held = HashMap::new();
        for htlc in self.balances().await?.iter().filter_map(inbound) {
            let hash = self.parse("GetBalances", "payment_hash", &htlc.payment_hash)?;
            let part = Held {
                until: Height(htlc.expiry_height.saturating_sub(FAILED_BEFORE_EXPIRY.0)),
                amount: Msat(htlc.amount_satoshis.saturating_mul(MSAT_PER_SAT)),
            };
            held.entry(hash)
                .and_modify(|whole: &mut Held| {
                    whole.until = whole.until.min(part.until);
                    whole.amount = Msat(whole.amount.0.saturating_add(part.amount.0));
                })
                .or_insert(part);
        }
        Ok(held)
    }

    /// The row of a payment. Servers up to now use the hash as its id, which saves reading all of them; where they do not,
    /// or have no such row, the list decides.
    async fn payment(
        &self,
        hash: PaymentHash,
        direction: types::PaymentDirection,
    ) -> Result<Option<(types::Payment, types::Bolt11)>, LightningError> {
        let wanted = |payment: types::Payment| {
            let bolt11 = bolt11_of(&payment)?.clone();
            let is_it =
                payment.direction() == direction && bolt11.hash.parse::<PaymentHash>() == Ok(hash);
            is_it.then_some((payment, bolt11))
        };
        let request = api::GetPaymentDetailsRequest {
            payment_id: hash.to_string(),
        };
        let answer = self.client.get_payment_details(request).await;
        let by_id = answer.map_err(self.failed("GetPaymentDetails"))?.payment;
        if let Some(found) = by_id.and_then(wanted) {
            return Ok(Some(found));
        }
        let all = self.client.list_all_payments().await;
        let all = all.map_err(self.failed("ListPayments"))?;
        Ok(all.into_iter().find_map(wanted))
    }

    async fn read_received(&self, hash: PaymentHash) -> Result<Received, LightningError> {
        let payment = self.payment(hash, types::PaymentDirection::Inbound).await?;
        let Some((payment, _)) = payment else {
            return Ok(Received::No);
        };
        match payment.status() {
            types::PaymentStatus::Succeeded => payment
                .amount_msat
                .map(|amount| Received::Yes(Msat(amount)))
                .ok_or_else(|| self.unusable("GetPaymentDetails", "a payment has no amount")),
            types::PaymentStatus::Pending | types::PaymentStatus::Failed => Ok(Received::No),
        }
    }

    async fn read_outgoing(&self, hash: PaymentHash) -> Result<Outgoing, LightningError> {
        let outbound = types::PaymentDirection::Outbound;
        let Some((payment, bolt11)) = self.payment(hash, outbound).await? else {
            return self.outgoing_without_a_row(hash).await;
        };
        match payment.status() {
            types::PaymentStatus::Pending => Ok(Outgoing::Pending),
            types::PaymentStatus::Failed => Ok(Outgoing::Failed),
            types::PaymentStatus::Succeeded => {
                const METHOD: &str = "GetPaymentDetails";
                let text = bolt11.preimage.unwrap_or_default();
                let preimage: Preimage = self.parse(METHOD, "preimage", &text)?;
                if preimage.payment_hash() != hash {
                    return Err(self.unusable(METHOD, "the preimage is of another hash"));
                }
                Ok(Outgoing::Succeeded(preimage))
            }
        }
    }

    /// A node that crashed between sending a payment and noting it has no row of it, but its channels have the HTLC.
    async fn outgoing_without_a_row(&self, hash: PaymentHash) -> Result<Outgoing, LightningError> {
        let balances = self.balances().await?;
        let is_there = balances
            .iter()
            .filter_map(outbound_hash)
            .any(|other| other.parse::<PaymentHash>() == Ok(hash));
        Ok(if is_there {
            Outgoing::Pending
        } else {
            Outgoing::Unknown
        })
    }

    async fn send(&self, invoice: &str, route: &Route) -> Result<(), LightningError> {
        // All four, always: in a message that is present a zero is a zero, not a default.
        let route_parameters = Some(types::RouteParametersConfig {
            max_total_routing_fee_msat: Some(route.max_fee.0),
            max_total_cltv_expiry_delta: route.max_total_cltv.0,
            max_path_count: route.max_paths,
            max_channel_saturation_power_of_half: route.max_saturation_power_of_half,
        });
        let request = api::Bolt11SendRequest {
            invoice: invoice.to_owned(),
            amount_msat: None,
            route_parameters,
        };
        let answer = self.client.bolt11_send(request).await;
        answer.map(drop).map_err(self.failed("Bolt11Send"))
    }
}

impl LightningNode for LdkServer {
    fn info(&self) -> BoxFuture<'_, Result<NodeInfo, LightningError>> {
        Box::pin(self.read_info())
    }

    fn receivable(&self) -> BoxFuture<'_, Result<Msat, LightningError>> {
        Box::pin(self.read_receivable())
    }

    fn hold_invoice<'a>(
        &'a self,
        hash: PaymentHash,
        amount: Msat,
        description: &'a str,
        expiry: Duration,
    ) -> BoxFuture<'a, Result<String, LightningError>> {
        Box::pin(self.make_hold_invoice(hash, amount, description, expiry))
    }

    fn invoice<'a>(
        &'a self,
        amount: Msat,
        description: &'a str,
        expiry: Duration,
    ) -> BoxFuture<'a, Result<(String, PaymentHash), LightningError>> {
        Box::pin(self.make_invoice(amount, description, expiry))
    }

    fn held(&self) -> BoxFuture<'_, Result<HashMap<PaymentHash, Held>, LightningError>> {
        Box::pin(self.read_held())
    }

    fn received(&self, hash: PaymentHash) -> BoxFuture<'_, Result<Received, LightningError>> {
        Box::pin(self.read_received(hash))
    }

    fn asked(&self, hash: PaymentHash) -> BoxFuture<'_, Result<Option<Msat>, LightningError>> {
        Box::pin(async move {
            let payment = self.payment(hash, types::PaymentDirection::Inbound).await?;
            Ok(payment.and_then(|(payment, _)| payment.amount_msat.map(Msat)))
        })
    }

    fn claim(&self, preimage: Preimage, amount: Msat) -> BoxFuture<'_, Result<(), LightningError>> {
        Box::pin(async move {
            let request = api::Bolt11ClaimForHashRequest {
                payment_hash: Some(preimage.payment_hash().to_string()),
                claimable_amount_msat: Some(amount.0),
                preimage: preimage.to_string(),
            };
            let answer = self.client.bolt11_claim_for_hash(request).await;
            answer.map(drop).map_err(self.failed("Bolt11ClaimForHash"))
        })
    }

    fn fail(&self, hash: PaymentHash) -> BoxFuture<'_, Result<(), LightningError>> {
        Box::pin(async move {
            let request = api::Bolt11FailForHashRequest {
                payment_hash: hash.to_string(),
            };
            let answer = self.client.bolt11_fail_for_hash(request).await;
            answer.map(drop).map_err(self.failed("Bolt11FailForHash"))
        })
    }

    fn pay<'a>(
        &'a self,
        invoice: &'a str,
        route: &'a Route,
    ) -> BoxFuture<'a, Result<(), LightningError>> {
        Box::pin(self.send(invoice, route))
    }

    fn outgoing(&self, hash: PaymentHash) -> BoxFuture<'_, Result<Outgoing, LightningError>> {
        Box::pin(self.read_outgoing(hash))
    }

    fn events(&self) -> Wakes {
        let client = self.client.clone();
        Wakes::fed_by(|queue| listen(client, queue))
    }
}

/// Subscribes, tells what comes, and subscribes again when the stream is lost.
async fn listen(client: LdkServerClient, queue: Arc<Queue>) {
    loop {
        let subscribed = poll_until::<_, std::convert::Infallible, _>(
            "the Lightning node's events",
            Deadline::after(SILENCE),
            || async {
                match client.subscribe_events().await {
                    Ok(stream) => Probe::Ready(stream),
                    Err(error) => Probe::Pending(error.to_string()),
                }
            },
        );
        let mut stream = match subscribed.await {
            Ok(stream) => stream,
            Err(silence) => {
                tracing::warn!("no events of the Lightning node: {silence}");
                continue;
            }
        };
        // What happened until now was not told.
        queue.push(Wake::Rescan);
        loop {
            match stream.next().await {
                Ok(Some(event)) => {
                    if let Some(wake) = wake_of(&event) {
                        queue.push(wake);
                    }
                }
                Ok(None) => break,
                Err(error) => {
                    tracing::info!("the Lightning node's events were lost: {error}");
                    break;
                }
            }
        }
    }
}

/// What an event may have changed; `None` when it is no payment's.
fn wake_of(event: &Event) -> Option<Wake> {
    let payment = match event {
        Event::PaymentReceived(payment)
        | Event::PaymentSuccessful(payment)
        | Event::PaymentFailed(payment)
        | Event::PaymentClaimable { payment, .. } => payment,
        Event::PaymentForwarded { .. } | Event::ChannelStateChanged(_) => return None,
        Event::Unknown => return Some(Wake::Rescan),
    };
    let hash = bolt11_of(payment).and_then(|bolt11| bolt11.hash.parse().ok());
    Some(hash.map_or(Wake::Rescan, Wake::Payment))
}

fn bolt11_of(payment: &types::Payment) -> Option<&types::Bolt11> {
    match payment.kind.as_ref()?.kind.as_ref()? {
        types::payment_kind::Kind::Bolt11(bolt11) => Some(bolt11),
        types::payment_kind::Kind::Onchain(_) => None,
    }
}

fn inbound(balance: &types::LightningBalance) -> Option<&types::MaybePreimageClaimableHtlc> {
    match balance.balance_type.as_ref()? {
        types::lightning_balance::BalanceType::MaybePreimageClaimableHtlc(htlc) => Some(htlc),
        _ => None,
    }
}

fn outbound_hash(balance: &types::LightningBalance) -> Option<&str> {
    match balance.balance_type.as_ref()? {
        types::lightning_balance::BalanceType::MaybeTimeoutClaimableHtlc(htlc)
            if htlc.outbound_payment =>
        {
            Some(&htlc.payment_hash)
        }
        _ => None,
    }
}

/// What one channel could receive in one HTLC: its inbound capacity, from which LDK has left out the reserve and what is
/// pending, but no more than the limit of what may be in flight to it leaves.
fn channel_receivable(channel: &types::Channel, balances: &[types::LightningBalance]) -> u64 {
    let in_flight: u64 = balances
        .iter()
        .filter_map(inbound)
        .filter(|htlc| htlc.channel_id == channel.channel_id)
        // Rounded down by the node.
        .map(|htlc| (htlc.amount_satoshis + 1).saturating_mul(MSAT_PER_SAT))
        .fold(0, u64::saturating_add);
    let value = channel.channel_value_sats.saturating_mul(MSAT_PER_SAT);
    let limit = channel
        .inbound_htlc_maximum_msat
        .unwrap_or(value / IN_FLIGHT_DIVISOR);
    channel
        .inbound_capacity_msat
        .min(limit.saturating_sub(in_flight))
}

fn direct(text: &str) -> types::Bolt11InvoiceDescription {
    let kind = types::bolt11_invoice_description::Kind::Direct(text.to_owned());
    types::Bolt11InvoiceDescription { kind: Some(kind) }
}

/// BOLT 11 counts an expiry in whole seconds; a shorter one would be none at all.
fn whole_seconds(expiry: Duration) -> u32 {
    let seconds = expiry.as_secs() + u64::from(expiry.subsec_nanos() > 0);
    u32::try_from(seconds).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use types::lightning_balance::BalanceType;

    fn channel(value: u64, inbound_msat: u64, in_flight_limit_msat: Option<u64>) -> types::Channel {
        types::Channel {
            channel_id: "c".into(),
            channel_value_sats: value,
            inbound_capacity_msat: inbound_msat,
            inbound_htlc_maximum_msat: in_flight_limit_msat,
            is_usable: true,
            ..types::Channel::default()
        }
    }

    fn held(channel_id: &str, amount_satoshis: u64) -> types::LightningBalance {
        let htlc = types::MaybePreimageClaimableHtlc {
            channel_id: channel_id.into(),
            amount_satoshis,
            ..types::MaybePreimageClaimableHtlc::default()
        };
        types::LightningBalance {
            balance_type: Some(BalanceType::MaybePreimageClaimableHtlc(htlc)),
        }
    }

    #[test]
    fn a_channel_receives_what_capacity_and_the_limit_in_flight_leave() {
        let none: &[types::LightningBalance] = &[];
        let cases: &[(types::Channel, Vec<types::LightningBalance>, u64)] = &[
            // The limit is the channel's own word, or a tenth of its value.
            (
                channel(1_000_000, 900_000_000, Some(100_000_000)),
                none.into(),
                100_000_000,
            ),
            (
                channel(1_000_000, 900_000_000, None),
                none.into(),
                100_000_000,
            ),
            // All in flight is allowed where we opened.
            (
                channel(1_000_000, 900_000_000, Some(980_000_000)),
                none.into(),
                900_000_000,
            ),
            // What is held counts against the limit, a satoshi more than the node says.
            (
                channel(1_000_000, 800_000_000, Some(100_000_000)),
                vec![held("c", 60_000), held("other", 90_000)],
                39_999_000,
            ),
            (channel(1_000_000, 10, Some(100_000_000)), none.into(), 10),
            (
                channel(1_000_000, 900_000_000, Some(5)),
                vec![held("c", 1)],
                0,
            ),
        ];
        for (channel, balances, expected) in cases {
            assert_eq!(channel_receivable(channel, balances), *expected);
        }
    }

    #[test]
    fn an_expiry_is_never_rounded_to_nothing() {
        for (millis, seconds) in [(1, 1), (1_000, 1), (1_001, 2), (u64::MAX, u32::MAX)] {
            assert_eq!(whole_seconds(Duration::from_millis(millis)), seconds);
        }
    }
}
