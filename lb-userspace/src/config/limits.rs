//! Limits of servers that only mean something together.

use super::{
    diagnostic::Diagnostic,
    draft::{BackendDraft, Draft},
    resolve::default_server,
};

/// Tells of limits that limit nothing.
pub(super) fn check(backend: &BackendDraft, draft: &Draft, found: &mut Vec<Diagnostic>) {
    let proxy = &backend.proxy;
    let defaults = default_server(
        proxy.default_server.clone(),
        proxy.on_marked_down,
        &draft.defaults,
    );
    let mut told = None;
    for server in &backend.servers {
        let keys = server.keys.clone().or(&defaults);
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
