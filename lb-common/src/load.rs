//! Active flows of servers, exact, and the choice of the least loaded.
//!
//! The servers of one backend share a block and its lock. Counts are raised under the lock and lowered with one atomic
//! add anywhere; raising is an atomic add too, since an unlocked lowering may fall between its read and its write.

use crate::{flow::bpf_spin_lock, layout};

/// Most servers in a block, and so in a `leastconn` backend: the verifier of 5.10 accepts a loop of 256.
pub const BLOCK: usize = 256;

/// One server's load.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Load {
    /// Flows of the kernel path that are opening or open.
    pub active: u32,
    /// [`reciprocal`] of the weight.
    pub recip: u32,
    /// Most connections; 0 is unbounded.
    pub max: u32,
    /// Connections of the userspace path, written by the agent; with [`Load::REFUSES`] set the server takes no new
    /// flows.
    pub external: u32,
}
layout!(Load, size = 16, fields = u32, u32, u32, u32);

impl Load {
    /// Bit of [`Load::external`]: no new flows. Shifted into the score rather than asked for, since a branch in each
    /// of 256 iterations is more than the verifier walks.
    pub const REFUSES: u32 = 1 << 31;
}

/// The loads of a backend's servers, by ordinal.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LoadBlock {
    /// Guards what raises `active`.
    pub lock: bpf_spin_lock,
    /// Rotates which of equally loaded servers is first.
    pub turn: u32,
    /// By ordinal.
    pub loads: [Load; BLOCK],
}
layout!(
    LoadBlock,
    size = 4104,
    fields = bpf_spin_lock,
    u32,
    [Load; BLOCK]
);

impl Default for LoadBlock {
    fn default() -> Self {
        LoadBlock {
            lock: bpf_spin_lock { val: 0 },
            turn: 0,
            loads: [Load::default(); BLOCK],
        }
    }
}

/// Score of a server that must not be chosen: above every real one.
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

/// Score of the server at `ordinal`: the smallest is chosen. `rotated` breaks ties and identifies it.
///
/// One packed word, so that the loop over a block has no branch (one with branches is refused by the verifier).
#[inline(always)]
pub const fn score(load: &Load, rotated: u8) -> u64 {
    let flows = load.active as u64 + (load.external & !Load::REFUSES) as u64 + 1;
    // Far above any real count, so that the product stays below NEVER.
    let flows = flows & 0x7f_ffff;
    let never = ((load.external >> 31) as u64) << NEVER.trailing_zeros();
    ((flows * load.recip as u64) | never) << 8 | rotated as u64
}

/// Whether a score means that no server may be chosen.
#[inline(always)]
pub const fn is_never(score: u64) -> bool {
    score >= NEVER << 8
}

#[cfg(test)]
mod tests {
    use super::*;

    fn least(loads: &[Load], turn: u8) -> Option<usize> {
        let best = (0..loads.len())
            .map(|i| score(&loads[i], (i as u8).wrapping_sub(turn)))
            .min()?;
        (!is_never(best)).then(|| (best as u8).wrapping_add(turn) as usize)
    }

    fn load(active: u32, weight: u16) -> Load {
        let external = if weight == 0 { Load::REFUSES } else { 0 };
        Load {
            active,
            recip: reciprocal(weight),
            external,
            ..Load::default()
        }
    }

    #[test]
    fn weights_are_honoured_exactly() {
        let weights = [1u16, 2, 3, 100, 256];
        let mut loads: std::vec::Vec<Load> = weights.iter().map(|w| load(0, *w)).collect();
        for step in 0..36_200u32 {
            let chosen = least(&loads, step as u8).expect("all may be chosen");
            for (i, l) in loads.iter().enumerate() {
                let (a, b) = (u64::from(loads[chosen].active) + 1, u64::from(l.active) + 1);
                assert!(
                    a * u64::from(weights[i]) <= b * u64::from(weights[chosen]),
                    "step {step}: {chosen} over {i}"
                );
            }
            loads[chosen].active += 1;
        }
        let active: std::vec::Vec<u32> = loads.iter().map(|l| l.active).collect();
        assert_eq!(active, [100, 200, 300, 10_000, 25_600]);
    }

    #[test]
    fn ties_are_taken_in_turn() {
        let loads = [load(0, 1); 3];
        assert_eq!(
            (0..3)
                .map(|t| least(&loads, t).unwrap())
                .collect::<std::vec::Vec<_>>(),
            [0, 1, 2]
        );
    }

    #[test]
    fn weight_zero_is_never_chosen() {
        assert_eq!(least(&[load(0, 0)], 0), None);
        assert_eq!(least(&[load(0, 0), load(70_000, 1)], 0), Some(1));
    }
    extern crate std;
}
