//! What is written to a server: heads and bodies of requests, put together where they are small.

use std::{
    io::IoSlice,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::HeaderName;
use http_body::{Body as _, Frame};

use super::{
    connection::Failed,
    head::{self, Sent},
};
use crate::proxy::http::{body::RequestBody, server_io::ServerIo};

/// Bytes up to which a piece of a request's body is put together with what is written before it: copying it costs less
/// than the kernel's handling of a list of pieces.
const TOGETHER: usize = 4 * 1024;
/// What the buffer of what is written keeps of its room from one request to the next.
const KEPT: usize = 8 * 1024;

/// The body of a request on its way.
pub(super) struct Sending {
    body: RequestBody,
    framing: Sent,
}

/// What is to be written.
#[derive(Default)]
pub(super) struct Out {
    /// Put together, of which so many bytes have been written.
    flat: Vec<u8>,
    written: usize,
    /// What follows it, and what follows that.
    large: Option<Bytes>,
    tail: &'static [u8],
}

impl Sending {
    pub(super) fn new(body: RequestBody, framing: Sent) -> Self {
        Self { body, framing }
    }

    /// Puts the next piece of the body to what is written: whether it was the last.
    ///
    /// # Errors
    /// The body has broken off, or is not as long as was promised.
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        out: &mut Out,
    ) -> Poll<Result<bool, Failed>> {
        Poll::Ready(match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
            Some(Ok(frame)) => {
                let last = self.body.is_end_stream();
                self.take(frame, last, out)
            }
            Some(Err(_)) => Err(Failed::Closed),
            None => self.end(None, out).map(|()| true),
        })
    }

    /// Puts a piece of the body to what is written: whether it was the last.
    fn take(&mut self, frame: Frame<Bytes>, last: bool, out: &mut Out) -> Result<bool, Failed> {
        let frame = match frame.into_data() {
            Ok(data) => {
                self.data(data, out)?;
                if last {
                    self.end(None, out)?;
                }
                return Ok(last);
            }
            Err(frame) => frame,
        };
        let Ok(trailers) = frame.into_trailers() else {
            return Ok(false);
        };
        self.end(Some(&trailers), out)?;
        Ok(true)
    }

    fn data(&mut self, data: Bytes, out: &mut Out) -> Result<(), Failed> {
        match &mut self.framing {
            Sent::Length(left) => {
                let length = data.len() as u64;
                // More than was promised would be taken for the next request.
                *left = left.checked_sub(length).ok_or(Failed::Closed)?;
                out.push(data, b"");
            }
            // An empty chunk would be the end.
            Sent::Chunked(_) if data.is_empty() => {}
            Sent::Chunked(_) => {
                out.push_size(data.len());
                out.push(data, b"\r\n");
            }
        }
        Ok(())
    }

    fn end(&mut self, trailers: Option<&http::HeaderMap>, out: &mut Out) -> Result<(), Failed> {
        match &self.framing {
            Sent::Length(0) => Ok(()),
            // The server would wait for the rest.
            Sent::Length(_) => Err(Failed::Closed),
            Sent::Chunked(announced) => {
                out.push_end(trailers, announced);
                Ok(())
            }
        }
    }
}

impl Out {
    /// Where the head of a request goes, which comes first.
    pub(super) fn head(&mut self) -> &mut Vec<u8> {
        &mut self.flat
    }

    pub(super) fn is_empty(&self) -> bool {
        self.flat.len() == self.written && self.large.is_none() && self.tail.is_empty()
    }

    /// Whether more may be put to it before it is written.
    pub(super) fn has_room(&self) -> bool {
        self.large.is_none() && self.tail.is_empty() && self.flat.len() < TOGETHER
    }

    /// Forgets what nobody takes any more.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    fn push_size(&mut self, size: usize) {
        use std::io::Write as _;
        // Memory takes what is written to it.
        drop(write!(self.flat, "{size:X}\r\n"));
    }

    fn push(&mut self, data: Bytes, tail: &'static [u8]) {
        if data.len() <= TOGETHER {
            self.flat.extend_from_slice(&data);
            self.flat.extend_from_slice(tail);
        } else {
            self.large = Some(data);
            self.tail = tail;
        }
    }

    fn push_end(&mut self, trailers: Option<&http::HeaderMap>, announced: &[HeaderName]) {
        if self.large.is_some() {
            // The end of what is large, and of all: trailers come by themselves, when there is room.
            self.tail = b"\r\n0\r\n\r\n";
        } else {
            head::write_end(trailers, announced, &mut self.flat);
        }
    }

    /// Writes some of it: whether that is possible.
    pub(super) fn poll(&mut self, io: &mut ServerIo, cx: &mut Context<'_>) -> Poll<bool> {
        let flat = &self.flat[self.written..];
        let large = self.large.as_deref().unwrap_or_default();
        let written = match (large, self.tail) {
            ([], []) => io.poll_write(cx, &[IoSlice::new(flat)]),
            (large, tail) => {
                let all = [flat, large, tail].map(IoSlice::new);
                io.poll_write(cx, &all)
            }
        };
        let Ok(mut n @ 1..) = ready!(written) else {
            return Poll::Ready(false);
        };
        let of_flat = n.min(flat.len());
        n -= of_flat;
        self.written += of_flat;
        if self.written == self.flat.len() {
            self.written = 0;
            self.flat.clear();
            if self.flat.capacity() > KEPT {
                self.flat = Vec::new();
            }
        }
        if let Some(large) = &mut self.large {
            let of_large = n.min(large.len());
            n -= of_large;
            let _ = large.split_to(of_large);
            if large.is_empty() {
                self.large = None;
            }
        }
        self.tail = &self.tail[n.min(self.tail.len())..];
        Poll::Ready(true)
    }
}
