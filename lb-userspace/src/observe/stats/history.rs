//! The last minutes and the last hour of each proxy, for the page's small curves.
//!
//! Looked at once a second: two rings of points for each proxy that the file has and one pair for all frontends together,
//! some 3 KiB a proxy however long it runs. A proxy's points go on through a reload, by its name, and through a restart where
//! there is a file that keeps them.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use serde::{Deserialize, Serialize};
use tokio::time::{MissedTickBehavior, interval};

use super::Sources;
use crate::{
    config::model::Mode,
    topology::{Backend, Frontend, Topology, counters::Average},
};

/// How often proxies are looked at.
const LOOK: Duration = Duration::from_secs(1);
/// Seconds of a point of the last minutes.
const RECENT_STEP: u32 = 3;
/// Points of the last minutes: five of them.
const RECENT_POINTS: usize = 100;
/// Seconds of a point of the last hour.
const HOUR_STEP: u32 = 60;
/// Points of the last hour.
const HOUR_POINTS: usize = 60;

/// Points of all proxies; clones share them.
#[derive(Debug, Clone, Default)]
pub struct History(Arc<Mutex<Kept>>);

#[derive(Debug, Default)]
struct Kept {
    total: Series,
    frontends: HashMap<Arc<str>, Series>,
    backends: HashMap<Arc<str>, Series>,
}

/// Looks at `sources` once a second, for as long as it is awaited; and at clients, if somebody wants to see them.
pub async fn keep(sources: Sources) {
    let mut ticks = interval(LOOK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        sources.history.look(&sources.topology());
        sources.top.follow(&sources.path).await;
    }
}

impl History {
    /// Takes what has happened since it looked the last time. Proxies that the topology does not have are forgotten.
    pub fn look(&self, topology: &Topology) {
        let mut kept = self.lock();
        let Kept {
            total,
            frontends,
            backends,
        } = &mut *kept;
        let mut sum = Totals::default();
        let mut goes_on = true;
        for frontend in &topology.frontends {
            let totals = Totals::of_frontend(frontend);
            sum.add(&totals);
            let series = frontends.entry(Arc::clone(&frontend.name));
            // One that has just come brings what it counted before, as does one that goes: no jump of the sum.
            goes_on &= matches!(series, std::collections::hash_map::Entry::Occupied(_));
            series.or_default().take(totals);
        }
        let before = frontends.len();
        if before > topology.frontends.len() {
            frontends.retain(|name, _| topology.frontends.iter().any(|f| f.name == *name));
        }
        if !goes_on || before != frontends.len() {
            total.before = None;
        }
        total.take(sum);
        for backend in &topology.backends {
            let totals = Totals::of_backend(backend);
            let series = backends.entry(Arc::clone(&backend.name)).or_default();
            series.take(totals);
        }
        if backends.len() > topology.backends.len() {
            backends.retain(|name, _| topology.backends.iter().any(|b| b.name == *name));
        }
    }

    /// All frontends together.
    pub fn total(&self) -> Curves {
        self.lock().total.curves()
    }

    /// A frontend's.
    pub fn frontend(&self, name: &str) -> Option<Curves> {
        self.lock().frontends.get(name).map(Series::curves)
    }

    /// A backend's.
    pub fn backend(&self, name: &str) -> Option<Curves> {
        self.lock().backends.get(name).map(Series::curves)
    }

    /// All of it, for a file.
    pub fn save(&self) -> Saved {
        let kept = self.lock();
        let named = |series: &HashMap<Arc<str>, Series>| {
            let curves = series
                .iter()
                .map(|(name, s)| (name.to_string(), s.curves()));
            curves.collect()
        };
        Saved {
            total: kept.total.curves(),
            frontends: named(&kept.frontends),
            backends: named(&kept.backends),
        }
    }

