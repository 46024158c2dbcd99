//! Answers of HTTP/1, as they come from servers to traffic and to checks: one unambiguous message, of which only what is sure is
//! read. Pure.
//!
//! [`head`] reads heads, [`alike`] knows the names of fields again, [`framing`] says where a body ends and [`chunked`] is the
//! coding of those without a length; [`fields`] are those that concern a proxy, of requests too. [`Reading`] is an answer from
//! its head to its end, for who has no client to pass it on to.

mod alike;
mod chunked;
pub mod fields;
mod framing;
mod head;
mod reading;

pub use framing::{Decoded, Framing, Malformed};
pub use head::{Answer, is_clear, is_coding_known, is_interim, length_of, read};
pub use reading::{Head, Reading, Unusable};

/// A head of an answer that is as long as this and has no end yet is none.
pub const MAX_HEAD: usize = 32 * 1024;
