//! The bpf(2) commands that aya has no safe form of for these maps and programs.

use std::{
    ffi::CString,
    io,
    os::{
        fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd},
        unix::ffi::OsStrExt,
    },
    path::Path,
};

/// `BPF_PROG_TEST_RUN` (`include/uapi/linux/bpf.h`).
const PROG_TEST_RUN: libc::c_long = 10;
/// `BPF_MAP_LOOKUP_ELEM`.
const MAP_LOOKUP_ELEM: libc::c_long = 1;
/// `BPF_F_LOCK`: under the element's spin lock.
const F_LOCK: u64 = 4;
/// `BPF_MAP_LOOKUP_BATCH`, Linux 5.6.
const MAP_LOOKUP_BATCH: libc::c_long = 24;
/// `BPF_OBJ_PIN`.
const OBJ_PIN: libc::c_long = 6;
/// `BPF_OBJ_GET`.
const OBJ_GET: libc::c_long = 7;
/// `BPF_OBJ_GET_INFO_BY_FD`.
const OBJ_GET_INFO_BY_FD: libc::c_long = 15;

/// `BPF_PROG_QUERY`.
const PROG_QUERY: libc::c_long = 16;
/// `BPF_TCX_INGRESS` (`enum bpf_attach_type`).
const TCX_INGRESS: u32 = 46;

/// A pinned XDP or TCX link.
#[derive(Debug, Clone, Copy)]
pub(super) struct LinkInfo {
    /// Its number.
    pub id: u32,
    /// Its program's number.
    pub program: u32,
    /// The interface that it is attached to: 0 once somebody has detached it, though it is still pinned.
    pub ifindex: u32,
}

/// What is pinned at `path`.
///
/// # Errors
/// What the kernel says, for one that nothing is pinned at.
pub(super) fn link(path: &Path) -> io::Result<LinkInfo> {
    #[repr(C)]
    #[derive(Default)]
    struct GetInfo {
        bpf_fd: u32,
        info_len: u32,
        info: u64,
    }
    /// The first part of `struct bpf_link_info`; both kinds of links begin with the interface.
    #[repr(C, align(8))]
    #[derive(Default)]
    struct Info {
        kind: u32,
        id: u32,
        program: u32,
        spare: u32,
        ifindex: u32,
    }
    let link = pinned(path)?;
    let mut info = Info::default();
    let mut attr = GetInfo {
        bpf_fd: link.as_raw_fd() as u32,
        info_len: size_of::<Info>() as u32,
        info: std::ptr::from_mut(&mut info) as u64,
    };
    // SAFETY: the structure is the first part of `union bpf_attr` for this command, and `info` has as many bytes as may be
    // written.
    unsafe { bpf(OBJ_GET_INFO_BY_FD, &mut attr)? };
    Ok(LinkInfo {
        id: info.id,
        program: info.program,
        ifindex: info.ifindex,
    })
}

/// What a command on a pin is asked with.
#[repr(C)]
#[derive(Default)]
struct Object {
    pathname: u64,
    fd: u32,
    flags: u32,
}

/// A handle on what is pinned at `path`.
///
/// # Errors
/// What the kernel says, if nothing is.
pub(super) fn pinned(path: &Path) -> io::Result<OwnedFd> {
    let name = CString::new(path.as_os_str().as_bytes())?;
    let mut attr = Object {
        pathname: name.as_ptr() as u64,
        ..Object::default()
    };
    // SAFETY: the structure is the first part of `union bpf_attr` for this command, and the name outlives the call.
    let object = unsafe { bpf_answered(OBJ_GET, &mut attr)? };
    // SAFETY: the kernel has just made it, for nobody else.
    Ok(unsafe { OwnedFd::from_raw_fd(object) })
}

/// Pins it at `path`.
///
/// # Errors
/// What the kernel says.
pub(super) fn pin(object: BorrowedFd<'_>, path: &Path) -> io::Result<()> {
    let name = CString::new(path.as_os_str().as_bytes())?;
    let mut attr = Object {
        pathname: name.as_ptr() as u64,
        fd: object.as_raw_fd() as u32,
        ..Object::default()
    };
    // SAFETY: likewise.
    unsafe { bpf(OBJ_PIN, &mut attr) }
}

/// Numbers of the links at an interface's TCX ingress, of this network namespace.
///
/// # Errors
/// What the kernel says; before Linux 6.6 it has no such thing.
pub(super) fn tcx_links(ifindex: u32) -> io::Result<Vec<u32>> {
    #[repr(C)]
    #[derive(Default)]
    struct Query {
        ifindex: u32,
        attach_type: u32,
        query_flags: u32,
        attach_flags: u32,
        programs: u64,
        count: u32,
        spare: u32,
        program_flags: u64,
        links: u64,
        link_flags: u64,
        revision: u64,
    }
    // The kernel takes no more than 64 programs at a hook.
    let (mut programs, mut links) = ([0u32; 64], [0u32; 64]);
    let mut attr = Query {
        ifindex,
        attach_type: TCX_INGRESS,
        programs: programs.as_mut_ptr() as u64,
        links: links.as_mut_ptr() as u64,
        count: links.len() as u32,
        ..Query::default()
    };
    // SAFETY: the structure is the first part of `union bpf_attr` for this command, and the buffers have as many numbers as
    // may be written.
    unsafe { bpf(PROG_QUERY, &mut attr)? };
    let count = links.len().min(attr.count as usize);
    Ok(links[..count].to_vec())
}

