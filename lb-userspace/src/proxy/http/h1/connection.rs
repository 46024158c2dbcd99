//! A connection to a server, with one exchange on it at a time.

use std::{
    collections::VecDeque,
    io::IoSlice,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
};

use bytes::{Bytes, BytesMut};
use http::{HeaderName, Method, Request, Response, StatusCode};
use http_body::{Body as _, Frame};

use super::{
    body::{Body, Slot},
    framing::{Decoded, Framing, Malformed},
    head::{self, Sent},
};
use crate::proxy::{
    Stream,
    http::{body::RequestBody, interim, server_io::ServerIo},
};

/// Largest head of an answer, and what is read of a body at a time at most, in bytes: each piece that waits for a client
/// who does not read holds that much.
const BUFFER: usize = 32 * 1024;
/// What is read at a time of what is probably small.
const SMALL: usize = 8 * 1024;
/// Bytes up to which a piece of a request's body is put together with what is written before it: copying it costs less
/// than the kernel's handling of a list of pieces.
const TOGETHER: usize = 4 * 1024;
/// What the buffer of what is written keeps of its room from one request to the next.
const KEPT: usize = 8 * 1024;

/// Why there is no answer.
pub(in super::super) enum Failed {
    /// The connection was closed before a byte of the request was written.
    Unsent(Box<Request<RequestBody>>),
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
    /// Nothing more, ever: all that is left is to be written.
    Done,
    /// What follows is not HTTP.
    Switched,
}

/// The body of a request on its way.
struct Sending {
    body: RequestBody,
    framing: Sent,
}

/// What is to be written.
#[derive(Default)]
struct Out {
    /// Put together, of which so many bytes have been written.
    flat: Vec<u8>,
    written: usize,
    /// What follows it, and what follows that.
    large: Option<Bytes>,
    tail: &'static [u8],
}

/// A connection to a server.
pub(in super::super) struct Connection {
    io: ServerIo,
    /// What was read and is not understood yet.
    read: BytesMut,
    /// How much is read next: what its answers have been like is what the next will be like.
    room: usize,
    /// The last read was of less than half of that.
    was_small: bool,
    out: Out,
    /// A request that nothing has been written of.
    next: Option<Box<Request<RequestBody>>>,
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
    answer: Option<Result<Response<Body>, Failed>>,
}

