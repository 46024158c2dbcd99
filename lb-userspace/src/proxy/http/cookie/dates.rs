//! The dates in a sticky cookie's value, `SERVER|LAST|FIRST`, as HAProxy writes them: seconds since 1970 in units of
//! four, thirty bits in five characters of base 64.

use std::{
    fmt::Write,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use crate::config::model::Cookie;

/// Dates this far ahead are borne: a clock may be wrong by a time zone.
const TOLERANCE: u64 = 24 * 60 * 60;
const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// When a cookie was last used and first set: seconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Dates {
    /// Last used.
    pub last: Option<u64>,
    /// First set.
    pub first: Option<u64>,
}

/// What the dates say of a cookie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Age {
    /// It may be used.
    Good,
    /// It was not used for longer than `maxidle`.
    Expired,
    /// It was set longer ago than `maxlife`.
    Old,
}

/// Seconds since 1970.
pub fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}

/// The value and the dates after it.
pub fn split(value: &[u8]) -> (&[u8], Dates) {
    let mut parts = value.splitn(3, |&byte| byte == b'|');
    let name = parts.next().unwrap_or_default();
    let mut date = || parts.next().and_then(decode);
    let dates = Dates {
        last: date(),
        first: date(),
    };
    (name, dates)
}

impl Dates {
    /// Whether a cookie with these dates may be used at `now`.
    pub fn age(self, cookie: &Cookie, now: u64) -> Age {
        let over = |date: Option<u64>, most: Option<Duration>| match (date, most) {
            (Some(date), Some(most)) => {
                now.saturating_sub(date) > most.as_secs() || date.saturating_sub(now) > TOLERANCE
            }
            _ => false,
        };
        if over(self.first, cookie.maxlife) {
            return Age::Old;
        }
        match over(self.last, cookie.maxidle) {
            true => Age::Expired,
            false => Age::Good,
        }
    }

    /// Whether a cookie that is right apart from that is to be set anew at `now`.
    pub fn are_due(self, cookie: &Cookie, now: u64) -> bool {
        let refresh = cookie.maxidle.is_some() || self.last.is_some();
        refresh && self.last.is_none_or(|last| last < now)
            || cookie.maxlife.is_some() != self.first.is_some()
    }

    /// Writes the dates that `cookie` wants after its value at `now`.
    pub fn write(self, out: &mut String, cookie: &Cookie, now: u64) {
        if !cookie.is_dated() {
            return;
        }
        // Rounded up, so that a cookie is not due again at once.
        let today = now.saturating_add(3) & !3;
        encode(out, today);
        if cookie.maxlife.is_some() {
            encode(out, self.first.unwrap_or(today));
        }
    }
}

fn decode(text: &[u8]) -> Option<u64> {
    let digits = text.get(..5)?.iter();
    let value = digits.map(|byte| DIGITS.iter().position(|digit| digit == byte));
    let value = value
        .into_iter()
        .try_fold(0u64, |value, digit| Some(value << 6 | digit? as u64))?;
    Some(value << 2).filter(|&date| date > 0)
}

fn encode(out: &mut String, date: u64) {
    let date = date >> 2;
    let digits = [24, 18, 12, 6, 0].map(|shift| char::from(DIGITS[(date >> shift & 63) as usize]));
    // A String takes everything.
    let _ = write!(out, "|{}", String::from_iter(digits));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cookie(maxidle: Option<u64>, maxlife: Option<u64>) -> Cookie {
        Cookie {
            maxidle: maxidle.map(Duration::from_secs),
            maxlife: maxlife.map(Duration::from_secs),
            ..Cookie::default()
        }
    }

    fn written(dates: Dates, cookie: &Cookie, now: u64) -> String {
        let mut out = String::new();
        dates.write(&mut out, cookie, now);
        out
    }

    // HAProxy 2.6 wrote `awjHp` in the second before the one that it stands for.
    const HAPROXYS: (&[u8], u64) = (b"awjHp", 1_795_737_508);

    #[test]
    fn dates_are_read_and_written_as_haproxys() {
        let (text, date) = HAPROXYS;
        assert_eq!(decode(text), Some(date));
        for now in date - 3..=date {
            assert_eq!(
                written(Dates::default(), &cookie(Some(9), None), now),
                "|awjHp"
            );
        }
        for bad in [
            &b"awjH"[..],
            b"",
            b"aw|Hp",
            b"AAAAA",
            b"\xff\xff\xff\xff\xff",
        ] {
            assert_eq!(decode(bad), None, "{}", bad.escape_ascii());
        }
        assert_eq!(decode(b"/////more"), Some(u64::from(u32::MAX) - 3));
    }

    #[test]
    fn a_value_is_told_from_its_dates() {
        let (_, date) = HAPROXYS;
        let (none, last) = (Dates::default(), Some(date));
        assert_eq!(split(b"s1"), (&b"s1"[..], none));
        assert_eq!(split(b"s1|"), (&b"s1"[..], none));
        let one = Dates { last, first: None };
        assert_eq!(split(b"s1|awjHp"), (&b"s1"[..], one));
        let both = Dates { last, first: last };
        assert_eq!(split(b"s1|awjHp|awjHp"), (&b"s1"[..], both));
        assert_eq!(split(b"|||"), (&b""[..], none));
    }

    #[test]
    fn the_first_date_stays_and_the_last_one_moves() {
        let (_, date) = HAPROXYS;
        let dates = Dates {
            last: Some(date - 100),
            first: Some(date),
        };
        let both = cookie(Some(60), Some(3600));
        assert_eq!(written(dates, &both, date + 4), "|awjHq|awjHp");
        assert_eq!(written(dates, &cookie(None, None), date), "");
    }

    #[test]
    fn a_cookie_has_an_end() {
        let dates = |last, first| Dates { last, first };
        let both = cookie(Some(60), Some(3600));
        let age = |last, first| dates(last, first).age(&both, 10_000);
        assert_eq!(age(None, None), Age::Good);
        assert_eq!(age(Some(9_940), Some(6_400)), Age::Good);
        assert_eq!(age(Some(9_939), Some(6_400)), Age::Expired);
        assert_eq!(age(Some(9_990), Some(6_399)), Age::Old);
        assert_eq!(age(Some(1), Some(1)), Age::Old, "as HAProxy logs it");
        assert_eq!(age(Some(10_000 + TOLERANCE), None), Age::Good);
        assert_eq!(age(Some(10_001 + TOLERANCE), None), Age::Expired);
        let never = cookie(None, None);
        assert_eq!(dates(Some(1), Some(1)).age(&never, u64::MAX), Age::Good);
    }

    #[test]
    fn dates_are_due_when_they_differ_from_what_is_wanted() {
        let dates = |last, first| Dates { last, first };
        let (none, idle, life) = (
            cookie(None, None),
            cookie(Some(60), None),
            cookie(None, Some(60)),
        );
        assert!(!dates(None, None).are_due(&none, 100));
        assert!(
            dates(Some(90), None).are_due(&none, 100),
            "no longer wanted"
        );
        assert!(dates(None, None).are_due(&idle, 100));
        assert!(dates(Some(99), None).are_due(&idle, 100));
        assert!(!dates(Some(100), None).are_due(&idle, 100));
        assert!(dates(None, None).are_due(&life, 100));
        assert!(!dates(None, Some(50)).are_due(&life, 100));
    }
}
