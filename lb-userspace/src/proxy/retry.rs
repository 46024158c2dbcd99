//! When a connection to a server failed: try again there, elsewhere, or give up. HAProxy's rules.

use std::time::Duration;

use crate::config::model::{self, Balance};

/// Longest pause before the same server is tried again; a shorter connect timeout shortens it.
const TURN_AROUND: Duration = Duration::from_secs(1);

/// What to do after a failed attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// No attempt is left.
    GiveUp,
    /// The same server, after this pause.
    Same(Duration),
    /// Another server if there is one, after this pause.
    Other(Duration),
}

/// The facts of a failed attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Failed {
    /// Attempts made before this one.
    pub retries: u32,
    /// The client was bound to this server, by a cookie.
    pub direct: bool,
    /// The server still counts as up.
    pub server_up: bool,
    /// It failed by timeout, and so has cost time enough.
    pub timed_out: bool,
    /// Ordinary servers that are up.
    pub active_servers: usize,
}

/// Decides. With `redispatch`, another server is tried at the retries that it names, when this one is down, and, if
/// the choice is a matter of turn anyway (roundrobin or random, no cookie, more than one server), at once.
pub fn next(backend: &model::Backend, failed: Failed) -> Next {
    match backend.retry_on.connection {
        true => again(backend, failed),
        false => Next::GiveUp,
    }
}

/// The same for a request that a server may have seen, once it is known that it may be sent again.
pub fn again(backend: &model::Backend, failed: Failed) -> Next {
    if failed.retries >= backend.retries {
        return Next::GiveUp;
    }
    let in_turn = matches!(
        backend.balance,
        Balance::RoundRobin | Balance::StaticRr | Balance::Random
    ) && failed.active_servers > 1;
    let other = backend.redispatch.is_some_and(|after| {
        !failed.server_up
            || is_due(after, failed.retries + 1, backend.retries)
            || (in_turn && !failed.direct)
    });
    let pause = if failed.timed_out {
        Duration::ZERO
    } else {
        TURN_AROUND.min(backend.timeouts.connect)
    };
    match other {
        true if in_turn => Next::Other(Duration::ZERO),
        true => Next::Other(pause),
        false => Next::Same(pause),
    }
}

/// Whether the `retry`-th retry (from 1) goes elsewhere: every `after`-th, or, if negative, the one that many from the
/// end (-1 is the last).
fn is_due(after: i32, retry: u32, retries: u32) -> bool {
    let (retry, retries) = (i64::from(retry), i64::from(retries));
    match i64::from(after) {
        0 => false,
        after @ 1.. => retry % after == 0,
        after => {
            let period = retries + 1 + after;
            // More than there are retries: each goes elsewhere.
            period <= 0 || retry % period == 0
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topology::fixtures;

    const SECOND: Duration = Duration::from_secs(1);

    fn backend(balance: Balance, redispatch: Option<i32>) -> model::Backend {
        model::Backend {
            redispatch,
            ..fixtures::backend("b", balance, Vec::new())
        }
    }

    fn failed(retries: u32) -> Failed {
        Failed {
            retries,
            direct: true,
            server_up: true,
            timed_out: false,
            active_servers: 2,
        }
    }

    #[test]
    fn without_redispatch_the_same_server_is_tried_three_times_a_second_apart() {
        let backend = backend(Balance::RoundRobin, None);
        for retries in 0..3 {
            assert_eq!(
                next(
                    &backend,
                    Failed {
                        server_up: false,
                        ..failed(retries)
                    }
                ),
                Next::Same(SECOND)
            );
        }
        assert_eq!(next(&backend, failed(3)), Next::GiveUp);
    }

    #[test]
    fn with_redispatch_a_cookies_holder_goes_elsewhere_at_the_last_retry() {
        let backend = backend(Balance::RoundRobin, Some(-1));
        assert_eq!(next(&backend, failed(0)), Next::Same(SECOND));
        assert_eq!(next(&backend, failed(1)), Next::Same(SECOND));
        assert_eq!(next(&backend, failed(2)), Next::Other(Duration::ZERO));
    }

    #[test]
    fn with_redispatch_nobody_waits_for_a_server_that_was_a_matter_of_turn() {
        let in_turn = Failed {
            direct: false,
            ..failed(0)
        };
        assert_eq!(
            next(&backend(Balance::RoundRobin, Some(-1)), in_turn),
            Next::Other(Duration::ZERO)
        );
        assert_eq!(
            next(&backend(Balance::LeastConn, Some(-1)), in_turn),
            Next::Same(SECOND)
        );
        let alone = Failed {
            active_servers: 1,
            ..in_turn
        };
        assert_eq!(
            next(&backend(Balance::RoundRobin, Some(-1)), alone),
            Next::Same(SECOND)
        );
    }

    #[test]
    fn with_redispatch_a_server_that_went_down_is_left_at_once() {
        let down = Failed {
            server_up: false,
            ..failed(0)
        };
        assert_eq!(
            next(&backend(Balance::RoundRobin, Some(-1)), down),
            Next::Other(Duration::ZERO)
        );
        assert_eq!(
            next(&backend(Balance::Source, Some(-1)), down),
            Next::Other(SECOND)
        );
    }

    #[test]
    fn redispatch_every_second_retry() {
        let backend = backend(Balance::RoundRobin, Some(2));
        assert_eq!(next(&backend, failed(0)), Next::Same(SECOND));
        assert_eq!(next(&backend, failed(1)), Next::Other(Duration::ZERO));
        assert_eq!(next(&backend, failed(2)), Next::Same(SECOND));
    }

    #[test]
    fn a_timeout_has_been_pause_enough() {
        let slow = Failed {
            timed_out: true,
            ..failed(0)
        };
        assert_eq!(
            next(&backend(Balance::Source, None), slow),
            Next::Same(Duration::ZERO)
        );
    }

    #[test]
    fn no_redispatch_interval_divides_by_zero() {
        for after in [-10, -4, -1, 0, 1] {
            let _ = next(&backend(Balance::Source, Some(after)), failed(0));
        }
    }
}
