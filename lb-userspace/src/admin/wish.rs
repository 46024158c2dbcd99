//! Wishes for something that changes what the daemon is: how the socket hands them to the daemon, and how its answer is
//! written and read.

use std::{
    io::{self, Write},
    process::ExitCode,
};

use tokio::sync::{mpsc, oneshot};

use super::{setting::Setting, upgrade::Asked};
use crate::config::model;

/// What parts the result from what is to be read, as HAProxy's `reload` has it.
const RULE: &str = "--";

/// The end of what is said to who wishes something of a process whose place another has taken.
pub const ASK_AGAIN: &str = "has taken over: ask again";

/// What is read again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Again {
    /// The configuration, and all that it names.
    All,
    /// Files of servers, beside a configuration that stays as it was read.
    Servers,
}

/// A wish for something that changes what the daemon is.
#[derive(Debug)]
pub struct Wish {
    /// For what.
    pub what: What,
    /// Gets what has become of it: what has changed, or why nothing has.
    pub reply: oneshot::Sender<Result<String, String>>,
}

/// What operators make of the configuration while it runs.
#[derive(Debug)]
pub enum Amendment {
    /// A backend has another server.
    Add {
        /// The backend's name.
        backend: String,
        /// The server.
        server: Box<model::Server>,
        /// What was said of it, for a process that comes after this one.
        words: Vec<String>,
    },
    /// A backend has a server no longer.
    Delete {
        /// The backend's name.
        backend: String,
        /// The server's name.
        server: String,
    },
    /// The process has another bound of connections.
    Maxconn(u32),
    /// The configuration says something else.
    Set(Setting),
}

/// What may be wished for.
#[derive(Debug)]
pub enum What {
    /// The configuration, or part of it, is to be read again.
    Reload(Again),
    /// Another process is to take this one's place.
    Upgrade(Asked),
    /// What the file says is to be amended.
    Amend(Amendment),
}

impl Wish {
    /// Says why it is not granted. Whoever has wished it may be gone.
    pub fn refuse(self, why: String) {
        let _ = self.reply.send(Err(why));
    }
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

/// What has become of a wish, as the socket says it.
pub(super) fn told(result: &Result<String, String>) -> String {
    let (success, text) = match result {
        Ok(text) => (1, text),
        Err(text) => (0, text),
    };
    format!("Success={success}\n{RULE}\n{}\n", text.trim_end())
}

/// Prints such an answer where it belongs; `before` stands before a refusal.
pub(super) fn print(answer: &str, before: &str) -> ExitCode {
    let (result, text) = match answer.split_once(&format!("\n{RULE}\n")) {
        Some((result, text)) => (result, text),
        None => ("", answer),
    };
    let text = text.trim_end();
    // An error means that nobody reads it any more.
    match result {
        "Success=1" => {
            let _ = writeln!(io::stdout(), "{text}");
            ExitCode::SUCCESS
        }
        _ => {
            let _ = writeln!(io::stderr(), "{before}{text}");
            ExitCode::FAILURE
        }
    }
}
