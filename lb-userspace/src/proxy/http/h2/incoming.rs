//! What a client sends, frame by frame (RFC 9113 sections 5 and 6).

use std::{cell::RefCell, rc::Rc};

use bytes::{Buf, BytesMut};
use h2::Reason;
use http::StatusCode;

use super::{
    STREAM_WINDOW, STREAMS,
    fields::{Asked, Fields, Refused},
    frame::{self, HEAD, Head, MAX_31, MAX_LENGTH, PREFACE, flag},
    handles::{Incoming, Outgoing},
    hpack::{self, Unreadable},
    inbox::{self, Inbox},
    state::{Inner, Stream},
    wire::{Leaving, State, Wire},
};

/// Frames of a head after the first that do not end it.
const CONTINUATIONS: u32 = 5;
/// The largest block, compressed.
const BLOCK: usize = 64 * 1024;
/// Frames of DATA that have nothing in them and end nothing, beyond those that have something.
const EMPTY: u32 = 100;
/// Streams that break the rules, and frames for such as are no more, beyond requests that are as they should be: a
/// connection may live long, and be shared by many.
const FAULTS: u32 = 1024;

/// What ends the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Fatal(pub(super) Reason);

/// What a client has to say next.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Next {
    #[default]
    Preface,
    Settings,
    Frames,
}

/// A head of which there is more to come.
#[derive(Debug)]
struct Partial {
    id: u32,
    end_stream: bool,
    /// It depends on itself.
    faulty: bool,
    block: Vec<u8>,
    frames: u32,
}

/// What has come so far, as far as the next frame depends on it.
#[derive(Debug, Default)]
pub(super) struct Input {
    next: Next,
    partial: Option<Box<Partial>>,
    /// The highest stream that a client has begun.
    highest: u32,
    /// Not all below it were begun.
    gaps: bool,
    empty: u32,
    faults: u32,
    /// Requests that were taken back and that nobody has looked at.
    pub(super) unseen: u32,
    /// Why heads that have come are no requests, until that is logged.
    refused: Vec<Refused>,
}

/// What was read.
pub(super) enum Taken {
    /// Nothing: so many bytes are needed.
    More(usize),
    /// A frame.
    Frame,
    /// The last of a request's head.
    Request(Box<Request>),
}

/// A request that has come.
pub(super) struct Request {
    pub(super) asked: Asked,
    pub(super) incoming: Incoming,
    pub(super) outgoing: Outgoing,
}

impl Input {
    /// The highest stream that a client has begun.
    pub(super) fn highest(&self) -> u32 {
        self.highest
    }

    /// A request that was taken back is looked at.
    pub(super) fn saw(&mut self) {
        self.unseen = self.unseen.saturating_sub(1);
    }

    /// What has come since it was asked last instead of a request.
    pub(super) fn take_refused(&mut self) -> Vec<Refused> {
        std::mem::take(&mut self.refused)
    }
}

pub(super) const PROTOCOL: Fatal = Fatal(Reason::PROTOCOL_ERROR);
pub(super) const SIZE: Fatal = Fatal(Reason::FRAME_SIZE_ERROR);
pub(super) const CALM: Fatal = Fatal(Reason::ENHANCE_YOUR_CALM);

