//! Divides each server's `maxconn` between the two paths, so that together they never exceed it.
//!
//! Neither path can see the other's count at the moment it claims a slot. So each has a part of its own, and a slot
//! changes sides in two steps, a tick apart: one side lets go of what it does not use, and only then does the other get
//! it. Who waits in userspace's queue goes first: while somebody does, the kernel takes nobody.

use lb_common::load::ActiveBlock;

use super::{
    error::FastPathError,
    kernel::Maps,
    registry::{Registry, Room},
};
use crate::topology::{Slots, Topology};

/// One step for every server with `maxconn`. `serves` tells of a backend's block whether the kernel has it now;
/// `stopping`, that it takes no new flows anyway.
pub(super) fn step(
    maps: &Maps,
    registry: &mut Registry,
    room: &Room,
    topology: &Topology,
    serves: &dyn Fn(u32) -> bool,
    stopping: bool,
) -> Result<(), FastPathError> {
    for backend in &topology.backends {
        let limited = || backend.servers.iter().filter(|s| s.maxconn().is_some());
        if limited().next().is_none() {
            continue;
        }
        let Ok(block) = registry.block(&backend.name, room) else {
            continue;
        };
        let counts: ActiveBlock = maps.active.get(&block, 0)?;
        let mut freed = false;
        for server in limited() {
            let (Some(max), Ok(index)) = (
                server.maxconn(),
                registry.server(&backend.name, &server.name, room),
            ) else {
                continue;
            };
            let waiting =
                stopping || !serves(block) || !backend.queue.is_empty() || !server.queue.is_empty();
            let before = server.slots();
            let active = Slots {
                kernel: counts.active[(index & 0xff) as usize],
                userspace: server.userspace_active(),
            };
            let after = divide(max, before, active, waiting);
            server.set_slots(after);
            freed |= after.userspace > before.userspace;
        }
        if freed {
            backend.kernel_slots_freed();
        }
    }
    Ok(())
}

/// The next division of `max` slots. What one side gets is what the other had already let go of before this step, so
/// that whoever claims a slot by the old division at this moment is accounted for.
fn divide(max: u32, before: Slots, active: Slots, waiting: bool) -> Slots {
    if waiting {
        Slots {
            kernel: active.kernel.min(max),
            userspace: max.saturating_sub(before.kernel.max(active.kernel)),
        }
    } else {
        Slots {
            kernel: max.saturating_sub(before.userspace.max(active.userspace)),
            userspace: active.userspace.min(max),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn slots(kernel: u32, userspace: u32) -> Slots {
        Slots { kernel, userspace }
    }

    #[test]
    fn the_kernel_gets_all_that_nobody_needs_in_two_steps() {
        let one = divide(5, slots(0, 5), slots(0, 1), false);
        assert_eq!(one, slots(0, 1));
        assert_eq!(divide(5, one, slots(0, 1), false), slots(4, 1));
    }

    #[test]
    fn who_waits_gets_what_the_kernel_lets_go_of() {
        let full = slots(5, 0);
        assert_eq!(divide(5, full, full, true), slots(5, 0));
        let one_left = divide(5, full, slots(4, 0), true);
        assert_eq!(one_left, slots(4, 0), "the kernel may not take it again");
        assert_eq!(divide(5, one_left, slots(4, 0), true), slots(4, 1));
    }

    #[test]
    fn whoever_claims_between_two_steps_the_limit_holds() {
        // Every order of steps and of claims up to each side's part, old or new, from every division.
        const MAX: u32 = 3;
        let mut seen = std::collections::BTreeSet::new();
        let mut open = vec![(slots(0, MAX), slots(0, 0))];
        while let Some((division, active)) = open.pop() {
            if !seen.insert((
                division.kernel,
                division.userspace,
                active.kernel,
                active.userspace,
            )) {
                continue;
            }
            for waiting in [false, true] {
                let next = divide(MAX, division, active, waiting);
                // Claims made while the step reads and writes go by either division.
                let kernel = active.kernel.max(division.kernel).max(next.kernel);
                let userspace = active.userspace.max(division.userspace).max(next.userspace);
                for k in 0..=kernel {
                    for u in 0..=userspace {
                        let by_old = k <= active.kernel.max(division.kernel)
                            && u <= active.userspace.max(division.userspace);
                        let by_new = k <= active.kernel.max(next.kernel)
                            && u <= active.userspace.max(next.userspace);
                        if by_old || by_new {
                            assert!(
                                k + u <= MAX,
                                "{division:?} {active:?} → {next:?}: {k} + {u}"
                            );
                            open.push((next, slots(k, u)));
                        }
                    }
                }
            }
        }
        assert!(seen.len() > 10);
    }
}
