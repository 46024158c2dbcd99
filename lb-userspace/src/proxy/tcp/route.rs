//! Which backend a connection of mode tcp goes to, by rules on who opened it, where to, and the name that a TLS client
//! asks for. What passes through encrypted is looked at, not taken: the server gets all of it.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use super::{
    Client,
    hello::{self, Hello, LONGEST},
};
use crate::{
    config::model::TcpCondition,
    proxy::peek::{Looked, Peeked, peek},
    topology::{Backend, Topology},
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
    rules: Vec<(Vec<TcpCondition>, Arc<Backend>)>,
    /// Whether any of them asks for the name.
    by_name: bool,
}

/// What rules ask for.
struct Facts<'a> {
    source: SocketAddr,
    port: u16,
    name: Option<&'a str>,
}

impl Plan {
    /// Resolves the names of backends.
    pub fn new(topology: &Topology) -> Self {
        let routes = topology.frontends.iter().map(|frontend| {
            let rules = frontend.config.rules.iter().filter_map(|rule| {
                let backend = topology.backend(&rule.use_backend)?;
                Some((rule.transport.clone(), Arc::clone(backend)))
            });
            let rules: Vec<_> = rules.collect();
            let by_name = rules
                .iter()
                .flat_map(|(conditions, _)| conditions)
                .any(|condition| matches!(condition, TcpCondition::Sni(_)));
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
            source: client.address,
            port: client.ends().destination.port(),
            name,
        };
        let rule = routes
            .rules
            .iter()
            .find(|(conditions, _)| conditions.iter().all(|condition| facts.meet(condition)));
        rule.map(|(_, backend)| Arc::clone(backend))
            .or_else(default)
    }
}

impl Facts<'_> {
    fn meet(&self, condition: &TcpCondition) -> bool {
        match condition {
            TcpCondition::Source(prefixes) => prefixes
                .iter()
                .any(|prefix| prefix.contains(self.source.ip())),
            TcpCondition::DstPort(ports) => ports.contains(&self.port),
            TcpCondition::Sni(names) => self.name.is_some_and(|name| {
                let name = name.strip_suffix('.').unwrap_or(name);
                names.iter().any(|wanted| match wanted.strip_prefix('*') {
                    // `suffix` keeps its dot, so `*.a` does not match `xa`.
                    Some(suffix) => name.len() > suffix.len() && name.ends_with(suffix),
                    None => name == wanted,
                })
            }),
        }
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
