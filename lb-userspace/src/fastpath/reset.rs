//! Ends flows before their time: those of a server whose sessions are to be shut down, of a client that is denied, and
//! at a stop all that are left.
//!
//! A flow is marked by the reaper, then both its ends are poked and the kernel program answers what they say with a
//! reset. Ends answer such segments at most every half a second, and either segment may be lost, so they are poked
//! again; then the flow is removed.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use aya::Pod;
use lb_common::{
    flow::{Flow, FlowKey, HalfSet, Leg, V4, V6, flags},
    tcp,
};

use super::{
    error::FastPathError,
    family::{Address, socket},
    image::TCP,
    kernel::{Kernel, Mapped},
    poke::Poker,
    reaper::{self, Order},
};
use crate::config::model::Prefix;

/// Entries read at a time.
const BATCH: usize = 1024;
/// Sets of half-open flows read at a time.
const HALF_BATCH: usize = 256;
/// Batches that one step reads, at most.
const STEP: usize = 16;
/// Flows of each family that are removed before their ends are read: the ring has room for twice as many and more.
const TOLD_AT_ONCE: usize = 5_000;
/// From one poke to the next: Linux answers every 500 ms (`tcp_invalid_ratelimit`).
const AGAIN: Duration = Duration::from_millis(600);
/// Pokes of both ends.
const POKES: u32 = 2;
/// Pokes where only the client is seen: its first answer tells the server, and the second is answered itself.
const POKES_ONE_SIDED: u32 = 3;
/// Flows that are half-open cannot be ended, so as long as there are such, the tables are looked through again for those
/// that have been established.
const LOOK_AGAIN: Duration = Duration::from_secs(2);
/// As long as a flow may be half-open.
const MOST_LOOKS: u32 = 32;

/// Which flows are to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Which {
    /// All.
    All,
    /// Those to a server, by its index.
    Server(u32),
    /// Those of clients in a prefix.
    Clients(Prefix),
}

/// Flows that are being ended.
#[derive(Debug, Default)]
pub(super) struct Resets {
    jobs: VecDeque<Job>,
    poker: Poker,
    v4: VecDeque<Pending<V4>>,
    v6: VecDeque<Pending<V6>>,
    marked: u64,
}

#[derive(Debug)]
struct Job {
    which: Which,
    phase: Phase,
    cursor: Option<u32>,
    looks: u32,
    /// Whether this look found half-open flows.
    half_open: bool,
    /// Not before then.
    from: Instant,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Flows4,
    Half4,
    Flows6,
    Half6,
}

/// A flow that is marked.
#[derive(Debug)]
struct Pending<A> {
    key: FlowKey<A>,
    leg: Leg<A>,
    pokes: u32,
    next: Instant,
}

impl Resets {
    /// Begins to end flows.
    pub(super) fn begin(&mut self, which: Which, now: Instant) {
        if which == Which::All {
            // None is left for the others.
            self.jobs.clear();
        }
        self.jobs.push_back(Job {
            which,
            phase: Phase::Flows4,
            cursor: None,
            looks: 0,
            half_open: false,
            from: now,
        });
    }

    /// Ends of connections that were to answer with what gets them a reset, since the start.
    pub(super) fn expected(&self) -> u64 {
        self.marked
    }

    /// Whether all tables have been looked through.
    pub(super) fn has_looked(&self) -> bool {
        self.jobs.iter().all(|job| job.looks > 0)
    }

    /// Removes some of what is being ended, answered or not, as many as the program can tell the ends of at once; whether
    /// there is more.
    pub(super) fn remove_some(&mut self, kernel: &Kernel) -> Result<bool, FastPathError> {
        self.jobs.clear();
        let some = |flows: usize| flows.min(TOLD_AT_ONCE);
        let v4: Vec<_> = self
            .v4
            .drain(..some(self.v4.len()))
            .map(|flow| flow.key)
            .collect();
        let v6: Vec<_> = self
            .v6
            .drain(..some(self.v6.len()))
            .map(|flow| flow.key)
            .collect();
        reaper::give(kernel, Order::Remove, &v4)?;
        reaper::give(kernel, Order::Remove, &v6)?;
        Ok(!self.is_idle())
    }

    /// Whether there is nothing to do.
    pub(super) fn is_idle(&self) -> bool {
        self.jobs.is_empty() && self.v4.is_empty() && self.v6.is_empty()
    }

