//! Waiting for a state of the world instead of for a time.

use std::fmt::Display;
use std::thread;
use std::time::{Duration, Instant};

use crate::{Error, Result};

/// Long enough for a busy two-core machine; only a failing test ever waits it out.
pub const PATIENCE: Duration = Duration::from_secs(20);

const STEP: Duration = Duration::from_millis(5);

/// How many times longer than usual to wait: a whole number, for machines that are emulated.
const PATIENCE_FACTOR: &str = "LB_TEST_PATIENCE";

/// Polls until `probe` gives a value, at most `limit`, or a multiple of it where `LB_TEST_PATIENCE` says so.
///
/// # Errors
/// Names `what` when the time has passed.
pub fn until<T>(
    what: impl Display,
    limit: Duration,
    mut probe: impl FnMut() -> Option<T>,
) -> Result<T> {
    let factor = std::env::var(PATIENCE_FACTOR).ok();
    let limit = limit * factor.and_then(|factor| factor.parse().ok()).unwrap_or(1);
    let deadline = Instant::now() + limit;
    loop {
        if let Some(value) = probe() {
            return Ok(value);
        }
        if Instant::now() >= deadline {
            return Err(Error::new(format!("not within {limit:?}: {what}")));
        }
        thread::sleep(STEP);
    }
}

/// Polls until `probe` holds, at most [`PATIENCE`].
///
/// # Errors
/// Names `what` when the time has passed.
pub fn until_true(what: impl Display, mut probe: impl FnMut() -> bool) -> Result<()> {
    until(what, PATIENCE, || probe().then_some(()))
}
