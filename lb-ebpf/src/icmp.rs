//! ICMP errors about packets of known flows: whoever sent the packet that the error quotes gets it, with the quotation as
//! he sent it. They come from routers on either side; all other ICMP is the host's.
//!
//! An error is taken for one about a flow if the tuple it quotes, reversed, is one that the table knows: for a client's
//! packet on its way to the server that is the reverse leg, for an answer the forward one. The leg then says what to
//! write, as for any packet of its direction, and the quotation gets the opposite (RFC 5508 §3.2, RFC 7915 §4.2).
//! Nothing in the flow changes: an error can be forged, and the end that gets it looks at the sequence number.

use lb_common::{
    checksum,
    counter::Reason,
    flow::{FlowKey, Leg, V4, V6, flags},
};

use crate::{
    apply,
    family::Family,
    flow,
    packet::{Hook, at, opaque, set_u16, set_u32, set_v6, u8_at, u16_at, u32_at, v6_at},
    parse::L2,
    plan::{Facts, Parsed, Part, Place, Stop, proto},
    sets,
    work::work,
};

/// An error and the packet that it quotes.
pub struct Quote<A> {
    /// The error itself; its tuple has the outer addresses and no ports, `l4` is the ICMP header.
    pub error: Parsed<A>,
    /// Address of the quoted IP header.
    pub ip: usize,
    /// Address of the quoted TCP or UDP header, of which eight bytes are there.
    pub l4: usize,
}

/// The errors that tell of a single packet's fate (IANA): unreachable, time exceeded, parameter problem.
const ERRORS4: [u8; 3] = [3, 11, 12];
/// ICMPv6: unreachable, too big, time exceeded, parameter problem.
const LAST_ERROR6: u8 = 4;

/// An ICMP packet: is it an error about a packet of a flow? Then the flow's leg is left in [`crate::work::Work::leg`].
#[inline(always)]
pub fn find<A: Quoting>(hook: &impl Hook, l2: &L2) -> Result<(), Stop> {
    let Some(work) = work::<A>() else {
        return Err(Stop::up(Reason::IcmpNoFlow));
    };
    A::quote(hook, l2, &mut work.key)?;
    if let Some(flow) = A::flow(&work.key) {
        // SAFETY: a live map value, copied at once.
        work.leg = unsafe { (*flow).leg };
        return Ok(());
    }
    match sets::leg_of(&work.key, &mut work.mine) {
        Some(leg) => work.leg = *leg,
        None => return Err(Stop::up(Reason::IcmpNoFlow)),
    }
    Ok(())
}

/// Sends an error about a packet of the flow that [`find`] has found on to whom it concerns. Another function, since the
/// stack has not room for both.
#[inline(always)]
pub fn send<A: Quoting>(hook: &impl Hook, l2: &L2) -> Stop {
    let Some(work) = work::<A>() else {
        return Stop::drop(Reason::HalfMissing);
    };
    let quote = match A::quote(hook, l2, &mut work.key) {
        Ok(quote) => quote,
        Err(stop) => return stop,
    };
    let packet = &quote.error.packet();
    if packet.ttl <= 1 {
        return Stop::drop(Reason::TtlExceeded);
    }
    let leg = &work.leg;
    let mut plan = match flow::plan(packet, leg, hook) {
        Ok(plan) => plan,
        // Nobody is told of an error's fate (RFC 1122 §3.2.2).
        Err(_) => return Stop::drop(Reason::HopLost),
    };
    plan.translate = None;
    // SAFETY: `quote` checked the bounds, and the packet has not moved.
    unsafe {
        if leg.flags & flags::TRANSLATE != 0 {
            A::translate(&quote, &work.key, leg);
        } else {
            A::lower_ttl(packet);
        }
    }
    let verdict = apply::send::<A, true, _>(packet, &plan, hook, Reason::IcmpForwarded);
    Stop::done(verdict)
}

/// What differs between ICMP and ICMPv6.
pub trait Quoting: Family {
    /// The error at `l2`, and the quoted tuple, reversed. Of one that concerns no flow: whose it is.
    fn quote(hook: &impl Hook, l2: &L2, reversed: &mut FlowKey<Self>) -> Result<Quote<Self>, Stop>;
    /// Writes the leg's addresses into the error, and the opposite into the quotation, whose tuple `reversed` is.
    ///
    /// # Safety
    /// The quote's bounds were checked and the packet has not moved since.
    unsafe fn translate(quote: &Quote<Self>, reversed: &FlowKey<Self>, leg: &Leg<Self>);
}

