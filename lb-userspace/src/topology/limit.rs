//! A bound on what goes on at a time, exact between threads, with a queue for those who wait for room.

use std::sync::atomic::{
    AtomicU32,
    Ordering::{Relaxed, SeqCst},
};

use super::queue::Queue;
use crate::rules::Priority;

/// Counts what goes on, and keeps it from exceeding a maximum.
#[derive(Debug)]
pub struct Limit {
    current: AtomicU32,
    max: AtomicU32,
    queue: Queue,
}

impl Limit {
    /// At most `max` at a time; `None` is unbounded.
    pub fn new(max: Option<u32>) -> Self {
        Self {
            current: AtomicU32::new(0),
            max: AtomicU32::new(max.unwrap_or(u32::MAX)),
            queue: Queue::default(),
        }
    }

    /// How many there are now.
    pub fn current(&self) -> u32 {
        self.current.load(SeqCst)
    }

    /// How many there may be; `None` is unbounded.
    pub fn max(&self) -> Option<u32> {
        Some(self.max.load(Relaxed)).filter(|&max| max != u32::MAX)
    }

    /// At most `max` from now on; who is there already stays.
    pub fn set_max(&self, max: Option<u32>) {
        self.max.store(max.unwrap_or(u32::MAX), Relaxed);
        self.queue.wake_all();
    }

    /// Takes a place if there is one, and says how many are taken then.
    pub fn try_take(&self) -> Option<u32> {
        let max = self.max.load(Relaxed);
        self.current
            .fetch_update(SeqCst, SeqCst, |current| {
                (current < max).then(|| current + 1)
            })
            .ok()
            .map(|before| before + 1)
    }

    /// Waits until there may be a place.
    pub async fn room(&self) {
        self.queue
            .wait(Priority::default(), |_| {
                (self.current() < self.max.load(Relaxed)).then_some(())
            })
            .await;
    }

    /// Gives a place back.
    pub fn give_back(&self) {
        self.current.fetch_sub(1, SeqCst);
        self.queue.wake_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(flavor = "current_thread")]
    async fn who_comes_too_late_waits_for_room() {
        let limit = Limit::new(Some(1));
        assert_eq!(limit.try_take(), Some(1));
        assert_eq!(limit.try_take(), None);
        tokio::join!(limit.room(), async {
            tokio::task::yield_now().await;
            limit.give_back();
        });
        assert_eq!(limit.try_take(), Some(1));
    }
}
