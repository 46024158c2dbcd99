//! What expressions see of a connection of mode tcp.

use std::{
    borrow::Cow,
    cell::Cell,
    net::SocketAddr,
    os::fd::{AsFd, AsRawFd, RawFd},
    sync::Arc,
    time::Instant,
};

use super::{Client, Worker, inspect::Early};
use crate::{
    config::model::Label,
    proxy::http,
    rules::{
        Asked, Fact, Fault, Link, Scene, Seen, Side, State, Template, TlsFact, Value, Whose, World,
    },
    tls::Session,
    topology::{Backend, Frontend, Server},
    wire::{Socket, heard::Heard, sockopt},
};

/// A connection, and the process around it.
pub(in crate::proxy) struct Around<'a> {
    pub(in crate::proxy) worker: &'a Worker,
    pub(in crate::proxy) source: Cell<Option<SocketAddr>>,
    pub(in crate::proxy) destination: Cell<Option<SocketAddr>>,
    /// Its descriptor, as long as it is served.
    pub(in crate::proxy) descriptor: Option<RawFd>,
    pub(in crate::proxy) frontend: &'a Arc<Frontend>,
    /// The client's socket, while it is one.
    pub(in crate::proxy) socket: Option<&'a Socket>,
    /// What a PROXY header that came first told, if one came.
    pub(in crate::proxy) introduced: Option<&'a Heard>,
    /// What the bind is called that it came to.
    pub(in crate::proxy) label: Option<&'a Label>,
    /// TLS that ends here.
    pub(in crate::proxy) tls: Option<&'a Session>,
    pub(in crate::proxy) backend: Option<&'a Arc<Backend>>,
    /// The server that it is with, once there is one.
    pub(in crate::proxy) server: Option<&'a Server>,
    /// The name that a client asks for whose TLS passes through, if it was looked at.
    pub(in crate::proxy) name: Option<&'a str>,
    /// Why it was not let in.
    pub(in crate::proxy) fault: Option<&'a Fault>,
    /// What the client has said so far.
    pub(in crate::proxy) request: Option<Seen<'a>>,
    /// What the server has, where that is looked at.
    pub(in crate::proxy) response: Option<Seen<'a>>,
}

impl<'a> Around<'a> {
    /// Of a connection that nobody looks into.
    pub(in crate::proxy) fn of(worker: &'a Worker, client: &'a Client) -> Self {
        Self {
            worker,
            source: Cell::new(client.address.inet()),
            destination: Cell::new(client.destination().inet()),
            descriptor: Some(client.stream.tcp().as_raw_fd()),
            frontend: client.frontend(),
            socket: Some(client.stream.tcp()),
            introduced: client.introduced.as_deref(),
            label: client.label(),
            tls: client.tls.as_deref(),
            backend: None,
            server: None,
            name: None,
            fault: None,
            request: None,
            response: None,
        }
    }

    /// The same with what the client has said before it was sent on.
    pub(super) fn within(
        worker: &'a Worker,
        client: &'a Client,
        backend: Option<&'a Arc<Backend>>,
        early: &'a Early,
    ) -> Self {
        Self {
            backend,
            request: early.seen(),
            ..Self::of(worker, client)
        }
    }

    /// What expressions see then.
    pub(super) fn scene(&'a self, state: &'a State) -> Scene<'a> {
        Scene {
            request: None,
            response: None,
            state,
            world: self,
        }
    }
}

impl World for Around<'_> {
    fn source(&self) -> Option<SocketAddr> {
        self.source.get()
    }

    fn set_source(&self, source: SocketAddr) {
        self.source.set(Some(source));
    }

    fn set_destination(&self, destination: SocketAddr) {
        self.destination.set(Some(destination));
    }

    fn mark(&self, mark: u32) {
        if let Some(socket) = self.descriptor {
            sockopt::told("a mark", sockopt::mark(&socket, mark));
        }
    }

    fn tos(&self, tos: u8) {
        if let Some(socket) = self.descriptor {
            sockopt::told("a type of service", sockopt::tos(&socket, tos));
        }
    }

    fn destination(&self) -> Option<SocketAddr> {
        self.destination.get()
    }

    fn frontend(&self) -> &str {
        &self.frontend.name
    }

    fn backend(&self) -> Option<&str> {
        self.backend.map(|backend| &*backend.name)
    }

    fn fact(&self, fact: &Fact) -> Option<i64> {
        let topology = &self.worker.shared.topology;
        topology.fact(fact, Some(self.frontend), self.backend, self.now_ms())
    }

    fn named(&self, what: Asked, name: &str) -> Option<i64> {
        let topology = &self.worker.shared.topology;
        topology.named(what, name, self.backend)
    }

    fn link(&self, what: Link) -> Option<Value<'_>> {
        let timeouts = || self.backend.map(|backend| &backend.config.timeouts);
        Some(match what {
            Link::Thread => Value::Int(i64::try_from(self.worker.index).ok()?),
            Link::Stopping => Value::Bool(self.worker.is_stopping()),
            Link::ReceivedProxy => Value::Bool(self.introduced.is_some()),
            Link::Told(told) => http::heard(self.introduced?, told)?,
            Link::SocketId => Value::Int(self.label?.id?.into()),
            Link::FrontendId => Value::Int(self.frontend.config.id.into()),
            Link::BackendId => Value::Int(match self.backend {
                Some(backend) => backend.config.id.into(),
                None => self.frontend.config.id.into(),
            }),
            Link::ServerId => Value::Int(self.server?.id.into()),
            Link::SocketName => Value::text(self.label?.name.as_deref()?),
            Link::Tcp(part) => Value::Int(http::tcp(self.socket?.as_fd(), part)?),
            Link::Itself { client, port } => http::itself(self.socket?.as_fd(), client, port)?,
            Link::ClientTimeout => http::millis(self.frontend.config.timeouts.client),
            Link::ServerTimeout => http::millis(timeouts()?.server),
            Link::TunnelTimeout => http::millis(timeouts()?.tunnel.unwrap_or_default()),
            Link::DefaultBackend => Value::text(self.frontend.config.default_backend.as_deref()?),
            _ => return None,
        })
    }

    fn tls(&self, fact: TlsFact) -> Option<Value<'_>> {
        if let (TlsFact::Sni, Some(name)) = (fact, self.name) {
            return Some(Value::text(name));
        }
        http::tls_fact(self.tls?, fact)
    }

    fn name_part(
        &self,
        whose: Whose,
        issuer: bool,
        name: &str,
        which: i64,
    ) -> Option<Cow<'_, [u8]>> {
        http::name_part(self.tls?, whose, issuer, name, which)
    }

    fn fault(&self) -> Option<&Fault> {
        self.fault
    }

    fn server(&self) -> Option<Cow<'_, [u8]>> {
        Some(Cow::Borrowed(self.server?.name.as_bytes()))
    }

    fn unique_format(&self) -> Option<&Template> {
        Some(&self.frontend.config.unique_id.as_ref()?.format)
    }

    fn seen(&self, side: Side) -> Option<Seen<'_>> {
        match side {
            Side::Request => self.request,
            Side::Response => self.response,
        }
    }

    fn now_ms(&self) -> u64 {
        self.worker.shared.topology.clock.at(Instant::now())
    }
}
