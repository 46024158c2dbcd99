//! A server's check as it is made: what is asked over each of its connections.

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;

use super::{
    Target,
    agent::{self, Wish},
    finding::{Finding, MOST_INFO},
    grpc, http,
    machine::Pace,
    memory::{Heard, Memory},
    reach::Reach,
    script, state, tcp,
};
use crate::{
    config::model::{self, CheckKind, CheckText, Setting, Step},
    topology::{CheckResult, CheckStatus, Server},
};

/// One server's check, ready to be made again and again.
pub(super) struct Checker {
    pub(super) pace: Pace,
    timeout: Duration,
    /// One after the other, until one does not pass.
    stages: Vec<Stage>,
}

/// What is asked over one connection.
struct Stage {
    reach: Reach,
    kind: Kind,
    /// What it remembers before it asks.
    variables: Vec<Setting>,
}

enum Kind {
    Tcp,
    Script(Vec<Step>),
    Ssl,
    Agent(Vec<u8>),
    Http(Box<state::Asking>),
    Grpc {
        service: String,
        host: Option<CheckText>,
        headers: Vec<(String, CheckText)>,
    },
}

impl Checker {
    pub(super) fn new(
        backend: &model::Backend,
        check: &model::HealthCheck,
        server: &Arc<Server>,
    ) -> Self {
        let stages = [check].into_iter().chain(&check.then);
        Self {
            pace: Pace::of(check),
            timeout: check
                .timeout
                .or(backend.timeouts.check)
                .unwrap_or(check.interval),
            stages: stages
                .enumerate()
                .map(|(at, check)| Stage::new(check, at, server))
                .collect(),
        }
    }

    #[cfg(test)]
    pub(super) async fn check(&self) -> CheckResult {
        self.ask(None).await.0
    }

    /// The result, and what an agent wishes.
    pub(super) async fn ask(&self, of: Option<&Target>) -> (CheckResult, Wish) {
        let start = Instant::now();
        let deadline = start + self.timeout;
        let mut wish = Wish::default();
        let mut memory = Memory::new(of);
        let mut found = Finding::new(CheckStatus::L4Ok);
        for stage in &self.stages {
            found = stage.ask(&mut memory, deadline, &mut wish).await;
            if !found.status.passed() {
                break;
            }
        }
        let Finding {
            status,
            code,
            mut info,
        } = found;
        info.truncate(info.floor_char_boundary(MOST_INFO));
        let result = CheckResult {
            status,
            code,
            duration: start.elapsed(),
            info,
            at: std::time::Instant::now(),
        };
        (result, wish)
    }
}

impl Stage {
    fn new(check: &model::HealthCheck, at: usize, server: &Arc<Server>) -> Self {
        let kind = match &check.kind {
            CheckKind::Tcp => Kind::Tcp,
            CheckKind::Script(steps) => Kind::Script(steps.clone()),
            CheckKind::Ssl => Kind::Ssl,
            CheckKind::Agent { send } => Kind::Agent(send.clone()),
            CheckKind::Http { .. } => Kind::Http(Box::new(state::Asking::new(check))),
            CheckKind::Grpc {
                service,
                host,
                headers,
            } => Kind::Grpc {
                service: service.clone(),
                host: host.clone(),
                headers: headers.clone(),
            },
        };
        Self {
            reach: Reach::new(check, at, server),
            kind,
            variables: check.variables.clone(),
        }
    }

    async fn ask(&self, memory: &mut Memory<'_>, deadline: Instant, wish: &mut Wish) -> Finding {
        for setting in &self.variables {
            memory.set(setting, Heard::default());
        }
        match &self.kind {
            Kind::Tcp => tcp::check(&self.reach, deadline).await,
            Kind::Script(steps) => script::check(&self.reach, steps, memory, deadline).await,
            Kind::Ssl => script::hello(&self.reach, deadline).await,
            Kind::Agent(send) => {
                let elsewhere = self.reach.agent();
                let send = elsewhere.send.as_ref().unwrap_or(send);
                let (finding, wished) =
                    agent::check(&self.reach.address(), self.reach.origin(), send, deadline).await;
                *wish = wished;
                finding
            }
            Kind::Http(asking) => match asking.of(memory) {
                Some((request, terms)) => {
                    http::check(&self.reach, &request, (memory, terms), deadline).await
                }
                None => Finding::new(CheckStatus::SockErr),
            },
            Kind::Grpc {
                service,
                host,
                headers,
            } => {
                let host = host.as_ref().map(|host| memory.line(host));
                let headers = state::filled(memory, headers);
                let request = grpc::request(service, host.as_deref(), &headers);
                grpc::check(&self.reach, &request, deadline).await
            }
        }
    }
}
