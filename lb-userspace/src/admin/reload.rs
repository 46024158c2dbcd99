//! `lb reload`: another configuration for the running daemon, and what the daemon is asked by it.

use std::{
    io::{self, Write},
    process::ExitCode,
    time::Duration,
};

use clap::Args;
use tokio::sync::{mpsc, oneshot};

use super::{
    cli::{Daemon, fail},
    client,
};
use crate::config::model;

/// How long a reload may take: a file of a hundred thousand servers has to be read, and certificates with it.
const PATIENCE: Duration = Duration::from_secs(120);
/// What parts the result from what is to be read, as HAProxy's `reload` has it.
const RULE: &str = "--";

/// Arguments of `lb reload`.
#[derive(Debug, Clone, Args)]
pub struct ReloadArgs {
    /// Which daemon.
    #[command(flatten)]
    pub daemon: Daemon,
}

impl ReloadArgs {
    /// Has the daemon read its configuration again, and prints what has become of it.
    pub fn run(&self) -> ExitCode {
        let path = &self.daemon.socket;
        let answer = match client::ask_within(path, "reload", PATIENCE) {
            Ok(answer) => answer,
            Err(error) => return fail(&error),
        };
        let (result, text) = match answer.split_once(&format!("\n{RULE}\n")) {
            Some((result, text)) => (result, text),
            None => ("", answer.as_str()),
        };
        let text = text.trim_end();
        // An error means that nobody reads it any more.
        match result {
            "Success=1" => {
                let _ = writeln!(io::stdout(), "{text}");
                ExitCode::SUCCESS
            }
            _ => {
                let _ = writeln!(io::stderr(), "{text}");
                ExitCode::FAILURE
            }
        }
    }
}

/// What may be wished.
#[derive(Debug)]
pub enum What {
    /// That the configuration be read again.
    Reload,
    /// That a backend have another server.
    Add {
        /// The backend's name.
        backend: String,
        /// The server.
        server: Box<model::Server>,
    },
    /// That a backend have a server no longer.
    Delete {
        /// The backend's name.
        backend: String,
        /// The server's name.
        server: String,
    },
    /// That the process have another bound of connections.
    Maxconn(u32),
}

/// A wish for another configuration.
#[derive(Debug)]
pub struct Wish {
    /// What is wished.
    pub what: What,
    /// Gets what has become of it: what has changed, or why nothing has.
    pub reply: oneshot::Sender<Result<String, String>>,
}

/// Where wishes go.
pub type Wishes = mpsc::UnboundedSender<Wish>;

/// Wishes something, and says what has become of it.
pub(super) async fn wish(wishes: &Wishes, what: What) -> Result<String, String> {
    let (reply, answer) = oneshot::channel();
    let gone = || Err("the daemon is about to end".to_owned());
    match wishes.send(Wish { what, reply }) {
        Ok(()) => answer.await.unwrap_or_else(|_| gone()),
        Err(_) => gone(),
    }
}

/// The answer to `reload`; `None` if that is not what was asked for.
pub(super) async fn answer(wishes: &Wishes, words: &[&str]) -> Option<String> {
    let ["reload"] = *words else {
        return None;
    };
    let result = wish(wishes, What::Reload).await;
    let (success, text) = match &result {
        Ok(text) => (1, text),
        Err(text) => (0, text),
    };
    Some(format!("Success={success}\n{RULE}\n{}\n", text.trim_end()))
}
