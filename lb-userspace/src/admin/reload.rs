//! `lb reload`: another configuration for the running daemon.

use std::{process::ExitCode, time::Duration};

use clap::Args;

use super::{
    cli::{Daemon, fail},
    client,
    wish::{Again, What, Wishes, print, told, wish},
};

/// How long a reload may take: a file of a hundred thousand servers has to be read, and certificates with it.
const PATIENCE: Duration = Duration::from_secs(120);

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
        match client::ask_within(&self.daemon.socket, "reload", PATIENCE) {
            // What is wrong with a file has its place before it.
            Ok(answer) => print(&answer, ""),
            Err(error) => fail(&error),
        }
    }
}

/// The answer to `reload`; `None` if that is not what was asked for.
pub(super) async fn answer(wishes: &Wishes, words: &[&str]) -> Option<String> {
    let ["reload"] = *words else {
        return None;
    };
    Some(told(&wish(wishes, What::Reload(Again::All)).await))
}
