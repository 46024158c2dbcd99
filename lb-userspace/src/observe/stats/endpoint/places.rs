//! How many the endpoint serves at a time: when all places are taken, whoever has asked for nothing for the longest time makes
//! room. Silent clients keep nobody from asking how lb is.

use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError,
    atomic::{AtomicU64, Ordering::Relaxed},
};

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

/// The places.
#[derive(Debug)]
pub(super) struct Places {
    free: Arc<Semaphore>,
    taken: Mutex<Vec<Arc<Seat>>>,
    /// Rises with each that falls silent.
    turns: AtomicU64,
}

/// Who is answered at present.
const BUSY: u64 = u64::MAX;

#[derive(Debug)]
struct Seat {
    /// When it fell silent, by turns.
    silent: AtomicU64,
    leave: Notify,
}

/// A place, until it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    seat: Arc<Seat>,
    places: Arc<Places>,
    _permit: OwnedSemaphorePermit,
}

impl Places {
    /// So many.
    pub(super) fn new(most: usize) -> Self {
        Self {
            free: Arc::new(Semaphore::new(most)),
            taken: Mutex::default(),
            turns: AtomicU64::new(0),
        }
    }

    /// Takes one, from whoever is silent for the longest time if none is free. Waits as long as all are answered.
    pub(super) async fn take(self: &Arc<Self>) -> Place {
        let free = Arc::clone(&self.free);
        if free.available_permits() == 0 {
            let taken = self.taken();
            let silent = taken.iter().min_by_key(|seat| seat.silent.load(Relaxed));
            if let Some(seat) = silent.filter(|seat| seat.silent.load(Relaxed) != BUSY) {
                seat.leave.notify_one();
            }
        }
        // The semaphore is never closed.
        let permit = match free.acquire_owned().await {
            Ok(permit) => permit,
            Err(_) => std::future::pending().await,
        };
        let seat = Arc::new(Seat {
            silent: AtomicU64::new(self.turns.fetch_add(1, Relaxed)),
            leave: Notify::new(),
        });
        self.taken().push(Arc::clone(&seat));
        Place {
            seat,
            places: Arc::clone(self),
            _permit: permit,
        }
    }

    fn taken(&self) -> MutexGuard<'_, Vec<Arc<Seat>>> {
        // It is changed in single steps.
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    /// It is answered from now on, and not asked to leave.
    pub(super) fn busy(&self) {
        self.seat.silent.store(BUSY, Relaxed);
    }

    /// It has been answered.
    pub(super) fn silent(&self) {
        let turn = self.places.turns.fetch_add(1, Relaxed);
        self.seat.silent.store(turn, Relaxed);
    }

    /// Resolves once somebody else needs the place.
    pub(super) async fn asked_to_leave(&self) {
        self.seat.leave.notified().await;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places
            .taken()
            .retain(|seat| !Arc::ptr_eq(seat, &self.seat));
    }
}

#[cfg(test)]
mod tests {
    use std::{
        pin::pin,
        task::{Context, Poll, Waker},
    };

    use super::*;

    #[tokio::test]
    async fn the_one_that_is_silent_for_the_longest_time_leaves() {
        let places = Arc::new(Places::new(2));
        let (first, second) = (places.take().await, places.take().await);
        first.busy();
        first.silent();
        let mut third = pin!(places.take());
        let mut context = Context::from_waker(Waker::noop());
        assert!(third.as_mut().poll(&mut context).is_pending());
        let mut leaves = |place: &Place| {
            let left = pin!(place.asked_to_leave()).poll(&mut context);
            left == Poll::Ready(())
        };
        assert!(leaves(&second) && !leaves(&first));
        drop(second);
        let third = third.await;
        first.busy();
        third.busy();
        let mut fourth = pin!(places.take());
        let mut context = Context::from_waker(Waker::noop());
        assert!(fourth.as_mut().poll(&mut context).is_pending());
        let mut left = pin!(first.asked_to_leave());
        assert!(
            left.as_mut().poll(&mut context).is_pending(),
            "it is answered"
        );
        drop(third);
        fourth.await;
    }
}
