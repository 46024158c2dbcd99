//! A connection to a server, with one exchange on it at a time.

use std::{
    collections::VecDeque,
    rc::Rc,
    task::{Context, Poll},
};

use bytes::{Bytes, BytesMut};
use http::{Method, Response, StatusCode};
use http_body::{Body as _, Frame};

use super::{
    body::{Body, BrokenOff, Slot},
    head,
    out::{Out, Sending},
};
use crate::{
    proxy::{
        Stream,
        http::{fields::Fields, interim, message::Message, server_io::ServerIo},
    },
    wire::h1::{self, Decoded, Framing, Malformed},
};

/// Largest head of an answer, and what is read of a body at a time at most, in bytes: each piece that waits for a client
/// who does not read holds that much.
const BUFFER: usize = h1::MAX_HEAD;
/// What is read at a time of what is probably small.
const SMALL: usize = 8 * 1024;

/// Why there is no answer.
pub(in super::super) enum Failed {
    /// The connection was closed before a byte of the request was written, or without a byte of an answer, and the request may
    /// be sent once more.
    Unsent(Message),
    /// What has come is none.
    Malformed,
    /// The connection has ended first, or the request itself could not go on.
    Closed,
}

/// What is expected of the server.
enum Reading {
    /// Nothing: the connection is idle.
    Idle,
    /// The head of an answer.
    Head,
    /// Its body.
    Body(Framing, Rc<Slot>),
    /// Nothing more of this answer. Once the request is all written too, the connection is idle or ends.
    Done,
    /// What follows is not HTTP.
    Switched,
}

/// A connection to a server.
pub(in super::super) struct Connection {
    io: ServerIo,
    /// What was read and is not understood yet.
    read: BytesMut,
    /// How much is read next: what its answers have been like is what the next will be like.
    room: usize,
    /// What the last answer looked like.
    alike: usize,
    /// The last read was of less than half of that.
    was_small: bool,
    out: Out,
    /// A request that nothing has been written of.
    next: Option<Message>,
    /// It may be sent once more if the server closes without a word.
    repeatable: bool,
    /// One that may be, until the server has said something.
    unanswered: Option<Message>,
    sending: Option<Sending>,
    reading: Reading,
    /// What the answer is to.
    method: Method,
    /// Another request may follow.
    keeps: bool,
    /// It must not be driven any more.
    ended: bool,
    /// It has broken off in the middle of something, or does not take what is written.
    failed: bool,
    /// It has carried a request before.
    used: bool,
    interims: VecDeque<Response<()>>,
    answer: Option<Result<(Response<Body>, Fields), Failed>>,
}

impl Connection {
    /// One that has carried nothing yet.
    pub(in super::super) fn new(io: ServerIo) -> Self {
        Self {
            io,
            read: BytesMut::new(),
            room: SMALL,
            alike: usize::MAX,
            was_small: false,
            out: Out::default(),
            next: None,
            repeatable: false,
            unanswered: None,
            sending: None,
            reading: Reading::Idle,
            method: Method::GET,
            keeps: true,
            ended: false,
            failed: false,
            used: false,
            interims: VecDeque::new(),
            answer: None,
        }
    }

    /// Takes a request, when it [is idle](Self::is_idle). The answer comes by driving it. One that is `repeatable` has no body,
    /// and comes back if the server closes without a word.
    pub(in super::super) fn send(&mut self, request: Message, repeatable: bool) {
        self.answer = None;
        self.next = Some(request);
        self.repeatable = repeatable;
    }

    /// The answer, with those of its fields that concern a proxy, or why there is none, once that is known.
    pub(in super::super) fn take_answer(
        &mut self,
    ) -> Option<Result<(Response<Body>, Fields), Failed>> {
        self.answer.take()
    }

    /// The next answer before the answer (1xx).
    pub(in super::super) fn take_interim(&mut self) -> Option<Response<()>> {
        self.interims.pop_front()
    }

    /// Whether it may take a request.
    pub(in super::super) fn is_idle(&self) -> bool {
        !self.ended && self.next.is_none() && matches!(self.reading, Reading::Idle)
    }

    /// Whether it may, and it is known without looking that the server has said nothing.
    pub(in super::super) fn is_silent(&self) -> bool {
        self.is_idle() && self.io.is_silent()
    }

    /// Whether it has failed, once it has ended.
    pub(in super::super) fn end(&self) -> Option<bool> {
        self.ended.then_some(self.failed)
    }

    /// The socket and what has been read of it, once the server has switched protocols and the request is all written.
    pub(in super::super) fn into_switched(self) -> Option<(Stream, Bytes)> {
        let switched = matches!(self.reading, Reading::Switched);
        let written = self.out.is_empty() && self.sending.is_none();
        (switched && written).then(|| (self.io.into_stream(), self.read.freeze()))
    }

