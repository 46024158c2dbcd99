//! Lines that a worker keeps back until it has nothing else to do at the moment: a queue that other threads use costs four
//! locks of the bus each time, and a worker that is busy ends several requests in a row.

use std::{cell::RefCell, time::Duration};

use super::sink::{Line, Sink};

/// No more lines are kept back, and none longer than until one that ends so much later.
const MOST: usize = 32;
const LONGEST: Duration = Duration::from_millis(50);

thread_local! {
    static HELD: RefCell<Option<Held>> = const { RefCell::new(None) };
}

struct Held {
    sink: Sink,
    lines: Vec<Line>,
}

impl Held {
    fn is_late(&self) -> bool {
        let ends = self.lines.first().zip(self.lines.last());
        ends.is_some_and(|(first, last)| {
            let between = last.at.duration_since(first.at);
            between.is_ok_and(|between| between > LONGEST)
        })
    }

    fn deliver(&mut self) {
        if !self.lines.is_empty() {
            self.sink.send_many(std::mem::take(&mut self.lines));
        }
    }
}

/// While it lives its thread keeps lines back, and has to [`deliver`] them before it waits for anything.
#[derive(Debug)]
pub struct Holding(());

impl Holding {
    /// From now on what this thread has to say to `sink` waits.
    pub fn begin(sink: &Sink) -> Self {
        HELD.set(Some(Held {
            sink: sink.clone(),
            lines: Vec::new(),
        }));
        Self(())
    }
}

impl Drop for Holding {
    fn drop(&mut self) {
        deliver();
        let _ = HELD.try_with(|held| held.take());
    }
}

/// Keeps a line back; returns it if this thread does not.
pub(super) fn hold(sink: &Sink, line: Line) -> Option<Line> {
    let mut line = Some(line);
    with(|held| {
        if held.sink.is(sink) {
            held.lines.extend(line.take());
            if held.lines.len() >= MOST || held.is_late() {
                held.deliver();
            }
        }
    });
    line
}

/// Hands over what this thread has kept back.
pub fn deliver() {
    with(Held::deliver);
}

fn with(work: impl FnOnce(&mut Held)) {
    // A thread that is at its end keeps nothing back.
    let _ = HELD.try_with(|held| held.borrow_mut().as_mut().map(work));
}
