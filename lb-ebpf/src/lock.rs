//! The two ways to change what several CPUs share.

use core::intrinsics::{AtomicOrdering, atomic_xadd};

use aya_ebpf::helpers::generated::{bpf_spin_lock, bpf_spin_unlock};
use lb_common::flow::bpf_spin_lock as SpinLock;

/// Runs `f` under the lock of a map value. `f` must not call a helper or a function that is not inlined: the verifier
/// refuses both.
///
/// # Safety
/// `lock` points to the lock of a live map value.
#[inline(always)]
pub unsafe fn with<T>(lock: *mut SpinLock, f: impl FnOnce() -> T) -> T {
    // SAFETY: by contract; the kernel's struct is the same single word.
    unsafe { bpf_spin_lock(lock.cast()) };
    let result = f();
    // SAFETY: taken above.
    unsafe { bpf_spin_unlock(lock.cast()) };
    result
}

/// Adds to a word that several CPUs change. Without its result, since 5.10 has no other atomic.
///
/// # Safety
/// `word` points into a live map value and is aligned.
#[inline(always)]
pub unsafe fn add32(word: *mut u32, n: u32) {
    // SAFETY: by contract.
    unsafe { atomic_xadd::<u32, u32, { AtomicOrdering::Relaxed }>(word, n) };
}

/// As [`add32`] for 64 bits.
///
/// # Safety
/// `word` points into a live map value and is aligned.
#[inline(always)]
pub unsafe fn add64(word: *mut u64, n: u64) {
    // SAFETY: by contract.
    unsafe { atomic_xadd::<u64, u64, { AtomicOrdering::Relaxed }>(word, n) };
}
