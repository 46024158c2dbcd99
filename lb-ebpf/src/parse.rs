//! Step 1, parse: is this a packet of interest, and where are its headers?
//!
//! Whatever is too short for what it announces goes up: the host discards it by the same checks (`ip_rcv`, `tcp_v4_rcv`)
//! and answers nothing, so that no flow is disturbed.
//!
//! There are two ways through: the quick one, for whole packets without tags, options or extensions, is inlined where
//! packets come in; `FULL` is the other.

use lb_common::{
    counter::Reason,
    flow::{FlowKey, FragmentKey, FragmentPorts, TAG_MASK, V4, V6},
};

use crate::{
    admit,
    family::Family,
    maps,
    packet::{Hook, at, distance, opaque, u8_at, u16_at, u32_at, v6_at},
    plan::{Facts, Parsed, Part, Place, Stop, proto},
};

/// IEEE 802.1Q and 802.1ad.
const ETH_P_8021Q: u16 = 0x8100u16.to_be();
const ETH_P_8021AD: u16 = 0x88a8u16.to_be();
/// IPv4: more fragments, or an offset.
const FRAGMENT: u16 = 0x3fffu16.to_be();
const FRAGMENT_OFFSET: u16 = 0x1fffu16.to_be();
const DONT_FRAGMENT: u16 = 0x4000u16.to_be();

/// What stands before the IP header.
pub struct L2 {
    /// Address of the Ethernet header.
    pub eth: usize,
    /// Address of the IP header.
    pub ip: usize,
    /// Type of what follows, as it lies in the frame.
    pub ether_type: u16,
    /// VLAN tags, outermost first.
    pub tags: [u32; 2],
}

/// The Ethernet header of a frame without tags, or with its outer one beside; enough of it is there for IPv4.
#[inline(always)]
pub fn ethernet(hook: &impl Hook) -> Result<L2, Stop> {
    let eth = hook.data();
    if eth + at::ETHERNET + at::IPV4 > hook.data_end() {
        return Err(Stop::up(Reason::NotForUs));
    }
    // SAFETY: checked just above.
    let (group, ether_type) = unsafe { (u8_at::<0>(eth) & 1, u16_at::<{ at::ETH_TYPE }>(eth)) };
    if group != 0 {
        return Err(Stop::up(Reason::NotForUs));
    }
    Ok(L2 {
        eth,
        ip: eth + at::ETHERNET,
        ether_type,
        tags: [0; 2],
    })
}

/// Whether a type announces a VLAN tag.
#[inline(always)]
pub fn is_tag(ether_type: u16) -> bool {
    ether_type == ETH_P_8021Q || ether_type == ETH_P_8021AD
}

/// The Ethernet header of any frame, with up to two tags. How many is a number to the verifier, not a choice of three
/// ways, each of which it would walk on its own.
#[inline(always)]
pub fn ethernet_with_tags(hook: &impl Hook) -> Result<L2, Stop> {
    let l2 = ethernet(hook)?;
    let eth = l2.eth;
    let beside = hook.tag_beside();
    // SAFETY: `ethernet` checked 34 bytes.
    let (first, next, second, last) = unsafe {
        (
            u32_at::<{ at::ETH_TYPE }>(eth),
            u16_at::<{ at::ETH_TYPE + 4 }>(eth),
            u32_at::<{ at::ETH_TYPE + 4 }>(eth),
            u16_at::<{ at::ETH_TYPE + 8 }>(eth),
        )
    };
    let one = tag_bit(l2.ether_type);
    let two = one & tag_bit(next);
    if beside != 0 && two != 0 {
        // Three tags in all.
        return Err(Stop::up(Reason::NotForUs));
    }
    let ether_type = choose(two, last, choose(one, next, l2.ether_type));
    let first = first & TAG_MASK & one.wrapping_neg() as u32;
    let second = second & TAG_MASK & two.wrapping_neg() as u32;
    let tags = if beside != 0 {
        [beside, first]
    } else {
        [first, second]
    };
    Ok(L2 {
        eth,
        ip: eth + at::ETHERNET + (opaque((one + two) as usize) & 3) * 4,
        ether_type,
        tags,
    })
}

