//! What the tests of the formats share.

use std::time::{Duration, SystemTime};

use super::{Active, Common, Extra, ServerField, Termination};
use crate::{
    config::model::{AccessLog, LogOptions},
    topology::Peer,
};

/// A request that a server answered, as it came from a client on loopback.
pub(super) fn common() -> Common<'static> {
    Common {
        format: &AccessLog::Http,
        options: LogOptions::default(),
        client: Peer::Inet(([127, 0, 0, 1], 50166).into()),
        accepted: SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_400_420),
        frontend: "http-in",
        tls: false,
        backend: Some("def"),
        server: ServerField::Name("s1"),
        queued: Some(Duration::ZERO),
        connected: Some(Duration::ZERO),
        total: Duration::ZERO,
        bytes_in: 80,
        bytes_out: 0,
        termination: Termination::NORMAL,
        active: Active {
            process: 1,
            frontend: 1,
            ..Active::default()
        },
        retries: 0,
        redispatched: false,
        server_queue: 0,
        backend_queue: 0,
        extra: Extra::default(),
    }
}

/// The line without the date in its brackets, which depends on the time zone.
pub(super) fn strip_date(line: &str) -> String {
    match (line.find('['), line.find(']')) {
        (Some(from), Some(to)) => format!("{}{}", &line[..=from], &line[to..]),
        _ => line.to_owned(),
    }
}
