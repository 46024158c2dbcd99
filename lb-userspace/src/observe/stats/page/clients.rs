//! The part of the page about clients.

use maud::{Markup, html};

use super::format;
use crate::observe::stats::top::Clients;

/// Who asks most, a table for each source; nothing where nobody knows.
pub(super) fn section(sources: &[Clients]) -> Markup {
    html! {
        section.clients aria-labelledby="clients" {
            h2 #clients { "Top clients" }
            @if sources.is_empty() {
                p.quiet { "Nobody counts them: a stick table of addresses, or the kernel path's flows, would show here." }
            } @else {
                div.panels { @for source in sources { (panel(source)) } }
            }
        }
    }
}

fn panel(source: &Clients) -> Markup {
    html! {
        div.panel {
            h3 { (source.source) }
            table.reasons {
                thead {
                    tr {
                        th scope="col" { "Client" }
                        @for column in &source.columns { th scope="col" { (words(column)) } }
                    }
                }
                tbody {
                    @for client in &source.clients {
                        tr {
                            th scope="row" { (client.address) }
                            @for (value, column) in client.values.iter().zip(&source.columns) { td { (shown(*value, column)) } }
                        }
                    }
                }
            }
            p.quiet {
                (format::number(source.known as u64)) " known"
                @if source.more { ", more were not looked at" }
            }
        }
    }
}

/// `http req rate, 10s`
fn words(column: &str) -> String {
    let (name, period) = match column.split_once('(') {
        Some((name, rest)) => (name, rest.strip_suffix(')')),
        None => (column, None),
    };
    let period = period.and_then(|period| period.parse::<u64>().ok());
    let name = name.replace('_', " ");
    match period {
        Some(millis) => format!("{name}, {}", format::time(millis / 1000)),
        None => name,
    }
}

fn shown(value: u64, column: &str) -> String {
    match column {
        column if column.starts_with("bytes_") => format::bytes(value),
        column if column.starts_with("kbytes_") => format::bytes(value.saturating_mul(1024)),
        _ => format::number(value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_read_as_words() {
        assert_eq!(words("http_req_rate(10000)"), "http req rate, 10s");
        assert_eq!(words("conn_cur"), "conn cur");
    }
}
