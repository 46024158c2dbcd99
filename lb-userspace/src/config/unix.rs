//! Unix sockets that are listened on, and servers behind them: what they have of their own, and what they cannot do.

use super::{
    decode::Decoder,
    diagnostic::Diagnostic,
    draft::{BackendDraft, Draft, ServerDraft},
    model::{Bind, Forward, Overflow, Transport},
    resolve::users,
    table::Table,
    units::Problem,
};

/// `mode`, `user` and `group` of a bind.
pub(super) fn permissions(d: &mut Decoder<'_>, table: &mut Table<'_>, bind: &mut Bind) {
    if let Some(e) = table.take("mode") {
        only_unix(d, bind, e.key_span, "mode");
        let mode = d.parsed(&e.value, "`mode`", mode);
        bind.permissions.mode = mode.map(|mode| mode.value);
    }
    if let Some(e) = table.take("user") {
        only_unix(d, bind, e.key_span, "user");
        bind.permissions.user = d.line(&e.value, "`user`");
    }
    if let Some(e) = table.take("group") {
        only_unix(d, bind, e.key_span, "group");
        bind.permissions.group = d.line(&e.value, "`group`");
    }
}

fn only_unix(d: &mut Decoder<'_>, bind: &Bind, at: super::source::Span, key: &str) {
    if !bind.address.is_unix() {
        d.error(
            at,
            format!("`{key}` is a unix socket's: `{}` has no file", bind.text),
            "remove it, or listen on `unix:PATH`",
        );
    }
}

/// Permissions of a file as chmod(1) takes them.
fn mode(text: &str) -> Result<u32, Problem> {
    let digits = text.strip_prefix("0o").unwrap_or(text);
    let octal = !digits.is_empty() && digits.bytes().all(|byte| (b'0'..=b'7').contains(&byte));
    match u32::from_str_radix(digits, 8) {
        Ok(mode) if octal && mode <= 0o777 => Ok(mode),
        _ => Err(Problem::new(
            format!("`{text}` are no permissions of a file"),
            "write three octal digits, such as `660`",
        )),
    }
}

/// What a server behind a unix socket cannot do.
pub(super) fn server(
    backend: &BackendDraft,
    draft: &Draft,
    forward: Forward,
    overflow: Option<Overflow>,
    found: &mut Vec<Diagnostic>,
) -> bool {
    let Some(server) = backend
        .servers
        .iter()
        .find(|server| server.address.value.is_unix())
    else {
        return false;
    };
    let mut complain = |message: String, mend: &str| {
        found.push(Diagnostic::error(server.address.span, message).mend(mend));
    };
    let name = &server.name.value;
    // Full NAT is what nobody need have asked for.
    if !matches!(forward, Forward::FullNat | Forward::Proxy) {
        complain(
            format!(
                "`forward: {}` cannot reach server `{name}`, which is a unix socket",
                forward.name()
            ),
            "write `forward: proxy`",
        );
    } else if forward == Forward::FullNat && overflow == Some(Overflow::Drop) {
        complain(
            format!(
                "server `{name}` is a unix socket, which userspace alone reaches: with `overflow: drop` nothing would be served"
            ),
            "write `forward: proxy`",
        );
    }
    let mut binds = users(&backend.name.value, draft).flat_map(|frontend| &frontend.binds);
    if let Some(bind) = binds.find(|bind| bind.value.transport == Transport::Udp) {
        complain(
            format!(
                "datagrams of `{}` cannot reach server `{name}`, which is a unix socket",
                bind.value.text
            ),
            "give the server's address and port",
        );
    }
    checks(backend, draft, found);
    true
}

/// A check of such a server goes there or somewhere else altogether: there is no port that could be another one.
fn checks(backend: &BackendDraft, draft: &Draft, found: &mut Vec<Diagnostic>) {
    let (own, inherited) = (&backend.proxy, &draft.defaults.proxy);
    let is_unix = |server: &&ServerDraft| server.address.value.is_unix();
    for server in backend.servers.iter().filter(is_unix) {
        let check = server.health_check.as_ref().or(own.health_check.as_ref());
        let check = check.or(inherited.health_check.as_ref());
        let check = check.and_then(|check| check.value.as_ref());
        let agent = [&server.keys, &own.default_server, &inherited.default_server]
            .into_iter()
            .find_map(|keys| keys.agent_check.as_ref());
        for (what, check) in [("check", check), ("agent", agent)] {
            if check.is_some_and(|check| check.address.is_some() != check.port.is_some()) {
                let name = &server.name.value;
                found.push(
                    Diagnostic::error(
                        server.address.span,
                        format!("the {what} of server `{name}`, which is a unix socket, has an `address` or a `port` alone"),
                    )
                    .mend("give both, or neither"),
                );
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn permissions_are_octal() {
        let ok = |text| mode(text).map_err(|problem| problem.message);
        assert_eq!(ok("660"), Ok(0o660));
        assert_eq!(ok("0600"), Ok(0o600));
        assert_eq!(ok("0o777"), Ok(0o777));
        for bad in ["", "8", "rw", "+7", "1777", "-1", "0o"] {
            assert_eq!(
                ok(bad),
                Err(format!("`{bad}` are no permissions of a file"))
            );
        }
    }
}
