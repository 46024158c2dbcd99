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

/// `http_reuse`: whether a connection serves one client after another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Reuse {
    /// It does.
    #[default]
    Always,
    /// It does, but a client's first request goes by a new one unless it could be sent once more: who has had no answer yet does
    /// not ask again by itself.
    Safe,
    /// Each serves one client alone.
    Never,
}

/// What a backend says of its servers' connections, and of who may come to them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Connections {
    /// Whether they outlive a request.
    pub mode: ConnectionMode,
    /// Which of them serve several clients.
    pub reuse: Reuse,
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