    /// Has again what was saved, followed by a gap of so many seconds in which nobody looked.
    pub fn restore(&self, saved: &Saved, gap: u64) {
        let mut kept = self.lock();
        kept.total.restore(&saved.total, gap);
        let Kept {
            frontends,
            backends,
            ..
        } = &mut *kept;
        for (kept, saved) in [(frontends, &saved.frontends), (backends, &saved.backends)] {
            for (name, curves) in saved {
                let series = kept.entry(name.as_str().into()).or_default();
                series.restore(curves, gap);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        // Nothing is half done in it that a reader could not bear.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What outlives the process: curves by names of proxies.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Saved {
    total: Curves,
    frontends: BTreeMap<String, Curves>,
    backends: BTreeMap<String, Curves>,
}

/// What a proxy has done and has, at one moment.
#[derive(Debug, Clone, Copy, Default)]
struct Totals {
    arrived: u64,
    sessions: u64,
    errors: u64,
    /// Milliseconds, and how many have been measured.
    latency: Option<(u64, u64)>,
}

impl Totals {
    fn of_frontend(frontend: &Frontend) -> Self {
        let counters = &frontend.counters;
        let [.., failed, _] = counters.http.responses();
        let connections = counters.connections.value() + counters.kernel.connections.value();
        Self {
            arrived: match frontend.config.mode {
                Mode::Http => counters.http.requests.value(),
                Mode::Tcp => connections,
            },
            sessions: u64::from(frontend.current()) + counters.kernel.active.value(),
            errors: counters.request_errors.value() + failed,
            latency: None,
        }
    }

    fn of_backend(backend: &Backend) -> Self {
        let counters = &backend.counters;
        let [.., failed, _] = counters.http.responses();
        let kernel = backend.servers.iter().map(|server| &server.counters.kernel);
        let (opened, active) = kernel.fold((0, 0), |(opened, active), kernel| {
            (
                opened + kernel.connections.value(),
                active + kernel.active.value(),
            )
        });
        let measured = |average: &Average| Some((average.mean(), average.samples()));
        Self {
            arrived: counters.connections.value() + opened,
            sessions: u64::from(backend.current()) + active,
            // A connection that failed is answered by a 5xx: each failure counts once.
            errors: failed.max(counters.connect_errors.value() + counters.response_errors.value()),
            latency: match backend.config.mode {
                Mode::Http => measured(&counters.times.response),
                Mode::Tcp => measured(&counters.times.connect),
            },
        }
    }

    fn add(&mut self, other: &Self) {
        self.arrived += other.arrived;
        self.sessions += other.sessions;
        self.errors += other.errors;
    }
}

/// A proxy's points.
#[derive(Debug, Default)]
struct Series {
    before: Option<Totals>,
    recent: Ring<RECENT_POINTS, RECENT_STEP>,
    hour: Ring<HOUR_POINTS, HOUR_STEP>,
}

impl Series {
    fn take(&mut self, now: Totals) {
        let Some(before) = self.before.replace(now) else {
            return;
        };
        // Counters may be set to nothing by an operator.
        let second = Point {
            arrived: small(now.arrived.saturating_sub(before.arrived)),
            sessions: small(now.sessions),
            errors: small(now.errors.saturating_sub(before.errors)),
            latency: now
                .latency
                .filter(|&(_, measured)| before.latency.is_none_or(|(_, then)| then != measured))
                .map_or(NONE, |(millis, _)| small(millis)),
        };
        self.recent.take(second);
        self.hour.take(second);
    }

    fn restore(&mut self, curves: &Curves, gap: u64) {
        self.recent.restore(&curves.recent, gap);
        self.hour.restore(&curves.hour, gap);
    }

    fn curves(&self) -> Curves {
        Curves {
            recent: self.recent.curve(),
            hour: self.hour.curve(),
        }
    }
}

/// In the place of a latency that nobody has measured.
const NONE: u32 = u32::MAX;

fn small(n: u64) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX).min(NONE - 1)
}

/// What happened in a step.
#[derive(Debug, Clone, Copy)]
struct Point {
    arrived: u32,
    /// The most at a time.
    sessions: u32,
    errors: u32,
    /// The longest mean.
    latency: u32,
}

impl Point {
    const EMPTY: Self = Self {
        arrived: 0,
        sessions: 0,
        errors: 0,
        latency: NONE,
    };

    fn join(&mut self, other: Self) {
        self.arrived = self.arrived.saturating_add(other.arrived);
        self.sessions = self.sessions.max(other.sessions);
        self.errors = self.errors.saturating_add(other.errors);
        self.latency = match (self.latency, other.latency) {
            (NONE, one) | (one, NONE) => one,
            (one, other) => one.max(other),
        };
    }
}

/// The last `N` points of `STEP` seconds each.
#[derive(Debug)]
struct Ring<const N: usize, const STEP: u32> {
    points: Vec<Point>,
    /// Where the oldest is, once all places are taken.
    next: usize,
    /// The point that has not had all its seconds.
    open: Point,
    seconds: u32,
}

impl<const N: usize, const STEP: u32> Default for Ring<N, STEP> {
    fn default() -> Self {
        Self {
            points: Vec::new(),
            next: 0,
            open: Point::EMPTY,
            seconds: 0,
        }
    }
}

impl<const N: usize, const STEP: u32> Ring<N, STEP> {
    fn take(&mut self, second: Point) {
        self.open.join(second);
        self.seconds += 1;
        if self.seconds < STEP {
            return;
        }
        let point = std::mem::replace(&mut self.open, Point::EMPTY);
        self.seconds = 0;
        if self.points.len() < N {
            self.points.push(point);
        } else if let Some(oldest) = self.points.get_mut(self.next) {
            *oldest = point;
            self.next = (self.next + 1) % N;
        }
    }

    fn restore(&mut self, curve: &Curve, gap: u64) {
        // What another version has kept in other steps is none of ours.
        if curve.step != STEP || curve.length != N {
            return;
        }
        let gap = usize::try_from(gap / u64::from(STEP)).unwrap_or(N).min(N);
        let latency = curve.latency_ms.iter().map(|millis| millis.unwrap_or(NONE));
        let rest = curve.sessions.iter().zip(&curve.errors).zip(latency);
        let points = curve.arrived.iter().zip(rest);
        let points = points.map(|(&arrived, ((&sessions, &errors), latency))| Point {
            arrived,
            sessions,
            errors,
            latency,
        });
        let points: Vec<Point> = points
            .chain(std::iter::repeat_n(Point::EMPTY, gap))
            .collect();
        self.points = points[points.len().saturating_sub(N)..].to_vec();
        self.next = 0;
    }

