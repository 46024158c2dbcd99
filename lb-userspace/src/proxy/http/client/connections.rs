//! What becomes of a client's connection and of those to servers.

use std::{net::SocketAddr, rc::Rc};

use super::Client;
use crate::config::model::ConnectionMode;

impl Client {
    /// What becomes of the connections after the request: the frontend's word and that of its backend, once it has one.
    pub(in super::super) fn connection_mode(&self) -> ConnectionMode {
        let exchange = self.exchange();
        let of_backend = exchange
            .backend()
            .map(|backend| backend.config.connections.mode);
        let of_frontend = self.frontend().config.connection_mode;
        of_frontend.max(of_backend.unwrap_or_default())
    }

    /// What tells this connection from others that there are.
    pub(in super::super) fn identity(&self) -> (usize, SocketAddr) {
        (Rc::as_ptr(&self.whose) as usize, self.source())
    }
}
