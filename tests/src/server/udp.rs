//! Servers that send datagrams back with their name in front.

use std::io::ErrorKind;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rustix::net::sockopt;

use crate::{Context, Netns, Result};

/// A UDP server: each datagram is answered by the length of its name in a byte, its name, and what it was sent. Stopped
/// on drop.
#[derive(Debug)]
pub struct UdpServer {
    name: String,
    stop: Arc<AtomicBool>,
    received: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

/// Room for bursts: more than clients have under way at a time.
const BUFFER: usize = 4 << 20;

impl UdpServer {
    /// Starts a server on an address of the namespace. Datagrams are received from when this returns.
    ///
    /// # Errors
    /// When the address cannot be bound.
    pub fn start(netns: &Netns, name: &str, address: impl Into<SocketAddr>) -> Result<UdpServer> {
        let address = address.into();
        let socket = netns
            .run(|| {
                let socket = UdpSocket::bind(address)?;
                sockopt::set_socket_recv_buffer_size_force(&socket, BUFFER)?;
                // How often it looks whether it is to stop.
                socket.set_read_timeout(Some(Duration::from_millis(50)))?;
                Ok::<_, std::io::Error>(socket)
            })
            .context(|| format!("server {name} cannot receive on udp:{address}"))?;
        let (stop, received) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
        let thread = thread::Builder::new()
            .name(format!("udp {name}"))
            .spawn({
                let (name, stop, received) = (name.to_owned(), stop.clone(), received.clone());
                move || echo(&socket, &name, &stop, &received)
            })
            .context(|| format!("start server {name}"))?;
        Ok(UdpServer {
            name: name.to_owned(),
            stop,
            received,
            thread: Some(thread),
        })
    }

    /// The name that it gives.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Datagrams received so far.
    pub fn received(&self) -> u64 {
        self.received.load(Ordering::SeqCst)
    }
}

impl Drop for UdpServer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn echo(socket: &UdpSocket, name: &str, stop: &AtomicBool, received: &AtomicU64) {
    let mut buffer = vec![0u8; 1 << 16];
    let front = 1 + name.len();
    buffer[0] = name.len() as u8;
    buffer[1..front].copy_from_slice(name.as_bytes());
    while !stop.load(Ordering::SeqCst) {
        match socket.recv_from(&mut buffer[front..]) {
            Ok((length, peer)) => {
                received.fetch_add(1, Ordering::SeqCst);
                // A client that has gone is his own matter.
                let _ = socket.send_to(&buffer[..front + length], peer);
            }
            // A timeout, or what an earlier answer met.
            Err(error) if is_passing(error.kind()) => {}
            Err(error) => {
                eprintln!("UDP server {name}: {error}");
                return;
            }
        }
    }
}

fn is_passing(kind: ErrorKind) -> bool {
    use ErrorKind::{ConnectionRefused, HostUnreachable, Interrupted, TimedOut, WouldBlock};
    matches!(
        kind,
        WouldBlock | TimedOut | Interrupted | ConnectionRefused | HostUnreachable
    )
}
