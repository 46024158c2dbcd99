//! Slot tables: which server each slot of a balancing table names. Built by userspace, read by both paths.

use alloc::{vec, vec::Vec};

use crate::hash::mix;

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

/// The order of HAProxy's tables for hashes: at each slot the first ordinal of those that are due most often, in whole
/// turns. The length is that of [`interleave`].
pub fn in_order(weights: &[u16]) -> Vec<u16> {
    let reduced = reduced(weights);
    let total: i64 = reduced.iter().map(|w| i64::from(*w)).sum();
    let mut due = vec![0i64; reduced.len()];
    (0..total)
        .map(|_| {
            let mut chosen: Option<(usize, i64)> = None;
            for (i, weight) in reduced.iter().enumerate() {
                due[i] += i64::from(*weight);
                let turns = (due[i] + total) / total;
                if *weight > 0 && chosen.is_none_or(|(_, most)| turns > most) {
                    chosen = Some((i, turns));
                }
            }
            let chosen = chosen.map_or(0, |(i, _)| i);
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

/// Slots of a Maglev table unless the configuration says otherwise: the paper's small size, a prime.
pub const MAGLEV_SLOTS: u32 = 65_537;

/// A weighted Maglev table (Eisenbud et al., NSDI 2016, §3.4): every server lists all slots in an order of its own, and
/// the servers take turns in taking the first slot of their list that is free. A server has turns in proportion to its
/// weight, spread as Katran spreads them, so that its share is exact to a slot or two.
///
/// `keys` are the servers' identities ([`crate::hash::server`]), `weights` theirs in the same order; the entries are
/// ordinals of that order. Servers of weight 0 have no slot, and the table is empty if all are 0. Nothing but keys and
/// weights matters: two nodes that list the servers differently build the same table but for the ordinals' names.
///
/// `size` is a prime, or is lowered to the next one: only then does a list name every slot. It should be a hundred
/// times the number of servers; what is smaller serves some servers worse than their weight.
pub fn maglev(keys: &[u64], weights: &[u16], size: u32) -> Vec<u16> {
    let Some(size) = prime_up_to(size) else {
        return Vec::new();
    };
    let mut lists: Vec<List> = (0u16..)
        .zip(keys.iter().zip(weights))
        .filter(|(_, (_, weight))| **weight > 0)
        .map(|(ordinal, (key, weight))| List::new(ordinal, *key, *weight, size))
        .collect();
    // The order of the file must not matter: who comes first takes first.
    lists.sort_by_key(|list| (list.key, list.ordinal));
    let Some(heaviest) = lists.iter().map(|list| list.weight).max() else {
        return Vec::new();
    };
    let mut table = vec![0u16; size as usize];
    let mut taken = vec![false; size as usize];
    let mut free = size;
    loop {
        for list in &mut lists {
            list.due += list.weight;
            if list.due < heaviest {
                continue;
            }
            list.due -= heaviest;
            while taken[list.next as usize] {
                list.advance(size);
            }
            taken[list.next as usize] = true;
            table[list.next as usize] = list.ordinal;
            free -= 1;
            if free == 0 {
                return table;
            }
        }
    }
}

/// One server's list of slots, as far as it has been read.
struct List {
    key: u64,
    ordinal: u16,
    weight: u32,
    /// Weight that it has gathered towards its next turn.
    due: u32,
    /// The slot that is next in the list, always below the size.
    next: u32,
    /// From one slot to the next: 1 to size - 1, so that with a prime size every slot comes up.
    skip: u32,
}

impl List {
    fn new(ordinal: u16, key: u64, weight: u16, size: u32) -> Self {
        let (offset, skip) = (mix(key), mix(!key));
        List {
            key,
            ordinal,
            weight: u32::from(weight),
            due: 0,
            next: (offset % u64::from(size)) as u32,
            skip: (skip % u64::from(size - 1)) as u32 + 1,
        }
    }

    fn advance(&mut self, size: u32) {
        self.next = (self.next + self.skip) % size;
    }
}

/// Whether `n` is a prime number.
pub const fn is_prime(n: u32) -> bool {
    if n < 2 {
        return false;
    }
    let mut divisor = 2;
    while divisor * divisor <= n as u64 {
        if (n as u64).is_multiple_of(divisor) {
            return false;
        }
        divisor += 1;
    }
    true
}

/// The largest prime that is not above `n`, which a Maglev table is bounded to as well.
fn prime_up_to(n: u32) -> Option<u32> {
    (2..=n.min(MAGLEV_SLOTS)).rev().find(|n| is_prime(*n))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hash;
    use proptest::prelude::*;

    #[test]
    fn ties_of_a_map_of_haproxys_go_to_the_first() {
        assert_eq!(in_order(&[1, 1]), [0, 1]);
        assert_eq!(in_order(&[4, 2]), [0, 0, 1]);
        assert_eq!(in_order(&[0, 3]), [1]);
        assert!(in_order(&[0, 0]).is_empty());
        let shares = in_order(&[3, 5]);
        assert_eq!(shares.iter().filter(|ordinal| **ordinal == 0).count(), 3);
        assert_eq!(shares.len(), 8);
    }

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

    /// Keys of servers 10.77.2.1 and up, port 80.
    fn keys(count: u64) -> Vec<u64> {
        (1..=count)
            .map(|n| hash::server(0, 0xffff_0a4d_0200 + n, 80))
            .collect()
    }

    fn shares(table: &[u16], servers: usize) -> Vec<usize> {
        (0..servers)
            .map(|i| table.iter().filter(|s| usize::from(**s) == i).count())
            .collect()
    }

    #[test]
    fn maglev_leaves_nobody_with_weight_out_and_nobody_without_in() {
        assert!(maglev(&[], &[], MAGLEV_SLOTS).is_empty());
        assert!(maglev(&keys(2), &[0, 0], MAGLEV_SLOTS).is_empty());
        assert_eq!(maglev(&keys(3), &[0, 9, 0], 13), [1; 13]);
        assert!(maglev(&keys(1), &[1], 1).is_empty());
        assert_eq!(maglev(&keys(1), &[1], 2), [0, 0]);
        assert_eq!(maglev(&keys(3), &[1; 3], 100).len(), 97, "100 is no prime");
        assert_eq!(maglev(&keys(3), &[1; 3], u32::MAX).len(), 65_537);
    }

    #[test]
    fn maglev_goes_by_the_servers_and_not_by_their_order() {
        let (keys, weights) = (keys(7), [5, 1, 3, 3, 9, 1, 2]);
        let table = maglev(&keys, &weights, 1009);
        let reversed: Vec<u64> = keys.iter().rev().copied().collect();
        let weights: Vec<u16> = weights.iter().rev().copied().collect();
        let other: Vec<u16> = maglev(&reversed, &weights, 1009)
            .iter()
            .map(|ordinal| 6 - ordinal)
            .collect();
        assert_eq!(table, other);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]
        #[test]
        fn maglev_gives_each_its_weights_share(weights in proptest::collection::vec(0u16..=256, 1..64)) {
            let keys = keys(weights.len() as u64);
            let table = maglev(&keys, &weights, MAGLEV_SLOTS);
            let total: u32 = weights.iter().map(|w| u32::from(*w)).sum();
            prop_assert_eq!(table.is_empty(), total == 0);
            for (share, weight) in shares(&table, weights.len()).iter().zip(&weights).filter(|_| total > 0) {
                let exact = f64::from(*weight) / f64::from(total) * table.len() as f64;
                // A round gives every server but the heaviest a part of a slot, which is owed until it is a whole one:
                // as many slots as there are servers may be owed when the table is full.
                let owed = weights.len() as f64;
                prop_assert!((*share as f64 - exact).abs() <= owed, "{} of {}", share, exact);
            }
        }

        #[test]
        fn maglev_moves_little_when_one_of_many_goes(count in 2usize..=40, gone in any::<prop::sample::Index>()) {
            let gone = gone.index(count);
            let (keys, mut weights) = (keys(count as u64), vec![1u16; count]);
            let before = maglev(&keys, &weights, MAGLEV_SLOTS);
            weights[gone] = 0;
            let after = maglev(&keys, &weights, MAGLEV_SLOTS);
            let moved = before.iter().zip(&after).filter(|(b, a)| b != a).count();
            let own = shares(&before, count)[gone];
            prop_assert!(moved >= own);
            // Beyond its own slots, which have to move, few others do.
            let others = (moved - own) as f64 / before.len() as f64;
            prop_assert!(others < 0.03, "{} of the others' slots with {} servers", others, count);
            prop_assert!(moved as f64 / before.len() as f64 <= 1.0 / count as f64 + 0.03);
        }
    }

    #[test]
    fn primes_are_told() {
        let primes: Vec<u32> = (0..30).filter(|n| is_prime(*n)).collect();
        assert_eq!(primes, [2, 3, 5, 7, 11, 13, 17, 19, 23, 29]);
        assert!(is_prime(65_537) && !is_prime(65_535) && is_prime(4_294_967_291));
    }
}