    fn curve(&self) -> Curve {
        let (late, early) = self.points.split_at(self.next.min(self.points.len()));
        let points = || early.iter().chain(late);
        Curve {
            step: STEP,
            length: N,
            arrived: points().map(|point| point.arrived).collect(),
            sessions: points().map(|point| point.sessions).collect(),
            errors: points().map(|point| point.errors).collect(),
            latency_ms: points()
                .map(|point| Some(point.latency).filter(|&millis| millis != NONE))
                .collect(),
        }
    }
}

/// A proxy's last minutes and its last hour.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Curves {
    /// Five minutes.
    pub recent: Curve,
    /// Sixty minutes.
    pub hour: Curve,
}

/// Points at equal distances, the newest last.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Curve {
    /// Seconds of each.
    pub step: u32,
    /// How many there will be once it has run for long enough.
    pub length: usize,
    /// Requests that came in each step; connections in mode tcp.
    pub arrived: Vec<u32>,
    /// The most sessions at a time in each step.
    pub sessions: Vec<u32>,
    /// Errors in each step: requests and responses that were none, failed connections, responses 5xx.
    pub errors: Vec<u32>,
    /// Milliseconds to a response, or to connect in mode tcp; `null` where none was measured.
    pub latency_ms: Vec<Option<u32>>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::stats::fixture;

    fn look(history: &History, topology: &Topology, seconds: u32) {
        for _ in 0..seconds {
            history.look(topology);
        }
    }

    #[test]
    fn each_step_holds_what_came_in_it() {
        let sources = fixture::sources();
        let topology = sources.topology();
        let history = History::default();
        let web = topology.backend("web").expect("it is there");
        look(&history, &topology, 1);
        web.counters.connections.add(7);
        web.counters.connect_errors.add(2);
        web.counters.times.response.add(12);
        look(&history, &topology, RECENT_STEP);
        look(&history, &topology, RECENT_STEP);
        let curve = history.backend("web").expect("it was seen").recent;
        assert_eq!((curve.step, curve.length), (3, 100));
        assert_eq!(curve.arrived, [7, 0]);
        assert_eq!(curve.errors, [2, 0]);
        assert_eq!(
            curve.latency_ms,
            [Some(12), None],
            "nothing was measured later"
        );
    }

    #[test]
    fn rings_are_bounded_and_the_newest_comes_last() {
        let sources = fixture::sources();
        let topology = sources.topology();
        let history = History::default();
        let tcp = topology.frontend("tcp-in").expect("it is there");
        look(&history, &topology, 1);
        look(&history, &topology, HOUR_STEP * 61);
        tcp.counters.connections.add(60);
        look(&history, &topology, HOUR_STEP);
        let Curves { recent, hour } = history.frontend("tcp-in").expect("it was seen");
        assert_eq!((recent.arrived.len(), hour.arrived.len()), (100, 60));
        assert_eq!(hour.arrived.last(), Some(&60));
        assert_eq!(
            hour.sessions.first(),
            Some(&20),
            "the kernel's flows are among them"
        );
        assert_eq!(history.total().hour.arrived.last(), Some(&60));
    }

    #[test]
    fn curves_go_on_after_a_restart_with_a_gap() {
        let sources = fixture::sources();
        let topology = sources.topology();
        let (before, after) = (History::default(), History::default());
        let web = topology.backend("web").expect("it is there");
        look(&before, &topology, 1);
        web.counters.connections.add(7);
        look(&before, &topology, RECENT_STEP * 3);
        after.restore(&before.save(), 7);
        web.counters.connections.add(100);
        look(&after, &topology, 1);
        web.counters.connections.add(2);
        look(&after, &topology, RECENT_STEP);
        let curve = after.backend("web").expect("it was seen").recent;
        assert_eq!(curve.arrived, [7, 0, 0, 0, 0, 2]);
        let total = after.total().recent;
        assert_eq!(total.arrived.len(), 6);
        let full = History::default();
        full.restore(&before.save(), 100_000);
        assert_eq!(full.total().hour.arrived, [0; HOUR_POINTS]);
        look(&full, &topology, 1 + HOUR_STEP * 3);
        assert_eq!(full.total().hour.arrived.len(), HOUR_POINTS);
    }

    #[test]
    fn a_proxy_that_comes_makes_no_jump_of_the_sum() {
        let sources = fixture::sources();
        let topology = sources.topology();
        let history = History::default();
        look(&history, &topology, 1 + RECENT_STEP);
        assert_eq!(
            history.total().recent.arrived,
            [0],
            "what was counted before is none of the step's"
        );
        assert_eq!(
            history.frontend("web"),
            None,
            "frontends and backends are told apart"
        );
    }
}
