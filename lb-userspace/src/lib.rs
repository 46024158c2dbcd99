//! `lb`'s agent: configuration, health checks, the userspace data paths, statistics, and the loader of the in-kernel
//! fast path. ARCHITECTURE.md says which way the arrows between these folders go.

pub mod config;
pub mod fastpath;
pub mod observe;
pub mod proxy;
pub mod rules;
pub mod topology;
