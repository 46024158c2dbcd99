//! Statistics within a frontend that carries traffic.

use std::sync::Arc;

use http::{HeaderValue, header::CONTENT_LENGTH, request};

use super::{super::answer::Answer, Client, slow};
use crate::observe::log::{Cause, Phase};

/// The answer to a request for the frontend's statistics; `None` if it is for something else.
pub(super) async fn answer(client: &Client, head: &request::Parts) -> Option<Answer> {
    let config = client.frontend().config.stats.as_ref()?;
    let target = head.uri.path_and_query()?.as_str();
    if !target.starts_with(&config.uri) {
        return None;
    }
    let endpoints = client.worker.shared.statistics.get()?;
    let endpoint = endpoints.get(client.frontend().index)?.as_ref()?;
    let response = if endpoint.takes_long(&head.headers) {
        let endpoint = Arc::clone(endpoint);
        let (method, uri, headers) = (head.method.clone(), head.uri.clone(), head.headers.clone());
        slow::aside(move || endpoint.page(&method, &uri, &headers)).await?
    } else {
        endpoint.page(&head.method, &head.uri, &head.headers)
    }?;
    let (mut parts, body) = response.into_parts();
    parts
        .headers
        .insert(CONTENT_LENGTH, HeaderValue::from(body.len()));
    let mut exchange = client.exchange();
    exchange.is_statistics = true;
    exchange.terminate(Cause::Local, Phase::Request);
    Some(Answer {
        status: parts.status,
        reason: None,
        headers: parts.headers,
        body,
    })
}
