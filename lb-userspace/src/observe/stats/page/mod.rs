//! The HTML page: complete without JavaScript, without any outside asset.

mod fast_path;
mod format;
mod table;

use std::time::Duration;

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::snapshot::{ProcessFacts, Snapshot};

/// The page needs nothing but its own style.
pub const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; frame-ancestors 'self'";

const STYLE: &str = include_str!("style.css");

/// The page of `snapshot` where it is served at `uri`, asking again every `refresh`.
pub fn render(snapshot: &Snapshot, uri: &str, refresh: Option<Duration>) -> String {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                link rel="icon" href="data:,";
                title { (snapshot.process.node) " · lb statistics" }
                style { (PreEscaped(STYLE)) }
            }
            body {
                (head(&snapshot.process, uri, refresh))
                main {
                    (fast_path::section(&snapshot.path))
                    (table::section(snapshot))
                }
                (legend())
            }
        }
    }
    .into_string()
}

fn head(process: &ProcessFacts, uri: &str, refresh: Option<Duration>) -> Markup {
    html! {
        header {
            h1 {
                span.mark { "lb" } " " (process.version)
                small { "on " (process.node) }
                @if process.stopping { strong.stopping { "stopping" } }
            }
            dl.facts {
                (fact("Process", &process.pid.to_string()))
                (fact("Up", &format::time(process.uptime)))
                (fact("Threads", &process.threads.to_string()))
                (fact("Connections", &format::number(process.current_connections)))
                @if let Some(max) = process.maxconn {
                    (fact("Limit", &format::number(max.into())))
                }
                @if process.log.dropped > 0 {
                    (fact("Log lines lost", &format::number(process.log.dropped)))
                }
            }
            nav aria-label="Other forms" {
                a href={ (uri) ";csv;norefresh" } { "CSV" }
                a href={ (uri) ";json;norefresh" } { "JSON" }
                a href="/metrics" { "Metrics" }
                @if let Some(refresh) = refresh {
                    a href={ (uri) ";norefresh" } { "Stop refreshing (" (refresh.as_secs()) "s)" }
                } @else {
                    a href=(uri) { "Refresh" }
                }
            }
        }
    }
}

fn fact(name: &str, value: &str) -> Markup {
    html! { div { dt { (name) } dd { (value) } } }
}

fn legend() -> Markup {
    let states = [
        ("up", "up"),
        ("going-down", "up, going down"),
        ("going-up", "down, going up"),
        ("down", "down"),
        ("drain", "drain or weight 0"),
        ("maint", "maintenance"),
        ("nocheck", "not checked"),
        ("backup", "backup, up"),
    ];
    html! {
        footer {
            h2 { "Colours" }
            ul.legend {
                @for (class, text) in states {
                    li { i.dot.(class) {} (text) }
                }
            }
        }
    }
}
