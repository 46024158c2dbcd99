//! Frames by themselves: RFC 9113 sections 3.4, 4 and 6.

use super::super::super::frame::{MAX_LENGTH, PUSH_PROMISE};
use super::*;

#[test]
fn frames_are_as_the_standard_has_them() {
    let whole = block(&[]);
    let parts = |first: u8, id: u32| frame(HEADERS, first, id, &whole[..2]);
    let rest = |flags: u8, id: u32| frame(CONTINUATION, flags, id, &whole[2..]);
    let cut = |flags: u8, id: u32| frame(CONTINUATION, flags, id, &whole[2..3]);
    let tail = |flags: u8, id: u32| frame(CONTINUATION, flags, id, &whole[3..]);
    let priority = |id: u32, on: u32, weight: u8| {
        let [a, b, c, d] = on.to_be_bytes();
        frame(PRIORITY, 0, id, &[a, b, c, d, weight])
    };
    let mut prioritised = vec![0x80, 0, 0, 0, 255];
    prioritised.extend(&whole);
    let mut both = vec![2, 0, 0, 0, 3, 0];
    both.extend(&whole);
    both.extend([0, 0]);
    let most = vec![0; MAX_LENGTH];
    let more = vec![0; MAX_LENGTH + 1];
    let ping = |flags: u8, id: u32, n: usize| frame(PING, flags, id, &vec![7; n]);
    let bye = |id: u32, n: usize| frame(GOAWAY, 0, id, &vec![0xff; n]);
    let two = |first: u32, second: u32| {
        let mut out = Vec::new();
        let name = setting::INITIAL_WINDOW_SIZE;
        frame::settings(&mut out, &[(name, first), (name, second)]);
        out
    };
    check(vec![
        ("4.1", "an unknown frame", frame(0x16, 0xff, 0, &[0; 8]), ""),
        ("4.1", "one of a stream to come", frame(0xf0, 0, 9, &[]), ""),
        ("4.1", "unknown flags", ping(0xfe, 0, 8), "pong 7"),
        (
            "4.1",
            "the reserved bit",
            frame(PING, 0, 1 << 31, &[7; 8]),
            "pong 7",
        ),
        (
            "4.1",
            "the reserved bit of a stream",
            headers_with_reserved(),
            "request",
        ),
        ("4.1", "half a head", vec![0, 0, 8, 6], "waits"),
        (
            "4.2",
            "the largest data",
            all([post(1, &[]), frame(DATA, 0, 1, &most)]),
            "request",
        ),
        (
            "4.2",
            "too large data",
            all([post(1, &[]), frame(DATA, 0, 1, &more)]),
            "request, goaway FRAME_SIZE_ERROR",
        ),
        (
            "4.2",
            "a head that is too large",
            frame(HEADERS, END, 1, &more),
            "goaway FRAME_SIZE_ERROR",
        ),
        (
            "4.2",
            "an unknown frame that is",
            frame(0x16, 0, 0, &more),
            "goaway FRAME_SIZE_ERROR",
        ),
        (
            "4.2",
            "a ping that is",
            frame(PING, 0, 0, &more),
            "goaway FRAME_SIZE_ERROR",
        ),
        (
            "4.3",
            "a head in pieces",
            all([
                parts(flag::END_STREAM, 1),
                cut(0, 1),
                tail(flag::END_HEADERS, 1),
            ]),
            "request",
        ),
        (
            "4.3",
            "a priority in a head",
            all([parts(0, 1), priority(1, 0, 0)]),
            "goaway PROTOCOL_ERROR",
        ),
        (
            "4.3",
            "another head in a head",
            all([parts(0, 1), get(3)]),
            "goaway PROTOCOL_ERROR",
        ),
        (
            "4.3",
            "a ping in a head",
            all([parts(0, 1), ping(0, 0, 8)]),
            "goaway PROTOCOL_ERROR",
        ),
        (
            "4.3",
            "settings in a head",
            all([parts(0, 1), settings(99, 0)]),
            "goaway PROTOCOL_ERROR",
        ),
        (
            "4.3",
            "a reset in a head",
            all([parts(0, 1), frame(RST_STREAM, 0, 1, &[0; 4])]),
            "goaway PROTOCOL_ERROR",
        ),
        (
            "5.5",
            "an unknown frame in a head",
            all([parts(0, 1), frame(0x16, 0, 0, &[])]),
            "goaway PROTOCOL_ERROR",
        ),
        (
            "6.1",
            "data of the connection",
            frame(DATA, 0, 0, b"x"),
            "goaway PROTOCOL_ERROR",
        ),
        (
            "6.1",
            "padded data",
            all([post(1, &[]), padded(DATA, flag::END_STREAM, 1, 2, b"x\0\0")]),
            "request",
        ),
        (
            "6.1",
            "data that is padding alone",
            all([post(1, &[]), padded(DATA, 0, 1, 3, &[0; 3])]),
            "request",
        ),
        (
            "6.1",
            "padding beyond the frame",
            all([post(1, &[]), padded(DATA, 0, 1, 4, b"xyz")]),
            "request, goaway PROTOCOL_ERROR",
        ),
        (
            "6.1",
            "padding as long as the frame",
            all([post(1, &[]), padded(DATA, 0, 1, 4, &[0; 3])]),
            "request, goaway PROTOCOL_ERROR",
        ),
        (
            "6.1",
            "padded by nothing at all",
            all([post(1, &[]), frame(DATA, flag::PADDED, 1, &[])]),
            "request, goaway FRAME_SIZE_ERROR",
        ),
        (
            "6.2",
            "a head of the connection",
            frame(HEADERS, END, 0, &whole),
            "goaway PROTOCOL_ERROR",
        ),
        (
            "6.2",
            "a padded head",
            padded(HEADERS, END, 1, 0, &whole),
            "request",
        ),
        (
            "6.2",
            "a head with a priority",
            frame(HEADERS, END | flag::PRIORITY, 1, &prioritised),
            "request",
        ),
        (
            "6.2",
            "a head with both",
            frame(HEADERS, END | flag::PRIORITY | flag::PADDED, 1, &both),
            "request",
        ),
        (
            "6.2",
            "padding beyond the head",
            padded(HEADERS, END, 1, 99, &whole),
            "goaway PROTOCOL_ERROR",
        ),
        (
            "6.2",
            "padded by nothing at all",
            frame(HEADERS, END | flag::PADDED, 1, &[]),
            "goaway FRAME_SIZE_ERROR",
        ),
        (
            "6.2",
            "too short for its priority",
            frame(HEADERS, END | flag::PRIORITY, 1, &[0; 4]),
            "goaway FRAME_SIZE_ERROR",
        ),
        (
            "6.3",
            "a priority of the connection",
            priority(0, 1, 0),
            "goaway PROTOCOL_ERROR",
        ),
        (
            "6.3",
            "a priority of four bytes",
            all([get(1), frame(PRIORITY, 0, 1, &[0; 4])]),
            "request, reset 1 FRAME_SIZE_ERROR",
        ),
        (
            "6.3",
            "one of six, of a stream to come",
            frame(PRIORITY, 0, 1, &[0; 6]),
            "goaway FRAME_SIZE_ERROR",
        ),
        (
            "6.3",
            "of every weight",
            all([priority(1, 0, 0), priority(1, 0, 255), get(1)]),
            "request",
        ),
        (
            "6.3",
            "alone, on one to come",
            priority(3, (1 << 31) | 5, 16),
            "",
        ),
        (
            "6.4",
            "a reset of the connection",
            frame(RST_STREAM, 0, 0, &[0; 4]),
            "goaway PROTOCOL_ERROR",
        ),
        (
            "6.4",
            "a reset of five bytes",
            all([get(1), frame(RST_STREAM, 0, 1, &[0; 5])]),
            "request, goaway FRAME_SIZE_ERROR",
        ),
        (
            "6.5",
            "an agreement",
            frame(SETTINGS, flag::ACK, 0, &[]),
            "",
        ),
        (
            "6.5",
            "an agreement with something",
            frame(SETTINGS, flag::ACK, 0, &[0; 6]),
            "goaway FRAME_SIZE_ERROR",
        ),
        (
            "6.5",
            "settings of a stream",
            frame(SETTINGS, 0, 1, &[0; 6]),
            "goaway PROTOCOL_ERROR",
        ),
        (
            "6.5",
            "settings of seven bytes",
            frame(SETTINGS, 0, 0, &[0; 7]),
            "goaway FRAME_SIZE_ERROR",
        ),
        ("6.5", "no settings", frame(SETTINGS, 0, 0, &[]), "agreed"),
        (
            "6.5.2",
            "pushing, yes",
            settings(setting::ENABLE_PUSH, 1),
            "agreed",
        ),
        (
            "6.5.2",
            "pushing, 2",
            settings(setting::ENABLE_PUSH, 2),
            "goaway PROTOCOL_ERROR",
        ),
        (
            "6.5.2",
            "the largest window",
            settings(setting::INITIAL_WINDOW_SIZE, frame::MAX_31),
            "agreed",
        ),
        (
            "6.5.2",
            "a larger one",
            settings(setting::INITIAL_WINDOW_SIZE, u32::MAX),
            "goaway FLOW_CONTROL_ERROR",
        ),
        (
            "6.5.2",
            "the smallest frames",
            settings(setting::MAX_FRAME_SIZE, 16_384),
            "agreed",
        ),
        (
            "6.5.2",
            "smaller ones",
            settings(setting::MAX_FRAME_SIZE, 16_383),
            "goaway PROTOCOL_ERROR",
        ),
        (
            "6.5.2",
            "too large ones",
            settings(setting::MAX_FRAME_SIZE, 16_777_216),
            "goaway PROTOCOL_ERROR",
        ),
        ("6.5.2", "what nobody knows", settings(0xff, 7), "agreed"),
        ("6.5.2", "a setting of no number", settings(0, 7), "agreed"),
        (
            "6.5.2",
            "one table and one stream",
            all([
                settings(setting::HEADER_TABLE_SIZE, u32::MAX),
                settings(setting::MAX_CONCURRENT_STREAMS, 0),
            ]),
            "agreed, agreed",
        ),
        ("6.5.3", "the same twice", two(100, 1), "agreed"),
        (
            "6.5.3",
            "the same twice, wrong at first",
            two(1 << 31, 1),
            "goaway FLOW_CONTROL_ERROR",
        ),
        (
            "6.6",
            "a promise",
            frame(PUSH_PROMISE, flag::END_HEADERS, 1, &[0; 4]),
            "goaway PROTOCOL_ERROR",
        ),
        (
            "6.6",
            "a promise on a stream",
            all([
                post(1, &[]),
                frame(PUSH_PROMISE, flag::END_HEADERS, 1, &[0; 4]),
            ]),
            "request, goaway PROTOCOL_ERROR",
        ),
        ("6.7", "a ping", ping(0, 0, 8), "pong 7"),
        ("6.7", "an answer to none", ping(flag::ACK, 0, 8), ""),
        (
            "6.7",
            "a ping of a stream",
            ping(0, 1, 8),
            "goaway PROTOCOL_ERROR",
        ),
        (
            "6.7",
            "a ping of nine bytes",
            ping(0, 0, 9),
            "goaway FRAME_SIZE_ERROR",
        ),
        (
            "6.7",
            "an answer of none",
            ping(flag::ACK, 0, 0),
            "goaway FRAME_SIZE_ERROR",
        ),
        (
            "6.8",
            "a goodbye of a stream",
            bye(1, 8),
            "goaway PROTOCOL_ERROR",
        ),
        ("6.8", "a short one", bye(0, 7), "goaway FRAME_SIZE_ERROR"),
        (
            "6.9",
            "a window of nothing",
            update(0, 0),
            "goaway PROTOCOL_ERROR",
        ),
        (
            "6.9",
            "with the reserved bit",
            update(0, 1 << 31),
            "goaway PROTOCOL_ERROR",
        ),
        (
            "6.9",
            "of nothing for a stream",
            all([post(1, &[]), update(1, 0)]),
            "request, reset 1 PROTOCOL_ERROR",
        ),
        (
            "6.9",
            "of five bytes",
            frame(WINDOW_UPDATE, 0, 0, &[1; 5]),
            "goaway FRAME_SIZE_ERROR",
        ),
        (
            "6.9",
            "of a stream, of three bytes",
            all([post(1, &[]), frame(WINDOW_UPDATE, 0, 1, &[1; 3])]),
            "request, goaway FRAME_SIZE_ERROR",
        ),
        (
            "6.9.1",
            "up to the largest window",
            update(0, frame::MAX_31 - STREAM_WINDOW),
            "",
        ),
        (
            "6.9.1",
            "and beyond",
            all([update(0, frame::MAX_31 - STREAM_WINDOW), update(0, 1)]),
            "goaway FLOW_CONTROL_ERROR",
        ),
        (
            "6.9.1",
            "of a stream, by and by",
            all([
                post(1, &[]),
                update(1, frame::MAX_31 - STREAM_WINDOW),
                update(1, 1),
            ]),
            "request, reset 1 FLOW_CONTROL_ERROR",
        ),
        (
            "6.9.2",
            "beyond it by settings",
            all([
                post(1, &[]),
                update(1, frame::MAX_31 - STREAM_WINDOW),
                settings(setting::INITIAL_WINDOW_SIZE, STREAM_WINDOW + 1),
            ]),
            "request, goaway FLOW_CONTROL_ERROR",
        ),
        (
            "6.10",
            "of the connection",
            all([parts(0, 1), rest(flag::END_HEADERS, 0)]),
            "goaway PROTOCOL_ERROR",
        ),
        (
            "6.10",
            "of another stream",
            all([parts(0, 1), rest(flag::END_HEADERS, 3)]),
            "goaway PROTOCOL_ERROR",
        ),
        (
            "6.10",
            "behind what is whole",
            all([get(1), rest(flag::END_HEADERS, 1)]),
            "request, goaway PROTOCOL_ERROR",
        ),
        (
            "6.10",
            "behind the last",
            all([
                parts(flag::END_STREAM, 1),
                rest(flag::END_HEADERS, 1),
                tail(flag::END_HEADERS, 1),
            ]),
            "request, goaway PROTOCOL_ERROR",
        ),
        (
            "6.10",
            "behind data",
            all([
                post(1, &[]),
                frame(DATA, 0, 1, b"x"),
                rest(flag::END_HEADERS, 1),
            ]),
            "request, goaway PROTOCOL_ERROR",
        ),
        (
            "6.10",
            "data behind one",
            all([parts(0, 1), cut(0, 1), frame(DATA, 0, 1, b"x")]),
            "goaway PROTOCOL_ERROR",
        ),
        (
            "6.10",
            "with the end of the stream",
            all([
                parts(0, 1),
                rest(END, 1),
                frame(DATA, flag::END_STREAM, 1, b"x"),
            ]),
            "request",
        ),
        (
            "6.10",
            "of nothing",
            all([
                frame(HEADERS, 0, 1, &[]),
                frame(CONTINUATION, 0, 1, &[]),
                frame(CONTINUATION, flag::END_HEADERS, 1, &whole),
            ]),
            "request",
        ),
        (
            "7",
            "a reset for an unknown reason",
            all([
                get(1),
                frame(RST_STREAM, 0, 1, &[0, 0, 0xff, 0xff]),
                ping(0, 0, 8),
            ]),
            "request, pong 7",
        ),
    ]);
}

/// HEADERS of stream 1 with the bit set that means nothing.
fn headers_with_reserved() -> Vec<u8> {
    let mut request = get(1);
    request[5] |= 0x80;
    request
}

#[test]
fn a_goodbye_for_any_reason_is_answered_with_one() {
    let mut connection = Connection::new();
    let request = connection.request(&get(1));
    let mut payload = vec![0, 0, 0, 0, 0, 0, 0xff, 0xff];
    payload.extend(b"for no reason");
    connection.takes(&frame(GOAWAY, 0, 0, &payload));
    let said = connection.written();
    assert_eq!(
        (said[0].kind, &said[0].payload[..4]),
        (GOAWAY, &[0, 0, 0, 1][..])
    );
    answer(&request, true);
    connection.written();
    assert!(connection.wire.state().is_finished());
}
