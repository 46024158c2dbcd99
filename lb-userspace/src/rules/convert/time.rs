//! Moments as text, in strftime's format.

use crate::rules::calendar::{DAYS, Date, MONTHS, offset};

/// `at`, seconds since 1970, in UTC or the host's zone. `None` where the format has an unknown letter, which its reader
/// has refused, or the moment is beyond what a calendar has.
pub(super) fn format(format: &str, at: i64, local: bool) -> Option<String> {
    let east = if local { offset(at)? } else { 0 };
    let date = Date::of(at.checked_add(east)?)?;
    let mut text = String::with_capacity(format.len() * 2);
    let mut letters = format.chars();
    while let Some(c) = letters.next() {
        match c {
            '%' => write(&date, letters.next()?, at, east, &mut text)?,
            c => text.push(c),
        }
    }
    Some(text)
}

/// Whether `format` has only letters that are known.
pub(super) fn is_format(text: &str) -> bool {
    format(text, 0, false).is_some()
}

fn write(date: &Date, letter: char, at: i64, east: i64, text: &mut String) -> Option<()> {
    use std::fmt::Write;
    let day = DAYS.get(usize::from(date.weekday))?;
    let month = MONTHS.get(usize::from(date.month) - 1)?;
    let twelve = (date.hour + 11) % 12 + 1;
    match letter {
        'a' => text.push_str(&day[..3]),
        'A' => text.push_str(day),
        'b' | 'h' => text.push_str(&month[..3]),
        'B' => text.push_str(month),
        'd' => write!(text, "{:02}", date.day).ok()?,
        'e' => write!(text, "{:2}", date.day).ok()?,
        'D' => write!(
            text,
            "{:02}/{:02}/{:02}",
            date.month,
            date.day,
            date.year.rem_euclid(100)
        )
        .ok()?,
        'F' => write!(text, "{}-{:02}-{:02}", date.year, date.month, date.day).ok()?,
        'H' => write!(text, "{:02}", date.hour).ok()?,
        'I' => write!(text, "{twelve:02}").ok()?,
        'j' => write!(text, "{:03}", date.yearday).ok()?,
        'm' => write!(text, "{:02}", date.month).ok()?,
        'M' => write!(text, "{:02}", date.minute).ok()?,
        'n' => text.push('\n'),
        'p' => text.push_str(if date.hour < 12 { "AM" } else { "PM" }),
        'R' => write!(text, "{:02}:{:02}", date.hour, date.minute).ok()?,
        's' => write!(text, "{at}").ok()?,
        'S' => write!(text, "{:02}", date.second).ok()?,
        't' => text.push('\t'),
        'T' => write!(
            text,
            "{:02}:{:02}:{:02}",
            date.hour, date.minute, date.second
        )
        .ok()?,
        'u' => write!(text, "{}", if date.weekday == 0 { 7 } else { date.weekday }).ok()?,
        'w' => write!(text, "{}", date.weekday).ok()?,
        'y' => write!(text, "{:02}", date.year.rem_euclid(100)).ok()?,
        'Y' => write!(text, "{}", date.year).ok()?,
        'z' => {
            let minutes = east.abs() / 60;
            let sign = if east < 0 { '-' } else { '+' };
            write!(text, "{sign}{:02}{:02}", minutes / 60, minutes % 60).ok()?;
        }
        '%' => text.push('%'),
        _ => return None,
    }
    Some(())
}
