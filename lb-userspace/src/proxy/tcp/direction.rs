//! One direction of a relay.
//!
//! Data passes through the worker's scratch buffer as long as it comes in small pieces; what the sink cannot take at
//! once is kept. A source that fills the buffer again and again is bulk: then data goes through a pipe and is not
//! copied at all, until it comes in small pieces again. With TLS on either side there is no pipe.

use std::{
    io,
    task::{Context, Poll, ready},
};

use tokio::io::{Interest, ReadBuf};

use super::{Local, pipe::Pipe};
use crate::{
    proxy::stream::{Reader, Writer},
    rules::MOST_PAYLOAD,
};

/// Reads in a row that fill the scratch buffer before a pipe is worth its system calls.
const BULK_AFTER: u32 = 2;
/// A splice that moves less than this was not worth it.
const BULK_MIN: usize = 16 * 1024;
/// So many of those in a row end the use of a pipe.
const SMALL_AFTER: u32 = 8;

/// Which side of a direction broke.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Broken {
    /// The source.
    Reading,
    /// The sink.
    Writing,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// More may come.
    Open,
    /// The source has ended; what is held, then the end itself, is to be passed on.
    Ending,
    /// The end has been passed on.
    Done,
}

/// One direction.
pub(super) struct Direction<'a> {
    from: Reader<'a>,
    to: Writer<'a>,
    local: &'a Local,
    state: State,
    /// Read but not yet written.
    kept: Vec<u8>,
    /// How much of `kept` has been written.
    written: usize,
    /// Something was written that TLS may hold back.
    unflushed: bool,
    /// In use while the data comes in bulk.
    pipe: Option<Pipe>,
    /// Reads in a row that speak for the other way of passing data on.
    against: u32,
    /// Bytes read.
    pub(super) bytes: u64,
    /// Grows whenever something moved.
    pub(super) progress: u64,
}

impl<'a> Direction<'a> {
    pub(super) fn new(from: Reader<'a>, to: Writer<'a>, local: &'a Local) -> Self {
        Self {
            from,
            to,
            local,
            state: State::Open,
            kept: Vec::new(),
            written: 0,
            unflushed: false,
            pipe: None,
            against: 0,
            bytes: 0,
            progress: 0,
        }
    }

    /// The same, where this has been read already.
    pub(super) fn after(mut self, early: Vec<u8>) -> Self {
        self.bytes = early.len() as u64;
        self.unflushed = !early.is_empty();
        self.kept = early;
        self
    }

    /// Reads what there is, and passes nothing on: whether that is all.
    pub(super) fn gather(&mut self, cx: &mut Context<'_>) -> Result<bool, Broken> {
        while self.state == State::Open && self.kept.len() < MOST_PAYLOAD {
            let mut scratch = self.local.scratch.borrow_mut();
            let mut buffer = ReadBuf::new(&mut scratch);
            match self.from.poll_read(cx, &mut buffer) {
                Poll::Pending => break,
                Poll::Ready(Err(_)) => return Err(Broken::Reading),
                Poll::Ready(Ok(())) => {}
            }
            let data = buffer.filled();
            self.kept.extend_from_slice(data);
            self.bytes += data.len() as u64;
            self.progress += 1;
            self.unflushed |= !data.is_empty();
            if data.is_empty() {
                self.state = State::Ending;
            }
        }
        Ok(self.state == State::Ending)
    }

    /// What was gathered so far.
    pub(super) fn gathered(&self) -> &[u8] {
        &self.kept
    }

    /// The end has been passed on.
    pub(super) fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// It holds data that the sink has yet to take.
    pub(super) fn holds(&self) -> bool {
        !self.kept.is_empty()
            || self.unflushed
            || self.pipe.as_ref().is_some_and(|pipe| pipe.held() > 0)
    }

    /// It waits for its source.
    pub(super) fn reads(&self) -> bool {
        self.state == State::Open && !self.holds()
    }

    /// It waits for its sink.
    pub(super) fn writes(&self) -> bool {
        !self.is_done() && self.holds()
    }

    /// The source is no more; what is held still goes to the sink.
    pub(super) fn end(&mut self) {
        if self.state == State::Open {
            self.state = State::Ending;
        }
    }

    /// Nothing more goes this way.
    pub(super) fn give_up(&mut self) {
        self.state = State::Done;
    }

