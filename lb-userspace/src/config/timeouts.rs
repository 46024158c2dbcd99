//! `timeouts:`, where each key may come from the proxy, from `defaults` or from what goes without saying.

use std::time::Duration;

use super::{
    decode::Decoder,
    draft::{TimeoutsDraft, Tunnel},
    model::Timeouts,
    tree::{Entry, Kind},
};

/// How long nothing may move in a tunnel that a request has become, if the file does not say it.
const UPGRADED: Duration = Duration::from_secs(3600);

/// Whose timeouts they are: a key that its owner does not read is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Owner {
    Defaults,
    Frontend,
    Backend,
}

/// Reads `timeouts:`.
pub(super) fn decode(d: &mut Decoder<'_>, entry: Option<&Entry>, owner: Owner) -> TimeoutsDraft {
    let mut draft = TimeoutsDraft::default();
    let Some(mut table) = entry.and_then(|e| d.table(&e.value, e.key_span, "`timeouts`")) else {
        return draft;
    };
    let mut as_before = false;
    let mut read = |key: &'static str, readers: &[Owner], elsewhere: &str| {
        let e = table.take(key)?;
        if owner != Owner::Defaults && !readers.contains(&owner) {
            d.error(
                e.key_span,
                format!("`{key}` has no effect here: it is a timeout of {elsewhere}"),
                format!("move it to the timeouts of {elsewhere}, or to those of `defaults`"),
            );
            return None;
        }
        if key == "tunnel" && matches!(&e.value.kind, Kind::Scalar(scalar) if scalar.text == "none")
        {
            as_before = true;
            return None;
        }
        d.duration(&e.value, &format!("`{key}`"), Duration::from_millis(1))
    };
    let (frontend, backend) = ([Owner::Frontend], [Owner::Backend]);
    draft.connect = read("connect", &backend, "the backend");
    draft.client = read("client", &frontend, "the frontend");
    draft.server = read("server", &backend, "the backend");
    draft.http_request = read("http_request", &frontend, "the frontend");
    draft.http_keep_alive = read("http_keep_alive", &frontend, "the frontend");
    draft.queue = read("queue", &backend, "the backend");
    draft.tarpit = read("tarpit", &frontend, "the frontend");
    let tunnel = read("tunnel", &backend, "the backend");
    draft.check = read("check", &backend, "the backend");
    draft.client_fin = read("client_fin", &frontend, "the frontend");
    draft.server_fin = read("server_fin", &backend, "the backend");
    draft.tunnel = match as_before {
        true => Some(Tunnel::AsBefore),
        false => tunnel.map(Tunnel::Time),
    };
    table.finish(
        d,
        &[],
        &[
            ("http-request", "it is `http_request`"),
            ("http-keep-alive", "it is `http_keep_alive`"),
        ],
    );
    draft
}

/// A proxy's own timeouts over those of `defaults` over what goes without saying.
pub(super) fn resolve(own: &TimeoutsDraft, defaults: &TimeoutsDraft) -> Timeouts {
    let connect = own
        .connect
        .or(defaults.connect)
        .unwrap_or(Duration::from_secs(5));
    let client = own
        .client
        .or(defaults.client)
        .unwrap_or(Duration::from_secs(50));
    let request = own.http_request.or(defaults.http_request);
    let tunnel = own.tunnel.or(defaults.tunnel);
    Timeouts {
        connect,
        client,
        server: own
            .server
            .or(defaults.server)
            .unwrap_or(Duration::from_secs(50)),
        http_request: request.unwrap_or(Duration::from_secs(10)),
        http_keep_alive: own
            .http_keep_alive
            .or(defaults.http_keep_alive)
            .or(request)
            .unwrap_or(client),
        queue: own.queue.or(defaults.queue).unwrap_or(connect),
        tarpit: own.tarpit.or(defaults.tarpit).unwrap_or(connect),
        tunnel: match tunnel {
            Some(Tunnel::Time(time)) => Some(time),
            Some(Tunnel::AsBefore) | None => None,
        },
        upgraded: match tunnel {
            Some(Tunnel::Time(time)) => Some(time),
            Some(Tunnel::AsBefore) => None,
            None => Some(UPGRADED),
        },
        check: own.check.or(defaults.check),
        client_fin: own.client_fin.or(defaults.client_fin),
        server_fin: own.server_fin.or(defaults.server_fin),
    }
}
