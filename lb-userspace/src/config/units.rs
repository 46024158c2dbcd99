//! Durations and sizes as text.

use std::time::Duration;

/// Why a text is not what was wanted, and what to write instead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Problem {
    pub(super) message: String,
    pub(super) mend: Option<String>,
}

impl Problem {
    pub(super) fn new(message: impl Into<String>, mend: impl Into<String>) -> Problem {
        Problem {
            message: message.into(),
            mend: Some(mend.into()),
        }
    }
}

impl From<crate::rules::Problem> for Problem {
    fn from(problem: crate::rules::Problem) -> Problem {
        Problem {
            message: problem.message,
            mend: problem.mend,
        }
    }
}

/// Longest duration: HAProxy's timers are 31 bits of milliseconds, some 24 days.
pub(super) const MAX_DURATION: Duration = Duration::from_millis(i32::MAX as u64);

/// `500ms`, `10s`, `5m`, `1h`, `1d`.
pub(super) fn duration(text: &str) -> Result<Duration, Problem> {
    let (digits, unit) = split(text);
    let no_duration = || {
        let mend = match meant_duration(text) {
            Some(meant) => format!("write `{meant}`"),
            None => "write a whole number and a unit: `500ms`, `10s`, `5m`, `1h`".to_owned(),
        };
        Problem::new(format!("`{text}` is no duration"), mend)
    };
    if let Some(milliseconds) = fraction(text) {
        return Err(Problem::new(
            format!("`{text}` is not whole"),
            format!("write `{milliseconds}ms`"),
        ));
    }
    let Ok(number) = digits.parse::<u64>() else {
        return Err(no_duration());
    };
    let milliseconds = match unit {
        "ms" => number.checked_mul(1),
        "s" => number.checked_mul(1_000),
        "m" => number.checked_mul(60_000),
        "h" => number.checked_mul(3_600_000),
        "d" => number.checked_mul(86_400_000),
        "" => {
            let seconds = if number >= 1000 && number.is_multiple_of(1000) {
                format!("`{}s`, or `{number}ms`", number / 1000)
            } else {
                format!("`{number}s` or `{number}ms`")
            };
            return Err(Problem::new(
                format!("`{text}` has no unit"),
                format!("write {seconds}"),
            ));
        }
        _ => return Err(no_duration()),
    };
    match milliseconds.map(Duration::from_millis) {
        Some(duration) if duration <= MAX_DURATION => Ok(duration),
        _ => Err(Problem::new(
            format!("`{text}` is longer than 24 days"),
            "write at most `24d`",
        )),
    }
}

/// `16k` is 16,384, `1m` is 1,048,576, `1g` is 1,073,741,824; without a unit, as it is.
pub(super) fn size(text: &str) -> Option<u64> {
    let (digits, unit) = split(text);
    let factor = match unit {
        "" => 1,
        "k" | "K" => 1 << 10,
        "m" | "M" => 1 << 20,
        "g" | "G" => 1 << 30,
        _ => return None,
    };
    digits.parse::<u64>().ok()?.checked_mul(factor)
}

