//! What the two processes say to each other: messages with descriptors, over a pair of unix sockets.
//!
//! A message is its length, then itself as JSON. Descriptors come with the length: whoever reads exactly that gets them.

use std::{
    io::{self, IoSlice, IoSliceMut, Read, Write},
    mem::MaybeUninit,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::net::UnixStream,
    },
    path::PathBuf,
};

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use serde::{Deserialize, Serialize};

use crate::{
    daemon::amend,
    fastpath::DenyChanges,
    rules::{CarriedMap, CarriedTable},
    tls::CarriedTls,
    topology::carried::{BackendState, Figure, FrontendState, ServerState, Spread},
};

/// The form of all this. Another one is refused: then it takes a restart.
pub(super) const FORMAT: u32 = 2;
/// The oldest that is understood: who speaks it tells less.
pub(super) const OLDEST: u32 = 1;

/// Descriptors of one message; the kernel takes 253.
pub(super) const MOST_SOCKETS: usize = 128;
/// Servers or figures of one message.
pub(super) const MANY: usize = 1000;
/// Nobody sends more in one message.
const LONGEST: usize = 256 << 20;

/// What is said.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Message {
    // From the old process to the new one.
    /// The first word.
    Hello(Hello),
    /// What is listened on, and other descriptors, one for each.
    Sockets(Vec<Passed>),
    /// Files of unix sockets: path, device and inode. The oldest versions do not say it.
    Files(Vec<(PathBuf, u64, u64)>),
    /// What operators have made of the file; not said if that is nothing.
    Amendments(amend::Carried),
    /// That was all of it.
    Offered,
    /// States of servers.
    Servers(Vec<ServerState>),
    /// What operators want of frontends.
    Frontends(Vec<FrontendState>),
    /// States of backends.
    Backends(Vec<BackendState>),
    /// What has been counted.
    Figures(Vec<Figure>),
    /// What has come to histograms.
    Spreads(Vec<Spread>),
    /// Connections accepted by the process, and those that could not be.
    Accepted {
        #[serde(default)]
        accepted: u64,
        #[serde(default)]
        errors: u64,
    },
    /// A part of what a table holds.
    Table(CarriedTable),
    /// A part of what a map says, if its file says something else.
    Map(CarriedMap),
    /// Of binds with TLS, by their addresses: keys of tickets, and exchanged certificates.
    Tls(Vec<(String, CarriedTls)>),
    /// Connections, sessions and those with TLS in a second, if they are others than [`Message::Amendments`] said.
    Rates([u32; 3]),
    /// The kernel path's; its lock comes along.
    Kernel(DenyChanges),
    /// That was all that there is to know.
    Told,
    /// The new process has all from now on.
    Commit,
    /// Who serves its last connections: process and how many.
    Left(Vec<(u32, u64)>),
    // From the new process to the old one.
    /// All that may be refused is had.
    Prepared,
    /// The kernel path is its own.
    Ready,
    /// It does everything, and accepts from here on. What it does not listen on, of what was offered.
    Serving { left: Vec<String> },
    /// Connections are to end at once.
    Now,
}

/// The first word.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Hello {
    pub(super) format: u32,
    /// The version of lb.
    pub(super) version: String,
    pub(super) pid: u32,
    /// When the clock of all states began, in nanoseconds of CLOCK_MONOTONIC.
    pub(super) clock: u64,
    /// Whether landlock confines, which is inherited.
    pub(super) confined: bool,
    /// Whether the kernel forwards.
    pub(super) kernel_path: bool,
}

/// What a descriptor is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Passed {
    /// A frontend's listening socket, by what both call it.
    Listener(String),
    /// The stats endpoint's.
    Stats(String),
    /// The admin socket's.
    Admin(PathBuf),
    /// The folder of pins, which may not be reached by name.
    Pins(PathBuf),
    /// Where errors go.
    Stderr,
}

/// One end.
#[derive(Debug)]
pub(super) struct Channel(UnixStream);

impl Channel {
    /// Both ends.
    pub(super) fn pair() -> io::Result<(Self, UnixStream)> {
        let (ours, theirs) = UnixStream::pair()?;
        Ok((Self(ours), theirs))
    }

    /// An end that was inherited.
    pub(super) fn of(socket: OwnedFd) -> Self {
        Self(socket.into())
    }

    /// Another handle to this end.
    pub(super) fn try_clone(&self) -> io::Result<Self> {
        self.0.try_clone().map(Self)
    }

    /// One who does not listen is waited for so long.
    pub(super) fn be_patient_for(&self, time: std::time::Duration) -> io::Result<()> {
        self.0.set_write_timeout(Some(time))
    }

