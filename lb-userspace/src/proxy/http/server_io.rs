//! A server's socket.

use std::{
    cell::{Cell, RefCell},
    io::{self, IoSlice},
    net::SocketAddr,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
};

use bytes::{BufMut, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::io::poll_write_all;
use crate::{
    proxy::{Stream, stream::without_goodbye},
    rules::Links,
    tls::Session,
};

/// What is known of a server's connection beside what it carries.
#[derive(Debug, Default)]
pub(super) struct Meter {
    received: Cell<u64>,
    sent: Cell<u64>,
    /// The server has said something.
    heard: Cell<bool>,
    /// Our end of it, if somebody wants to know.
    local: Cell<Option<SocketAddr>>,
    /// What its TLS has shown, likewise.
    tls: RefCell<Option<Rc<Session>>>,
}

impl Meter {
    /// Our end of the connection, if it was to be known.
    pub(super) fn local(&self) -> Option<SocketAddr> {
        self.local.get()
    }

    /// Whether the server has ever said something on it.
    pub(super) fn was_heard(&self) -> bool {
        self.heard.get()
    }

    /// What its TLS has shown, if that was to be known.
    pub(super) fn tls(&self) -> Option<Rc<Session>> {
        self.tls.borrow().clone()
    }

    fn is_on(&self, stream: &Stream, wants: Links) {
        if wants.local {
            self.local.set(stream.tcp().local_addr().ok());
        }
        if wants.tls {
            self.tls.replace(stream.session().map(Rc::new));
        }
    }

    /// Bytes received and sent since it was asked last.
    pub(super) fn take(&self) -> (u64, u64) {
        (self.received.take(), self.sent.take())
    }
}

/// A server's socket.
pub(super) struct ServerIo {
    stream: Stream,
    meter: Rc<Meter>,
    /// What came has ended without TLS's goodbye.
    cut: bool,
}

impl ServerIo {
    /// The connection `stream`; of what it is that which somebody `wants` to know is noted.
    pub(super) fn new(stream: Stream, meter: Rc<Meter>, wants: Links) -> Self {
        meter.is_on(&stream, wants);
        Self {
            stream,
            meter,
            cut: false,
        }
    }

    /// Whether what has come may have been cut off: TLS has not said that it is all (RFC 8446, section 6.1).
    pub(super) fn is_cut(&self) -> bool {
        self.cut
    }

    /// The socket alone.
    pub(super) fn into_stream(self) -> Stream {
        self.stream
    }

    /// Whether it is sure without reading that nothing has come: what TLS has read already does not show at the socket.
    pub(super) fn is_quiet(&self, cx: &mut Context<'_>) -> bool {
        !self.stream.is_tls() && self.stream.tcp().poll_read_ready(cx).is_pending()
    }

    /// The same without being told once something comes, which spares the lock that this takes.
    pub(super) fn is_silent(&self) -> bool {
        !self.stream.is_tls() && self.stream.tcp().is_silent()
    }

    /// Reads what there is into the spare room of `buffer`: how much.
    pub(super) fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut BytesMut,
    ) -> Poll<io::Result<usize>> {
        let n = ready!(poll_read(&mut self.stream, cx, buffer, &mut self.cut))?;
        self.meter.heard.set(true);
        let received = self.meter.received.get() + n as u64;
        self.meter.received.set(received);
        Poll::Ready(Ok(n))
    }

    /// Writes what the socket takes: how much.
    pub(super) fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        buffers: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let n = ready!(poll_write_all(&mut self.stream, cx, buffers))?;
        self.meter.sent.set(self.meter.sent.get() + n as u64);
        Poll::Ready(Ok(n))
    }

    /// Lets go of what TLS may hold back.
    pub(super) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    /// Ends what is written.
    pub(super) fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// Reads into the spare room of `buffer`, of which there must be some; `cut` if it is over without TLS's goodbye.
fn poll_read(
    stream: &mut Stream,
    cx: &mut Context<'_>,
    buffer: &mut BytesMut,
    cut: &mut bool,
) -> Poll<io::Result<usize>> {
    // SAFETY: the slice is only handed to `ReadBuf::uninit`, which takes it as uninitialised and never writes anything
    // uninitialised into it.
    let spare = unsafe { buffer.chunk_mut().as_uninit_slice_mut() };
    let mut filled = ReadBuf::uninit(spare);
    match ready!(Pin::new(stream).poll_read(cx, &mut filled)) {
        // As HAProxy: what is complete is for the message's own framing to say, if it does.
        Err(error) if without_goodbye(&error) => *cut = true,
        read => read?,
    }
    let n = filled.filled().len();
    // SAFETY: `poll_read` has initialised and filled the first `n` bytes of the buffer's spare room.
    unsafe { buffer.advance_mut(n) };
    Poll::Ready(Ok(n))
}
