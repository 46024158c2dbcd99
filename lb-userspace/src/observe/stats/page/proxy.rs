//! A proxy: what it is, its curves, its table, and what may be done to its servers.

use maud::{Markup, html};

use super::{Page, curve, format, table};
use crate::observe::{
    path::PathKind,
    stats::{
        row::Row,
        snapshot::{BackendStats, FrontendStats, KernelShare, Snapshot},
    },
};

/// Rows that a table of servers has at first; the script shows more as the reader comes near its end. To draw a thousand takes
/// browsers over a second.
const AT_ONCE: usize = 100;

/// All proxies that are wanted.
pub(super) fn all(snapshot: &Snapshot, page: &Page<'_>) -> Markup {
    let wanted = |row: &Row| page.view.wants_proxy(table::text(row.pxname.as_deref()));
    html! {
        @for frontend in snapshot.frontends.iter().filter(|frontend| wanted(&frontend.row)) {
            (self::frontend(frontend))
        }
        @for backend in snapshot.backends.iter().filter(|backend| wanted(&backend.own.row)) {
            (self::backend(backend, page))
        }
    }
}

fn frontend(frontend: &FrontendStats) -> Markup {
    let row = &frontend.row;
    let name = table::text(row.pxname.as_deref());
    let http = row.mode.as_deref() == Some("http");
    let status = table::text(row.status.as_deref());
    let open = status == "OPEN";
    html! {
        details.proxy open id={ "f-" (name) } data-state=(if open { "good" } else { "bad" }) {
            summary {
                h3 { span.kind { "frontend" } " " (name) }
                " " span.tag.good[open].bad[!open] { (status) }
                " " span.tag { (table::text(row.mode.as_deref())) }
                " " span.tag.kernel[frontend.path != PathKind::Userspace] { (frontend.path.name()) }
                (brief(row))
            }
            p.about {
                span.reason { (frontend.path_reason) }
                @if !frontend.binds.is_empty() { " · " (frontend.binds.join(", ")) }
                (kernel_share(row, &frontend.kernel))
            }
            @if let Some(curves) = &frontend.history {
                (curve::figures(curves, &[curve::arrived(http), curve::SESSIONS, curve::ERRORS]))
            }
            (table::table(name, html! { (table::line("Frontend", "frontend", row, None)) }))
        }
    }
}

fn backend(backend: &BackendStats, page: &Page<'_>) -> Markup {
    let row = &backend.own.row;
    let name = table::text(row.pxname.as_deref());
    let http = row.mode.as_deref() == Some("http");
    let down = table::is_down(row);
    let up = row.act.unwrap_or(0) + row.bck.unwrap_or(0);
    let all = backend.servers.len() as u64;
    let admin = page.token.filter(|_| all > 0);
    let servers = backend
        .servers
        .iter()
        .map(|server| &server.row)
        .filter(|row| page.view.wants_server(table::text(row.status.as_deref())));
    let rows = html! {
        @for (at, row) in servers.enumerate() {
            @let class = table::state_class(row);
            @let class = if at < AT_ONCE { class.to_owned() } else { format!("{class} later") };
            (table::line(table::text(row.svname.as_deref()), &class, row, admin.map(|_| name)))
        }
        (table::line("Backend", if down { "backend down" } else { "backend" }, row, None))
    };
    html! {
        details.proxy open id={ "b-" (name) } data-state=(if down { "bad" } else { "good" }) {
            summary {
                h3 { span.kind { "backend" } " " (name) }
                " " span.tag.good[!down].bad[down] { (table::text(row.status.as_deref())) }
                @if all > 0 { " " span.tag.some[up < all && !down] { (up) " of " (all) " up" } }
                " " span.tag { (table::text(row.mode.as_deref())) }
                (brief(row))
            }
            p.about {
                (table::text(row.algo.as_deref()))
                @if let Some(forward) = &backend.forward { " · " (forward) }
                @if let Some(cookie) = &row.cookie { " · cookie " (cookie) }
                (kernel_share(row, &backend.own.kernel))
            }
            @if let Some(curves) = &backend.history {
                (curve::figures(
                    curves,
                    &[curve::arrived(http), curve::SESSIONS, curve::ERRORS, curve::latency(http)],
                ))
            }
            @if let Some(token) = admin {
                form.admin method="post" action=(page.uri) {
                    input type="hidden" name="b" value=(name);
                    input type="hidden" name="token" value=(token);
                    (table::table(name, rows))
                    (rest(backend.servers.len()))
                    (actions(name))
                }
            } @else {
                (table::table(name, rows))
                (rest(backend.servers.len()))
            }
        }
    }
}

/// Where rows are left out until the reader comes there, what shows them all; the script says how many.
fn rest(servers: usize) -> Markup {
    html! {
        @if servers > AT_ONCE { p.rest hidden data-first=(AT_ONCE) { button type="button" {} } }
    }
}

/// What may be done to the servers that are chosen. Enter in the field sets the weight: its button comes first.
fn actions(name: &str) -> Markup {
    html! {
        fieldset.actions {
            legend { "Chosen servers of " (name) }
            label { "Weight " input name="weight" type="text" inputmode="numeric" size="5" maxlength="4" placeholder="0–256" autocomplete="off"; }
            " " button name="action" value="weight" { "Set weight" }
            " " button name="action" value="ready" { "Ready" }
            " " button name="action" value="drain" { "Drain" }
            " " button name="action" value="maint" { "Maintenance" }
        }
    }
}

/// What one wants to know of a proxy that is folded.
fn brief(row: &Row) -> Markup {
    html! {
        span.brief {
            (format::number(row.scur.unwrap_or(0))) " now · " (format::number(row.stot.unwrap_or(0))) " in all"
        }
    }
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
