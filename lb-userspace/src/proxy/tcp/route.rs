//! Which backend a connection of mode tcp goes to, by rules on who opened it, where to, and the name that a TLS client
//! asks for. What passes through encrypted is looked at, not taken: the server gets all of it.

use std::{sync::Arc, time::Duration};

use super::{Client, Worker, around::Around, inspect::Early};
use crate::{
    config::model::Mode,
    proxy::peek::{Looked, Peeked, peek, take_all},
    rules::{
        Condition, End, Scene, State, Template, TlsFact,
        action::Target,
        hello::{self, Hello, LONGEST},
        rdp, stick,
    },
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
    rules: Vec<(Option<Condition>, Way)>,
    /// Whether any of them asks for the name.
    by_name: bool,
}

/// Where a rule leads.
#[derive(Debug)]
enum Way {
    To(Arc<Backend>),
    /// To the one of this name, if there is one.
    Computed(Template),
}

impl Plan {
    /// Resolves the names of backends.
    pub fn new(topology: &Topology) -> Self {
        let routes = topology.frontends.iter().map(|frontend| {
            let rules = frontend.config.rules.rules().iter().filter_map(|rule| {
                let way = match &rule.end {
                    Some(End::Backend(Target::Named(named))) => {
                        Way::To(Arc::clone(topology.backend(named.name())?))
                    }
                    Some(End::Backend(Target::Computed(name))) => Way::Computed(name.clone()),
                    _ => return None,
                };
                Some((rule.condition.clone(), way))
            });
            let rules: Vec<_> = rules.collect();
            let mut by_name = false;
            for (condition, way) in &rules {
                if let Some(condition) = condition {
                    condition.each_expr(&mut |expr| by_name |= expr.asks(TlsFact::Sni));
                }
                if let Way::Computed(name) = way {
                    by_name |= name.expressions().any(|expr| expr.asks(TlsFact::Sni));
                }
            }
            Routes { rules, by_name }
        });
        Self {
            frontends: routes.collect(),
        }
    }

    /// How long to wait for the name that `client` asks for, if a rule asks for it and the client's TLS is not ours.
    pub(super) fn waits_for_name(&self, client: &Client) -> Option<Duration> {
        let frontend = client.frontend();
        let by_name = self.frontends.get(frontend.index)?.by_name;
        (by_name && client.tls.is_none()).then(|| PATIENCE.min(frontend.config.timeouts.client))
    }

    /// The backend for `client`: that of the first rule that holds, else the default.
    pub(super) async fn route(
        &self,
        worker: &Worker,
        client: &Client,
        early: &mut Early,
        state: &State,
    ) -> Option<Arc<Backend>> {
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
        let name = match (client.server_name(), self.waits_for_name(client)) {
            (Some(name), _) => Some(name),
            // What rules have looked at is read on already, and is not in the socket any more.
            (None, Some(patience)) if !early.looked => {
                looked_at = look(client, patience, &mut early.bytes).await;
                looked_at.as_deref()
            }
            _ => None,
        };
        let world = Around {
            name: name.map(|name| name.strip_suffix('.').unwrap_or(name)),
            request: early.seen(),
            ..Around::of(worker, client)
        };
        let scene = Scene {
            request: None,
            response: None,
            state,
            world: &world,
        };
        for (condition, way) in &routes.rules {
            if !condition.as_ref().is_none_or(|c| c.holds(&scene)) {
                continue;
            }
            match way {
                Way::To(backend) => return Some(Arc::clone(backend)),
                Way::Computed(name) => {
                    let name = name.render(&scene);
                    let topology = &worker.shared.topology;
                    let found = str::from_utf8(&name).ok().and_then(|n| topology.backend(n));
                    // A name that is none goes on with the list, as HAProxy has it.
                    if let Some(backend) = found.filter(|b| b.config.mode == Mode::Tcp) {
                        return Some(Arc::clone(backend));
                    }
                }
            }
        }
        default()
    }
}

/// The server that a rule names for `client` or a table remembers of it, and where the one that is chosen is to be remembered.
pub(super) fn remembered(
    worker: &Worker,
    client: &Client,
    backend: &Arc<Backend>,
    (state, early): (&State, &Early),
    now: u64,
) -> (Option<Arc<Server>>, Vec<stick::Remembering>) {
    let (sticks, rules) = (&backend.config.sticks, &backend.config.rules);
    let named = named_by_rdp(backend, &early.bytes);
    if sticks.is_empty() && rules.is_empty() {
        return (named, Vec::new());
    }
    let world = Around {
        backend: Some(backend),
        request: early.seen(),
        ..Around::of(worker, client)
    };
    let scene = Scene {
        request: None,
        response: None,
        state,
        world: &world,
    };
    let (found, remembering) = stick::look(sticks, &scene, now, |id| {
        let server = backend.server_by_id(id)?;
        server.is_usable_by_cookie().then(|| Arc::clone(server))
    });
    // What rules say comes first, as in HAProxy.
    let mut chosen = rules.servers(&scene).filter_map(|name| {
        let mut servers = backend.servers.iter();
        let server = servers.find(|server| server.name.as_bytes() == name)?;
        server.is_usable_by_cookie().then(|| Arc::clone(server))
    });
    (chosen.next().or(named).or(found), remembering)
}

/// The server that an RDP client names.
fn named_by_rdp(backend: &Backend, bytes: &[u8]) -> Option<Arc<Server>> {
    let name = backend.config.connections.rdp_cookie.as_ref()?;
    let address = rdp::server(rdp::value(bytes, name.as_bytes())?)?;
    let mut servers = backend.servers.iter();
    let named = servers.find(|server| server.peer().inet() == Some(address.into()))?;
    named.is_usable_by_cookie().then(|| Arc::clone(named))
}

/// The name that a client asks for whose TLS is not ours. What it has said is taken to `bytes` if that is all for a while.
async fn look(client: &Client, patience: Duration, bytes: &mut Vec<u8>) -> Option<String> {
    let looking = peek(client.stream.tcp(), LONGEST, |bytes| {
        match hello::parse(bytes) {
            Hello::Partial(least) => Looked::Wants(least),
            Hello::Complete(name) => Looked::Enough(name),
            Hello::Other => Looked::Enough(None),
        }
    });
    match tokio::time::timeout(patience, looking).await {
        Ok(Ok(Peeked::Enough(name))) => name,
        Ok(_) => None,
        Err(_elapsed) => {
            *bytes = take_all(client.stream.tcp(), LONGEST);
            None
        }
    }
}
