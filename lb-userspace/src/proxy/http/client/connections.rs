//! What becomes of a client's connection and of those to servers.

use std::sync::atomic::{AtomicU64, Ordering};

use super::Client;
use crate::config::model::ConnectionMode;

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
        static NEXT: AtomicU64 = AtomicU64::new(0);
        *self
            .identity
            .get_or_init(|| NEXT.fetch_add(1, Ordering::Relaxed))
    }

    /// The number of the present request in this process.
    pub(in super::super) fn number(&self) -> u64 {
        let number = self.number.get();
        let number = number.unwrap_or_else(|| self.worker.shared.http.next_number());
        self.number.set(Some(number));
        number
    }
}
