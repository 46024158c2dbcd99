//! A client's connection as its requests and its task share it: streams, windows, and what is to be written.
//!
//! All of it lives on one thread. A request's task puts its frames where they are written from, as far as windows and room
//! allow, and wakes the connection's task, which writes what all of them have put by then, in one go. What they do not
//! allow stays with the stream, and the connection's task goes on with it, a frame of each stream in turn.

use std::{
    cell::{RefCell, RefMut},
    collections::VecDeque,
    io,
    rc::Rc,
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use h2::Reason;

use super::{
    CONNECTION_WINDOW, MAX_HEAD, REMEMBERED_RESETS, STREAM_WINDOW, STREAMS,
    frame::{self, flag, setting},
    hpack::{self, Decoder},
    out::Out,
    state::{Broken, Inner, Stream, register},
};
use crate::proxy;

/// What an answer with a small body takes, in bytes.
const LIKELY: usize = 512;
/// What of bodies may wait to be written, in bytes.
const ROOM: usize = 64 * 1024;
/// What may wait in all, which is heads and answers to frames beside: until it is less, nothing more is read.
const MOST: usize = 128 * 1024;
/// What is written in one turn, before others have theirs.
const TURN: usize = 256 * 1024;
/// Windows of HTTP/2 before anything is agreed on.
const DEFAULT_WINDOW: u32 = 65_535;
/// What a client that is told to leave is asked, so that what it sent before it knew is served.
pub(super) const LAST_PING: [u8; 8] = *b"lb: bye.";

/// How far a goodbye has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Leaving {
    No,
    /// The client is being told, and may still ask for what it had on its way.
    Told,
    /// No new stream is taken.
    Final,
}

/// A stream that we have reset, while frames for it may be on their way.
#[derive(Debug)]
pub(super) struct Forgotten {
    pub(super) id: u32,
    /// What may still come of it.
    pub(super) window: i64,
    /// Its end has come.
    pub(super) ended: bool,
}

/// What the connection's parts share.
#[derive(Debug)]
pub(super) struct Wire {
    state: RefCell<State>,
}

/// The connection's state.
#[derive(Debug)]
pub(super) struct State {
    pub(super) out: Out,
    /// By their numbers.
    pub(super) streams: Vec<Rc<Stream>>,
    /// Those whose data waits for a window or for room that they share.
    pub(super) ready: VecDeque<Rc<Stream>>,
    /// What we may send, all streams together.
    pub(super) send_window: i64,
    /// What we may send of a stream, at its beginning.
    pub(super) initial_window: i64,
    /// What the client may send, all streams together.
    pub(super) receive_window: i64,
    /// What was taken and the client was not told of.
    owed: u32,
    pub(super) input: super::incoming::Input,
    pub(super) decoder: Decoder,
    pub(super) forgotten: VecDeque<Forgotten>,
    pub(super) leaving: Leaving,
    /// The client wants to know that there is no table of ours.
    pub(super) tell_table: bool,
    /// The connection's task, and whether it need not be woken.
    task: Option<Waker>,
    woken: bool,
    /// It has ended.
    closed: bool,
}

/// What has come of an attempt to send a frame.
enum Sent {
    /// More is left.
    Some,
    All,
    /// It waits for its own window.
    Held,
    /// It waits for what all share.
    Shared,
}

impl Wire {
    /// A connection that begins, with our first words.
    pub(super) fn new() -> Rc<Self> {
        let mut state = State {
            out: Out::default(),
            streams: Vec::new(),
            ready: VecDeque::new(),
            send_window: i64::from(DEFAULT_WINDOW),
            initial_window: i64::from(DEFAULT_WINDOW),
            receive_window: i64::from(CONNECTION_WINDOW),
            owed: 0,
            input: super::incoming::Input::default(),
            decoder: Decoder::new(),
            forgotten: VecDeque::new(),
            leaving: Leaving::No,
            tell_table: false,
            task: None,
            woken: true,
            closed: false,
        };
        let out = state.out.frames();
        frame::settings(
            out,
            &[
                (setting::INITIAL_WINDOW_SIZE, STREAM_WINDOW),
                (setting::MAX_CONCURRENT_STREAMS, STREAMS),
                (setting::MAX_HEADER_LIST_SIZE, MAX_HEAD),
                (setting::ENABLE_CONNECT_PROTOCOL, 1),
            ],
        );
        frame::window_update(out, 0, CONNECTION_WINDOW - DEFAULT_WINDOW);
        Rc::new(Self {
            state: RefCell::new(state),
        })
    }

    /// Its state, for as long as one thing is done with it.
    pub(super) fn state(&self) -> RefMut<'_, State> {
        self.state.borrow_mut()
    }
}

