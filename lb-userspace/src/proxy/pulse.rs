//! Whether the workers still turn their loops, for a watchdog.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use tokio::sync::{Notify, watch};

use super::Stop;
use crate::observe::log::held;

/// One worker's. It is asked, and answers once its runtime comes to it: a task that never yields keeps it from that.
#[derive(Debug)]
struct Pulse {
    asked: Notify,
    answered: AtomicBool,
    /// Its thread has ended.
    over: AtomicBool,
}

/// Those of all workers.
#[derive(Debug, Clone)]
pub struct Pulses {
    each: Vec<Arc<Pulse>>,
    stop: watch::Receiver<Stop>,
}

/// A worker's own end of it; the worker counts as ended when this is dropped.
#[derive(Debug)]
pub(super) struct Beat(Arc<Pulse>);

impl Pulses {
    pub(super) fn new(stop: watch::Receiver<Stop>) -> Self {
        Self {
            each: Vec::new(),
            stop,
        }
    }

    /// One more worker.
    pub(super) fn add(&mut self) -> Beat {
        let pulse = Arc::new(Pulse {
            asked: Notify::new(),
            answered: AtomicBool::new(true),
            over: AtomicBool::new(false),
        });
        self.each.push(Arc::clone(&pulse));
        Beat(pulse)
    }

    /// Asks all, and says whether all have answered since they were last asked. Those that have ended as they were told to
    /// need not.
    ///
    /// # Errors
    /// The number of one that has not.
    pub fn take(&self) -> Result<(), usize> {
        let stopping = *self.stop.borrow() > Stop::Running;
        let mut dead = None;
        for (index, pulse) in self.each.iter().enumerate() {
            let over = pulse.over.load(Ordering::Relaxed);
            let answered = pulse.answered.swap(false, Ordering::Relaxed);
            let well = if over { stopping } else { answered };
            if !well {
                dead = dead.or(Some(index));
            }
            pulse.asked.notify_one();
        }
        dead.map_or(Ok(()), Err)
    }
}

impl Beat {
    /// Answers for ever. To be spawned on the worker's own runtime.
    pub(super) fn answer(&self) -> impl Future<Output = ()> + Send + 'static {
        let pulse = Arc::clone(&self.0);
        async move {
            loop {
                pulse.asked.notified().await;
                // One that is never idle never waits for anything.
                held::deliver();
                pulse.answered.store(true, Ordering::Relaxed);
            }
        }
    }
}

impl Drop for Beat {
    fn drop(&mut self) {
        self.0.over.store(true, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_that_hangs_or_dies_is_found_and_one_that_was_told_to_end_is_not() {
        let stop = watch::Sender::new(Stop::Running);
        let mut pulses = Pulses::new(stop.subscribe());
        let (first, second) = (pulses.add(), pulses.add());
        let runtimes = [(); 2].map(|()| {
            tokio::runtime::Builder::new_current_thread()
                .build()
                .unwrap()
        });
        runtimes[0].spawn(first.answer());
        runtimes[1].spawn(second.answer());
        let turn = |index: usize| {
            runtimes[index].block_on(async {
                for _ in 0..4 {
                    tokio::task::yield_now().await;
                }
            });
        };
        assert_eq!(pulses.take(), Ok(()), "nobody was asked before");
        turn(0);
        turn(1);
        assert_eq!(pulses.take(), Ok(()));
        turn(0);
        assert_eq!(pulses.take(), Err(1), "the second has not come to it");
        turn(0);
        turn(1);
        assert_eq!(pulses.take(), Ok(()), "it was late, and is well again");
        turn(1);
        drop(first);
        assert_eq!(pulses.take(), Err(0), "its thread ended by itself");
        turn(1);
        stop.send_replace(Stop::Graceful);
        assert_eq!(pulses.take(), Ok(()), "it was told to");
    }
}
