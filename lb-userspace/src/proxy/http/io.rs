//! The client's socket as hyper sees it.
//!
//! hyper answers a malformed request by itself, with no body, and would do so in the middle of nothing that we said:
//! what it writes while no answer of ours is on its way is therefore swallowed, and ours is written when the connection
//! has ended (see [`super::serve()`]).

use std::{
    io::{self, IoSlice},
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use hyper::rt::{Read, ReadBufCursor, Write};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{
    client::{Client, Leaving, Phase},
    fragment, interim, recent,
};
use crate::{
    proxy::{Stream, stream::without_goodbye},
    wire::Socket,
};

/// Largest message that is put together before it is written, in bytes.
const SMALL: usize = 1024;

/// The client's socket.
pub(super) struct ClientIo {
    pub(super) stream: Stream,
    /// What was read of it before and comes first.
    read: Bytes,
    client: Rc<Client>,
    /// Interim answers that the socket did not take whole.
    interims: Vec<u8>,
}

impl ClientIo {
    /// `read` is what was read of it before, and counted.
    pub(super) fn new(stream: Stream, read: Bytes, client: Rc<Client>) -> Self {
        Self {
            stream,
            read,
            client,
            interims: Vec::new(),
        }
    }

    /// Writes what the server has said before its answer.
    fn poll_interims(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.client.has_interims() {
            for head in self.client.take_interims() {
                interim::write(&head, &mut self.interims);
            }
        }
        while !self.interims.is_empty() {
            let result = Pin::new(&mut self.stream).poll_write(cx, &self.interims);
            let n = ready!(self.written(result))?;
            self.interims.drain(..n);
        }
        Poll::Ready(Ok(()))
    }

    /// The same before hyper writes.
    ///
    /// Where it still has the end of an earlier answer to write, there is no telling where that ends, and the answer itself
    /// has come meanwhile: what was said before it is of no use any more.
    fn poll_interims_first(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.client.is_behind() && self.client.has_interims() {
            drop(self.client.take_interims());
        }
        self.poll_interims(cx)
    }

    /// Writes the trailers of an answer, if it has any that are to be written before what hyper writes `next`.
    fn poll_trailers<'b>(
        &mut self,
        cx: &mut Context<'_>,
        next: impl FnOnce() -> &'b [u8],
    ) -> Option<Poll<io::Result<usize>>> {
        let has_some = self.client.last.borrow().is_some();
        let poll = || self.client.poll_trailers(&mut self.stream, cx, next());
        has_some.then(poll).flatten()
    }

    /// Looks whether the client has left, where that matters. hyper does not read while a request is being served, so nobody
    /// else sees it; what it may have said before stays unread.
    fn watch(&self, cx: &mut Context<'_>) {
        if self.client.leaving() != Leaving::Watched {
            return;
        }
        let socket = self.stream.tcp();
        if socket.poll_read_ready(cx).is_ready() && has_hung_up(socket) {
            self.client.note_leaving();
            cx.waker().wake_by_ref();
        }
    }

    /// Whether what hyper writes now is ours.
    fn may_write(&self) -> bool {
        matches!(self.client.phase(), Phase::Answering | Phase::Flushing)
            || self.client.interim.get()
    }

    fn written(&self, result: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        match &result {
            Poll::Ready(Ok(n)) => self.client.sent(*n),
            Poll::Ready(Err(_)) => {}
            // hyper asks for no more of the body before the client takes what there is, which it need not do.
            Poll::Pending if self.client.exchange().is_over() => {
                return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
            }
            Poll::Pending => self.client.write_blocked(),
        }
        result
    }
}

impl Read for ClientIo {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if !this.read.is_empty() {
            let n = this.read.len().min(buffer.remaining());
            let bytes = this.read.split_to(n);
            // SAFETY: as in `poll_read` below.
            let mut filled = ReadBuf::uninit(unsafe { buffer.as_mut() });
            filled.put_slice(&bytes);
            note(&this.client, filled.filled_mut());
            // SAFETY: `put_slice` has filled the first `n` bytes of the buffer's unfilled part.
            unsafe { buffer.advance(n) };
            return Poll::Ready(Ok(()));
        }
        let client = &this.client;
        let n = ready!(poll_read(&mut this.stream, cx, &mut buffer, |bytes| note(
            client, bytes
        )))?;
        this.client.received(n);
        Poll::Ready(Ok(()))
    }
}

