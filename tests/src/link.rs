//! Virtual links: veth pairs and bridges between namespaces, and the settings that make them behave like wires.
//!
//! What iproute2 says in a line is left to iproute2; flags and offloads are ioctls.

use std::ffi::CString;
use std::io::{self, Write};
use std::net::UdpSocket;
use std::os::fd::AsRawFd;
use std::process::Stdio;

use crate::{Context, Error, Netns, Result, bpf};

// include/uapi/linux/ethtool.h
const ETHTOOL_STXCSUM: u32 = 0x17;
const ETHTOOL_STSO: u32 = 0x1f;
const ETHTOOL_SGSO: u32 = 0x24;
const ETHTOOL_SGRO: u32 = 0x2c;

/// An Ethernet address.
pub type Mac = [u8; 6];

/// Runs lines of `ip -batch` inside a namespace, for example `addr add 10.0.0.1/24 dev eth0`.
///
/// # Errors
/// With what `ip` says of the first line that it refuses.
pub fn ip(netns: &Netns, lines: &[impl AsRef<str>]) -> Result<()> {
    let mut child = netns
        .command("ip")
        .args(["-batch", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .context(|| "start `ip` (Debian's package iproute2)")?;
    if let Some(mut input) = child.stdin.take() {
        for line in lines {
            // A refused line ends `ip` early; its stderr says more than the broken pipe does.
            let _ = writeln!(input, "{}", line.as_ref());
        }
    }
    let output = child.wait_with_output().context(|| "wait for `ip`")?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    let lines: Vec<&str> = lines.iter().map(AsRef::as_ref).collect();
    Err(Error::new(format!(
        "ip in {}: {said}\n{}",
        netns.name(),
        lines.join("\n")
    )))
}

/// One end of a veth pair.
#[derive(Clone, Copy, Debug)]
pub struct End<'a> {
    /// Where the interface lives.
    pub netns: &'a Netns,
    /// Its name, at most 15 bytes.
    pub name: &'a str,
    /// Its hardware address.
    pub mac: Mac,
}

/// Makes a veth pair across two namespaces and sets both ends up.
///
/// # Errors
/// When a name is taken.
pub fn veth(one: End<'_>, other: End<'_>) -> Result<()> {
    let line = format!(
        "link add {} address {} type veth peer name {} address {} netns {}",
        one.name,
        show_mac(one.mac),
        other.name,
        show_mac(other.mac),
        other.netns.name(),
    );
    ip(one.netns, &[line])?;
    one.netns.run(|| set_up(one.name))?;
    other.netns.run(|| set_up(other.name))
}

/// Makes a veth's end behave like a wire's: checksums complete and frames of real size in both directions, and a
/// program, without which the kernel drops what the peer sends by XDP. The program goes when the link is dropped.
///
/// # Errors
/// When the kernel refuses either.
pub fn far_end(netns: &Netns, name: &str) -> Result<bpf::Link> {
    netns.run(|| {
        let link = bpf::Program::xdp_pass()?.attach(ifindex(name)?)?;
        // After attaching, since that turns generic receive offload on.
        real_frames(name)?;
        Ok(link)
    })
}

/// Turns off what would let a capture on this interface, or on its peer, see frames that no wire carries: checksums left
/// for hardware, segments larger than the MTU. For the calling thread's namespace.
///
/// # Errors
/// When there is no such interface.
pub fn real_frames(name: &str) -> Result<()> {
    for command in [ETHTOOL_STSO, ETHTOOL_SGSO, ETHTOOL_STXCSUM, ETHTOOL_SGRO] {
        ethtool(name, command, 0)?;
    }
    Ok(())
}

/// Lets an interface send segments larger than the MTU with checksums left for hardware, what [`real_frames`] turns off.
/// For the calling thread's namespace.
///
/// # Errors
/// When there is no such interface.
pub fn large_frames(name: &str) -> Result<()> {
    for command in [ETHTOOL_STXCSUM, ETHTOOL_SGSO, ETHTOOL_STSO] {
        ethtool(name, command, 1)?;
    }
    Ok(())
}

/// Leaves checksums complete on what this interface sends, and no more. For the calling thread's namespace.
///
/// # Errors
/// When there is no such interface.
pub fn complete_checksums(name: &str) -> Result<()> {
    ethtool(name, ETHTOOL_STXCSUM, 0)
}

/// The index of an interface in the calling thread's namespace.
///
/// # Errors
/// When there is no such interface.
pub fn ifindex(name: &str) -> Result<u32> {
    let text =
        CString::new(name).map_err(|_| Error::new(format!("no interface name: {name:?}")))?;
    // SAFETY: a terminated string that outlives the call.
    match unsafe { libc::if_nametoindex(text.as_ptr()) } {
        0 => Err(Error::io(
            format!("no interface {name}"),
            io::Error::last_os_error(),
        )),
        index => Ok(index),
    }
}

/// The MAC address of an interface of the calling thread's namespace.
///
/// # Errors
/// When there is no such interface.
pub fn mac(name: &str) -> Result<Mac> {
    let mut request = request(name)?;
    ioctl(name, libc::SIOCGIFHWADDR, &mut request)?;
    // SAFETY: SIOCGIFHWADDR has just filled this member.
    let address = unsafe { request.ifr_ifru.ifru_hwaddr };
    Ok(std::array::from_fn(|at| address.sa_data[at] as u8))
}

/// Sets an interface of the calling thread's namespace up.
///
/// # Errors
/// When there is no such interface.
pub fn set_up(name: &str) -> Result<()> {
    set_flag(name, true)
}

/// Sets an interface of the calling thread's namespace down.
///
/// # Errors
/// When there is no such interface.
pub fn set_down(name: &str) -> Result<()> {
    set_flag(name, false)
}

/// `02:00:0a:4d:01:01`
pub fn show_mac(mac: Mac) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}

