//! How families and samples are written down.

use std::fmt::{self, Write};

/// In which of the two forms.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Format {
    /// Prometheus' own text.
    #[default]
    Text,
    /// OpenMetrics: a counter's family has no `_total`, and there is an end.
    OpenMetrics,
}

impl Format {
    /// Its media type.
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// What a family is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Counter,
    Gauge,
    Histogram,
    /// A constant whose labels say something.
    Info,
}

impl Kind {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
            Self::Info => "info",
        }
    }
}

/// A number in the unit that its family has.
#[derive(Debug, Clone, Copy)]
pub(super) enum Value {
    Whole(u64),
    Signed(i64),
    /// Written in seconds.
    Millis(u64),
    /// Written in seconds.
    Micros(u64),
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Whole(n) => write!(f, "{n}"),
            Self::Signed(n) => write!(f, "{n}"),
            Self::Millis(n) => write!(f, "{}.{:03}", n / 1000, n % 1000),
            Self::Micros(n) => write!(f, "{}.{:06}", n / 1_000_000, n % 1_000_000),
        }
    }
}

/// Labels as they stand between the braces. Made once for all samples that have them.
#[derive(Debug, Clone, Default)]
pub(super) struct Labels(String);

impl Labels {
    pub(super) fn new(labels: &[(&str, &str)]) -> Self {
        let mut text = String::new();
        for (i, (label, value)) in labels.iter().enumerate() {
            if i > 0 {
                text.push(',');
            }
            text.push_str(label);
            text.push_str("=\"");
            for c in value.chars() {
                match c {
                    '\\' => text.push_str("\\\\"),
                    '"' => text.push_str("\\\""),
                    '\n' => text.push_str("\\n"),
                    c => text.push(c),
                }
            }
            text.push('"');
        }
        Self(text)
    }
}

/// A text in the making.
#[derive(Debug)]
pub(super) struct Encoder {
    out: String,
    format: Format,
}

impl Encoder {
    pub(super) fn new(format: Format, capacity: usize) -> Self {
        Self {
            out: String::with_capacity(capacity),
            format,
        }
    }

    /// Begins a family. All of its samples follow.
    pub(super) fn family(&mut self, name: &str, kind: Kind, help: &str) {
        let (name, kind) = match (self.format, kind) {
            (Format::OpenMetrics, Kind::Counter) => {
                (name.strip_suffix("_total").unwrap_or(name), kind.name())
            }
            (Format::OpenMetrics, Kind::Info) => {
                (name.strip_suffix("_info").unwrap_or(name), kind.name())
            }
            // The text format knows no info.
            (Format::Text, Kind::Info) => (name, Kind::Gauge.name()),
            _ => (name, kind.name()),
        };
        // A String takes everything. Help is ours, and has neither line ends nor backslashes.
        let _ = writeln!(self.out, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    /// A sample with these labels.
    pub(super) fn sample(&mut self, name: &str, labels: &Labels, value: Value) {
        self.parts(&[name], &[&labels.0], value);
    }

    /// A sample with these labels and more, which are ours and written as they stand between the braces.
    pub(super) fn sample_with(&mut self, name: &str, labels: &Labels, more: &str, value: Value) {
        self.parts(&[name], &[&labels.0, more], value);
    }

    /// A sample of a family's part, such as a bucket.
    pub(super) fn part(
        &mut self,
        (name, suffix): (&str, &str),
        labels: &Labels,
        more: &[&str],
        value: Value,
    ) {
        match *more {
            [] => self.parts(&[name, suffix], &[&labels.0], value),
            [one] => self.parts(&[name, suffix], &[&labels.0, one], value),
            [one, two, ..] => self.parts(&[name, suffix], &[&labels.0, one, two], value),
        }
    }

    fn parts(&mut self, name: &[&str], labels: &[&str], value: Value) {
        for part in name {
            self.out.push_str(part);
        }
        let mut open = false;
        for label in labels.iter().filter(|label| !label.is_empty()) {
            self.out.push(if open { ',' } else { '{' });
            self.out.push_str(label);
            open = true;
        }
        if open {
            self.out.push('}');
        }
        let _ = writeln!(self.out, " {value}");
    }

    /// The whole of it.
    pub(super) fn finish(mut self) -> String {
        if self.format == Format::OpenMetrics {
            self.out.push_str("# EOF\n");
        }
        self.out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn label_values_are_escaped() {
        let mut out = Encoder::new(Format::Text, 0);
        let labels = Labels::new(&[("a", "q\"b\\c\nd")]);
        out.sample("x", &labels, Value::Millis(1500));
        out.part(("x", "_bucket"), &labels, &["le=\"1.0\""], Value::Micros(7));
        out.sample("y", &Labels::default(), Value::Whole(1));
        assert_eq!(
            out.finish(),
            "x{a=\"q\\\"b\\\\c\\nd\"} 1.500\nx_bucket{a=\"q\\\"b\\\\c\\nd\",le=\"1.0\"} 0.000007\ny 1\n"
        );
    }

    #[test]
    fn openmetrics_has_the_total_in_samples_alone_and_an_end() {
        let write = |format| {
            let mut out = Encoder::new(format, 0);
            out.family("lb_x_total", Kind::Counter, "X.");
            out.sample("lb_x_total", &Labels::default(), Value::Whole(1));
            out.family("lb_build_info", Kind::Info, "Y.");
            out.sample(
                "lb_build_info",
                &Labels::new(&[("a", "b")]),
                Value::Whole(1),
            );
            out.finish()
        };
        assert_eq!(
            write(Format::OpenMetrics),
            "# HELP lb_x X.\n# TYPE lb_x counter\nlb_x_total 1\n\
             # HELP lb_build Y.\n# TYPE lb_build info\nlb_build_info{a=\"b\"} 1\n# EOF\n"
        );
        assert_eq!(
            write(Format::Text),
            "# HELP lb_x_total X.\n# TYPE lb_x_total counter\nlb_x_total 1\n\
             # HELP lb_build_info Y.\n# TYPE lb_build_info gauge\nlb_build_info{a=\"b\"} 1\n"
        );
    }
}
