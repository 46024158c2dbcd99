//! Servers.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use super::{Address, Dialling, HealthCheck, InitAddr, ProxyOptions, ProxyVersion, Resolve};
use crate::{rules::Template, tls::ServerOptions};

/// A text with expressions whose value is a server's name.
#[derive(Debug, Clone)]
pub struct ComputedName {
    /// As it was written.
    pub text: String,
    /// The same, compiled.
    pub template: Arc<Template>,
}

impl PartialEq for ComputedName {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

/// A server of a backend.
#[derive(Debug, Clone, PartialEq)]
pub struct Server {
    /// Its name, unique in the backend.
    pub name: String,
    /// What it is called by where a name is too long; `None`: by its place.
    pub id: Option<u32>,
    /// Where it listens.
    pub address: Address,
    /// Ways to its first address, if it has a name instead.
    pub init_addr: Vec<InitAddr>,
    /// What they have led to.
    pub initial: Option<SocketAddr>,
    /// Its name is followed as its address changes.
    pub resolve: Option<Resolve>,
    /// 0–256.
    pub weight: u16,
    /// Most connections at a time; `None` is unbounded.
    pub maxconn: Option<u32>,
    /// What its limit falls to while few ask the backend; `None`: it does not fall.
    pub minconn: Option<u32>,
    /// Most that may wait for it alone; `None` is unbounded.
    pub max_queue: Option<u32>,
    /// Used only when no other server is up.
    pub backup: bool,
    /// Starts in maintenance.
    pub disabled: bool,
    /// Value of the sticky cookie.
    pub cookie: Option<String>,
    /// Whether it is checked, if there is a check.
    pub check: bool,
    /// Its own check, where it is not the backend's.
    pub health_check: Option<HealthCheck>,
    /// The server whose state it follows instead, by backend and name.
    pub track: Option<(String, String)>,
    /// The agent that is asked beside the check.
    pub agent_check: Option<HealthCheck>,
    /// After it has come up, its weight rises over this time.
    pub slowstart: Option<Duration>,
    /// What is spoken to it in mode http.
    pub protocol: Protocol,
    /// What becomes of its connections when it goes down.
    pub on_marked_down: OnMarkedDown,
    /// When it comes up, sessions on backup servers end.
    pub on_marked_up: bool,
    /// The address that its connections come from, and their port if it is not 0; `None`: what the system chooses.
    pub source: Option<SocketAddr>,
    /// What else there is to say of its connections.
    pub dialling: Dialling,
    /// Whether tables remember it.
    pub sticks: bool,
    /// How often a connection may be used again; `None` is unbounded.
    pub max_reuse: Option<u32>,
    /// TLS towards it.
    pub tls: Option<ServerOptions>,
    /// What its TLS asks for its name where that depends on the client; `None`: the request's host, or the client's SNI.
    pub server_name: Option<ComputedName>,
    /// The TLS that it would have if operators switched it on.
    pub tls_off: Option<ServerOptions>,
    /// Whether its connections begin with a PROXY header that names the client.
    pub send_proxy: Option<ProxyVersion>,
    /// What it tells besides.
    pub proxy_options: ProxyOptions,
}

/// `protocol`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.1.
    H1,
    /// HTTP/2; without TLS without asking first.
    H2,
    /// What TLS agrees on; HTTP/1.1 without TLS.
    Auto,
}

/// `on_marked_down`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnMarkedDown {
    /// They go on.
    Nothing,
    /// They are closed.
    ShutdownSessions,
}
