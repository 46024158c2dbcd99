//! The kernel's counters, summed over CPUs: into the running model, beside userspace's, and into the status.

use std::collections::BTreeMap;

use aya::maps::{MapData, MapError, PerCpuArray};
use lb_common::{
    counter::{Outcome, Reason},
    load::ActiveBlock,
    service::LaneCount,
};

use super::{
    kernel::Maps,
    registry::{Counted, Registry, Room},
    sweep::Sweep,
};
use crate::{
    observe::path::{CounterKind, KernelCounter},
    topology::{Topology, counters::KernelTraffic},
};

/// Writes what the kernel has forwarded into the counters of frontends and servers. Returns how many flows are active.
pub(super) fn publish(
    maps: &Maps,
    registry: &mut Registry,
    room: &Room,
    sweep: &Sweep,
    topology: &Topology,
) -> Result<u64, MapError> {
    let now_ms = topology.clock.now_ms();
    let mut frontends: BTreeMap<String, Totals> = BTreeMap::new();
    let mut servers: BTreeMap<(String, String), Totals> = BTreeMap::new();
    let mut frontends_of: BTreeMap<(String, String), usize> = BTreeMap::new();
    for (lane, frontend, backend, server) in registry.all_lanes() {
        let count = since(registry.begun(lane), &lane_count(&maps.lane_counts, lane)?);
        frontends.entry(frontend.into()).or_default().add(&count);
        let server = (backend.to_owned(), server.to_owned());
        *frontends_of.entry(server.clone()).or_default() += 1;
        servers.entry(server).or_default().add(&count);
    }
    for (frontend, counted) in registry.settled_of_frontends() {
        let totals = frontends.entry(frontend.into()).or_default();
        totals.add(&as_count(counted));
    }
    for (backend, server, counted) in registry.settled_of_servers() {
        let key = (backend.to_owned(), server.to_owned());
        servers.entry(key).or_default().add(&as_count(counted));
    }
    for backend in &topology.backends {
        let Some(first) = backend.servers.first() else {
            continue;
        };
        if !servers.contains_key(&(backend.name.to_string(), first.name.to_string())) {
            continue;
        }
        let Ok(block) = registry.block(&backend.name, room) else {
            continue;
        };
        let counts: ActiveBlock = maps.active.get(&block, 0)?;
        let mut freed = false;
        let mut came = 0;
        for server in &backend.servers {
            let Some(totals) =
                servers.get_mut(&(backend.name.to_string(), server.name.to_string()))
            else {
                continue;
            };
            let Ok(index) = registry.server(&backend.name, &server.name, room) else {
                continue;
            };
            totals.active = u64::from(counts.active[(index & 0xff) as usize]);
            freed |= totals.active < server.counters.kernel.active.value();
            let new = totals.store(&server.counters.kernel);
            if new > 0 {
                server.count_flows(new, now_ms);
                came += new;
            }
        }
        if came > 0 {
            backend.counters.connection_rate.add(came, now_ms);
        }
        if freed {
            backend.kernel_slots_freed();
        }
    }
    for (lane, frontend, backend, server) in registry.all_lanes() {
        let server = (backend.to_owned(), server.to_owned());
        // Counted exactly by server; how frontends share one, only a sweep through the flows can tell.
        let active = match (frontends_of.get(&server), servers.get(&server)) {
            (Some(1), Some(totals)) => totals.active,
            _ => sweep.active(lane),
        };
        frontends.entry(frontend.into()).or_default().active += active;
    }
    for frontend in &topology.frontends {
        if let Some(totals) = frontends.get(&*frontend.name) {
            let new = totals.store(&frontend.counters.kernel);
            if new > 0 {
                frontend.counters.connection_rate.add(new, now_ms);
            }
        }
    }
    // Those of servers that the file no longer has as well: a stop waits for them.
    let mut active = 0;
    for block in registry.all_blocks() {
        let counts: ActiveBlock = maps.active.get(&block, 0)?;
        active += counts.active.iter().map(|n| u64::from(*n)).sum::<u64>();
    }
    Ok(active)
}

/// The kernel's counters by reason.
pub(super) fn reasons(maps: &Maps) -> Result<Vec<KernelCounter>, MapError> {
    Reason::ALL
        .iter()
        .map(|reason| {
            Ok(KernelCounter {
                name: reason.name().into(),
                help: reason.help().into(),
                kind: kind(reason.outcome()),
                value: self::reason(maps, *reason)?,
            })
        })
        .collect()
}

/// One of them.
pub(super) fn reason(maps: &Maps, reason: Reason) -> Result<u64, MapError> {
    let values = maps.reasons.get(&(reason as u32), 0)?;
    Ok(values.iter().fold(0u64, |sum, v| sum.wrapping_add(*v)))
}

/// What counting an outcome means.
pub(super) fn kind(outcome: Outcome) -> CounterKind {
    match outcome {
        Outcome::Forwarded => CounterKind::Forwarded,
        Outcome::PassedUp => CounterKind::PassedUp,
        Outcome::Dropped => CounterKind::Dropped,
        Outcome::Answered => CounterKind::Answered,
        Outcome::Noted => CounterKind::Other,
    }
}

#[derive(Debug, Default)]
struct Totals {
    count: LaneCount,
    active: u64,
}

impl Totals {
    fn add(&mut self, count: &LaneCount) {
        let sum = &mut self.count;
        sum.flows += count.flows;
        sum.packets_in += count.packets_in;
        sum.bytes_in += count.bytes_in;
        sum.packets_out += count.packets_out;
        sum.bytes_out += count.bytes_out;
    }

    /// Returns how many flows have come since the last time.
    fn store(&self, traffic: &KernelTraffic) -> u64 {
        let count = &self.count;
        traffic.active.set(self.active);
        traffic.take([
            count.flows,
            count.bytes_in,
            count.bytes_out,
            count.packets_in,
            count.packets_out,
        ])
    }
}

fn lane_count(map: &PerCpuArray<MapData, LaneCount>, lane: u32) -> Result<LaneCount, MapError> {
    let mut sum = Totals::default();
    for count in map.get(&lane, 0)?.iter() {
        sum.add(count);
    }
    Ok(sum.count)
}

/// What a lane has counted, whosever it was.
pub(super) fn counted(maps: &Maps, lane: u32) -> Result<Counted, MapError> {
    let count = lane_count(&maps.lane_counts, lane)?;
    Ok([
        count.flows,
        count.packets_in,
        count.bytes_in,
        count.packets_out,
        count.bytes_out,
    ])
}

fn as_count(counted: Counted) -> LaneCount {
    let [flows, packets_in, bytes_in, packets_out, bytes_out] = counted;
    LaneCount {
        flows,
        packets_in,
        bytes_in,
        packets_out,
        bytes_out,
    }
}

/// What a lane has counted since it was given to whom it is.
fn since(begun: Counted, count: &LaneCount) -> LaneCount {
    let begun = as_count(begun);
    LaneCount {
        flows: count.flows.wrapping_sub(begun.flows),
        packets_in: count.packets_in.wrapping_sub(begun.packets_in),
        bytes_in: count.bytes_in.wrapping_sub(begun.bytes_in),
        packets_out: count.packets_out.wrapping_sub(begun.packets_out),
        bytes_out: count.bytes_out.wrapping_sub(begun.bytes_out),
    }
}
