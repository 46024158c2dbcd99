//! What `cargo xtask bench l4` tells its wrapper program, which runs before each round of the program it measures.
//!
//! `repeat` in `BPF_PROG_TEST_RUN` does not restore the packet: without the wrapper a program that rewrites or
//! encapsulates would see its own output from the second round on, and the figure be that of another path.

use crate::layout;

/// Bytes of every frame that is measured: an Ethernet frame, an IP packet that fills it.
pub const FRAME: usize = 96;

/// Words of eight bytes at its head that are restored before each round. More than the headers of IPv6 and TCP.
pub const HEAD: usize = 10;

/// What the wrapper does before each round: one entry of an array.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Run {
    /// Head of the frame, as it lies there.
    pub head: [u64; HEAD],
    /// First of the tuples that are written into it in turn.
    pub first: u32,
    /// How many there are; 0 makes a source address and port of its own for each round.
    pub count: u32,
    /// 4 or 6: where in the frame a tuple lies.
    pub family: u32,
    /// Spare, zero.
    pub spare: u32,
}
layout!(Run, size = 96, fields = [u64; HEAD], u32, u32, u32, u32);

/// What differs from one flow's packets to another's, in network order; of IPv6 addresses the last word.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tuple {
    /// Source address.
    pub src: u32,
    /// Destination address.
    pub dst: u32,
    /// Source port.
    pub sport: u16,
    /// Destination port.
    pub dport: u16,
    /// Spare, zero.
    pub spare: u32,
}
layout!(Tuple, size = 16, fields = u32, u32, u16, u16, u32);
