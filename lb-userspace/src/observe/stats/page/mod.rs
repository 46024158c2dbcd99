//! The HTML page: complete without JavaScript, without any outside asset. With JavaScript it follows what happens: the
//! script asks for the live part every now and then and changes what has changed.

mod clients;
mod curve;
mod fast_path;
mod format;
mod proxy;
mod table;
mod view;

use std::{sync::LazyLock, time::Duration};

use base64::{Engine, engine::general_purpose::STANDARD};
use maud::{DOCTYPE, Markup, PreEscaped, html};
use sha2::{Digest, Sha256};

use super::snapshot::{ProcessFacts, Snapshot};
use crate::config::model::Shows;

pub use view::{Told, View};

const STYLE: &str = include_str!("style.css");
const SCRIPT: &str = include_str!("script.js");

/// The page needs nothing but its own style and script, which are named by what is in them.
pub static CONTENT_SECURITY_POLICY: LazyLock<String> = LazyLock::new(|| {
    let hash = |text: &str| STANDARD.encode(Sha256::digest(text.as_bytes()));
    format!(
        "default-src 'none'; style-src 'sha256-{}'; script-src 'sha256-{}'; connect-src 'self'; img-src data:; \
         form-action 'self'; base-uri 'none'; frame-ancestors 'self'",
        hash(STYLE),
        hash(SCRIPT)
    )
});

/// Where the page is, and what may be done there.
#[derive(Debug, Clone, Copy)]
pub struct Page<'a> {
    /// Its path.
    pub uri: &'a str,
    /// How often a browser without JavaScript asks again.
    pub refresh: Option<Duration>,
    /// What the reader wants to see.
    pub view: &'a View,
    /// What it says of itself.
    pub shows: &'a Shows,
    /// What a change of servers has to bring along; `None` where nothing may be changed.
    pub token: Option<&'a str>,
}

/// The page of `snapshot`.
pub fn render(snapshot: &Snapshot, page: &Page<'_>) -> String {
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
            body data-live=(page.view.link(page.uri, ";live")) {
                a.skip href="#proxies" { "Skip to the proxies" }
                header {
                    (facts(&snapshot.process, page))
                    (links(page))
                }
                (toolbar(page))
                @if let Some(told) = page.view.told {
                    p.told.bad[!told.is_good()] role="status" { (told.text()) }
                }
                (live(snapshot, page))
                (legend())
                script { (PreEscaped(SCRIPT)) }
            }
        }
    }
    .into_string()
}

/// What changes of the page: what its script asks for.
pub fn fragment(snapshot: &Snapshot, page: &Page<'_>) -> String {
    html! { (facts(&snapshot.process, page)) (live(snapshot, page)) }.into_string()
}

fn live(snapshot: &Snapshot, page: &Page<'_>) -> Markup {
    html! {
        main #live {
            (overview(snapshot))
            section aria-labelledby="proxies" {
                h2 #proxies tabindex="-1" { "Proxies" }
                (proxy::all(snapshot, page))
            }
            (fast_path::section(&snapshot.path))
            (clients::section(&snapshot.clients))
        }
    }
}

fn facts(process: &ProcessFacts, page: &Page<'_>) -> Markup {
    html! {
        div #facts {
            h1 {
                span.mark { "lb" } " " (process.version)
                " " small { "on " (process.node) }
                @if process.stopping { strong.stopping { "stopping" } }
            }
            @if let Some(description) = &page.shows.description { p.about { (description) } }
            dl {
                (fact("Process", &process.pid.to_string()))
                (fact("Up", &format::time(process.uptime)))
                (fact("Threads", &process.threads.to_string()))
                @let limit = process.maxconn.map(|max| format!(" of {}", format::number(max.into())));
                (fact("Connections", &(format::number(process.current_connections) + &limit.unwrap_or_default())))
                @if process.log.lost() > 0 {
                    (fact("Log lines lost", &format::number(process.log.lost())))
                }
            }
        }
    }
}

fn fact(name: &str, value: &str) -> Markup {
    html! { div { dt { (name) } " " dd { (value) } } }
}

fn links(page: &Page<'_>) -> Markup {
    let uri = page.uri;
    html! {
        nav aria-label="Other forms" {
            a href={ (uri) ";csv;norefresh" } { "CSV" }
            a href={ (uri) ";json;norefresh" } { "JSON" }
            a href="/metrics" { "Metrics" }
            @if let Some(refresh) = page.refresh {
                a.plain href=(page.view.link(uri, ";norefresh")) { "Stop refreshing (" (refresh.as_secs()) "s)" }
            } @else {
                a.plain href=(uri) { "Refresh" }
            }
        }
    }
}

/// What the reader wants to see. Whatever needs the script is shown by it.
fn toolbar(page: &Page<'_>) -> Markup {
    let scope = page.view.scope.as_deref();
    // A form's own query would take the place of the one that the uri has.
    let field = !page.uri.contains('?');
    html! {
        form #tools role="search" action=(page.uri) method="get" {
            @if field {
                label { span { "Filter" } " " input #filter name="scope" type="search" value=[scope] placeholder="name or address" autocomplete="off"; }
            } @else {
                label.scripted hidden { span { "Filter" } " " input #filter type="search" placeholder="name or address" autocomplete="off"; }
            }
            label.scripted hidden {
                span { "Servers" } " "
                select #states {
                    option value="" { "all" }
                    option value="bad" { "in trouble" }
                    option value="good" { "well" }
                }
            }
            fieldset {
                legend { "Curves" }
                label { input name="range" type="radio" value="recent" checked form="none"; " 5 min" }
                label { input #range-hour name="range" type="radio" value="hour" form="none"; " 60 min" }
            }
            div.buttons.scripted hidden {
                button #fold type="button" { "Collapse all" }
                button #pause type="button" aria-pressed="false" { "Pause" }
                output #state {}
            }
        }
    }
}

/// The sum of all, and how servers are.
fn overview(snapshot: &Snapshot) -> Markup {
    let http = snapshot
        .frontends
        .iter()
        .any(|frontend| frontend.row.mode.as_deref() == Some("http"));
    let servers = snapshot
        .backends
        .iter()
        .flat_map(|backend| &backend.servers);
    let mut counts = [0_u64; STATES.len()];
    for server in servers {
        let class = table::state_class(&server.row);
        let place = STATES.iter().position(|(known, _)| *known == class);
        if let Some(count) = place.and_then(|place| counts.get_mut(place)) {
            *count += 1;
        }
    }
    html! {
        section.overview aria-label="Overview" {
            @if let Some(curves) = &snapshot.history {
                (curve::figures(curves, &[curve::arrived(http), curve::SESSIONS, curve::ERRORS]))
            }
            div.tally {
                h2 { "Servers" }
                ul {
                    @for ((class, text), count) in STATES.iter().zip(counts) {
                        @if count > 0 { li { i.dot.(class) {} b { (format::number(count)) } " " (text) } }
                    }
                    @if counts.iter().all(|count| *count == 0) { li.quiet { "none" } }
                }
            }
        }
    }
}

/// Classes of states, and what each is in words.
const STATES: [(&str, &str); 8] = [
    ("up", "up"),
    ("backup", "backup, up"),
    ("nocheck", "not checked"),
    ("going-down", "up, going down"),
    ("going-up", "down, going up"),
    ("down", "down"),
    ("drain", "drain or weight 0"),
    ("maint", "maintenance"),
];

fn legend() -> Markup {
    html! {
        footer {
            h2 { "Colours" }
            ul.legend {
                @for (class, text) in STATES {
                    li { i.dot.(class) {} (text) }
                }
            }
        }
    }
}
