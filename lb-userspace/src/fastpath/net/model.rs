//! The nouns of the host's network: links, addresses, routes, neighbours, and the [`Event`]s that change them.
//!
//! They hold what forwarding a frame needs and nothing else; `decode` makes them from netlink messages.

use std::fmt;
use std::net::IpAddr;

/// An Ethernet address.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mac(pub [u8; 6]);

impl Mac {
    /// The address in `bytes`, if it is Ethernet's: six bytes, not all zero (as loopback's is).
    #[must_use]
    pub fn new(bytes: &[u8]) -> Option<Self> {
        let mac = <[u8; 6]>::try_from(bytes).ok()?;
        (mac != [0; 6]).then_some(Self(mac))
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl fmt::Debug for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// IPv4 or IPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// The family of `ip`.
    #[must_use]
    pub fn of(ip: IpAddr) -> Self {
        if ip.is_ipv4() { Self::V4 } else { Self::V6 }
    }
}

/// An IEEE 802.1Q tag as it goes on the wire, priority and drop eligibility zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VlanTag {
    /// VLAN identifier, 1–4094.
    pub id: u16,
    /// Tag protocol identifier: 0x8100 (802.1Q) or 0x88a8 (802.1ad).
    pub tpid: u16,
}

/// A network interface of this namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Interface index, unique in its namespace.
    pub index: u32,
    /// Interface name, which may change at any time.
    pub name: String,
    /// What it is made of.
    pub kind: LinkKind,
    /// Whether frames on it have Ethernet headers (`ARPHRD_ETHER`).
    pub ethernet: bool,
    /// Whether it is a loopback interface.
    pub loopback: bool,
    /// Its address, if it has an Ethernet one.
    pub mac: Option<Mac>,
    /// Largest packet without the Ethernet header, bytes.
    pub mtu: u32,
    /// Administratively up (`IFF_UP`).
    pub up: bool,
    /// The layer below is up (`IFF_LOWER_UP`): a cable is in, the peer of a veth is up.
    pub carrier: bool,
    /// The bridge, bond, team or VRF that it is a port of.
    pub master: Option<u32>,
    /// The device underneath, of a VLAN or MACVLAN, or a veth's peer; only if it is in this namespace.
    pub lower: Option<u32>,
}

/// What a link is, as far as resolving it to the device underneath needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LinkKind {
    /// A device with no `rtnl_link_ops`: hardware, or loopback.
    Device,
    /// One end of a virtual Ethernet pair.
    Veth,
    /// A VLAN on [`Link::lower`].
    Vlan(VlanTag),
    /// A bond; its ports name it as [`Link::master`].
    Bond {
        /// The port in use, in the modes that use one at a time.
        active: Option<u32>,
        /// Whether the mode uses one port at a time (active-backup).
        active_backup: bool,
    },
    /// A bridge; its ports name it as [`Link::master`].
    Bridge,
    /// Another virtual device, by the kernel's name for its kind.
    Other(String),
}

/// RFC 3549 `rtm_scope`, ordered from near to far.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scope {
    /// Valid on this host alone.
    Host,
    /// Valid on the link.
    Link,
    /// Valid everywhere (site scope counts as this).
    Global,
}

/// An address of an interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// The address itself.
    pub ip: IpAddr,
    /// Length of the prefix that is on the link.
    pub prefix_len: u8,
    /// An address within that prefix: the peer's on a point-to-point address, else the same as `ip`.
    pub peer: IpAddr,
    /// How far it is valid.
    pub scope: Scope,
    /// IPv4: not the first of its prefix. IPv6: a temporary (privacy) address. Neither is chosen as a source.
    pub secondary: bool,
    /// Not to be chosen as a source for something new.
    pub deprecated: bool,
    /// Not usable: duplicate address detection still runs, or has failed.
    pub tentative: bool,
}

/// A destination prefix; bits after its length are zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Prefix {
    /// The network's address.
    pub ip: IpAddr,
    /// Its length, at most 32 or 128.
    pub len: u8,
}

impl Prefix {
    /// The network of `len` bits that holds `ip`; a longer `len` than the family has is cut.
    #[must_use]
    pub fn new(ip: IpAddr, len: u8) -> Self {
        match ip {
            IpAddr::V4(v4) => {
                let len = len.min(32);
                let mask = u32::MAX.checked_shl(32 - u32::from(len)).unwrap_or(0);
                Self {
                    ip: IpAddr::V4((v4.to_bits() & mask).into()),
                    len,
                }
            }
            IpAddr::V6(v6) => {
                let len = len.min(128);
                let mask = u128::MAX.checked_shl(128 - u32::from(len)).unwrap_or(0);
                Self {
                    ip: IpAddr::V6((v6.to_bits() & mask).into()),
                    len,
                }
            }
        }
    }

