//! A client's connection without a socket: what its bytes lead to, frame by frame.

use std::{
    rc::Rc,
    task::{Context, Poll, Waker},
};

use bytes::{Bytes, BytesMut};
use h2::Reason;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

use super::{
    CONNECTION_WINDOW, STREAM_WINDOW, STREAMS,
    frame::{self, CONTINUATION, DATA, GOAWAY, HEADERS, Head, PING, PREFACE, PRIORITY, RST_STREAM},
    frame::{SETTINGS, WINDOW_UPDATE, flag, setting},
    hpack,
    incoming::{self, Fatal, Request, Taken},
    wire::Wire,
};

mod conformance;
mod half_closed;
mod limits;
mod mistakes;

/// A connection whose first words are exchanged.
struct Connection {
    wire: Rc<Wire>,
    read: BytesMut,
}

/// A frame that was to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Frame {
    kind: u8,
    flags: u8,
    id: u32,
    payload: Vec<u8>,
}

fn frame(kind: u8, flags: u8, id: u32, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    frame::head(&mut out, payload.len(), kind, flags, id);
    out.extend_from_slice(payload);
    out
}

fn update(id: u32, increment: u32) -> Vec<u8> {
    frame(WINDOW_UPDATE, 0, id, &increment.to_be_bytes())
}

fn settings(name: u16, value: u32) -> Vec<u8> {
    let mut out = Vec::new();
    frame::settings(&mut out, &[(name, value)]);
    out
}

/// A GET, or a POST with more fields.
fn block(post: &[(&str, &str)]) -> Vec<u8> {
    let mut block = vec![if post.is_empty() { 0x82 } else { 0x83 }, 0x84, 0x86];
    block.extend(b"\x01\x01a");
    for (name, value) in post {
        hpack::field(
            &mut block,
            &HeaderName::from_bytes(name.as_bytes()).unwrap(),
            &HeaderValue::from_str(value).unwrap(),
        );
    }
    block
}

fn get(id: u32) -> Vec<u8> {
    frame(
        HEADERS,
        flag::END_HEADERS | flag::END_STREAM,
        id,
        &block(&[]),
    )
}

fn post(id: u32, fields: &[(&str, &str)]) -> Vec<u8> {
    let fields = [&[("x", "y")], fields].concat();
    frame(HEADERS, flag::END_HEADERS, id, &block(&fields))
}

impl Connection {
    fn new() -> Self {
        let mut connection = Self {
            wire: Wire::new(),
            read: BytesMut::new(),
        };
        connection.takes(&[PREFACE, &frame(SETTINGS, 0, 0, &[])].concat());
        let first = connection.written();
        assert_eq!(first[0].kind, SETTINGS);
        connection
    }

    /// Takes what a client sends: the requests in it.
    fn take(&mut self, bytes: &[u8]) -> Result<Vec<Request>, Reason> {
        self.read.extend_from_slice(bytes);
        let mut requests = Vec::new();
        loop {
            match incoming::take(&self.wire, &mut self.read) {
                Ok(Taken::More(n)) => {
                    assert!(n > self.read.len());
                    break;
                }
                Ok(Taken::Frame) => {}
                Ok(Taken::Request(request)) => requests.push(*request),
                Err(Fatal(reason)) => return Err(reason),
            }
        }
        self.wire.state().pump();
        Ok(requests)
    }

    /// The same of what is no mistake.
    fn takes(&mut self, bytes: &[u8]) -> Vec<Request> {
        self.take(bytes).expect("frames")
    }

    fn request(&mut self, bytes: &[u8]) -> Request {
        let mut requests = self.takes(bytes);
        assert_eq!(requests.len(), 1);
        requests.remove(0)
    }

    /// What is to be written.
    fn written(&mut self) -> Vec<Frame> {
        let mut frames = Vec::new();
        loop {
            let bytes = self.wire.state().out.drain();
            if bytes.is_empty() {
                return frames;
            }
            let mut rest = &bytes[..];
            while let Some(head) = Head::parse(rest) {
                let payload = rest[frame::HEAD..frame::HEAD + head.length].to_vec();
                rest = &rest[frame::HEAD + head.length..];
                frames.push(Frame {
                    kind: head.kind,
                    flags: head.flags,
                    id: head.id,
                    payload,
                });
            }
            assert_eq!(rest.len(), 0);
            self.wire.state().pump();
        }
    }