impl State {
    /// The connection's task is at it, and to be woken by `waker` once it is not.
    pub(super) fn attend(&mut self, waker: &Waker) {
        self.woken = true;
        register(&mut self.task, waker);
    }

    /// The connection's task has done what there was.
    pub(super) fn leave(&mut self) {
        self.woken = false;
    }

    /// There is something to write.
    fn wake(&mut self) {
        if !self.woken
            && let Some(task) = &self.task
        {
            self.woken = true;
            task.wake_by_ref();
        }
    }

    /// Whether so much waits to be written that nothing more is read.
    pub(super) fn is_stuffed(&self) -> bool {
        self.out.len() >= MOST
    }

    /// Whether anything is under way.
    pub(super) fn has_streams(&self) -> bool {
        !self.streams.is_empty()
    }

    /// Whether all that was to be done is.
    pub(super) fn is_finished(&self) -> bool {
        self.leaving == Leaving::Final && self.streams.is_empty() && self.out.is_empty()
    }

    /// Where the next frame is put.
    pub(super) fn frames(&mut self) -> &mut Vec<u8> {
        self.wake();
        self.out.frames()
    }

    /// Tells the client to leave, which may still have requests on their way.
    pub(super) fn say_goodbye(&mut self) {
        if self.leaving == Leaving::No {
            self.leaving = Leaving::Told;
            let out = self.frames();
            frame::go_away(out, frame::MAX_31, Reason::NO_ERROR);
            frame::ping(out, 0, LAST_PING);
        }
    }

    /// Says which stream was the last.
    pub(super) fn say_last(&mut self) {
        self.leaving = Leaving::Final;
        let last = self.input.highest();
        frame::go_away(self.frames(), last, Reason::NO_ERROR);
    }

    /// Ends the connection and all that is on it.
    pub(super) fn go_away(&mut self, reason: Reason) {
        let last = self.input.highest();
        frame::go_away(self.frames(), last, reason);
        self.close();
    }

    /// The connection has ended, and with it all that is on it.
    pub(super) fn close(&mut self) {
        self.closed = true;
        self.ready.clear();
        for stream in std::mem::take(&mut self.streams) {
            break_off(&mut stream.inner.borrow_mut(), Broken::Closed);
        }
    }

    /// The client says no more: what it has asked for by then it may still be answered.
    pub(super) fn hear_no_more(&mut self) {
        self.leaving = Leaving::Final;
        let half = |stream: &Rc<Stream>| {
            let inner = &mut *stream.inner.borrow_mut();
            if inner.ended {
                inner.silent = true;
                inner.wake_writer();
            } else {
                break_off(inner, Broken::Closed);
            }
            inner.broken.is_none()
        };
        self.streams.retain(half);
        self.ready
            .retain(|stream| stream.inner.borrow().broken.is_none());
        // None of their windows will grow any more.
        let held = |stream: &&Rc<Stream>| self.is_held_for_good(&stream.inner.borrow());
        let held: Vec<_> = self.streams.iter().filter(held).cloned().collect();
        for stream in held {
            self.reset(&stream, Reason::CANCEL);
        }
    }

    /// Whether what waits of a stream can never go: there is no window for it, and the client says nothing more. HAProxy
    /// ends such a stream at once too.
    fn is_held_for_good(&self, inner: &Inner) -> bool {
        let window = inner.send_window.min(self.send_window);
        inner.silent && !inner.pending.is_empty() && window <= 0
    }

    pub(super) fn find(&self, id: u32) -> Option<Rc<Stream>> {
        let at = self.streams.binary_search_by_key(&id, |stream| stream.id);
        Some(Rc::clone(self.streams.get(at.ok()?)?))
    }

    /// Nothing more goes by a stream.
    fn remove(&mut self, id: u32) {
        if let Ok(at) = self.streams.binary_search_by_key(&id, |stream| stream.id) {
            let stream = self.streams.remove(at);
            if std::mem::take(&mut stream.inner.borrow_mut().queued) {
                // Behind one that waits for long there would be no end of them.
                self.ready.retain(|other| other.id != id);
            }
            if self.streams.is_empty() {
                self.streams = Vec::new();
                self.ready = VecDeque::new();
            }
        }
    }

    /// Resets what may still come by, and is not a stream any more or never was one.
    pub(super) fn refuse(&mut self, id: u32, reason: Reason, window: i64) {
        frame::reset(self.frames(), id, reason);
        if self.forgotten.len() >= REMEMBERED_RESETS {
            self.forgotten.pop_front();
        }
        self.forgotten.push_back(Forgotten {
            id,
            window,
            ended: false,
        });
    }

