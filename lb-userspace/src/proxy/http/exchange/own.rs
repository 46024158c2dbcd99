//! What makes a connection to a server one that not every request may use.

use std::{net::IpAddr, sync::Arc};

use http::{HeaderMap, HeaderName};

use super::{Client, Message, Target, naming};
use crate::{proxy::connect::Own, topology::Server, wire::told::told};

/// For `request` of `client` at `server`.
pub(super) fn of(
    client: &Client,
    target: &Target,
    server: &Server,
    request: &Message,
) -> Option<Box<Own>> {
    let alone = target.backend.config.connections.never_shared;
    let alone = alone.then(|| client.identity());
    let tell = |options| {
        let remembered = client.rules.borrow();
        let id = remembered.as_ref().and_then(|of| of.id.as_deref());
        told(options, client.tls.as_deref(), id)
    };
    let field = |name: &HeaderName, which| address_in(request.headers(), name, which);
    Own::of(
        server,
        || client.ends(),
        || naming::server_name(client, target, server, request),
        tell,
        field,
        alone,
    )
}

/// The address in a field, of those that commas divide: which one, from 1, or backwards from -1. No address is none.
fn address_in(headers: &HeaderMap, name: &HeaderName, which: i32) -> Option<IpAddr> {
    let lines = headers.get_all(name).iter();
    let mut values = lines.flat_map(|line| line.as_bytes().split(|&byte| byte == b','));
    let at = usize::try_from(which.unsigned_abs()).ok()?.checked_sub(1)?;
    let value = match which > 0 {
        true => values.nth(at),
        false => {
            let all: Vec<&[u8]> = values.collect();
            all.iter().rev().nth(at).copied()
        }
    };
    str::from_utf8(value?.trim_ascii()).ok()?.parse().ok()
}

/// The server that `client` has a connection of its own to, the one that was used last; none if it is not to be preferred.
pub(super) fn last(client: &Client, target: &Target) -> Option<Arc<Server>> {
    let connections = &target.backend.config.connections;
    if !connections.prefer_last || !connections.never_shared {
        return None;
    }
    let index = (client.worker.http.pool).last_of(target.index, client.identity())?;
    let server = target.backend.servers.get(index)?;
    server.is_usable_by_cookie().then(|| Arc::clone(server))
}
