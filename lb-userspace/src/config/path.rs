//! Which path a frontend's connections can take: what the kernel program does, as far as the file alone tells.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::model::{
    Backend, Balance, BalanceArguments, Bind, Config, Forward, Frontend, Mode, Server,
};

/// Most servers that a backend of the kernel path has: they share one block of counters.
const MOST_SERVERS: usize = lb_common::load::BLOCK;

/// The backend whose servers the kernel may forward a frontend's connections to; else why userspace has to serve it, as
/// one clause. It may be that only some of its binds have the kernel path: see [`is_kernel_bind`] and [`serves`].
pub fn kernel_path<'a>(config: &'a Config, frontend: &Frontend) -> Result<&'a Backend, String> {
    if frontend.mode == Mode::Http {
        return Err("mode http needs userspace".into());
    }
    if !frontend.rules.is_empty()
        || !frontend.connection_rules.is_empty()
        || !frontend.inspect.is_empty()
    {
        return Err("its rules need userspace".into());
    }
    if frontend.log_format.wants().samples {
        return Err("the expressions in its log_format need userspace".into());
    }
    if frontend.wants().samples {
        return Err("the expressions in its log_format_sd need userspace".into());
    }
    if frontend.unique_id.is_some() {
        return Err("its unique_id needs userspace".into());
    }
    if frontend.log_options.asap {
        return Err("its log_asap needs userspace".into());
    }
    if frontend.accepting.rate.is_some() {
        return Err("its rate_limit_sessions needs userspace".into());
    }
    if let Some(bind) = frontend.binds.iter().find(|bind| bind.has_preamble()) {
        let what = match &bind.tls {
            Some(_) => "TLS",
            None => "the PROXY protocol",
        };
        return Err(format!("{what} on {} needs userspace", bind.text));
    }
    let limits = frontend.binds.iter().find_map(|bind| {
        let sockets = &bind.sockets;
        let what = sockets.maxconn.map(|_| "maxconn");
        let what = what.or(sockets.mss.map(|_| "mss"));
        let what = what.or(sockets.interface.as_ref().map(|_| "interface"));
        what.map(|what| format!("{what} of {} needs userspace", bind.text))
    });
    if let Some(why) = limits {
        return Err(why);
    }
    let name = frontend.default_backend.as_deref().unwrap_or_default();
    let backend = config.backend(name).ok_or("it has no default backend")?;
    if backend.forward == Forward::Proxy {
        return Err(format!("backend {name} says forward: proxy"));
    }
    if let Some(server) = backend
        .servers
        .iter()
        .find(|server| server.tls.is_some() || server.send_proxy.is_some())
    {
        let what = match &server.tls {
            Some(_) => "TLS",
            None => "the PROXY protocol",
        };
        return Err(format!(
            "{what} to server {name}/{} needs userspace",
            server.name
        ));
    }
    if !backend.inspect.is_empty() || !backend.inspect_response.is_empty() {
        return Err(format!("the rules of backend {name} need userspace"));
    }
    if let Some(server) = backend.servers.iter().find(|server| {
        server.minconn.is_some() || server.source.is_some() || server.dialling != Default::default()
    }) {
        let what = match server.source {
            Some(_) => "source",
            None if server.minconn.is_some() => "minconn",
            None => "how its connections are made",
        };
        return Err(format!("server {name}/{} says {what}", server.name));
    }
    if backend.connections.rdp_cookie.is_some() {
        return Err(format!("backend {name} says persist_rdp_cookie"));
    }
    if !backend.rules.is_empty() {
        return Err(format!("backend {name} says use_server"));
    }
    if !backend.sticks.is_empty() {
        return Err(format!("backend {name} says stick"));
    }
    let of_unix = |server: &&Server| server.address.is_unix();
    if let Some(server) = backend.servers.iter().find(of_unix) {
        return Err(format!(
            "server {name}/{} is a unix socket, which needs userspace",
            server.name
        ));
    }
    let asked = |server: &&Server| server.address.asked().is_some();
    if let Some(server) = backend.servers.iter().find(asked) {
        return Err(format!(
            "server {name}/{} is where each client asked to go, which userspace finds out",
            server.name
        ));
    }
    if let Some(what) = userspace_balance(backend) {
        return Err(format!("backend {name} says {what}"));
    }
    if backend.servers.len() > MOST_SERVERS {
        return Err(format!(
            "backend {name} has more than {MOST_SERVERS} servers"
        ));
    }
    if !frontend
        .binds
        .iter()
        .any(|bind| is_kernel_bind(bind, backend))
    {
        let clients = frontend.binds.iter().flat_map(families).next();
        let unix = frontend.binds.iter().find(|bind| bind.address.is_unix());
        return Err(match (clients, unix) {
            (Some(clients), _) => format!("backend {name} {}", mixed(backend, clients)),
            (None, Some(bind)) => format!("{} is a unix socket, which needs userspace", bind.text),
            (None, None) => "it listens nowhere".into(),
        });
    }
    Ok(backend)
}

