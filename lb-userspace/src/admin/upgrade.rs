//! `lb upgrade`: another binary takes the running daemon's place, with no connection lost.

use std::{
    os::unix::ffi::{OsStrExt, OsStringExt},
    path::PathBuf,
    process::ExitCode,
    time::Duration,
};

use clap::Args;

use super::{
    cli::{Daemon, fail},
    client,
    wish::{What, Wishes, print, told, wish},
};
use crate::percent::{self, Plus};

/// How long the new process may take until it serves, unless told otherwise. A file with many names takes as long as DNS.
const PATIENCE: Duration = Duration::from_secs(60);
/// What the daemon may take beyond that, to end what has come to nothing.
const MARGIN: Duration = Duration::from_secs(30);

/// Arguments of `lb upgrade`.
#[derive(Debug, Clone, Args)]
pub struct UpgradeArgs {
    /// The new binary; unless named, what is now where the running one was started from
    #[arg(long, value_name = "PATH")]
    pub binary: Option<PathBuf>,
    /// Seconds that it may take until it serves
    #[arg(long, value_name = "SECONDS", default_value_t = PATIENCE.as_secs())]
    pub timeout: u64,
    /// Which daemon.
    #[command(flatten)]
    pub daemon: Daemon,
}

/// What is asked of the daemon.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// The new binary; `None` is the one that the daemon was started from.
    pub binary: Option<PathBuf>,
    /// How long it may take until it serves.
    pub timeout: Duration,
    /// The user who asks; `None` if the kernel does not know, as over TCP.
    pub peer: Option<u32>,
}

impl UpgradeArgs {
    /// Has another process take the daemon's place, and prints what has become of it.
    pub fn run(&self) -> ExitCode {
        let mut line = format!("upgrade timeout {}", self.timeout);
        if let Some(binary) = &self.binary {
            // The daemon may be in another folder.
            let binary = match std::path::absolute(binary) {
                Ok(binary) => binary,
                Err(error) => return fail(&format!("{}: {error}", binary.display())),
            };
            line = format!("{line} binary {}", escaped(binary.as_os_str().as_bytes()));
        }
        let patience = Duration::from_secs(self.timeout).saturating_add(MARGIN);
        match client::ask_within(&self.daemon.socket, &line, patience) {
            Ok(answer) => print(&answer, "lb: "),
            Err(error) => fail(&error),
        }
    }
}

/// A path as one word: what could be taken for something else as `%20`.
fn escaped(path: &[u8]) -> String {
    let stays = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'/' | b'.' | b'-' | b'_' | b'+');
    String::from_utf8_lossy(&percent::encoded(path, stays)).into_owned()
}

fn unescaped(word: &str) -> Option<PathBuf> {
    let bytes = percent::decoded(word.as_bytes(), Plus::Itself)?;
    Some(std::ffi::OsString::from_vec(bytes).into())
}

/// The answer to `upgrade`; `None` if that is not what was asked for.
pub(super) async fn answer(wishes: &Wishes, words: &[&str], peer: Option<u32>) -> Option<String> {
    let ["upgrade", options @ ..] = words else {
        return None;
    };
    let result = match parse(options, peer) {
        Ok(asked) => wish(wishes, What::Upgrade(asked)).await,
        Err(complaint) => Err(complaint),
    };
    Some(told(&result))
}

fn parse(mut options: &[&str], peer: Option<u32>) -> Result<Asked, String> {
    let usage = "'upgrade' expects [timeout <seconds>] [binary <path>], a path absolute and with %20 for a space.";
    let mut asked = Asked {
        binary: None,
        timeout: PATIENCE,
        peer,
    };
    while let [name, value, rest @ ..] = options {
        match *name {
            "timeout" => {
                let seconds = value
                    .parse()
                    .ok()
                    .filter(|seconds| (1..=86_400).contains(seconds));
                asked.timeout = Duration::from_secs(seconds.ok_or(usage)?);
            }
            "binary" => {
                let path = unescaped(value).filter(|path| path.is_absolute());
                asked.binary = Some(path.ok_or(usage)?);
            }
            _ => return Err(usage.to_owned()),
        }
        options = rest;
    }
    match options {
        [] => Ok(asked),
        _ => Err(usage.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_path_is_one_word() {
        let path = "/opt/new; lb\n\\ä%/lb";
        let word = escaped(path.as_bytes());
        assert!(!word.contains([' ', ';', '\\', '\n']), "{word}");
        let asked = parse(&["timeout", "5", "binary", &word], None).unwrap();
        assert_eq!(asked.binary.unwrap(), PathBuf::from(path));
        assert_eq!(asked.timeout, Duration::from_secs(5));
        for wrong in [
            &["binary"][..],
            &["binary", "lb"],
            &["binary", "/%G0"],
            &["timeout", "0"],
            &["now"],
        ] {
            assert!(parse(wrong, None).is_err(), "{wrong:?}");
        }
    }
}
