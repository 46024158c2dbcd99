//! `lb status` and `lb server`.

use std::{
    io::{self, IsTerminal, Write},
    path::PathBuf,
    process::ExitCode,
};

use clap::{Args, Subcommand};

use super::{
    client::{self, ClientError, DEFAULT_SOCKET},
    status,
};
use crate::observe::stats::Snapshot;

/// Which daemon a command speaks to.
#[derive(Debug, Clone, Args)]
pub struct Daemon {
    /// The daemon's admin socket (its global.admin_socket)
    #[arg(long, value_name = "PATH", default_value = DEFAULT_SOCKET)]
    pub socket: PathBuf,
}

/// Arguments of `lb status`.
#[derive(Debug, Clone, Args)]
pub struct StatusArgs {
    /// Print everything as JSON
    #[arg(long)]
    pub json: bool,
    /// Which daemon.
    #[command(flatten)]
    pub daemon: Daemon,
}

/// Arguments of `lb server`.
#[derive(Debug, Clone, Args)]
pub struct ServerArgs {
    /// What to do.
    #[command(subcommand)]
    pub action: ServerAction,
}

/// What `lb server` does.
#[derive(Debug, Clone, Subcommand)]
pub enum ServerAction {
    /// Send no new connections; those that run, and holders of its cookie, stay
    Drain(ServerName),
    /// Take traffic as health allows
    Ready(ServerName),
    /// Send no traffic at all and stop checking
    Maint(ServerName),
    /// Print the weight, or set it
    Weight {
        /// Which server.
        #[command(flatten)]
        server: ServerName,
        /// 0 to 256, or a percentage of the configured weight
        #[arg(value_name = "N")]
        weight: Option<String>,
    },
}

/// A server by name.
#[derive(Debug, Clone, Args)]
pub struct ServerName {
    /// The server
    #[arg(value_name = "BACKEND/SERVER")]
    pub name: String,
    /// Which daemon.
    #[command(flatten)]
    pub daemon: Daemon,
}

impl StatusArgs {
    /// Prints the status: a table, in colour on a terminal, or JSON.
    pub fn run(&self) -> ExitCode {
        let path = &self.daemon.socket;
        let answer = match client::ask(path, "show status json") {
            Ok(answer) => answer,
            Err(error) => return fail(&error),
        };
        if self.json {
            return print(answer.trim_end(), true);
        }
        match serde_json::from_str::<Snapshot>(&answer) {
            Ok(snapshot) => print(&status::render(&snapshot, wants_colour()), false),
            Err(source) => fail(&ClientError::Understand {
                path: path.clone(),
                source,
            }),
        }
    }
}

impl ServerArgs {
    /// Carries it out.
    pub fn run(&self) -> ExitCode {
        let (server, command) = self.action.command();
        match client::ask(&server.daemon.socket, &command) {
            Err(error) => fail(&error),
            Ok(answer) => match (&self.action, answer.trim()) {
                (ServerAction::Weight { weight: None, .. }, said) if said.contains("initial") => {
                    print(said, true)
                }
                (_, "") => ExitCode::SUCCESS,
                (_, complaint) => fail(&format!("{}: {complaint}", server.name)),
            },
        }
    }
}

impl ServerAction {
    /// The runtime command that does it.
    fn command(&self) -> (&ServerName, String) {
        let state = |server: &ServerName, state| {
            format!("set server {} state {state}", escape(&server.name))
        };
        match self {
            Self::Drain(server) => (server, state(server, "drain")),
            Self::Ready(server) => (server, state(server, "ready")),
            Self::Maint(server) => (server, state(server, "maint")),
            Self::Weight {
                server,
                weight: None,
            } => (server, format!("get weight {}", escape(&server.name))),
            Self::Weight {
                server,
                weight: Some(weight),
            } => (
                server,
                format!(
                    "set server {} weight {}",
                    escape(&server.name),
                    escape(weight)
                ),
            ),
        }
    }
}

/// Whether what is printed shall have colours: on a terminal, unless `NO_COLOR` is set.
pub(super) fn wants_colour() -> bool {
    let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    io::stdout().is_terminal() && !refused
}

/// So that an argument stays one word of one command.
pub(super) fn escape(word: &str) -> String {
    let mut out = String::new();
    // A line has no second one.
    for c in word.chars().filter(|c| !c.is_control()) {
        if c.is_whitespace() || matches!(c, '\\' | ';') {
            out.push('\\');
        }
        out.push(c);
    }
    out
}

pub(super) fn print(text: &str, end_line: bool) -> ExitCode {
    let mut out = io::stdout().lock();
    let written = out
        .write_all(text.as_bytes())
        .and_then(|()| {
            if end_line {
                out.write_all(b"\n")
            } else {
                Ok(())
            }
        })
        .and_then(|()| out.flush());
    match written {
        Ok(()) => ExitCode::SUCCESS,
        // `lb status | head` is nobody's failure.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => fail(&error),
    }
}

pub(super) fn fail(error: &dyn std::fmt::Display) -> ExitCode {
    // Without standard error there is nowhere left to say so.
    let _ = writeln!(io::stderr(), "lb: {error}");
    ExitCode::FAILURE
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_stays_one_whatever_is_in_it() {
        assert_eq!(escape("be/a b;c\\d\n"), "be/a\\ b\\;c\\\\d");
    }

    fn name(name: &str) -> ServerName {
        ServerName {
            name: name.into(),
            daemon: Daemon {
                socket: PathBuf::new(),
            },
        }
    }

    #[test]
    fn actions_become_runtime_commands() {
        let command = |action: ServerAction| action.command().1;
        assert_eq!(
            command(ServerAction::Drain(name("a/b"))),
            "set server a/b state drain"
        );
        let weight = |weight: Option<&str>| ServerAction::Weight {
            server: name("a/b"),
            weight: weight.map(Into::into),
        };
        assert_eq!(command(weight(None)), "get weight a/b");
        assert_eq!(command(weight(Some("50%"))), "set server a/b weight 50%");
    }

    #[test]
    fn an_argument_cannot_become_a_second_command() {
        let (_, command) = ServerAction::Ready(name("a/b; set weight c/d 0")).command();
        assert_eq!(
            command,
            "set server a/b\\;\\ set\\ weight\\ c/d\\ 0 state ready"
        );
    }
}