/// The ports of a quoted header, and the checksum of UDP following them; what changed.
///
/// # Safety
/// Eight bytes were checked to lie within the packet.
#[inline(always)]
unsafe fn write_ports<A: Family>(
    quote: &Quote<A>,
    reversed: &FlowKey<A>,
    leg: &Leg<A>,
    addresses: u32,
) -> u32 {
    let (sport, dport) = (leg.dport, leg.sport);
    let ports = checksum::delta16(reversed.dport, sport) + checksum::delta16(reversed.sport, dport);
    // SAFETY: by contract.
    unsafe {
        set_u16::<{ at::SPORT }>(quote.l4, sport);
        set_u16::<{ at::DPORT }>(quote.l4, dport);
        if reversed.proto != u32::from(proto::UDP) {
            // TCP's checksum lies beyond the eight bytes that every error quotes.
            return ports;
        }
        let old = u16_at::<{ at::UDP_CHECK }>(quote.l4);
        let new = checksum::apply_udp(old, addresses + ports);
        set_u16::<{ at::UDP_CHECK }>(quote.l4, new);
        ports + checksum::delta16(old, new)
    }
}

impl Quoting for V4 {
    #[inline(always)]
    fn quote(hook: &impl Hook, l2: &L2, reversed: &mut FlowKey<V4>) -> Result<Quote<V4>, Stop> {
        let (outer, end) = (l2.ip, hook.data_end());
        if outer + at::IPV4 > end {
            return Err(Stop::up(Reason::NotForUs));
        }
        // SAFETY: checked just above.
        let (words, len, ttl, src, dst) = unsafe {
            (
                usize::from(u8_at::<0>(outer) & 0x0f),
                u32::from(u16::from_be(u16_at::<{ at::IP_LEN }>(outer))),
                u8_at::<{ at::IP_TTL }>(outer),
                u32_at::<{ at::IP_SRC }>(outer),
                u32_at::<{ at::IP_DST }>(outer),
            )
        };
        let icmp = outer + (opaque(words * 4) & 0x3c);
        if icmp + at::UDP + at::IPV4 > end {
            return Err(Stop::up(Reason::NotForUs));
        }
        // SAFETY: checked just above.
        let (kind, ip) = unsafe { (u8_at::<0>(icmp), icmp + at::UDP) };
        if kind != ERRORS4[0] && kind != ERRORS4[1] && kind != ERRORS4[2] {
            return Err(Stop::up(Reason::NotForUs));
        }
        // SAFETY: as above.
        let (version, fragment, protocol, quoted_src, quoted_dst) = unsafe {
            (
                u8_at::<0>(ip),
                u16_at::<{ at::IP_FRAG }>(ip),
                u8_at::<{ at::IP_PROTO }>(ip),
                u32_at::<{ at::IP_SRC }>(ip),
                u32_at::<{ at::IP_DST }>(ip),
            )
        };
        let l4 = ip + (opaque(usize::from(version & 0x0f) * 4) & 0x3c);
        const OFFSET: u16 = 0x1fffu16.to_be();
        if version >> 4 != 4
            || fragment & OFFSET != 0
            || (protocol != proto::TCP && protocol != proto::UDP)
            || l4 + at::UDP > end
        {
            return Err(Stop::up(Reason::IcmpNoFlow));
        }
        // SAFETY: checked just above.
        let (sport, dport) = unsafe { (u16_at::<{ at::SPORT }>(l4), u16_at::<{ at::DPORT }>(l4)) };
        *reversed = FlowKey {
            src: quoted_dst,
            dst: quoted_src,
            sport: dport,
            dport: sport,
            proto: u32::from(protocol),
        };
        Ok(Quote {
            error: error_packet(
                hook,
                l2,
                (icmp, len, ttl),
                (src, dst),
                u32::from(proto::ICMP),
            ),
            ip,
            l4,
        })
    }

    #[inline(always)]
    unsafe fn translate(quote: &Quote<V4>, reversed: &FlowKey<V4>, leg: &Leg<V4>) {
        let packet = &quote.error.packet();
        let (src, dst) = (leg.dst, leg.src);
        let addresses = reversed.dst.delta(src) + reversed.src.delta(dst);
        // SAFETY: by contract.
        unsafe {
            let ports = write_ports(quote, reversed, leg, addresses);
            set_u32::<{ at::IP_SRC }>(quote.ip, src);
            set_u32::<{ at::IP_DST }>(quote.ip, dst);
            let old = u16_at::<{ at::IP_CHECK }>(quote.ip);
            let new = checksum::apply(old, addresses);
            set_u16::<{ at::IP_CHECK }>(quote.ip, new);
            let delta = ports + addresses + checksum::delta16(old, new);
            let check = u16_at::<{ at::ICMP_CHECK }>(packet.l4());
            set_u16::<{ at::ICMP_CHECK }>(packet.l4(), checksum::apply(check, delta));
            V4::write(packet, leg.src, leg.dst);
        }
    }
}