/// What of a backend's balancing the kernel program does not do.
fn userspace_balance(backend: &Backend) -> Option<String> {
    let factor = backend.hash_balance_factor;
    match backend.balance {
        Balance::RoundRobin | Balance::LeastConn | Balance::Maglev => None,
        Balance::Source => factor.map(|factor| format!("hash_balance_factor: {factor}")),
        Balance::Random => match backend.balance_arguments.draws {
            BalanceArguments::DRAWS => None,
            draws => Some(format!("balance: random {draws}")),
        },
        Balance::StaticRr
        | Balance::LeastTime
        | Balance::First
        | Balance::Uri
        | Balance::UrlParam
        | Balance::Hdr
        | Balance::RdpCookie => Some(format!("balance: {}", backend.balance.name())),
    }
}

/// Whether some clients of a bind may be forwarded by the kernel.
pub fn is_kernel_bind(bind: &Bind, backend: &Backend) -> bool {
    families(bind).any(|address| serves(backend, address))
}

/// Whether the kernel can bring packets for the service address `service` to every server of `backend`. All modes keep
/// the family but `ipip`, whose outer packet may be IPv6 around IPv4.
pub fn serves(backend: &Backend, service: IpAddr) -> bool {
    backend.servers.iter().all(|server| {
        let known = server.initial.map(|address| address.ip());
        match known.or(server.address.ip()) {
            Some(ip) => reaches(backend.forward, service, ip),
            // A name may turn out to be of either family.
            None => server.address.is_name(),
        }
    })
}

/// [`serves`] for one server.
pub fn reaches(forward: Forward, service: IpAddr, server: IpAddr) -> bool {
    match forward {
        Forward::FullNat | Forward::Nat | Forward::Dsr => service.is_ipv4() == server.is_ipv4(),
        Forward::Ipip => service.is_ipv4() || server.is_ipv6(),
        Forward::Proxy => false,
    }
}

/// What there is to say of a frontend on the kernel path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remark {
    /// Some of its clients are served by userspace always.
    pub leaves_clients: bool,
    /// One clause.
    pub text: String,
}

/// What of a frontend on the kernel path userspace serves all the same, and how that differs; `None` if there is nothing
/// to say.
pub fn remark(frontend: &Frontend, backend: &Backend) -> Option<Remark> {
    let left = frontend.binds.iter().flat_map(|bind| {
        let left = families(bind).filter(|address| !serves(backend, *address));
        let left = left.map(|address| format!("{} clients of {}", family(address), bind.text));
        let unix = bind.address.is_unix();
        left.chain(unix.then(|| format!("clients of {}", bind.text)))
    });
    let left: Vec<String> = left.collect();
    let whose = unlike_kernel(backend.forward).map(|how| format!(", {how}"));
    let whose = whose.unwrap_or_default();
    let leaves_clients = !left.is_empty();
    let text = match leaves_clients {
        true => format!("userspace serves {}{whose}", left.join(" and ")),
        false if whose.is_empty() => return None,
        false => format!("what userspace serves comes to the servers{}", &whose[1..]),
    };
    Some(Remark {
        leaves_clients,
        text,
    })
}

/// How connections of userspace differ from the kernel's for the servers, as a part of a clause.
pub fn unlike_kernel(forward: Forward) -> Option<&'static str> {
    forward
        .keeps_client()
        .then_some("from this host's address instead of the client's")
}

