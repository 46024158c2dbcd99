//! Several CPUs at the same few flows, and tables without room: whatever happens, counts equal a recount.

use std::thread;

use aya::Ebpf;
use aya::programs::{TestRun, TestRunOptions, Xdp};
use lb_common::abi::reap;
use lb_common::flow::HALF_OPEN_MS;
use lb_common::service::Lane;
use lb_common::tcp;
use rustix::thread::{CpuSet, sched_setaffinity};

use crate::fixture::{Fixture, Hook};
use crate::frame::{Frame, proto};
use crate::tuple::Tuple;
use crate::world::{Family, TICK, World, port};

fn run(ebpf: &Ebpf, program: &str, packet: &[u8]) {
    let program: &Xdp = ebpf.program(program).unwrap().try_into().unwrap();
    let mut options = TestRunOptions::new();
    options.data_in = Some(packet);
    program.test_run(options).unwrap();
}

/// Lets a minute pass for what is half-open, and has the reaper forget it.
fn expire_half_open(fixture: &mut Fixture) {
    fixture.age_half_open(HALF_OPEN_MS);
    fixture.reap(&fixture.half_order());
    assert_eq!(fixture.half_open(), []);
}

/// Forward entries are as many as the count says, each that is translated has its reverse one, and what is open, with the
/// half-open ones, is as many as the servers have active.
#[track_caller]
pub(crate) fn assert_counts_agree(fixture: &mut Fixture) {
    let active = fixture.all_active();
    let flows = fixture.flows();
    let half = fixture.half_open();
    let what = || format!("{flows:#?} {half:#?}");
    let mut open = [0; 8];
    let forward = flows.values().filter(|flow| !flow.is_reverse());
    for flow in forward.clone() {
        let ordinal = (flow.lane % 8) as usize;
        open[ordinal] += u32::from(!tcp::is_closing(flow.state));
        if flow.is_translated() {
            let reverse = flows.get(&flow.to.reversed());
            assert!(
                reverse.is_some_and(|r| r.is_reverse() && r.to == flow.key.reversed()),
                "{flow:?} without its other half: {}",
                what()
            );
        }
    }
    for half in half.iter().filter(|half| !half.is_reverse()) {
        open[(half.lane % 8) as usize] += 1;
    }
    for reverse in flows.values().filter(|flow| flow.is_reverse()) {
        let forward = flows.get(&reverse.to.reversed());
        assert!(
            forward.is_some_and(|f| !f.is_reverse()),
            "{reverse:?} without its other half: {}",
            what()
        );
    }
    assert_eq!(fixture.flow_count(), forward.count() as u64, "{}", what());
    assert_eq!(active, open, "{}", what());
}

#[test]
fn a_table_and_source_ports_without_room_leave_no_count_and_no_half_behind() {
    if crate::skipped() {
        return;
    }
    let mut fixture = Fixture::new(Hook::Xdp);
    for family in Family::BOTH {
        fixture.turn_to(family);
        fixture.reset();
        let w = fixture.world;
        // One source port, so a flow for each server.
        for n in 0..20 {
            fixture.run(&w.syn(w.client.at_port(100 + n), port::TURN).bytes());
        }
        assert_counts_agree(&mut fixture);
        assert_eq!(fixture.half_open().len(), 4);
        fixture.reset();
        for n in 0..1_000 {
            let client = w.client.at_port(1_000 + n);
            fixture.send(&w.syn(client, port::NAT));
            fixture.send(&Frame::tcp(w.s1, client.at_mac(w.snat.mac), "S."));
            fixture.send(&Frame::tcp(client, w.at(port::NAT), "."));
        }
        // Two entries each in a table of 1024.
        assert_eq!(fixture.flow_count(), 512);
        assert_counts_agree(&mut fixture);
    }
}

/// All that a few clients and the servers might send, in no order.
fn packets(w: &World) -> Vec<Vec<u8>> {
    let mut packets = Vec::new();
    for client in [w.client, w.client_2, w.client.at_port(7)] {
        for port in [port::TURN, port::NAT, port::LEAST, port::DSR_ONE] {
            for flags in ["S", "S", ".", ".", "F.", "R"] {
                packets.push(Frame::tcp(client, w.at(port), flags).bytes());
            }
            packets.push(Frame::tcp(client, w.at(port), "P.").data(b"data").bytes());
            packets.push(w.datagram(client, port).bytes());
        }
        for flags in ["S.", ".", "F.", "R"] {
            let seen = client.at_mac(w.snat.mac);
            packets.push(Frame::tcp(w.s1, seen, flags).bytes());
        }
        packets.push(Frame::udp(w.s1, client.at_mac(w.snat.mac)).bytes());
    }
    for server in [w.s1, w.s2] {
        for flags in ["S.", "S.", ".", "F.", "F.", "R"] {
            packets.push(Frame::tcp(server, w.snat, flags).bytes());
        }
        packets.push(Frame::udp(server, w.snat).bytes());
    }
    packets
}

/// The tuples that those may have.
fn tuples(w: &World) -> Vec<Tuple> {
    let mut tuples = Vec::new();
    for proto in [proto::TCP, proto::UDP] {
        for client in [w.client, w.client_2, w.client.at_port(7)] {
            for port in [port::TURN, port::NAT, port::LEAST, port::DSR_ONE] {
                tuples.push(Tuple::new(client, w.at(port), proto));
            }
            tuples.push(Tuple::new(w.s1, client, proto));
        }
        for server in [w.s1, w.s2] {
            tuples.push(Tuple::new(server, w.snat, proto));
        }
    }
    tuples
}

#[test]
fn two_cpus_at_the_same_flows_leave_counts_that_equal_a_recount() {
    if crate::skipped() {
        return;
    }
    let mut fixture = Fixture::new(Hook::Xdp);
    for family in Family::BOTH {
        fixture.turn_to(family);
        fixture.reset();
        let packets = packets(&fixture.world);
        let orders: Vec<Vec<u8>> = tuples(&fixture.world)
            .into_iter()
            .map(|tuple| fixture.order(reap::IDLE, &[tuple]))
            .collect();
        for round in 0..6u32 {
            // In every other round the reaper takes whatever it meets, but for what both ends have finished.
            let idle = if round % 2 == 0 { 100 } else { 0 };
            for lane in 0..16 {
                let server = (lane % 8) | ((lane / 8) << 8);
                fixture.set("LANES", lane, Lane { server, idle });
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
                            random =
                                lb_common::hash::mix(random.wrapping_add(0x9e37_79b9_7f4a_7c15));
                            run(ebpf, "lb_xdp", &packets[random as usize % packets.len()]);
                        }
                    });
                }
                scope.spawn(|| {
                    for _ in 0..100 {
                        for order in &orders {
                            run(ebpf, "lb_reap", order);
                        }
                    }
                });
            });
            assert_counts_agree(&mut fixture);
            // Everything is idle now.
            fixture.set("CLOCK", 0, TICK + (round + 1) * 10_000);
            if round % 2 == 0 {
                for order in &orders {
                    run(&fixture.ebpf, "lb_reap", order);
                }
                expire_half_open(&mut fixture);
                assert_eq!(fixture.flows().len(), 0);
                assert_eq!((fixture.flow_count(), fixture.all_active()), (0, [0; 8]));
            }
        }
    }
}
