//! Waiting for a server's slot when `maxconn` leaves none.
//!
//! Callers bound the wait themselves (`timeouts.queue`). A release gives the longest waiting its chance, and so does a
//! change of a server's state, since what it waits for may have gone or come; then it is the next one's turn.

use std::{
    collections::BTreeMap,
    future::poll_fn,
    sync::{
        LazyLock, Mutex, MutexGuard, PoisonError,
        atomic::{
            AtomicU32,
            Ordering::{Relaxed, SeqCst},
        },
    },
    task::{Context, Poll, Waker},
    time::Instant,
};

use super::counters::Counter;
use crate::rules::Priority;

/// The waiters of one server or of one backend.
#[derive(Debug, Default)]
pub struct Queue {
    waiting: AtomicU32,
    max: Counter,
    /// How many have had what they waited for.
    served: AtomicU32,
    /// Held for moments, by those alone who wait or let others go on.
    line: Mutex<Line>,
}

/// Who waits, in the order in which they are served.
#[derive(Debug, Default)]
struct Line {
    waiters: BTreeMap<Turn, Option<Waker>>,
    /// What the first waits for may be there.
    chance: bool,
}

/// Where somebody stands who waits: whose turn is first where they wait for one thing in several queues. No two stand at
/// the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Turn {
    class: i32,
    /// Microseconds, with what an offset makes of them.
    came: i64,
    /// Of those who came at once. In a microsecond it does not come round.
    number: u32,
}

impl Line {
    /// Lets the first try: whom to wake for that, once the line is let go of.
    fn chance(&mut self) -> Option<Waker> {
        self.chance = true;
        self.waiters.first_entry()?.get_mut().take()
    }

    fn first(&self) -> Option<Turn> {
        self.waiters.first_key_value().map(|(&first, _)| first)
    }
}

/// From when on it is counted when somebody comes.
static BEGIN: LazyLock<Instant> = LazyLock::new(Instant::now);
/// How many have come, to whichever queue.
static COME: AtomicU32 = AtomicU32::new(0);

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

    /// Whether whoever waits elsewhere at `turn` comes before all who wait here. Without a turn they have just come, and are
    /// behind whoever waits.
    pub fn lets_pass(&self, turn: Option<Turn>) -> bool {
        let is_before = |first| turn.is_some_and(|turn| turn < first);
        self.is_empty() || turn.is_some() && self.line().first().is_none_or(is_before)
    }

    /// Begins to count who is served while somebody waits, which `place` becomes.
    pub fn count<'a>(&'a self, place: &'a mut u32) -> Counted<'a> {
        Counted {
            queue: self,
            before: self.served.load(SeqCst),
            place,
        }
    }

    /// Calls `attempt` at each chance until it yields something. Those of the lowest class are served first, and of one class
    /// they are in the order in which they came, with what their offsets make of that: who is first stays so until it has
    /// what it waits for or somebody comes whose turn is before, whoever takes a slot meanwhile. Dropping the future leaves
    /// the queue, and the next is the first.
    pub async fn wait<T>(&self, priority: Priority, attempt: impl FnMut(Turn) -> Option<T>) -> T {
        self.wait_at(Place::take(self), priority, attempt).await
    }

    /// The same where no more than `most` may wait; `None` if they do already.
    pub async fn wait_among<T>(
        &self,
        most: u32,
        priority: Priority,
        attempt: impl FnMut(Turn) -> Option<T>,
    ) -> Option<T> {
        let place = Place::take_among(self, most)?;
        Some(self.wait_at(place, priority, attempt).await)
    }

    async fn wait_at<T>(
        &self,
        _place: Place<'_>,
        priority: Priority,
        mut attempt: impl FnMut(Turn) -> Option<T>,
    ) -> T {
        let mut ticket = Ticket::take(self, priority);
        let turn = ticket.turn;
        let served = poll_fn(|cx| match ticket.is_its_turn(cx) {
            true => attempt(turn).map_or(Poll::Pending, Poll::Ready),
            false => Poll::Pending,
        })
        .await;
        self.served.fetch_add(1, SeqCst);
        served
    }

    /// A slot is free: a chance for the first.
    pub(super) fn wake_one(&self) {
        if !self.is_empty() {
            self.wake();
        }
    }

    /// What they wait for has changed: a chance for each, one after the other as long as they take it.
    pub(super) fn wake_all(&self) {
        self.wake();
    }

    fn wake(&self) {
        let first = self.line().chance();
        first.into_iter().for_each(Waker::wake);
    }

    fn line(&self) -> MutexGuard<'_, Line> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Counts who is served while somebody waits: HAProxy's place in a queue, 1 where nobody was.
#[derive(Debug)]
pub struct Counted<'a> {
    queue: &'a Queue,
    before: u32,
    place: &'a mut u32,
}