    /// Goes on. `server` tells the server that a lane leads to.
    pub(super) fn step(
        &mut self,
        kernel: &Kernel,
        server: &dyn Fn(u32) -> Option<u32>,
        now: Instant,
    ) -> Result<(), FastPathError> {
        poke_due(kernel, &mut self.v4, &mut self.poker, now)?;
        poke_due(kernel, &mut self.v6, &mut self.poker, now)?;
        for _ in 0..STEP {
            let Some(at) = due(&self.jobs, now) else {
                break;
            };
            let job = &mut self.jobs[at];
            let wanted = |lane, client| match job.which {
                Which::All => true,
                Which::Server(index) => server(lane) == Some(index),
                Which::Clients(prefix) => contains(&prefix, client),
            };
            let (cursor, half_open) = (&mut job.cursor, &mut job.half_open);
            let marked = &mut self.marked;
            let end = match job.phase {
                Phase::Flows4 => mark(kernel, cursor, &wanted, &mut self.v4, marked, now)?,
                Phase::Flows6 => mark(kernel, cursor, &wanted, &mut self.v6, marked, now)?,
                Phase::Half4 => look_half::<V4>(kernel, cursor, &wanted, half_open)?,
                Phase::Half6 => look_half::<V6>(kernel, cursor, &wanted, half_open)?,
            };
            if !end {
                continue;
            }
            job.cursor = None;
            job.phase = match job.phase {
                Phase::Flows4 => Phase::Half4,
                Phase::Half4 => Phase::Flows6,
                Phase::Flows6 => Phase::Half6,
                Phase::Half6 => {
                    job.looks += 1;
                    job.from = now + LOOK_AGAIN;
                    Phase::Flows4
                }
            };
            // One more after the last that was half-open was seen: it may be established since.
            let last = job.phase == Phase::Flows4 && !std::mem::take(&mut job.half_open);
            if last || job.looks >= MOST_LOOKS {
                self.jobs.remove(at);
            }
        }
        // What was marked just now is poked at once.
        poke_due(kernel, &mut self.v4, &mut self.poker, now)?;
        poke_due(kernel, &mut self.v6, &mut self.poker, now)
    }
}

/// The first job that has something to do: one that waits for half-open flows holds up nobody.
fn due(jobs: &VecDeque<Job>, now: Instant) -> Option<usize> {
    jobs.iter().position(|job| job.from <= now)
}

/// What is asked of a flow: its lane, and the client's address.
type Wanted<'a> = &'a dyn Fn(u32, std::net::IpAddr) -> bool;

/// Marks those of a batch of flows that are wanted; whether the table's end was reached.
fn mark<A: Address + Mapped>(
    kernel: &Kernel,
    cursor: &mut Option<u32>,
    wanted: Wanted<'_>,
    pending: &mut VecDeque<Pending<A>>,
    marked: &mut u64,
    now: Instant,
) -> Result<bool, FastPathError>
where
    FlowKey<A>: Pod,
    Flow<A>: Pod,
    HalfSet<A>: Pod,
{
    let mut keys = vec![FlowKey::default(); BATCH];
    let mut flows = vec![Flow::default(); BATCH];
    let tables = &A::maps(&kernel.maps).flows;
    let (n, end) = tables.batch(cursor, &mut keys, &mut flows)?;
    let (mut to_reset, mut to_remove) = (Vec::new(), Vec::new());
    for (key, flow) in keys.into_iter().zip(flows).take(n) {
        let leg = flow.leg;
        let unwanted = flags::REVERSE | flags::RESETTING;
        if leg.flags & unwanted != 0 || !wanted(leg.lane, key.src.ip()) {
            continue;
        }
        if key.proto != u32::from(TCP) {
            to_remove.push(key);
        } else if !tcp::is_closing(leg.state) {
            to_reset.push(key);
            *marked += if leg.flags & flags::TRANSLATE != 0 {
                2
            } else {
                1
            };
            pending.push_front(Pending {
                key,
                leg,
                pokes: 0,
                next: now,
            });
        }
    }
    reaper::give(kernel, Order::Reset, &to_reset)?;
    reaper::give(kernel, Order::Remove, &to_remove)?;
    Ok(end)
}

