//! How connections are kept and shared.

use http::HeaderName;

/// `connection_mode`: whether connections outlive a request. Of a frontend's and a backend's the later one counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum ConnectionMode {
    /// Both do.
    #[default]
    KeepAlive,
    /// The client's does.
    ServerClose,
    /// Neither does.
    Close,
}

/// What a backend says of its servers' connections, and of who may come to them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Connections {
    /// Whether they outlive a request.
    pub mode: ConnectionMode,
    /// Each serves one client alone.
    pub never_shared: bool,
    /// A cookie's server is asked even where it is down.
    pub persist: bool,
    /// The cookie by which an RDP client names its server.
    pub rdp_cookie: Option<String>,
    /// All backup servers that are up are used when no other is, instead of the first.
    pub all_backups: bool,
    /// What a client asks next goes to the server that it has a connection of its own to.
    pub prefer_last: bool,
    /// A request is given up whose client has left before its answer.
    pub abort_on_close: bool,
    /// Sessions from which on servers with `minconn` may have their whole `maxconn`.
    pub fullconn: Option<u32>,
    /// The field that tells a server its own name.
    pub name_header: Option<HeaderName>,
}
