//! Syslog severities (RFC 5424 §6.2.1) under HAProxy's names.

use std::{fmt, str::FromStr};

/// How bad a message is; less is worse.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Level {
    /// Nothing works: a backend lost its last server.
    Emerg = 0,
    /// To be acted on at once: a server went down.
    Alert = 1,
    /// Critical.
    Crit = 2,
    /// An error.
    Err = 3,
    /// A warning.
    Warning = 4,
    /// Normal but worth a look: a server came up.
    Notice = 5,
    /// Traffic.
    Info = 6,
    /// Debugging.
    Debug = 7,
}

impl Level {
    /// All of them, worst first.
    pub const ALL: [Self; 8] = [
        Self::Emerg,
        Self::Alert,
        Self::Crit,
        Self::Err,
        Self::Warning,
        Self::Notice,
        Self::Info,
        Self::Debug,
    ];

    /// That of a number; what exceeds them is the least.
    pub fn of(number: u8) -> Self {
        let at = usize::from(number).min(Self::ALL.len() - 1);
        Self::ALL[at]
    }

    /// HAProxy's name of it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Emerg => "emerg",
            Self::Alert => "alert",
            Self::Crit => "crit",
            Self::Err => "err",
            Self::Warning => "warning",
            Self::Notice => "notice",
            Self::Info => "info",
            Self::Debug => "debug",
        }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Level {
    type Err = UnknownLevel;

    fn from_str(s: &str) -> Result<Self, UnknownLevel> {
        Self::ALL
            .into_iter()
            .find(|level| level.name() == s)
            .ok_or_else(|| UnknownLevel(s.to_owned()))
    }
}

/// A name that is no level.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error(
    "unknown log level {0:?}; use one of emerg, alert, crit, err, warning, notice, info, debug"
)]
pub struct UnknownLevel(String);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_reads_back() {
        for level in Level::ALL {
            assert_eq!(level.name().parse::<Level>(), Ok(level));
        }
        assert!("loud".parse::<Level>().is_err());
    }
}
