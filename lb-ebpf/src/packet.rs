//! Access to the bytes of a packet whose bounds were checked.
//!
//! Ethernet's 14 bytes leave every later header at an address that is even but not a multiple of 4. 16-bit words are
//! read and written as they are; 32-bit ones by an instruction written out, since the compiler would make four byte
//! loads of them. A kernel without efficient unaligned access refuses the program (x86-64 and arm64 have it).

use core::arch::asm;

use aya_ebpf::EbpfContext;
use lb_common::flow::V6;

use crate::{
    family::Family,
    plan::{Packet, Plan},
};

/// Where the program runs: XDP or TC.
pub trait Hook {
    /// What becomes of a packet that the host's stack gets.
    const PASS: u32;
    /// What becomes of one that nobody gets.
    const DROP: u32;
    /// Whether a device may still have to fill in a packet's TCP or UDP checksum.
    const FILLED_IN_LATER: bool;

    /// Address of the first byte.
    fn data(&self) -> usize;
    /// Address after the last byte that can be looked at.
    fn data_end(&self) -> usize;
    /// Length of the frame, bytes: some of it may lie where it cannot be looked at. On XDP of its first buffer.
    fn frame_len(&self) -> u32;
    /// The same, asked of the kernel where the packet may lie in several buffers.
    fn whole_len(&self) -> u32;
    /// Interface that received the packet.
    fn ifindex(&self) -> u32;
    /// What helpers take as their context.
    fn raw(&self) -> *mut core::ffi::c_void;
    /// The outer VLAN tag if it is not in the frame, as in [`lb_common::flow::Hop::tags`].
    fn tag_beside(&self) -> u32;
    /// Payload of each segment if the packet is several that were received together, else 0.
    fn segment(&self) -> u32;
    /// Brings a TCP or UDP checksum up to date: `pseudo` is what changed in addresses, `other` what else.
    ///
    /// # Safety
    /// The packet's bounds were checked by [`crate::parse`] and it has not moved since. Afterwards it may have.
    unsafe fn fix_checksum<A>(&self, packet: &Packet<'_, A>, pseudo: u32, other: u32);
    /// Sends a packet of a flow out as planned, its addresses being written already; [`Hook::DROP`] if it could not.
    /// `FULL` minds tags.
    fn send<A: Family, const FULL: bool>(&self, packet: &Packet<'_, A>, plan: &Plan<A>) -> u32;
    /// Sends the frame back where it came from; its addresses are written already.
    fn send_back(&self, ifindex: u32) -> u32;
    /// Makes the frame `grow` bytes longer at its front and `len` bytes long in all. Whether that worked; the packet has
    /// moved.
    fn reshape(&self, grow: u32, len: u32) -> bool;
}

/// The program's context, whichever, for the logger.
pub struct Raw(pub *mut core::ffi::c_void);

impl EbpfContext for Raw {
    fn as_ptr(&self) -> *mut core::ffi::c_void {
        self.0
    }
}

/// The same value, of which the compiler knows nothing: it must not move the arithmetic of a bounds check to the
/// packet's end, which the verifier does not allow to be computed with.
#[inline(always)]
pub fn opaque(p: usize) -> usize {
    let same: usize;
    // A move, not nothing: two lines of source at one instruction are refused with the program's line information.
    // SAFETY: copies one register to another.
    unsafe {
        asm!("{same} = {p}", same = out(reg) same, p = in(reg) p, options(pure, nomem, nostack, preserves_flags))
    };
    same
}

/// A pointer to the packet at `O` in the program's context, where it stands as 32 bits. Loaded by an instruction written
/// out: the compiler, which takes it for a number, would widen it anew when it copies it, and what was widened is no
/// pointer to the verifier. Not once and for all, since helpers move the packet.
///
/// # Safety
/// `ctx` is the program's context, and `O` its `data` or `data_end`.
#[inline(always)]
pub unsafe fn pointer_at<const O: usize>(ctx: *mut core::ffi::c_void) -> usize {
    let pointer: usize;
    // SAFETY: by contract; the instruction reads the word and nothing else.
    unsafe {
        asm!(
            "{pointer} = *(u32 *)({ctx} + {offset})",
            pointer = out(reg) pointer,
            ctx = in(reg) ctx,
            offset = const O,
            options(readonly, nostack, preserves_flags)
        );
    }
    pointer
}

/// How far `b` is behind `a`, bytes, within a packet. The compiler must not take the two apart: half a pointer is none
/// to the verifier.
#[inline(always)]
pub fn distance(a: usize, b: usize) -> u32 {
    opaque(b.wrapping_sub(a)) as u32
}

/// A byte at `p + O`.
///
/// # Safety
/// It was checked to lie within the packet.
#[inline(always)]
pub unsafe fn u8_at<const O: usize>(p: usize) -> u8 {
    // SAFETY: by contract.
    unsafe { *((p + O) as *const u8) }
}

/// A 16-bit word at `p + O`, in network order.
///
/// # Safety
/// It was checked to lie within the packet, at an even offset.
#[inline(always)]
pub unsafe fn u16_at<const O: usize>(p: usize) -> u16 {
    // SAFETY: by contract.
    unsafe { *((p + O) as *const u16) }
}

/// A 32-bit word at `p + O`, in network order.
///
/// # Safety
/// It was checked to lie within the packet.
#[inline(always)]
pub unsafe fn u32_at<const O: usize>(p: usize) -> u32 {
    let value: u64;
    // SAFETY: by contract; the instruction reads the word and nothing else.
    unsafe {
        asm!(
            "{value} = *(u32 *)({p} + {offset})",
            value = out(reg) value,
            p = in(reg) p,
            offset = const O,
            options(pure, readonly, nostack, preserves_flags)
        );
    }
    value as u32
}

/// Writes a byte at `p + O`.
///
/// # Safety
/// As for [`u8_at`].
#[inline(always)]
pub unsafe fn set_u8<const O: usize>(p: usize, value: u8) {
    // SAFETY: by contract.
    unsafe { *((p + O) as *mut u8) = value };
}

/// Writes a 16-bit word, in network order, at `p + O`.
///
/// # Safety
/// As for [`u16_at`].
#[inline(always)]
pub unsafe fn set_u16<const O: usize>(p: usize, value: u16) {
    // SAFETY: by contract.
    unsafe { *((p + O) as *mut u16) = value };
}

/// Writes a 32-bit word, in network order, at `p + O`.
///
/// # Safety
/// As for [`u32_at`].
#[inline(always)]
pub unsafe fn set_u32<const O: usize>(p: usize, value: u32) {
    // SAFETY: by contract; the instruction writes the word and nothing else.
    unsafe {
        asm!(
            "*(u32 *)({p} + {offset}) = {value}",
            value = in(reg) u64::from(value),
            p = in(reg) p,
            offset = const O,
            options(nostack, preserves_flags)
        );
    }
}

/// Writes a MAC address at `p + O`, given as its first four bytes and its last two.
///
/// # Safety
/// As for [`u32_at`]; `O4` is `O + 4`.
#[inline(always)]
pub unsafe fn set_mac<const O: usize, const O4: usize>(p: usize, (low, high): (u32, u16)) {
    // SAFETY: by contract.
    unsafe {
        set_u32::<O>(p, low);
        set_u16::<O4>(p, high);
    }
}

/// Offsets within headers, bytes.
pub mod at {
    /// Length of an Ethernet header.
    pub const ETHERNET: usize = 14;
    /// Ethernet: source address.
    pub const ETH_SRC: usize = 6;
    /// Ethernet: type.
    pub const ETH_TYPE: usize = 12;
    /// Length of an IPv4 header without options.
    pub const IPV4: usize = 20;
    /// IPv4: total length.
    pub const IP_LEN: usize = 2;
    /// IPv4: flags and fragment offset.
    pub const IP_FRAG: usize = 6;
    /// IPv4: time to live.
    pub const IP_TTL: usize = 8;
    /// IPv4: protocol.
    pub const IP_PROTO: usize = 9;
    /// IPv4: header checksum.
    pub const IP_CHECK: usize = 10;
    /// IPv4: source address.
    pub const IP_SRC: usize = 12;
    /// IPv4: destination address.
    pub const IP_DST: usize = 16;
    /// IPv4: identification.
    pub const IP_ID: usize = 4;
    /// Length of an IPv6 header without extensions.
    pub const IPV6: usize = 40;
    /// IPv6: length of what follows the header.
    pub const IP6_LEN: usize = 4;
    /// IPv6: what follows.
    pub const IP6_NEXT: usize = 6;
    /// IPv6: hop limit.
    pub const IP6_HOPS: usize = 7;
    /// IPv6: source address.
    pub const IP6_SRC: usize = 8;
    /// IPv6: destination address.
    pub const IP6_DST: usize = 24;
    /// Length of a TCP header without options.
    pub const TCP: usize = 20;
    /// Length of a UDP header, and of an ICMP one.
    pub const UDP: usize = 8;
    /// TCP and UDP: source port.
    pub const SPORT: usize = 0;
    /// TCP and UDP: destination port.
    pub const DPORT: usize = 2;
    /// TCP: sequence number.
    pub const TCP_SEQ: usize = 4;
    /// TCP: acknowledgment number.
    pub const TCP_ACK: usize = 8;
    /// TCP: data offset.
    pub const TCP_OFFSET: usize = 12;
    /// TCP: flags.
    pub const TCP_FLAGS: usize = 13;
    /// TCP: window.
    pub const TCP_WINDOW: usize = 14;
    /// TCP: checksum.
    pub const TCP_CHECK: usize = 16;
    /// UDP: checksum.
    pub const UDP_CHECK: usize = 6;
    /// ICMP: checksum.
    pub const ICMP_CHECK: usize = 2;
}

/// An IPv6 address at `p + O`, in network order.
///
/// # Safety
/// It was checked to lie within the packet.
#[inline(always)]
pub unsafe fn v6_at<const O: usize, const O4: usize, const O8: usize, const O12: usize>(
    p: usize,
) -> V6 {
    // SAFETY: by contract.
    unsafe {
        [
            u32_at::<O>(p),
            u32_at::<O4>(p),
            u32_at::<O8>(p),
            u32_at::<O12>(p),
        ]
    }
}

/// Writes an IPv6 address at `p`.
///
/// # Safety
/// It was checked to lie within the packet.
#[inline(always)]
pub unsafe fn set_v6(p: usize, address: V6) {
    // SAFETY: by contract.
    unsafe {
        set_u32::<0>(p, address[0]);
        set_u32::<4>(p, address[1]);
        set_u32::<8>(p, address[2]);
        set_u32::<12>(p, address[3]);
    }
}
