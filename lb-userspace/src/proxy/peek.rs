//! Looking at what a client has sent without taking it: who comes after finds the connection as it was.

use std::io;

use rustix::net::RecvFlags;
use tokio::io::Interest;

use crate::wire::Socket;

/// What somebody who looks makes of the bytes so far.
#[derive(Debug)]
pub(super) enum Looked<T> {
    /// They were enough.
    Enough(T),
    /// So many are needed at least.
    Wants(usize),
}

/// How looking ended.
#[derive(Debug)]
pub(super) enum Peeked<T> {
    /// `look` has seen enough.
    Enough(T),
    /// No more than this many bytes will come.
    Ended(usize),
}

/// Shows `look` the first bytes of a connection, more of them each time that more have come. `most` bound what it may
/// want.
pub(super) async fn peek<T>(
    stream: &Socket,
    most: usize,
    mut look: impl FnMut(&[u8]) -> Looked<T>,
) -> io::Result<Peeked<T>> {
    let mut buffer = vec![0; most.min(1024)];
    loop {
        let ended = stream.ready(Interest::READABLE).await?.is_read_closed();
        // Within, so that "not enough yet" clears the readiness: the next bytes set it again.
        let looked = stream.try_io(Interest::READABLE, || {
            let (seen, _) = rustix::net::recv(stream, buffer.as_mut_slice(), RecvFlags::PEEK)?;
            match look(buffer.get(..seen).unwrap_or_default()) {
                Looked::Enough(found) => Ok(Some(Peeked::Enough(found))),
                Looked::Wants(wanted) if wanted > buffer.len() && buffer.len() < most => {
                    buffer.resize(wanted.min(most), 0);
                    Ok(None)
                }
                Looked::Wants(_) if ended || seen == 0 || seen >= most => {
                    Ok(Some(Peeked::Ended(seen)))
                }
                Looked::Wants(_) => Err(io::ErrorKind::WouldBlock.into()),
            }
        });
        match looked {
            Ok(Some(peeked)) => return Ok(peeked),
            Ok(None) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
}

/// Takes what has come, up to `most`, after somebody has looked at it in vain: the runtime waits for more then, and would not
/// tell of what is there already.
pub(super) fn take_all(stream: &Socket, most: usize) -> Vec<u8> {
    let mut bytes = vec![0; most];
    let taken = rustix::net::recv(stream, bytes.as_mut_slice(), RecvFlags::DONTWAIT);
    bytes.truncate(taken.map_or(0, |(taken, _)| taken));
    bytes
}

/// Takes bytes that were looked at.
pub(super) fn take(stream: &Socket, mut length: usize) -> io::Result<()> {
    let mut bytes = [0; 512];
    while length > 0 {
        let part = length.min(bytes.len());
        let read = || Ok(rustix::net::recv(stream, &mut bytes[..part], RecvFlags::empty())?.0);
        match stream.try_io(Interest::READABLE, read)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            n => length -= n,
        }
    }
    Ok(())
}
