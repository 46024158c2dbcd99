//! The host that this process runs on.

use std::{
    collections::BTreeSet,
    ffi::CString,
    fs,
    io::{self, Read as _},
    ops::RangeInclusive,
    path::{Path, PathBuf},
};

use super::Host;
use crate::{
    accounts,
    tls::{self, BindOptions, Checked, Remark, ServerOptions},
};

/// The host that this process runs on.
#[derive(Debug, Clone, Default)]
pub struct ThisHost {
    held: BTreeSet<PathBuf>,
}

impl ThisHost {
    /// The same as a daemon sees it that has given up its rights: it may have these files of TLS in use, which it could not
    /// read now.
    pub fn holding(held: BTreeSet<PathBuf>) -> Self {
        Self { held }
    }

    /// Of what may not be read any more, what was read before is in use, unless it is to be served in another way: then it
    /// is found out when it is loaded.
    fn kept(&self, checked: Checked) -> Checked {
        let Checked {
            mut remarks,
            errors,
        } = checked;
        let (held, errors): (Vec<_>, Vec<_>) = errors.into_iter().partition(|error| {
            let file = error.denied();
            file.is_some_and(|file| self.held.contains(file))
        });
        remarks.extend(held.iter().map(|error| Remark {
            message: format!(
                "{error} for the user `{}`: what was read before stays in use",
                accounts::own_name()
            ),
            mend: error.mend(),
        }));
        Checked { remarks, errors }
    }
}

/// Most that is read of a sysctl, in bytes: more than a list of every other port takes.
const SYSCTL: usize = 256 * 1024;

/// What a file below `/proc/sys` says. By one read, since there is nothing behind the first of a list of ports, however
/// little it has read (proc_do_large_bitmap of the kernel), and the standard library begins with a few bytes.
///
/// # Errors
/// It cannot be read, or is no text.
pub fn sysctl(path: &Path) -> io::Result<String> {
    let mut text = vec![0; SYSCTL];
    let read = fs::File::open(path)?.read(&mut text)?;
    text.truncate(read);
    String::from_utf8(text).map_err(io::Error::other)
}

impl Host for ThisHost {
    fn has_user(&self, name: &str) -> bool {
        accounts::user(name).is_some()
    }

    fn has_group(&self, name: &str) -> bool {
        accounts::group(name).is_some()
    }

    fn has_interface(&self, name: &str) -> bool {
        // SAFETY: the name ends in NUL and outlives the call.
        CString::new(name).is_ok_and(|name| unsafe { libc::if_nametoindex(name.as_ptr()) } != 0)
    }

    fn has_folder(&self, path: &Path) -> bool {
        path.as_os_str().is_empty() || path.is_dir()
    }

    fn is_root(&self) -> bool {
        rustix::process::geteuid().is_root()
    }

    fn capabilities(&self) -> Option<u64> {
        let status = fs::read_to_string("/proc/self/status").ok()?;
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("CapEff:"))?;
        u64::from_str_radix(line.trim(), 16).ok()
    }

    fn ephemeral_ports(&self) -> Option<RangeInclusive<u16>> {
        let text = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").ok()?;
        let mut ports = text.split_whitespace().map(str::parse);
        Some(ports.next()?.ok()?..=ports.next()?.ok()?)
    }

    fn reserved_ports(&self) -> Vec<RangeInclusive<u16>> {
        let path = Path::new("/proc/sys/net/ipv4/ip_local_reserved_ports");
        let text = sysctl(path).unwrap_or_default();
        text.trim()
            .split(',')
            .filter_map(|part| {
                let (first, last) = part.split_once('-').unwrap_or((part, part));
                Some(first.parse().ok()?..=last.parse().ok()?)
            })
            .collect()
    }

    fn listening_ports(&self) -> Vec<u16> {
        let tables = [
            ("/proc/self/net/tcp", LISTENING),
            ("/proc/self/net/tcp6", LISTENING),
            ("/proc/self/net/udp", UNCONNECTED),
            ("/proc/self/net/udp6", UNCONNECTED),
        ];
        tables
            .iter()
            .flat_map(|(path, state)| {
                in_state(&fs::read_to_string(path).unwrap_or_default(), state)
            })
            .collect()
    }

    fn memory(&self) -> Option<u64> {
        let total = total_memory(&fs::read_to_string("/proc/meminfo").ok()?)?;
        // A container's own limit, where there is one; `max` is none.
        let limit = fs::read_to_string("/sys/fs/cgroup/memory.max");
        let limit = limit.ok().and_then(|text| text.trim().parse().ok());
        Some(limit.map_or(total, |limit: u64| limit.min(total)))
    }

    fn bind_tls(&self, options: &BindOptions) -> Checked {
        self.kept(tls::check_bind(options))
    }

    fn server_tls(&self, options: &ServerOptions) -> Checked {
        self.kept(tls::check_server(options))
    }
}

/// TCP_LISTEN as the tables of /proc/net show it.
const LISTENING: &str = "0A";
/// What UDP sockets without a peer show: TCP_CLOSE.
const UNCONNECTED: &str = "07";

/// `MemTotal` of /proc/meminfo in bytes.
fn total_memory(meminfo: &str) -> Option<u64> {
    let line = meminfo
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kibibytes.checked_mul(1024)
}

/// Local ports of the sockets in a state, of a table as /proc/net/tcp and /proc/net/udp have it.
fn in_state(table: &str, wanted: &str) -> Vec<u16> {
    table
        .lines()
        .skip(1)
        .filter_map(|line| {
            let mut fields = line.split_whitespace().skip(1);
            let local = fields.next()?;
            let state = fields.nth(1)?;
            let (_, port) = local.rsplit_once(':')?;
            if state == wanted {
                u16::from_str_radix(port, 16).ok()
            } else {
                None
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_listeners_from_proc() {
        let table = "  sl  local_address rem_address   st tx_queue\n   \
                     0: 0100007F:1F90 00000000:0000 0A 00000000:00000000\n   \
                     1: 0100007F:C350 0100007F:1F90 01 00000000:00000000\n   \
                     2: 00000000000000000000000000000000:0050 00000000000000000000000000000000:0000 0A 0\nrubbish\n";
        assert_eq!(in_state(table, LISTENING), [8080, 80]);
        assert_eq!(in_state(table, "01"), [50_000]);
    }

    #[test]
    fn this_host_answers() {
        let host = ThisHost::default();
        assert!(host.has_user("root") && host.has_group("root"));
        assert!(!host.has_user("no such user") && !host.has_user("a\0b"));
        assert!(host.has_interface("lo") && !host.has_interface("none0"));
        assert!(host.has_folder(Path::new("/")) && !host.has_folder(Path::new("/no/such/folder")));
        assert!(
            host.ephemeral_ports()
                .is_some_and(|ports| !ports.is_empty())
        );
        assert!(host.memory().is_some_and(|bytes| bytes > 1 << 20));
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let listening = ThisHost::default().listening_ports();
        for address in [listener.local_addr(), socket.local_addr()] {
            assert!(listening.contains(&address.unwrap().port()));
        }
    }

    #[test]
    fn reads_the_memory_from_proc() {
        let text = "MemFree:  10 kB\nMemTotal:       16384 kB\n";
        assert_eq!(total_memory(text), Some(16 << 20));
        assert_eq!(total_memory("MemTotal: much kB\n"), None);
    }
}
