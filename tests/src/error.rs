//! The harness's one error: what was being done, and what the system said.

use std::{error, fmt, io};

/// What a step of the harness was about and why it failed.
#[derive(Debug)]
pub struct Error {
    what: String,
    source: Option<io::Error>,
}

/// What every fallible step of the harness returns.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// An error without a system call behind it.
    pub fn new(what: impl Into<String>) -> Error {
        Error {
            what: what.into(),
            source: None,
        }
    }

    /// An error that a system call or the standard library gave.
    pub fn io(what: impl Into<String>, source: impl Into<io::Error>) -> Error {
        Error {
            what: what.into(),
            source: Some(source.into()),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.source {
            Some(source) => write!(out, "{}: {source}", self.what),
            None => out.write_str(&self.what),
        }
    }
}

impl error::Error for Error {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        self.source.as_ref().map(|source| source as _)
    }
}

/// Names the step on the way of an error.
pub trait Context<T> {
    /// `what` says what was being done, for the reader of a failed test.
    fn context<S: Into<String>>(self, what: impl FnOnce() -> S) -> Result<T>;
}

impl<T, E: Into<io::Error>> Context<T> for std::result::Result<T, E> {
    fn context<S: Into<String>>(self, what: impl FnOnce() -> S) -> Result<T> {
        self.map_err(|source| Error::io(what(), source))
    }
}
