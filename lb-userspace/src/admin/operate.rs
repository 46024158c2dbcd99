//! What operators do to servers: states, weights, addresses, limits, checks and agents.

use std::{net::IpAddr, net::SocketAddr, sync::Arc};

use crate::{
    observe::stats::Sources,
    topology::{AdminState, Backend, STATIC_WEIGHTS, Server, Willed},
};

/// Most weight that a server may have.
const MAX_WEIGHT: i64 = 256;
/// What `set server` knows.
const USAGE: &str = "usage: set server <backend>/<server> addr | agent | agent-addr | agent-port | agent-send | check-addr | check-port | fqdn | health | ssl | state | weight";
const BY: &str = "by 'stats socket command'";

/// The answer to a command about servers; `None` if it is none.
pub(super) fn answer(sources: &Sources, words: &[&str]) -> Option<Result<String, String>> {
    let run = |(backend, server): (Arc<Backend>, Arc<Server>),
               act: &dyn Fn(&Backend, &Arc<Server>)| {
        act(&backend, &server);
        Ok(String::new())
    };
    Some(match *words {
        ["get", "weight", ref rest @ ..] => find(sources, rest.first())
            .map(|(_, server)| format!("{} (initial {})\n", server.weight(), server.config.weight)),
        ["set", "weight", ref rest @ ..] => set_weight(sources, rest.first(), rest.get(1)),
        ["set", "server", ref rest @ ..] => set_server(sources, rest),
        ["set", "maxconn", "server", ref rest @ ..] => {
            find(sources, rest.first()).and_then(|found| set_maxconn(found, rest.get(1)))
        }
        [verb @ ("enable" | "disable"), "server", ref rest @ ..] => {
            let state = match verb {
                "enable" => AdminState::Ready,
                _ => AdminState::Maint,
            };
            find(sources, rest.first()).and_then(|found| {
                run(found, &|backend, server| {
                    // As HAProxy, it leaves a server draining that is told to drain.
                    if verb == "disable" || server.admin() == AdminState::Maint {
                        backend.set_admin(server, state);
                    }
                })
            })
        }
        [verb @ ("enable" | "disable"), "health", ref rest @ ..] => find(sources, rest.first())
            .and_then(|(backend, server)| {
                if verb == "enable" && backend.config.check_of(&server.config).is_none() {
                    return Err(
                        "Health check was not configured on this server, cannot enable.".to_owned(),
                    );
                }
                server.enable_checks(verb == "enable");
                Ok(String::new())
            }),
        [verb @ ("enable" | "disable"), "agent", ref rest @ ..] => {
            find(sources, rest.first()).and_then(|(backend, server)| {
                if verb == "enable" && server.config.agent_check.is_none() {
                    return Err(
                        "Agent was not configured on this server, cannot enable.".to_owned()
                    );
                }
                server.enable_agent(verb == "enable");
                if verb == "disable" {
                    // Nobody would take it back.
                    backend.set_agent(&server, true);
                }
                Ok(String::new())
            })
        }
        _ => return None,
    })
}

/// The server that `name` is of, and its backend.
pub(super) fn find(
    sources: &Sources,
    name: Option<&&str>,
) -> Result<(Arc<Backend>, Arc<Server>), String> {
    let (backend, server) = name
        .and_then(|name| name.split_once('/'))
        .filter(|(backend, server)| !backend.is_empty() && !server.is_empty())
        .ok_or("Require 'backend/server'.")?;
    let topology = sources.topology();
    let backend = topology.backend(backend).ok_or("No such backend.")?;
    let server = backend.server(server).ok_or("No such server.")?;
    Ok((Arc::clone(backend), Arc::clone(server)))
}