    /// Ends a stream before its end.
    pub(super) fn reset(&mut self, stream: &Stream, reason: Reason) {
        let mut inner = stream.inner.borrow_mut();
        if inner.is_over() {
            return;
        }
        let (window, ended) = (inner.receive_window, inner.ended);
        let unread = break_off(&mut inner, Broken::Refused(reason));
        drop(inner);
        self.credit(unread);
        self.remove(stream.id);
        match ended {
            // Nothing more is on its way.
            true => frame::reset(self.frames(), stream.id, reason),
            false => self.refuse(stream.id, reason, window),
        }
    }

    /// The client has ended a stream before its end.
    pub(super) fn was_reset(&mut self, stream: &Stream, reason: Reason) {
        let unread = break_off(&mut stream.inner.borrow_mut(), Broken::Reset(reason));
        self.credit(unread);
        self.remove(stream.id);
    }

    /// Removes a stream by which nothing more goes.
    pub(super) fn settle(&mut self, stream: &Stream) {
        let over = stream.inner.borrow().is_over();
        if over {
            self.remove(stream.id);
        }
    }

    /// So much was taken of what had come, or is not wanted: the client may send as much again.
    pub(super) fn credit(&mut self, taken: usize) {
        // No more than a window.
        self.owed = self
            .owed
            .saturating_add(u32::try_from(taken).unwrap_or(u32::MAX));
        self.tell();
    }

    /// Tells the client what it may send again: seldom while it may send much, and early once it may not, since what
    /// others do not take is not to hold up a stream that is taken.
    pub(super) fn tell(&mut self) {
        let much = CONNECTION_WINDOW / 2;
        let least = match self.receive_window < i64::from(much) {
            true => STREAM_WINDOW / 2,
            false => much,
        };
        if self.owed >= least && !self.closed {
            let owed = std::mem::take(&mut self.owed);
            self.receive_window += i64::from(owed);
            frame::window_update(self.frames(), 0, owed);
        }
    }

    /// The same of one stream, and of the connection.
    pub(super) fn credit_stream(&mut self, stream: &Stream, taken: usize) {
        self.credit(taken);
        let mut inner = stream.inner.borrow_mut();
        if inner.ended || inner.broken.is_some() {
            return;
        }
        inner.owed = inner
            .owed
            .saturating_add(u32::try_from(taken).unwrap_or(u32::MAX));
        if inner.owed >= STREAM_WINDOW / 2 {
            let owed = std::mem::take(&mut inner.owed);
            inner.receive_window += i64::from(owed);
            frame::window_update(self.frames(), stream.id, owed);
        }
    }

    /// Puts a head of ours; `end`: it is all of the answer. Whether the stream is still there.
    pub(super) fn head(
        &mut self,
        stream: &Stream,
        block: impl FnOnce(&mut Vec<u8>),
        end: bool,
    ) -> bool {
        if stream.inner.borrow().is_over() {
            return false;
        }
        let tell_table = std::mem::take(&mut self.tell_table);
        let out = self.frames();
        out.reserve(LIKELY);
        frame::block(out, stream.id, end, |out| {
            if tell_table {
                out.push(hpack::NO_TABLE);
            }
            block(out);
        });
        if end {
            self.answered(stream);
        }
        true
    }

    /// Sends data, of which nothing may be waiting; `closing`: it is the last, but for `trailers`.
    pub(super) fn send(
        &mut self,
        stream: &Rc<Stream>,
        data: Bytes,
        closing: bool,
        trailers: Option<Vec<u8>>,
    ) {
        let mut inner = stream.inner.borrow_mut();
        if inner.is_over() || inner.closing {
            return;
        }
        inner.pending = data;
        inner.closing = closing;
        inner.trailers = trailers;
        let now = self.ready.is_empty() || inner.pending.is_empty();
        drop(inner);
        let mut sent = Sent::Some;
        while now && matches!(sent, Sent::Some) {
            sent = self.send_frame(stream);
        }
        if matches!(sent, Sent::Some | Sent::Shared) {
            self.enqueue(stream);
        }
    }

    /// Puts a stream behind the others whose turn is to come.
    fn enqueue(&mut self, stream: &Rc<Stream>) {
        if !std::mem::replace(&mut stream.inner.borrow_mut().queued, true) {
            self.ready.push_back(Rc::clone(stream));
            self.wake();
        }
    }

