//! The order of keys in what is imported, and which of them stand in `defaults:`.

use super::value::{Key, Map};

/// The order in which people write keys.
const ORDER: &[&str] = &[
    "id",
    "mode",
    "bind",
    "maxconn",
    "backlog",
    "rate_limit_sessions",
    "fullconn",
    "source",
    "sockets",
    "h2_upgrade",
    "balance",
    "hash_type",
    "hash_balance_factor",
    "retries",
    "redispatch",
    "retry_on",
    "connection_mode",
    "http_reuse",
    "ignore_probes",
    "pretend_keep_alive",
    "restrict_header_names",
    "persist",
    "persist_rdp_cookie",
    "all_backups",
    "abort_on_close",
    "prefer_last_server",
    "send_name_header",
    "cookie",
    "log",
    "log_tag",
    "log_format",
    "error_log_format",
    "log_format_sd",
    "dontlognull",
    "dontlog_normal",
    "log_separate_errors",
    "log_asap",
    "forwarded_for",
    "monitor",
    "stats",
    "timeouts",
    "health_check",
    "unique_id",
    "capture",
    "errorfiles",
    "stick_table",
    "acls",
    "connection_rules",
    "inspect",
    "inspect_response",
    "stick",
    "rules",
    "default_backend",
    "servers",
];

/// Keys that our `defaults:` may have.
pub(super) const OF_DEFAULTS: &[&str] = &[
    "mode",
    "maxconn",
    "balance",
    "hash_type",
    "hash_balance_factor",
    "retries",
    "redispatch",
    "log_format",
    "error_log_format",
    "log_format_sd",
    "dontlognull",
    "dontlog_normal",
    "log_separate_errors",
    "log_asap",
    "log_tag",
    "forwarded_for",
    "forwarded",
    "timeouts",
    "errorfiles",
    "health_check",
    "cookie",
    "connection_mode",
    "http_reuse",
    "ignore_probes",
    "pretend_keep_alive",
    "restrict_header_names",
    "persist",
    "persist_rdp_cookie",
    "all_backups",
    "abort_on_close",
    "prefer_last_server",
    "backlog",
    "rate_limit_sessions",
    "fullconn",
    "source",
    "send_name_header",
];

/// The same keys in that order.
pub(super) fn ordered(mut map: Map) -> Map {
    let place = |key: &Key| {
        ORDER
            .iter()
            .position(|name| *name == key.name)
            .unwrap_or(ORDER.len())
    };
    map.0.sort_by_key(place);
    map
}
