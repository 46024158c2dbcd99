//! Who may do what on the runtime socket: HAProxy's three levels, and which of them each command takes.

use std::fmt;

use crate::config::model::AdminLevel as Level;

/// What HAProxy answers to whoever may not.
pub(super) const DENIED: &str = "Permission denied";

/// The least level that a command takes: that of HAProxy's, but for changes of maps, which HAProxy lets everybody make though
/// its manual says that the lowest level changes nothing.
pub(super) fn needed(words: &[&str]) -> Level {
    match *words {
        ["get", "var", ..] => Level::Operator,
        [
            "add" | "set" | "del" | "clear" | "prepare" | "commit",
            "acl" | "map",
            ..,
        ] => Level::Operator,
        ["clear", "counters", "all", ..] => Level::Admin,
        ["clear" | "set", "table", ..] | ["clear", "counters", ..] => Level::Operator,
        [
            "show",
            "env" | "errors" | "fd" | "sess" | "startup-logs" | "flows" | "deny",
            ..,
        ] => Level::Operator,
        ["trace", ..] => Level::Operator,
        // Names of files are nobody's business who only watches.
        ["show", "ssl", "crt-list", ..] => Level::Admin,
        // Whoever has the keys reads what clients say.
        ["show", "tls-keys", _, ..] => Level::Admin,
        ["show", "ssl", "cert" | "ca-file" | "crl-file", ..] => Level::Operator,
        ["set", "timeout" | "severity-output", ..] => Level::User,
        [
            "abort" | "add" | "clear" | "commit" | "del" | "disable" | "enable" | "new" | "prepare"
            | "reload" | "set" | "shutdown" | "upgrade" | "expert-mode" | "experimental-mode"
            | "mcli-debug-mode",
            ..,
        ] => Level::Admin,
        _ => Level::User,
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::User => "user",
            Self::Operator => "operator",
            Self::Admin => "admin",
        })
    }
}
