//! What becomes of a client's connection and of those to servers.

use std::{
    net::SocketAddr,
    rc::Rc,
    sync::atomic::{AtomicU64, Ordering},
};

use super::{Client, Peer};
use crate::{config::model::ConnectionMode, wire::sockopt};

impl Client {
    /// Whether the client's connection ends with the request: its frontend's word alone.
    pub(in super::super) fn closes(&self) -> bool {
        self.frontend().config.connection_mode == ConnectionMode::Close
    }

    /// What becomes of the connection to the server after the request: the frontend's word and that of its backend.
    pub(in super::super) fn connection_mode(&self) -> ConnectionMode {
        let exchange = self.exchange();
        let of_backend = exchange
            .backend()
            .map(|backend| backend.config.connections.mode);
        let of_frontend = self.frontend().config.connection_mode;
        of_frontend.max(of_backend.unwrap_or_default())
    }

    /// What tells this connection from all others, also from those that there have been.
    pub(in super::super) fn identity(&self) -> u64 {
        **self.whose()
    }

    /// The same, for whoever wants to know whether the connection is still there.
    pub(in super::super) fn whose(&self) -> &Rc<u64> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        self.identity
            .get_or_init(|| Rc::new(NEXT.fetch_add(1, Ordering::Relaxed)))
    }

    /// The number of the present request in this process.
    pub(in super::super) fn number(&self) -> u64 {
        let number = self.number.get();
        let number = number.unwrap_or_else(|| self.worker.shared.http.next_number());
        self.number.set(Some(number));
        number
    }

    /// Where the present request was to go: where its connection was opened to, or what a rule says.
    pub(in super::super) fn reached(&self) -> Peer {
        self.redirected.get().map_or(self.destination, Peer::Inet)
    }

    /// A rule says where it goes.
    pub(in super::super) fn redirect(&self, destination: SocketAddr) {
        self.redirected.set(Some(destination));
    }

    /// Gives its packets a mark.
    pub(in super::super) fn mark(&self, mark: u32) {
        if let Some(socket) = &self.socket {
            sockopt::told("a mark", sockopt::mark(socket, mark));
        }
    }

    /// Gives its packets a type of service.
    pub(in super::super) fn tos(&self, tos: u8) {
        if let Some(socket) = &self.socket {
            sockopt::told("a type of service", sockopt::tos(socket, tos));
        }
    }
}
