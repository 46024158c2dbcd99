//! What the agent must know of a kernel object before it trusts its maps.

use crate::layout;

/// Version of every layout in this crate. Raised whenever a map's key, value or meaning changes; part of the pin
/// path, so that two versions never share a map.
pub const VERSION: u32 = 1;

/// Length of one tick of the coarse clock that flows are aged by, in milliseconds. A `u32` of ticks lasts 13 years.
pub const TICK_MS: u32 = 100;

/// The settings that the kernel program reads: one entry of an array.
///
/// The agent is the only writer. Fields are words written whole, so a reader sees an old or a new one, never half.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Settings {
    /// [`VERSION`] of whoever made the maps.
    pub abi: u32,
    /// Bits of [`Settings::SETTLING`] and its siblings.
    pub flags: u32,
    /// New flows are refused once this many exist: 95 % of the table's size.
    pub admit_below: u32,
    /// First port that source NAT may use, host order.
    pub snat_first: u16,
    /// How many ports from there on.
    pub snat_count: u16,
}

impl Settings {
    /// A segment of no known flow is dropped and counted rather than passed up: maps are being migrated, or an
    /// address has just moved here. TCP retransmits; the RST that the host would send is final.
    pub const SETTLING: u32 = 1;
    /// No new flows: the agent is stopping, known ones go on.
    pub const DRAINING: u32 = 2;
}
layout!(Settings, size = 16, fields = u32, u32, u32, u16, u16);

/// The coarse clock: one entry of an array, in ticks of [`TICK_MS`]. It counts the time that an agent was alive and
/// resumes from its pinned value, so that with the agent dead nothing idles out.
pub type Tick = u32;

/// Keys that one run of the reaper looks at, at most: what fits the largest packet that the kernel's test run takes
/// (`bpf_prog_test_run_xdp`: a page less headroom and `skb_shared_info`), and a power of two.
pub const REAP_BATCH: usize = 128;

/// Bytes before the first key: the test run wants an Ethernet header. Two more align the keys.
pub const REAP_HEADER: usize = 16;

/// Bytes of a chunk of the registry: the agent's own record of which name has which index, kept with the maps so that
/// the next agent reads them as this one wrote them. The kernel program does not look at it.
pub const REGISTRY_CHUNK: usize = 4096;

/// One chunk of the registry.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct RegistryChunk(pub [u8; REGISTRY_CHUNK]);
layout!(RegistryChunk, size = 4096, fields = [u8; REGISTRY_CHUNK]);
