//! A server's socket.
//!
//! A server may close an idle connection at the moment that a request is written to it. What it then has not answered
//! with a single byte, and may be asked twice (RFC 9110 section 9.2.2), is written again to a new connection: above, that
//! is only a response that takes longer. For that the bytes of such a request are kept until the first byte of the response.

use std::{
    cell::{Cell, RefCell},
    future::Future,
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
    proxy::{
        Stream,
        connect::{ConnectError, Way},
        stream::without_goodbye,
    },
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
    /// The present request may be sent again, and nothing of the response has come.
    repeatable: Cell<bool>,
    repeated: Cell<bool>,
    /// The present request's bytes while it may be sent again; its room is kept for the next.
    request: RefCell<Vec<u8>>,
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

    /// A request begins; `repeatable` if it has no body and may be sent twice.
    pub(super) fn begin(&self, repeatable: bool) {
        self.repeatable.set(repeatable);
        self.request.borrow_mut().clear();
    }

    /// Bytes received and sent since it was asked last.
    pub(super) fn take(&self) -> (u64, u64) {
        (self.received.take(), self.sent.take())
    }

    /// Whether a request was sent again since it was asked last.
    pub(super) fn take_repeated(&self) -> bool {
        self.repeated.take()
    }
}

/// A server's socket.
pub(super) struct ServerIo {
    stream: Stream,
    meter: Rc<Meter>,
    way: Way,
    repeat: Option<Repeat>,
    /// What came has ended without TLS's goodbye.
    cut: bool,
}

/// A request on its way to a new connection.
enum Repeat {
    Connecting(Pin<Box<dyn Future<Output = Result<Stream, ConnectError>>>>),
    /// So many bytes are written.
    Writing(usize),
}

impl ServerIo {
    /// The connection `stream`, which was made by `way`, as another one will be if need be.
    pub(super) fn new(stream: Stream, meter: Rc<Meter>, way: Way) -> Self {
        meter.is_on(&stream, way.wants);
        Self {
            stream,
            meter,
            way,
            repeat: None,
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

    /// The server has closed. Begins to send the request again if that may be done.
    fn repeat(&mut self) -> bool {
        let may = self.meter.repeatable.take();
        if may {
            self.meter.repeated.set(true);
            self.repeat = Some(Repeat::Connecting(Box::pin(self.way.clone().connect())));
        }
        may
    }

    /// Brings the request to the new connection, if one is being made.
    fn poll_repeat(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some(repeat) = &mut self.repeat {
            match repeat {
                Repeat::Connecting(connecting) => {
                    let connected = ready!(connecting.as_mut().poll(cx));
                    // What has ended is not asked again, also where the error is taken for the end of what is written alone.
                    self.repeat = None;
                    self.stream = connected.map_err(io::Error::other)?;
                    self.meter.is_on(&self.stream, self.way.wants);
                    self.repeat = Some(Repeat::Writing(0));
                }
                Repeat::Writing(written) => {
                    let request = self.meter.request.borrow();
                    match request.get(*written..).filter(|rest| !rest.is_empty()) {
                        Some(rest) => {
                            *written += ready!(Pin::new(&mut self.stream).poll_write(cx, rest))?;
                        }
                        None => {
                            drop(request);
                            self.repeat = None;
                        }
                    }
                }
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Takes note of what was written, and keeps it if it may have to be written again.
    fn written(
        &mut self,
        buffers: &[IoSlice<'_>],
        result: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        let n = match result {
            Poll::Ready(Ok(n)) => n,
            // Nothing of this went out, but it will.
            Poll::Ready(Err(_)) if self.meter.repeatable.get() => {
                let all = buffers.iter().map(|buffer| buffer.len()).sum();
                self.keep(buffers, all);
                self.repeat();
                return Poll::Ready(Ok(all));
            }
            other => return other,
        };
        self.meter.sent.set(self.meter.sent.get() + n as u64);
        if self.meter.repeatable.get() {
            self.keep(buffers, n);
        }
        Poll::Ready(Ok(n))
    }

    /// Whether it is sure without reading that nothing has come: what TLS has read already does not show at the socket.
    pub(super) fn is_quiet(&self, cx: &mut Context<'_>) -> bool {
        self.repeat.is_none()
            && !self.stream.is_tls()
            && self.stream.tcp().poll_read_ready(cx).is_pending()
    }

    /// The same without being told once something comes, which spares the lock that this takes.
    pub(super) fn is_silent(&self) -> bool {
        self.repeat.is_none() && !self.stream.is_tls() && self.stream.tcp().is_silent()
    }

    /// Reads what there is into the spare room of `buffer`: how much.
    pub(super) fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut BytesMut,
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_repeat(cx))?;
        let mut read = ready!(poll_read(&mut self.stream, cx, buffer, &mut self.cut));
        if !matches!(read, Ok(1..)) && self.repeat() {
            self.cut = false;
            ready!(self.poll_repeat(cx))?;
            read = ready!(poll_read(&mut self.stream, cx, buffer, &mut self.cut));
        }
        let n = read?;
        self.meter.repeatable.set(false);
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
        ready!(self.poll_repeat(cx))?;
        let result = poll_write_all(&mut self.stream, cx, buffers);
        self.written(buffers, result)
    }

    /// Lets go of what TLS may hold back.
    pub(super) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    /// Ends what is written.
    pub(super) fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn keep(&self, buffers: &[IoSlice<'_>], mut n: usize) {
        let mut request = self.meter.request.borrow_mut();
        for buffer in buffers {
            let part = &buffer[..n.min(buffer.len())];
            request.extend_from_slice(part);
            n -= part.len();
        }
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
