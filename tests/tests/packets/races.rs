//! Several CPUs at the same few flows, and tables without room: whatever happens, counts equal a recount.

use std::thread;

use aya::Ebpf;
use aya::maps::{Array, HashMap};
use aya::programs::{TestRun, TestRunOptions, Xdp};
use lb_common::abi::{REAP_BATCH, REAP_HEADER, reap};
use lb_common::flow::{Flow, FlowKey, HALF_OPEN_MS, Half, HalfSet, V4, flags};
use lb_common::service::Lane;
use lb_common::tcp;
use rustix::thread::{CpuSet, sched_setaffinity};

use crate::fixture::{Fixture, HALF_SETS};
use crate::frame::Segment;
use crate::world::{CLIENT, CLIENT_2, S1, S2, SERVICE, SNAT, port};

fn run(ebpf: &Ebpf, program: &str, packet: &[u8]) {
    let program: &Xdp = ebpf.program(program).unwrap().try_into().unwrap();
    let mut options = TestRunOptions::new();
    options.data_in = Some(packet);
    program.test_run(options).unwrap();
}

fn flows(ebpf: &Ebpf) -> Vec<(FlowKey<V4>, Flow<V4>)> {
    let map: HashMap<_, FlowKey<V4>, Flow<V4>> = ebpf.map("FLOWS4").unwrap().try_into().unwrap();
    // What is removed meanwhile may end the walk; the next one finds the rest.
    map.iter().filter_map(Result::ok).collect()
}

fn flow_count(ebpf: &Ebpf) -> u64 {
    let map: Array<_, u64> = ebpf.map("FLOW_COUNT").unwrap().try_into().unwrap();
    map.get(&0, 0).unwrap()
}

/// Half-open legs of clients.
fn half_open(ebpf: &Ebpf) -> Vec<Half<V4>> {
    let map: Array<_, HalfSet<V4>> = ebpf.map("HALF4").unwrap().try_into().unwrap();
    (0..HALF_SETS)
        .flat_map(|set| map.get(&set, 0).unwrap().ways)
        .filter(|half| half.key.proto != 0 && half.leg.flags & flags::REVERSE == 0)
        .collect()
}

/// What the reaper is asked to do, without keys.
fn order(order: u32, count: u32, first: u32) -> Vec<u8> {
    let words = [order, count, first, 0];
    words.into_iter().flat_map(u32::to_ne_bytes).collect()
}

/// Hands every entry to the reaper.
fn reap(ebpf: &Ebpf) {
    for (key, _) in flows(ebpf) {
        let mut packet = order(reap::IDLE, 1, 0);
        assert_eq!(packet.len(), REAP_HEADER);
        packet.extend(key.src.to_ne_bytes());
        packet.extend(key.dst.to_ne_bytes());
        packet.extend(key.sport.to_ne_bytes());
        packet.extend(key.dport.to_ne_bytes());
        packet.extend(key.proto.to_ne_bytes());
        run(ebpf, "lb_reap", &packet);
    }
}

/// Lets a minute pass for what is half-open, and has the reaper forget it.
fn expire_half_open(fixture: &mut Fixture) {
    for set in 0..HALF_SETS {
        let mut map: Array<_, HalfSet<V4>> =
            fixture.ebpf.map_mut("HALF4").unwrap().try_into().unwrap();
        let mut ways = map.get(&set, 0).unwrap();
        for half in &mut ways.ways {
            half.since_ms = half.since_ms.wrapping_sub(HALF_OPEN_MS);
        }
        map.set(set, ways, 0).unwrap();
    }
    for first in (0..HALF_SETS).step_by(REAP_BATCH) {
        let order = order(reap::HALF, REAP_BATCH as u32, first);
        run(&fixture.ebpf, "lb_reap", &order);
    }
    assert!(half_open(&fixture.ebpf).is_empty());
}

