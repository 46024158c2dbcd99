//! What a sample has to be: exact, prefix, regular expression, network, range, …

use std::{collections::HashMap, net::IpAddr, sync::Arc};

use serde::{Deserialize, Serialize};

use super::{
    map::Map,
    problem::Problem,
    regex::Regex,
    value::{Kind, Value, bits, masked},
};

/// Ways of matching; HAProxy's `-m`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum How {
    /// `found`: there is one.
    Found,
    /// `bool`: it is true.
    True,
    /// `int`: numbers and ranges.
    Number,
    /// `ip`: addresses and networks.
    Address,
    /// `str`: the same text.
    Exact,
    /// `beg`: it begins so.
    Prefix,
    /// `end`: it ends so.
    Suffix,
    /// `sub`: it is in there.
    Contains,
    /// `dir`: it is one of the parts that slashes divide.
    Directory,
    /// `dom`: it is one of the parts that dots divide.
    DomainPart,
    /// `reg`: a regular expression finds something.
    Regex,
    /// `len`: numbers and ranges of its length.
    Length,
    /// A host by its name, or all below `*.example.org`.
    Host,
}

impl How {
    /// The type that it compares.
    pub const fn kind(self) -> Option<Kind> {
        match self {
            Self::Found => None,
            Self::True => Some(Kind::Bool),
            Self::Number => Some(Kind::Int),
            Self::Address => Some(Kind::Ip),
            _ => Some(Kind::Str),
        }
    }

    /// What values of a type are compared by unless something else is said.
    pub const fn default_of(kind: Kind) -> Self {
        match kind {
            Kind::Bool => Self::True,
            Kind::Int => Self::Number,
            Kind::Ip => Self::Address,
            Kind::Str | Kind::Bin | Kind::Method => Self::Exact,
        }
    }
}

/// A range of numbers; both ends are in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    /// The least.
    pub from: i64,
    /// The greatest.
    pub to: i64,
}

impl Range {
    /// `5`, `1:10`, `1-10`, `1:`, `:10`, and HAProxy's `gt 5`, `ge 5`, `lt 5`, `le 5`, `eq 5`.
    pub fn parse(text: &str) -> Result<Self, Problem> {
        let number = |text: &str| {
            text.trim().parse::<i64>().map_err(|_| {
                Problem::new(
                    format!("`{text}` is no number"),
                    "write a number, or a range as in `400:499` or `ge 100`",
                )
            })
        };
        if let Some((operator, rest)) = text.trim().split_once(' ') {
            let at = number(rest)?;
            let (from, to) = match operator {
                "eq" => (at, at),
                "gt" => (at.saturating_add(1), i64::MAX),
                "ge" => (at, i64::MAX),
                "lt" => (i64::MIN, at.saturating_sub(1)),
                "le" => (i64::MIN, at),
                _ => {
                    return Err(Problem::new(
                        format!("`{operator}` is no comparison"),
                        "write `eq`, `gt`, `ge`, `lt` or `le`",
                    ));
                }
            };
            return Ok(Self { from, to });
        }
        // A minus in front is a sign.
        let dash = text
            .char_indices()
            .skip(1)
            .find(|(_, c)| *c == '-')
            .map(|(at, _)| at);
        match text.find(':').or(dash) {
            None => number(text).map(|at| Self { from: at, to: at }),
            Some(at) => {
                let (from, to) = (&text[..at], &text[at + 1..]);
                Ok(Self {
                    from: if from.is_empty() {
                        i64::MIN
                    } else {
                        number(from)?
                    },
                    to: if to.is_empty() { i64::MAX } else { number(to)? },
                })
            }
        }
    }

    /// Whether a number is in it.
    pub fn contains(self, number: i64) -> bool {
        (self.from..=self.to).contains(&number)
    }
}

/// `192.0.2.0/24`, `192.0.2.0/255.255.255.0`, or a single address.
pub fn network(text: &str) -> Result<(IpAddr, u8), Problem> {
    let mend = "write an address or a network: `192.0.2.0/24`";
    let bad = || Problem::new(format!("`{text}` is no address and no network"), mend);
    let (address, length) = match text.split_once('/') {
        Some((address, length)) => (address, Some(length)),
        None => (text, None),
    };
    let address: IpAddr = address.trim().parse().map_err(|_| bad())?;
    let whole = if address.is_ipv4() { 32 } else { 128 };
    let length = match length {
        None => whole,
        Some(length) => match length.parse::<u8>() {
            Ok(length) if length <= whole => length,
            Ok(_) => return Err(bad()),
            Err(_) => {
                let mask: std::net::Ipv4Addr = length.parse().map_err(|_| bad())?;
                let ones = mask.to_bits().leading_ones();
                if mask.to_bits().checked_shl(ones).unwrap_or(0) != 0 {
                    return Err(bad());
                }
                u8::try_from(ones).map_err(|_| bad())?
            }
        },
    };
    Ok((masked(address, length), length))
}

