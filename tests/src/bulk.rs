//! Bulk transfers whose content is checked byte by byte at both ends.
//!
//! The content is a pattern of a prime length, repeated: a segment that is lost, doubled or displaced does not fit into
//! its place. A client sends a length, then as many bytes; the server checks them, answers `NAME ok` or `NAME wrong` and
//! sends as many bytes back, which the client checks.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::netns::NetnsHandle;
use crate::server::listener;
use crate::{Context, Netns, Result, client};

/// How many bytes the pattern has before it repeats: a prime, no multiple of any segment's size.
const PERIOD: usize = 65_521;

/// A transfer that does not move on for so long has failed.
const STALL: Duration = Duration::from_secs(10);

/// Bytes of which any piece is the content from any place on.
#[derive(Debug)]
pub(crate) struct Pattern(Vec<u8>);

impl Pattern {
    pub(crate) fn new() -> Pattern {
        // xorshift (Marsaglia 2003): anything without structure will do, as long as both ends have it.
        let mut state = 0x2545_f491_4f6c_dd1d_u64;
        let period = (0..PERIOD).map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state as u8
        });
        let mut bytes: Vec<u8> = period.collect();
        bytes.extend_from_within(..);
        Pattern(bytes)
    }

    /// The content at a place, at most a whole period of it.
    pub(crate) fn at(&self, place: u64, length: usize) -> &[u8] {
        let start = (place % PERIOD as u64) as usize;
        &self.0[start..start + length.min(PERIOD)]
    }

    fn send(&self, stream: &mut TcpStream, length: u64) -> io::Result<()> {
        let mut place = 0;
        while place < length {
            let piece = self.at(place, (length - place).min(PERIOD as u64) as usize);
            stream.write_all(piece)?;
            place += piece.len() as u64;
        }
        Ok(())
    }

    /// Reads that much; whether it was the content.
    fn expect(&self, stream: &mut impl Read, length: u64) -> io::Result<bool> {
        let mut buffer = vec![0u8; PERIOD];
        let (mut place, mut right) = (0, true);
        while place < length {
            let room = (length - place).min(PERIOD as u64) as usize;
            match stream.read(&mut buffer[..room])? {
                0 => {
                    return Err(io::Error::other(format!(
                        "closed after {place} of {length} bytes"
                    )));
                }
                got => {
                    right &= buffer[..got] == *self.at(place, got);
                    place += got as u64;
                }
            }
        }
        Ok(right)
    }
}

/// A server of bulk transfers; stopped on drop.
#[derive(Debug)]
pub struct Bulk {
    name: String,
    address: SocketAddr,
    namespace: NetnsHandle,
    stop: Arc<AtomicBool>,
    served: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

impl Bulk {
    /// Starts a server on an address of the namespace. It listens when this returns.
    ///
    /// # Errors
    /// When the address cannot be bound.
    pub fn start(netns: &Netns, name: &str, address: impl Into<SocketAddr>) -> Result<Bulk> {
        let address = address.into();
        let listener = netns
            .run(|| listener(address))
            .context(|| format!("server {name} cannot listen on {address}"))?;
        listener
            .set_nonblocking(false)
            .context(|| "make a listener wait")?;
        let (stop, served) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
        let thread = thread::Builder::new()
            .name(format!("bulk {name}"))
            .spawn({
                let (name, stop, served) = (name.to_owned(), stop.clone(), served.clone());
                move || accept(&listener, &name, &stop, &served)
            })
            .context(|| format!("start server {name}"))?;
        Ok(Bulk {
            name: name.to_owned(),
            address,
            namespace: netns.handle(),
            stop,
            served,
            thread: Some(thread),
        })
    }

    /// The name that it gives.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Transfers completed.
    pub fn served(&self) -> u64 {
        self.served.load(Ordering::SeqCst)
    }
}

impl Drop for Bulk {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        // What it waits for is a connection.
        let (namespace, address) = (self.namespace.clone(), self.address);
        let woken = thread::spawn(move || {
            let _inside = namespace.enter();
            let _ = TcpStream::connect_timeout(&address, STALL);
        });
        let _ = woken.join();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn accept(listener: &TcpListener, name: &str, stop: &Arc<AtomicBool>, served: &Arc<AtomicU64>) {
    let pattern = Arc::new(Pattern::new());
    while let Ok((stream, _)) = listener.accept() {
        if stop.load(Ordering::SeqCst) {
            return;
        }
        let (pattern, name, served) = (pattern.clone(), name.to_owned(), served.clone());
        // A transfer ends by itself: it stalls for a while at most.
        thread::spawn(move || {
            if serve(stream, &name, &pattern).is_ok() {
                served.fetch_add(1, Ordering::SeqCst);
            }
        });
    }
}

fn serve(mut stream: TcpStream, name: &str, pattern: &Pattern) -> io::Result<()> {
    stream.set_read_timeout(Some(STALL))?;
    stream.set_write_timeout(Some(STALL))?;
    let mut length = [0; 8];
    stream.read_exact(&mut length)?;
    let length = u64::from_be_bytes(length);
    let verdict = if pattern.expect(&mut stream, length)? {
        "ok"
    } else {
        "wrong"
    };
    stream.write_all(format!("{name} {verdict}\n").as_bytes())?;
    pattern.send(&mut stream, length)?;
    // The client closes first, having read all.
    let _ = stream.read(&mut [0]);
    Ok(())
}

/// Sends `length` bytes to a [`Bulk`] server and gets as many back; gives the server's name.
///
/// # Errors
/// When the connection fails or stalls, or any byte arrives changed at either end.
pub fn transfer(
    netns: &Netns,
    target: SocketAddr,
    source: Option<IpAddr>,
    length: u64,
) -> Result<String> {
    let stream = client::connect(netns, target, source)?;
    exchange(stream, length).context(|| format!("a transfer of {length} bytes with {target}"))
}

/// [`transfer`] over a connection that is there.
///
/// # Errors
/// As there.
pub fn exchange(mut stream: TcpStream, length: u64) -> io::Result<String> {
    let pattern = Pattern::new();
    stream.set_read_timeout(Some(STALL))?;
    stream.set_write_timeout(Some(STALL))?;
    stream.write_all(&length.to_be_bytes())?;
    pattern.send(&mut stream, length)?;
    let mut reader = BufReader::with_capacity(PERIOD, stream);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let Some(name) = line.strip_suffix(" ok\n") else {
        return Err(io::Error::other(format!("the server says {line:?}")));
    };
    if pattern.expect(&mut reader, length)? {
        Ok(name.to_owned())
    } else {
        Err(io::Error::other("other bytes came back"))
    }
}
