//! `lb flows`, `lb deny` and `lb trace`.

use std::{
    io::{self, Write},
    net::IpAddr,
    process::ExitCode,
};

use clap::{Args, Subcommand};
use serde::de::DeserializeOwned;

use super::{
    cli::{Daemon, escape, fail, print},
    client, flows,
};

/// Arguments of `lb flows`.
#[derive(Debug, Clone, Args)]
pub struct FlowsArgs {
    /// Only flows of this frontend
    #[arg(long, value_name = "NAME")]
    pub frontend: Option<String>,
    /// Only flows to this backend
    #[arg(long, value_name = "NAME")]
    pub backend: Option<String>,
    /// Only flows to this server
    #[arg(long, value_name = "[BACKEND/]SERVER")]
    pub server: Option<String>,
    /// Only flows of this client
    #[arg(long, value_name = "IP")]
    pub client: Option<IpAddr>,
    /// No more than this many
    #[arg(long, value_name = "N")]
    pub limit: Option<u64>,
    /// Print a JSON object a line
    #[arg(long)]
    pub json: bool,
    /// Which daemon.
    #[command(flatten)]
    pub daemon: Daemon,
}

/// Arguments of `lb deny`.
#[derive(Debug, Clone, Args)]
pub struct DenyArgs {
    /// What to do.
    #[command(subcommand)]
    pub action: DenyAction,
}

/// What `lb deny` does.
#[derive(Debug, Clone, Subcommand)]
pub enum DenyAction {
    /// Drop new flows from an address or a prefix, and end those that run, until the next start
    Add(DenyPrefix),
    /// Take flows from it again, until the next start
    Del(DenyPrefix),
    /// Print the denied prefixes
    List {
        /// Which daemon.
        #[command(flatten)]
        daemon: Daemon,
    },
}

/// A prefix.
#[derive(Debug, Clone, Args)]
pub struct DenyPrefix {
    /// The address or prefix
    #[arg(value_name = "CIDR")]
    pub prefix: String,
    /// Which daemon.
    #[command(flatten)]
    pub daemon: Daemon,
}

/// Arguments of `lb trace`.
#[derive(Debug, Clone, Args)]
pub struct TraceArgs {
    /// Whose packets
    #[arg(long, value_name = "IP")]
    pub client: IpAddr,
    /// End after this many packets
    #[arg(long, value_name = "N")]
    pub count: Option<u64>,
    /// End after this many seconds
    #[arg(long, value_name = "S", default_value_t = 60)]
    pub seconds: u64,
    /// Print a JSON object a line
    #[arg(long)]
    pub json: bool,
    /// Which daemon.
    #[command(flatten)]
    pub daemon: Daemon,
}

impl FlowsArgs {
    /// Prints the flows.
    pub fn run(&self) -> ExitCode {
        if !self.json && print(&flows::heading(), true) == ExitCode::FAILURE {
            return ExitCode::FAILURE;
        }
        stream(&self.daemon, &self.command(), self.json, flows::flow)
    }

    /// The runtime command that lists them.
    fn command(&self) -> String {
        let mut command = "show flows json".to_owned();
        let mut option = |name: &str, value: Option<String>| {
            if let Some(value) = value {
                command.push_str(&format!(" {name} {}", escape(&value)));
            }
        };
        option("frontend", self.frontend.clone());
        option("backend", self.backend.clone());
        option("server", self.server.clone());
        option("client", self.client.map(|ip| ip.to_string()));
        option("limit", self.limit.map(|limit| limit.to_string()));
        command
    }
}

impl TraceArgs {
    /// Prints the packets as they come.
    pub fn run(&self) -> ExitCode {
        let mut command = format!("trace client {} json seconds {}", self.client, self.seconds);
        if let Some(count) = self.count {
            command.push_str(&format!(" count {count}"));
        }
        stream(&self.daemon, &command, self.json, flows::packet)
    }
}

impl DenyArgs {
    /// Carries it out.
    pub fn run(&self) -> ExitCode {
        let (daemon, command) = match &self.action {
            DenyAction::Add(of) => (&of.daemon, format!("add deny {}", escape(&of.prefix))),
            DenyAction::Del(of) => (&of.daemon, format!("del deny {}", escape(&of.prefix))),
            DenyAction::List { daemon } => (daemon, "show deny".into()),
        };
        let answer = match client::ask(&daemon.socket, &command) {
            Ok(answer) => answer,
            Err(error) => return fail(&error),
        };
        match (&self.action, answer.trim_end()) {
            (DenyAction::List { .. }, "") => ExitCode::SUCCESS,
            // Every line of the list begins with an address.
            (DenyAction::List { .. }, list)
                if list.starts_with(|c: char| c.is_ascii_hexdigit() || c == ':') =>
            {
                print(list, true)
            }
            (_, "") => print(
                "Done until the next start; the file is not changed (global.fast_path.deny).",
                true,
            ),
            (_, complaint) => fail(&complaint),
        }
    }
}

/// Prints the rows of an answer as they come; a line that is no row is a complaint.
fn stream<T: DeserializeOwned>(
    daemon: &Daemon,
    command: &str,
    json: bool,
    text: fn(&T) -> String,
) -> ExitCode {
    let mut complaint = None;
    let mut out = io::stdout().lock();
    let followed = client::follow(&daemon.socket, command, &mut |line| {
        let row: Option<T> = serde_json::from_str(line).ok();
        match row {
            None => complaint = Some(line.to_owned()),
            Some(_) if json => writeln!(out, "{line}")?,
            Some(row) => writeln!(out, "{}", text(&row))?,
        }
        Ok(complaint.is_none())
    });
    match (complaint, followed) {
        (Some(complaint), _) => fail(&complaint),
        (None, Ok(())) => ExitCode::SUCCESS,
        // `lb flows | head` is nobody's failure.
        (None, Err(client::ClientError::Talk { source, .. }))
            if source.kind() == io::ErrorKind::BrokenPipe =>
        {
            ExitCode::SUCCESS
        }
        (None, Err(error)) => fail(&error),
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    #[test]
    fn a_filter_becomes_a_runtime_command() {
        let args = FlowsArgs {
            frontend: None,
            backend: Some("be; show info".into()),
            server: None,
            client: Some("192.0.2.7".parse().unwrap()),
            limit: Some(10),
            json: false,
            daemon: Daemon {
                socket: PathBuf::new(),
            },
        };
        assert_eq!(
            args.command(),
            "show flows json backend be\\;\\ show\\ info client 192.0.2.7 limit 10"
        );
    }
}
