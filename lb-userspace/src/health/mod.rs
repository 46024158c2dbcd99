//! Health checks: [`machine`] decides, checkers ask, and what they find goes to the server's one live state at once.

use std::{collections::HashMap, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use tokio::{
    task::{AbortHandle, JoinSet},
    time::{Instant, MissedTickBehavior},
};

mod agent;
mod body;
mod checker;
pub mod finding;
mod grpc;
mod h2;
mod http;
pub mod machine;
mod memory;
pub mod message;
mod reach;
mod script;
mod state;
mod tcp;

use agent::Wish;
use checker::Checker;
use machine::Pace;

use crate::{
    config::model,
    topology::{AdminState, Backend, Clock, Health, Server, Topology, backend::SLOW_START_STEP},
};

/// Running checks; dropping it ends them.
#[derive(Debug)]
pub struct Checks {
    tasks: JoinSet<()>,
    running: HashMap<Which, Running>,
    slow_starts: Option<AbortHandle>,
    count: usize,
}

/// Whose check it is, and whether it is what an agent is asked beside it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Which {
    backend: Arc<str>,
    server: Arc<str>,
    agent: bool,
}

/// A check's task.
#[derive(Debug)]
struct Running {
    task: AbortHandle,
    /// To whom what is found is told.
    target: Arc<ArcSwap<Target>>,
    basis: Basis,
}

/// The server that is checked, and its backend.
#[derive(Debug)]
struct Target {
    backend: Arc<Backend>,
    server: Arc<Server>,
    /// What there is beside them, which the check's expressions may ask for.
    topology: Arc<Topology>,
}

/// What a checker is made of: as long as it stays the same, so does the checker.
#[derive(Debug, PartialEq)]
struct Basis {
    check: model::HealthCheck,
    server: model::Server,
    timeout: Option<Duration>,
}

impl Basis {
    fn new(backend: &model::Backend, check: &model::HealthCheck, server: &model::Server) -> Self {
        Self {
            check: check.clone(),
            server: model::Server {
                // What a check knows nothing of.
                id: None,
                initial: None,
                weight: 0,
                maxconn: None,
                max_queue: None,
                backup: false,
                disabled: false,
                cookie: None,
                slowstart: None,
                ..server.clone()
            },
            timeout: backend.timeouts.check,
        }
    }
}

impl Checks {
    /// Starts a task for each server that is checked, on the present runtime (one with IO and time), and one for slow
    /// starts. The first checks are spread over the time between two.
    pub fn start(topology: &Arc<Topology>) -> Self {
        let mut checks = Self {
            tasks: JoinSet::new(),
            running: HashMap::new(),
            slow_starts: None,
            count: 0,
        };
        checks.follow(topology);
        checks
    }

    /// Checks the servers of another configuration from now on. Those that are checked as before go on in their rhythm.
    pub fn follow(&mut self, topology: &Arc<Topology>) {
        let all: Vec<(&Arc<Backend>, &Arc<Server>)> = topology
            .backends
            .iter()
            .flat_map(|backend| backend.servers.iter().map(move |server| (backend, server)))
            .collect();
        let mut before = std::mem::take(&mut self.running);
        let checked: Vec<_> = all
            .iter()
            .filter_map(|&(backend, server)| {
                Some((backend, backend.config.check_of(&server.config)?, server))
            })
            .collect();
        self.count = checked.len();
        for (index, &(backend, check, server)) in checked.iter().enumerate() {
            let within = first_within(check);
            let delay = machine::first_delay(within, index, checked.len());
            self.go_on(
                topology,
                (backend, server, check),
                false,
                &mut before,
                |target, checker| run(target, checker, delay),
            );
        }
        for &(backend, server) in &all {
            if let Some(check) = &server.config.agent_check {
                self.go_on(
                    topology,
                    (backend, server, check),
                    true,
                    &mut before,
                    ask_agent,
                );
            }
        }
        for running in before.into_values() {
            running.task.abort();
        }
        while self.tasks.try_join_next().is_some() {}
        if let Some(task) = self.slow_starts.take() {
            task.abort();
        }
        let slow: Vec<_> = topology
            .backends
            .iter()
            .filter(|b| b.has_slow_start())
            .cloned()
            .collect();
        if !slow.is_empty() {
            let steps = step_slow_starts(slow, topology.clock);
            self.slow_starts = Some(self.tasks.spawn(steps));
        }
    }

