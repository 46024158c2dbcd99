//! `lb status` as a table.

use std::fmt::Write;

use crate::observe::{
    path::CounterKind,
    stats::{
        row::Row,
        snapshot::{BackendStats, FrontendStats, Predecessor, Snapshot},
    },
};

/// The status as text, with colours of state if `colour`.
pub fn render(snapshot: &Snapshot, colour: bool) -> String {
    let mut out = String::new();
    process(&mut out, snapshot, colour);
    kernel(&mut out, snapshot, colour);
    frontends(&snapshot.frontends).write(&mut out, "Frontends", colour);
    backends(&snapshot.backends).write(&mut out, "Backends", colour);
    reasons(snapshot).write(
        &mut out,
        "Packets that the kernel dropped, passed up or answered",
        colour,
    );
    out
}

fn process(out: &mut String, snapshot: &Snapshot, colour: bool) {
    let process = &snapshot.process;
    // A String takes everything, here and below.
    let _ = write!(
        out,
        "{} on {}: pid {}, up {}, threads {}, userspace connections {}",
        paint(&format!("lb {}", process.version), Paint::Bold, colour),
        process.node,
        process.pid,
        process.uptime_text(),
        process.threads,
        process.current_connections
    );
    if let Some(max) = process.maxconn {
        let _ = write!(out, " of {max}");
    }
    if process.log.lost() > 0 {
        let _ = write!(out, ", {} log lines lost", process.log.lost());
    }
    for Predecessor { pid, connections } in &process.predecessors {
        let _ = write!(
            out,
            ", process {pid} serves {connections} of before the upgrade"
        );
    }
    if process.stopping {
        let _ = write!(out, ", {}", paint("stopping", Paint::Bad, colour));
    }
    out.push('\n');
    for why in &process.servers_refused {
        let why = format!("A file of servers was not taken, the one before stays: {why}");
        let _ = writeln!(out, "{}", paint(&why, Paint::Bad, colour));
    }
}

fn kernel(out: &mut String, snapshot: &Snapshot, colour: bool) {
    let path = &snapshot.path;
    if path.program.is_none() && path.interfaces.is_empty() {
        out.push_str("In-kernel path not in use.\n");
        return;
    }
    if path.idle {
        out.push_str(
            "In-kernel path idle: no frontend is for it, and no interface has its program.\n",
        );
        return;
    }
    let share = path
        .flows
        .saturating_mul(100)
        .checked_div(path.max_flows)
        .unwrap_or(0);
    let _ = write!(
        out,
        "In-kernel path: {} of {} flows ({share} %), {} MiB of kernel memory",
        path.flows,
        path.max_flows,
        path.memory >> 20
    );
    if path.drift > 0 {
        let drift = format!(", counts of active flows are off by {}", path.drift);
        out.push_str(&paint(&drift, Paint::Bad, colour));
    }
    if let Some(program) = &path.program {
        let _ = write!(out, ", program {program}");
    }
    for limit in &path.limits {
        let _ = write!(out, ", {}", paint(limit, Paint::Warn, colour));
    }
    out.push('\n');
    if let Some(why) = &path.lost {
        let why = format!("Nobody looks after it, it forwards by what it was told last: {why}");
        let _ = writeln!(out, "{}", paint(&why, Paint::Bad, colour));
    }
    let mut table = Table::new(&["INTERFACE", "ATTACH", "WHY"]);
    for interface in &path.interfaces {
        let paint = if interface.attach == "none" {
            Paint::Warn
        } else {
            Paint::Good
        };
        table.row([
            Cell::plain(&interface.name),
            Cell::painted(&interface.attach, paint),
            Cell::plain(&interface.reason),
        ]);
    }
    table.write(out, "Interfaces", colour);
}

