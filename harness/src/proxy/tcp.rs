//! The proxy for plain bytes. It delays, holds and closes; it does not look into what passes.

use std::io;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::mpsc;

use super::faults::{Faults, Way};
use crate::time::Deadline;

/// Pieces of a stream that are under way in one direction. When they are held, the kernel's own buffers fill up behind
/// them and the sender notices as it would on a cut cable.
const UNDER_WAY: usize = 64;
/// Bytes in a piece at most.
const PIECE: usize = 16 * 1024;

/// Carries one connection until both directions have ended.
///
/// While the link is partitioned, the target is not connected to: a new connection is accepted and hears nothing.
pub(super) async fn carry(client: TcpStream, target: &str, faults: &Faults) -> io::Result<()> {
    faults.pass(Way::There, None).await;
    let server = TcpStream::connect(target).await?;
    for socket in [&client, &server] {
        socket.set_nodelay(true)?;
    }
    join(client, server, faults).await
}

/// Carries what comes from either until both have ended.
pub(super) async fn join(client: TcpStream, server: TcpStream, faults: &Faults) -> io::Result<()> {
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    tokio::try_join!(
        pump(from_client, to_server, faults, Way::There),
        pump(from_server, to_client, faults, Way::Back),
    )?;
    Ok(())
}

/// Carries one direction to its end. A delay holds up each piece for its own time and keeps their order.
async fn pump(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    faults: &Faults,
    way: Way,
) -> io::Result<()> {
    let (sender, mut pieces) = mpsc::channel::<(Deadline, Bytes)>(UNDER_WAY);
    let read = async move {
        let mut buffer = BytesMut::new();
        loop {
            buffer.reserve(PIECE);
            if from.read_buf(&mut buffer).await? == 0 {
                return Ok(());
            }
            let due = Deadline::after(faults.delay(way));
            if sender.send((due, buffer.split().freeze())).await.is_err() {
                return Ok(());
            }
        }
    };
    let write = async move {
        while let Some((due, piece)) = pieces.recv().await {
            due.reach().await;
            faults.pass(way, None).await;
            to.write_all(&piece).await?;
        }
        // The end of a stream is news, too, and waits as the bytes before it did.
        faults.pass(way, None).await;
        to.shutdown().await
    };
    tokio::try_join!(read, write).map(|((), ())| ())
}
