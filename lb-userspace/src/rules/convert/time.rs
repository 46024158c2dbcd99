//! Moments as text, in strftime's format.

/// A moment's calendar.
struct Calendar {
    year: i64,
    month: u8,
    day: u8,
    hour: u8,
    minute: u8,
    second: u8,
    weekday: u8,
    yearday: u16,
    offset: i64,
}

const DAYS: [&str; 7] = [
    "Sunday",
    "Monday",
    "Tuesday",
    "Wednesday",
    "Thursday",
    "Friday",
    "Saturday",
];
const MONTHS: [&str; 12] = [
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

/// `at`, seconds since 1970, in UTC or the host's zone. `None` where the format has an unknown letter, which its reader
/// has refused, or the moment is beyond what a calendar has.
pub(super) fn format(format: &str, at: i64, local: bool) -> Option<String> {
    let offset = if local { offset(at)? } else { 0 };
    let calendar = Calendar::new(at.checked_add(offset)?, offset)?;
    let mut text = String::with_capacity(format.len() * 2);
    let mut letters = format.chars();
    while let Some(c) = letters.next() {
        match c {
            '%' => calendar.write(letters.next()?, at, &mut text)?,
            c => text.push(c),
        }
    }
    Some(text)
}

/// Whether `format` has only letters that are known.
pub(super) fn is_format(text: &str) -> bool {
    format(text, 0, false).is_some()
}

impl Calendar {
    /// Howard Hinnant's civil-from-days.
    fn new(seconds: i64, offset: i64) -> Option<Self> {
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
            offset,
        })
    }

    fn write(&self, letter: char, at: i64, text: &mut String) -> Option<()> {
        use std::fmt::Write;
        let day = DAYS.get(usize::from(self.weekday))?;
        let month = MONTHS.get(usize::from(self.month) - 1)?;
        let twelve = (self.hour + 11) % 12 + 1;
        match letter {
            'a' => text.push_str(&day[..3]),
            'A' => text.push_str(day),
            'b' | 'h' => text.push_str(&month[..3]),
            'B' => text.push_str(month),
            'd' => write!(text, "{:02}", self.day).ok()?,
            'e' => write!(text, "{:2}", self.day).ok()?,
            'D' => write!(
                text,
                "{:02}/{:02}/{:02}",
                self.month,
                self.day,
                self.year.rem_euclid(100)
            )
            .ok()?,
            'F' => write!(text, "{}-{:02}-{:02}", self.year, self.month, self.day).ok()?,
            'H' => write!(text, "{:02}", self.hour).ok()?,
            'I' => write!(text, "{twelve:02}").ok()?,
            'j' => write!(text, "{:03}", self.yearday).ok()?,
            'm' => write!(text, "{:02}", self.month).ok()?,
            'M' => write!(text, "{:02}", self.minute).ok()?,
            'n' => text.push('\n'),
            'p' => text.push_str(if self.hour < 12 { "AM" } else { "PM" }),
            'R' => write!(text, "{:02}:{:02}", self.hour, self.minute).ok()?,
            's' => write!(text, "{at}").ok()?,
            'S' => write!(text, "{:02}", self.second).ok()?,
            't' => text.push('\t'),
            'T' => write!(
                text,
                "{:02}:{:02}:{:02}",
                self.hour, self.minute, self.second
            )
            .ok()?,
            'u' => write!(text, "{}", if self.weekday == 0 { 7 } else { self.weekday }).ok()?,
            'w' => write!(text, "{}", self.weekday).ok()?,
            'y' => write!(text, "{:02}", self.year.rem_euclid(100)).ok()?,
            'Y' => write!(text, "{}", self.year).ok()?,
            'z' => {
                let minutes = self.offset.abs() / 60;
                let sign = if self.offset < 0 { '-' } else { '+' };
                write!(text, "{sign}{:02}{:02}", minutes / 60, minutes % 60).ok()?;
            }
            '%' => text.push('%'),
            _ => return None,
        }
        Some(())
    }
}

/// Seconds that the host's zone was east of UTC.
fn offset(at: i64) -> Option<i64> {
    // SAFETY: all zeroes is a valid `tm`, which holds numbers and a pointer.
    let mut tm: libc::tm = unsafe { std::mem::zeroed() };
    // SAFETY: both pointers are to live values, and localtime_r writes to the second alone.
    let done = unsafe { libc::localtime_r(&at, &mut tm) };
    (!done.is_null()).then_some(tm.tm_gmtoff)
}
