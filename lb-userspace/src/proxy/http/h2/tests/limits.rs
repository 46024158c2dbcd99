//! What a client may not have, and whatever else may come.

use proptest::prelude::*;

use super::*;

#[test]
fn a_client_that_does_not_read_has_no_more_kept_for_it_than_there_is_room() {
    let mut connection = Connection::new();
    connection.takes(
        &[
            update(0, 1 << 30),
            settings(setting::INITIAL_WINDOW_SIZE, 1 << 30),
        ]
        .concat(),
    );
    connection.written();
    let heads: Vec<u8> = (0..STREAMS).flat_map(|n| get(2 * n + 1)).collect();
    let requests = connection.takes(&heads);
    for request in &requests {
        answer(request, false);
        request.outgoing.data(vec![0; 100_000].into(), false);
    }
    assert!(connection.wire.state().out.len() < 128 * 1024);
    assert!(!has_room(&requests[99]));
    // Pings are not read any more once their answers would be too much.
    let pings = frame(PING, 0, 0, &[0; 8]).repeat(5000);
    connection.takes(&pings);
    assert!(connection.wire.state().is_stuffed());
    connection.written();
    assert!(requests.iter().all(has_room));
}

#[test]
fn more_streams_than_may_be_are_refused() {
    let mut connection = Connection::new();
    let heads: Vec<u8> = (0..STREAMS).flat_map(|n| get(2 * n + 1)).collect();
    let requests = connection.takes(&heads);
    assert_eq!(requests.len(), STREAMS as usize);
    assert!(connection.takes(&get(201)).is_empty());
    assert_eq!(connection.reset(), Some((201, Reason::REFUSED_STREAM)));
    answer(&requests[0], true);
    assert_eq!(connection.takes(&get(203)).len(), 1);
}

#[test]
fn who_takes_back_what_nobody_has_looked_at_is_sent_away() {
    let mut connection = Connection::new();
    let mut held = Vec::new();
    for n in 0..21 {
        let id = 2 * n + 1;
        let bytes = [get(id), frame(RST_STREAM, 0, id, &[0, 0, 0, 8])].concat();
        match connection.take(&bytes) {
            Ok(requests) => held.extend(requests),
            Err(reason) => {
                assert_eq!((n, reason), (20, Reason::ENHANCE_YOUR_CALM));
                return;
            }
        }
    }
    panic!("it was not");
}

#[test]
fn heads_are_bounded_while_they_are_read() {
    let field = |length: usize| {
        let mut block = block(&[]);
        let value = HeaderValue::from_str(&"v".repeat(length)).unwrap();
        hpack::field(&mut block, &HeaderName::from_static("x"), &value);
        block
    };
    // More than a head may be, and little enough to be told so.
    let mut connection = Connection::new();
    let mut out = Vec::new();
    frame::block(&mut out, 1, &field(17_000), true);
    assert!(connection.takes(&out).is_empty());
    let frames = connection.written();
    assert_eq!(frames[0].payload, [&b"\x08\x03"[..], b"431"].concat());
    // As little as makes much: a large entry, again and again.
    let mut large = vec![0x40, 1, b'x', 0x7f, 0x81, 0x1e];
    large.extend([b'v'; 127 + 0xf01]);
    large.extend([0xbe; 10_000]);
    let mut connection = Connection::new();
    let flags = flag::END_HEADERS | flag::END_STREAM;
    let bytes = frame(HEADERS, flags, 1, &[block(&[]), large].concat());
    assert_eq!(
        connection.take(&bytes).err(),
        Some(Reason::ENHANCE_YOUR_CALM)
    );
    // Head upon head without an end.
    for part in [vec![], vec![0x82; 16_384]] {
        let mut connection = Connection::new();
        connection.takes(&frame(HEADERS, 0, 1, &block(&[])));
        let more = frame(CONTINUATION, 0, 1, &part).repeat(10);
        assert_eq!(
            connection.take(&more).err(),
            Some(Reason::ENHANCE_YOUR_CALM)
        );
    }
}

/// A frame as somebody might send it who knows how, or does not.
fn some_frame() -> impl Strategy<Value = Vec<u8>> {
    let id = prop_oneof![0..8u32, Just(1), Just(3), 1..60u32];
    let wild = (
        any::<u8>(),
        any::<u8>(),
        id.clone(),
        prop::collection::vec(any::<u8>(), 0..40),
    )
        .prop_map(|(kind, flags, id, payload)| frame(kind % 11, flags, id, &payload));
    let data = (id.clone(), any::<bool>(), 0..6000usize)
        .prop_map(|(id, end, length)| frame(DATA, u8::from(end), id, &vec![0; length]));
    let (head, body, reset) = (id.clone(), id.clone(), id.clone());
    prop_oneof![
        2 => wild,
        4 => data,
        6 => head.prop_map(|id| get(id | 1)),
        6 => body.prop_map(|id| post(id | 1, &[])),
        2 => reset.prop_map(|id| frame(RST_STREAM, 0, id, &[0, 0, 0, 8])),
        4 => (id, any::<u16>()).prop_map(|(id, n)| update(id, n.into())),
        1 => any::<u16>().prop_map(|n| settings(setting::INITIAL_WINDOW_SIZE, n.into())),
        1 => Just(frame(PING, 0, 0, &[0; 8])),
    ]
}

proptest! {
    /// Nothing that comes leads to a panic, to more than may be in memory, or to frames that are none.
    #[test]
    fn whatever_comes_is_borne(
        frames in prop::collection::vec((some_frame(), any::<u8>(), any::<u16>()), 0..120),
        cut in 1..2000usize,
    ) {
        let mut connection = Connection::new();
        let mut held: Vec<Request> = Vec::new();
        'all: for (bytes, deed, at) in frames {
            for part in bytes.chunks(cut) {
                match connection.take(part) {
                    Ok(requests) => held.extend(requests),
                    Err(reason) => {
                        connection.wire.state().go_away(reason);
                        break 'all;
                    }
                }
            }
            let count = held.len().max(1);
            let at = usize::from(at) % count;
            if let Some(request) = held.get_mut(at) {
                request.outgoing.begin();
                match deed % 8 {
                    0 => drop(held.swap_remove(at)),
                    1 => drop(request.outgoing.answer(StatusCode::OK, &HeaderMap::new(), false)),
                    2 if has_room(request) => request.outgoing.data(vec![1; 30_000].into(), false),
                    3 if has_room(request) => request.outgoing.data(Bytes::new(), true),
                    4 if has_room(request) => request.outgoing.trailers(&HeaderMap::new()),
                    5 => drop(request.incoming.poll_data(&mut cx())),
                    6 => request.outgoing.reset(Reason::CANCEL),
                    _ => drop(connection.written()),
                }
            }
            let state = connection.wire.state();
            prop_assert!(state.streams.len() <= STREAMS as usize);
            prop_assert!(state.forgotten.len() <= 50);
            prop_assert!(state.receive_window >= 0);
            prop_assert!(state.receive_window <= i64::from(CONNECTION_WINDOW));
        }
        connection.written();
        drop(held);
        connection.written();
        connection.wire.state().close();
        prop_assert!(connection.wire.state().streams.is_empty());
    }
}