/// How a duration is written that is spelt in another way: `5 s`, `1h30m`, `10sec`, `PT5S`, `500us`.
fn meant_duration(text: &str) -> Option<String> {
    let text = text.to_ascii_lowercase().replace(' ', "");
    let mut rest = text.strip_prefix("pt").unwrap_or(&text);
    let mut microseconds = 0u64;
    while !rest.is_empty() {
        let (digits, more) = split(rest);
        let end = more.find(|c: char| !c.is_ascii_alphabetic());
        let (unit, more) = more.split_at(end.unwrap_or(more.len()));
        let unit = match unit {
            "us" => 1,
            "ms" | "msec" | "msecs" | "millis" => 1_000,
            "s" | "sec" | "secs" | "second" | "seconds" => 1_000_000,
            "m" | "min" | "mins" | "minute" | "minutes" => 60_000_000,
            "h" | "hr" | "hrs" | "hour" | "hours" => 3_600_000_000,
            "d" | "day" | "days" => 86_400_000_000,
            "w" | "week" | "weeks" => 604_800_000_000,
            _ => return None,
        };
        let part = digits.parse::<u64>().ok()?.checked_mul(unit)?;
        microseconds = microseconds.checked_add(part)?;
        rest = more;
    }
    let milliseconds = microseconds.div_ceil(1_000);
    if milliseconds == 0 || milliseconds > MAX_DURATION.as_millis() as u64 {
        return None;
    }
    let units = [("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];
    let (unit, length) = units
        .into_iter()
        .find(|(_, length)| milliseconds.is_multiple_of(*length))?;
    Some(format!("{}{unit}", milliseconds / length))
}

/// How a number is written that is spelt in another way: `10k`, `10_000`, `10,000`.
pub(super) fn meant_number(text: &str) -> Option<String> {
    let plain: String = text
        .chars()
        .filter(|c| !matches!(c, '_' | ',' | '\''))
        .collect();
    let (digits, unit) = split(&plain);
    let zeros = match unit {
        "" => "",
        "k" | "K" => "000",
        "m" | "M" => "000000",
        _ => return None,
    };
    let short = (1..=9).contains(&digits.len());
    short.then(|| format!("{digits}{zeros}"))
}

/// How a size is written that is spelt in another way: `10KB`, `10 MiB`.
pub(super) fn meant_size(text: &str) -> Option<String> {
    let plain = text.to_ascii_lowercase().replace(' ', "");
    let (digits, unit) = split(&plain);
    let unit = match unit {
        "b" | "bytes" => "",
        "kb" | "kib" => "k",
        "mb" | "mib" => "m",
        "gb" | "gib" => "g",
        _ => return meant_number(text),
    };
    (!digits.is_empty()).then(|| format!("{digits}{unit}"))
}

fn split(text: &str) -> (&str, &str) {
    text.split_at(
        text.find(|c: char| !c.is_ascii_digit())
            .unwrap_or(text.len()),
    )
}

/// `1.5s` in milliseconds.
fn fraction(text: &str) -> Option<u64> {
    let (whole, rest) = text.split_once('.')?;
    let (tenths, unit) = split(rest);
    let scale = match unit {
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return None,
    };
    if tenths.is_empty() || tenths.len() > 3 {
        return None;
    }
    let part = tenths.parse::<u64>().ok()? * scale / 10_u64.pow(u32::try_from(tenths.len()).ok()?);
    whole
        .parse::<u64>()
        .ok()?
        .checked_mul(scale)?
        .checked_add(part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(duration("10s"), Ok(Duration::from_secs(10)));
        assert_eq!(duration("5m"), Ok(Duration::from_secs(300)));
        assert_eq!(duration("1h"), Ok(Duration::from_secs(3600)));
        assert_eq!(duration("1d"), Ok(Duration::from_secs(86400)));
        let mend = |text: &str| {
            duration(text)
                .err()
                .and_then(|p| p.mend)
                .unwrap_or_default()
        };
        assert_eq!(mend("5000"), "write `5s`, or `5000ms`");
        assert_eq!(mend("30"), "write `30s` or `30ms`");
        assert_eq!(mend("1.5s"), "write `1500ms`");
        assert_eq!(mend("25d"), "write at most `24d`");
        for (text, meant) in [
            ("5 s", "5s"),
            ("5S", "5s"),
            ("5sec", "5s"),
            ("1h30m", "90m"),
            ("1m30s", "90s"),
            ("2min", "2m"),
            ("60min", "1h"),
            ("PT5S", "5s"),
            ("500us", "1ms"),
            ("1w", "168h"),
            ("1s500ms", "1500ms"),
        ] {
            assert_eq!(mend(text), format!("write `{meant}`"), "{text}");
        }
        for none in [
            "", "s", "-1s", "none", "5,5s", "00:00:05", "0us", "99w", "5 x",
        ] {
            assert!(mend(none).starts_with("write a whole number"), "{none}");
        }
        for bad in [
            "",
            "s",
            "-1s",
            "1 s",
            "1S",
            "1m30s",
            "99999999999999999999s",
            "18446744073709551615h",
            "١s",
        ] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn numbers_in_other_spellings() {
        for (text, meant) in [
            ("10k", Some("10000")),
            ("1M", Some("1000000")),
            ("10_000", Some("10000")),
            ("10,000", Some("10000")),
            ("10kb", None),
            ("k", None),
            ("many", None),
            ("1.5", None),
        ] {
            assert_eq!(meant_number(text).as_deref(), meant, "{text}");
        }
        assert_eq!(meant_size("10 KB").as_deref(), Some("10k"));
        assert_eq!(meant_size("1MiB").as_deref(), Some("1m"));
        assert_eq!(meant_size("kb"), None);
    }

    #[test]
    fn sizes() {
        assert_eq!(size("16k"), Some(16384));
        assert_eq!(size("1m"), Some(1 << 20));
        assert_eq!(size("1000"), Some(1000));
        for bad in ["", "k", "1kb", "-1", "1.5k", "18446744073709551615k"] {
            assert_eq!(size(bad), None, "{bad}");
        }
    }
}
