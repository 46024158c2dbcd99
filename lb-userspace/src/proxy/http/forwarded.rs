//! What is said of clients: by proxies before us, to servers behind us.
//!
//! [`receive`] looks at what came before any rule does: who is not believed has its fields taken away, who is may name the
//! client. [`tell`] writes ours when the rules are through, as HAProxy's `option forwardfor` and `option forwarded` do.

mod rfc7239;

use std::net::{IpAddr, SocketAddr};

use http::{
    HeaderMap, HeaderName, HeaderValue,
    header::{FORWARDED, HOST},
    request,
};

use super::{
    client::Client,
    plan::{Plan, Target},
};
use crate::config::model::{Forwarded, ForwardedFor, Forwarding, Trust, is_among};

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_FORWARDED_PORT: HeaderName = HeaderName::from_static("x-forwarded-port");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

/// The fields by which proxies say whom they speak for.
pub(super) const FIELDS: [HeaderName; 5] = [
    X_FORWARDED_FOR,
    X_FORWARDED_PROTO,
    X_FORWARDED_PORT,
    X_FORWARDED_HOST,
    FORWARDED,
];

/// What [`receive`] keeps for [`tell`].
pub(super) struct Told {
    standing: Standing,
    /// The host that the client asked for, before any rule.
    host: Option<HeaderValue>,
}

/// What a client's own word is worth.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Standing {
    /// The file tells nobody apart: as HAProxy does, what came is passed on and added to.
    Anyone,
    /// It is one of the proxies that are believed.
    Believed,
    /// It is not.
    NotBelieved,
}

/// Looks at what a request that came in says of whom it comes from.
pub(super) fn receive(client: &Client, plan: &Plan, head: &mut request::Parts) -> Told {
    let config = &client.frontend().config;
    let standing = match &config.trust {
        None => Standing::Anyone,
        Some(trust) if client.peer.ip().is_some_and(|ip| trust.believes(ip)) => {
            let named = trust.client_ip_from.as_ref();
            if let Some(source) = named.and_then(|field| named_client(&head.headers, field, trust))
            {
                client.set_source(source);
            }
            Standing::Believed
        }
        Some(_) => {
            let own = config.forwarding.forwarded_for.as_ref();
            remove(
                &mut head.headers,
                FIELDS.iter().chain(own.map(|own| &own.header)),
            );
            Standing::NotBelieved
        }
    };
    Told {
        standing,
        host: match plan.asks_for_host() {
            true => head.headers.get(HOST).cloned(),
            false => None,
        },
    }
}

/// Whether a server may take a field for that of this name: CGI and its like tell `-` from `_` as little as from `.`.
fn is_spelt(field: &HeaderName, name: &HeaderName) -> bool {
    let same = |(a, b): (u8, u8)| a == b || b == b'-' && matches!(a, b'_' | b'.');
    let (field, name) = (field.as_str().as_bytes(), name.as_str().as_bytes());
    field.len() == name.len() && field.iter().copied().zip(name.iter().copied()).all(same)
}

/// Removes fields of these names, however they are spelt.
fn remove<'n>(headers: &mut HeaderMap, names: impl Iterator<Item = &'n HeaderName> + Clone) {
    let is_one = |field: &&HeaderName| names.clone().any(|name| is_spelt(field, name));
    let found: Vec<HeaderName> = headers.keys().filter(is_one).cloned().collect();
    for name in found {
        headers.remove(name);
    }
}

/// Whom the field names: from the last address backwards the first that is no proxy that is believed, since what stands
/// before that is what somebody not believed has said. What is no address ends the search at the one after it; an
/// element with nothing in it is none (RFC 9110, section 5.6.1.2).
fn named_client(headers: &HeaderMap, field: &HeaderName, trust: &Trust) -> Option<SocketAddr> {
    let mut found = None;
    let mut consider = |node: Option<SocketAddr>| match node {
        None => true,
        Some(address) => {
            found = Some(address);
            !trust.believes(address.ip())
        }
    };
    for line in headers.get_all(field).iter().rev() {
        let done = match *field == FORWARDED {
            true => match rfc7239::elements(line.as_bytes()) {
                Some(nodes) => nodes
                    .iter()
                    .rev()
                    .any(|node| consider(node.as_deref().and_then(node_address))),
                None => true,
            },
            false => line
                .as_bytes()
                .rsplit(|&byte| byte == b',')
                .filter(|node| !node.trim_ascii().is_empty())
                .any(|node| consider(std::str::from_utf8(node).ok().and_then(node_address))),
        };
        if done {
            break;
        }
    }
    found
}