/// Takes what comes next out of `read`.
///
/// # Errors
/// The connection ends with it.
pub(super) fn take(wire: &Rc<Wire>, read: &mut BytesMut) -> Result<Taken, Fatal> {
    let mut state = wire.state();
    let state = &mut *state;
    if state.input.next == Next::Preface {
        let n = read.len().min(PREFACE.len());
        if read[..n] != PREFACE[..n] {
            return Err(PROTOCOL);
        }
        if n < PREFACE.len() {
            return Ok(Taken::More(PREFACE.len()));
        }
        read.advance(n);
        state.input.next = Next::Settings;
    }
    let Some(head) = Head::parse(read) else {
        return Ok(Taken::More(HEAD));
    };
    if head.length > MAX_LENGTH {
        return Err(SIZE);
    }
    if state.input.next == Next::Settings {
        if head.kind != frame::SETTINGS || head.has(flag::ACK) {
            return Err(PROTOCOL);
        }
        state.input.next = Next::Frames;
    }
    let whole = HEAD + head.length;
    if read.len() < whole {
        return Ok(Taken::More(whole));
    }
    // Nothing but its continuation may interrupt a head.
    let continues = head.kind == frame::CONTINUATION;
    if state.input.partial.is_some() != continues {
        return Err(PROTOCOL);
    }
    let payload = &read[HEAD..whole];
    let began = match head.kind {
        frame::DATA => {
            state.data(head, read)?;
            return Ok(Taken::Frame);
        }
        frame::HEADERS => state.headers(head, payload)?,
        frame::CONTINUATION => state.continuation(head, payload)?,
        frame::PRIORITY => state.priority(head, payload).map(|()| None)?,
        frame::RST_STREAM => state.rst_stream(head, payload).map(|()| None)?,
        frame::SETTINGS => state.settings(head, payload).map(|()| None)?,
        frame::PUSH_PROMISE => return Err(PROTOCOL),
        frame::PING => state.ping(head, payload).map(|()| None)?,
        frame::GOAWAY => state.go_away_came(head).map(|()| None)?,
        frame::WINDOW_UPDATE => state.window_update(head, payload).map(|()| None)?,
        _ => None,
    };
    read.advance(whole);
    Ok(match began {
        None => Taken::Frame,
        Some((stream, asked)) => Taken::Request(Box::new(Request {
            asked,
            incoming: Incoming::new(wire, &stream),
            outgoing: Outgoing::new(wire, &stream),
        })),
    })
}

impl State {
    /// Whether nobody has begun a stream yet. Even ones would be ours, and we begin none.
    pub(super) fn is_idle(&self, id: u32) -> bool {
        id > self.input.highest || id.is_multiple_of(2)
    }

    /// Something was wrong that need not end the connection, unless there is no end of it.
    pub(super) fn fault(&mut self) -> Result<(), Fatal> {
        self.input.faults += 1;
        match self.input.faults > FAULTS {
            true => Err(CALM),
            false => Ok(()),
        }
    }

    /// A stream breaks the rules: it ends.
    pub(super) fn fail(&mut self, id: u32, reason: Reason) -> Result<(), Fatal> {
        match self.find(id) {
            Some(stream) => self.reset(&stream, reason),
            None => self.refuse(id, reason, i64::from(STREAM_WINDOW)),
        }
        self.fault()
    }

    fn forgotten(&mut self, id: u32) -> Option<&mut super::wire::Forgotten> {
        self.forgotten
            .iter_mut()
            .find(|forgotten| forgotten.id == id)
    }

    /// Section 6.1. Takes the frame out of `read`, which has all of it.
    fn data(&mut self, head: Head, read: &mut BytesMut) -> Result<(), Fatal> {
        let whole = HEAD + head.length;
        if head.id == 0 {
            return Err(PROTOCOL);
        }
        let content = head.content(&read[HEAD..whole])?;
        let counted = head.length as i64;
        if counted > self.receive_window {
            return Err(Fatal(Reason::FLOW_CONTROL_ERROR));
        }
        self.receive_window -= counted;
        self.tell();
        let Some(stream) = self.find(head.id) else {
            read.advance(whole);
            return self.data_of_none(head);
        };
        let mut inner = stream.inner.borrow_mut();
        let end = head.has(flag::END_STREAM);
        let wrong = if inner.ended {
            Some(Reason::STREAM_CLOSED)
        } else if counted > inner.receive_window {
            Some(Reason::FLOW_CONTROL_ERROR)
        } else {
            let left = inner
                .left
                .map(|left| left.checked_sub(content.len() as u64));
            match left {
                Some(None) => Some(Reason::PROTOCOL_ERROR),
                Some(Some(1..)) if end => Some(Reason::PROTOCOL_ERROR),
                Some(left) => {
                    inner.left = left;
                    None
                }
                None => None,
            }
        };
        if let Some(reason) = wrong {
            drop(inner);
            read.advance(whole);
            self.credit(head.length);
            return self.fail(head.id, reason);
        }
        inner.receive_window -= counted;
        inner.ended = end;
        // What nobody will read is as good as read.
        let mut taken = head.length - content.len();
        if !content.is_empty() {
            self.input.empty = self.input.empty.saturating_sub(1);
        } else if !end {
            self.input.empty += 1;
            if self.input.empty > EMPTY {
                return Err(CALM);
            }
        }
        if content.is_empty() {
            read.advance(whole);
        } else if inner.unread {
            taken = head.length;
            read.advance(whole);
        } else if content.len() < inbox::LARGE || read.capacity() - read.len() > content.len() {
            // To leave it where it is would keep more that is empty.
            inner
                .inbox
                .push(&read[HEAD + content.start..HEAD + content.end]);
            read.advance(whole);
        } else {
            let mut frame = read.split_to(whole);
            frame.truncate(HEAD + content.end);
            frame.advance(HEAD + content.start);
            inner.inbox.push_large(frame.freeze());
        }
        inner.wake_reader();
        drop(inner);
        if taken > 0 {
            self.credit_stream(&stream, taken);
        }
        self.settle(&stream);
        Ok(())
    }

