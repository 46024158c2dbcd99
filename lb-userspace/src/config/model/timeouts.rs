//! Times.

use std::time::Duration;

/// `timeouts:` with HAProxy's meanings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Timeouts {
    /// Reaching a server.
    pub connect: Duration,
    /// Client idle.
    pub client: Duration,
    /// Server idle.
    pub server: Duration,
    /// A whole request head.
    pub http_request: Duration,
    /// Idle between requests.
    pub http_keep_alive: Duration,
    /// Waiting for a server's slot.
    pub queue: Duration,
    /// Before the answer of a `tarpit`.
    pub tarpit: Duration,
    /// Silence of a client once the server has ended its half; `None`: as before that.
    pub client_fin: Option<Duration>,
    /// The same of a server.
    pub server_fin: Option<Duration>,
    /// Idle in mode tcp in place of `client` and `server`; `None` if the file does not set it.
    pub tunnel: Option<Duration>,
    /// The same where a request has become a tunnel: 1 h if the file does not set it, `None` if it says `none`.
    pub upgraded: Option<Duration>,
    /// A health check; `None` if the file does not set it (then the check's interval).
    pub check: Option<Duration>,
}

impl Timeouts {
    /// Idle time of a kernel flow from `frontend` to `backend`: `tunnel` if the file sets it, else the larger of
    /// `client` and `server`.
    pub fn kernel_idle(frontend: &Timeouts, backend: &Timeouts) -> Duration {
        backend
            .tunnel
            .unwrap_or_else(|| frontend.client.max(backend.server))
    }
}
