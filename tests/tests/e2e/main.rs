//! End-to-end tests in network namespaces: the harness itself, and `lb` in it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a step that fails is a test that fails"
)]

mod balancing;
mod dsr;
mod dual_stack;
mod faults;
mod flow_log;
mod forwarding;
mod health;
mod hostile;
mod kernel;
mod l7_haproxy;
mod laboratory;
mod leaving;
mod lifecycle;
mod maxconn;
mod oracle;
mod setup;
mod stats;
mod tutorial;
mod unprivileged;
mod userspace;
mod wire;
