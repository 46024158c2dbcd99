//! Addresses and ports between sections: each is bound once, and suits what the kernel does with its connections.

use std::{collections::HashMap, net::IpAddr};

use super::{
    diagnostic::Diagnostic,
    draft::{BackendDraft, Draft},
    model::{Attach, Bind, Forward, Mode, Overflow},
    resolve::{backend_mode, forward, users},
    source::Spanned,
};

/// What `forward` needs of addresses and ports.
pub(super) fn kernel_path(backend: &BackendDraft, draft: &Draft, found: &mut Vec<Diagnostic>) {
    let mode = backend_mode(backend, draft);
    let forward = forward(backend, mode, &draft.defaults);
    let off = draft.global.fast_path.attach == Attach::Off;
    let written = backend
        .proxy
        .forward
        .as_ref()
        .or(draft.defaults.proxy.forward.as_ref());
    let at = written.map_or(backend.name.span, |forward| forward.span);
    let binds = || users(&backend.name.value, draft).flat_map(|frontend| &frontend.binds);
    match forward {
        Forward::Dsr => {
            let overflow = backend.proxy.overflow.as_ref().or(draft
                .defaults
                .proxy
                .overflow
                .as_ref());
            let drops = overflow.is_none_or(|overflow| overflow.value == Overflow::Drop);
            if off && drops {
                found.push(
                    Diagnostic::error(at, "`forward: dsr` needs the kernel, but `fast_path.attach` is off: nothing would be served")
                        .mend("write `forward: proxy`, or `overflow: proxy`, or let the fast path attach"),
                );
            } else if !drops {
                found.push(
                    Diagnostic::warning(at, "connections that userspace serves reach the servers from this host's address")
                        .mend("write `overflow: drop` if the servers must see the clients' addresses"),
                );
            }
            for bind in binds() {
                dsr(backend, bind, found);
            }
        }
        Forward::FullNat if !off => {
            for bind in binds() {
                let mixed = backend.servers.iter().find(|server| {
                    bind.value.address.is_ipv6() && server.address.value.is_ipv4()
                        || bind.value.address.is_ipv4() && server.address.value.is_ipv6()
                });
                if let Some(server) = mixed {
                    let family = if bind.value.both_families || bind.value.address.is_ipv6() {
                        "IPv6"
                    } else {
                        "IPv4"
                    };
                    let other = if server.address.value.is_ipv6() {
                        "IPv6"
                    } else {
                        "IPv4"
                    };
                    found.push(
                        Diagnostic::warning(
                            bind.span,
                            format!("{family} clients of `{}` take the userspace path to {other} servers", bind.value.text),
                        )
                        .also(server.address.span, format!("an {other} server"))
                        .mend("it works; the kernel path wants addresses of one family"),
                    );
                }
            }
        }
        Forward::FullNat | Forward::Proxy => {}
    }
}

/// dsr leaves the packet as it is: no other port, no other family.
fn dsr(backend: &BackendDraft, bind: &Spanned<Bind>, found: &mut Vec<Diagnostic>) {
    if bind.value.address.is_ipv6() {
        let all_ipv4 = backend
            .servers
            .iter()
            .any(|server| server.address.value.is_ipv4());
        let diagnostic = match all_ipv4 {
            true => Diagnostic::error(
                bind.span,
                "`forward: dsr` cannot bring IPv6 clients to IPv4 servers",
            )
            .mend(format!(
                "write `\"*:{}\"` to listen on IPv4 alone",
                bind.value.address.port()
            )),
            false => Diagnostic::error(
                bind.span,
                "unsupported: `forward: dsr` with IPv6 is not built yet",
            )
            .mend("write `forward: proxy`"),
        };
        found.push(diagnostic);
        return;
    }
    for server in &backend.servers {
        let address = server.address.value;
        if address.is_ipv6() {
            found.push(
                Diagnostic::error(
                    server.address.span,
                    "`forward: dsr` cannot bring IPv4 clients to an IPv6 server",
                )
                .also(bind.span, "the frontend listens on IPv4 here")
                .mend("give the server's IPv4 address"),
            );
        } else if address.port() != bind.value.address.port() {
            found.push(
                Diagnostic::error(
                    server.address.span,
                    format!(
                        "`forward: dsr` cannot change the port: the frontend's is {}, the server's {}",
                        bind.value.address.port(),
                        address.port()
                    ),
                )
                .also(bind.span, "the frontend listens here")
                .mend(format!("write `\"{}:{}\"`, or use `forward: fullnat`", address.ip(), bind.value.address.port())),
            );
        }
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
            .find(|other| conflict(&other.value, &bind.value))
        {
            let message = match first.value.address == bind.value.address {
                true => format!("`{}` is bound twice", bind.value.text),
                false => format!(
                    "`{}` and `{}` take the same IPv4 port",
                    first.value.text, bind.value.text
                ),
            };
            found.push(
                Diagnostic::error(bind.span, message)
                    .also(first.span, "the first one is here")
                    .mend("choose another port or address, or remove one"),
            );
        }
        same_port.push(bind);
        if snat && taken.contains(&port) {
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

/// `*:80` beside `192.0.2.1:80` is fine: the kernel prefers the exact address.
fn conflict(a: &Bind, b: &Bind) -> bool {
    let every_ipv4 = |bind: &Bind| match bind.address.ip() {
        IpAddr::V4(ip) => ip.is_unspecified(),
        IpAddr::V6(_) => bind.both_families,
    };
    a.address == b.address || (every_ipv4(a) && every_ipv4(b))
}

#[cfg(test)]
mod tests {
    use super::super::address;
    use super::*;

    #[test]
    fn wildcards_conflict_with_each_other_only() {
        let bind = |text: &str| address::bind(text).unwrap();
        assert!(conflict(&bind("*:80"), &bind("0.0.0.0:80")));
        assert!(conflict(&bind("*:80"), &bind("[::]:80")));
        assert!(!conflict(&bind("*:80"), &bind("192.0.2.1:80")));
        assert!(!conflict(&bind("[::]:80"), &bind("[::1]:80")));
        assert!(conflict(&bind("[::1]:80"), &bind("[::1]:80")));
    }
}
