//! The Prometheus text format (version 0.0.4).
//!
//! Names are `lb_` and the kind of proxy, then what is counted in base units. Labels are names out of the configuration
//! and fixed words, so that their number is bounded by the file.

use std::fmt::{self, Write};

mod families;

use families::FAMILIES;

use super::{
    row::Row,
    snapshot::{KernelShare, Snapshot},
};

/// The format's media type.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// All metrics of `snapshot`.
pub fn write(snapshot: &Snapshot) -> String {
    let mut out = Encoder(String::with_capacity(16 * 1024));
    process(&mut out, snapshot);
    fast_path(&mut out, snapshot);
    for scope in scopes(snapshot) {
        proxies(&mut out, &scope);
    }
    out.0
}

/// What a family is.
#[derive(Debug, Clone, Copy)]
enum Kind {
    Counter,
    Gauge,
}

/// A number in the unit that its family has.
#[derive(Debug, Clone, Copy)]
enum Value {
    Whole(u64),
    /// Written in seconds.
    Millis(u64),
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Whole(n) => write!(f, "{n}"),
            Self::Millis(n) => write!(f, "{}.{:03}", n / 1000, n % 1000),
        }
    }
}

struct Encoder(String);

impl Encoder {
    fn family(&mut self, name: &str, kind: Kind, help: &str) {
        let kind = match kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
        };
        let help = help.replace('\\', "\\\\").replace('\n', "\\n");
        // A String takes everything.
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: Value) {
        self.0.push_str(name);
        for (i, (label, text)) in labels.iter().enumerate() {
            self.0.push(if i == 0 { '{' } else { ',' });
            let text = text
                .replace('\\', "\\\\")
                .replace('"', "\\\"")
                .replace('\n', "\\n");
            let _ = write!(self.0, "{label}=\"{text}\"");
        }
        if !labels.is_empty() {
            self.0.push('}');
        }
        let _ = writeln!(self.0, " {value}");
    }

    fn single(&mut self, name: &str, kind: Kind, help: &str, value: u64) {
        self.family(name, kind, help);
        self.sample(name, &[], Value::Whole(value));
    }
}

fn process(out: &mut Encoder, snapshot: &Snapshot) {
    use Kind::{Counter, Gauge};
    let process = &snapshot.process;
    let name = "lb_build_info";
    out.family(
        name,
        Gauge,
        "Always 1; the label names the running version.",
    );
    out.sample(name, &[("version", &process.version)], Value::Whole(1));
    out.single(
        "lb_process_start_time_seconds",
        Gauge,
        "When the process started, in seconds since 1970.",
        process.started,
    );
    out.single(
        "lb_threads",
        Gauge,
        "Worker threads.",
        process.threads as u64,
    );
    out.single(
        "lb_stopping",
        Gauge,
        "Whether a graceful stop has begun.",
        process.stopping.into(),
    );
    out.single(
        "lb_userspace_connections",
        Gauge,
        "Client connections that userspace serves now.",
        process.current_connections,
    );
    if let Some(max) = process.maxconn {
        out.single(
            "lb_userspace_connections_limit",
            Gauge,
            "Most client connections that userspace serves at a time.",
            max.into(),
        );
    }
    out.single(
        "lb_log_lines_written_total",
        Counter,
        "Log lines handed to their targets.",
        process.log.written,
    );
    out.single(
        "lb_log_lines_dropped_total",
        Counter,
        "Log lines lost because the queue was full.",
        process.log.dropped,
    );
    out.single(
        "lb_log_send_failures_total",
        Counter,
        "Times that a log target refused a line.",
        process.log.failed,
    );
}

fn fast_path(out: &mut Encoder, snapshot: &Snapshot) {
    use Kind::{Counter, Gauge};
    let path = &snapshot.path;
    out.single(
        "lb_kernel_flows",
        Gauge,
        "Flows that the kernel forwards now.",
        path.flows,
    );
    out.single(
        "lb_kernel_flows_limit",
        Gauge,
        "Most flows that the kernel forwards at a time; 0 without the kernel path.",
        path.max_flows,
    );
    out.single(
        "lb_kernel_memory_bytes",
        Gauge,
        "Kernel memory of the maps.",
        path.memory,
    );
    out.single(
        "lb_kernel_active_drift",
        Gauge,
        "Flows by which the counts of active ones differed from the flow tables when last compared.",
        path.drift,
    );
    if !path.interfaces.is_empty() {
        let name = "lb_kernel_interface_attached";
        out.family(
            name,
            Gauge,
            "Whether the kernel program is attached to the interface, and how.",
        );
        for interface in &path.interfaces {
            out.sample(
                name,
                &[("interface", &interface.name), ("mode", &interface.attach)],
                Value::Whole(u64::from(interface.attach != "none")),
            );
        }
    }
    if !path.counters.is_empty() {
        let name = "lb_kernel_packets_total";
        out.family(
            name,
            Counter,
            "Packets that the kernel program saw, by what it did and why.",
        );
        for counter in &path.counters {
            out.sample(
                name,
                &[("verdict", counter.kind.name()), ("reason", &counter.name)],
                Value::Whole(counter.value),
            );
        }
    }
    let name = "lb_frontend_kernel_path";
    out.family(
        name,
        Gauge,
        "Whether the kernel takes new connections of the frontend.",
    );
    for frontend in &snapshot.frontends {
        out.sample(
            name,
            &[("frontend", text(&frontend.row.pxname))],
            Value::Whole(u64::from(frontend.path != super::PathKind::Userspace)),
        );
    }
}

type Labels<'a> = Vec<(&'static str, &'a str)>;