    /// Nobody is to wait for this end any more.
    pub(super) fn shut(&self) {
        let _ = self.0.shutdown(std::net::Shutdown::Both);
    }

    /// Says something, with descriptors.
    pub(super) fn send(&self, message: &Message, descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
        let text = serde_json::to_vec(message)?;
        let length = u32::try_from(text.len()).map_err(|_| io::ErrorKind::FileTooLarge)?;
        let length = length.to_be_bytes();
        let mut space = vec![MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_SOCKETS))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !descriptors.is_empty() && !control.push(SendAncillaryMessage::ScmRights(descriptors)) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let sent = loop {
            let flags = SendFlags::NOSIGNAL;
            match sendmsg(&self.0, &[IoSlice::new(&length)], &mut control, flags) {
                Err(rustix::io::Errno::INTR) => {}
                sent => break sent?,
            }
        };
        // The descriptors have gone with the first byte.
        (&self.0).write_all(length.get(sent..).unwrap_or_default())?;
        (&self.0).write_all(&text)
    }

    /// The next thing that is said: `Err` for one that is not understood, with its name. `None` once the other end is
    /// closed.
    pub(super) fn receive(&self) -> io::Result<Option<Heard>> {
        let mut length = [0; 4];
        let mut descriptors = Vec::new();
        let mut have = 0;
        while have < length.len() {
            let mut space =
                vec![MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_SOCKETS))];
            let mut control = RecvAncillaryBuffer::new(&mut space);
            let rest = length.get_mut(have..).unwrap_or_default();
            let flags = RecvFlags::CMSG_CLOEXEC;
            let got = match recvmsg(&self.0, &mut [IoSliceMut::new(rest)], &mut control, flags) {
                Err(rustix::io::Errno::INTR) => continue,
                got => got?.bytes,
            };
            for part in control.drain() {
                if let RecvAncillaryMessage::ScmRights(fds) = part {
                    descriptors.extend(fds);
                }
            }
            match got {
                0 if have == 0 => return Ok(None),
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                got => have += got,
            }
        }
        let length = u32::from_be_bytes(length) as usize;
        if length > LONGEST {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "a message of no sensible length",
            ));
        }
        let mut text = vec![0; length];
        (&self.0).read_exact(&mut text)?;
        let message = serde_json::from_slice(&text).map_err(|error| Unknown {
            name: name_of(&text),
            error,
        });
        Ok(Some(Heard {
            message,
            descriptors,
        }))
    }
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// What was said.
#[derive(Debug)]
pub(super) struct Heard {
    pub(super) message: Result<Message, Unknown>,
    pub(super) descriptors: Vec<OwnedFd>,
}

/// Something that is not understood.
#[derive(Debug, thiserror::Error)]
#[error("`{name}`: {error}")]
pub(super) struct Unknown {
    pub(super) name: String,
    error: serde_json::Error,
}

fn name_of(text: &[u8]) -> String {
    match serde_json::from_slice(text) {
        Ok(serde_json::Value::String(name)) => name,
        Ok(serde_json::Value::Object(object)) => object.keys().next().cloned().unwrap_or_default(),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptors_come_with_their_message_and_close_on_exec() {
        let (ours, theirs) = Channel::pair().unwrap();
        let theirs = Channel::of(theirs.into());
        let file = std::fs::File::open("/dev/null").unwrap();
        let many = vec![file.as_fd(); MOST_SOCKETS];
        let names = vec![Passed::Stderr; MOST_SOCKETS];
        ours.send(&Message::Prepared, &[]).unwrap();
        ours.send(&Message::Sockets(names), &many).unwrap();
        ours.send(&Message::Told, &[]).unwrap();
        drop(ours);
        let first = theirs.receive().unwrap().unwrap();
        assert!(first.descriptors.is_empty());
        let second = theirs.receive().unwrap().unwrap();
        assert_eq!(second.descriptors.len(), MOST_SOCKETS);
        let flags = rustix::io::fcntl_getfd(&second.descriptors[0]).unwrap();
        assert!(flags.contains(rustix::io::FdFlags::CLOEXEC));
        let third = theirs.receive().unwrap().unwrap();
        assert!(matches!(third.message, Ok(Message::Told)));
        assert!(theirs.receive().unwrap().is_none());
    }

    #[test]
    fn what_another_version_says_is_named() {
        let (mut raw, theirs) = UnixStream::pair().unwrap();
        let theirs = Channel(theirs);
        let text = br#"{"Weather":"fair"}"#;
        raw.write_all(&(text.len() as u32).to_be_bytes()).unwrap();
        raw.write_all(text).unwrap();
        let unknown = theirs.receive().unwrap().unwrap().message.unwrap_err();
        assert_eq!(unknown.name, "Weather");
    }
}
