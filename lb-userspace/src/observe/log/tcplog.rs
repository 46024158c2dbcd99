//! HAProxy's `option tcplog` line.

use std::{
    fmt::{self, Display, Write},
    time::{Duration, SystemTime},
};

use super::{
    clock::Calendar,
    httplog::write_head,
    record::{Common, TcpRecord},
};

/// Writes `record` as HAProxy does, without a line end.
///
/// # Errors
/// Only those of `out`.
pub fn write(out: &mut impl Write, record: &TcpRecord<'_>) -> fmt::Result {
    let common = &record.common;
    write_head(out, common)?;
    timer(out, common.queued)?;
    out.write_char('/')?;
    timer(out, common.connected)?;
    let so_far = common.so_far();
    write!(
        out,
        "/{so_far}{} {so_far}{} {}{} {}/{}/{}/{}/{} {}/{}",
        millis(common.total),
        common.bytes_out,
        common.termination.cause.letter(),
        common.termination.phase.letter(),
        common.active.process,
        common.active.frontend,
        common.active.backend,
        common.active.server,
        Retries(common),
        common.server_queue,
        common.backend_queue,
    )
}

/// `23/Nov/2026:02:30:20.251`, local time.
pub(super) fn accept_date(out: &mut impl Write, at: SystemTime) -> fmt::Result {
    let at = Calendar::local(at);
    write!(out, "{}.{:03}", at.clf(), at.millisecond)
}

/// A duration in whole milliseconds, or `-1` for a phase that was never reached.
pub(super) fn timer(out: &mut impl Write, took: Option<Duration>) -> fmt::Result {
    match took {
        Some(took) => write!(out, "{}", millis(took)),
        None => out.write_str("-1"),
    }
}

pub(super) fn millis(took: Duration) -> u64 {
    u64::try_from(took.as_millis()).unwrap_or(u64::MAX)
}

/// The retries, with a `+` before them where the last one went to another server.
pub(super) struct Retries<'a>(pub(super) &'a Common<'a>);

impl Display for Retries<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.redispatched {
            f.write_char('+')?;
        }
        Display::fmt(&self.0.retries, f)
    }
}

#[cfg(test)]
mod tests {
    use super::{super::record::*, *};
    use crate::observe::log::{
        fixture::{common, strip_date},
        termination::{Cause, Phase, Termination},
    };
    use crate::topology::Peer;

    fn line(common: Common<'static>) -> String {
        let mut out = String::new();
        let record = TcpRecord {
            common,
            path: Path::Userspace,
        };
        write(&mut out, &record).expect("a String takes everything");
        strip_date(&out)
    }

    #[test]
    fn a_connection_as_haproxy_2_6_logged_it() {
        let line = line(Common {
            frontend: "tcp-in",
            backend: Some("tdef"),
            server: ServerField::Name("t1"),
            queued: Some(Duration::from_millis(1)),
            total: Duration::from_millis(1),
            bytes_out: 642,
            ..common()
        });
        assert_eq!(
            line,
            "127.0.0.1:50166 [] tcp-in tdef/t1 1/0/1 642 -- 1/1/0/0/0 0/0"
        );
    }

    #[test]
    fn a_refused_connection() {
        let line = line(Common {
            backend: Some("tdef"),
            server: ServerField::None,
            queued: None,
            connected: None,
            termination: Termination::new(Cause::Server, Phase::Connect),
            ..common()
        });
        assert_eq!(
            line,
            "127.0.0.1:50166 [] http-in tdef/<NOSRV> -1/-1/0 0 SC 1/1/0/0/0 0/0"
        );
    }

    #[test]
    fn an_ipv6_client_is_bare_and_a_mapped_one_is_ipv4() {
        let of = |text: &str| {
            line(Common {
                client: Peer::Inet(text.parse().expect("an address")),
                ..common()
            })
        };
        assert!(of("[2001:db8::1]:7").starts_with("2001:db8::1:7 ["));
        assert!(of("[::ffff:192.0.2.1]:7").starts_with("192.0.2.1:7 ["));
    }

    #[test]
    fn the_date_has_milliseconds() {
        let mut out = String::new();
        accept_date(
            &mut out,
            SystemTime::UNIX_EPOCH + Duration::from_millis(1_795_400_407_049),
        )
        .expect("written");
        assert_eq!(out.len(), "23/Nov/2026:02:30:20.251".len(), "{out}");
        assert!(out.ends_with(".049") && out.contains("/Nov/2026:"), "{out}");
    }
}
