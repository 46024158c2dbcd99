//! A request for the frontend's own monitor page.

use http::{StatusCode, request};

use super::{
    super::answer::Answer,
    Client, page,
    rules::{Memory, Surroundings},
};
use crate::rules::{RequestView, Scene};

/// The answer to a request for the page; `None` if it is for something else. Nobody logs it.
pub(super) fn answer(client: &Client, head: &request::Parts) -> Option<Answer> {
    let monitor = client.frontend().config.monitor.as_ref()?;
    let target = head.uri.path_and_query()?;
    if target.as_str() != monitor.uri {
        return None;
    }
    let rules = &client.frontend().config.rules;
    rules.keep(head, &mut Memory::of(client).remembered.frontend);
    let fails = monitor.fail.as_ref().is_some_and(|fail| {
        let memory = Memory::of(client);
        let world = Surroundings {
            client,
            backend: None,
            exchange: None,
        };
        fail.holds(&Scene {
            request: Some(RequestView::new(head)),
            response: None,
            state: &memory.remembered.state,
            world: &world,
        })
    });
    let status = match fails {
        true => StatusCode::SERVICE_UNAVAILABLE,
        false => StatusCode::OK,
    };
    page::keep(client, head);
    client.exchange().unlogged = true;
    Some(client.answer(status))
}
