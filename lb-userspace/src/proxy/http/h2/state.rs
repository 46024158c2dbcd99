//! One stream of a client's connection, as both the connection and the request see it.

use std::{cell::RefCell, fmt, task::Waker};

use bytes::Bytes;
use h2::Reason;

use super::inbox::Inbox;

/// A stream.
#[derive(Debug)]
pub(super) struct Stream {
    pub(super) id: u32,
    /// Never held across a call out of this module's neighbours.
    pub(super) inner: RefCell<Inner>,
}

/// Who has ended a stream before its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Broken {
    /// The client.
    Reset(Reason),
    /// We did: it broke the rules, or nobody was there for it any more.
    Refused(Reason),
    /// The connection has ended.
    Closed,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Reset(reason) => write!(f, "the client has reset its stream: {reason}"),
            Self::Refused(reason) => write!(f, "the client's stream was reset: {reason}"),
            Self::Closed => f.write_str("the client's connection has ended"),
        }
    }
}

/// How far a stream has come.
#[derive(Debug)]
pub(super) struct Inner {
    /// It was ended before its end.
    pub(super) broken: Option<Broken>,
    /// All of the request has come.
    pub(super) ended: bool,
    /// All of the answer is written, or is about to be.
    pub(super) answered: bool,
    /// The client says nothing more, by any stream.
    pub(super) silent: bool,
    /// What has come and was not taken.
    pub(super) inbox: Inbox,
    /// Nobody takes what comes.
    pub(super) unread: bool,
    /// Bytes of the body that are still to come, if that is known.
    pub(super) left: Option<u64>,
    /// What the client may send.
    pub(super) receive_window: i64,
    /// What was taken and the client was not told of.
    pub(super) owed: u32,
    /// What we may send. It may be less than nothing (RFC 9113 section 6.9.2).
    pub(super) send_window: i64,
    /// Data that waits for windows and for room.
    pub(super) pending: Bytes,
    /// A block that follows it.
    pub(super) trailers: Option<Vec<u8>>,
    /// What waits is the last.
    pub(super) closing: bool,
    /// It is among those whose turn is to come.
    pub(super) queued: bool,
    /// Bytes that have left `pending` since somebody asked.
    pub(super) moved: usize,
    /// How many hold it: what reads, what writes.
    pub(super) handles: u8,
    /// Its request is being served.
    pub(super) begun: bool,
    /// It broke the rules behind its body, some of which was there to be taken.
    pub(super) faulty_end: bool,
    pub(super) reader: Option<Waker>,
    pub(super) writer: Option<Waker>,
}

impl Inner {
    /// Whether nothing more goes by it.
    pub(super) fn is_over(&self) -> bool {
        self.broken.is_some() || (self.ended && self.answered)
    }

    /// Whether something waits to be sent.
    pub(super) fn is_waiting(&self) -> bool {
        !self.pending.is_empty() || (self.closing && !self.answered)
    }

    pub(super) fn wake_reader(&mut self) {
        if let Some(waker) = self.reader.take() {
            waker.wake();
        }
    }

    pub(super) fn wake_writer(&mut self) {
        if let Some(waker) = self.writer.take() {
            waker.wake();
        }
    }
}

/// Remembers whom to wake.
pub(super) fn register(place: &mut Option<Waker>, waker: &Waker) {
    match place {
        Some(known) if known.will_wake(waker) => {}
        place => *place = Some(waker.clone()),
    }
}
