//! A body as it comes in, whatever it comes by.

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use super::{
    ahead::Ahead,
    forward, h1,
    h2::{self as http2, Received},
    kept::Replay,
};

/// A body as it comes in.
pub(super) enum Inbound {
    /// From a client, by HTTP/1.
    Http1(Incoming),
    /// From a server, by HTTP/1.
    Server(h1::Body),
    /// From a client, by HTTP/2.
    Client(http2::Body),
    /// From a server, by HTTP/2.
    Http2(Received),
    /// From memory.
    Kept(Box<Replay>),
    /// Some of it from memory.
    Ahead(Box<Ahead>),
    /// None.
    None,
}

/// Why a body does not go on.
#[derive(Debug)]
pub(super) enum Fault {
    /// In a client's HTTP/1.
    Http1(hyper::Error),
    /// In a server's.
    Server(h1::BrokenOff),
    /// In a client's HTTP/2.
    Client(http2::Broken),
    /// In a server's.
    Http2(h2::Error),
}

impl Fault {
    /// The code with which the peer has ended the stream, if that is what it did.
    pub(super) fn reset(&self) -> Option<h2::Reason> {
        match self {
            Self::Http2(error) if error.is_remote() && error.is_reset() => error.reason(),
            _ => None,
        }
    }

    /// Whether a server has sent what is no body.
    pub(super) fn is_malformed(&self) -> bool {
        matches!(self, Self::Server(h1::BrokenOff { malformed: true }))
    }

    /// Whether a request's body ends because the client has left. All else is that what it sends is none.
    pub(super) fn is_leaving(&self) -> bool {
        let Self::Http1(error) = self else {
            // What breaks the rules has lost its stream already; to the server it is all the same.
            return true;
        };
        // hyper wraps what its decoder says; an end in the middle is the client's leaving.
        let mut source: Option<&(dyn std::error::Error + 'static)> = Some(error);
        let mut left = error.is_incomplete_message() || error.is_closed();
        while let Some(error) = source {
            left |= error.downcast_ref::<std::io::Error>().is_some_and(|error| {
                use std::io::ErrorKind::{BrokenPipe, ConnectionReset, UnexpectedEof};
                matches!(error.kind(), UnexpectedEof | ConnectionReset | BrokenPipe)
            });
            source = error.source();
        }
        left
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Http1(error) => error.fmt(f),
            Self::Server(_) => f.write_str("the server broke off"),
            Self::Client(broken) => write!(f, "{broken}"),
            Self::Http2(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for Fault {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Http1(error) => error.source(),
            Self::Server(_) | Self::Client(_) => None,
            Self::Http2(error) => error.source(),
        }
    }
}

/// What follows a body has no fields of a connection's or of the body's form, as in HAProxy: they would come too late, and
/// HTTP/2 has none of them.
fn cleaned(mut frame: Frame<Bytes>) -> Frame<Bytes> {
    if let Some(trailers) = frame.trailers_mut() {
        forward::trailers(trailers);
    }
    frame
}

impl Inbound {
    pub(super) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Fault>>> {
        match self {
            Self::Http1(incoming) => Pin::new(incoming)
                .poll_frame(cx)
                .map(|frame| frame.map(|frame| frame.map(cleaned).map_err(Fault::Http1))),
            Self::Server(body) => body
                .poll_frame()
                .map(|frame| frame.map(|frame| frame.map(cleaned).map_err(Fault::Server))),
            Self::Client(body) => body
                .poll_frame(cx)
                .map(|frame| frame.map(|frame| frame.map(cleaned).map_err(Fault::Client))),
            Self::Http2(received) => received
                .poll_frame(cx)
                .map(|frame| frame.map(|frame| frame.map(cleaned).map_err(Fault::Http2))),
            Self::Kept(replay) => Poll::Ready(replay.next().map(Ok)),
            Self::Ahead(ahead) => ahead.next(cx),
            Self::None => Poll::Ready(None),
        }
    }

    pub(super) fn is_end_stream(&self) -> bool {
        match self {
            Self::Http1(incoming) => incoming.is_end_stream(),
            Self::Server(body) => body.is_end_stream(),
            Self::Client(body) => body.is_end_stream(),
            Self::Http2(received) => received.is_end_stream(),
            Self::Kept(replay) => replay.is_over(),
            Self::Ahead(ahead) => ahead.is_over(),
            Self::None => true,
        }
    }

    pub(super) fn size_hint(&self) -> SizeHint {
        match self {
            Self::Http1(incoming) => incoming.size_hint(),
            Self::Server(body) => body.size_hint(),
            // Its head has the length, if there is one.
            Self::Client(body) if body.is_end_stream() => SizeHint::with_exact(0),
            Self::Http2(received) if received.is_end_stream() => SizeHint::with_exact(0),
            Self::Client(_) | Self::Http2(_) => SizeHint::default(),
            Self::Kept(replay) => replay.size_hint(),
            Self::Ahead(ahead) => ahead.size_hint(),
            Self::None => SizeHint::with_exact(0),
        }
    }
}
