//! The numbers that proxies, servers and binds have beside their names.

use std::collections::HashSet;

/// Gives those that are 0 a number, as HAProxy does: by their places counted from `first`, past what is taken.
pub fn number(ids: &mut [u32], first: u32) {
    let taken: HashSet<u32> = ids.iter().copied().collect();
    let mut next = first;
    for id in ids {
        if *id == 0 {
            while taken.contains(&next) {
                next = next.saturating_add(1);
            }
            *id = next;
        }
        next = next.saturating_add(1);
    }
}

#[cfg(test)]
mod tests {
    use super::number;

    #[test]
    fn who_has_no_number_gets_that_of_its_place_or_the_next_that_is_free() {
        for (said, given) in [
            ([0, 0, 0, 0], [2, 3, 4, 5]),
            ([0, 33, 0, 0], [2, 33, 4, 5]),
            ([0, 0, 2, 0], [3, 4, 2, 6]),
            ([4, 0, 0, 3], [4, 5, 6, 3]),
        ] {
            let mut ids = said;
            number(&mut ids, 2);
            assert_eq!(ids, given, "{said:?}");
        }
    }
}