/// 1 for a type that announces a tag, else 0; without a branch.
#[inline(always)]
fn tag_bit(ether_type: u16) -> u64 {
    same(u64::from(ether_type), u64::from(ETH_P_8021Q))
        | same(u64::from(ether_type), u64::from(ETH_P_8021AD))
}

#[inline(always)]
fn choose(condition: u64, a: u16, b: u16) -> u16 {
    if_else(condition, u64::from(a), u64::from(b)) as u16
}

/// Parses an IPv4 packet.
#[inline(always)]
pub fn ipv4<const FULL: bool>(hook: &impl Hook, l2: &L2) -> Result<Parsed<V4>, Stop> {
    let (ip, end) = (l2.ip, hook.data_end());
    if FULL && ip + at::IPV4 > end {
        return Err(Stop::up(Reason::NotForUs));
    }
    // SAFETY: checked just above, or by `ethernet`: up to the end of the IPv4 header without options.
    let (version, len, fragment, ttl, proto, src, dst) = unsafe {
        (
            u8_at::<0>(ip),
            u32::from(u16::from_be(u16_at::<{ at::IP_LEN }>(ip))),
            u16_at::<{ at::IP_FRAG }>(ip),
            u8_at::<{ at::IP_TTL }>(ip),
            u8_at::<{ at::IP_PROTO }>(ip),
            u32_at::<{ at::IP_SRC }>(ip),
            u32_at::<{ at::IP_DST }>(ip),
        )
    };
    if version >> 4 != 4 || (proto != proto::TCP && proto != proto::UDP && proto != proto::ICMP) {
        return Err(Stop::up(Reason::NotForUs));
    }
    let words = u32::from(version & 0x0f);
    let mut l4 = ip + at::IPV4;
    let mut headers = at::IPV4 as u32;
    if words != 5 || fragment & FRAGMENT != 0 || proto == proto::ICMP {
        if !FULL {
            return Err(Stop::SLOW);
        }
        if words < 5 {
            return Err(Stop::up(Reason::Malformed));
        }
        let options = words * 4 - at::IPV4 as u32;
        if options != 0 && source_routed(l4, end, options) {
            return Err(Stop::drop(Reason::SourceRoute));
        }
        l4 += (opaque(options as usize) & 0x3c) as usize;
        headers += options & 0x3c;
        if proto == proto::ICMP {
            return Err(if fragment & FRAGMENT != 0 {
                Stop::up(Reason::Fragment)
            } else {
                Stop::ICMP
            });
        }
    }
    let part = if FULL { part_of(fragment) } else { Part::Whole };
    // SAFETY: the header was checked above.
    let id = if FULL {
        u32::from(unsafe { u16_at::<{ at::IP_ID }>(ip) })
    } else {
        0
    };
    let identity = FragmentKey {
        src,
        dst,
        id,
        proto: u32::from(proto),
    };
    let l4 = transport::<V4, FULL>(hook, (l4, proto), (len, headers), part, &identity)?;
    Ok(parsed(
        hook,
        l2,
        &identity,
        &l4,
        (ttl, fragment & DONT_FRAGMENT != 0),
        part,
    ))
}

