//! What a check tells a server of its state, and whether one that is up may ask for nobody new: `send_state` and
//! `disable_on_404`.

use std::sync::LazyLock;

use super::{
    Target,
    http::Request,
    memory::{Heard, Memory},
};
use crate::config::model::{CheckKind, CheckText, Content, HealthCheck, Terms};

/// The field, as HAProxy has it.
const FIELD: &str = "x-haproxy-server-state";

static NODE: LazyLock<String> = LazyLock::new(|| {
    let name = rustix::system::uname();
    name.nodename().to_string_lossy().into_owned()
});

/// What is asked, and what of it follows the server's state.
#[derive(Debug)]
pub(super) struct Asking {
    check: HealthCheck,
}

impl Asking {
    pub(super) fn new(check: &HealthCheck) -> Self {
        let check = HealthCheck {
            then: Vec::new(),
            ..check.clone()
        };
        Self { check }
    }

    /// What is asked of a server now, and on which terms; `None`: it is not asked by HTTP.
    pub(super) fn of(&self, memory: &Memory<'_>) -> Option<(Request, &Terms)> {
        let CheckKind::Http {
            method,
            path,
            version,
            secure: _,
            host,
            headers,
            body,
            status,
            content,
            terms,
        } = &self.check.kind
        else {
            return None;
        };
        let host = host.as_ref().map(|host| memory.line(host));
        let path = memory.line(path);
        let headers = filled(memory, headers);
        let body = body
            .as_ref()
            .map(|body| memory.fill(body, Heard::default()));
        let content: Vec<Content> = content
            .iter()
            .map(|content| memory.wanted(content).into_owned())
            .collect();
        let mut request = Request::new(
            method,
            &path,
            version,
            host.as_deref(),
            &headers,
            body.as_deref(),
            status,
            &content,
        );
        request.least = terms.least;
        if let Some(target) = memory.target() {
            if self.check.send_state {
                request = request.with_field(FIELD, &told(target));
            }
            let is_up = target.server.health().is_some_and(|health| health.is_up());
            request.stops = self.check.disable_on_404 && is_up;
        }
        Some((request, terms))
    }
}

/// The fields of a request.
pub(super) fn filled(
    memory: &Memory<'_>,
    headers: &[(String, CheckText)],
) -> Vec<(String, String)> {
    let fill = |(name, value): &(String, CheckText)| (name.clone(), memory.line(value));
    headers.iter().map(fill).collect()
}

/// `UP 2/3; address=192.0.2.1; port=80; name=app/one; node=lb1; weight=1/2; scur=3/5; qcur=0`
fn told(target: &Target) -> String {
    let (backend, server) = (&target.backend, &target.server);
    let address = server.address();
    let (host, port) = match address.inet() {
        Some(address) => (address.ip().to_string(), address.port()),
        None if address.is_unix() => ("unix".to_owned(), 0),
        None => (address.to_string(), 0),
    };
    let sum: u32 = backend
        .servers
        .iter()
        .map(|server| u32::from(server.effective_weight()))
        .sum();
    let mut text = format!(
        "{}; address={host}; port={port}; name={}/{}; node={}; weight={}/{sum}; scur={}/{}; qcur={}",
        server.status(),
        backend.name,
        server.name,
        *NODE,
        server.current_weight(),
        server.userspace_active(),
        backend.current(),
        server.queue.len(),
    );
    if let Some(percent) = server.throttle() {
        text.push_str(&format!("; throttle={percent}%"));
    }
    text
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{
        config::model::Balance,
        topology::{CheckResult, CheckStatus, Topology, fixtures},
    };

    fn target() -> Target {
        let servers = vec![
            fixtures::server("one", "192.0.2.1:80"),
            fixtures::server("two", "192.0.2.2:80"),
        ];
        let mut backend = fixtures::backend("app", Balance::RoundRobin, servers);
        backend.health_check = Some(fixtures::tcp_check());
        let topology = Topology::new(&fixtures::config(Vec::new(), vec![backend]));
        let backend = Arc::clone(&topology.backends[0]);
        let server = Arc::clone(&backend.servers[0]);
        Target {
            backend,
            server,
            topology: Arc::new(topology),
        }
    }

    #[test]
    fn a_server_is_told_how_it_is() {
        let target = target();
        let node = &*NODE;
        assert_eq!(
            told(&target),
            format!(
                "UP 1/3; address=192.0.2.1; port=80; name=app/one; node={node}; weight=1/2; scur=0/0; qcur=0"
            )
        );
    }

    #[test]
    fn one_that_wants_nobody_new_gets_nobody_new_until_it_is_up_or_down_again() {
        let Target {
            backend, server, ..
        } = target();
        let check = |status, level| {
            let result = CheckResult {
                status,
                code: Some(404),
                duration: std::time::Duration::ZERO,
                info: String::new(),
                at: std::time::Instant::now(),
            };
            backend.record_check(&server, result, |_| level);
            (
                server.status(),
                server.is_eligible(),
                server.is_usable_by_cookie(),
            )
        };
        let is = |status: &str, new, known| (status.to_owned(), new, known);
        assert_eq!(check(CheckStatus::L7Okc, 4), is("NOLB", false, true));
        assert_eq!(check(CheckStatus::L7Sts, 3), is("NOLB 2/3", false, true));
        assert_eq!(check(CheckStatus::L7Ok, 4), is("UP", true, true));
        assert_eq!(check(CheckStatus::L7Okc, 4), is("NOLB", false, true));
        assert_eq!(check(CheckStatus::L7Sts, 0), is("DOWN", false, false));
        assert_eq!(check(CheckStatus::L7Ok, 4), is("UP", true, true));
    }
}
