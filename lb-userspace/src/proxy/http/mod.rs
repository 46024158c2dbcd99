//! `mode http`: HTTP/1.1 from clients to servers.

pub mod answer;
pub mod cookie;
pub mod forward;
