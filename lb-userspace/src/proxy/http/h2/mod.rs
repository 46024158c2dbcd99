//! HTTP/2 on both sides, over the h2 crate.
//!
//! A client's connection is a task that reads and writes frames, and each of its requests is a task of its own with what
//! a request on HTTP/1 has: clock, timeouts, record for the log. A connection to a server is a task as well, which the
//! requests of a worker share.
//!
//! | file | idea |
//! | --- | --- |
//! | `serve` | a client's connection: its requests, its limits, its idle time |
//! | `stream` | one request of it |
//! | `upstream` | connections to servers |
//! | `ask` | a request on one, and what comes of it |
//! | `pipe` | a body into a stream, as its window allows |
//! | `received` | a body out of a stream |
//! | `connect` | WebSocket and its like in a stream |
//! | `bytestream` | such a stream as the bytes that it carries |
//! | `head` | heads between HTTP/1's form and HTTP/2's |
//! | `io` | a client's socket as the h2 crate sees it |

mod ask;
mod bytestream;
mod connect;
mod head;
mod io;
mod pipe;
mod received;
mod serve;
mod stream;
mod upstream;

pub(super) use ask::Unanswered;
pub(super) use bytestream::Bytestream;
pub(super) use connect::carry;
pub(super) use head::is_upgrade;
pub(super) use received::Received;
pub(super) use serve::begins;
pub(in crate::proxy) use serve::{Arrival, serve};
pub(super) use upstream::{Chosen, Lease, NotAsked, Pool};

/// Requests that may be under way on a connection, on either side: HAProxy's `tune.h2.max-concurrent-streams`.
const STREAMS: u32 = 100;
/// What may be on its way in a stream without being taken: HTTP/2's own default.
const STREAM_WINDOW: u32 = 65_535;
/// The same of a connection: each stream's, so that one that nobody reads does not hold up the others.
const CONNECTION_WINDOW: u32 = STREAMS * STREAM_WINDOW;
/// What may wait to be written of a stream.
const SEND_BUFFER: usize = 64 * 1024;
/// Largest head, as HTTP/2 counts it: 32 bytes a field more than HTTP/1 does.
const MAX_HEAD: u32 = 16 * 1024;
/// Resets that we have sent and for which the peer's frames may still be on their way.
const REMEMBERED_RESETS: usize = 50;
