//! A connection's bytes: the bare socket, or TLS on top of it.
//!
//! One enum instead of a type parameter: what serves a connection exists once, and for the bare socket the price is a
//! branch that is always taken alike.

use std::{
    cell::RefCell,
    io::{self, IoSlice},
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};
use tokio_rustls::TlsStream;

use super::socket::Socket;
use crate::tls::Session;

/// A connection to a client or a server.
#[derive(Debug)]
pub enum Stream {
    /// The socket itself.
    Plain(Socket),
    /// TLS over it. Boxed: its state is large, and the bare socket should not carry it around.
    Tls(Box<TlsStream<Socket>>),
}

impl Stream {
    /// The socket underneath.
    pub fn tcp(&self) -> &Socket {
        match self {
            Self::Plain(stream) => stream,
            Self::Tls(stream) => stream.get_ref().0,
        }
    }

    /// Whether it is TLS.
    pub fn is_tls(&self) -> bool {
        matches!(self, Self::Tls(_))
    }

    /// The protocol that was agreed on by ALPN.
    pub fn alpn(&self) -> Option<&[u8]> {
        match self {
            Self::Plain(_) => None,
            Self::Tls(stream) => stream.get_ref().1.alpn_protocol(),
        }
    }

    /// What its handshake has shown, if it is TLS.
    pub fn session(&self) -> Option<Session> {
        match self {
            Self::Plain(_) => None,
            Self::Tls(stream) => Some(Session::with(stream.get_ref().1)),
        }
    }

    /// The two directions, to be polled by the same task.
    pub(crate) fn split(&mut self) -> (Reader<'_>, Writer<'_>) {
        match self {
            Self::Plain(stream) => {
                let stream: &Socket = stream;
                (Reader::Plain(stream), Writer::Plain(stream))
            }
            Self::Tls(stream) => {
                let shared = Rc::new(RefCell::new(&mut **stream));
                (Reader::Tls(Rc::clone(&shared)), Writer::Tls(shared))
            }
        }
    }
}

impl From<TcpStream> for Stream {
    fn from(stream: TcpStream) -> Self {
        Self::Plain(stream.into())
    }
}

/// Many close without TLS's own goodbye. Where the protocol above says what is complete, or nothing is (mode tcp), that
/// is an end like any other.
pub(crate) fn without_goodbye(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::UnexpectedEof
}

impl AsyncRead for Stream {
    #[inline]
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, buffer),
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for Stream {
    #[inline]
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, data),
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, data),
        }
    }

    #[inline]
    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write_vectored(cx, data),
            Self::Tls(stream) => Pin::new(stream).poll_write_vectored(cx, data),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    /// TLS may hold back what it has encrypted already: nobody who has more to write need call this, everybody else must.
    #[inline]
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(_) => Poll::Ready(Ok(())),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

/// What a TLS stream's two directions share.
type Shared<'a> = Rc<RefCell<&'a mut TlsStream<Socket>>>;

/// What comes.
#[derive(Debug)]
pub(crate) enum Reader<'a> {
    Plain(&'a Socket),
    Tls(Shared<'a>),
}

/// What goes.
#[derive(Debug)]
pub(crate) enum Writer<'a> {
    Plain(&'a Socket),
    Tls(Shared<'a>),
}

impl Reader<'_> {
    /// The socket, if its bytes are the connection's.
    pub(crate) fn plain(&self) -> Option<&Socket> {
        match self {
            Self::Plain(socket) => Some(socket.settled()),
            Self::Tls(_) => None,
        }
    }

    pub(crate) fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self {
            Self::Plain(socket) => socket.poll_read(cx, buffer),
            Self::Tls(shared) => match poll(shared, |s| s.poll_read(cx, buffer)) {
                Poll::Ready(Err(error)) if without_goodbye(&error) => Poll::Ready(Ok(())),
                read => read,
            },
        }
    }
}

impl Writer<'_> {
    /// The socket, if its bytes are the connection's.
    pub(crate) fn plain(&self) -> Option<&Socket> {
        match self {
            Self::Plain(socket) => Some(socket),
            Self::Tls(_) => None,
        }
    }

    pub(crate) fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self {
            Self::Plain(socket) => socket.poll_write(cx, data),
            Self::Tls(shared) => poll(shared, |s| s.poll_write(cx, data)),
        }
    }

    pub(crate) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Plain(_) => Poll::Ready(Ok(())),
            Self::Tls(shared) => poll(shared, |s| s.poll_flush(cx)),
        }
    }

    pub(crate) fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Plain(socket) => Poll::Ready(socket.end()),
            Self::Tls(shared) => poll(shared, |s| s.poll_shutdown(cx)),
        }
    }
}

/// Borrowed for one poll only, in which nothing else runs.
fn poll<T>(shared: &Shared<'_>, poll: impl FnOnce(Pin<&mut TlsStream<Socket>>) -> T) -> T {
    poll(Pin::new(&mut **shared.borrow_mut()))
}