    /// The data that is to be written, with its streams.
    fn data(&mut self) -> Vec<(u32, usize)> {
        let frames = self
            .written()
            .into_iter()
            .filter(|frame| frame.kind == DATA);
        frames
            .map(|frame| (frame.id, frame.payload.len()))
            .collect()
    }

    /// The code of the one reset that is to be written.
    fn reset(&mut self) -> Option<(u32, Reason)> {
        let frames = self.written();
        let mut resets = frames.iter().filter(|frame| frame.kind == RST_STREAM);
        let reset = resets.next()?;
        assert_eq!(resets.next(), None);
        let code = u32::from_be_bytes(reset.payload[..].try_into().unwrap());
        Some((reset.id, Reason::from(code)))
    }
}

fn cx() -> Context<'static> {
    Context::from_waker(Waker::noop())
}

fn answer(request: &Request, end: bool) {
    let answered = request
        .outgoing
        .answer(StatusCode::OK, &HeaderMap::new(), end);
    assert!(answered.is_ok());
}

fn has_room(request: &Request) -> bool {
    matches!(request.outgoing.poll_room(&mut cx()), Poll::Ready(Ok(())))
}

fn read(request: &mut Request) -> Option<Option<Bytes>> {
    match request.incoming.poll_data(&mut cx()) {
        Poll::Ready(Some(Ok(data))) => Some(Some(data)),
        Poll::Ready(None) => Some(None),
        Poll::Ready(Some(Err(_))) => panic!("it broke off"),
        Poll::Pending => None,
    }
}

#[test]
fn a_request_that_nobody_reads_to_its_end_is_stopped_once_it_is_answered() {
    let mut connection = Connection::new();
    let request = connection.request(&post(1, &[]));
    answer(&request, false);
    request.outgoing.data(Bytes::from_static(b"ok"), true);
    drop(request);
    let kinds: Vec<_> = connection
        .written()
        .iter()
        .map(|frame| frame.kind)
        .collect();
    assert_eq!(kinds, [HEADERS, DATA, RST_STREAM]);
}

#[test]
fn an_answer_that_is_left_in_the_middle_is_reset() {
    let mut connection = Connection::new();
    // With and without data that waits for the window.
    for (id, length) in [(1, 70_000), (3, 0)] {
        let request = connection.request(&get(id));
        answer(&request, false);
        request.outgoing.data(vec![0; length].into(), false);
        connection.written();
        drop(request);
        assert_eq!(connection.reset(), Some((id, Reason::CANCEL)));
        assert!(connection.wire.state().streams.is_empty());
    }
    // What is complete goes its way all the same.
    let request = connection.request(&get(5));
    answer(&request, false);
    request.outgoing.data(vec![0; 10].into(), true);
    connection.written();
    drop(request);
    connection.takes(&update(0, 10));
    let last = connection.written();
    assert_eq!((last[0].id, last[0].flags), (5, flag::END_STREAM));
}

#[test]
fn data_goes_as_windows_allow() {
    let mut connection = Connection::new();
    connection.takes(&settings(setting::INITIAL_WINDOW_SIZE, 10));
    let request = connection.request(&get(1));
    answer(&request, false);
    request.outgoing.data(Bytes::from_static(&[7; 25]), true);
    assert_eq!(connection.data(), [(1, 10)]);
    assert!(!has_room(&request));
    assert_eq!(request.outgoing.take_moved(), 10);
    // Less than what is on its way: the window is below nothing.
    connection.takes(&settings(setting::INITIAL_WINDOW_SIZE, 5));
    connection.takes(&update(1, 5));
    assert_eq!(connection.data(), []);
    connection.takes(&update(1, 1));
    assert_eq!(connection.data(), [(1, 1)]);
    connection.takes(&settings(setting::INITIAL_WINDOW_SIZE, 9));
    assert_eq!(connection.data(), [(1, 4)]);
    connection.takes(&update(1, 100));
    let last = connection.written();
    assert_eq!(
        (last[0].flags, last[0].payload.len()),
        (flag::END_STREAM, 10)
    );
    assert!(has_room(&request));
    assert!(connection.wire.state().streams.is_empty());
}

