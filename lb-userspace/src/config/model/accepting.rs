//! How a frontend takes its clients' connections.

/// `backlog`, `rate_limit_sessions`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Accepting {
    /// Connections that the kernel keeps for us; `None`: as many as it will.
    pub backlog: Option<u32>,
    /// Most connections that are accepted in a second; others wait in the kernel.
    pub rate: Option<u32>,
}
