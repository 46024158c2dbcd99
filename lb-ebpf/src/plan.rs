//! What the steps agree on: a packet as they see it, and what is to be done with it.

use core::ops::Deref;

use lb_common::{
    counter::Reason,
    flow::{FlowKey, Hop},
};

/// IP protocol numbers (IANA).
pub mod proto {
    /// ICMP.
    pub const ICMP: u8 = 1;
    /// IPv4 in IP.
    pub const IPV4: u8 = 4;
    /// TCP.
    pub const TCP: u8 = 6;
    /// UDP.
    pub const UDP: u8 = 17;
    /// IPv6 in IP.
    pub const IPV6: u8 = 41;
    /// ICMPv6.
    pub const ICMPV6: u8 = 58;
}

/// The part of a datagram that a packet is.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Part {
    /// All of it.
    Whole,
    /// The first fragment: it has the ports.
    First,
    /// A later one: the ports are those of the first, remembered.
    Later,
}

/// What the headers of a packet that might be a flow's say.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Facts<A> {
    /// The tuple.
    pub key: FlowKey<A>,
    /// Interface it came in by.
    pub ifindex: u32,
    /// Its VLAN tags, as in [`Hop::tags`].
    pub tags: [u32; 2],
    /// Length of the IP packet, bytes.
    pub len: u32,
    /// Bytes of payload.
    pub payload: u32,
    /// TCP flags, 0 for UDP.
    pub flags: u8,
    /// Time to live, or hop limit.
    pub ttl: u8,
    /// Whether routers must not fragment it: always so for IPv6.
    pub whole: bool,
    /// Which part of a datagram it is.
    pub part: Part,
}

/// Where a packet's headers lie.
#[derive(Clone, Copy)]
pub struct Place {
    /// Address of the Ethernet header.
    pub eth: usize,
    /// Address of the IP header.
    pub ip: usize,
    /// Address of the TCP or UDP header.
    pub l4: usize,
    /// Address after the last byte that can be looked at.
    pub end: usize,
}

/// What parse has found.
pub struct Parsed<A> {
    /// Where.
    pub place: Place,
    /// What.
    pub facts: Facts<A>,
}

impl<A> Parsed<A> {
    /// As the steps see it.
    #[inline(always)]
    pub fn packet(&self) -> Packet<'_, A> {
        Packet {
            place: self.place,
            facts: &self.facts,
        }
    }
}

/// A packet as the steps see it. Bounds were checked up to the end of the IP header; for what lies behind it there is
/// [`Packet::header`].
pub struct Packet<'a, A> {
    place: Place,
    facts: &'a Facts<A>,
}

impl<A> Deref for Packet<'_, A> {
    type Target = Facts<A>;

    #[inline(always)]
    fn deref(&self) -> &Facts<A> {
        self.facts
    }
}

impl<'a, A> Packet<'a, A> {
    /// One whose bounds its maker has checked.
    #[inline(always)]
    pub fn new(place: Place, facts: &'a Facts<A>) -> Self {
        Self { place, facts }
    }

    /// Address of the Ethernet header.
    #[inline(always)]
    pub fn eth(&self) -> usize {
        self.place.eth
    }

    /// Address of the IP header.
    #[inline(always)]
    pub fn ip(&self) -> usize {
        self.place.ip
    }

    /// Address of the TCP, UDP or ICMP header.
    #[inline(always)]
    pub fn l4(&self) -> usize {
        self.place.l4
    }

    /// Whether it is TCP.
    #[inline(always)]
    pub fn is_tcp(&self) -> bool {
        self.key.proto == proto::TCP as u32
    }

    /// Address of the TCP or UDP header, of which `len` bytes are there: not those of a later fragment. Bounds once
    /// more, since the verifier does not remember what parse knew when it looked.
    #[inline(always)]
    pub fn header(&self, len: usize) -> Option<usize> {
        (self.part != Part::Later && self.place.l4 + len <= self.place.end).then_some(self.place.l4)
    }
}