    /// What has come and was not understood.
    pub(in super::super) fn into_unread(self) -> Bytes {
        self.read.freeze()
    }

    /// Moves what can be moved.
    pub(in super::super) fn drive(&mut self, cx: &mut Context<'_>) {
        if !self.ended
            && let Err(failed) = self.advance(cx)
        {
            self.fail(failed);
        }
    }

    fn advance(&mut self, cx: &mut Context<'_>) -> Result<(), Failed> {
        if matches!(self.reading, Reading::Idle) {
            // It says nothing that it is not asked: whatever comes, it is of no use any more.
            // Whoever has a request will read, and is told then.
            let gone = match &self.next {
                Some(_) => self.used && !self.io.is_silent(),
                None => !self.io.is_quiet(cx),
            };
            let gone = gone
                && match self.poll_fill(cx) {
                    Poll::Ready(_) => true,
                    // A task that has had its share of looks is told nothing of what is there.
                    Poll::Pending => {
                        self.next.is_some() && !tokio::task::coop::has_budget_remaining()
                    }
                };
            match self.next.take() {
                Some(request) if gone => return Err(Failed::Unsent(request)),
                Some(request) => self.begin(request),
                None => {
                    self.ended = gone;
                    return Ok(());
                }
            }
        }
        if matches!(self.reading, Reading::Done) {
            self.listen(cx);
        }
        if !self.ended {
            self.write(cx)?;
            self.read(cx)?;
            self.rest(cx);
        }
        Ok(())
    }

    fn fail(&mut self, failed: Failed) {
        let failed = match (failed, self.unanswered.take()) {
            (Failed::Closed, Some(request)) => Failed::Unsent(request),
            (failed, _) => failed,
        };
        self.ended = true;
        self.failed = true;
        self.keeps = false;
        match &self.reading {
            Reading::Body(_, slot) => slot.break_off(BrokenOff {
                malformed: matches!(failed, Failed::Malformed),
            }),
            _ => self.answer = Some(Err(failed)),
        }
    }

    fn begin(&mut self, request: Message) {
        self.used = true;
        self.reading = Reading::Head;
        if self.repeatable {
            let (head, body) = (request.head(), request.body());
            head::write(head, &body.size_hint(), true, self.out.head());
            self.method = head.method.clone();
            self.sending = None;
            self.unanswered = Some(request);
            return;
        }
        let (head, body) = request.into_parts();
        let ended = body.is_end_stream();
        let framing = head::write(&head, &body.size_hint(), ended, self.out.head());
        self.method = head.method;
        self.sending = (!ended).then(|| Sending::new(body, framing));
    }

    /// Writes what there is to be written.
    fn write(&mut self, cx: &mut Context<'_>) -> Result<(), Failed> {
        loop {
            self.gather(cx)?;
            if self.out.is_empty() {
                break;
            }
            match self.out.poll(&mut self.io, cx) {
                Poll::Ready(true) => {}
                // It has closed its side, but may have answered before.
                Poll::Ready(false) => {
                    self.out.clear();
                    self.sending = None;
                    self.keeps = false;
                    self.failed = true;
                    return Ok(());
                }
                Poll::Pending => return Ok(()),
            }
        }
        // TLS may hold something back. If that does not work out, neither does what is read.
        let _ = self.io.poll_flush(cx);
        Ok(())
    }

    /// Takes what has come of the request's body, as much as is written at a time.
    fn gather(&mut self, cx: &mut Context<'_>) -> Result<(), Failed> {
        while let Some(sending) = &mut self.sending
            && self.out.has_room()
            && let Poll::Ready(last) = sending.poll(cx, &mut self.out)?
        {
            if last {
                self.sending = None;
            }
        }
        Ok(())
    }

