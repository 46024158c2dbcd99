//! What expressions see of the connections on either side of a request.

use std::os::fd::AsFd;

use super::{
    context::Exchange,
    facts::{heard, itself, millis, tcp},
    rules::Surroundings,
};
use crate::{
    rules::{Link, Value},
    topology::Peer,
};

impl Surroundings<'_> {
    /// Asks the exchange, whoever has it.
    pub(super) fn of_exchange<T>(&self, ask: impl FnOnce(&Exchange) -> T) -> T {
        match self.exchange {
            Some(exchange) => ask(exchange),
            None => ask(&self.client.exchange()),
        }
    }
}

/// A fact about them.
pub(super) fn link<'s>(around: &'s Surroundings<'_>, what: Link) -> Option<Value<'s>> {
    let client = around.client;
    let timeouts = || around.backend.map(|backend| &backend.config.timeouts);
    Some(match what {
        Link::FirstRequest => Value::Bool(client.requests() <= 1),
        Link::Thread => Value::Int(i64::try_from(client.worker.index).ok()?),
        Link::Stopping => Value::Bool(client.worker.is_stopping()),
        Link::ReceivedProxy => Value::Bool(client.introduced.is_some()),
        Link::Told(told) => heard(client.introduced.as_ref()?, told)?,
        Link::SocketId => Value::Int(client.label()?.id?.into()),
        Link::FrontendId => Value::Int(client.frontend().config.id.into()),
        Link::BackendId => Value::Int(match around.backend {
            Some(backend) => backend.config.id.into(),
            None => client.frontend().config.id.into(),
        }),
        Link::ServerId => Value::Int(
            around
                .of_exchange(|exchange| Some(exchange.server()?.id))?
                .into(),
        ),
        Link::SocketName => Value::text(client.label()?.name.as_deref()?),
        Link::Tcp(part) => Value::Int(tcp(client.socket.as_ref()?.as_fd(), part)?),
        Link::Itself { client: of, port } => itself(client.socket.as_ref()?.as_fd(), of, port)?,
        Link::ClientTimeout => millis(client.frontend().config.timeouts.client),
        Link::ServerTimeout => millis(timeouts()?.server),
        Link::TunnelTimeout => millis(timeouts()?.tunnel.unwrap_or_default()),
        Link::DefaultBackend => Value::text(client.frontend().config.default_backend.as_deref()?),
        Link::Server { port } => {
            let end = |exchange: &Exchange| match exchange.server()?.peer() {
                Peer::Inet(end) => Some(Link::end(end, port)),
                Peer::Unix(_) => None,
            };
            around.of_exchange(end)?
        }
        Link::Local { port } => Link::end(around.of_exchange(|exchange| exchange.local)?, port),
        Link::ServerMajor => {
            let server = |exchange: &Exchange| exchange.server().map(|_| exchange.is_http2);
            Value::Int(if around.of_exchange(server)? { 2 } else { 1 })
        }
        // What rules have said, and addresses, are all that these take.
        Link::CurrentServerTimeout
        | Link::CurrentTunnelTimeout
        | Link::SourceIsLocal
        | Link::ItselfIsLocal { .. }
        | Link::DestinationIsLocal => return None,
    })
}
