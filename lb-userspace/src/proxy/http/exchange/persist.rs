//! The sticky cookie of an exchange: read from the request, set in the response.

use std::sync::Arc;

use http::{
    HeaderMap, HeaderValue, Method,
    header::{CACHE_CONTROL, SET_COOKIE},
    response,
};

use super::{Client, CookieSeen, CookieSet, Target};
use crate::{
    proxy::http::{
        cookie::{self, Named, Sticky},
        fields::Fields,
    },
    topology::Server,
};

/// The server that the request's cookie names, if it can be used; the cookie is taken out of the request.
pub(super) fn read(
    client: &Client,
    target: &Target,
    fields: Fields,
    headers: &mut HeaderMap,
) -> Option<Arc<Server>> {
    let sticky = target.cookie.as_ref()?;
    let seen = if fields.any(Fields::COOKIE) {
        cookie::read(headers, &sticky.config.name, |value| {
            let server = std::str::from_utf8(value)
                .ok()
                .and_then(|value| target.backend.server_by_cookie(value));
            match server {
                None => Named::Nobody,
                Some(server) if server.is_usable_by_cookie() => Named::Server(server),
                Some(_) => Named::Down,
            }
        })
    } else {
        Sticky::None
    };
    let mut exchange = client.exchange();
    exchange.cookie_set = CookieSet::None;
    let (cookie_seen, holder) = match seen {
        Sticky::None => (CookieSeen::None, None),
        Sticky::Invalid => (CookieSeen::Invalid, None),
        Sticky::Down => (CookieSeen::Down, None),
        Sticky::Valid(server) => (CookieSeen::Valid, Some(Arc::clone(server))),
    };
    exchange.cookie_seen = cookie_seen;
    if sticky.config.indirect && cookie_seen != CookieSeen::None {
        cookie::remove(headers, &sticky.config.name);
    }
    holder
}

/// Binds the client to the server that answered, unless its cookie was why that one was asked (`direct`).
pub(super) fn write(
    client: &Client,
    target: &Target,
    asked: &Method,
    head: &mut response::Parts,
    fields: Fields,
    direct: bool,
) {
    let Some(sticky) = &target.cookie else { return };
    let mut exchange = client.exchange();
    if fields.any(Fields::SET_COOKIE)
        && sticky.config.indirect
        && cookie::remove_set(&mut head.headers, &sticky.config.name)
    {
        exchange.cookie_set = CookieSet::Deleted;
    }
    if direct && sticky.config.indirect {
        return;
    }
    let Some(value) = exchange
        .server()
        .and_then(|server| sticky.set_for(server))
        .cloned()
    else {
        return;
    };
    exchange.cookie_set = CookieSet::Inserted;
    head.headers.append(SET_COOKIE, value);
    if sticky.config.nocache && cookie::is_cacheable(asked, head.status, fields, &head.headers) {
        head.headers
            .append(CACHE_CONTROL, HeaderValue::from_static("private"));
    }
}

/// No server's answer is passed on, so none was set.
pub(super) fn forget(client: &Client) {
    let mut exchange = client.exchange();
    if exchange.cookie_set != CookieSet::NotApplicable {
        exchange.cookie_set = CookieSet::None;
    }
}
