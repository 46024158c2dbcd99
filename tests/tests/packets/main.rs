//! The kernel program packet by packet, through BPF_PROG_TEST_RUN: bytes in; verdict, bytes out and counter expected.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a step that fails is a test that fails"
)]

mod any;
mod behaviour;
mod change;
mod fixture;
mod frame;
mod races;
mod simulation;
mod table;
mod tables;
mod tuple;
mod world;

use lb_tests::skip;

/// True, and says why, when the program cannot be loaded here.
fn skipped() -> bool {
    let object = fixture::object();
    skip::without_bpf() || skip::without_file(&object, "`cargo xtask build` makes it")
}