fn set_server(sources: &Sources, words: &[&str]) -> Result<String, String> {
    let (backend, server) = find(sources, words.first())?;
    let rest = words.get(2..).unwrap_or_default();
    let done = Ok(String::new());
    match *words.get(1).ok_or(USAGE)? {
        "weight" => set_weight(sources, words.first(), rest.first()),
        "state" => {
            let state = match rest.first() {
                Some(&"ready") => AdminState::Ready,
                Some(&"drain") => AdminState::Drain,
                Some(&"maint") => AdminState::Maint,
                _ => {
                    return Err(
                        "'set server <srv> state' expects 'ready', 'drain' and 'maint'.".to_owned(),
                    );
                }
            };
            backend.set_admin(&server, state);
            done
        }
        "health" => {
            if server.tracked().is_some() {
                return Err("cannot change health on a tracking server.".to_owned());
            }
            let asked = rest.first();
            if asked == Some(&"down") && backend.config.check_of(&server.config).is_none() {
                return Err(
                    "Health check was not configured on this server, so that it would never be up again: use \
                     'set server <srv> state maint'."
                        .to_owned(),
                );
            }
            match asked {
                Some(&"up") => backend.set_health(&server, Willed::Up),
                Some(&"down") => backend.set_health(&server, Willed::Down),
                Some(&"stopping") => backend.set_health(&server, Willed::Stopping),
                _ => {
                    return Err(
                        "'set server <srv> health' expects 'up', 'stopping', or 'down'.".to_owned(),
                    );
                }
            }
            done
        }
        "agent" => {
            if server.config.agent_check.is_none() || !server.agent_enabled() {
                return Err("agent checks are not enabled on this server.".to_owned());
            }
            match rest.first() {
                Some(&"up") => backend.set_agent(&server, true),
                Some(&"down") => backend.set_agent(&server, false),
                _ => return Err("'set server <srv> agent' expects 'up' or 'down'.".to_owned()),
            }
            done
        }
        what @ ("agent-addr" | "agent-port" | "agent-send") => agent(&server, what, rest),
        what @ ("check-addr" | "check-port") => check(&backend, &server, what, rest),
        "addr" => addr(&backend, &server, rest),
        _ => Err(USAGE.to_owned()),
    }
}

fn agent(server: &Server, what: &str, words: &[&str]) -> Result<String, String> {
    if server.config.agent_check.is_none() {
        return Err("agent checks are not enabled on this server".to_owned());
    }
    let first = words.first().filter(|word| !word.is_empty());
    match what {
        "agent-addr" => {
            let address = first.ok_or(
                "set server <b>/<s> agent-addr requires an address and optionally a port.",
            )?;
            let address = ip(address)?;
            let port = after_port(words)?;
            server.set_agent_elsewhere(|to| {
                to.address = Some(address);
                to.port = port.or(to.port);
            });
        }
        "agent-port" => {
            let text = first.ok_or("set server <b>/<s> agent-port requires a port.")?;
            let port = port(text)?;
            server.set_agent_elsewhere(|to| to.port = Some(port));
        }
        _ => {
            let text = first.ok_or("set server <b>/<s> agent-send requires a string.")?;
            server.set_agent_elsewhere(|to| to.send = Some(text.as_bytes().to_vec()));
        }
    }
    Ok(String::new())
}

fn check(backend: &Backend, server: &Server, what: &str, words: &[&str]) -> Result<String, String> {
    if backend.config.check_of(&server.config).is_none() {
        return Err("health checks are not enabled on this server".to_owned());
    }
    let first = words.first().filter(|word| !word.is_empty());
    match what {
        "check-addr" => {
            let address = first.ok_or(
                "set server <b>/<s> check-addr requires an address and optionally a port.",
            )?;
            let address = ip(address)?;
            let port = after_port(words)?;
            server.set_check_elsewhere(|to| {
                to.address = Some(address);
                to.port = port.or(to.port);
            });
        }
        _ => {
            let text = first.ok_or("set server <b>/<s> check-port requires a port.")?;
            let port = port(text)?;
            // 0 is its own again.
            server.set_check_elsewhere(|to| to.port = Some(port).filter(|&port| port != 0));
        }
    }
    Ok(String::new())
}

fn ip(text: &str) -> Result<IpAddr, String> {
    text.parse().map_err(|_| "invalid address".to_owned())
}

fn port(text: &str) -> Result<u16, String> {
    let number: i64 = text
        .parse()
        .map_err(|_| "provided port is not an integer")?;
    u16::try_from(number).map_err(|_| "provided port is not valid".to_owned())
}

/// The port behind `… port`.
fn after_port(words: &[&str]) -> Result<Option<u16>, String> {
    match *words {
        [_, "port", text, ..] => port(text).map(Some),
        _ => Ok(None),
    }
}