/// Looks through a batch of half-open flows: notes whether there are wanted ones with a handshake, which are seen to once
/// they are established, and removes the others, that have nobody to tell.
fn look_half<A: Address + Mapped>(
    kernel: &Kernel,
    cursor: &mut Option<u32>,
    wanted: Wanted<'_>,
    found: &mut bool,
) -> Result<bool, FastPathError>
where
    FlowKey<A>: Pod,
    Flow<A>: Pod,
    HalfSet<A>: Pod,
{
    let mut indexes = vec![0; HALF_BATCH];
    let mut sets = vec![HalfSet::default(); HALF_BATCH];
    let tables = &A::maps(&kernel.maps).flows;
    let (n, end) = tables.half_batch(cursor, &mut indexes, &mut sets)?;
    let mut to_remove = Vec::new();
    for half in sets.iter().take(n).flat_map(|set| &set.ways) {
        let forward = half.key.proto != 0 && half.leg.flags & flags::REVERSE == 0;
        if !forward || !wanted(half.leg.lane, half.key.src.ip()) {
            continue;
        }
        if half.key.proto == u32::from(TCP) {
            *found = true;
        } else {
            to_remove.push(half.key);
        }
    }
    reaper::give(kernel, Order::Remove, &to_remove)?;
    Ok(end)
}

/// Pokes both ends of the flows whose time has come, and removes those that have had their pokes: who has not answered
/// by then is not there.
fn poke_due<A: Address + Mapped>(
    kernel: &Kernel,
    pending: &mut VecDeque<Pending<A>>,
    poker: &mut Poker,
    now: Instant,
) -> Result<(), FastPathError>
where
    FlowKey<A>: Pod,
    Flow<A>: Pod,
    HalfSet<A>: Pod,
{
    let mut spent = Vec::new();
    // New ones stand in front, the others in the order of their time.
    while let Some(mut flow) = pending
        .front()
        .is_some_and(|flow| flow.next <= now)
        .then(|| pending.pop_front())
        .flatten()
    {
        let entry = A::maps(&kernel.maps).flows.get(&flow.key)?;
        // It is gone, or the client has opened another connection in its place.
        if entry.is_none_or(|entry| entry.leg.flags & flags::RESETTING == 0) {
            continue;
        }
        let pokes = if flow.leg.flags & flags::TRANSLATE != 0 {
            POKES
        } else {
            POKES_ONE_SIDED
        };
        if flow.pokes == pokes {
            spent.push(flow.key);
            continue;
        }
        let (key, leg) = (&flow.key, &flow.leg);
        let client = socket(key.src, key.sport);
        poker.poke(socket(key.dst, key.dport), client, flow.pokes);
        if leg.flags & flags::TRANSLATE != 0 {
            let server = socket(leg.dst, leg.dport);
            poker.poke(socket(leg.src, leg.sport), server, flow.pokes);
        }
        flow.pokes += 1;
        flow.next = now + AGAIN;
        pending.push_back(flow);
    }
    reaper::give(kernel, Order::Remove, &spent)
}

fn contains(prefix: &Prefix, ip: std::net::IpAddr) -> bool {
    super::net::model::Prefix::new(prefix.address, prefix.length).contains(ip)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_waits_for_half_open_flows_holds_up_nobody_and_a_stop_waits_for_nobody() {
        let now = Instant::now();
        let mut resets = Resets::default();
        resets.begin(Which::Server(1), now);
        resets.begin(Which::Server(2), now);
        resets.jobs[0].from = now + LOOK_AGAIN;
        assert_eq!(due(&resets.jobs, now), Some(1));
        resets.jobs[1].from = now + LOOK_AGAIN;
        assert_eq!(due(&resets.jobs, now), None);
        resets.begin(Which::All, now);
        assert_eq!((resets.jobs.len(), due(&resets.jobs, now)), (1, Some(0)));
    }

    #[test]
    fn a_prefix_holds_its_own_family_alone() {
        let prefix = Prefix {
            address: "198.51.100.0".parse().unwrap(),
            length: 24,
        };
        assert!(contains(&prefix, "198.51.100.7".parse().unwrap()));
        assert!(!contains(&prefix, "198.51.101.7".parse().unwrap()));
        assert!(!contains(&prefix, "2001:db8::1".parse().unwrap()));
    }
}
