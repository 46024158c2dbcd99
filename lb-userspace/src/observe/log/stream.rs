//! A syslog server behind a TCP connection: lines one after the other. Nothing here waits: what the server does not take
//! is kept, up to a bound, and what exceeds that is refused.

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
    time::{Duration, Instant},
};

use socket2::{Domain, Protocol, Socket, Type};

/// What may wait for the server.
const MOST: usize = 1024 * 1024;
/// A server that could not be reached is tried again after this time.
const PAUSE: Duration = Duration::from_secs(1);

/// The connection, and what has yet to be sent.
#[derive(Debug)]
pub(super) struct Stream {
    to: SocketAddr,
    socket: Option<TcpStream>,
    /// Not before this.
    again: Option<Instant>,
    waiting: Vec<u8>,
    /// How much of a line that is under way was sent: a new connection begins with a whole one.
    begun: usize,
}

impl Stream {
    pub(super) fn new(to: SocketAddr) -> Self {
        Self {
            to,
            socket: None,
            again: None,
            waiting: Vec::new(),
            begun: 0,
        }
    }

    /// Sends a line, or keeps it.
    pub(super) fn send(&mut self, line: &[u8]) -> io::Result<()> {
        if self.waiting.len() + line.len() > MOST {
            self.flush();
        }
        if self.waiting.len() + line.len() > MOST {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        self.waiting.extend_from_slice(line);
        Ok(())
    }

    /// Sends what the server takes; whether something is left.
    pub(super) fn flush(&mut self) -> bool {
        let mut sent = 0;
        while sent < self.waiting.len() {
            let Some(socket) = self.socket.as_mut() else {
                if self.connect() {
                    continue;
                }
                break;
            };
            // Nobody speaks there: whatever is read is the end.
            let ended = matches!(socket.read(&mut [0; 64]), Ok(0));
            match socket.write(&self.waiting[sent..]) {
                Ok(n) if n > 0 && !ended => {
                    let lines = &self.waiting[sent..sent + n];
                    self.begun = match lines.iter().rposition(|&byte| byte == b'\n') {
                        Some(end) => n - end - 1,
                        None => self.begun + n,
                    };
                    sent += n;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                _ => {
                    self.waiting.drain(..sent);
                    sent = 0;
                    self.lose();
                }
            }
        }
        self.waiting.drain(..sent);
        !self.waiting.is_empty()
    }

    /// Connects anew if it is time for that; whether there is a connection, which may still be under way.
    fn connect(&mut self) -> bool {
        let now = Instant::now();
        if self.again.is_some_and(|again| now < again) {
            return false;
        }
        self.again = Some(now + PAUSE);
        self.socket = connect(self.to).ok();
        self.socket.is_some()
    }

    /// The connection is gone, and with it the rest of a line that had begun.
    fn lose(&mut self) {
        self.socket = None;
        if std::mem::take(&mut self.begun) > 0 {
            let end = self.waiting.iter().position(|&byte| byte == b'\n');
            let end = end.map_or(self.waiting.len(), |end| end + 1);
            self.waiting.drain(..end);
        }
    }
}

fn connect(to: SocketAddr) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::for_address(to), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    match socket.connect(&to.into()) {
        Err(error) if error.raw_os_error() != Some(libc::EINPROGRESS) => Err(error),
        _ => Ok(socket.into()),
    }
}
