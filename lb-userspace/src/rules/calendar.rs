//! The Gregorian calendar, for logs and rules alike.

/// A moment in calendar fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Date {
    /// The year.
    pub year: i64,
    /// The month, 1–12.
    pub month: u8,
    /// The day, 1–31.
    pub day: u8,
    /// 0–23.
    pub hour: u8,
    /// 0–59.
    pub minute: u8,
    /// 0–59.
    pub second: u8,
    /// 0–6, from Sunday on.
    pub weekday: u8,
    /// 1–366.
    pub yearday: u16,
}

/// English, whatever the locale, from Sunday on.
pub const DAYS: [&str; 7] = [
    "Sunday",
    "Monday",
    "Tuesday",
    "Wednesday",
    "Thursday",
    "Friday",
    "Saturday",
];
/// English, whatever the locale.
pub const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

impl Date {
    /// 1 January 1970.
    pub const EPOCH: Self = Self {
        year: 1970,
        month: 1,
        day: 1,
        hour: 0,
        minute: 0,
        second: 0,
        weekday: 4,
        yearday: 1,
    };

    /// The date at `seconds` since 1970, by Howard Hinnant's civil-from-days; `None` beyond what a calendar has.
    pub fn of(seconds: i64) -> Option<Self> {
        let days = seconds.div_euclid(86_400);
        let time = seconds.rem_euclid(86_400);
        if days.abs() > 366 * 10_000_000 {
            return None;
        }
        let shifted = days + 719_468;
        let era = shifted.div_euclid(146_097);
        let of_era = shifted.rem_euclid(146_097);
        let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
        let of_year = of_era - (365 * year + year / 4 - year / 100);
        let march = (5 * of_year + 2) / 153;
        let day = of_year - (153 * march + 2) / 5 + 1;
        let month = if march < 10 { march + 3 } else { march - 9 };
        let year = year + era * 400 + i64::from(month <= 2);
        let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
        let before = [0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334];
        let index = usize::try_from(month - 1).ok()?;
        let yearday = before.get(index)? + day + i64::from(leap && month > 2);
        Some(Self {
            year,
            month: u8::try_from(month).ok()?,
            day: u8::try_from(day).ok()?,
            hour: u8::try_from(time / 3600).ok()?,
            minute: u8::try_from(time / 60 % 60).ok()?,
            second: u8::try_from(time % 60).ok()?,
            weekday: u8::try_from((days + 4).rem_euclid(7)).ok()?,
            yearday: u16::try_from(yearday).ok()?,
        })
    }
}

/// Seconds that the host's zone was east of UTC.
pub fn offset(at: i64) -> Option<i64> {
    // SAFETY: all zeroes is a valid `tm`, which holds numbers and a pointer.
    let mut tm: libc::tm = unsafe { std::mem::zeroed() };
    // SAFETY: both pointers are to live values, and localtime_r writes to the second alone.
    let done = unsafe { libc::localtime_r(&at, &mut tm) };
    (!done.is_null()).then_some(tm.tm_gmtoff)
}
