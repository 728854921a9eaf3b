//! Faults in front of any daemon: proxies in the harness's own process, one for each link that a world asks for.
//!
//! A proxy listens on loopback and passes everything on until it is told of a fault. What a fault can be depends on
//! what the proxy understands: bytes ([`Kind::Tcp`]), HTTP ([`Kind::Http`]), JSON-RPC ([`Kind::JsonRpc`]), Electrum
//! ([`Kind::Electrum`]) or gRPC ([`Kind::Grpc`]).
//!
//! | fault | what happens |
//! |---|---|
//! | [`Proxy::partition`] | nothing passes either way and nothing is lost: what is sent is held, as a network would send it again; a new connection is accepted and hears nothing |
//! | [`Proxy::drop_connections`] | every open connection is closed; new ones are welcome |
//! | [`Proxy::freeze`] | what the caller sends arrives; what it would hear is held until [`Proxy::thaw`] |
//! | [`Proxy::delay`] | late, in order |
//! | [`Proxy::fail`] | a call fails, before or after the daemon has carried it out |
//! | [`Proxy::tamper`] | one field of an answer is another one |
//!
//! [`Proxy::heal`] ends all of them. A link without a proxy is not touched by any of this.

mod electrum;
mod exchange;
mod faults;
mod grpc;
mod http;
mod json_rpc;
mod link;
mod rest;
mod tamper;
mod tcp;

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use prost_reflect::DescriptorPool;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

pub use faults::{Calls, Failure, Fault, Way};
pub use ldk_server_protos::grpc::Code;
pub use link::{
    BITCOIND, ELECTRS, ELECTRS_LIQUID, ELEMENTSD, End, HARNESS, Kind, Link, LinkError, ServerEnd,
};
pub use rest::{CallError, check_call};
pub use tamper::{FieldValue, TamperError};

use crate::daemon::StartError;
use crate::port::PortClaim;
use faults::{Action, Faults};
use tamper::Lie;

/// How often a port that a stranger takes between its claim and its use is replaced.
const PORT_ATTEMPTS: u32 = 3;

/// What a proxy stands in front of.
#[derive(Debug, Clone)]
pub enum Upstream {
    /// Anything that speaks over TCP, at `HOST:PORT`.
    Tcp(String),
    /// JSON-RPC over HTTP/1.1, at `HOST:PORT`.
    JsonRpc(String),
    /// A server whose API is JSON over HTTP/1.1, at `HOST:PORT`.
    Http(String),
    /// An Electrum server, at `HOST:PORT`.
    Electrum(String),
    /// gRPC over HTTP/2.
    Grpc(Grpc),
}

/// A gRPC server that a proxy can stand in front of.
#[derive(Debug, Clone)]
pub struct Grpc {
    /// `HOST:PORT`.
    pub address: String,
    /// How its connections are encrypted; `None` when they are not.
    pub tls: Option<Tls>,
    /// Its API, for lies about its answers.
    pub api: DescriptorPool,
}

/// What a proxy needs to stand on an encrypted connection.
#[derive(Debug, Clone)]
pub struct Tls {
    /// The server's certificate (PEM). The proxy trusts it alone, and shows it to its own clients.
    pub certificate: PathBuf,
    /// The certificate's key (PEM).
    ///
    /// With the server's own key in the proxy's hands, every client that trusts the server trusts the proxy, whatever
    /// program it is; the files are read when a connection comes, so that they may be written later.
    pub key: PathBuf,
}

/// The API of ldk-server.
pub fn ldk_server_descriptors() -> &'static DescriptorPool {
    static POOL: LazyLock<DescriptorPool> = LazyLock::new(|| {
        DescriptorPool::decode(ldk_server_protos::FILE_DESCRIPTOR_SET)
            .expect("the build script wrote what it had compiled")
    });
    &POOL
}

