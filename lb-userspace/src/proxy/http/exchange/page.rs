//! Pages of errors with expressions in them, about the request as rules have left it.

use std::sync::Arc;

use http::{
    HeaderValue,
    header::{CONTENT_LENGTH, CONTENT_TYPE},
    request,
};

use super::{
    super::answer::Answer,
    Client,
    rules::{Memory, Surroundings},
};
use crate::{
    config::model::{Filled, Page},
    rules::{RequestView, Scene, field_value},
    topology::Backend,
};

/// Keeps what pages may ask of a request, if any that it may get does so.
pub(super) fn keep(client: &Client, head: &request::Parts) {
    let filled = client.frontend().config.errorfiles.any_filled() || {
        let exchange = client.exchange();
        let backend = exchange.backend();
        backend.is_some_and(|backend| backend.config.errorfiles.any_filled())
    };
    if filled {
        Memory::of(client).remembered.shown = Some(Box::new(head.clone()));
    }
}

/// The page as an answer; `None` where there was no request that it could be about.
pub(in super::super) fn fill(
    client: &Client,
    backend: Option<&Arc<Backend>>,
    page: &Page,
    filled: &Filled,
) -> Option<Answer> {
    let memory = Memory::of(client);
    let shown = memory.remembered.shown.as_deref()?;
    let world = Surroundings {
        client,
        backend,
        exchange: None,
    };
    let scene = Scene {
        request: Some(RequestView::new(shown)),
        response: None,
        state: &memory.remembered.state,
        world: &world,
    };
    let mut answer = Answer::from(page);
    for (name, value) in &filled.headers {
        let value = value.render(&scene);
        // As HAProxy has it.
        if !value.is_empty() {
            answer.headers.append(name, field_value(&value));
        }
    }
    if let Some((body, kind)) = &filled.body {
        answer.body = body.render(&scene).into();
        let length = HeaderValue::from(answer.body.len());
        answer.headers.insert(CONTENT_LENGTH, length);
        answer.headers.insert(CONTENT_TYPE, kind.clone());
    }
    Some(answer)
}
