//! Acknowledgements that ride on the next request.
//!
//! Many servers write the head and the body of a small answer one after the other. Linux acknowledges such an answer at
//! once when whoever reads it has emptied the socket (`tcp_cleanup_rbuf`: a second pushed segment came before the first
//! was acknowledged), with a packet of its own, for which the next request, a moment later, would have had room. Towards
//! a busy server that is one packet of three that we send, and a twentieth of what a small request of mode http costs (half
//! of that in mode tcp, where head and body are often read one by one).
//!
//! A socket that is not emptied is spared it. So where question and answer have followed each other quickly for a while,
//! an answer is looked at (MSG_PEEK) and stays in the socket, and several are taken out together. Everywhere else what
//! is read is taken at once, as ever: an acknowledgement that is not soon had may be what a server waits for that says
//! things piecemeal (Nagle's algorithm, RFC 896). Where the rest of an answer then comes late it takes twice as long as
//! before until that is tried again.

use std::{
    cell::Cell,
    mem::MaybeUninit,
    os::fd::{AsRawFd, BorrowedFd},
    time::Duration,
};

use rustix::{
    net::{RecvFlags, recv},
    time::{ClockId, clock_gettime},
};

/// Most bytes that stay in a socket for long. They are read again with each answer after them.
const MOST: usize = 1024;
/// Most bytes of which a look takes notice.
const LOOK: usize = 2 * MOST;
/// So many questions in a row must each have been answered at once and soon followed by the next, at first and at most.
const HABIT: u16 = 4;
const LONG_HABIT: u16 = 1024;
/// Reads that an answer may take.
const PIECES: u8 = 3;
/// Pieces of an answer that come later than this after the one before have been waited for.
const AT_ONCE: Duration = Duration::from_millis(10);
/// What comes later than this after the answer before it comes too late to carry an acknowledgement: well below the 40 ms
/// after which Linux sends it by itself (TCP_DELACK_MIN).
const SOON: Duration = Duration::from_millis(20);

/// What is known of the conversation on a socket of TCP.
#[derive(Debug)]
pub(super) struct Unhurried {
    /// Bytes at the socket's beginning that have been seen already.
    seen: Cell<u16>,
    /// Questions in a row that were answered as it should be, and how many there have to be.
    habit: Cell<u16>,
    wanted: Cell<u16>,
    /// Reads since the last write.
    reads: Cell<u8>,
    /// When it was read last, by a coarse clock.
    last: Cell<Duration>,
}

impl Default for Unhurried {
    fn default() -> Self {
        Self {
            seen: Cell::new(0),
            habit: Cell::new(0),
            wanted: Cell::new(HABIT),
            reads: Cell::new(0),
            last: Cell::new(Duration::ZERO),
        }
    }
}

impl Unhurried {
    /// Something was written.
    pub(super) fn written(&self) {
        // Several writes are one question.
        if self.reads.replace(0) > 0 {
            let soon = now().saturating_sub(self.last.get()) < SOON;
            let habit = self.habit.get().saturating_add(1);
            self.habit.set(if soon { habit } else { 0 });
            // As long again without a wait: the last one was chance.
            let wanted = self.wanted.get();
            if habit >= wanted.saturating_mul(2) {
                self.wanted.set((wanted / 2).max(HABIT));
            }
        }
    }

    /// Something was read.
    fn was_read(&self) {
        let reads = self.reads.get();
        let now = now();
        let since = now.saturating_sub(self.last.replace(now));
        if reads > 0 && since > AT_ONCE {
            let (habit, wanted) = (self.habit.take(), self.wanted.get());
            if habit >= wanted {
                self.wanted.set((wanted * 2).min(LONG_HABIT));
            }
        } else if reads >= PIECES {
            self.habit.set(0);
        }
        self.reads.set(reads.saturating_add(1));
    }

    /// Reads what has come since into `buffer`.
    ///
    /// # Errors
    /// Those of recv(2).
    pub(super) fn read(
        &self,
        socket: BorrowedFd<'_>,
        buffer: &mut [MaybeUninit<u8>],
    ) -> rustix::io::Result<usize> {
        let looked = match self.habit.get() >= self.wanted.get() {
            true => self.look(socket, buffer)?,
            false => None,
        };
        let n = match looked {
            Some(n) => n,
            None => {
                self.settle(socket);
                let ((read, _), _) = recv(socket, buffer, RecvFlags::empty())?;
                if read.len() > MOST {
                    self.habit.set(0);
                }
                read.len()
            }
        };
        if n > 0 {
            self.was_read();
        }
        Ok(n)
    }