#[test]
fn streams_share_the_connections_window_in_turn() {
    let mut connection = Connection::new();
    let requests = connection.takes(&[get(1), get(3), get(5)].concat());
    for request in &requests {
        answer(request, false);
        request.outgoing.data(vec![0; 60_000].into(), false);
    }
    let sent: usize = connection.data().iter().map(|(_, n)| n).sum();
    assert_eq!(sent, STREAM_WINDOW as usize);
    connection.takes(&update(0, 3 * 16_384));
    let mut turns = connection.data();
    turns.sort_unstable();
    // The first has sent all but what its own window and its turn have left over.
    assert!(
        turns.iter().filter(|(id, _)| *id > 1).count() >= 2,
        "{turns:?}"
    );
    connection.takes(&update(0, 1 << 20));
    connection.data();
    assert!(requests.iter().all(has_room));
    // Whose own window is used up holds up nobody.
    requests[0].outgoing.data(vec![0; 60_000].into(), true);
    requests[1].outgoing.trailers(&HeaderMap::new());
    let frames = connection.written();
    assert_eq!(
        frames.last().map(|frame| (frame.id, frame.kind)),
        Some((3, HEADERS))
    );
}

#[test]
fn the_client_may_send_more_once_what_came_was_taken() {
    let mut connection = Connection::new();
    let mut request = connection.request(&post(1, &[]));
    connection.takes(&frame(DATA, 0, 1, &[1; 16_384]).repeat(3));
    assert_eq!(connection.written(), []);
    let mut taken = 0;
    while let Some(Some(data)) = read(&mut request) {
        taken += data.len();
    }
    assert_eq!(taken, 3 * 16_384);
    let updates = connection.written();
    assert_eq!(updates.len(), 1);
    assert_eq!((updates[0].kind, updates[0].id), (WINDOW_UPDATE, 1));
    // Padding is taken at once.
    let mut padded = vec![255];
    padded.extend([0; 255]);
    connection.takes(&frame(DATA, flag::PADDED, 1, &padded).repeat(90));
    let given = connection.wire.state().receive_window;
    assert_eq!(given, i64::from(CONNECTION_WINDOW) - 3 * 16_384 - 90 * 256);
    connection.takes(&frame(DATA, flag::END_STREAM, 1, b"end"));
    assert_eq!(read(&mut request), Some(Some(Bytes::from_static(b"end"))));
    assert_eq!(read(&mut request), Some(None));
    assert!(request.incoming.is_end_stream());
}

#[test]
fn a_goodbye_lets_go_on_what_is_under_way() {
    let mut connection = Connection::new();
    let request = connection.request(&get(1));
    connection.wire.state().say_goodbye();
    let told = connection.written();
    assert_eq!(told[0].kind, GOAWAY);
    assert_eq!(told[0].payload[..4], frame::MAX_31.to_be_bytes());
    assert_eq!(told[1].kind, PING);
    // What was on its way is served.
    let other = connection.request(&get(3));
    connection.takes(&frame(PING, flag::ACK, 0, &told[1].payload));
    assert_eq!(connection.written()[0].payload[..4], [0, 0, 0, 3]);
    assert!(connection.takes(&post(5, &[])).is_empty(), "too late");
    // What follows was on its way as well, however much it is.
    connection.takes(&frame(DATA, 0, 5, b"late").repeat(2000));
    assert!(!connection.wire.state().is_finished());
    answer(&request, true);
    answer(&other, true);
    connection.written();
    assert!(connection.wire.state().is_finished());
}

#[test]
fn a_client_that_allows_no_table_is_told_that_there_is_none() {
    let mut connection = Connection::new();
    connection.takes(&settings(setting::HEADER_TABLE_SIZE, 0));
    answer(&connection.request(&get(1)), true);
    answer(&connection.request(&get(3)), true);
    let heads: Vec<_> = connection
        .written()
        .into_iter()
        .filter(|frame| frame.kind == HEADERS)
        .collect();
    assert_eq!(heads[0].payload, [0x20, 0x88]);
    assert_eq!(heads[1].payload, [0x88]);
}
