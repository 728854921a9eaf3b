//! The HTLCs of a server, as it lists them itself, for the money oracle: those on Bitcoin and those on Liquid.

use bitcoin::address::NetworkUnchecked;
use bitcoin::{Address, Network, ScriptBuf};
use elements::Script;
use prost_reflect::MethodDescriptor;
use serde_json::Value as Json;
use swaprig_harness::World;
use swaprig_harness::grpc::{self, CallError, Target};
use swaprig_harness::http::{self, HttpError, Request};
use swaprig_harness::server::Server;
use swaprig_harness::time::{Deadline, Probe, poll_until};
use swaprig_harness::world::liquid_address;

use super::StepFailure;
use crate::lang::{HtlcBooks, HtlcList, JsonPath, ServerBooks};

/// How long a server has to say which HTLCs it has, or to be seen to have ended.
const ANSWER: std::time::Duration = std::time::Duration::from_secs(5);
/// How many pages of HTLCs are read; more of them are a server that goes round in circles.
const PAGES: usize = 1_000;

/// How one server is asked for its HTLCs.
#[derive(Debug)]
pub(super) struct Listing {
    server: String,
    htlcs: HtlcBooks,
    method: Option<MethodDescriptor>,
}

/// The scripts of the HTLCs that a server has listed.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Listed {
    pub(super) bitcoin: Vec<ScriptBuf>,
    pub(super) liquid: Vec<Script>,
}

impl Listed {
    /// Takes in an address of regtest: which chain it is on, it says itself.
    fn take_in(&mut self, text: &str) -> Result<(), String> {
        let on_bitcoin = text.parse::<Address<NetworkUnchecked>>().ok();
        match on_bitcoin.and_then(|address| address.require_network(Network::Regtest).ok()) {
            Some(address) => self.bitcoin.push(address.script_pubkey()),
            None => self.liquid.push(liquid_address(text)?.script_pubkey()),
        }
        Ok(())
    }
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

/// The server's lists over HTTP, one of each path.
async fn over_http(
    server: &Server,
    paths: &[String],
    deadline: Deadline,
) -> Result<Vec<Json>, Unlisted> {
    let pages = paths.iter().map(|path| read_list(server, path, deadline));
    futures_util::future::try_join_all(pages).await
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

impl Listing {
    /// `None` when its books name no HTLCs.
    pub(super) fn new(books: &ServerBooks) -> Option<Self> {
        books.htlcs.clone().map(|htlcs| Listing {
            server: books.server.clone(),
            htlcs,
            method: None,
        })
    }

    /// The server that is asked.
    pub(super) fn server(&self) -> &str {
        &self.server
    }

    /// Asks the server itself, past every proxy: no fault of a scenario makes money disappear. `None` when it is down.
    ///
    /// # Errors
    /// When it refuses, or says what cannot be read.
    pub(super) async fn ask(&mut self, world: &World) -> Result<Option<Listed>, StepFailure> {
        let server = world.server(&self.server)?;
        let deadline = Deadline::after(ANSWER);
        let target = Target {
            address: server.address(),
            certificate: server.certificate().map(Into::into),
        };
        let asked = poll_until("the server to list its HTLCs", deadline, || async {
            if server.running().exit().is_some() {
                return Probe::Ready(None);
            }
            let listed = match &self.htlcs.list {
                HtlcList::Grpc { rpc, send, next } => {
                    let next = next.as_ref();
                    self.over_grpc(rpc, send, next, server, &target, deadline)
                        .await
                }
                HtlcList::Http(paths) => over_http(server, paths, deadline)
                    .await
                    .map(|pages| (None, pages)),
            };
            match listed {
                Ok(all) => Probe::Ready(Some(all)),
                // It may be about to end: that is told by its process.
                Err(Unlisted::Unreachable(why)) => Probe::Pending(why),
                Err(Unlisted::Wrong(why)) => Probe::Fatal(self.unreadable(&why)),
            }
        });
        let Some((method, replies)) = asked.await? else {
            return Ok(None);
        };
        self.method = method;
        let mut listed = Listed::default();
        for reply in &replies {
            for found in self.htlcs.addresses.find(reply) {
                // An HTLC that is not made yet has an empty address, or none.
                let text = found.as_str().unwrap_or_default();
                if text.is_empty() {
                    continue;
                }
                listed
                    .take_in(text)
                    .map_err(|why| self.unreadable(&format!("{found} is no address: {why}")))?;
            }
        }
        Ok(Some(listed))
    }

    /// Every page of the server's list over gRPC.
    async fn over_grpc(
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

    fn unreadable(&self, why: &str) -> StepFailure {
        let title = format!(
            "the books of the server `{}` cannot be read: {}: {why}",
            self.server, self.htlcs.list
        );
        StepFailure::refused(title)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_says_itself_which_chain_it_is_on() {
        let taproot = ScriptBuf::from([vec![0x51, 32], vec![0x42; 32]].concat());
        let bitcoin = Address::from_script(&taproot, Network::Regtest).unwrap();
        let script = Script::from([vec![0, 32], vec![0x42; 32]].concat());
        let params = &elements::AddressParams::ELEMENTS;
        let liquid = elements::Address::from_script(&script, None, params).unwrap();
        let mut listed = Listed::default();
        listed.take_in(&bitcoin.to_string()).unwrap();
        listed.take_in(&liquid.to_string()).unwrap();
        assert_eq!(listed.bitcoin, [taproot]);
        assert_eq!(listed.liquid, [script]);
        // Those of other networks are of no chain here.
        for other in [
            "bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4",
            "ex1qw508d6qejxtdg4y5r3zarvary0c5xw7kxw5fx4",
            "nobody",
        ] {
            assert!(listed.take_in(other).is_err(), "{other}");
        }
    }
}
