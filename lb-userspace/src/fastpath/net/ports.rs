//! The ports that source translation uses, kept apart from those that the host hands out itself.
//!
//! The kernel draws ephemeral ports from `ip_local_port_range` less `ip_local_reserved_ports`; our range is merged into the
//! latter and taken out at stop, exactly our part of it. What is ours is remembered in a small file, because after a kill
//! the sysctl alone does not tell our ports from those that somebody else has reserved. All of this is of the calling
//! thread's network namespace.

use std::fmt;
use std::io::{self, BufRead, BufReader, Write};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use crate::config::host::sysctl;

const RESERVED: &str = "/proc/sys/net/ipv4/ip_local_reserved_ports";
const EPHEMERAL: &str = "/proc/sys/net/ipv4/ip_local_port_range";

/// Fewer ephemeral ports than this are worth a warning.
pub const FEW_EPHEMERAL: u32 = 20_000;

/// What can go wrong with ports.
#[derive(Debug, thiserror::Error)]
pub enum PortsError {
    /// A file could not be read or written.
    #[error("cannot {action} {path}: {source}")]
    File {
        /// Read, write or remove.
        action: &'static str,
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A list of ports makes no sense.
    #[error("`{0}` is no list of ports such as `8080,10000-32767`")]
    Syntax(String),
}

/// A set of ports, as ranges that neither touch nor overlap, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct PortSet(Vec<RangeInclusive<u16>>);

impl PortSet {
    /// Whether `port` is in it.
    #[must_use]
    pub fn contains(&self, port: u16) -> bool {
        self.0.iter().any(|range| range.contains(&port))
    }

    /// How many ports are in it, 0–65536.
    #[must_use]
    pub fn len(&self) -> u32 {
        self.0
            .iter()
            .map(|range| u32::from(*range.end()) - u32::from(*range.start()) + 1)
            .sum()
    }

    /// Whether it has none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Its ranges, in order.
    #[must_use]
    pub fn ranges(&self) -> &[RangeInclusive<u16>] {
        &self.0
    }

    /// Ports of either.
    #[must_use]
    pub fn union(&self, other: &Self) -> Self {
        self.0.iter().chain(&other.0).cloned().collect()
    }

    /// Ports of this that are not of `other`.
    #[must_use]
    pub fn difference(&self, other: &Self) -> Self {
        let mut left = Vec::new();
        for range in &self.0 {
            let mut start = u32::from(*range.start());
            let end = u32::from(*range.end());
            let cuts = other
                .0
                .iter()
                .filter(|cut| cut.end() >= range.start() && cut.start() <= range.end());
            for cut in cuts {
                push(&mut left, start, u32::from(*cut.start()).checked_sub(1));
                start = start.max(u32::from(*cut.end()) + 1);
            }
            push(&mut left, start, Some(end));
        }
        Self(left)
    }

    /// Ports of both.
    #[must_use]
    pub fn intersection(&self, other: &Self) -> Self {
        self.difference(&self.difference(other))
    }
}

fn push(ranges: &mut Vec<RangeInclusive<u16>>, start: u32, end: Option<u32>) {
    if let (Ok(start), Some(Ok(end))) = (u16::try_from(start), end.map(u16::try_from))
        && start <= end
    {
        ranges.push(start..=end);
    }
}

impl FromIterator<RangeInclusive<u16>> for PortSet {
    fn from_iter<I: IntoIterator<Item = RangeInclusive<u16>>>(ranges: I) -> Self {
        let mut sorted: Vec<_> = ranges
            .into_iter()
            .filter(|range| !range.is_empty())
            .collect();
        sorted.sort_by_key(|range| *range.start());
        let mut merged: Vec<RangeInclusive<u16>> = Vec::with_capacity(sorted.len());
        for range in sorted {
            match merged.last_mut() {
                Some(last) if u32::from(*range.start()) <= u32::from(*last.end()) + 1 => {
                    *last = *last.start()..=*last.end().max(range.end());
                }
                _ => merged.push(range),
            }
        }
        Self(merged)
    }
}

impl FromIterator<u16> for PortSet {
    fn from_iter<I: IntoIterator<Item = u16>>(ports: I) -> Self {
        ports.into_iter().map(|port| port..=port).collect()
    }
}

/// The sysctl's own form: `8080,10000-32767`, or nothing.
impl FromStr for PortSet {
    type Err = PortsError;

