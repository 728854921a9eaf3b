//! Server-sent events, as a client reads them.

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use swaprig_harness::time::Deadline;
use swaprig_proto::loops::{Loop, UPDATE};

use super::{RestClient, RestError, Wire};

/// The largest event of a stream.
const MOST_EVENT: usize = 64 << 10;

/// A stream of updates. It ends when the loop is final, or when the server stops: then ask again.
#[derive(Debug)]
pub struct Updates {
    client: RestClient,
    body: Incoming,
    read: Events,
    _wire: Wire,
}

impl Updates {
    pub(super) fn new(client: RestClient, body: Incoming, wire: Wire) -> Self {
        Updates {
            client,
            body,
            read: Events::default(),
            _wire: wire,
        }
    }

    /// The next one; `None` when the stream has ended.
    ///
    /// # Errors
    ///
    /// When there is none before the deadline (the stream goes on then), when the connection broke, or when what came cannot
    /// be read.
    pub async fn next(&mut self, deadline: Deadline) -> Result<Option<Loop>, RestError> {
        loop {
            while let Some(event) = self.read.next() {
                // Others may come one day.
                if event.name == UPDATE {
                    let read = serde_json::from_str(&event.data);
                    return read
                        .map(Some)
                        .map_err(|error| self.client.unreadable(error.to_string()));
                }
            }
            let frame = deadline.bound(self.body.frame()).await;
            match frame.ok_or_else(|| self.client.timed_out())? {
                None => return Ok(None),
                Some(Err(error)) => return Err(self.client.unreachable(error)),
                Some(Ok(frame)) => self.read.push(frame.data_ref().unwrap_or(&Bytes::new())),
            }
            if self.read.line.len() + self.read.event.data.len() > MOST_EVENT {
                let reason = format!("an event of more than {MOST_EVENT} bytes");
                return Err(self.client.unreadable(reason));
            }
        }
    }
}

#[derive(Debug, Default, Clone, PartialEq, Eq)]
struct Event {
    name: String,
    data: String,
}

/// Reads an event stream (HTML Living Standard, section 9.2) from pieces of any size.
#[derive(Debug, Default)]
struct Events {
    /// What came and is not read.
    line: BytesMut,
    /// The event whose lines are being read.
    event: Event,
}

impl Events {
    fn push(&mut self, bytes: &[u8]) {
        self.line.extend_from_slice(bytes);
    }

    fn next(&mut self) -> Option<Event> {
        while let Some(end) = self.line.iter().position(|byte| *byte == b'\n') {
            let line = self.line.split_to(end + 1);
            let line = String::from_utf8_lossy(line.trim_ascii_end()).into_owned();
            if line.is_empty() {
                let event = std::mem::take(&mut self.event);
                match event.data.is_empty() {
                    // Nothing but comments or a name.
                    true => continue,
                    false => return Some(event),
                }
            }
            let (field, value) = line.split_once(':').unwrap_or((&line, ""));
            let value = value.strip_prefix(' ').unwrap_or(value);
            match field {
                "event" => self.event.name = value.to_owned(),
                "data" => {
                    if !self.event.data.is_empty() {
                        self.event.data.push('\n');
                    }
                    self.event.data.push_str(value);
                }
                // A comment, or what this stream has no use for.
                _ => {}
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn events_are_read_from_pieces_of_any_size(
            events in prop::collection::vec(("[a-z]{1,8}", "[ -~]{1,40}[!-~]"), 0..6),
            cuts in prop::collection::vec(1..20_usize, 1..200),
            crlf in any::<bool>(),
        ) {
            let end = if crlf { "\r\n" } else { "\n" };
            let mut text = String::new();
            for (name, data) in &events {
                text += &format!(": still there{end}{end}event: {name}{end}data: {data}{end}{end}");
            }
            let mut read = Events::default();
            let mut seen = Vec::new();
            let mut left = text.as_bytes();
            let mut cuts = cuts.into_iter().cycle();
            while !left.is_empty() {
                let (now, later) = left.split_at(cuts.next().unwrap().min(left.len()));
                read.push(now);
                left = later;
                seen.extend(std::iter::from_fn(|| read.next()));
            }
            let wanted: Vec<Event> = events.into_iter().map(|(name, data)| Event { name, data }).collect();
            prop_assert_eq!(seen, wanted);
        }

        #[test]
        fn any_bytes_are_read_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let mut read = Events::default();
            read.push(&bytes);
            while read.next().is_some() {}
        }
    }
}