/// Parses an IPv6 packet.
#[inline(always)]
pub fn ipv6<const FULL: bool>(hook: &impl Hook, l2: &L2) -> Result<Parsed<V6>, Stop> {
    let (ip, end) = (l2.ip, hook.data_end());
    if ip + at::IPV6 > end {
        return Err(Stop::up(Reason::Malformed));
    }
    // SAFETY: checked just above.
    let (version, len, next, ttl, src, dst) = unsafe {
        (
            u8_at::<0>(ip),
            u32::from(u16::from_be(u16_at::<{ at::IP6_LEN }>(ip))) + at::IPV6 as u32,
            u8_at::<{ at::IP6_NEXT }>(ip),
            u8_at::<{ at::IP6_HOPS }>(ip),
            v6_at::<8, 12, 16, 20>(ip),
            v6_at::<24, 28, 32, 36>(ip),
        )
    };
    if version >> 4 != 6 {
        return Err(Stop::up(Reason::NotForUs));
    }
    let mut proto = next;
    let mut l4 = ip + at::IPV6;
    let mut headers = at::IPV6 as u32;
    let mut part = Part::Whole;
    let mut id = 0;
    if next != proto::TCP && next != proto::UDP {
        if !FULL {
            return Err(Stop::SLOW);
        }
        let walked = extensions(l4, end, u32::from(next));
        let skipped = (walked & Walk::LENGTH) as u32;
        if walked & Walk::ROUTED != 0 {
            return Err(Stop::drop(Reason::SourceRoute));
        }
        if walked & Walk::LOST != 0 {
            return Err(Stop::up(Reason::ExtensionHeaders));
        }
        proto = (walked >> Walk::NEXT_SHIFT) as u8;
        if walked & Walk::FRAGMENT != 0 {
            // The fragment header is the last one that was walked.
            let header = l4 + (opaque(skipped as usize) & 0xfff) as usize;
            if header > end {
                return Err(Stop::up(Reason::Malformed));
            }
            // SAFETY: checked just above; the walk has read the eight bytes before.
            id = unsafe { u32_at::<0>(header - 4) };
            part = if walked & Walk::LATER != 0 {
                Part::Later
            } else {
                Part::First
            };
        }
        l4 += (opaque(skipped as usize) & 0xfff) as usize;
        headers += skipped;
        if proto == proto::ICMPV6 && part == Part::Whole {
            return Err(Stop::ICMP);
        }
        if proto != proto::TCP && proto != proto::UDP {
            return Err(Stop::up(Reason::NotForUs));
        }
    }
    let identity = FragmentKey {
        src,
        dst,
        id,
        proto: u32::from(proto),
    };
    let l4 = transport::<V6, FULL>(hook, (l4, proto), (len, headers), part, &identity)?;
    Ok(parsed(hook, l2, &identity, &l4, (ttl, true), part))
}

/// All that was found.
#[inline(always)]
fn parsed<A: Family>(
    hook: &impl Hook,
    l2: &L2,
    identity: &FragmentKey<A>,
    l4: &Transport,
    (ttl, whole): (u8, bool),
    part: Part,
) -> Parsed<A> {
    Parsed {
        place: Place {
            eth: l2.eth,
            ip: l2.ip,
            l4: l4.at,
            end: hook.data_end(),
        },
        facts: Facts {
            key: FlowKey {
                src: identity.src,
                dst: identity.dst,
                sport: l4.sport,
                dport: l4.dport,
                proto: identity.proto,
            },
            ifindex: hook.ifindex(),
            tags: l2.tags,
            len: l4.len,
            payload: l4.payload,
            flags: l4.flags,
            ttl,
            whole,
            part,
        },
    }
}

/// What a TCP or UDP header says.
struct Transport {
    at: usize,
    sport: u16,
    dport: u16,
    flags: u8,
    len: u32,
    payload: u32,
}

