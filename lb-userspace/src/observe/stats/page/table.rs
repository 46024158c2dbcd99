//! The table of a proxy, in HAProxy's columns.

use maud::{Markup, html};

use super::format;
use crate::observe::stats::row::Row;

/// HAProxy's groups of columns.
const GROUPS: &[(&str, &[&str])] = &[
    ("Queue", &["Cur", "Max", "Limit"]),
    ("Session rate", &["Cur", "Max", "Limit"]),
    (
        "Sessions",
        &["Cur", "Max", "Limit", "Total", "LbTot", "Last"],
    ),
    ("Bytes", &["In", "Out"]),
    ("Denied", &["Req", "Resp"]),
    ("Errors", &["Req", "Conn", "Resp"]),
    ("Warnings", &["Retr", "Redis"]),
    (
        "Server",
        &[
            "Status", "LastChk", "Wght", "Act", "Bck", "Chk", "Dwn", "Dwntme", "Thrtle",
        ],
    ),
];

/// The table of a proxy.
pub(super) fn table(name: &str, rows: Markup) -> Markup {
    html! {
        div.scroll tabindex="0" role="region" aria-label={ "Figures of " (name) } {
            table.stats {
                thead {
                    tr {
                        td {}
                        @for (group, columns) in GROUPS { th colspan=(columns.len()) scope="colgroup" { (group) } }
                    }
                    tr {
                        th scope="col" { "Name" }
                        @for (_, columns) in GROUPS { @for column in *columns { th scope="col" { (column) } } }
                    }
                }
                tbody { (rows) }
            }
        }
    }
}

/// A number's cell; one of nothing stands back.
fn cell(value: Option<u64>, text: impl Fn(u64) -> String) -> Markup {
    html! {
        @match value {
            Some(0) => td.z { (text(0)) },
            Some(value) => td { (text(value)) },
            None => td {},
        }
    }
}

/// A row. Where servers of the backend `of` may be changed, it can be chosen.
pub(super) fn line(name: &str, class: &str, row: &Row, of: Option<&str>) -> Markup {
    let number = |value: Option<u64>| cell(value, format::number);
    let bytes = |value: Option<u64>| cell(value, format::bytes);
    // A server's queue and session limit of nothing reads as HAProxy's dash.
    let limit = |value: Option<u64>| value.map_or_else(|| "-".to_owned(), format::number);
    let is_server = row.r#type == Some(2);
    html! {
        tr class=(class) {
            th scope="row" {
                @if let Some(backend) = of {
                    label {
                        input type="checkbox" name="s" value=(name) aria-label={ "Choose " (backend) "/" (name) };
                        i.dot {} (name)
                    }
                } @else {
                    i.dot {} (name)
                }
                @if let (true, Some(address)) = (is_server, &row.addr) { small { (address) } }
            }
            (number(row.qcur))
            (number(row.qmax))
            td { @if is_server { (limit(row.qlimit)) } }
            (number(row.rate))
            (number(row.rate_max))
            (number(row.rate_lim.filter(|limit| *limit > 0)))
            (number(row.scur))
            (number(row.smax))
            td { (limit(row.slim)) }
            (number(row.stot))
            (number(row.lbtot))
            td { (last_session(row)) }
            (bytes(row.bin))
            (bytes(row.bout))
            (number(row.dreq))
            (number(row.dresp))
            (number(row.ereq))
            (number(row.econ))
            (number(row.eresp))
            (number(row.wretr))
            (number(row.wredis))
            td { (status(row)) }
            td title=[row.last_chk.as_deref()] { (last_check(row)) }
            (number(row.weight))
            @if is_server { td { (mark(row.act)) } } @else { (number(row.act)) }
            @if is_server { td { (mark(row.bck)) } } @else { (number(row.bck)) }
            (number(row.chkfail))
            (number(row.chkdown))
            (cell(row.downtime, format::time))
            td { @if is_server { (row.throttle.map_or_else(|| "-".to_owned(), |t| format!("{t} %"))) } }
        }
    }
}

/// `Y` or `-`, as HAProxy tells an ordinary server from a backup.
fn mark(value: Option<u64>) -> &'static str {
    if value == Some(1) { "Y" } else { "-" }
}

/// `6s UP`.
fn status(row: &Row) -> String {
    let status = text(row.status.as_deref());
    match row.lastchg {
        Some(seconds) if status != "no check" => format!("{} {status}", format::time(seconds)),
        _ => status.to_owned(),
    }
}

/// `L7OK/200 in 0ms`.
fn last_check(row: &Row) -> String {
    let Some(status) = row.check_status.as_deref() else {
        let via = row.tracked.as_deref();
        return via.map_or_else(String::new, |via| format!("via {via}"));
    };
    let code = row
        .check_code
        .map(|code| format!("/{code}"))
        .unwrap_or_default();
    let took = row
        .check_duration
        .map(|took| format!(" in {took}ms"))
        .unwrap_or_default();
    format!("{status}{code}{took}")
}

fn last_session(row: &Row) -> String {
    match row.lastsess.map(u64::try_from) {
        Some(Ok(seconds)) => format::time(seconds),
        Some(Err(_)) => "?".to_owned(),
        None => String::new(),
    }
}

pub(super) fn is_down(row: &Row) -> bool {
    row.status.as_deref() == Some("DOWN")
}

/// HAProxy's colours of state.
pub(super) fn state_class(row: &Row) -> &'static str {
    let status = text(row.status.as_deref());
    let backup = row.bck == Some(1);
    match status {
        _ if status.starts_with("MAINT") => "maint",
        "DOWN" => "down",
        "no check" => "nocheck",
        "UP" if backup => "backup",
        "UP" => "up",
        _ if status.starts_with("DOWN ") => "going-up",
        _ if status.starts_with("UP ") => "going-down",
        _ if status.starts_with("DRAIN") => "drain",
        _ => "nocheck",
    }
}

pub(super) fn text(value: Option<&str>) -> &str {
    value.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(status: &'static str) -> Row {
        Row {
            status: Some(status.into()),
            bck: Some(0),
            lastchg: Some(6),
            ..Row::default()
        }
    }

    #[test]
    fn states_have_haproxys_colours() {
        for (status, class) in [
            ("UP", "up"),
            ("UP 1/3", "going-down"),
            ("DOWN", "down"),
            ("DOWN 1/2", "going-up"),
            ("DRAIN", "drain"),
            ("DRAIN 2/3", "drain"),
            ("MAINT", "maint"),
            ("no check", "nocheck"),
        ] {
            assert_eq!(state_class(&server(status)), class, "{status}");
        }
    }

    #[test]
    fn cells_read_as_haproxys() {
        let mut row = server("UP");
        assert_eq!(status(&row), "6s UP");
        row.check_status = Some("L7OK".into());
        row.check_code = Some(200);
        row.check_duration = Some(0);
        assert_eq!(last_check(&row), "L7OK/200 in 0ms");
        assert_eq!(status(&server("no check")), "no check");
    }
}
