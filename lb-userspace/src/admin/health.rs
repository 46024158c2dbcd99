//! `lb health`: whether the data path really forwards, for keepalived, BIRD and probes.

use std::{process::ExitCode, time::Duration};

use clap::Args;

use super::{
    cli::{Daemon, fail, print},
    client::{self, ClientError},
};
use crate::observe::{
    path::PathStatus,
    stats::{Snapshot, snapshot::BackendStats},
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
        let is_up = |name: &str| {
            let named = |backend: &&BackendStats| backend.own.row.pxname.as_deref() == Some(name);
            snapshot.backends.iter().find(named).map(is_up)
        };
        let view = View {
            stopping: snapshot.process.stopping,
            path: &snapshot.path,
            is_up: &is_up,
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
    /// Whether a backend has a server that takes new connections; `None` if there is no such backend.
    pub is_up: &'a dyn Fn(&str) -> Option<bool>,
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
    let attached = path
        .interfaces
        .iter()
        .filter(|interface| interface.attach != "none")
        .count();
    if path.program.is_some() && attached == 0 {
        let why = path
            .interfaces
            .first()
            .map_or("there is no interface", |interface| {
                interface.reason.as_str()
            });
        return Err(format!("the kernel program is attached nowhere: {why}"));
    }
    for name in backends {
        match (view.is_up)(name) {
            None => return Err(format!("there is no backend {name}")),
            Some(false) => return Err(format!("backend {name} has no server up")),
            Some(true) => {}
        }
    }
    let way = match path.program {
        Some(_) => format!(
            "the kernel path is on {attached} interface{}",
            if attached == 1 { "" } else { "s" }
        ),
        None => "userspace serves".to_owned(),
    };
    Ok(match backends {
        [] => way,
        [one] => format!("{way}, backend {one} has a server up"),
        several => format!("{way}, backends {} have servers up", several.join(", ")),
    })
}

/// Whether a backend has a server that takes new connections, by its rows.
fn is_up(backend: &BackendStats) -> bool {
    backend.servers.iter().any(|server| {
        let status = server.row.status.as_deref().unwrap_or_default();
        status.starts_with("UP") || status == "no check"
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::path::InterfacePath;

    fn said(stopping: bool, path: &PathStatus, backends: &[&str]) -> Result<String, String> {
        let is_up = |name: &str| match name {
            "up" | "also" => Some(true),
            "down" => Some(false),
            _ => None,
        };
        let view = View {
            stopping,
            path,
            is_up: &is_up,
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
            Err("backend down has no server up".into())
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
    }
}
