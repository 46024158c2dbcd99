//! Which backend a connection of mode tcp goes to, by rules on who opened it, where to, and the name that a TLS client
//! asks for. What passes through encrypted is looked at, not taken: the server gets all of it.

use std::{borrow::Cow, net::SocketAddr, sync::Arc, time::Duration};

use super::{
    Client,
    hello::{self, Hello, LONGEST},
};
use crate::{
    proxy::peek::{Looked, Peeked, peek},
    rules::{Condition, End, Fact, Scene, State, TlsFact, Value, World, action::Target, stick},
    topology::{Backend, Server, Topology},
};

/// How long a client may take to say which name it wants, before it counts as one that wants none. A server of another
/// protocol may be the one who speaks first.
const PATIENCE: Duration = Duration::from_secs(5);

/// The rules of all frontends.
#[derive(Debug)]
pub struct Plan {
    frontends: Vec<Routes>,
}

#[derive(Debug, Default)]
struct Routes {
    rules: Vec<(Option<Condition>, Arc<Backend>)>,
    /// Whether any of them asks for the name.
    by_name: bool,
}

/// What rules ask for.
struct Facts<'a> {
    source: Option<SocketAddr>,
    destination: Option<SocketAddr>,
    frontend: &'a str,
    name: Option<&'a str>,
}

impl Plan {
    /// Resolves the names of backends.
    pub fn new(topology: &Topology) -> Self {
        let routes = topology.frontends.iter().map(|frontend| {
            let rules = frontend.config.rules.rules().iter().filter_map(|rule| {
                let Some(End::Backend(Target::Named(named))) = &rule.end else {
                    return None;
                };
                Some((
                    rule.condition.clone(),
                    Arc::clone(topology.backend(named.name())?),
                ))
            });
            let rules: Vec<_> = rules.collect();
            let mut by_name = false;
            for condition in rules.iter().filter_map(|(condition, _)| condition.as_ref()) {
                condition.each_expr(&mut |expr| by_name |= expr.asks(TlsFact::Sni));
            }
            Routes { rules, by_name }
        });
        Self {
            frontends: routes.collect(),
        }
    }

    /// The backend for `client`: that of the first rule that holds, else the default.
    pub(super) async fn route(&self, client: &Client) -> Option<Arc<Backend>> {
        let frontend = client.frontend();
        let default = || frontend.default_backend().cloned();
        let Some(routes) = self
            .frontends
            .get(frontend.index)
            .filter(|routes| !routes.rules.is_empty())
        else {
            return default();
        };
        let looked_at;
        let name = match (client.server_name(), routes.by_name) {
            (Some(name), _) => Some(name),
            (None, true) if client.tls.is_none() => {
                looked_at = look(client, PATIENCE.min(frontend.config.timeouts.client)).await;
                looked_at.as_deref()
            }
            _ => None,
        };
        let facts = Facts {
            source: client.address.inet(),
            destination: client.destination().inet(),
            frontend: &frontend.name,
            name: name.map(|name| name.strip_suffix('.').unwrap_or(name)),
        };
        let state = State::default();
        let scene = Scene {
            request: None,
            response: None,
            state: &state,
            world: &facts,
        };
        let rule = routes
            .rules
            .iter()
            .find(|(condition, _)| condition.as_ref().is_none_or(|c| c.holds(&scene)));
        rule.map(|(_, backend)| Arc::clone(backend))
            .or_else(default)
    }
}

/// The server that a table remembers of `client`, and where the one that is chosen is to be remembered.
pub(super) fn remembered(
    client: &Client,
    backend: &Backend,
    now: u64,
) -> (Option<Arc<Server>>, Vec<stick::Remembering>) {
    let sticks = &backend.config.sticks;
    if sticks.is_empty() {
        return (None, Vec::new());
    }
    let facts = Facts {
        source: client.address.inet(),
        destination: client.destination().inet(),
        frontend: &client.frontend().name,
        name: None,
    };
    let state = State::default();
    let scene = Scene {
        request: None,
        response: None,
        state: &state,
        world: &facts,
    };
    stick::look(sticks, &scene, now, |id| {
        let server = backend.server_by_id(id)?;
        server.is_usable_by_cookie().then(|| Arc::clone(server))
    })
}

impl World for Facts<'_> {
    fn source(&self) -> Option<SocketAddr> {
        self.source
    }

    fn destination(&self) -> Option<SocketAddr> {
        self.destination
    }

    fn frontend(&self) -> &str {
        self.frontend
    }

    fn backend(&self) -> Option<&str> {
        None
    }

    fn fact(&self, _: &Fact) -> Option<i64> {
        None
    }

    fn tls(&self, fact: TlsFact) -> Option<Value<'_>> {
        match fact {
            TlsFact::Sni => self.name.map(Value::text),
            _ => None,
        }
    }

    fn unique_id(&self) -> Option<Cow<'_, [u8]>> {
        None
    }

    fn now_ms(&self) -> u64 {
        // Nothing that is allowed in mode tcp asks for it.
        0
    }
}

/// The name that a client asks for whose TLS is not ours.
async fn look(client: &Client, patience: Duration) -> Option<String> {
    let looking = peek(client.stream.tcp(), LONGEST, |bytes| {
        match hello::parse(bytes) {
            Hello::Partial(least) => Looked::Wants(least),
            Hello::Complete(name) => Looked::Enough(name),
            Hello::Other => Looked::Enough(None),
        }
    });
    match tokio::time::timeout(patience, looking).await {
        Ok(Ok(Peeked::Enough(name))) => name,
        _ => None,
    }
}
