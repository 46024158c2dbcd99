//! The standard laboratory: a client, the balancer and some servers, each in a namespace of its own, with addresses of
//! both families.
//!
//! ```text
//!  two arms   client eth0 ─────────── clients0 balancer servers0 ── balancer0 switch ─┬─ eth0 server 1
//!             10.77.1.2                10.77.1.1       10.77.2.1                      ├─ eth0 server 2   10.77.2.11 …
//!
//!  one arm    client eth0 ─┬─ switch ─┬─ eth0 server 1 …     all in 10.77.1.0/24, the service address 10.77.1.100 on the
//!             balancer eth0┘          └─ eth0 server 2       balancer and on each server's loopback
//!
//!  a hop      … balancer ── switch ── near0 router far0 ── switch ─┬─ eth0 server 1     10.77.3.11 …
//!                                                                  └─ eth0 server 2
//! ```
//!
//! IPv6 has the same numbers: `10.77.N.M` is also `fd77:N::M`. Beside its own addresses the client answers to all of
//! 10.78.0.0/16 and of fd78::/64 ([`Lab::client_alias`]). Addresses are usable at once (no duplicate address detection).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::link::Mac;
use crate::{Error, Netns, Result, Tag, bpf};

mod builder;
mod station;

pub use builder::Builder;

/// The client's and each server's only interface; the balancer's too with one arm.
pub const ETH: &str = "eth0";
/// The balancer's interface on the client's side, with two arms.
pub const CLIENTS: &str = "clients0";
/// The balancer's interface on the servers' side, with two arms.
pub const SERVERS: &str = "servers0";

/// How the balancer is connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arms {
    /// Between client and servers.
    Two,
    /// On one segment with both, as `forward: dsr` needs it.
    One,
}

/// An address family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// IPv4
    V4,
    /// IPv6
    V6,
}

/// The laboratory; all of it is gone after drop.
#[derive(Debug)]
pub struct Lab {
    tag: Tag,
    arms: Arms,
    /// Servers are behind a router.
    behind: bool,
    // Before the namespaces, so that nothing is attached to what is being taken down.
    _links: Vec<bpf::Link>,
    client: Netns,
    balancer: Netns,
    servers: Vec<Netns>,
    switch: Netns,
    router: Option<Netns>,
}

impl Lab {
    /// Two arms, three servers.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// What is common to the names of all that belongs to this lab.
    pub fn tag(&self) -> &Tag {
        &self.tag
    }

    /// The client's namespace.
    pub fn client(&self) -> &Netns {
        &self.client
    }

    /// The balancer's namespace.
    pub fn balancer(&self) -> &Netns {
        &self.balancer
    }

    /// The namespace of server `i`, from 0.
    pub fn server(&self, i: usize) -> &Netns {
        &self.servers[i]
    }

    /// How many servers there are.
    pub fn servers(&self) -> usize {
        self.servers.len()
    }

    /// The namespace with the switch, whose ports see what is on the wire before any host has touched it.
    pub fn switch(&self) -> &Netns {
        &self.switch
    }

    /// The switch's port of server `i`, from 0.
    pub fn port(&self, i: usize) -> String {
        format!("server{}", i + 1)
    }

    /// The namespace of the router between balancer and servers.
    ///
    /// # Errors
    /// When the lab was built without a [`Builder::hop`].
    pub fn router(&self) -> Result<&Netns> {
        let none = || Error::new("this lab has no router");
        self.router.as_ref().ok_or_else(none)
    }

    /// How the balancer is connected.
    pub fn arms(&self) -> Arms {
        self.arms
    }

    /// The address that clients connect to.
    pub fn service_addr(&self) -> Ipv4Addr {
        station::service(self.arms).v4()
    }

    /// The IPv6 address that clients connect to.
    pub fn service_addr6(&self) -> Ipv6Addr {
        station::service(self.arms).v6()
    }

    /// The address that clients of a family connect to.
    pub fn service_ip(&self, family: Family) -> IpAddr {
        family.of(self.service_addr(), self.service_addr6())
    }

    /// The balancer's own address towards the servers.
    pub fn balancer_addr(&self) -> Ipv4Addr {
        station::balancer(self.arms).v4()
    }

    /// The balancer's own IPv6 address towards the servers.
    pub fn balancer_addr6(&self) -> Ipv6Addr {
        station::balancer(self.arms).v6()
    }

    /// The client's own address.
    pub fn client_addr(&self) -> Ipv4Addr {
        station::CLIENT.v4()
    }

    /// The client's own IPv6 address.
    pub fn client_addr6(&self) -> Ipv6Addr {
        station::CLIENT.v6()
    }

    /// The client's own address of a family.
    pub fn client_ip(&self, family: Family) -> IpAddr {
        family.of(self.client_addr(), self.client_addr6())
    }

    /// One of 65,536 further addresses that the client may bind and is reached at.
    pub fn client_alias(&self, i: u16) -> Ipv4Addr {
        let [high, low] = i.to_be_bytes();
        Ipv4Addr::new(10, 78, high, low)
    }

    /// One of 65,536 further IPv6 addresses that the client may bind and is reached at.
    pub fn client_alias6(&self, i: u16) -> Ipv6Addr {
        Ipv6Addr::new(0xfd78, 0, 0, 0, 0, 0, 0, i)
    }

    /// One of the client's further addresses of a family.
    pub fn client_alias_ip(&self, family: Family, i: u16) -> IpAddr {
        family.of(self.client_alias(i), self.client_alias6(i))
    }

    /// The address of server `i`, from 0.
    pub fn server_addr(&self, i: usize) -> Ipv4Addr {
        station::server(self.arms, self.behind, i).v4()
    }

    /// The IPv6 address of server `i`, from 0.
    pub fn server_addr6(&self, i: usize) -> Ipv6Addr {
        station::server(self.arms, self.behind, i).v6()
    }

    /// The address of a family of server `i`, from 0.
    pub fn server_ip(&self, family: Family, i: usize) -> IpAddr {
        family.of(self.server_addr(i), self.server_addr6(i))
    }

    /// The balancer's interface on the client's side.
    pub fn client_side(&self) -> &'static str {
        match self.arms {
            Arms::Two => CLIENTS,
            Arms::One => ETH,
        }
    }

    /// The balancer's interface on the servers' side.
    pub fn server_side(&self) -> &'static str {
        match self.arms {
            Arms::Two => SERVERS,
            Arms::One => ETH,
        }
    }

    /// The hardware address of the interface that has this address.
    pub fn mac_of(&self, address: Ipv4Addr) -> Mac {
        station::mac(address)
    }
}

impl Family {
    /// Both.
    pub const ALL: [Family; 2] = [Family::V4, Family::V6];

    /// `IPv4`
    pub const fn name(self) -> &'static str {
        match self {
            Family::V4 => "IPv4",
            Family::V6 => "IPv6",
        }
    }

    fn of(self, v4: Ipv4Addr, v6: Ipv6Addr) -> IpAddr {
        match self {
            Family::V4 => v4.into(),
            Family::V6 => v6.into(),
        }
    }
}
