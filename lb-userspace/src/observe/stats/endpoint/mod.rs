//! The stats endpoint: the page, CSV, JSON, metrics and health over HTTP/1.1.

mod act;
mod places;
mod respond;
mod route;
mod serve;

pub use respond::{Asked, Endpoint, Unread};
pub use serve::{ListenError, Serving, listen, name};
