//! A socket's bytes, read and written with as little around the system calls as there can be.
//!
//! tokio goes by the C library, whose recv(2) and send(2) in a process of several threads turn deferred cancellation on
//! and off around each call (pthreads(7), cancellation points): of a request's four calls that costs more than the rest
//! of what is done about them here.
//!
//! Nor need the runtime be told of an accepted socket before somebody has to wait for it (epoll(7)): where connections queue
//! up, many a client has sent its request by the time that it is accepted, takes its answer at once, and goes. Of such a
//! connection's own system calls those that watch it would be a third.

use std::{
    cell::{Cell, OnceCell},
    io::{self, IoSlice},
    net::SocketAddr,
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd},
    pin::Pin,
    task::{Context, Poll, ready},
};

use rustix::{
    io::{Errno, ioctl_fionread, writev},
    net::{RecvFlags, SendFlags, Shutdown, getsockname, recv, send},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, Interest, ReadBuf, Ready, unix::AsyncFd},
    net::TcpStream,
};

use super::unhurried::Unhurried;

/// A connected socket.
#[derive(Debug)]
pub struct Socket {
    link: Link,
    /// If acknowledgements may wait for what is written next.
    unhurried: Option<Unhurried>,
}

/// Where it comes from.
#[derive(Debug)]
enum Link {
    /// The runtime has connected it, and watches it.
    Connected(TcpStream),
    Accepted(Accepted),
}

/// One that the runtime learns of only if somebody has to wait for it.
#[derive(Debug)]
struct Accepted {
    /// The runtime's part, which ends before the descriptor does: fields are dropped in order.
    watch: OnceCell<AsyncFd<RawFd>>,
    descriptor: OwnedFd,
    /// It was read. There is hardly ever more, and nobody tries before being told that there is.
    read: Cell<bool>,
}

impl Accepted {
    fn watch(&self) -> io::Result<&AsyncFd<RawFd>> {
        if let Some(watch) = self.watch.get() {
            return Ok(watch);
        }
        // SAFETY: the descriptor is open until `self` is dropped, where the `AsyncFd` goes before it.
        let watch = unsafe { AsyncFd::register(self.descriptor.as_raw_fd()) };
        let watch = watch.map_err(|error| error.into_parts().1)?;
        Ok(self.watch.get_or_init(|| watch))
    }

    /// Whether something is there that nobody has read or waited for.
    fn has_come(&self) -> bool {
        self.watch.get().is_none() && !self.read.get() && ioctl_fionread(self).is_ok_and(|n| n > 0)
    }

    /// Whether to try before the runtime is told: the first read, and all writes, for which there nearly always is room.
    fn tries(&self, interest: Interest) -> bool {
        self.watch.get().is_none() && !(interest.is_readable() && self.read.replace(true))
    }
}

impl AsFd for Accepted {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

impl Socket {
    /// One of TCP, to whoever answers what it is asked: see [`super::unhurried`].
    pub fn unhurried(stream: TcpStream) -> Self {
        Self {
            link: Link::Connected(stream),
            unhurried: Some(Unhurried::default()),
        }
    }

    /// One that was accepted and does not block.
    pub fn accepted(descriptor: OwnedFd) -> Self {
        Self {
            link: Link::Accepted(Accepted {
                watch: OnceCell::new(),
                descriptor,
                read: Cell::new(false),
            }),
            unhurried: None,
        }
    }

    /// Has the runtime learn of it now.
    ///
    /// # Errors
    /// There is no room for it there.
    pub fn watch(&self) -> io::Result<()> {
        match &self.link {
            Link::Connected(_) => Ok(()),
            Link::Accepted(accepted) => accepted.watch().map(|_| ()),
        }
    }

    /// The same, to be read by other means: what it has was not read before.
    pub(super) fn settled(&self) -> &Self {
        if let Some(unhurried) = &self.unhurried {
            unhurried.settle(self.as_fd());
        }
        self
    }

    /// Its own address.
    ///
    /// # Errors
    /// What the system says, or that it is none of the internet's.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(SocketAddr::try_from(getsockname(self)?)?)
    }

    /// Whether it was accepted with something that can be read without waiting; what has come later is not seen.
    pub(crate) fn has_come(&self) -> bool {
        matches!(&self.link, Link::Accepted(accepted) if accepted.has_come())
    }