    /// Data of a stream that is none.
    fn data_of_none(&mut self, head: Head) -> Result<(), Fatal> {
        if self.is_idle(head.id) {
            // One that is not to be served any more may have begun all the same: what it has on its way is no mistake.
            if self.leaving != Leaving::Final || head.id.is_multiple_of(2) {
                return Err(PROTOCOL);
            }
            self.credit(head.length);
            return match head.length {
                0 if !head.has(flag::END_STREAM) => self.fault(),
                _ => Ok(()),
            };
        }
        self.credit(head.length);
        let Some(forgotten) = self.forgotten(head.id) else {
            return self.fail(head.id, Reason::STREAM_CLOSED);
        };
        forgotten.window -= head.length as i64;
        if forgotten.window < 0 {
            return Err(Fatal(Reason::FLOW_CONTROL_ERROR));
        }
        let end = head.has(flag::END_STREAM);
        let ended = std::mem::replace(&mut forgotten.ended, end);
        match ended || (head.length == 0 && !end) {
            true => self.fault(),
            false => Ok(()),
        }
    }

    /// Section 6.2.
    fn headers(
        &mut self,
        head: Head,
        payload: &[u8],
    ) -> Result<Option<(Rc<Stream>, Asked)>, Fatal> {
        if head.id.is_multiple_of(2) {
            return Err(PROTOCOL);
        }
        let mut block = &payload[head.content(payload)?];
        let mut faulty = false;
        if head.has(flag::PRIORITY) {
            let (priority, rest) = block.split_first_chunk::<5>().ok_or(SIZE)?;
            let &[a, b, c, d, _] = priority;
            faulty = u32::from_be_bytes([a, b, c, d]) & MAX_31 == head.id;
            block = rest;
        }
        let end_stream = head.has(flag::END_STREAM);
        if head.has(flag::END_HEADERS) {
            return self.block(head.id, end_stream, faulty, block);
        }
        self.input.partial = Some(Box::new(Partial {
            id: head.id,
            end_stream,
            faulty,
            block: block.to_vec(),
            frames: 0,
        }));
        Ok(None)
    }

    /// Section 6.10.
    fn continuation(
        &mut self,
        head: Head,
        payload: &[u8],
    ) -> Result<Option<(Rc<Stream>, Asked)>, Fatal> {
        let mut partial = self.input.partial.take().ok_or(PROTOCOL)?;
        if partial.id != head.id {
            return Err(PROTOCOL);
        }
        if partial.block.len() + payload.len() > BLOCK {
            return Err(CALM);
        }
        partial.block.extend_from_slice(payload);
        if head.has(flag::END_HEADERS) {
            let Partial {
                id,
                end_stream,
                faulty,
                block,
                ..
            } = *partial;
            return self.block(id, end_stream, faulty, &block);
        }
        partial.frames += 1;
        if partial.frames > CONTINUATIONS {
            return Err(CALM);
        }
        self.input.partial = Some(partial);
        Ok(None)
    }

