//! Regular expressions: those of the crate `regex`, which take linear time whatever is sent, and only for what it cannot say
//! (look-around, references, atomic groups, possessive repetition) ones that try again and again, up to a limit.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering::Relaxed},
};

use super::problem::Problem;

/// So often one that goes back may do so for one text: some milliseconds at most.
const MOST_STEPS: usize = 100_000;
/// Bytes of a compiled expression.
const MOST_BYTES: usize = 4 << 20;

/// A regular expression over bytes.
#[derive(Debug, Clone)]
pub struct Regex(Kind);

#[derive(Debug, Clone)]
enum Kind {
    Linear(regex::bytes::Regex),
    Backtracking(Arc<Backtracking>),
}

#[derive(Debug)]
struct Backtracking {
    regex: fancy_regex::Regex,
    /// That it took too many steps was told.
    told: AtomicBool,
}

impl Backtracking {
    /// What came of a search; nothing where it took too many steps.
    fn found<T>(&self, result: fancy_regex::Result<Option<T>>) -> Option<T> {
        result.unwrap_or_else(|error| {
            if !self.told.swap(true, Relaxed) {
                tracing::warn!(
                    "the regular expression `{}` was given up for a text, which counts as no match: {error}",
                    self.regex.as_str()
                );
            }
            None
        })
    }
}

impl Regex {
    /// Compiles a pattern.
    ///
    /// # Errors
    /// It is none.
    pub fn new(pattern: &str, ignore_case: bool) -> Result<Self, Problem> {
        let linear = regex::bytes::RegexBuilder::new(pattern)
            .case_insensitive(ignore_case)
            .unicode(false)
            .size_limit(MOST_BYTES)
            .build();
        let error = match linear {
            Ok(regex) => return Ok(Self(Kind::Linear(regex))),
            Err(error) => error,
        };
        let backtracking = fancy_regex::RegexBuilder::new(pattern)
            .case_insensitive(ignore_case)
            .bytes_mode(fancy_regex::BytesMode::Ascii)
            .backtrack_limit(MOST_STEPS)
            .delegate_size_limit(MOST_BYTES)
            .build();
        if let (regex::Error::Syntax(_), Ok(regex)) = (&error, backtracking) {
            let told = AtomicBool::new(false);
            return Ok(Self(Kind::Backtracking(Arc::new(Backtracking {
                regex,
                told,
            }))));
        }
        let text = error.to_string();
        let last = text.lines().last().unwrap_or_default();
        let last = last.trim_start_matches("error: ");
        Err(Problem::new(
            format!("`{pattern}` is no regular expression: {last}"),
            "see https://docs.rs/regex for the syntax; `\\` before a character takes it as it is",
        ))
    }

    /// The pattern.
    pub fn as_str(&self) -> &str {
        match &self.0 {
            Kind::Linear(regex) => regex.as_str(),
            Kind::Backtracking(of) => of.regex.as_str(),
        }
    }

    /// Whether it takes linear time.
    pub fn is_linear(&self) -> bool {
        matches!(self.0, Kind::Linear(_))
    }

    /// Whether it matches anywhere.
    pub fn is_match(&self, text: &[u8]) -> bool {
        match &self.0 {
            Kind::Linear(regex) => regex.is_match(text),
            Kind::Backtracking(of) => {
                let found = of.regex.is_match(text);
                of.found(found.map(|found| found.then_some(()))).is_some()
            }
        }
    }

    /// A replacement with what its groups have found, `${1}`, in the place of all that is around it; `None` if it does not
    /// match.
    pub fn expanded(&self, text: &[u8], by: &[u8]) -> Option<Vec<u8>> {
        match &self.0 {
            Kind::Linear(regex) => {
                let captures = regex.captures(text)?;
                let mut whole = Vec::with_capacity(text.len() + by.len());
                captures.expand(by, &mut whole);
                Some(whole)
            }
            Kind::Backtracking(of) => {
                let captures = of.found(of.regex.captures(text))?;
                let mut whole = Vec::new();
                expand(&captures, by, &mut whole);
                Some(whole)
            }
        }
    }

