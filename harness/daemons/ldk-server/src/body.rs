//! The bodies of gRPC responses, and the responses around them.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Body, Frame};
use hyper::header::{HeaderMap, HeaderValue};
use hyper::{Response, StatusCode};
use ldk_server_protos::grpc::{self, Code, Status};
use tokio::sync::mpsc;

/// A stream's next frame, or the status that ends it.
pub(crate) type StreamItem = Result<Bytes, Status>;

/// The body of a response.
#[derive(Debug)]
pub(crate) enum ResponseBody {
    /// Nothing; the status is in the headers.
    Empty,
    /// Not gRPC.
    Plain(Option<Bytes>),
    /// One frame, then the status OK in trailers.
    Unary(Option<Bytes>),
    /// Only the trailers are left.
    Trailers,
    /// Frames until the sender is gone or sends a status.
    Stream(mpsc::Receiver<StreamItem>),
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let (frame, rest) = match &mut *self {
            Self::Empty => return Poll::Ready(None),
            Self::Plain(data) => (data.take().map(Frame::data), Self::Empty),
            Self::Unary(data) => (data.take().map(Frame::data), Self::Trailers),
            Self::Trailers => (Some(Frame::trailers(ok_trailers())), Self::Empty),
            Self::Stream(items) => match items.poll_recv(context) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Some(Ok(frame))) => return Poll::Ready(Some(Ok(Frame::data(frame)))),
                Poll::Ready(Some(Err(status))) => {
                    (Some(Frame::trailers(status_headers(&status))), Self::Empty)
                }
                Poll::Ready(None) => (Some(Frame::trailers(ok_trailers())), Self::Empty),
            },
        };
        *self = rest;
        Poll::Ready(frame.map(Ok))
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Self::Empty)
    }
}

/// The answer to a call that succeeded.
pub(crate) fn unary(frame: Bytes) -> Response<ResponseBody> {
    with_headers(ResponseBody::Unary(Some(frame)), HeaderMap::new())
}

/// The answer to a subscription.
pub(crate) fn stream(items: mpsc::Receiver<StreamItem>) -> Response<ResponseBody> {
    with_headers(ResponseBody::Stream(items), HeaderMap::new())
}

/// The answer to a call that failed: headers only, as gRPC wants it when there is no body.
pub(crate) fn failure(status: &Status) -> Response<ResponseBody> {
    with_headers(ResponseBody::Empty, status_headers(status))
}

/// An answer to a request that is not gRPC.
pub(crate) fn plain(status: StatusCode, text: &'static str) -> Response<ResponseBody> {
    let mut response = Response::new(ResponseBody::Plain(Some(Bytes::from_static(
        text.as_bytes(),
    ))));
    *response.status_mut() = status;
    response
}

fn with_headers(body: ResponseBody, headers: HeaderMap) -> Response<ResponseBody> {
    let mut response = Response::new(body);
    *response.headers_mut() = headers;
    response
        .headers_mut()
        .insert("content-type", HeaderValue::from_static(grpc::CONTENT_TYPE));
    response
        .headers_mut()
        .insert("grpc-accept-encoding", HeaderValue::from_static("identity"));
    response
}

fn ok_trailers() -> HeaderMap {
    status_headers(&Status::new(Code::Ok, ""))
}

fn status_headers(status: &Status) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(
        "grpc-status",
        HeaderValue::from(u16::from(status.code.as_u8())),
    );
    if let Some(message) = status.encoded_message() {
        headers.insert(
            "grpc-message",
            HeaderValue::from_str(&message).expect("percent-encoded text is printable"),
        );
    }
    headers
}
