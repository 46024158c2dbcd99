//! Small curves of the last minutes and the last hour, as inline SVG.

use std::fmt::Write;

use maud::{Markup, html};

use super::format;
use crate::observe::stats::history::{Curve, Curves};

/// Units that a curve is high.
const HEIGHT: u64 = 40;

/// What a curve is about.
#[derive(Debug, Clone, Copy)]
pub(super) struct About {
    /// What it is called.
    pub(super) name: &'static str,
    /// What follows its numbers.
    pub(super) unit: &'static str,
    /// Its colour.
    pub(super) class: &'static str,
    /// Its points, as they are shown.
    pub(super) points: fn(&Curve) -> Vec<Option<u64>>,
}

/// Events a second, in tenths.
fn rate(events: &[u32], step: u32) -> Vec<Option<u64>> {
    let tenths = |n: &u32| Some(u64::from(*n) * 10 / u64::from(step.max(1)));
    events.iter().map(tenths).collect()
}

/// How many there were at a time, or how long it took.
fn whole(values: &[u32]) -> Vec<Option<u64>> {
    values.iter().map(|n| Some(u64::from(*n) * 10)).collect()
}

/// Requests or connections a second.
pub(super) fn arrived(http: bool) -> About {
    About {
        name: if http { "Requests" } else { "Connections" },
        unit: "/s",
        class: "rate",
        points: |curve| rate(&curve.arrived, curve.step),
    }
}

/// Sessions at a time.
pub(super) const SESSIONS: About = About {
    name: "Sessions",
    unit: "",
    class: "sessions",
    points: |curve| whole(&curve.sessions),
};

/// Errors a second.
pub(super) const ERRORS: About = About {
    name: "Errors",
    unit: "/s",
    class: "errors",
    points: |curve| rate(&curve.errors, curve.step),
};

/// How long servers take.
pub(super) fn latency(http: bool) -> About {
    About {
        name: if http { "Response" } else { "Connect" },
        unit: " ms",
        class: "latency",
        points: |curve| {
            let tenths = |millis: &Option<u32>| millis.map(|n| u64::from(n) * 10);
            curve.latency_ms.iter().map(tenths).collect()
        },
    }
}

/// A figure for each range; which of them is seen is the reader's choice.
pub(super) fn figures(curves: &Curves, all: &[About]) -> Markup {
    html! {
        div.curves {
            @for about in all {
                (figure(about, &curves.recent, "recent", "last 5 minutes"))
                (figure(about, &curves.hour, "hour", "last hour"))
            }
        }
    }
}

fn figure(about: &About, curve: &Curve, range: &str, words: &str) -> Markup {
    let points = (about.points)(curve);
    let most = points.iter().flatten().copied().max().unwrap_or(0);
    let now = points.last().copied().flatten();
    let unit = about.unit;
    let now = now.map_or_else(|| "–".to_owned(), |now| format::tenths(now) + unit);
    let label = format!(
        "{}, {words}: now {now}, most {}{unit}",
        about.name,
        format::tenths(most)
    );
    html! {
        figure.(about.class).(range) {
            figcaption { (about.name) " " b { (now) } @if most > 0 { " " small { "max " (format::tenths(most)) } } }
            svg viewBox={ "0 0 " (curve.length) " " (HEIGHT) } preserveAspectRatio="none" role="img" aria-label=(label) {
                path d=(path(&points, curve.length, most)) {}
            }
        }
    }
}

/// Steps, the newest at the right edge; where nothing is known there is nothing.
fn path(points: &[Option<u64>], length: usize, most: u64) -> String {
    let height = |value: u64| {
        let up = (value * (HEIGHT - 2)).checked_div(most).unwrap_or(0);
        HEIGHT - 1 - up
    };
    // Below the edge, where it is not seen.
    let floor = HEIGHT + 3;
    let mut out = String::new();
    let mut x = length.saturating_sub(points.len());
    let mut at: Option<u64> = None;
    for (place, point) in points.iter().enumerate() {
        let next = point.map(height);
        // A String takes everything.
        let _ = match (at, next) {
            (None, Some(y)) => write!(out, "M{x} {floor}V{y}"),
            (Some(before), Some(y)) if before != y => write!(out, "H{x}V{y}"),
            (Some(_), None) => write!(out, "H{x}V{floor}"),
            _ => Ok(()),
        };
        at = next;
        x += 1;
        if place + 1 == points.len() && at.is_some() {
            let _ = write!(out, "H{x}V{floor}");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_has_a_step_for_each_change_and_gaps_where_nothing_is_known() {
        let points = [Some(0), Some(0), Some(10), None, Some(5)];
        assert_eq!(
            path(&points, 10, 10),
            "M5 43V39H7V1H8V43M9 43V20H10V43",
            "it ends at the right"
        );
        assert_eq!(path(&[], 10, 0), "");
    }

    #[test]
    fn a_figure_says_in_words_what_it_shows() {
        let curve = Curve {
            step: 3,
            length: 100,
            arrived: vec![3, 37],
            ..Curve::default()
        };
        let figure = figure(&arrived(true), &curve, "recent", "last 5 minutes").into_string();
        let words = "Requests, last 5 minutes: now 12.3/s, most 12.3/s";
        assert!(figure.contains(words), "{figure}");
    }
}
