//! A table per proxy, in HAProxy's columns.

use maud::{Markup, html};

use super::format;
use crate::observe::{
    path::PathKind,
    stats::{
        row::Row,
        snapshot::{BackendStats, FrontendStats, KernelShare, Snapshot},
    },
};

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

/// All proxies.
pub(super) fn section(snapshot: &Snapshot) -> Markup {
    html! {
        @for frontend in &snapshot.frontends { (self::frontend(frontend)) }
        @for backend in &snapshot.backends { (self::backend(backend)) }
    }
}

fn frontend(frontend: &FrontendStats) -> Markup {
    let row = &frontend.row;
    let caption = html! {
        span.kind { "frontend" } " " b { (text(row.pxname.as_deref())) }
        " " span.tag { (text(row.mode.as_deref())) }
        " " span.tag.kernel[frontend.path != PathKind::Userspace] title=(frontend.path_reason) {
            (frontend.path.name())
        }
        " " span.quiet {
            (frontend.path_reason)
            @if !frontend.binds.is_empty() { " · " (frontend.binds.join(", ")) }
            (kernel_share(row, &frontend.kernel))
        }
    };
    proxy(&caption, html! { (line("Frontend", "frontend", row)) })
}

fn backend(backend: &BackendStats) -> Markup {
    let row = &backend.own.row;
    let caption = html! {
        span.kind { "backend" } " " b { (text(row.pxname.as_deref())) }
        " " span.tag { (text(row.mode.as_deref())) }
        " " span.quiet {
            (text(row.algo.as_deref()))
            @if let Some(forward) = &backend.forward { " · " (forward) }
            @if let Some(cookie) = &row.cookie { " · cookie " (cookie) }
            (kernel_share(row, &backend.own.kernel))
        }
    };
    let rows = html! {
        @for server in &backend.servers {
            (line(text(server.row.svname.as_deref()), state_class(&server.row), &server.row))
        }
        (line("Backend", if is_down(row) { "backend down" } else { "backend" }, row))
    };
    proxy(&caption, rows)
}

/// What part of the sessions the kernel carried, where it carried any.
fn kernel_share(row: &Row, kernel: &KernelShare) -> String {
    let all = row.stot.unwrap_or(0);
    match (kernel.connections * 100).checked_div(all) {
        Some(share) if kernel.connections > 0 => {
            format!(" · kernel carried {share} % of sessions")
        }
        _ => String::new(),
    }
}

fn proxy(caption: &Markup, rows: Markup) -> Markup {
    html! {
        div.proxy tabindex="0" {
            table.stats {
                caption { (caption) }
                thead {
                    tr {
                        td {}
                        @for (group, columns) in GROUPS { th colspan=(columns.len()) scope="colgroup" { (group) } }
                    }
                    tr {
                        td {}
                        @for (_, columns) in GROUPS { @for column in *columns { th scope="col" { (column) } } }
                    }
                }
                tbody { (rows) }
            }
        }
    }
}

fn line(name: &str, class: &str, row: &Row) -> Markup {
    let number = |value: Option<u64>| value.map(format::number).unwrap_or_default();
    let bytes = |value: Option<u64>| value.map(format::bytes).unwrap_or_default();
    // A server's queue and session limit of nothing reads as HAProxy's dash.
    let limit = |value: Option<u64>| value.map_or_else(|| "-".to_owned(), format::number);
    let is_server = row.r#type == Some(2);
    html! {
        tr class=(class) {
            th scope="row" {
                i.dot {} (name)
                @if let (true, Some(address)) = (is_server, &row.addr) { small { (address) } }
            }
            td { (number(row.qcur)) }
            td { (number(row.qmax)) }
            td { @if is_server { (limit(row.qlimit)) } }
            td { (number(row.rate)) }
            td { (number(row.rate_max)) }
            td { @if row.rate_lim.is_some_and(|limit| limit > 0) { (number(row.rate_lim)) } }
            td { (number(row.scur)) }
            td { (number(row.smax)) }
            td { (limit(row.slim)) }
            td { (number(row.stot)) }
            td { (number(row.lbtot)) }
            td { (last_session(row)) }
            td { (bytes(row.bin)) }
            td { (bytes(row.bout)) }
            td { (number(row.dreq)) }
            td { (number(row.dresp)) }
            td { (number(row.ereq)) }
            td { (number(row.econ)) }
            td { (number(row.eresp)) }
            td { (number(row.wretr)) }
            td { (number(row.wredis)) }
            td { (status(row)) }
            td title=[row.last_chk.as_deref()] { (last_check(row)) }
            td { (number(row.weight)) }
            td { @if is_server { (mark(row.act)) } @else { (number(row.act)) } }
            td { @if is_server { (mark(row.bck)) } @else { (number(row.bck)) } }
            td { (number(row.chkfail)) }
            td { (number(row.chkdown)) }
            td { (row.downtime.map(format::time).unwrap_or_default()) }
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
        return String::new();
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

fn is_down(row: &Row) -> bool {
    row.status.as_deref() == Some("DOWN")
}

/// HAProxy's colours of state.
fn state_class(row: &Row) -> &'static str {
    let status = text(row.status.as_deref());
    let backup = row.bck == Some(1);
    match status {
        "MAINT" => "maint",
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

fn text(value: Option<&str>) -> &str {
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