/// What values are looked up by, each with what it leads to; a set where it is `()`.
#[derive(Debug, Clone)]
pub struct Patterns<T> {
    how: How,
    ignore_case: bool,
    exact: HashMap<Vec<u8>, T>,
    networks: Vec<(u8, HashMap<u128, T>)>,
    ranges: Vec<(Range, T)>,
    texts: Vec<(Vec<u8>, T)>,
    regexes: Vec<(Regex, T)>,
}

impl<T> Patterns<T> {
    /// None yet.
    pub fn new(how: How, ignore_case: bool) -> Self {
        Self {
            how,
            ignore_case,
            exact: HashMap::new(),
            networks: Vec::new(),
            ranges: Vec::new(),
            texts: Vec::new(),
            regexes: Vec::new(),
        }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.exact.len()
            + self.networks.iter().map(|(_, of)| of.len()).sum::<usize>()
            + self.ranges.len()
            + self.texts.len()
            + self.regexes.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Adds one; of two that are the same the first stays.
    ///
    /// # Errors
    /// The text is no such pattern.
    pub fn add(&mut self, text: &str, leads_to: T) -> Result<(), Problem> {
        match self.how {
            How::Found | How::True => {}
            How::Number | How::Length => self.ranges.push((Range::parse(text)?, leads_to)),
            How::Address => {
                let (address, length) = network(text)?;
                // Both families are compared in 128 bits.
                let length = if address.is_ipv4() {
                    length + 96
                } else {
                    length
                };
                let at = self.networks.partition_point(|(other, _)| *other > length);
                if self
                    .networks
                    .get(at)
                    .is_none_or(|(other, _)| *other != length)
                {
                    self.networks.insert(at, (length, HashMap::new()));
                }
                self.networks[at].1.entry(bits(address)).or_insert(leads_to);
            }
            How::Regex => {
                let regex = Regex::new(text, self.ignore_case)?;
                self.regexes.push((regex, leads_to));
            }
            How::Exact => {
                self.exact.entry(self.folded(text)).or_insert(leads_to);
            }
            How::Host => {
                let text = text.to_ascii_lowercase();
                match text.strip_prefix('*') {
                    // The dot stays, so that `*.a` does not match `xa`.
                    Some(suffix) => self.texts.push((suffix.as_bytes().to_vec(), leads_to)),
                    None => {
                        self.exact.entry(text.into_bytes()).or_insert(leads_to);
                    }
                }
            }
            How::Prefix | How::Suffix | How::Contains | How::Directory | How::DomainPart => {
                let text = self.folded(text);
                let text = match self.how {
                    How::Directory => trimmed(&text, b'/'),
                    How::DomainPart => trimmed(&text, b'.'),
                    _ => text,
                };
                self.texts.push((text, leads_to));
            }
        }
        Ok(())
    }

    fn folded(&self, text: &str) -> Vec<u8> {
        match self.ignore_case {
            true => text.as_bytes().to_ascii_lowercase(),
            false => text.as_bytes().to_vec(),
        }
    }

    /// What the value leads to: for prefixes and networks by the longest that matches, else by the first.
    pub fn find(&self, value: &Value<'_>) -> Option<&T> {
        match self.how {
            How::Found | How::True => None,
            How::Number => {
                let number = value.as_int()?;
                self.ranges
                    .iter()
                    .find(|(range, _)| range.contains(number))
                    .map(|(_, to)| to)
            }
            How::Address => {
                let address = bits(value.as_ip()?);
                self.networks.iter().find_map(|(length, of)| {
                    let mask = u128::MAX.checked_shl(128 - u32::from(*length)).unwrap_or(0);
                    of.get(&(address & mask))
                })
            }
            _ => {
                let text = value.borrowed().into_text();
                self.find_text(&text)
            }
        }
    }

    /// Whether they are about a text as it is.
    pub(super) fn are_of_text(&self) -> bool {
        !matches!(
            self.how,
            How::Found | How::True | How::Number | How::Address
        )
    }

    /// Whether the text, which is what they are about, leads to anything.
    pub(super) fn match_text(&self, text: &[u8]) -> bool {
        match self.how {
            // Which is the longest does not matter.
            How::Prefix => self.texts.iter().any(|(part, _)| self.begins(text, part)),
            _ => self.find_text(text).is_some(),
        }
    }

    fn begins(&self, text: &[u8], part: &[u8]) -> bool {
        text.get(..part.len())
            .is_some_and(|head| match self.ignore_case {
                true => head.eq_ignore_ascii_case(part),
                false => head == part,
            })
    }

    fn find_text(&self, text: &[u8]) -> Option<&T> {
        if self.how == How::Length {
            let length = i64::try_from(text.len()).ok()?;
            return self
                .ranges
                .iter()
                .find(|(range, _)| range.contains(length))
                .map(|(_, to)| to);
        }
        if self.how == How::Regex {
            return self
                .regexes
                .iter()
                .find(|(regex, _)| regex.is_match(text))
                .map(|(_, to)| to);
        }
        if self.ignore_case && self.how != How::Prefix && text.iter().any(u8::is_ascii_uppercase) {
            return self.find_folded(&text.to_ascii_lowercase());
        }
        self.find_folded(text)
    }

    fn find_folded(&self, text: &[u8]) -> Option<&T> {
        let found = |holds: &dyn Fn(&[u8]) -> bool| {
            self.texts
                .iter()
                .find(|(part, _)| holds(part))
                .map(|(_, to)| to)
        };
        match self.how {
            How::Exact => self.exact.get(text),
            How::Host => self
                .exact
                .get(text)
                .or_else(|| found(&|suffix| text.len() > suffix.len() && text.ends_with(suffix))),
            How::Prefix => {
                let matching = self
                    .texts
                    .iter()
                    .filter(|(part, _)| self.begins(text, part));
                // Of several that are as long, the first.
                matching
                    .rev()
                    .max_by_key(|(part, _)| part.len())
                    .map(|(_, to)| to)
            }
            How::Suffix => found(&|part| text.ends_with(part)),
            How::Contains => found(&|part| contains(text, part)),
            How::Directory => found(&|part| divided(text, part, b"/?")),
            How::DomainPart => found(&|part| divided(text, part, b"./?:")),
            _ => None,
        }
    }
}

/// What a value has to be.
#[derive(Debug, Clone)]
pub enum Matcher {
    /// It is there.
    Found,
    /// It is true.
    True,
    /// It is among these.
    Among(Box<Patterns<()>>),
    /// It is among those of a file.
    File(Arc<Map>),
}

impl Matcher {
    /// Compiles patterns.
    ///
    /// # Errors
    /// The index of the text that is no such pattern, and why.
    pub fn new(how: How, ignore_case: bool, texts: &[String]) -> Result<Self, (usize, Problem)> {
        match how {
            How::Found => return Ok(Self::Found),
            How::True => return Ok(Self::True),
            _ => {}
        }
        let mut patterns = Patterns::new(how, ignore_case);
        for (index, text) in texts.iter().enumerate() {
            patterns.add(text, ()).map_err(|problem| (index, problem))?;
        }
        Ok(Self::Among(Box::new(patterns)))
    }

