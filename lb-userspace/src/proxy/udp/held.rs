//! Datagrams that may have to be sent later or again: before a server is found, and until it has answered, since one that
//! refuses the first datagram has not seen it.

use std::{cell::Cell, rc::Rc};

/// Most that one flow keeps.
const MOST: usize = 4;
/// Most bytes that all flows of a worker keep.
const BUDGET: usize = 16 << 20;

/// What is kept by all flows of a worker, in bytes.
#[derive(Debug, Clone, Default)]
pub(super) struct Budget(Rc<Cell<usize>>);

impl Budget {
    /// Whether nothing more may be kept.
    pub(super) fn is_spent(&self) -> bool {
        self.0.get() >= BUDGET
    }
}

/// What one flow keeps.
#[derive(Debug)]
pub(super) struct Held {
    datagrams: Vec<Box<[u8]>>,
    budget: Budget,
}

impl Held {
    pub(super) fn new(budget: &Budget) -> Self {
        Self {
            datagrams: Vec::new(),
            budget: budget.clone(),
        }
    }

    /// Keeps a copy, if it is one of the first and there is room.
    pub(super) fn keep(&mut self, data: &[u8]) {
        if self.datagrams.len() < MOST && !self.budget.is_spent() {
            self.budget.0.set(self.budget.0.get() + data.len());
            self.datagrams.push(data.into());
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.datagrams.is_empty()
    }

    /// In the order in which they came.
    pub(super) fn iter(&self) -> impl Iterator<Item = &[u8]> {
        self.datagrams.iter().map(|data| &**data)
    }

    /// Keeps nothing any more.
    pub(super) fn clear(&mut self) {
        let bytes: usize = self.iter().map(<[u8]>::len).sum();
        self.budget.0.set(self.budget.0.get() - bytes);
        self.datagrams = Vec::new();
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_few_are_kept_within_the_budget() {
        let budget = Budget::default();
        let mut held = Held::new(&budget);
        for n in 0..10u8 {
            held.keep(&[n; 100]);
        }
        let kept: Vec<u8> = held.iter().map(|data| data[0]).collect();
        assert_eq!(kept, [0, 1, 2, 3]);
        let many: Vec<Held> = (0..400)
            .map(|_| {
                let mut held = Held::new(&budget);
                held.keep(&[0; 65_507]);
                held
            })
            .collect();
        assert!(budget.is_spent());
        assert!(
            budget.0.get() < BUDGET + 65_507,
            "never more than one above"
        );
        drop(many);
        held.clear();
        assert_eq!(budget.0.get(), 0);
    }
}