    /// Copies what is new, if that is something small; `None` if it has to be read.
    fn look(
        &self,
        socket: BorrowedFd<'_>,
        buffer: &mut [MaybeUninit<u8>],
    ) -> rustix::io::Result<Option<usize>> {
        let seen = usize::from(self.seen.get());
        let mut room = [const { MaybeUninit::uninit() }; LOOK];
        let most = LOOK.min(seen + buffer.len());
        let ((all, _), _) = recv(socket, &mut room[..most], RecvFlags::PEEK)?;
        let length = all.len();
        let new = all.get(seen..).unwrap_or_default();
        // A look that was filled may have missed something, which nobody would be told of again.
        if new.is_empty() || length == most {
            return Ok(None);
        }
        let n = new.len();
        // It is no longer than the buffer, by `most`. Byte by byte this would be a tenth of a request's cost.
        buffer[..n].write_copy_of_slice(new);
        // Something has to stay, and one byte is enough.
        self.seen.set(match length > MOST {
            true => {
                take(socket, length - 1);
                1
            }
            // It is no more than `MOST`.
            false => length as u16,
        });
        Ok(Some(n))
    }

    /// Takes what has been seen out of the socket: before others read it, and before it is closed, which with unread bytes
    /// would be a reset.
    pub(super) fn settle(&self, socket: BorrowedFd<'_>) {
        match self.seen.take() {
            0 => {}
            seen => take(socket, seen.into()),
        }
    }
}

/// Takes `n` bytes out, of which [`LOOK`] at most are there.
fn take(socket: BorrowedFd<'_>, n: usize) {
    // SAFETY: nothing is written anywhere: a socket of TCP, as all are that this is asked of, discards with that flag, see
    // tcp(7). What is discarded is there, as has been seen.
    unsafe {
        libc::recv(
            socket.as_raw_fd(),
            std::ptr::null_mut(),
            n.min(LOOK),
            libc::MSG_TRUNC,
        );
    }
}

/// The time, to some milliseconds, which is had for a few nanoseconds.
fn now() -> Duration {
    let now = clock_gettime(ClockId::MonotonicCoarse);
    // Neither is ever negative.
    Duration::new(
        now.tv_sec.try_into().unwrap_or(0),
        now.tv_nsec.try_into().unwrap_or(0),
    )
}

#[cfg(test)]
mod tests {
    use std::{
        io::{self, Read, Write},
        net::{TcpListener, TcpStream},
        os::fd::AsFd,
    };

    use super::*;

