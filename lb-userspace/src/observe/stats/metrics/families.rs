//! The families that come straight from a row's column.

use super::encoder::{Kind, Value};
use crate::observe::stats::row::Row;

/// A kind of row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Of {
    Frontend,
    Backend,
    Server,
}

impl Of {
    #[cfg(test)]
    pub(super) const ALL: [Self; 3] = [Self::Frontend, Self::Backend, Self::Server];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Frontend => "frontend",
            Self::Backend => "backend",
            Self::Server => "server",
        }
    }

    /// The labels that its samples have.
    #[cfg(test)]
    pub(super) const fn labels(self) -> &'static [&'static str] {
        match self {
            Self::Frontend => &["frontend"],
            Self::Backend => &["backend"],
            Self::Server => &["backend", "server"],
        }
    }

    /// A family's whole name.
    pub(super) fn prefixed(self, name: &str) -> String {
        format!("lb_{}_{name}", self.name())
    }
}

const F: Of = Of::Frontend;
const B: Of = Of::Backend;
const S: Of = Of::Server;

/// A family of rows.
pub(super) struct Family {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    pub(super) help: &'static str,
    /// Which rows have the column; some of them only in mode http.
    pub(super) of: &'static [Of],
    pub(super) value: fn(&Row) -> Option<Value>,
}

const fn family(
    name: &'static str,
    kind: Kind,
    of: &'static [Of],
    help: &'static str,
    value: fn(&Row) -> Option<Value>,
) -> Family {
    Family {
        name,
        kind,
        help,
        of,
        value,
    }
}

pub(super) const FAMILIES: &[Family] = &[
    family(
        "up",
        Kind::Gauge,
        &[F, B, S],
        "Whether it takes traffic, by health and by the operator's will.",
        |row| {
            row.status
                .as_deref()
                .map(|status| Value::Whole(u64::from(takes_traffic(status))))
        },
    ),
    family(
        "sessions",
        Kind::Gauge,
        &[F, B, S],
        "Sessions now.",
        |row| row.scur.map(Value::Whole),
    ),
    family(
        "sessions_max",
        Kind::Gauge,
        &[F, B, S],
        "Most sessions at a time.",
        |row| row.smax.map(Value::Whole),
    ),
    family(
        "sessions_limit",
        Kind::Gauge,
        &[F, S],
        "Most sessions allowed at a time.",
        |row| row.slim.map(Value::Whole),
    ),
    family(
        "queue_length",
        Kind::Gauge,
        &[B, S],
        "Connections or requests that wait for a slot now.",
        |row| row.qcur.map(Value::Whole),
    ),
    family(
        "queue_length_max",
        Kind::Gauge,
        &[B, S],
        "Most that waited for a slot at a time.",
        |row| row.qmax.map(Value::Whole),
    ),
    family(
        "weight",
        Kind::Gauge,
        &[B, S],
        "Weight in balancing; of a backend the sum of those in use.",
        |row| row.weight.map(Value::Whole),
    ),
    family(
        "active_servers",
        Kind::Gauge,
        &[B],
        "Servers up that are not backups.",
        |row| row.act.map(Value::Whole),
    ),
    family(
        "backup_servers",
        Kind::Gauge,
        &[B],
        "Backup servers up.",
        |row| row.bck.map(Value::Whole),
    ),
    family(
        "denied_requests_total",
        Kind::Counter,
        &[F, B],
        "Requests denied.",
        |row| row.dreq.map(Value::Whole),
    ),
    family(
        "denied_responses_total",
        Kind::Counter,
        &[F, B, S],
        "Responses denied.",
        |row| row.dresp.map(Value::Whole),
    ),
    family(
        "request_errors_total",
        Kind::Counter,
        &[F],
        "Requests that were none, or that the client broke off.",
        |row| row.ereq.map(Value::Whole),
    ),
    family(
        "tls_sessions_total",
        Kind::Counter,
        &[F],
        "TLS sessions with clients.",
        |row| row.ssl_sess.map(Value::Whole),
    ),
    family(
        "tls_reused_sessions_total",
        Kind::Counter,
        &[F],
        "TLS sessions with clients that go on from earlier ones.",
        |row| row.ssl_reused_sess.map(Value::Whole),
    ),
    family(
        "tls_handshake_failures_total",
        Kind::Counter,
        &[F],
        "TLS handshakes that failed, were broken off by the client, or not done in time.",
        |row| row.ssl_failed_handshake.map(Value::Whole),
    ),
    family(
        "connect_errors_total",
        Kind::Counter,
        &[B, S],
        "Connections to servers that could not be made.",
        |row| row.econ.map(Value::Whole),
    ),
    family(
        "response_errors_total",
        Kind::Counter,
        &[B, S],
        "Responses that were none, or that the server broke off.",
        |row| row.eresp.map(Value::Whole),
    ),
    family(
        "retries_total",
        Kind::Counter,
        &[B, S],
        "Connections tried again.",
        |row| row.wretr.map(Value::Whole),
    ),
    family(
        "redispatches_total",
        Kind::Counter,
        &[B, S],
        "Connections given to another server.",
        |row| row.wredis.map(Value::Whole),
    ),
    family(
        "client_aborts_total",
        Kind::Counter,
        &[B, S],
        "Transfers that clients broke off.",
        |row| row.cli_abrt.map(Value::Whole),
    ),
    family(
        "server_aborts_total",
        Kind::Counter,
        &[B, S],
        "Transfers that servers broke off.",
        |row| row.srv_abrt.map(Value::Whole),
    ),
    family(
        "balanced_total",
        Kind::Counter,
        &[B, S],
        "Times that balancing chose it.",
        |row| row.lbtot.map(Value::Whole),
    ),
    family(
        "http_requests_total",
        Kind::Counter,
        &[F, B, S],
        "HTTP requests.",
        |row| row.req_tot.map(Value::Whole),
    ),
    family(
        "check_failures_total",
        Kind::Counter,
        &[S],
        "Checks that failed while it was up.",
        |row| row.chkfail.map(Value::Whole),
    ),
    family(
        "check_duration_seconds",
        Kind::Gauge,
        &[S],
        "Time that the last check took.",
        |row| row.check_duration.map(Value::Millis),
    ),
    family(
        "down_transitions_total",
        Kind::Counter,
        &[S],
        "Times that it went down.",
        |row| row.chkdown.map(Value::Whole),
    ),
    family(
        "downtime_seconds_total",
        Kind::Counter,
        &[S],
        "Time that it was down.",
        |row| row.downtime.map(Value::Whole),
    ),
    family(
        "last_change_seconds",
        Kind::Gauge,
        &[B, S],
        "Time since it last went up or down.",
        |row| row.lastchg.map(Value::Whole),
    ),
    family(
        "queue_time_average_seconds",
        Kind::Gauge,
        &[B, S],
        "Mean time in the queue, of the last 512.",
        |row| row.qtime.map(Value::Millis),
    ),
    family(
        "connect_time_average_seconds",
        Kind::Gauge,
        &[B, S],
        "Mean time to connect, of the last 512.",
        |row| row.ctime.map(Value::Millis),
    ),
    family(
        "response_time_average_seconds",
        Kind::Gauge,
        &[B, S],
        "Mean time to the response's head, of the last 512.",
        |row| row.rtime.map(Value::Millis),
    ),
    family(
        "total_time_average_seconds",
        Kind::Gauge,
        &[B, S],
        "Mean time in all, of the last 512.",
        |row| row.ttime.map(Value::Millis),
    ),
];

fn takes_traffic(status: &str) -> bool {
    status.starts_with("UP") || matches!(status, "OPEN" | "FULL" | "no check")
}
