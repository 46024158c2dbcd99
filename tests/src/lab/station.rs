//! Addresses: who has which in both families, and the hardware address that tells it.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::Arms;
use crate::link::Mac;

/// A host on one of the lab's segments: `10.77.NET.HOST` and `fd77:NET::HOST`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Station {
    net: u8,
    host: u8,
}

/// The segment of clients; of everybody with one arm.
const NEAR: u8 = 1;
/// The segment of servers with two arms.
const FAR: u8 = 2;
/// The segment of servers behind a router.
const BEHIND: u8 = 3;

pub(super) const CLIENT: Station = at(NEAR, 2);
/// The balancer on the client's segment.
pub(super) const EDGE: Station = at(NEAR, 1);
/// The router on the servers' segment.
pub(super) const ROUTER_FAR: Station = at(BEHIND, 1);

const fn at(net: u8, host: u8) -> Station {
    Station { net, host }
}

impl Station {
    pub(super) fn v4(self) -> Ipv4Addr {
        Ipv4Addr::new(10, 77, self.net, self.host)
    }

    pub(super) fn v6(self) -> Ipv6Addr {
        let (net, host) = (u16::from(self.net), u16::from(self.host));
        Ipv6Addr::new(0xfd77, net, 0, 0, 0, 0, 0, host)
    }

    pub(super) fn mac(self) -> Mac {
        mac(self.v4())
    }

    /// Its segment in both families, as `ip route` takes it.
    pub(super) fn segments(self) -> [String; 2] {
        [
            format!("10.77.{}.0/24", self.net),
            format!("fd77:{}::/64", self.net),
        ]
    }
}

/// Whom clients connect to.
pub(super) fn service(arms: Arms) -> Station {
    match arms {
        Arms::Two => EDGE,
        Arms::One => at(NEAR, 100),
    }
}

/// The balancer towards the servers.
pub(super) fn balancer(arms: Arms) -> Station {
    match arms {
        Arms::Two => at(FAR, 1),
        Arms::One => EDGE,
    }
}

/// The router on the balancer's side.
pub(super) fn router_near(arms: Arms) -> Station {
    match arms {
        Arms::Two => at(FAR, 254),
        Arms::One => at(NEAR, 254),
    }
}

/// Server `i`, from 0, of up to 200.
pub(super) fn server(arms: Arms, behind: bool, i: usize) -> Station {
    let net = match arms {
        _ if behind => BEHIND,
        Arms::Two => FAR,
        Arms::One => NEAR,
    };
    // 11 to 210; the one-armed service address is stepped over.
    let host = 11 + i as u8;
    at(net, host + u8::from(arms == Arms::One && host >= 100))
}

/// Locally administered and readable: the address in the last four bytes.
pub(super) fn mac(address: Ipv4Addr) -> Mac {
    let [a, b, c, d] = address.octets();
    [0x02, 0, a, b, c, d]
}
