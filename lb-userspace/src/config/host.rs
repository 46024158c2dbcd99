//! What a configuration asks of the host that it is to run on. The one part of this folder that looks at the machine;
//! it opens no socket and changes nothing.

use std::{
    ffi::CString,
    fs,
    ops::RangeInclusive,
    path::{Path, PathBuf},
};

use super::{
    Loaded,
    diagnostic::{Diagnostic, Severity},
    model::{Attach, Forward, LogDestination, Mode},
    source::Span,
};

/// Fewer ephemeral ports than this are soon used up by connections to servers.
const FEW_EPHEMERAL: usize = 20_000;
/// Capabilities that the kernel path needs, by their number in capabilities(7).
const CAPABILITIES: [(u32, &str); 3] =
    [(12, "CAP_NET_ADMIN"), (39, "CAP_BPF"), (38, "CAP_PERFMON")];
/// Stands for [`CAPABILITIES`] on kernels before 5.8.
const CAP_SYS_ADMIN: u32 = 21;

/// What can be asked of a host.
pub trait Host {
    /// Whether there is such a user.
    fn has_user(&self, name: &str) -> bool;
    /// Whether there is such a group.
    fn has_group(&self, name: &str) -> bool;
    /// Whether there is such an interface in this network namespace.
    fn has_interface(&self, name: &str) -> bool;
    /// Whether there is such a folder.
    fn has_folder(&self, path: &Path) -> bool;
    /// Whether the process runs as root.
    fn is_root(&self) -> bool;
    /// Effective capabilities, a bit each; `None` if they cannot be told.
    fn capabilities(&self) -> Option<u64>;
    /// Ports of the kernel's own choice (ip_local_port_range).
    fn ephemeral_ports(&self) -> Option<RangeInclusive<u16>>;
    /// Ports that it does not choose (ip_local_reserved_ports).
    fn reserved_ports(&self) -> Vec<RangeInclusive<u16>>;
    /// TCP ports that something listens on in this network namespace.
    fn listening_ports(&self) -> Vec<u16>;
}

/// Warnings and errors about a configuration on this host.
pub fn check(loaded: &Loaded, host: &dyn Host) -> Vec<Diagnostic> {
    let (config, places) = (&loaded.config, &loaded.places);
    let mut found = Vec::new();
    let global = &config.global;
    if let Some(user) = global.user.as_deref().filter(|user| !host.has_user(user)) {
        let diagnostic = placed(
            Severity::Error,
            places.user,
            format!("this host has no user `{user}`"),
        );
        found.push(diagnostic.mend(format!("create it: `useradd --system {user}`")));
    }
    if let Some(group) = global
        .group
        .as_deref()
        .filter(|group| !host.has_group(group))
    {
        let diagnostic = placed(
            Severity::Error,
            places.group,
            format!("this host has no group `{group}`"),
        );
        found.push(diagnostic.mend(format!("create it: `groupadd --system {group}`")));
    }
    if global.user.is_none() && host.is_root() {
        let message = "`global.user` is not set: the daemon stays root";
        found
            .push(placed(Severity::Warning, None, message).mend("write `user: lb` below `global`"));
    }
    folders(loaded, host, &mut found);
    if let Some(stats) = &config.stats
        && stats.auth.is_empty()
        && stats
            .binds
            .iter()
            .any(|bind| !bind.address.ip().is_loopback())
    {
        let message = "`stats.auth` is not set: everyone who reaches it sees the statistics";
        found.push(
            placed(Severity::Warning, places.stats, message)
                .mend("write `auth: { USER: PASSWORD }`, or bind to `127.0.0.1`"),
        );
    }
    if global.fast_path.attach != Attach::Off {
        fast_path(loaded, host, &mut found);
    }
    found
}

/// Folders of the files that the daemon makes.
fn folders(loaded: &Loaded, host: &dyn Host, found: &mut Vec<Diagnostic>) {
    let (global, places) = (&loaded.config.global, &loaded.places);
    let mut wanted: Vec<(&PathBuf, Option<Span>, Severity)> = Vec::new();
    for (index, target) in global.log.iter().enumerate() {
        if let LogDestination::File(path) | LogDestination::Unix(path) = &target.target {
            wanted.push((path, places.log.get(index).copied(), Severity::Error));
        }
    }
    wanted.extend(
        global
            .pidfile
            .iter()
            .map(|path| (path, places.pidfile, Severity::Error)),
    );
    for (path, span, severity) in wanted {
        if let Some(folder) = path.parent().filter(|folder| !host.has_folder(folder)) {
            let folder = folder.display();
            let diagnostic = placed(
                severity,
                span,
                format!("there is no folder `{folder}` for `{}`", path.display()),
            );
            found.push(diagnostic.mend(format!("create it: `mkdir -p {folder}`")));
        }
    }
}

