//! `set_timeout`: how long this request waits where its backend would have it wait for another time.

use std::time::Duration;

use super::{
    scene::Scene,
    template::Template,
    value::{Kind, Value},
};

/// Longest time that an expression may ask for: 24 days, HAProxy's own.
const MOST: i64 = i32::MAX as i64;

/// What is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Awaited {
    /// What the server says, in place of `timeouts.server`.
    Server,
    /// Either end of a tunnel, in place of `timeouts.tunnel`.
    Tunnel,
}

/// How long.
#[derive(Debug, Clone)]
pub enum Patience {
    /// So long.
    Is(Duration),
    /// As many milliseconds as this comes to.
    Asked(Template),
}

/// What rules have said of either.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Patiences([Option<Duration>; 2]);

impl Patience {
    /// In milliseconds.
    pub(super) fn value(&self, scene: &Scene<'_>) -> Option<Value<'static>> {
        match self {
            Self::Is(time) => i64::try_from(time.as_millis()).ok().map(Value::Int),
            Self::Asked(template) => template.value(scene),
        }
    }
}

impl Patiences {
    /// Takes what a rule has come to; what is no time changes nothing.
    pub(super) fn set(&mut self, of: Awaited, value: Option<Value<'static>>) {
        let number = value.and_then(|value| value.cast(Kind::Int)?.as_int());
        let number = number.filter(|number| (1..=MOST).contains(number));
        if let Some(ms) = number.and_then(|number| u64::try_from(number).ok()) {
            self.0[of as usize] = Some(Duration::from_millis(ms));
        }
    }

    pub(super) fn get(&self, of: Awaited) -> Option<Duration> {
        self.0[of as usize]
    }
}
