//! A connection's bytes, and what comes before them towards a server. What the traffic to a server and its checks have in
//! common is said here, once.

pub mod dial;
pub mod h1;
pub mod header;
pub mod heard;
pub mod socket;
pub mod sockopt;
pub mod stream;
pub mod told;
mod unhurried;

pub use socket::Socket;
pub use stream::Stream;
