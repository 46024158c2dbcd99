//! Pipes that bulk data passes through without being copied to userspace: splice(2) from socket to pipe, from pipe to
//! socket.

use std::{
    cell::RefCell,
    io,
    os::fd::{AsFd, OwnedFd},
};

use rustix::{
    io::Errno,
    pipe::{PipeFlags, SpliceFlags, fcntl_setpipe_size, pipe_with, splice},
};

/// Bytes that a pipe is to hold. An unprivileged process may be refused that much, and works with less.
const CAPACITY: usize = 256 * 1024;
/// Most pipes of a worker; bulk transfers beyond that are copied.
pub(crate) const MAX_PIPES: usize = 128;

/// The pipes of a worker.
#[derive(Debug, Default)]
pub(super) struct Pipes {
    idle: RefCell<Vec<Pipe>>,
    made: std::cell::Cell<usize>,
}

impl Pipes {
    /// An empty pipe; `None` if there are too many, or the system gives none.
    pub(super) fn take(&self) -> Option<Pipe> {
        if let Some(pipe) = self.idle.borrow_mut().pop() {
            return Some(pipe);
        }
        if self.made.get() >= MAX_PIPES {
            return None;
        }
        let pipe = Pipe::new().ok()?;
        self.made.set(self.made.get() + 1);
        Some(pipe)
    }

    /// Takes a pipe back. One that still holds data is closed: it would go to a stranger.
    pub(super) fn give_back(&self, pipe: Pipe) {
        if pipe.held == 0 {
            self.idle.borrow_mut().push(pipe);
        } else {
            self.made.set(self.made.get() - 1);
        }
    }
}

/// A pipe.
#[derive(Debug)]
pub(super) struct Pipe {
    out: OwnedFd,
    into: OwnedFd,
    /// Bytes in it.
    held: usize,
}

impl Pipe {
    fn new() -> io::Result<Self> {
        let (out, into) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
        let _ = fcntl_setpipe_size(&into, CAPACITY);
        Ok(Self { out, into, held: 0 })
    }

    /// Bytes in it.
    pub(super) fn held(&self) -> usize {
        self.held
    }

    /// Moves what `socket` has into the pipe, which must be empty: then `WouldBlock` can only mean that the socket has
    /// nothing. 0 is the end of the stream.
    pub(super) fn fill(&mut self, socket: impl AsFd) -> io::Result<usize> {
        let moved = retry(|| splice(&socket, None, &self.into, None, CAPACITY, FLAGS))?;
        self.held += moved;
        Ok(moved)
    }

    /// Moves what the pipe has to `socket`.
    pub(super) fn empty(&mut self, socket: impl AsFd) -> io::Result<usize> {
        let moved = retry(|| splice(&self.out, None, &socket, None, self.held, FLAGS))?;
        self.held -= moved;
        Ok(moved)
    }
}

const FLAGS: SpliceFlags = SpliceFlags::MOVE.union(SpliceFlags::NONBLOCK);

fn retry(mut call: impl FnMut() -> rustix::io::Result<usize>) -> io::Result<usize> {
    loop {
        match call() {
            Err(Errno::INTR) => {}
            done => return Ok(done?),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Read, Write},
        os::unix::net::UnixStream,
    };

    use super::*;

    #[test]
    fn data_passes_through_and_a_pipe_with_leftovers_is_not_used_again() {
        let (mut writer, from) = UnixStream::pair().unwrap();
        let (to, mut reader) = UnixStream::pair().unwrap();
        let pipes = Pipes::default();
        let mut pipe = pipes.take().unwrap();
        writer.write_all(b"hello").unwrap();
        assert_eq!(pipe.fill(&from).unwrap(), 5);
        assert_eq!(pipe.empty(&to).unwrap(), 5);
        let mut text = [0; 5];
        reader.read_exact(&mut text).unwrap();
        assert_eq!(&text, b"hello");
        from.set_nonblocking(true).unwrap();
        assert_eq!(
            pipe.fill(&from).unwrap_err().kind(),
            io::ErrorKind::WouldBlock
        );
        writer.write_all(b"rest").unwrap();
        assert_eq!(pipe.fill(&from).unwrap(), 4);
        pipes.give_back(pipe);
        assert_eq!(pipes.idle.borrow().len(), 0);
        let clean = pipes.take().unwrap();
        assert_eq!(clean.held(), 0);
        pipes.give_back(clean);
        assert_eq!((pipes.idle.borrow().len(), pipes.made.get()), (1, 1));
    }

    #[test]
    fn the_end_of_a_stream_is_0() {
        let (writer, from) = UnixStream::pair().unwrap();
        drop(writer);
        assert_eq!(Pipes::default().take().unwrap().fill(&from).unwrap(), 0);
    }
}