    /// As [`TcpStream::poll_read_ready`].
    pub(crate) fn poll_read_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &self.link {
            Link::Connected(stream) => stream.poll_read_ready(cx),
            Link::Accepted(accepted) => accepted.watch()?.poll_read_ready(cx).map_ok(|_| ()),
        }
    }

    /// Whether it is known that nothing has come, nor an end, since it was last read from.
    pub(crate) fn is_silent(&self) -> bool {
        let looked = match &self.link {
            Link::Connected(stream) => stream.try_io(Interest::READABLE, || Ok(())),
            Link::Accepted(_) => return false,
        };
        looked.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
    }

    /// As [`TcpStream::poll_write_ready`].
    pub(crate) fn poll_write_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &self.link {
            Link::Connected(stream) => stream.poll_write_ready(cx),
            Link::Accepted(accepted) => accepted.watch()?.poll_write_ready(cx).map_ok(|_| ()),
        }
    }

    /// As [`TcpStream::ready`].
    pub(crate) async fn ready(&self, interest: Interest) -> io::Result<Ready> {
        match &self.link {
            Link::Connected(stream) => stream.ready(interest).await,
            Link::Accepted(accepted) => Ok(accepted.watch()?.ready(interest).await?.ready()),
        }
    }

    /// As [`TcpStream::try_io`].
    pub(crate) fn try_io<R>(
        &self,
        interest: Interest,
        call: impl FnOnce() -> io::Result<R>,
    ) -> io::Result<R> {
        match &self.link {
            Link::Connected(stream) => stream.try_io(interest, call),
            Link::Accepted(accepted) => accepted.watch()?.try_io(interest, |_| call()),
        }
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
        match rustix::net::shutdown(self, Shutdown::Write) {
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
        let mut call = || loop {
            match call(self.as_fd()) {
                Err(Errno::INTR) => {}
                done => return done,
            }
        };
        if let Link::Accepted(accepted) = &self.link
            && accepted.tries(interest)
        {
            match call() {
                Err(Errno::WOULDBLOCK) => {}
                done => return Poll::Ready(Ok(done?)),
            }
        }
        loop {
            ready!(match interest.is_readable() {
                true => self.poll_read_ready(cx),
                false => self.poll_write_ready(cx),
            })?;
            let mut moved = None;
            let done = self.try_io(interest, || {
                let n = call()?;
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
            link: Link::Connected(stream),
            unhurried: None,
        }
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.link {
            Link::Connected(stream) => stream.as_fd(),
            Link::Accepted(accepted) => accepted.as_fd(),
        }
    }
}

impl AsRawFd for Socket {
    fn as_raw_fd(&self) -> RawFd {
        self.as_fd().as_raw_fd()
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

#[cfg(test)]
mod tests {
    use std::{
        io::{Read, Write},
        os::unix::net::UnixStream,
    };

    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    /// A socket as it comes from accept(2), and its other end.
    fn accepted() -> (Socket, UnixStream) {
        let (near, far) = UnixStream::pair().unwrap();
        near.set_nonblocking(true).unwrap();
        (Socket::accepted(near.into()), far)
    }

    fn is_watched(socket: &Socket) -> bool {
        matches!(&socket.link, Link::Accepted(accepted) if accepted.watch.get().is_some())
    }

    fn run(future: impl Future<Output = ()>) {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        runtime.enable_all().build().unwrap().block_on(future);
    }

    #[test]
    fn the_runtime_learns_of_an_accepted_socket_when_somebody_waits() {
        run(async {
            let (mut socket, mut far) = accepted();
            assert!(!socket.has_come(), "nothing was sent");
            far.write_all(b"question").unwrap();
            assert!(socket.has_come());
            let mut buffer = [0; 64];
            assert_eq!(socket.read(&mut buffer).await.unwrap(), 8);
            assert!(!socket.has_come(), "it was taken");
            socket.write_all(b"answer").await.unwrap();
            assert!(!is_watched(&socket));
            let asks = async {
                tokio::task::yield_now().await;
                far.write_all(b"again").unwrap();
            };
            let (read, ()) = tokio::join!(socket.read(&mut buffer), asks);
            assert_eq!(read.unwrap(), 5);
            assert!(is_watched(&socket));
            far.shutdown(std::net::Shutdown::Write).unwrap();
            assert_eq!(socket.read(&mut buffer).await.unwrap(), 0);
            let mut answer = [0; 6];
            far.read_exact(&mut answer).unwrap();
            assert_eq!(&answer, b"answer");
        });
    }

    #[test]
    fn what_came_between_two_reads_is_not_missed() {
        run(async {
            let (mut socket, mut far) = accepted();
            far.write_all(b"one").unwrap();
            let mut buffer = [0; 64];
            assert_eq!(socket.read(&mut buffer).await.unwrap(), 3);
            far.write_all(b"two").unwrap();
            assert_eq!(socket.read(&mut buffer).await.unwrap(), 3);
            drop(far);
            assert_eq!(socket.read(&mut buffer).await.unwrap(), 0);
        });
    }

    #[test]
    fn a_first_read_in_vain_waits() {
        run(async {
            let (mut socket, mut far) = accepted();
            let mut buffer = [0; 64];
            let asks = async {
                tokio::task::yield_now().await;
                far.write_all(b"late").unwrap();
            };
            let (read, ()) = tokio::join!(socket.read(&mut buffer), asks);
            assert_eq!(read.unwrap(), 4);
        });
    }

    #[test]
    fn what_does_not_fit_waits_for_the_other_end() {
        run(async {
            let (mut socket, mut far) = accepted();
            let much = vec![b'x'; 4 << 20];
            let reader = std::thread::spawn(move || {
                let mut all = Vec::new();
                far.read_to_end(&mut all).unwrap();
                all.len()
            });
            socket.write_all(&much).await.unwrap();
            drop(socket);
            assert_eq!(reader.join().unwrap(), much.len());
        });
    }
}
