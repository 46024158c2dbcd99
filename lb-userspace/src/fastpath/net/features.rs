//! What an interface's driver can do, as far as attaching and redirecting need to know: XDP features through the generic
//! netlink family `netdev`, the programs that it has by routing netlink, driver name and receive VLAN offload through ethtool's ioctl.
//!
//! Every call is one short exchange with the kernel in the calling thread's network namespace, answered before it returns.

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use rtnetlink::sys::protocols::{NETLINK_GENERIC, NETLINK_ROUTE};
use rtnetlink::sys::{Socket, SocketAddr};

/// What a device supports of XDP; `enum netdev_xdp_act` of `linux/netdev.h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum XdpFeatures {
    /// The kernel does not tell: it is older than 6.3, or has no such family. A probe frame has to find out.
    Unknown,
    /// It tells.
    Known {
        /// Programs run in the driver and may pass, drop, abort and send back (`NETDEV_XDP_ACT_BASIC`).
        basic: bool,
        /// Programs may redirect from it (`NETDEV_XDP_ACT_REDIRECT`).
        redirect: bool,
        /// Frames may be redirected to it as it is now (`NETDEV_XDP_ACT_NDO_XMIT`): a veth gains this when its peer gets
        /// a program or GRO.
        ndo_xmit: bool,
        /// Programs that declare so get frames in several buffers (`NETDEV_XDP_ACT_RX_SG`).
        fragments: bool,
    },
}

/// What can go wrong when an interface is asked about.
#[derive(Debug, thiserror::Error)]
pub enum FeaturesError {
    /// There is no such interface in this namespace.
    #[error("there is no interface with index {0} in this network namespace")]
    NoInterface(u32),
    /// The kernel refused.
    #[error("cannot {what} of interface {ifindex}: {error}")]
    Refused {
        /// What was to be done.
        what: &'static str,
        /// With which interface.
        ifindex: u32,
        /// The kernel's answer.
        error: io::Error,
    },
}

/// The XDP features of `ifindex`.
///
/// # Errors
///
/// [`FeaturesError`] if there is no such interface or the kernel cannot be asked.
pub fn xdp(ifindex: u32) -> Result<XdpFeatures, FeaturesError> {
    let refused = |error| FeaturesError::Refused {
        what: "read the XDP features",
        ifindex,
        error,
    };
    let mut kernel = Netlink::open(NETLINK_GENERIC).map_err(refused)?;
    let name = attribute(CTRL_ATTR_FAMILY_NAME, b"netdev\0");
    let family = match kernel.ask_family(GENL_ID_CTRL, CTRL_CMD_GETFAMILY, &name) {
        Ok(answer) => {
            find_attribute(&answer, CTRL_ATTR_FAMILY_ID).and_then(|id| id.try_into().ok())
        }
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => {
            return Ok(XdpFeatures::Unknown);
        }
        Err(error) => return Err(refused(error)),
    };
    let Some(family) = family.map(u16::from_ne_bytes) else {
        return Ok(XdpFeatures::Unknown);
    };
    let answer = match kernel.ask_family(
        family,
        NETDEV_CMD_DEV_GET,
        &attribute(NETDEV_A_DEV_IFINDEX, &ifindex.to_ne_bytes()),
    ) {
        Ok(answer) => answer,
        Err(error) if error.raw_os_error() == Some(libc::ENODEV) => {
            return Err(FeaturesError::NoInterface(ifindex));
        }
        Err(error) => return Err(refused(error)),
    };
    let bits =
        find_attribute(&answer, NETDEV_A_DEV_XDP_FEATURES).and_then(|bits| bits.try_into().ok());
    Ok(bits.map_or(XdpFeatures::Unknown, |bits| {
        XdpFeatures::of(u64::from_ne_bytes(bits))
    }))
}

impl XdpFeatures {
    fn of(bits: u64) -> Self {
        let has = |bit: u32| bits & (1 << bit) != 0;
        Self::Known {
            basic: has(0),
            redirect: has(1),
            ndo_xmit: has(2),
            fragments: has(5),
        }
    }
}

