//! Certificates and keys, as far as they can be looked at before anybody is served.

use super::{Host, placed};
use crate::{
    config::{
        Config,
        diagnostic::{Diagnostic, Severity},
        model::{CheckKind, HealthCheck, Server},
        tls::Wanted,
    },
    tls::{ServerName, ServerOptions},
};

/// What is wrong with them, and what will be.
pub(in crate::config) fn check_tls(wanted: &[Wanted], host: &dyn Host) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    for wanted in wanted {
        let (answer, span) = match wanted {
            Wanted::Bind(options, span) => (host.bind_tls(options), *span),
            Wanted::Server(options, span) => (host.server_tls(options), *span),
        };
        let errors = answer.errors.into_iter();
        found.extend(errors.map(|error| {
            placed(Severity::Error, Some(span), error.to_string()).mend(error.mend())
        }));
        let remarks = answer.remarks.into_iter();
        found.extend(
            remarks.map(|remark| {
                placed(Severity::Warning, Some(span), remark.message).mend(remark.mend)
            }),
        );
    }
    found
}

/// Warns of checks that verify servers by a name which only requests have: they go by the address then.
pub(super) fn check_names(config: &Config) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    for backend in &config.backends {
        let is_nameless = |server: &&Server| {
            let check = backend.check_of(server);
            check.is_some_and(|check| is_nameless(check, server.tls.as_ref()))
        };
        let servers = backend.servers.iter();
        let names: Vec<String> = servers
            .filter(is_nameless)
            .map(|server| format!("`{}`", server.name))
            .collect();
        if names.is_empty() {
            continue;
        }
        let message = format!(
            "backend {}: checks of {} have no request, and so none of the name that `sni` takes from it: they verify the \
             certificate by the server's address",
            backend.name,
            names.join(", ")
        );
        let mend = "write `tls: { sni: NAME }` below `health_check`, or `tls: { verify: chain }` to verify no name";
        found.push(placed(Severity::Warning, None, message).mend(mend));
    }
    found
}

fn is_nameless(check: &HealthCheck, traffic: Option<&ServerOptions>) -> bool {
    let host = match &check.kind {
        CheckKind::Http { host, .. } | CheckKind::Grpc { host, .. } => host.as_ref(),
        CheckKind::Ssl | CheckKind::Agent { .. } => return false,
        _ => None,
    };
    let of_traffic = traffic.filter(|_| check.goes_to_server() && !check.bare);
    let tls = check.own_tls(traffic).or_else(|| of_traffic.cloned());
    let by_name =
        |tls: ServerOptions| tls.verify && !tls.any_name && tls.name == ServerName::OfClient;
    host.and_then(|host| host.as_literal()).is_none() && tls.is_some_and(by_name)
}
