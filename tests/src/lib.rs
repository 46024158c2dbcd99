//! Harness of the end-to-end tests, and the ground of `cargo xtask run`'s demo: network namespaces joined by virtual
//! links, servers that name themselves and record what they saw, clients, captures, and the daemon under test.
//!
//! Everything made here is gone after drop, also when a test panics; what a killed run left is swept by the next one.
//! Nothing touches the host's own network: all traffic is between namespaces that the harness made.

pub mod bpf;
pub mod bulk;
pub mod capture;
pub mod client;
pub mod daemon;
mod error;
pub mod flood;
pub mod lab;
pub mod link;
pub mod netns;
pub mod process;
pub mod raw;
pub mod scratch;
pub mod server;
pub mod skip;
pub mod systemd;
pub mod tag;
pub mod tools;
pub mod wait;

pub use daemon::Daemon;
pub use error::{Context, Error, Result};
pub use lab::Lab;
pub use netns::Netns;
pub use tag::Tag;
