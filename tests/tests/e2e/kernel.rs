//! What tests of the kernel path ask of it.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use aya::maps::{Array, HashMap, Map, MapData};
use lb_common::flow::{Flow, FlowKey, HalfSet, Leg, V4, flags};
use lb_common::tcp;
use lb_tests::server::Server;
use lb_tests::{Daemon, Lab, client, wait};
use serde_json::Value;

use crate::setup::{accepted_in_userspace, service};

/// One of the kernel program's counters, as `lb status` has it.
pub(crate) fn counter(daemon: &Daemon<'_>, name: &str) -> u64 {
    let status = daemon.status().unwrap();
    let counters = status["fast_path"]["counters"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    let found = counters.iter().find(|counter| counter["name"] == name);
    found
        .and_then(|counter| counter["value"].as_u64())
        .unwrap_or_else(|| panic!("no {name}: {status}"))
}

/// What `lb status` has of a server.
pub(crate) fn server_status(daemon: &Daemon<'_>, server: &str) -> Value {
    let status = daemon.status().unwrap();
    let backends = status["backends"].as_array().cloned().unwrap_or_default();
    let mut servers = backends
        .iter()
        .flat_map(|b| b["servers"].as_array().cloned().unwrap_or_default());
    servers
        .find(|member| member["row"]["svname"] == server)
        .unwrap_or_else(|| panic!("no server {server}: {status}"))
}

/// Connections that the kernel forwarded to a server, as `lb status` has it.
pub(crate) fn kernel_connections(daemon: &Daemon<'_>, server: &str) -> u64 {
    let member = server_status(daemon, server);
    let count = member["kernel"]["connections"].as_u64();
    count.unwrap_or_else(|| panic!("no connections: {member}"))
}

/// Flows of the kernel that are active on a server, as `lb status` has it.
pub(crate) fn active(daemon: &Daemon<'_>, server: &str) -> u64 {
    let member = server_status(daemon, server);
    member["kernel"]["active"].as_u64().unwrap()
}

/// Waits until `lb status` has counted every connection that a server without health checks has accepted.
#[track_caller]
pub(crate) fn counts_settle(daemon: &Daemon<'_>, server: &Server) {
    let mut member = Value::Null;
    let settled = wait::until_true("the status to count all connections", || {
        member = server_status(daemon, server.name());
        member["row"]["stot"] == server.accepted()
    });
    settled.unwrap_or_else(|error| {
        panic!(
            "{error}: {} accepted {}; {member}; {}",
            server.name(),
            server.accepted(),
            reasons(daemon)
        )
    });
}

/// Polls a figure of the status until it is this one: counters are read from the kernel now and then.
#[track_caller]
pub(crate) fn settles_at(what: &str, expected: u64, mut figure: impl FnMut() -> u64) {
    let mut last = 0;
    let reached = wait::until_true(what, || {
        last = figure();
        last == expected
    });
    reached.unwrap_or_else(|error| panic!("{error}: {last} instead of {expected}"));
}

/// How long the kernel may take to follow a change of a server's state or weight: part of the contract, not a guess.
pub(crate) const FOLLOWS: Duration = Duration::from_millis(100);

/// Connections in a row that [`kernel_takes_over`] wants to see forwarded: enough to meet every server, whatever the
/// algorithm. One whose neighbour entry is still being asked for is left to userspace.
const PROBES: u16 = 48;

/// [`kernel_takes_over_at`] for the service that most tests use.
pub(crate) fn kernel_takes_over(lab: &Lab, daemon: &Daemon<'_>) {
    kernel_takes_over_at(lab, daemon, service(lab));
}

/// Waits until the agent says that the kernel serves the first frontend, and the kernel program really takes new
/// connections to `target`: many go through and no socket of the balancer accepts one.
pub(crate) fn kernel_takes_over_at(lab: &Lab, daemon: &Daemon<'_>, target: SocketAddr) {
    let said = wait::until_true("lb to say that the kernel path is there", || {
        daemon.status().unwrap()["fast_path"]["frontends"][0]["path"] == "kernel"
    });
    said.unwrap_or_else(|error| panic!("{error}; lb said:\n{}", daemon.log()));
    let through = wait::until_true("connections that the kernel forwards", || {
        let before = accepted_in_userspace(lab);
        let connected = (0..PROBES).all(|i| {
            let source = lab.client_alias(u16::MAX - i);
            client::connect(lab.client(), target, Some(source.into())).is_ok()
        });
        connected && accepted_in_userspace(lab) == before
    });
    through.unwrap_or_else(|error| {
        panic!(
            "{error}; counted: {}; lb said:\n{}",
            reasons(daemon),
            daemon.log()
        )
    });
}

/// The kernel program's counters that are not 0, for the message of a test that fails.
pub(crate) fn reasons(daemon: &Daemon<'_>) -> String {
    let status = daemon.status().unwrap();
    let counters = status["fast_path"]["counters"].as_array().cloned();
    let counters = counters.unwrap_or_default();
    let counted = counters.iter().filter(|c| c["value"] != 0);
    let texts = counted.map(|c| format!("{} {}", c["name"], c["value"]));
    texts.collect::<Vec<_>>().join(", ")
}

/// Flows of one server that are active, found by reading the tables themselves: the established ones, and those that are
/// half-open.
pub(crate) fn recount(daemon: &Daemon<'_>, server: SocketAddr) -> (u64, u64) {
    let IpAddr::V4(address) = server.ip() else {
        panic!("{server} is not IPv4");
    };
    let address = u32::from_ne_bytes(address.octets());
    let counts = |leg: &Leg<V4>| {
        leg.flags & flags::REVERSE == 0
            && !tcp::is_closing(leg.state)
            && (leg.dst, leg.dport) == (address, server.port().to_be())
    };
    let table = |name: &str| {
        let path = daemon.pin_path().join("v2/maps").join(name);
        Map::from_map_data(MapData::from_pin(path).unwrap()).unwrap()
    };
    let flows = HashMap::<_, FlowKey<V4>, Flow<V4>>::try_from(table("FLOWS4")).unwrap();
    let flows = flows.iter().filter_map(Result::ok);
    let established = flows.filter(|(_, flow)| counts(&flow.leg)).count();
    let sets = Array::<_, HalfSet<V4>>::try_from(table("HALF4")).unwrap();
    let halves = sets.iter().filter_map(Result::ok).flat_map(|set| set.ways);
    let half_open = halves.filter(|half| half.key.proto != 0 && counts(&half.leg));
    (established as u64, half_open.count() as u64)
}
