//! The daemon's allocator: mimalloc, asked without detours.
//!
//! The crate that wraps it asks for an alignment with every request, which for all that is larger than a KiB makes
//! mimalloc take more than was asked for and look for an aligned place in it. Nearly everything is content with what all
//! of its memory has, and a request through the proxy makes some fifteen of these.

use std::{
    alloc::{GlobalAlloc, Layout},
    ffi::c_void,
};

use libmimalloc_sys::{
    mi_free, mi_malloc, mi_malloc_aligned, mi_realloc, mi_realloc_aligned, mi_zalloc,
    mi_zalloc_aligned,
};

/// What all memory of mimalloc is aligned to, the smallest pieces among it, in bytes (its `MI_INTPTR_SIZE`; from 16 bytes
/// on it is `MI_MAX_ALIGN_SIZE`, twice that).
const ALIGNED: usize = size_of::<usize>();

/// The allocator.
#[derive(Debug)]
pub struct Allocator;

// SAFETY: mimalloc is an allocator, none of its functions unwinds, and each piece has the size that was asked for, and
// the alignment: by itself up to `ALIGNED`, else by the function that takes one. All of its functions may change and free
// what any other has given.
unsafe impl GlobalAlloc for Allocator {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let (size, align) = (layout.size(), layout.align());
        // SAFETY: any size may be asked for, and the alignment of a layout is a power of two.
        let piece = unsafe {
            match align <= ALIGNED {
                true => mi_malloc(size),
                false => mi_malloc_aligned(size, align),
            }
        };
        piece.cast()
    }

    #[inline]
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        let (size, align) = (layout.size(), layout.align());
        // SAFETY: as above.
        let piece = unsafe {
            match align <= ALIGNED {
                true => mi_zalloc(size),
                false => mi_zalloc_aligned(size, align),
            }
        };
        piece.cast()
    }

    #[inline]
    unsafe fn dealloc(&self, piece: *mut u8, _: Layout) {
        // SAFETY: the caller vouches for it that it is ours.
        unsafe { mi_free(piece.cast::<c_void>()) }
    }

    #[inline]
    unsafe fn realloc(&self, piece: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        let (old, align) = (piece.cast::<c_void>(), layout.align());
        // SAFETY: the caller vouches for it that the old piece is ours; for the rest as above.
        let piece = unsafe {
            match align <= ALIGNED {
                true => mi_realloc(old, size),
                false => mi_realloc_aligned(old, size, align),
            }
        };
        piece.cast()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether `piece` may be used as `layout` has it.
    fn is_fit(piece: *mut u8, layout: Layout) -> bool {
        !piece.is_null() && piece.addr().is_multiple_of(layout.align())
    }

    #[test]
    fn pieces_are_aligned_zeroed_and_kept_when_they_grow() {
        let sizes = (1..=64).chain([100, 1023, 1024, 1025, 8191, 8192, 100_000, 5_000_000]);
        for (size, align) in sizes.flat_map(|size| [1, 2, 4, 8, 16, 64, 4096].map(|a| (size, a))) {
            let layout = Layout::from_size_align(size, align).unwrap();
            // SAFETY: the layouts are those that the pieces are asked for with, and nothing is read but what was asked for.
            unsafe {
                let piece = Allocator.alloc(layout);
                assert!(is_fit(piece, layout), "{layout:?}");
                piece.write_bytes(0x55, size);
                let larger = Layout::from_size_align(size * 2, align).unwrap();
                let piece = Allocator.realloc(piece, layout, size * 2);
                assert!(is_fit(piece, larger), "{larger:?}");
                let kept = std::slice::from_raw_parts(piece, size);
                assert!(kept.iter().all(|&byte| byte == 0x55), "{layout:?}");
                Allocator.dealloc(piece, larger);
                let piece = Allocator.alloc_zeroed(layout);
                assert!(is_fit(piece, layout), "{layout:?}");
                let zeroed = std::slice::from_raw_parts(piece, size);
                assert!(zeroed.iter().all(|&byte| byte == 0), "{layout:?}");
                Allocator.dealloc(piece, layout);
            }
        }
    }
}