/// Runs a program once with `data` as its packet; returns its verdict.
///
/// # Errors
/// What the kernel says, `ENOTSUPP` for program types that cannot be run so.
pub(super) fn test_run(program: BorrowedFd<'_>, data: &[u8]) -> io::Result<u32> {
    #[repr(C)]
    #[derive(Default)]
    struct Attr {
        prog_fd: u32,
        retval: u32,
        data_size_in: u32,
        data_size_out: u32,
        data_in: u64,
        data_out: u64,
        repeat: u32,
        duration: u32,
        ctx_size_in: u32,
        ctx_size_out: u32,
        ctx_in: u64,
        ctx_out: u64,
    }
    let mut attr = Attr {
        prog_fd: program.as_raw_fd() as u32,
        data_size_in: u32::try_from(data.len()).map_err(|_| io::ErrorKind::InvalidInput)?,
        data_in: data.as_ptr() as u64,
        repeat: 1,
        ..Attr::default()
    };
    // SAFETY: the structure is the first part of `union bpf_attr` for this command, and `data` outlives the call.
    unsafe { bpf(PROG_TEST_RUN, &mut attr)? };
    Ok(attr.retval)
}

/// Reads one entry; `None` if there is none with this key.
///
/// # Errors
/// What the kernel says.
pub(super) fn lookup<K: aya::Pod, V: aya::Pod>(
    map: BorrowedFd<'_>,
    key: &K,
) -> io::Result<Option<V>> {
    #[repr(C)]
    #[derive(Default)]
    struct Attr {
        map_fd: u32,
        spare: u32,
        key: u64,
        value: u64,
        flags: u64,
    }
    let mut value = std::mem::MaybeUninit::<V>::uninit();
    let mut attr = Attr {
        map_fd: map.as_raw_fd() as u32,
        key: std::ptr::from_ref(key) as u64,
        value: value.as_mut_ptr() as u64,
        ..Attr::default()
    };
    // SAFETY: the structure is the first part of `union bpf_attr` for this command; key and value are of the map's own
    // types, which the caller's handles were checked against when they were opened.
    match unsafe { bpf(MAP_LOOKUP_ELEM, &mut attr) } {
        // SAFETY: the kernel has written a whole value, and every bit pattern is one (`Pod`).
        Ok(()) => Ok(Some(unsafe { value.assume_init() })),
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Reads up to `keys.len()` entries of a hash map, in the order of its buckets, or of an array. `cursor` holds where to
/// go on: `None` to begin; `locked` takes each entry's spin lock. Returns how many were read and whether the map's end
/// was reached.
///
/// # Errors
/// What the kernel says; `ENOSPC` if a single bucket holds more than fit.
pub(super) fn lookup_batch<K: aya::Pod, V: aya::Pod>(
    map: BorrowedFd<'_>,
    cursor: &mut Option<u32>,
    keys: &mut [K],
    values: &mut [V],
    locked: bool,
) -> io::Result<(usize, bool)> {
    #[repr(C)]
    #[derive(Default)]
    struct Attr {
        in_batch: u64,
        out_batch: u64,
        keys: u64,
        values: u64,
        count: u32,
        map_fd: u32,
        elem_flags: u64,
        flags: u64,
    }
    let mut next = 0u32;
    let from = cursor.unwrap_or(0);
    let mut attr = Attr {
        in_batch: if cursor.is_some() {
            &raw const from as u64
        } else {
            0
        },
        out_batch: &raw mut next as u64,
        keys: keys.as_mut_ptr() as u64,
        values: values.as_mut_ptr() as u64,
        count: u32::try_from(keys.len().min(values.len())).unwrap_or(u32::MAX),
        map_fd: map.as_raw_fd() as u32,
        elem_flags: if locked { F_LOCK } else { 0 },
        ..Attr::default()
    };
    // SAFETY: the structure is the first part of `union bpf_attr` for this command; the buffers hold `count` elements of
    // the map's own key and value types, which the caller's handles were checked against when they were opened.
    let result = unsafe { bpf(MAP_LOOKUP_BATCH, &mut attr) };
    let end = match result {
        Ok(()) => false,
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => true,
        Err(error) => return Err(error),
    };
    *cursor = Some(next);
    Ok((attr.count as usize, end))
}

/// # Safety
/// `attr` is laid out as the command wants it and what it points to is valid for the call.
unsafe fn bpf<T>(command: libc::c_long, attr: &mut T) -> io::Result<()> {
    // SAFETY: by contract.
    unsafe { bpf_answered(command, attr).map(drop) }
}

/// # Safety
/// As for [`bpf`].
unsafe fn bpf_answered<T>(command: libc::c_long, attr: &mut T) -> io::Result<RawFd> {
    // SAFETY: by contract.
    let result = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            command,
            std::ptr::from_mut(attr),
            size_of::<T>(),
        )
    };
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result as RawFd)
    }
}