/// The unspecified address of each family that a bind takes clients of.
fn families(bind: &Bind) -> impl Iterator<Item = IpAddr> + use<> {
    let v4 = bind.address.is_ipv4() || bind.both_families;
    let v4 = v4.then_some(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
    let v6 = bind.address.is_ipv6();
    let v6 = v6.then_some(IpAddr::V6(Ipv6Addr::UNSPECIFIED));
    v4.into_iter().chain(v6)
}

/// What stands between `clients` and the servers of a backend.
fn mixed(backend: &Backend, clients: IpAddr) -> String {
    let four = backend.servers.iter().any(|s| s.address.is_ipv4());
    let six = backend.servers.iter().any(|s| s.address.is_ipv6());
    match (four, six) {
        (true, true) => "has servers of both families".into(),
        _ => format!(
            "has {} servers for {} clients",
            if six { "IPv6" } else { "IPv4" },
            family(clients)
        ),
    }
}

/// `IPv4` or `IPv6`.
pub(super) fn family(address: IpAddr) -> &'static str {
    if address.is_ipv4() { "IPv4" } else { "IPv6" }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, parse};

    /// The frontend `fe` and the backend `be`. Families that differ are only let through where nothing attaches.
    fn config(frontend: &str, backend: &str) -> Config {
        let attach = if backend == BOTH { "off" } else { "auto" };
        let text = format!(
            "global: {{ fast_path: {{ attach: {attach} }} }}\nfrontends:\n  fe: {{ default_backend: be, {frontend} }}\nbackends:\n  be: {{ {backend} }}\n"
        );
        parse("lb.yaml", &text, &|_| None)
            .unwrap_or_else(|errors| panic!("{errors}"))
            .config
    }

    fn path(frontend: &str, backend: &str) -> Result<Option<String>, String> {
        let config = config(frontend, backend);
        let frontend = &config.frontends[0];
        kernel_path(&config, frontend)
            .map(|backend| remark(frontend, backend).map(|remark| remark.text))
    }

    const FOUR: &str = "servers: [{ name: a, address: '10.0.0.1:80' }]";
    const SIX: &str = "servers: [{ name: a, address: '[2001:db8::1]:80' }]";
    const BOTH: &str =
        "servers: [{ name: a, address: '10.0.0.1:80' }, { name: b, address: '[2001:db8::1]:80' }]";

    #[test]
    fn mode_tcp_is_for_the_kernel_and_the_rest_says_why_not() {
        for bind in ["'*:80'", "'10.0.0.9:80'", "'udp:*:80'"] {
            assert_eq!(path(&format!("mode: tcp, bind: {bind}"), FOUR), Ok(None));
        }
        assert_eq!(path("mode: tcp, bind: '[2001:db8::9]:80'", SIX), Ok(None));
        let why = |frontend: &str, backend: &str| path(frontend, backend).unwrap_err();
        assert!(why("mode: http, bind: '*:80'", FOUR).contains("mode http"));
        for of_bind in ["maxconn: 5", "mss: 1200", "interface: lo"] {
            let bind = format!("mode: tcp, bind: {{ address: '*:80', {of_bind} }}");
            let said = why(&bind, FOUR);
            assert!(said.ends_with("of *:80 needs userspace"), "{said}");
        }
        let bind = "mode: tcp, bind: { address: '*:80', backlog: 5, fast_open: true }";
        assert_eq!(path(bind, FOUR), Ok(None));
        assert!(
            why(
                "mode: tcp, bind: '*:80'",
                &format!("forward: proxy, {FOUR}")
            )
            .contains("forward: proxy")
        );
    }

    #[test]
    fn algorithms_that_only_userspace_has_are_named() {
        let with = |balance: &str| path("mode: tcp, bind: '*:80'", &format!("{balance}, {FOUR}"));
        for balance in [
            "leastconn",
            "source",
            "source, hash_type: consistent",
            "random 2",
        ] {
            assert_eq!(with(&format!("balance: {balance}")), Ok(None), "{balance}");
        }
        for (balance, said) in [
            ("balance: first", "balance: first"),
            ("balance: leasttime", "balance: leasttime"),
            ("balance: static-rr", "balance: static-rr"),
            ("balance: random 3", "balance: random 3"),
            (
                "balance: source, hash_type: consistent, hash_balance_factor: 150",
                "hash_balance_factor: 150",
            ),
        ] {
            assert_eq!(with(balance), Err(format!("backend be says {said}")));
        }
    }

    #[test]
    fn a_bind_of_both_families_has_the_kernel_path_for_that_of_its_servers() {
        let both = "mode: tcp, bind: '[::]:80'";
        let said = |family: &str| {
            Ok(Some(format!(
                "userspace serves {family} clients of [::]:80"
            )))
        };
        assert_eq!(path(both, FOUR), said("IPv6"));
        assert_eq!(path(both, SIX), said("IPv4"));
        assert_eq!(
            path(both, BOTH),
            Err("backend be has servers of both families".into())
        );
        let config = config(both, FOUR);
        let backend = &config.backends[0];
        assert!(serves(backend, Ipv4Addr::LOCALHOST.into()));
        assert!(!serves(backend, Ipv6Addr::LOCALHOST.into()));
    }

    #[test]
    fn ipip_wraps_ipv4_into_either_family() {
        assert!(path("mode: tcp, bind: '*:80'", &format!("forward: ipip, {BOTH}")).is_ok());
        assert_eq!(
            path("mode: tcp, bind: '[::]:80'", &format!("forward: ipip, {SIX}")),
            Ok(Some(
                "what userspace serves comes to the servers from this host's address instead of the client's".into()
            ))
        );
    }

    #[test]
    fn what_userspace_does_otherwise_is_told() {
        for forward in ["nat", "dsr", "ipip"] {
            let said = path(
                "mode: tcp, bind: '*:80'",
                &format!("forward: {forward}, {FOUR}"),
            );
            assert!(
                said.clone()
                    .unwrap()
                    .is_some_and(|said| said.contains("this host's address")),
                "{said:?}"
            );
        }
        assert_eq!(
            path("mode: tcp, bind: '[::]:80'", &format!("forward: nat, {FOUR}")),
            Ok(Some(
                "userspace serves IPv6 clients of [::]:80, from this host's address instead of the client's".into()
            ))
        );
    }
}
