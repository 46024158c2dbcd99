//! Local calendar time, as log lines show it.

use std::{
    cell::Cell,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// HAProxy and RFC 3164 name months in English, whatever the locale.
const MONTHS: [&str; 12] = [
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
];

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
    /// 0–60 (leap seconds).
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
                let calendar = break_down(seconds);
                LAST.set(Some((seconds, calendar)));
                calendar
            }
        };
        Self {
            millisecond,
            ..calendar
        }
    }

    /// `at` in UTC, by the Gregorian calendar (Hinnant's `civil_from_days`).
    pub fn utc(at: SystemTime) -> Self {
        let (seconds, millisecond) = since_epoch(at);
        let (days, rest) = (seconds / 86_400, seconds % 86_400);
        // Counted from 1 March of the year 0, so that leap days are last.
        let days = days + 719_468;
        let (era, day) = (days / 146_097, days % 146_097);
        let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
        let day = day - (365 * year + year / 4 - year / 100);
        let month = (5 * day + 2) / 153;
        let day = day - (153 * month + 2) / 5 + 1;
        let january = (month + 2) / 12;
        let small = |value: i64| u8::try_from(value).unwrap_or(0);
        Self {
            year: i32::try_from(era * 400 + year + january).unwrap_or(i32::MAX),
            month: small((month + 2) % 12),
            day: small(day),
            hour: small(rest / 3_600),
            minute: small(rest / 60 % 60),
            second: small(rest % 60),
            millisecond,
            offset: 0,
        }
    }

    /// The English abbreviation of the month.
    pub fn month_name(&self) -> &'static str {
        MONTHS
            .get(usize::from(self.month))
            .copied()
            .unwrap_or("???")
    }
}

/// Whole seconds since 1970 and the milliseconds after them; times before 1970 read as 1970.
fn since_epoch(at: SystemTime) -> (i64, u16) {
    let since = at.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    (
        i64::try_from(since.as_secs()).unwrap_or(i64::MAX),
        u16::try_from(since.subsec_millis()).unwrap_or(0),
    )
}

fn break_down(seconds: i64) -> Calendar {
    // SAFETY: `tm` is plain data for which all zeroes is a valid value.
    let mut tm: libc::tm = unsafe { std::mem::zeroed() };
    // SAFETY: both pointers are to live values of this frame, and `localtime_r` writes only into the second.
    let done = unsafe { libc::localtime_r(&raw const seconds, &raw mut tm) };
    if done.is_null() {
        // The year does not fit; the epoch is as good as any other wrong answer.
        tm.tm_year = 70;
        tm.tm_mday = 1;
    }
    let small = |value: libc::c_int| u8::try_from(value).unwrap_or(0);
    Calendar {
        year: tm.tm_year.saturating_add(1900),
        month: small(tm.tm_mon),
        day: small(tm.tm_mday),
        hour: small(tm.tm_hour),
        minute: small(tm.tm_min),
        second: small(tm.tm_sec),
        millisecond: 0,
        offset: i32::try_from(tm.tm_gmtoff).unwrap_or(0),
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
}
