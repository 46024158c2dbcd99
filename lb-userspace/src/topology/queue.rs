//! Waiting for a server's slot when `maxconn` leaves none.
//!
//! Callers bound the wait themselves (`timeouts.queue`). A release gives the longest waiting its chance, and so does a
//! change of a server's state, since what it waits for may have gone or come; then it is the next one's turn.

use std::sync::atomic::{AtomicU32, Ordering::SeqCst};

use tokio::sync::{Mutex, Notify};

use super::counters::Counter;

/// The waiters of one server or of one backend.
#[derive(Debug, Default)]
pub struct Queue {
    waiting: AtomicU32,
    max: Counter,
    /// Held by the first; the others wait for it in order.
    turn: Mutex<()>,
    /// What the first waits for.
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

    /// Calls `attempt` at each chance until it yields something. They are served in the order in which they came: who is
    /// first stays so until it has what it waits for, whoever takes a slot meanwhile. Dropping the future leaves the queue,
    /// and the next is the first.
    pub async fn wait<T>(&self, attempt: impl FnMut() -> Option<T>) -> T {
        self.wait_at(Place::take(self), attempt).await
    }

    /// The same where no more than `most` may wait; `None` if they do already.
    pub async fn wait_among<T>(&self, most: u32, attempt: impl FnMut() -> Option<T>) -> Option<T> {
        let place = Place::take_among(self, most)?;
        Some(self.wait_at(place, attempt).await)
    }

    async fn wait_at<T>(&self, _place: Place<'_>, mut attempt: impl FnMut() -> Option<T>) -> T {
        let _turn = self.turn.lock().await;
        loop {
            let mut chance = std::pin::pin!(self.freed.notified());
            // Registered before the attempt, or a slot freed between the two would be missed.
            chance.as_mut().enable();
            if let Some(done) = attempt() {
                return done;
            }
            chance.await;
        }
    }

    /// A slot is free: a chance for the longest waiting.
    pub(super) fn wake_one(&self) {
        if !self.is_empty() {
            self.freed.notify_one();
        }
    }

    /// What they wait for has changed: a chance for each, one after the other as long as they take it.
    pub(super) fn wake_all(&self) {
        self.freed.notify_one();
    }
}

/// A place in the queue, given back when dropped.
struct Place<'a>(&'a Queue);

impl<'a> Place<'a> {
    fn take(queue: &'a Queue) -> Self {
        let ahead = queue.waiting.fetch_add(1, SeqCst);
        Self::after(queue, ahead)
    }

    fn take_among(queue: &'a Queue, most: u32) -> Option<Self> {
        let one_more = |ahead| (ahead < most).then_some(ahead + 1);
        let ahead = queue.waiting.fetch_update(SeqCst, SeqCst, one_more).ok()?;
        Some(Self::after(queue, ahead))
    }

    fn after(queue: &'a Queue, ahead: u32) -> Self {
        queue.max.raise(u64::from(ahead) + 1);
        Self(queue)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use std::{
        cell::Cell,
        sync::Arc,
        task::{Context, Waker},
    };

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
            queue.wake_one();
        };
        tokio::join!(waiter, server);
        assert_eq!(queue.len(), 0);
        assert_eq!(queue.max(), 1);
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

    #[tokio::test(flavor = "current_thread")]
    async fn nobody_joins_a_full_queue() {
        let queue = Queue::default();
        {
            let mut waiter = std::pin::pin!(queue.wait_among(1, || None::<()>));
            let mut unwoken = Context::from_waker(Waker::noop());
            assert!(waiter.as_mut().poll(&mut unwoken).is_pending());
            assert_eq!(queue.wait_among(1, || Some(())).await, None);
        }
        assert_eq!(queue.wait_among(1, || Some(())).await, Some(()));
        assert_eq!((queue.len(), queue.max()), (0, 1));
    }

    /// Waiters of several threads come one after the other, and more slots than one are freed while others try to take
    /// them.
    #[test]
    fn they_are_served_in_the_order_in_which_they_came() {
        const WAITERS: u32 = 24;
        let queue = Arc::<Queue>::default();
        let slots = Arc::<AtomicU32>::default();
        let served = Arc::<std::sync::Mutex<Vec<u32>>>::default();
        let take = |slots: &AtomicU32| {
            slots
                .fetch_update(SeqCst, SeqCst, |free| free.checked_sub(1))
                .ok()
        };
        let threads: Vec<_> = (0..WAITERS)
            .map(|number| {
                let (at, slots, served) = (Arc::clone(&queue), slots.clone(), served.clone());
                let mut waiting = Box::pin(async move {
                    // Noted within the attempt: who is served next cannot be ahead of it.
                    let attempt = || {
                        take(&slots)?;
                        served.lock().expect("not poisoned").push(number);
                        Some(())
                    };
                    at.wait(attempt).await;
                });
                // They get in line here, one after the other.
                let mut unwoken = Context::from_waker(Waker::noop());
                assert!(waiting.as_mut().poll(&mut unwoken).is_pending());
                std::thread::spawn(move || {
                    tokio::runtime::Builder::new_current_thread()
                        .build()
                        .expect("a runtime")
                        .block_on(waiting);
                })
            })
            .collect();
        let mut freed = 0;
        while freed < WAITERS {
            // Chances that come to nothing cost nobody its place.
            queue.wake_one();
            let burst = (freed % 3 + 1).min(WAITERS - freed);
            for _ in 0..burst {
                slots.fetch_add(1, SeqCst);
                queue.wake_one();
            }
            freed += burst;
        }
        for thread in threads {
            thread.join().expect("served");
        }
        let served = served.lock().expect("not poisoned").clone();
        assert_eq!(served, (0..WAITERS).collect::<Vec<_>>());
        assert_eq!(queue.len(), 0);
    }
}
