//! What servers are told of clients, and which proxies before us are believed.

use std::net::IpAddr;

use http::HeaderName;

use super::Prefix;

/// What servers are told of the client.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Forwarding {
    /// `forwarded_for`: where its address goes.
    pub forwarded_for: Option<ForwardedFor>,
    /// `forwarded_proto`: X-Forwarded-Proto.
    pub proto: bool,
    /// `forwarded_port`: X-Forwarded-Port.
    pub port: bool,
    /// `forwarded_host`: X-Forwarded-Host.
    pub host: bool,
    /// `forwarded`: RFC 7239.
    pub forwarded: Option<Forwarded>,
}

impl Forwarding {
    /// Whether it is told of the address that the client came to.
    pub fn asks_for_ends(&self) -> bool {
        self.port || self.forwarded.is_some_and(|forwarded| forwarded.by)
    }

    /// Whether it is told of the host that the client asked for.
    pub fn asks_for_host(&self) -> bool {
        self.host || self.forwarded.is_some_and(|forwarded| forwarded.host)
    }
}

/// `forwarded_for`: HAProxy's `option forwardfor`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForwardedFor {
    /// The field.
    pub header: HeaderName,
    /// Clients that are not told of.
    pub except: Vec<Prefix>,
    /// Only where the request has no such field.
    pub if_none: bool,
}

/// `forwarded`: HAProxy's `option forwarded`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Forwarded {
    /// `http` or `https`.
    pub proto: bool,
    /// The host that was asked for.
    pub host: bool,
    /// The address that the client came to.
    pub by: bool,
    /// And its port.
    pub by_port: bool,
    /// The client's address.
    pub for_: bool,
    /// And its port.
    pub for_port: bool,
}

/// `trusted_proxies` and `client_ip_from`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trust {
    /// Who is believed in what it says of its clients.
    pub proxies: Vec<Prefix>,
    /// The field that says who the client is.
    pub client_ip_from: Option<HeaderName>,
}

impl Trust {
    /// Whether `address` is believed.
    pub fn believes(&self, address: IpAddr) -> bool {
        is_among(address, &self.proxies)
    }
}

/// Whether any of `prefixes` contains `address`, which may be an IPv4 one of a socket of both families.
pub fn is_among(address: IpAddr, prefixes: &[Prefix]) -> bool {
    let address = address.to_canonical();
    prefixes.iter().any(|prefix| prefix.contains(address))
}