/// Numbers of the XDP programs that `ifindex` has, by the driver, on the skb hook or in hardware.
///
/// # Errors
///
/// [`FeaturesError`] if there is no such interface or the kernel cannot be asked.
pub fn xdp_programs(ifindex: u32) -> Result<Vec<u32>, FeaturesError> {
    let ask = || {
        let mut kernel = Netlink::open(NETLINK_ROUTE)?;
        // `struct ifinfomsg`: family, type, index, flags, and which of them change.
        let mut question = vec![0; IFINFO_LEN];
        question[4..8].copy_from_slice(&ifindex.to_ne_bytes());
        kernel.ask(RTM_GETLINK, &question, IFINFO_LEN)
    };
    let answer = ask().map_err(|error| wrap(ifindex, "read the XDP programs", error))?;
    let programs = find_attribute(&answer, IFLA_XDP).unwrap_or_default();
    let numbers = IFLA_XDP_PROG_IDS.into_iter().filter_map(|kind| {
        let bytes = find_attribute(programs, kind)?;
        Some(u32::from_ne_bytes(bytes.try_into().ok()?))
    });
    Ok(numbers.collect())
}

/// The driver's name, as `ethtool -i` shows it: `veth`, `virtio_net`, `mlx5_core`, ….
///
/// # Errors
///
/// [`FeaturesError`] if there is no such interface, or none with a driver that says its name (loopback).
pub fn driver(ifindex: u32) -> Result<String, FeaturesError> {
    let mut info = DriverInfo {
        command: ETHTOOL_GDRVINFO,
        driver: [0; 32],
        rest: [0; 160],
    };
    // SAFETY: `DriverInfo` has the size and layout that ETHTOOL_GDRVINFO writes.
    unsafe { ethtool(ifindex, &mut info) }
        .map_err(|error| wrap(ifindex, "read the driver", error))?;
    Ok(CStr::from_bytes_until_nul(&info.driver)
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned())
}

/// Whether `ifindex` is one end of a virtual Ethernet pair.
///
/// # Errors
///
/// As [`driver`].
pub fn is_veth(ifindex: u32) -> Result<bool, FeaturesError> {
    driver(ifindex).map(|name| name == "veth")
}

/// Whether `ifindex` takes VLAN tags off received frames before any program sees them.
///
/// # Errors
///
/// [`FeaturesError`] if there is no such interface or it cannot be asked.
pub fn rx_vlan_offload(ifindex: u32) -> Result<bool, FeaturesError> {
    flags(ifindex).map(|flags| flags & ETH_FLAG_RXVLAN != 0)
}

/// Turns receive VLAN offload on or off. Needs CAP_NET_ADMIN.
///
/// # Errors
///
/// [`FeaturesError`] if there is no such interface or its driver cannot change this.
pub fn set_rx_vlan_offload(ifindex: u32, on: bool) -> Result<(), FeaturesError> {
    let flags = flags(ifindex)?;
    let wanted = if on {
        flags | ETH_FLAG_RXVLAN
    } else {
        flags & !ETH_FLAG_RXVLAN
    };
    if wanted == flags {
        return Ok(());
    }
    let mut value = FlagsValue {
        command: ETHTOOL_SFLAGS,
        flags: wanted,
    };
    // SAFETY: `FlagsValue` is the `struct ethtool_value` that ETHTOOL_SFLAGS reads.
    unsafe { ethtool(ifindex, &mut value) }
        .map_err(|error| wrap(ifindex, "change the receive VLAN offload", error))
}

fn flags(ifindex: u32) -> Result<u32, FeaturesError> {
    let mut value = FlagsValue {
        command: ETHTOOL_GFLAGS,
        flags: 0,
    };
    // SAFETY: `FlagsValue` is the `struct ethtool_value` that ETHTOOL_GFLAGS writes.
    unsafe { ethtool(ifindex, &mut value) }
        .map_err(|error| wrap(ifindex, "read the offloads", error))?;
    Ok(value.flags)
}

fn wrap(ifindex: u32, what: &'static str, error: io::Error) -> FeaturesError {
    match error.raw_os_error() {
        Some(libc::ENODEV | libc::ENXIO) => FeaturesError::NoInterface(ifindex),
        _ => FeaturesError::Refused {
            what,
            ifindex,
            error,
        },
    }
}

// linux/ethtool.h
const ETHTOOL_GDRVINFO: u32 = 0x03;
const ETHTOOL_GFLAGS: u32 = 0x25;
const ETHTOOL_SFLAGS: u32 = 0x26;
const ETH_FLAG_RXVLAN: u32 = 1 << 8;
/// `SIOCETHTOOL` (linux/sockios.h).
const SIOCETHTOOL: u64 = 0x8946;