    /// Whether `ip` is in it.
    #[must_use]
    pub fn contains(&self, ip: IpAddr) -> bool {
        Family::of(ip) == Family::of(self.ip) && Self::new(ip, self.len) == *self
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.ip, self.len)
    }
}

/// The two routing tables that count without policy rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Table {
    /// 255, looked up first: the host's own addresses, broadcast, multicast.
    Local,
    /// 254: everything else.
    Main,
}

/// What a route says to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RouteKind {
    /// Send it.
    Unicast,
    /// It is for this host (anycast included).
    Local,
    /// A broadcast address.
    Broadcast,
    /// A multicast group.
    Multicast,
    /// Drop silently.
    Blackhole,
    /// Refuse with "unreachable".
    Unreachable,
    /// Refuse with "prohibited".
    Prohibit,
    /// Look in the next table.
    Throw,
}

/// A way out of a route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hop {
    /// Interface index.
    pub ifindex: u32,
    /// The router, which may be an IPv6 one for an IPv4 route (RFC 5549); none if the destination is on the link.
    pub gateway: Option<IpAddr>,
    /// Share of a multipath route, 1–256.
    pub weight: u16,
    /// Whether packets get an encapsulation (`RTA_ENCAP`) that the fast path cannot add.
    pub encap: bool,
}

/// A route of the local or main table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// Which table.
    pub table: Table,
    /// Where to.
    pub destination: Prefix,
    /// Only for this type of service, if not 0 (IPv4); such routes are not followed.
    pub tos: u8,
    /// The smaller one wins.
    pub metric: u32,
    /// What to do.
    pub kind: RouteKind,
    /// How far the next hop is.
    pub scope: Scope,
    /// Source address for what this host sends.
    pub prefsrc: Option<IpAddr>,
    /// The route's own MTU, bytes.
    pub mtu: Option<u32>,
    /// Ways out: one, or several of a multipath route; empty for those that send nothing, or if `nexthop` says more.
    pub hops: Vec<Hop>,
    /// The nexthop object that the route names without the kernel spelling it out.
    pub nexthop: Option<u32>,
}

impl Route {
    /// Whether `other` has the key under which the kernel replaces a route.
    #[must_use]
    pub fn same_key(&self, other: &Self) -> bool {
        self.table == other.table
            && self.destination == other.destination
            && self.tos == other.tos
            && self.metric == other.metric
    }
}

/// A neighbour's state: the kernel's NUD states (`net/neighbour.h`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NeighbourState {
    /// Nothing known.
    None,
    /// Asked, no answer yet.
    Incomplete,
    /// Confirmed a short while ago.
    Reachable,
    /// Was right once; to be confirmed at its next use.
    Stale,
    /// Used while stale, about to be probed.
    Delay,
    /// Being asked whether it is still there.
    Probe,
    /// Did not answer.
    Failed,
    /// Set by hand, or needs no resolution.
    Permanent,
}

impl NeighbourState {
    /// `NUD_VALID`: the address that goes with it may be used.
    #[must_use]
    pub fn is_valid(self) -> bool {
        matches!(
            self,
            Self::Reachable | Self::Stale | Self::Delay | Self::Probe | Self::Permanent
        )
    }
}

/// What is known of a neighbour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Neighbour {
    /// How sure it is.
    pub state: NeighbourState,
    /// Its Ethernet address, the last one known.
    pub mac: Option<Mac>,
}

impl Neighbour {
    /// The address, while it may be used.
    #[must_use]
    pub fn usable(&self) -> Option<Mac> {
        self.mac.filter(|_| self.state.is_valid())
    }
}

/// A policy routing rule other than the kernel's own three.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Rule {
    /// Which family's look-ups it is for.
    pub family: Family,
    /// Rules are tried from the lowest up.
    pub priority: u32,
    /// The table that it names, 0 if none.
    pub table: u32,
}

/// One change of the network, or one entry of a dump.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A link appeared or changed.
    Link(Link),
    /// A link is gone, by index.
    LinkGone(u32),
    /// An address appeared or changed.
    Address(u32, Address),
    /// An address is gone from this interface.
    AddressGone(u32, Address),
    /// A route appeared; with `replace` it takes the place of one with the same key.
    Route {
        /// The route.
        route: Route,
        /// Whether `NLM_F_REPLACE` was set.
        replace: bool,
    },
    /// A route is gone.
    RouteGone(Route),
    /// A neighbour on this interface appeared or changed.
    Neighbour(u32, IpAddr, Neighbour),
    /// A neighbour was forgotten.
    NeighbourGone(u32, IpAddr),
    /// A policy rule appeared.
    Rule(Rule),
    /// A policy rule is gone.
    RuleGone(Rule),
}