/// Forward entries are as many as reverse ones and as the count says; those that are open, with the half-open ones, as
/// many as the servers have active.
#[track_caller]
fn assert_counts_agree(fixture: &mut Fixture) {
    let active = fixture.active();
    let flows = flows(&fixture.ebpf);
    let forward = |flow: &Flow<V4>| flow.leg.flags & flags::REVERSE == 0;
    let entries = flows.iter().filter(|(_, flow)| forward(flow)).count();
    let mut open = [0; 2];
    for (_, flow) in flows.iter().filter(|(_, flow)| forward(flow)) {
        open[flow.leg.lane as usize] += u32::from(!tcp::is_closing(flow.leg.state));
    }
    let half = half_open(&fixture.ebpf);
    for half in &half {
        open[half.leg.lane as usize] += 1;
    }
    let what = || format!("{flows:#?} {half:#?}");
    assert_eq!(flows.len(), 2 * entries, "halves: {}", what());
    assert_eq!(flow_count(&fixture.ebpf), entries as u64, "{}", what());
    assert_eq!(active, open, "{}", what());
}

#[test]
fn a_table_and_source_ports_without_room_leave_no_count_and_no_half_behind() {
    if crate::skipped() {
        return;
    }
    let mut fixture = Fixture::new();
    // One source port, so a flow for each server.
    for n in 0..20 {
        fixture.run(&Segment::new(CLIENT.at_port(100 + n), SERVICE, "S").bytes());
    }
    assert_counts_agree(&mut fixture);
    assert_eq!(half_open(&fixture.ebpf).len(), 2);
    fixture.reset();
    fixture.source_ports(20_000);
    for n in 0..1000 {
        fixture.connect(CLIENT.at_port(1000 + n), port::LEAST);
    }
    assert_eq!(
        flow_count(&fixture.ebpf),
        512,
        "two entries each in a table of 1024"
    );
    assert_counts_agree(&mut fixture);
}

#[test]
fn two_cpus_at_the_same_flows_leave_counts_that_equal_a_recount() {
    if crate::skipped() {
        return;
    }
    let mut fixture = Fixture::new();
    let mut packets = Vec::new();
    for client in [CLIENT, CLIENT_2, CLIENT.at_port(7)] {
        for flags in ["S", "S", "S", ".", ".", "F.", "R"] {
            packets.push(Segment::new(client, SERVICE, flags).bytes());
        }
        packets.push(Segment::new(client, SERVICE, "P.").data(b"data").bytes());
    }
    for server in [S1, S2] {
        for flags in ["S.", "S.", ".", "F.", "F.", "R"] {
            packets.push(Segment::new(server, SNAT, flags).bytes());
        }
    }
    for round in 0..10u32 {
        // In every other round the reaper takes whatever it meets, but for what both ends have finished.
        let idle = if round % 2 == 0 { 100 } else { 0 };
        for server in 0..2 {
            fixture.set("LANES", server, Lane { server, idle });
        }
        let ebpf = &fixture.ebpf;
        thread::scope(|scope| {
            for cpu in 0..2 {
                let packets = &packets;
                scope.spawn(move || {
                    let mut set = CpuSet::new();
                    set.set(cpu);
                    // With one CPU alone there is less to see, and nothing wrong.
                    let _ = sched_setaffinity(None, &set);
                    let mut random = u64::from(round) << 8 | cpu as u64 | 1 << 40;
                    for _ in 0..10_000 {
                        random = lb_common::hash::mix(random.wrapping_add(0x9e37_79b9_7f4a_7c15));
                        run(ebpf, "lb_xdp", &packets[random as usize % packets.len()]);
                    }
                });
            }
            scope.spawn(|| {
                for _ in 0..100 {
                    reap(ebpf);
                }
            });
        });
        assert_counts_agree(&mut fixture);
        // Everything is idle now.
        fixture.set("CLOCK", 0, 100 + (round + 1) * 10_000);
        if round % 2 == 0 {
            reap(&fixture.ebpf);
            expire_half_open(&mut fixture);
            assert_eq!(flows(&fixture.ebpf), []);
            assert_eq!((flow_count(&fixture.ebpf), fixture.active()), (0, [0, 0]));
        }
    }
}