    /// Moves what can be moved. Ready when done or broken.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        loop {
            ready!(self.poll_held(cx)).map_err(|_| Broken::Writing)?;
            if self.state == State::Ending {
                // A sink that is gone already needs no end; it shows by itself if it had broken.
                let _ = ready!(self.to.poll_shutdown(cx));
                self.state = State::Done;
            }
            if self.is_done() {
                return Poll::Ready(Ok(()));
            }
            let moved = match self.pipe.is_some() {
                true => ready!(self.poll_splice(cx)),
                false => ready!(self.poll_copy(cx)),
            }?;
            self.progress += 1;
            self.bytes += moved as u64;
            if moved == 0 {
                self.state = State::Ending;
            }
        }
    }

    /// Reads into the scratch buffer and writes from there; keeps what could not be written.
    fn poll_copy(&mut self, cx: &mut Context<'_>) -> Poll<Result<usize, Broken>> {
        let mut scratch = self.local.scratch.borrow_mut();
        let mut buffer = ReadBuf::new(&mut scratch);
        ready!(self.from.poll_read(cx, &mut buffer)).map_err(|_| Broken::Reading)?;
        let full = buffer.remaining() == 0;
        let data = buffer.filled();
        if !data.is_empty() {
            let taken = match self.to.poll_write(cx, data) {
                Poll::Ready(Ok(taken)) => taken,
                Poll::Ready(Err(_)) => return Poll::Ready(Err(Broken::Writing)),
                Poll::Pending => 0,
            };
            self.kept.extend_from_slice(&data[taken..]);
            self.unflushed = true;
        }
        self.against = if full { self.against + 1 } else { 0 };
        if self.against >= BULK_AFTER && self.is_plain() {
            self.against = 0;
            self.pipe = self.local.pipes.take();
        }
        Poll::Ready(Ok(data.len()))
    }

    /// Moves data into the pipe, which is empty.
    fn poll_splice(&mut self, cx: &mut Context<'_>) -> Poll<Result<usize, Broken>> {
        loop {
            let (Some(pipe), Some(from)) = (&mut self.pipe, self.from.plain()) else {
                return self.poll_copy(cx);
            };
            ready!(from.poll_read_ready(cx)).map_err(|_| Broken::Reading)?;
            match from.try_io(Interest::READABLE, || pipe.fill(from)) {
                Ok(moved) => {
                    self.against = if moved < BULK_MIN {
                        self.against + 1
                    } else {
                        0
                    };
                    return Poll::Ready(Ok(moved));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                // A socket that cannot be spliced from, as with another protocol on top of it.
                Err(error) if error.kind() == io::ErrorKind::InvalidInput => self.leave_pipe(),
                Err(_) => return Poll::Ready(Err(Broken::Reading)),
            }
        }
    }

    /// Writes what is kept, then what the pipe holds.
    fn poll_held(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.written < self.kept.len() {
            let taken = ready!(self.to.poll_write(cx, &self.kept[self.written..]))?;
            self.written += taken;
            self.progress += 1;
        }
        if self.written > 0 {
            // Its memory goes too: a connection that idles holds none.
            self.kept = Vec::new();
            self.written = 0;
        }
        if self.unflushed {
            ready!(self.to.poll_flush(cx))?;
            self.unflushed = false;
        }
        while let Some(pipe) = self.pipe.as_mut().filter(|pipe| pipe.held() > 0) {
            let Some(to) = self.to.plain() else { break };
            ready!(to.poll_write_ready(cx))?;
            match to.try_io(Interest::WRITABLE, || pipe.empty(to)) {
                Ok(_) => self.progress += 1,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
        if self.pipe.is_some() && (self.against >= SMALL_AFTER || self.state != State::Open) {
            self.leave_pipe();
        }
        Poll::Ready(Ok(()))
    }

    /// Whether the bytes of both sides are the connections' own, so that they may pass unseen.
    fn is_plain(&self) -> bool {
        self.from.plain().is_some() && self.to.plain().is_some()
    }

    fn leave_pipe(&mut self) {
        self.against = 0;
        if let Some(pipe) = self.pipe.take() {
            self.local.pipes.give_back(pipe);
        }
    }
}

impl Drop for Direction<'_> {
    fn drop(&mut self) {
        self.leave_pipe();
    }
}
