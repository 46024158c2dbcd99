//! `lb reload`: another configuration for the running daemon.

use std::{process::ExitCode, time::Duration};

use clap::Args;

use super::{
    cli::{Daemon, fail},
    client,
    wish::{ASK_AGAIN, Again, What, Wishes, print, told, wish},
};

/// How long a reload may take: a file of a hundred thousand servers has to be read, and certificates with it.
const PATIENCE: Duration = Duration::from_secs(120);

/// So many upgrades are outlasted, each of which makes it another process's business.
const UPGRADES: u32 = 10;

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
        for _ in 0..UPGRADES {
            match client::ask_within(&self.daemon.socket, "reload", PATIENCE) {
                // Whoever has taken over has perhaps read the file before it was written.
                Ok(answer) if answer.trim_end().ends_with(ASK_AGAIN) => {}
                // What is wrong with a file has its place before it.
                Ok(answer) => return print(&answer, ""),
                Err(error) => return fail(&error),
            }
        }
        fail(&"one process after the other takes over")
    }
}

/// The answer to `reload`; `None` if that is not what was asked for.
pub(super) async fn answer(wishes: &Wishes, words: &[&str]) -> Option<String> {
    let ["reload"] = *words else {
        return None;
    };
    Some(told(&wish(wishes, What::Reload(Again::All)).await))
}
