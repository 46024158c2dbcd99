//! HAProxy's runtime commands about stick tables.

use std::{fmt::Write, sync::Arc};

use crate::{
    rules::{Data, Handle, Key, Kind, Removed, Table, Value},
    topology::Topology,
};

/// What is done to entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Action {
    Show,
    Set,
    Clear,
}

/// The answer to a command about tables; `None` if it is none.
pub(super) fn answer(topology: &Topology, words: &[&str]) -> Option<Result<String, String>> {
    let (action, rest) = match *words {
        ["show", "table", ref rest @ ..] => (Action::Show, rest),
        ["set", "table", ref rest @ ..] => (Action::Set, rest),
        ["clear", "table", ref rest @ ..] => (Action::Clear, rest),
        _ => return None,
    };
    Some(run(topology, action, rest))
}

fn run(topology: &Topology, action: Action, words: &[&str]) -> Result<String, String> {
    let now = topology.clock.now_ms();
    let made = || {
        topology
            .tables
            .iter()
            .filter_map(|handle| Some((handle, handle.table()?)))
    };
    let Some((name, rest)) = words.split_first() else {
        let list = |action| match action {
            Action::Show => Ok(made()
                .map(|(handle, table)| head(handle, table, now))
                .collect()),
            Action::Set => {
                Err("Required arguments: <table> key <key> [data.<store_data_type> <value>]*")
            }
            Action::Clear => Err(
                "Required arguments: <table> \"data.<store_data_type>\" <operator> <value> or <table> key <key>",
            ),
        };
        return list(action).map_err(str::to_owned);
    };
    let (handle, table) = made()
        .find(|(handle, _)| handle.name() == *name)
        .ok_or("No such table")?;
    match *rest {
        ["key", ref rest @ ..] => by_key(handle, table, action, rest, now),
        [first, ..] if first.starts_with("data.") => by_data(handle, table, action, rest, now),
        // HAProxy removes all entries here, which nobody can have meant.
        [] if action == Action::Set => Ok(String::new()),
        [] => Ok(each(handle, table, action, now, |_| true)),
        _ => Err(match action {
            Action::Show => "Optional argument only supports \"data.<store_data_type>\" <operator> <value> and key <key>",
            Action::Set => "Required arguments: <table> key <key> [data.<store_data_type> <value>]*",
            Action::Clear => "Required arguments: <table> \"data.<store_data_type>\" <operator> <value> or <table> key <key>",
        }
        .to_owned()),
    }
}

/// `# table: web, type: ip, size:102400, used:1`
fn head(handle: &Handle, table: &Table, now: u64) -> String {
    let kind = match table.key().key {
        Kind::Ip => "ip",
        Kind::Int => "integer",
        Kind::Bin => "binary",
        Kind::Str | Kind::Method | Kind::Bool => "string",
    };
    let (size, used) = (table.key().size, table.entries(now).count());
    format!(
        "# table: {}, type: {kind}, size:{size}, used:{used}\n",
        handle.name()
    )
}

/// `0x7f…: key=192.0.2.1 use=0 exp=1799 gpc0=1 http_req_rate(10000)=2`
fn line(table: &Table, entry: &Arc<crate::rules::Entry>, now: u64) -> String {
    let mut out = String::new();
    // A String takes everything.
    let _ = write!(
        out,
        "{:#x}: key={} use={} exp={}",
        entry.place(),
        entry.key().text(table.key()),
        entry.followers(),
        table.left(entry, now)
    );
    for (data, period, value) in table.stored(entry, now) {
        let name = data.name();
        let _ = match (data.index(), period) {
            (None, 0) => write!(out, " {name}={value}"),
            (None, _) => write!(out, " {name}({period})={value}"),
            (Some(index), 0) => write!(out, " {name}({index})={value}"),
            (Some(index), _) => write!(out, " {name}({index},{period})={value}"),
        };
    }
    out.push('\n');
    out
}

