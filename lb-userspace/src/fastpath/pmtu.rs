//! What routers between this host and servers of `ipip` say of the way's MTU.
//!
//! The outer packets have this host's own address as their source, so "fragmentation needed" (RFC 792) and "packet too
//! big" (RFC 4443 §3.2) come here, where the kernel program knows nothing of them. The agent listens, and lowers what the
//! server's hop says fits; then the program answers large packets itself, to whom they came from. As Linux does, such
//! knowledge is kept for ten minutes.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{self, Read},
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    time::{Duration, Instant},
};

use socket2::{Domain, Protocol, Socket, Type};

/// How long a route's exception is kept: Linux's `mtu_expires`.
const KEPT: Duration = Duration::from_secs(600);
/// Smaller ones are not believed: Linux's `min_pmtu`, and RFC 8200 §5.
const LEAST4: u32 = 552;
const LEAST6: u32 = 1280;
/// Messages read at one look, at most.
const MOST: usize = 256;
/// ICMP_FILTER (`linux/icmp.h`), ICMPV6_FILTER (`linux/icmpv6.h`).
const ICMP_FILTER: libc::c_int = 1;
const ICMPV6_FILTER: libc::c_int = 1;

/// What is known.
#[derive(Debug, Default)]
pub(super) struct PathMtus {
    sockets: Option<[Socket; 2]>,
    told: BTreeMap<IpAddr, (u32, Instant)>,
}

impl PathMtus {
    /// Reads what has come about ways to `ends`, and forgets what is too old; whether anything changed.
    pub(super) fn look(&mut self, ends: &BTreeSet<IpAddr>, now: Instant) -> bool {
        let before = self.told.len();
        self.told
            .retain(|end, (_, until)| *until > now && ends.contains(end));
        let mut changed = self.told.len() != before;
        if ends.is_empty() {
            self.sockets = None;
            return changed;
        }
        let sockets = match self.sockets.take() {
            Some(sockets) => Ok(sockets),
            None => open(false).and_then(|v4| Ok([v4, open(true)?])),
        };
        let mut sockets = match sockets {
            Ok(sockets) => sockets,
            Err(error) => {
                tracing::debug!("cannot listen for sizes of packets that do not fit: {error}");
                return changed;
            }
        };
        for (socket, parse) in sockets
            .iter_mut()
            .zip([parse_v4 as fn(&[u8]) -> Option<(IpAddr, u32)>, parse_v6])
        {
            let mut buffer = [0; 1500];
            for _ in 0..MOST {
                let Ok(length) = socket.read(&mut buffer) else {
                    break;
                };
                let told = buffer.get(..length).and_then(parse);
                if let Some((end, mtu)) = told.filter(|(end, _)| ends.contains(end)) {
                    changed |= self.lower(end, mtu, now);
                }
            }
        }
        self.sockets = Some(sockets);
        changed
    }

    /// Sizes that fit, by the server's address.
    pub(super) fn known(&self) -> BTreeMap<IpAddr, u32> {
        self.told
            .iter()
            .map(|(end, (mtu, _))| (*end, *mtu))
            .collect()
    }

    fn lower(&mut self, end: IpAddr, mtu: u32, now: Instant) -> bool {
        let least = if end.is_ipv4() { LEAST4 } else { LEAST6 };
        let mtu = mtu.max(least);
        let before = self.told.get(&end).map(|(mtu, _)| *mtu);
        if before.is_some_and(|before| before < mtu) {
            return false;
        }
        self.told.insert(end, (mtu, now + KEPT));
        if before != Some(mtu) {
            tracing::info!("packets to {end} may have {mtu} bytes, as a router on the way says");
        }
        before != Some(mtu)
    }
}

/// A raw socket that gets these messages alone.
fn open(v6: bool) -> io::Result<Socket> {
    let (domain, protocol) = if v6 {
        (Domain::IPV6, Protocol::ICMPV6)
    } else {
        (Domain::IPV4, Protocol::ICMPV4)
    };
    let socket = Socket::new(domain, Type::RAW, Some(protocol))?;
    socket.set_nonblocking(true)?;
    if v6 {
        // A bit for each type that is blocked.
        let mut blocked = [u32::MAX; 8];
        blocked[0] &= !(1 << PACKET_TOO_BIG);
        filter(&socket, libc::IPPROTO_ICMPV6, ICMPV6_FILTER, &blocked)?;
    } else {
        let blocked = !(1u32 << UNREACHABLE);
        filter(&socket, libc::SOL_RAW, ICMP_FILTER, &blocked)?;
    }
    Ok(socket)
}

