//! The daemon's allocator: mimalloc, asked without detours, and a few pieces at hand before it.
//!
//! The crate that wraps it asks for an alignment with every request, which for all that is larger than a KiB makes
//! mimalloc take more than was asked for and look for an aligned place in it. Nearly everything is content with what all
//! of its memory has, and a request through the proxy makes some fifteen of these.
//!
//! mimalloc gives what was freed only when it has given all else that its page has, which is good for safety and bad for
//! caches: a request goes through memory that none has touched for long. So a thread that has much to do [keeps][keep]
//! what it frees in lists by size, and gets it again last in, first out, as HAProxy's pools do.

use std::{
    alloc::{GlobalAlloc, Layout},
    cell::Cell,
    ffi::c_void,
    marker::PhantomData,
    ptr,
};

use libmimalloc_sys::{
    mi_free, mi_malloc, mi_malloc_aligned, mi_realloc, mi_realloc_aligned, mi_zalloc,
    mi_zalloc_aligned,
};

/// What all memory of mimalloc from 16 bytes on is aligned to (its `MI_MAX_ALIGN_SIZE`); nothing smaller is asked for.
const ALIGNED: usize = 16;
/// The largest pieces that are kept, in bytes.
const LARGEST: usize = 32 * 1024;
/// How many sizes are kept: eight steps of 16 bytes, then four between a power of two and the next. These are about
/// mimalloc's own, so that nothing is lost by rounding up to them.
const SIZES: usize = class_of(LARGEST) + 1;
/// How many bytes of one size are kept by a thread, but for few pieces of any.
const BYTES: usize = 128 * 1024;

/// Which of the sizes pieces of `size` bytes are of; `size` is not 0.
#[inline]
const fn class_of(size: usize) -> usize {
    let last = size - 1;
    if last < 128 {
        return last >> 4;
    }
    let power = last.ilog2() as usize;
    8 + ((power - 7) << 2) + ((last >> (power - 2)) & 3)
}

/// How many bytes the pieces of a class have.
const fn size_of_class(class: usize) -> usize {
    if class < 8 {
        return (class + 1) << 4;
    }
    let (power, quarter) = (((class - 8) >> 2) + 7, (class - 8) & 3);
    (1 << power) + ((quarter + 1) << (power - 2))
}

/// Whether pieces of this layout are kept, and therefore have the size of their class.
#[inline]
const fn is_kept(size: usize, align: usize) -> bool {
    size <= LARGEST && align <= ALIGNED
}

/// A piece that is kept: where the next one of its size is.
struct Piece(*mut Piece);

/// The pieces of one size that a thread keeps.
struct Class {
    first: Cell<*mut Piece>,
    /// How many more it may keep.
    room: Cell<u32>,
}

impl Class {
    const fn new() -> Self {
        Self {
            first: Cell::new(ptr::null_mut()),
            room: Cell::new(0),
        }
    }

    #[inline]
    fn take(&self) -> *mut u8 {
        let piece = self.first.get();
        if !piece.is_null() {
            // SAFETY: `put` has written where the next one is, and nobody has had the piece since.
            self.first.set(unsafe { (*piece).0 });
            self.room.set(self.room.get() + 1);
        }
        piece.cast()
    }

    /// Keeps `piece` if there is room.
    ///
    /// # Safety
    /// The piece is of this class and nobody's.
    #[inline]
    unsafe fn put(&self, piece: *mut u8) -> bool {
        let room = self.room.get();
        if room == 0 {
            return false;
        }
        let piece = piece.cast::<Piece>();
        // SAFETY: the smallest have 16 bytes, and all are aligned to as many.
        unsafe { piece.write(Piece(self.first.get())) };
        self.first.set(piece);
        self.room.set(room - 1);
        true
    }
}

thread_local! {
    // Nothing in it is dropped, so that a thread can ask for memory until its very end.
    static KEPT: [Class; SIZES] = const { [const { Class::new() }; SIZES] };
}

/// This thread keeps what it frees, up to 5 MiB, until this is dropped.
#[derive(Debug)]
pub struct Keeping(PhantomData<*const ()>);

/// From now on this thread keeps some of what it frees for what it will ask for.
pub fn keep() -> Keeping {
    KEPT.with(|kept| {
        for (class, size) in kept.iter().zip((0..).map(size_of_class)) {
            // No more than 128.
            class.room.set((BYTES / size).clamp(4, 128) as u32);
        }
    });
    Keeping(PhantomData)
}

