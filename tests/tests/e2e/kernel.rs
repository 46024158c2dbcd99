//! What tests of the kernel path ask of it.

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

/// Waits until `lb status` has counted every connection that a server without health checks has accepted.
#[track_caller]
pub(crate) fn counts_settle(daemon: &Daemon<'_>, server: &Server) {
    settles_at(
        &format!("the connections of {}", server.name()),
        server.accepted(),
        || {
            let member = server_status(daemon, server.name());
            member["row"]["stot"].as_u64().unwrap_or(u64::MAX)
        },
    );
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

/// Waits until the agent says that the kernel serves the first frontend, and the kernel program really takes new
/// connections to the service: one goes through and no socket of the balancer accepts it.
pub(crate) fn kernel_takes_over(lab: &Lab, daemon: &Daemon<'_>) {
    let said = wait::until_true("lb to say that the kernel path is there", || {
        daemon.status().unwrap()["fast_path"]["frontends"][0]["path"] == "kernel"
    });
    said.unwrap_or_else(|error| panic!("{error}; lb said:\n{}", daemon.log()));
    let through = wait::until_true("a connection that the kernel forwards", || {
        let before = accepted_in_userspace(lab);
        let connected = client::connect(lab.client(), service(lab), None).is_ok();
        connected && accepted_in_userspace(lab) == before
    });
    through.unwrap_or_else(|error| panic!("{error}; lb said:\n{}", daemon.log()));
}
