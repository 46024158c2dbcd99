//! Counters. Per CPU, so that a plain add is exact: a packet is not preempted by another on its CPU. (An order to the
//! reaper is, up to Linux 6.2, which may cost a count of packets in a very long while.)

use lb_common::counter::Reason;

use crate::{family::Family, lock, maps};

/// Counts a packet or an event under `reason`.
#[inline(always)]
pub fn reason(reason: Reason) {
    index(reason as u32);
}

/// Likewise, given its number.
#[inline(always)]
pub fn index(reason: u32) {
    if let Some(count) = maps::REASONS.get_ptr_mut(reason) {
        // SAFETY: a live per-CPU map value.
        unsafe { *count += 1 };
    }
}

/// Counts a packet of `bytes` under a lane, by direction.
#[inline(always)]
pub fn lane(lane: u32, to_server: bool, bytes: u32) {
    if let Some(count) = maps::LANE_COUNTS.get_ptr_mut(lane) {
        // SAFETY: a live per-CPU map value.
        let count = unsafe { &mut *count };
        if to_server {
            count.packets_in += 1;
            count.bytes_in += u64::from(bytes);
        } else {
            count.packets_out += 1;
            count.bytes_out += u64::from(bytes);
        }
    }
}

/// Counts a connection under its lane: TCP once it is established, a flow without handshake when it opens.
#[inline(always)]
pub fn connection(lane: u32) {
    if let Some(count) = maps::LANE_COUNTS.get_ptr_mut(lane) {
        // SAFETY: a live per-CPU map value.
        unsafe { (*count).flows += 1 };
    }
}

/// Adds to the number of established flows.
#[inline(always)]
pub fn flows<A: Family>(n: u64) {
    if let Some(count) = maps::FLOW_COUNT.get_ptr_mut(A::COUNT) {
        // SAFETY: a live map value.
        unsafe { lock::add64(count, n) };
    }
}

/// The number of established flows.
#[inline(always)]
pub fn all_flows<A: Family>() -> u64 {
    // SAFETY: a live map value.
    maps::FLOW_COUNT
        .get_ptr(A::COUNT)
        .map_or(u64::MAX, |count| unsafe { *count })
}
