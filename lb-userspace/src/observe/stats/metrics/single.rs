//! What there is once a process.

use std::time::UNIX_EPOCH;

use super::{
    super::snapshot::{Snapshot, Sources},
    encoder::{Encoder, Kind, Labels, Value},
    usage::Usage,
};
use crate::observe::stats::process::Reloads;

/// Where these figures come from.
pub(super) struct Facts<'a> {
    pub(super) snapshot: &'a Snapshot,
    pub(super) usage: Usage,
    pub(super) reloads: Reloads,
    /// Seconds since 1970.
    pub(super) configured: u64,
}

impl<'a> Facts<'a> {
    pub(super) fn gather(snapshot: &'a Snapshot, sources: &Sources) -> Self {
        let reloads = sources.process.reloads();
        let since = reloads.last_success.duration_since(UNIX_EPOCH);
        Self {
            snapshot,
            usage: Usage::read(),
            reloads,
            configured: since.map_or(0, |since| since.as_secs()),
        }
    }
}

/// A family of one sample without labels.
pub(super) struct Single {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    pub(super) help: &'static str,
    value: fn(&Facts<'_>) -> Option<Value>,
}

const fn gauge(
    name: &'static str,
    help: &'static str,
    value: fn(&Facts<'_>) -> Option<Value>,
) -> Single {
    Single {
        name,
        kind: Kind::Gauge,
        help,
        value,
    }
}

const fn counter(
    name: &'static str,
    help: &'static str,
    value: fn(&Facts<'_>) -> Option<Value>,
) -> Single {
    Single {
        name,
        kind: Kind::Counter,
        help,
        value,
    }
}

fn whole(n: u64) -> Option<Value> {
    Some(Value::Whole(n))
}

pub(super) const SINGLES: &[Single] = &[
    gauge(
        "lb_process_start_time_seconds",
        "When the process started, in seconds since 1970.",
        |facts| whole(facts.snapshot.process.started),
    ),
    counter(
        "lb_process_cpu_seconds_total",
        "Processor time of all threads, userspace's alone: packets that the kernel forwards are not in it.",
        |facts| {
            let millis = facts.usage.cpu.as_millis();
            u64::try_from(millis).ok().map(Value::Millis)
        },
    ),
    gauge(
        "lb_process_resident_memory_bytes",
        "Memory that is resident.",
        |facts| facts.usage.resident.map(Value::Whole),
    ),
    gauge(
        "lb_process_virtual_memory_bytes",
        "Address space.",
        |facts| facts.usage.virtual_memory.map(Value::Whole),
    ),
    gauge("lb_process_open_fds", "Open file descriptors.", |facts| {
        facts.usage.descriptors.map(Value::Whole)
    }),
    gauge(
        "lb_process_max_fds",
        "Most file descriptors that may be open.",
        |facts| facts.usage.descriptors_limit.map(Value::Whole),
    ),
    gauge("lb_threads", "Worker threads.", |facts| {
        whole(facts.snapshot.process.threads as u64)
    }),
    gauge(
        "lb_stopping",
        "Whether a graceful stop has begun.",
        |facts| whole(facts.snapshot.process.stopping.into()),
    ),
    gauge(
        "lb_config_last_reload_successful",
        "Whether the last reload was taken; 1 if there was none.",
        |facts| whole(facts.reloads.last_succeeded.into()),
    ),
    gauge(
        "lb_config_last_reload_success_timestamp_seconds",
        "When the running configuration was taken, in seconds since 1970.",
        |facts| whole(facts.configured),
    ),
    gauge(
        "lb_servers_file_errors",
        "What is wrong with files of servers, so that earlier ones are in use.",
        |facts| whole(facts.snapshot.process.servers_refused.len() as u64),
    ),
    gauge(
        "lb_userspace_connections",
        "Client connections that userspace serves now.",
        |facts| whole(facts.snapshot.process.current_connections),
    ),
    gauge(
        "lb_userspace_connections_limit",
        "Most client connections that userspace serves at a time.",
        |facts| {
            facts
                .snapshot
                .process
                .maxconn
                .map(|max| Value::Whole(max.into()))
        },
    ),
    counter(
        "lb_log_lines_written_total",
        "Log lines handed to their targets.",
        |facts| whole(facts.snapshot.process.log.written),
    ),
    counter(
        "lb_log_lines_dropped_total",
        "Log lines lost because the queue was full.",
        |facts| whole(facts.snapshot.process.log.dropped),
    ),
    counter(
        "lb_log_send_failures_total",
        "Times that a log target refused a line.",
        |facts| whole(facts.snapshot.process.log.failed),
    ),
    gauge(
        "lb_kernel_flows",
        "Flows that the kernel forwards now.",
        |facts| whole(facts.snapshot.path.flows),
    ),
    gauge(
        "lb_kernel_flows_limit",
        "Most flows that the kernel forwards at a time; 0 without the kernel path.",
        |facts| whole(facts.snapshot.path.max_flows),
    ),
    gauge(
        "lb_kernel_memory_bytes",
        "Kernel memory of the maps.",
        |facts| whole(facts.snapshot.path.memory),
    ),
    gauge(
        "lb_kernel_active_drift",
        "Flows by which the counts of active ones differed from the flow tables when last compared.",
        |facts| whole(facts.snapshot.path.drift),
    ),
];

/// Writes them.
pub(super) fn write(out: &mut Encoder, facts: &Facts<'_>) {
    for single in SINGLES {
        if let Some(value) = (single.value)(facts) {
            out.family(single.name, single.kind, single.help);
            out.sample(single.name, &Labels::default(), value);
        }
    }
}
