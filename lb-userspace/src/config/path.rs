//! Which path a frontend's connections can take: what the kernel program does, as far as the file alone tells.

use super::model::{Backend, Bind, Config, Forward, Frontend, Mode, Transport};

/// Most servers that a backend of the kernel path has: they share one block of counters.
const MOST_SERVERS: usize = lb_common::load::BLOCK;

/// The backend whose servers the kernel may forward a frontend's connections to; else why userspace has to serve it, as
/// one clause.
pub fn kernel_path<'a>(config: &'a Config, frontend: &Frontend) -> Result<&'a Backend, String> {
    if frontend.mode == Mode::Http {
        return Err("mode http needs userspace".into());
    }
    if !frontend.rules.is_empty() {
        return Err("its rules need userspace".into());
    }
    let name = frontend.default_backend.as_deref().unwrap_or_default();
    let backend = config.backend(name).ok_or("it has no default backend")?;
    if backend.forward == Forward::Proxy {
        return Err(format!("backend {name} says forward: proxy"));
    }
    if let Some(server) = backend.servers.iter().find(|s| s.address.is_ipv6()) {
        return Err(format!(
            "server {name}/{} has an IPv6 address, which the kernel path does not do yet",
            server.name
        ));
    }
    if backend.servers.len() > MOST_SERVERS {
        return Err(format!(
            "backend {name} has more than {MOST_SERVERS} servers"
        ));
    }
    if !frontend.binds.iter().any(is_kernel_bind) {
        return Err("it listens on IPv6 alone, which the kernel path does not do yet".into());
    }
    Ok(backend)
}

/// Whether connections to a bind may be forwarded by the kernel.
pub fn is_kernel_bind(bind: &Bind) -> bool {
    bind.transport == Transport::Tcp && (bind.address.is_ipv4() || bind.both_families)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::parse;

    fn path(frontend: &str, backend: &str) -> Result<(), String> {
        let text = format!(
            "frontends:\n  fe: {{ default_backend: be, {frontend} }}\nbackends:\n  be: {{ {backend} }}\n"
        );
        let loaded = parse("lb.yaml", &text, &|_| None).unwrap_or_else(|errors| panic!("{errors}"));
        kernel_path(&loaded.config, &loaded.config.frontends[0]).map(|_| ())
    }

    const SERVER: &str = "servers: [{ name: a, address: '10.0.0.1:80' }]";

    #[test]
    fn tcp_over_ipv4_is_for_the_kernel_and_the_rest_says_why_not() {
        assert_eq!(path("mode: tcp, bind: '*:80'", SERVER), Ok(()));
        let why = |frontend: &str, backend: &str| path(frontend, backend).unwrap_err();
        assert!(why("mode: http, bind: '*:80'", SERVER).contains("mode http"));
        assert!(
            why(
                "mode: tcp, bind: '*:80'",
                &format!("forward: proxy, {SERVER}")
            )
            .contains("forward: proxy")
        );
        assert!(why("mode: tcp, bind: '[::1]:80'", SERVER).contains("IPv6 alone"));
        let six = "servers: [{ name: a, address: '[2001:db8::1]:80' }]";
        assert!(why("mode: tcp, bind: '*:80'", six).contains("be/a has an IPv6 address"));
    }
}
