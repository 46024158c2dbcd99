//! So many a second and no more: exact between threads, by one number.

use std::{
    sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed},
    time::Duration,
};

/// Lets `rate` pass in a second, that many at once after a pause (the generic cell rate algorithm, ITU-T I.371).
#[derive(Debug, Default)]
pub struct Pace {
    /// 0 is no bound.
    rate: AtomicU32,
    /// Nanoseconds of the clock at which all that have passed are paid for.
    paid: AtomicU64,
}

const SECOND: u64 = 1_000_000_000;

impl Pace {
    /// Of `rate` a second; 0 is no bound.
    pub fn new(rate: u32) -> Self {
        Self {
            rate: AtomicU32::new(rate),
            paid: AtomicU64::new(0),
        }
    }

    /// How many pass in a second; 0 is no bound.
    pub fn rate(&self) -> u32 {
        self.rate.load(Relaxed)
    }

    /// So many pass from now on.
    pub fn set_rate(&self, rate: u32) {
        self.rate.store(rate, Relaxed);
    }

    /// Nanoseconds that each of those takes who pass; `None` if there is no bound.
    fn each(&self) -> Option<u64> {
        SECOND.checked_div(u64::from(self.rate()))
    }

    /// Lets one pass at `now` of the clock, or says how long it has to wait before it asks again.
    ///
    /// # Errors
    /// How long.
    pub fn pass(&self, now: Duration) -> Result<(), Duration> {
        let Some(each) = self.each() else {
            return Ok(());
        };
        let now = u64::try_from(now.as_nanos()).unwrap_or(u64::MAX);
        let passed = self.paid.fetch_update(Relaxed, Relaxed, |paid| {
            let next = paid.max(now).saturating_add(each);
            (next <= now.saturating_add(SECOND)).then_some(next)
        });
        passed.map(drop).map_err(|paid| {
            let early = paid.saturating_add(each).saturating_sub(now + SECOND);
            Duration::from_nanos(early)
        })
    }

    /// One that has passed was nobody.
    pub fn give_back(&self) {
        let Some(each) = self.each() else { return };
        // What has passed was added before, but perhaps at another rate.
        let less = |paid: u64| Some(paid.saturating_sub(each));
        let (Ok(_) | Err(_)) = self.paid.fetch_update(Relaxed, Relaxed, less);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_has_so_many_and_no_more() {
        let pace = Pace::new(4);
        let at = |ms| pace.pass(Duration::from_millis(ms));
        let passed = (0..10).filter(|_| at(1_000).is_ok()).count();
        assert_eq!(passed, 4);
        assert_eq!(at(1_000), Err(Duration::from_millis(250)));
        assert_eq!(at(1_250), Ok(()));
        assert_eq!(at(1_300), Err(Duration::from_millis(200)));
        let passed = (0..10).filter(|_| at(9_000).is_ok()).count();
        assert_eq!(passed, 4, "what was not used is not saved up");
        pace.give_back();
        let passed = (0..10).filter(|_| at(9_000).is_ok()).count();
        assert_eq!(passed, 1, "what was given back is there again");
        pace.set_rate(0);
        assert!((0..100).all(|_| at(9_000).is_ok()), "there is no bound");
        pace.set_rate(2);
        pace.give_back();
        let passed = (0..10).filter(|_| at(20_000).is_ok()).count();
        assert_eq!(passed, 2);
    }
}
