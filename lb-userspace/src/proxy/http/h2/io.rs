//! A client's socket, and the frames that come and go by it.
//!
//! What is read into and what is written from is there only while it is used: a connection whose client says nothing has
//! neither.

use std::{
    io,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::{BufMut, Bytes, BytesMut};
use h2::Reason;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};

use super::{
    incoming::{self, Fatal, Request, Taken},
    wire::Wire,
};
use crate::{
    proxy::{Stream, stream::without_goodbye},
    wire::sockopt,
};

/// What is read at a time of a client that says little, and of one that says much.
const SMALL: usize = 2 * 1024;
const LARGE: usize = 32 * 1024;
/// Frames that are read in one turn, before others have theirs.
const TURN: usize = 256;
/// What is read of a client that was sent away, so that it can read why.
const UNHEARD: usize = 64 * 1024;
/// How long a client may take to read our goodbye, or at least some of what is before it.
const LINGER: Duration = Duration::from_secs(1);

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
    /// The client says no more.
    ended: bool,
}

/// What has come of reading.
pub(super) enum Read {
    /// A request.
    Request(Box<Request>),
    /// Nothing more is read before what waits is written.
    Stuffed,
    /// More can be read, but others are to have their turn.
    Turn,
    /// The client says no more. It may still hear.
    End,
    /// The client is gone.
    Gone,
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
            ended: false,
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
            if self.ended {
                return Poll::Pending;
            }
            match self.poll_fill(cx) {
                Poll::Ready(Ok(1..)) => {}
                Poll::Ready(Ok(0)) => {
                    self.ended = true;
                    self.read = BytesMut::new();
                    return Poll::Ready(Read::End);
                }
                Poll::Ready(Err(_)) => return Poll::Ready(Read::Gone),
                Poll::Pending => {
                    self.turn = 0;
                    self.rest();
                    return Poll::Pending;
                }
            }
        }
    }

    /// Nothing comes for now: what the buffer has room for is given back, but for a little while there are requests.
    fn rest(&mut self) {
        if self.read.is_empty() {
            let keeps = self.read.capacity() <= SMALL;
            if !(keeps && self.wire.state().has_streams()) {
                self.read = BytesMut::new();
            }
        } else if self.read.capacity() > 4 * self.read.len().max(SMALL) {
            // The beginning of a frame whose rest may never come.
            self.read = BytesMut::from(&self.read[..]);
            self.room = SMALL;
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

    /// Whether TLS holds nothing back.
    pub(super) fn is_flushed(&self) -> bool {
        !self.unflushed
    }

    /// The bytes that the client's end has not got yet.
    pub(super) fn unsent(&self) -> usize {
        self.wire.state().out.len() + sockopt::unacknowledged(self.stream.tcp()).unwrap_or(0)
    }

    /// Writes what is left to be said and closes, so that the client can read it: to close with unread bytes, or to get
    /// some afterwards, would reset the connection, and what is still on its way would be lost.
    pub(super) async fn close(mut self) {
        let saying = async {
            while std::future::poll_fn(|cx| self.poll_write(cx)).await? {}
            self.stream.shutdown().await
        };
        if !matches!(tokio::time::timeout(LINGER, saying).await, Ok(Ok(()))) {
            return;
        }
        self.read = BytesMut::new();
        let mut unread = vec![0; 4096];
        let (mut heard, mut left) = (0, usize::MAX);
        let mut tick = tokio::time::Instant::now() + LINGER;
        while heard < UNHEARD {
            match tokio::time::timeout_at(tick, self.stream.read(&mut unread)).await {
                Ok(Ok(n @ 1..)) => heard += n,
                Ok(_) => return,
                // Who reads slowly goes on reading.
                Err(_) => {
                    let before = std::mem::replace(&mut left, self.unsent());
                    if left == 0 || left >= before {
                        return;
                    }
                    tick += LINGER;
                }
            }
        }
    }
}

impl Drop for Io {
    fn drop(&mut self) {
        self.wire.state().close();
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::frame::{self, DATA, HEADERS, PREFACE, flag},
        *,
    };

    /// What of a frame's beginning is kept, and how large a buffer it is in, once `bytes` and that have been read.
    fn after(bytes: &[u8], beginning: &[u8]) -> (usize, usize) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        runtime.block_on(async {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let mut client = tokio::net::TcpStream::connect(address).await.unwrap();
            let (accepted, _) = listener.accept().await.unwrap();
            let mut io = Io::new(accepted.into(), Bytes::new(), Wire::new());
            let mut requests = Vec::new();
            client.write_all(bytes).await.unwrap();
            for (sent, left) in [(&[][..], 0), (beginning, beginning.len())] {
                client.write_all(sent).await.unwrap();
                std::future::poll_fn(|cx| {
                    loop {
                        match io.poll_read(cx) {
                            Poll::Ready(Read::Request(request)) => requests.push(request),
                            Poll::Ready(Read::Turn) => {}
                            Poll::Ready(_) => panic!("the connection goes on"),
                            Poll::Pending if requests.len() == 1 && io.read.len() == left => {
                                return Poll::Ready(());
                            }
                            Poll::Pending => return Poll::Pending,
                        }
                    }
                })
                .await;
            }
            (io.read.len(), io.read.capacity())
        })
    }

    #[test]
    fn the_beginning_of_a_frame_keeps_no_large_buffer() {
        let mut bytes = PREFACE.to_vec();
        frame::settings(&mut bytes, &[]);
        // POST / of the static table.
        frame::head(&mut bytes, 3, HEADERS, flag::END_HEADERS, 1);
        bytes.extend([0x83, 0x84, 0x86]);
        let mut data = Vec::new();
        frame::head(&mut data, 8192, DATA, 0, 1);
        data.resize(data.len() + 8192, 0);
        let (kept, capacity) = after(&[&bytes[..], &data.repeat(5)].concat(), &data[..3000]);
        assert_eq!(kept, 3000);
        assert!(capacity <= 4 * 3000, "{capacity}");
    }
}
