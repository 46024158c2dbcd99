//! The kernel program, embedded by the build.

/// The object, empty if lb was built without it.
pub static OBJECT: &[u8] = aya::include_bytes_aligned!(env!("LB_EBPF_OBJECT_PATH"));

/// A short name of the object's build, for status and `--version`; `None` if there is none.
pub fn build() -> Option<&'static str> {
    (!OBJECT.is_empty()).then_some(env!("LB_EBPF_BUILD"))
}
