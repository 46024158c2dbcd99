//! HAProxy's runtime commands: from a line of text to the text of the answer. No socket here.

use std::{fmt::Write, sync::Arc};

use super::errors;
use crate::{
    observe::stats::{Row, Sources, csv},
    topology::{AdminState, Backend, Server},
};

/// What there is, in the order of the help.
const COMMANDS: &[(&str, &str)] = &[
    (
        "add deny <prefix>",
        "drop new kernel flows from a prefix and end those that run, until the next start",
    ),
    (
        "del deny <prefix>",
        "take flows from a denied prefix again, until the next start",
    ),
    (
        "abort ssl cert <certfile>",
        "abort a transaction for a certificate file",
    ),
    ("commit ssl cert <certfile>", "commit a certificate file"),
    ("get weight <bk>/<srv>", "report a server's current weight"),
    (
        "set server <bk>/<srv> [opts]",
        "change a server's state or weight",
    ),
    (
        "set ssl cert <certfile> <payload>",
        "replace a certificate file until it changes on the disk",
    ),
    (
        "set weight <bk>/<srv>  (DEPRECATED)",
        "change a server's weight (use 'set server' instead)",
    ),
    ("show deny", "list the denied prefixes"),
    (
        "show flows [json] [<filter>]",
        "list the kernel's flows (frontend, backend, server, client, limit)",
    ),
    (
        "show errors [<iid>|<proxy>] [request|response]",
        "report the last invalid request and response of each proxy",
    ),
    ("show info", "report information about the running process"),
    ("show ssl cert", "list the certificates that binds use"),
    (
        "show stat [<iid>|<proxy> <type> <sid>]",
        "report counters for each proxy and server",
    ),
    (
        "show status json",
        "report everything that the stats page shows, as JSON",
    ),
    ("show version", "report the running version"),
    (
        "trace client <ip> [opts]",
        "print what the kernel does with a client's packets (json, count, seconds)",
    ),
    ("help [<command>]", "list matching or all commands"),
];

/// Most weight that a server may have.
const MAX_WEIGHT: i64 = 256;

/// Answers `line`, one or several commands separated by `;` (`\;` is no separator). Each answer ends in an empty line,
/// as HAProxy's do. Not for commands about the kernel path, whose answers take time.
pub fn answer(sources: &Sources, line: &str) -> String {
    let mut out = String::new();
    for command in split(line) {
        let words = words(&command);
        if !words.is_empty() {
            out.push_str(&answer_one(sources, &words));
        }
    }
    out
}

/// The words of a command. `@1 show info` names the process in HAProxy's master socket; there is one here.
pub(super) fn words(command: &str) -> Vec<&str> {
    let mut words: Vec<&str> = command.split_whitespace().collect();
    if words.first().is_some_and(|word| word.starts_with('@')) {
        words.remove(0);
    }
    words
}

/// Answers one command.
pub(super) fn answer_one(sources: &Sources, words: &[&str]) -> String {
    let mut out = execute(sources, words).unwrap_or_else(|complaint| complaint + "\n");
    out.push('\n');
    out
}

/// The commands of a line.
pub(super) fn split(line: &str) -> Vec<String> {
    let mut commands = vec![String::new()];
    let mut escaped = false;
    for c in line.chars() {
        match c {
            ';' if !escaped => {
                commands.push(String::new());
                continue;
            }
            '\\' if !escaped => {
                escaped = true;
                continue;
            }
            _ => {}
        }
        escaped = false;
        if let Some(command) = commands.last_mut() {
            command.push(c);
        }
    }
    commands
}

/// The answer's text, or the complaint without its line end.
fn execute(sources: &Sources, words: &[&str]) -> Result<String, String> {
    match *words {
        ["help", ..] => Ok(help(words.get(1..).unwrap_or_default())),
        ["show", "errors", ref filter @ ..] => errors::show(&sources.topology(), filter),
        ["show", "info"] => Ok(info(sources)),
        ["show", "stat", ref filter @ ..] => stat(sources, filter),
        ["show", "status", "json"] => Ok(format!("{}\n", sources.snapshot().to_json())),
        ["show", "version"] => Ok(format!("{}\n", env!("CARGO_PKG_VERSION"))),
        ["get", "weight", ref rest @ ..] => {
            let (_, server) = find(sources, rest.first())?;
            Ok(format!(
                "{} (initial {})\n",
                server.weight(),
                server.config.weight
            ))
        }
        ["set", "weight", ref rest @ ..] => set_weight(sources, rest.first(), rest.get(1)),
        ["set", "server", ref rest @ ..] => set_server(sources, rest),
        _ => Err(unknown(words)),
    }
}

