//! `mode http`: HTTP/1 and HTTP/2 from clients to servers, each to each.
//!
//! A worker hands every accepted connection to [`serve()`]; what all workers know of the configuration is one immutable
//! [`Plan`]. A connection is one task: it drives hyper for the client and our own HTTP/1 for whichever server answers at
//! the moment, so a request passes from one to the other without changing tasks.
//!
//! | file | idea |
//! | --- | --- |
//! | `serve` | a connection from accept to close; the one timer |
//! | `park` | a connection while its client says nothing |
//! | `client` | what the parts of a connection share: clocks, phases, byte counts |
//! | `io` | the client's socket as hyper sees it |
//! | `exchange` | one request: routing, persistence, dispatch to servers, record for the log |
//! | `h1` | HTTP/1 towards servers |
//! | `server_io` | a server's socket; requests that are sent again |
//! | `interim` | what a server says before its answer |
//! | `invalid`, `recent` | messages that are none, for an operator to look at |
//! | `tunnel` | what becomes of a connection after `101 Switching Protocols` |
//! | `upstream`, `pool` | connections to servers, and the idle ones that are kept |
//! | `body`, `inbound` | bodies on their way through |
//! | `h2` | HTTP/2 on both sides |
//! | `forward`, `cookie`, `answer`, `plan` | what is decided, without any IO |
//! | `forwarded` | what is said of clients, by proxies before us and to servers |

mod ahead;
pub mod answer;
mod body;
mod client;
pub mod cookie;
mod exchange;
pub mod forward;
mod forwarded;
mod fragment;
mod h1;
mod h2;
mod inbound;
mod interim;
mod invalid;
mod io;
mod kept;
mod local;
mod message;
mod park;
pub mod plan;
mod pool;
mod recent;
mod serve;
mod server_io;
mod trailers;
mod tunnel;
mod upstream;

use crate::wire::h1::fields;

pub(in crate::proxy) use exchange::facts::{heard, itself, millis, name_part, tcp, tls_fact};
pub(in crate::proxy) use h2::serve as serve_http_2;
pub use local::Local;
pub use plan::Plan;
pub(in crate::proxy) use serve::{serve, vanish};
pub(in crate::proxy) use upstream::Place;

#[cfg(test)]
mod h2_answers_tests;
#[cfg(test)]
mod h2_bodies_tests;
#[cfg(test)]
mod h2_raw_tests;
#[cfg(test)]
mod h2_tests;
#[cfg(test)]
mod h2_websocket_tests;
#[cfg(test)]
mod protocol_tests;
#[cfg(test)]
mod raw_table;
#[cfg(test)]
mod raw_tests;
#[cfg(test)]
mod tests;
