//! Prometheus' text format (version 0.0.4) and OpenMetrics (1.0.0).
//!
//! Names are `lb_` and the kind of proxy, then what is counted in base units. Labels are names out of the configuration
//! and fixed words, so that their number is bounded by the file. What there is once a process is in `single`, what has
//! labels of its own in `labelled`, what each proxy has in `proxies`; docs/metrics.md lists all of it, which a test holds
//! against `catalog`.

mod asked;
#[cfg(test)]
mod catalog;
mod encoder;
mod families;
mod labelled;
mod proxies;
mod single;
mod usage;

pub use asked::{Asked, BadScope};
pub use encoder::Format;
pub use usage::resident;

use encoder::Encoder;
use single::Facts;

use super::snapshot::Sources;

/// The metrics of `sources` that are asked for.
pub fn write(sources: &Sources, asked: &Asked) -> String {
    let topology = sources.topology();
    let snapshot = sources.snapshot();
    let servers: usize = topology.backends.iter().map(|b| b.servers.len()).sum();
    let proxies = topology.frontends.len() + topology.backends.len();
    let mut out = Encoder::new(
        asked.format,
        16 * 1024 + proxies * 12 * 1024 + servers * 3 * 1024,
    );
    if asked.global {
        let facts = Facts::gather(&snapshot, sources);
        single::write(&mut out, &facts);
        labelled::write(&mut out, &facts, &topology);
    }
    proxies::write(&mut out, &snapshot, &topology, asked);
    out.finish()
}

#[cfg(test)]
mod tests;
#[cfg(test)]
mod watch_tests;
