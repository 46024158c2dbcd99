//! Who is let in: a frontend's rules of connections, once the PROXY header and the handshake are done.

use std::{borrow::Cow, cell::Cell, net::SocketAddr, os::fd::AsFd, time::Duration};

use socket2::SockRef;

use super::{Client, Worker, header::Ends, http};
use crate::{
    rules::{Asked, Fact, Link, State, TlsFact, Value, Whose, World},
    wire::sockopt,
};

/// The client, if rules do not keep it out; with what they remember of it. Who is kept out has no line of the log, as
/// HAProxy has it: a flood would fill it.
pub(super) fn let_in(worker: &Worker, mut client: Client) -> Option<Client> {
    let rules = &client.frontend().config.connection_rules;
    if rules.is_empty() {
        return Some(client);
    }
    let mut state = State::of_session();
    let world = Surroundings {
        worker,
        client: &client,
        ends: client.ends(),
        renamed: Cell::new(None),
        redirected: Cell::new(None),
    };
    let kept_out = rules.connection(&mut state, &world);
    let (renamed, redirected) = (world.renamed.get(), world.redirected.get());
    let Some(silent) = kept_out else {
        if let Some(source) = renamed {
            client.address = source.into();
        }
        client.destination = redirected.or(client.destination);
        let session = state.into_session();
        let now = worker.shared.topology.clock.at(client.accepted);
        session
            .all_tracked()
            .for_each(|tracked| tracked.count_session(now));
        *client.session.borrow_mut() = session;
        return Some(client);
    };
    client.frontend().counters.denied_sessions.inc();
    if silent {
        http::vanish(client.stream);
    } else {
        // By a reset, as HAProxy does it: nothing of it is left to wait for.
        let _ = SockRef::from(client.stream.tcp()).set_linger(Some(Duration::ZERO));
    }
    None
}

/// What expressions see around a connection.
struct Surroundings<'a> {
    worker: &'a Worker,
    client: &'a Client,
    ends: Option<Ends>,
    /// Who a rule says it is.
    renamed: Cell<Option<SocketAddr>>,
    /// Where it says that it goes.
    redirected: Cell<Option<SocketAddr>>,
}

impl World for Surroundings<'_> {
    fn source(&self) -> Option<SocketAddr> {
        self.renamed.get().or_else(|| self.client.address.inet())
    }

    fn set_source(&self, source: SocketAddr) {
        self.renamed.set(Some(source));
    }

    fn destination(&self) -> Option<SocketAddr> {
        let known = self.redirected.get();
        known.or_else(|| self.ends.map(|ends| ends.destination))
    }

    fn set_destination(&self, destination: SocketAddr) {
        self.redirected.set(Some(destination));
    }

    fn mark(&self, mark: u32) {
        sockopt::told("a mark", sockopt::mark(self.client.stream.tcp(), mark));
    }

    fn tos(&self, tos: u8) {
        let done = sockopt::tos(self.client.stream.tcp(), tos);
        sockopt::told("a type of service", done);
    }

    fn frontend(&self) -> &str {
        &self.client.frontend().name
    }

    fn backend(&self) -> Option<&str> {
        None
    }

    fn fact(&self, fact: &Fact) -> Option<i64> {
        let topology = &self.worker.shared.topology;
        topology.fact(fact, Some(self.client.frontend()), None, self.now_ms())
    }

    fn named(&self, what: Asked, name: &str) -> Option<i64> {
        self.worker.shared.topology.named(what, name, None)
    }

    fn link(&self, what: Link) -> Option<Value<'_>> {
        let frontend = self.client.frontend();
        Some(match what {
            Link::Thread => Value::Int(i64::try_from(self.worker.index).ok()?),
            Link::Stopping => Value::Bool(self.worker.is_stopping()),
            Link::ReceivedProxy => Value::Bool(self.client.introduced.is_some()),
            Link::Told(told) => http::heard(self.client.introduced.as_ref()?, told)?,
            Link::SocketId => Value::Int(self.client.label()?.id?.into()),
            Link::FrontendId | Link::BackendId => Value::Int(frontend.config.id.into()),
            Link::SocketName => Value::text(self.client.label()?.name.as_deref()?),
            Link::Tcp(part) => Value::Int(http::tcp(self.client.stream.tcp().as_fd(), part)?),
            Link::Itself { client, port } => {
                http::itself(self.client.stream.tcp().as_fd(), client, port)?
            }
            Link::ClientTimeout => http::millis(frontend.config.timeouts.client),
            Link::DefaultBackend => Value::text(frontend.config.default_backend.as_deref()?),
            _ => return None,
        })
    }

    fn tls(&self, fact: TlsFact) -> Option<Value<'_>> {
        http::tls_fact(self.client.tls.as_deref()?, fact)
    }

    fn name_part(
        &self,
        whose: Whose,
        issuer: bool,
        name: &str,
        which: i64,
    ) -> Option<Cow<'_, [u8]>> {
        http::name_part(self.client.tls.as_deref()?, whose, issuer, name, which)
    }

    fn now_ms(&self) -> u64 {
        self.worker.shared.topology.clock.at(self.client.accepted)
    }
}