fn frontends(frontends: &[FrontendStats]) -> Table {
    let mut table = Table::new(&[
        "NAME", "MODE", "BIND", "STATUS", ">ACTIVE", ">TOTAL", "PATH", "WHY",
    ]);
    for frontend in frontends {
        let row = &frontend.row;
        table.row([
            Cell::plain(text(row.pxname.as_deref())),
            Cell::plain(text(row.mode.as_deref())),
            Cell::plain(&frontend.binds.join(" ")),
            status(row),
            number(row.scur),
            number(row.stot),
            Cell::plain(frontend.path.name()),
            Cell::plain(&frontend.path_reason),
        ]);
    }
    table
}

fn backends(backends: &[BackendStats]) -> Table {
    let mut table = Table::new(&[
        "NAME", "STATUS", ">WEIGHT", ">ACTIVE", ">QUEUE", ">TOTAL", "CHECK", "ADDRESS",
    ]);
    for backend in backends {
        let row = &backend.own.row;
        let algorithm = match &backend.forward {
            Some(forward) => format!("{}, {forward}", text(row.algo.as_deref())),
            None => text(row.algo.as_deref()).to_owned(),
        };
        table.row([
            Cell::painted(text(row.pxname.as_deref()), Paint::Bold),
            status(row),
            number(row.weight),
            number(row.scur),
            number(row.qcur),
            number(row.stot),
            Cell::plain(&algorithm),
            Cell::plain(""),
        ]);
        for server in &backend.servers {
            let row = &server.row;
            table.row([
                Cell::plain(&format!("  {}", text(row.svname.as_deref()))),
                status(row),
                number(row.weight),
                number(row.scur),
                number(row.qcur),
                number(row.stot),
                Cell::plain(&check(row)),
                Cell::plain(text(row.addr.as_deref())),
            ]);
        }
    }
    table
}

fn reasons(snapshot: &Snapshot) -> Table {
    let mut table = Table::new(&["REASON", ">PACKETS", "MEANING"]);
    let kinds = [
        CounterKind::Dropped,
        CounterKind::PassedUp,
        CounterKind::Answered,
    ];
    for kind in kinds {
        for counter in &snapshot.path.counters {
            if counter.kind == kind && counter.value > 0 {
                let verdict = kind.name().replace('_', " ");
                table.row([
                    Cell::plain(&format!("{verdict}: {}", counter.name)),
                    number(Some(counter.value)),
                    Cell::plain(&counter.help),
                ]);
            }
        }
    }
    table
}

fn status(row: &Row) -> Cell {
    let status = text(row.status.as_deref());
    let paint = match status {
        "UP" | "OPEN" => Paint::Good,
        "DOWN" => Paint::Bad,
        "no check" => Paint::Plain,
        _ => Paint::Warn,
    };
    Cell::painted(status, paint)
}

fn check(row: &Row) -> String {
    let status = text(row.check_status.as_deref());
    let found = match row.check_code {
        Some(code) => format!("{status}/{code}"),
        None => status.to_owned(),
    };
    match (row.bck, found.is_empty()) {
        (Some(1), true) => "backup".to_owned(),
        (Some(1), false) => format!("{found}, backup"),
        _ => found,
    }
}

fn number(value: Option<u64>) -> Cell {
    Cell::plain(&value.map(|n| n.to_string()).unwrap_or_default())
}

fn text(value: Option<&str>) -> &str {
    value.unwrap_or_default()
}

/// What a cell looks like on a terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Paint {
    Plain,
    Bold,
    Good,
    Warn,
    Bad,
}

/// `text` between ECMA-48 colour sequences.
fn paint(text: &str, paint: Paint, colour: bool) -> String {
    let code = match paint {
        _ if !colour => return text.to_owned(),
        Paint::Plain => return text.to_owned(),
        Paint::Bold => "1",
        Paint::Good => "32",
        Paint::Warn => "33",
        Paint::Bad => "1;31",
    };
    format!("\u{1b}[{code}m{text}\u{1b}[0m")
}

struct Cell {
    text: String,
    paint: Paint,
}

impl Cell {
    fn plain(text: &str) -> Self {
        Self::painted(text, Paint::Plain)
    }

