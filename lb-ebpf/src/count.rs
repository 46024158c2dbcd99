//! Counters. Per CPU, so that a plain add is exact: a program is not preempted by another on its CPU.

use lb_common::counter::Reason;

use crate::{lock, maps};

/// Counts a packet or an event under `reason`.
#[inline(always)]
pub fn reason(reason: Reason) {
    if let Some(count) = maps::REASONS.get_ptr_mut(reason as u32) {
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

/// Counts an opened flow under its lane.
#[inline(always)]
pub fn opened(lane: u32) {
    if let Some(count) = maps::LANE_COUNTS.get_ptr_mut(lane) {
        // SAFETY: a live per-CPU map value.
        unsafe { (*count).flows += 1 };
    }
    reason(Reason::FlowOpened);
    flows(1);
}

/// Adds to the number of flows.
#[inline(always)]
pub fn flows(n: u64) {
    if let Some(count) = maps::FLOW_COUNT.get_ptr_mut(0) {
        // SAFETY: a live map value.
        unsafe { lock::add64(count, n) };
    }
}
