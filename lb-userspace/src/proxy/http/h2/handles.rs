//! What a request's task holds of its stream: what comes by it, and what goes.

use std::{
    rc::Rc,
    task::{Context, Poll},
};

use bytes::Bytes;
use h2::Reason;
use http::{HeaderMap, Response, StatusCode};

use super::{
    head, hpack,
    state::{Broken, Stream, register},
    wire::Wire,
};
use crate::observe::log::Phase;

/// A stream, held. Once nobody does, it ends.
#[derive(Debug)]
struct Handle {
    wire: Rc<Wire>,
    stream: Rc<Stream>,
}

impl Handle {
    fn new(wire: &Rc<Wire>, stream: &Rc<Stream>) -> Self {
        stream.inner.borrow_mut().handles += 1;
        Self {
            wire: Rc::clone(wire),
            stream: Rc::clone(stream),
        }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.wire.state().release(&self.stream);
    }
}

/// What comes by a stream. The client may send more only once what came has been taken.
#[derive(Debug)]
pub(in super::super) struct Incoming(Handle);

impl Incoming {
    pub(super) fn new(wire: &Rc<Wire>, stream: &Rc<Stream>) -> Self {
        Self(Handle::new(wire, stream))
    }

    /// The next data; `None` after the last.
    pub(super) fn poll_data(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, Broken>>> {
        let Handle { wire, stream } = &self.0;
        let mut inner = stream.inner.borrow_mut();
        if let Some(data) = inner.inbox.pop() {
            drop(inner);
            wire.state().credit_stream(stream, data.len());
            return Poll::Ready(Some(Ok(data)));
        }
        if inner.ended {
            return Poll::Ready(None);
        }
        if let Some(broken) = inner.broken {
            return Poll::Ready(Some(Err(broken)));
        }
        register(&mut inner.reader, cx.waker());
        Poll::Pending
    }

    /// The fields that follow the last data, if any do.
    pub(super) fn take_trailers(&mut self) -> Option<HeaderMap> {
        self.0.stream.inner.borrow_mut().inbox.trailers.take()
    }

    /// Whether all of it has come and was taken.
    pub(super) fn is_end_stream(&self) -> bool {
        let inner = self.0.stream.inner.borrow();
        inner.ended && inner.inbox.is_empty()
    }
}

/// The client wants no answer any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Gone;

/// What goes by a stream.
#[derive(Debug)]
pub(super) struct Outgoing(Handle);

impl Outgoing {
    pub(super) fn new(wire: &Rc<Wire>, stream: &Rc<Stream>) -> Self {
        Self(Handle::new(wire, stream))
    }

    /// The request is being looked at. If its stream has ended before its end by then: where HAProxy logs that.
    pub(super) fn begin(&self) -> Option<Phase> {
        let Handle { wire, stream } = &self.0;
        let mut inner = stream.inner.borrow_mut();
        inner.begun = true;
        inner.broken?;
        let phase = match inner.faulty_end {
            true => Phase::Data,
            false => Phase::Request,
        };
        drop(inner);
        wire.state().input.saw();
        Some(phase)
    }

    /// Ready when the stream has ended before its end.
    pub(super) fn poll_broken(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut inner = self.0.stream.inner.borrow_mut();
        if inner.broken.is_some() {
            return Poll::Ready(());
        }
        register(&mut inner.writer, cx.waker());
        Poll::Pending
    }

    /// Whether the client has shut its side of the connection down, as one does that leaves.
    pub(super) fn is_silent(&self) -> bool {
        self.0.stream.inner.borrow().silent
    }

    /// Sends the head of the answer; `end`: there is no body.
    ///
    /// # Errors
    /// The client wants none.
    pub(super) fn answer(
        &self,
        status: StatusCode,
        headers: &HeaderMap,
        end: bool,
    ) -> Result<(), Gone> {
        let write = |block: &mut Vec<u8>| {
            hpack::status(block, status);
            for (name, value) in headers {
                if !head::is_of_connection(name) {
                    hpack::field(block, name, value);
                }
            }
        };
        match self.0.wire.state().head(&self.0.stream, write, end) {
            true => Ok(()),
            false => Err(Gone),
        }
    }

    /// Sends what is said before the answer.
    pub(super) fn interim(&self, head: &Response<()>) {
        // Whoever is gone need not know.
        let _ = self.answer(head.status(), head.headers(), false);
    }

    /// Whether the client takes what is written, so that there may be more than the answer.
    pub(super) fn is_taken(&self) -> bool {
        !self.0.wire.state().is_stuffed()
    }

    /// Ready when there is room for data.
    pub(super) fn poll_room(&self, cx: &mut Context<'_>) -> Poll<Result<(), Gone>> {
        let mut inner = self.0.stream.inner.borrow_mut();
        if inner.broken.is_some() {
            return Poll::Ready(Err(Gone));
        }
        if !inner.is_waiting() {
            return Poll::Ready(Ok(()));
        }
        register(&mut inner.writer, cx.waker());
        Poll::Pending
    }

    /// Sends data, for which there must be room. `last`: nothing follows it.
    pub(super) fn data(&self, data: Bytes, last: bool) {
        let Handle { wire, stream } = &self.0;
        wire.state().send(stream, data, last, None);
    }

    /// Sends the fields that follow all data, for which there must be room.
    pub(super) fn trailers(&self, trailers: &HeaderMap) {
        let mut block = Vec::new();
        for (name, value) in trailers {
            hpack::field(&mut block, name, value);
        }
        let Handle { wire, stream } = &self.0;
        wire.state().send(stream, Bytes::new(), true, Some(block));
    }

    /// The bytes that windows and room have let pass since it was asked last.
    pub(super) fn take_moved(&self) -> usize {
        std::mem::take(&mut self.0.stream.inner.borrow_mut().moved)
    }

    /// Ends the stream before its end.
    pub(super) fn reset(&self, reason: Reason) {
        self.0.wire.state().reset(&self.0.stream, reason);
    }
}