    fn painted(text: &str, paint: Paint) -> Self {
        Self {
            text: text.to_owned(),
            paint,
        }
    }
}

/// Aligned columns; a heading that begins with `>` is aligned to the right, with its cells.
struct Table {
    headings: &'static [&'static str],
    rows: Vec<Vec<Cell>>,
}

impl Table {
    fn new(headings: &'static [&'static str]) -> Self {
        Self {
            headings,
            rows: Vec::new(),
        }
    }

    fn row<const N: usize>(&mut self, cells: [Cell; N]) {
        self.rows.push(cells.into());
    }

    /// Writes nothing if there is no row.
    fn write(&self, out: &mut String, title: &str, colour: bool) {
        if self.rows.is_empty() {
            return;
        }
        let headings = self
            .headings
            .iter()
            .map(|heading| Cell::plain(heading.trim_start_matches('>')));
        let headings: Vec<Cell> = headings.collect();
        let widths: Vec<usize> = (0..self.headings.len())
            .map(|column| {
                let cells = self.rows.iter().chain([&headings]);
                let widths = cells
                    .filter_map(|row| row.get(column))
                    .map(|cell| cell.text.chars().count());
                widths.max().unwrap_or(0)
            })
            .collect();
        let _ = writeln!(out, "\n{}", paint(title, Paint::Bold, colour));
        for row in [&headings].into_iter().chain(&self.rows) {
            let mut line = String::new();
            for ((cell, width), heading) in row.iter().zip(&widths).zip(self.headings) {
                let room = " ".repeat(width.saturating_sub(cell.text.chars().count()));
                let text = paint(&cell.text, cell.paint, colour);
                let _ = if heading.starts_with('>') {
                    write!(line, "  {room}{text}")
                } else {
                    write!(line, "  {text}{room}")
                };
            }
            let _ = writeln!(out, "{}", line.trim_end());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::stats::fixture;

    #[test]
    fn it_says_what_is_up_and_which_path_is_taken_and_why() {
        let text = render(&fixture::snapshot(), false);
        let has = |parts: &[&str]| {
            let found = text.lines().any(|line| {
                let words = line.split_whitespace().collect::<Vec<_>>().join(" ");
                parts.iter().all(|part| words.contains(part))
            });
            assert!(found, "{parts:?} is missing in\n{text}");
        };
        has(&["lb ", "pid ", "threads 2", "of 30000"]);
        has(&["20 of 1000000 flows (0 %)"]);
        has(&["eth0 xdp the driver supports native XDP"]);
        has(&["tcp-in tcp 127.0.0.1:9002 OPEN 20 901 kernel native XDP on eth0"]);
        has(&["http-in http", "userspace mode http"]);
        has(&["w1 UP 1 0 0 0 L7OK/200 192.0.2.11:8080"]);
        has(&["w2 DOWN", "L4CON"]);
        has(&["w5 UP", ", backup 192.0.2.15:8080"]);
        has(&["dropped: no_neighbour 7 What it means."]);
        assert!(!text.contains("ttl_exceeded"));
        assert!(!text.contains('\u{1b}'));
    }

    #[test]
    fn colours_do_not_move_the_columns() {
        let plain = render(&fixture::snapshot(), false);
        let coloured = render(&fixture::snapshot(), true);
        let mut stripped = String::new();
        let mut rest = coloured.as_str();
        while let Some((before, after)) = rest.split_once('\u{1b}') {
            stripped.push_str(before);
            rest = after.split_once('m').map_or("", |(_, rest)| rest);
        }
        stripped.push_str(rest);
        assert_eq!(stripped.lines().count(), plain.lines().count());
        for (a, b) in stripped.lines().zip(plain.lines()).skip(1) {
            assert_eq!(a.trim_end(), b.trim_end());
        }
    }

    #[test]
    fn the_status_survives_the_way_through_the_socket() {
        let snapshot = fixture::snapshot();
        let read: Snapshot = serde_json::from_str(&snapshot.to_json()).expect("it reads back");
        assert_eq!(read, snapshot);
    }
}
