//! What breaks the rules, and what comes of it.

use super::{super::frame::PUSH_PROMISE, *};

/// What a stream is reset with, if it is; or what the connection ends with.
type Outcome = Result<Option<Reason>, Reason>;

#[test]
fn mistakes_have_the_codes_of_the_standard() {
    let (end, all) = (flag::END_STREAM, flag::END_STREAM | flag::END_HEADERS);
    let two = |one: Vec<u8>, other: Vec<u8>| [one, other].concat();
    let stream = |reason| Ok(Some(reason));
    let rows: Vec<(&str, Vec<u8>, Outcome)> = vec![
        ("nothing", vec![], Ok(None)),
        (
            "data on half a stream",
            two(get(1), frame(DATA, 0, 1, b"x")),
            stream(Reason::STREAM_CLOSED),
        ),
        (
            "a head on half a stream",
            two(get(1), get(1)),
            stream(Reason::STREAM_CLOSED),
        ),
        (
            "a stream below another",
            two(get(5), get(3)),
            Err(Reason::PROTOCOL_ERROR),
        ),
        (
            "fields after a body that do not end it",
            two(post(1, &[]), frame(HEADERS, flag::END_HEADERS, 1, &[])),
            stream(Reason::PROTOCOL_ERROR),
        ),
        (
            "pseudo-fields after a body",
            two(post(1, &[]), frame(HEADERS, all, 1, &[0x84])),
            stream(Reason::PROTOCOL_ERROR),
        ),
        (
            "fields after a body",
            two(post(1, &[]), frame(HEADERS, all, 1, b"\x00\x01x\x01y")),
            Ok(None),
        ),
        (
            "too little",
            two(
                post(1, &[("content-length", "2")]),
                frame(DATA, end, 1, b"x"),
            ),
            stream(Reason::PROTOCOL_ERROR),
        ),
        (
            "too much",
            two(
                post(1, &[("content-length", "2")]),
                frame(DATA, 0, 1, b"xyz"),
            ),
            stream(Reason::PROTOCOL_ERROR),
        ),
        (
            "too little before fields",
            two(
                post(1, &[("content-length", "2")]),
                frame(HEADERS, all, 1, b"\x00\x01x\x01y"),
            ),
            stream(Reason::PROTOCOL_ERROR),
        ),
        (
            "as much as was said",
            two(
                post(1, &[("content-length", "2")]),
                frame(DATA, end, 1, b"xy"),
            ),
            Ok(None),
        ),
        (
            "two lengths",
            post(1, &[("content-length", "2"), ("content-length", "3")]),
            stream(Reason::PROTOCOL_ERROR),
        ),
        (
            "a length beyond all",
            post(1, &[("content-length", "99999999999999999999")]),
            stream(Reason::PROTOCOL_ERROR),
        ),
        (
            "a stream of itself",
            frame(
                HEADERS,
                all | flag::PRIORITY,
                1,
                &[&[0, 0, 0, 1, 0][..], &block(&[])].concat(),
            ),
            stream(Reason::PROTOCOL_ERROR),
        ),
        (
            "a stream of another",
            frame(
                HEADERS,
                all | flag::PRIORITY,
                1,
                &[&[0x80, 0, 0, 3, 0][..], &block(&[])].concat(),
            ),
            Ok(None),
        ),
        (
            "a head too short for that",
            frame(HEADERS, all | flag::PRIORITY, 1, &[0; 4]),
            Err(Reason::FRAME_SIZE_ERROR),
        ),
        (
            "padding beyond a head",
            frame(HEADERS, all | flag::PADDED, 1, &[9, 0x82]),
            Err(Reason::PROTOCOL_ERROR),
        ),
        (
            "a priority of four bytes",
            two(get(1), frame(PRIORITY, 0, 1, &[0; 4])),
            stream(Reason::FRAME_SIZE_ERROR),
        ),
        (
            "a priority of the connection",
            frame(PRIORITY, 0, 0, &[0; 5]),
            Err(Reason::PROTOCOL_ERROR),
        ),
        (
            "a priority of a stream to come",
            frame(PRIORITY, 0, 9, &[0; 5]),
            Ok(None),
        ),
        (
            "a reset of the connection",
            frame(RST_STREAM, 0, 0, &[0; 4]),
            Err(Reason::PROTOCOL_ERROR),
        ),
        (
            "a reset of our own streams",
            two(get(3), frame(RST_STREAM, 0, 2, &[0; 4])),
            Err(Reason::PROTOCOL_ERROR),
        ),
        (
            "a reset of three bytes",
            two(get(1), frame(RST_STREAM, 0, 1, &[0; 3])),
            Err(Reason::FRAME_SIZE_ERROR),
        ),
        (
            "a window of nothing for a stream",
            two(get(1), update(1, 0)),
            stream(Reason::PROTOCOL_ERROR),
        ),
        (
            "a window beyond all for a stream",
            two(get(1), update(1, 0x7fff_ffff)),
            stream(Reason::FLOW_CONTROL_ERROR),
        ),
        (
            "a window for a stream to come",
            update(1, 1),
            Err(Reason::PROTOCOL_ERROR),
        ),
        (
            "a window of three bytes",
            frame(WINDOW_UPDATE, 0, 0, &[0; 3]),
            Err(Reason::FRAME_SIZE_ERROR),
        ),
        (
            "a promise that may be 2",
            settings(setting::ENABLE_PUSH, 2),
            Err(Reason::PROTOCOL_ERROR),
        ),
        ("no promises", settings(setting::ENABLE_PUSH, 0), Ok(None)),
        (
            "a CONNECT that may be 2",
            settings(setting::ENABLE_CONNECT_PROTOCOL, 2),
            Err(Reason::PROTOCOL_ERROR),
        ),
        (
            "a first window beyond all",
            settings(setting::INITIAL_WINDOW_SIZE, 1 << 31),
            Err(Reason::FLOW_CONTROL_ERROR),
        ),
        (
            "frames too small",
            settings(setting::MAX_FRAME_SIZE, 16_383),
            Err(Reason::PROTOCOL_ERROR),
        ),
        (
            "frames too large",
            settings(setting::MAX_FRAME_SIZE, 1 << 24),
            Err(Reason::PROTOCOL_ERROR),
        ),
        (
            "frames as large as can be",
            settings(setting::MAX_FRAME_SIZE, (1 << 24) - 1),
            Ok(None),
        ),
        ("an unknown setting", settings(99, u32::MAX), Ok(None)),
        (
            "a short goodbye",
            frame(GOAWAY, 0, 0, &[0; 7]),
            Err(Reason::FRAME_SIZE_ERROR),
        ),
        (
            "a goodbye of a stream",
            frame(GOAWAY, 0, 1, &[0; 8]),
            Err(Reason::PROTOCOL_ERROR),
        ),
        (
            "a promise",
            frame(PUSH_PROMISE, flag::END_HEADERS, 1, &[0; 4]),
            Err(Reason::PROTOCOL_ERROR),
        ),
        (
            "another's continuation",
            two(
                frame(HEADERS, end, 1, &block(&[])),
                frame(CONTINUATION, flag::END_HEADERS, 3, &[]),
            ),
            Err(Reason::PROTOCOL_ERROR),
        ),
        (
            "a continuation of what is whole",
            two(get(1), frame(CONTINUATION, flag::END_HEADERS, 1, &[])),
            Err(Reason::PROTOCOL_ERROR),
        ),
        (
            "a head in two",
            two(
                frame(HEADERS, end, 1, &block(&[])[..2]),
                frame(CONTINUATION, flag::END_HEADERS, 1, &block(&[])[2..]),
            ),
            Ok(None),
        ),
        (
            "an unknown frame in a head",
            two(frame(HEADERS, end, 1, &block(&[])), frame(0x77, 0, 1, &[])),
            Err(Reason::PROTOCOL_ERROR),
        ),
        (
            "an empty head",
            frame(HEADERS, all, 1, &[]),
            stream(Reason::PROTOCOL_ERROR),
        ),
        (
            "half a field",
            frame(HEADERS, all, 1, &[0, 5, b'x']),
            Err(Reason::COMPRESSION_ERROR),
        ),
        (
            "data beyond the window",
            two(post(1, &[]), frame(DATA, 0, 1, &[0; 16_384]).repeat(4)),
            stream(Reason::FLOW_CONTROL_ERROR),
        ),
    ];
    for (what, bytes, wanted) in rows {
        let mut connection = Connection::new();
        let taken = connection.take(&bytes);
        let got = taken.map(|requests| {
            let reset = connection.reset();
            drop(requests);
            reset.map(|(_, reason)| reason)
        });
        assert_eq!(got, wanted, "{what}");
    }
}

