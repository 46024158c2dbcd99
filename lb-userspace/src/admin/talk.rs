//! A conversation by the runtime socket: lines in, answers out. Without `prompt` it is over after one line, as HAProxy's is.

use std::{io, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    sync::watch,
    time::timeout,
};

use super::{
    client::ELSEWHERE,
    command,
    desk::{Caller, Desk},
    kernel::Wire,
    socket::Serving,
    variables,
};
use crate::config::model::AdminLevel;

/// A client has this long to send a line, unless it says otherwise, and this long to take an answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// A line may be this long; HAProxy's buffers hold as much.
const MAX_LINE: usize = 16 * 1024;
/// A certificate with its chain and key is far shorter.
const MAX_PAYLOAD: usize = 256 * 1024;
const PROMPT: &str = "> ";
/// That more of a payload is waited for.
const MORE: &str = "+ ";

/// Answers until the client has what it wanted, or is gone.
///
/// # Errors
/// It went away, or dawdled.
pub(super) async fn serve(
    mut stream: Box<dyn Wire>,
    desk: &Desk,
    (level, peer): (AdminLevel, Option<u32>),
    mut serving: watch::Receiver<Serving>,
) -> io::Result<()> {
    let mut caller = Caller::new(level, peer, PATIENCE);
    let mut reader = Reader::default();
    let mut answered = false;
    loop {
        // Whoever is not prompted has said all at once.
        if answered && !caller.interactive && !reader.has_line() {
            break;
        }
        let line = tokio::select! {
            biased;
            line = timeout(caller.patience, reader.line(&mut *stream)) => line?,
            // Whoever says nothing just now.
            true = is_elsewhere(&mut serving), if answered => break,
        };
        let line = match line {
            Ok(Some(line)) => line,
            Ok(None) => break,
            Err(error) if error.kind() == io::ErrorKind::FileTooLarge => {
                say(&mut *stream, "The command is too long.\n\n").await?;
                break;
            }
            Err(error) => return Err(error),
        };
        // A line behind another that says nothing, such as that behind a payload, asks for nothing.
        let again = std::mem::replace(&mut answered, true);
        let (line, payload) = match line.trim_end().strip_suffix("<<") {
            None => (line.as_str(), None),
            Some(line) => {
                let payload = timeout(
                    caller.patience,
                    reader.payload(&mut *stream, caller.interactive),
                );
                match payload.await? {
                    Ok(payload) => (line, Some(payload)),
                    Err(error) if error.kind() == io::ErrorKind::FileTooLarge => {
                        say(&mut *stream, "The payload is too long.\n\n").await?;
                        break;
                    }
                    Err(error) => return Err(error),
                }
            }
        };
        let commands = command::split(line);
        let many = commands.len() > 1;
        for command in &commands {
            let command = command::words(command);
            let words: Vec<&str> = command.iter().map(String::as_str).collect();
            let words = command::without_process(&words);
            match *words {
                // What stands behind the last `;`, or an empty line to see whether anybody is there.
                [] if many || again || caller.interactive => {
                    if !many && caller.interactive {
                        say(&mut *stream, "\n> ").await?;
                    }
                    continue;
                }
                ["quit", ..] => return close(stream).await,
                _ => {}
            }
            if serving
                .wait_for(|serving| *serving != Serving::NotNow)
                .await
                .is_ok_and(|serving| *serving == Serving::Elsewhere)
            {
                say(&mut *stream, &format!("{ELSEWHERE}\n\n")).await?;
                return close(stream).await;
            }
            let said = desk
                .answer(&mut caller, words, payload.as_deref(), &mut *stream)
                .await?;
            let mut said = said.unwrap_or_else(|complaint| complaint + "\n");
            if !is_bare(words, said.trim_end()) {
                said.push('\n');
            }
            if caller.interactive {
                said.push_str(PROMPT);
            }
            say(&mut *stream, &said).await?;
        }
    }
    close(stream).await
}

/// Resolves once another process is to be asked; never if that does not come.
async fn is_elsewhere(serving: &mut watch::Receiver<Serving>) -> bool {
    let elsewhere = serving
        .wait_for(|serving| *serving == Serving::Elsewhere)
        .await
        .is_ok();
    if !elsewhere {
        std::future::pending::<()>().await;
    }
    true
}

