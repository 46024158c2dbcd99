//! The part of the page about the in-kernel path.

use maud::{Markup, html};

use super::format;
use crate::observe::path::{CounterKind, PathStatus};

/// The in-kernel path: where it is attached, how full its flow table is, what it dropped or passed up and why.
pub(super) fn section(path: &PathStatus) -> Markup {
    let groups = [
        (CounterKind::Dropped, "Dropped in the kernel"),
        (CounterKind::PassedUp, "Passed up to the host"),
        (CounterKind::Answered, "Answered by the kernel"),
    ];
    html! {
        section.kernel aria-labelledby="kernel" {
            h2 #kernel { "In-kernel path" }
            @if path.interfaces.is_empty() && path.program.is_none() {
                p.quiet { "Not in use: userspace serves every frontend." }
            } @else if path.idle {
                p.quiet { "Idle: no frontend is for it, and no interface has its program." }
            } @else {
                div.panels {
                    (interfaces(path))
                    (flows(path))
                    @for (kind, title) in groups {
                        (reasons(path, kind, title))
                    }
                }
            }
        }
    }
}

fn interfaces(path: &PathStatus) -> Markup {
    html! {
        div.panel {
            h3 { "Interfaces" }
            ul {
                @for interface in &path.interfaces {
                    li {
                        b { (interface.name) } " "
                        span.tag.none[interface.attach == "none"] { (interface.attach) }
                        @if !interface.reason.is_empty() { " " span.quiet { (interface.reason) } }
                    }
                }
            }
            @if let Some(program) = &path.program {
                p.quiet { "Program " (program) }
            }
        }
    }
}

fn flows(path: &PathStatus) -> Markup {
    let share = path
        .flows
        .saturating_mul(100)
        .checked_div(path.max_flows)
        .unwrap_or(0);
    html! {
        div.panel {
            h3 { "Flow table" }
            p.amount { (format::number(path.flows)) span.quiet { " of " (format::number(path.max_flows)) } }
            // Admission of new flows stops at 95 %.
            meter min="0" max=(path.max_flows.max(1)) high=(path.max_flows / 100 * 80) value=(path.flows)
                aria-label="Flow table fill" { (share) " %" }
            p.quiet { (share) " % full, " (path.memory >> 20) " MiB of kernel memory" }
        }
    }
}

fn reasons(path: &PathStatus, kind: CounterKind, title: &str) -> Markup {
    let counters: Vec<_> = path
        .counters
        .iter()
        .filter(|counter| counter.kind == kind && counter.value > 0)
        .collect();
    html! {
        div.panel {
            h3 { (title) }
            @if counters.is_empty() {
                p.quiet { "Nothing so far." }
            } @else {
                table.reasons {
                    tbody {
                        @for counter in counters {
                            tr title=(counter.help) {
                                th scope="row" { (counter.name.replace('_', " ")) }
                                td { (format::number(counter.value)) }
                            }
                        }
                    }
                }
            }
        }
    }
}
