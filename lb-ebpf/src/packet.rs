//! Access to the bytes of a packet whose bounds were checked.
//!
//! Headers lie at any alignment. The object is built with `allows-misaligned-mem-access`, so an unaligned read is one
//! load: right where the kernel has efficient unaligned access (x86-64, arm64), and the verifier checks elsewhere.

/// Where the program runs: XDP now, TC beside it.
pub trait Hook {
    /// Address of the first byte.
    fn data(&self) -> usize;
    /// Address after the last byte.
    fn data_end(&self) -> usize;
    /// Interface that received the packet.
    fn ifindex(&self) -> u32;
    /// What helpers take as their context.
    fn raw(&self) -> *mut core::ffi::c_void;
}

/// Reads a value at `p + offset`.
///
/// # Safety
/// The bytes were checked to lie within the packet.
#[inline(always)]
pub unsafe fn read<T: Copy>(p: usize, offset: usize) -> T {
    // SAFETY: by contract.
    unsafe { core::ptr::read_unaligned((p + offset) as *const T) }
}

/// Writes a value at `p + offset`.
///
/// # Safety
/// The bytes were checked to lie within the packet.
#[inline(always)]
pub unsafe fn write<T: Copy>(p: usize, offset: usize, value: T) {
    // SAFETY: by contract.
    unsafe { core::ptr::write_unaligned((p + offset) as *mut T, value) }
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
