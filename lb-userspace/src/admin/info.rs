//! `show info`: facts of the process, under HAProxy's names and in its order. What lb does not count is left out.

use std::{fmt::Write, fs, time::SystemTime};

use serde_json::{Value, json};

use super::typed::{Datum, Form, Tag};
use crate::observe::{
    log::clock::Calendar,
    stats::{self, Row, Sources},
};

/// What tools look for before they go on: haproxyadmin speaks to nobody of another name.
const NAME: &str = "HAProxy";

struct Line {
    /// HAProxy's number of it.
    place: usize,
    name: &'static str,
    tag: Tag,
    datum: Datum,
    desc: &'static str,
}

/// Answers `show info [desc] [typed|json]`; as HAProxy, it looks at nothing else.
pub(super) fn show(sources: &Sources, words: &[&str]) -> String {
    let mut form = Form::default();
    for word in words {
        form.take(word);
    }
    let lines = lines(sources);
    if form.json {
        let lines: Vec<Value> = lines.iter().map(as_json).collect();
        return format!("{}\n", Value::from(lines));
    }
    let mut out = String::new();
    for Line {
        place,
        name,
        tag,
        datum,
        desc,
    } in &lines
    {
        // A String takes everything, here and below.
        let _ = match form.typed {
            true => write!(out, "{place}.{name}.1:{}:{datum}", tag.text()),
            false => write!(out, "{name}: {datum}"),
        };
        if form.desc {
            let _ = write!(out, ":\"{desc}\"");
        }
        out.push('\n');
    }
    out
}

fn as_json(line: &Line) -> Value {
    json!({
        "field": {"pos": line.place, "name": line.name},
        "processNum": 1,
        "tags": line.tag.json(),
        "value": line.tag.value(&line.datum),
    })
}

