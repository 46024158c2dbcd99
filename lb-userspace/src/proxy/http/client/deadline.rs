//! Whose time runs, and when it has run out.

use std::time::Instant;

use super::{Client, Expired, Phase, Upload, Wait};

impl Client {
    /// When the timeout that runs now runs out.
    pub(in super::super) fn deadline(&self) -> Option<Instant> {
        let timeouts = self.timeouts();
        match self.phase() {
            Phase::Idle if self.is_new() => {
                Some(self.since.get() + timeouts.http_request.min(timeouts.client))
            }
            Phase::Idle => Some(self.since.get() + timeouts.http_keep_alive.min(timeouts.client)),
            Phase::Head => Some(self.since.get() + timeouts.http_request),
            Phase::Flushing if self.is_carrying_on() => self.exchange_deadline().map(|(at, _)| at),
            Phase::Flushing => Some(self.client_active.get() + timeouts.client),
            Phase::Serving | Phase::Answering => {
                let timeout = self.exchange_deadline().map(|(at, _)| at);
                match self.held.get() {
                    None => timeout,
                    Some(held) => Some(timeout.map_or(held, |at| at.min(held))),
                }
            }
        }
    }

    /// When the exchange's timeout runs out, and whose it is.
    fn exchange_deadline(&self) -> Option<(Instant, Expired)> {
        let client = || {
            (
                self.client_active.get() + self.timeouts().client,
                Expired::Client,
            )
        };
        let server = |timeout| (self.server_active.get() + timeout, Expired::Server);
        match self.wait.get() {
            Wait::Nothing => self.is_blocked().then(client),
            // While the client has to send, its time counts; the server is not asked yet.
            Wait::Response(timeout) if self.upload() == Upload::Waiting => {
                let (client, server) = (client(), server(timeout));
                Some(if client.0 < server.0 { client } else { server })
            }
            Wait::Request(_) if self.upload() == Upload::Waiting => Some(client()),
            Wait::Body(_) | Wait::Request(_) if self.is_blocked() => Some(client()),
            Wait::Response(timeout) | Wait::Body(timeout) | Wait::Request(timeout) => {
                Some(server(timeout))
            }
        }
    }

    /// Whether the exchange's time has run out.
    pub(in super::super) fn expired(&self) -> Option<Expired> {
        self.exchange_deadline()
            .filter(|&(at, _)| self.now() >= at)
            .map(|(_, whose)| whose)
    }
}
