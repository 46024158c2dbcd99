//! Limits of servers that only mean something together.

use super::{
    diagnostic::Diagnostic,
    draft::{BackendDraft, Draft, ServerDraft},
    model::{AskedPort, Transport},
    resolve::{default_server, users},
    sockets::Source,
};

/// Tells of limits that limit nothing.
pub(super) fn check(backend: &BackendDraft, draft: &Draft, found: &mut Vec<Diagnostic>) {
    let proxy = &backend.proxy;
    let defaults = default_server(
        proxy.default_server.clone(),
        proxy.on_marked_down,
        &draft.defaults,
    );
    if let Some(full) = proxy.connections.fullconn {
        let moves = |server: &ServerDraft| server.keys.clone().or(&defaults).minconn.is_some();
        if !backend.servers.iter().any(moves) {
            let message = format!(
                "`fullconn` has no effect: no server of `{}` has a `minconn`",
                backend.name.value
            );
            found.push(Diagnostic::warning(full.span, message).mend("remove it"));
        }
    }
    let mut told = None;
    for server in &backend.servers {
        let keys = server.keys.clone().or(&defaults);
        let source = keys
            .source
            .clone()
            .or(proxy.connections.source(&draft.defaults.proxy.connections));
        let strange = |source: &Source| source.stranger_to(&server.address.value);
        if let Some(stranger) = source.as_ref().and_then(strange) {
            let message = format!(
                "`{}` cannot be reached from `{stranger}`, which is of another family",
                server.name.value,
            );
            found.push(
                Diagnostic::error(server.address.span, message)
                    .mend("write a `source` of the server's family"),
            );
        }
        asked_for(server, backend, draft, found);
        if let Some(least) = keys.minconn
            && keys.maxconn.is_none_or(|most| most < least.value)
        {
            let name = &server.name.value;
            let message = match keys.maxconn {
                None => format!("`minconn` of `{name}` has no effect: it has no `maxconn`"),
                Some(most) => format!(
                    "`minconn` of `{name}` is {}, its `maxconn` {most}",
                    least.value
                ),
            };
            found.push(
                Diagnostic::error(least.span, message)
                    .mend("write a `maxconn` that is larger, or remove it"),
            );
        }
        if let (Some(most), None) = (keys.max_queue, keys.maxconn) {
            // What a default says is told once.
            if told.replace(most.span) == Some(most.span) {
                continue;
            }
            found.push(
                Diagnostic::warning(
                    most.span,
                    format!(
                        "`max_queue` has no effect on `{}`, which has no `maxconn`: nobody waits for it",
                        server.name.value
                    ),
                )
                .mend("write `maxconn` as well, or remove it"),
            );
        }
    }
}

/// A server that is where clients ask to go: nobody asks on behalf of a check, or of datagrams.
fn asked_for(
    server: &ServerDraft,
    backend: &BackendDraft,
    draft: &Draft,
    found: &mut Vec<Diagnostic>,
) {
    let Some(asked) = server.address.value.asked() else {
        return;
    };
    let name = &server.name.value;
    let (own, inherited) = (&backend.proxy, &draft.defaults.proxy);
    let check = server.health_check.as_ref().or(own.health_check.as_ref());
    let check = check.or(inherited.health_check.as_ref());
    let check = check.and_then(|check| check.value.as_ref());
    let defaults = default_server(
        own.default_server.clone(),
        own.on_marked_down,
        &draft.defaults,
    );
    let keys = server.keys.clone().or(&defaults);
    let is_checked = server.track.is_none() && keys.check.is_none_or(|check| check.value);
    if let Some(check) = check.filter(|_| is_checked) {
        let no_port = check.port.is_none() && !matches!(asked.port, AskedPort::Is(_));
        let no_address = check.address.is_none() && asked.ip.is_none();
        if no_port || no_address {
            let message =
                format!("where `{name}` is depends on the client: its check knows no address");
            let mend = "give the check an `address` and a `port`, or write `check: false`";
            found.push(Diagnostic::error(server.address.span, message).mend(mend));
        }
    }
    let mut binds = users(&backend.name.value, draft).flat_map(|frontend| &frontend.binds);
    if let Some(bind) = binds.find(|bind| bind.value.transport == Transport::Udp) {
        let message = format!(
            "datagrams of `{}` cannot reach server `{name}`, which has no address of its own",
            bind.value.text
        );
        let mend = "give the server's address and port";
        found.push(Diagnostic::error(server.address.span, message).mend(mend));
    }
}
