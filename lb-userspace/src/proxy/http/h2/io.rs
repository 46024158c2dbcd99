//! A client's socket, and the frames that come and go by it.
//!
//! What is read into and what is written from is there only while it is used: a connection whose client says nothing has
//! neither.

use std::{
    io,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
};

use bytes::{BufMut, Bytes, BytesMut};
use h2::Reason;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};

use super::{
    incoming::{self, Fatal, Request, Taken},
    wire::Wire,
};
use crate::proxy::{Stream, stream::without_goodbye};

/// What is read at a time of a client that says little, and of one that says much.
const SMALL: usize = 2 * 1024;
const LARGE: usize = 32 * 1024;
/// Frames that are read in one turn, before others have theirs.
const TURN: usize = 256;
/// What is read of a client that was sent away, so that it can read why.
const UNHEARD: usize = 64 * 1024;

/// A client's socket.
pub(super) struct Io {
    stream: Stream,
    pub(super) wire: Rc<Wire>,
    /// What has come and is no whole frame yet.
    read: BytesMut,
    /// How much is needed for one.
    needed: usize,
    /// How much is read at a time.
    room: usize,
    /// Frames that were read in this turn.
    turn: usize,
    /// TLS may hold something back.
    unflushed: bool,
}

/// What has come of reading.
pub(super) enum Read {
    /// A request.
    Request(Box<Request>),
    /// Nothing more is read before what waits is written.
    Stuffed,
    /// More can be read, but others are to have their turn.
    Turn,
    /// The client has closed, or is gone.
    End,
    /// What has come ends the connection.
    Fatal(Reason),
}

impl Io {
    /// `read` is what was read of it before.
    pub(super) fn new(stream: Stream, read: Bytes, wire: Rc<Wire>) -> Self {
        Self {
            stream,
            wire,
            read: read.into(),
            needed: 0,
            room: SMALL,
            turn: 0,
            unflushed: false,
        }
    }

    /// Reads frames up to the next that the caller has to do with.
    pub(super) fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<Read> {
        loop {
            while self.read.len() >= self.needed.max(1) {
                if self.wire.state().is_stuffed() {
                    return Poll::Ready(Read::Stuffed);
                }
                if self.turn >= TURN {
                    self.turn = 0;
                    return Poll::Ready(Read::Turn);
                }
                let before = self.read.len();
                match incoming::take(&self.wire, &mut self.read) {
                    Ok(Taken::More(needed)) => self.needed = needed,
                    Ok(taken) => {
                        self.needed = 0;
                        // What is large takes longer.
                        self.turn += 1 + (before - self.read.len()) / 1024;
                        if let Taken::Request(request) = taken {
                            return Poll::Ready(Read::Request(request));
                        }
                    }
                    Err(Fatal(reason)) => return Poll::Ready(Read::Fatal(reason)),
                }
            }
            match self.poll_fill(cx) {
                Poll::Ready(Ok(1..)) => {}
                Poll::Ready(_) => return Poll::Ready(Read::End),
                Poll::Pending => {
                    self.turn = 0;
                    let keeps = self.read.capacity() <= SMALL;
                    if self.read.is_empty() && !(keeps && self.wire.state().has_streams()) {
                        self.read = BytesMut::new();
                    }
                    return Poll::Pending;
                }
            }
        }
    }

    /// Reads more: how much.
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let missing = self.needed.saturating_sub(self.read.len());
        self.read.reserve(missing.max(self.room));
        // As much as there is room, up to what is asked for.
        let room = self.read.spare_capacity_mut();
        let most = room.len().min(LARGE);
        let mut buffer = ReadBuf::uninit(&mut room[..most]);
        match ready!(Pin::new(&mut self.stream).poll_read(cx, &mut buffer)) {
            Err(error) if without_goodbye(&error) => {}
            read => read?,
        }
        let n = buffer.filled().len();
        // SAFETY: the first `n` bytes of the spare capacity were filled, and so initialised, by the read.
        unsafe { self.read.advance_mut(n) };
        // Who fills the buffer has more to say.
        if n >= self.room {
            self.room = (self.room * 2).min(LARGE);
        } else if n < self.room / 4 {
            self.room = (self.room / 2).max(SMALL);
        }
        Poll::Ready(Ok(n))
    }

    /// Writes what there is. Ready when all of it is written; `true`: others are to have their turn first.
    ///
    /// # Errors
    /// The connection is no more.
    pub(super) fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        let mut state = self.wire.state();
        state.pump();
        self.unflushed |= !state.out.is_empty();
        if ready!(state.poll_write(&mut self.stream, cx))? {
            return Poll::Ready(Ok(true));
        }
        drop(state);
        if self.unflushed {
            ready!(Pin::new(&mut self.stream).poll_flush(cx))?;
            self.unflushed = false;
        }
        Poll::Ready(Ok(false))
    }

    /// Closes, where nothing is left to be said.
    pub(super) async fn finish(mut self) -> io::Result<()> {
        self.stream.shutdown().await
    }

    /// Writes what is left to be said and closes, so that the client can read it: to close with unread bytes would reset
    /// the connection.
    pub(super) async fn close(mut self) -> io::Result<()> {
        while std::future::poll_fn(|cx| self.poll_write(cx)).await? {}
        self.read = BytesMut::new();
        self.stream.shutdown().await?;
        let mut unread = vec![0; 4096];
        let mut heard = 0;
        while heard < UNHEARD {
            match self.stream.read(&mut unread).await? {
                0 => break,
                n => heard += n,
            }
        }
        Ok(())
    }
}

impl Drop for Io {
    fn drop(&mut self) {
        self.wire.state().close();
    }
}
