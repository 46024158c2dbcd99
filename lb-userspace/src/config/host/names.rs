//! First addresses of servers that have names: what this host's resolver says of them.

use std::{
    collections::HashMap,
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use super::{Host, placed};
use crate::config::{
    Loaded,
    diagnostic::{Diagnostic, Severity},
    draft::Draft,
    model::{Address, InitAddr, Server},
    source::Span,
};

/// Where names of servers are written, by backend and server.
pub(in crate::config) fn places(draft: &Draft) -> HashMap<(String, String), Span> {
    let servers = draft.backends.iter().flat_map(|backend| {
        let servers = backend.servers.iter();
        servers.map(move |server| (&backend.name.value, server))
    });
    let named = servers.filter(|(_, server)| server.address.value.is_name());
    named
        .map(|(backend, server)| {
            let key = (backend.clone(), server.name.value.clone());
            (key, server.address.span)
        })
        .collect()
}

/// Gives each server that has a name its first address, as its `init_addr` has it; says which have none.
pub(in crate::config) fn resolve(loaded: &mut Loaded, host: &dyn Host) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    let mut known = HashMap::new();
    for backend in &mut loaded.config.backends {
        if !backend
            .servers
            .iter()
            .any(|server| server.address.is_name())
        {
            continue;
        }
        let backend = Arc::make_mut(backend);
        for server in &mut backend.servers {
            let Address::Name(name, Some(port)) = &server.address else {
                continue;
            };
            match first(server, name, *port, &mut known, host) {
                Ok(address) => server.initial = address,
                Err(why) => {
                    let key = (backend.name.clone(), server.name.clone());
                    let span = loaded.places.names.get(&key).copied();
                    let waits = server.init_addr.contains(&InitAddr::None);
                    let (severity, mend) = match (waits, &server.resolve) {
                        (true, Some(_)) => (
                            Severity::Warning,
                            "it serves nobody until its resolvers know it",
                        ),
                        (true, None) => (
                            Severity::Warning,
                            "it serves nobody, since it has no `resolve` either",
                        ),
                        (false, _) => (
                            Severity::Error,
                            "write an address or another name, or `init_addr: [libc, none]`",
                        ),
                    };
                    let (backend, server) = (&backend.name, &server.name);
                    let message =
                        format!("`{name}` of server `{backend}/{server}` has no address: {why}");
                    found.push(placed(severity, span, message).mend(mend));
                }
            }
        }
    }
    found
}

type Known = HashMap<Arc<str>, Result<Vec<IpAddr>, String>>;

/// What the first way that leads anywhere leads to; a server that waits at once has none.
fn first(
    server: &Server,
    name: &Arc<str>,
    port: u16,
    known: &mut Known,
    host: &dyn Host,
) -> Result<Option<SocketAddr>, String> {
    let mut why = None;
    for way in &server.init_addr {
        match way {
            // Nothing is kept from one start to the next.
            InitAddr::Last => {}
            InitAddr::Address(ip) => return Ok(Some((*ip, port).into())),
            InitAddr::Libc => {
                let look = || host.addresses(name).map_err(|error| error.to_string());
                let addresses = known.entry(Arc::clone(name)).or_insert_with(look);
                match addresses.as_ref().map(|addresses| addresses.first()) {
                    Ok(Some(ip)) => return Ok(Some((*ip, port).into())),
                    Ok(None) => why = Some("it has no record".to_owned()),
                    Err(error) => why = Some(error.clone()),
                }
            }
            InitAddr::None if why.is_none() => return Ok(None),
            InitAddr::None => break,
        }
    }
    Err(why.unwrap_or_else(|| "`init_addr` names no way to one".to_owned()))
}

/// What the system's resolver says.
pub(super) fn addresses(name: &str) -> io::Result<Vec<IpAddr>> {
    use std::net::ToSocketAddrs;
    let found = (name, 0).to_socket_addrs()?;
    Ok(found.map(|address| address.ip().to_canonical()).collect())
}