/// Parses the header after IP's, `len` and `headers` being the length of the packet and of its headers so far.
#[inline(always)]
fn transport<A: Family, const FULL: bool>(
    hook: &impl Hook,
    (l4, proto): (usize, u8),
    (len, headers): (u32, u32),
    part: Part,
    identity: &FragmentKey<A>,
) -> Result<Transport, Stop> {
    let end = hook.data_end();
    if FULL && part == Part::Later {
        let Some(ports) = A::fragment(identity) else {
            return Err(Stop::up(Reason::Fragment));
        };
        if len < headers {
            return Err(Stop::up(Reason::Malformed));
        }
        return Ok(Transport {
            at: l4,
            sport: ports.sport,
            dport: ports.dport,
            flags: 0,
            len,
            payload: len - headers,
        });
    }
    if l4 + at::UDP > end {
        return Err(Stop::up(Reason::Malformed));
    }
    // SAFETY: checked just above.
    let (sport, dport) = unsafe { (u16_at::<{ at::SPORT }>(l4), u16_at::<{ at::DPORT }>(l4)) };
    if !is_of_interest(sport, dport) {
        return Err(Stop::up(if part == Part::Whole {
            Reason::NotForUs
        } else {
            Reason::Fragment
        }));
    }
    let (own, flags) = if proto == proto::TCP {
        if l4 + at::TCP > end {
            return Err(Stop::up(Reason::Malformed));
        }
        // SAFETY: checked just above.
        unsafe {
            (
                u32::from(u8_at::<{ at::TCP_OFFSET }>(l4) >> 4) * 4,
                u8_at::<{ at::TCP_FLAGS }>(l4),
            )
        }
    } else {
        (at::UDP as u32, 0)
    };
    let least = if proto == proto::TCP {
        at::TCP
    } else {
        at::UDP
    } as u32;
    let before = distance(hook.data(), l4);
    let there = hook.frame_len().wrapping_sub(before);
    // Larger than its length field can say (BIG TCP): only what was received together is.
    let len = if FULL && len <= headers && hook.segment() != 0 {
        there.wrapping_add(headers)
    } else {
        len
    };
    let headers = headers + own;
    let behind = len.wrapping_sub(headers - own);
    // Rarely: the headers are in the first buffer of several.
    let short = there < behind && hook.whole_len().wrapping_sub(before) < behind;
    if own < least || len < headers || short {
        return Err(Stop::up(Reason::Malformed));
    }
    if FULL && part == Part::First {
        A::remember_fragment(identity, FragmentPorts { sport, dport });
    }
    Ok(Transport {
        at: l4,
        sport,
        dport,
        flags,
        len,
        payload: len - headers,
    })
}

/// Whether any service or source NAT uses the destination port, or a server whose replies have the client's own
/// address the source port.
#[inline(always)]
pub fn is_of_interest(sport: u16, dport: u16) -> bool {
    has_bit(0, dport) || has_bit(SOURCES, sport)
}

/// Whether a packet with these ports may be a server's answer to a translated client.
#[inline(always)]
pub fn may_be_reply(sport: u16, dport: u16) -> bool {
    let settings = admit::settings();
    u16::from_be(dport).wrapping_sub(settings.snat_first) < settings.snat_count
        || has_bit(SOURCES, sport)
}

/// Where the bits of source ports begin, in words.
const SOURCES: u32 = 1024;

/// Whether source NAT may use a port, network order: nothing on this host listens on it.
#[inline(always)]
pub fn is_port_of_interest(port: u16) -> bool {
    has_bit(0, port)
}

#[inline(always)]
fn has_bit(base: u32, port: u16) -> bool {
    let port = u32::from(u16::from_be(port));
    // SAFETY: a live map value.
    maps::PORTS
        .get_ptr(base + (port >> 6))
        .is_some_and(|word| unsafe { *word } >> (port & 63) & 1 != 0)
}

#[inline(always)]
fn part_of(fragment: u16) -> Part {
    if fragment & FRAGMENT_OFFSET != 0 {
        Part::Later
    } else if fragment & FRAGMENT != 0 {
        Part::First
    } else {
        Part::Whole
    }
}

