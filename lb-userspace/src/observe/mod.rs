//! What operators see: logs, the stats page, CSV, JSON and metrics.
//!
//! Nothing here decides anything about traffic. Formats are pure functions from plain data to text, so they are tested
//! without a socket; the sockets and threads that carry the text are at the rim ([`log::Sink`]).

pub mod log;
pub mod path;
pub mod request;
pub mod sessions;
pub mod stats;
