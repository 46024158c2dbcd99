//! What frontends, backends and servers have.

use super::{
    super::{
        row::Row,
        snapshot::{KernelShare, Snapshot},
    },
    asked::Asked,
    encoder::{Encoder, Kind, Labels, Value},
    families::{FAMILIES, Of},
};
use crate::{
    config::model::{Forward, Mode},
    topology::{
        Topology,
        counters::{BackendCounters, FrontendCounters},
        histogram::{BOUNDS, Distribution, Histogram},
    },
};

/// Labels of the two paths.
const PATHS: [&str; 2] = ["path=\"kernel\"", "path=\"userspace\""];

/// A family with a sample for each path.
pub(super) struct ByPath {
    pub(super) name: &'static str,
    pub(super) help: &'static str,
    /// The sum, and the kernel's part of it.
    value: fn(&Row, &KernelShare) -> (Option<u64>, u64),
}

pub(super) const BY_PATH: &[ByPath] = &[
    ByPath {
        name: "connections_total",
        help: "Connections so far.",
        value: |row, kernel| (row.stot, kernel.connections),
    },
    ByPath {
        name: "received_bytes_total",
        help: "Bytes from clients.",
        value: |row, kernel| (row.bin, kernel.bytes_in),
    },
    ByPath {
        name: "sent_bytes_total",
        help: "Bytes to clients.",
        value: |row, kernel| (row.bout, kernel.bytes_out),
    },
];

/// The family of responses by class.
pub(super) const RESPONSES: (&str, &str) =
    ("http_responses_total", "HTTP responses by class of status.");

type OfBackend = fn(&BackendCounters) -> &Histogram;

/// A distribution of backends.
pub(super) struct Times {
    pub(super) name: &'static str,
    pub(super) help: &'static str,
    userspace: OfBackend,
    kernel: Option<OfBackend>,
    http_alone: bool,
}

pub(super) const OF_BACKENDS: &[Times] = &[
    Times {
        name: "queue_time_seconds",
        help: "Time in the queue, for each attempt to get a server.",
        userspace: |counters| &counters.distributions.queue,
        kernel: None,
        http_alone: false,
    },
    Times {
        name: "connect_time_seconds",
        help: "Time to connect to the server; next to nothing where a connection is used again.",
        userspace: |counters| &counters.distributions.connect,
        kernel: Some(|counters| &counters.distributions.kernel_connect),
        http_alone: false,
    },
    Times {
        name: "response_time_seconds",
        help: "Time from the request to the head of the server's response.",
        userspace: |counters| &counters.distributions.response,
        kernel: None,
        http_alone: true,
    },
    Times {
        name: "total_time_seconds",
        help: "Time of a request, or in mode tcp of a session, from beginning to end.",
        userspace: |counters| &counters.distributions.total,
        kernel: Some(|counters| &counters.distributions.kernel_total),
        http_alone: false,
    },
];

type OfFrontend = fn(&FrontendCounters) -> &Histogram;

/// The distribution of frontends: name, help, userspace's and the kernel's.
pub(super) const OF_FRONTENDS: (&str, &str, OfFrontend, OfFrontend) = (
    "total_time_seconds",
    "Time of a request, or in mode tcp of a session, from beginning to end.",
    |counters| &counters.total,
    |counters| &counters.kernel_total,
);

/// Rows of one kind.
struct Scope<'a> {
    of: Of,
    members: Vec<(Labels, &'a Row, KernelShare)>,
}

/// Writes all that is asked for.
pub(super) fn write(out: &mut Encoder, snapshot: &Snapshot, topology: &Topology, asked: &Asked) {
    if asked.frontends {
        let members = snapshot
            .frontends
            .iter()
            .map(|f| (frontend(text(&f.row.pxname)), &f.row, f.kernel));
        rows(out, Of::Frontend, members.collect());
        frontends_times(out, topology);
    }
    if asked.backends {
        let members = snapshot.backends.iter().map(|b| {
            let row = &b.own.row;
            (backend(text(&row.pxname)), row, b.own.kernel)
        });
        rows(out, Of::Backend, members.collect());
        backends_times(out, topology);
    }
    if asked.servers {
        let servers = snapshot.backends.iter().flat_map(|b| &b.servers);
        let shown = servers.filter(|s| asked.in_maintenance || !is_in_maintenance(&s.row));
        let members = shown.map(|s| {
            let names = [
                ("backend", text(&s.row.pxname)),
                ("server", text(&s.row.svname)),
            ];
            (Labels::new(&names), &s.row, s.kernel)
        });
        rows(out, Of::Server, members.collect());
    }
}

fn is_in_maintenance(row: &Row) -> bool {
    row.status
        .as_deref()
        .is_some_and(|s| s.starts_with("MAINT"))
}

fn frontend(name: &str) -> Labels {
    Labels::new(&[("frontend", name)])
}

