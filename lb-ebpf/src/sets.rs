//! The table of half-open flows: sets of four places under a lock each.

use core::ptr::null_mut;

use lb_common::{
    counter::Reason,
    flow::{FlowKey, HALF_OPEN_MS, Half, HalfSet, Leg, UNANSWERED_MS, WAYS, flags},
    tcp::state,
};

use crate::{
    admit, balance, count, event,
    family::Family,
    lock,
    plan::proto,
    work::{room, work_of},
};

/// What to do with the place of `key` under its set's lock.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Touch {
    /// Only look.
    Look,
    /// Count a packet.
    Count,
    /// The same, and it keeps the flow young.
    Refresh,
    /// Count it, and the sender's initial sequence number is this.
    Sequence,
    /// Likewise, from the server: the flow is answered.
    Answer,
    /// It is young again, nothing else.
    Young,
    /// Take it out.
    Remove,
}

/// Finds the place of `key` and does something with it; whether it is there. A copy of it as it was before goes to
/// `copy` unless that is null.
///
/// Looks without the lock first: most packets that come here are of no half-open flow.
#[inline(always)]
pub fn touch<A: Family>(
    (set, tag): (*mut HalfSet<A>, u32),
    key: &FlowKey<A>,
    copy: *mut Half<A>,
    what: Touch,
    (bytes, number, now): (u32, u32, u32),
) -> bool {
    let mut there = false;
    for way in 0..WAYS {
        // SAFETY: a live map value, and looked at again below.
        there |= unsafe { (*set).tags[way] } == tag;
    }
    if !there {
        return false;
    }
    let mut found = false;
    // SAFETY: a live map value; all that runs under the lock is inlined and calls nothing.
    unsafe {
        lock::with(
            &raw mut (*set).lock,
            #[inline(always)]
            || {
                for way in 0..WAYS {
                    let half = &raw mut (*set).ways[way];
                    if (*set).tags[way] == tag && (*half).key == *key {
                        found = true;
                        if !copy.is_null() {
                            copy_words(half, copy);
                        }
                        match what {
                            Touch::Look => {}
                            Touch::Young => {
                                (*half).since_ms = now;
                                (*set).since_ms[way] = now;
                            }
                            Touch::Remove => {
                                (*half).key.proto = 0;
                                (*set).tags[way] = 0;
                            }
                            _ => {
                                (*half).packets += 1;
                                (*half).bytes += bytes;
                                if what == Touch::Refresh {
                                    (*half).since_ms = now;
                                    (*set).since_ms[way] = now;
                                }
                                if what == Touch::Sequence || what == Touch::Answer {
                                    (*half).isn = number;
                                }
                                if what == Touch::Answer {
                                    (*half).leg.state |= state::ANSWERED;
                                    (*half).leg.side[1] |= now;
                                }
                            }
                        }
                        break;
                    }
                }
            },
        );
    }
    found
}

/// Copies a place word by word: the compiler would call a function for it, which must not be done under a lock.
///
/// # Safety
/// Both are places of their own.
#[inline(always)]
unsafe fn copy_words<A: Family>(from: *const Half<A>, to: *mut Half<A>) {
    for i in 0..size_of::<Half<A>>() / 8 {
        // SAFETY: by contract; a place is aligned to 8 bytes and as many long as a multiple of 8.
        unsafe {
            let word = from.cast::<u64>().add(i).read_volatile();
            to.cast::<u64>().add(i).write_volatile(word);
        }
    }
}

#[inline(always)]
pub fn set_of<A: Family>(key: &FlowKey<A>) -> Option<(*mut HalfSet<A>, u32)> {
    A::half_set(key, admit::settings())
}

/// Copies the place of `key` to `copy`; whether there is one.
#[inline(never)]
pub fn look<A: Family>(key: &FlowKey<A>, copy: &mut Half<A>) -> bool {
    set_of(key).is_some_and(|set| touch(set, key, copy, Touch::Look, (0, 0, 0)))
}

