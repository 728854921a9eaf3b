//! The proxy for gRPC, over TLS where the server speaks it: HTTP/2 on both sides, messages, streams and trailers passed on.
//! It offers HTTP/2 alone; a server's pages for browsers are asked for directly.

use std::io;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use futures_util::stream;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt as _, Empty, StreamBody};
use hyper::body::{Body, Frame, Incoming};
use hyper::client::conn::http2::SendRequest;
use hyper::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderName, HeaderValue};
use hyper::server::conn::http2 as server;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use ldk_server_protos::grpc::{FRAME_HEADER_LEN, Status};
use prost::Message as _;
use prost_reflect::{DynamicMessage, MessageDescriptor};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;

use super::faults::{Failure, Faults, Way};
use super::{Grpc, Tls, tamper};
use crate::grpc::{ALPN_H2, certificates, connect, provider};
use crate::time::Deadline;

/// Longest message that is looked into, in bytes; a longer one passes in pieces.
const MAX_MESSAGE: usize = 64 * 1024 * 1024;

type BoxError = Box<dyn std::error::Error + Send + Sync>;
type Outgoing = BoxBody<Bytes, BoxError>;

/// A call that gets no answer; HTTP/2 resets its stream.
#[derive(Debug, thiserror::Error)]
enum NoAnswer {
    #[error("reset by a fault")]
    Reset,
    #[error(transparent)]
    Server(#[from] hyper::Error),
}

/// Carries one connection of a client over one connection to the server, until either ends.
pub(super) async fn carry(tcp: TcpStream, target: &Grpc, faults: &Arc<Faults>) -> io::Result<()> {
    faults.pass(Way::There, None).await;
    tcp.set_nodelay(true)?;
    let certificate = target.tls.as_ref().map(|tls| tls.certificate.as_path());
    let (sender, to_server) = connect(&target.address, certificate).await?;
    let shared = Arc::new(Call {
        sender,
        target: target.clone(),
        faults: faults.clone(),
    });
    let respond = service_fn(move |request| {
        let call = shared.clone();
        async move { call.respond(request).await }
    });
    let http2 = server::Builder::new(TokioExecutor::new());
    let serving = async {
        let served = match &target.tls {
            Some(tls) => {
                let stream = acceptor(tls)?.accept(tcp).await?;
                http2.serve_connection(TokioIo::new(stream), respond).await
            }
            None => http2.serve_connection(TokioIo::new(tcp), respond).await,
        };
        served.map_err(io::Error::other)
    };
    tokio::select! {
        served = serving => served,
        ended = to_server => ended.map_err(io::Error::other),
    }
}

fn acceptor(tls: &Tls) -> io::Result<TlsAcceptor> {
    let key = PrivateKeyDer::from_pem_file(&tls.key).map_err(io::Error::other)?;
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .with_no_client_auth()
        .with_single_cert(certificates(&tls.certificate)?, key)
        .map_err(io::Error::other)?;
    config.alpn_protocols = vec![ALPN_H2.to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// What the calls of one connection share.
struct Call {
    sender: SendRequest<Incoming>,
    target: Grpc,
    faults: Arc<Faults>,
}

impl Call {
    async fn respond(&self, request: Request<Incoming>) -> Result<Response<Outgoing>, NoAnswer> {
        let path = request.uri().path().to_owned();
        let method = path.rsplit('/').next().unwrap_or_default().to_owned();
        let (faults, name) = (&self.faults, Some(method.as_str()));
        let failure = faults.failure(name);
        let (late_there, late_back) = faults.call_delays(name);
        Deadline::after(late_there).reach().await;
        faults.pass(Way::There, name).await;
        if let Some((failure, false)) = &failure {
            return refusal(failure);
        }
        let answer = self.sender.clone().send_request(request).await?;
        Deadline::after(late_back).reach().await;
        faults.pass(Way::Back, name).await;
        if let Some((failure, _)) = &failure {
            return refusal(failure);
        }
        let (mut head, body) = answer.into_parts();
        // A lie may be shorter or longer than the truth.
        head.headers.remove(CONTENT_LENGTH);
        if body.is_end_stream() {
            return Ok(Response::from_parts(head, boxed(Empty::new())));
        }
        let output = tamper::method(&self.target.api, &path)
            .ok()
            .map(|method| method.output());
        let answer = Answer {
            body,
            pieces: BytesMut::new(),
            raw: false,
            output,
            method,
            faults: faults.clone(),
        };
        let frames = stream::try_unfold(answer, |mut answer| async move {
            let frame = answer.next().await?;
            Ok::<_, BoxError>(frame.map(|frame| (frame, answer)))
        });
        Ok(Response::from_parts(head, boxed(StreamBody::new(frames))))
    }
}

fn boxed<B>(body: B) -> Outgoing
where
    B: Body<Data = Bytes, Error: Into<BoxError>> + Send + Sync + 'static,
{
    body.map_err(Into::into).boxed()
}

/// The answer to a call that fails: a status in the headers, as a server without an answer gives it.
fn refusal(failure: &Failure) -> Result<Response<Outgoing>, NoAnswer> {
    let Failure::Status(code, text) = failure else {
        return Err(NoAnswer::Reset);
    };
    let mut response = Response::new(boxed(Empty::new()));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    headers.insert(
        HeaderName::from_static("grpc-status"),
        HeaderValue::from(u16::from(code.as_u8())),
    );
    let text = Status::new(*code, text.as_str()).encoded_message();
    if let Some(text) = text.and_then(|text| HeaderValue::from_str(&text).ok()) {
        headers.insert(HeaderName::from_static("grpc-message"), text);
    }
    Ok(response)
}

/// The body of an answer, passed on message by message.
struct Answer {
    body: Incoming,
    /// Bytes that are not yet a whole message.
    pieces: BytesMut,
    /// There is a message too long to be looked into, so nothing is.
    raw: bool,
    /// What a message is, where that is known.
    output: Option<MessageDescriptor>,
    method: String,
    faults: Arc<Faults>,
}

impl Answer {
    /// The next message, or the trailers; `None` at the end.
    async fn next(&mut self) -> Result<Option<Frame<Bytes>>, BoxError> {
        loop {
            if let Some(message) = self.whole_message() {
                let message = self.told(message);
                return self.late(Frame::data(message)).await;
            }
            match self.body.frame().await {
                None if self.pieces.is_empty() => return Ok(None),
                None => return Ok(Some(Frame::data(self.pieces.split().freeze()))),
                Some(Err(error)) => return Err(error.into()),
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => self.pieces.extend_from_slice(&data),
                    Err(trailers) => return self.late(trailers).await,
                },
            }
        }
    }

    /// Holds a frame while answers are held.
    async fn late(&self, frame: Frame<Bytes>) -> Result<Option<Frame<Bytes>>, BoxError> {
        self.faults.pass(Way::Back, Some(&self.method)).await;
        Ok(Some(frame))
    }

    /// A message with its prefix (one flag, four bytes of length), once it is whole.
    fn whole_message(&mut self) -> Option<Bytes> {
        if !self.raw {
            let length = self.pieces.get(1..FRAME_HEADER_LEN)?;
            let length = u32::from_be_bytes(length.try_into().ok()?) as usize;
            self.raw = length > MAX_MESSAGE;
            let whole = FRAME_HEADER_LEN.saturating_add(length);
            if !self.raw {
                return (self.pieces.len() >= whole).then(|| self.pieces.split_to(whole).freeze());
            }
        }
        (!self.pieces.is_empty()).then(|| self.pieces.split().freeze())
    }

    /// The message with the lies that there are about it.
    fn told(&self, message: Bytes) -> Bytes {
        let method = Some(self.method.as_str());
        let (false, Some(output), true) = (self.raw, &self.output, self.faults.tampers(method))
        else {
            return message;
        };
        // A compressed message (flag 1) cannot be looked into.
        let (Some(0), Some(payload)) = (message.first(), message.get(FRAME_HEADER_LEN..)) else {
            return message;
        };
        let Ok(mut parsed) = DynamicMessage::decode(output.clone(), payload) else {
            return message;
        };
        let mut lied = false;
        self.faults.tamper(method, |lie| {
            let path = lie.field.as_deref();
            let told = path.is_some_and(|path| tamper::in_message(&mut parsed, path, &lie.value));
            lied |= told;
            told
        });
        if !lied {
            return message;
        }
        let payload = parsed.encode_to_vec();
        let Ok(length) = u32::try_from(payload.len()) else {
            return message;
        };
        let mut changed = BytesMut::with_capacity(FRAME_HEADER_LEN + payload.len());
        changed.extend_from_slice(&[0]);
        changed.extend_from_slice(&length.to_be_bytes());
        changed.extend_from_slice(&payload);
        changed.freeze()
    }
}
