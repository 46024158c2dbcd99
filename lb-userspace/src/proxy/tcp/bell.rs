//! A waker between a task and some of what it waits for, so that it asks those only when they have called.
//!
//! A future that is polled whenever its task wakes is asked in vain by every other event of the task, and each time it has to
//! see to its waker again. With a waker of its own it keeps that, and its call tells whom it came from.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    task::{Context, Wake, Waker},
};

/// What stands between. New, it has rung: whoever has not been asked yet cannot call.
#[derive(Debug, Default)]
pub(super) struct Bell(Option<Rope>);

#[derive(Debug)]
struct Rope {
    line: Arc<Line>,
    /// `line`, as those who wait have it.
    waker: Waker,
    /// The task, as `line` knows it.
    task: Waker,
}

#[derive(Debug)]
struct Line {
    rung: AtomicBool,
    task: Mutex<Waker>,
}

impl Line {
    /// The task; a poisoned lock holds a waker like any other.
    fn task(&self) -> std::sync::MutexGuard<'_, Waker> {
        self.task.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Wake for Line {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.rung.store(true, SeqCst);
        let task = self.task().clone();
        task.wake();
    }
}

/// The answer of a bell.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rung<'a> {
    /// Whether somebody has called since it was last asked: all who wait by it are to be polled.
    pub(super) is_so: bool,
    waker: &'a Waker,
}

impl<'a> Rung<'a> {
    /// What those are polled with.
    pub(super) fn context(self) -> Context<'a> {
        Context::from_waker(self.waker)
    }
}

impl Bell {
    /// Whether it has rung for the task that is polled now.
    pub(super) fn ask(&mut self, cx: &Context<'_>) -> Rung<'_> {
        let is_new = self.0.is_none();
        let rope = self.0.get_or_insert_with(|| Rope::to(cx.waker()));
        // A task's waker stays the same as a rule. Before anybody is polled: a call may come at once.
        if !rope.task.will_wake(cx.waker()) {
            rope.task.clone_from(cx.waker());
            rope.line.task().clone_from(cx.waker());
        }
        Rung {
            // Read first, which is cheaper than to write.
            is_so: is_new || (rope.line.rung.load(SeqCst) && rope.line.rung.swap(false, SeqCst)),
            waker: &rope.waker,
        }
    }
}

impl Rope {
    fn to(task: &Waker) -> Self {
        let line = Arc::new(Line {
            rung: AtomicBool::new(false),
            task: Mutex::new(task.clone()),
        });
        Self {
            waker: Waker::from(Arc::clone(&line)),
            line,
            task: task.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU32;

    use super::*;

    #[derive(Default)]
    struct Task(AtomicU32);

    impl Wake for Task {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, SeqCst);
        }
    }

    #[test]
    fn it_tells_once_of_each_call_and_wakes_the_task() {
        let (first, second) = (Arc::new(Task::default()), Arc::new(Task::default()));
        let woken = || (first.0.load(SeqCst), second.0.load(SeqCst));
        let (one, two) = (Arc::clone(&first).into(), Arc::clone(&second).into());
        let (one, two) = (Context::from_waker(&one), Context::from_waker(&two));
        let mut bell = Bell::default();
        let rung = bell.ask(&one);
        assert!(rung.is_so, "who was never polled cannot call");
        let waiter = rung.context().waker().clone();
        assert!(!bell.ask(&one).is_so);
        waiter.wake_by_ref();
        assert_eq!(woken(), (1, 0));
        assert!(bell.ask(&one).is_so);
        assert!(!bell.ask(&two).is_so, "nobody has called since");
        waiter.wake();
        assert_eq!(woken(), (1, 1), "the task moved");
        assert!(bell.ask(&two).is_so);
    }
}
