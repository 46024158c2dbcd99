//! Statistics within a frontend or a backend that carries traffic.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header::CONTENT_LENGTH, request};

use super::{
    super::{answer::Answer, body::Inbound, plan::Plan},
    Client, Failure,
    rules::{Memory, Side, Surroundings, Way},
    slow,
};
use crate::{
    config::model::StatsAdmin,
    observe::{
        log::{Cause, Phase, ServerField},
        stats::endpoint::{Asked, Endpoint, Unread},
    },
    rules::{RequestView, Scene},
    topology::Backend,
};

impl Way<'_> {
    /// Answers a request for the page of statistics, if its rules let it.
    pub(super) async fn statistics(
        &mut self,
        backend: Option<&Arc<Backend>>,
        plan: &Plan,
        head: &mut request::Parts,
    ) -> Result<(), Failure> {
        let client = self.client;
        let Some(endpoint) = page(client, backend.map(|backend| &**backend), head) else {
            return Ok(());
        };
        client.exchange().nobody = ServerField::Stats;
        Box::pin(self.page(endpoint, backend, plan, head)).await
    }

    async fn page(
        &mut self,
        endpoint: &Arc<Endpoint>,
        backend: Option<&Arc<Backend>>,
        plan: &Plan,
        head: &mut request::Parts,
    ) -> Result<(), Failure> {
        let client = self.client;
        let config = endpoint.config();
        if !config.rules.is_empty() {
            self.touched = true;
            self.walk(&config.rules, Side::Page(backend), plan, head)
                .await?;
        }
        let admitted = match &config.admin {
            StatsAdmin::If(condition) => {
                let memory = Memory::of(client);
                let world = Surroundings {
                    client,
                    backend,
                    exchange: None,
                };
                condition.holds(&Scene {
                    request: Some(RequestView::new(head)),
                    response: None,
                    state: &memory.remembered.state,
                    world: &world,
                })
            }
            _ => false,
        };
        match answer(client, endpoint, head, self.body, admitted).await {
            Some(answer) => Err(Failure::Answer(Box::new(answer))),
            None => {
                client.exchange().nobody = ServerField::None;
                Ok(())
            }
        }
    }
}

impl Way<'_> {
    /// The answer of a rule's `metrics`.
    pub(super) async fn metrics(&self, head: &request::Parts) -> Failure {
        let client = self.client;
        let Some(pages) = client.worker.shared.statistics.get() else {
            return Failure::Status(StatusCode::SERVICE_UNAVAILABLE);
        };
        let endpoint = Arc::clone(&pages.metrics);
        let takes_long = endpoint.takes_long(&head.uri, &head.headers);
        let (method, uri, headers) = (head.method.clone(), head.uri.clone(), head.headers.clone());
        let written = move || {
            endpoint.metrics_of(&Asked {
                method: &method,
                uri: &uri,
                headers: &headers,
                body: Ok(&[]),
                client: None,
                secure: false,
                admitted: false,
            })
        };
        let response = match takes_long {
            true => slow::aside(written).await,
            false => Some(written()),
        };
        client.exchange().nobody = ServerField::Metrics;
        match response {
            Some(response) => Failure::Answer(Box::new(local(client, response))),
            None => Failure::Close(None),
        }
    }
}

/// The page that a request is for, of the frontend or, once it has come so far, of the backend.
fn page<'c>(
    client: &'c Client,
    backend: Option<&Backend>,
    head: &request::Parts,
) -> Option<&'c Arc<Endpoint>> {
    let config = match backend {
        None => client.frontend().config.stats.as_ref()?,
        Some(backend) => backend.config.stats.as_ref()?,
    };
    let target = head.uri.path_and_query()?.as_str();
    if !target.starts_with(&config.uri) {
        return None;
    }
    let pages = client.worker.shared.statistics.get()?;
    let endpoint = match backend {
        None => pages.frontends.get(client.frontend().index)?.as_ref()?,
        Some(backend) => pages.backends.get(&*backend.name)?,
    };
    // Rules of the page are none of what only begins like its address.
    endpoint.is_page(&head.uri).then_some(endpoint)
}

/// The answer to a request for it; `None` if there is nobody to give one any more.
async fn answer(
    client: &Client,
    endpoint: &Arc<Endpoint>,
    head: &request::Parts,
    body: &mut Inbound,
    admitted: bool,
) -> Option<Answer> {
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
            admitted,
        })
    };
    let response = match takes_long {
        true => slow::aside(page).await?,
        false => page(),
    }?;
    Some(local(client, response))
}

/// A response of ours as an answer, counted as one.
fn local(client: &Client, response: Response<Bytes>) -> Answer {
    let (mut parts, body) = response.into_parts();
    parts
        .headers
        .insert(CONTENT_LENGTH, HeaderValue::from(body.len()));
    client.frontend().counters.intercepted.inc();
    client.exchange().terminate(Cause::Local, Phase::Request);
    Answer {
        status: parts.status,
        reason: None,
        headers: parts.headers,
        body,
        silent: false,
        meant: None,
    }
}
