//! `lb`'s agent: configuration, health checks, the userspace data paths, statistics, and the loader of the in-kernel
//! fast path. ARCHITECTURE.md says which way the arrows between these folders go.

pub mod accounts;
pub mod admin;
pub mod allocator;
pub mod capabilities;
pub mod config;
pub mod daemon;
pub mod fastpath;
pub mod health;
pub mod names;
pub mod observe;
mod percent;
pub mod proxy;
pub mod rules;
pub mod socket_file;
pub mod tls;
pub mod topology;
pub mod watched;
pub mod wire;
