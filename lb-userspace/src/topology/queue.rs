//! Waiting for a server's slot when `maxconn` leaves none.
//!
//! Callers bound the wait themselves (`timeouts.queue`). A release wakes one waiter, the longest waiting first; a
//! change of a server's state wakes all of them, since what they wait for may have gone or come.

use std::sync::atomic::{AtomicU32, Ordering::SeqCst};

use tokio::sync::Notify;

use super::counters::Counter;

/// The waiters of one server or of one backend.
#[derive(Debug, Default)]
pub struct Queue {
    waiting: AtomicU32,
    max: Counter,
    freed: Notify,
}

impl Queue {
    /// `qcur`: how many wait now.
    pub fn len(&self) -> u32 {
        self.waiting.load(SeqCst)
    }

    /// Whether nobody waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// `qmax`: most that waited at a time.
    pub fn max(&self) -> u64 {
        self.max.value()
    }

    /// Calls `attempt` at each chance until it yields something. Who finds others waiting tries only once it is its
    /// turn. Dropping the future leaves the queue and passes a chance that it had been given on to the next.
    pub async fn wait<T>(&self, mut attempt: impl FnMut() -> Option<T>) -> T {
        let place = Place::take(self);
        let mut my_turn = place.ahead == 0;
        loop {
            let mut chance = std::pin::pin!(self.freed.notified());
            // Registered before the attempt, or a slot freed between the two would be missed.
            let called = chance.as_mut().enable();
            if (my_turn || called)
                && let Some(done) = attempt()
            {
                return done;
            }
            if !called {
                chance.await;
            }
            my_turn = true;
        }
    }

    /// A slot is free: wakes the longest waiting. Returns whether there was one.
    pub(super) fn wake_one(&self) -> bool {
        let waiting = !self.is_empty();
        if waiting {
            self.freed.notify_one();
        }
        waiting
    }

    /// What they wait for has changed: wakes all.
    pub(super) fn wake_all(&self) {
        self.freed.notify_waiters();
    }
}

/// A place in the queue, given back when dropped.
struct Place<'a> {
    queue: &'a Queue,
    /// How many were there before.
    ahead: u32,
}

impl<'a> Place<'a> {
    fn take(queue: &'a Queue) -> Self {
        let ahead = queue.waiting.fetch_add(1, SeqCst);
        queue.max.raise(u64::from(ahead) + 1);
        Self { queue, ahead }
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.queue.waiting.fetch_sub(1, SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[tokio::test(flavor = "current_thread")]
    async fn a_waiter_is_served_when_a_slot_is_freed_and_counted_meanwhile() {
        let queue = Queue::default();
        let slots = Cell::new(0);
        let waiter = queue.wait(|| (slots.get() > 0).then(|| slots.set(slots.get() - 1)));
        let server = async {
            tokio::task::yield_now().await;
            assert_eq!(queue.len(), 1);
            slots.set(1);
            assert!(queue.wake_one());
        };
        tokio::join!(waiter, server);
        assert_eq!(queue.len(), 0);
        assert_eq!(queue.max(), 1);
        assert!(!queue.wake_one(), "nobody is left to wake");
    }

    #[tokio::test(flavor = "current_thread")]
    async fn who_gives_up_leaves_the_queue() {
        let queue = Queue::default();
        {
            let mut waiter = std::pin::pin!(queue.wait(|| None::<()>));
            tokio::select! {
                biased;
                () = &mut waiter => unreachable!("there is never a slot"),
                () = std::future::ready(()) => {}
            }
            assert_eq!(queue.len(), 1);
        }
        assert_eq!(queue.len(), 0);
    }
}
