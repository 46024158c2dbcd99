//! What is measured: which packets, forwarded how.

use std::fmt;

/// Version of IP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Family {
    V4,
    V6,
}

/// What is on top of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Protocol {
    Tcp,
    Udp,
}

/// `forward` of the service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Mode {
    Dsr,
    Ipip,
    FullNat,
    Nat,
}

/// A service and the packets that are for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shape {
    pub(crate) mode: Mode,
    pub(crate) family: Family,
    pub(crate) protocol: Protocol,
    /// Balanced by `leastconn`, else by `roundrobin`.
    pub(crate) least_conn: bool,
    pub(crate) servers: u16,
}

impl Shape {
    /// Four servers in turn.
    pub(crate) fn new(mode: Mode, family: Family, protocol: Protocol) -> Shape {
        Shape {
            mode,
            family,
            protocol,
            least_conn: false,
            servers: 4,
        }
    }

    pub(crate) fn least_conn(self, servers: u16) -> Shape {
        Shape {
            least_conn: true,
            servers,
            ..self
        }
    }

    /// Whether the servers answer through the balancer.
    pub(crate) fn two_sided(self) -> bool {
        matches!(self.mode, Mode::FullNat | Mode::Nat)
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mode = match self.mode {
            Mode::Dsr => "dsr",
            Mode::Ipip => "ipip",
            Mode::FullNat => "fullnat",
            Mode::Nat => "nat",
        };
        let family = match self.family {
            Family::V4 => "IPv4",
            Family::V6 => "IPv6",
        };
        let protocol = match self.protocol {
            Protocol::Tcp => "TCP",
            Protocol::Udp => "UDP",
        };
        write!(out, "{mode} {family} {protocol}")?;
        if self.least_conn {
            write!(out, " leastconn {}", self.servers)?;
        }
        Ok(())
    }
}
