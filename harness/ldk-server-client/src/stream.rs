//! The stream of events that a subscription gives.

use http_body_util::BodyExt;
use hyper::body::Incoming;
use ldk_server_protos::Message;
use ldk_server_protos::endpoints::method;
use ldk_server_protos::events::{Event, EventEnvelope};
use ldk_server_protos::grpc::{self, FrameReader};

use crate::{ClientError, LdkServerClient};

/// Events as they happen. They are hints: a slow reader loses some and none is replayed, so look up the truth with
/// `list_payments` or `list_channels`. Dropping the stream ends the subscription.
#[derive(Debug)]
pub struct EventStream {
    client: LdkServerClient,
    body: Incoming,
    frames: FrameReader,
    ended: bool,
}

impl EventStream {
    pub(crate) fn new(client: LdkServerClient, body: Incoming) -> Self {
        Self {
            client,
            body,
            frames: FrameReader::new(grpc::MAX_STREAM_MESSAGE_LEN),
            ended: false,
        }
    }

    /// The next event; `None` after the server ended the stream without an error. No time limit: the caller has one.
    ///
    /// Dropping the future loses nothing.
    ///
    /// # Errors
    /// A server that stops ends the stream with status 14. After an error there are no more events.
    pub async fn next(&mut self) -> Result<Option<Event>, ClientError> {
        let result = self.advance().await;
        if !matches!(result, Ok(Some(_))) {
            self.ended = true;
        }
        result
    }

    async fn advance(&mut self) -> Result<Option<Event>, ClientError> {
        let method = method::SUBSCRIBE_EVENTS;
        if self.ended {
            return Ok(None);
        }
        loop {
            let frame = self
                .frames
                .next_frame()
                .map_err(|source| self.client.malformed(method, source.into()))?;
            if let Some(payload) = frame {
                let event =
                    EventEnvelope::decode(payload).and_then(|envelope| envelope.decode_event());
                return event
                    .map(Some)
                    .map_err(|source| self.client.malformed(method, source.into()));
            }
            match self.body.frame().await {
                Some(Ok(frame)) => {
                    if let Some(chunk) = frame.data_ref() {
                        self.frames.push(chunk);
                    } else if let Some(status) = frame
                        .trailers_ref()
                        .and_then(|trailers| self.client.status_in(method, trailers))
                    {
                        return status.map(|()| None);
                    }
                }
                Some(Err(source)) => {
                    return Err(ClientError::Transport {
                        method,
                        address: self.client.address().to_owned(),
                        doing: "reading the event stream",
                        source: source.into(),
                    });
                }
                None => {
                    self.frames
                        .finish()
                        .map_err(|source| self.client.malformed(method, source.into()))?;
                    return Err(self
                        .client
                        .malformed(method, "the event stream ended without a status".into()));
                }
            }
        }
    }
}
