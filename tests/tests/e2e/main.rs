//! End-to-end tests in network namespaces: the harness itself, and `lb` in it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a step that fails is a test that fails"
)]

mod absent;
mod balancing;
mod beside;
mod commands;
#[path = "../../../lb-userspace/src/names/fixtures.rs"]
#[allow(dead_code, reason = "shared with other tests")]
mod dns;
mod dsr;
mod dual_stack;
mod failover;
mod faults;
mod flood;
mod flow_log;
mod forwarding;
mod guide;
mod health;
mod hostile;
mod kernel;
mod l7_haproxy;
mod laboratory;
mod leaving;
mod lifecycle;
mod matrix;
mod maxconn;
mod names;
mod operated;
mod oracle;
mod pmtu;
mod privileges;
mod reload;
mod reload_load;
mod services;
mod setup;
mod spoofed;
mod stats;
mod systemd;
mod tutorial;
mod units;
mod unprivileged;
mod upgrade;
mod userspace;
mod vip;
mod wire;
