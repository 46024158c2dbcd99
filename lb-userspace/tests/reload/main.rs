//! Another configuration for a daemon that runs: what stays, what changes, what goes and what is refused, as clients and
//! servers meet it over loopback.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on says so by panicking"
)]

#[path = "../../src/tls/fixtures.rs"]
#[allow(dead_code, reason = "shared with other tests")]
mod certificates;
#[path = "../edge/daemon.rs"]
#[allow(dead_code, reason = "shared with other tests")]
mod daemon;

mod carried;
mod changes;
mod goes;
mod killed;
mod operated;
mod refused;
mod stays;
mod upgrade;
mod world;
