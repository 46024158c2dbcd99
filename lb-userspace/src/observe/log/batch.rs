//! Lines on their way out together: the kernel is asked once for many.

use std::{
    io::{self, IoSlice, Write},
    net::{SocketAddr, UdpSocket},
    os::fd::{AsFd, AsRawFd},
};

use nix::sys::socket::{ControlMessage, MsgFlags, SockaddrStorage, sendmsg};
use rustix::{
    io::Errno,
    net::{MMsgHdr, SendAncillaryBuffer, SendFlags, SocketAddrAny},
};

/// Most datagrams that are handed over at a time.
const MOST: usize = 64;
/// So many bytes are not kept any longer.
const FULL: usize = 64 * 1024;
/// So many lines at a time are many: ten thousand a second and more.
const MANY: usize = 32;
/// A longer line may not fit the way's packets, which the kernel only takes alone, to cut it into fragments: what
/// IPv6's smallest MTU (RFC 8200, section 5) leaves.
const LONGEST_SEGMENT: usize = 1280 - 40 - 8;
/// Most that the kernel parts, in lines (UDP_MAX_SEGMENTS) and in bytes.
const MOST_SEGMENTS: usize = 64;
const MOST_BYTES: usize = 65_000;

/// Lines that are to go out, as they will.
#[derive(Debug, Default)]
pub(super) struct Batch {
    /// One after the other.
    bytes: String,
    /// Where each ends.
    ends: Vec<usize>,
}

impl Batch {
    /// Appends the line that `write` writes.
    pub(super) fn add(&mut self, write: impl FnOnce(&mut String)) {
        write(&mut self.bytes);
        self.ends.push(self.bytes.len());
    }

    /// Whether it should go out before more is added.
    pub(super) fn is_full(&self) -> bool {
        self.ends.len() >= MOST || self.bytes.len() >= FULL
    }

    pub(super) fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
    }

    /// Writes all to a file. Returns how many lines it did not take.
    pub(super) fn write(&mut self, file: &mut impl Write) -> u64 {
        let written = file.write_all(self.bytes.as_bytes());
        let lost = written.map_or(self.ends.len(), |()| 0);
        self.clear();
        lost as u64
    }

    /// Hands each to `take`. Returns how many it did not take.
    pub(super) fn each(&mut self, mut take: impl FnMut(&[u8]) -> io::Result<()>) -> u64 {
        let (mut begin, mut lost) = (0, 0);
        for &end in &self.ends {
            lost += u64::from(take(&self.bytes.as_bytes()[begin..end]).is_err());
            begin = end;
        }
        self.clear();
        lost
    }

    /// Sends each as a datagram. Returns how many the socket did not take.
    pub(super) fn send(&mut self, socket: impl AsFd, to: &SocketAddrAny) -> u64 {
        let lines = self.lines();
        let lost = send_each(&socket, to, &lines);
        drop(lines);
        self.clear();
        lost
    }

    /// The same over UDP, where lines of one length that follow each other go through the kernel together and are parted
    /// where they leave it: with four of them a line costs less than half, with many a fifth. When there are many lines
    /// at once, those of different lengths change places for this, as they may on the network. `together` is unset once
    /// the kernel or the interface will not have it.
    pub(super) fn send_udp(
        &mut self,
        socket: &UdpSocket,
        to: SocketAddr,
        together: &mut bool,
    ) -> u64 {
        let mut lines = self.lines();
        if *together && lines.len() >= MANY {
            // Stable, so that those of one length keep their order.
            lines.sort_by_key(|line| line.len());
        }
        let mut lost = 0;
        let mut alone = Vec::new();
        for same in lines.chunk_by(|a, b| a.len() == b.len()) {
            let length = same[0].len();
            let fits = (1..=LONGEST_SEGMENT).contains(&length);
            for run in same.chunks(MOST_SEGMENTS.min(MOST_BYTES / length.max(1)).max(1)) {
                if !*together || !fits || run.len() < 2 {
                    alone.extend_from_slice(run);
                    continue;
                }
                lost += send_each(socket, &to.into(), &alone);
                alone.clear();
                if let Err(error) = send_together(socket, to, run, length) {
                    // A full socket or no way to the other end is so for a while; these are what it cannot do.
                    *together = !matches!(error, Errno::INVAL | Errno::IO | Errno::OPNOTSUPP);
                    alone.extend_from_slice(run);
                }
            }
        }
        lost += send_each(socket, &to.into(), &alone);
        drop(alone);
        drop(lines);
        self.clear();
        lost
    }

    fn lines(&self) -> Vec<IoSlice<'_>> {
        let mut begin = 0;
        let cut = |&end: &usize| {
            let line = &self.bytes.as_bytes()[begin..end];
            begin = end;
            IoSlice::new(line)
        };
        self.ends.iter().map(cut).collect()
    }
}

