//! The way back: what rules do with a server's response, and with whatever answer the client gets.

use std::rc::Rc;

use http::response;

use super::{Client, Failure, Fields, Memory, Remembered, Surroundings, Target};
use crate::{
    observe::log::{Cause, Phase},
    rules::{Reached, Verdict, action::WaitForBody},
};

/// How far rules have been carried out for a response.
#[derive(Default)]
pub(in super::super) struct Responding {
    /// The backend's.
    backend: Reached,
    /// The frontend's, once those of the backend are through.
    frontend: Option<Reached>,
    captured: bool,
}

/// What becomes of a response.
pub(in super::super) enum Turn {
    /// It goes on with these fields.
    Done(Fields),
    /// More of its body has to come first.
    Await(WaitForBody),
}

/// Carries out what rules do with a response, from where they have been `reached`.
pub(in super::super) fn respond(
    client: &Rc<Client>,
    target: &Target,
    head: &mut response::Parts,
    fields: Fields,
    reached: &mut Responding,
) -> Result<Turn, Failure> {
    if !std::mem::replace(&mut reached.captured, true)
        && let Some(remembered) = client.rules.borrow_mut().as_mut()
        && let Some(captured) = remembered.state.captured_mut()
    {
        captured.response(&head.headers);
    }
    let any = client.rules.borrow().as_ref().is_some_and(|remembered| {
        !remembered.frontend.is_empty() || !remembered.backend.is_empty()
    });
    if !any {
        return Ok(Turn::Done(fields));
    }
    let mut memory = Memory::of(client);
    memory.remembered.state.end_request();
    let remembered = &mut *memory.remembered;
    let world = Surroundings {
        client,
        backend: Some(&target.backend),
        exchange: None,
    };
    let state = &mut remembered.state;
    let of_backend = &target.backend.config.rules;
    let mut done = Ok(None);
    if reached.frontend.is_none() {
        let (reached, later) = (&mut reached.backend, &remembered.backend);
        done = of_backend.response(reached, later, head, state, &world);
    }
    if let Ok(None) = done {
        let rules = &client.frontend().config.rules;
        let reached = reached.frontend.get_or_insert_default();
        done = rules.response(reached, &remembered.frontend, head, state, &world);
    }
    let shared = &client.worker.shared;
    // A page may look at what is remembered.
    drop(memory);
    match done {
        Ok(Some(wait)) => Ok(Turn::Await(wait)),
        Ok(None) => {
            let of_frontend = shared.http.changes(client.frontend().index).1;
            Ok(Turn::Done(match of_frontend || target.changes.1 {
                true => Fields::of(&head.headers),
                false => fields,
            }))
        }
        Err(Verdict::Drop(silent)) => {
            let (frontend, backend) = (&client.frontend().counters, &target.backend.counters);
            // As HAProxy has it: whom it is silent to it counts with those whose requests were denied.
            if silent {
                client.vanish();
                frontend.denied_requests.inc();
                backend.denied_requests.inc();
            } else {
                frontend.denied_responses.inc();
                backend.denied_responses.inc();
            }
            let mut exchange = client.exchange();
            let phase = match silent {
                true => Phase::Request,
                false => Phase::Data,
            };
            if let Some(server) = exchange.server().filter(|_| !silent) {
                server.counters.denied_responses.inc();
            }
            exchange.terminate(Cause::Proxy, phase);
            exchange.responded = None;
            exchange.status = Some(head.status.as_u16());
            Err(Failure::Close(None))
        }
        Err(Verdict::Answer(reply)) => {
            let mut exchange = client.exchange();
            exchange.terminate(Cause::Local, Phase::Headers);
            exchange.responded = None;
            drop(exchange);
            Err(Failure::Answer(Box::new(client.reply(*reply))))
        }
        Err(Verdict::Deny(status, answer)) => {
            client.frontend().counters.denied_responses.inc();
            target.backend.counters.denied_responses.inc();
            let mut exchange = client.exchange();
            if let Some(server) = exchange.server() {
                server.counters.denied_responses.inc();
            }
            exchange.terminate(Cause::Proxy, Phase::Headers);
            // The client gets no answer of the server's.
            exchange.responded = None;
            drop(exchange);
            Err(match answer {
                Some(reply) => Failure::Answer(Box::new(client.reply(*reply))),
                None => Failure::Status(status),
            })
        }
    }
}

/// Does with the answer that the client gets, whoever's it is, what rules want to be done in the end. A refusal that ends
/// the connection, of what was no request, is none.
pub(in super::super) fn after(client: &Client, head: &mut response::Parts) {
    let frontend = &client.frontend().config.rules;
    let of_backend = {
        let exchange = client.exchange();
        let backend = exchange.backend();
        backend.is_some_and(|backend| backend.config.rules.has_after())
    };
    if !of_backend && !frontend.has_after() {
        return;
    }
    let backend = client.exchange().backend().cloned();
    let of_backend = backend
        .as_ref()
        .map(|backend| &backend.config.rules)
        .filter(|rules| rules.has_after());
    let mut memory = Memory::of(client);
    memory.remembered.state.end_request();
    let Remembered {
        state,
        frontend: of_frontend,
        backend: later,
        ..
    } = &mut *memory.remembered;
    let world = Surroundings {
        client,
        backend: backend.as_ref(),
        exchange: None,
    };
    if let Some(rules) = of_backend {
        rules.after(later, head, state, &world);
    }
    frontend.after(of_frontend, head, state, &world);
}
