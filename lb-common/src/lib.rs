//! The language that the kernel program and the agent share: map keys and values, flow states, counters and their
//! names, and the pure algorithms both sides must agree on.
//!
//! Layout rules, each asserted at compile time: `repr(C)`, no padding (every byte is a named field), no `bool`, `enum`
//! or `usize` fields, multi-byte values in host order unless a field says "network order". Both sides are built from
//! this crate; [`abi::VERSION`] is written to a map and checked before a program of one build meets maps of another.

#![no_std]

#[cfg(feature = "user")]
extern crate alloc;

pub mod abi;
pub mod bench;
pub mod checksum;
pub mod counter;
pub mod event;
pub mod flow;
pub mod hash;
pub mod load;
pub mod service;
#[cfg(feature = "user")]
pub mod slots;
pub mod tcp;

/// Asserts a map type's size and that it has no padding: the sizes of its fields must add up to its own.
macro_rules! layout {
    ($type:ty, size = $size:expr, fields = $($field:ty),+ $(,)?) => {
        const _: () = {
            assert!(core::mem::size_of::<$type>() == $size);
            assert!(0 $(+ core::mem::size_of::<$field>())+ == $size, "padding");
        };
        // SAFETY: `repr(C)`, integers and arrays of integers only, no padding (asserted above): every bit pattern is
        // a value and every byte is initialised.
        #[cfg(feature = "user")]
        unsafe impl aya::Pod for $type {}
    };
}
pub(crate) use layout;
