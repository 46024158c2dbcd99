//! What comes before and around a connection's own bytes, as clients and servers meet it: TLS and PROXY headers, with
//! curl and openssl beside our own sockets, against the binary.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on says so by panicking"
)]

mod admin_sockets;
mod agents;
mod beside;
mod browser;
#[path = "../../src/tls/fixtures.rs"]
#[allow(dead_code, reason = "shared with other tests")]
mod certificates;
mod chains;
mod checks;
mod client_errors;
mod clients;
mod command_line;
mod crt_lists;
mod daemon;
#[path = "../../src/names/fixtures.rs"]
#[allow(dead_code, reason = "shared with other tests")]
mod dns;
mod exchange;
mod families;
mod forwarded;
mod h2;
mod halves;
mod health;
mod idle;
mod invalid;
mod killed;
mod large;
mod limits;
mod lines;
mod metrics;
mod names;
mod operators;
mod parked;
mod python;
mod queues;
mod reused;
mod runtime;
mod server;
mod servers_file;
mod sessions;
mod settings;
mod stats;
mod swapped;
mod terminated;
mod tools;
mod top;
mod unix;
mod ways;
mod weights;
