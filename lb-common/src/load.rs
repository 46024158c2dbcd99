//! Active flows of servers, exact, and the choice of the least loaded.
//!
//! The servers of one backend share a block, by ordinal. The kernel alone writes [`ActiveBlock`]: counts are raised
//! under the block's lock and lowered with one atomic add anywhere; raising is an atomic add too, since an unlocked
//! lowering may fall between its read and its write. The agent alone writes [`WeightBlock`].

use crate::{flow::bpf_spin_lock, layout};

/// Servers in a block, and so the most that a `leastconn` backend has: the verifier of 5.10 accepts a loop of 256.
pub const BLOCK: usize = 256;

/// Active flows by ordinal: flows of the kernel path that are opening or open.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ActiveBlock {
    /// Guards what raises a count.
    pub lock: bpf_spin_lock,
    /// Rotates which of equally loaded servers is first.
    pub turn: u32,
    /// By ordinal.
    pub active: [u32; BLOCK],
}
layout!(
    ActiveBlock,
    size = 1032,
    fields = bpf_spin_lock,
    u32,
    [u32; BLOCK]
);

impl Default for ActiveBlock {
    fn default() -> Self {
        ActiveBlock {
            lock: bpf_spin_lock { val: 0 },
            turn: 0,
            active: [0; BLOCK],
        }
    }
}

/// What the agent says of one server.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Weight {
    /// [`reciprocal`] of the weight.
    pub recip: u32,
    /// Most connections, [`Weight::UNBOUNDED`] for no limit.
    pub max: u32,
    /// Connections of the userspace path; with [`Weight::REFUSES`] set the server takes no new flows.
    pub external: u32,
    /// Spare, zero.
    pub spare: u32,
}
layout!(Weight, size = 16, fields = u32, u32, u32, u32);

impl Weight {
    /// No limit in [`Weight::max`]: above every count that [`score`] knows.
    pub const UNBOUNDED: u32 = u32::MAX;

    /// Bit of [`Weight::external`]: no new flows. Shifted into the score rather than asked for, since a branch in each
    /// of 256 iterations is more than the verifier walks.
    pub const REFUSES: u32 = 1 << 31;

    /// Whether the server takes any number of flows.
    #[inline(always)]
    pub const fn is_unbounded(&self) -> bool {
        self.max == Weight::UNBOUNDED && self.external & Weight::REFUSES == 0
    }

    /// Whether the server may take one more flow beside `active` ones of the kernel path.
    #[inline(always)]
    pub const fn has_room(&self, active: u32) -> bool {
        over(self, active) == 0
    }
}

/// What the agent says of a backend's servers, by ordinal.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WeightBlock(pub [Weight; BLOCK]);
layout!(WeightBlock, size = 4096, fields = [Weight; BLOCK]);

impl Default for WeightBlock {
    fn default() -> Self {
        WeightBlock([Weight::default(); BLOCK])
    }
}

/// Score bit of a server that must not be chosen: above every real score.
const NEVER: u64 = 1 << 54;

/// A score above every one that [`score`] gives, below 2⁶³.
pub const NOBODY: u64 = i64::MAX as u64;

/// 2³¹ / `weight`, rounded: multiplying by it replaces a division that the hot loop cannot afford. 0 for weight 0.
///
/// Two ratios (a+1)/w of weights up to 256 that differ, differ by at least 2⁻¹⁶; the rounding errs by less than half
/// of that up to 32,768 active flows, and by less than one flow above.
pub const fn reciprocal(weight: u16) -> u32 {
    if weight == 0 {
        return 0;
    }
    let w = weight as u64;
    (((1 << 31) + w / 2) / w) as u32
}

/// Flows that the server would have with one more.
#[inline(always)]
const fn with_one_more(weight: &Weight, active: u32) -> u64 {
    active as u64 + (weight.external & !Weight::REFUSES) as u64 + 1
}

/// 1 if one more flow is over the server's limit or the server refuses, else 0; without a branch.
#[inline(always)]
const fn over(weight: &Weight, active: u32) -> u64 {
    let full = (weight.max as u64).wrapping_sub(with_one_more(weight, active)) >> 63;
    full | (weight.external >> 31) as u64
}

/// Score of a server: the smallest is chosen. `rotated` breaks ties and identifies it.
///
/// One packed word, so that the loop over a block has no branch (one with branches is refused by the verifier).
#[inline(always)]
pub const fn score(weight: &Weight, active: u32, rotated: u8) -> u64 {
    // Far above any real count, so that the product stays below NEVER.
    let flows = with_one_more(weight, active) & 0x7f_ffff;
    let never = over(weight, active) << NEVER.trailing_zeros();
    ((flows * weight.recip as u64) | never) << 8 | rotated as u64
}

/// Whether a score means that no server may be chosen.
#[inline(always)]
pub const fn is_never(score: u64) -> bool {
    score >= NEVER << 8
}

#[cfg(test)]
mod tests {
    extern crate std;
    use std::vec::Vec;

    use super::*;

    fn least(servers: &[(Weight, u32)], turn: u8) -> Option<usize> {
        let scores = servers.iter().enumerate();
        let best = scores
            .map(|(i, (w, active))| score(w, *active, (i as u8).wrapping_sub(turn)))
            .min()?;
        (!is_never(best)).then(|| (best as u8).wrapping_add(turn) as usize)
    }

    fn server(active: u32, weight: u16) -> (Weight, u32) {
        let external = if weight == 0 { Weight::REFUSES } else { 0 };
        (
            Weight {
                recip: reciprocal(weight),
                max: Weight::UNBOUNDED,
                external,
                spare: 0,
            },
            active,
        )
    }

    #[test]
    fn weights_are_honoured_exactly() {
        let weights = [1u16, 2, 3, 100, 256];
        let mut servers: Vec<_> = weights.iter().map(|w| server(0, *w)).collect();
        for step in 0..36_200u32 {
            let chosen = least(&servers, step as u8).expect("all may be chosen");
            for (i, (_, active)) in servers.iter().enumerate() {
                let (a, b) = (u64::from(servers[chosen].1) + 1, u64::from(*active) + 1);
                assert!(
                    a * u64::from(weights[i]) <= b * u64::from(weights[chosen]),
                    "step {step}: {chosen} over {i}"
                );
            }
            servers[chosen].1 += 1;
        }
        let active: Vec<u32> = servers.iter().map(|s| s.1).collect();
        assert_eq!(active, [100, 200, 300, 10_000, 25_600]);
    }

    #[test]
    fn ties_are_taken_in_turn() {
        let servers = [server(0, 1); 3];
        assert_eq!(
            (0..3)
                .map(|t| least(&servers, t).unwrap())
                .collect::<Vec<_>>(),
            [0, 1, 2]
        );
    }

    #[test]
    fn weight_zero_is_never_chosen() {
        assert_eq!(least(&[server(0, 0)], 0), None);
        assert_eq!(least(&[server(0, 0), server(70_000, 1)], 0), Some(1));
    }

    #[test]
    fn a_full_server_is_not_chosen_and_userspace_counts() {
        let mut servers = [server(2, 1), server(5, 1)];
        servers[0].0.max = 3;
        assert_eq!(least(&servers, 0), Some(0));
        servers[0].0.external = 1;
        assert_eq!(
            least(&servers, 0),
            Some(1),
            "two kernel flows and one of userspace are three"
        );
        servers[1].0.max = 5;
        assert_eq!(least(&servers, 0), None);
        assert!(!servers[1].0.has_room(5) && servers[1].0.has_room(4));
    }
}
