//! Health checks: [`machine`] decides, checkers ask, and what they find goes to the server's one live state at once.

use std::{sync::Arc, time::Duration};

use tokio::{
    task::JoinSet,
    time::{Instant, MissedTickBehavior},
};

pub mod finding;
mod http;
pub mod machine;
pub mod message;
mod reach;
mod tcp;

use finding::Finding;
use reach::Reach;

use crate::{
    config::model::{self, CheckKind},
    topology::{
        AdminState, Backend, CheckResult, Clock, Server, Topology, backend::SLOW_START_STEP,
    },
};

/// Running checks; dropping it ends them.
#[derive(Debug)]
pub struct Checks {
    _tasks: JoinSet<()>,
    count: usize,
}

impl Checks {
    /// Starts a task for each server that is checked, on the present runtime (one with IO and time), and one for slow
    /// starts. The first checks are spread over the interval.
    pub fn start(topology: &Topology) -> Self {
        let checked: Vec<_> = topology
            .backends
            .iter()
            .filter_map(|backend| Some((backend, backend.config.health_check.as_ref()?)))
            .flat_map(|(backend, check)| {
                backend
                    .servers
                    .iter()
                    .map(move |server| (backend, check, server))
            })
            .filter(|(_, _, server)| server.health().is_some())
            .collect();
        let count = checked.len();
        let mut tasks = JoinSet::new();
        for (index, (backend, check, server)) in checked.into_iter().enumerate() {
            let delay = machine::first_delay(check.interval, index, count);
            let checker = Checker::new(&backend.config, check, server);
            tasks.spawn(run(Arc::clone(backend), Arc::clone(server), checker, delay));
        }
        let slow: Vec<_> = topology
            .backends
            .iter()
            .filter(|b| b.has_slow_start())
            .cloned()
            .collect();
        if !slow.is_empty() {
            tasks.spawn(step_slow_starts(slow, topology.clock));
        }
        Self {
            _tasks: tasks,
            count,
        }
    }

    /// How many servers are checked.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether no server is checked.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }
}

/// One server's check, ready to be made again and again.
struct Checker {
    reach: Reach,
    interval: Duration,
    timeout: Duration,
    kind: Kind,
}

enum Kind {
    Tcp,
    Http(http::Request),
}

impl Checker {
    fn new(backend: &model::Backend, check: &model::HealthCheck, server: &Server) -> Self {
        let host = match &check.kind {
            CheckKind::Http { host, .. } => host.as_deref(),
            CheckKind::Tcp => None,
        };
        let kind = match &check.kind {
            CheckKind::Tcp => Kind::Tcp,
            CheckKind::Http {
                method,
                path,
                version,
                host,
                headers,
                status,
            } => Kind::Http(http::Request::new(
                method,
                path,
                version,
                host.as_deref(),
                headers,
                status,
            )),
        };
        Self {
            reach: Reach::new(check, server, host),
            interval: check.interval,
            timeout: check
                .timeout
                .or(backend.timeouts.check)
                .unwrap_or(check.interval),
            kind,
        }
    }

    async fn check(&self) -> CheckResult {
        let start = Instant::now();
        let deadline = start + self.timeout;
        let Finding { status, code, info } = match &self.kind {
            Kind::Tcp => tcp::check(&self.reach, deadline).await,
            Kind::Http(request) => http::check(&self.reach, request, deadline).await,
        };
        CheckResult {
            status,
            code,
            duration: start.elapsed(),
            info,
            at: std::time::Instant::now(),
        }
    }
}

/// Gives servers that have come up their weight little by little.
async fn step_slow_starts(backends: Vec<Arc<Backend>>, clock: Clock) {
    let mut steps = tokio::time::interval(SLOW_START_STEP);
    steps.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        steps.tick().await;
        let now_ms = clock.now_ms();
        for backend in &backends {
            backend.step_slow_starts(now_ms);
        }
    }
}

async fn run(backend: Arc<Backend>, server: Arc<Server>, checker: Checker, delay: Duration) {
    let mut due = Instant::now() + delay;
    loop {
        tokio::time::sleep_until(due).await;
        if server.admin() != AdminState::Maint {
            let result = checker.check().await;
            tracing::debug!(
                "check of {}/{}: {}",
                backend.name,
                server.name,
                result.cell()
            );
            let passed = result.status.passed();
            backend.record_check(&server, result, |health| {
                machine::record(health, passed).0.level
            });
        }
        // From start to start, as HAProxy counts it; a check that took longer than that is followed at once.
        due = (due + checker.interval).max(Instant::now());
    }
}

#[cfg(test)]
mod tests;
