//! The listener, its connections and their limits.
//!
//! A connection holds no queue. What its client has not read yet is bounded: beyond [`MUCH_UNREAD`] bytes no more of its
//! requests are read and nothing is pushed to it (a push says what is, not what was, so nothing is lost), and when it
//! reads nothing for [`STALLED`], the connection is closed.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use log::debug;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::protocol::{Server, Session};

/// Connections at a time; a further one is closed at once.
const MAX_CONNECTIONS: usize = 128;
/// Bytes of one line at most. The hexadecimal digits of a transaction as large as nodes relay are two fifths of it.
const MAX_LINE: usize = 2 * 1024 * 1024;
/// Bytes of answers that wait for a client to read them, before its next request waits, too.
const MUCH_UNREAD: usize = 4 * 1024 * 1024;
/// How long a client may read nothing of what there is for it.
const STALLED: Duration = Duration::from_secs(20);

/// Serves until `is_stopping` becomes true.
pub(crate) async fn serve(
    listener: TcpListener,
    server: Arc<Server>,
    mut is_stopping: watch::Receiver<bool>,
) {
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            _ = is_stopping.wait_for(|stopping| *stopping) => return,
            // Forgets connections that have ended.
            Some(_) = connections.join_next(), if !connections.is_empty() => continue,
            accepted = listener.accept() => accepted,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            // A client that went away again, or no free descriptor: either way the next one may succeed.
            Err(error) => {
                debug!("Cannot accept a connection: {error}");
                tokio::task::yield_now().await;
                continue;
            }
        };
        let Ok(place) = places.clone().try_acquire_owned() else {
            debug!("There are {MAX_CONNECTIONS} connections: a further one is closed");
            continue;
        };
        let server = server.clone();
        connections.spawn(async move {
            let _place = place;
            let carried = Connection::new(stream, server).carry().await;
            if let Err(error) = carried {
                debug!("A connection ended: {error}");
            }
        });
    }
}

struct Connection {
    stream: TcpStream,
    session: Session,
    changes: watch::Receiver<u64>,
    input: BytesMut,
    /// How much of the input is known to hold no end of a line.
    scanned: usize,
    out: BytesMut,
    /// The client has said all it will say.
    has_ended: bool,
}

impl Connection {
    fn new(stream: TcpStream, server: Arc<Server>) -> Self {
        Connection {
            stream,
            changes: server.shared.version.subscribe(),
            session: Session::new(server),
            input: BytesMut::new(),
            scanned: 0,
            out: BytesMut::new(),
            has_ended: false,
        }
    }

    /// Carries the connection to its end.
    async fn carry(mut self) -> std::io::Result<()> {
        self.stream.set_nodelay(true)?;
        let mut stalled = Instant::now() + STALLED;
        loop {
            self.answer_lines().await?;
            let is_done = self.session.is_over() || self.has_ended;
            if is_done && self.out.is_empty() {
                return self.stream.shutdown().await;
            }
            let has_room = self.out.len() < MUCH_UNREAD && !is_done;
            let (mut reader, mut writer) = self.stream.split();
            if self.input.capacity() - self.input.len() < 1024 {
                self.input.reserve(16 * 1024);
            }
            tokio::select! {
                read = reader.read_buf(&mut self.input), if has_room => {
                    self.has_ended = read? == 0;
                }
                written = writer.write_buf(&mut self.out), if !self.out.is_empty() => {
                    written?;
                    stalled = Instant::now() + STALLED;
                }
                changed = self.changes.changed(), if has_room && self.session.is_subscribed() => {
                    changed.map_err(std::io::Error::other)?;
                    self.changes.mark_unchanged();
                    self.session.notify(&mut self.out);
                }
                () = until(stalled), if !self.out.is_empty() => {
                    return Err(std::io::Error::other("its client reads nothing"));
                }
            }
            if self.out.is_empty() {
                stalled = Instant::now() + STALLED;
                // A large answer is not kept for the next one.
                self.out = BytesMut::new();
            }
        }
    }

    /// Answers the whole lines of the input, as long as the client reads the answers.
    async fn answer_lines(&mut self) -> std::io::Result<()> {
        let was_empty = self.out.is_empty();
        while self.out.len() < MUCH_UNREAD && !self.session.is_over() {
            let Some(line) = self.line()? else { break };
            self.session.line(&line, &mut self.out).await;
            // A client with many requests is not the only one.
            tokio::task::yield_now().await;
        }
        if was_empty && !self.out.is_empty() {
            // Most answers fit into the socket at once.
            let _ = self
                .stream
                .try_write(&self.out)
                .map(|n| self.out.split_to(n));
        }
        Ok(())
    }

    /// The next whole line.
    fn line(&mut self) -> std::io::Result<Option<Bytes>> {
        let found = self.input[self.scanned..]
            .iter()
            .position(|byte| *byte == b'\n');
        let Some(at) = found else {
            self.scanned = self.input.len();
            if self.scanned > MAX_LINE {
                return Err(std::io::Error::other("a line is too long"));
            }
            return Ok(None);
        };
        let line = self.input.split_to(self.scanned + at + 1).freeze();
        self.scanned = 0;
        Ok(Some(line))
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "a daemon is no test: a client that does not read has nobody's deadline"
)]
async fn until(at: Instant) {
    tokio::time::sleep_until(at).await;
}
