//! A server's socket as hyper sees it.
//!
//! A server may close an idle connection at the moment that a request is written to it. What it then has not answered
//! with a single byte, and may be asked twice (RFC 9110 section 9.2.2), is written again to a new connection, under
//! hyper's feet: it only sees a response that takes longer. For that the bytes of such a request are kept until the first
//! byte of the response.

use std::{
    cell::{Cell, RefCell},
    future::Future,
    io::{self, IoSlice},
    net::SocketAddr,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
};

use http::Response;
use hyper::rt::{Read, ReadBufCursor, Write};
use tokio::io::AsyncWrite;

use super::{
    interim::Heads,
    io::{poll_read, poll_write_all},
};
use crate::proxy::{
    Stream,
    connect::{ConnectError, Way},
};

/// What is known of a server's connection outside of hyper.
#[derive(Debug, Default)]
pub(super) struct Meter {
    received: Cell<u64>,
    sent: Cell<u64>,
    /// Our end of it, if the log wants to know.
    local: Cell<Option<SocketAddr>>,
    wants_local: bool,
    /// The present request may be sent again, and nothing of the response has come.
    repeatable: Cell<bool>,
    repeated: Cell<bool>,
    /// The server has refused what was written.
    refused: Cell<bool>,
    /// Nothing of the final answer has come.
    awaited: Cell<bool>,
    heads: RefCell<Heads>,
    /// What the server has said before its answer.
    interims: RefCell<Vec<Response<()>>>,
    /// The present request's bytes while it may be sent again; its room is kept for the next.
    request: RefCell<Vec<u8>>,
}

impl Meter {
    /// Nothing is known yet; `wants_local`: what our end is will be.
    pub(super) fn new(wants_local: bool) -> Self {
        Self {
            wants_local,
            ..Self::default()
        }
    }

    /// Our end of the connection, if it was to be known.
    pub(super) fn local(&self) -> Option<SocketAddr> {
        self.local.get()
    }

    fn is_on(&self, stream: &Stream) {
        if self.wants_local {
            self.local.set(stream.tcp().local_addr().ok());
        }
    }

    /// A request begins; `repeatable` if it has no body and may be sent twice.
    pub(super) fn begin(&self, repeatable: bool) {
        self.repeatable.set(repeatable);
        self.request.borrow_mut().clear();
        self.awaited.set(true);
    }

    /// The next of what the server has said before its answer.
    pub(super) fn take_interims(&self) -> Vec<Response<()>> {
        std::mem::take(&mut *self.interims.borrow_mut())
    }

    /// Looks at what comes as long as the answer has not begun.
    fn look(&self, bytes: &[u8]) {
        if self.awaited.get() && !bytes.is_empty() {
            let mut interims = self.interims.borrow_mut();
            let found = |head| interims.push(head);
            self.awaited.set(self.heads.borrow_mut().look(bytes, found));
        }
    }

    /// Bytes received and sent since it was asked last.
    pub(super) fn take(&self) -> (u64, u64) {
        (self.received.take(), self.sent.take())
    }

    /// Whether the server has refused what was written.
    pub(super) fn is_refused(&self) -> bool {
        self.refused.get()
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
        meter.is_on(&stream);
        Self {
            stream,
            meter,
            way,
            repeat: None,
        }
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
                    self.stream = ready!(connecting.as_mut().poll(cx)).map_err(io::Error::other)?;
                    self.meter.is_on(&self.stream);
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
            // It may have answered before, and closed since it does not want the rest. What has come of that is read, and
            // after it this error or the end.
            Poll::Ready(Err(_)) => {
                self.meter.refused.set(true);
                return Poll::Ready(Ok(buffers.iter().map(|buffer| buffer.len()).sum()));
            }
            Poll::Pending => return Poll::Pending,
        };
        self.meter.sent.set(self.meter.sent.get() + n as u64);
        if self.meter.repeatable.get() {
            self.keep(buffers, n);
        }
        Poll::Ready(Ok(n))
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

impl Read for ServerIo {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_repeat(cx))?;
        let meter = &this.meter;
        let mut read =
            ready!(poll_read(&mut this.stream, cx, &mut buffer, |bytes| meter.look(bytes)));
        if !matches!(read, Ok(1..)) && this.repeat() {
            ready!(this.poll_repeat(cx))?;
            let meter = &this.meter;
            read = ready!(poll_read(&mut this.stream, cx, &mut buffer, |bytes| meter.look(bytes)));
        }
        let n = read?;
        this.meter.repeatable.set(false);
        this.meter
            .received
            .set(this.meter.received.get() + n as u64);
        Poll::Ready(Ok(()))
    }
}

impl Write for ServerIo {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(buffer)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffers: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        ready!(this.poll_repeat(cx))?;
        if this.meter.is_refused() {
            return Poll::Ready(Ok(buffers.iter().map(|buffer| buffer.len()).sum()));
        }
        let result = poll_write_all(&mut this.stream, cx, buffers);
        this.written(buffers, result)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.meter.is_refused() {
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
