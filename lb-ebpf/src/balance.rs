//! Step 6, balance: which server gets a new flow.
//!
//! Every algorithm but `leastconn` chooses a slot of a table that userspace has built. The chosen server's active flows
//! are raised here and lowered when the flow closes.

use aya_ebpf::helpers::bpf_get_smp_processor_id;
use lb_common::{
    hash,
    load::{BLOCK, Load, LoadBlock, NOBODY, is_never, score},
    service::{
        MEMBERS_PER_CHUNK, MemberChunk, SLOTS_PER_CHUNK, Server, Service, SlotChunk, algorithm,
    },
};

use crate::{family::Family, lock, maps, packet::opaque, plan::Packet};

/// A chosen server.
pub struct Choice {
    /// The lane that the flow is counted under.
    pub lane: u32,
    /// The server.
    pub server: &'static Server,
}

/// Chooses a server for a new flow and counts the flow as active on it; `None` if no server takes new flows.
#[inline(always)]
pub fn choose<A: Family>(packet: &Packet<A>, service: &Service) -> Option<Choice> {
    let (ordinal, counted) = if service.algorithm == algorithm::LEAST_CONN {
        (least_conn(service)?, true)
    } else {
        (slot(packet, service)?, false)
    };
    let lane = member(service.members_base, ordinal)?;
    let server = maps::SERVERS.get(maps::LANES.get(lane)?.server)?;
    if !counted {
        active(server.load, 1);
    }
    Some(Choice { lane, server })
}

/// Adds to the active flows of the server whose load is at `load`.
#[inline(always)]
pub fn active(load: u32, n: i32) {
    if let Some(word) = active_word(load) {
        // SAFETY: a live map value, aligned.
        unsafe { lock::add32(word, n as u32) };
    }
}

/// Where the active flows of the server whose load is at `load` are counted.
#[inline(always)]
pub fn active_word(load: u32) -> Option<*mut u32> {
    let block = maps::LOADS.get_ptr_mut(load >> 8)?;
    // SAFETY: the ordinal is below BLOCK, the block a live map value.
    Some(unsafe { &raw mut (*block).loads[(load & 0xff) as usize].active })
}

#[inline(always)]
fn slot<A: Family>(packet: &Packet<A>, service: &Service) -> Option<u32> {
    let len = service.slots_len;
    if len == 0 {
        return None;
    }
    let slot = match service.algorithm {
        algorithm::SOURCE => hash::reduce(packet.key.src.source_hash(), len),
        _ => turn(service.id, len)?,
    };
    let chunk: *const SlotChunk =
        maps::SLOTS.get_ptr(service.slots_base + slot / SLOTS_PER_CHUNK)?;
    // SAFETY: the index is below the chunk's length, the chunk a live map value.
    Some(u32::from(unsafe {
        (*chunk).0[(slot % SLOTS_PER_CHUNK) as usize]
    }))
}

/// The next slot in turn. CPUs start apart, so that together they do not crowd onto the first servers.
#[inline(always)]
fn turn(id: u32, len: u32) -> Option<u32> {
    /// 2³²/φ: successive multiples spread evenly (Knuth, TAOCP 3 §6.4).
    const STAGGER: u32 = 0x9e37_79b1;
    let turn = maps::TURNS.get_ptr_mut(id)?;
    // SAFETY: a live per-CPU map value.
    let count = unsafe {
        let count = *turn;
        // Wraps at a multiple of the length, not of 2³², or the last cycle would be cut short.
        *turn = if count + 1 >= len { 0 } else { count + 1 };
        count
    };
    // SAFETY: the helper has no preconditions.
    let cpu = unsafe { bpf_get_smp_processor_id() } as u32;
    Some((hash::reduce(cpu.wrapping_mul(STAGGER), len) + count) % len)
}

#[inline(always)]
fn member(base: u32, ordinal: u32) -> Option<u32> {
    let chunk: *const MemberChunk = maps::MEMBERS.get_ptr(base + ordinal / MEMBERS_PER_CHUNK)?;
    // SAFETY: the index is below the chunk's length, the chunk a live map value.
    Some(unsafe { (*chunk).0[(ordinal % MEMBERS_PER_CHUNK) as usize] })
}

/// The least loaded server for its weight, equals in turn; already counted as active, under one lock with the choice.
#[inline(always)]
fn least_conn(service: &Service) -> Option<u32> {
    let ordinal = lb_claim_least(service.block, u32::from(service.block_len));
    (ordinal < BLOCK as u32).then_some(ordinal)
}

/// Chooses among the first `len` servers of a block and counts the flow; [`BLOCK`] if none takes new flows.
///
/// A global function: the verifier walks its loop once, whoever calls it (kernels since 5.6). Without a branch in the
/// loop but its end.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn lb_claim_least(block: u32, len: u32) -> u32 {
    let Some(block): Option<*mut LoadBlock> = maps::LOADS.get_ptr_mut(block) else {
        return BLOCK as u32;
    };
    // SAFETY: a live map value; all that runs under the lock is inlined and calls nothing.
    unsafe {
        lock::with(&raw mut (*block).lock, || {
            let turn = (*block).turn;
            (*block).turn = if turn + 1 >= len { 0 } else { turn + 1 };
            let loads = (&raw const (*block).loads).cast::<Load>();
            let mut best = NOBODY;
            for i in 0..BLOCK as u32 {
                if i >= len {
                    break;
                }
                best = least(
                    score(&*loads.add(i as usize), i.wrapping_sub(turn) as u8),
                    best,
                );
            }
            let ordinal = (best as u32).wrapping_add(turn) & (BLOCK as u32 - 1);
            if is_never(best) {
                return BLOCK as u32;
            }
            lock::add32(&raw mut (*block).loads[ordinal as usize].active, 1);
            ordinal
        })
    }
}

/// The smaller of two numbers below 2⁶³, without a branch: the sign of their difference selects.
#[inline(always)]
fn least(a: u64, b: u64) -> u64 {
    let difference = a.wrapping_sub(b);
    let mask = opaque((difference as i64 >> 63) as usize) as u64;
    b.wrapping_add(difference & mask)
}