/// The kernel does not send the packet on as a flow's, or not by the quick way.
///
/// One number, as global functions return it, rather than an enum: where only some variants have a payload the compiler
/// leaves registers unwritten that it copies all the same, which the verifier refuses. As wide as a pointer, which may
/// stand in its place: half of one must not be stored.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Stop(u64);

/// What a [`Stop`] says.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The host's stack gets the packet.
    Up,
    /// Nobody does.
    Drop,
    /// Everything is done: there is a verdict.
    Done,
    /// Another way through the program.
    Elsewhere,
}

impl Stop {
    const UP: u64 = 0x100;
    const DROP: u64 = 0x200;
    const DONE: u64 = 0x300;
    const TOO_BIG: u64 = 0x10_0000;

    /// It takes more than the quick way has: options, fragments, tags, a change of state.
    pub const SLOW: Stop = Stop(0x400);
    /// It is of no established flow.
    pub const NO_FLOW: Stop = Stop(0x403);
    /// Its flow has been established since it was looked for: look again.
    pub const AGAIN: Stop = Stop(0x404);
    /// ICMP.
    pub const ICMP: Stop = Stop(0x401);
    /// Its flow is being reset.
    pub const RESET: Stop = Stop(0x402);

    /// The host's stack gets it.
    #[inline(always)]
    pub const fn up(reason: Reason) -> Stop {
        Stop(Self::UP + reason as u64)
    }

    /// Nobody does.
    #[inline(always)]
    pub const fn drop(reason: Reason) -> Stop {
        Stop(Self::DROP + reason as u64)
    }

    /// Everything is done, and this is the verdict.
    #[inline(always)]
    pub const fn done(verdict: u32) -> Stop {
        // TC's "unspecified" is -1.
        Stop(Self::DONE + (verdict & 0xff) as u64)
    }

    /// Too big for its way out: what fits, bytes.
    #[inline(always)]
    pub const fn too_big(mtu: u32) -> Stop {
        Stop(Self::TOO_BIG + (mtu & 0xffff) as u64)
    }

    /// As a number, 0x100 at least: a global function that has nothing to stop for says less.
    #[inline(always)]
    pub const fn code(self) -> u32 {
        self.0 as u32
    }

    /// The inverse of [`Stop::code`].
    #[inline(always)]
    pub const fn from_code(code: u32) -> Stop {
        Stop(code as u64)
    }

    /// What it says.
    #[inline(always)]
    pub const fn kind(self) -> Kind {
        if self.0 < Self::DROP {
            Kind::Up
        } else if self.0 < Self::DONE {
            Kind::Drop
        } else if self.0 < Self::SLOW.0 {
            Kind::Done
        } else {
            Kind::Elsewhere
        }
    }

    /// The counter of a packet that goes up or is dropped.
    #[inline(always)]
    pub const fn reason(self) -> u32 {
        (self.0 & 0xff) as u32
    }

    /// The verdict of one that is done.
    #[inline(always)]
    pub const fn verdict(self) -> u32 {
        self.0 as u8 as i8 as i32 as u32
    }

    /// What fits, if that is what it says.
    #[inline(always)]
    pub const fn fits(self) -> Option<u32> {
        if self.0 >= Self::TOO_BIG {
            Some((self.0 & 0xffff) as u32)
        } else {
            None
        }
    }
}

const _: () = assert!(Reason::COUNT <= 0x100);

/// How a packet leaves.
pub struct Plan<A> {
    /// Addresses and ports to write, if any: source, destination, source port, destination port.
    pub translate: Option<(A, A, u16, u16)>,
    /// Destination MAC address: its first four bytes and its last two, as they lie in the frame.
    pub dst_mac: (u32, u16),
    /// The way out.
    pub hop: &'static Hop,
    /// Whether it gets an outer header.
    pub encapsulate: bool,
    /// Whether it goes towards a server.
    pub to_server: bool,
}
