//! What a proxy of mode http makes of its clients and servers.

/// `restrict_header_names`: what becomes of request fields whose names have other letters than those of ASCII, digits and
/// `-`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum HeaderNames {
    /// They stay.
    #[default]
    Preserve,
    /// They are left out.
    Delete,
    /// The request is refused.
    Reject,
}

/// Options of requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct HttpOptions {
    /// `restrict_header_names`
    pub names: HeaderNames,
    /// `ignore_probes` of a frontend: connections that end before a byte has come are nobody's business.
    pub ignore_probes: bool,
    /// `pretend_keep_alive` of a backend: a server is not told that its connection ends with the answer.
    pub pretend_keep_alive: bool,
}
