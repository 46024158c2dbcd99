//! A client that stays on its server by what a table remembers of it.

use std::sync::Arc;

use http::{Response, request};

use super::{
    Client, Target, persist,
    rules::{Memory, Surroundings},
};
use crate::{
    rules::{RequestView, ResponseView, Scene, stick},
    topology::Server,
};

/// The server that a table remembers of the request, unless its cookie has named the `holder`; and where the one that is
/// chosen is to be remembered.
pub(super) fn find(
    client: &Client,
    target: &Target,
    head: &request::Parts,
    holder: Option<Arc<Server>>,
) -> (Option<Arc<Server>>, Vec<stick::Remembering>) {
    let config = &target.backend.config;
    if config.sticks.is_empty() {
        return (holder, Vec::new());
    }
    let persists = config.connections.persist || persist::said(client) == Some(true);
    let usable = |id: u32| {
        let server = target.backend.server_by_id(id)?;
        let fits = persists || server.is_usable_by_cookie();
        fits.then(|| Arc::clone(server))
    };
    let memory = Memory::of(client);
    let world = surroundings(client, target);
    let scene = Scene {
        request: Some(RequestView::new(head)),
        response: None,
        state: &memory.remembered.state,
        world: &world,
    };
    let now = client.now_ms();
    let (found, remembering) = stick::look(&config.sticks, &scene, now, usable);
    (holder.or(found), remembering)
}

/// Remembers which server has answered.
pub(super) fn store<B>(
    client: &Client,
    target: &Target,
    mut remembering: Vec<stick::Remembering>,
    response: &Response<B>,
) {
    let config = &target.backend.config;
    if config.sticks.is_empty() {
        return;
    }
    let exchange = client.exchange();
    let server = exchange.server().filter(|server| server.config.sticks);
    let Some(id) = server.map(|server| server.id) else {
        return;
    };
    drop(exchange);
    {
        let memory = Memory::of(client);
        let world = surroundings(client, target);
        let scene = Scene {
            request: None,
            response: Some(ResponseView {
                status: response.status(),
                version: response.version(),
                headers: response.headers(),
            }),
            state: &memory.remembered.state,
            world: &world,
        };
        remembering.extend(stick::look_at_response(&config.sticks, &scene));
    }
    let now = client.now_ms();
    stick::remember(remembering, id, now);
}

fn surroundings<'a>(client: &'a Client, target: &'a Target) -> Surroundings<'a> {
    Surroundings {
        client,
        backend: Some(&target.backend),
        exchange: None,
    }
}
