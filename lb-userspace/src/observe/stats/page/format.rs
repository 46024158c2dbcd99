//! Numbers as people read them.

use std::fmt::Write;

/// Thin no-break space between groups of digits.
const GROUP: char = '\u{202f}';

/// `1 234 567`.
pub(super) fn number(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::with_capacity(digits.len() * 2);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(GROUP);
        }
        out.push(digit);
    }
    out
}

/// A number of tenths: `0`, `0.3`, `12.3`, `1 234`.
pub(super) fn tenths(n: u64) -> String {
    match n {
        0 => "0".to_owned(),
        ..1000 if !n.is_multiple_of(10) => format!("{}.{}", n / 10, n % 10),
        _ => number(n / 10),
    }
}

/// `1.2 MB`, in powers of a thousand.
pub(super) fn bytes(n: u64) -> String {
    const UNITS: [&str; 6] = ["kB", "MB", "GB", "TB", "PB", "EB"];
    if n < 1000 {
        return format!("{n}{GROUP}B");
    }
    let mut tenths = u128::from(n) * 10 / 1000;
    let mut unit = 0;
    while tenths >= 10_000 && unit + 1 < UNITS.len() {
        tenths /= 1000;
        unit += 1;
    }
    let mut out = String::new();
    // A String takes everything.
    let _ = if tenths < 1000 {
        write!(out, "{}.{}{GROUP}{}", tenths / 10, tenths % 10, UNITS[unit])
    } else {
        write!(out, "{}{GROUP}{}", tenths / 10, UNITS[unit])
    };
    out
}

/// HAProxy's way with times: the two largest units, `3d4h`, `2h5m`, `1m2s`, `6s`.
pub(super) fn time(seconds: u64) -> String {
    let (days, hours, minutes, rest) = (
        seconds / 86_400,
        seconds / 3600 % 24,
        seconds / 60 % 60,
        seconds % 60,
    );
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{rest}s"),
        (0, 0, _) => format!("{minutes}m{rest}s"),
        (0, _, _) => format!("{hours}h{minutes}m"),
        _ => format!("{days}d{hours}h"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped() {
        assert_eq!(number(0), "0");
        assert_eq!(number(999), "999");
        assert_eq!(number(1_234_567), "1\u{202f}234\u{202f}567");
    }

    #[test]
    fn small_numbers_have_tenths() {
        for (n, text) in [
            (0, "0"),
            (3, "0.3"),
            (123, "12.3"),
            (120, "12"),
            (12_345, "1234"),
        ] {
            assert_eq!(tenths(n).replace(GROUP, ""), text, "{n}");
        }
    }

    #[test]
    fn bytes_have_a_unit() {
        for (n, text) in [
            (0, "0 B"),
            (999, "999 B"),
            (1_000, "1.0 kB"),
            (1_250_000, "1.2 MB"),
            (999_999, "999 kB"),
            (123_456_789_000, "123 GB"),
            (u64::MAX, "18.4 EB"),
        ] {
            assert_eq!(bytes(n).replace(GROUP, " "), text, "{n}");
        }
    }

    #[test]
    fn times_have_two_units() {
        for (seconds, text) in [(6, "6s"), (62, "1m2s"), (7500, "2h5m"), (273_600, "3d4h")] {
            assert_eq!(time(seconds), text);
        }
    }
}
