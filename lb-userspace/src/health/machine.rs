//! Rise and fall: from the result of a check to a server's health. Pure.

use std::{
    hash::{BuildHasher, RandomState},
    time::Duration,
};

use crate::{config::model::HealthCheck, topology::Health};

/// A change between up and down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transition {
    /// `rise` successes in a row have brought it up.
    Up,
    /// `fall` failures in a row, or the first of all results, have brought it down.
    Down,
}

/// The health after a check that passed or failed, and whether that made the server go up or down.
///
/// A success brings a server that is up to the top at once: failures must come in a row to count. A failure takes a
/// server that is down back to the bottom likewise.
pub fn record(health: Health, passed: bool) -> (Health, Option<Transition>) {
    let level = match passed {
        true if health.level + 1 >= health.rise => health.top(),
        true => health.level + 1,
        false if health.level > health.rise => health.level - 1,
        false => 0,
    };
    let next = Health { level, ..health };
    let transition = match (health.is_up(), next.is_up()) {
        (false, true) => Some(Transition::Up),
        (true, false) => Some(Transition::Down),
        _ => None,
    };
    (next, transition)
}

/// The time from one check to the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// Of a server that is quite up.
    pub interval: Duration,
    /// Of one that is on its way up or down.
    pub fast: Duration,
    /// Of one that is down.
    pub down: Duration,
    /// By how many hundredths it is shorter or longer, at most.
    pub spread: u8,
}

impl Pace {
    /// That of a check.
    pub fn of(check: &HealthCheck) -> Self {
        Self {
            interval: check.interval,
            fast: check.fast_interval.unwrap_or(check.interval),
            down: check.down_interval.unwrap_or(check.interval),
            spread: check.spread.percent,
        }
    }

    /// The time to the next check of a server in this health.
    pub fn after(&self, health: Option<Health>) -> Duration {
        match health {
            Some(health) if health.level == 0 => self.down,
            Some(health) if health.level < health.top() => self.fast,
            _ => self.interval,
        }
    }
}

/// Any number.
pub fn chance() -> u64 {
    // Each has keys of its own; hashing nothing makes them a number.
    RandomState::new().hash_one(())
}

impl Pace {
    /// `pause`, made shorter or longer as `chance`, any number, has it.
    pub fn spread(&self, pause: Duration, chance: u64) -> Duration {
        let most = pause * u32::from(self.spread) / 100;
        let part = chance as f64 / u64::MAX as f64;
        (pause - most) + (most * 2).mul_f64(part)
    }
}

/// How long server `index` of `count` waits before its first check, so that checks are spread over the interval
/// instead of coming in bursts.
pub fn first_delay(interval: Duration, index: usize, count: usize) -> Duration {
    let (index, count) = (
        u32::try_from(index).unwrap_or(u32::MAX),
        u32::try_from(count).unwrap_or(u32::MAX),
    );
    // Multiplied as nanoseconds: an interval times a thousand servers still fits.
    interval
        .saturating_mul(index)
        .checked_div(count)
        .unwrap_or(Duration::ZERO)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(results: &[bool]) -> Vec<String> {
        let mut health = Health::initial(2, 3);
        results
            .iter()
            .map(|&passed| {
                let (next, transition) = record(health, passed);
                health = next;
                format!(
                    "{health}{}",
                    transition.map_or(String::new(), |t| format!(" {t:?}"))
                )
            })
            .collect()
    }

    #[test]
    fn before_any_result_a_server_is_up_and_the_first_failure_makes_it_down() {
        assert!(Health::initial(2, 3).is_up());
        assert_eq!(run(&[false]), ["DOWN Down"]);
        assert_eq!(run(&[true]), ["UP"]);
    }

    #[test]
    fn three_failures_in_a_row_make_it_down_and_two_successes_up() {
        assert_eq!(
            run(&[true, false, false, false, true, true]),
            ["UP", "UP 2/3", "UP 1/3", "DOWN Down", "DOWN 1/2", "UP Up"]
        );
    }

    #[test]
    fn failures_count_only_in_a_row() {
        assert_eq!(
            run(&[true, false, false, true, false, false]),
            ["UP", "UP 2/3", "UP 1/3", "UP", "UP 2/3", "UP 1/3"]
        );
    }

    #[test]
    fn successes_count_only_in_a_row() {
        assert_eq!(
            run(&[false, true, false, true, true]),
            ["DOWN Down", "DOWN 1/2", "DOWN", "DOWN 1/2", "UP Up"]
        );
    }

    #[test]
    fn rise_and_fall_of_one_follow_every_result() {
        let health = Health::initial(1, 1);
        let (down, transition) = record(health, false);
        assert_eq!(transition, Some(Transition::Down));
        assert_eq!(record(down, true).1, Some(Transition::Up));
    }

    #[test]
    fn the_level_never_leaves_its_range() {
        for rise in 1..5 {
            for fall in 1..5 {
                for level in 0..rise + fall {
                    for passed in [false, true] {
                        let (next, _) = record(Health { level, rise, fall }, passed);
                        assert!(next.level <= next.top());
                    }
                }
            }
        }
    }

    #[test]
    fn a_server_on_its_way_is_checked_at_another_pace() {
        let pace = Pace {
            interval: Duration::from_secs(10),
            fast: Duration::from_secs(1),
            down: Duration::from_secs(5),
            spread: 0,
        };
        let at = |level| {
            let (rise, fall) = (2, 3);
            pace.after(Some(Health { level, rise, fall })).as_secs()
        };
        assert_eq!([at(0), at(1), at(2), at(3), at(4)], [5, 1, 1, 1, 10]);
        assert_eq!(pace.after(None).as_secs(), 10);
    }

    #[test]
    fn pauses_are_as_much_shorter_or_longer_as_they_may_be() {
        let second = Duration::from_secs(1);
        let pace = |spread| Pace {
            interval: second,
            fast: second,
            down: second,
            spread,
        };
        for chance in [0, 1, u64::MAX / 3, u64::MAX] {
            assert_eq!(pace(0).spread(second, chance), second);
        }
        let ten = |chance| pace(10).spread(second, chance).as_millis();
        assert_eq!(
            (ten(0), ten(u64::MAX / 2), ten(u64::MAX)),
            (900, 1000, 1100)
        );
    }

    #[test]
    fn first_checks_are_spread_over_the_interval() {
        let second = Duration::from_secs(1);
        let delays: Vec<u128> = (0..4)
            .map(|i| first_delay(second, i, 4).as_millis())
            .collect();
        assert_eq!(delays, [0, 250, 500, 750]);
        assert_eq!(first_delay(second, 0, 0), Duration::ZERO);
    }
}
