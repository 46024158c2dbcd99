//! A server's stream of HTTP/2 that carries bytes of another protocol both ways, as a connection would.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use h2::{RecvStream, SendStream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::Lease;

/// A server's stream that carries bytes both ways.
pub(in super::super) struct Bytestream {
    from: RecvStream,
    to: SendStream<Bytes>,
    /// What has come and was not read yet.
    rest: Bytes,
    /// Its place on the connection.
    _lease: Lease,
}

impl Bytestream {
    pub(super) fn new(from: RecvStream, to: SendStream<Bytes>, lease: Lease) -> Self {
        Self {
            from,
            to,
            rest: Bytes::new(),
            _lease: lease,
        }
    }
}

/// Hands over what `buffer` takes of what has come: how much.
pub(super) fn hand_over(rest: &mut Bytes, buffer: &mut ReadBuf<'_>) -> usize {
    let part = rest.split_to(rest.len().min(buffer.remaining()));
    buffer.put_slice(&part);
    part.len()
}

impl AsyncRead for Bytestream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        while this.rest.is_empty() {
            match ready!(this.from.poll_data(cx)) {
                Some(Ok(data)) => this.rest = data,
                Some(Err(error)) => return Poll::Ready(Err(io::Error::other(error))),
                None => return Poll::Ready(Ok(())),
            }
        }
        let n = hand_over(&mut this.rest, buffer);
        // Only what is passed on makes room for more.
        let _ = this.from.flow_control().release_capacity(n);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Bytestream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        let to = &mut self.get_mut().to;
        if data.is_empty() {
            return Poll::Ready(Ok(0));
        }
        to.reserve_capacity(data.len());
        let mut capacity = to.capacity();
        while capacity == 0 {
            capacity = match ready!(to.poll_capacity(cx)) {
                Some(Ok(n)) => n,
                Some(Err(error)) => return Poll::Ready(Err(io::Error::other(error))),
                None => return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
            };
        }
        let n = capacity.min(data.len());
        let sent = to.send_data(Bytes::copy_from_slice(&data[..n]), false);
        Poll::Ready(sent.map(|()| n).map_err(io::Error::other))
    }

    /// The connection's own task writes.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    /// Ends this direction.
    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        let ended = self.get_mut().to.send_data(Bytes::new(), true);
        Poll::Ready(ended.map_err(io::Error::other))
    }
}
