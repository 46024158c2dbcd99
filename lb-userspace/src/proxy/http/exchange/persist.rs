//! The sticky cookie of an exchange: read from the request, set in the response.

use std::sync::Arc;

use http::{
    HeaderMap, HeaderValue, Method,
    header::{CACHE_CONTROL, SET_COOKIE},
    response,
};

use super::{Client, CookieSeen, CookieSet, Target};
use crate::{
    config::model::CookieMode,
    proxy::http::{
        cookie::{
            self, Named, Sticky,
            dates::{self, Age},
        },
        fields::Fields,
    },
    topology::Server,
};

/// The server that the request's cookie names, if it can be used; what is not for the server's eyes is taken out of the
/// request.
pub(super) fn read(
    client: &Client,
    target: &Target,
    fields: Fields,
    headers: &mut HeaderMap,
) -> Option<Arc<Server>> {
    let sticky = target.cookie.as_ref()?;
    let config = &sticky.config;
    let said = said(client);
    let persists = target.backend.config.connections.persist || said == Some(true);
    let seen = if fields.any(Fields::COOKIE) {
        let now = if config.is_dated() { dates::now() } else { 0 };
        cookie::read(headers, &config.name, |value| {
            let (value, dates) = match config.mode {
                CookieMode::Prefix => (cookie::prefix(value), dates::Dates::default()),
                _ => dates::split(value),
            };
            match dates.age(config, now) {
                Age::Expired => return Named::Expired,
                Age::Old => return Named::Old,
                Age::Good => {}
            }
            let server = std::str::from_utf8(value)
                .ok()
                .and_then(|value| target.backend.server_by_cookie(value));
            match server.filter(|_| said != Some(false)) {
                None => Named::Nobody,
                Some(server) if persists || server.is_usable_by_cookie() => {
                    Named::Server((server, dates))
                }
                Some(_) => Named::Down,
            }
        })
    } else {
        Sticky::None
    };
    let mut exchange = client.exchange();
    let before = std::mem::replace(&mut exchange.cookie_set, CookieSet::None);
    let (cookie_seen, holder) = match seen {
        Sticky::None => (CookieSeen::None, None),
        Sticky::Invalid => (CookieSeen::Invalid, None),
        Sticky::Down => (CookieSeen::Down, None),
        Sticky::Expired => (CookieSeen::Expired, None),
        Sticky::Old => (CookieSeen::Old, None),
        Sticky::Valid((server, dates)) => {
            exchange.cookie_dates = dates;
            let seen = match server.is_usable_by_cookie() {
                true => CookieSeen::Valid,
                false => CookieSeen::Down,
            };
            (seen, Some(Arc::clone(server)))
        }
    };
    if config.mode == CookieMode::Passive {
        // The line of the log tells of cookies that are ours alone, as HAProxy's.
        exchange.cookie_set = before;
        return holder;
    }
    exchange.cookie_seen = cookie_seen;
    if said == Some(false) && cookie_seen == CookieSeen::Invalid {
        exchange.ignore_cookie();
    }
    if cookie_seen != CookieSeen::None {
        match config.mode {
            CookieMode::Insert if config.indirect => cookie::remove(headers, &config.name),
            CookieMode::Prefix => cookie::remove_prefix(headers, &config.name),
            _ => {}
        }
    }
    holder
}

/// What rules say of the server that the client stays on: that it is asked even if it is down, or not even if it is up.
pub(super) fn said(client: &Client) -> Option<bool> {
    client.rules.borrow().as_ref()?.state.persist()
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
    if said(client) == Some(false) {
        return;
    }
    if sticky.config.mode == CookieMode::Passive {
        return;
    }
    let (config, mut exchange) = (&sticky.config, client.exchange());
    if exchange.server().is_none() {
        return;
    }
    let inserts = config.mode == CookieMode::Insert;
    let found = fields.any(Fields::SET_COOKIE) && cookie::is_set(&head.headers, &config.name);
    if found {
        exchange.cookie_set = if config.preserve {
            CookieSet::Passed
        } else if inserts || direct && config.indirect {
            cookie::remove_set(&mut head.headers, &config.name);
            CookieSet::Deleted
        } else if let Some(value) = exchange.server().and_then(|s| s.config.cookie.clone()) {
            let keep = config.mode == CookieMode::Prefix;
            cookie::rewrite_set(&mut head.headers, &config.name, &value, keep);
            CookieSet::Rewritten
        } else {
            CookieSet::Passed
        };
    }
    if !inserts || found && config.preserve {
        return;
    }
    let had = exchange.cookie_dates;
    let now = match config.is_dated() || had.last.is_some() {
        true => dates::now(),
        false => 0,
    };
    if direct && !had.are_due(config, now) || config.postonly && asked != Method::POST {
        return;
    }
    // One that is bound to another server begins anew.
    let had = if direct { had } else { dates::Dates::default() };
    let value = exchange.server().and_then(|server| {
        let place = target.backend.place_of(server);
        sticky.set_for(server, place, had, now)
    });
    let Some(value) = value else {
        return;
    };
    exchange.cookie_set = match direct {
        true => CookieSet::Updated,
        false => CookieSet::Inserted,
    };
    head.headers.append(SET_COOKIE, value);
    if config.nocache && cookie::is_cacheable(asked, head.status, fields, &head.headers) {
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
