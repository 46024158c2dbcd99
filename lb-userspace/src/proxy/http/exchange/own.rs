//! What makes a connection to a server one that not every request may use.

use std::{net::IpAddr, sync::Arc};

use http::{
    HeaderMap, HeaderName, Response, StatusCode,
    header::{PROXY_AUTHENTICATE, WWW_AUTHENTICATE},
};

use super::{Client, Message, Target, naming};
use crate::{
    config::model::Reuse,
    proxy::{
        connect::Own,
        http::upstream::{Lease, Place},
    },
    topology::Server,
    wire::told::told,
};

/// How the names of schemes begin that authenticate a connection instead of each request: NTLM, Negotiate (RFC 4559),
/// Nego2. As HAProxy knows them.
const OF_CONNECTIONS: [&[u8]; 2] = [b"ntlm", b"nego"];

/// For `request` of `client` at `server`, connections to which are kept at `place`, if they are.
pub(super) fn of(
    client: &Client,
    target: &Target,
    server: &Server,
    place: Option<Place>,
    request: &Message,
) -> Option<Box<Own>> {
    let pool = &client.worker.http.pool;
    let alone = target.backend.config.connections.reuse == Reuse::Never
        || place.is_some_and(|place| pool.is_authenticating(&client.worker, place, client));
    let alone = alone.then(|| client.identity());
    let tell = |options| {
        let remembered = client.rules.borrow();
        let id = remembered.as_ref().and_then(|of| of.state.unique_id());
        told(
            options,
            client.tls.as_deref(),
            client.introduced.as_deref(),
            id,
        )
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

/// The answer has come by `lease`. If it asks `client` to authenticate its connection, that is the client's own from now on:
/// whoever else came by it would be taken for this client.
pub(super) fn answered<B>(
    client: &Client,
    target: &Target,
    lease: &mut Lease,
    answer: &Response<B>,
) {
    let name = match answer.status() {
        StatusCode::UNAUTHORIZED => WWW_AUTHENTICATE,
        StatusCode::PROXY_AUTHENTICATION_REQUIRED => PROXY_AUTHENTICATE,
        _ => return,
    };
    let lines = answer.headers().get_all(name);
    let mut challenges =
        (lines.iter()).flat_map(|line| line.as_bytes().split(|&byte| byte == b','));
    if challenges.any(is_of_connections) {
        lease.belongs_to(
            client,
            target.backend.config.connections.reuse == Reuse::Never,
        );
    }
}

/// Whether a challenge is for the connection: its scheme stands at the beginning.
fn is_of_connections(challenge: &[u8]) -> bool {
    let challenge = challenge.trim_ascii_start();
    let mut schemes = OF_CONNECTIONS.iter();
    schemes.any(|scheme| {
        let begins = challenge.get(..scheme.len());
        begins.is_some_and(|begins| begins.eq_ignore_ascii_case(scheme))
    })
}

/// The server that `client` has a connection of its own to, the one that was used last; none if it is not to be preferred,
/// as it is where it authenticates its connections, but never to what a hash says.
pub(super) fn last(client: &Client, target: &Target) -> Option<Arc<Server>> {
    let connections = &target.backend.config.connections;
    let prefers = connections.prefer_last && connections.reuse == Reuse::Never;
    if !(prefers || client.authenticates.get()) || target.backend.config.balance.is_hash() {
        return None;
    }
    let index = (client.worker.http.pool).last_of(target.index, client.identity())?;
    let server = target.backend.servers.get(index)?;
    server.is_usable_by_cookie().then(|| Arc::clone(server))
}