/// Whether IP options hold a loose or strict source route (RFC 791 §3.1), as the host's own stack refuses by default.
///
/// A function of its own, so that the verifier forgets how far the loop went before it walks the rest; and without a
/// branch in the loop but its end, so that there is one way through it.
#[inline(never)]
fn source_routed(start: usize, end: usize, len: u32) -> bool {
    const END: u64 = 0;
    const NOP: u64 = 1;
    const LSRR: u64 = 131;
    const SSRR: u64 = 137;
    // Past all options.
    const NEVER: u64 = 64;
    let (mut next, mut routed) = (0u64, 0u64);
    // 40 bytes of options at most.
    for i in 0..40u32 {
        let option = opaque(start + i as usize);
        if i >= len || option + 2 > end {
            break;
        }
        // SAFETY: checked just above; an option of one byte is followed by the next header.
        let (kind, length) =
            unsafe { (u64::from(u8_at::<0>(option)), u64::from(u8_at::<1>(option))) };
        let here = same(next, u64::from(i));
        let short = opaque((length.wrapping_sub(2) >> 63) as usize) as u64;
        let mut step = if_else(short, 2, length);
        step = if_else(same(kind, NOP), 1, step);
        step = if_else(same(kind, END), NEVER, step);
        routed |= here & (same(kind, LSRR) | same(kind, SSRR));
        next += here * step;
    }
    routed != 0
}

/// What a walk over extension headers says, as bits of a number.
struct Walk;

impl Walk {
    /// Bytes walked over.
    const LENGTH: u64 = 0xfff;
    /// From here on, eight bits: what follows.
    const NEXT_SHIFT: u32 = 16;
    /// A routing header of type 0 with segments left (RFC 5095).
    const ROUTED: u64 = 1 << 32;
    /// There was no end to it.
    const LOST: u64 = 1 << 33;
    /// There was a fragment header, where the walk ended.
    const FRAGMENT: u64 = 1 << 34;
    /// With an offset.
    const LATER: u64 = 1 << 35;
}

/// Extension headers (IANA): hop-by-hop options, routing, fragment, destination options.
const HOP_BY_HOP: u32 = 0;
const ROUTING: u32 = 43;
const FRAGMENT_HEADER: u32 = 44;
const DESTINATION: u32 = 60;

/// Walks over up to four IPv6 extension headers (RFC 8200 §4) that begin at `start`, the first of type `next`; returns
/// what [`Walk`] says. A function of its own for the same reason as [`source_routed`].
#[inline(never)]
fn extensions(start: usize, end: usize, next: u32) -> u64 {
    let (mut next, mut length) = (next, 0u64);
    for _ in 0..4 {
        if next != HOP_BY_HOP && next != ROUTING && next != FRAGMENT_HEADER && next != DESTINATION {
            return length | u64::from(next) << Walk::NEXT_SHIFT;
        }
        let header = opaque(start + (opaque(length as usize) & 0xfff));
        if header + 8 > end {
            return Walk::LOST;
        }
        // SAFETY: checked just above.
        let (following, units, kind, left, offset) = unsafe {
            (
                u32::from(u8_at::<0>(header)),
                u64::from(u8_at::<1>(header)),
                u8_at::<2>(header),
                u8_at::<3>(header),
                u16::from_be(u16_at::<2>(header)),
            )
        };
        if next == FRAGMENT_HEADER {
            let later = if offset & 0xfff8 != 0 { Walk::LATER } else { 0 };
            // One that is all of its datagram (RFC 6946) is no less one to be followed.
            let last = length + 8;
            if last > 0x7ff {
                return Walk::LOST;
            }
            return last | u64::from(following) << Walk::NEXT_SHIFT | Walk::FRAGMENT | later;
        }
        if next == ROUTING && kind == 0 && left != 0 {
            return Walk::ROUTED;
        }
        next = following;
        length += (units + 1) * 8;
        if length > 0x7ff {
            return Walk::LOST;
        }
    }
    if next == HOP_BY_HOP || next == ROUTING || next == FRAGMENT_HEADER || next == DESTINATION {
        return Walk::LOST;
    }
    length | u64::from(next) << Walk::NEXT_SHIFT
}

/// 1 if two numbers below 2⁶³ are equal, else 0; without a branch.
#[inline(always)]
fn same(a: u64, b: u64) -> u64 {
    opaque(((a ^ b).wrapping_sub(1) >> 63) as usize) as u64
}

/// `a` if `condition` is 1, `b` if it is 0; without a branch.
#[inline(always)]
fn if_else(condition: u64, a: u64, b: u64) -> u64 {
    b.wrapping_add(a.wrapping_sub(b).wrapping_mul(condition))
}
