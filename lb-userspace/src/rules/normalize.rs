//! `normalize_uri`: of the many spellings of a target the one that means the same everywhere, as HAProxy has it.

/// One step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Normalizer {
    /// `path-merge-slashes`: several slashes are one.
    MergeSlashes,
    /// `path-strip-dot`: parts of a dot alone are gone.
    StripDot,
    /// `path-strip-dotdot`: parts of two dots take the one before them away.
    StripDotdot {
        /// At the beginning they are gone too.
        full: bool,
    },
    /// `percent-to-uppercase`: `%2F` for `%2f`.
    PercentUpper,
    /// `percent-decode-unreserved`: what need not be encoded is not.
    DecodeUnreserved,
    /// `query-sort-by-name`: parameters of one name stay in their order.
    SortQuery,
}

impl Normalizer {
    /// All of them and their names.
    pub const ALL: &[(&str, Self)] = &[
        ("path-merge-slashes", Self::MergeSlashes),
        ("path-strip-dot", Self::StripDot),
        ("path-strip-dotdot", Self::StripDotdot { full: false }),
        ("path-strip-dotdot full", Self::StripDotdot { full: true }),
        ("percent-to-uppercase", Self::PercentUpper),
        ("percent-decode-unreserved", Self::DecodeUnreserved),
        ("query-sort-by-name", Self::SortQuery),
    ];

    /// What becomes of a path and query; `None` if they stay as they are.
    pub(super) fn apply(self, target: &[u8]) -> Option<Vec<u8>> {
        let end = target.iter().position(|&b| b == b'?');
        let (path, query) = target.split_at(end.unwrap_or(target.len()));
        let made = match self {
            Self::MergeSlashes => [merged(path), query.to_vec()].concat(),
            Self::StripDot => [without_dots(path), query.to_vec()].concat(),
            Self::StripDotdot { full } => [without_dotdots(path, full), query.to_vec()].concat(),
            Self::PercentUpper => percent(target, |digits, out| {
                out.push(b'%');
                out.extend(digits.map(|b| b.to_ascii_uppercase()));
            }),
            Self::DecodeUnreserved => percent(target, |digits, out| {
                let byte = super::convert::unhex(&digits).and_then(|bytes| bytes.first().copied());
                match byte {
                    Some(b) if b.is_ascii_alphanumeric() || b"-._~".contains(&b) => out.push(b),
                    _ => out.extend([b'%', digits[0], digits[1]]),
                }
            }),
            Self::SortQuery => {
                let mut parameters: Vec<&[u8]> = query.get(1..)?.split(|&b| b == b'&').collect();
                parameters.sort_by_key(|parameter| parameter.split(|&b| b == b'=').next());
                [path, b"?", &parameters.join(&b'&')].concat()
            }
        };
        (made != target).then_some(made)
    }
}

fn merged(path: &[u8]) -> Vec<u8> {
    let mut made: Vec<u8> = Vec::with_capacity(path.len());
    for &b in path {
        if !(b == b'/' && made.last() == Some(&b'/')) {
            made.push(b);
        }
    }
    made
}

fn without_dots(path: &[u8]) -> Vec<u8> {
    let mut parts: Vec<&[u8]> = path.split(|&b| b == b'/').collect();
    let last = parts.len().saturating_sub(1);
    // The last one leaves its slash.
    if let Some(part) = parts.get_mut(last)
        && *part == b"."
    {
        *part = b"";
    }
    parts.retain(|part| *part != b".");
    parts.join(&b'/')
}

fn without_dotdots(path: &[u8], full: bool) -> Vec<u8> {
    let Some(rest) = path.strip_prefix(b"/") else {
        return path.to_vec();
    };
    let mut kept: Vec<&[u8]> = Vec::new();
    let mut open = false;
    for part in rest.split(|&b| b == b'/') {
        open = part == b"..";
        match kept.last() {
            _ if !open => kept.push(part),
            Some(before) if *before != b".." => drop(kept.pop()),
            _ if full => {}
            _ => {
                kept.push(part);
                open = false;
            }
        }
    }
    let mut made = vec![b'/'];
    made.extend(kept.join(&b'/'));
    if open && !kept.is_empty() {
        made.push(b'/');
    }
    made
}

/// With each `%` and its two digits written by `write`; what is no such thing stays.
fn percent(text: &[u8], write: impl Fn([u8; 2], &mut Vec<u8>)) -> Vec<u8> {
    let mut made = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&b, after)) = rest.split_first() {
        rest = after;
        match after {
            [high, low, after @ ..]
                if b == b'%' && high.is_ascii_hexdigit() && low.is_ascii_hexdigit() =>
            {
                write([*high, *low], &mut made);
                rest = after;
            }
            _ => made.push(b),
        }
    }
    made
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_get_one_spelling() {
        for (name, from, to) in [
            ("path-merge-slashes", "//a///b/?c//d", "/a/b/?c//d"),
            ("path-strip-dot", "/./a/./b/.?./x", "/a/b/?./x"),
            ("path-strip-dot", "/.a/b.", "/.a/b."),
            ("path-strip-dotdot", "/a/../b", "/b"),
            ("path-strip-dotdot", "/a/b/../", "/a/"),
            ("path-strip-dotdot", "/a/b/..", "/a/"),
            ("path-strip-dotdot", "/a/..", "/"),
            ("path-strip-dotdot", "/../b", "/../b"),
            ("path-strip-dotdot", "/b/../../", "/../"),
            ("path-strip-dotdot", "/a//../", "/a/"),
            ("path-strip-dotdot full", "/../b", "/b"),
            ("path-strip-dotdot full", "/b/../../", "/"),
            ("percent-to-uppercase", "/%2f%zz%?%aB", "/%2F%zz%?%AB"),
            ("percent-decode-unreserved", "/%41%2f%7E?%2d", "/A%2f~?-"),
            ("query-sort-by-name", "/?c=3&a=2&b&a=1", "/?a=2&a=1&b&c=3"),
            ("query-sort-by-name", "/", "/"),
        ] {
            let (_, normalizer) = Normalizer::ALL
                .iter()
                .find(|(known, _)| *known == name)
                .expect("it is one");
            let made = normalizer.apply(from.as_bytes());
            let made = made.as_deref().unwrap_or(from.as_bytes());
            assert_eq!(String::from_utf8_lossy(made), to, "{name} of {from}");
        }
    }
}
