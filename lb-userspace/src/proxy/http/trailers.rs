//! Trailers towards clients of HTTP/1.
//!
//! hyper writes them for those alone who say `TE: trailers`, which hardly anybody says who reads them; HAProxy writes them
//! for all. Those that an answer has announced are written here, in the place of the end that hyper writes.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use http::{
    HeaderMap, HeaderName,
    header::{CONTENT_LENGTH, TRAILER},
};
use tokio::io::AsyncWrite;

use super::{client::Client, h1};
use crate::proxy::Stream;

/// What hyper ends a body with.
const END: &[u8] = b"0\r\n\r\n";

/// How far the trailers of an answer have come.
#[derive(Debug)]
pub(super) enum Last {
    /// These may come.
    Announced(Vec<HeaderName>),
    /// They have: this is the body's end, before which goes what hyper still has of it.
    Known(Vec<u8>),
    /// What hyper writes next is the end.
    Due(Vec<u8>),
}

impl Client {
    /// The answer has this head; its client speaks HTTP/1.1.
    pub(super) fn announce(&self, headers: &HeaderMap) {
        if headers.contains_key(TRAILER) && !headers.contains_key(CONTENT_LENGTH) {
            let announced = Last::Announced(h1::announced(headers));
            self.last.replace(Some(Box::new(announced)));
        }
    }

    /// The answer ends with these trailers. Whether they are written here: then what came before is to be flushed first.
    pub(super) fn ends_with(&self, trailers: &HeaderMap) -> bool {
        let mut last = self.last.borrow_mut();
        let Some(last) = last.as_deref_mut() else {
            return false;
        };
        if let Last::Announced(announced) = last {
            let mut end = Vec::new();
            h1::write_end(Some(trailers), announced, &mut end);
            *last = Last::Known(end);
        }
        true
    }

    /// What came before them has been flushed.
    pub(super) fn trailers_are_due(&self) {
        if let Some(last) = self.last.borrow_mut().as_deref_mut()
            && let Last::Known(end) = last
        {
            // hyper says how long the end is that it writes.
            self.sent(end.len().saturating_sub(END.len()));
            *last = Last::Due(std::mem::take(end));
        }
    }

    /// Writes them to `stream`, if `buffer` begins with the end that they take the place of; how much of it they do.
    pub(super) fn poll_trailers(
        &self,
        stream: &mut Stream,
        cx: &mut Context<'_>,
        buffer: &[u8],
    ) -> Option<Poll<io::Result<usize>>> {
        let mut last = self.last.borrow_mut();
        let Some(Last::Due(end)) = last.as_deref_mut().filter(|_| buffer.starts_with(END)) else {
            return None;
        };
        let written = poll_all(end, stream, cx);
        if matches!(written, Poll::Ready(Ok(()))) {
            *last = None;
        }
        Some(written.map_ok(|()| END.len()))
    }
}

fn poll_all(
    bytes: &mut Vec<u8>,
    stream: &mut Stream,
    cx: &mut Context<'_>,
) -> Poll<io::Result<()>> {
    while !bytes.is_empty() {
        match ready!(Pin::new(&mut *stream).poll_write(cx, bytes))? {
            0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
            n => drop(bytes.drain(..n)),
        }
    }
    Poll::Ready(Ok(()))
}
