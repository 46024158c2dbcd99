//! `lb health`: whether the data path really forwards, for keepalived, BIRD and probes.

use std::{process::ExitCode, time::Duration};

use clap::Args;

use super::{
    cli::{Daemon, fail, print},
    client::{self, ClientError},
};
use crate::{
    observe::{
        path::PathStatus,
        stats::{Row, Snapshot, snapshot::BackendStats},
    },
    topology::{Backend, Server},
};

/// How long an answer may take: whoever asks is to learn of an agent that hangs before its own patience is at an end.
const PATIENCE: Duration = Duration::from_secs(3);

/// Arguments of `lb health`.
#[derive(Debug, Clone, Args)]
pub struct HealthArgs {
    /// A backend that must have a server up; may be given several times
    #[arg(long = "backend", value_name = "BACKEND")]
    pub backends: Vec<String>,
    /// Which daemon.
    #[command(flatten)]
    pub daemon: Daemon,
}

impl HealthArgs {
    /// Says so in a sentence; the exit code is the answer.
    pub fn run(&self) -> ExitCode {
        let path = &self.daemon.socket;
        let answer = match client::ask_within(path, "show status json", PATIENCE) {
            Ok(answer) => answer,
            Err(error) => return fail(&error),
        };
        let snapshot = match serde_json::from_str::<Snapshot>(&answer) {
            Ok(snapshot) => snapshot,
            Err(source) => {
                return fail(&ClientError::Understand {
                    path: path.clone(),
                    source,
                });
            }
        };
        let stands = |name: &str| {
            let named = |backend: &&BackendStats| backend.own.row.pxname.as_deref() == Some(name);
            snapshot.backends.iter().find(named).map(Stands::of_rows)
        };
        let view = View {
            stopping: snapshot.process.stopping,
            path: &snapshot.path,
            stands: &stands,
        };
        match verdict(&view, &self.backends) {
            Ok(said) => print(&said, true),
            Err(said) => fail(&said),
        }
    }
}

/// What is looked at.
pub struct View<'a> {
    /// A stop has begun.
    pub stopping: bool,
    /// The kernel path.
    pub path: &'a PathStatus,
    /// How a backend stands; `None` if there is no such backend.
    pub stands: &'a dyn Fn(&str) -> Option<Stands>,
}

/// How a backend stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stands {
    /// It has a server that takes new connections.
    Up,
    /// It has none: what is with each of them.
    Down(Vec<String>),
}

/// Of so many servers it is said why they are not up.
const TOLD: usize = 3;

impl Stands {
    /// That of a backend that is here.
    pub fn of(backend: &Backend) -> Self {
        match backend.is_up() {
            true => Self::Up,
            false => Self::Down(backend.servers.iter().map(|s| state(s)).collect()),
        }
    }

    /// That of a backend of which there are rows.
    fn of_rows(backend: &BackendStats) -> Self {
        let rows = || backend.servers.iter().map(|server| &server.row);
        let is_up = |row: &Row| {
            let status = row.status.as_deref().unwrap_or_default();
            status.starts_with("UP") || status == "no check"
        };
        match rows().any(is_up) {
            true => Self::Up,
            false => Self::Down(rows().map(state_of_row).collect()),
        }
    }
}

/// `s1 is DOWN: Layer6 invalid response, certificate expired`.
fn said(name: &str, status: &str, found: Option<(&str, &str)>) -> String {
    let found = found.filter(|_| status.starts_with("DOWN"));
    match found {
        None => format!("{name} is {status}"),
        Some((what, "")) => format!("{name} is {status}: {what}"),
        Some((what, info)) => format!("{name} is {status}: {what}, {info}"),
    }
}

fn state(server: &Server) -> String {
    let found = match server.is_down_by_agent() {
        true => server.last_agent(),
        false => server.last_check(),
    };
    let found = found.as_ref();
    let found = found.map(|result| (result.status.description(), result.info.as_str()));
    said(&server.name, &server.status(), found)
}

fn state_of_row(row: &Row) -> String {
    let status = row.status.as_deref().unwrap_or_default();
    let (what, info) = match status == "DOWN (agent)" {
        true => (&row.agent_desc, &row.last_agt),
        false => (&row.check_desc, &row.last_chk),
    };
    let found = what.as_deref();
    let found = found.map(|what| (what, info.as_deref().unwrap_or_default()));
    said(row.svname.as_deref().unwrap_or_default(), status, found)
}

