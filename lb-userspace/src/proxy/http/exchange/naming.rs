//! By which name a server is asked for by TLS.

use http::header::HOST;

use super::rules::{Memory, Surroundings};
use crate::{
    proxy::http::{client::Client, message::Message, plan::Target},
    rules::{RequestView, Scene, Template, host_name},
    topology::Server,
};

/// The name that `sni` of `server` asks for: what its expression says, else the host of the request.
pub(super) fn server_name(
    client: &Client,
    target: &Target,
    server: &Server,
    request: &Message,
) -> Option<Box<str>> {
    match &server.config.server_name {
        Some(asked) => computed(client, target, &asked.template, request),
        None => host(request),
    }
}

fn computed(
    client: &Client,
    target: &Target,
    asked: &Template,
    request: &Message,
) -> Option<Box<str>> {
    let memory = Memory::of(client);
    let world = Surroundings {
        client,
        backend: Some(&target.backend),
        exchange: None,
    };
    let name = asked.render(&Scene {
        request: Some(RequestView {
            method: request.method(),
            uri: request.uri(),
            version: request.version(),
            headers: request.headers(),
        }),
        response: None,
        state: &memory.remembered.state,
        world: &world,
    });
    let name = str::from_utf8(&name).ok()?;
    (!name.is_empty()).then(|| name.into())
}

/// The host that a request asks for: a name in lower case, or an address without brackets, and no port.
fn host(request: &Message) -> Option<Box<str>> {
    let written = match request.uri().authority() {
        Some(authority) => authority.as_str().as_bytes(),
        None => request.headers().get(HOST)?.as_bytes(),
    };
    let name = host_name(written);
    Some(str::from_utf8(&name).ok()?.trim_matches(['[', ']']).into())
}