impl Drop for Keeping {
    fn drop(&mut self) {
        KEPT.with(|kept| {
            for class in kept {
                loop {
                    let piece = class.take();
                    if piece.is_null() {
                        break;
                    }
                    // SAFETY: it is mimalloc's, and nobody's now.
                    unsafe { mi_free(piece.cast::<c_void>()) };
                }
                class.room.set(0);
            }
        });
    }
}

/// The allocator.
#[derive(Debug)]
pub struct Allocator;

// SAFETY: mimalloc is an allocator, none of its functions unwinds, and each piece has at least the size that was asked
// for, and the alignment: by itself up to `ALIGNED`, else by the function that takes one. All of its functions may change
// and free what any other has given. What is kept is of the class that it is taken for, since a piece's layout is the same
// when it is given and when it is freed, and all of a layout that is kept are asked for with the size of their class.
unsafe impl GlobalAlloc for Allocator {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let (mut size, align) = (layout.size(), layout.align());
        if is_kept(size, align) {
            let class = class_of(size);
            let piece = KEPT.with(|kept| kept[class].take());
            if !piece.is_null() {
                return piece;
            }
            size = size_of_class(class);
        }
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
        let (mut size, align) = (layout.size(), layout.align());
        if is_kept(size, align) {
            size = size_of_class(class_of(size));
        }
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
    unsafe fn dealloc(&self, piece: *mut u8, layout: Layout) {
        let (size, align) = (layout.size(), layout.align());
        // SAFETY: the caller vouches for it that the piece is ours, and has this layout.
        unsafe {
            if is_kept(size, align) && KEPT.with(|kept| kept[class_of(size)].put(piece)) {
                return;
            }
            mi_free(piece.cast::<c_void>());
        }
    }

    #[inline]
    unsafe fn realloc(&self, piece: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        let (old, align) = (layout.size(), layout.align());
        // SAFETY: the caller vouches for it that the old piece is ours, and that there is a layout of the new size; the two
        // pieces have nothing in common; for the rest as above.
        unsafe {
            if !is_kept(old, align) && !is_kept(size, align) {
                let piece = piece.cast::<c_void>();
                return match align <= ALIGNED {
                    true => mi_realloc(piece, size),
                    false => mi_realloc_aligned(piece, size, align),
                }
                .cast();
            }
            if is_kept(old, align) && is_kept(size, align) && class_of(old) == class_of(size) {
                return piece;
            }
            let new = self.alloc(Layout::from_size_align_unchecked(size, align));
            if !new.is_null() {
                ptr::copy_nonoverlapping(piece, new, old.min(size));
                self.dealloc(piece, layout);
            }
            new
        }
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

    #[test]
    fn sizes_are_rounded_up_by_a_quarter_at_most() {
        let mut before = 0;
        for size in 1..=LARGEST {
            let class = class_of(size);
            assert!(class == before || class == before + 1, "{size}");
            before = class;
            let rounded = size_of_class(class);
            assert!(rounded >= size, "{size}");
            assert!(rounded < size + 16.max(size / 4 + 1), "{size}");
            assert_eq!(class_of(rounded), class, "{size}");
        }
        assert_eq!(before + 1, SIZES);
    }

    #[test]
    fn a_thread_that_keeps_gets_what_it_freed_last() {
        let keeping = keep();
        let layout = Layout::from_size_align(700, 8).unwrap();
        let other = Layout::from_size_align(750, 16).unwrap();
        // SAFETY: as above; pieces are compared by their addresses alone once they are freed.
        unsafe {
            let pieces: Vec<_> = (0..300).map(|_| Allocator.alloc(layout)).collect();
            for &piece in &pieces {
                piece.write_bytes(0x55, layout.size());
                Allocator.dealloc(piece, layout);
            }
            // Of 768 bytes, 128 are kept.
            let again: Vec<_> = (0..128).map(|_| Allocator.alloc(other)).collect();
            assert!(again.iter().eq(pieces[..128].iter().rev()));
            for piece in again {
                Allocator.dealloc(piece, other);
            }
        }
        drop(keeping);
        KEPT.with(|kept| {
            for class in kept {
                assert!(class.first.get().is_null());
                assert_eq!(class.room.get(), 0);
            }
        });
    }
}
