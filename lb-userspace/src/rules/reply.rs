//! Answers that rules give: what `redirect`, `return` and `deny` say, filled in.

use bytes::Bytes;
use http::{
    HeaderMap, HeaderValue, StatusCode,
    header::{CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, LOCATION, SET_COOKIE},
};
use hyper::ext::ReasonPhrase;

use super::{
    action::{Body, Location, Redirect, Return},
    edit,
    reason::reason,
    scene::Scene,
};

/// An answer in full.
#[derive(Debug, PartialEq, Eq)]
pub struct Reply {
    /// The status.
    pub status: StatusCode,
    /// Another reason phrase than its usual one.
    pub reason: Option<ReasonPhrase>,
    /// In its place comes the page that there is for the status.
    pub page: bool,
    /// The fields.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
}

/// HAProxy's redirects; `None` where one leads nowhere that is not to count then.
pub(super) fn redirected(redirect: &Redirect, scene: &Scene<'_>) -> Option<Reply> {
    let request = scene.request;
    let rest = |location: &mut Vec<u8>| {
        let Some(request) = request else { return };
        let path = request.path().unwrap_or("/");
        // A prefix of a slash alone is none.
        match location.as_slice() {
            b"/" => *location = path.as_bytes().to_vec(),
            _ => location.extend_from_slice(path.as_bytes()),
        }
        if redirect.append_slash && !path.ends_with('/') {
            location.push(b'/');
        }
        if !redirect.drop_query
            && let Some(query) = request.uri.query()
        {
            location.push(b'?');
            location.extend_from_slice(query.as_bytes());
        }
    };
    let location = match &redirect.to {
        Location::Whole(to) => to.render(scene),
        Location::Prefix(prefix) => {
            let mut location = prefix.render(scene);
            rest(&mut location);
            location
        }
        Location::Scheme(scheme) => {
            let mut location = scheme.render(scene);
            location.extend_from_slice(b"://");
            location.extend_from_slice(request.and_then(|r| r.host()).unwrap_or_default());
            rest(&mut location);
            location
        }
    };
    if redirect.ignore_empty && location.is_empty() {
        return None;
    }
    let mut headers = HeaderMap::with_capacity(4);
    headers.insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
    headers.insert(LOCATION, edit::field_value(&location));
    if matches!(redirect.code.as_u16(), 302 | 303 | 307) {
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    }
    if let Some(cookie) = &redirect.cookie {
        headers.insert(SET_COOKIE, edit::field_value(cookie.as_bytes()));
    }
    Some(Reply {
        status: redirect.code,
        reason: None,
        page: false,
        headers,
        body: Bytes::new(),
    })
}

pub(super) fn returned(answer: &Return, scene: &Scene<'_>) -> Reply {
    let mut headers = HeaderMap::with_capacity(answer.headers.len() + 2);
    for (name, value) in &answer.headers {
        let value = value.render(scene);
        // As HAProxy has it.
        if !value.is_empty() {
            headers.append(name.clone(), edit::field_value(&value));
        }
    }
    let body = match &answer.body {
        None => Bytes::new(),
        Some((Body::Fixed(body), _)) => body.clone(),
        Some((Body::Template(body), _)) => body.render(scene).into(),
        // It comes in its place.
        Some((Body::Page, _)) => Bytes::new(),
    };
    if !matches!(answer.status.as_u16(), 204 | 304) {
        headers.insert(CONTENT_LENGTH, HeaderValue::from(body.len()));
    }
    if let Some((_, kind)) = &answer.body
        && !kind.is_empty()
        && !headers.contains_key(CONTENT_TYPE)
        && let Ok(kind) = HeaderValue::try_from(kind)
    {
        headers.insert(CONTENT_TYPE, kind);
    }
    Reply {
        status: answer.status,
        reason: answer.reason.clone().or_else(|| reason(answer.status)),
        page: matches!(answer.body, Some((Body::Page, _))),
        headers,
        body,
    }
}