    fn from_str(text: &str) -> Result<Self, PortsError> {
        let syntax = || PortsError::Syntax(text.trim().to_owned());
        let port = |text: &str| text.trim().parse::<u16>().map_err(|_| syntax());
        let parts = text
            .split(',')
            .map(str::trim)
            .filter(|part| !part.is_empty());
        let ranges = parts.map(|part| match part.split_once('-') {
            Some((start, end)) => {
                let (start, end) = (port(start)?, port(end)?);
                if start <= end {
                    Ok(start..=end)
                } else {
                    Err(syntax())
                }
            }
            None => port(part).map(|port| port..=port),
        });
        ranges.collect::<Result<Vec<_>, _>>().map(Self::from_iter)
    }
}

impl fmt::Display for PortSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, range) in self.0.iter().enumerate() {
            let comma = if at == 0 { "" } else { "," };
            if range.start() == range.end() {
                write!(f, "{comma}{}", range.start())?;
            } else {
                write!(f, "{comma}{}-{}", range.start(), range.end())?;
            }
        }
        Ok(())
    }
}

/// Our part of the reserved ports.
#[derive(Debug)]
pub struct Reservation {
    state: PathBuf,
}

impl Reservation {
    /// One that remembers what is its own in the file `state`, which outlives the daemon, but need not outlive a reboot.
    #[must_use]
    pub fn new(state: impl Into<PathBuf>) -> Self {
        Self {
            state: state.into(),
        }
    }

    /// Makes `wanted` reserved, and what was ours before and is not wanted any more free again. Ports that others have
    /// reserved stay theirs: those of `wanted` are returned. Calling it again, after a kill too, changes nothing.
    ///
    /// # Errors
    ///
    /// [`PortsError`] if the sysctl or the file cannot be written; then nothing that others have reserved is lost.
    pub fn reserve(&self, wanted: &PortSet) -> Result<PortSet, PortsError> {
        let now = reserved()?;
        let ours = self.remembered()?;
        let plan = Plan::reserve(&now, &ours, wanted);
        // The file first, and for both sets: what is in the sysctl is never ours without the file saying so.
        self.remember(&ours.intersection(&now).union(&plan.ours))?;
        if plan.reserved != now {
            write(Path::new(RESERVED), &plan.reserved.to_string())?;
        }
        self.remember(&plan.ours)?;
        Ok(wanted.difference(&plan.ours))
    }

    /// Takes our part out again.
    ///
    /// # Errors
    ///
    /// [`PortsError`] if the sysctl cannot be written; then the file stays, for another try.
    pub fn release(&self) -> Result<(), PortsError> {
        let now = reserved()?;
        let left = now.difference(&self.remembered()?);
        if left != now {
            write(Path::new(RESERVED), &left.to_string())?;
        }
        match std::fs::remove_file(&self.state) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => Err(PortsError::File {
                action: "remove",
                path: self.state.clone(),
                source,
            }),
            _ => Ok(()),
        }
    }

    /// What is reserved for us.
    ///
    /// # Errors
    ///
    /// [`PortsError`] if that cannot be told.
    pub fn ours(&self) -> Result<PortSet, PortsError> {
        Ok(self.remembered()?.intersection(&reserved()?))
    }

    /// What the file says is ours, if it was written for this namespace since the machine was started.
    fn remembered(&self) -> Result<PortSet, PortsError> {
        let text = match std::fs::read_to_string(&self.state) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(PortSet::default()),
            Err(source) => {
                return Err(PortsError::File {
                    action: "read",
                    path: self.state.clone(),
                    source,
                });
            }
            Ok(text) => text,
        };
        match text.split_once('\n') {
            Some((place, ports)) if place == this_place()? => ports.parse(),
            _ => Ok(PortSet::default()),
        }
    }

    fn remember(&self, ours: &PortSet) -> Result<(), PortsError> {
        let text = format!("{}\n{ours}\n", this_place()?);
        let mut unfinished = self.state.clone().into_os_string();
        unfinished.push(".new");
        let unfinished = PathBuf::from(unfinished);
        let failed = |source| PortsError::File {
            action: "write",
            path: self.state.clone(),
            source,
        };
        let mut file = std::fs::File::create(&unfinished).map_err(failed)?;
        file.write_all(text.as_bytes())
            .and_then(|()| file.sync_all())
            .map_err(failed)?;
        std::fs::rename(&unfinished, &self.state).map_err(failed)
    }
}

/// What to write, from what is there.
#[derive(Debug, PartialEq, Eq)]
struct Plan {
    /// All that is to be reserved.
    reserved: PortSet,
    /// Our part of it.
    ours: PortSet,
}

impl Plan {
    fn reserve(now: &PortSet, ours_before: &PortSet, wanted: &PortSet) -> Self {
        let others = now.difference(ours_before);
        Self {
            reserved: others.union(wanted),
            ours: wanted.difference(&others),
        }
    }
}

