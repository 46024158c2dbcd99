//! From a snapshot, and the one before it, to the lines that are shown: which, in which order.

use std::{
    cmp::Ordering,
    collections::{BTreeSet, HashMap},
    time::Duration,
};

use crate::observe::stats::{Row, Snapshot};

/// What a line is about.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Subject {
    Frontend(String),
    Backend(String),
    Server(String, String),
}

impl Subject {
    /// As an operator names it.
    pub(super) fn name(&self) -> String {
        match self {
            Self::Frontend(name) | Self::Backend(name) => name.clone(),
            Self::Server(backend, server) => format!("{backend}/{server}"),
        }
    }
}

/// Figures a second.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Rates {
    pub(super) sessions: f64,
    pub(super) bytes_in: f64,
    pub(super) bytes_out: f64,
    pub(super) errors: f64,
}

/// A line.
#[derive(Debug, Clone)]
pub(super) struct Line {
    pub(super) subject: Subject,
    pub(super) row: Row,
    pub(super) rates: Rates,
    /// Of a backend: its servers are not shown.
    pub(super) collapsed: bool,
    /// Of a frontend: which way its connections take.
    pub(super) path: &'static str,
}

/// By what lines are sorted, frontends among themselves, backends, and servers within theirs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Sort {
    #[default]
    File,
    Name,
    State,
    Sessions,
    Rate,
    Queue,
    Traffic,
    Errors,
}

impl Sort {
    const ALL: [Self; 8] = [
        Self::File,
        Self::Name,
        Self::State,
        Self::Sessions,
        Self::Rate,
        Self::Queue,
        Self::Traffic,
        Self::Errors,
    ];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Name => "name",
            Self::State => "state",
            Self::Sessions => "sessions",
            Self::Rate => "rate",
            Self::Queue => "queue",
            Self::Traffic => "traffic",
            Self::Errors => "errors",
        }
    }

    /// The one after it, in a circle.
    pub(super) fn next(self) -> Self {
        let at = Self::ALL.iter().position(|one| *one == self).unwrap_or(0);
        Self::ALL[(at + 1) % Self::ALL.len()]
    }

    /// Largest first, but for names and the file's order.
    fn compare(self, a: &Line, b: &Line) -> Ordering {
        let number = |f: fn(&Line) -> f64| f(b).total_cmp(&f(a));
        match self {
            Self::File => Ordering::Equal,
            Self::Name => a.subject.cmp(&b.subject),
            Self::State => rank(&a.row).cmp(&rank(&b.row)),
            Self::Sessions => b.row.scur.cmp(&a.row.scur),
            Self::Rate => number(|line| line.rates.sessions),
            Self::Queue => b.row.qcur.cmp(&a.row.qcur),
            Self::Traffic => number(|line| line.rates.bytes_in + line.rates.bytes_out),
            Self::Errors => number(|line| line.rates.errors),
        }
    }
}

/// The worse a state, the smaller.
fn rank(row: &Row) -> u8 {
    match row.status.as_deref().unwrap_or_default() {
        state if state.starts_with("DOWN") => 0,
        state if state.starts_with("MAINT") => 1,
        state if state.starts_with("DRAIN") => 2,
        "UP" | "OPEN" | "no check" => 4,
        _ => 3,
    }
}

/// How lines are chosen and ordered.
#[derive(Debug, Clone, Default)]
pub(super) struct Choice {
    pub(super) sort: Sort,
    pub(super) reverse: bool,
    /// In lower case.
    pub(super) filter: String,
    pub(super) collapsed: BTreeSet<String>,
}

/// What counts up, to be compared with the next look.
#[derive(Debug, Clone, Copy)]
struct Totals([u64; 4]);

