//! Compares the counts of active flows, which the kernel program keeps, with the flows that there are.
//!
//! That is exact only if no flow began or ended while they were being counted, so a recount that was disturbed says
//! nothing. The agent never writes the counts: they have one owner. A difference would be a fault of the program, and is
//! told and counted.

use std::collections::HashMap;

use lb_common::{
    counter::Reason,
    load::{ActiveBlock, BLOCK},
};

use super::{error::FastPathError, kernel::Kernel, traffic};

/// Active flows by index of their server.
pub(super) type Counts = HashMap<u32, u64>;

/// What changes whenever a flow begins or ends.
const DISTURBANCES: [Reason; 10] = [
    Reason::FlowOpened,
    Reason::FlowEstablished,
    Reason::FlowAdopted,
    Reason::HalfOpenEvicted,
    Reason::HalfOpenExpired,
    Reason::FlowReset,
    Reason::FlowClosed,
    Reason::FlowExpired,
    Reason::OrphanRemoved,
    Reason::FlowReopened,
];

/// A recount, and what the last one found.
#[derive(Debug, Default)]
pub(super) struct Recount {
    before: Option<Before>,
    drift: u64,
}

/// What was there when it began.
#[derive(Debug, PartialEq, Eq)]
struct Before {
    reasons: Vec<u64>,
    active: Counts,
}

impl Recount {
    /// Begins.
    pub(super) fn begin(&mut self, kernel: &Kernel) -> Result<(), FastPathError> {
        self.before = Some(Before::read(kernel)?);
        Ok(())
    }

    /// Whether one has begun and not ended.
    pub(super) fn is_under_way(&self) -> bool {
        self.before.is_some()
    }

    /// Ends with the active flows that were found.
    pub(super) fn end(&mut self, kernel: &Kernel, found: &Counts) -> Result<(), FastPathError> {
        let Some(before) = self.before.take() else {
            return Ok(());
        };
        if Before::read(kernel)? != before {
            return Ok(());
        }
        let drift = difference(&before.active, found);
        if drift != self.drift && drift > 0 {
            tracing::warn!(
                "the kernel program's counts of active flows differ from its flow tables by {drift}: \
                 please report this; a stop with `on_stop: detach` and a new start set them right"
            );
        }
        self.drift = drift;
        Ok(())
    }

    /// By how many the counts differed at the last exact one.
    pub(super) fn drift(&self) -> u64 {
        self.drift
    }
}

impl Before {
    fn read(kernel: &Kernel) -> Result<Self, FastPathError> {
        let mut reasons = Vec::with_capacity(DISTURBANCES.len());
        for reason in DISTURBANCES {
            reasons.push(traffic::reason(&kernel.maps, reason)?);
        }
        let mut active = Counts::new();
        for block in kernel.registry.all_blocks() {
            let counts: ActiveBlock = kernel.maps.active.get(&block, 0)?;
            for (ordinal, count) in counts.active.iter().enumerate().take(BLOCK) {
                if *count > 0 {
                    active.insert(block << 8 | ordinal as u32, u64::from(*count));
                }
            }
        }
        Ok(Self { reasons, active })
    }
}

/// How many flows are counted too often or not at all.
fn difference(counted: &Counts, found: &Counts) -> u64 {
    let of = |counts: &Counts, server| counts.get(server).copied().unwrap_or(0);
    let more = found.keys().filter(|server| !counted.contains_key(server));
    counted
        .keys()
        .chain(more)
        .map(|server| of(counted, server).abs_diff(of(found, server)))
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_counted_too_often_and_too_seldom_adds_up() {
        let counts = |pairs: &[(u32, u64)]| pairs.iter().copied().collect::<Counts>();
        let counted = counts(&[(1, 5), (2, 1)]);
        assert_eq!(difference(&counted, &counts(&[(2, 1), (1, 5)])), 0);
        assert_eq!(difference(&counted, &counts(&[(1, 3), (3, 2)])), 2 + 1 + 2);
    }
}
