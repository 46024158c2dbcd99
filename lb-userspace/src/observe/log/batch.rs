//! Lines on their way out together: the kernel is asked once for many.

use std::{
    io::{self, IoSlice, Write},
    os::fd::AsFd,
};

use rustix::{
    io::Errno,
    net::{MMsgHdr, SendAncillaryBuffer, SendFlags, SocketAddrAny},
};

/// Most datagrams that are handed over at a time.
const MOST: usize = 64;
/// So many bytes are not kept any longer.
const FULL: usize = 64 * 1024;

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
        let mut begin = 0;
        let lines: Vec<[IoSlice<'_>; 1]> = self
            .ends
            .iter()
            .map(|&end| {
                let line = &self.bytes.as_bytes()[begin..end];
                begin = end;
                [IoSlice::new(line)]
            })
            .collect();
        let mut controls: Vec<SendAncillaryBuffer<'_, '_, '_>> = Vec::new();
        controls.resize_with(lines.len(), SendAncillaryBuffer::default);
        let mut messages: Vec<MMsgHdr<'_>> = lines
            .iter()
            .zip(&mut controls)
            .map(|(line, control)| MMsgHdr::new_with_addr(to, line, control))
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
        drop(messages);
        drop(controls);
        drop(lines);
        self.clear();
        lost as u64
    }
}

#[cfg(test)]
mod tests {
    use std::{net::UdpSocket, time::Duration};

    use super::*;

    fn batch(lines: &[&str]) -> Batch {
        let mut batch = Batch::default();
        for line in lines {
            batch.add(|out| out.push_str(line));
        }
        batch
    }

    #[test]
    fn each_line_is_a_datagram() {
        let receiver = UdpSocket::bind("127.0.0.1:0").expect("bound");
        receiver
            .set_read_timeout(Some(Duration::from_secs(5)))
            .expect("set");
        let sender = UdpSocket::bind("127.0.0.1:0").expect("bound");
        let to = receiver.local_addr().expect("bound").into();
        let mut batch = batch(&["one", "", "three"]);
        assert_eq!(batch.send(&sender, &to), 0);
        assert!(batch.is_empty());
        for line in ["one", "", "three"] {
            let mut buffer = [0; 10];
            let n = receiver.recv(&mut buffer).expect("a datagram");
            assert_eq!(&buffer[..n], line.as_bytes());
        }
    }

    #[test]
    fn a_line_that_is_refused_is_counted_and_the_next_still_goes() {
        let receiver = UdpSocket::bind("127.0.0.1:0").expect("bound");
        receiver
            .set_read_timeout(Some(Duration::from_secs(5)))
            .expect("set");
        let sender = UdpSocket::bind("127.0.0.1:0").expect("bound");
        let to = receiver.local_addr().expect("bound").into();
        let long = "x".repeat(70_000);
        assert_eq!(batch(&["one", &long, "two"]).send(&sender, &to), 1);
        for line in ["one", "two"] {
            let mut buffer = [0; 10];
            let n = receiver.recv(&mut buffer).expect("a datagram");
            assert_eq!(&buffer[..n], line.as_bytes());
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
