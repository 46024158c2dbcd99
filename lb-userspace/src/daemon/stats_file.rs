//! `global.stats_file`: counters, histograms and curves that a restart does not set to nothing.
//!
//! Written every minute and at the end of a stop, read at the start before anything is counted. A process that is killed
//! loses a minute at most. What the kernel path's maps have counted themselves, where they are taken over, is not counted
//! twice.

use std::{
    collections::BTreeMap,
    fs, io,
    path::Path,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use serde::{Deserialize, Serialize};
use tokio::time::{MissedTickBehavior, interval};

use super::health_file::replace;
use crate::{
    observe::stats::{History, Sources, history},
    topology::{
        Topology,
        carried::{Sent, Spread, add_spreads},
        counters::Numbers,
    },
};

/// How often it is written.
const EVERY: Duration = Duration::from_secs(60);
/// Its form.
const VERSION: u32 = 1;

/// What is in it.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Saved {
    version: u32,
    frontends: BTreeMap<String, Numbers>,
    backends: BTreeMap<String, SavedBackend>,
    /// Histograms.
    #[serde(default)]
    spreads: Vec<Spread>,
    /// Curves, which go on from when they were written.
    #[serde(default)]
    curves: Option<SavedCurves>,
}

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct SavedCurves {
    /// Seconds since 1970.
    at: u64,
    history: history::Saved,
}

/// Curves as they were in the file, for what keeps them now.
#[derive(Debug)]
pub(super) struct Curves(SavedCurves);

impl Curves {
    /// Has `history` go on from them.
    pub(super) fn restore(&self, history: &History) {
        let gap = now().saturating_sub(self.0.at);
        history.restore(&self.0.history, gap);
    }
}

fn now() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map_or(0, |since| since.as_secs())
}

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct SavedBackend {
    own: Numbers,
    servers: BTreeMap<String, Numbers>,
}

/// Why it could not be read.
#[derive(Debug, thiserror::Error)]
enum ReadError {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("it is no such file: {0}")]
    Form(#[from] serde_json::Error),
    #[error("another version of lb has written it")]
    Version,
}

/// Has `topology` go on from what the file says. Without one everything begins at nothing, and one that cannot be read is
/// no reason not to serve.
pub(super) fn read(path: &Path, topology: &Topology) -> Option<Curves> {
    match parse(path) {
        Ok(saved) => {
            saved.restore(topology);
            saved.curves.map(Curves)
        }
        Err(ReadError::Io(error)) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => {
            tracing::warn!(
                "stats file {}: {error}: statistics begin anew",
                path.display()
            );
            None
        }
    }
}

fn parse(path: &Path) -> Result<Saved, ReadError> {
    let saved: Saved = serde_json::from_str(&fs::read_to_string(path)?)?;
    match saved.version {
        VERSION => Ok(saved),
        _ => Err(ReadError::Version),
    }
}

/// Writes the file every minute, for as long as it is awaited.
pub(super) async fn keep(path: std::path::PathBuf, sources: Sources) {
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // The first is at once.
    ticks.tick().await;
    loop {
        ticks.tick().await;
        write(&path, &sources.topology(), &sources.history);
    }
}

/// Writes the file.
pub(super) fn write(path: &Path, topology: &Topology, history: &History) {
    let mut saved = Saved::of(topology);
    saved.curves = Some(SavedCurves {
        at: now(),
        history: history.save(),
    });
    // Strings and numbers always encode.
    let text = serde_json::to_string(&saved).unwrap_or_default();
    if let Err(error) = replace(path, &text) {
        tracing::error!(
            "stats file {}: cannot be written: {error}: make its directory writable for lb",
            path.display()
        );
    }
}

impl Saved {
    fn of(topology: &Topology) -> Self {
        let frontends = topology.frontends.iter();
        let backends = topology.backends.iter().map(|backend| {
            let servers = backend.servers.iter();
            let servers = servers.map(|server| (server.name.to_string(), server.counters.save()));
            let saved = SavedBackend {
                own: backend.counters.save(),
                servers: servers.collect(),
            };
            (backend.name.to_string(), saved)
        });
        Self {
            version: VERSION,
            frontends: frontends
                .map(|frontend| (frontend.name.to_string(), frontend.counters.save()))
                .collect(),
            backends: backends.collect(),
            spreads: Sent::default().next_spreads(topology),
            curves: None,
        }
    }

    /// Whatever is called as it was goes on; the others begin anew.
    fn restore(&self, topology: &Topology) {
        add_spreads(topology, &self.spreads);
        for frontend in &topology.frontends {
            if let Some(numbers) = self.frontends.get(&*frontend.name) {
                frontend.counters.restore(numbers);
            }
        }
        for backend in &topology.backends {
            let Some(saved) = self.backends.get(&*backend.name) else {
                continue;
            };
            backend.counters.restore(&saved.own);
            for server in &backend.servers {
                if let Some(numbers) = saved.servers.get(&*server.name) {
                    server.counters.restore(numbers);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::stats::fixture;

    #[test]
    fn what_was_counted_is_had_again_by_name() {
        let path = std::env::temp_dir().join(format!("lb-stats-file-{}", std::process::id()));
        let before = fixture::sources().topology();
        before.frontends[0].counters.bytes_in.add(7);
        let took = &before.backends[0].counters.distributions.total;
        took.record(Duration::from_millis(30));
        let history = History::default();
        (0..7).for_each(|_| history.look(&before));
        write(&path, &before, &history);
        let after = fixture::sources().topology();
        let fresh = Saved::of(&after);
        let server = |topology: &Topology| {
            let server = topology.server("tcp_servers", "s1").expect("it is there");
            server.counters.kernel.connections.value()
        };
        assert_eq!(server(&before), 900);
        let took = |topology: &Topology| {
            let took = &topology.backends[0].counters.distributions.total;
            took.distribution().cumulative.last().copied()
        };
        let recorded = took(&after);
        let curves = read(&path, &after).expect("they are there");
        assert_eq!(took(&after), recorded.map(|own| own + own + 1));
        let again = History::default();
        curves.restore(&again);
        assert!(!again.total().recent.arrived.is_empty());
        let bytes = after.frontends[0].counters.bytes_in.value();
        assert_eq!(
            bytes,
            100 + 107,
            "what this one has counted, and what the other had"
        );
        for broken in ["", "{}", "{\"version\":2,\"frontends\":{},\"backends\":{}}"] {
            fs::write(&path, broken).expect("it can be written");
            let other = fixture::sources().topology();
            assert!(read(&path, &other).is_none());
            assert_eq!(Saved::of(&other), fresh, "{broken} says nothing");
        }
        fs::remove_file(&path).expect("it is there");
        assert!(read(&path, &after).is_none());
    }
}
