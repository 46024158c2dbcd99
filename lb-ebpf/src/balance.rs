//! Step 6, balance: which server gets a new flow.
//!
//! Every algorithm but `leastconn` chooses a slot of a table that userspace has built. The chosen server's active flows
//! are raised here, never above its limit, and lowered when the flow closes.

use aya_ebpf::helpers::{bpf_get_prandom_u32, bpf_get_smp_processor_id};
use lb_common::{
    hash,
    load::{ActiveBlock, BLOCK, NOBODY, Weight, WeightBlock, is_never, score},
    service::{MEMBERS_PER_CHUNK, MemberChunk, SLOTS_PER_CHUNK, Service, SlotChunk, algorithm},
};

use crate::{family::Family, lock, maps, packet::opaque, plan::Packet};

/// Chooses a server for a new flow and counts the flow as active on it. Returns the lane that the flow is counted under;
/// `None` if no server takes new flows.
///
/// Where the server whose turn it is has no free slot, the next few are asked; a hash has only one.
#[inline(always)]
pub fn choose<A: Family>(packet: &Packet<'_, A>, service: &Service) -> Option<u32> {
    if service.algorithm == algorithm::LEAST_CONN {
        let ordinal = lb_claim_least(service.block, u32::from(service.block_len));
        if ordinal >= BLOCK as u32 {
            return None;
        }
        return member(service.members_base, ordinal);
    }
    let tries = match service.algorithm {
        algorithm::SOURCE | algorithm::MAGLEV => 1,
        _ => TRIES,
    };
    for i in 0..TRIES {
        if i >= tries {
            break;
        }
        let at = position(packet, service)?;
        let mut lane = member(service.members_base, slot(service, at)?)?;
        if service.algorithm == algorithm::RANDOM {
            let other = position(packet, service)?;
            let other = member(service.members_base, slot(service, other)?)?;
            lane = less_loaded(lane, other)?;
        }
        if lb_claim(maps::LANES.get(lane)?.server) != 0 {
            return Some(lane);
        }
    }
    None
}

/// Servers asked in turn for a free slot before the flow goes up, where it can wait for one.
const TRIES: u32 = 4;

/// The lane of two whose server has fewer active flows for its weight, the first of equals.
#[inline(always)]
fn less_loaded(a: u32, b: u32) -> Option<u32> {
    let score_of = |lane: u32| -> Option<u64> {
        let server = maps::LANES.get(lane)?.server;
        let block: *const ActiveBlock = maps::ACTIVE.get_ptr(server >> 8)?;
        let weights: *const WeightBlock = maps::WEIGHTS.get_ptr(server >> 8)?;
        let ordinal = (server & 0xff) as usize;
        // SAFETY: live map values, the ordinal below BLOCK; a count that changes meanwhile makes the choice no worse.
        unsafe {
            let weight = (&raw const (*weights).0).cast::<Weight>().add(ordinal);
            let active = (&raw const (*block).active).cast::<u32>().add(ordinal);
            Some(score(&*weight, *active, 0))
        }
    };
    Some(if score_of(b)? < score_of(a)? { b } else { a })
}

/// Adds to the active flows of a lane's server.
#[inline(always)]
pub fn lane_active(lane: u32, n: i32) {
    if let Some(lane) = maps::LANES.get(lane) {
        active(lane.server, n);
    }
}

/// Adds to the active flows of a server.
#[inline(always)]
fn active(server: u32, n: i32) {
    if let Some(block) = maps::ACTIVE.get_ptr_mut(server >> 8) {
        let block: *mut ActiveBlock = block;
        // SAFETY: the ordinal is below BLOCK, the block a live map value.
        unsafe { lock::add32(&raw mut (*block).active[(server & 0xff) as usize], n as u32) };
    }
}

/// Counts a flow on a server unless that would exceed the server's limit; 1 if it was counted, else 0.
///
/// A global function, as [`lb_claim_least`] is.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn lb_claim(server: u32) -> u32 {
    let (Some(block), Some(weights)) = (
        maps::ACTIVE.get_ptr_mut(server >> 8),
        maps::WEIGHTS.get_ptr(server >> 8),
    ) else {
        return 0;
    };
    let ordinal = (server & 0xff) as usize;
    let (block, weights): (*mut ActiveBlock, *const WeightBlock) = (block, weights);
    // SAFETY: live map values; all that runs under the lock is inlined and calls nothing.
    unsafe {
        let weight = (&raw const (*weights).0).cast::<Weight>().add(ordinal);
        if (*weight).is_unbounded() {
            // Nothing to exceed: no need to look and add as one.
            lock::add32(&raw mut (*block).active[ordinal], 1);
            return 1;
        }
        lock::with(&raw mut (*block).lock, || {
            let active = &raw mut (*block).active[ordinal];
            if !(*weight).has_room(*active) {
                return 0;
            }
            lock::add32(active, 1);
            1
        })
    }
}

/// Which slot a packet gets.
#[inline(always)]
fn position<A: Family>(packet: &Packet<'_, A>, service: &Service) -> Option<u32> {
    let len = service.slots_len;
    if len == 0 {
        return None;
    }
    Some(match service.algorithm {
        algorithm::SOURCE => hash::reduce(packet.key.src.source_hash(), len),
        algorithm::MAGLEV => hash::reduce(packet.key.src.endpoint_hash(packet.key.sport), len),
        // SAFETY: the helper has no preconditions.
        algorithm::RANDOM => hash::reduce(unsafe { bpf_get_prandom_u32() }, len),
        _ => turn(service.id, len)?,
    })
}

/// What stands in a slot: the ordinal of a server.
#[inline(always)]
fn slot(service: &Service, slot: u32) -> Option<u32> {
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

/// Chooses the least loaded of the first `len` servers of a block for its weight, equals in turn, and counts the flow,
/// under one lock; [`BLOCK`] if none takes new flows.
///
/// A global function: the verifier walks its loop once, whoever calls it (kernels since 5.6). Without a branch in the
/// loop but its end.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn lb_claim_least(block: u32, len: u32) -> u32 {
    let (Some(weights), Some(block)) = (
        maps::WEIGHTS.get_ptr(block),
        maps::ACTIVE.get_ptr_mut(block),
    ) else {
        return BLOCK as u32;
    };
    let (block, weights): (*mut ActiveBlock, *const WeightBlock) = (block, weights);
    // SAFETY: live map values; all that runs under the lock is inlined and calls nothing.
    unsafe {
        lock::with(&raw mut (*block).lock, || {
            let turn = (*block).turn;
            (*block).turn = if turn + 1 >= len { 0 } else { turn + 1 };
            let weights = (&raw const (*weights).0).cast::<Weight>();
            let active = (&raw const (*block).active).cast::<u32>();
            let mut best = NOBODY;
            for i in 0..BLOCK as u32 {
                if i >= len {
                    break;
                }
                let at = i as usize;
                best = least(
                    score(
                        &*weights.add(at),
                        *active.add(at),
                        i.wrapping_sub(turn) as u8,
                    ),
                    best,
                );
            }
            let ordinal = (best as u32).wrapping_add(turn) & (BLOCK as u32 - 1);
            if is_never(best) {
                return BLOCK as u32;
            }
            lock::add32(&raw mut (*block).active[ordinal as usize], 1);
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
