//! The money of servers on Liquid, as the oracle counts it: by a descriptor, and in the HTLCs that a server lists.

use std::collections::HashSet;

use elements::{Script, TxOut};
use prost_reflect::MethodDescriptor;
use serde_json::Value as Json;
use swaprig_harness::World;
use swaprig_harness::elementsd::AssetAmount;
use swaprig_harness::grpc::{self, CallError, Target};
use swaprig_harness::http::{self, HttpError, Request};
use swaprig_harness::server::Server;
use swaprig_harness::time::{Deadline, Probe, poll_until};
use swaprig_harness::world::liquid_address;

use super::StepFailure;
use super::ct::Wallet;
use crate::lang::{HtlcBooks, HtlcList, JsonPath, LiquidBooks, ServerBooks};

/// How long a server has to say which HTLCs it has, or to be seen to have ended.
const ANSWER: std::time::Duration = std::time::Duration::from_secs(5);
/// How many pages of HTLCs are read; more of them are a server that goes round in circles.
const PAGES: usize = 1_000;

/// One server's books on Liquid, and what was learnt from them.
#[derive(Debug)]
pub(super) struct Book {
    books: ServerBooks,
    /// The wallet of its descriptor, with the text that it was read from.
    wallet: Option<(String, Wallet)>,
    /// The scripts of the HTLCs that it has listed so far.
    htlcs: HashSet<Script>,
    method: Option<MethodDescriptor>,
}

/// What a look at the books brought.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Learnt {
    /// Everything that they say.
    All,
    /// The server is down, so that it cannot be told whose an unknown output is.
    Down,
    /// Not everything, for this reason.
    NotAll(String),
}

/// Whose an output is.
#[derive(Debug)]
pub(super) struct Owned {
    pub(super) owner: String,
    /// What is in it; `None` when that is blinded to a key that the books do not have.
    pub(super) amount: Option<AssetAmount>,
}

/// Why a server did not list its HTLCs.
enum Unlisted {
    /// Nobody answers, perhaps because it ends.
    Unreachable(String),
    /// It refuses, or says what cannot be read.
    Wrong(String),
}

impl Unlisted {
    fn wrong(error: impl std::fmt::Display) -> Self {
        Unlisted::Wrong(error.to_string())
    }
}

impl From<CallError> for Unlisted {
    fn from(error: CallError) -> Self {
        match error {
            CallError::Failed(why) => Unlisted::Unreachable(why),
            CallError::Status(_) | CallError::TimedOut(_) => Unlisted::wrong(error),
        }
    }
}

/// The server's list over HTTP.
async fn read_list(server: &Server, path: &str, deadline: Deadline) -> Result<Json, Unlisted> {
    let request = Request {
        method: "GET".to_owned(),
        url: format!("http://{}{path}", server.address()),
        json: None,
    };
    let answer = http::send(request, deadline)
        .await
        .map_err(|error| match error {
            HttpError::Failed(why) => Unlisted::Unreachable(why),
            HttpError::TimedOut(_) | HttpError::NotHere { .. } => Unlisted::wrong(error),
        })?;
    if answer.status != 200 {
        let why = format!(
            "answered with {} {}",
            answer.status,
            super::answers::cut(&answer.body)
        );
        return Err(Unlisted::Wrong(why));
    }
    serde_json::from_str(&answer.body).map_err(|error| Unlisted::Wrong(format!("no JSON: {error}")))
}

impl Book {
    pub(super) fn new(books: &ServerBooks) -> Option<Self> {
        let by_descriptor = matches!(
            books.liquid,
            Some(LiquidBooks::Descriptor(_) | LiquidBooks::DescriptorFile(_))
        );
        (by_descriptor || books.htlcs.is_some()).then(|| Book {
            books: books.clone(),
            wallet: None,
            htlcs: HashSet::new(),
            method: None,
        })
    }

    /// Reads the descriptor and asks for the HTLCs, as they are now.
    ///
    /// # Errors
    /// When what is there cannot be read, or the server refuses.
    pub(super) async fn learn(&mut self, world: &World) -> Result<Learnt, StepFailure> {
        let wallet = self.learn_wallet(world)?;
        let Some(htlcs) = self.books.htlcs.clone() else {
            return Ok(wallet);
        };
        let server = world.server(&self.books.server)?;
        match self.learn_htlcs(&htlcs, server).await? {
            Learnt::All => Ok(wallet),
            other => Ok(other),
        }
    }

    fn learn_wallet(&mut self, world: &World) -> Result<Learnt, StepFailure> {
        let (text, place) = match &self.books.liquid {
            None | Some(LiquidBooks::Wallet(_)) => return Ok(Learnt::All),
            Some(LiquidBooks::Descriptor(text)) => (text.clone(), "its descriptor".to_owned()),
            Some(LiquidBooks::DescriptorFile(path)) => {
                let server = world.server(&self.books.server)?;
                let path = server.dir().join(path);
                match std::fs::read_to_string(&path) {
                    Ok(text) => (text.trim().to_owned(), path.display().to_string()),
                    Err(_) if server.running().exit().is_some() => return Ok(Learnt::Down),
                    Err(error) => {
                        let why = format!("{} cannot be read: {error}", path.display());
                        return Ok(Learnt::NotAll(why));
                    }
                }
            }
        };
        if self
            .wallet
            .as_ref()
            .is_some_and(|(known, _)| *known == text)
        {
            return Ok(Learnt::All);
        }
        let wallet = Wallet::parse(&text).map_err(|why| {
            let title = format!(
                "the books of the server `{}` cannot be read: {place} is no CT descriptor: {why}",
                self.books.server
            );
            StepFailure::refused(title)
        })?;
        self.wallet = Some((text, wallet));
        Ok(Learnt::All)
    }

