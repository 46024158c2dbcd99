//! HTTP/1 towards servers.
//!
//! Towards clients hyper speaks it. Towards a server a request has a connection to itself and is carried by the task that
//! serves the client, so nothing need pass from one task to another: what hyper's client has for that, channels for the
//! request, for the answer and for its body, was a tenth of what a request costs. What is written and understood is the
//! same: one unambiguous message, of which only what is sure is read.
//!
//! [`Connection`] is the whole of it: given a request, and driven, it has an answer, whose [`Body`] fills while it is
//! driven on. [`head`] writes heads, [`out`] keeps what is to be written; what is read is understood by
//! [`wire::h1`](crate::wire::h1), as that of checks is. Pure but for the connection.

mod body;
mod connection;
mod head;
mod out;

pub(super) use body::{Body, BrokenOff};
pub(super) use connection::{Connection, Failed};
pub(super) use head::{announced, write_end};