    /// Goes on with a check that there is among those of `before`, or begins it.
    fn go_on<F>(
        &mut self,
        topology: &Arc<Topology>,
        (backend, server, check): (&Arc<Backend>, &Arc<Server>, &model::HealthCheck),
        agent: bool,
        before: &mut HashMap<Which, Running>,
        begin: impl FnOnce(Arc<ArcSwap<Target>>, Checker) -> F,
    ) where
        F: Future<Output = ()> + Send + 'static,
    {
        let which = Which {
            backend: Arc::clone(&backend.name),
            server: Arc::clone(&server.name),
            agent,
        };
        let basis = Basis::new(&backend.config, check, &server.config);
        let target = Target {
            backend: Arc::clone(backend),
            server: Arc::clone(server),
            topology: Arc::clone(topology),
        };
        let running = match before.remove(&which) {
            Some(running) if running.basis == basis => {
                running.target.store(Arc::new(target));
                running
            }
            other => {
                if let Some(other) = other {
                    other.task.abort();
                }
                let target = Arc::new(ArcSwap::from_pointee(target));
                let checker = Checker::new(&backend.config, check, server);
                let task = self.tasks.spawn(begin(Arc::clone(&target), checker));
                Running {
                    task,
                    target,
                    basis,
                }
            }
        };
        self.running.insert(which, running);
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

/// Over how long the first checks are spread, as HAProxy has it: what there would be between two of them of a server of which as
/// little is known.
fn first_within(check: &model::HealthCheck) -> Duration {
    let pause = Pace::of(check).after(Some(Health::initial(check.rise, check.fall)));
    pause.min(check.spread.first.unwrap_or(Duration::MAX))
}

/// Does to a server what its agent wishes.
fn grant(backend: &Backend, server: &Arc<Server>, wish: Wish) {
    if let Some(percent) = wish.percent {
        let weight = u32::from(server.config.weight) * u32::from(percent);
        backend.set_weight(
            server,
            u16::try_from(weight.div_ceil(100)).unwrap_or(u16::MAX),
        );
    }
    if let Some(most) = wish.maxconn
        && most != server.maxconn()
    {
        backend.set_maxconn(server, most);
    }
    if let Some(admin) = wish.admin {
        backend.set_admin_by_agent(server, admin);
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

/// Whether there is somebody to be asked. What an agent has put into maintenance it can take out again.
fn is_asked(server: &Server) -> bool {
    server.is_resolved() && (server.admin() != AdminState::Maint || server.is_kept_by_agent())
}

/// Asks a server's agent again and again, beside its check. One that cannot be reached, or says what nobody understands,
/// changes nothing, as HAProxy has it.
async fn ask_agent(target: Arc<ArcSwap<Target>>, checker: Checker) {
    let mut due = Instant::now();
    loop {
        tokio::time::sleep_until(due).await;
        if target.load().server.agent_enabled() && is_asked(&target.load().server) {
            let (result, wish) = checker.ask(Some(&target.load_full())).await;
            let now = target.load_full();
            let Target {
                backend, server, ..
            } = &*now;
            tracing::debug!(
                "agent of {}/{}: {}",
                backend.name,
                server.name,
                result.cell()
            );
            server.set_last_agent(&result);
            if wish.says_state {
                backend.record_agent(server, result);
            }
            grant(backend, server, wish);
        }
        let pause = checker
            .pace
            .spread(checker.pace.interval, machine::chance());
        due = (due + pause).max(Instant::now());
    }
}

async fn run(target: Arc<ArcSwap<Target>>, checker: Checker, delay: Duration) {
    let mut due = Instant::now() + delay;
    loop {
        // The server of the next configuration has the same one.
        let observer = Arc::clone(&target.load().server.observer);
        while tokio::time::timeout_at(due, observer.hurried())
            .await
            .is_ok()
        {
            due = due.min(Instant::now() + checker.pace.fast);
        }
        if target.load().server.checks_enabled() && is_asked(&target.load().server) {
            let (mut result, wish) = checker.ask(Some(&target.load_full())).await;
            result.status = agent::alone(result.status, &wish);
            let now = target.load_full();
            let Target {
                backend, server, ..
            } = &*now;
            tracing::debug!(
                "check of {}/{}: {}",
                backend.name,
                server.name,
                result.cell()
            );
            let passed = result.status.passed();
            backend.record_check(server, result, |health| {
                machine::record(health, passed).0.level
            });
            grant(backend, server, wish);
        }
        // From start to start, as HAProxy counts it; a check that took longer than that is followed at once.
        let pause = checker.pace.after(target.load().server.health());
        let pause = checker.pace.spread(pause, machine::chance());
        due = (due + pause).max(Instant::now());
    }
}

#[cfg(test)]
mod tests;
