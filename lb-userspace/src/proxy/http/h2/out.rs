//! What is to be written on a connection.

use std::{
    collections::VecDeque,
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Buf, Bytes};
use tokio::io::AsyncWrite;

use crate::proxy::Stream;

/// A payload of this length is written from where it is; what is smaller is put together first.
const LARGE: usize = 4096;
/// Pieces that are written at once.
const PIECES: usize = 16;
/// The room that is kept while there is something under way.
const KEPT: usize = 4096;

/// What is to be written: frames, one behind the other.
#[derive(Debug, Default)]
pub(super) struct Out {
    ahead: VecDeque<Bytes>,
    /// The length of what is ahead.
    length: usize,
    /// What comes last, and how much of it is written.
    last: Vec<u8>,
    written: usize,
}

impl Out {
    pub(super) fn len(&self) -> usize {
        self.length + self.last.len() - self.written
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Where frames are put.
    pub(super) fn frames(&mut self) -> &mut Vec<u8> {
        &mut self.last
    }

    /// Puts a payload.
    pub(super) fn payload(&mut self, payload: Bytes) {
        if payload.len() < LARGE {
            self.last.extend_from_slice(&payload);
            return;
        }
        let mut last = Bytes::from(std::mem::take(&mut self.last));
        last.advance(std::mem::take(&mut self.written));
        self.length += last.len() + payload.len();
        self.ahead.extend([last, payload]);
    }

    /// Writes some of it: how much.
    ///
    /// # Errors
    /// The connection is no more.
    pub(super) fn poll(
        &mut self,
        stream: &mut Stream,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        let last = &self.last[self.written..];
        let stream = Pin::new(stream);
        let n = if self.ahead.is_empty() {
            ready!(stream.poll_write(cx, last))?
        } else {
            let mut slices = [IoSlice::new(&[]); PIECES];
            let pieces = self.ahead.iter().map(|piece| &piece[..]).chain([last]);
            let mut count = 0;
            for (slice, piece) in slices.iter_mut().zip(pieces) {
                *slice = IoSlice::new(piece);
                count += 1;
            }
            ready!(stream.poll_write_vectored(cx, &slices[..count]))?
        };
        if n == 0 {
            return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
        }
        self.advance(n);
        Poll::Ready(Ok(n))
    }

    fn advance(&mut self, mut n: usize) {
        while let Some(piece) = self.ahead.front_mut() {
            let of_piece = n.min(piece.len());
            piece.advance(of_piece);
            self.length -= of_piece;
            n -= of_piece;
            if !piece.is_empty() {
                return;
            }
            self.ahead.pop_front();
        }
        self.written += n;
        if self.written == self.last.len() {
            self.written = 0;
            self.last.clear();
            self.last.shrink_to(KEPT);
        }
    }

    /// All that is to be written, as if it was.
    #[cfg(test)]
    pub(super) fn drain(&mut self) -> Vec<u8> {
        let mut all: Vec<u8> = self.ahead.iter().flatten().copied().collect();
        all.extend_from_slice(&self.last[self.written..]);
        self.advance(all.len());
        all
    }

    /// Gives back what memory is not used.
    pub(super) fn rest(&mut self) {
        if self.is_empty() {
            *self = Self::default();
        }
    }
}
