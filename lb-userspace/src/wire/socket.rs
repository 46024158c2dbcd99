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
    net::{RecvFlags, SendFlags, recv, send},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, Interest, ReadBuf},
    net::{
        TcpStream,
        tcp::{ReadHalf, WriteHalf},
    },
};

/// A connected socket; what it is asked beside its bytes is the [`TcpStream`]'s to answer.
#[derive(Debug)]
pub struct Socket(TcpStream);

impl Socket {
    /// Its two directions.
    pub(super) fn halves(&mut self) -> (ReadHalf<'_>, WriteHalf<'_>) {
        self.0.split()
    }
}

impl From<TcpStream> for Socket {
    fn from(stream: TcpStream) -> Self {
        Self(stream)
    }
}

impl Deref for Socket {
    type Target = TcpStream;

    fn deref(&self) -> &TcpStream {
        &self.0
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl AsyncRead for Socket {
    #[inline]
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        poll_read(&self.0, cx, buffer)
    }
}

impl AsyncWrite for Socket {
    #[inline]
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        poll_write(&self.0, cx, data)
    }

    #[inline]
    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let length = data.iter().map(|part| part.len()).sum();
        poll_written(&self.0, cx, length, |socket| writev(socket, data))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

/// Reads what there is into the unfilled part of `buffer`.
pub(super) fn poll_read(
    socket: &TcpStream,
    cx: &mut Context<'_>,
    buffer: &mut ReadBuf<'_>,
) -> Poll<io::Result<()>> {
    let room = buffer.remaining();
    // SAFETY: `recv` takes it as uninitialised, and writes nothing uninitialised into it.
    let unfilled = unsafe { buffer.unfilled_mut() };
    let n = ready!(poll_io(socket, cx, Interest::READABLE, room, |socket| {
        let ((bytes, _), _) = recv(socket, &mut *unfilled, RecvFlags::empty())?;
        Ok(bytes.len())
    }))?;
    // SAFETY: so many bytes at its beginning have been written by `recv`.
    unsafe { buffer.assume_init(n) };
    buffer.advance(n);
    Poll::Ready(Ok(()))
}

/// Writes what the socket takes of `data`.
pub(super) fn poll_write(
    socket: &TcpStream,
    cx: &mut Context<'_>,
    data: &[u8],
) -> Poll<io::Result<usize>> {
    poll_written(socket, cx, data.len(), |socket| {
        send(socket, data, SendFlags::NOSIGNAL)
    })
}

fn poll_written(
    socket: &TcpStream,
    cx: &mut Context<'_>,
    length: usize,
    write: impl FnMut(BorrowedFd<'_>) -> rustix::io::Result<usize>,
) -> Poll<io::Result<usize>> {
    poll_io(socket, cx, Interest::WRITABLE, length, write)
}

/// Does `call`, which moves up to `room` bytes, once the socket is ready for it.
fn poll_io(
    socket: &TcpStream,
    cx: &mut Context<'_>,
    interest: Interest,
    room: usize,
    mut call: impl FnMut(BorrowedFd<'_>) -> rustix::io::Result<usize>,
) -> Poll<io::Result<usize>> {
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
