//! Room for what does not fit the program's stack: a map value of each CPU's own. A run of the program is not preempted
//! by another on its CPU, so whatever is written here is there until the run ends; nothing is kept beyond it.

use lb_common::flow::{Closed, Flow, FlowKey, Half, Leg, V4, V6};

use crate::family::Family;

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
    /// The leg that a global function has found or made, for its caller.
    pub leg: Leg<A>,
}

const _: () = assert!(size_of::<Flow<V4>>() <= FLOW_WORDS * 8);

/// This CPU's.
#[inline(always)]
pub fn work<A: Family>() -> Option<&'static mut Work<A>> {
    // SAFETY: a live per-CPU map value, and each global function takes it once.
    A::work().map(|work| unsafe { &mut *work })
}
