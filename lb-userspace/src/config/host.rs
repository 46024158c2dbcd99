//! What a configuration asks of the host that it is to run on. The one part of this folder that looks at the machine;
//! it opens no socket and changes nothing.

pub(super) mod names;
mod this;
mod tls;
mod unix;

use std::{
    collections::HashSet,
    net::{IpAddr, SocketAddr},
    ops::RangeInclusive,
    path::{Path, PathBuf},
};

use rustix::thread::CapabilitySet;

use super::{
    Loaded,
    diagnostic::{Diagnostic, Severity},
    model::{Attach, FastPath, Forward, Mode, SnatAddresses},
    source::Span,
};
use crate::{
    capabilities::{self, Capability},
    tls::{BindOptions, Checked, ServerOptions},
};

pub(super) use self::tls::check_tls;

pub use this::{ThisHost, sysctl};

/// Memory of the host for each flow that it may have unless the file says otherwise. A flow takes 256 to 400 bytes in the
/// two directions of full NAT, so the tables take a twentieth of the memory at most.
const MEMORY_PER_FLOW: u64 = 8 << 10;
/// Fewest flows by default: what a host of 512 MiB gets.
const FEWEST_FLOWS: u32 = 1 << 16;
/// Most flows by default, what a host of 32 GiB gets: who wants more says so.
const MOST_FLOWS: u32 = 1 << 22;
/// Fewer ephemeral ports than this are soon used up by connections to servers.
const FEW_EPHEMERAL: usize = 20_000;

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
    /// TCP and UDP ports that something listens on in this network namespace.
    fn listening_ports(&self) -> Vec<u16>;
    /// Bytes of memory that this process may use, if that can be told.
    fn memory(&self) -> Option<u64>;
    /// Addresses of a host name, in the order in which they are to be tried.
    fn addresses(&self, name: &str) -> std::io::Result<Vec<IpAddr>> {
        names::addresses(name)
    }
    /// Reads the certificates and keys of a bind, and says what else there is to say of them.
    fn bind_tls(&self, options: &BindOptions) -> Checked {
        crate::tls::check_bind(options)
    }
    /// Reads the certificates and keys for a server.
    fn server_tls(&self, options: &ServerOptions) -> Checked {
        crate::tls::check_server(options)
    }
}

