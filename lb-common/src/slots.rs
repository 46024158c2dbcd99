//! Slot tables: which server each slot of a balancing table names. Built by userspace, read by both paths.

use alloc::{vec, vec::Vec};

/// Longest table that [`interleave`] makes. Weights whose reduced sum is larger are scaled down to it.
pub const MAX_SLOTS: usize = 65_536;

/// Smooth weighted interleave: over one cycle each ordinal appears exactly its weight's share of times, spread as
/// evenly as the weights allow rather than in runs.
///
/// The spread: at each slot the ordinal that is furthest behind its due is chosen, ties by ordinal. Ordinals of weight
/// 0 do not appear; the table is empty if all are 0. The length is the sum of the weights over their greatest common
/// divisor.
pub fn interleave(weights: &[u16]) -> Vec<u16> {
    let reduced = reduced(weights);
    let total: i64 = reduced.iter().map(|w| i64::from(*w)).sum();
    let mut due = vec![0i64; reduced.len()];
    (0..total)
        .map(|_| {
            let mut chosen = 0;
            for (i, weight) in reduced.iter().enumerate() {
                due[i] += i64::from(*weight);
                if due[i] > due[chosen] || reduced[chosen] == 0 {
                    chosen = i;
                }
            }
            due[chosen] -= total;
            chosen as u16
        })
        .collect()
}

/// Weights over their greatest common divisor, their sum at most [`MAX_SLOTS`], none that was above 0 made 0.
fn reduced(weights: &[u16]) -> Vec<u32> {
    let divisor = weights.iter().fold(0, |a, b| gcd(a, u32::from(*b))).max(1);
    let exact: Vec<u32> = weights.iter().map(|w| u32::from(*w) / divisor).collect();
    let total: u64 = exact.iter().map(|w| u64::from(*w)).sum();
    if total <= MAX_SLOTS as u64 {
        return exact;
    }
    exact
        .iter()
        .map(|w| {
            if *w == 0 {
                0
            } else {
                ((u64::from(*w) * MAX_SLOTS as u64 / 2 / total) as u32).max(1)
            }
        })
        .collect()
}

fn gcd(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn two_to_one_to_one() {
        assert_eq!(interleave(&[2, 1, 1]), [0, 1, 2, 0]);
        assert_eq!(interleave(&[200, 100, 100]).len(), 4);
    }

    #[test]
    fn nobody_with_weight_is_left_out() {
        assert_eq!(interleave(&[]), []);
        assert_eq!(interleave(&[0, 0]), []);
        assert_eq!(interleave(&[0, 7]), [1]);
        assert_eq!(interleave(&[5, 0, 5]), [0, 2]);
    }

    proptest! {
        #[test]
        fn shares_are_exact_and_spread(weights in proptest::collection::vec(0u16..=256, 1..40)) {
            let table = interleave(&weights);
            let divisor = weights.iter().fold(0, |a, b| gcd(a, u32::from(*b))).max(1);
            let total = table.len() as f64;
            for (i, weight) in weights.iter().enumerate() {
                let share = u32::from(*weight) / divisor;
                prop_assert_eq!(table.iter().filter(|s| **s as usize == i).count() as u32, share);
                // No prefix strays from the exact share by as much as one turn of every server.
                let mut seen = 0f64;
                for (n, slot) in table.iter().enumerate() {
                    seen += f64::from(u8::from(*slot as usize == i));
                    let exact = (n + 1) as f64 * f64::from(share) / total;
                    prop_assert!((seen - exact).abs() <= weights.len() as f64, "{} of {} at {}", seen, exact, n);
                }
            }
        }
    }

    #[test]
    fn a_huge_backend_is_scaled_not_refused() {
        let weights = vec![256u16; 300]
            .into_iter()
            .chain([255])
            .collect::<Vec<_>>();
        let table = interleave(&weights);
        assert!(table.len() <= MAX_SLOTS && table.contains(&300));
    }
}
