use std::net::IpAddr;

use super::super::model::{Event, Link, LinkKind, Neighbour as Known};
use super::*;

const TARGET: Neighbour = (2, IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 9)));

fn view(up: bool, state: Option<NeighbourState>) -> View {
    let link = Link {
        index: TARGET.0,
        name: "eth0".to_owned(),
        kind: LinkKind::Device,
        ethernet: true,
        loopback: false,
        mac: None,
        mtu: 1500,
        up,
        carrier: up,
        master: None,
        lower: None,
    };
    let known = state.map(|state| Event::Neighbour(TARGET.0, TARGET.1, Known { state, mac: None }));
    View::from_dump([Event::Link(link)].into_iter().chain(known))
}

fn wanting() -> Schedule {
    let mut schedule = Schedule::default();
    schedule.want(&BTreeSet::from([TARGET]));
    schedule
}

#[test]
fn each_state_of_a_neighbour_gets_what_it_needs() {
    let table = [
        (None, Some(false)),
        (Some(NeighbourState::None), Some(false)),
        (Some(NeighbourState::Failed), Some(false)),
        (Some(NeighbourState::Stale), Some(true)),
        (Some(NeighbourState::Incomplete), None),
        (Some(NeighbourState::Delay), None),
        (Some(NeighbourState::Probe), None),
        (Some(NeighbourState::Reachable), None),
        (Some(NeighbourState::Permanent), None),
    ];
    for (state, confirm) in table {
        let probes = wanting().due(&view(true, state), Instant::now());
        assert_eq!(
            probes.first().map(|probe| probe.confirm),
            confirm,
            "{state:?}"
        );
        assert_eq!(
            wanting().due(&view(false, state), Instant::now()),
            [],
            "{state:?}, link down"
        );
    }
}

#[test]
fn pauses_grow_while_there_is_no_answer_and_start_anew_after_one() {
    let mut schedule = wanting();
    let missing = view(true, None);
    let mut now = Instant::now();
    let mut pauses = Vec::new();
    for _ in 0..7 {
        assert_eq!(schedule.due(&missing, now).len(), 1);
        assert_eq!(schedule.due(&missing, now), [], "not twice at one time");
        let next = schedule.next_wake(&missing).unwrap();
        pauses.push((next - now).as_millis());
        now = next;
    }
    assert_eq!(pauses, [500, 1000, 2000, 4000, 8000, 8000, 8000]);

    let reachable = view(true, Some(NeighbourState::Reachable));
    assert_eq!(schedule.due(&reachable, now), []);
    assert_eq!(schedule.next_wake(&reachable), None);
    assert_eq!(schedule.due(&missing, now).len(), 1);
    assert_eq!(schedule.next_wake(&missing), Some(now + FIRST_PAUSE));
}

#[test]
fn those_no_longer_wanted_are_left_alone() {
    let mut schedule = wanting();
    schedule.want(&BTreeSet::new());
    assert_eq!(schedule.due(&view(true, None), Instant::now()), []);
}
