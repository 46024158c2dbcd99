//! What a checker hands back: a result without its time.

use crate::topology::CheckStatus;

/// Most bytes of what is told with a result: HAProxy's.
pub(super) const MOST_INFO: usize = 127;

/// The verdict of one check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// HAProxy's status.
    pub status: CheckStatus,
    /// The protocol's code.
    pub code: Option<u16>,
    /// Explanation of a failure; empty for a success, as in HAProxy's log lines.
    pub info: String,
}

impl Finding {
    pub(super) fn new(status: CheckStatus) -> Self {
        Self {
            status,
            code: None,
            info: String::new(),
        }
    }
}
