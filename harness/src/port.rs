//! TCP ports, claimed across processes: two worlds never pick the same one, in one process or in several.
//!
//! A claim is an exclusive lock on a file named after the port, held for as long as the claim lives; the kernel
//! releases it when the process dies. Ports lie below the range from which the kernel picks ports for outgoing
//! connections, and are verified by binding. A stranger may still take a port between the claim and the daemon's own
//! bind; the drivers notice that and try again with fresh ports.

use std::fs::{File, OpenOptions};
use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::net::{AddressFamily, SocketType, bind, socket};

/// First port of the range. Below it live the well-known ports and the defaults of most development servers.
const FIRST: u16 = 20_000;
/// Last port, when the kernel does not tell where its ephemeral range begins (Linux: 32768 by default).
const LAST: u16 = 32_000;

/// A TCP port on the loopback interface that no other claimant of this user uses while the value lives.
#[derive(Debug)]
pub struct PortClaim {
    port: u16,
    _lock: File,
}

/// Why no port could be claimed.
#[derive(Debug, thiserror::Error)]
pub enum PortError {
    /// The directory of the lock files cannot be used.
    #[error("could not lock ports in {}: {source}; set TMPDIR to a writable directory", dir.display())]
    Locks { dir: PathBuf, source: io::Error },
    /// Every port of the range is taken.
    #[error("all ports from {FIRST} to {last} are taken; `swaprig doctor` lists leftovers")]
    Exhausted { last: u16 },
}

impl PortClaim {
    /// Claims a free port.
    ///
    /// # Errors
    /// When the lock files cannot be written or every port of the range is taken.
    pub fn new() -> Result<Self, PortError> {
        let dir = lock_dir();
        std::fs::create_dir_all(&dir).map_err(|source| PortError::Locks {
            dir: dir.clone(),
            source,
        })?;
        let last = last_port();
        let count = u32::from(last - FIRST) + 1;
        // Each process begins elsewhere and goes on from its last claim, so that a port rests before it is used again.
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let start = std::process::id().wrapping_mul(37);
        for _ in 0..count {
            let offset = start.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)) % count;
            let port = FIRST + u16::try_from(offset).expect("count fits in the port range");
            if let Some(claim) = try_claim(&dir, port)? {
                return Ok(claim);
            }
        }
        Err(PortError::Exhausted { last })
    }

    /// The port number.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// `127.0.0.1:PORT`, as daemons' settings want it.
    pub fn address(&self) -> String {
        format!("{}:{}", Ipv4Addr::LOCALHOST, self.port)
    }
}

fn try_claim(dir: &std::path::Path, port: u16) -> Result<Option<PortClaim>, PortError> {
    let path = dir.join(format!("{port}.lock"));
    let locks = |source| PortError::Locks {
        dir: dir.to_owned(),
        source,
    };
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .map_err(locks)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(std::fs::TryLockError::WouldBlock) => return Ok(None),
        Err(std::fs::TryLockError::Error(source)) => return Err(locks(source)),
    }
    // Whoever listens there without a claim is left alone.
    if !is_free(port) {
        return Ok(None);
    }
    Ok(Some(PortClaim { port, _lock: file }))
}

/// Whether any program could listen on the port. Asked without SO_REUSEADDR, which std sets: a port on which connections have
/// just ended is refused to programs that do not set it either (Blockstream's electrs), for a minute.
fn is_free(port: u16) -> bool {
    let socket = socket(AddressFamily::INET, SocketType::STREAM, None);
    socket.is_ok_and(|socket| bind(&socket, &SocketAddrV4::new(Ipv4Addr::LOCALHOST, port)).is_ok())
}

/// One directory a user: another user's lock files could not be opened for writing.
fn lock_dir() -> PathBuf {
    let user = rustix::process::getuid().as_raw();
    std::env::temp_dir().join(format!("swaprig-ports-{user}"))
}

/// The last port below the ephemeral range, where Linux tells it.
fn last_port() -> u16 {
    std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range")
        .ok()
        .and_then(|range| range.split_whitespace().next()?.parse::<u16>().ok())
        .map(|first_ephemeral| first_ephemeral.saturating_sub(1))
        .filter(|last| *last > FIRST + 500)
        .unwrap_or(LAST)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read as _;
    use std::net::{TcpListener, TcpStream};

    #[test]
    fn claims_differ_and_are_released() {
        let claims: Vec<_> = (0..50).map(|_| PortClaim::new().unwrap()).collect();
        let mut ports: Vec<_> = claims.iter().map(PortClaim::port).collect();
        ports.sort_unstable();
        ports.dedup();
        assert_eq!(ports.len(), 50);
        let dir = lock_dir();
        let held = claims[0].port();
        assert!(try_claim(&dir, held).unwrap().is_none());
        drop(claims);
        assert!(try_claim(&dir, held).unwrap().is_some());
    }

    #[test]
    fn a_port_that_somebody_listens_on_is_passed_over() {
        let claim = PortClaim::new().unwrap();
        let port = claim.port();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).unwrap();
        drop(claim);
        assert!(try_claim(&lock_dir(), port).unwrap().is_none());
        drop(listener);
    }

    #[test]
    fn a_port_on_which_a_connection_has_just_ended_rests() {
        let claim = PortClaim::new().unwrap();
        let port = claim.port();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).unwrap();
        let mut client = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
        // The side that ends a connection first keeps its port for a minute.
        drop(listener.accept().unwrap());
        assert_eq!(client.read(&mut [0]).unwrap(), 0);
        drop((client, listener, claim));
        assert!(try_claim(&lock_dir(), port).unwrap().is_none());
        // Other programs do not mind, which is why std does not tell.
        TcpListener::bind((Ipv4Addr::LOCALHOST, port)).unwrap();
    }
}
