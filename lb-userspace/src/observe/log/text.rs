//! What lines are put together of.
//!
//! A line has some thirty numbers, and there is one for each request: the standard library's formatting, which asks again
//! for each piece how it is to be aligned and where it goes, took twice as long as all else that a log line costs.

use std::{
    cell::RefCell,
    fmt::{self, Write as _},
    net::IpAddr,
    time::{Duration, SystemTime},
};

use super::clock::{Calendar, since_epoch};
use crate::topology::Peer;

/// Appends `n` in decimal digits.
pub(super) fn number(out: &mut String, n: impl Into<u64>) {
    match n.into() {
        // As most of a line's are.
        n @ 0..10 => out.push(char::from(b'0' + n as u8)),
        n => out.push_str(itoa::Buffer::new().format(n)),
    }
}

/// Appends the last `N` digits of `n`.
pub(super) fn digits<const N: usize>(out: &mut String, mut n: u32) {
    let mut text = [b'0'; N];
    for place in text.iter_mut().rev() {
        // A digit is below ten.
        *place = b'0' + (n % 10) as u8;
        n /= 10;
    }
    out.extend(text.map(char::from));
}

/// A second, and how it is written: most lines have the one before theirs.
struct Second {
    /// Since 1970.
    at: i64,
    text: String,
}

impl Second {
    const fn none() -> Self {
        Self {
            at: i64::MIN,
            text: String::new(),
        }
    }

    /// Appends the second of `at` as `write` writes it and the three digits of its milliseconds.
    fn append(
        &mut self,
        out: &mut String,
        at: SystemTime,
        write: impl FnOnce(&Calendar) -> String,
    ) {
        let (seconds, millisecond) = since_epoch(at);
        if self.at != seconds {
            *self = Self {
                at: seconds,
                text: write(&Calendar::local(at)),
            };
        }
        out.push_str(&self.text);
        digits::<3>(out, millisecond.into());
    }
}

/// Appends a duration in whole milliseconds.
pub(super) fn elapsed(out: &mut String, took: Duration) {
    number(out, millis(took));
}

/// Appends a duration in whole milliseconds, or `-1` for a phase that was never reached.
pub(super) fn timer(out: &mut String, took: Option<Duration>) {
    match took {
        Some(took) => elapsed(out, took),
        None => out.push_str("-1"),
    }
}

/// A duration in whole milliseconds.
pub(super) fn millis(took: Duration) -> u64 {
    // A 64-bit number of milliseconds is half a thousand million years.
    (took.as_secs().saturating_mul(1000)).saturating_add(took.subsec_millis().into())
}

/// Appends `at` as `23/Nov/2026:02:30:20.251`, local time.
pub(super) fn accept_date(out: &mut String, at: SystemTime) {
    thread_local! {
        static LAST: RefCell<Second> = const { RefCell::new(Second::none()) };
    }
    LAST.with_borrow_mut(|last| last.append(out, at, |at| format!("{}.", at.clf())));
}

/// Appends `at` as `2026-11-23 02:30:20.251`, local time.
pub(super) fn date(out: &mut String, at: SystemTime) {
    thread_local! {
        static LAST: RefCell<Second> = const { RefCell::new(Second::none()) };
    }
    LAST.with_borrow_mut(|last| {
        last.append(out, at, |at| format!("{} {}.", at.date(), at.time()));
    });
}

/// Appends `peer` as its `Display` has it.
pub(super) fn peer(out: &mut String, peer: Peer) {
    let address = match peer {
        Peer::Inet(address) => address,
        Peer::Unix(bind) => {
            out.push_str("unix:");
            return number(out, bind);
        }
    };
    ip(out, address.ip());
    out.push(':');
    number(out, address.port());
}

/// Appends an address; one of IPv4 that is written as one of IPv6 as the former.
pub(super) fn ip(out: &mut String, ip: IpAddr) {
    match ip.to_canonical() {
        IpAddr::V4(v4) => {
            let [a, b, c, d] = v4.octets();
            number(out, a);
            for octet in [b, c, d] {
                out.push('.');
                number(out, octet);
            }
        }
        IpAddr::V6(v6) => out.push_str(&v6.to_string()),
    }
}

/// Appends `part`, and what `is_safe`, which takes nothing but ASCII, does not take of it as `#` and two digits.
pub(super) fn escaped(out: &mut String, part: &str, is_safe: impl Fn(u8) -> bool) {
    // Nearly all are safe, which is seen for many bytes at a time where none ends the search.
    if part.bytes().fold(true, |safe, byte| safe & is_safe(byte)) {
        return out.push_str(part);
    }
    let mut from = 0;
    for (at, byte) in part.bytes().enumerate() {
        if !is_safe(byte) {
            // Nothing, within a character of several bytes.
            out.push_str(part.get(from..at).unwrap_or_default());
            hex(out, byte);
            from = at + 1;
        }
    }
    out.push_str(part.get(from..).unwrap_or_default());
}

/// Appends what the standard library formats, where there is less to write.
pub(super) fn formatted(out: &mut String, what: fmt::Arguments<'_>) {
    // A String takes everything.
    let _ = out.write_fmt(what);
}

/// Appends `byte` as `#` and two digits.
pub(super) fn hex(out: &mut String, byte: u8) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    out.push('#');
    for digit in [byte >> 4, byte & 15] {
        out.push(char::from(DIGITS[usize::from(digit)]));
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;

    fn text(write: impl FnOnce(&mut String)) -> String {
        let mut out = String::new();
        write(&mut out);
        out
    }

    #[test]
    fn peers_are_written_as_everywhere() {
        for address in [
            "192.0.2.1:80",
            "0.0.0.0:0",
            "255.255.255.255:65535",
            "[2001:db8::1]:443",
            "[::ffff:192.0.2.1]:8080",
        ] {
            let address: SocketAddr = address.parse().unwrap();
            let one = Peer::Inet(address);
            assert_eq!(text(|out| peer(out, one)), one.to_string());
        }
        let one = Peer::Unix(3);
        assert_eq!(text(|out| peer(out, one)), one.to_string());
    }

    #[test]
    fn dates_have_three_digits_of_a_second() {
        let at = |millis| SystemTime::UNIX_EPOCH + Duration::from_millis(millis);
        for (millis, end) in [
            (1_000, ".000"),
            (1_007, ".007"),
            (1_070, ".070"),
            (2_999, ".999"),
        ] {
            let whole = format!("{}{end}", Calendar::local(at(millis)).clf());
            assert_eq!(text(|out| accept_date(out, at(millis))), whole);
            let local = Calendar::local(at(millis));
            let whole = format!("{} {}{end}", local.date(), local.time());
            assert_eq!(text(|out| date(out, at(millis))), whole);
        }
    }

    #[test]
    fn durations_are_whole_milliseconds() {
        let of = |took| text(|out| timer(out, took));
        assert_eq!(of(None), "-1");
        assert_eq!(of(Some(Duration::from_micros(1_999))), "1");
        assert_eq!(of(Some(Duration::from_millis(61_002))), "61002");
        assert_eq!(of(Some(Duration::MAX)), u64::MAX.to_string());
    }

    #[test]
    fn what_is_not_safe_is_escaped() {
        let of = |part| text(|out| escaped(out, part, |byte| byte.is_ascii_alphanumeric()));
        assert_eq!(of(""), "");
        assert_eq!(of("abc"), "abc");
        assert_eq!(of("a\"\"b\u{7f}"), "a#22#22b#7F");
        assert_eq!(of("é1é"), "#C3#A91#C3#A9");
    }
}