    /// Both ends of a connection, of which the first is read.
    fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let far = listener.accept().unwrap().0;
        for end in [&near, &far] {
            end.set_nodelay(true).unwrap();
        }
        near.set_nonblocking(true).unwrap();
        (near, far)
    }

    /// Packets that `socket` has sent.
    fn packets(socket: &TcpStream) -> u32 {
        // struct tcp_info of linux/tcp.h.
        const SEGS_OUT: usize = 136;
        let mut info = [0_u8; 256];
        let mut length = info.len() as libc::socklen_t;
        // SAFETY: the descriptor is open, and the kernel writes at most `length` bytes to where so many may be written.
        let done = unsafe {
            libc::getsockopt(
                socket.as_raw_fd(),
                libc::IPPROTO_TCP,
                libc::TCP_INFO,
                info.as_mut_ptr().cast(),
                &mut length,
            )
        };
        assert_eq!(done, 0);
        u32::from_ne_bytes(info[SEGS_OUT..SEGS_OUT + 4].try_into().unwrap())
    }

    /// All that has come.
    fn read(unhurried: &Unhurried, near: &TcpStream) -> Vec<u8> {
        let mut all = Vec::new();
        let mut room = [MaybeUninit::uninit(); 8192];
        loop {
            match unhurried.read(near.as_fd(), &mut room) {
                Ok(n) => {
                    // SAFETY: so many have been written.
                    all.extend(room[..n].iter().map(|byte| unsafe { byte.assume_init() }));
                    // As the socket above does: less than there was room for is all there is.
                    if n < room.len() {
                        return all;
                    }
                }
                Err(rustix::io::Errno::AGAIN) => return all,
                Err(error) => panic!("{error}"),
            }
        }
    }

    fn ask(unhurried: &Unhurried, near: &mut TcpStream, far: &mut TcpStream) {
        near.write_all(b"question").unwrap();
        unhurried.written();
        let mut question = [0; 8];
        far.read_exact(&mut question).unwrap();
    }

    /// Asks until answers stay where they are.
    fn accustom(unhurried: &Unhurried, near: &mut TcpStream, far: &mut TcpStream) {
        for _ in 0..1000 {
            ask(unhurried, near, far);
            far.write_all(b"answer").unwrap();
            assert_eq!(read(unhurried, near), b"answer");
            if unhurried.seen.get() > 1 {
                return;
            }
        }
        panic!("they never do");
    }

    #[test]
    fn an_answer_in_two_segments_is_acknowledged_by_the_next_question() {
        let (mut near, mut far) = pair();
        let unhurried = Unhurried::default();
        let answer = |number: usize| {
            let body = format!("{number:0>width$}", width = 50 + number % 300);
            (format!("head {}\r\n", body.len()), body)
        };
        let mut exchange = |number| {
            ask(&unhurried, &mut near, &mut far);
            let (head, body) = answer(number);
            // Over loopback both are there when this has been written.
            far.write_all(head.as_bytes()).unwrap();
            far.write_all(body.as_bytes()).unwrap();
            assert_eq!(read(&unhurried, &near), (head + &body).into_bytes());
            packets(&near)
        };
        for number in 0..20 {
            exchange(number);
        }
        let before = exchange(20);
        let mut after = before;
        for number in 21..521 {
            after = exchange(number);
        }
        // Two each, were it not for this; a machine that stands still for a moment is forgiven.
        assert!(after - before < 750, "{} for 500", after - before);
    }

    #[test]
    fn an_answer_in_slow_pieces_is_taken_as_it_comes() {
        let (mut near, mut far) = pair();
        let unhurried = Unhurried::default();
        accustom(&unhurried, &mut near, &mut far);
        for number in 0..4 {
            ask(&unhurried, &mut near, &mut far);
            for piece in ["head", "body"] {
                far.write_all(piece.as_bytes()).unwrap();
                assert_eq!(read(&unhurried, &near), piece.as_bytes());
                // The first is a surprise.
                assert!(number == 0 || unhurried.seen.get() == 0);
                std::thread::sleep(AT_ONCE + AT_ONCE / 2);
            }
        }
        assert_eq!(unhurried.wanted.get(), HABIT * 2);
        for _ in 0..1000 {
            ask(&unhurried, &mut near, &mut far);
            far.write_all(b"answer").unwrap();
            assert_eq!(read(&unhurried, &near), b"answer");
        }
        assert_eq!(unhurried.wanted.get(), HABIT);
        accustom(&unhurried, &mut near, &mut far);
    }

    #[test]
    fn nothing_is_lost_whatever_comes() {
        let (mut near, mut far) = pair();
        let unhurried = Unhurried::default();
        let mut seed = 1_u32;
        for number in 0..3000_u32 {
            ask(&unhurried, &mut near, &mut far);
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let length = match seed >> 28 {
                0 => 20_000,
                1 => LOOK,
                2 => MOST + 1,
                3 => 8192,
                _ => (seed >> 16) as usize % 600 + 1,
            };
            let answer: Vec<u8> = (0..length)
                .map(|at| (at as u32 ^ number ^ seed) as u8)
                .collect();
            let (head, body) = answer.split_at(length / 3);
            let mut expected = head.to_vec();
            far.write_all(head).unwrap();
            if number % 7 != 0 {
                far.write_all(body).unwrap();
                expected.extend(body);
            }
            let mut got = Vec::new();
            while got.len() < expected.len() {
                got.extend(read(&unhurried, &near));
            }
            assert_eq!(got, expected, "answer {number}");
            assert!(usize::from(unhurried.seen.get()) <= MOST);
        }
    }

    #[test]
    fn an_end_is_seen_and_closing_is_no_reset() {
        let (mut near, mut far) = pair();
        let unhurried = Unhurried::default();
        accustom(&unhurried, &mut near, &mut far);
        assert_eq!(read(&unhurried, &near), b"", "nothing has come");
        ask(&unhurried, &mut near, &mut far);
        far.write_all(b"the last").unwrap();
        far.shutdown(std::net::Shutdown::Write).unwrap();
        assert_eq!(read(&unhurried, &near), b"the last");
        let mut room = [MaybeUninit::uninit(); 8];
        assert_eq!(unhurried.read(near.as_fd(), &mut room), Ok(0));
        unhurried.settle(near.as_fd());
        drop(near);
        let mut rest = Vec::new();
        let ended: io::Result<usize> = far.read_to_end(&mut rest);
        assert_eq!(ended.unwrap(), 0);
    }
}
