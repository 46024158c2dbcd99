//! Mode http beside HAProxy: the same requests to both, in front of the same servers.
//!
//! Each of `setups` is written twice, as `haproxy.cfg` and as YAML, and has a table of requests. Status, header lines
//! (in any order, lines of one name in theirs), body, whether the connection goes on, what the servers saw, and what the
//! log says of it must be equal. Where they are not meant to be, the configuration's list of deviations says so and why;
//! a deviation that is no more is an error too, so the list is the whole truth.
//!
//! Each of `corpus` is a haproxy.cfg as people write them, which both read, with a script of what is asked beside it; a third
//! process runs the YAML that `lb import` prints of it.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on says so by panicking"
)]

mod case;
#[path = "../../src/tls/fixtures.rs"]
#[allow(dead_code, reason = "shared with other tests")]
mod certificates;
mod corpus;
#[path = "../../src/names/fixtures.rs"]
#[allow(dead_code, reason = "shared with other tests")]
mod dns;
mod h2_client;
mod judge;
mod log;
mod mutation;
mod named;
mod places;
mod process;
mod report;
mod run;
mod script;
mod server;
mod services;
mod setups;
mod talk;
mod words;