/// Sends lines of `length` bytes, datagrams each, as one packet that the kernel parts (UDP_SEGMENT, udp(7), Linux 4.18).
fn send_together(
    socket: &UdpSocket,
    to: SocketAddr,
    lines: &[IoSlice<'_>],
    length: usize,
) -> Result<(), Errno> {
    // No line that is sent so is longer than LONGEST_SEGMENT.
    let length = u16::try_from(length).map_err(|_| Errno::MSGSIZE)?;
    let control = [ControlMessage::UdpGsoSegments(&length)];
    let address = SockaddrStorage::from(to);
    loop {
        let flags = MsgFlags::MSG_NOSIGNAL;
        match sendmsg(socket.as_raw_fd(), lines, &control, flags, Some(&address)) {
            Ok(_) => return Ok(()),
            Err(nix::errno::Errno::EINTR) => {}
            Err(error) => return Err(Errno::from_raw_os_error(error as i32)),
        }
    }
}

/// Sends each line as a datagram. Returns how many the socket did not take.
fn send_each(socket: impl AsFd, to: &SocketAddrAny, lines: &[IoSlice<'_>]) -> u64 {
    if lines.is_empty() {
        return 0;
    }
    let mut controls: Vec<SendAncillaryBuffer<'_, '_, '_>> = Vec::new();
    controls.resize_with(lines.len(), SendAncillaryBuffer::default);
    let mut messages: Vec<MMsgHdr<'_>> = lines
        .iter()
        .zip(&mut controls)
        .map(|(line, control)| MMsgHdr::new_with_addr(to, std::slice::from_ref(line), control))
        .collect();
    let (mut at, mut lost) = (0, 0);
    while at < messages.len() {
        // An error is that of the first.
        match rustix::net::sendmmsg(&socket, &mut messages[at..], SendFlags::NOSIGNAL) {
            Ok(sent) => at += sent.max(1),
            Err(Errno::INTR) => {}
            // Nor does it take the others now.
            Err(Errno::WOULDBLOCK) => {
                lost += messages.len() - at;
                break;
            }
            Err(_) => {
                lost += 1;
                at += 1;
            }
        }
    }
    lost as u64
}

#[cfg(test)]
mod tests {
    use std::{net::UdpSocket, time::Duration};

    use super::*;

    /// Who sends, who receives, and where that is.
    fn sockets() -> (UdpSocket, UdpSocket, SocketAddr) {
        let bound = || UdpSocket::bind("127.0.0.1:0").expect("bound");
        let (sender, receiver) = (bound(), bound());
        receiver
            .set_read_timeout(Some(Duration::from_secs(5)))
            .expect("set");
        let to = receiver.local_addr().expect("bound");
        (sender, receiver, to)
    }

    /// The next datagram.
    fn received(receiver: &UdpSocket) -> String {
        let mut buffer = [0; 2000];
        let n = receiver.recv(&mut buffer).expect("a datagram");
        String::from_utf8_lossy(&buffer[..n]).into_owned()
    }

    fn batch(lines: &[&str]) -> Batch {
        let mut batch = Batch::default();
        for line in lines {
            batch.add(|out| out.push_str(line));
        }
        batch
    }

    #[test]
    fn each_line_is_a_datagram() {
        let (sender, receiver, to) = sockets();
        let to = to.into();
        let mut batch = batch(&["one", "", "three"]);
        assert_eq!(batch.send(&sender, &to), 0);
        assert!(batch.is_empty());
        for line in ["one", "", "three"] {
            assert_eq!(received(&receiver), line);
        }
    }

    #[test]
    fn a_line_that_is_refused_is_counted_and_the_next_still_goes() {
        let (sender, receiver, to) = sockets();
        let to = to.into();
        let long = "x".repeat(70_000);
        assert_eq!(batch(&["one", &long, "two"]).send(&sender, &to), 1);
        for line in ["one", "two"] {
            assert_eq!(received(&receiver), line);
        }
    }

    #[test]
    fn lines_of_one_length_are_datagrams_of_their_own() {
        let (sender, receiver, to) = sockets();
        let long = "x".repeat(LONGEST_SEGMENT + 1);
        let lines = [
            "one", "two", "", "", "three", "1", &long, &long, "four", "five",
        ];
        let mut together = true;
        assert_eq!(batch(&lines).send_udp(&sender, to, &mut together), 0);
        assert!(together, "loopback takes them together");
        for line in lines {
            assert_eq!(received(&receiver), line);
        }
    }

    #[test]
    fn many_lines_arrive_each_once_and_those_of_a_length_in_order() {
        let (sender, receiver, to) = sockets();
        let lines: Vec<String> = (0..MOST)
            .map(|n| "x".repeat(n % 5) + &format!("{n:02}"))
            .collect();
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        assert_eq!(batch(&lines).send_udp(&sender, to, &mut true), 0);
        let arrived = lines.iter().map(|_| received(&receiver));
        let mut expected: Vec<&str> = lines.clone();
        expected.sort_by_key(|line| line.len());
        assert!(arrived.eq(expected));
    }

    #[test]
    fn more_than_a_packet_holds_goes_in_several() {
        let (sender, receiver, to) = sockets();
        let lines: Vec<String> = (0..MOST).map(|n| format!("{n:01200}")).collect();
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        assert_eq!(batch(&lines).send_udp(&sender, to, &mut true), 0);
        for line in lines {
            assert_eq!(received(&receiver), line);
        }
    }

    #[test]
    fn a_kernel_that_does_not_part_them_gets_them_alone() {
        let (sender, receiver, to) = sockets();
        let mut together = false;
        assert_eq!(
            batch(&["one", "two"]).send_udp(&sender, to, &mut together),
            0
        );
        for line in ["one", "two"] {
            assert_eq!(received(&receiver), line);
        }
    }

    #[test]
    fn a_file_gets_all_at_once() {
        let mut file = Vec::new();
        let mut batch = batch(&["one\n", "two\n"]);
        assert_eq!(batch.write(&mut file), 0);
        assert_eq!(file, b"one\ntwo\n");
        assert!(batch.is_empty() && !batch.is_full());
    }
}
