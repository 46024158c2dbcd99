//! Room for what does not fit the program's stack: a map value of each CPU's own. A run of the program is not preempted
//! by another on its CPU, so whatever is written here is there until the run ends; nothing is kept beyond it. The reaper's
//! runs are, on older kernels, and have a room of their own.

use lb_common::{
    counter::Reason,
    flow::{Closed, Flow, FlowKey, Half, Leg, V4, V6},
    tcp::flag,
};

use crate::{
    family::Family,
    packet::{Hook, at, distance, opaque},
    plan::{Facts, Packet, Parsed, Place, Stop},
};

/// Largest [`Flow`], in words of eight bytes.
const FLOW_WORDS: usize = size_of::<Flow<V6>>() / 8;

/// The room.
#[repr(C, align(8))]
pub struct Work<A> {
    /// The packet's own place among half-open flows, or the forward one that is being made.
    pub mine: Half<A>,
    /// That of the opposite direction.
    pub other: Half<A>,
    /// A tuple that is looked up.
    pub key: FlowKey<A>,
    /// A flow that has closed.
    pub closed: Closed<A>,
    /// A flow to be inserted. As bytes: a lock must not be seen in this map.
    pub flow: [u64; FLOW_WORDS],
    /// The packet, as it was parsed: it lives as long as the run, wherever else its bytes move.
    pub noted: Noted<A>,
    /// The leg that a global function has found or made, for its caller.
    pub leg: Leg<A>,
}

/// A parsed packet without pointers, which must not be kept in a map.
#[repr(C)]
pub struct Noted<A> {
    /// What it says.
    facts: Facts<A>,
    /// How far its IP header, and that behind it, are behind the Ethernet header, bytes.
    ip: u32,
    l4: u32,
}

impl<A: Family> Noted<A> {
    /// Notes a packet for the functions after the one that has parsed it.
    #[inline(always)]
    pub fn note(&mut self, parsed: &Parsed<A>) {
        self.facts = parsed.facts;
        self.ip = distance(parsed.place.eth, parsed.place.ip);
        self.l4 = distance(parsed.place.eth, parsed.place.l4);
    }

    /// Whether the packet changes nothing of an established flow, and its payload.
    #[inline(always)]
    pub fn counts(&self) -> (bool, u32) {
        let facts = &self.facts;
        (facts.flags & flag::CONTROL == 0, facts.payload)
    }

    /// The packet, found anew in the hook's bytes: what is a number in a map is one of which the verifier knows nothing,
    /// so that each function is walked once, whatever parse has met.
    #[inline(always)]
    pub fn packet(&self, hook: &impl Hook) -> Result<Packet<'_, A>, Stop> {
        let (eth, end) = (hook.data(), hook.data_end());
        let ip = eth + (opaque(self.ip as usize) & 0x1f);
        // Never: parse has looked.
        if eth + at::ETHERNET + at::IPV4 > end || ip + A::HEADER > end {
            return Err(Stop::up(Reason::Malformed));
        }
        let place = Place {
            eth,
            ip,
            l4: eth + (opaque(self.l4 as usize) & 0xfff),
            end,
        };
        Ok(Packet::new(place, &self.facts))
    }
}

const _: () = assert!(size_of::<Flow<V4>>() <= FLOW_WORDS * 8);

/// Whose room it is.
pub mod room {
    /// A packet's.
    pub const PACKET: u32 = 0;
    /// An order's to the reaper. Up to Linux 6.2 a test run lets packets come in between on its CPU, most likely just
    /// when it leaves a lock.
    pub const ORDER: u32 = 1;
}

/// This CPU's for a packet.
#[inline(always)]
pub fn work<A: Family>() -> Option<&'static mut Work<A>> {
    work_of(room::PACKET)
}

/// This CPU's, one of [`room`].
#[inline(always)]
pub fn work_of<A: Family>(room: u32) -> Option<&'static mut Work<A>> {
    // SAFETY: a live map value of this CPU's own, which no other run touches; within one, a step takes it, and what is
    // noted of the packet is not written while a packet is held.
    A::work(room).map(|work| unsafe { &mut *work })
}