/// Kernel flows at a time where the file does not say: one for each [`MEMORY_PER_FLOW`] bytes of memory, within
/// [`FEWEST_FLOWS`] and [`MOST_FLOWS`].
pub fn max_flows(fast_path: &FastPath, host: &dyn Host) -> u32 {
    let suggested = || {
        let flows = host.memory().unwrap_or(0) / MEMORY_PER_FLOW;
        u32::try_from(flows)
            .unwrap_or(u32::MAX)
            .clamp(FEWEST_FLOWS, MOST_FLOWS)
    };
    fast_path.max_flows.unwrap_or_else(suggested)
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
    unix::check(config, host, &mut found);
    found.extend(check_tls(&loaded.places.tls, host));
    found.extend(tls::check_names(config));
    if let Some(stats) = &config.stats
        && stats.auth.is_none()
        && stats
            .binds
            .iter()
            .any(|bind| bind.address.ip().is_some_and(|ip| !ip.is_loopback()))
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
    let log = places.log_files.iter();
    wanted.extend(log.map(|(path, span)| (path, Some(*span), Severity::Error)));
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

/// Interfaces, capabilities and ports of the kernel path. An interface may come later, so that none is an error.
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
                Severity::Warning,
                span,
                format!("this network namespace has no interface `{name}`"),
            )
            .mend("`ip link` lists those that are here"),
        );
    }
    let in_kernel = |wanted: &dyn Fn(Forward) -> bool| {
        config
            .backends
            .iter()
            .any(|b| b.mode == Mode::Tcp && wanted(b.forward))
    };
    if !in_kernel(&|forward| forward != Forward::Proxy) {
        return;
    }
    if let Some(held) = host.capabilities().map(CapabilitySet::from_bits_retain) {
        let lacking: Vec<Capability> = Capability::KERNEL_PATH
            .into_iter()
            .filter(|capability| !capability.is_in(held))
            .collect();
        if !lacking.is_empty() {
            let message = format!(
                "this process lacks {} for the kernel path",
                capabilities::explain(&lacking)
            );
            let mend = match path.attach {
                Attach::Auto => {
                    "start the daemon as root or with these capabilities; as it is now, userspace serves every frontend"
                }
                _ => {
                    "start the daemon as root or with these capabilities, or write `attach: auto` or `off`"
                }
            };
            found.push(placed(Severity::Warning, places.attach, message).mend(mend));
        }
    }
    if in_kernel(&|forward| forward == Forward::FullNat) {
        ports(loaded, host, found);
        room(loaded, found);
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

/// Whether full NAT has source ports for as many flows as the file asks for: each server can have as many as there are
/// addresses times ports.
fn room(loaded: &Loaded, found: &mut Vec<Diagnostic>) {
    let (config, path) = (&loaded.config, &loaded.config.global.fast_path);
    let kernel = || {
        let tcp = config.backends.iter().filter(|b| b.mode == Mode::Tcp);
        tcp.filter(|b| b.forward != Forward::Proxy)
    };
    // Other modes have flows that need no port.
    let Some(wanted) = path
        .max_flows
        .filter(|_| kernel().all(|b| b.forward == Forward::FullNat))
    else {
        return;
    };
    let addresses = match &path.snat_addresses {
        SnatAddresses::Auto | SnatAddresses::Service => 1,
        SnatAddresses::List(list) => list.len() as u64,
    };
    let servers: HashSet<SocketAddr> = kernel()
        .flat_map(|b| b.servers.iter().filter_map(|server| server.address.inet()))
        .collect();
    let each = servers.len() as u64 * path.snat_ports.len() as u64;
    if each == 0 || u64::from(wanted) <= each * addresses {
        return;
    }
    let count = |n: u64, one: &str, more: &str| format!("{n} {}", if n == 1 { one } else { more });
    let of_addresses = |n| count(n, "address", "addresses");
    let message = format!(
        "`max_flows` is {wanted}, but full NAT has source ports for {}: {} × {} ports × {}",
        each * addresses,
        of_addresses(addresses),
        path.snat_ports.len(),
        count(servers.len() as u64, "server", "servers"),
    );
    let needed = u64::from(wanted).div_ceil(each);
    found.push(
        placed(Severity::Warning, loaded.places.max_flows, message).mend(format!(
            "list {} in `snat_addresses`, widen `snat_ports`, or lower `max_flows`",
            of_addresses(needed),
        )),
    );
}

fn placed(severity: Severity, span: Option<Span>, message: impl Into<String>) -> Diagnostic {
    Diagnostic {
        span,
        ..Diagnostic::unplaced(severity, message)
    }
}

#[cfg(test)]
mod tests {
    use super::{super::parse, *};

    /// A host of which everything can be said.
    #[derive(Default)]
    struct Imagined {
        root: bool,
        capabilities: u64,
        ephemeral: Option<RangeInclusive<u16>>,
        reserved: Vec<RangeInclusive<u16>>,
        listening: Vec<u16>,
        memory: Option<u64>,
    }

    impl Host for Imagined {
        fn has_user(&self, name: &str) -> bool {
            name == "lb"
        }
        fn has_group(&self, name: &str) -> bool {
            name == "lb"
        }
        fn has_interface(&self, name: &str) -> bool {
            name == "eth0"
        }
        fn has_folder(&self, path: &Path) -> bool {
            path == Path::new("/var/log")
        }
        fn is_root(&self) -> bool {
            self.root
        }
        fn capabilities(&self) -> Option<u64> {
            Some(self.capabilities)
        }
        fn ephemeral_ports(&self) -> Option<RangeInclusive<u16>> {
            self.ephemeral.clone()
        }
        fn reserved_ports(&self) -> Vec<RangeInclusive<u16>> {
            self.reserved.clone()
        }
        fn listening_ports(&self) -> Vec<u16> {
            self.listening.clone()
        }
        fn memory(&self) -> Option<u64> {
            self.memory
        }
    }

    const ALL: u64 = u64::MAX;
    const FULLNAT: &str = "frontends:\n  t: { mode: tcp, bind: '*:80', default_backend: app }\nbackends:\n  \
                           app: { servers: [{ name: s1, address: '192.0.2.1:80' }] }\n";

    fn said(text: &str, host: &Imagined) -> Vec<String> {
        let loaded = parse("lb.yaml", text, &|_| None).unwrap();
        let place = |d: &Diagnostic| {
            d.span.map_or("-".to_owned(), |s| {
                format!("{}:{}", s.start.line, s.start.column)
            })
        };
        check(&loaded, host)
            .iter()
            .map(|d| format!("{} {}: {}", place(d), d.severity.as_str(), d.message))
            .collect()
    }

    #[test]
    fn names_what_the_host_lacks() {
        let text = "global:\n  user: nobody-here\n  group: none-here\n  pidfile: /nowhere/lb.pid\n  log: [{ target: \
                    /var/log/lb.log }, { target: /missing/lb.log }]\n  fast_path: { interfaces: [eth0, eth7] }\nstats: { \
                    bind: '127.0.0.1:1080' }\n";
        assert_eq!(
            said(
                text,
                &Imagined {
                    root: true,
                    ..Imagined::default()
                }
            ),
            [
                "2:9 error: this host has no user `nobody-here`",
                "3:10 error: this host has no group `none-here`",
                "5:48 error: there is no folder `/missing` for `/missing/lb.log`",
                "4:12 error: there is no folder `/nowhere` for `/nowhere/lb.pid`",
                "6:35 warning: this network namespace has no interface `eth7`",
            ]
        );
        assert!(
            said(
                "global: { user: lb }\nstats: { bind: '[::1]:80' }\n",
                &Imagined::default()
            )
            .is_empty()
        );
    }

    #[test]
    fn warns_of_open_statistics_and_of_root() {
        assert_eq!(
            said(
                "global: { fast_path: { attach: off } }\nstats: { bind: '*:1080' }\n",
                &Imagined {
                    root: true,
                    ..Imagined::default()
                }
            ),
            [
                "- warning: `global.user` is not set: the daemon stays root",
                "2:1 warning: `stats.auth` is not set: everyone who reaches it sees the statistics",
            ]
        );
    }

    #[test]
    fn counts_the_ports_that_are_left() {
        let host = Imagined {
            capabilities: ALL,
            ephemeral: Some(32_768..=60_999),
            listening: vec![22, 12_000, 10_000, 12_000],
            ..Imagined::default()
        };
        let listened = "- warning: something listens on ports of the range 10000-32767 that full NAT takes: 10000, 12000";
        assert_eq!(said(FULLNAT, &host), [listened]);
        let host = Imagined {
            reserved: vec![40_000..=49_999],
            listening: vec![],
            ..host
        };
        assert_eq!(
            said(FULLNAT, &host),
            [
                "- warning: of the ephemeral ports 32768-60999 only 18232 are left beside `snat_ports` and those reserved"
            ]
        );
        assert!(
            said(
                &format!("global: {{ fast_path: {{ attach: off }} }}\n{FULLNAT}"),
                &host
            )
            .is_empty()
        );
    }

    #[test]
    fn does_the_arithmetic_of_source_ports() {
        let host = Imagined {
            capabilities: ALL,
            ..Imagined::default()
        };
        let text = |path: &str, forward: &str| {
            format!(
                "global: {{ fast_path: {{ {path} }} }}\n{}",
                FULLNAT.replace("app: {", &format!("app: {{ forward: {forward},"))
            )
        };
        assert_eq!(
            said(&text("max_flows: 50000", "fullnat"), &host),
            [
                "1:35 warning: `max_flows` is 50000, but full NAT has source ports for 22768: 1 address × 22768 ports × 1 server"
            ]
        );
        for (path, forward) in [
            ("max_flows: 20000", "fullnat"),
            ("max_flows: 50000", "nat"),
            (
                "max_flows: 50000, snat_addresses: [192.0.2.7, 192.0.2.8, 192.0.2.9]",
                "fullnat",
            ),
            ("on_stop: keep", "fullnat"),
        ] {
            let said = said(&text(path, forward), &host);
            assert!(said.is_empty(), "{path}, {forward}: {said:?}");
        }
    }

    #[test]
    fn flows_follow_the_memory_unless_the_file_says() {
        let flows = |gigabytes: u64, written| {
            let host = Imagined {
                memory: Some(gigabytes << 30),
                ..Imagined::default()
            };
            let fast_path = FastPath {
                max_flows: written,
                ..FastPath::default()
            };
            max_flows(&fast_path, &host)
        };
        assert_eq!(flows(8, None), 1 << 20);
        assert_eq!(flows(8, Some(5000)), 5000);
        assert_eq!(flows(1 << 20, None), MOST_FLOWS);
        assert_eq!(
            max_flows(&FastPath::default(), &Imagined::default()),
            FEWEST_FLOWS
        );
    }

    #[test]
    fn says_which_capabilities_are_lacking() {
        let host = Imagined {
            capabilities: 1 << 12,
            ..Imagined::default()
        };
        assert_eq!(
            said(FULLNAT, &host),
            [
                "- warning: this process lacks CAP_BPF (to load the kernel program, to open its maps and to write them) \
                 and CAP_PERFMON (to spare the verifier mispredicted branches, with which the kernel program is too \
                 complex for it) for the kernel path"
            ]
        );
        let http = FULLNAT.replace("tcp", "http");
        assert!(
            said(&http, &host).is_empty(),
            "mode http needs no kernel path"
        );
    }

    #[test]
    fn checks_without_the_name_that_requests_have_are_told_of() {
        let of = |tls: &str, check: &str| {
            let text = format!(
                "frontends: {{ f: {{ bind: '*:80', default_backend: app }} }}\nbackends:\n  app: {{ health_check: {check}, servers: \
                 [{{ name: s1, address: '192.0.2.1:443', tls: {tls} }}, {{ name: s2, address: '192.0.2.2:443' }}] }}\n"
            );
            let said = said(&text, &Imagined::default());
            said.iter().any(|line| {
                line.starts_with("- warning: backend app: checks of `s1` have no request")
            })
        };
        let computed = "{ ca: ca.pem, sni: '%[host]' }";
        assert!(of(computed, "{ type: https }"));
        assert!(of(computed, "{ type: http }"));
        assert!(of(computed, "{ type: tcp }"));
        for (tls, check) in [
            (computed, "{ type: none }"),
            (computed, "{ type: ssl }"),
            (computed, "{ type: http, tls: false }"),
            (computed, "{ type: http, port: 81 }"),
            (computed, "{ type: https, host: a.example }"),
            (computed, "{ type: https, tls: { sni: a.example } }"),
            (computed, "{ type: https, tls: { verify: chain } }"),
            ("{ verify: none, sni: '%[host]' }", "{ type: https }"),
            ("{ verify: chain, sni: '%[host]' }", "{ type: https }"),
            ("{ sni: a.example }", "{ type: https }"),
        ] {
            assert!(!of(tls, check), "{tls} {check}");
        }
    }
}
