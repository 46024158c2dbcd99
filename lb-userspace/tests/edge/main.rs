//! What comes before and around a connection's own bytes, as clients and servers meet it: TLS and PROXY headers, with
//! curl and openssl beside our own sockets, against the binary.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on says so by panicking"
)]

mod certificates;
mod clients;
mod daemon;
mod exchange;
mod h2;
mod idle;
mod large;
mod parked;
mod python;
mod server;
mod terminated;
mod ways;
