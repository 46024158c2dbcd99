//! The few bpf(2) calls that virtual links need: a program of some instructions, attached natively to an interface, or
//! run on a frame.
//!
//! Made by hand so that the harness needs neither an object file nor a loader. Layouts are those of `union bpf_attr` in
//! include/uapi/linux/bpf.h.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use crate::{Context, Result};

mod decapsulate;
mod insn;

pub use insn::{Alu, Code, Insn, Label, Size, When, call, exit, mov};

const BPF_PROG_LOAD: libc::c_long = 5;
const BPF_PROG_TEST_RUN: libc::c_long = 10;
const BPF_OBJ_GET: libc::c_long = 7;
const BPF_LINK_CREATE: libc::c_long = 28;
const BPF_LINK_DETACH: libc::c_long = 34;
const BPF_PROG_TYPE_XDP: u32 = 6;
const BPF_XDP: u32 = 37;
const XDP_FLAGS_DRV_MODE: u32 = 1 << 2;

/// Verdicts of an XDP program (`enum xdp_action`).
pub const XDP_DROP: i32 = 1;
/// Up the stack.
pub const XDP_PASS: i32 = 2;
/// Out of the interface it came in by.
pub const XDP_TX: i32 = 3;

/// Where `struct xdp_md` has what programs look at.
pub(crate) mod xdp_md {
    pub(crate) const DATA: i16 = 0;
    pub(crate) const DATA_END: i16 = 4;
}

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

/// `union bpf_attr` for BPF_OBJ_GET.
#[repr(C)]
struct GetAttr {
    pathname: u64,
    bpf_fd: u32,
    file_flags: u32,
}

/// Detaches a pinned link by force, as `bpftool link detach` does.
///
/// # Errors
/// When there is no such link, or not to be detached.
pub fn detach(pin: &Path) -> Result<()> {
    let name = CString::new(pin.as_os_str().as_bytes()).context(|| "name a pin")?;
    let attr = GetAttr {
        pathname: name.as_ptr() as u64,
        bpf_fd: 0,
        file_flags: 0,
    };
    let link = bpf(BPF_OBJ_GET, &attr).context(|| "open a pinned link")?;
    let fd = link.as_raw_fd() as u32;
    // It answers 0, which is no descriptor.
    // SAFETY: `union bpf_attr` begins with the link's descriptor, and the kernel writes nothing.
    let done = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            BPF_LINK_DETACH,
            &raw const fd,
            size_of::<u32>(),
        )
    };
    let done = match done {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    };
    done.context(|| "detach a link")
}

/// `union bpf_attr` for BPF_PROG_TEST_RUN.
#[repr(C)]
#[derive(Default)]
struct TestRunAttr {
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
    flags: u32,
    cpu: u32,
    batch_size: u32,
    _padding: u32,
}

/// `struct xdp_md`, as BPF_PROG_TEST_RUN takes it.
#[repr(C)]
#[derive(Default)]
struct XdpMd {
    data: u32,
    data_end: u32,
    data_meta: u32,
    ingress_ifindex: u32,
    rx_queue_index: u32,
    egress_ifindex: u32,
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

    /// Runs it on a frame without any interface: its verdict, and the frame as it then is.
    ///
    /// # Errors
    /// When the kernel cannot run it, or for frames shorter than an Ethernet header.
    pub fn run(&self, frame: &[u8]) -> Result<(u32, Vec<u8>)> {
        // Room for what a program may put in front.
        let mut out = vec![0u8; frame.len() + 256];
        let mut attr = TestRunAttr {
            prog_fd: self.0.as_raw_fd() as u32,
            data_size_in: frame.len() as u32,
            data_size_out: out.len() as u32,
            data_in: frame.as_ptr() as u64,
            data_out: out.as_mut_ptr() as u64,
            repeat: 1,
            ..TestRunAttr::default()
        };
        self.test_run(&mut attr)
            .context(|| "run a program on a frame")?;
        out.truncate(attr.data_size_out as usize);
        Ok((attr.retval, out))
    }

    /// Makes `count` frames of this one and runs the program on each as if it had come in on the interface, of the
    /// calling thread's namespace, and does what the program says (Linux 5.18). The interface has a program.
    ///
    /// Frames are used again as the program has left them. Gives the nanoseconds that each took, of the making and, as it
    /// is done on the same CPU, of the receiving; a call costs some 20 ms beside, in which that CPU is free.
    ///
    /// # Errors
    /// Before Linux 5.18, and when the interface has no program or is gone.
    pub fn run_live(&self, frame: &[u8], ifindex: u32, count: u32) -> Result<u32> {
        const BPF_F_TEST_XDP_LIVE_FRAMES: u32 = 1 << 1;
        let context = XdpMd {
            data_end: frame.len() as u32,
            ingress_ifindex: ifindex,
            ..XdpMd::default()
        };
        let mut attr = TestRunAttr {
            prog_fd: self.0.as_raw_fd() as u32,
            data_size_in: frame.len() as u32,
            data_in: frame.as_ptr() as u64,
            repeat: count,
            ctx_size_in: size_of::<XdpMd>() as u32,
            ctx_in: std::ptr::from_ref(&context) as u64,
            flags: BPF_F_TEST_XDP_LIVE_FRAMES,
            ..TestRunAttr::default()
        };
        self.test_run(&mut attr)
            .context(|| "run a program on live frames")?;
        Ok(attr.duration)
    }

    fn test_run(&self, attr: &mut TestRunAttr) -> io::Result<()> {
        // The kernel refuses sizes beyond what it knows unless the rest is zero, which the padding is.
        let size = size_of::<TestRunAttr>();
        // SAFETY: the callers' pointers outlive this call; the kernel writes the results within `attr`.
        unsafe { bpf_raw(BPF_PROG_TEST_RUN, std::ptr::from_mut(attr).cast(), size) }.map(|_| ())
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
    let fd = unsafe { bpf_raw(command, std::ptr::from_ref(attr).cast(), size_of::<T>()) }?;
    // SAFETY: the commands that come here return a new descriptor, which nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

/// # Safety
/// `attr` is valid for `size` bytes and a prefix of union bpf_attr for this command, as are its pointers for theirs.
unsafe fn bpf_raw(
    command: libc::c_long,
    attr: *const libc::c_void,
    size: usize,
) -> io::Result<libc::c_long> {
    // SAFETY: as the caller promises.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, attr, size) };
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result)
    }
}
