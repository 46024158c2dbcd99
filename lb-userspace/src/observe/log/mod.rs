//! Access logs and the daemon's messages.
//!
//! A data path hands a finished session to [`Sink::http`] or [`Sink::tcp`]; whoever changes a state hands its sentence to
//! [`Sink::event`]. What the line says is put into a bounded queue, and sent by a thread of its own, so that neither a
//! slow disk nor a dead syslog server can hold a request. A full queue drops the line and counts it.
//!
//! The thread writes the lines of HTTP requests too ([`kept`]); others are written where they arise, with what only is there.

mod batch;
pub mod bridge;
pub mod clock;
pub mod custom;
mod entrance;
pub mod held;
pub mod httplog;
mod journal;
pub mod json;
mod kept;
pub mod level;
pub mod record;
pub mod rfc3164;
pub mod sink;
mod stream;
pub mod target;
mod targets;
pub mod tcplog;
pub mod termination;
mod text;

#[cfg(test)]
mod fixture;

pub use entrance::entrance_failed;
pub use level::Level;
pub use record::{
    Active, Common, Extra, HttpRecord, Path, RequestLine, ServerField, Structured, TcpRecord,
};
pub use sink::{Sink, Writer};
pub use termination::{Cause, CookieSeen, CookieSet, Phase, Termination};
