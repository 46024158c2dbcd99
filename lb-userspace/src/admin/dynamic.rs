//! `add server`, `del server` and `set maxconn global`: what takes another configuration, which the daemon makes of the one
//! that runs.

use super::{
    operate,
    wish::{Amendment, What, Wishes, wish},
};
use crate::{
    config::{self, model},
    observe::stats::Sources,
    topology::Server,
};

/// The answer to one of these; `None` if it is none.
pub(super) async fn answer(
    sources: &Sources,
    wishes: &Wishes,
    words: &[&str],
) -> Option<Result<String, String>> {
    let what = match *words {
        ["add", "server", ref rest @ ..] => add(sources, rest),
        ["del", "server", ref rest @ ..] => delete(sources, rest.first()),
        ["set", "maxconn", "global", ref rest @ ..] => maxconn(sources, rest.first()),
        _ => return None,
    };
    Some(match what {
        Ok(what) => wish(wishes, What::Amend(what)).await,
        Err(complaint) => Err(complaint),
    })
}

fn add(sources: &Sources, words: &[&str]) -> Result<Amendment, String> {
    let (backend, name) = words
        .first()
        .and_then(|name| name.split_once('/'))
        .filter(|(backend, name)| !backend.is_empty() && !name.is_empty())
        .ok_or("Require 'backend/server'.")?;
    let topology = sources.topology();
    let there = topology.backend(backend).ok_or("No such backend.")?;
    if there.server(name).is_some() {
        return Err("Already exists a server with the same name in backend.".to_owned());
    }
    let rest = words.get(1..).unwrap_or_default();
    if rest.is_empty() {
        return Err("'server' expects <name> and <addr>[:<port>] as arguments.".to_owned());
    }
    Ok(Amendment::Add {
        backend: backend.to_owned(),
        server: Box::new(added(&there.config, name, rest)?),
        words: rest.iter().map(|word| (*word).to_owned()).collect(),
    })
}

/// The server called `name` that `add server` makes of the words behind its name.
///
/// # Errors
/// What is wrong with them.
pub(crate) fn added(
    backend: &model::Backend,
    name: &str,
    rest: &[&str],
) -> Result<model::Server, String> {
    let http = backend.mode == model::Mode::Http;
    if rest.contains(&"track") {
        return Err("'track' is for servers of the file.".to_owned());
    }
    let config::haproxy::OneServer { mut server, check } =
        config::haproxy::one_server(name, rest, http)?;
    if server.check && server.health_check.is_none() {
        server.health_check = match (&backend.health_check, check) {
            // What is asked is the backend's, how often is the server's.
            (Some(own), Some(check)) if says_pace(rest) => Some(model::HealthCheck {
                interval: check.interval,
                fast_interval: check.fast_interval,
                down_interval: check.down_interval,
                rise: check.rise,
                fall: check.fall,
                ..own.clone()
            }),
            (Some(_), _) => None,
            (None, check) => check,
        };
    }
    let key = backend.cookie.as_ref().and_then(|c| c.dynamic_key.as_ref());
    if let (None, Some(key)) = (&server.cookie, key) {
        server.cookie = config::dynamic_cookie(key, &server.address);
    }
    // As with HAProxy nothing goes there until somebody says so.
    server.disabled = true;
    Ok(server)
}

fn says_pace(words: &[&str]) -> bool {
    let pace = ["inter", "fastinter", "downinter", "rise", "fall"];
    words.iter().any(|word| pace.contains(word))
}

fn delete(sources: &Sources, name: Option<&&str>) -> Result<Amendment, String> {
    // Whether it may be is looked at when it is: until then it may be taken out of maintenance.
    let (backend, server) = operate::find(sources, name)?;
    Ok(Amendment::Delete {
        backend: backend.name.to_string(),
        server: server.name.to_string(),
    })
}

/// Whether a server may be deleted just now.
///
/// # Errors
/// Why not.
pub(crate) fn deletable(server: &Server) -> Result<(), String> {
    if server.is_followed() {
        return Err(
            "This server cannot be removed at runtime due to other configuration elements pointing to it."
                .to_owned(),
        );
    }
    if !server.is_in_maintenance() {
        return Err("Only servers in maintenance mode can be deleted.".to_owned());
    }
    if server.active() > 0 {
        return Err("Server still has connections attached to it, cannot remove it.".to_owned());
    }
    Ok(())
}

fn maxconn(sources: &Sources, text: Option<&&str>) -> Result<Amendment, String> {
    let text = text.ok_or("Expects an integer value.")?;
    let number: i64 = text.parse().map_err(|_| "Expects an integer value.")?;
    let max = u32::try_from(number).map_err(|_| "Value out of range.")?;
    match sources.process.hard_maxconn() {
        Some(hard) if max > hard => Err("Value out of range.".to_owned()),
        _ => Ok(Amendment::Maxconn(max)),
    }
}
