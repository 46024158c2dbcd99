//! Lists the flows that the kernel forwards now, in a thread of its own: a million of them take a while, and the agent
//! has its clock to keep.

use std::{collections::HashMap, io, net::IpAddr, thread};

use aya::Pod;
use lb_common::{
    abi::TICK_MS,
    flow::{Flow, FlowKey, Half, HalfSet, Leg, V4, V6, flags},
};
use tokio::sync::mpsc::Sender;

use super::{
    clock::monotonic_ms,
    family::{Address, socket},
    kernel::{FlowTables, Kernel},
    words,
};
use crate::observe::request::{FlowFilter, FlowRow};

/// Entries read at a time.
const BATCH: usize = 1024;
/// Sets of half-open flows read at a time.
const HALF_BATCH: usize = 256;

/// Starts to list flows.
pub(super) fn list(
    kernel: &Kernel,
    tick: u32,
    filter: FlowFilter,
    rows: Sender<Vec<FlowRow>>,
) -> io::Result<()> {
    let lanes = kernel.registry.all_lanes();
    let lanes = lanes.map(|(lane, frontend, backend, server)| {
        let names = [frontend, backend, server].map(str::to_owned);
        (lane, names)
    });
    let mut lister = Lister {
        left: filter.limit.unwrap_or(usize::MAX),
        client: filter.client.map(|ip| ip.to_canonical()),
        lanes: lanes.filter(|(_, names)| wanted(names, &filter)).collect(),
        tick,
        now_ms: monotonic_ms(),
        rows,
    };
    let v4 = kernel.maps.v4.flows.try_clone()?;
    let v6 = kernel.maps.v6.flows.try_clone()?;
    let work = move || {
        let listed = lister
            .family::<V4>(&v4)
            .and_then(|()| lister.family::<V6>(&v6));
        if let Err(error) = listed {
            tracing::warn!("flows cannot be listed: {error}");
        }
    };
    thread::Builder::new().name("flows".into()).spawn(work)?;
    Ok(())
}

fn wanted([frontend, backend, server]: &[String; 3], filter: &FlowFilter) -> bool {
    let is = |wanted: &Option<String>, name: &String| wanted.as_ref().is_none_or(|w| w == name);
    is(&filter.frontend, frontend) && is(&filter.backend, backend) && is(&filter.server, server)
}

struct Lister {
    left: usize,
    client: Option<IpAddr>,
    /// Frontend, backend and server of the lanes that are wanted.
    lanes: HashMap<u32, [String; 3]>,
    tick: u32,
    now_ms: u32,
    rows: Sender<Vec<FlowRow>>,
}

/// What was counted of a flow's two directions.
#[derive(Default)]
struct Counted {
    packets: [u64; 2],
    bytes: [u64; 2],
    idle_ms: u32,
}

impl Lister {
    /// Lists a family's flows, those that are half-open last.
    fn family<A: Address>(&mut self, tables: &FlowTables<A>) -> io::Result<()>
    where
        FlowKey<A>: Pod,
        Flow<A>: Pod,
        HalfSet<A>: Pod,
    {
        let mut keys = vec![FlowKey::default(); BATCH];
        let mut flows = vec![Flow::default(); BATCH];
        let mut cursor = None;
        let mut end = false;
        while !end && self.left > 0 {
            let n;
            (n, end) = tables.batch(&mut cursor, &mut keys, &mut flows)?;
            let mut rows = Vec::new();
            for (key, flow) in keys.iter().zip(&flows).take(n) {
                if self.is_wanted(key, &flow.leg) {
                    let counted = self.counted(tables, key, flow)?;
                    rows.extend(self.row(key, &flow.leg, &counted, false));
                }
            }
            if !self.send(rows) {
                return Ok(());
            }
        }
        let mut indexes = vec![0; HALF_BATCH];
        let mut sets = vec![HalfSet::default(); HALF_BATCH];
        let mut cursor = None;
        let mut end = false;
        while !end && self.left > 0 {
            let n;
            (n, end) = tables.half_batch(&mut cursor, &mut indexes, &mut sets)?;
            let halves = sets.iter().take(n).flat_map(|set| &set.ways);
            let halves = halves.filter(|half| self.is_wanted(&half.key, &half.leg));
            let rows = halves.filter_map(|half| self.half_row(half)).collect();
            if !self.send(rows) {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Gives a batch away; whether anybody still wants more.
    fn send(&mut self, mut rows: Vec<FlowRow>) -> bool {
        rows.truncate(self.left);
        self.left -= rows.len();
        if rows.is_empty() {
            return !self.rows.is_closed();
        }
        self.rows.blocking_send(rows).is_ok()
    }

    fn is_wanted<A: Address>(&self, key: &FlowKey<A>, leg: &Leg<A>) -> bool {
        key.proto != 0
            && leg.flags & flags::REVERSE == 0
            && self.lanes.contains_key(&leg.lane)
            && self.client.is_none_or(|client| client == key.src.ip())
    }

    fn counted<A: Address>(
        &self,
        tables: &FlowTables<A>,
        key: &FlowKey<A>,
        flow: &Flow<A>,
    ) -> io::Result<Counted>
    where
        FlowKey<A>: Pod,
        Flow<A>: Pod,
        HalfSet<A>: Pod,
    {
        let reverse = if flow.leg.flags & flags::TRANSLATE != 0 {
            tables.get(&flow.leg.opposite(key.proto))?
        } else {
            None
        };
        let idle = |flow: &Flow<A>| {
            let ticks = self.tick.wrapping_sub(flow.last);
            // A packet may be newer than the clock that was read.
            if ticks > u32::MAX / 2 { 0 } else { ticks }
        };
        let back = reverse.unwrap_or(Flow {
            last: flow.last,
            ..Flow::default()
        });
        Ok(Counted {
            packets: [flow.packets, back.packets].map(u64::from),
            bytes: [flow.bytes, back.bytes],
            idle_ms: idle(flow).min(idle(&back)).saturating_mul(TICK_MS),
        })
    }

    fn half_row<A: Address>(&self, half: &Half<A>) -> Option<FlowRow> {
        let counted = Counted {
            packets: [half.packets.into(), 0],
            bytes: [half.bytes.into(), 0],
            idle_ms: self.since(half.since_ms),
        };
        self.row(&half.key, &half.leg, &counted, true)
    }

    fn row<A: Address>(
        &self,
        key: &FlowKey<A>,
        leg: &Leg<A>,
        counted: &Counted,
        half_open: bool,
    ) -> Option<FlowRow> {
        let [frontend, backend, server] = self.lanes.get(&leg.lane)?.clone();
        Some(FlowRow {
            protocol: words::protocol(key.proto),
            client: socket(key.src, key.sport),
            service: socket(key.dst, key.dport),
            frontend,
            backend,
            server,
            state: words::state(key.proto, leg.state, leg.flags, half_open).into(),
            half_open,
            age_ms: self.since(leg.side[0]),
            idle_ms: counted.idle_ms,
            packets_in: counted.packets[0],
            packets_out: counted.packets[1],
            bytes_in: counted.bytes[0],
            bytes_out: counted.bytes[1],
        })
    }

    /// Milliseconds since a moment of `CLOCK_MONOTONIC`.
    fn since(&self, ms: u32) -> u32 {
        let passed = self.now_ms.wrapping_sub(ms);
        if passed > u32::MAX - 60_000 {
            0
        } else {
            passed
        }
    }
}