impl Totals {
    fn of(row: &Row) -> Self {
        let sessions = match row.r#type {
            // A frontend's connections hold many requests.
            Some(0) => row.req_tot.filter(|n| *n > 0).or(row.stot),
            _ => row.stot,
        };
        let errors = [row.ereq, row.econ, row.eresp, row.hrsp_5xx];
        let errors = errors.iter().flatten().sum();
        Self([
            sessions.unwrap_or(0),
            row.bin.unwrap_or(0),
            row.bout.unwrap_or(0),
            errors,
        ])
    }

    fn since(self, before: Self, elapsed: Duration) -> Rates {
        let seconds = elapsed.as_secs_f64().max(0.001);
        let [sessions, bytes_in, bytes_out, errors] = std::array::from_fn(|at| {
            // Counters that were cleared begin anew.
            self.0[at].saturating_sub(before.0[at]) as f64 / seconds
        });
        Rates {
            sessions,
            bytes_in,
            bytes_out,
            errors,
        }
    }
}

/// All lines of a snapshot in the order of the file; `before` is the one before it, and how long that is ago.
pub(super) fn lines(snapshot: &Snapshot, before: Option<(&Snapshot, Duration)>) -> Vec<Line> {
    let old: HashMap<Subject, Totals> = before
        .iter()
        .flat_map(|(before, _)| rows(before))
        .map(|(subject, row, _)| (subject, Totals::of(row)))
        .collect();
    let elapsed = before.map(|(_, elapsed)| elapsed);
    rows(snapshot)
        .map(|(subject, row, path)| {
            let rates = old
                .get(&subject)
                .zip(elapsed)
                .map(|(before, elapsed)| Totals::of(row).since(*before, elapsed));
            Line {
                subject,
                row: row.clone(),
                rates: rates.unwrap_or_default(),
                collapsed: false,
                path,
            }
        })
        .collect()
}

fn rows(snapshot: &Snapshot) -> impl Iterator<Item = (Subject, &Row, &'static str)> {
    let name = |row: &Row| row.pxname.as_deref().unwrap_or_default().to_owned();
    let frontends = snapshot.frontends.iter().map(move |frontend| {
        let subject = Subject::Frontend(name(&frontend.row));
        (subject, &frontend.row, frontend.path.name())
    });
    let backends = snapshot.backends.iter().flat_map(move |backend| {
        let own = &backend.own.row;
        let servers = backend.servers.iter().map(move |server| {
            let row = &server.row;
            let server = row.svname.as_deref().unwrap_or_default().to_owned();
            (Subject::Server(name(row), server), row, "")
        });
        [(Subject::Backend(name(own)), own, "")]
            .into_iter()
            .chain(servers)
    });
    frontends.chain(backends)
}

/// Those of `lines` that are to be shown.
pub(super) fn choose(lines: &[Line], choice: &Choice) -> Vec<Line> {
    let has = |subject: &Subject| {
        choice.filter.is_empty() || subject.name().to_lowercase().contains(&choice.filter)
    };
    let order = |a: &Line, b: &Line| {
        let order = choice.sort.compare(a, b);
        if choice.reverse {
            order.reverse()
        } else {
            order
        }
    };
    let is_frontend = |line: &&Line| matches!(line.subject, Subject::Frontend(_));
    let mut frontends: Vec<&Line> = lines.iter().filter(is_frontend).collect();
    frontends.retain(|line| has(&line.subject));
    // Sorting is stable: what is equal stays in the order of the file.
    frontends.sort_by(|a, b| order(a, b));
    let mut groups: Vec<(&Line, Vec<&Line>)> = Vec::new();
    for line in lines {
        match (&line.subject, groups.last_mut()) {
            (Subject::Backend(_), _) => groups.push((line, Vec::new())),
            (Subject::Server(..), Some((_, servers))) => servers.push(line),
            _ => {}
        }
    }
    if choice.sort == Sort::File && choice.reverse {
        frontends.reverse();
        groups.reverse();
    }
    groups.sort_by(|(a, _), (b, _)| order(a, b));
    let mut shown: Vec<Line> = frontends.into_iter().cloned().collect();
    for (backend, mut servers) in groups {
        servers.retain(|line| has(&line.subject));
        if servers.is_empty() && !has(&backend.subject) {
            continue;
        }
        let collapsed = choice.collapsed.contains(&backend.subject.name());
        shown.push(Line {
            collapsed,
            ..backend.clone()
        });
        if !collapsed {
            servers.sort_by(|a, b| order(a, b));
            shown.extend(servers.into_iter().cloned());
        }
    }
    shown
}
