//! Versions as patterns of `req.ssl_ver` have them: `3.1`, `3.0:3.2`, `gt 3.1`. The sample is a number.

/// The same in numbers, the major one 65,536-fold; what is no version stays as it is.
pub(super) fn numbers(text: &str) -> String {
    let mut out = String::new();
    let mut version = String::new();
    for c in text.chars() {
        if c.is_ascii_digit() || c == '.' {
            version.push(c);
        } else {
            number(&mut version, &mut out);
            // HAProxy takes either between two.
            out.push(if c == '-' { ':' } else { c });
        }
    }
    number(&mut version, &mut out);
    out
}

fn number(version: &mut String, out: &mut String) {
    let (major, minor) = version.split_once('.').unwrap_or((version, "0"));
    match (major.parse::<u32>(), minor.parse::<u32>()) {
        (Ok(major), Ok(minor)) if major < 1 << 15 && minor < 1 << 16 => {
            out.push_str(&(major << 16 | minor).to_string());
        }
        _ => out.push_str(version),
    }
    version.clear();
}

#[cfg(test)]
mod tests {
    use super::numbers;

    #[test]
    fn versions_become_numbers() {
        for (text, expected) in [
            ("3.1", "196609"),
            ("3", "196608"),
            ("3.0:3.2", "196608:196610"),
            ("3.0-3.2", "196608:196610"),
            ("gt 3.1", "gt 196609"),
            ("3.x", "3.x"),
            ("", ""),
        ] {
            assert_eq!(numbers(text), expected, "{text}");
        }
    }
}
