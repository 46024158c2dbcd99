//! `retry_on`: what is tried again.

/// Statuses of answers that may be tried again; HAProxy's.
pub const STATUSES: [u16; 11] = [401, 403, 404, 408, 425, 429, 500, 501, 502, 503, 504];

/// What is tried again, as often as `retries` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryOn {
    /// A connection that could not be made.
    pub connection: bool,
    /// A server that closed without an answer.
    pub empty: bool,
    /// An answer that is none.
    pub junk: bool,
    /// No answer in time.
    pub timeout: bool,
    /// Answers with these statuses, a bit for each of [`STATUSES`].
    pub statuses: u16,
}

impl Default for RetryOn {
    fn default() -> Self {
        Self {
            connection: true,
            ..Self::NONE
        }
    }
}

impl RetryOn {
    /// Nothing is.
    pub const NONE: Self = Self {
        connection: false,
        empty: false,
        junk: false,
        timeout: false,
        statuses: 0,
    };

    /// Whether requests that a server may have seen are sent again, and so have to be kept.
    pub fn keeps_requests(&self) -> bool {
        self.empty || self.junk || self.timeout || self.statuses != 0
    }

    /// Whether an answer with `status` is.
    pub fn has_status(&self, status: u16) -> bool {
        bit(status).is_some_and(|bit| self.statuses & bit != 0)
    }

    /// Adds answers with `status`; whether they can be tried again at all.
    pub fn add_status(&mut self, status: u16) -> bool {
        self.statuses |= bit(status).unwrap_or(0);
        bit(status).is_some()
    }
}

fn bit(status: u16) -> Option<u16> {
    let at = STATUSES.iter().position(|known| *known == status)?;
    1_u16.checked_shl(u32::try_from(at).ok()?)
}
