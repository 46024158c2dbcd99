//! The size of memory's pages.

/// linux/prctl.h; the libc crate has it not everywhere.
const PR_SET_THP_DISABLE: libc::c_int = 41;

/// Keeps this process from huge pages, which the allocator asks for.
///
/// Most buffers of a connection that waits are touched at their beginning alone; in a huge page all of them is resident,
/// which doubles what an idle connection takes. Nothing here gets slower without.
pub(super) fn keep_small() {
    const ZERO: libc::c_ulong = 0;
    // SAFETY: the call changes a flag of this process; it takes no pointer. Kernels that do not know it refuse, and then
    // all is as it was.
    unsafe { libc::prctl(PR_SET_THP_DISABLE, ZERO + 1, ZERO, ZERO, ZERO) };
}
