//! What may be asked of proxies and servers.

use crate::rules::named::Named;

/// A number about a proxy or server. Without a name the one that the request is at.
#[derive(Debug, Clone)]
pub enum Fact {
    /// `nbsrv`: servers of a backend that can be used.
    UsableServers(Option<Named>),
    /// `connslots`: places in its servers and their queues.
    Slots(Option<Named>),
    /// `be_conn`: connections.
    BackendConnections(Option<Named>),
    /// `be_conn_free`: places in its servers.
    BackendFree(Option<Named>),
    /// `be_sess_rate`: connections a second.
    BackendRate(Option<Named>),
    /// `queue`: requests that wait.
    Queue(Option<Named>),
    /// `avg_queue`: the same for each server that can be used.
    AverageQueue(Option<Named>),
    /// `fe_conn`: connections.
    FrontendConnections(Option<Named>),
    /// `fe_sess_rate`: connections a second.
    FrontendRate(Option<Named>),
    /// `fe_req_rate`: requests a second.
    FrontendRequestRate(Option<Named>),
    /// `srv_is_up`: whether a server can be used.
    ServerUp(Named, Named),
    /// `srv_conn`: connections.
    ServerConnections(Named, Named),
    /// `srv_conn_free`: places.
    ServerFree(Named, Named),
    /// `srv_weight`: its weight.
    ServerWeight(Named, Named),
    /// `srv_queue`: requests that wait for it.
    ServerQueue(Named, Named),
    /// `srv_iweight`: the weight that the file gives it.
    ServerInitialWeight(Named, Named),
    /// `srv_sess_rate`: connections a second.
    ServerRate(Named, Named),
}

impl Fact {
    /// The frontend that it names.
    pub fn frontend(&self) -> Option<&Named> {
        match self {
            Self::FrontendConnections(f) | Self::FrontendRate(f) | Self::FrontendRequestRate(f) => {
                f.as_ref()
            }
            _ => None,
        }
    }

    /// Whether it is about the frontend that a client has come to.
    pub fn is_of_own_frontend(&self) -> bool {
        matches!(
            self,
            Self::FrontendConnections(None)
                | Self::FrontendRate(None)
                | Self::FrontendRequestRate(None)
        )
    }

    /// Where those stand that it names.
    pub fn places(&self) -> [Option<usize>; 3] {
        let (backend, server) = self.backend();
        [self.frontend(), backend, server].map(|named| named?.index())
    }

    /// The backend and the server that it names.
    pub fn backend(&self) -> (Option<&Named>, Option<&Named>) {
        match self {
            Self::UsableServers(b)
            | Self::Slots(b)
            | Self::BackendConnections(b)
            | Self::BackendFree(b)
            | Self::BackendRate(b)
            | Self::Queue(b)
            | Self::AverageQueue(b) => (b.as_ref(), None),
            Self::FrontendConnections(_) | Self::FrontendRate(_) | Self::FrontendRequestRate(_) => {
                (None, None)
            }
            Self::ServerUp(b, s)
            | Self::ServerConnections(b, s)
            | Self::ServerFree(b, s)
            | Self::ServerWeight(b, s)
            | Self::ServerQueue(b, s)
            | Self::ServerInitialWeight(b, s)
            | Self::ServerRate(b, s) => (Some(b), Some(s)),
        }
    }
}
