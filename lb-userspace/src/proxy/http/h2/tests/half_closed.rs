//! Clients that have shut their side of the connection down.

use super::*;

/// A request that is answered with so much data, which is the last, or is not.
fn answered(connection: &mut Connection, id: u32, length: usize, last: bool) -> Request {
    let request = connection.request(&get(id));
    answer(&request, false);
    request.outgoing.data(vec![0; length].into(), last);
    request
}

fn is_gone(request: &Request) -> bool {
    matches!(request.outgoing.poll_room(&mut cx()), Poll::Ready(Err(_)))
}

#[test]
fn what_waits_for_a_window_that_cannot_grow_is_given_up() {
    let mut connection = Connection::new();
    connection.takes(&settings(setting::INITIAL_WINDOW_SIZE, 10));
    let held = answered(&mut connection, 1, 11, true);
    let left = answered(&mut connection, 3, 11, true);
    let fits = answered(&mut connection, 5, 10, true);
    let open = answered(&mut connection, 7, 5, false);
    drop(left);
    connection.written();
    connection.wire.state().hear_no_more();
    let resets: Vec<_> = connection
        .written()
        .iter()
        .map(|f| (f.kind, f.id))
        .collect();
    assert_eq!(resets, [(RST_STREAM, 1), (RST_STREAM, 3)]);
    assert!(is_gone(&held) && !is_gone(&fits) && !is_gone(&open));
    // What there is room for goes its way; what comes after that is of no use any more.
    open.outgoing.data(vec![0; 5].into(), false);
    assert_eq!(connection.data(), [(7, 5)]);
    assert!(!is_gone(&open));
    open.outgoing.data(vec![0; 1].into(), true);
    assert_eq!(connection.reset(), Some((7, Reason::CANCEL)));
    assert!(is_gone(&open) && connection.wire.state().is_finished());
}

#[test]
fn neither_does_the_window_that_all_share_grow() {
    let mut connection = Connection::new();
    connection.takes(&settings(setting::INITIAL_WINDOW_SIZE, 100_000));
    let first = answered(&mut connection, 1, 65_000, false);
    let second = answered(&mut connection, 3, 1_000, true);
    connection.wire.state().hear_no_more();
    let sent: usize = connection.data().iter().map(|(_, length)| length).sum();
    assert_eq!(sent, 65_535);
    assert!(is_gone(&second));
    first.outgoing.data(Bytes::new(), true);
    assert!(!is_gone(&first) && connection.wire.state().streams.is_empty());
}
