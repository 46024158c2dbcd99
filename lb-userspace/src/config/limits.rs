//! Limits of servers that only mean something together.

use super::{
    diagnostic::Diagnostic,
    draft::{BackendDraft, Draft, ServerDraft},
    resolve::default_server,
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
