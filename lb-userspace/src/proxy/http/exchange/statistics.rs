//! Statistics within a frontend that carries traffic.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderValue, header::CONTENT_LENGTH, request};

use super::{
    super::{answer::Answer, body::Inbound},
    Client, slow,
};
use crate::observe::{
    log::{Cause, Phase},
    stats::endpoint::{Asked, Unread},
};

/// The answer to a request for the frontend's statistics; `None` if it is for something else.
pub(super) async fn answer(
    client: &Client,
    head: &request::Parts,
    body: &mut Inbound,
) -> Option<Answer> {
    let config = client.frontend().config.stats.as_ref()?;
    let target = head.uri.path_and_query()?.as_str();
    if !target.starts_with(&config.uri) {
        return None;
    }
    let endpoints = client.worker.shared.statistics.get()?;
    let endpoint = endpoints.get(client.frontend().index)?.as_ref()?;
    let wanted = endpoint.wants_body(&head.method, &head.uri);
    let body = match wanted {
        0 => Ok(Bytes::new()),
        _ => {
            let deadline = client.now() + client.frontend().config.timeouts.http_request;
            let in_time = body.read_until(deadline, wanted).await;
            match body.is_all_ahead() {
                Ok(true) => Ok(body.bytes_ahead()),
                // No more than that is read ahead.
                Ok(false) if in_time => Err(Unread::TooLong),
                Ok(false) | Err(()) => Err(Unread::BrokenOff),
            }
        }
    };
    let (endpoint, takes_long) = (
        Arc::clone(endpoint),
        endpoint.takes_long(&head.uri, &head.headers),
    );
    let (method, uri, headers) = (head.method.clone(), head.uri.clone(), head.headers.clone());
    let (from, secure) = (client.source().ip(), client.tls.is_some());
    let page = move || {
        endpoint.page(&Asked {
            method: &method,
            uri: &uri,
            headers: &headers,
            body: body.as_deref().map_err(|unread| *unread),
            client: from,
            secure,
        })
    };
    let response = match takes_long {
        true => slow::aside(page).await?,
        false => page(),
    }?;
    let (mut parts, body) = response.into_parts();
    parts
        .headers
        .insert(CONTENT_LENGTH, HeaderValue::from(body.len()));
    let mut exchange = client.exchange();
    exchange.is_statistics = true;
    client.frontend().counters.intercepted.inc();
    exchange.terminate(Cause::Local, Phase::Request);
    Some(Answer {
        status: parts.status,
        reason: None,
        headers: parts.headers,
        body,
    })
}
