//! What a health check found, in HAProxy's words.

use std::time::{Duration, Instant};

/// The result of one check, by HAProxy's code name (management guide, section 9.1, `check_status`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CheckStatus {
    /// The local socket failed: no file descriptor, no address, no route permission.
    SockErr,
    /// The connection was established and nothing more was asked.
    L4Ok,
    /// The connection was not established in time.
    L4Tout,
    /// The connection was refused, reset or unreachable.
    L4Con,
    /// The TLS handshake was done and nothing more was asked.
    L6Ok,
    /// The TLS handshake was not done in time.
    L6Tout,
    /// The TLS handshake failed.
    L6Rsp,
    /// Traffic had too many errors.
    Hana,
    /// Something was said, but not whether the server is up.
    Checked,
    /// The answer passed.
    L7Ok,
    /// The answer passed, and asks for nobody new: 404 where `disable_on_404` is.
    L7Okc,
    /// The answer did not come in time.
    L7Tout,
    /// What came is no answer of the protocol.
    L7Rsp,
    /// The answer carries a status that does not pass.
    L7Sts,
}

impl CheckStatus {
    /// All of them.
    pub const ALL: [Self; 14] = [
        Self::SockErr,
        Self::L4Ok,
        Self::L4Tout,
        Self::L4Con,
        Self::L6Ok,
        Self::L6Tout,
        Self::L6Rsp,
        Self::Hana,
        Self::Checked,
        Self::L7Ok,
        Self::L7Okc,
        Self::L7Tout,
        Self::L7Rsp,
        Self::L7Sts,
    ];

    /// HAProxy's short name, as in the CSV.
    pub fn name(self) -> &'static str {
        match self {
            Self::SockErr => "SOCKERR",
            Self::L4Ok => "L4OK",
            Self::L4Tout => "L4TOUT",
            Self::L4Con => "L4CON",
            Self::L6Ok => "L6OK",
            Self::L6Tout => "L6TOUT",
            Self::L6Rsp => "L6RSP",
            Self::Hana => "HANA",
            Self::Checked => "CHECKED",
            Self::L7Ok => "L7OK",
            Self::L7Okc => "L7OKC",
            Self::L7Tout => "L7TOUT",
            Self::L7Rsp => "L7RSP",
            Self::L7Sts => "L7STS",
        }
    }

    /// HAProxy's description, as in its log lines.
    pub fn description(self) -> &'static str {
        match self {
            Self::SockErr => "Socket error",
            Self::L4Ok => "Layer4 check passed",
            Self::L4Tout => "Layer4 timeout",
            Self::L4Con => "Layer4 connection problem",
            Self::L6Ok => "Layer6 check passed",
            Self::L6Tout => "Layer6 timeout",
            Self::L6Rsp => "Layer6 invalid response",
            Self::Hana => "Health analyze",
            Self::Checked => "No status change",
            Self::L7Ok => "Layer7 check passed",
            Self::L7Okc => "Layer7 check conditionally passed",
            Self::L7Tout => "Layer7 timeout",
            Self::L7Rsp => "Layer7 invalid response",
            Self::L7Sts => "Layer7 wrong status",
        }
    }

    /// Whether the server passed.
    pub fn passed(self) -> bool {
        matches!(self, Self::L4Ok | Self::L6Ok | Self::L7Ok | Self::L7Okc)
    }
}

/// One check: what it found, and how long it took.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckResult {
    /// The verdict.
    pub status: CheckStatus,
    /// The protocol's code, such as an HTTP status.
    pub code: Option<u16>,
    /// From the first packet to the verdict.
    pub duration: Duration,
    /// What the server or the system said, such as an HTTP reason phrase or an error text; may be empty.
    pub info: String,
    /// When the verdict fell.
    pub at: Instant,
}

impl CheckResult {
    /// The cell of HAProxy's page, such as `L7OK/200 in 0ms` or `L4CON in 1ms`.
    pub fn cell(&self) -> String {
        let millis = self.duration.as_millis();
        match self.code {
            Some(code) => format!("{}/{code} in {millis}ms", self.status.name()),
            None => format!("{} in {millis}ms", self.status.name()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_read_as_haproxys() {
        let mut result = CheckResult {
            status: CheckStatus::L7Ok,
            code: Some(200),
            duration: Duration::from_micros(1900),
            info: "OK".into(),
            at: Instant::now(),
        };
        assert_eq!(result.cell(), "L7OK/200 in 1ms");
        result.status = CheckStatus::L4Con;
        result.code = None;
        assert_eq!(result.cell(), "L4CON in 1ms");
    }
}
