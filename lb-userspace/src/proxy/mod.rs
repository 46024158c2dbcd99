//! The userspace data paths.

pub mod http;
