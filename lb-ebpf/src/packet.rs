//! Access to the bytes of a packet whose bounds were checked.
//!
//! Ethernet's 14 bytes leave every later header at an address that is even but not a multiple of 4. 16-bit words are
//! read and written as they are; 32-bit ones by an instruction written out, since the compiler would make four byte
//! loads of them. A kernel without efficient unaligned access refuses the program (x86-64 and arm64 have it).

use core::arch::asm;

use crate::split::Split;

/// Where the program runs: XDP now, TC beside it.
pub trait Hook: Split {
    /// Address of the first byte.
    fn data(&self) -> usize;
    /// Address after the last byte.
    fn data_end(&self) -> usize;
    /// Interface that received the packet.
    fn ifindex(&self) -> u32;
    /// What helpers take as their context.
    fn raw(&self) -> *mut core::ffi::c_void;
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
    /// Length of a TCP header without options.
    pub const TCP: usize = 20;
    /// TCP and UDP: source port.
    pub const SPORT: usize = 0;
    /// TCP and UDP: destination port.
    pub const DPORT: usize = 2;
    /// TCP: data offset.
    pub const TCP_OFFSET: usize = 12;
    /// TCP: flags.
    pub const TCP_FLAGS: usize = 13;
    /// TCP: checksum.
    pub const TCP_CHECK: usize = 16;
}
