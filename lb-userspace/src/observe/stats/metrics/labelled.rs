//! What concerns no one proxy, and has labels.

use std::collections::BTreeMap;

use super::{
    encoder::{Encoder, Kind, Labels, Value},
    single::Facts,
};
use crate::{observe::path::PathKind, topology::Topology};

/// Takes the values of a sample's labels, in the order of the family's, and its own.
type Sample<'a> = dyn FnMut(&[&str], Value) + 'a;

/// A family.
pub(super) struct Definition {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    pub(super) labels: &'static [&'static str],
    pub(super) help: &'static str,
    write: fn(&mut Sample<'_>, &Facts<'_>, &Topology),
}

pub(super) const LABELLED: &[Definition] = &[
    Definition {
        name: "lb_build_info",
        kind: Kind::Info,
        labels: &["version"],
        help: "Always 1; the label names the running version.",
        write: |sample, facts, _| {
            sample(&[&facts.snapshot.process.version], Value::Whole(1));
        },
    },
    Definition {
        name: "lb_config_reloads_total",
        kind: Kind::Counter,
        labels: &["result"],
        help: "Reloads, by whether the configuration was taken (success) or not (failure).",
        write: |sample, facts, _| {
            sample(&["success"], Value::Whole(facts.reloads.succeeded));
            sample(&["failure"], Value::Whole(facts.reloads.failed));
        },
    },
    Definition {
        name: "lb_certificate_expiry_timestamp_seconds",
        kind: Kind::Gauge,
        labels: &["certificate"],
        help: "When a certificate that clients are shown expires, in seconds since 1970; the label names its file.",
        write: |sample, _, topology| {
            let expiries = topology
                .acceptors()
                .flat_map(|(_, acceptor)| acceptor.expiries());
            let expiries: BTreeMap<_, _> = expiries.collect();
            for (file, at) in expiries {
                sample(&[&file.to_string_lossy()], Value::Signed(at));
            }
        },
    },
    Definition {
        name: "lb_kernel_interface_attached",
        kind: Kind::Gauge,
        labels: &["interface", "mode"],
        help: "Whether the kernel program is attached to the interface, and how.",
        write: |sample, facts, _| {
            for interface in &facts.snapshot.path.interfaces {
                let attached = interface.attach != "none";
                sample(
                    &[&interface.name, &interface.attach],
                    Value::Whole(attached.into()),
                );
            }
        },
    },
    Definition {
        name: "lb_kernel_packets_total",
        kind: Kind::Counter,
        labels: &["verdict", "reason"],
        help: "Packets that the kernel program saw, by what it did and why.",
        write: |sample, facts, _| {
            for counter in &facts.snapshot.path.counters {
                sample(
                    &[counter.kind.name(), &counter.name],
                    Value::Whole(counter.value),
                );
            }
        },
    },
    Definition {
        name: "lb_frontend_kernel_path",
        kind: Kind::Gauge,
        labels: &["frontend"],
        help: "Whether the kernel takes new connections of the frontend.",
        write: |sample, facts, _| {
            for frontend in &facts.snapshot.frontends {
                let name = frontend.row.pxname.as_deref().unwrap_or_default();
                let kernel = frontend.path != PathKind::Userspace;
                sample(&[name], Value::Whole(kernel.into()));
            }
        },
    },
];

/// Writes them.
pub(super) fn write(out: &mut Encoder, facts: &Facts<'_>, topology: &Topology) {
    for family in LABELLED {
        let mut begun = false;
        let mut sample = |values: &[&str], value: Value| {
            if !std::mem::replace(&mut begun, true) {
                out.family(family.name, family.kind, family.help);
            }
            let labels: Vec<_> = family
                .labels
                .iter()
                .copied()
                .zip(values.iter().copied())
                .collect();
            out.sample(family.name, &Labels::new(&labels), value);
        };
        (family.write)(&mut sample, facts, topology);
    }
}
