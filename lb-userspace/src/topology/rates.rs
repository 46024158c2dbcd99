//! How many connections the whole process accepts in a second, as operators will it.

use std::{sync::Arc, time::Duration};

use super::{Clock, Pace};

/// The bounds; 0 is none. They outlive a configuration.
#[derive(Debug, Default)]
pub struct Rates {
    /// Of connections.
    pub connections: Pace,
    /// Of sessions: connections as well, for each is one from the moment that it is accepted.
    pub sessions: Pace,
    /// Of connections that begin with TLS.
    pub tls: Pace,
}

impl Rates {
    /// All of them, in the order of `show info`.
    pub fn all(&self) -> [&Pace; 3] {
        [&self.connections, &self.sessions, &self.tls]
    }

    /// How many each lets pass in a second, in the same order.
    pub fn now(&self) -> [u32; 3] {
        self.all().map(Pace::rate)
    }

    /// They are these from now on, in the same order.
    pub fn set(&self, rates: [u32; 3]) {
        for (pace, rate) in self.all().into_iter().zip(rates) {
            pace.set_rate(rate);
        }
    }
}

/// What one connection has to pass by.
#[derive(Debug, Clone, Copy)]
pub struct Passing<'a> {
    /// Its frontend's own bound.
    pub own: Option<&'a Arc<Pace>>,
    /// The process's.
    pub process: &'a Arc<Rates>,
    /// Whether it begins with TLS.
    pub tls: bool,
}

impl Passing<'_> {
    /// Waits until all bounds let another connection be accepted.
    pub async fn turn(self, clock: Clock) -> Turn {
        loop {
            match self.pass(|| clock.start().elapsed()) {
                Ok(turn) => return turn,
                Err(wait) => tokio::time::sleep(wait).await,
            }
        }
    }

    /// Passes by all or none. Where nothing bounds it, nobody asks for the time.
    fn pass(self, now: impl Fn() -> Duration) -> Result<Turn, Duration> {
        let mut turn = Turn {
            own: None,
            process: None,
        };
        if let Some(own) = self.own {
            own.pass(now())?;
            turn.own = Some(Arc::clone(own));
        }
        // Dropped half way, the turn gives back what it has.
        let [connections, sessions, tls] = self.process.all();
        let bounds = [connections, sessions].into_iter();
        for (at, pace) in bounds.chain(self.tls.then_some(tls)).enumerate() {
            if pace.rate() == 0 {
                continue;
            }
            pace.pass(now())?;
            let (_, passed) = turn
                .process
                .get_or_insert_with(|| (Arc::clone(self.process), [false; 3]));
            passed[at] = true;
        }
        Ok(turn)
    }
}

/// Leave to accept a connection; given back when dropped, for there may be none.
#[derive(Debug)]
pub struct Turn {
    own: Option<Arc<Pace>>,
    /// With which of them it has passed by.
    process: Option<(Arc<Rates>, [bool; 3])>,
}

impl Turn {
    /// A connection has come of it.
    pub fn spend(mut self) {
        self.own = None;
        self.process = None;
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if let Some(pace) = &self.own {
            pace.give_back();
        }
        if let Some((rates, passed)) = &self.process {
            let passed = rates.all().into_iter().zip(passed);
            passed
                .filter(|(_, passed)| **passed)
                .for_each(|(pace, _)| pace.give_back());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_bounds_hold_and_what_one_refuses_the_others_have_back() {
        let rates = Arc::new(Rates::default());
        let own = Arc::new(Pace::new(5));
        let pass = |tls| {
            let passing = Passing {
                own: Some(&own),
                process: &rates,
                tls,
            };
            passing.pass(|| Duration::from_secs(9)).map(Turn::spend)
        };
        rates.tls.set_rate(1);
        rates.sessions.set_rate(4);
        assert!(pass(true).is_ok());
        assert!(pass(true).is_err(), "the bound of TLS");
        for _ in 0..3 {
            assert!(pass(false).is_ok());
        }
        assert!(pass(false).is_err(), "the bound of sessions");
        rates.sessions.set_rate(0);
        assert!(pass(false).is_ok(), "what was refused was given back");
        assert!(pass(false).is_err(), "its own bound");
    }
}