/// The leg at `key`, copied to `copy`.
#[inline(always)]
pub fn leg_of<'a, A: Family>(key: &FlowKey<A>, copy: &'a mut Half<A>) -> Option<&'a Leg<A>> {
    look(key, copy).then_some(&copy.leg)
}

/// Takes the place of `key` out.
#[inline(never)]
pub fn remove<A: Family>(key: &FlowKey<A>) -> bool {
    set_of(key).is_some_and(|set| touch(set, key, null_mut(), Touch::Remove, (0, 0, 0)))
}

/// Makes the place of `key` young again.
#[inline(always)]
pub fn refresh<A: Family>(key: &FlowKey<A>, what: Touch, numbers: (u32, u32, u32)) -> bool {
    set_of(key).is_some_and(|set| touch(set, key, null_mut(), what, numbers))
}

/// Enters a half-open leg; the oldest of its set makes room. `false` if there is one with this key.
#[inline(never)]
pub fn insert<A: Family>(half: &Half<A>) -> bool {
    let Some((set, tag)) = set_of(&half.key) else {
        return false;
    };
    let now = half.since_ms;
    let (mut exists, mut evicted, mut lane) = (false, false, 0);
    // SAFETY: a live map value; all that runs under the lock is inlined and calls nothing.
    unsafe {
        lock::with(
            &raw mut (*set).lock,
            #[inline(always)]
            || {
                // Older is larger, an empty place the oldest of all.
                let (mut victim, mut oldest) = (0usize, 0u64);
                for way in 0..WAYS {
                    let other = (*set).tags[way];
                    if other == tag && (*set).ways[way].key == half.key {
                        exists = true;
                    }
                    let age = if other == 0 {
                        u64::MAX
                    } else {
                        u64::from(now.wrapping_sub((*set).since_ms[way])) + 1
                    };
                    if age > oldest {
                        (victim, oldest) = (way, age);
                    }
                }
                if !exists {
                    let victim = victim & (WAYS - 1);
                    (*set).tags[victim] = tag;
                    (*set).since_ms[victim] = now;
                    let place = &raw mut (*set).ways[victim];
                    evicted = (*place).key.proto != 0 && (*place).leg.flags & flags::REVERSE == 0;
                    lane = (*place).leg.lane;
                    copy_words(half, place);
                }
            },
        );
    }
    if evicted {
        balance::lane_active(lane, -1);
        count::reason(Reason::HalfOpenEvicted);
    }
    !exists
}

/// Empties place `way` of set `index` of what is too old, as the reaper was ordered.
#[inline(always)]
pub fn expire<A: Family>(index: u32, way: usize, now: u32) {
    let Some(set) = A::half_set_at(index) else {
        return;
    };
    let Some(work) = work_of::<A>(room::ORDER) else {
        return;
    };
    let way = way & (WAYS - 1);
    let (old, mut taken) = (&raw mut work.mine, false);
    // SAFETY: a live map value; all that runs under the lock is inlined and calls nothing.
    unsafe {
        lock::with(
            &raw mut (*set).lock,
            #[inline(always)]
            || {
                let half = &raw mut (*set).ways[way];
                let limit = if (*half).key.proto == u32::from(proto::UDP) {
                    UNANSWERED_MS
                } else {
                    HALF_OPEN_MS
                };
                let age = now.wrapping_sub((*half).since_ms);
                if (*half).key.proto != 0 && age >= limit && age < u32::MAX / 2 {
                    copy_words(half, old);
                    taken = true;
                    (*half).key.proto = 0;
                    (*set).tags[way] = 0;
                }
            },
        );
    }
    if taken && work.mine.leg.flags & flags::REVERSE == 0 {
        balance::lane_active(work.mine.leg.lane, -1);
        event::half_ended(&work.mine, work.mine.leg.state);
        count::reason(Reason::HalfOpenExpired);
    }
}
