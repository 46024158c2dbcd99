//! Addresses and ports between sections: each is bound once, and suits what the kernel does with its connections.

use std::{
    collections::{HashMap, HashSet},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

use super::{
    diagnostic::Diagnostic,
    draft::{BackendDraft, Draft},
    model::{Attach, Bind, Forward, Mode, Overflow, Transport},
    path,
    resolve::{backend_mode, forward, users},
    source::Spanned,
    unix,
};

/// What `forward` needs of addresses and ports.
pub(super) fn kernel_path(backend: &BackendDraft, draft: &Draft, found: &mut Vec<Diagnostic>) {
    let mode = backend_mode(backend, draft);
    let forward = forward(backend, mode, &draft.defaults);
    let inherited = &draft.defaults.proxy;
    let overflow = backend
        .proxy
        .overflow
        .as_ref()
        .or(inherited.overflow.as_ref());
    let of_unix = overflow.map(|overflow| overflow.value);
    if unix::server(backend, draft, forward, of_unix, found) || forward == Forward::Proxy {
        return;
    }
    let off = draft.global.fast_path.attach == Attach::Off;
    let written = backend
        .proxy
        .forward
        .as_ref()
        .or(inherited.forward.as_ref());
    let at = written.map_or(backend.name.span, |forward| forward.span);
    let drops = overflow.map_or(forward.leaves_packet(), |overflow| {
        overflow.value == Overflow::Drop
    });
    let name = forward.name();
    if off && drops {
        found.push(
            Diagnostic::error(at, format!("`forward: {name}` needs the kernel, but `fast_path.attach` is off: nothing would be served"))
                .mend("write `forward: proxy`, or `overflow: proxy`, or let the fast path attach"),
        );
    } else if off && forward == Forward::Nat {
        found.push(
            Diagnostic::warning(at, "`forward: nat` needs the kernel, but `fast_path.attach` is off: the servers see this host's address")
                .mend("write `forward: proxy` if that will do, or let the fast path attach"),
        );
    } else if !drops && forward.leaves_packet() {
        found.push(
            Diagnostic::warning(
                at,
                "connections that userspace serves reach the servers from this host's address",
            )
            .mend("write `overflow: drop` if the servers must see the clients' addresses"),
        );
    }
    let binds = users(&backend.name.value, draft).flat_map(|frontend| &frontend.binds);
    // Who comes by a unix socket sends no packets.
    for bind in binds.filter(|bind| !bind.value.address.is_unix()) {
        if forward.leaves_packet() {
            ports(forward, backend, bind, found);
        }
        // Without the kernel, userspace connects whom it likes.
        if !off {
            families(forward, backend, bind, found);
        }
    }
}

/// The kernel path does not turn IPv4 into IPv6: the servers have to be of the family that is listened on. A bind of
/// both families may have one that userspace serves.
fn families(
    forward: Forward,
    backend: &BackendDraft,
    bind: &Spanned<Bind>,
    found: &mut Vec<Diagnostic>,
) {
    let stranger = |clients: IpAddr| {
        let mut servers = backend.servers.iter();
        servers.find_map(|server| {
            let ip = server.address.value.ip()?;
            (!path::reaches(forward, clients, ip)).then_some((server, ip))
        })
    };
    let (four, six) = (
        IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    );
    let (clients, (server, ip), warn) =
        match (bind.value.both_families, stranger(four), stranger(six)) {
            (true, Some(server), None) => (four, server, true),
            (true, None, Some(server)) => (six, server, true),
            (true, Some(_), Some(server)) => (six, server, false),
            (false, Some(server), _) if bind.value.address.is_ipv4() => (four, server, false),
            (false, _, Some(server)) if bind.value.address.is_ipv6() => (six, server, false),
            _ => return,
        };
    let (ours, other) = (path::family(clients), path::family(ip));
    let text = &bind.value.text;
    let port = bind.value.address.port().unwrap_or_default();
    let diagnostic = if warn {
        let alone = if clients.is_ipv6() { "*" } else { "ADDRESS" };
        let udp = match bind.value.transport {
            Transport::Tcp => "",
            Transport::Udp => "udp:",
        };
        Diagnostic::warning(
            bind.span,
            format!("{ours} clients of `{text}` take the userspace path to {other} servers"),
        )
        .mend(match path::unlike_kernel(forward) {
            None => "it works; the kernel path wants addresses of one family".to_owned(),
            Some(how) => format!(
                "they come {how}: write `\"{udp}{alone}:{port}\"` to listen on {other} alone"
            ),
        })
    } else {
        Diagnostic::error(
            bind.span,
            format!("`forward: {}` cannot bring {ours} clients of `{text}` to {other} servers", forward.name()),
        )
        .mend(match bind.value.both_families {
            true => "make two frontends and two backends, one for each family, or write `forward: proxy`".to_owned(),
            false => format!("give the servers' {ours} addresses, or write `forward: proxy`"),
        })
    };
    found.push(diagnostic.also(server.address.span, format!("an {other} server")));
}

/// dsr and ipip leave the packet as it is: no other port.
fn ports(
    forward: Forward,
    backend: &BackendDraft,
    bind: &Spanned<Bind>,
    found: &mut Vec<Diagnostic>,
) {
    for server in &backend.servers {
        let addresses = (server.address.value.inet(), bind.value.address.port());
        let (Some(address), Some(port)) = addresses else {
            continue;
        };
        if address.port() != port {
            let there = SocketAddr::new(address.ip(), port);
            found.push(
                Diagnostic::error(
                    server.address.span,
                    format!(
                        "`forward: {}` cannot change the port: the frontend's is {}, the server's {}",
                        forward.name(),
                        port,
                        address.port()
                    ),
                )
                .also(bind.span, "the frontend listens here")
                .mend(format!("write `\"{there}\"`, or use `forward: fullnat`")),
            );
        }
    }
}

/// Has what listens on `[::]` leave IPv4 to what listens on `*` at the same port, whichever of them stands first.
pub(super) fn divide(draft: &mut Draft) {
    let frontends = draft.frontends.iter_mut().flat_map(|f| &mut f.binds);
    let mut all: Vec<&mut Spanned<Bind>> = frontends
        .chain(draft.stats.iter_mut().flat_map(|s| &mut s.binds))
        .collect();
    let every_ipv4 = Some(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
    let place = |bind: &Bind| (bind.address.port(), bind.transport);
    let taken: HashSet<_> = all
        .iter()
        .filter(|bind| bind.value.address.ip() == every_ipv4)
        .map(|bind| place(&bind.value))
        .collect();
    for bind in &mut all {
        bind.value.both_families &= !taken.contains(&place(&bind.value));
    }
}

/// Every listening address once, and none among the ports that full NAT takes.
pub(super) fn binds(draft: &Draft, found: &mut Vec<Diagnostic>) {
    let frontends = draft.frontends.iter().flat_map(|f| &f.binds);
    let all: Vec<&Spanned<Bind>> = frontends
        .chain(draft.stats.iter().flat_map(|s| &s.binds))
        .collect();
    let mut by_port: HashMap<_, Vec<&Spanned<Bind>>> = HashMap::new();
    let fullnat = draft.backends.iter().any(|b| {
        let mode = backend_mode(b, draft);
        mode == Mode::Tcp && forward(b, mode, &draft.defaults) == Forward::FullNat
    });
    let taken = &draft.global.fast_path.snat_ports;
    let snat = fullnat && draft.global.fast_path.attach != Attach::Off;
    for bind in all {
        let port = bind.value.address.port();
        let same_port = by_port.entry((port, bind.value.transport)).or_default();
        if let Some(first) = same_port
            .iter()
            .find(|other| other.value.address == bind.value.address)
        {
            let message = format!("`{}` is bound twice", bind.value.text);
            found.push(
                Diagnostic::error(bind.span, message)
                    .also(first.span, "the first one is here")
                    .mend(match port {
                        Some(_) => "choose another port or address, or remove one",
                        None => "choose another path, or remove one",
                    }),
            );
        }
        same_port.push(bind);
        if let Some(port) = port
            && snat
            && taken.contains(&port)
        {
            let (first, last) = (taken.start(), taken.end());
            let mut diagnostic = Diagnostic::error(
                bind.span,
                format!(
                    "port {port} is among the ports {first}-{last} that full NAT takes for itself"
                ),
            )
            .mend("choose a port outside, or another range with `global.fast_path.snat_ports`");
            if let Some(span) = draft.places.snat_ports {
                diagnostic = diagnostic.also(span, "the range is set here");
            }
            found.push(diagnostic);
        }
    }
}