/// HAProxy's sentence tells what has become of the address, then of the port.
fn addr(backend: &Backend, server: &Arc<Server>, words: &[&str]) -> Result<String, String> {
    let text = words
        .first()
        .ok_or("set server <b>/<s> addr requires an address and optionally a port.")?;
    let invalid = || format!("Invalid addr '{text}' {BY}");
    let ip: IpAddr = text.parse().map_err(|_| invalid())?;
    let now = server.address();
    if now.is_unix() || now.asked().is_some() {
        return Err(format!("unknown addr family of '{now}' {BY}"));
    }
    let (was_ip, was_port) = (now.ip(), now.port().unwrap_or(0));
    let mut said = Vec::new();
    match was_ip {
        Some(was) if was == ip => said.push("no need to change the addr".to_owned()),
        was => {
            let was = was.map_or_else(|| "(none)".to_owned(), |ip| ip.to_string());
            said.push(format!("IP changed from '{was}' to '{ip}'"));
        }
    }
    let mut port = was_port;
    if words.get(1) == Some(&"port") {
        let text = words.get(2).copied().unwrap_or_default();
        let number = text.parse::<i64>().ok();
        match number.filter(|_| !text.starts_with(['+', '-'])) {
            None => {
                said.push(format!("problem converting port '{text}' to an int"));
                return Err(format!("{} {BY}", said.join(", ")));
            }
            Some(number) => match u16::try_from(number) {
                Err(_) => {
                    said.push(format!("invalid port '{text}'"));
                    return Err(format!("{} {BY}", said.join(", ")));
                }
                Ok(new) if new == was_port => said.push("no need to change the port".to_owned()),
                Ok(new) => {
                    said.push(format!("port changed from '{was_port}' to '{new}'"));
                    port = new;
                }
            },
        }
    }
    if was_ip != Some(ip) || port != was_port {
        backend.move_server(server, SocketAddr::new(ip, port));
        let said = said.join(", ");
        tracing::warn!("{}/{} changed: {said} {BY}", backend.name, server.name);
    }
    Ok(format!("{} {BY}\n", said.join(", ")))
}

fn set_weight(
    sources: &Sources,
    name: Option<&&str>,
    weight: Option<&&str>,
) -> Result<String, String> {
    let (backend, server) = find(sources, name)?;
    let weight = weight.ok_or("Require <weight> or <weight%>.")?;
    let weight = parse_weight(weight, server.config.weight)?;
    if !backend.follows_weight(&server, weight) {
        return Err(STATIC_WEIGHTS.to_owned());
    }
    backend.set_weight(&server, weight);
    Ok(String::new())
}

/// A weight from 0 to 256, or a share of the `initial` one in percent.
fn parse_weight(text: &str, initial: u16) -> Result<u16, String> {
    let digits = text.len()
        - text
            .trim_start_matches(['-', '+'])
            .trim_start_matches(|c: char| c.is_ascii_digit())
            .len();
    let (number, rest) = text.split_at(digits);
    let number: i64 = number
        .parse()
        .map_err(|_| "Empty weight string empty or preceded by garbage")?;
    let weight = match rest {
        "%" if number < 0 => return Err("Relative weight must be positive.".to_owned()),
        "%" => number.saturating_mul(i64::from(initial)) / 100,
        _ if !(0..=MAX_WEIGHT).contains(&number) => {
            return Err("Absolute weight can only be between 0 and 256 inclusive.".to_owned());
        }
        "" => number,
        _ => return Err("Trailing garbage in weight string".to_owned()),
    };
    Ok(u16::try_from(weight.min(MAX_WEIGHT)).unwrap_or(0))
}

/// 0 is no bound.
fn set_maxconn(
    (backend, server): (Arc<Backend>, Arc<Server>),
    text: Option<&&str>,
) -> Result<String, String> {
    let text = text.ok_or("Require <maxconn>.")?;
    let digits = text.trim_start_matches(|c: char| c.is_ascii_digit());
    if digits.len() == text.len() {
        return Err("maxconn string empty or preceded by garbage".to_owned());
    }
    if !digits.is_empty() {
        return Err("Trailing garbage in maxconn string".to_owned());
    }
    let max: u32 = text.parse().map_err(|_| "Value out of range.")?;
    backend.set_maxconn(&server, Some(max).filter(|&max| max > 0));
    Ok(String::new())
}
