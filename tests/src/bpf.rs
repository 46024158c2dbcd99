//! The few bpf(2) calls that virtual links need: a program of some instructions, attached natively to an interface.
//!
//! Made by hand so that the harness needs neither an object file nor a loader. Layouts are those of `union bpf_attr` in
//! include/uapi/linux/bpf.h.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use crate::{Context, Result};

const BPF_PROG_LOAD: libc::c_long = 5;
const BPF_PROG_TEST_RUN: libc::c_long = 10;
const BPF_LINK_CREATE: libc::c_long = 28;
const BPF_PROG_TYPE_XDP: u32 = 6;
const BPF_XDP: u32 = 37;
const XDP_FLAGS_DRV_MODE: u32 = 1 << 2;

/// One instruction: opcode, registers, offset, immediate (`struct bpf_insn`).
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Insn {
    code: u8,
    registers: u8,
    offset: i16,
    immediate: i32,
}

/// `rN = immediate`, sign-extended (BPF_ALU64 | BPF_MOV | BPF_K).
pub const fn mov(register: u8, immediate: i32) -> Insn {
    Insn {
        code: 0xb7,
        registers: register,
        offset: 0,
        immediate,
    }
}

/// Calls a helper by its number (BPF_JMP | BPF_CALL).
pub const fn call(helper: i32) -> Insn {
    Insn {
        code: 0x85,
        registers: 0,
        offset: 0,
        immediate: helper,
    }
}

/// Returns r0 (BPF_JMP | BPF_EXIT).
pub const fn exit() -> Insn {
    Insn {
        code: 0x95,
        registers: 0,
        offset: 0,
        immediate: 0,
    }
}

const XDP_PASS: i32 = 2;

/// `bpf_redirect(ifindex, flags)`.
pub const BPF_FUNC_REDIRECT: i32 = 23;

/// A loaded XDP program.
#[derive(Debug)]
pub struct Program(OwnedFd);

/// A program on an interface; dropping it detaches.
#[derive(Debug)]
pub struct Link(#[expect(dead_code, reason = "held open, never read")] OwnedFd);

#[repr(C)]
struct LoadAttr {
    prog_type: u32,
    insn_cnt: u32,
    insns: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log_buf: u64,
    kern_version: u32,
    prog_flags: u32,
    prog_name: [u8; 16],
    prog_ifindex: u32,
    expected_attach_type: u32,
}

#[repr(C)]
struct LinkAttr {
    prog_fd: u32,
    target_ifindex: u32,
    attach_type: u32,
    flags: u32,
}

impl Program {
    /// Loads an XDP program.
    ///
    /// # Errors
    /// Without CAP_BPF and CAP_NET_ADMIN, or what the verifier refuses.
    pub fn xdp(instructions: &[Insn]) -> Result<Program> {
        let attr = LoadAttr {
            prog_type: BPF_PROG_TYPE_XDP,
            insn_cnt: instructions.len() as u32,
            insns: instructions.as_ptr() as u64,
            license: c"Dual MIT/GPL".as_ptr() as u64,
            log_level: 0,
            log_size: 0,
            log_buf: 0,
            kern_version: 0,
            prog_flags: 0,
            prog_name: *b"lb_test\0\0\0\0\0\0\0\0\0",
            prog_ifindex: 0,
            expected_attach_type: BPF_XDP,
        };
        bpf(BPF_PROG_LOAD, &attr)
            .context(|| "load an XDP program")
            .map(Program)
    }

    /// Lets every packet through. A veth whose peer sends by XDP must have a program itself, or the frames are lost.
    ///
    /// # Errors
    /// As [`Program::xdp`].
    pub fn xdp_pass() -> Result<Program> {
        Program::xdp(&[mov(0, XDP_PASS), exit()])
    }

    /// Sends every packet out of another interface of the same namespace, untouched.
    ///
    /// # Errors
    /// As [`Program::xdp`].
    pub fn xdp_redirect(ifindex: u32) -> Result<Program> {
        Program::xdp(&[
            mov(1, ifindex as i32),
            mov(2, 0),
            call(BPF_FUNC_REDIRECT),
            exit(),
        ])
    }

    /// Attaches natively to an interface of the calling thread's namespace.
    ///
    /// # Errors
    /// When the interface has a program already, or the driver has no native XDP.
    pub fn attach(&self, ifindex: u32) -> Result<Link> {
        let attr = LinkAttr {
            prog_fd: self.0.as_raw_fd() as u32,
            target_ifindex: ifindex,
            attach_type: BPF_XDP,
            flags: XDP_FLAGS_DRV_MODE,
        };
        bpf(BPF_LINK_CREATE, &attr)
            .context(|| format!("attach to interface {ifindex}"))
            .map(Link)
    }
}

#[repr(C)]
struct RunAttr {
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

/// Runs a loaded XDP program on a frame as if it came in by an interface of the calling thread's namespace that has a
/// program attached natively. Returns its verdict and writes the frame as it left it into `out`.
///
/// # Errors
/// When the kernel refuses: no such interface, a frame shorter than an Ethernet header.
pub fn run(program: BorrowedFd<'_>, frame: &[u8], ifindex: u32, out: &mut Vec<u8>) -> Result<u32> {
    // Room for the headers of an encapsulation.
    out.clear();
    out.resize(frame.len() + 128, 0);
    // `struct xdp_md`: data, data_end, data_meta, ingress_ifindex, rx_queue_index, egress_ifindex.
    let context = [0, frame.len() as u32, 0, ifindex, 0, 0u32];
    let mut attr = RunAttr {
        prog_fd: program.as_raw_fd() as u32,
        retval: 0,
        data_size_in: frame.len() as u32,
        data_size_out: out.len() as u32,
        data_in: frame.as_ptr() as u64,
        data_out: out.as_mut_ptr() as u64,
        repeat: 1,
        duration: 0,
        ctx_size_in: size_of_val(&context) as u32,
        ctx_size_out: 0,
        ctx_in: context.as_ptr() as u64,
        ctx_out: 0,
    };
    // SAFETY: as in `bpf`; the kernel writes into `attr` and `out`, both of which outlive the call.
    let result = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            BPF_PROG_TEST_RUN,
            &raw mut attr,
            size_of::<RunAttr>(),
        )
    };
    if result < 0 {
        return Err(io::Error::last_os_error()).context(|| "run a program on a frame");
    }
    out.truncate(attr.data_size_out as usize);
    Ok(attr.retval)
}

fn bpf<T>(command: libc::c_long, attr: &T) -> io::Result<OwnedFd> {
    // SAFETY: `attr` is a prefix of union bpf_attr for this command, its size is passed along, and what its pointers
    // point to outlives the call.
    let fd = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            command,
            std::ptr::from_ref(attr),
            size_of::<T>(),
        )
    };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: both commands return a new descriptor, which nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}