impl Connection {
    /// One that has carried nothing yet.
    pub(in super::super) fn new(io: ServerIo) -> Self {
        Self {
            io,
            read: BytesMut::new(),
            room: SMALL,
            was_small: false,
            out: Out::default(),
            next: None,
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

    /// Takes a request, when it [is idle](Self::is_idle). The answer comes by driving it.
    pub(in super::super) fn send(&mut self, request: Request<RequestBody>) {
        self.answer = None;
        self.next = Some(Box::new(request));
    }

    /// The answer, or why there is none, once that is known.
    pub(in super::super) fn take_answer(&mut self) -> Option<Result<Response<Body>, Failed>> {
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
            let gone = (self.used || self.next.is_none())
                && !self.io.is_quiet(cx)
                && self.poll_fill(cx).is_ready();
            match self.next.take() {
                Some(request) if gone => return Err(Failed::Unsent(request)),
                Some(request) => self.begin(*request),
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
        self.ended = true;
        self.failed = true;
        self.keeps = false;
        match &self.reading {
            Reading::Body(_, slot) => slot.break_off(),
            _ => self.answer = Some(Err(failed)),
        }
    }

    fn begin(&mut self, request: Request<RequestBody>) {
        self.used = true;
        let (head, body) = request.into_parts();
        let ended = body.is_end_stream();
        let framing = head::write(&head, &body.size_hint(), ended, &mut self.out.flat);
        self.method = head.method;
        self.reading = Reading::Head;
        self.sending = (!ended).then_some(Sending { body, framing });
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
        {
            match Pin::new(&mut sending.body).poll_frame(cx) {
                Poll::Pending => break,
                Poll::Ready(Some(Err(_))) => return Err(Failed::Closed),
                Poll::Ready(Some(Ok(frame))) => {
                    let last = sending.body.is_end_stream();
                    if sending.take(frame, last, &mut self.out)? {
                        self.sending = None;
                    }
                }
                Poll::Ready(None) => {
                    sending.end(None, &mut self.out)?;
                    self.sending = None;
                }
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
                        let found = head::read(&mut self.read, &self.method)?;
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
                Poll::Ready(Some(1..)) => {}
                Poll::Ready(ended) => {
                    return match &self.reading {
                        Reading::Body(Framing::Close, slot) if ended.is_some() => {
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
    fn answered(&mut self, found: head::Answer) {
        let head::Answer {
            head,
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
        self.answer = Some(Ok(Response::from_parts(head, body)));
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
        let read = ready!(self.io.poll_read(cx, &mut self.read)).ok();
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

impl Sending {
    /// Puts a piece of the body to what is written: whether it was the last.
    fn take(&mut self, frame: Frame<Bytes>, last: bool, out: &mut Out) -> Result<bool, Failed> {
        let frame = match frame.into_data() {
            Ok(data) => {
                self.data(data, out)?;
                if last {
                    self.end(None, out)?;
                }
                return Ok(last);
            }
            Err(frame) => frame,
        };
        let Ok(trailers) = frame.into_trailers() else {
            return Ok(false);
        };
        self.end(Some(&trailers), out)?;
        Ok(true)
    }

    fn data(&mut self, data: Bytes, out: &mut Out) -> Result<(), Failed> {
        match &mut self.framing {
            Sent::Length(left) => {
                let length = data.len() as u64;
                // More than was promised would be taken for the next request.
                *left = left.checked_sub(length).ok_or(Failed::Closed)?;
                out.push(data, b"");
            }
            // An empty chunk would be the end.
            Sent::Chunked(_) if data.is_empty() => {}
            Sent::Chunked(_) => {
                out.push_size(data.len());
                out.push(data, b"\r\n");
            }
        }
        Ok(())
    }

    fn end(&mut self, trailers: Option<&http::HeaderMap>, out: &mut Out) -> Result<(), Failed> {
        match &self.framing {
            Sent::Length(0) => Ok(()),
            // The server would wait for the rest.
            Sent::Length(_) => Err(Failed::Closed),
            Sent::Chunked(announced) => {
                out.push_end(trailers, announced);
                Ok(())
            }
        }
    }
}

impl Out {
    fn is_empty(&self) -> bool {
        self.flat.len() == self.written && self.large.is_none() && self.tail.is_empty()
    }

    fn has_room(&self) -> bool {
        self.large.is_none() && self.tail.is_empty() && self.flat.len() < TOGETHER
    }

    fn clear(&mut self) {
        *self = Self::default();
    }

    fn push_size(&mut self, size: usize) {
        use std::io::Write as _;
        // Memory takes what is written to it.
        drop(write!(self.flat, "{size:X}\r\n"));
    }

    fn push(&mut self, data: Bytes, tail: &'static [u8]) {
        if data.len() <= TOGETHER {
            self.flat.extend_from_slice(&data);
            self.flat.extend_from_slice(tail);
        } else {
            self.large = Some(data);
            self.tail = tail;
        }
    }

    fn push_end(&mut self, trailers: Option<&http::HeaderMap>, announced: &[HeaderName]) {
        if self.large.is_some() {
            // The end of what is large, and of all: trailers come by themselves, when there is room.
            self.tail = b"\r\n0\r\n\r\n";
        } else {
            head::write_end(trailers, announced, &mut self.flat);
        }
    }

    /// Writes some of it: whether that is possible.
    fn poll(&mut self, io: &mut ServerIo, cx: &mut Context<'_>) -> Poll<bool> {
        let flat = &self.flat[self.written..];
        let large = self.large.as_deref().unwrap_or_default();
        let written = match (large, self.tail) {
            ([], []) => io.poll_write(cx, &[IoSlice::new(flat)]),
            (large, tail) => {
                let all = [flat, large, tail].map(IoSlice::new);
                io.poll_write(cx, &all)
            }
        };
        let Ok(mut n @ 1..) = ready!(written) else {
            return Poll::Ready(false);
        };
        let of_flat = n.min(flat.len());
        n -= of_flat;
        self.written += of_flat;
        if self.written == self.flat.len() {
            self.written = 0;
            self.flat.clear();
            if self.flat.capacity() > KEPT {
                self.flat = Vec::new();
            }
        }
        if let Some(large) = &mut self.large {
            let of_large = n.min(large.len());
            n -= of_large;
            let _ = large.split_to(of_large);
            if large.is_empty() {
                self.large = None;
            }
        }
        self.tail = &self.tail[n.min(self.tail.len())..];
        Poll::Ready(true)
    }
}
