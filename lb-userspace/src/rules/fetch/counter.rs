//! Fetches of what tables count: `sc_NAME(N)`, `scN_NAME`, `src_NAME(TABLE)`.

use super::{Fetch, Scene, names::sticky};
use crate::rules::{
    args::Call,
    problem::Problem,
    registry::Registry,
    table::{Data, Handle, Key, Table, Tracked},
    value::Value,
};

use std::sync::Arc;

/// Whose entry of a table.
#[derive(Debug, Clone)]
pub enum Counted {
    /// The one that a counter follows.
    Tracked(u8),
    /// The client's address in a table.
    Source(Arc<Handle>),
    /// The key of the one that a counter follows, in a table.
    TrackedIn(u8, Arc<Handle>),
}

/// What is done with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// It is read.
    Get,
    /// It grows by one, and is read.
    Increase,
    /// It is read, and becomes 0.
    Clear,
    /// Not it, but how many follow its entry is read.
    Followers,
}

impl Counted {
    /// What is stored of an entry; `None` if nothing is, 0 where there is no entry.
    pub(super) fn sample(
        &self,
        data: Data,
        operation: Operation,
        scene: &Scene<'_>,
    ) -> Option<i64> {
        let now = scene.world.now_ms();
        match self {
            Self::Tracked(sc) => {
                let tracked = scene.state.tracked(*sc)?;
                on_tracked(tracked, data, operation, now)
            }
            Self::Source(handle) => {
                let table = handle.table()?;
                let key = Key::of(Value::Ip(scene.world.source()?.ip()), table.key())?;
                on_key(table, &key, data, operation, now)
            }
            Self::TrackedIn(sc, handle) => {
                let key = scene.state.tracked(*sc)?.key();
                on_key(handle.table()?, key, data, operation, now)
            }
        }
    }
}

fn on_tracked(tracked: &Tracked, data: Data, operation: Operation, now: u64) -> Option<i64> {
    match operation {
        Operation::Followers => i64::try_from(tracked.followers()).ok(),
        Operation::Get => tracked.get(data, now),
        Operation::Increase => {
            tracked.count(data, 1, now);
            tracked.get(data, now)
        }
        Operation::Clear => {
            let before = tracked.get(data, now);
            tracked.set(data, 0);
            before
        }
    }
}

fn on_key(table: &Table, key: &Key, data: Data, operation: Operation, now: u64) -> Option<i64> {
    let entry = match operation {
        // As HAProxy has it, what is counted makes an entry.
        Operation::Increase => table.entry(key.clone(), now),
        Operation::Get | Operation::Clear | Operation::Followers => table.find(key, now),
    };
    let Some(entry) = entry else { return Some(0) };
    match operation {
        Operation::Followers => i64::try_from(entry.followers()).ok(),
        Operation::Get => table.get(&entry, data, now),
        Operation::Increase => {
            table.count(&entry, data, 1, now);
            table.get(&entry, data, now)
        }
        Operation::Clear => {
            let before = table.get(&entry, data, now);
            table.set_number(&entry, data, 0);
            before
        }
    }
}

/// What a name behind `sc_` or `src_` is about: what is stored, or of which array, and what is done.
enum Named {
    Single(Data, Operation),
    Array(&'static str, Operation),
}

fn named(name: &str) -> Option<Named> {
    use Operation::{Clear, Get, Increase};
    Some(match name {
        "get_gpc" => Named::Array("gpc", Get),
        "inc_gpc" => Named::Array("gpc", Increase),
        "clr_gpc" => Named::Array("gpc", Clear),
        "gpc_rate" => Named::Array("gpc_rate", Get),
        "get_gpt" => Named::Array("gpt", Get),
        "inc_gpc0" => Named::Single(Data::Gpc0, Increase),
        "inc_gpc1" => Named::Single(Data::Gpc1, Increase),
        "clr_gpc0" => Named::Single(Data::Gpc0, Clear),
        "clr_gpc1" => Named::Single(Data::Gpc1, Clear),
        _ => Named::Single(Data::by_fetch(name)?, Get),
    })
}

impl Named {
    /// With the place in the array that the call's argument at `at` says, and how many arguments that took.
    fn at(&self, call: &Call, at: usize) -> Result<(Data, Operation, usize), Problem> {
        let (name, operation) = match self {
            Self::Single(data, operation) => return Ok((*data, *operation, 0)),
            Self::Array(name, operation) => (name, *operation),
        };
        let text = call.need(at, "a place in the array, counted from 0")?;
        let index = text.trim().parse().ok().filter(|index| *index < 100);
        let data = index.and_then(|index| Data::of_array_named(name, index));
        match data {
            Some(data) => Ok((data, operation, 1)),
            None => Err(Problem::new(
                format!("`{text}` is no place in an array"),
                "write a number from 0 to 99",
            )),
        }
    }
}

/// A fetch of what is counted, with how many arguments it takes.
pub(super) fn counter(
    call: &Call,
    registry: &mut Registry<'_>,
) -> Result<Option<(Fetch, usize)>, Problem> {
    let name = call.name.as_str();
    if name == "src_updt_conn_cnt" {
        let fetch = Fetch::Counter {
            of: Counted::Source(registry.table_or_own(call.optional(0), name)?),
            data: Data::ConnCnt,
            operation: Operation::Increase,
        };
        return Ok(Some((fetch, 1)));
    }
    if let Some(what) = name.strip_prefix("src_").and_then(named) {
        let (data, operation, taken) = what.at(call, 0)?;
        let of = Counted::Source(registry.table_or_own(call.optional(taken), name)?);
        let fetch = Fetch::Counter {
            of,
            data,
            operation,
        };
        return Ok(Some((fetch, taken + 1)));
    }
    let (written, rest) = match name.strip_prefix("sc_") {
        Some(rest) => (None, rest),
        None => match name
            .strip_prefix("sc")
            .and_then(|rest| rest.split_once('_'))
        {
            Some((digit @ ("0" | "1" | "2"), rest)) => (Some(digit), rest),
            _ => return Ok(None),
        },
    };
    let what = match rest {
        "tracked" => None,
        "trackers" => Some(Named::Single(Data::ConnCur, Operation::Followers)),
        _ => match named(rest) {
            Some(what) => Some(what),
            None => return Ok(None),
        },
    };
    let (found, mut taken) = match &what {
        None => (None, 0),
        Some(what) => {
            let (data, operation, taken) = what.at(call, 0)?;
            (Some((data, operation)), taken)
        }
    };
    let sc = match written {
        Some(digit) => sticky(digit)?,
        None => {
            let sc = sticky(call.need(taken, "the number of a counter")?)?;
            taken += 1;
            sc
        }
    };
    let Some((data, operation)) = found else {
        return Ok(Some((Fetch::IsTracked(sc), taken)));
    };
    // The table is the last argument, where one is named.
    let of = match call.optional(taken) {
        Some(table) => Counted::TrackedIn(sc, registry.table(table)),
        None => Counted::Tracked(sc),
    };
    let fetch = Fetch::Counter {
        of,
        data,
        operation,
    };
    Ok(Some((fetch, taken + 1)))
}