impl Quoting for V6 {
    #[inline(always)]
    fn quote(hook: &impl Hook, l2: &L2, reversed: &mut FlowKey<V6>) -> Result<Quote<V6>, Stop> {
        let (outer, end) = (l2.ip, hook.data_end());
        let icmp = outer + at::IPV6;
        let ip = icmp + at::UDP;
        let l4 = ip + at::IPV6;
        // Extensions in front of either header make it the host's.
        if l4 + at::UDP > end {
            return Err(Stop::up(Reason::NotForUs));
        }
        // SAFETY: checked just above.
        let (next, len, ttl, kind, version, protocol) = unsafe {
            (
                u8_at::<{ at::IP6_NEXT }>(outer),
                u32::from(u16::from_be(u16_at::<{ at::IP6_LEN }>(outer))) + at::IPV6 as u32,
                u8_at::<{ at::IP6_HOPS }>(outer),
                u8_at::<0>(icmp),
                u8_at::<0>(ip),
                u8_at::<{ at::IP6_NEXT }>(ip),
            )
        };
        if next != proto::ICMPV6 || kind == 0 || kind > LAST_ERROR6 {
            return Err(Stop::up(Reason::NotForUs));
        }
        if version >> 4 != 6 || (protocol != proto::TCP && protocol != proto::UDP) {
            return Err(Stop::up(Reason::IcmpNoFlow));
        }
        // SAFETY: as above.
        let (src, dst) = unsafe {
            reversed.dst = v6_at::<8, 12, 16, 20>(ip);
            reversed.src = v6_at::<24, 28, 32, 36>(ip);
            reversed.dport = u16_at::<{ at::SPORT }>(l4);
            reversed.sport = u16_at::<{ at::DPORT }>(l4);
            reversed.proto = u32::from(protocol);
            (
                v6_at::<8, 12, 16, 20>(outer),
                v6_at::<24, 28, 32, 36>(outer),
            )
        };
        Ok(Quote {
            error: error_packet(
                hook,
                l2,
                (icmp, len, ttl),
                (src, dst),
                u32::from(proto::ICMPV6),
            ),
            ip,
            l4,
        })
    }

    #[inline(always)]
    unsafe fn translate(quote: &Quote<V6>, reversed: &FlowKey<V6>, leg: &Leg<V6>) {
        let packet = &quote.error.packet();
        let (src, dst) = (leg.dst, leg.src);
        let addresses = reversed.dst.delta(src) + reversed.src.delta(dst);
        let outer =
            quote.error.facts.key.src.delta(leg.src) + quote.error.facts.key.dst.delta(leg.dst);
        // SAFETY: by contract.
        unsafe {
            let ports = write_ports(quote, reversed, leg, addresses);
            set_v6(quote.ip + at::IP6_SRC, src);
            set_v6(quote.ip + at::IP6_DST, dst);
            // ICMPv6's checksum covers the outer addresses too.
            let check = u16_at::<{ at::ICMP_CHECK }>(packet.l4());
            let check = checksum::apply(check, ports + addresses + outer);
            set_u16::<{ at::ICMP_CHECK }>(packet.l4(), check);
            V6::write(packet, leg.src, leg.dst);
        }
    }
}

#[inline(always)]
fn error_packet<A>(
    hook: &impl Hook,
    l2: &L2,
    (icmp, len, ttl): (usize, u32, u8),
    (src, dst): (A, A),
    proto: u32,
) -> Parsed<A> {
    Parsed {
        place: Place {
            eth: l2.eth,
            ip: l2.ip,
            l4: icmp,
            end: hook.data_end(),
        },
        facts: Facts {
            key: FlowKey {
                src,
                dst,
                sport: 0,
                dport: 0,
                proto,
            },
            ifindex: hook.ifindex(),
            tags: l2.tags,
            len,
            payload: 0,
            flags: 0,
            ttl,
            whole: true,
            part: Part::Whole,
        },
    }
}
