//! HAProxy's log lines for changes of state, word for word: people's alerts match on them.

use std::fmt::Write;

use crate::{
    observe::log::Level,
    topology::{CheckResult, CheckStatus, Event, EventKind},
};

/// The line for `event` and the level that HAProxy gives it.
pub fn message(event: &Event) -> (Level, String) {
    // Only the backend's own event comes without a server.
    let (Some(server), false) = (&event.server, event.kind == EventKind::NoServer) else {
        return (
            Level::Emerg,
            format!("backend {} has no server available!", event.backend),
        );
    };
    let backup = if server.config.backup { "Backup " } else { "" };
    let mut line = format!("{backup}Server {}/{} ", event.backend, server.name);
    let level = match event.kind {
        EventKind::NoServer => Level::Emerg,
        EventKind::Down => {
            line.push_str("is DOWN");
            why(&mut line, event);
            left(&mut line, event);
            Level::Alert
        }
        EventKind::Up => {
            line.push_str("is UP");
            why(&mut line, event);
            online(&mut line, event);
            Level::Notice
        }
        EventKind::Stopping => {
            line.push_str("is stopping");
            why(&mut line, event);
            online(&mut line, event);
            Level::Notice
        }
        EventKind::Maint { was_up: true } => {
            line.push_str("is going DOWN for maintenance");
            via(&mut line, event);
            left(&mut line, event);
            Level::Alert
        }
        EventKind::Maint { was_up: false } => {
            line.push_str("was DOWN and now enters maintenance");
            via(&mut line, event);
            Level::Notice
        }
        EventKind::LeftMaint { draining } => {
            let state = if draining { "DRAIN" } else { "READY" };
            let forced = if event.via.is_some() { "" } else { "forced " };
            let _ = write!(line, "is UP/{state} (leaving {forced}maintenance)");
            Level::Notice
        }
        EventKind::Moved {
            from: Some(from),
            to,
        } => {
            let (backend, name) = (&event.backend, &server.name);
            let by = server.config.resolve.as_ref().map(|r| &*r.resolvers.name);
            let (from, to, by) = (from.ip(), to.ip(), by.unwrap_or("an operator"));
            line = format!("{backend}/{name} changed its IP from {from} to {to} by {by}");
            Level::Notice
        }
        EventKind::Moved { from: None, .. } => {
            line.push_str("administratively READY thanks to valid DNS answer");
            Level::Warning
        }
        EventKind::Unresolved { was_up: true, why } => {
            let _ = write!(line, "is going DOWN for maintenance ({why})");
            left(&mut line, event);
            Level::Alert
        }
        EventKind::Unresolved { was_up: false, why } => {
            let _ = write!(line, "was DOWN and now enters maintenance ({why})");
            Level::Notice
        }
        EventKind::Drain => {
            line.push_str("enters drain state");
            via(&mut line, event);
            match event.healthy {
                true => online(&mut line, event),
                false => left(&mut line, event),
            }
            Level::Notice
        }
        EventKind::LeftDrain => {
            let state = if event.healthy { "UP" } else { "DOWN" };
            let _ = write!(line, "is {state} (leaving forced drain)");
            Level::Notice
        }
    };
    line.push('.');
    (level, line)
}

/// ` via app/one`, or what its own check has found.
fn why(line: &mut String, event: &Event) {
    match event.via {
        Some(_) => via(line, event),
        None => reason(line, event.check.as_deref()),
    }
}

fn via(line: &mut String, event: &Event) {
    if let Some(via) = &event.via {
        line.push_str(" via ");
        line.push_str(via);
    }
}

/// `, reason: Layer7 wrong status, code: 503, info: "Service Unavailable", check duration: 4ms`
fn reason(line: &mut String, check: Option<&CheckResult>) {
    let Some(check) = check else { return };
    let _ = write!(line, ", reason: {}", check.status.description());
    if let Some(code) = check.code {
        let _ = write!(line, ", code: {code}");
    }
    if !check.info.is_empty() {
        let _ = write!(line, ", info: \"{}\"", check.info);
    }
    // What traffic has shown took no time of its own.
    if check.status != CheckStatus::Hana {
        let _ = write!(line, ", check duration: {}ms", check.duration.as_millis());
    }
}

