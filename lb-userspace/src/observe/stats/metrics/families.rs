//! The families that come straight from a row's column.

use super::{Kind, Value};
use crate::observe::stats::row::Row;

/// A family that exists for each kind of row that has the column.
pub(super) struct Family {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    pub(super) help: &'static str,
    pub(super) value: fn(&Row) -> Option<Value>,
}

const fn family(
    name: &'static str,
    kind: Kind,
    help: &'static str,
    value: fn(&Row) -> Option<Value>,
) -> Family {
    Family {
        name,
        kind,
        help,
        value,
    }
}

pub(super) const FAMILIES: &[Family] = &[
    family(
        "up",
        Kind::Gauge,
        "Whether it takes traffic, by health and by the operator's will.",
        |row| {
            row.status
                .as_deref()
                .map(|status| Value::Whole(u64::from(takes_traffic(status))))
        },
    ),
    family("sessions", Kind::Gauge, "Sessions now.", |row| {
        row.scur.map(Value::Whole)
    }),
    family(
        "sessions_max",
        Kind::Gauge,
        "Most sessions at a time.",
        |row| row.smax.map(Value::Whole),
    ),
    family(
        "sessions_limit",
        Kind::Gauge,
        "Most sessions allowed at a time.",
        |row| row.slim.map(Value::Whole),
    ),
    family(
        "queue_length",
        Kind::Gauge,
        "Connections or requests that wait for a slot now.",
        |row| row.qcur.map(Value::Whole),
    ),
    family(
        "queue_length_max",
        Kind::Gauge,
        "Most that waited for a slot at a time.",
        |row| row.qmax.map(Value::Whole),
    ),
    family(
        "weight",
        Kind::Gauge,
        "Weight in balancing; of a backend the sum of those in use.",
        |row| row.weight.map(Value::Whole),
    ),
    family(
        "active_servers",
        Kind::Gauge,
        "Servers up that are not backups.",
        |row| backend_only(row, row.act),
    ),
    family("backup_servers", Kind::Gauge, "Backup servers up.", |row| {
        backend_only(row, row.bck)
    }),
    family(
        "denied_requests_total",
        Kind::Counter,
        "Requests denied.",
        |row| row.dreq.map(Value::Whole),
    ),
    family(
        "denied_responses_total",
        Kind::Counter,
        "Responses denied.",
        |row| row.dresp.map(Value::Whole),
    ),
    family(
        "request_errors_total",
        Kind::Counter,
        "Requests that were none, or that the client broke off.",
        |row| row.ereq.map(Value::Whole),
    ),
    family(
        "connect_errors_total",
        Kind::Counter,
        "Connections to servers that could not be made.",
        |row| row.econ.map(Value::Whole),
    ),
    family(
        "response_errors_total",
        Kind::Counter,
        "Responses that were none, or that the server broke off.",
        |row| row.eresp.map(Value::Whole),
    ),
    family(
        "retries_total",
        Kind::Counter,
        "Connections tried again.",
        |row| row.wretr.map(Value::Whole),
    ),
    family(
        "redispatches_total",
        Kind::Counter,
        "Connections given to another server.",
        |row| row.wredis.map(Value::Whole),
    ),
    family(
        "client_aborts_total",
        Kind::Counter,
        "Transfers that clients broke off.",
        |row| row.cli_abrt.map(Value::Whole),
    ),
    family(
        "server_aborts_total",
        Kind::Counter,
        "Transfers that servers broke off.",
        |row| row.srv_abrt.map(Value::Whole),
    ),
    family(
        "balanced_total",
        Kind::Counter,
        "Times that balancing chose it.",
        |row| row.lbtot.map(Value::Whole),
    ),
    family(
        "http_requests_total",
        Kind::Counter,
        "HTTP requests.",
        |row| row.req_tot.map(Value::Whole),
    ),
    family(
        "check_failures_total",
        Kind::Counter,
        "Checks that failed while it was up.",
        |row| row.chkfail.map(Value::Whole),
    ),
    family(
        "check_duration_seconds",
        Kind::Gauge,
        "Time that the last check took.",
        |row| row.check_duration.map(Value::Millis),
    ),
    family(
        "down_transitions_total",
        Kind::Counter,
        "Times that it went down.",
        |row| row.chkdown.map(Value::Whole),
    ),
    family(
        "downtime_seconds_total",
        Kind::Counter,
        "Time that it was down.",
        |row| row.downtime.map(Value::Whole),
    ),
    family(
        "last_change_seconds",
        Kind::Gauge,
        "Time since it last went up or down.",
        |row| row.lastchg.map(Value::Whole),
    ),
    family(
        "queue_time_average_seconds",
        Kind::Gauge,
        "Mean time in the queue, of the last 512.",
        |row| row.qtime.map(Value::Millis),
    ),
    family(
        "connect_time_average_seconds",
        Kind::Gauge,
        "Mean time to connect, of the last 512.",
        |row| row.ctime.map(Value::Millis),
    ),
    family(
        "response_time_average_seconds",
        Kind::Gauge,
        "Mean time to the response's head, of the last 512.",
        |row| row.rtime.map(Value::Millis),
    ),
    family(
        "total_time_average_seconds",
        Kind::Gauge,
        "Mean time in all, of the last 512.",
        |row| row.ttime.map(Value::Millis),
    ),
];

/// A server's own `act` and `bck` only say which of the two it is.
fn backend_only(row: &Row, value: Option<u64>) -> Option<Value> {
    (row.svname.as_deref() == Some("BACKEND"))
        .then_some(value)
        .flatten()
        .map(Value::Whole)
}

fn takes_traffic(status: &str) -> bool {
    status.starts_with("UP") || matches!(status, "OPEN" | "FULL" | "no check")
}
