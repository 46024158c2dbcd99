//! The one form of every condition: take a sample from the request, convert it, match it.

use std::borrow::Cow;

use super::RequestView;

/// A sample fetch, its converters in order, and what the result is matched with.
#[derive(Debug, Clone, PartialEq)]
pub struct Test {
    /// Where the sample comes from.
    pub fetch: Fetch,
    /// Applied one after the other.
    pub converters: Vec<Converter>,
    /// What the result has to be.
    pub pattern: Match,
}

impl Test {
    /// Whether `request` passes. A sample that the request does not have never matches.
    pub fn holds(&self, request: &RequestView<'_>) -> bool {
        self.fetch.sample(request).is_some_and(|sample| {
            let sample = self
                .converters
                .iter()
                .fold(Cow::Borrowed(sample), |sample, converter| {
                    converter.apply(sample)
                });
            self.pattern.matches(&sample)
        })
    }
}

/// Where a sample comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fetch {
    /// HAProxy's `path`: not decoded, without the query.
    Path,
    /// HAProxy's `req.hdr(host)`.
    Host,
}

impl Fetch {
    fn sample<'a>(self, request: &RequestView<'a>) -> Option<&'a str> {
        match self {
            Self::Path => request.path(),
            Self::Host => request.host(),
        }
    }
}

/// A change to a sample.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Converter {
    /// HAProxy's `lower`: ASCII letters only.
    Lower,
    /// HAProxy's `host_only`, and a trailing dot removed: `a.b.:80` → `a.b`, `[::1]:80` → `[::1]`.
    HostName,
}

impl Converter {
    fn apply(self, sample: Cow<'_, str>) -> Cow<'_, str> {
        match (self, sample) {
            (Self::Lower, sample) if !sample.bytes().any(|b| b.is_ascii_uppercase()) => sample,
            (Self::Lower, sample) => Cow::Owned(sample.to_ascii_lowercase()),
            (Self::HostName, Cow::Borrowed(sample)) => Cow::Borrowed(host_name(sample)),
            (Self::HostName, Cow::Owned(sample)) => Cow::Owned(host_name(&sample).to_owned()),
        }
    }
}

/// `host` without its port and one trailing dot.
fn host_name(host: &str) -> &str {
    let name = match host.rsplit_once(':') {
        // A colon within brackets belongs to an IPv6 address.
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => host,
    };
    name.strip_suffix('.').unwrap_or(name)
}

/// What a sample is compared with; any of the values will do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Match {
    /// It begins with one of these.
    Prefix {
        /// The prefixes.
        values: Vec<String>,
        /// Whether ASCII case is ignored.
        ignore_case: bool,
    },
    /// It is one of these names, or lies below one that is written `*.suffix`.
    Domain(Vec<String>),
}

impl Match {
    fn matches(&self, sample: &str) -> bool {
        match self {
            Self::Prefix {
                values,
                ignore_case,
            } => values.iter().any(|value| {
                sample
                    .as_bytes()
                    .get(..value.len())
                    .is_some_and(|head| match ignore_case {
                        true => head.eq_ignore_ascii_case(value.as_bytes()),
                        false => head == value.as_bytes(),
                    })
            }),
            Self::Domain(values) => values.iter().any(|value| match value.strip_prefix('*') {
                // `suffix` keeps its dot, so `*.a` does not match `xa`.
                Some(suffix) => sample.len() > suffix.len() && sample.ends_with(suffix),
                None => sample == value,
            }),
        }
    }
}
