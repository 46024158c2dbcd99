//! Users and groups of this host.

use std::{
    ffi::{CStr, CString},
    mem::MaybeUninit,
    ptr,
};

/// Space for the strings of a passwd or group entry; large groups have long member lists.
const ENTRY_SIZE: usize = 1 << 20;

/// The user called `name`: its number, and that of its group. A number is that user, whatever it is called, and of the group
/// of that number.
pub fn user(name: &str) -> Option<(libc::uid_t, libc::gid_t)> {
    if let Ok(number) = name.parse() {
        return Some((number, number));
    }
    let name = CString::new(name).ok()?;
    let mut buffer = vec![0; ENTRY_SIZE];
    let mut entry = MaybeUninit::<libc::passwd>::uninit();
    let mut found = ptr::null_mut();
    // SAFETY: all pointers are to live values of this frame, and the length is the buffer's.
    unsafe {
        libc::getpwnam_r(
            name.as_ptr(),
            entry.as_mut_ptr(),
            buffer.as_mut_ptr(),
            buffer.len(),
            &mut found,
        );
    }
    // SAFETY: `found` is null, or points to `entry`, which was filled in then.
    unsafe { found.as_ref() }.map(|entry| (entry.pw_uid, entry.pw_gid))
}

/// What the user is called that this process runs as; its number if it has no name.
pub fn own_name() -> String {
    let number = rustix::process::geteuid().as_raw();
    let mut buffer = vec![0; ENTRY_SIZE];
    let mut entry = MaybeUninit::<libc::passwd>::uninit();
    let mut found = ptr::null_mut();
    // SAFETY: all pointers are to live values of this frame, and the length is the buffer's.
    unsafe {
        libc::getpwuid_r(
            number,
            entry.as_mut_ptr(),
            buffer.as_mut_ptr(),
            buffer.len(),
            &mut found,
        );
    }
    // SAFETY: `found` is null, or points to `entry`, which was filled in then; the name ends in NUL and lies in `buffer`.
    let name = unsafe { found.as_ref().map(|entry| CStr::from_ptr(entry.pw_name)) };
    name.map_or_else(
        || number.to_string(),
        |name| name.to_string_lossy().into_owned(),
    )
}

/// The number of the group called `name`, or that is written there.
pub fn group(name: &str) -> Option<libc::gid_t> {
    if let Ok(number) = name.parse() {
        return Some(number);
    }
    let name = CString::new(name).ok()?;
    let mut buffer = vec![0; ENTRY_SIZE];
    let mut entry = MaybeUninit::<libc::group>::uninit();
    let mut found = ptr::null_mut();
    // SAFETY: all pointers are to live values of this frame, and the length is the buffer's.
    unsafe {
        libc::getgrnam_r(
            name.as_ptr(),
            entry.as_mut_ptr(),
            buffer.as_mut_ptr(),
            buffer.len(),
            &mut found,
        );
    }
    // SAFETY: `found` is null, or points to `entry`, which was filled in then.
    unsafe { found.as_ref() }.map(|entry| entry.gr_gid)
}