/// One sentence: why the data path forwards.
///
/// # Errors
/// Why it does not.
pub fn verdict(view: &View<'_>, backends: &[String]) -> Result<String, String> {
    if view.stopping {
        return Err("lb is stopping".to_owned());
    }
    let path = view.path;
    if let Some(why) = &path.lost {
        return Err(format!("nobody looks after the kernel path: {why}"));
    }
    let attached = path
        .interfaces
        .iter()
        .filter(|interface| interface.attach != "none")
        .count();
    if path.program.is_some() && attached == 0 && !path.idle {
        let why = path
            .interfaces
            .first()
            .map_or("there is no interface", |interface| {
                interface.reason.as_str()
            });
        return Err(format!("the kernel program is attached nowhere: {why}"));
    }
    for name in backends {
        match (view.stands)(name) {
            None => return Err(format!("there is no backend {name}")),
            Some(Stands::Down(servers)) => return Err(none_up(name, &servers)),
            Some(Stands::Up) => {}
        }
    }
    let way = match path.program {
        Some(_) if !path.idle => format!(
            "the kernel path is on {attached} interface{}",
            if attached == 1 { "" } else { "s" }
        ),
        _ => "userspace serves".to_owned(),
    };
    Ok(match backends {
        [] => way,
        [one] => format!("{way}, backend {one} has a server up"),
        several => format!("{way}, backends {} have servers up", several.join(", ")),
    })
}

fn none_up(backend: &str, servers: &[String]) -> String {
    let mut said = format!("backend {backend} has no server up");
    for (at, server) in servers.iter().take(TOLD).enumerate() {
        said += if at == 0 { ": " } else { "; " };
        said += server;
    }
    match servers.len().saturating_sub(TOLD) {
        0 => said,
        more => format!("{said}; and {more} more"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::path::InterfacePath;

    fn said(stopping: bool, path: &PathStatus, backends: &[&str]) -> Result<String, String> {
        let stands = |name: &str| match name {
            "up" | "also" => Some(Stands::Up),
            "empty" => Some(Stands::Down(Vec::new())),
            "down" => Some(Stands::Down(vec![
                super::said("a", "MAINT", Some(("Layer4 timeout", ""))),
                super::said("b", "DOWN", Some(("Layer6 invalid response", "Expired"))),
                super::said("c", "DOWN 1/2", Some(("Layer4 timeout", ""))),
                super::said("d", "DRAIN", None),
            ])),
            _ => None,
        };
        let view = View {
            stopping,
            path,
            stands: &stands,
        };
        let backends: Vec<String> = backends.iter().map(|&name| name.to_owned()).collect();
        verdict(&view, &backends)
    }

    #[test]
    fn it_says_in_a_sentence_whether_the_data_path_forwards() {
        let none = PathStatus::default();
        assert_eq!(said(false, &none, &[]), Ok("userspace serves".into()));
        assert_eq!(
            said(false, &none, &["up"]),
            Ok("userspace serves, backend up has a server up".into())
        );
        assert_eq!(
            said(false, &none, &["up", "down"]),
            Err(
                "backend down has no server up: a is MAINT; b is DOWN: Layer6 invalid response, Expired; \
                 c is DOWN 1/2: Layer4 timeout; and 1 more"
                    .into()
            )
        );
        assert_eq!(
            said(false, &none, &["empty"]),
            Err("backend empty has no server up".into())
        );
        assert_eq!(
            said(false, &none, &["gone"]),
            Err("there is no backend gone".into())
        );
        assert_eq!(said(true, &none, &[]), Err("lb is stopping".into()));
        let interface = |attach: &str| InterfacePath {
            name: "eth0".into(),
            attach: attach.into(),
            reason: "its driver said no".into(),
        };
        let mut kernel = PathStatus {
            program: Some("x".into()),
            interfaces: vec![interface("xdp"), interface("none")],
            ..PathStatus::default()
        };
        assert_eq!(
            said(false, &kernel, &["up", "also"]),
            Ok("the kernel path is on 1 interface, backends up, also have servers up".into())
        );
        kernel.interfaces.remove(0);
        assert_eq!(
            said(false, &kernel, &[]),
            Err("the kernel program is attached nowhere: its driver said no".into())
        );
        let lost = PathStatus {
            lost: Some("no more files".into()),
            ..kernel.clone()
        };
        assert_eq!(
            said(false, &lost, &[]),
            Err("nobody looks after the kernel path: no more files".into())
        );
        let idle = PathStatus {
            program: Some("x".into()),
            idle: true,
            ..PathStatus::default()
        };
        assert_eq!(said(false, &idle, &[]), Ok("userspace serves".into()));
    }
}
