//! The body of an answer, as it comes.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    task::Poll,
};

use bytes::Bytes;
use http_body::{Frame, SizeHint};

/// The body of an answer. Nothing comes of it but by driving the [`Connection`](super::Connection) that it comes by, which
/// whoever reads it does: it wakes nobody.
#[derive(Debug)]
pub(in super::super) enum Body {
    /// All of it was there with the head.
    Whole(Bytes),
    /// It comes piece by piece.
    Coming(Rc<Slot>),
}

/// It broke off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) struct BrokenOff {
    /// What came was in no coding; otherwise the connection has ended first.
    pub(in super::super) malformed: bool,
}

/// What of a body has come and was not taken: one piece at a time, so that who does not read stops who sends.
#[derive(Debug)]
pub(in super::super) struct Slot {
    frame: RefCell<Option<Frame<Bytes>>>,
    end: Cell<End>,
    /// Bytes that are yet to be taken, where that is known.
    left: Cell<Option<u64>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// More is to come.
    Open,
    /// That was all.
    Ended,
    /// It has broken off, and that is to be told.
    Broken(BrokenOff),
}

impl Slot {
    /// One for a body of `length`, where that is known.
    pub(super) fn new(length: Option<u64>) -> Self {
        Self {
            frame: RefCell::new(None),
            end: Cell::new(End::Open),
            left: Cell::new(length),
        }
    }

    /// Whether there is no room for more.
    pub(super) fn is_full(&self) -> bool {
        self.frame.borrow().is_some()
    }

    /// Puts the next piece in, which there must be room for.
    pub(super) fn put(&self, frame: Frame<Bytes>) {
        *self.frame.borrow_mut() = Some(frame);
    }

    /// That was all.
    pub(super) fn end(&self) {
        self.end.set(End::Ended);
    }

    /// No more will come.
    pub(super) fn break_off(&self, broken: BrokenOff) {
        if self.end.get() == End::Open {
            self.end.set(End::Broken(broken));
        }
    }

    fn next(&self) -> Poll<Option<Result<Frame<Bytes>, BrokenOff>>> {
        if let Some(frame) = self.frame.borrow_mut().take() {
            if let (Some(left), Some(data)) = (self.left.get(), frame.data_ref()) {
                self.left.set(Some(left.saturating_sub(data.len() as u64)));
            }
            return Poll::Ready(Some(Ok(frame)));
        }
        match self.end.get() {
            End::Open => Poll::Pending,
            End::Ended => Poll::Ready(None),
            End::Broken(broken) => {
                self.end.set(End::Ended);
                Poll::Ready(Some(Err(broken)))
            }
        }
    }
}

impl Body {
    /// The next piece, if it has come.
    pub(in super::super) fn poll_frame(&mut self) -> Poll<Option<Result<Frame<Bytes>, BrokenOff>>> {
        match self {
            Self::Whole(bytes) if bytes.is_empty() => Poll::Ready(None),
            Self::Whole(bytes) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
            Self::Coming(slot) => slot.next(),
        }
    }

    /// Whether nothing is left to be taken.
    pub(in super::super) fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(bytes) => bytes.is_empty(),
            Self::Coming(slot) => slot.end.get() == End::Ended && !slot.is_full(),
        }
    }

    /// How much is left to be taken.
    pub(in super::super) fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Self::Coming(slot) => match slot.left.get() {
                Some(left) => SizeHint::with_exact(left),
                None if self.is_end_stream() => SizeHint::with_exact(0),
                None => SizeHint::default(),
            },
        }
    }
}