    /// Asks the server itself, past every proxy: no fault of a scenario makes money disappear.
    async fn learn_htlcs(
        &mut self,
        htlcs: &HtlcBooks,
        server: &Server,
    ) -> Result<Learnt, StepFailure> {
        let deadline = Deadline::after(ANSWER);
        let target = Target {
            address: server.address(),
            certificate: server.certificate().map(Into::into),
        };
        let asked = poll_until("the server to list its HTLCs", deadline, || async {
            if server.running().exit().is_some() {
                return Probe::Ready(None);
            }
            let listed = match &htlcs.list {
                HtlcList::Grpc { rpc, send, next } => {
                    let next = next.as_ref();
                    self.listed(rpc, send, next, server, &target, deadline)
                        .await
                }
                HtlcList::Http(path) => read_list(server, path, deadline)
                    .await
                    .map(|page| (None, vec![page])),
            };
            match listed {
                Ok(all) => Probe::Ready(Some(all)),
                // It may be about to end: that is told by its process.
                Err(Unlisted::Unreachable(why)) => Probe::Pending(why),
                Err(Unlisted::Wrong(why)) => Probe::Fatal(self.unreadable(htlcs, &why)),
            }
        });
        let Some((method, replies)) = asked.await? else {
            return Ok(Learnt::Down);
        };
        self.method = method;
        for reply in &replies {
            for found in htlcs.addresses.find(reply) {
                // An HTLC that is not made yet has an empty address.
                let text = found.as_str().unwrap_or_default();
                if text.is_empty() {
                    continue;
                }
                let address = liquid_address(text).map_err(|why| {
                    self.unreadable(htlcs, &format!("{found} is no address: {why}"))
                })?;
                self.htlcs.insert(address.script_pubkey());
            }
        }
        Ok(Learnt::All)
    }

    /// Every page of the server's list over gRPC.
    async fn listed(
        &self,
        rpc: &str,
        send: &Json,
        next: Option<&(String, JsonPath)>,
        server: &Server,
        target: &Target,
        deadline: Deadline,
    ) -> Result<(Option<MethodDescriptor>, Vec<Json>), Unlisted> {
        let method = match (&self.method, server.api()) {
            (Some(method), _) => method.clone(),
            (None, Some(api)) => grpc::method(api, rpc).map_err(Unlisted::wrong)?,
            (None, None) => {
                let service = rpc.split('/').next().unwrap_or_default();
                let api = grpc::reflect(target, service, deadline).await;
                let api = api.map_err(|error| match error {
                    grpc::ReflectionError::Call(error) => error.into(),
                    other => Unlisted::wrong(other),
                })?;
                grpc::method(&api, rpc).map_err(Unlisted::wrong)?
            }
        };
        let mut send = send.clone();
        let mut pages = Vec::new();
        for _ in 0..PAGES {
            let message = grpc::encode(&method.input(), &send).map_err(Unlisted::wrong)?;
            let reply = grpc::call(target, &method, &message, deadline).await?;
            let page = grpc::to_json(&reply);
            let next = next.and_then(|(field, path)| {
                let token = path.find(&page)?;
                (!token.as_str().is_none_or(str::is_empty)).then(|| (field, token.clone()))
            });
            pages.push(page);
            let Some((field, token)) = next else {
                return Ok((Some(method), pages));
            };
            send[field.as_str()] = token;
        }
        Err(Unlisted::Wrong(format!(
            "its list does not end within {PAGES} pages"
        )))
    }

    fn unreadable(&self, htlcs: &HtlcBooks, why: &str) -> StepFailure {
        let title = format!(
            "the books of the server `{}` cannot be read: {}: {why}",
            self.books.server, htlcs.list
        );
        StepFailure::refused(title)
    }

    /// Whether an output is the server's, as far as its books are known; `blinded` is the whole of one that is.
    pub(super) fn owner(
        &mut self,
        script: &Script,
        amount: Option<AssetAmount>,
        blinded: Option<&TxOut>,
    ) -> Option<Owned> {
        let server = &self.books.server;
        if self.htlcs.contains(script) {
            let owner = format!("{server} (HTLCs)");
            return Some(Owned { owner, amount });
        }
        let (_, wallet) = self.wallet.as_mut()?;
        if !wallet.owns(script) {
            return None;
        }
        let amount = amount.or_else(|| wallet.unblind(blinded?));
        let owner = format!("{server} (descriptor)");
        Some(Owned { owner, amount })
    }
}
