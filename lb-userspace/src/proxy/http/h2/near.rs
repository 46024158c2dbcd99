//! A client's stream that carries bytes of another protocol both ways, as a connection would.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{
    bytestream::hand_over,
    handles::{Gone, Incoming, Outgoing},
};

/// Most that is taken to be sent at a time.
const PIECE: usize = 16 * 1024;

/// A client's stream that carries bytes both ways.
pub(in super::super) struct Near {
    from: Incoming,
    to: Outgoing,
    /// What has come and was not read yet.
    rest: Bytes,
}

impl Near {
    pub(super) fn new(from: Incoming, to: Outgoing) -> Self {
        Self {
            from,
            to,
            rest: Bytes::new(),
        }
    }
}

impl AsyncRead for Near {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.rest.is_empty() {
            match ready!(this.from.poll_data(cx)) {
                Some(Ok(data)) => this.rest = data,
                Some(Err(_)) => return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into())),
                None => return Poll::Ready(Ok(())),
            }
        }
        hand_over(&mut this.rest, buffer);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Near {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if data.is_empty() {
            return Poll::Ready(Ok(0));
        }
        if ready!(this.to.poll_room(cx)) == Err(Gone) {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let n = data.len().min(PIECE);
        this.to.data(Bytes::copy_from_slice(&data[..n]), false);
        Poll::Ready(Ok(n))
    }

    /// What waits goes out by the connection's own task; it is flushed when there is room for more.
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match ready!(self.get_mut().to.poll_room(cx)) {
            Ok(()) => Poll::Ready(Ok(())),
            Err(Gone) => Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
        }
    }

    /// Ends this direction, once all that was written is on its way.
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if ready!(this.to.poll_room(cx)) == Err(Gone) {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        this.to.data(Bytes::new(), true);
        Poll::Ready(Ok(()))
    }
}
