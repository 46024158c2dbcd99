//! End-to-end tests in network namespaces: the harness itself, and `lb` in it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a step that fails is a test that fails"
)]

mod forwarding;
mod hostile;
mod kernel;
mod l7_haproxy;
mod laboratory;
mod leaving;
mod lifecycle;
mod setup;
mod userspace;
mod wire;
