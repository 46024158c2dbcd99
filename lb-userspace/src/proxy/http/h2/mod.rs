//! HTTP/2: towards clients our own, towards servers the h2 crate's.
//!
//! A client's connection is a task that reads and writes frames, and each of its requests is a task of its own with what
//! a request on HTTP/1 has: clock, timeouts, record for the log. What they share lives on one thread and takes no lock;
//! while a client says nothing it is small, since buffers exist only while they are used. A connection to a server is a
//! task as well, which the requests of a worker share.
//!
//! | file | idea |
//! | --- | --- |
//! | `serve` | a client's connection: its requests, its limits, its idle time |
//! | `io` | its socket |
//! | `wire` | what its requests share: streams, windows, what is to be written |
//! | `incoming`, `control` | what it says, frame by frame |
//! | `frame`, `hpack` | frames and heads as bytes |
//! | `fields` | a request's head from its fields |
//! | `state`, `inbox`, `out` | one stream, what has come of it, what is to be written |
//! | `stream` | one request |
//! | `handles` | what that holds of its stream |
//! | `body`, `respond` | its body, and that of the answer |
//! | `near` | a client's stream as the bytes that it carries |
//! | `upstream` | connections to servers, which requests share |
//! | `ask` | a request on one, and what comes of it |
//! | `pipe`, `received` | a body into a server's stream, and one out of it |
//! | `bytestream` | such a stream as the bytes that it carries |
//! | `connect` | WebSocket and its like in a stream |
//! | `head` | heads between HTTP/1's form and HTTP/2's |

mod ask;
mod body;
mod bytestream;
mod connect;
mod control;
mod fields;
mod frame;
mod handles;
mod head;
mod hpack;
mod inbox;
mod incoming;
mod io;
mod near;
mod out;
mod pipe;
mod received;
mod respond;
mod serve;
mod state;
mod stream;
#[cfg(test)]
mod tests;
mod upstream;
mod wire;

pub(super) use ask::Unanswered;
pub(super) use body::Body;
pub(super) use bytestream::Bytestream;
pub(super) use connect::carry;
pub(super) use handles::Incoming;
pub(super) use head::is_upgrade;
pub(super) use near::Near;
pub(super) use received::Received;
pub(super) use serve::begins;
pub(in crate::proxy) use serve::{Arrival, serve};
pub(super) use state::Broken;
pub(super) use upstream::{Chosen, Lease, NotAsked, Pool};

/// Requests that may be under way on a connection, on either side: HAProxy's `tune.h2.max-concurrent-streams`.
const STREAMS: u32 = 100;
/// What may be on its way in a stream without being taken: HTTP/2's own default.
const STREAM_WINDOW: u32 = 65_535;
/// The same of a connection: each stream's, so that one that nobody reads does not hold up the others.
const CONNECTION_WINDOW: u32 = STREAMS * STREAM_WINDOW;
/// What may wait to be written of a server's stream.
const SEND_BUFFER: usize = 64 * 1024;
/// Largest head, as HTTP/2 counts it: 32 bytes a field more than HTTP/1 does.
const MAX_HEAD: u32 = 16 * 1024;
/// Resets that we have sent and for which the peer's frames may still be on their way.
const REMEMBERED_RESETS: usize = 50;
