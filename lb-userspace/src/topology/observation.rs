//! `observe`: what traffic says of a server's health. HAProxy's rules.
//!
//! Errors in a row are counted, and a success ends the row. At `error_limit` the server is treated as `on_error` says and
//! its next check comes early, so that it is left before its checks would have found out.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use tokio::sync::Notify;

use super::{Backend, CheckResult, CheckStatus, Health, Server};
use crate::config::model::{Layer, Observe, OnError};

/// Something that was seen of a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Observation {
    /// A connection was established.
    Connected,
    /// A connection was not established.
    NotConnected,
    /// A response came, with this status.
    Status(u16),
    /// A connection ended without a response, or with what is none.
    BadResponse,
    /// A response did not come in time.
    NoResponse,
}

impl Observation {
    /// Whether it is an error to who looks at `layer`; `None` if that says nothing.
    fn is_error(self, layer: Layer) -> Option<bool> {
        match (self, layer) {
            (Self::NotConnected, _) => Some(true),
            (Self::Connected, Layer::Four) => Some(false),
            (Self::Connected, Layer::Seven) | (_, Layer::Four) => None,
            // Not implemented, and a version that is not spoken, are not the server's troubles.
            (Self::Status(status), Layer::Seven) => {
                Some(status >= 500 && !matches!(status, 501 | 505))
            }
            (Self::BadResponse | Self::NoResponse, Layer::Seven) => Some(true),
        }
    }

    /// HAProxy's words.
    fn words(self) -> &'static str {
        match self {
            Self::Connected => "L4 successful connection",
            Self::NotConnected => "L4 unsuccessful connection",
            Self::Status(status) if Self::Status(status).is_error(Layer::Seven) == Some(false) => {
                "Correct http response"
            }
            Self::Status(_) => "Wrong http response",
            Self::BadResponse => "Invalid http response",
            Self::NoResponse => "Http timeout",
        }
    }
}

/// Errors in a row at one server.
#[derive(Debug, Default)]
pub struct Observer {
    errors: AtomicU32,
    hurry: Notify,
}

impl Observer {
    /// Resolves when the next check is wanted early.
    pub async fn hurried(&self) {
        self.hurry.notified().await;
    }

    /// Whether this is one error too many.
    fn count(&self, observe: Observe, seen: Observation) -> bool {
        match seen.is_error(observe.layer) {
            None => false,
            Some(false) => {
                // Almost always there is nothing to write.
                if self.errors.load(Relaxed) != 0 {
                    self.errors.store(0, Relaxed);
                }
                false
            }
            Some(true) => {
                let errors = self.errors.fetch_add(1, Relaxed) + 1;
                let limit = errors >= observe.error_limit;
                if limit {
                    self.errors.store(0, Relaxed);
                }
                limit
            }
        }
    }
}

/// The level after too many errors.
fn react(health: Health, on_error: OnError) -> u32 {
    let failed = |level: u32| if level > health.rise { level - 1 } else { 0 };
    match on_error {
        OnError::FastInter => health.level,
        OnError::FailCheck => failed(health.level),
        OnError::SuddenDeath => failed(health.level.min(health.rise + 1)),
        OnError::MarkDown => 0,
    }
}

impl Backend {
    /// Takes notice of what was seen of `server`, where the file asks for that.
    pub fn observe(&self, server: &Arc<Server>, seen: Observation) {
        let Some(observe) = server.observe() else {
            return;
        };
        if !server.observer.count(observe, seen) {
            return;
        }
        server.counters.observed_failures.inc();
        if server.is_healthy() && observe.on_error != OnError::FastInter {
            let result = CheckResult {
                status: CheckStatus::Hana,
                code: None,
                duration: Duration::ZERO,
                info: format!(
                    "Detected {} consecutive errors, last one was: {}",
                    observe.error_limit,
                    seen.words()
                ),
                at: Instant::now(),
            };
            self.record_check(server, result, |health| react(health, observe.on_error));
        }
        server.observer.hurry.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        config::model::Balance,
        topology::{Topology, fixtures},
    };

    fn topology(layer: Layer, on_error: OnError) -> Topology {
        let servers = vec![
            fixtures::server("a", "192.0.2.1:80"),
            fixtures::server("b", "192.0.2.2:80"),
        ];
        let mut backend = fixtures::backend("b", Balance::RoundRobin, servers);
        if let Some(check) = &mut backend.health_check {
            check.observe = Some(Observe {
                layer,
                error_limit: 3,
                on_error,
            });
        }
        let topology = Topology::new(&fixtures::config(Vec::new(), vec![backend]));
        let backend = &topology.backends[0];
        backend.record_check(&backend.servers[0], ok(), |health| health.top());
        topology
    }