    /// The text with what matches replaced, once or everywhere; `None` if it does not match.
    pub fn replaced(&self, text: &[u8], by: &[u8], all: bool) -> Option<Vec<u8>> {
        let limit = usize::from(!all);
        match &self.0 {
            Kind::Linear(regex) if regex.is_match(text) => {
                Some(regex.replacen(text, limit, by).into_owned())
            }
            Kind::Linear(_) => None,
            Kind::Backtracking(of) => {
                let (mut whole, mut at) = (Vec::new(), None);
                let many = if all { usize::MAX } else { 1 };
                for found in of.regex.captures_iter(text).take(many) {
                    let Some(captures) = of.found(found.map(Some)) else {
                        break;
                    };
                    let Some(group) = captures.get(0) else { break };
                    whole.extend_from_slice(&text[at.unwrap_or(0)..group.start()]);
                    expand(&captures, by, &mut whole);
                    at = Some(group.end());
                }
                whole.extend_from_slice(&text[at?..]);
                Some(whole)
            }
        }
    }
}

/// Adds a replacement, in which `${1}` is what a group has found and `$$` a dollar sign.
fn expand(captures: &fancy_regex::Captures<'_, [u8]>, by: &[u8], whole: &mut Vec<u8>) {
    let mut rest = by;
    while let Some(at) = rest.iter().position(|&b| b == b'$') {
        whole.extend_from_slice(&rest[..at]);
        match &rest[at + 1..] {
            [b'{', digit, b'}', behind @ ..] => {
                let group = captures.get(usize::from(digit.wrapping_sub(b'0')));
                whole.extend_from_slice(group.map_or(&[], |found| found.as_bytes()));
                rest = behind;
            }
            [b'$', behind @ ..] => {
                whole.push(b'$');
                rest = behind;
            }
            behind => {
                whole.push(b'$');
                rest = behind;
            }
        }
    }
    whole.extend_from_slice(rest);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_needs_to_go_back_does_and_nothing_else() {
        for (pattern, linear, matches, other) in [
            ("^/a(b|c)+$", true, "/abc", "/ad"),
            (r"^/(?!admin)", false, "/user", "/admin"),
            (r"(?<=/v)\d+$", false, "/v12", "/w12"),
            (r"^(\w+)=\1$", false, "ab=ab", "ab=ac"),
            (r"^(?>a+)b", false, "aab", "ac"),
        ] {
            let regex = Regex::new(pattern, false).expect(pattern);
            assert_eq!(regex.is_linear(), linear, "{pattern}");
            assert!(regex.is_match(matches.as_bytes()), "{pattern}");
            assert!(!regex.is_match(other.as_bytes()), "{pattern}");
        }
        assert!(Regex::new("(?!x)A", true).is_ok_and(|regex| regex.is_match(b"a")));
        for bad in ["(", "(?!", r"\2(a)(?=b", "[a"] {
            assert!(Regex::new(bad, false).is_err(), "{bad}");
        }
        // What is too large is not tried in the other way.
        assert!(Regex::new("(a{1000}){1000}{1000}", false).is_err());
    }

    #[test]
    fn both_replace_alike() {
        for pattern in [r"(\d)(x?)", r"(?=\d)(\d)(x?)"] {
            let regex = Regex::new(pattern, false).expect(pattern);
            let replaced = |text: &[u8], by: &[u8], all| {
                let made = regex.replaced(text, by, all);
                made.map(|made| made.escape_ascii().to_string())
            };
            let text = b"a1x\xff2";
            assert_eq!(
                replaced(text, b"<${1}|${2}|$$>", true).as_deref(),
                Some(r"a<1|x|$>\xff<2||$>")
            );
            assert_eq!(
                replaced("ä1ö".as_bytes(), b"-", false).as_deref(),
                Some(r"\xc3\xa4-\xc3\xb6")
            );
            assert_eq!(replaced(b"none", b"-", true), None);
            let expanded = regex.expanded(text, b"[${2}${1}]");
            assert_eq!(expanded.as_deref(), Some(&b"[x1]"[..]));
            assert_eq!(regex.expanded(b"none", b""), None);
        }
    }

    #[test]
    fn endless_trying_is_given_up() {
        let regex = Regex::new(r"^(a+)+\1$(?!b)", false).expect("a pattern");
        let text = [b"a".repeat(40), b"!".to_vec()].concat();
        assert!(!regex.is_match(&text));
        assert_eq!(regex.replaced(&text, b"", true), None);
    }
}