fn lines(sources: &Sources) -> Vec<Line> {
    let snapshot = sources.snapshot();
    let topology = sources.topology();
    let process = &snapshot.process;
    let sum = |column: fn(&Row) -> Option<u64>| -> u64 {
        let rows = snapshot.frontends.iter().map(|frontend| &frontend.row);
        rows.filter_map(column).sum()
    };
    let most = |column: fn(&Row) -> Option<u64>| -> u64 {
        let rows = snapshot.frontends.iter().map(|frontend| &frontend.row);
        rows.filter_map(column).max().unwrap_or(0)
    };
    let connections: u64 = topology
        .frontends
        .iter()
        .map(|frontend| frontend.counters.connections.value())
        .sum();
    let maxconn = u64::from(process.maxconn.unwrap_or(0));
    let hard = u64::from(sources.process.hard_maxconn().unwrap_or(0));
    let binds: usize = topology
        .frontends
        .iter()
        .map(|f| f.config.binds.len())
        .sum();
    let memory = stats::resident();
    let files = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    let text = |text: &dyn std::fmt::Display| Datum::Text(text.to_string());
    let number = |number: u64| Datum::Number(number.into());
    let size = |number: usize| Datum::Number(number as i128);
    let mut lines = Vec::new();
    let mut line = |place, name, tag, kind, datum, desc| {
        let tag = Tag(tag, kind);
        lines.push(Line {
            place,
            name,
            tag,
            datum,
            desc,
        });
    };
    line(
        0,
        "Name",
        "POS",
        "str",
        text(&NAME),
        "Whose commands these are",
    );
    line(
        1,
        "Version",
        "POS",
        "str",
        text(&process.version),
        "Version of lb",
    );
    line(
        2,
        "Release_date",
        "POS",
        "str",
        text(&released()),
        "Date of the program's file",
    );
    line(
        3,
        "Nbthread",
        "CGS",
        "u32",
        size(process.threads),
        "Worker threads",
    );
    line(4, "Nbproc", "CGS", "u32", number(1), "Processes, always 1");
    line(
        5,
        "Process_num",
        "KGP",
        "u32",
        number(1),
        "Number of this one",
    );
    line(
        6,
        "Pid",
        "SGP",
        "u32",
        number(process.pid.into()),
        "Process id",
    );
    line(
        7,
        "Uptime",
        "MDP",
        "str",
        text(&process.uptime_text()),
        "Time since the start",
    );
    line(
        8,
        "Uptime_sec",
        "MDP",
        "u32",
        number(process.uptime),
        "Seconds since the start",
    );
    line(
        9,
        "Memmax_MB",
        "CLP",
        "u32",
        number(0),
        "Limit of memory in MB, 0 for none",
    );
    line(
        10,
        "PoolAlloc_MB",
        "MGP",
        "u32",
        number(memory >> 20),
        "Resident memory in MB",
    );
    line(
        11,
        "PoolUsed_MB",
        "MGP",
        "u32",
        number(memory >> 20),
        "Resident memory in MB",
    );
    line(
        12,
        "PoolFailed",
        "MCP",
        "u32",
        number(0),
        "Allocations that failed",
    );
    line(
        13,
        "Ulimit-n",
        "CLP",
        "u32",
        number(files.unwrap_or(0)),
        "Limit of file descriptors",
    );
    line(
        14,
        "Maxsock",
        "CLP",
        "u32",
        number(files.unwrap_or(0)),
        "Limit of sockets",
    );
    line(
        15,
        "Maxconn",
        "CLP",
        "u32",
        number(maxconn),
        "Limit of connections",
    );
    line(
        16,
        "Hard_maxconn",
        "CLP",
        "u32",
        number(hard),
        "Highest limit of connections that can be set",
    );
    line(
        17,
        "CurrConns",
        "MGP",
        "u32",
        number(process.current_connections),
        "Connections now",
    );
    line(
        18,
        "CumConns",
        "MCP",
        "u32",
        number(connections),
        "Connections so far",
    );
    line(
        19,
        "CumReq",
        "MCP",
        "u32",
        number(sum(|row| row.req_tot)),
        "Requests so far",
    );
    line(
        23,
        "Maxpipes",
        "CLP",
        "u32",
        number(0),
        "Limit of pipes, 0 for none",
    );
    line(24, "PipesUsed", "MGP", "u32", number(0), "Pipes in use");
    line(25, "PipesFree", "MGP", "u32", number(0), "Pipes kept");
    line(
        26,
        "ConnRate",
        "MRP",
        "u32",
        number(sum(|row| row.conn_rate)),
        "Connections in the last second",
    );
    line(
        27,
        "ConnRateLimit",
        "CLP",
        "u32",
        number(topology.rates.connections.rate().into()),
        "Limit of ConnRate, 0 for none",
    );
    line(
        28,
        "MaxConnRate",
        "MMP",
        "u32",
        number(most(|row| row.conn_rate_max)),
        "Highest rate of connections of a frontend",
    );
    line(
        29,
        "SessRate",
        "MRP",
        "u32",
        number(sum(|row| row.rate)),
        "Sessions in the last second",
    );
    line(
        30,
        "SessRateLimit",
        "CLP",
        "u32",
        number(topology.rates.sessions.rate().into()),
        "Limit of SessRate, 0 for none",
    );
    line(
        31,
        "MaxSessRate",
        "MRP",
        "u32",
        number(most(|row| row.rate_max)),
        "Highest rate of sessions of a frontend",
    );
    line(
        33,
        "SslRateLimit",
        "CLP",
        "u32",
        number(topology.rates.tls.rate().into()),
        "Limit of connections with TLS in a second, 0 for none",
    );
    line(
        42,
        "CompressBpsIn",
        "MRP",
        "u32",
        number(0),
        "Bytes given to compression in the last second",
    );
    line(
        43,
        "CompressBpsOut",
        "MRP",
        "u32",
        number(0),
        "Bytes that compression gave in the last second",
    );
    line(
        44,
        "CompressBpsRateLim",
        "CLP",
        "u32",
        number(0),
        "Limit of CompressBpsOut, 0 for none",
    );
    line(
        47,
        "Tasks",
        "MGP",
        "u32",
        number(process.current_connections),
        "Connections' tasks",
    );
    line(
        48,
        "Run_queue",
        "MGP",
        "u32",
        number(0),
        "Tasks that wait for a thread",
    );
    line(
        50,
        "node",
        "COS",
        "str",
        text(&process.node),
        "Name of the host",
    );
    line(
        51,
        "description",
        "COS",
        "str",
        text(&format_args!("lb {}", process.version)),
        "Who answers",
    );
    line(
        52,
        "Stopping",
        "MGP",
        "u32",
        number(process.stopping.into()),
        "1 while it stops",
    );
    line(
        53,
        "Jobs",
        "MGP",
        "u32",
        number(process.current_connections + binds as u64),
        "Connections and listeners",
    );
    line(
        54,
        "Unstoppable Jobs",
        "MGP",
        "u32",
        number(0),
        "Jobs that a stop does not wait for",
    );
    line(
        55,
        "Listeners",
        "MGP",
        "u32",
        size(binds),
        "Binds of frontends",
    );
    line(
        56,
        "ActivePeers",
        "MGP",
        "u32",
        number(0),
        "Peers connected",
    );
    line(
        57,
        "ConnectedPeers",
        "MGP",
        "u32",
        number(0),
        "Peers connected",
    );
    line(
        58,
        "DroppedLogs",
        "MGP",
        "u32",
        number(process.log.lost()),
        "Log lines lost: there were too many, or a target refused them",
    );
    line(
        59,
        "BusyPolling",
        "MGP",
        "u32",
        number(0),
        "1 while it polls without a pause",
    );
    line(
        61,
        "TotalBytesOut",
        "MGP",
        "u64",
        number(sum(|row| row.bout)),
        "Bytes to clients",
    );
    line(
        66,
        "Build info",
        "POS",
        "str",
        text(&process.version),
        "Version of lb",
    );
    line(
        67,
        "Memmax_bytes",
        "CLP",
        "u32",
        number(0),
        "Limit of memory in bytes, 0 for none",
    );
    line(
        68,
        "PoolAlloc_bytes",
        "MGP",
        "u64",
        number(memory),
        "Resident memory in bytes",
    );
    line(
        69,
        "PoolUsed_bytes",
        "MGP",
        "u64",
        number(memory),
        "Resident memory in bytes",
    );
    line(
        70,
        "Start_time_sec",
        "MDP",
        "u32",
        number(process.started),
        "Start in seconds since 1970",
    );
    line(71, "Tainted", "SGP", "str", text(&0), "Always 0");
    lines
}

/// The date of the program's file, as `2026/11/27`.
fn released() -> String {
    let made = std::env::current_exe().and_then(fs::metadata);
    let made = made
        .and_then(|file| file.modified())
        .unwrap_or(SystemTime::UNIX_EPOCH);
    let at = Calendar::local(made);
    format!("{:04}/{:02}/{:02}", at.year, at.month + 1, at.day)
}
