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
    // Who does not mind is sent away.
    let heads: Vec<u8> = (0..2000).flat_map(|n| get(2 * n + 205)).collect();
    assert_eq!(
        connection.take(&heads).err(),
        Some(Reason::ENHANCE_YOUR_CALM)
    );
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
    frame::block(&mut out, 1, true, |out| out.extend(field(17_000)));
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

#[test]
fn who_makes_mistakes_now_and_then_is_served_on() {
    let mut connection = Connection::new();
    for n in 0..1500 {
        answer(&connection.request(&get(4 * n + 1)), true);
        // Two methods.
        let flags = flag::END_HEADERS | flag::END_STREAM;
        connection.takes(&frame(HEADERS, flags, 4 * n + 3, &[0x82, 0x82, 0x84, 0x86]));
        assert_eq!(
            connection.reset(),
            Some((4 * n + 3, Reason::PROTOCOL_ERROR))
        );
    }
    let mut request = connection.request(&post(6001, &[]));
    for _ in 0..300 {
        connection.takes(&frame(DATA, 0, 6001, b"x"));
        connection.takes(&frame(DATA, 0, 6001, b""));
        assert_eq!(read(&mut request), Some(Some(Bytes::from_static(b"x"))));
    }
}

#[test]
fn a_body_that_is_taken_goes_on_beside_those_that_nobody_takes() {
    let mut connection = Connection::new();
    let heads: Vec<u8> = (0..STREAMS).flat_map(|n| post(2 * n + 1, &[])).collect();
    let mut requests = connection.takes(&heads);
    let full = |id| {
        let most = frame(DATA, 0, id, &[0; 16_384]).repeat(3);
        [most, frame(DATA, 0, id, &[0; 16_383])].concat()
    };
    let may = |connection: &Connection| connection.wire.state().receive_window;
    for _ in 0..45 {
        connection.takes(&full(1));
        while let Some(Some(_)) = read(&mut requests[0]) {}
    }
    for n in 1..STREAMS {
        assert!(may(&connection) >= i64::from(STREAM_WINDOW), "{n}");
        connection.takes(&full(2 * n + 1));
    }
    for n in 0..200 {
        assert!(may(&connection) >= 16_384, "{n}");
        connection.takes(&frame(DATA, 0, 1, &[0; 16_384]));
        while let Some(Some(_)) = read(&mut requests[0]) {}
    }
}

#[test]
fn what_was_reset_does_not_wait_behind_what_does() {
    let mut connection = Connection::new();
    connection.takes(&settings(setting::INITIAL_WINDOW_SIZE, 1 << 20));
    let first = connection.request(&get(1));
    answer(&first, false);
    first.outgoing.data(vec![0; 100_000].into(), true);
    for id in (3..1000).step_by(2) {
        let request = connection.request(&get(id));
        request.outgoing.begin();
        answer(&request, false);
        request.outgoing.data(vec![0; 1000].into(), true);
        connection.takes(&frame(RST_STREAM, 0, id, &[0, 0, 0, 8]));
        connection.written();
    }
    assert_eq!(connection.wire.state().ready.len(), 1);
}

/// What may happen: what a client sends, of the streams that it has begun, and what their requests do.
#[derive(Debug, Clone)]
enum Deed {
    Begin {
        ended: bool,
    },
    Data {
        nth: usize,
        length: usize,
        end: bool,
    },
    Trailers {
        nth: usize,
    },
    Reset {
        nth: usize,
    },
    Update {
        nth: usize,
        increment: u32,
    },
    UpdateAll {
        increment: u32,
    },
    Window {
        size: u32,
    },
    Wild {
        kind: u8,
        flags: u8,
        id: u32,
        payload: Vec<u8>,
    },
    Leave {
        at: usize,
    },
    Answer {
        at: usize,
        end: bool,
    },
    Send {
        at: usize,
        length: usize,
        last: bool,
    },
    SendTrailers {
        at: usize,
    },
    Read {
        at: usize,
    },
    Refuse {
        at: usize,
    },
    Write,
}

fn deed() -> impl Strategy<Value = Deed> {
    let nth = || 0..1000usize;
    prop_oneof![
        8 => any::<bool>().prop_map(|ended| Deed::Begin { ended }),
        8 => (nth(), 1..9000usize, any::<u8>())
            .prop_map(|(nth, length, end)| Deed::Data { nth, length, end: end < 30 }),
        1 => nth().prop_map(|nth| Deed::Trailers { nth }),
        1 => nth().prop_map(|nth| Deed::Reset { nth }),
        4 => (nth(), 1..70_000u32).prop_map(|(nth, increment)| Deed::Update { nth, increment }),
        2 => (1..70_000u32).prop_map(|increment| Deed::UpdateAll { increment }),
        1 => (0..100_000u32).prop_map(|size| Deed::Window { size }),
        1 => (0..11u8, any::<u8>(), 0..60u32, prop::collection::vec(any::<u8>(), 0..40))
            .prop_map(|(kind, flags, id, payload)| Deed::Wild { kind, flags, id, payload }),
        2 => nth().prop_map(|at| Deed::Leave { at }),
        6 => (nth(), any::<u8>()).prop_map(|(at, end)| Deed::Answer { at, end: end < 60 }),
        8 => (nth(), 0..70_000usize, any::<u8>())
            .prop_map(|(at, length, last)| Deed::Send { at, length, last: last < 60 }),
        2 => nth().prop_map(|at| Deed::SendTrailers { at }),
        8 => nth().prop_map(|at| Deed::Read { at }),
        1 => nth().prop_map(|at| Deed::Refuse { at }),
        2 => Just(Deed::Write),
    ]
}

