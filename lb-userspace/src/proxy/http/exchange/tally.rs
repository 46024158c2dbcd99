//! What exchanges count for whoever tracks them.

use super::{Client, rules::Remembered};
use crate::rules::{Data, Later, Tracked};

/// The exchange is over: counts it for whoever tracks it.
pub(super) fn finish(
    client: &Client,
    remembered: &mut Remembered,
    status: Option<u16>,
    bytes_in: u64,
    bytes_out: u64,
) {
    let now = client.now_ms();
    for tracked in remembered.state.all_tracked() {
        count(tracked, status, bytes_in, bytes_out, now);
    }
    remembered.state.next();
    remembered.id = None;
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
pub(super) fn count_end(client: &Client, status: Option<u16>, bytes_in: u64, bytes_out: u64) {
    let session = client.session.borrow();
    for tracked in session.all_tracked() {
        let now = client.now_ms();
        count(tracked, status, bytes_in, bytes_out, now);
    }
}

fn count(tracked: &Tracked, status: Option<u16>, bytes_in: u64, bytes_out: u64, now: u64) {
    match status {
        // 0 is what was no request and had no answer.
        Some(0 | 400..=499) => {
            tracked.add(Data::HttpErrCnt, 1, now);
            tracked.add(Data::HttpErrRate, 1, now);
        }
        Some(status @ 500..=599) if status != 501 && status != 505 => {
            tracked.add(Data::HttpFailCnt, 1, now);
            tracked.add(Data::HttpFailRate, 1, now);
        }
        _ => {}
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
