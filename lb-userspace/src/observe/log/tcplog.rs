//! HAProxy's `option tcplog` line.

use super::{
    httplog::write_head,
    record::{Common, TcpRecord},
    text::{elapsed, number, timer},
};

/// Appends `record` to `out` as HAProxy writes it, without a line end.
pub fn write(out: &mut String, record: &TcpRecord<'_>) {
    let common = &record.common;
    write_head(out, common);
    timer(out, common.queued);
    out.push('/');
    timer(out, common.connected);
    out.push('/');
    out.push_str(common.so_far());
    elapsed(out, common.total);
    out.push(' ');
    out.push_str(common.so_far());
    number(out, common.bytes_out);
    out.push(' ');
    out.push(common.termination.cause.letter());
    out.push(common.termination.phase.letter());
    out.push(' ');
    counts(out, common);
}

/// `1/1/0/0/0 0/0`: who was there, how often a server was tried again, and who waited before it.
pub(super) fn counts(out: &mut String, common: &Common<'_>) {
    let active = &common.active;
    for sessions in [
        active.process,
        active.frontend,
        active.backend,
        active.server,
    ] {
        number(out, sessions);
        out.push('/');
    }
    retries(out, common);
    out.push(' ');
    number(out, common.server_queue);
    out.push('/');
    number(out, common.backend_queue);
}

/// The retries, with a `+` before them where the last one went to another server.
pub(super) fn retries(out: &mut String, common: &Common<'_>) {
    if common.redispatched {
        out.push('+');
    }
    number(out, common.retries);
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use super::{
        super::{record::*, text::accept_date},
        *,
    };
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
        write(&mut out, &record);
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
        );
        assert_eq!(out.len(), "23/Nov/2026:02:30:20.251".len(), "{out}");
        assert!(out.ends_with(".049") && out.contains("/Nov/2026:"), "{out}");
    }
}