#[test]
fn what_begins_otherwise_is_no_http_2() {
    for bytes in [
        &b"GET / HTTP/1.1\r\n\r\n"[..],
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\rX",
    ] {
        let mut connection = Connection {
            wire: Wire::new(),
            read: BytesMut::new(),
        };
        assert_eq!(connection.take(bytes).err(), Some(Reason::PROTOCOL_ERROR));
    }
    for first in [
        get(1),
        frame(SETTINGS, flag::ACK, 0, &[]),
        frame(PING, 0, 0, &[0; 8]),
    ] {
        let mut connection = Connection {
            wire: Wire::new(),
            read: BytesMut::new(),
        };
        let bytes = [PREFACE, &first].concat();
        assert_eq!(connection.take(&bytes).err(), Some(Reason::PROTOCOL_ERROR));
    }
}

#[test]
fn a_stream_that_has_ended_is_none_any_more() {
    let mut connection = Connection::new();
    let request = connection.request(&get(1));
    answer(&request, true);
    assert!(connection.wire.state().streams.is_empty());
    // These may have been on their way.
    connection.takes(&[update(1, 9), frame(RST_STREAM, 0, 1, &[0; 4])].concat());
    assert_eq!(connection.reset(), None);
    connection.takes(&frame(DATA, 0, 1, b"x"));
    assert_eq!(connection.reset(), Some((1, Reason::STREAM_CLOSED)));
    assert_eq!(connection.take(&get(1)).err(), None, "it was told");
    let mut connection = Connection::new();
    answer(&connection.request(&get(1)), true);
    assert_eq!(connection.take(&get(1)).err(), Some(Reason::STREAM_CLOSED));
}

#[test]
fn what_is_on_its_way_to_a_stream_that_was_reset_is_of_no_concern() {
    let mut connection = Connection::new();
    let request = connection.request(&post(1, &[]));
    drop(request);
    assert_eq!(connection.reset(), Some((1, Reason::CANCEL)));
    connection.takes(&frame(DATA, 0, 1, b"some"));
    let trailers = frame(
        HEADERS,
        flag::END_HEADERS | flag::END_STREAM,
        1,
        b"\x00\x01x\x01y",
    );
    connection.takes(&trailers);
    assert_eq!(connection.written(), []);
    // But there is an end to it.
    let more = trailers.repeat(2000);
    assert_eq!(
        connection.take(&more).err(),
        Some(Reason::ENHANCE_YOUR_CALM)
    );
    let mut connection = Connection::new();
    drop(connection.request(&post(1, &[])));
    let window = frame(DATA, 0, 1, &[0; 16_384]).repeat(4);
    assert_eq!(
        connection.take(&window).err(),
        Some(Reason::FLOW_CONTROL_ERROR)
    );
}
