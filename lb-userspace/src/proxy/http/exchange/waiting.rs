//! Waiting for a response's body before rules go on with its head.

use std::{future::poll_fn, rc::Rc, task::Poll};

use http::{StatusCode, header::CONTENT_LENGTH, response};

use super::{Client, Failure, Target, patience, persist, rules::Memory};
use crate::{
    observe::log::{Cause, Phase},
    proxy::http::{
        body::Inbound,
        client::{Expired, Wait},
        upstream::Lease,
    },
    rules::{BodySeen, Side, action::WaitForBody},
};

/// Whether rules look at the body.
pub(super) fn is_looked_at(client: &Client, target: &Target) -> bool {
    let rules = [
        &client.frontend().config.rules,
        &target.backend.config.rules,
    ];
    rules.iter().any(|rules| rules.asks_for_answer())
}

/// Shows rules what has come of the body.
pub(super) async fn show(
    client: &Rc<Client>,
    (incoming, lease): (&mut Inbound, &mut Lease),
    head: &response::Parts,
) {
    poll_fn(|cx| {
        lease.drive(cx);
        incoming.has_come(cx, 0);
        Poll::Ready(())
    })
    .await;
    // Answers to HEAD tell of a length and have none.
    let length = head.headers.get(CONTENT_LENGTH);
    let length = length.filter(|_| !incoming.is_end_stream() || incoming.length_ahead() > 0);
    let seen = BodySeen {
        bytes: incoming.bytes_ahead(),
        announced: length.and_then(|length| length.to_str().ok()?.trim().parse().ok()),
    };
    let mut memory = Memory::of(client);
    let state = &mut memory.remembered.state;
    state.see_body(Side::Response, seen);
}

/// Waits for as much of the body as rules want. One that breaks off does so for the client.
pub(super) async fn wait(
    client: &Rc<Client>,
    target: &Target,
    (incoming, lease): (&mut Inbound, &mut Lease),
    wait: WaitForBody,
) -> Result<(), Failure> {
    let patience = patience::of_server(client, target);
    let deadline = client.now() + wait.time.unwrap_or(patience);
    client.wait_for(Wait::Body(patience));
    client.server_active();
    let reading = poll_fn(|cx| {
        let mut before = incoming.length_ahead();
        loop {
            // What comes comes by driving the connection.
            lease.drive(cx);
            if incoming.has_come(cx, wait.at_least) {
                return Poll::Ready(Ok(()));
            }
            let now = incoming.length_ahead();
            if now == before {
                break;
            }
            before = now;
            client.server_active();
        }
        match client.expired() {
            Some(Expired::Server) => Poll::Ready(Err(Cause::ServerTimeout)),
            _ if client.exchange().is_shut_down(cx) => Poll::Ready(Err(Cause::Down)),
            _ if client.has_left() => Poll::Ready(Err(Cause::Client)),
            _ => Poll::Pending,
        }
    });
    let done = tokio::time::timeout_at(deadline.into(), reading).await;
    client.wait_for(Wait::Nothing);
    let cause = match done {
        Ok(Ok(())) => return Ok(()),
        Ok(Err(cause)) => cause,
        Err(_) => Cause::ServerTimeout,
    };
    persist::forget(client);
    let mut exchange = client.exchange();
    exchange.responded = None;
    Err(match cause {
        Cause::Client => {
            exchange.terminate(cause, Phase::Headers);
            Failure::Close(Some(StatusCode::BAD_REQUEST))
        }
        Cause::Down => {
            exchange.terminate(cause, Phase::Headers);
            Failure::Status(StatusCode::BAD_GATEWAY)
        }
        _ => {
            exchange.terminate(cause, Phase::Request);
            Failure::Status(StatusCode::GATEWAY_TIMEOUT)
        }
    })
}