/// Whether the other end has shut its side down, or is gone.
fn has_hung_up(socket: &Socket) -> bool {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let gone = PollFlags::RDHUP | PollFlags::HUP | PollFlags::ERR;
    let mut asked = [PollFd::new(socket, PollFlags::RDHUP)];
    let now = Timespec::default();
    poll(&mut asked, Some(&now)).is_ok_and(|_| asked[0].revents().intersects(gone))
}

/// A client has sent this: of a head it is kept for the case that it is none.
fn note(client: &Client, bytes: &mut [u8]) {
    match client.phase() {
        Phase::Idle => {
            recent::note(client, bytes, false);
            if !client.is_sending() {
                fragment::refuse(bytes);
            }
        }
        Phase::Head => {
            recent::note(client, bytes, true);
            recent::look(client, |all| fragment::refuse_late(all, bytes));
        }
        Phase::Serving | Phase::Answering | Phase::Flushing => {}
    }
}

/// Reads from `stream` into hyper's buffer, lets `seen` look at it, and returns how much.
pub(super) fn poll_read(
    stream: &mut Stream,
    cx: &mut Context<'_>,
    buffer: &mut ReadBufCursor<'_>,
    seen: impl FnOnce(&mut [u8]),
) -> Poll<io::Result<usize>> {
    // SAFETY: the slice is only handed to `ReadBuf::uninit`, which takes it as uninitialised and never writes anything
    // uninitialised into it.
    let mut filled = ReadBuf::uninit(unsafe { buffer.as_mut() });
    match ready!(Pin::new(stream).poll_read(cx, &mut filled)) {
        // As HAProxy: what is complete is for the message's own framing to say.
        Err(error) if without_goodbye(&error) => {}
        read => read?,
    }
    let n = filled.filled().len();
    seen(filled.filled_mut());
    // SAFETY: `poll_read` has initialised and filled the first `n` bytes of the buffer's unfilled part.
    unsafe { buffer.advance(n) };
    Poll::Ready(Ok(n))
}

/// Writes in one call what hyper has in several pieces.
///
/// A message that is small is put together first: copying it costs less than the kernel's handling of a list of pieces.
pub(super) fn poll_write_all(
    stream: &mut Stream,
    cx: &mut Context<'_>,
    buffers: &[IoSlice<'_>],
) -> Poll<io::Result<usize>> {
    if let [only] = buffers {
        return Pin::new(stream).poll_write(cx, only);
    }
    let length: usize = buffers.iter().map(|buffer| buffer.len()).sum();
    let mut small = [0; SMALL];
    let Some(message) = small.get_mut(..length) else {
        return Pin::new(stream).poll_write_vectored(cx, buffers);
    };
    let mut rest = &mut *message;
    for buffer in buffers {
        let (part, after) = rest.split_at_mut(buffer.len());
        part.copy_from_slice(buffer);
        rest = after;
    }
    Pin::new(stream).poll_write(cx, message)
}

impl Write for ClientIo {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if !this.may_write() {
            return Poll::Ready(Ok(buffer.len()));
        }
        ready!(this.poll_interims_first(cx))?;
        let result = match this.poll_trailers(cx, || buffer) {
            Some(result) => result,
            None => Pin::new(&mut this.stream).poll_write(cx, buffer),
        };
        this.written(result)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffers: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if !this.may_write() {
            return Poll::Ready(Ok(buffers.iter().map(|buffer| buffer.len()).sum()));
        }
        ready!(this.poll_interims_first(cx))?;
        let first = || {
            let mut buffers = buffers.iter();
            buffers
                .find(|buffer| !buffer.is_empty())
                .map_or(&[][..], |buffer| &buffer[..])
        };
        let result = match this.poll_trailers(cx, first) {
            Some(result) => result,
            None => poll_write_all(&mut this.stream, cx, buffers),
        };
        this.written(result)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    /// hyper calls this when it has nothing left to write.
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_interims(cx))?;
        let flushed = Pin::new(&mut this.stream).poll_flush(cx);
        if flushed.is_pending() {
            this.client.write_blocked();
        }
        ready!(flushed)?;
        this.client.flushed();
        this.watch(cx);
        Poll::Ready(Ok(()))
    }

    /// The socket is closed by [`super::serve()`], which may still have an answer to write.
    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
