//! Bodies that are kept while they pass, so that a request can be sent again after a server has seen it.

use std::{cell::RefCell, collections::VecDeque, rc::Rc};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Frame, SizeHint};

use super::inbound::Inbound;

/// Most of a body that is kept, what HAProxy's buffer holds: of a longer one nothing is.
const MOST: usize = 16 * 1024;

/// What has passed of a body.
#[derive(Debug, Clone)]
pub(super) struct Kept(Rc<RefCell<Record>>);

#[derive(Debug, Default)]
struct Record {
    data: VecDeque<Bytes>,
    length: usize,
    trailers: Option<HeaderMap>,
    /// Its length was known beforehand.
    exact: bool,
    /// All of it has passed and is here.
    whole: bool,
    /// It was too long.
    lost: bool,
}

impl Kept {
    /// Nothing yet of `incoming`.
    pub(super) fn of(incoming: &Inbound) -> Self {
        let (exact, whole) = (
            incoming.size_hint().exact().is_some(),
            incoming.is_end_stream(),
        );
        Self(Rc::new(RefCell::new(Record {
            exact,
            whole,
            ..Record::default()
        })))
    }

    /// A frame has come by `incoming`.
    pub(super) fn note(&self, incoming: &Inbound, frame: &Frame<Bytes>) {
        let mut record = self.0.borrow_mut();
        // What is being sent again is here already.
        if record.lost || matches!(incoming, Inbound::Kept(_)) {
            return;
        }
        if let Some(data) = frame.data_ref() {
            record.length += data.len();
            if record.length > MOST {
                *record = Record {
                    lost: true,
                    ..Record::default()
                };
                return;
            }
            record.data.push_back(data.clone());
        } else if let Some(trailers) = frame.trailers_ref() {
            record.trailers = Some(trailers.clone());
        }
        record.whole = incoming.is_end_stream();
    }

    /// Nothing more of it comes.
    pub(super) fn end(&self) {
        let mut record = self.0.borrow_mut();
        record.whole = !record.lost;
    }

    /// Whether all of it is here.
    pub(super) fn is_whole(&self) -> bool {
        self.0.borrow().whole
    }

    /// All that is here.
    pub(super) fn replay(&self) -> Replay {
        let record = self.0.borrow();
        Replay {
            data: record.data.clone(),
            trailers: record.trailers.clone(),
            exact: record.exact,
        }
    }
}

/// A body from memory.
#[derive(Debug)]
pub(super) struct Replay {
    data: VecDeque<Bytes>,
    trailers: Option<HeaderMap>,
    exact: bool,
}

impl Replay {
    pub(super) fn next(&mut self) -> Option<Frame<Bytes>> {
        let data = self.data.pop_front().map(Frame::data);
        data.or_else(|| self.trailers.take().map(Frame::trailers))
    }

    pub(super) fn is_over(&self) -> bool {
        self.data.is_empty() && self.trailers.is_none()
    }

    /// As that of what it was kept of: it says how the body is framed.
    pub(super) fn size_hint(&self) -> SizeHint {
        let length = self.data.iter().map(|data| data.len() as u64).sum();
        match self.exact || self.is_over() {
            true => SizeHint::with_exact(length),
            false => SizeHint::default(),
        }
    }
}