    fn ok() -> CheckResult {
        CheckResult {
            status: CheckStatus::L4Ok,
            code: None,
            duration: Duration::ZERO,
            info: String::new(),
            at: Instant::now(),
        }
    }

    fn status_after(layer: Layer, on_error: OnError, seen: &[Observation]) -> String {
        let topology = topology(layer, on_error);
        let backend = &topology.backends[0];
        for seen in seen {
            backend.observe(&backend.servers[0], *seen);
        }
        backend.servers[0].status()
    }

    const BAD: Observation = Observation::Status(500);

    #[test]
    fn too_many_errors_in_a_row_are_answered_as_the_file_says() {
        let after = |on_error, errors| status_after(Layer::Seven, on_error, &vec![BAD; errors]);
        assert_eq!(after(OnError::FailCheck, 2), "UP");
        assert_eq!(after(OnError::FailCheck, 3), "UP 2/3");
        assert_eq!(after(OnError::FailCheck, 6), "UP 1/3");
        assert_eq!(after(OnError::FailCheck, 9), "DOWN");
        assert_eq!(after(OnError::SuddenDeath, 3), "UP 1/3");
        assert_eq!(after(OnError::SuddenDeath, 6), "DOWN");
        assert_eq!(after(OnError::MarkDown, 3), "DOWN");
        assert_eq!(after(OnError::FastInter, 30), "UP");
    }

    #[test]
    fn a_success_ends_the_row() {
        let down = |seen: &[Observation]| status_after(Layer::Seven, OnError::MarkDown, seen);
        assert_eq!(down(&[BAD, BAD, Observation::Status(404), BAD, BAD]), "UP");
        assert_eq!(down(&[BAD, BAD, Observation::Status(501), BAD, BAD]), "UP");
        // A connection says nothing to who looks at responses.
        assert_eq!(down(&[BAD, BAD, Observation::Connected, BAD]), "DOWN");
        let mixed = [
            Observation::NotConnected,
            Observation::NoResponse,
            Observation::BadResponse,
        ];
        assert_eq!(down(&mixed), "DOWN");
    }

    #[test]
    fn layer4_looks_at_connections_alone() {
        let down = |seen: &[Observation]| status_after(Layer::Four, OnError::MarkDown, seen);
        assert_eq!(down(&[BAD; 9]), "UP");
        assert_eq!(down(&[Observation::NotConnected; 3]), "DOWN");
        let between = [
            Observation::NotConnected,
            Observation::NotConnected,
            Observation::Connected,
            Observation::NotConnected,
        ];
        assert_eq!(down(&between), "UP");
    }

    #[test]
    fn the_reason_is_told_in_haproxys_words() {
        let topology = topology(Layer::Seven, OnError::MarkDown);
        let backend = &topology.backends[0];
        let mut events = topology.events();
        for _ in 0..3 {
            backend.observe(&backend.servers[0], BAD);
        }
        let (_, line) = crate_message(&mut events);
        assert!(line.contains("Detected 3 consecutive errors, last one was: Wrong http response"));
        assert_eq!(backend.servers[0].counters.observed_failures.value(), 1);
    }

    fn crate_message(
        events: &mut tokio::sync::broadcast::Receiver<crate::topology::Event>,
    ) -> (CheckStatus, String) {
        let event = events.try_recv().expect("the server went down");
        let check = event.check.expect("for a reason");
        (check.status, check.info.clone())
    }

    #[test]
    fn a_server_without_checks_is_not_observed() {
        let mut server = fixtures::server("a", "192.0.2.1:80");
        server.check = false;
        let mut backend = fixtures::backend("b", Balance::RoundRobin, vec![server]);
        if let Some(check) = &mut backend.health_check {
            check.observe = Some(Observe {
                layer: Layer::Four,
                error_limit: 1,
                on_error: OnError::MarkDown,
            });
        }
        let topology = Topology::new(&fixtures::config(Vec::new(), vec![backend]));
        let backend = &topology.backends[0];
        backend.observe(&backend.servers[0], Observation::NotConnected);
        assert!(backend.is_up(), "nothing would bring it back");
    }
}