fn set_server(sources: &Sources, words: &[&str]) -> Result<String, String> {
    match *words {
        [name, "weight", ref weight @ ..] => set_weight(sources, Some(&name), weight.first()),
        [name, "state", ref state @ ..] => {
            let (backend, server) = find(sources, Some(&name))?;
            let state = match state.first() {
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
            Ok(String::new())
        }
        ref other => {
            find(sources, other.first())?;
            Err("usage: set server <backend>/<server> state | weight".to_owned())
        }
    }
}

fn set_weight(
    sources: &Sources,
    name: Option<&&str>,
    weight: Option<&&str>,
) -> Result<String, String> {
    let (backend, server) = find(sources, name)?;
    let weight = weight.ok_or("Require <weight> or <weight%>.")?;
    backend.set_weight(&server, parse_weight(weight, server.config.weight)?);
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

fn find(sources: &Sources, name: Option<&&str>) -> Result<(Arc<Backend>, Arc<Server>), String> {
    let (backend, server) = name
        .and_then(|name| name.split_once('/'))
        .ok_or("Require 'backend/server'.")?;
    let topology = sources.topology();
    let backend = topology.backend(backend).ok_or("No such backend.")?;
    let server = backend.server(server).ok_or("No such server.")?;
    Ok((Arc::clone(backend), Arc::clone(server)))
}

/// `show stat [{IID|PROXY} TYPE SID]`: -1 is any; types are summed, 1 frontend, 2 backend, 4 server.
fn stat(sources: &Sources, filter: &[&str]) -> Result<String, String> {
    let snapshot = sources.snapshot();
    let wanted = match *filter {
        [] => None,
        [proxy, kind, sid] => Some((
            proxy,
            kind.parse::<i64>().map_err(|_| "Invalid type.")?,
            sid.parse::<i64>().map_err(|_| "Invalid server id.")?,
        )),
        _ => return Err("Usage: show stat [<iid>|<proxy> <type> <sid>]".to_owned()),
    };
    let Some((proxy, kind, sid)) = wanted else {
        return Ok(csv::of(&snapshot));
    };
    let iid = proxy.parse::<i64>();
    let known = |row: &&Row| match iid {
        Ok(iid) => iid < 0 || row.iid.is_some_and(|own| i64::try_from(own) == Ok(iid)),
        Err(_) => row.pxname.as_deref() == Some(proxy),
    };
    if iid.is_err() && !snapshot.rows().any(|row| known(&row)) {
        return Err("No such proxy.".to_owned());
    }
    Ok(csv::write(snapshot.rows().filter(known).filter(|row| {
        let of_kind = kind < 0 || row.r#type.is_some_and(|own| kind & (1 << own) != 0);
        let is_server = row.r#type == Some(2);
        let of_server =
            sid < 0 || !is_server || row.sid.is_some_and(|own| i64::try_from(own) == Ok(sid));
        of_kind && of_server
    })))
}

fn info(sources: &Sources) -> String {
    let snapshot = sources.snapshot();
    let topology = sources.topology();
    let sum = |column: fn(&Row) -> Option<u64>| -> u64 {
        snapshot
            .frontends
            .iter()
            .filter_map(|frontend| column(&frontend.row))
            .sum()
    };
    let accepted: u64 = topology
        .frontends
        .iter()
        .map(|frontend| frontend.counters.connections.value())
        .sum();
    let process = &snapshot.process;
    let maxconn = process.maxconn.unwrap_or(0);
    let mut out = String::new();
    let mut line = |name: &str, value: &dyn std::fmt::Display| {
        // A String takes everything.
        let _ = writeln!(out, "{name}: {value}");
    };
    line("Name", &"lb");
    line("Version", &process.version);
    line("Nbthread", &process.threads);
    line("Nbproc", &1);
    line("Process_num", &1);
    line("Pid", &process.pid);
    line("Uptime", &process.uptime_text());
    line("Uptime_sec", &process.uptime);
    line("Maxconn", &maxconn);
    line("Hard_maxconn", &maxconn);
    line("CurrConns", &process.current_connections);
    line("CumConns", &accepted);
    line("CumReq", &sum(|row| row.req_tot));
    line("ConnRate", &sum(|row| row.conn_rate));
    line("SessRate", &sum(|row| row.rate));
    line("node", &process.node);
    line("Stopping", &u8::from(process.stopping));
    line("DroppedLogs", &process.log.dropped);
    line("TotalBytesOut", &sum(|row| row.bout));
    line("Start_time_sec", &process.started);
    out
}

fn help(words: &[&str]) -> String {
    let mut out = String::from("The following commands are valid at this level:\n");
    list(&mut out, |command| command.starts_with(&words.join(" ")));
    out
}

/// As HAProxy: what begins with the same word, else everything.
fn unknown(words: &[&str]) -> String {
    let first = words.first().copied().unwrap_or_default();
    let same = |command: &str| command.split(' ').next() == Some(first);
    let mut out = String::new();
    if COMMANDS.iter().any(|(command, _)| same(command)) {
        out.push_str("Unknown command, but maybe one of the following ones is a better match:\n");
        list(&mut out, same);
    } else {
        out.push_str("Unknown command. Please enter one of the following commands only:\n");
        list(&mut out, |_| true);
    }
    // The caller ends the line.
    out.pop();
    out
}

fn list(out: &mut String, wanted: impl Fn(&str) -> bool) {
    for (command, help) in COMMANDS {
        if wanted(command) {
            let _ = writeln!(out, "  {command:<40}: {help}");
        }
    }
}

#[cfg(test)]
mod tests;