    /// Puts one frame of what waits of a stream.
    fn send_frame(&mut self, stream: &Stream) -> Sent {
        let mut inner = stream.inner.borrow_mut();
        if inner.is_over() {
            return Sent::All;
        }
        if self.is_held_for_good(&inner) {
            drop(inner);
            self.reset(stream, Reason::CANCEL);
            return Sent::All;
        }
        if !inner.pending.is_empty() {
            if inner.send_window <= 0 {
                return Sent::Held;
            }
            if self.send_window <= 0 || self.out.len() >= ROOM {
                return Sent::Shared;
            }
            let window = inner.send_window.min(self.send_window);
            // A window that is no number of bytes here is larger than any frame.
            let window = usize::try_from(window).unwrap_or(usize::MAX);
            let n = inner.pending.len().min(frame::MAX_LENGTH).min(window);
            let part = inner.pending.split_to(n);
            let left = !inner.pending.is_empty();
            let end = !left && inner.closing && inner.trailers.is_none();
            let flags = if end { flag::END_STREAM } else { 0 };
            inner.send_window -= n as i64;
            self.send_window -= n as i64;
            inner.moved += n;
            inner.wake_writer();
            let trails = !left && inner.trailers.is_some();
            drop(inner);
            frame::head(self.frames(), n, frame::DATA, flags, stream.id);
            self.out.payload(part);
            if end {
                self.answered(stream);
            }
            return match (left, trails) {
                (true, _) => Sent::Some,
                // No window holds them.
                (false, true) => self.send_frame(stream),
                (false, false) => Sent::All,
            };
        }
        if !inner.closing {
            return Sent::All;
        }
        inner.wake_writer();
        let trailers = inner.trailers.take();
        drop(inner);
        match trailers {
            Some(mut block) => {
                if std::mem::take(&mut self.tell_table) {
                    block.splice(..0, [hpack::NO_TABLE]);
                }
                frame::block(self.frames(), stream.id, true, |out| {
                    out.extend_from_slice(&block);
                });
            }
            None => frame::head(self.frames(), 0, frame::DATA, flag::END_STREAM, stream.id),
        }
        self.answered(stream);
        Sent::All
    }

    /// All of the answer is with what is to be written.
    fn answered(&mut self, stream: &Stream) {
        let mut inner = stream.inner.borrow_mut();
        let stops = !inner.ended && inner.handles == 0;
        if stops {
            drop(inner);
            // Nobody is there for the rest of the request.
            return self.reset(stream, Reason::NO_ERROR);
        }
        inner.answered = true;
        drop(inner);
        self.settle(stream);
    }

    /// A stream's window has grown: what waits for it may go on.
    pub(super) fn unhold(&mut self, stream: &Rc<Stream>) {
        let inner = stream.inner.borrow();
        let goes_on = inner.is_waiting() && inner.send_window > 0;
        drop(inner);
        if goes_on {
            self.enqueue(stream);
        }
    }

    /// Puts what waits of streams and may go now, a frame of each in turn.
    pub(super) fn pump(&mut self) {
        while self.out.len() < ROOM
            && let Some(stream) = self.ready.pop_front()
        {
            stream.inner.borrow_mut().queued = false;
            match self.send_frame(&stream) {
                Sent::Some => self.enqueue(&stream),
                Sent::All | Sent::Held => {}
                Sent::Shared => {
                    stream.inner.borrow_mut().queued = true;
                    self.ready.push_front(stream);
                    return;
                }
            }
        }
    }

    /// Writes what there is. Ready when nothing is left that can be written; `true`: others are to have their turn first.
    ///
    /// # Errors
    /// The connection is no more.
    pub(super) fn poll_write(
        &mut self,
        stream: &mut proxy::Stream,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<bool>> {
        let mut written = 0;
        loop {
            self.pump();
            if self.out.is_empty() {
                if self.streams.is_empty() {
                    self.out.rest();
                }
                return Poll::Ready(Ok(false));
            }
            if written >= TURN {
                return Poll::Ready(Ok(true));
            }
            match self.out.poll(stream, cx) {
                Poll::Ready(Ok(n)) => written += n,
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    /// One that holds a stream is gone.
    pub(super) fn release(&mut self, stream: &Stream) {
        let mut inner = stream.inner.borrow_mut();
        inner.handles = inner.handles.saturating_sub(1);
        if inner.handles > 0 {
            return;
        }
        inner.reader = None;
        inner.writer = None;
        inner.unread = true;
        let unread = inner.inbox.clear();
        let (over, answered) = (inner.is_over(), inner.answered);
        // All of the answer is there, and goes its way.
        let complete = inner.closing && !answered;
        drop(inner);
        self.credit(unread);
        if over || complete {
            return;
        }
        self.reset(
            stream,
            match answered {
                true => Reason::NO_ERROR,
                false => Reason::CANCEL,
            },
        );
    }
}

/// Ends a stream before its end; how much of it nobody will read.
fn break_off(inner: &mut Inner, why: Broken) -> usize {
    inner.broken.get_or_insert(why);
    inner.pending = Bytes::new();
    inner.trailers = None;
    if !inner.inbox.is_empty() {
        // What was not read is missing, so that it is not whole.
        inner.ended = false;
    }
    let unread = inner.inbox.clear();
    inner.wake_reader();
    inner.wake_writer();
    unread
}
