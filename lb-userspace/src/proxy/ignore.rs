//! A listener that does not answer: the first packet of a connection is dropped as if it had been lost, so that its sender
//! repeats it after a second. Until then the address is another host's, and that one answers.

use std::{io, net::TcpListener, rc::Rc};

use socket2::{SockFilter, SockRef};

/// Classic BPF (`linux/filter.h`): what the kernel has of a segment for a TCP socket begins with its TCP header.
const LOAD_BYTE: u16 = 0x30;
const AND: u16 = 0x54;
const JUMP_EQUAL: u16 = 0x15;
const RETURN: u16 = 0x06;
/// Where the flags are; SYN and ACK among them.
const FLAGS: u32 = 13;
const SYN: u32 = 0x02;
const ACK: u32 = 0x10;

/// Has `listener` answer again. A socket that others hold too, as a service manager does those that it passes on, keeps its
/// filter beyond the process that has given it one.
pub(super) fn nobody(listener: &TcpListener) {
    // An error means that there is none.
    let _ = SockRef::from(listener).detach_filter();
}

/// A listener that ignores newcomers for as long as this is there.
#[derive(Debug)]
pub(super) struct Ignoring(Rc<TcpListener>);

impl Ignoring {
    /// See [`newcomers`].
    ///
    /// # Errors
    /// As there.
    pub(super) fn begin(listener: &Rc<TcpListener>) -> io::Result<Self> {
        newcomers(listener)?;
        Ok(Self(Rc::clone(listener)))
    }
}

impl Drop for Ignoring {
    fn drop(&mut self) {
        nobody(&self.0);
    }
}

/// Drops what wants to open a connection. Handshakes that are under way go on; connections that are accepted later have the
/// same filter, which nothing of theirs meets.
///
/// # Errors
/// The kernel refuses, or the listener is no TCP socket's, in which case there is nothing to drop.
fn newcomers(listener: &TcpListener) -> io::Result<()> {
    SockRef::from(listener).attach_filter(&[
        SockFilter::new(LOAD_BYTE, 0, 0, FLAGS),
        SockFilter::new(AND, 0, 0, SYN | ACK),
        SockFilter::new(JUMP_EQUAL, 0, 1, SYN),
        SockFilter::new(RETURN, 0, 0, 0),
        SockFilter::new(RETURN, 0, 0, u32::MAX),
    ])
}

#[cfg(test)]
mod tests {
    use std::{
        io::{ErrorKind, Read, Write},
        net::TcpStream,
        time::Duration,
    };

    use super::*;

    #[test]
    fn newcomers_hear_nothing_and_others_notice_nothing() {
        for any in ["127.0.0.1:0", "[::1]:0"] {
            let Ok(listener) = TcpListener::bind(any) else {
                continue;
            };
            let address = listener.local_addr().unwrap();
            let mut before = TcpStream::connect(address).unwrap();
            let mut waiting = TcpStream::connect(address).unwrap();
            let (mut accepted, _) = listener.accept().unwrap();
            newcomers(&listener).unwrap();
            let error =
                TcpStream::connect_timeout(&address, Duration::from_millis(200)).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::TimedOut, "{any}");
            let (mut late, _) = listener.accept().unwrap();
            for (one, other) in [(&mut before, &mut accepted), (&mut waiting, &mut late)] {
                one.write_all(b"hello").unwrap();
                let mut heard = [0; 5];
                other.read_exact(&mut heard).unwrap();
            }
        }
    }
}
