//! One connection of HTTP/1.1, request by request, whatever the requests say: that is for a [`Talk`].

use std::io;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::faults::{Failure, Faults, Way};
use super::http::{self, Expect, Message};
use super::tcp;

/// What a request says, as far as faults are concerned. The default is a request that was not looked into.
pub(super) trait Talk: Default {
    fn read(request: &Message) -> Self;

    /// Finds out which faults there are for it.
    fn meet(&mut self, faults: &Faults);

    /// Waits as long as it is held up on that way.
    fn travel(&self, way: Way, faults: &Faults) -> impl Future<Output = ()> + Send;

    /// A failure that takes the whole request with it, and whether the server carries it out before.
    fn whole_failure(&self) -> Option<(&Failure, bool)>;

    /// What the server gets; `None`: nothing.
    fn forwarded(&self, request: &Message) -> Option<Bytes>;

    /// What the client gets for `answer`, which is the server's, if that was asked; `None` closes the connection.
    fn answered(&self, answer: Option<Message>, faults: &Faults) -> Option<Answer>;
}

/// What the client gets.
pub(super) struct Answer {
    pub(super) bytes: Bytes,
    pub(super) is_last: bool,
    /// What follows is passed on as it comes.
    is_stream: bool,
}

impl Answer {
    /// One after which the connection goes on.
    pub(super) fn own(bytes: Bytes) -> Self {
        Answer {
            bytes,
            is_last: false,
            is_stream: false,
        }
    }

    /// `answer` with another body.
    pub(super) fn with_body(answer: &Message, body: &[u8]) -> Self {
        Answer {
            bytes: answer.with_body(body),
            is_last: answer.is_last,
            is_stream: false,
        }
    }
}

impl From<Message> for Answer {
    fn from(message: Message) -> Self {
        Answer {
            bytes: message.raw,
            is_last: message.is_last,
            is_stream: message.is_stream,
        }
    }
}

/// Carries one connection, one request after the other, until either side closes it.
pub(super) async fn carry<T: Talk>(
    client: TcpStream,
    target: &str,
    faults: &Faults,
) -> io::Result<()> {
    faults.pass(Way::There, None).await;
    let server = TcpStream::connect(target).await?;
    for socket in [&client, &server] {
        socket.set_nodelay(true)?;
    }
    let (mut client, mut server) = (Side::new(client), Side::new(server));
    loop {
        let request = tokio::select! {
            request = client.message(Expect::Request) => request?,
            // A server closes a connection that is idle; it never speaks first.
            _ = server.more() => return Ok(()),
        };
        let Some(request) = request else {
            return Ok(());
        };
        let answer = exchange::<T>(&request, &mut client, &mut server, faults).await?;
        let Some(answer) = answer else {
            return Ok(());
        };
        client.socket.write_all(&answer.bytes).await?;
        if answer.is_stream {
            return stream(client, server, faults).await;
        }
        if request.is_last || answer.is_last {
            return client.socket.shutdown().await;
        }
    }
}

/// Brings one request to the server and its answer back. `None`: the connection is to be closed.
async fn exchange<T: Talk>(
    request: &Message,
    client: &mut Side,
    server: &mut Side,
    faults: &Faults,
) -> io::Result<Option<Answer>> {
    // Without a fault nothing is parsed on the way there.
    let mut talk = T::default();
    let is_read = !faults.is_quiet();
    if is_read {
        talk = T::read(request);
        talk.meet(faults);
    }
    talk.travel(Way::There, faults).await;
    let whole = talk.whole_failure();
    if let Some((failure, false)) = whole {
        return Ok(refusal(failure));
    }
    let answer = match talk.forwarded(request) {
        Some(bytes) => match ask(&bytes, request, client, server).await? {
            Some(answer) => Some(answer),
            None => return Ok(None),
        },
        None => None,
    };
    if let Some((failure, _)) = whole {
        return Ok(refusal(failure));
    }
    // A fault may have come while the server was at it: what holds answers back holds this one, too.
    if !is_read && !faults.is_quiet() {
        talk = T::read(request);
    }
    talk.travel(Way::Back, faults).await;
    Ok(talk.answered(answer, faults))
}

/// Asks the server; `None` when it or the client closes the connection before the answer is there.
async fn ask(
    bytes: &[u8],
    request: &Message,
    client: &mut Side,
    server: &mut Side,
) -> io::Result<Option<Message>> {
    server.socket.write_all(bytes).await?;
    let to_head = request.is_head_request();
    let gone = async {
        // What a client sends ahead of the answer waits; that it goes away must reach the server.
        while client.more().await? {}
        io::Result::Ok(())
    };
    let mut gone = std::pin::pin!(gone);
    loop {
        let answer = tokio::select! {
            answer = server.message(Expect::Response { to_head }) => answer?,
            ended = gone.as_mut() => return ended.map(|()| None),
        };
        match answer {
            Some(answer) if answer.is_interim() => {}
            answer => return Ok(answer),
        }
    }
}

/// The answer to a request that fails as a whole; `None` closes the connection.
fn refusal(failure: &Failure) -> Option<Answer> {
    match failure {
        Failure::Http(status) => Some(Answer::own(http::response(*status, "text/plain", b""))),
        Failure::Closed | Failure::Error(_) | Failure::Status(..) => None,
    }
}

/// Passes on what comes, both ways, until both have ended.
async fn stream(mut client: Side, mut server: Side, faults: &Faults) -> io::Result<()> {
    client.socket.write_all(&server.buffer).await?;
    server.socket.write_all(&client.buffer).await?;
    tcp::join(client.socket, server.socket, faults).await
}

/// One connection, and what was read from it and not yet used.
struct Side {
    socket: TcpStream,
    buffer: BytesMut,
    ended: bool,
}

impl Side {
    fn new(socket: TcpStream) -> Self {
        Side {
            socket,
            buffer: BytesMut::new(),
            ended: false,
        }
    }

    /// The next message; `None` at the end of the connection. It may be dropped while it waits: nothing is lost.
    async fn message(&mut self, expect: Expect) -> io::Result<Option<Message>> {
        loop {
            let taken = http::take(&mut self.buffer, expect, self.ended);
            if let Some(message) = taken.map_err(io::Error::other)? {
                return Ok(Some(message));
            }
            if self.ended {
                return Ok(None);
            }
            self.more().await?;
        }
    }

    /// Reads some bytes; `false` at the end of the connection.
    async fn more(&mut self) -> io::Result<bool> {
        self.buffer.reserve(16 * 1024);
        self.ended = self.socket.read_buf(&mut self.buffer).await? == 0;
        Ok(!self.ended)
    }
}
