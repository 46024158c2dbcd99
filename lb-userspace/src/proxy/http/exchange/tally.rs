//! What exchanges count for whoever tracks them.

use super::{
    Client,
    context::{Exchange, Heard},
    rules::Remembered,
};
use crate::{
    observe::log::Cause,
    rules::{Data, Later, Tracked},
};

/// Whose fault it was that an exchange was an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    Nobody,
    Client,
    Server,
}

/// As HAProxy has it: a server's answer counts by the status that it came with, whatever rules have made of it. Where a
/// server was asked in vain it is that one's fault. What was denied, or was no request, is the client's, with whatever
/// status it is told so; other answers of ours are nobody's.
pub(super) fn fault(exchange: &Exchange) -> Fault {
    match exchange.heard {
        Heard::Failure => return Fault::Server,
        Heard::Status(400..=499) => return Fault::Client,
        Heard::Status(501 | 505) => return Fault::Nobody,
        Heard::Status(500..=599) => return Fault::Server,
        Heard::Status(_) => return Fault::Nobody,
        Heard::Nothing => {}
    }
    // 0 is what had no answer.
    let is_told = matches!(exchange.status, Some(0 | 400..=499));
    let refused = exchange
        .termination
        .is_some_and(|ended| ended.cause == Cause::Proxy);
    match exchange.denied || (is_told && (refused || exchange.request.is_none())) {
        true => Fault::Client,
        false => Fault::Nobody,
    }
}

/// The exchange is over: counts it for whoever tracks it.
pub(super) fn finish(
    client: &Client,
    remembered: &mut Remembered,
    fault: Fault,
    bytes_in: u64,
    bytes_out: u64,
) {
    let now = client.now_ms();
    for tracked in remembered.state.all_tracked() {
        count(tracked, fault, bytes_in, bytes_out, now);
    }
    remembered.state.next();
    remembered.shown = None;
    remembered.frontend = Later::default();
    remembered.backend = Later::default();
}

/// Counts a request for whatever its connection follows.
pub(super) fn count_request(client: &Client) {
    let session = client.session.borrow();
    for tracked in session.all_tracked() {
        tracked.count_request(client.now_ms());
    }
}

/// Counts the end of an exchange for whatever its connection follows.
pub(super) fn count_end(client: &Client, fault: Fault, bytes_in: u64, bytes_out: u64) {
    let session = client.session.borrow();
    for tracked in session.all_tracked() {
        count(tracked, fault, bytes_in, bytes_out, client.now_ms());
    }
}

fn count(tracked: &Tracked, fault: Fault, bytes_in: u64, bytes_out: u64, now: u64) {
    match fault {
        Fault::Client => {
            tracked.add(Data::HttpErrCnt, 1, now);
            tracked.add(Data::HttpErrRate, 1, now);
        }
        Fault::Server => {
            tracked.add(Data::HttpFailCnt, 1, now);
            tracked.add(Data::HttpFailRate, 1, now);
        }
        Fault::Nobody => {}
    }
    for (data, n) in [
        (Data::BytesInCnt, bytes_in),
        (Data::BytesInRate, bytes_in),
        (Data::BytesOutCnt, bytes_out),
        (Data::BytesOutRate, bytes_out),
    ] {
        tracked.add(data, n, now);
    }
    tracked.touch(now);
}
