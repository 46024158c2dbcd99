//! What can go wrong in a verb. Each message names the thing and the mend.

use std::path::PathBuf;
use std::{fmt, io};

/// A verb's failure, printed once by `main`.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// A program could not be started at all.
    #[error("cannot start {program}: {source}")]
    Start {
        /// As it was called.
        program: String,
        /// The system's reason.
        source: io::Error,
    },
    /// A program ran and failed; the end of what it printed has been shown.
    #[error("{what} failed ({outcome}); its whole output is in {}", log.display())]
    Failed {
        /// The step, as announced.
        what: String,
        /// Exit status, or that it took too long.
        outcome: String,
        /// Where the child's output was kept.
        log: PathBuf,
    },
    /// A file or folder could not be read or written.
    #[error("cannot {action} {}: {source}", path.display())]
    File {
        /// A verb: "read", "create", ….
        action: &'static str,
        /// What it was done to.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// Something this machine does not have and that could not be installed.
    #[error("{0}")]
    Missing(Missing),
    /// A part of the demo's network, a server or the daemon.
    #[error("the demo cannot be set up: {0}")]
    Demo(lb_tests::Error),
    /// The daemon did not come up.
    #[error("the demo's lb did not come up; it said:\n{0}")]
    NotReady(String),
    /// The crate was not started by cargo from a checkout.
    #[error("cannot tell where the workspace is; start this as `cargo xtask …` inside a checkout")]
    NoWorkspace,
}

impl Error {
    /// Shorthand for [`Error::File`] in `map_err`.
    pub(crate) fn file(
        action: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::File {
            action,
            path,
            source,
        }
    }
}

/// What is missing, why it could not be had here, and the commands of which any one would help.
#[derive(Debug)]
pub(crate) struct Missing {
    /// The thing, with what it is for.
    pub(crate) what: String,
    /// Each way that was tried, and why it led nowhere.
    pub(crate) tried: Vec<String>,
    /// Commands for the user's shell, each with the case it is for.
    pub(crate) mends: Vec<Mend>,
}

/// A command that would help, and when.
#[derive(Debug)]
pub(crate) struct Mend {
    /// "on Debian, as root", ….
    pub(crate) case: &'static str,
    /// Copied to a shell as it stands.
    pub(crate) command: String,
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.what)?;
        for reason in &self.tried {
            write!(f, "\n  - {reason}")?;
        }
        if !self.mends.is_empty() {
            write!(
                f,
                "\nany one of these would help; then run the same command again:"
            )?;
        }
        for mend in &self.mends {
            write!(f, "\n  {}:\n      {}", mend.case, mend.command)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_names_every_way_tried_and_every_mend() {
        let error = Error::Missing(Missing {
            what: "the linker is missing".into(),
            tried: vec!["not root".into(), "no network".into()],
            mends: vec![Mend {
                case: "on Debian, as root",
                command: "apt-get install it".into(),
            }],
        });
        assert_eq!(
            error.to_string(),
            "the linker is missing\n  - not root\n  - no network\n\
             any one of these would help; then run the same command again:\n  \
             on Debian, as root:\n      apt-get install it"
        );
    }
}
