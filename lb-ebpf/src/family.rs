//! What differs between IPv4 and IPv6 for the steps up to the Plan.

use core::ffi::c_void;

use aya_ebpf::{
    bindings::{bpf_sock, bpf_sock_tuple__bindgen_ty_1__bindgen_ty_1},
    helpers::{bpf_sk_release, bpf_skc_lookup_tcp},
};
use lb_common::{
    flow::{Flow, FlowKey, V4},
    hash,
    service::{Service, ServiceKey},
};

use crate::maps;

/// An address family: implemented by the type of its addresses as they lie in the packet.
pub trait Family: Copy + PartialEq + 'static {
    /// The entry of `key` in the flow table.
    fn flow(key: &FlowKey<Self>) -> Option<*mut Flow<Self>>;
    /// Inserts a flow that must not exist yet. The error is the kernel's, `-EEXIST` or `-E2BIG`.
    fn insert(key: &FlowKey<Self>, flow: &Flow<Self>) -> Result<(), i32>;
    /// Removes a flow; whether it was there.
    fn remove(key: &FlowKey<Self>) -> bool;
    /// The service at `key`.
    fn service(key: &ServiceKey<Self>) -> Option<*const Service>;
    /// Whether `key` is a server that source NAT talks to.
    fn is_real(key: &ServiceKey<Self>) -> bool;
    /// Hash of a client's address.
    fn source_hash(self) -> u32;
    /// Hash of a client's address and port (network order).
    fn endpoint_hash(self, port: u16) -> u32;
    /// Whether this host has a socket for the tuple, other than a listener or one that waits out its last packets: a
    /// connection that userspace owns.
    ///
    /// # Safety
    /// `ctx` is the program's context.
    unsafe fn has_socket(key: &FlowKey<Self>, ctx: *mut c_void) -> bool;
    /// The address as it stands in [`lb_common::service::Server::addr`].
    fn from_words(words: &[u32; 4]) -> Self;
    /// The inverse of [`Family::from_words`].
    fn words(self) -> [u32; 4];
}

/// `BPF_F_CURRENT_NETNS`: the network namespace of the device.
const CURRENT_NETNS: u64 = -1i32 as u32 as u64;
/// Socket states (`include/net/tcp_states.h`).
const TCP_TIME_WAIT: u32 = 6;
const TCP_LISTEN: u32 = 10;
const NOEXIST: u64 = aya_ebpf::bindings::BPF_NOEXIST as u64;

impl Family for V4 {
    #[inline(always)]
    fn flow(key: &FlowKey<V4>) -> Option<*mut Flow<V4>> {
        maps::FLOWS4.get_ptr_mut(key)
    }

    #[inline(always)]
    fn insert(key: &FlowKey<V4>, flow: &Flow<V4>) -> Result<(), i32> {
        maps::FLOWS4.insert(key, flow, NOEXIST)
    }

    #[inline(always)]
    fn remove(key: &FlowKey<V4>) -> bool {
        maps::FLOWS4.remove(key).is_ok()
    }

    #[inline(always)]
    fn service(key: &ServiceKey<V4>) -> Option<*const Service> {
        maps::SERVICES4.get_ptr(key)
    }

    #[inline(always)]
    fn is_real(key: &ServiceKey<V4>) -> bool {
        maps::REALS4.get_ptr(key).is_some()
    }

    #[inline(always)]
    fn source_hash(self) -> u32 {
        hash::source_v4(u32::from_be(self))
    }

    #[inline(always)]
    fn endpoint_hash(self, port: u16) -> u32 {
        hash::endpoint_v4(u32::from_be(self), u16::from_be(port))
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
        // SAFETY: the helper reads `size` bytes; the reference it returns is released below.
        let socket =
            unsafe { bpf_skc_lookup_tcp(ctx, (&raw mut tuple).cast(), size, CURRENT_NETNS, 0) };
        if socket.is_null() {
            return false;
        }
        // SAFETY: not null, referenced until the release.
        let state = unsafe { (*socket.cast::<bpf_sock>()).state };
        // SAFETY: returned by the look-up above.
        unsafe { bpf_sk_release(socket.cast()) };
        state != TCP_LISTEN && state != TCP_TIME_WAIT
    }

    #[inline(always)]
    fn from_words(words: &[u32; 4]) -> Self {
        words[0]
    }

    #[inline(always)]
    fn words(self) -> [u32; 4] {
        [self, 0, 0, 0]
    }
}
