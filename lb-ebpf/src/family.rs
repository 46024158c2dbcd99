//! What differs between IPv4 and IPv6 for the steps up to the Plan.

use core::ffi::c_void;

use aya_ebpf::{
    bindings::{
        bpf_sock, bpf_sock_tuple__bindgen_ty_1__bindgen_ty_1,
        bpf_sock_tuple__bindgen_ty_1__bindgen_ty_2,
    },
    btf_maps::lpm_trie::Key,
    helpers::{bpf_fib_lookup, bpf_sk_lookup_udp, bpf_sk_release, bpf_skc_lookup_tcp},
};
use lb_common::{
    abi::Settings,
    checksum,
    flow::{Closed, Flow, FlowKey, FragmentKey, FragmentPorts, HalfSet, V4, V6},
    hash,
    service::{Service, ServiceKey},
};

use crate::{
    maps,
    packet::Hook,
    parse::{self, L2},
    plan::{Packet, Parsed, Stop, proto},
    rewrite, split,
    work::Work,
};

/// An address family: implemented by the type of its addresses as they lie in the packet.
pub trait Family: Copy + PartialEq + Default + 'static {
    /// 4 or 6.
    const VERSION: u8;
    /// Length of an IP header without options or extensions.
    const HEADER: usize;
    /// Its EtherType, as it lies in the frame.
    const ETHER_TYPE: u16;
    /// Protocol number of an IP header of this family in another.
    const ENCAPSULATED: u8;
    /// Bit of [`Settings::flags`]: there are denied prefixes.
    const DENY: u32;
    /// Index of its count of flows.
    const COUNT: u32;

    /// Parses a packet; `FULL` with all that the quick way leaves to the other.
    fn parse<const FULL: bool>(hook: &impl Hook, l2: &L2) -> Result<Parsed<Self>, Stop>;

    /// The entry of `key` in the flow table.
    fn flow(key: &FlowKey<Self>) -> Option<*mut Flow<Self>>;
    /// Inserts a flow that must not exist yet. The error is the kernel's, `-EEXIST` or `-E2BIG`.
    ///
    /// # Safety
    /// `flow` points to a whole flow.
    unsafe fn insert(key: &FlowKey<Self>, flow: *const Flow<Self>) -> Result<(), i32>;
    /// Removes a flow; whether it was there.
    fn remove(key: &FlowKey<Self>) -> bool;
    /// The set of half-open flows that `key` stands in, if it stands in one, and its tag there.
    fn half_set(key: &FlowKey<Self>, settings: &Settings) -> Option<(*mut HalfSet<Self>, u32)>;
    /// Set `index` of half-open flows.
    fn half_set_at(index: u32) -> Option<*mut HalfSet<Self>>;
    /// This CPU's room beside the stack, one of [`crate::work::room`].
    fn work(room: u32) -> Option<*mut Work<Self>>;
    /// [`crate::half::end`], as a global function.
    fn end(room: u32);
    /// [`crate::claim::take`], or [`crate::claim::take_over`] if `over`, as a global function.
    fn take(port: u16, over: bool) -> bool;
    /// Puts a flow on the queue of closed ones; there may be no room.
    fn push_closed(closed: &Closed<Self>);
    /// The flow that closed first.
    fn peek_closed() -> Option<Closed<Self>>;
    /// Takes it off the queue.
    fn pop_closed() -> Option<Closed<Self>>;
    /// The ports of a fragmented datagram.
    fn fragment(key: &FragmentKey<Self>) -> Option<FragmentPorts>;
    /// Remembers them.
    fn remember_fragment(key: &FragmentKey<Self>, ports: FragmentPorts);
    /// The service at `key`.
    fn service(key: &ServiceKey<Self>) -> Option<*const Service>;
    /// Whether `key` is a server that source NAT talks to.
    fn is_real(key: &ServiceKey<Self>) -> bool;
    /// Whether the address lies in a denied prefix.
    fn is_denied(self) -> bool;
    /// Whether it is an address that no packet comes from: the host's stack would discard it.
    fn is_martian(self) -> bool;
    /// Hash of a client's address.
    fn source_hash(self) -> u32;
    /// Hash of a client's address and port (network order).
    fn endpoint_hash(self, port: u16) -> u32;
    /// Secret hash of whoever counts as one source: an IPv4 address, an IPv6 /64.
    fn bucket_hash(self, seed: u64) -> u32;
    /// Whether this host has a socket for the tuple, other than a listener or one that waits out its last packets: a
    /// connection that userspace owns. For UDP a connected one.
    ///
    /// # Safety
    /// `ctx` is the program's context.
    unsafe fn has_socket(key: &FlowKey<Self>, ctx: *mut c_void) -> bool;
    /// Whether the packet ends at this host, as its routes say: by an address of its own, or because it forwards none.
    ///
    /// # Safety
    /// `ctx` is the program's context.
    unsafe fn is_local(packet: &Packet<'_, Self>, ctx: *mut c_void) -> bool;
    /// The address as it stands in [`lb_common::service::Server::addr`].
    fn from_words(words: &[u32; 4]) -> Self;
    /// The inverse of [`Family::from_words`].
    fn words(self) -> [u32; 4];
    /// What replacing `self` by `new` makes of a checksum.
    fn delta(self, new: Self) -> u32;
    /// Writes addresses into an IP header and lowers its time to live, header checksum included.
    ///
    /// # Safety
    /// As for [`rewrite::translate`].
    unsafe fn write(packet: &Packet<'_, Self>, src: Self, dst: Self);
    /// Lowers the time to live.
    ///
    /// # Safety
    /// As for [`rewrite::translate`].
    unsafe fn lower_ttl(packet: &Packet<'_, Self>);
}

/// `BPF_F_CURRENT_NETNS`: the network namespace of the device.
const CURRENT_NETNS: u64 = -1i32 as u32 as u64;
/// Socket states (`include/net/tcp_states.h`). A UDP socket is "established" once it is connected.
const TCP_ESTABLISHED: u32 = 1;
const TCP_TIME_WAIT: u32 = 6;
const TCP_LISTEN: u32 = 10;
const NOEXIST: u64 = aya_ebpf::bindings::BPF_NOEXIST as u64;

/// Looks a tuple up among this host's sockets; see [`Family::has_socket`].
///
/// # Safety
/// `ctx` is the program's context, `tuple` has `size` bytes.
#[inline(always)]
unsafe fn owned(ctx: *mut c_void, tuple: *mut c_void, size: u32, tcp: bool) -> bool {
    // SAFETY: the helpers read `size` bytes; the reference they return is released below.
    let socket = unsafe {
        if tcp {
            bpf_skc_lookup_tcp(ctx, tuple.cast(), size, CURRENT_NETNS, 0)
        } else {
            bpf_sk_lookup_udp(ctx, tuple.cast(), size, CURRENT_NETNS, 0)
        }
    };
    if socket.is_null() {
        return false;
    }
    // SAFETY: not null, referenced until the release.
    let state = unsafe { (*socket.cast::<bpf_sock>()).state };
    // SAFETY: returned by the look-up above.
    unsafe { bpf_sk_release(socket.cast()) };
    if tcp {
        state != TCP_LISTEN && state != TCP_TIME_WAIT
    } else {
        state == TCP_ESTABLISHED
    }
}

/// `struct bpf_fib_lookup` (`include/uapi/linux/bpf.h`) as words: family; lengths; interface; type of service; source and
/// destination, four words each; what comes back.
type FibLookup = [u32; 16];
const FIB_SRC: usize = 4;
const FIB_DST: usize = 8;
/// The route is none that leads out: the address is the host's own (or everybody's).
const FIB_NOT_FORWARDED: i64 = 4;
/// The interface forwards nothing.
const FIB_FORWARDING_DISABLED: i64 = 5;

/// Asks the host's routes; see [`Family::is_local`]. An interface without forwarding is not believed of tagged packets,
/// which are not for it but for one above it.
///
/// # Safety
/// `ctx` is the program's context.
#[inline(always)]
unsafe fn ends_here(ctx: *mut c_void, fib: &mut FibLookup, tagged: bool) -> bool {
    // SAFETY: the helper reads and writes the size that it is given.
    let found = unsafe {
        bpf_fib_lookup(
            ctx,
            (&raw mut *fib).cast(),
            size_of::<FibLookup>() as i32,
            0,
        )
    } as i64;
    found == FIB_NOT_FORWARDED || (found == FIB_FORWARDING_DISABLED && !tagged)
}

/// The two ports as one word.
#[inline(always)]
fn ports<A>(key: &FlowKey<A>) -> u32 {
    u32::from(key.sport) | u32::from(key.dport) << 16
}

/// The methods that differ in nothing but their map.
macro_rules! tables {
    ($flows:ident, $half:ident, $work:ident, $closed:ident, $fragments:ident, $services:ident, $reals:ident, $deny:ident) => {
        #[inline(always)]
        fn flow(key: &FlowKey<Self>) -> Option<*mut Flow<Self>> {
            maps::$flows.get_ptr_mut(key)
        }

        #[inline(always)]
        unsafe fn insert(key: &FlowKey<Self>, flow: *const Flow<Self>) -> Result<(), i32> {
            // SAFETY: by contract.
            maps::$flows.insert(key, unsafe { &*flow }, NOEXIST)
        }

        #[inline(always)]
        fn remove(key: &FlowKey<Self>) -> bool {
            maps::$flows.remove(key).is_ok()
        }

        #[inline(always)]
        fn half_set_at(index: u32) -> Option<*mut HalfSet<Self>> {
            maps::$half.get_ptr_mut(index)
        }

        #[inline(always)]
        fn work(room: u32) -> Option<*mut Work<Self>> {
            maps::$work.get_ptr_mut(room)
        }

        #[inline(always)]
        fn push_closed(closed: &Closed<Self>) {
            // A full queue leaves the flow to the agent's sweep.
            let _ = maps::$closed.push(closed, 0);
        }

        #[inline(always)]
        fn peek_closed() -> Option<Closed<Self>> {
            maps::$closed.peek().ok().flatten()
        }

        #[inline(always)]
        fn pop_closed() -> Option<Closed<Self>> {
            maps::$closed.pop().ok().flatten()
        }

        #[inline(always)]
        fn fragment(key: &FragmentKey<Self>) -> Option<FragmentPorts> {
            // SAFETY: a live map value, copied at once.
            maps::$fragments.get_ptr(key).map(|ports| unsafe { *ports })
        }

        #[inline(always)]
        fn remember_fragment(key: &FragmentKey<Self>, ports: FragmentPorts) {
            // Without room later fragments go up, and the host discards them.
            let _ = maps::$fragments.insert(key, ports, 0);
        }

        #[inline(always)]
        fn service(key: &ServiceKey<Self>) -> Option<*const Service> {
            maps::$services.get_ptr(key)
        }

        #[inline(always)]
        fn is_real(key: &ServiceKey<Self>) -> bool {
            maps::$reals.get_ptr(key).is_some()
        }

        #[inline(always)]
        fn is_denied(self) -> bool {
            maps::$deny
                .get(&Key::new(8 * size_of::<Self>() as u32, self))
                .is_some()
        }
    };
}

impl Family for V4 {
    const VERSION: u8 = 4;
    const HEADER: usize = 20;
    const ETHER_TYPE: u16 = 0x0800u16.to_be();
    const ENCAPSULATED: u8 = proto::IPV4;
    const DENY: u32 = Settings::DENY4;
    const COUNT: u32 = 0;

    tables!(
        FLOWS4, HALF4, WORK4, CLOSED4, FRAGMENTS4, SERVICES4, REALS4, DENY4
    );

    #[inline(always)]
    fn parse<const FULL: bool>(hook: &impl Hook, l2: &L2) -> Result<Parsed<V4>, Stop> {
        parse::ipv4::<FULL>(hook, l2)
    }

    #[inline(always)]
    fn half_set(key: &FlowKey<V4>, settings: &Settings) -> Option<(*mut HalfSet<V4>, u32)> {
        let hash = hash::set_v4(settings.seed, key.src, key.dst, ports(key));
        Some((Self::half_set_at(hash & settings.half_mask4)?, hash | 1))
    }

    #[inline(always)]
    fn end(room: u32) {
        split::lb_end4(room);
    }

    #[inline(always)]
    fn take(port: u16, over: bool) -> bool {
        let taken = if over {
            split::lb_take_over4(port.into())
        } else {
            split::lb_take4(port.into())
        };
        taken != 0
    }

    /// `ip_route_input_slow`: "this network", loopback, multicast and what lies above (RFC 6890).
    #[inline(always)]
    fn is_martian(self) -> bool {
        let first = u32::from_be(self) >> 24;
        first == 0 || first == 127 || first >= 224
    }

    #[inline(always)]
    fn source_hash(self) -> u32 {
        hash::source_v4(u32::from_be(self))
    }

    #[inline(always)]
    fn endpoint_hash(self, port: u16) -> u32 {
        hash::endpoint_v4(u32::from_be(self), u16::from_be(port))
    }

    #[inline(always)]
    fn bucket_hash(self, seed: u64) -> u32 {
        hash::set_v4(seed, self, 0, 0)
    }

    #[inline(never)]
    unsafe fn has_socket(key: &FlowKey<V4>, ctx: *mut c_void) -> bool {
        let mut tuple = bpf_sock_tuple__bindgen_ty_1__bindgen_ty_1 {
            saddr: key.src,
            daddr: key.dst,
            sport: key.sport,
            dport: key.dport,
        };
        let size = size_of_val(&tuple) as u32;
        // SAFETY: by contract.
        unsafe {
            let tcp = key.proto == u32::from(proto::TCP);
            owned(ctx, (&raw mut tuple).cast(), size, tcp)
        }
    }

    #[inline(never)]
    unsafe fn is_local(packet: &Packet<'_, V4>, ctx: *mut c_void) -> bool {
        const AF_INET: u32 = 2;
        let mut fib: FibLookup = [0; 16];
        fib[0] = AF_INET;
        fib[2] = packet.ifindex;
        fib[FIB_SRC] = packet.key.src;
        fib[FIB_DST] = packet.key.dst;
        // SAFETY: by contract.
        unsafe { ends_here(ctx, &mut fib, packet.tags[0] != 0) }
    }

    #[inline(always)]
    fn from_words(words: &[u32; 4]) -> Self {
        words[0]
    }

    #[inline(always)]
    fn words(self) -> [u32; 4] {
        [self, 0, 0, 0]
    }

    #[inline(always)]
    fn delta(self, new: Self) -> u32 {
        checksum::delta32(self, new)
    }

    #[inline(always)]
    unsafe fn write(packet: &Packet<'_, V4>, src: V4, dst: V4) {
        // SAFETY: by contract.
        unsafe { rewrite::ipv4(packet, src, dst) };
    }

    #[inline(always)]
    unsafe fn lower_ttl(packet: &Packet<'_, V4>) {
        // SAFETY: by contract.
        unsafe { rewrite::lower_ttl(packet, 0) };
    }
}

impl Family for V6 {
    const VERSION: u8 = 6;
    const HEADER: usize = 40;
    const ETHER_TYPE: u16 = 0x86ddu16.to_be();
    const ENCAPSULATED: u8 = proto::IPV6;
    const DENY: u32 = Settings::DENY6;
    const COUNT: u32 = 1;

    tables!(
        FLOWS6, HALF6, WORK6, CLOSED6, FRAGMENTS6, SERVICES6, REALS6, DENY6
    );

    #[inline(always)]
    fn parse<const FULL: bool>(hook: &impl Hook, l2: &L2) -> Result<Parsed<V6>, Stop> {
        parse::ipv6::<FULL>(hook, l2)
    }

    #[inline(always)]
    fn half_set(key: &FlowKey<V6>, settings: &Settings) -> Option<(*mut HalfSet<V6>, u32)> {
        let hash = hash::set_v6(settings.seed, key.src, key.dst, ports(key));
        Some((Self::half_set_at(hash & settings.half_mask6)?, hash | 1))
    }

    #[inline(always)]
    fn end(room: u32) {
        split::lb_end6(room);
    }

    #[inline(always)]
    fn take(port: u16, over: bool) -> bool {
        let taken = if over {
            split::lb_take_over6(port.into())
        } else {
            split::lb_take6(port.into())
        };
        taken != 0
    }

    /// Multicast, and all of which the first half is zero: unspecified, loopback, mapped IPv4 (RFC 6890).
    #[inline(always)]
    fn is_martian(self) -> bool {
        u32::from_be(self[0]) >> 24 == 0xff || (self[0] | self[1]) == 0
    }

    #[inline(always)]
    fn source_hash(self) -> u32 {
        let (high, low) = halves(self);
        hash::source_v6(high, low)
    }

    #[inline(always)]
    fn endpoint_hash(self, port: u16) -> u32 {
        let (high, low) = halves(self);
        hash::endpoint_v6(high, low, u16::from_be(port))
    }

    #[inline(always)]
    fn bucket_hash(self, seed: u64) -> u32 {
        hash::set_v4(seed, self[0], self[1], 1)
    }

    #[inline(never)]
    unsafe fn has_socket(key: &FlowKey<V6>, ctx: *mut c_void) -> bool {
        let mut tuple = bpf_sock_tuple__bindgen_ty_1__bindgen_ty_2 {
            saddr: key.src,
            daddr: key.dst,
            sport: key.sport,
            dport: key.dport,
        };
        let size = size_of_val(&tuple) as u32;
        // SAFETY: by contract.
        unsafe {
            let tcp = key.proto == u32::from(proto::TCP);
            owned(ctx, (&raw mut tuple).cast(), size, tcp)
        }
    }

    #[inline(never)]
    unsafe fn is_local(packet: &Packet<'_, V6>, ctx: *mut c_void) -> bool {
        const AF_INET6: u32 = 10;
        let mut fib: FibLookup = [0; 16];
        fib[0] = AF_INET6;
        fib[2] = packet.ifindex;
        for i in 0..4 {
            fib[FIB_SRC + i] = packet.key.src[i];
            fib[FIB_DST + i] = packet.key.dst[i];
        }
        // SAFETY: by contract.
        unsafe { ends_here(ctx, &mut fib, packet.tags[0] != 0) }
    }

    #[inline(always)]
    fn from_words(words: &[u32; 4]) -> Self {
        *words
    }

    #[inline(always)]
    fn words(self) -> [u32; 4] {
        self
    }

    #[inline(always)]
    fn delta(self, new: Self) -> u32 {
        checksum::delta128(self, new)
    }

    #[inline(always)]
    unsafe fn write(packet: &Packet<'_, V6>, src: V6, dst: V6) {
        // SAFETY: by contract.
        unsafe { rewrite::ipv6(packet, src, dst) };
    }

    #[inline(always)]
    unsafe fn lower_ttl(packet: &Packet<'_, V6>) {
        // SAFETY: by contract.
        unsafe { rewrite::lower_hop_limit(packet) };
    }
}

/// An IPv6 address as two host words of its bytes read in network order.
#[inline(always)]
fn halves(address: V6) -> (u64, u64) {
    let word = |i: usize| u64::from(u32::from_be(address[i]));
    (word(0) << 32 | word(1), word(2) << 32 | word(3))
}
