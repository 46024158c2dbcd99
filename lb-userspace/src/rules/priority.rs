//! In which order queues are served: by class, and within one by when they came, with an offset.

use super::value::{Kind, Value};

/// HAProxy's bounds of a class, to either side.
const CLASSES: i64 = 0x7ff;
/// Those of an offset.
const OFFSETS: i64 = 0x7_ffff;

/// Where in a queue somebody belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Priority {
    /// Lower ones are served first.
    pub class: i64,
    /// Milliseconds by which it counts as having come later.
    pub offset: i64,
}

/// What of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PriorityPart {
    /// `class`
    Class,
    /// `offset`
    Offset,
}

impl Priority {
    /// Changes a part of it; what is no number changes nothing.
    pub(super) fn set(&mut self, part: PriorityPart, value: Option<Value<'_>>) {
        let Some(number) = value.and_then(|value| value.cast(Kind::Int)?.as_int()) else {
            return;
        };
        match part {
            PriorityPart::Class => self.class = number.clamp(-CLASSES, CLASSES),
            PriorityPart::Offset => self.offset = number.clamp(-OFFSETS, OFFSETS),
        }
    }

    /// A part of it.
    pub fn get(&self, part: PriorityPart) -> i64 {
        match part {
            PriorityPart::Class => self.class,
            PriorityPart::Offset => self.offset,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_much_is_the_most_and_what_is_no_number_is_nothing() {
        let mut priority = Priority::default();
        priority.set(PriorityPart::Class, Some(Value::Int(-5)));
        priority.set(PriorityPart::Offset, Some(Value::Int(1_000_000)));
        priority.set(PriorityPart::Class, None);
        assert_eq!((priority.class, priority.offset), (-5, 0x7_ffff));
        priority.set(PriorityPart::Class, Some(Value::Int(i64::MIN)));
        assert_eq!(priority.get(PriorityPart::Class), -0x7ff);
    }
}
