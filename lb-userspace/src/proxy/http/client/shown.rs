//! What operators are shown of a client's connection, and what ends for them.

use std::sync::Arc;

use super::Client;
use crate::{proxy::sessions::Served, topology::Server};

impl Served for Client {
    fn server(&self) -> Option<Arc<Server>> {
        self.exchange().server().cloned()
    }

    /// Its one request is at the connection's own task.
    fn rouse(&self) {}
}