/// Whether HAProxy ends an answer with its line alone, without an empty one.
fn is_bare(words: &[&str], said: &str) -> bool {
    const ALWAYS: &[&str] = &[
        "Empty weight string empty or preceded by garbage",
        "Trailing garbage in weight string",
        "agent checks are not enabled on this server",
        "health checks are not enabled on this server",
        "provided port is not an integer",
        "maxconn string empty or preceded by garbage",
        "Trailing garbage in maxconn string",
    ];
    const OF_SERVERS: &[&str] = &[
        "Require 'backend/server'.",
        "No such backend.",
        "No such server.",
        "Only servers in maintenance mode can be deleted.",
        "This server cannot be removed at runtime due to other configuration elements pointing to it.",
        "Server deleted.",
    ];
    ALWAYS.contains(&said)
        || matches!(words, ["add" | "del", "server", ..]) && OF_SERVERS.contains(&said)
        || variables::is_bare(words, said)
}

async fn close(mut stream: Box<dyn Wire>) -> io::Result<()> {
    timeout(PATIENCE, stream.shutdown()).await?
}

async fn say(stream: &mut dyn Wire, text: &str) -> io::Result<()> {
    timeout(PATIENCE, stream.write_all(text.as_bytes())).await?
}

/// Lines, and what has come behind them.
#[derive(Debug, Default)]
struct Reader {
    buffer: Vec<u8>,
    ended: bool,
}

impl Reader {
    fn end_of_line(&self) -> Option<usize> {
        self.buffer.iter().position(|&byte| byte == b'\n')
    }

    fn has_line(&self) -> bool {
        self.end_of_line().is_some()
    }

    /// Reads some more; `false` at the end.
    async fn more(&mut self, stream: &mut dyn Wire) -> io::Result<bool> {
        let mut buffer = [0; 4096];
        let length = stream.read(&mut buffer).await?;
        self.buffer
            .extend_from_slice(buffer.get(..length).unwrap_or_default());
        self.ended = length == 0;
        Ok(!self.ended)
    }

    /// A line without its end; `None` if there is no more.
    async fn line(&mut self, stream: &mut dyn Wire) -> io::Result<Option<String>> {
        loop {
            let end = self.end_of_line();
            if end.unwrap_or(self.buffer.len()) > MAX_LINE {
                return Err(io::ErrorKind::FileTooLarge.into());
            }
            if let Some(end) = end {
                let rest = self.buffer.split_off(end + 1);
                let line = std::mem::replace(&mut self.buffer, rest);
                let line = line.strip_suffix(b"\n").unwrap_or(&line);
                return Ok(Some(String::from_utf8_lossy(line).into_owned()));
            }
            if self.ended || !self.more(stream).await? {
                let line = std::mem::take(&mut self.buffer);
                let line = String::from_utf8_lossy(&line).into_owned();
                // Half a line at the end is taken for a whole one.
                return Ok(Some(line).filter(|line| !line.trim().is_empty()));
            }
        }
    }

    /// What follows a line that ends in `<<`, up to an empty line or the end.
    async fn payload(&mut self, stream: &mut dyn Wire, prompts: bool) -> io::Result<Vec<u8>> {
        let mut seen = 0;
        if prompts {
            say(stream, MORE).await?;
        }
        loop {
            let from = seen.max(1) - 1;
            let fresh = self.buffer.get(from..).unwrap_or_default();
            let end = match self.buffer.first() {
                // Nothing at all.
                Some(b'\n') => Some((0, 1)),
                _ => fresh
                    .windows(2)
                    .position(|pair| pair == b"\n\n")
                    .map(|at| (from + at + 1, from + at + 2)),
            };
            if let Some((end, next)) = end {
                let rest = self.buffer.split_off(next);
                let mut payload = std::mem::replace(&mut self.buffer, rest);
                payload.truncate(end);
                return Ok(payload);
            }
            seen = self.buffer.len();
            if seen > MAX_PAYLOAD {
                return Err(io::ErrorKind::FileTooLarge.into());
            }
            if self.ended || !self.more(stream).await? {
                return Ok(std::mem::take(&mut self.buffer));
            }
        }
    }
}

#[cfg(test)]
mod tests;
