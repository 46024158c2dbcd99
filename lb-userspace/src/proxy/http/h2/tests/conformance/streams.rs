//! Streams and their states: RFC 9113 section 5.

use super::*;

#[test]
fn streams_are_in_the_states_of_the_standard() {
    let data = |id: u32| frame(DATA, 0, id, b"x");
    let last = |id: u32| frame(DATA, flag::END_STREAM, id, b"x");
    let reset = |id: u32| frame(RST_STREAM, 0, id, &[0, 0, 0, 8]);
    let priority = |id: u32, on: u8| frame(PRIORITY, 0, id, &[0, 0, 0, on, 16]);
    let continuation = |id: u32| frame(CONTINUATION, flag::END_HEADERS, id, &block(&[]));
    let trailers = |id: u32| headers(END, id, &[("x", "y")]);
    let mut itself = vec![0, 0, 0, 1, 16];
    itself.extend(block(&[]));
    check(vec![
        ("5.1", "idle: data", data(1), "goaway PROTOCOL_ERROR"),
        ("5.1", "idle: a reset", reset(1), "goaway PROTOCOL_ERROR"),
        (
            "5.1",
            "idle: a window",
            update(1, 1),
            "goaway PROTOCOL_ERROR",
        ),
        (
            "5.1",
            "idle: a continuation",
            continuation(1),
            "goaway PROTOCOL_ERROR",
        ),
        (
            "5.1",
            "idle: a priority",
            all([priority(1, 0), get(1)]),
            "request",
        ),
        (
            "5.1",
            "open: a priority",
            all([post(1, &[]), priority(1, 0), last(1)]),
            "request",
        ),
        (
            "5.1",
            "open: a window",
            all([post(1, &[]), update(1, 1), last(1)]),
            "request",
        ),
        (
            "5.1",
            "open: a reset",
            all([post(1, &[]), reset(1), get(3)]),
            "request, request",
        ),
        (
            "5.1",
            "half-closed: data",
            all([get(1), data(1)]),
            "request, reset 1 STREAM_CLOSED",
        ),
        (
            "5.1",
            "half-closed: a head",
            all([get(1), trailers(1)]),
            "request, reset 1 STREAM_CLOSED",
        ),
        (
            "5.1",
            "half-closed: a continuation",
            all([get(1), continuation(1)]),
            "request, goaway PROTOCOL_ERROR",
        ),
        (
            "5.1",
            "half-closed: a priority",
            all([get(1), priority(1, 0)]),
            "request",
        ),
        (
            "5.1",
            "half-closed: a window",
            all([get(1), update(1, 1)]),
            "request",
        ),
        (
            "5.1",
            "half-closed: a reset",
            all([get(1), reset(1)]),
            "request",
        ),
        (
            "5.1",
            "half-closed by data: data",
            all([post(1, &[]), last(1), data(1)]),
            "request, reset 1 STREAM_CLOSED",
        ),
        (
            "5.1",
            "half-closed by trailers: data",
            all([post(1, &[]), trailers(1), data(1)]),
            "request, reset 1 STREAM_CLOSED",
        ),
        (
            "5.1",
            "closed by a reset: data",
            all([post(1, &[]), reset(1), data(1)]),
            "request, reset 1 STREAM_CLOSED",
        ),
        (
            "5.1",
            "closed by a reset: a head",
            all([post(1, &[]), reset(1), trailers(1)]),
            "request, goaway STREAM_CLOSED",
        ),
        (
            "5.1",
            "closed by a reset: a continuation",
            all([post(1, &[]), reset(1), continuation(1)]),
            "request, goaway PROTOCOL_ERROR",
        ),
        (
            "5.1",
            "closed by a reset: a priority",
            all([post(1, &[]), reset(1), priority(1, 0)]),
            "request",
        ),
        (
            "5.1",
            "closed by a reset: a window",
            all([post(1, &[]), reset(1), update(1, 1)]),
            "request",
        ),
        (
            "5.1",
            "closed by a reset: a reset",
            all([post(1, &[]), reset(1), reset(1)]),
            "request",
        ),
        (
            "5.1.1",
            "an even number",
            frame(HEADERS, END, 2, &block(&[])),
            "goaway PROTOCOL_ERROR",
        ),
        ("5.1.1", "the largest number", get(frame::MAX_31), "request"),
        (
            "5.1.1",
            "a smaller one",
            all([get(5), get(3)]),
            "request, goaway PROTOCOL_ERROR",
        ),
        (
            "5.1.1",
            "one that was passed over",
            all([get(5), data(3)]),
            "request, reset 3 STREAM_CLOSED",
        ),
        (
            "5.1.1",
            "data of an even stream",
            all([get(5), data(2)]),
            "request, goaway PROTOCOL_ERROR",
        ),
        (
            "5.3",
            "a head on itself",
            frame(HEADERS, END | flag::PRIORITY, 1, &itself),
            "reset 1 PROTOCOL_ERROR",
        ),
        (
            "5.3",
            "a priority on itself",
            all([get(1), priority(1, 1)]),
            "request, reset 1 PROTOCOL_ERROR",
        ),
        (
            "5.3",
            "one of a stream to come",
            priority(1, 1),
            "goaway PROTOCOL_ERROR",
        ),
        (
            "5.3",
            "and of one that has been",
            all([get(1), reset(1), priority(1, 1)]),
            "request, reset 1 PROTOCOL_ERROR",
        ),
        (
            "8.1",
            "a second head",
            all([post(1, &[]), headers(flag::END_HEADERS, 1, &[("x", "y")])]),
            "request, reset 1 PROTOCOL_ERROR",
        ),
        (
            "8.1",
            "trailers",
            all([post(1, &[]), data(1), trailers(1)]),
            "request",
        ),
    ]);
}

#[test]
fn a_connection_has_so_many_streams_at_a_time_and_no_more() {
    let mut connection = Connection::new();
    let mut bytes = Vec::new();
    for n in 0..=STREAMS {
        bytes.extend(get(2 * n + 1));
    }
    let requests = connection.takes(&bytes);
    assert_eq!(requests.len(), STREAMS as usize);
    let refused = (2 * STREAMS + 1, Reason::REFUSED_STREAM);
    assert_eq!(connection.reset(), Some(refused));
    answer(&requests[0], true);
    assert_eq!(connection.takes(&get(2 * STREAMS + 3)).len(), 1);
}