/// `192.0.2.1`, `192.0.2.1:80`, `2001:db8::1`, `[2001:db8::1]`, `[2001:db8::1]:80`; without a port that is 0.
fn node_address(text: &str) -> Option<SocketAddr> {
    let text = text.trim_ascii();
    let alone = text
        .strip_prefix('[')
        .and_then(|text| text.strip_suffix(']'))
        .unwrap_or(text);
    match alone.parse::<IpAddr>() {
        Ok(address) => Some(SocketAddr::new(address.to_canonical(), 0)),
        Err(_) => text.parse().ok(),
    }
}

/// Tells the server of the client as frontend and backend want it.
pub(super) fn tell(client: &Client, target: &Target, told: Told, headers: &mut HeaderMap) {
    let both = [
        &client.frontend().config.forwarding,
        &target.backend.config.forwarding,
    ];
    let any = |wants: fn(&Forwarding) -> bool| both.iter().any(|told| wants(told));
    append_address(client, &both, told.standing, headers);
    let mut set = |name: HeaderName, value: HeaderValue| {
        // A proxy before us that is believed has seen the client itself.
        if told.standing != Standing::Believed || !headers.contains_key(&name) {
            headers.insert(name, value);
        }
    };
    if any(|told| told.proto) {
        set(X_FORWARDED_PROTO, HeaderValue::from_static(scheme(client)));
    }
    if any(|told| told.port)
        && let Some(destination) = client.destination.inet()
    {
        set(X_FORWARDED_PORT, destination.port().into());
    }
    if any(|told| told.host)
        && let Some(host) = &told.host
    {
        set(X_FORWARDED_HOST, host.clone());
    }
    // The servers' own wishes come first.
    if let Some(what) = both.iter().rev().find_map(|told| told.forwarded) {
        append_forwarded(client, what, told.host.as_ref(), headers);
    }
}

fn scheme(client: &Client) -> &'static str {
    match client.tls.is_some() {
        true => "https",
        false => "http",
    }
}

/// HAProxy's `option forwardfor`: the backend's field, unless either makes an exception. Who came by a unix socket has no
/// address to tell.
fn append_address(
    client: &Client,
    both: &[&Forwarding; 2],
    standing: Standing,
    headers: &mut HeaderMap,
) {
    let mut wishes = both.iter().filter_map(|told| told.forwarded_for.as_ref());
    let Some(ForwardedFor { header, .. }) = wishes.clone().next_back() else {
        return;
    };
    let (Some(ip), Some(value)) = (client.speaker().ip(), client.forwarded_for()) else {
        return;
    };
    if wishes.clone().any(|told| is_among(ip, &told.except))
        || wishes.all(|told| told.if_none) && headers.contains_key(header)
    {
        return;
    }
    // A backend's own field was not known when the request came.
    if standing == Standing::NotBelieved && *header != X_FORWARDED_FOR {
        remove(headers, std::iter::once(header));
    }
    headers.append(header, value);
}

/// HAProxy's `option forwarded`: what there is is added to, in its last line. What does not follow RFC 7239 is not passed
/// on: ours behind it could be taken for a part of it.
fn append_forwarded(
    client: &Client,
    what: Forwarded,
    host: Option<&HeaderValue>,
    headers: &mut HeaderMap,
) {
    let host = host.filter(|_| what.host);
    let element = rfc7239::Element {
        proto: what.proto.then(|| scheme(client)),
        host: host.and_then(|host| host.to_str().ok()),
        by: what.by.then_some((client.reached().inet(), what.by_port)),
        for_: what
            .for_
            .then_some((client.speaker().inet(), what.for_port)),
    };
    let mut value = Vec::new();
    let well_formed = |line: &HeaderValue| rfc7239::elements(line.as_bytes()).is_some();
    if headers.get_all(FORWARDED).iter().all(well_formed) {
        // Several lines are one list.
        for line in headers.get_all(FORWARDED).iter() {
            value.extend_from_slice(line.as_bytes());
            value.extend_from_slice(b", ");
        }
    }
    element.write(&mut value);
    if let Ok(value) = HeaderValue::from_bytes(&value) {
        headers.insert(FORWARDED, value);
    }
}

#[cfg(test)]
mod tests;
