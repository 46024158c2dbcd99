//! Two balancers that share an address under keepalived, with the configurations that lie in `conf/`: what a client sees of
//! it when one goes, in milliseconds and in connections lost.
//!
//! Two quick ones always run where keepalived is installed; all of them, with a table of what was seen:
//! `cargo test -p lb-tests --test e2e failover -- --ignored --nocapture --test-threads 1`.

mod pair;
mod view;

use lb_tests::{skip, wait};
use rustix::process::Signal;

use pair::{Bound, Keepalived, Pair, Place};
use view::{Seen, View};

/// How the first balancer goes.
#[derive(Debug, Clone, Copy)]
enum End {
    /// kill -9 of the agent; its programs forward on.
    Agent,
    /// All that runs on it is killed, and its link goes.
    Machine,
    /// Its link goes.
    Link,
    /// `lb` is stopped gracefully.
    Stop,
}

/// Has the first of two balancers go with clients at work, and gives what these saw.
fn fail_over(place: &Place, keepalived: Keepalived, bound: Bound, end: End) -> Seen {
    let mut pair = Pair::new(place, keepalived, bound);
    let view = View::open(&place.lab);
    view.settle(|| pair.logs());
    match end {
        End::Agent => pair.nodes[0].daemon.kill(),
        End::Machine => {
            pair.unplug_first();
            pair.nodes[0].daemon.kill();
            pair.nodes[0].keepalived.kill();
        }
        End::Link => pair.unplug_first(),
        End::Stop => pair.nodes[0].daemon.signal(Signal::TERM).unwrap(),
    }
    pair.second_has_address();
    // Whoever was hung up on comes again, and is served.
    view.settle(|| pair.logs());
    let seen = view.close();
    if matches!(end, End::Stop) {
        let daemon = &mut pair.nodes[0].daemon;
        let status = daemon.wait(wait::PATIENCE).unwrap();
        assert!(status.success(), "{status}: {}", daemon.log());
    }
    println!("{end:?}, keepalived {keepalived:?}, bound to {bound:?}:\n{seen}");
    // The other node computes the same server, and the same translation unless another connection has it there: of
    // some thousand that came and went since, one may.
    let lost = &seen.l4_established.lost;
    assert!(lost.len() <= 1, "{lost:?}; {}", pair.logs());
    seen
}

fn cannot_run() -> bool {
    skip::without_lb() || skip::without_tool("keepalived")
}

#[test]
fn the_other_takes_over_when_the_agent_is_killed() {
    if cannot_run() {
        return;
    }
    fail_over(&Place::new(), Keepalived::V3, Bound::Address, End::Agent);
}

#[test]
fn connections_outlive_an_address_that_nobody_knew_of() {
    if cannot_run() {
        return;
    }
    fail_over(&Place::new(), Keepalived::V3, Bound::Everywhere, End::Agent);
}

#[test]
fn a_graceful_stop_loses_nothing() {
    if cannot_run() {
        return;
    }
    let seen = fail_over(&Place::new(), Keepalived::V3, Bound::Address, End::Stop);
    for kind in [&seen.l4_new, &seen.l7_new, &seen.l7_established] {
        assert_eq!(kind.lost, Vec::<String>::new());
    }
}

#[test]
#[ignore = "three minutes: every way to go, with both versions of the protocol and both kinds of binds"]
fn every_way_to_go() {
    if cannot_run() {
        return;
    }
    for keepalived in [Keepalived::V2, Keepalived::V3] {
        for end in [End::Agent, End::Machine, End::Link, End::Stop] {
            for bound in [Bound::Address, Bound::Everywhere] {
                fail_over(&Place::new(), keepalived, bound, end);
            }
        }
    }
}
