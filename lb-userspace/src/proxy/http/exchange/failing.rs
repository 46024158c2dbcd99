//! What a request comes to that no server has answered.

use http::StatusCode;

use super::{Failure, context::Heard, persist, send::Trouble};
use crate::{
    observe::log::{Cause, Phase, Termination},
    proxy::{
        dispatch::DispatchError,
        http::{
            client::{Client, Expired, Upload},
            invalid,
            plan::Target,
        },
    },
    topology::Observation,
};

/// No server, none in time, or none that could be reached.
pub(super) fn unavailable(client: &Client, error: &DispatchError) -> Failure {
    let Termination { cause, phase } = error.termination();
    persist::forget(client);
    client.exchange().terminate(cause, phase);
    Failure::Status(StatusCode::SERVICE_UNAVAILABLE)
}

/// What trouble comes to once nothing more is tried.
pub(super) fn failed(client: &Client, trouble: Trouble) -> Failure {
    match trouble {
        Trouble::ShutDown => {
            persist::forget(client);
            client.exchange().terminate(Cause::Down, Phase::Headers);
            Failure::Status(StatusCode::BAD_GATEWAY)
        }
        Trouble::Expired(whose) => out_of_time(client, whose),
        Trouble::Left => {
            persist::forget(client);
            client.exchange().terminate(Cause::Client, Phase::Headers);
            Failure::Close(Some(StatusCode::BAD_REQUEST))
        }
        Trouble::Malformed => broken_off(client, true),
        Trouble::Unsendable => unsendable(client),
        Trouble::Unswitchable => {
            persist::forget(client);
            client.exchange().terminate(Cause::Server, Phase::Headers);
            Failure::Status(StatusCode::BAD_GATEWAY)
        }
        // Of the others, this one has been dealt with.
        Trouble::Unsent(_) | Trouble::Closed | Trouble::Reset => broken_off(client, false),
    }
}

/// A rule has made the request what cannot be sent. The server has not been asked, so nothing is held against it.
fn unsendable(client: &Client) -> Failure {
    persist::forget(client);
    client.exchange().terminate(Cause::Internal, Phase::Headers);
    Failure::Status(StatusCode::INTERNAL_SERVER_ERROR)
}

/// The client did not send the rest of the request in time, or the server its answer.
fn out_of_time(client: &Client, whose: Expired) -> Failure {
    persist::forget(client);
    match whose {
        Expired::Client => {
            client
                .exchange()
                .terminate(Cause::ClientTimeout, Phase::Data);
            Failure::Close(Some(StatusCode::REQUEST_TIMEOUT))
        }
        Expired::Server => {
            client
                .exchange()
                .terminate(Cause::ServerTimeout, Phase::Headers);
            count_response_error(client, Observation::NoResponse);
            Failure::Status(StatusCode::GATEWAY_TIMEOUT)
        }
    }
}

/// The exchange with the server ended without a response, by the client's fault or the server's, whose answer may have been
/// `malformed`.
fn broken_off(client: &Client, malformed: bool) -> Failure {
    match client.upload() {
        Upload::Aborted => {
            persist::forget(client);
            // It left in the middle of what it sent, whatever the server was at.
            client.exchange().terminate(Cause::Client, Phase::Data);
            Failure::Close(None)
        }
        Upload::Malformed => {
            persist::forget(client);
            client.exchange().terminate(Cause::Proxy, Phase::Headers);
            Failure::Close(Some(StatusCode::BAD_REQUEST))
        }
        Upload::Done | Upload::Waiting | Upload::Sending | Upload::Unwanted => {
            let cause = if malformed {
                Cause::Proxy
            } else {
                Cause::Server
            };
            server_failed(client, cause)
        }
    }
}

/// Keeps a response that was none for an operator.
pub(super) fn note_invalid(client: &Client, target: &Target, bytes: Vec<u8>) {
    let server = client.exchange().server().cloned();
    if let Some(server) = server {
        invalid::response(client, (&target.backend, &server), bytes);
    }
}

/// The server closed without a response, or sent what is none.
pub(super) fn server_failed(client: &Client, cause: Cause) -> Failure {
    persist::forget(client);
    client.exchange().responded = None;
    client.exchange().terminate(cause, Phase::Headers);
    count_response_error(client, Observation::BadResponse);
    Failure::Status(StatusCode::BAD_GATEWAY)
}

fn count_response_error(client: &Client, seen: Observation) {
    let mut exchange = client.exchange();
    exchange.heard = Heard::Failure;
    if let Some(server) = exchange.server() {
        server.counters.response_errors.inc();
        let clock = client.worker.shared.topology.clock;
        server.latency.record_failure(clock.at(client.now()));
    }
    if let Some(backend) = exchange.backend() {
        backend.counters.response_errors.inc();
        if let Some(server) = exchange.server() {
            backend.observe(server, seen);
        }
    }
}
