//! When a server is checked, and what comes of it: the keys that hold for all connections of a check.

use std::time::Duration;

use super::{
    super::{decode::Decoder, model::Observe, observe, table::Table, tree::Entry},
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
    let pause = |d: &mut Decoder<'_>, e: Option<&Entry>| {
        let e = e?;
        d.duration(&e.value, &format!("`{}`", e.key), SHORTEST)
    };
    let interval = pause(d, table.take("interval"));
    let fast_interval = pause(d, table.take("fast_interval"));
    let down_interval = pause(d, table.take("down_interval"));
    let count = |d: &mut Decoder<'_>, e: Option<&Entry>| {
        let e = e?;
        d.number(&e.value, &format!("`{}`", e.key), 1..=1000)
    };
    let rise = count(d, table.take("rise"));
    let fall = count(d, table.take("fall"));
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
    let mut flag = |e: Option<&Entry>| {
        let Some(e) = e else {
            return false;
        };
        if !fits(&e.key) {
            no_effect(d, e);
        }
        d.boolean(&e.value, &format!("`{}`", e.key))
            .unwrap_or(false)
    };
    States {
        disable_on_404: flag(table.take("disable_on_404")),
        send_state: flag(table.take("send_state")),
    }
}
