//! When a server is checked, and what comes of it: the keys that hold for all connections of a check.

use std::time::Duration;

use super::{
    super::{decode::Decoder, model::Observe, observe, table::Table},
    SHORTEST, no_effect,
};

/// HAProxy's default.
const INTERVAL: Duration = Duration::from_secs(2);
/// HAProxy's default.
const RISE: u32 = 2;
/// HAProxy's default.
const FALL: u32 = 3;

/// When and how often, and what comes of it: what holds for all connections of a check.
#[derive(Debug, Clone, Copy)]
pub(super) struct When {
    pub(super) interval: Duration,
    pub(super) fast_interval: Option<Duration>,
    pub(super) down_interval: Option<Duration>,
    pub(super) rise: u32,
    pub(super) fall: u32,
    pub(super) timeout: Option<Duration>,
    pub(super) observe: Option<Observe>,
}

pub(super) fn when(d: &mut Decoder<'_>, table: &mut Table<'_>) -> When {
    let mut pause = |d: &mut Decoder<'_>, key: &'static str| {
        let e = table.take(key)?;
        d.duration(&e.value, &format!("`{key}`"), SHORTEST)
    };
    let interval = pause(d, "interval");
    let fast_interval = pause(d, "fast_interval");
    let down_interval = pause(d, "down_interval");
    let mut count = |d: &mut Decoder<'_>, key: &'static str| {
        let e = table.take(key)?;
        d.number(&e.value, &format!("`{key}`"), 1..=1000)
    };
    let rise = count(d, "rise");
    let fall = count(d, "fall");
    let timeout = table
        .take("timeout")
        .and_then(|e| d.duration(&e.value, "`timeout`", Duration::from_millis(1)));
    When {
        interval: interval.unwrap_or(INTERVAL),
        fast_interval,
        down_interval,
        rise: rise.unwrap_or(RISE),
        fall: fall.unwrap_or(FALL),
        timeout,
        observe: observe::decode(d, table),
    }
}

/// What a server is told of its state, and may say of it.
#[derive(Debug, Clone, Copy)]
pub(super) struct States {
    pub(super) disable_on_404: bool,
    pub(super) send_state: bool,
}

pub(super) fn states(
    d: &mut Decoder<'_>,
    table: &mut Table<'_>,
    fits: impl Fn(&str) -> bool,
) -> States {
    let mut flag = |key: &'static str| {
        let Some(e) = table.take(key) else {
            return false;
        };
        if !fits(key) {
            no_effect(d, e);
        }
        d.boolean(&e.value, &format!("`{key}`")).unwrap_or(false)
    };
    States {
        disable_on_404: flag("disable_on_404"),
        send_state: flag("send_state"),
    }
}
