//! DNS messages (RFC 1035, RFC 2782, RFC 6891), as much of them as the names of servers need: one question, and the
//! addresses and services of an answer. No IO, and nothing in a message can make it panic or run on.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// IPv4 addresses.
    A,
    /// IPv6 addresses.
    Aaaa,
    /// Services: hosts, ports and weights.
    Srv,
}

impl Kind {
    fn number(self) -> u16 {
        match self {
            Self::A => 1,
            Self::Aaaa => 28,
            Self::Srv => 33,
        }
    }
}

/// The class of the internet.
const IN: u16 = 1;
const CNAME: u16 = 5;
const OPT: u16 = 41;

/// Most pointers in a name; a message that takes more leads in circles.
const MOST_JUMPS: usize = 32;
/// Most names in a row that are but others' names.
const MOST_ALIASES: usize = 16;

/// One service of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    /// The host's name, in lower case.
    pub target: String,
    /// Its port.
    pub port: u16,
    /// Its share, 0–65535.
    pub weight: u16,
    /// Addresses of the host, where the answer has them too.
    pub addresses: Vec<IpAddr>,
}

/// What an answer says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// Addresses of the name; there may be none.
    Addresses(Vec<IpAddr>),
    /// Services of the name; there may be none.
    Services(Vec<Service>),
}

impl Answer {
    /// Whether nothing is in it.
    pub fn is_empty(&self) -> bool {
        match self {
            Self::Addresses(found) => found.is_empty(),
            Self::Services(found) => found.is_empty(),
        }
    }
}

/// Why there is no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoAnswer {
    /// There is no such name.
    #[error("there is no such name")]
    NoName,
    /// The server refuses.
    #[error("the DNS server refuses")]
    Refused,
    /// Nobody has answered in time.
    #[error("no DNS server answers")]
    Timeout,
    /// It does not fit into a datagram.
    #[error("the answer is cut short")]
    Truncated,
    /// The server failed, or what it says is no answer to this question.
    #[error("the DNS server's answer is of no use")]
    Other,
}

/// The bytes of a question for `kind` records of `name`; answers by UDP may have `payload` bytes.
pub fn question(id: u16, name: &str, kind: Kind, payload: u16) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(name.len() + 32);
    bytes.extend(id.to_be_bytes());
    // A query, recursion desired; one question, no answer, no authority, one record more.
    bytes.extend([1, 0, 0, 1, 0, 0, 0, 0, 0, 1]);
    for label in name.trim_end_matches('.').split('.') {
        // The configuration has no longer ones.
        let label = &label.as_bytes()[..label.len().min(63)];
        bytes.push(label.len() as u8);
        bytes.extend(label);
    }
    bytes.push(0);
    bytes.extend(kind.number().to_be_bytes());
    bytes.extend(IN.to_be_bytes());
    // EDNS: the root's name, the type, what may come, no flags, no data.
    bytes.push(0);
    bytes.extend(OPT.to_be_bytes());
    bytes.extend(payload.to_be_bytes());
    bytes.extend([0; 6]);
    bytes
}

/// What a message says to the question `id` for `kind` records of `name`.
///
/// # Errors
/// See [`NoAnswer`].
pub fn answer(bytes: &[u8], id: u16, name: &str, kind: Kind) -> Result<Answer, NoAnswer> {
    read(bytes, id, name, kind).unwrap_or(Err(NoAnswer::Other))
}

/// Whether a message is one to the question `id`; others may be stray, or somebody's guess.
pub fn is_answer(bytes: &[u8], id: u16) -> bool {
    bytes.len() >= 12 && bytes[..2] == id.to_be_bytes() && bytes[2] & 0x80 != 0
}

/// A place in a message.
struct Reader<'m> {
    bytes: &'m [u8],
    at: usize,
}

impl<'m> Reader<'m> {
    fn take(&mut self, count: usize) -> Option<&'m [u8]> {
        let taken = self.bytes.get(self.at..self.at.checked_add(count)?)?;
        self.at += count;
        Some(taken)
    }

    fn number(&mut self) -> Option<u16> {
        let bytes = self.take(2)?;
        Some(u16::from_be_bytes([bytes[0], bytes[1]]))
    }

    /// A name in lower case, without the dot at its end.
    fn name(&mut self) -> Option<String> {
        let (mut name, mut at, mut jumps) = (String::new(), self.at, 0);
        loop {
            let length = usize::from(*self.bytes.get(at)?);
            match length >> 6 {
                0 if length == 0 => {
                    if jumps == 0 {
                        self.at = at + 1;
                    }
                    return Some(name);
                }
                0 => {
                    let label = self.bytes.get(at + 1..at + 1 + length)?;
                    if !name.is_empty() {
                        name.push('.');
                    }
                    name.extend(label.iter().map(|b| char::from(b.to_ascii_lowercase())));
                    if name.len() > 255 {
                        return None;
                    }
                    at += 1 + length;
                }
                3 => {
                    let low = usize::from(*self.bytes.get(at + 1)?);
                    if jumps == 0 {
                        self.at = at + 2;
                    }
                    jumps += 1;
                    if jumps > MOST_JUMPS {
                        return None;
                    }
                    at = (length & 0x3f) << 8 | low;
                }
                _ => return None,
            }
        }
    }
}