fn backend(name: &str) -> Labels {
    Labels::new(&[("backend", name)])
}

fn rows(out: &mut Encoder, of: Of, members: Vec<(Labels, &Row, KernelShare)>) {
    let scope = Scope { of, members };
    for family in FAMILIES.iter().filter(|family| family.of.contains(&of)) {
        let name = of.prefixed(family.name);
        let mut begun = false;
        for (labels, row, _) in &scope.members {
            if let Some(value) = (family.value)(row) {
                if !std::mem::replace(&mut begun, true) {
                    out.family(&name, family.kind, family.help);
                }
                out.sample(&name, labels, value);
            }
        }
    }
    split_by_path(out, &scope);
    responses(out, &scope);
}

/// Traffic, with the two paths under labels of their own.
fn split_by_path(out: &mut Encoder, scope: &Scope<'_>) {
    if scope.members.is_empty() {
        return;
    }
    for family in BY_PATH {
        let name = scope.of.prefixed(family.name);
        out.family(&name, Kind::Counter, family.help);
        for (labels, row, kernel) in &scope.members {
            let (sum, kernel) = (family.value)(row, kernel);
            let userspace = sum.unwrap_or(0).saturating_sub(kernel);
            for (path, value) in PATHS.into_iter().zip([kernel, userspace]) {
                out.sample_with(&name, labels, path, Value::Whole(value));
            }
        }
    }
}

fn responses(out: &mut Encoder, scope: &Scope<'_>) {
    let (name, help) = RESPONSES;
    let name = scope.of.prefixed(name);
    let mut begun = false;
    for (labels, row, _) in &scope.members {
        let classes = [
            ("code=\"1xx\"", row.hrsp_1xx),
            ("code=\"2xx\"", row.hrsp_2xx),
            ("code=\"3xx\"", row.hrsp_3xx),
            ("code=\"4xx\"", row.hrsp_4xx),
            ("code=\"5xx\"", row.hrsp_5xx),
            ("code=\"other\"", row.hrsp_other),
        ];
        for (class, value) in classes {
            let Some(value) = value else { continue };
            if !std::mem::replace(&mut begun, true) {
                out.family(&name, Kind::Counter, help);
            }
            out.sample_with(&name, labels, class, Value::Whole(value));
        }
    }
}

fn frontends_times(out: &mut Encoder, topology: &Topology) {
    if topology.frontends.is_empty() {
        return;
    }
    let (name, help, userspace, kernel) = OF_FRONTENDS;
    let name = Of::Frontend.prefixed(name);
    out.family(&name, Kind::Histogram, help);
    for one in &topology.frontends {
        let labels = frontend(&one.name);
        let by_path = [
            (one.config.mode == Mode::Tcp).then(|| kernel(&one.counters)),
            Some(userspace(&one.counters)),
        ];
        histograms(out, &name, &labels, by_path);
    }
}

fn backends_times(out: &mut Encoder, topology: &Topology) {
    for times in OF_BACKENDS {
        let name = Of::Backend.prefixed(times.name);
        let mut begun = false;
        for one in &topology.backends {
            if times.http_alone && one.config.mode != Mode::Http {
                continue;
            }
            if !std::mem::replace(&mut begun, true) {
                out.family(&name, Kind::Histogram, times.help);
            }
            let in_kernel = one.config.mode == Mode::Tcp && one.config.forward != Forward::Proxy;
            let by_path = [
                times
                    .kernel
                    .filter(|_| in_kernel)
                    .map(|kernel| kernel(&one.counters)),
                Some((times.userspace)(&one.counters)),
            ];
            histograms(out, &name, &backend(&one.name), by_path);
        }
    }
}

fn histograms(out: &mut Encoder, name: &str, labels: &Labels, by_path: [Option<&Histogram>; 2]) {
    for (path, histogram) in PATHS.into_iter().zip(by_path) {
        let Some(histogram) = histogram else { continue };
        let Distribution { cumulative, sum } = histogram.distribution();
        let bounds = BOUNDS.iter().map(|(_, label)| *label).chain(["+Inf"]);
        let mut le = String::with_capacity(16);
        for (bound, count) in bounds.zip(cumulative) {
            le.clear();
            le.push_str("le=\"");
            le.push_str(bound);
            le.push('"');
            out.part((name, "_bucket"), labels, &[path, &le], Value::Whole(count));
        }
        // The last bucket has all, so that the two never differ.
        let all = cumulative.last().copied().unwrap_or_default();
        out.part((name, "_sum"), labels, &[path], Value::Micros(sum));
        out.part((name, "_count"), labels, &[path], Value::Whole(all));
    }
}

fn text<'a>(value: &'a Option<std::borrow::Cow<'static, str>>) -> &'a str {
    value.as_deref().unwrap_or_default()
}