/// A fault that a link cannot have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FaultError {
    /// It has no methods.
    #[error("`{0}` carries plain bytes, in which nobody can tell a method")]
    NoMethods(String),
    /// Its protocol has no such failure.
    #[error("`{link}` speaks {kind}, in which no call can fail like that")]
    NoSuchFailure {
        /// The proxy.
        link: String,
        /// What it speaks.
        kind: &'static str,
    },
    /// It is no method and path.
    #[error(transparent)]
    Call(#[from] CallError),
    /// There is no such field, or the value does not fit it.
    #[error(transparent)]
    Tamper(#[from] TamperError),
    /// A message is not a single value.
    #[error("name the field of the answer that is to be changed: an answer of gRPC has several")]
    NoField,
}

/// A proxy. It ends, and closes its connections, soon after it is dropped; [`Proxy::end`] waits for that.
#[derive(Debug)]
pub struct Proxy {
    name: String,
    upstream: Arc<Upstream>,
    port: PortClaim,
    faults: Arc<Faults>,
    listener: JoinHandle<()>,
}

impl Proxy {
    /// Starts one in front of `upstream`, which need not answer yet. `name` is for messages.
    ///
    /// # Errors
    /// When no port is to be had.
    pub async fn start(name: impl Into<String>, upstream: Upstream) -> Result<Self, StartError> {
        let name = name.into();
        let (port, listener) = listen(&name).await?;
        let (upstream, faults) = (Arc::new(upstream), Arc::new(Faults::default()));
        let serving = serve(listener, upstream.clone(), faults.clone());
        Ok(Proxy {
            name,
            upstream,
            port,
            faults,
            listener: tokio::spawn(serving),
        })
    }

    /// Its name, such as `alice->bob`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it understands.
    pub fn kind(&self) -> Kind {
        match &*self.upstream {
            Upstream::Tcp(_) => Kind::Tcp,
            Upstream::JsonRpc(_) => Kind::JsonRpc,
            Upstream::Http(_) => Kind::Http,
            Upstream::Electrum(_) => Kind::Electrum,
            Upstream::Grpc(_) => Kind::Grpc,
        }
    }

    /// `127.0.0.1:PORT` on which it listens.
    pub fn address(&self) -> String {
        self.port.address()
    }

    /// The port on which it listens.
    pub fn port(&self) -> u16 {
        self.port.port()
    }

    /// Lets nothing pass any more, either way. What is sent is held and passes after [`Proxy::heal`]; a new connection
    /// is accepted and hears nothing.
    pub fn partition(&self) {
        self.faults.partition();
    }

    /// Ends every fault; gives how many there were. What they held back passes, in its order.
    pub fn heal(&self) -> usize {
        self.faults.heal()
    }

    /// Closes every connection that is open now.
    pub fn drop_connections(&self) {
        self.faults.drop_connections();
    }

    /// Makes what passes late, by so much on its way there and on its way back.
    ///
    /// # Errors
    /// When there are no methods on this link and one is named.
    pub fn delay(
        &self,
        calls: Calls,
        there: Duration,
        back: Duration,
    ) -> Result<Fault, FaultError> {
        self.has_method(&calls)?;
        Ok(self.faults.add(calls, Action::Delay { there, back }))
    }

    /// Holds what the caller would hear until [`Proxy::thaw`]. What it sends arrives, and is carried out.
    ///
    /// # Errors
    /// When there are no methods on this link and one is named.
    pub fn freeze(&self, calls: Calls) -> Result<Fault, FaultError> {
        self.has_method(&calls)?;
        Ok(self.faults.add(calls, Action::Freeze))
    }

    /// Ends the freeze of one method, or all freezes; gives how many there were.
    pub fn thaw(&self, method: Option<&str>) -> usize {
        self.faults.thaw(method)
    }

    /// Makes calls fail: before the daemon hears of them, or, when they are to be `carried_out`, after.
    ///
    /// # Errors
    /// When there are no calls on this link, or they cannot fail like that.
    pub fn fail(
        &self,
        calls: Calls,
        failure: Failure,
        carried_out: bool,
    ) -> Result<Fault, FaultError> {
        let known = match (self.kind(), &failure) {
            (Kind::Tcp, _) => return Err(FaultError::NoMethods(self.name.clone())),
            (_, Failure::Closed)
            | (Kind::JsonRpc, Failure::Error(_) | Failure::Http(_))
            | (Kind::Http, Failure::Http(_))
            | (Kind::Electrum, Failure::Error(_))
            | (Kind::Grpc, Failure::Status(..)) => true,
            (Kind::JsonRpc, Failure::Status(..))
            | (Kind::Http, Failure::Error(_) | Failure::Status(..))
            | (Kind::Electrum, Failure::Http(_) | Failure::Status(..))
            | (Kind::Grpc, Failure::Error(_) | Failure::Http(_)) => false,
        };
        if !known {
            return Err(FaultError::NoSuchFailure {
                link: self.name.clone(),
                kind: self.kind().name(),
            });
        }
        self.has_method(&calls)?;
        let action = Action::Fail {
            failure,
            carried_out,
        };
        Ok(self.faults.add(calls, action))
    }

    /// Puts `value` in the place of a field of the answer: `blocks`, `0.height`, `channels.0.is_usable`; in JSON `None` is the
    /// whole of it. An answer without the field passes as it is, and is not counted.
    ///
    /// # Errors
    /// When there are no answers on this link, or it is known that the answer has no such field or another type of it.
    pub fn tamper(
        &self,
        calls: Calls,
        field: Option<&str>,
        value: FieldValue,
    ) -> Result<Fault, FaultError> {
        let field = field.map(str::to_owned);
        let adds = false;
        self.lie(calls, Lie { field, value, adds })
    }

    /// The same, and JSON without the field gets it, where there is the object that it is a field of.
    ///
    /// # Errors
    /// As [`Proxy::tamper`].
    pub fn tamper_or_add(
        &self,
        calls: Calls,
        field: &str,
        value: FieldValue,
    ) -> Result<Fault, FaultError> {
        let field = Some(field.to_owned());
        let adds = true;
        self.lie(calls, Lie { field, value, adds })
    }

    fn lie(&self, calls: Calls, lie: Lie) -> Result<Fault, FaultError> {
        self.has_method(&calls)?;
        match (&*self.upstream, &calls.method) {
            (Upstream::Tcp(_), _) => return Err(FaultError::NoMethods(self.name.clone())),
            (Upstream::Grpc(grpc), Some(method)) => {
                check_tamper(&grpc.api, method, lie.field.as_deref(), &lie.value)?;
            }
            (Upstream::Grpc(_), None)
            | (Upstream::JsonRpc(_) | Upstream::Http(_) | Upstream::Electrum(_), _) => {}
        }
        Ok(self.faults.add(calls, Action::Tamper(lie)))
    }

    /// Ends it, as dropping it does, and returns when its port is free and its connections are closed.
    pub async fn end(mut self) {
        self.listener.abort();
        // An error says that it was aborted, or panicked; either way it is gone.
        let _ = (&mut self.listener).await;
    }

    fn has_method(&self, calls: &Calls) -> Result<(), FaultError> {
        match (&*self.upstream, &calls.method) {
            (Upstream::Tcp(_), Some(_)) => Err(FaultError::NoMethods(self.name.clone())),
            (Upstream::Grpc(grpc), Some(name)) => {
                tamper::method(&grpc.api, name)?;
                Ok(())
            }
            (Upstream::Http(_), Some(call)) => Ok(check_call(call)?),
            _ => Ok(()),
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        // The connections' tasks belong to this one.
        self.listener.abort();
        // A call over HTTP/2 is a task of its own, which ends once it finds its connection gone; none may wait for ever.
        self.faults.heal();
    }
}

/// Checks that a gRPC `api` has the method.
///
/// # Errors
/// [`TamperError::NoMethod`].
pub fn check_method(api: &DescriptorPool, method: &str) -> Result<(), TamperError> {
    tamper::method(api, method).map(drop)
}

/// Checks that `value` can stand in the place of `field` in the answer of a gRPC method.
///
/// # Errors
/// Why it cannot.
pub fn check_tamper(
    api: &DescriptorPool,
    method: &str,
    field: Option<&str>,
    value: &FieldValue,
) -> Result<(), FaultError> {
    let answer = tamper::method(api, method)?.output();
    let field = field.ok_or(FaultError::NoField)?;
    Ok(tamper::check(&answer, field, value)?)
}

async fn listen(name: &str) -> Result<(PortClaim, TcpListener), StartError> {
    let mut attempts = 0;
    loop {
        attempts += 1;
        let port = PortClaim::new()?;
        match TcpListener::bind((Ipv4Addr::LOCALHOST, port.port())).await {
            Ok(listener) => return Ok((port, listener)),
            Err(_) if attempts < PORT_ATTEMPTS => {
                eprintln!(
                    "swaprig: the proxy {name} lost port {} to another program; trying another",
                    port.port()
                );
            }
            Err(source) => {
                return Err(StartError::Proxy {
                    name: name.to_owned(),
                    source,
                });
            }
        }
    }
}

/// Accepts connections and carries them until it is aborted.
async fn serve(listener: TcpListener, upstream: Arc<Upstream>, faults: Arc<Faults>) {
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            // Forgets connections that have ended.
            Some(_) = connections.join_next(), if !connections.is_empty() => continue,
            accepted = listener.accept() => accepted,
        };
        // A client that went away again, or no free descriptor: either way the next one may succeed.
        let Ok((client, _)) = accepted else { continue };
        let drops = faults.drops();
        let (upstream, faults) = (upstream.clone(), faults.clone());
        connections.spawn(async move {
            tokio::select! {
                () = faults.dropped(drops) => {}
                // What goes wrong on a connection shows at both of its ends, as it would without a proxy.
                _ = carry(client, &upstream, &faults) => {}
            }
        });
    }
}

async fn carry(client: TcpStream, upstream: &Upstream, faults: &Arc<Faults>) {
    let _ = match upstream {
        Upstream::Tcp(target) => tcp::carry(client, target, faults).await,
        Upstream::JsonRpc(target) => {
            exchange::carry::<json_rpc::Calls>(client, target, faults).await
        }
        Upstream::Http(target) => exchange::carry::<rest::Call>(client, target, faults).await,
        Upstream::Electrum(target) => electrum::carry(client, target, faults).await,
        Upstream::Grpc(target) => grpc::carry(client, target, faults).await,
    };
}
