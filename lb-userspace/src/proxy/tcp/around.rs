//! What expressions see of a connection of mode tcp.

use std::{borrow::Cow, net::SocketAddr, sync::Arc, time::Instant};

use super::{Client, Worker};
use crate::{
    proxy::http,
    rules::{Fact, Fault, Seen, Side, TlsFact, Value, Whose, World},
    tls::Session,
    topology::{Backend, Frontend},
};

/// A connection, and the process around it.
pub(in crate::proxy) struct Around<'a> {
    pub(in crate::proxy) worker: &'a Worker,
    pub(in crate::proxy) source: Option<SocketAddr>,
    pub(in crate::proxy) destination: Option<SocketAddr>,
    pub(in crate::proxy) frontend: &'a Arc<Frontend>,
    /// TLS that ends here.
    pub(in crate::proxy) tls: Option<&'a Session>,
    pub(in crate::proxy) backend: Option<&'a Arc<Backend>>,
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
            source: client.address.inet(),
            destination: client.destination().inet(),
            frontend: client.frontend(),
            tls: client.tls.as_deref(),
            backend: None,
            name: None,
            fault: None,
            request: None,
            response: None,
        }
    }
}

impl World for Around<'_> {
    fn source(&self) -> Option<SocketAddr> {
        self.source
    }

    fn destination(&self) -> Option<SocketAddr> {
        self.destination
    }

    fn frontend(&self) -> &str {
        &self.frontend.name
    }

    fn backend(&self) -> Option<&str> {
        self.backend.map(|backend| &*backend.name)
    }

    fn fact(&self, fact: &Fact) -> Option<i64> {
        http::fact(
            &self.worker.shared.topology,
            fact,
            self.frontend,
            self.backend,
            self.now_ms(),
        )
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

    fn unique_id(&self) -> Option<Cow<'_, [u8]>> {
        None
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