fn filter<T>(socket: &Socket, level: libc::c_int, name: libc::c_int, value: &T) -> io::Result<()> {
    use std::os::fd::AsRawFd;
    // SAFETY: the option's value is as long as is said, and outlives the call.
    let set = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            name,
            std::ptr::from_ref(value).cast(),
            size_of::<T>() as libc::socklen_t,
        )
    };
    if set < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

const UNREACHABLE: u8 = 3;
const FRAGMENTATION_NEEDED: u8 = 4;
const PACKET_TOO_BIG: u8 = 2;
/// Protocols of packets in packets: IPv4 and IPv6.
const IPIP: u8 = 4;
const IP6: u8 = 41;

/// The tunnel's end and the size that fits, from an IPv4 packet with an ICMP message.
fn parse_v4(packet: &[u8]) -> Option<(IpAddr, u32)> {
    let icmp = packet.get(usize::from(packet.first()? & 0xf) * 4..)?;
    let &[UNREACHABLE, FRAGMENTATION_NEEDED, _, _, _, _, high, low, ..] = icmp else {
        return None;
    };
    let quoted = icmp.get(8..28)?;
    if quoted[0] >> 4 != 4 || !matches!(quoted[9], IPIP | IP6) {
        return None;
    }
    let end = Ipv4Addr::new(quoted[16], quoted[17], quoted[18], quoted[19]);
    Some((end.into(), u32::from(u16::from_be_bytes([high, low]))))
}

/// Likewise from an ICMPv6 message, which comes without its packet.
fn parse_v6(icmp: &[u8]) -> Option<(IpAddr, u32)> {
    let &[PACKET_TOO_BIG, _, _, _, a, b, c, d, ..] = icmp else {
        return None;
    };
    let quoted = icmp.get(8..48)?;
    if quoted[0] >> 4 != 6 || !matches!(quoted[6], IPIP | IP6) {
        return None;
    }
    let end: [u8; 16] = quoted.get(24..40)?.try_into().ok()?;
    Some((Ipv6Addr::from(end).into(), u32::from_be_bytes([a, b, c, d])))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn needed(protocol: u8, mtu: u16) -> Vec<u8> {
        let mut packet = vec![0x45; 20];
        packet.extend([3, 4, 0, 0, 0, 0]);
        packet.extend(mtu.to_be_bytes());
        let mut quoted = vec![0; 28];
        quoted[0] = 0x45;
        quoted[9] = protocol;
        quoted[16..20].copy_from_slice(&[192, 0, 2, 9]);
        packet.extend(quoted);
        packet
    }

    #[test]
    fn an_error_about_a_tunnel_names_its_end() {
        let end: IpAddr = "192.0.2.9".parse().unwrap();
        assert_eq!(parse_v4(&needed(4, 1400)), Some((end, 1400)));
        assert_eq!(parse_v4(&needed(6, 1400)), None, "an ordinary connection");
        assert_eq!(parse_v4(&needed(4, 1400)[..40]), None);
        let mut six = vec![2, 0, 0, 0, 0, 0, 5, 0x14];
        let mut quoted = vec![0; 40];
        (quoted[0], quoted[6], quoted[39]) = (0x60, 41, 1);
        six.extend(quoted);
        let end: IpAddr = "::1".parse().unwrap();
        assert_eq!(parse_v6(&six), Some((end, 1300)));
    }

    #[test]
    fn the_smallest_counts_for_ten_minutes_and_nothing_absurd() {
        let end: IpAddr = "192.0.2.9".parse().unwrap();
        let now = Instant::now();
        let mut mtus = PathMtus::default();
        assert!(mtus.lower(end, 1400, now));
        assert!(!mtus.lower(end, 1450, now));
        assert!(mtus.lower(end, 68, now));
        assert_eq!(mtus.known(), BTreeMap::from([(end, LEAST4)]));
        assert!(mtus.look(&BTreeSet::new(), now + KEPT));
        assert!(mtus.known().is_empty());
    }
}