/// One record.
enum Record {
    Alias(String),
    Address(IpAddr),
    Service(u16, u16, String),
    Other,
}

fn record(reader: &mut Reader<'_>) -> Option<(String, Record)> {
    let owner = reader.name()?;
    let (kind, class) = (reader.number()?, reader.number()?);
    reader.take(4)?;
    let length = usize::from(reader.number()?);
    let end = reader.at.checked_add(length)?;
    // Names in a record may point to anywhere before it.
    let mut data = Reader {
        bytes: reader.bytes.get(..end)?,
        at: reader.at,
    };
    let record = match (class, kind) {
        (IN, 1) => {
            let bytes: [u8; 4] = data.take(4)?.try_into().ok()?;
            Record::Address(Ipv4Addr::from(bytes).into())
        }
        (IN, 28) => {
            let bytes: [u8; 16] = data.take(16)?.try_into().ok()?;
            Record::Address(Ipv6Addr::from(bytes).into())
        }
        (IN, 33) => {
            data.take(2)?;
            let (weight, port) = (data.number()?, data.number()?);
            Record::Service(weight, port, data.name()?)
        }
        (IN, CNAME) => Record::Alias(data.name()?),
        _ => Record::Other,
    };
    reader.at = end;
    Some((owner, record))
}

fn read(bytes: &[u8], id: u16, name: &str, kind: Kind) -> Option<Result<Answer, NoAnswer>> {
    let mut reader = Reader { bytes, at: 0 };
    let (given, flags) = (reader.number()?, reader.number()?);
    if given != id || flags & 0x8000 == 0 {
        return None;
    }
    let counts = [(); 4].map(|()| reader.number());
    let [Some(questions), Some(answers), Some(authority), Some(more)] = counts else {
        return None;
    };
    let wanted = name.trim_end_matches('.').to_ascii_lowercase();
    if questions != 1 || reader.name()? != wanted {
        return None;
    }
    if reader.number()? != kind.number() || reader.number()? != IN {
        return None;
    }
    match flags & 0x0f {
        0 => {}
        3 => return Some(Err(NoAnswer::NoName)),
        5 => return Some(Err(NoAnswer::Refused)),
        _ => return Some(Err(NoAnswer::Other)),
    }
    if flags & 0x0200 != 0 {
        return Some(Err(NoAnswer::Truncated));
    }
    let mut found = Vec::new();
    for _ in 0..answers {
        found.push(record(&mut reader)?);
    }
    let mut aliases = HashMap::new();
    let mut addresses: HashMap<String, Vec<IpAddr>> = HashMap::new();
    let mut services = Vec::new();
    for (owner, record) in found {
        match record {
            Record::Alias(to) => {
                aliases.insert(owner, to);
            }
            Record::Address(ip) => addresses.entry(owner).or_default().push(ip),
            Record::Service(weight, port, target) => services.push((owner, weight, port, target)),
            Record::Other => {}
        }
    }
    let mut last = wanted;
    for _ in 0..MOST_ALIASES {
        match aliases.remove(&last) {
            Some(to) => last = to,
            None => break,
        }
    }
    if kind != Kind::Srv {
        let found = addresses.remove(&last).unwrap_or_default();
        let of_kind = |ip: &IpAddr| ip.is_ipv4() == (kind == Kind::A);
        return Some(Ok(Answer::Addresses(
            found.into_iter().filter(of_kind).collect(),
        )));
    }
    for _ in 0..authority.checked_add(more)? {
        // What is beside the answer is welcome, not needed.
        let Some((owner, record)) = record(&mut reader) else {
            break;
        };
        if let Record::Address(ip) = record {
            addresses.entry(owner).or_default().push(ip);
        }
    }
    let of_name = services.into_iter().filter(|(owner, ..)| *owner == last);
    // A target that is the root says that there is no such service.
    let of_name = of_name.filter(|(.., target)| !target.is_empty());
    let services = of_name.map(|(_, weight, port, target)| Service {
        addresses: addresses.get(&target).cloned().unwrap_or_default(),
        target,
        port,
        weight,
    });
    Some(Ok(Answer::Services(services.collect())))
}

#[cfg(test)]
mod tests;
