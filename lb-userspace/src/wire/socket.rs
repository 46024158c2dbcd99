//! A socket's bytes, read and written with as little around the system calls as there can be.
//!
//! tokio goes by the C library, whose recv(2) and send(2) in a process of several threads turn deferred cancellation on
//! and off around each call (pthreads(7), cancellation points): of a request's four calls that costs more than the rest
//! of what is done about them here.

use std::{
    io::{self, IoSlice},
    ops::Deref,
    os::fd::{AsFd, BorrowedFd},
    pin::Pin,
    task::{Context, Poll, ready},
};

use rustix::{
    io::{Errno, writev},
    net::{RecvFlags, SendFlags, Shutdown, recv, send},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, Interest, ReadBuf},
    net::TcpStream,
};

use super::unhurried::Unhurried;

/// A connected socket; what it is asked beside its bytes is the [`TcpStream`]'s to answer.
#[derive(Debug)]
pub struct Socket {
    stream: TcpStream,
    /// If acknowledgements may wait for what is written next.
    unhurried: Option<Unhurried>,
}

impl Socket {
    /// One of TCP, to whoever answers what it is asked: see [`super::unhurried`].
    pub fn unhurried(stream: TcpStream) -> Self {
        Self {
            stream,
            unhurried: Some(Unhurried::default()),
        }
    }

    /// The same, to be read by other means: what it has was not read before.
    pub(super) fn settled(&self) -> &TcpStream {
        if let Some(unhurried) = &self.unhurried {
            unhurried.settle(self.as_fd());
        }
        &self.stream
    }

    /// Reads what there is into the unfilled part of `buffer`.
    pub(super) fn poll_read(
        &self,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let room = buffer.remaining();
        // SAFETY: `recv` and `Unhurried` take it as uninitialised, and write nothing uninitialised into it.
        let unfilled = unsafe { buffer.unfilled_mut() };
        let read = |socket: BorrowedFd<'_>| match &self.unhurried {
            Some(unhurried) => unhurried.read(socket, unfilled),
            None => {
                let ((bytes, _), _) = recv(socket, &mut *unfilled, RecvFlags::empty())?;
                Ok(bytes.len())
            }
        };
        let n = ready!(self.poll_io(cx, Interest::READABLE, room, read))?;
        // SAFETY: so many bytes at its beginning have been written by them.
        unsafe { buffer.assume_init(n) };
        buffer.advance(n);
        Poll::Ready(Ok(()))
    }

    /// Writes what the socket takes of `data`.
    pub(super) fn poll_write(&self, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_written(cx, data.len(), |socket| {
            send(socket, data, SendFlags::NOSIGNAL)
        })
    }

    fn poll_written(
        &self,
        cx: &mut Context<'_>,
        length: usize,
        write: impl FnMut(BorrowedFd<'_>) -> rustix::io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        let written = self.poll_io(cx, Interest::WRITABLE, length, write);
        if let (Some(unhurried), Poll::Ready(Ok(_))) = (&self.unhurried, &written) {
            unhurried.written();
        }
        written
    }

    /// Ends what is written.
    pub(super) fn end(&self) -> io::Result<()> {
        match rustix::net::shutdown(&self.stream, Shutdown::Write) {
            // The other end has gone already.
            Err(Errno::NOTCONN) => Ok(()),
            done => Ok(done?),
        }
    }

    /// Does `call`, which moves up to `room` bytes, once the socket is ready for it.
    fn poll_io(
        &self,
        cx: &mut Context<'_>,
        interest: Interest,
        room: usize,
        mut call: impl FnMut(BorrowedFd<'_>) -> rustix::io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        let socket = &self.stream;
        loop {
            ready!(match interest.is_readable() {
                true => socket.poll_read_ready(cx),
                false => socket.poll_write_ready(cx),
            })?;
            let mut moved = None;
            let done = socket.try_io(interest, || {
                let n = loop {
                    match call(socket.as_fd()) {
                        Err(Errno::INTR) => {}
                        done => break done?,
                    }
                };
                moved = Some(n);
                match n {
                    // There is no more for now, and what comes is told (epoll(7), edge-triggered): it is not asked for in vain.
                    1.. if n < room => Err(io::ErrorKind::WouldBlock.into()),
                    _ => Ok(()),
                }
            });
            match (moved, done) {
                (Some(n), _) => return Poll::Ready(Ok(n)),
                (None, Err(error)) if error.kind() == io::ErrorKind::WouldBlock => {}
                (None, Err(error)) => return Poll::Ready(Err(error)),
                // Nothing is done without a call.
                (None, Ok(())) => {}
            }
        }
    }
}

impl From<TcpStream> for Socket {
    fn from(stream: TcpStream) -> Self {
        Self {
            stream,
            unhurried: None,
        }
    }
}

impl Deref for Socket {
    type Target = TcpStream;

    fn deref(&self) -> &TcpStream {
        &self.stream
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

impl Drop for Socket {
    /// To close it with unread bytes would be to reset the connection.
    fn drop(&mut self) {
        self.settled();
    }
}

impl AsyncRead for Socket {
    #[inline]
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Socket::poll_read(&self, cx, buffer)
    }
}

impl AsyncWrite for Socket {
    #[inline]
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        Socket::poll_write(&self, cx, data)
    }

    #[inline]
    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let length = data.iter().map(|part| part.len()).sum();
        self.poll_written(cx, length, |socket| writev(socket, data))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.end())
    }
}