    /// Reads what has come.
    fn read(&mut self, cx: &mut Context<'_>) -> Result<(), Failed> {
        loop {
            match &mut self.reading {
                Reading::Idle | Reading::Done | Reading::Switched => return Ok(()),
                Reading::Head => {
                    if !self.read.is_empty() {
                        let found = h1::read(&mut self.read, &self.method, &mut self.alike)?;
                        if let Some(found) = found {
                            self.answered(found);
                            continue;
                        }
                        if self.read.len() >= BUFFER {
                            return Err(Failed::Malformed);
                        }
                    }
                }
                Reading::Body(framing, slot) => {
                    if slot.is_full() {
                        return Ok(());
                    }
                    match framing.decode(&mut self.read) {
                        Ok(Decoded::Data(data)) => {
                            slot.put(Frame::data(data));
                            if framing.is_over(&mut self.read) {
                                slot.end();
                                self.reading = Reading::Done;
                            }
                            continue;
                        }
                        Ok(Decoded::Trailers(trailers)) => {
                            slot.put(Frame::trailers(trailers));
                            continue;
                        }
                        Ok(Decoded::End) => {
                            slot.end();
                            self.reading = Reading::Done;
                            continue;
                        }
                        Ok(Decoded::More) => {}
                        Err(Malformed) => return Err(Failed::Malformed),
                    }
                }
            }
            match self.poll_fill(cx) {
                Poll::Pending => return Ok(()),
                Poll::Ready(Some(1..)) => self.unanswered = None,
                Poll::Ready(ended) => {
                    return match &self.reading {
                        // The end of the connection is that of the body, where it is known to be one (RFC 9112, section 9.8).
                        Reading::Body(Framing::Close, slot)
                            if ended.is_some() && !self.io.is_cut() =>
                        {
                            slot.end();
                            self.reading = Reading::Done;
                            Ok(())
                        }
                        _ => Err(Failed::Closed),
                    };
                }
            }
        }
    }

    /// The head of an answer has come.
    fn answered(&mut self, found: h1::Answer) {
        let h1::Answer {
            head,
            fields,
            framing,
            keeps,
        } = found;
        if interim::is_interim(head.status) {
            // Nobody has use for more of them than the client gets.
            if self.interims.len() < interim::MAX_WAITING {
                self.interims.push_back(Response::from_parts(head, ()));
            }
            return;
        }
        self.keeps &= keeps;
        let (body, reading) = if head.status == StatusCode::SWITCHING_PROTOCOLS {
            (Body::Whole(Bytes::new()), Reading::Switched)
        } else {
            match framing.length() {
                Some(length) if length <= self.read.len() as u64 => {
                    // No more than there is in memory.
                    let whole = self.read.split_to(length as usize).freeze();
                    (Body::Whole(whole), Reading::Done)
                }
                length => {
                    let slot = Rc::new(Slot::new(length));
                    (Body::Coming(Rc::clone(&slot)), Reading::Body(framing, slot))
                }
            }
        };
        self.reading = reading;
        self.answer = Some(Ok((Response::from_parts(head, body), fields)));
    }

    /// Listens to a server that has answered and is still to get the rest of the request: it says nothing more, but it may
    /// close, and want none of it.
    fn listen(&mut self, cx: &mut Context<'_>) {
        while self.read.len() < BUFFER
            && let Poll::Ready(read) = self.poll_fill(cx)
        {
            match read {
                Some(1..) => {}
                ended => {
                    self.ended = true;
                    self.failed = ended.is_none();
                    return;
                }
            }
        }
    }

    /// Both sides have said all that they had to: the connection is free for the next request, or ends.
    fn rest(&mut self, cx: &mut Context<'_>) {
        if !matches!(self.reading, Reading::Done) || self.sending.is_some() || !self.out.is_empty()
        {
            return;
        }
        // What nobody has asked for would be taken for the next answer.
        if self.keeps && self.read.is_empty() {
            self.reading = Reading::Idle;
            // Memory that was used a moment ago is nearer than what this connection had at its last request.
            self.read = BytesMut::new();
            return;
        }
        self.ended = true;
        // The socket's end goes with it; TLS has a goodbye of its own, which is as well said as it can be now.
        let _ = self.io.poll_shutdown(cx);
    }

    /// Reads more: how much, where 0 is the end, and nothing an error.
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<Option<usize>> {
        let room = match &self.reading {
            Reading::Body(Framing::Length(left), _) => {
                usize::try_from(*left).map_or(BUFFER, |left| left.clamp(SMALL, BUFFER))
            }
            Reading::Idle => SMALL,
            _ => self.room,
        };
        self.read.reserve(room);
        let read = match self.io.poll_read(cx, &mut self.read) {
            Poll::Ready(read) => read.ok(),
            Poll::Pending => {
                // Whoever is next to read gets it, instead of each connection that waits having one of its own: what it is
                // read into is then what was written from a moment ago, and in the caches.
                if self.read.is_empty() {
                    self.read = BytesMut::new();
                }
                return Poll::Pending;
            }
        };
        match read {
            // Who fills the buffer has more to say.
            Some(n) if n >= self.room => {
                self.room = (self.room * 2).min(BUFFER);
                self.was_small = false;
            }
            Some(n) if n < self.room / 2 => {
                if std::mem::replace(&mut self.was_small, true) {
                    self.room = (self.room / 2).max(SMALL);
                    self.was_small = false;
                }
            }
            _ => self.was_small = false,
        }
        Poll::Ready(read)
    }
}

impl From<Malformed> for Failed {
    fn from(Malformed: Malformed) -> Self {
        Self::Malformed
    }
}
