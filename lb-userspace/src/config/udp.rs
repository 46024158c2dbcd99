//! What UDP asks of a backend: nothing tells that a datagram was lost, so the check has to be thought of.

use super::{
    diagnostic::Diagnostic,
    draft::{BackendDraft, Draft},
    model::Transport,
    resolve::users,
};

/// A backend that is reached by UDP alone has a check of its own type and port, or none: nobody answers TCP at the port
/// that the datagrams go to.
pub(super) fn check(
    backend: &BackendDraft,
    draft: &Draft,
    broken: bool,
    found: &mut Vec<Diagnostic>,
) {
    let name = &backend.name.value;
    let mut binds = users(name, draft)
        .flat_map(|frontend| &frontend.binds)
        .peekable();
    let Some(first) = binds.peek().map(|bind| bind.span) else {
        return;
    };
    if binds.any(|bind| bind.value.transport == Transport::Tcp) || broken {
        return;
    }
    let own = backend.proxy.health_check.as_ref();
    let inherited = draft.defaults.proxy.health_check.as_ref();
    let Some(written) = own.or(inherited) else {
        return;
    };
    let default = backend.proxy.default_server.check;
    let default = default.or(draft.defaults.proxy.default_server.check);
    let unchecked = backend.servers.iter().all(|server| {
        if let Some(own) = &server.health_check {
            // No check, or one that goes elsewhere.
            return own.value.as_ref().is_none_or(|own| own.port.is_some());
        }
        let check = server.keys.check.or(default);
        check.is_some_and(|on| !on.value)
    });
    if unchecked
        || written
            .value
            .as_ref()
            .is_none_or(|check| check.port.is_some())
    {
        return;
    }
    let (at, message) = match own {
        Some(check) => (
            check.span,
            format!(
                "the check of `{name}` has no `port`: its servers are reached by UDP, which no check speaks"
            ),
        ),
        None => (
            backend.name.span,
            format!("`{name}` is reached by UDP, and the check of `defaults` has no `port` for it"),
        ),
    };
    found.push(
        Diagnostic::error(at, message)
            .also(first, "the frontend listens here")
            .mend("write `health_check: { type: tcp, port: PORT }` with a port that answers while the service works, or `{ type: none }`"),
    );
}
