//! Local calendar time, as log lines show it.

use std::{
    cell::Cell,
    fmt::{self, Display},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use crate::rules::calendar::{Date, MONTHS, offset};

/// A moment broken into calendar fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Calendar {
    /// The year, four digits.
    pub year: i32,
    /// The month, 0–11.
    pub month: u8,
    /// The day, 1–31.
    pub day: u8,
    /// 0–23.
    pub hour: u8,
    /// 0–59.
    pub minute: u8,
    /// 0–59.
    pub second: u8,
    /// 0–999.
    pub millisecond: u16,
    /// Seconds east of UTC.
    pub offset: i32,
}

impl Calendar {
    /// `at` in the host's time zone.
    ///
    /// Looking the zone up costs about a microsecond, so each thread keeps the last second it converted.
    pub fn local(at: SystemTime) -> Self {
        thread_local! {
            static LAST: Cell<Option<(i64, Calendar)>> = const { Cell::new(None) };
        }
        let (seconds, millisecond) = since_epoch(at);
        let calendar = match LAST.get() {
            Some((last, calendar)) if last == seconds => calendar,
            _ => {
                let calendar = break_down(seconds, offset(seconds).unwrap_or(0));
                LAST.set(Some((seconds, calendar)));
                calendar
            }
        };
        Self {
            millisecond,
            ..calendar
        }
    }

    /// `at` in UTC.
    pub fn utc(at: SystemTime) -> Self {
        let (seconds, millisecond) = since_epoch(at);
        Self {
            millisecond,
            ..break_down(seconds, 0)
        }
    }

    /// `23/Nov/2026:02:30:20`, as HAProxy's lines have it.
    pub fn clf(&self) -> impl Display {
        let (day, month, year, time) = (self.day, self.month_name(), self.year, self.time());
        fmt::from_fn(move |f| write!(f, "{day:02}/{month}/{year:04}:{time}"))
    }

    /// `2026-11-23`
    pub fn date(&self) -> impl Display {
        let Self {
            year, month, day, ..
        } = *self;
        fmt::from_fn(move |f| write!(f, "{year:04}-{:02}-{day:02}", month + 1))
    }

    /// `02:30:20`
    pub fn time(&self) -> impl Display {
        let Self {
            hour,
            minute,
            second,
            ..
        } = *self;
        fmt::from_fn(move |f| write!(f, "{hour:02}:{minute:02}:{second:02}"))
    }

    /// `+01:00`, or with nothing for a colon `+0100`.
    pub fn zone(&self, colon: &'static str) -> impl Display {
        let sign = if self.offset < 0 { '-' } else { '+' };
        let minutes = self.offset.unsigned_abs() / 60;
        let (hours, minutes) = (minutes / 60, minutes % 60);
        fmt::from_fn(move |f| write!(f, "{sign}{hours:02}{colon}{minutes:02}"))
    }

    /// The English abbreviation of the month.
    pub fn month_name(&self) -> &'static str {
        MONTHS
            .get(usize::from(self.month))
            .and_then(|name| name.get(..3))
            .unwrap_or("???")
    }
}

/// Whole seconds since 1970 and the milliseconds after them; times before 1970 read as 1970.
pub(super) fn since_epoch(at: SystemTime) -> (i64, u16) {
    let since = at.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    (
        i64::try_from(since.as_secs()).unwrap_or(i64::MAX),
        u16::try_from(since.subsec_millis()).unwrap_or(0),
    )
}

fn break_down(seconds: i64, offset: i64) -> Calendar {
    // What no calendar has is as well told by another wrong answer.
    let date = Date::of(seconds.saturating_add(offset)).unwrap_or(Date::EPOCH);
    Calendar {
        year: i32::try_from(date.year).unwrap_or(i32::MAX),
        month: date.month - 1,
        day: date.day,
        hour: date.hour,
        minute: date.minute,
        second: date.second,
        millisecond: 0,
        offset: i32::try_from(offset).unwrap_or(0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn utc_knows_leap_years() {
        let of = |seconds| {
            let at = Calendar::utc(UNIX_EPOCH + Duration::from_secs(seconds));
            (at.year, at.month + 1, at.day, at.hour, at.minute, at.second)
        };
        assert_eq!(of(0), (1970, 1, 1, 0, 0, 0));
        assert_eq!(of(951_782_400), (2000, 2, 29, 0, 0, 0));
        assert_eq!(of(1_709_251_199), (2024, 2, 29, 23, 59, 59));
        assert_eq!(of(1_795_739_494), (2026, 11, 27, 0, 31, 34));
        assert_eq!(of(4_107_542_400), (2100, 3, 1, 0, 0, 0));
    }

    #[test]
    fn milliseconds_are_kept_and_a_second_later_is_a_second_later() {
        let at = UNIX_EPOCH + Duration::from_millis(1_795_400_407_490);
        let now = Calendar::local(at);
        let next = Calendar::local(at + Duration::from_secs(1));
        assert_eq!(now.millisecond, 490);
        assert_eq!((now.second + 1) % 60, next.second);
        assert_eq!(now.year, 2026);
    }

    #[test]
    fn its_parts_are_written_in_each_way() {
        let at = Calendar {
            offset: -(3 * 3600 + 1800),
            ..Calendar::utc(UNIX_EPOCH + Duration::from_secs(1_795_739_494))
        };
        assert_eq!(at.clf().to_string(), "27/Nov/2026:00:31:34");
        assert_eq!(at.date().to_string(), "2026-11-27");
        assert_eq!(at.time().to_string(), "00:31:34");
        assert_eq!(at.zone(":").to_string(), "-03:30");
        assert_eq!(
            Calendar { offset: 3600, ..at }.zone("").to_string(),
            "+0100"
        );
    }
}