fn left(line: &mut String, event: &Event) {
    let Event {
        active_servers,
        backup_servers,
        sessions,
        requeued,
        queued,
        ..
    } = event;
    let _ = write!(
        line,
        ". {active_servers} active and {backup_servers} backup servers left.{} {sessions} sessions active, {requeued} requeued, {queued} remaining in queue",
        on_backup(event)
    );
}

fn online(line: &mut String, event: &Event) {
    let Event {
        active_servers,
        backup_servers,
        requeued,
        queued,
        ..
    } = event;
    let _ = write!(
        line,
        ". {active_servers} active and {backup_servers} backup servers online.{} {requeued} sessions requeued, {queued} total in queue",
        on_backup(event)
    );
}

fn on_backup(event: &Event) -> &'static str {
    if event.active_servers == 0 && event.backup_servers > 0 {
        " Running on backup."
    } else {
        ""
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;
    use crate::{
        config::model::Balance,
        topology::{AdminState, Health, Topology, fixtures},
    };

    /// Two servers and a backup, and what is logged while `change` is at work on them.
    fn logged(change: impl FnOnce(&Topology)) -> Vec<(Level, String)> {
        let mut servers: Vec<_> = ["s1", "s2", "s3"]
            .map(|name| fixtures::server(name, "127.0.0.1:1"))
            .into();
        servers[2].backup = true;
        let backend = fixtures::backend("b", Balance::RoundRobin, servers);
        let topology = Topology::new(&fixtures::config(Vec::new(), vec![backend]));
        let mut events = topology.events();
        change(&topology);
        std::iter::from_fn(|| events.try_recv().ok())
            .map(|event| message(&event))
            .collect()
    }

    fn check(
        topology: &Topology,
        server: usize,
        status: CheckStatus,
        code: Option<u16>,
        info: &str,
    ) {
        let backend = &topology.backends[0];
        let result = CheckResult {
            status,
            code,
            duration: Duration::from_millis(4),
            info: info.into(),
            at: Instant::now(),
        };
        let level = |health: Health| if status.passed() { health.top() } else { 0 };
        backend.record_check(&backend.servers[server], result, level);
    }

    fn admin(topology: &Topology, server: usize, state: AdminState) {
        topology.backends[0].set_admin(&topology.backends[0].servers[server], state);
    }

    #[test]
    fn a_server_goes_down_and_comes_up_in_haproxys_words() {
        let lines = logged(|topology| {
            check(
                topology,
                0,
                CheckStatus::L7Sts,
                Some(503),
                "Service Unavailable",
            );
            check(topology, 0, CheckStatus::L7Ok, Some(200), "");
        });
        assert_eq!(
            lines,
            [
                (
                    Level::Alert,
                    "Server b/s1 is DOWN, reason: Layer7 wrong status, code: 503, info: \"Service Unavailable\", \
                     check duration: 4ms. 1 active and 1 backup servers left. 0 sessions active, 0 requeued, 0 \
                     remaining in queue."
                        .to_owned()
                ),
                (
                    Level::Notice,
                    "Server b/s1 is UP, reason: Layer7 check passed, code: 200, check duration: 4ms. 2 active and 1 \
                     backup servers online. 0 sessions requeued, 0 total in queue."
                        .to_owned()
                ),
            ]
        );
    }

    #[test]
    fn the_last_server_takes_the_backend_with_it() {
        let lines = logged(|topology| {
            for server in 0..3 {
                check(
                    topology,
                    server,
                    CheckStatus::L4Con,
                    None,
                    "Connection refused",
                );
            }
        });
        assert!(
            lines[1]
                .1
                .contains("0 active and 1 backup servers left. Running on backup. 0 sessions"),
            "{lines:?}"
        );
        assert!(lines[2].1.starts_with("Backup Server b/s3 is DOWN, reason: Layer4 connection problem, info: \"Connection refused\", check"), "{lines:?}");
        assert_eq!(
            lines[3],
            (
                Level::Emerg,
                "backend b has no server available!".to_owned()
            )
        );
        assert_eq!(lines.len(), 4);
    }

    #[test]
    fn an_operators_actions_read_as_haproxys() {
        let lines = logged(|topology| {
            admin(topology, 0, AdminState::Maint);
            admin(topology, 0, AdminState::Ready);
            admin(topology, 1, AdminState::Drain);
            admin(topology, 1, AdminState::Ready);
            check(topology, 1, CheckStatus::L4Con, None, "");
            admin(topology, 1, AdminState::Maint);
            admin(topology, 0, AdminState::Maint);
            admin(topology, 0, AdminState::Drain);
        });
        let texts: Vec<&str> = lines.iter().map(|(_, text)| text.as_str()).collect();
        assert_eq!(
            texts,
            [
                "Server b/s1 is going DOWN for maintenance. 1 active and 1 backup servers left. 0 sessions active, 0 requeued, 0 remaining in queue.",
                "Server b/s1 is UP/READY (leaving forced maintenance).",
                "Server b/s2 enters drain state. 1 active and 1 backup servers online. 0 sessions requeued, 0 total in queue.",
                "Server b/s2 is UP (leaving forced drain).",
                "Server b/s2 is DOWN, reason: Layer4 connection problem, check duration: 4ms. 1 active and 1 backup servers left. 0 sessions active, 0 requeued, 0 remaining in queue.",
                "Server b/s2 was DOWN and now enters maintenance.",
                "Server b/s1 is going DOWN for maintenance. 0 active and 1 backup servers left. Running on backup. 0 sessions active, 0 requeued, 0 remaining in queue.",
                "Server b/s1 is UP/DRAIN (leaving forced maintenance).",
            ]
        );
    }

    #[test]
    fn what_traffic_has_shown_took_no_time() {
        let lines = logged(|topology| {
            check(topology, 1, CheckStatus::Hana, None, "Detected 3");
        });
        assert_eq!(
            lines[0].1,
            "Server b/s2 is DOWN, reason: Health analyze, info: \"Detected 3\". 1 active and 1 backup servers left. \
             0 sessions active, 0 requeued, 0 remaining in queue."
        );
    }

    #[test]
    fn who_follows_another_is_told_of_with_it() {
        let topology = fixtures::followed();
        let mut events = topology.events();
        let mut told = || {
            let mut all = Vec::new();
            while let Ok(event) = events.try_recv() {
                all.push(message(&event).1);
            }
            all
        };
        let result = CheckResult {
            status: CheckStatus::L4Con,
            code: None,
            duration: Duration::ZERO,
            info: String::new(),
            at: Instant::now(),
        };
        let s = &topology.backends[0].servers[0];
        topology.backends[0].record_check(s, result, |_| 0);
        let rest = "0 sessions active, 0 requeued, 0 remaining in queue.";
        let down = told();
        assert_eq!(down[1], "backend one has no server available!");
        assert_eq!(
            down[2..],
            [
                format!(
                    "Server two/t is DOWN via one/s. 2 active and 0 backup servers left. {rest}"
                ),
                format!(
                    "Server two/u is DOWN via two/t. 1 active and 0 backup servers left. {rest}"
                ),
            ]
        );
        let one = &topology.backends[0];
        one.set_admin(&one.servers[0], AdminState::Maint);
        assert_eq!(
            told(),
            [
                "Server one/s was DOWN and now enters maintenance.",
                "Server two/t was DOWN and now enters maintenance via one/s.",
                "Server two/u was DOWN and now enters maintenance via two/t.",
            ]
        );
        one.set_admin(&one.servers[0], AdminState::Ready);
        assert_eq!(
            told(),
            [
                "Server one/s is UP/READY (leaving forced maintenance).",
                "Server two/t is UP/READY (leaving maintenance).",
                "Server two/u is UP/READY (leaving maintenance).",
            ]
        );
    }
}