    /// A head that has come whole.
    fn block(
        &mut self,
        id: u32,
        end: bool,
        faulty: bool,
        block: &[u8],
    ) -> Result<Option<(Rc<Stream>, Asked)>, Fatal> {
        // Whatever becomes of it: the table depends on it.
        let mut fields = Fields::default();
        self.decoder
            .decode(block, |name, value| fields.add(name, value))
            .map_err(|error| {
                // Nothing is said of it but that the connection ends.
                self.input.refused.push(Refused::Malformed);
                match error {
                    Unreadable::Malformed => Fatal(Reason::COMPRESSION_ERROR),
                    Unreadable::Unwanted => CALM,
                }
            })?;
        if id <= self.input.highest {
            return self.trailers(id, end && !faulty, fields).map(|()| None);
        }
        if self.leaving == Leaving::Final {
            // The client knows which was the last.
            return self.fault().map(|()| None);
        }
        let expected = match self.input.highest {
            0 => 1,
            highest => highest + 2,
        };
        self.input.gaps |= id != expected;
        self.input.highest = id;
        let window = if end { 0 } else { i64::from(STREAM_WINDOW) };
        if self.streams.len() >= STREAMS as usize {
            self.refuse(id, Reason::REFUSED_STREAM, window);
            // It has been told how many there may be.
            return self.fault().map(|()| None);
        }
        let refused = match fields.request(end) {
            Ok(asked) if !faulty => {
                self.input.faults = self.input.faults.saturating_sub(1);
                let stream = self.begin(id, end, asked.length);
                return Ok(Some((stream, asked)));
            }
            Ok(_) => Refused::Malformed,
            Err(refused) => refused,
        };
        self.input.refused.push(refused);
        let reason = match refused {
            Refused::TooLarge => {
                frame::block(self.frames(), id, true, |out| {
                    hpack::status(out, StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE);
                });
                Reason::NO_ERROR
            }
            Refused::Malformed => Reason::PROTOCOL_ERROR,
        };
        if !(end && reason == Reason::NO_ERROR) {
            self.refuse(id, reason, window);
        }
        self.fault()?;
        Ok(None)
    }

    fn begin(&mut self, id: u32, end: bool, left: Option<u64>) -> Rc<Stream> {
        let stream = Rc::new(Stream {
            id,
            inner: RefCell::new(Inner {
                broken: None,
                ended: end,
                answered: false,
                silent: false,
                inbox: Inbox::default(),
                unread: false,
                left,
                receive_window: i64::from(STREAM_WINDOW),
                owed: 0,
                send_window: self.initial_window,
                pending: bytes::Bytes::new(),
                trailers: None,
                closing: false,
                queued: false,
                moved: 0,
                handles: 0,
                begun: false,
                faulty_end: false,
                reader: None,
                writer: None,
            }),
        });
        // The highest of all.
        self.streams.push(Rc::clone(&stream));
        stream
    }

    /// Fields that follow a request's body, or come where none may be.
    fn trailers(&mut self, id: u32, end: bool, fields: Fields) -> Result<(), Fatal> {
        let Some(stream) = self.find(id) else {
            if let Some(forgotten) = self.forgotten(id) {
                return match std::mem::replace(&mut forgotten.ended, true) {
                    true => self.fault(),
                    false => Ok(()),
                };
            }
            // Where all were begun, this one has ended; else it may be one that never was (section 5.1.1).
            return Err(match self.input.gaps {
                true => PROTOCOL,
                false => Fatal(Reason::STREAM_CLOSED),
            });
        };
        let mut inner = stream.inner.borrow_mut();
        let wrong = if inner.ended {
            Some(Reason::STREAM_CLOSED)
        } else if !end || inner.left.is_some_and(|left| left > 0) {
            Some(Reason::PROTOCOL_ERROR)
        } else {
            match fields.trailers() {
                Ok(trailers) => {
                    inner.ended = true;
                    if !inner.unread {
                        inner.inbox.trailers = Some(trailers);
                    }
                    inner.wake_reader();
                    None
                }
                Err(_) => Some(Reason::PROTOCOL_ERROR),
            }
        };
        inner.faulty_end = wrong.is_some() && !inner.inbox.is_empty();
        drop(inner);
        match wrong {
            Some(reason) => self.fail(id, reason),
            None => {
                self.settle(&stream);
                Ok(())
            }
        }
    }
}
