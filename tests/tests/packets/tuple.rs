//! Tuples and entries of flows, whichever family they are of.

use std::net::{IpAddr, SocketAddr};

use aya::Pod;
use lb_common::flow::{FlowKey, Leg, V4, V6, flags};

use crate::frame::End;
use crate::world::words;

/// A tuple as it arrives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Tuple {
    pub(crate) src: SocketAddr,
    pub(crate) dst: SocketAddr,
    pub(crate) proto: u8,
}

impl Tuple {
    pub(crate) fn new(from: End, to: End, proto: u8) -> Tuple {
        Tuple {
            src: (from.address, from.port).into(),
            dst: (to.address, to.port).into(),
            proto,
        }
    }

    pub(crate) fn reversed(self) -> Tuple {
        Tuple {
            src: self.dst,
            dst: self.src,
            ..self
        }
    }
}

/// A leg and where it stands, whichever family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) key: Tuple,
    /// What its packets become.
    pub(crate) to: Tuple,
    pub(crate) state: u8,
    pub(crate) flags: u8,
    pub(crate) hop: u16,
    pub(crate) lane: u32,
    pub(crate) packets: u32,
    pub(crate) bytes: u64,
    /// When a packet last came, ticks; or when a half-open one was entered, milliseconds.
    pub(crate) last: u32,
}

impl Entry {
    pub(crate) fn is_reverse(&self) -> bool {
        self.flags & flags::REVERSE != 0
    }

    pub(crate) fn is_translated(&self) -> bool {
        self.flags & flags::TRANSLATE != 0
    }
}

/// Addresses of one family as they stand in the maps.
pub(crate) trait Address: Copy + Default + Pod {
    fn ip(self) -> IpAddr;
    fn of(address: IpAddr) -> Self;
}

impl Address for V4 {
    fn ip(self) -> IpAddr {
        IpAddr::from(self.to_ne_bytes())
    }

    fn of(address: IpAddr) -> V4 {
        words(address)[0]
    }
}

impl Address for V6 {
    fn ip(self) -> IpAddr {
        let mut octets = [0; 16];
        for (part, word) in octets.chunks_mut(4).zip(self) {
            part.copy_from_slice(&word.to_ne_bytes());
        }
        IpAddr::from(octets)
    }

    fn of(address: IpAddr) -> V6 {
        words(address)
    }
}

/// Runs an expression with `A` standing for the addresses of a family.
macro_rules! by_family {
    ($family:expr, $A:ident => $what:expr) => {
        match $family {
            Family::V4 => {
                type $A = V4;
                $what
            }
            Family::V6 => {
                type $A = V6;
                $what
            }
        }
    };
}

pub(crate) use by_family;

pub(crate) fn tuple<A: Address>(key: &FlowKey<A>) -> Tuple {
    Tuple {
        src: (key.src.ip(), u16::from_be(key.sport)).into(),
        dst: (key.dst.ip(), u16::from_be(key.dport)).into(),
        proto: key.proto as u8,
    }
}

pub(crate) fn flow_key<A: Address>(tuple: Tuple) -> FlowKey<A> {
    FlowKey {
        src: A::of(tuple.src.ip()),
        dst: A::of(tuple.dst.ip()),
        sport: tuple.src.port().to_be(),
        dport: tuple.dst.port().to_be(),
        proto: tuple.proto.into(),
    }
}

pub(crate) fn entry<A: Address>(
    key: &FlowKey<A>,
    leg: &Leg<A>,
    packets: u32,
    bytes: u64,
    last: u32,
) -> Entry {
    Entry {
        key: tuple(key),
        to: tuple(&FlowKey {
            src: leg.src,
            dst: leg.dst,
            sport: leg.sport,
            dport: leg.dport,
            proto: key.proto,
        }),
        state: leg.state,
        flags: leg.flags,
        hop: leg.hop,
        lane: leg.lane,
        packets,
        bytes,
        last,
    }
}
