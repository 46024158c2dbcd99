//! What the agent must know of a kernel object before it trusts its maps.

use crate::layout;

/// Version of every layout in this crate. Raised whenever a map's key, value or meaning changes; part of the pin
/// path, so that two versions never share a map.
pub const VERSION: u32 = 2;

/// Length of one tick of the coarse clock that flows are aged by, in milliseconds. A `u32` of ticks lasts 13 years.
pub const TICK_MS: u32 = 100;

/// The settings that the kernel program reads: one entry of an array.
///
/// The agent is the only writer. Fields are words written whole, so a reader sees an old or a new one, never half.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Settings {
    /// Secret of the hashes that place half-open flows and sources in their tables: whoever does not know it cannot
    /// aim at another's place. Fixed when the maps are made.
    pub seed: u64,
    /// [`VERSION`] of whoever made the maps.
    pub abi: u32,
    /// Bits of [`Settings::SETTLING`] and its siblings.
    pub flags: u32,
    /// New flows of a family (IPv4, IPv6) are refused once its table holds this many: 95 % of its size.
    pub admit_below: [u32; 2],
    /// Sets of half-open IPv4 flows less one: a power of two less one. Likewise fixed.
    pub half_mask4: u32,
    /// Likewise for IPv6.
    pub half_mask6: u32,
    /// Token buckets of sources less one: a power of two less one. Likewise fixed.
    pub bucket_mask: u32,
    /// New flows a second that one source (an IPv4 address, an IPv6 /64) may open; 0 for no limit.
    pub new_flows_per_source: u32,
    /// First port that source NAT may use, host order.
    pub snat_first: u16,
    /// How many ports from there on.
    pub snat_count: u16,
    /// Spare, zero.
    pub spare: u32,
}

impl Settings {
    /// A segment of no known flow is dropped and counted rather than passed up: maps are being migrated, or an
    /// address has just moved here. TCP retransmits; the RST that the host would send is final.
    pub const SETTLING: u32 = 1;
    /// No new flows: the agent is stopping, known ones go on.
    pub const DRAINING: u32 = 2;
    /// There are denied prefixes of IPv4: the trie is looked up.
    pub const DENY4: u32 = 4;
    /// Likewise of IPv6.
    pub const DENY6: u32 = 8;
    /// There is a [`crate::service::Service::EVERYWHERE`].
    pub const EVERYWHERE: u32 = 16;
}
layout!(
    Settings,
    size = 48,
    fields = u64,
    u32,
    u32,
    [u32; 2],
    u32,
    u32,
    u32,
    u32,
    u16,
    u16,
    u32
);

/// The coarse clock: one entry of an array, in ticks of [`TICK_MS`]. It counts the time that an agent was alive and
/// resumes from its pinned value, so that with the agent dead nothing idles out.
pub type Tick = u32;

/// What one run of the reaper is asked to do: its packet begins with this header, after which come the keys, if the
/// order has any, aligned to 8 bytes.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ReapHeader {
    /// [`reap`].
    pub order: u32,
    /// Keys that follow, or sets to look through.
    pub count: u32,
    /// First set.
    pub first: u32,
    /// Zero: a test run wants an Ethernet header's length at least.
    pub spare: u32,
}
layout!(ReapHeader, size = 16, fields = u32, u32, u32, u32);

/// Orders for the reaper. The family's bit is added to each.
pub mod reap {
    /// Remove those of the flows that are idle or closed.
    pub const IDLE: u32 = 0;
    /// Mark the flows as being reset: both ends' next segments are answered with RST.
    pub const RESET: u32 = 2;
    /// Remove the flows, whatever their state.
    pub const REMOVE: u32 = 4;
    /// Empty the half-open sets of what is too old.
    pub const HALF: u32 = 6;
    /// Bit of IPv6.
    pub const V6: u32 = 1;
}

/// Keys or sets that one run of the reaper looks at, at most; a power of two. The keys of both families fit the largest
/// packet that the kernel's test run takes (`bpf_prog_test_run_xdp`: a page less headroom and `skb_shared_info`): 128
/// of IPv4, 64 of IPv6.
pub const REAP_BATCH: usize = 128;

/// Keys of IPv6 that one run looks at, at most.
pub const REAP_BATCH6: usize = 64;

/// Bytes before the first key.
pub const REAP_HEADER: usize = size_of::<ReapHeader>();

/// Bytes of a chunk of the registry: the agent's own record of which name has which index, kept with the maps so that
/// the next agent reads them as this one wrote them. The kernel program does not look at it.
pub const REGISTRY_CHUNK: usize = 4096;

/// One chunk of the registry.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct RegistryChunk(pub [u8; REGISTRY_CHUNK]);
layout!(RegistryChunk, size = 4096, fields = [u8; REGISTRY_CHUNK]);