fn set_flag(name: &str, up: bool) -> Result<()> {
    let mut request = request(name)?;
    ioctl(name, libc::SIOCGIFFLAGS, &mut request)?;
    // SAFETY: SIOCGIFFLAGS has just filled this member.
    let flags = unsafe { request.ifr_ifru.ifru_flags };
    let bit = libc::IFF_UP as libc::c_short;
    request.ifr_ifru.ifru_flags = if up { flags | bit } else { flags & !bit };
    ioctl(name, libc::SIOCSIFFLAGS, &mut request)
}

/// Sets a feature, unless it is as wanted already: the kernel refuses even to turn off what a veth cannot have while its
/// peer has a program.
fn ethtool(name: &str, command: u32, value: u32) -> Result<()> {
    // Each ETHTOOL_S… is its ETHTOOL_G… and one. Asked afterwards, since the peer may get its program at any moment.
    match ethtool_ioctl(name, command, value) {
        Err(error) if ethtool_ioctl(name, command - 1, 0)? != value => Err(error),
        _ => Ok(()),
    }
}

/// Runs a command of `struct ethtool_value` and gives its value.
fn ethtool_ioctl(name: &str, command: u32, value: u32) -> Result<u32> {
    const SIOCETHTOOL: libc::Ioctl = 0x8946;
    let mut argument = [command, value];
    let mut request = request(name)?;
    request.ifr_ifru.ifru_data = argument.as_mut_ptr().cast();
    ioctl(name, SIOCETHTOOL, &mut request)?;
    Ok(argument[1])
}

fn request(name: &str) -> Result<libc::ifreq> {
    // SAFETY: all zeroes are a valid ifreq.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    if name.len() >= request.ifr_name.len() {
        return Err(Error::new(format!("interface name too long: {name}")));
    }
    for (slot, byte) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *slot = byte as libc::c_char;
    }
    Ok(request)
}

fn ioctl(name: &str, command: libc::Ioctl, request: &mut libc::ifreq) -> Result<()> {
    let socket = UdpSocket::bind("127.0.0.1:0")
        .or_else(|_| UdpSocket::bind("0.0.0.0:0"))
        .context(|| "open a socket for ioctls")?;
    // SAFETY: `request` is an ifreq whose member for this command is set, with room for the answer.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), command, std::ptr::from_mut(request)) };
    if result < 0 {
        let error = io::Error::last_os_error();
        return Err(Error::io(format!("ioctl {command:#x} on {name}"), error));
    }
    Ok(())
}