/// Interfaces, capabilities and ports of the kernel path.
fn fast_path(loaded: &Loaded, host: &dyn Host, found: &mut Vec<Diagnostic>) {
    let (config, places) = (&loaded.config, &loaded.places);
    let path = &config.global.fast_path;
    for (index, name) in path
        .interfaces
        .iter()
        .enumerate()
        .filter(|(_, name)| !host.has_interface(name))
    {
        let span = places.interfaces.get(index).copied();
        found.push(
            placed(
                Severity::Error,
                span,
                format!("this network namespace has no interface `{name}`"),
            )
            .mend("`ip link` lists them"),
        );
    }
    let in_kernel = |forward| {
        config
            .backends
            .iter()
            .any(|b| b.mode == Mode::Tcp && b.forward == forward)
    };
    if !in_kernel(Forward::FullNat) && !in_kernel(Forward::Dsr) {
        return;
    }
    if let Some(held) = host
        .capabilities()
        .filter(|held| held >> CAP_SYS_ADMIN & 1 == 0)
    {
        let lacking: Vec<&str> = CAPABILITIES
            .iter()
            .filter(|(bit, _)| held >> bit & 1 == 0)
            .map(|(_, name)| *name)
            .collect();
        if !lacking.is_empty() {
            let message = format!(
                "this process lacks {} for the kernel path",
                lacking.join(", ")
            );
            let mend = match path.attach {
                Attach::Auto => {
                    "start the daemon as root; as it is now, userspace serves every frontend"
                }
                _ => "start the daemon as root, or write `attach: auto` or `off`",
            };
            found.push(placed(Severity::Warning, places.attach, message).mend(mend));
        }
    }
    if in_kernel(Forward::FullNat) {
        ports(loaded, host, found);
    }
}

/// The ports that full NAT takes, against those that others need.
fn ports(loaded: &Loaded, host: &dyn Host, found: &mut Vec<Diagnostic>) {
    let range = &loaded.config.global.fast_path.snat_ports;
    let span = loaded.places.snat_ports;
    let mut listening: Vec<u16> = host
        .listening_ports()
        .into_iter()
        .filter(|port| range.contains(port))
        .collect();
    listening.sort_unstable();
    listening.dedup();
    if !listening.is_empty() {
        let shown: Vec<String> = listening.iter().take(10).map(u16::to_string).collect();
        let more = if listening.len() > shown.len() {
            ", …"
        } else {
            ""
        };
        let message = format!(
            "something listens on ports of the range {}-{} that full NAT takes: {}{more}",
            range.start(),
            range.end(),
            shown.join(", "),
        );
        found.push(
            placed(Severity::Warning, span, message)
                .mend("these ports are left out; another `snat_ports` range avoids them"),
        );
    }
    if let Some(ephemeral) = host.ephemeral_ports() {
        let reserved = host.reserved_ports();
        let left = ephemeral
            .clone()
            .filter(|port| {
                !range.contains(port) && !reserved.iter().any(|other| other.contains(port))
            })
            .count();
        if left < FEW_EPHEMERAL {
            let message = format!(
                "of the ephemeral ports {}-{} only {left} are left beside `snat_ports` and those reserved",
                ephemeral.start(),
                ephemeral.end(),
            );
            found.push(placed(Severity::Warning, span, message).mend(
                "choose a `snat_ports` range outside, or widen net.ipv4.ip_local_port_range",
            ));
        }
    }
}

fn placed(severity: Severity, span: Option<Span>, message: impl Into<String>) -> Diagnostic {
    Diagnostic {
        span,
        ..Diagnostic::unplaced(severity, message)
    }
}

/// The host that this process runs on.
#[derive(Debug, Clone, Copy)]
pub struct ThisHost;

impl Host for ThisHost {
    fn has_user(&self, name: &str) -> bool {
        let Ok(name) = CString::new(name) else {
            return false;
        };
        // SAFETY: passwd is plain old data of pointers and integers, for which zero is a value.
        let mut entry: libc::passwd = unsafe { std::mem::zeroed() };
        let mut found = std::ptr::null_mut();
        look_up(|buffer, size| {
            // SAFETY: the name ends in NUL, `buffer` has `size` bytes, and all of them outlive the call.
            unsafe { libc::getpwnam_r(name.as_ptr(), &mut entry, buffer, size, &mut found) }
        });
        !found.is_null()
    }

    fn has_group(&self, name: &str) -> bool {
        let Ok(name) = CString::new(name) else {
            return false;
        };
        // SAFETY: group is plain old data of pointers and integers, for which zero is a value.
        let mut entry: libc::group = unsafe { std::mem::zeroed() };
        let mut found = std::ptr::null_mut();
        look_up(|buffer, size| {
            // SAFETY: the name ends in NUL, `buffer` has `size` bytes, and all of them outlive the call.
            unsafe { libc::getgrnam_r(name.as_ptr(), &mut entry, buffer, size, &mut found) }
        });
        !found.is_null()
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
        let text =
            fs::read_to_string("/proc/sys/net/ipv4/ip_local_reserved_ports").unwrap_or_default();
        text.trim()
            .split(',')
            .filter_map(|part| {
                let (first, last) = part.split_once('-').unwrap_or((part, part));
                Some(first.parse().ok()?..=last.parse().ok()?)
            })
            .collect()
    }

    fn listening_ports(&self) -> Vec<u16> {
        let tables = ["/proc/self/net/tcp", "/proc/self/net/tcp6"];
        tables
            .iter()
            .flat_map(|path| listeners(&fs::read_to_string(path).unwrap_or_default()))
            .collect()
    }
}

/// Calls one of the `*nam_r` functions with a buffer that is large enough.
fn look_up(mut call: impl FnMut(*mut libc::c_char, usize) -> libc::c_int) {
    let mut size = 1 << 10;
    while size <= 1 << 20 {
        let mut buffer = vec![0; size];
        if call(buffer.as_mut_ptr(), size) != libc::ERANGE {
            return;
        }
        size *= 4;
    }
}

/// Ports in state 0A (TCP_LISTEN) of a table as /proc/net/tcp has it.
fn listeners(table: &str) -> Vec<u16> {
    table
        .lines()
        .skip(1)
        .filter_map(|line| {
            let mut fields = line.split_whitespace().skip(1);
            let local = fields.next()?;
            let state = fields.nth(1)?;
            let (_, port) = local.rsplit_once(':')?;
            if state == "0A" {
                u16::from_str_radix(port, 16).ok()
            } else {
                None
            }
        })
        .collect()
}