impl Counted<'_> {
    /// It has been served itself.
    pub fn served(mut self) {
        // Which is no other.
        self.before = self.before.wrapping_add(1);
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        let served = self.queue.served.load(SeqCst);
        *self.place = served.wrapping_sub(self.before).wrapping_add(1);
    }
}

/// A place in the line, given back when dropped.
struct Ticket<'a> {
    queue: &'a Queue,
    turn: Turn,
    /// It has tried, so that it waits for another chance.
    tried: bool,
}

impl<'a> Ticket<'a> {
    fn take(queue: &'a Queue, priority: Priority) -> Self {
        let came = i64::try_from(BEGIN.elapsed().as_micros()).unwrap_or(i64::MAX);
        let turn = Turn {
            // Rules keep classes far within this.
            class: priority.class.clamp(i32::MIN.into(), i32::MAX.into()) as i32,
            came: came.saturating_add(priority.offset.saturating_mul(1000)),
            number: COME.fetch_add(1, Relaxed),
        };
        queue.line().waiters.insert(turn, None);
        Self {
            queue,
            turn,
            tried: false,
        }
    }

    /// Whether it is the first, and may try.
    fn is_its_turn(&mut self, cx: &mut Context<'_>) -> bool {
        let mut line = self.queue.line();
        // Kept before it tries: what is freed meanwhile wakes it.
        line.waiters.insert(self.turn, Some(cx.waker().clone()));
        if line.first() != Some(self.turn) {
            return false;
        }
        let chance = std::mem::take(&mut line.chance);
        chance || !std::mem::replace(&mut self.tried, true)
    }
}

impl Drop for Ticket<'_> {
    fn drop(&mut self) {
        let mut line = self.queue.line();
        let was_first = line.first() == Some(self.turn);
        line.waiters.remove(&self.turn);
        if was_first {
            // The next has its try.
            let next = line.chance();
            drop(line);
            next.into_iter().for_each(Waker::wake);
        }
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
        cell::{Cell, RefCell},
        sync::Arc,
        task::{Context, Waker},
    };

    use super::*;

    #[tokio::test(flavor = "current_thread")]
    async fn a_waiter_is_served_when_a_slot_is_freed_and_counted_meanwhile() {
        let queue = Queue::default();
        let slots = Cell::new(0);
        let waiter = queue.wait(Priority::default(), |_| {
            (slots.get() > 0).then(|| slots.set(slots.get() - 1))
        });
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
            let mut waiter = std::pin::pin!(queue.wait(Priority::default(), |_| None::<()>));
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
            let mut waiter =
                std::pin::pin!(queue.wait_among(1, Priority::default(), |_| None::<()>));
            let mut unwoken = Context::from_waker(Waker::noop());
            assert!(waiter.as_mut().poll(&mut unwoken).is_pending());
            assert_eq!(
                queue.wait_among(1, Priority::default(), |_| Some(())).await,
                None
            );
        }
        assert_eq!(
            queue.wait_among(1, Priority::default(), |_| Some(())).await,
            Some(())
        );
        assert_eq!((queue.len(), queue.max()), (0, 1));
    }

    #[tokio::test(flavor = "current_thread")]
    async fn the_lowest_class_is_served_first_and_who_came_first_of_one() {
        let queue = Queue::default();
        let (slots, served) = (Cell::new(0), RefCell::new(Vec::new()));
        let waiter = |class, offset, name| {
            let priority = Priority { class, offset };
            let (slots, served) = (&slots, &served);
            queue.wait(priority, move |_| {
                (slots.get() > 0).then(|| slots.set(slots.get() - 1))?;
                served.borrow_mut().push(name);
                Some(())
            })
        };
        let server = async {
            for _ in 0..5 {
                slots.set(1);
                queue.wake_one();
                tokio::task::yield_now().await;
            }
        };
        tokio::join!(
            waiter(1, 0, "last"),
            waiter(0, 60_000, "later"),
            waiter(0, 0, "first"),
            waiter(0, 0, "second"),
            waiter(-1, 90_000, "before all"),
            server
        );
        let order = ["before all", "first", "second", "later", "last"];
        assert_eq!(*served.borrow(), order);
        assert!(queue.is_empty());
    }

    /// Waiters of several threads come one after the other, and more slots than one are freed while others try to take
    /// them.
    #[test]
    fn they_are_served_in_the_order_in_which_they_came() {
        const WAITERS: u32 = 24;
        let queue = Arc::<Queue>::default();
        let slots = Arc::<AtomicU32>::default();
        let served = Arc::<Mutex<Vec<u32>>>::default();
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
                    let attempt = |_| {
                        take(&slots)?;
                        served.lock().expect("not poisoned").push(number);
                        Some(())
                    };
                    at.wait(Priority::default(), attempt).await;
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