/// What a client sends for it, if it is the client's.
fn sent(deed: &Deed, begun: &mut u32) -> Vec<u8> {
    let id = |nth: usize| match *begun {
        0 => 1,
        begun => 2 * (nth as u32 % begun) + 1,
    };
    match *deed {
        Deed::Begin { ended } => {
            *begun += 1;
            let id = 2 * *begun - 1;
            if ended { get(id) } else { post(id, &[]) }
        }
        Deed::Data { nth, length, end } => frame(DATA, u8::from(end), id(nth), &vec![0; length]),
        Deed::Trailers { nth } => {
            let flags = flag::END_HEADERS | flag::END_STREAM;
            frame(HEADERS, flags, id(nth), b"\x00\x01x\x01y")
        }
        Deed::Reset { nth } => frame(RST_STREAM, 0, id(nth), &[0, 0, 0, 8]),
        Deed::Update { nth, increment } => update(id(nth), increment),
        Deed::UpdateAll { increment } => update(0, increment),
        Deed::Window { size } => settings(setting::INITIAL_WINDOW_SIZE, size),
        Deed::Wild {
            kind,
            flags,
            id,
            ref payload,
        } => frame(kind, flags, id, payload),
        _ => Vec::new(),
    }
}

/// Does what a request does.
fn done(deed: &Deed, held: &mut Vec<Request>) {
    let (Deed::Leave { at }
    | Deed::Answer { at, .. }
    | Deed::Send { at, .. }
    | Deed::SendTrailers { at }
    | Deed::Read { at }
    | Deed::Refuse { at }) = *deed
    else {
        return;
    };
    let at = at % held.len().max(1);
    let Some(request) = held.get_mut(at) else {
        return;
    };
    request.outgoing.begin();
    match *deed {
        Deed::Leave { .. } => drop(held.swap_remove(at)),
        Deed::Answer { end, .. } => {
            let _ = request
                .outgoing
                .answer(StatusCode::OK, &HeaderMap::new(), end);
        }
        Deed::Send { length, last, .. } if has_room(request) => {
            request.outgoing.data(vec![1; length].into(), last);
        }
        Deed::SendTrailers { .. } if has_room(request) => {
            request.outgoing.trailers(&HeaderMap::new());
        }
        Deed::Read { .. } => {
            while let Poll::Ready(Some(Ok(_))) = request.incoming.poll_data(&mut cx()) {}
        }
        Deed::Refuse { .. } => request.outgoing.reset(Reason::CANCEL),
        _ => {}
    }
}

proptest! {
    /// Nothing that comes leads to a panic, to more than may be in memory, or to frames that are none; and once all have
    /// gone nothing is left.
    #[test]
    fn whatever_comes_is_borne(
        deeds in prop::collection::vec(deed(), 0..300),
        cut in 1..5000usize,
    ) {
        let mut connection = Connection::new();
        let (mut held, mut begun) = (Vec::new(), 0);
        'all: for deed in deeds {
            for part in sent(&deed, &mut begun).chunks(cut) {
                match connection.take(part) {
                    Ok(requests) => held.extend(requests),
                    Err(reason) => {
                        connection.wire.state().go_away(reason);
                        break 'all;
                    }
                }
            }
            done(&deed, &mut held);
            if matches!(deed, Deed::Write) {
                connection.written();
            }
            let state = connection.wire.state();
            prop_assert!(state.streams.len() <= STREAMS as usize);
            prop_assert!(state.forgotten.len() <= 50);
            prop_assert!(state.receive_window >= 0);
            prop_assert!(state.receive_window <= i64::from(CONNECTION_WINDOW));
            prop_assert!(state.send_window >= 0);
        }
        connection.written();
        held.clear();
        // What waits for windows may go on, and then all is over.
        if begun > 0 && connection.take(&[]).is_ok() {
            let windows = (0..begun).map(|n| update(2 * n + 1, 1 << 29));
            let all: Vec<u8> = windows.chain([update(0, 1 << 29)]).flatten().collect();
            let _ = connection.take(&all);
            connection.written();
            prop_assert!(connection.wire.state().streams.is_empty());
        }
        connection.wire.state().close();
        prop_assert!(connection.wire.state().streams.is_empty());
        prop_assert_eq!(Rc::strong_count(&connection.wire), 1);
    }
}

#[test]
fn a_payload_keeps_no_buffer_that_is_mostly_empty() {
    const ROOM: usize = 32 * 1024;
    let mut connection = Connection::new();
    let mut request = connection.request(&post(1, &[]));
    // Alone in what was read, and with others that fill it.
    for (payloads, kept) in [(1, false), (3, true)] {
        connection.read = BytesMut::with_capacity(ROOM);
        connection.takes(&frame(DATA, 0, 1, &[0; 8192]).repeat(payloads));
        assert_eq!(!connection.read.try_reclaim(ROOM), kept, "{payloads}");
        let mut length = 0;
        while let Some(Some(data)) = read(&mut request) {
            length += data.len();
        }
        assert_eq!(length, payloads * 8192);
        assert!(connection.read.try_reclaim(ROOM));
    }
}