    /// Whether a value is what it has to be.
    pub fn matches(&self, value: &Value<'_>) -> bool {
        match self {
            Self::Found => true,
            Self::True => value.as_bool() == Some(true),
            Self::Among(patterns) => patterns.find(value).is_some(),
            Self::File(list) => list
                .key_of(value.borrowed())
                .is_some_and(|value| list.contains(&value)),
        }
    }
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    let Some((first, rest)) = part.split_first() else {
        return true;
    };
    memchr::memchr_iter(*first, text).any(|at| text[at + 1..].starts_with(rest))
}

fn trimmed(text: &[u8], divider: u8) -> Vec<u8> {
    let from = text
        .iter()
        .position(|&b| b != divider)
        .unwrap_or(text.len());
    let to = text
        .iter()
        .rposition(|&b| b != divider)
        .map_or(from, |at| at + 1);
    text[from..to].to_vec()
}

/// Whether `part` is in there between dividers or the ends.
fn divided(text: &[u8], part: &[u8], dividers: &[u8]) -> bool {
    if part.is_empty() {
        return false;
    }
    let is_end = |b: Option<&u8>| b.is_none_or(|b| dividers.contains(b));
    text.windows(part.len()).enumerate().any(|(at, window)| {
        window == part
            && is_end(at.checked_sub(1).and_then(|before| text.get(before)))
            && is_end(text.get(at + part.len()))
    })
}