/// Rows of one kind and how they are labelled.
struct Scope<'a> {
    name: &'static str,
    members: Vec<(Labels<'a>, &'a Row, KernelShare)>,
}

fn scopes(snapshot: &Snapshot) -> [Scope<'_>; 3] {
    let frontends = snapshot
        .frontends
        .iter()
        .map(|f| (vec![("frontend", text(&f.row.pxname))], &f.row, f.kernel));
    let backends = snapshot.backends.iter().map(|b| {
        let row = &b.own.row;
        (vec![("backend", text(&row.pxname))], row, b.own.kernel)
    });
    let servers = snapshot.backends.iter().flat_map(|b| &b.servers).map(|s| {
        let labels = vec![
            ("backend", text(&s.row.pxname)),
            ("server", text(&s.row.svname)),
        ];
        (labels, &s.row, s.kernel)
    });
    [
        Scope {
            name: "frontend",
            members: frontends.collect(),
        },
        Scope {
            name: "backend",
            members: backends.collect(),
        },
        Scope {
            name: "server",
            members: servers.collect(),
        },
    ]
}

fn proxies(out: &mut Encoder, scope: &Scope<'_>) {
    for family in FAMILIES {
        let name = format!("lb_{}_{}", scope.name, family.name);
        let mut begun = false;
        for (labels, row, _) in &scope.members {
            if let Some(value) = (family.value)(row) {
                if !begun {
                    out.family(&name, family.kind, family.help);
                    begun = true;
                }
                out.sample(&name, labels, value);
            }
        }
    }
    split_by_path(out, scope);
    responses(out, scope);
}

/// Traffic, with the two paths under labels of their own.
fn split_by_path(out: &mut Encoder, scope: &Scope<'_>) {
    type Both = fn(&Row, &KernelShare) -> (Option<u64>, u64);
    let families: [(&str, &str, Both); 3] = [
        ("connections_total", "Connections so far.", |row, kernel| {
            (row.stot, kernel.connections)
        }),
        (
            "received_bytes_total",
            "Bytes from clients.",
            |row, kernel| (row.bin, kernel.bytes_in),
        ),
        ("sent_bytes_total", "Bytes to clients.", |row, kernel| {
            (row.bout, kernel.bytes_out)
        }),
    ];
    if scope.members.is_empty() {
        return;
    }
    for (name, help, both) in families {
        let name = format!("lb_{}_{name}", scope.name);
        out.family(&name, Kind::Counter, help);
        for (labels, row, kernel) in &scope.members {
            let (sum, kernel) = both(row, kernel);
            let userspace = sum.unwrap_or(0).saturating_sub(kernel);
            for (path, value) in [("kernel", kernel), ("userspace", userspace)] {
                let mut labels = labels.clone();
                labels.push(("path", path));
                out.sample(&name, &labels, Value::Whole(value));
            }
        }
    }
}

fn responses(out: &mut Encoder, scope: &Scope<'_>) {
    let name = format!("lb_{}_http_responses_total", scope.name);
    let mut begun = false;
    for (labels, row, _) in &scope.members {
        let classes = [
            ("1xx", row.hrsp_1xx),
            ("2xx", row.hrsp_2xx),
            ("3xx", row.hrsp_3xx),
            ("4xx", row.hrsp_4xx),
            ("5xx", row.hrsp_5xx),
            ("other", row.hrsp_other),
        ];
        for (class, value) in classes {
            let Some(value) = value else { continue };
            if !begun {
                out.family(&name, Kind::Counter, "HTTP responses by class of status.");
                begun = true;
            }
            let mut labels = labels.clone();
            labels.push(("code", class));
            out.sample(&name, &labels, Value::Whole(value));
        }
    }
}

fn text<'a>(value: &'a Option<std::borrow::Cow<'static, str>>) -> &'a str {
    value.as_deref().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::{super::fixture, *};

    #[test]
    fn both_paths_have_samples_of_their_own() {
        let text = write(&fixture::snapshot());
        for line in [
            "lb_frontend_connections_total{frontend=\"tcp-in\",path=\"kernel\"} 900",
            "lb_frontend_connections_total{frontend=\"tcp-in\",path=\"userspace\"} 1",
            "lb_kernel_packets_total{verdict=\"dropped\",reason=\"no_neighbour\"} 7",
            "lb_server_up{backend=\"tcp_servers\",server=\"s1\"} 1",
            "lb_server_up{backend=\"web\",server=\"w2\"} 0",
            "lb_server_check_duration_seconds{backend=\"web\",server=\"w1\"} 0.004",
        ] {
            assert!(
                text.lines().any(|l| l == line),
                "{line} is missing in\n{text}"
            );
        }
    }

    #[test]
    fn each_family_is_declared_once_before_its_samples() {
        let text = write(&fixture::snapshot());
        let mut declared = HashSet::new();
        for line in text.lines() {
            if let Some(rest) = line.strip_prefix("# TYPE ") {
                let name = rest.split(' ').next().expect("a name");
                assert!(declared.insert(name.to_owned()), "{name} is declared twice");
            } else if !line.starts_with('#') {
                let name = line.split(['{', ' ']).next().expect("a name");
                assert!(declared.contains(name), "{name} is not declared");
            }
        }
    }

    #[test]
    fn label_values_are_escaped() {
        let mut out = Encoder(String::new());
        out.sample("x", &[("a", "q\"b\\c\nd")], Value::Millis(1500));
        assert_eq!(out.0, "x{a=\"q\\\"b\\\\c\\nd\"} 1.500\n");
    }
}
