//! Programs that the end-to-end tests and the demo call, and their installation.

use std::path::Path;

use crate::env;
use crate::error::{Error, Mend, Missing};
use crate::packages;
use crate::progress::Progress;

/// A program that the end-to-end tests or the demo call.
pub(crate) struct Tool {
    /// What is looked for in `PATH`.
    pub(crate) program: &'static str,
    /// The package that has it, by Debian's name.
    pub(crate) package: &'static str,
    /// Whether `run` needs it too.
    pub(crate) run: bool,
    /// What it is for.
    pub(crate) why: &'static str,
}

/// Every program that is called by tests or demo and is not part of a minimal Debian.
pub(crate) const TOOLS: [Tool; 11] = [
    Tool {
        program: "ip",
        package: "iproute2",
        run: true,
        why: "makes network namespaces and veth pairs",
    },
    Tool {
        program: "curl",
        package: "curl",
        run: true,
        why: "an HTTP client other than our own",
    },
    Tool {
        program: "ethtool",
        package: "ethtool",
        run: false,
        why: "turns checksum offload off to see real checksums",
    },
    Tool {
        program: "tcpdump",
        package: "tcpdump",
        run: false,
        why: "judges checksums and TTL on both sides",
    },
    Tool {
        program: "wrk",
        package: "wrk",
        run: false,
        why: "HTTP load with many connections",
    },
    Tool {
        program: "hatop",
        package: "hatop",
        run: false,
        why: "drives the runtime socket as HAProxy's operators do",
    },
    Tool {
        program: "prometheus-haproxy-exporter",
        package: "prometheus-haproxy-exporter",
        run: false,
        why: "scrapes HAProxy's table of statistics",
    },
    Tool {
        // Not among the programs that are found by name.
        program: "/usr/lib/nagios/plugins/check_haproxy_stats",
        package: "monitoring-plugins-contrib",
        run: false,
        why: "judges the servers of a HAProxy for Nagios",
    },
    Tool {
        program: "iperf3",
        package: "iperf3",
        run: false,
        why: "bulk transfer",
    },
    Tool {
        program: "nc",
        package: "netcat-openbsd",
        run: false,
        why: "bare TCP and UDP, half-closed connections",
    },
    Tool {
        program: "ss",
        package: "iproute2",
        run: false,
        why: "shows who owns a connection",
    },
];

/// Those of [`TOOLS`] that are not in `PATH`.
pub(crate) fn missing(for_run: bool) -> Vec<&'static Tool> {
    TOOLS
        .iter()
        .filter(|tool| (tool.run || !for_run) && env::in_path(tool.program).is_none())
        .collect()
}

/// Installs what [`missing`] names, as root. An error if something is still missing then.
pub(crate) fn install(progress: &mut Progress, target: &Path, for_run: bool) -> Result<(), Error> {
    let missing = missing(for_run);
    if missing.is_empty() {
        return Ok(());
    }
    let mut packages: Vec<&str> = missing.iter().map(|tool| tool.package).collect();
    packages.sort_unstable();
    packages.dedup();
    let what = missing
        .iter()
        .map(|tool| format!("{} ({})", tool.program, tool.why))
        .collect::<Vec<_>>()
        .join(", ");
    packages::install(progress, target, "test tools", &packages).map_err(|reason| {
        Error::Missing(Missing {
            what: format!("programs are missing: {what}"),
            tried: vec![reason],
            mends: vec![
                Mend {
                    case: "on Debian, as root",
                    command: packages::install_line(&packages),
                },
                Mend {
                    case: "without end-to-end tests",
                    command: "cargo xtask test --no-e2e".into(),
                },
            ],
        })
    })
}