/// Names this boot and network namespace: a file from before or elsewhere says nothing about this sysctl.
fn this_place() -> Result<String, PortsError> {
    let boot = read(Path::new("/proc/sys/kernel/random/boot_id"))?;
    let path = Path::new("/proc/thread-self/ns/net");
    let namespace = std::fs::read_link(path).map_err(|source| PortsError::File {
        action: "read",
        path: path.to_owned(),
        source,
    })?;
    Ok(format!("{} {}", boot.trim(), namespace.display()))
}

/// The ports that the kernel hands out to nobody, ours and others'.
///
/// # Errors
///
/// [`PortsError`] if the sysctl cannot be read.
pub fn reserved() -> Result<PortSet, PortsError> {
    let path = Path::new(RESERVED);
    let text = sysctl(path).map_err(|source| PortsError::File {
        action: "read",
        path: path.to_owned(),
        source,
    })?;
    text.parse()
}

/// The ports that the kernel draws from when a socket asks for none, reserved ones included.
///
/// # Errors
///
/// [`PortsError`] if the sysctl cannot be read.
pub fn ephemeral() -> Result<PortSet, PortsError> {
    let text = read(Path::new(EPHEMERAL))?;
    let range = text.split_whitespace().collect::<Vec<_>>().join("-");
    range.parse()
}

/// The ports that a local process listens on: TCP listeners, and UDP sockets without a peer, of both families.
///
/// # Errors
///
/// [`PortsError`] if `/proc/net` cannot be read.
pub fn listening() -> Result<Listening, PortsError> {
    in_states(|state| state == TCP_LISTEN, |state| state == TCP_CLOSE)
}

/// The local ports of the sockets with a peer, but for connections that only wait out their last packets.
///
/// # Errors
///
/// [`PortsError`] if they cannot be read.
pub fn connected() -> Result<Listening, PortsError> {
    let tcp = |state: &str| state != TCP_LISTEN && state != TCP_TIME_WAIT;
    in_states(tcp, |state| state != TCP_CLOSE)
}

fn in_states(
    tcp: impl Fn(&str) -> bool,
    udp: impl Fn(&str) -> bool,
) -> Result<Listening, PortsError> {
    // The kernel lists listeners first; a million connections may follow.
    let only_listeners = !tcp(TCP_ESTABLISHED);
    Ok(Listening {
        tcp: bound("tcp", &tcp, only_listeners)?.union(&bound("tcp6", &tcp, only_listeners)?),
        udp: bound("udp", &udp, false)?.union(&bound("udp6", &udp, false)?),
    })
}

/// Ports in use, by protocol.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listening {
    /// TCP.
    pub tcp: PortSet,
    /// UDP.
    pub udp: PortSet,
}

/// States (`net/tcp_states.h`) as `/proc/net/tcp` writes them.
const TCP_ESTABLISHED: &str = "01";
const TCP_TIME_WAIT: &str = "06";
const TCP_LISTEN: &str = "0A";
/// `TCP_CLOSE`, the state of a UDP socket without a peer.
const TCP_CLOSE: &str = "07";

fn bound(
    name: &str,
    wanted: &impl Fn(&str) -> bool,
    only_listeners: bool,
) -> Result<PortSet, PortsError> {
    // `/proc/net` is that of the process's first thread.
    let path = Path::new("/proc/thread-self/net").join(name);
    let failed = |source| PortsError::File {
        action: "read",
        path: path.clone(),
        source,
    };
    let file = match std::fs::File::open(&path) {
        Ok(file) => file,
        // A kernel without IPv6 has no such file.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(PortSet::default()),
        Err(error) => return Err(failed(error)),
    };
    let mut ports = Vec::new();
    for line in BufReader::new(file).lines().skip(1) {
        let line = line.map_err(failed)?;
        match local_port(&line) {
            Some((port, found)) if wanted(found) => ports.push(port),
            Some(_) if only_listeners => break,
            _ => {}
        }
    }
    Ok(ports.into_iter().collect())
}

/// The local port and state in a line of `/proc/net/tcp` and its kin.
fn local_port(line: &str) -> Option<(u16, &str)> {
    let mut fields = line.split_whitespace().skip(1);
    let (_, port) = fields.next()?.rsplit_once(':')?;
    let state = fields.nth(1)?;
    Some((u16::from_str_radix(port, 16).ok()?, state))
}

fn read(path: &Path) -> Result<String, PortsError> {
    std::fs::read_to_string(path).map_err(|source| PortsError::File {
        action: "read",
        path: path.to_owned(),
        source,
    })
}

fn write(path: &Path, text: &str) -> Result<(), PortsError> {
    // One write, with a newline: an empty one would not clear the list.
    std::fs::write(path, format!("{text}\n")).map_err(|source| PortsError::File {
        action: "write",
        path: path.to_owned(),
        source,
    })
}

#[cfg(test)]
mod tests;