/// `struct ethtool_drvinfo`.
#[repr(C)]
struct DriverInfo {
    command: u32,
    driver: [u8; 32],
    /// Versions, bus address, and counts of things.
    rest: [u8; 160],
}

const _: () = assert!(size_of::<DriverInfo>() == 196);

/// `struct ethtool_value`.
#[repr(C)]
struct FlagsValue {
    command: u32,
    flags: u32,
}

/// `SIOCETHTOOL` with `request`, in whose first field the command stands.
///
/// # Safety
///
/// `T` must be the structure, of full size, that its command reads and writes.
unsafe fn ethtool<T>(ifindex: u32, request: &mut T) -> io::Result<()> {
    let socket: OwnedFd = std::net::UdpSocket::bind("0.0.0.0:0")?.into();
    // SAFETY: all zero is a valid `ifreq`.
    let mut ifreq: libc::ifreq = unsafe { std::mem::zeroed() };
    // SAFETY: `ifr_name` has the IF_NAMESIZE bytes that may be written.
    if unsafe { libc::if_indextoname(ifindex, ifreq.ifr_name.as_mut_ptr()) }.is_null() {
        return Err(io::Error::last_os_error());
    }
    ifreq.ifr_ifru.ifru_data = std::ptr::from_mut(request).cast();
    // SAFETY: `ifreq` names the interface and points to `request`, which the caller vouches for; both outlive the call.
    match unsafe { libc::ioctl(socket.as_raw_fd(), SIOCETHTOOL as _, &mut ifreq) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

// linux/genetlink.h, linux/netdev.h, linux/netlink.h
const GENL_ID_CTRL: u16 = 0x10;
const CTRL_CMD_GETFAMILY: u8 = 3;
const CTRL_ATTR_FAMILY_ID: u16 = 1;
const CTRL_ATTR_FAMILY_NAME: u16 = 2;
const NETDEV_CMD_DEV_GET: u8 = 1;
const NETDEV_A_DEV_IFINDEX: u16 = 1;
const NETDEV_A_DEV_XDP_FEATURES: u16 = 3;
const NLMSG_HDRLEN: usize = 16;
const GENL_HDRLEN: usize = 4;
const NLA_HDRLEN: usize = 4;
const NLM_F_REQUEST: u16 = 1;
const NLMSG_ERROR: u16 = 2;

// linux/rtnetlink.h, linux/if_link.h
const RTM_GETLINK: u16 = 18;
const IFINFO_LEN: usize = 16;
const IFLA_XDP: u16 = 43;
/// `IFLA_XDP_PROG_ID` where there is one program, and where there are several `IFLA_XDP_DRV_PROG_ID` and its siblings.
const IFLA_XDP_PROG_IDS: [u16; 4] = [4, 5, 6, 7];

/// A netlink socket, for one question at a time.
struct Netlink(Socket);

impl Netlink {
    fn open(protocol: isize) -> io::Result<Self> {
        let mut socket = Socket::new(protocol)?;
        socket.bind_auto()?;
        Ok(Self(socket))
    }

    /// The attributes of the answer to one command of a generic family.
    fn ask_family(&mut self, family: u16, command: u8, attributes: &[u8]) -> io::Result<Vec<u8>> {
        // Version 1.
        let message = [&[command, 1, 0, 0], attributes].concat();
        self.ask(family, &message, GENL_HDRLEN)
    }

    /// The attributes of the answer to one question, behind a header of such a length. The kernel answers while the question is
    /// sent, so this never waits.
    fn ask(&mut self, kind: u16, question: &[u8], header: usize) -> io::Result<Vec<u8>> {
        let length = NLMSG_HDRLEN + question.len();
        let mut message = Vec::with_capacity(length);
        message.extend(
            u32::try_from(length)
                .map_err(io::Error::other)?
                .to_ne_bytes(),
        );
        message.extend(kind.to_ne_bytes());
        message.extend(NLM_F_REQUEST.to_ne_bytes());
        message.extend([0; 8]); // sequence and port
        message.extend(question);
        self.0.send_to(&message, &SocketAddr::new(0, 0), 0)?;
        let (answer, _) = self.0.recv_from_full()?;
        let short = || {
            io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "the kernel's answer is cut short",
            )
        };
        let kind = u16::from_ne_bytes(
            answer
                .get(4..6)
                .and_then(|kind| kind.try_into().ok())
                .ok_or_else(short)?,
        );
        let body = answer.get(NLMSG_HDRLEN..).ok_or_else(short)?;
        if kind == NLMSG_ERROR {
            let code = body
                .get(..4)
                .and_then(|code| code.try_into().ok())
                .ok_or_else(short)?;
            return Err(io::Error::from_raw_os_error(-i32::from_ne_bytes(code)));
        }
        body.get(header..).map(<[u8]>::to_vec).ok_or_else(short)
    }
}

/// A netlink attribute, padded to four bytes.
fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let length = u16::try_from(NLA_HDRLEN + value.len()).unwrap_or(u16::MAX);
    let mut bytes = [length.to_ne_bytes(), kind.to_ne_bytes()].concat();
    bytes.extend(value);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

/// The value of the first attribute of this kind.
fn find_attribute(mut attributes: &[u8], kind: u16) -> Option<&[u8]> {
    loop {
        let header = attributes.get(..NLA_HDRLEN)?;
        let length = usize::from(u16::from_ne_bytes([header[0], header[1]]));
        let value = attributes.get(NLA_HDRLEN..length)?;
        if u16::from_ne_bytes([header[2], header[3]]) == kind {
            return Some(value);
        }
        attributes = attributes.get(length.next_multiple_of(4)..)?;
    }
}

#[cfg(test)]
mod tests {
    use super::super::namespace::Namespace;
    use super::*;

    fn index(name: &str) -> u32 {
        let name = std::ffi::CString::new(name).unwrap();
        // SAFETY: `name` ends with a nul.
        unsafe { libc::if_nametoindex(name.as_ptr()) }
    }

    #[test]
    fn a_veth_says_what_it_is_and_can_do() {
        let Some((near, _far)) = Namespace::pair() else {
            return;
        };
        near.run(|| {
            let eth0 = index("eth0");
            assert_eq!(
                (driver(eth0).unwrap().as_str(), is_veth(eth0).unwrap()),
                ("veth", true)
            );
            match xdp(eth0).unwrap() {
                XdpFeatures::Unknown => {
                    eprintln!("skipped: this kernel does not tell XDP features");
                }
                XdpFeatures::Known {
                    basic,
                    redirect,
                    ndo_xmit,
                    ..
                } => {
                    // Nothing takes redirected frames at the far end: neither a program nor GRO.
                    assert_eq!((basic, redirect, ndo_xmit), (true, true, false));
                }
            }
        });
    }

    #[test]
    fn receive_vlan_offload_can_be_turned_off_and_on() {
        let Some((near, _far)) = Namespace::pair() else {
            return;
        };
        near.run(|| {
            let eth0 = index("eth0");
            for on in [false, false, true] {
                set_rx_vlan_offload(eth0, on).unwrap();
                assert_eq!(rx_vlan_offload(eth0).unwrap(), on);
            }
        });
    }

    #[test]
    fn an_interface_that_is_not_there_is_said_so() {
        let missing = u32::try_from(i32::MAX).unwrap();
        assert!(matches!(
            driver(missing),
            Err(FeaturesError::NoInterface(_))
        ));
        assert!(matches!(
            rx_vlan_offload(missing),
            Err(FeaturesError::NoInterface(_))
        ));
        assert!(matches!(
            xdp(missing),
            Err(FeaturesError::NoInterface(_)) | Ok(XdpFeatures::Unknown)
        ));
    }

    #[test]
    fn attributes_are_found_and_nonsense_is_not_followed() {
        let bytes = [attribute(1, b"abcde"), attribute(3, &7u64.to_ne_bytes())].concat();
        assert_eq!(find_attribute(&bytes, 1), Some(&b"abcde"[..]));
        assert_eq!(find_attribute(&bytes, 3), Some(&7u64.to_ne_bytes()[..]));
        assert_eq!(find_attribute(&bytes, 2), None);
        for cut in 0..bytes.len() {
            assert_eq!(find_attribute(&bytes[..cut], 3), None, "{cut} bytes");
        }
        assert_eq!(find_attribute(&[0; 16], 3), None, "a length of zero");
    }
}