/// Does it to all entries that are `wanted`; those that are followed stay.
fn each(
    handle: &Handle,
    table: &Table,
    action: Action,
    now: u64,
    wanted: impl Fn(&crate::rules::Entry) -> bool,
) -> String {
    let mut out = match action {
        Action::Show => head(handle, table, now),
        Action::Set | Action::Clear => String::new(),
    };
    for entry in table.entries(now).filter(|entry| wanted(entry)) {
        match action {
            Action::Show => out.push_str(&line(table, &entry, now)),
            Action::Clear => {
                table.remove(entry.key());
            }
            Action::Set => {}
        }
    }
    out
}

fn by_key(
    handle: &Handle,
    table: &Table,
    action: Action,
    words: &[&str],
    now: u64,
) -> Result<String, String> {
    let (text, mut rest) = words.split_first().ok_or("Key value expected")?;
    let layout = table.key();
    if layout.key == Kind::Bin && action == Action::Set {
        return Err("Inserting keys into tables of type other than ip, ipv6, string and integer is not supported".to_owned());
    }
    let value = match layout.key {
        Kind::Bin => Value::bytes_of_hex(text),
        kind => Value::text(text).into_owned().read(kind),
    };
    let key = value
        .and_then(|value| Key::of(value, layout))
        .ok_or("Invalid key")?;
    match action {
        Action::Show => Ok(table.find(&key, now).map_or_else(String::new, |entry| {
            head(handle, table, now) + &line(table, &entry, now)
        })),
        Action::Clear => match table.remove(&key) {
            Removed::InUse => Err("Entry currently in use, cannot remove".to_owned()),
            Removed::Done | Removed::Absent => Ok(String::new()),
        },
        Action::Set => {
            let mut values = Vec::new();
            while let [name, after @ ..] = rest {
                let name = name
                    .strip_prefix("data.")
                    .ok_or("\"data.<type>\" followed by a value expected")?;
                let data = stored(table, name)?;
                let value = after.first().and_then(|value| value.parse::<u64>().ok());
                values.push((data, value.ok_or("Require a valid integer value to store")?));
                rest = after.get(1..).unwrap_or_default();
            }
            let entry = table
                .entry(key, now)
                .ok_or("Unable to allocate a new entry")?;
            for (data, value) in values {
                table.put(&entry, data, value, now);
            }
            Ok(String::new())
        }
    }
}

/// What is called so, if the table stores it.
fn stored(table: &Table, name: &str) -> Result<Data, String> {
    let data = Data::by_name(name).ok_or("Unknown data type")?;
    let mut store = table.key().store.iter();
    match store.any(|(stored, _)| *stored == data) {
        true => Ok(data),
        false => Err("Data type not stored in this table".to_owned()),
    }
}

/// Most conditions of one command, as in HAProxy.
const MOST_FILTERS: usize = 4;

fn by_data(
    handle: &Handle,
    table: &Table,
    action: Action,
    words: &[&str],
    now: u64,
) -> Result<String, String> {
    if action == Action::Set {
        return Err(
            "content-based lookup is only supported with the \"show\" and \"clear\" actions"
                .to_owned(),
        );
    }
    let mut filters = Vec::new();
    for (number, filter) in (1..).zip(words.chunks(3).take(MOST_FILTERS)) {
        let wrong = |why: &str| format!("Filter entry #{number}: {why}");
        let name = filter.first().and_then(|name| name.strip_prefix("data."));
        let name = name.ok_or_else(|| wrong("Data type expected"))?;
        let data = stored(table, name).map_err(|why| wrong(&why))?;
        let compare: fn(&u64, &u64) -> bool = match filter.get(1).copied().unwrap_or_default() {
            "eq" => u64::eq,
            "ne" => u64::ne,
            "le" => u64::le,
            "ge" => u64::ge,
            "lt" => u64::lt,
            "gt" => u64::gt,
            _ => {
                return Err(wrong(
                    "Require and operator among \"eq\", \"ne\", \"le\", \"ge\", \"lt\", \"gt\"",
                ));
            }
        };
        let value = filter.get(2).and_then(|value| value.parse::<u64>().ok());
        let value =
            value.ok_or_else(|| wrong("Require a valid integer value to compare against"))?;
        filters.push((data, compare, value));
    }
    Ok(each(handle, table, action, now, |entry| {
        filters.iter().all(|(data, compare, value)| {
            let mut stored = table.stored(entry, now);
            stored.any(|(found, _, n)| found == *data && compare(&n, value))
        })
    }))
}
