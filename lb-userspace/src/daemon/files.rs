//! The limit of file descriptors, raised to what `global.maxconn` needs.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Descriptors of one connection: the client's and the server's socket.
const PER_CONNECTION: u64 = 2;
/// Descriptors that every process has use for: standard streams, logs, timers, epoll, the stats endpoint, the kernel
/// path's maps and programs.
const RESERVE: u64 = 256;
/// `maxconn` where neither the file nor the limit bounds it.
const MAXCONN_MAX: u64 = 1_000_000;

/// A limit that cannot be had.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error(
    "global.maxconn {maxconn} needs {needed} file descriptors, but the limit is {limit}: raise it (`ulimit -Hn`, LimitNOFILE= in systemd) or lower maxconn"
)]
pub struct FileLimitError {
    maxconn: u32,
    needed: u64,
    limit: u64,
}

/// What to do about the limits.
#[derive(Debug, PartialEq, Eq)]
struct Plan {
    maxconn: u32,
    soft: u64,
    hard: u64,
}

/// Raises the limit to what `maxconn` connections and `fixed` further descriptors (listeners, checks) need. Without a
/// `maxconn`, takes the whole limit and answers how many connections it allows.
///
/// # Errors
/// The hard limit is lower, and may not be raised.
pub(super) fn raise(maxconn: Option<u32>, fixed: u64) -> Result<u32, FileLimitError> {
    let now = getrlimit(Resource::Nofile);
    let (soft, hard) = (
        now.current.unwrap_or(u64::MAX),
        now.maximum.unwrap_or(u64::MAX),
    );
    let plan = plan(maxconn, fixed, soft, hard);
    let set = |soft, hard| {
        setrlimit(
            Resource::Nofile,
            Rlimit {
                current: Some(soft),
                maximum: Some(hard),
            },
        )
        .is_ok()
    };
    if (plan.soft, plan.hard) == (soft, hard) || set(plan.soft, plan.hard) {
        return Ok(plan.maxconn);
    }
    match maxconn {
        Some(maxconn) => Err(FileLimitError {
            maxconn,
            needed: plan.soft,
            limit: hard,
        }),
        // Nothing was promised: what the limit allows as it is has to do.
        None => Ok(allowed(soft, fixed)),
    }
}

fn plan(maxconn: Option<u32>, fixed: u64, soft: u64, hard: u64) -> Plan {
    match maxconn {
        Some(maxconn) => {
            let needed = u64::from(maxconn) * PER_CONNECTION + fixed + RESERVE;
            Plan {
                maxconn,
                soft: soft.max(needed),
                hard: hard.max(needed),
            }
        }
        None => {
            let wanted = MAXCONN_MAX * PER_CONNECTION + fixed + RESERVE;
            let soft = soft.max(hard.min(wanted));
            Plan {
                maxconn: allowed(soft, fixed),
                soft,
                hard,
            }
        }
    }
}

fn allowed(soft: u64, fixed: u64) -> u32 {
    let connections = soft.saturating_sub(fixed + RESERVE) / PER_CONNECTION;
    u32::try_from(connections.clamp(1, MAXCONN_MAX)).unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_rises_to_what_maxconn_needs_and_never_falls() {
        assert_eq!(
            plan(Some(1000), 44, 1024, 4096),
            Plan {
                maxconn: 1000,
                soft: 2300,
                hard: 4096
            }
        );
        assert_eq!(
            plan(Some(1000), 44, 1024, 2000),
            Plan {
                maxconn: 1000,
                soft: 2300,
                hard: 2300
            }
        );
        assert_eq!(
            plan(Some(10), 0, 1024, 4096),
            Plan {
                maxconn: 10,
                soft: 1024,
                hard: 4096
            }
        );
    }

    #[test]
    fn without_maxconn_the_limit_decides() {
        assert_eq!(
            plan(None, 0, 1024, 20_256),
            Plan {
                maxconn: 10_000,
                soft: 20_256,
                hard: 20_256
            }
        );
        let unlimited = plan(None, 0, 1024, u64::MAX);
        assert_eq!(unlimited.maxconn, 1_000_000);
        assert!(
            unlimited.soft < 3_000_000,
            "the whole of an infinite limit would only cost memory"
        );
        assert_eq!(
            plan(None, 0, 64, 64).maxconn,
            1,
            "a tiny limit still serves somebody"
        );
    }
}
