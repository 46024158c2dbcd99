//! Unquoted text, and what YAML readers of different ages make of it.

/// What readers of YAML 1.1 or 1.2 make of unquoted text, where they do not agree that it is the same text.
pub(super) fn reads_as(text: &str) -> Option<&'static str> {
    let lower = text.to_ascii_lowercase();
    if matches!(
        lower.as_str(),
        "true" | "false" | "yes" | "no" | "on" | "off" | "y" | "n"
    ) {
        return Some("a boolean");
    }
    let unsigned = lower.strip_prefix(['+', '-']).unwrap_or(&lower);
    let digits = |text: &str, radix: u32| {
        !text.is_empty() && text.chars().all(|c| c.is_digit(radix) || c == '_')
    };
    if unsigned == ".inf" || lower == ".nan" {
        return Some("a number");
    }
    for (prefix, radix) in [("0x", 16), ("0o", 8), ("0b", 2)] {
        if unsigned
            .strip_prefix(prefix)
            .is_some_and(|rest| digits(rest, radix))
        {
            return Some("a number in another base");
        }
    }
    if !unsigned.starts_with(|c: char| c.is_ascii_digit() || c == '.') {
        return None;
    }
    if digits(unsigned, 10) {
        // Plain decimal digits are the same text to everyone, unless they are more than a double holds.
        let short = unsigned == text && unsigned.len() <= 15 && !unsigned.contains('_');
        let same = short && (unsigned == "0" || !unsigned.starts_with('0'));
        return (!same).then_some("a number");
    }
    if unsigned.contains(':')
        && unsigned
            .split(':')
            .all(|part| digits(part, 10) && part.len() <= 2)
    {
        return Some("a number in base 60");
    }
    let date = unsigned.split('-').collect::<Vec<_>>();
    if let [year, month, day] = date[..]
        && year.len() == 4
        && [year, month, day].iter().all(|part| digits(part, 10))
    {
        return Some("a date");
    }
    unsigned.parse::<f64>().is_ok().then_some("a number")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ambiguous_text_is_recognised() {
        for text in [
            "yes",
            "No",
            "on",
            "OFF",
            "true",
            "y",
            "0x1f",
            "0o17",
            "0b1",
            "017",
            "1_000",
            "22:30",
            "1:2:3",
            "1e3",
            "1.5",
            ".5",
            ".inf",
            "-.INF",
            ".NaN",
            "+1",
            "-0x10",
            "2026-11-23",
            "1234567890123456",
            "1.",
        ] {
            assert!(reads_as(text).is_some(), "{text}");
        }
        for text in [
            "a",
            "1",
            "0",
            "300",
            "ms1.srv1",
            "1.2.3.4",
            "1.2.3.4:80",
            "2026-11",
            "abc:1",
            "0xzz",
            "",
            "-",
            "22:abc",
        ] {
            assert_eq!(reads_as(text), None, "{text}");
        }
    }
}
