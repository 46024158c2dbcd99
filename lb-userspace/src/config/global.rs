//! `global:`

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    num::NonZeroUsize,
    ops::RangeInclusive,
    path::{Path, PathBuf},
    time::Duration,
};

use super::{
    address, admin,
    decode::Decoder,
    draft::Places,
    elsewhere, logging,
    model::{
        Attach, CheckSpread, FastPath, Global, HealthFile, LogDestination, LogFormat, LogTarget,
        OnStop, Prefix, SnatAddresses,
    },
    process,
    source::Spanned,
    tree::{Entry, Kind, Node},
    units::Problem,
};

/// `notice`: without `log`, changes of state go to standard error and requests do not.
const STDERR_LEVEL: u8 = 5;
/// The admin socket where the file says nothing else.
const DEFAULT_SOCKET: &str = "/run/lb/admin.sock";
/// Longest interface name (IFNAMSIZ less its NUL).
const MAX_INTERFACE: usize = 15;

impl Default for Global {
    fn default() -> Self {
        Global {
            threads: None,
            maxconn: None,
            user: None,
            group: None,
            pidfile: None,
            stats_file: None,
            check_spread: CheckSpread::default(),
            grace: Duration::from_secs(30),
            admin_socket: PathBuf::from(DEFAULT_SOCKET),
            admin_sockets: vec![admin::default(Path::new(DEFAULT_SOCKET))],
            watch_config: false,
            health_file: None,
            log: vec![LogTarget::new(
                LogDestination::Stderr,
                logging::DEFAULT_FACILITY,
                STDERR_LEVEL,
                LogFormat::Text,
            )],
            log_tag: None,
            log_hostname: None,
            fast_path: FastPath::default(),
        }
    }
}

impl Default for FastPath {
    fn default() -> Self {
        FastPath {
            attach: Attach::Auto,
            interfaces: Vec::new(),
            pin_path: PathBuf::from("/sys/fs/bpf/lb"),
            max_flows: None,
            new_flows_per_source: 0,
            deny: Vec::new(),
            snat_ports: 10_000..=32_767,
            snat_addresses: SnatAddresses::Auto,
            on_stop: OnStop::Detach,
        }
    }
}

/// Reads `global:`, and keeps the places that [`super::host`] may have to point to.
pub(super) fn decode(d: &mut Decoder<'_>, entry: Option<&Entry>, places: &mut Places) -> Global {
    let mut global = Global::default();
    let Some(mut table) = entry.and_then(|e| d.table(&e.value, e.key_span, "`global`")) else {
        return global;
    };
    if let Some(e) = table.take("threads") {
        let threads = d.number_or(&e.value, "`threads`", "auto", 1..=1024_u32);
        global.threads = threads
            .flatten()
            .and_then(|threads| NonZeroUsize::new(threads as usize));
    }
    if let Some(e) = table.take("maxconn") {
        global.maxconn = d.number(&e.value, "`maxconn`", 1..=u32::MAX);
    }
    if let Some(e) = table.take("user") {
        global.user = d.line(&e.value, "`user`");
        places.user = Some(e.value.span);
    }
    if let Some(e) = table.take("group") {
        global.group = d.line(&e.value, "`group`");
        places.group = Some(e.value.span);
    }
    if let Some(e) = table.take("pidfile") {
        global.pidfile = d.path(&e.value, "`pidfile`");
        places.pidfile = Some(e.value.span);
    }
    if let Some(e) = table.take("spread_checks") {
        let percent = d.number(&e.value, "`spread_checks`", 0..=50_u8);
        global.check_spread.percent = percent.unwrap_or_default();
    }
    if let Some(e) = table.take("max_spread_checks") {
        let first = d.duration(&e.value, "`max_spread_checks`", Duration::from_millis(1));
        global.check_spread.first = first;
    }
    if let Some(e) = table.take("stats_file") {
        global.stats_file = d.path(&e.value, "`stats_file`");
    }
    if let Some(e) = table.take("grace") {
        global.grace = d
            .duration(&e.value, "`grace`", Duration::ZERO)
            .unwrap_or(global.grace);
    }
    if let Some(e) = table.take("admin_socket") {
        admin::decode(d, e, &mut global);
        places.admin_socket = Some(e.value.span);
    }
    if let Some(e) = table.take("watch_config") {
        global.watch_config = d.boolean(&e.value, "`watch_config`").unwrap_or_default();
    }
    if let Some(e) = table.take("health_file") {
        global.health_file = health_file(d, e, places);
    }
    if let Some(e) = table.take("log") {
        global.log = d
            .list(&e.value, "`log`")
            .iter()
            .filter_map(|node| logging::target(d, node))
            .collect();
    }
    global.log_tag = logging::tag(d, &mut table);
    global.log_hostname = logging::hostname(d, &mut table);
    logging::complete(
        &mut global.log,
        global.log_tag.as_ref(),
        global.log_hostname.as_ref(),
    );
    if let Some(e) = table.take("set_var") {
        process::decode(d, e);
    }
    if let Some(e) = table.take("fast_path") {
        global.fast_path = fast_path(d, e, places);
    }
    table.finish(d, &[], elsewhere::GLOBAL);
    global
}

/// How long a stop goes on accepting unless the file says: VRRP moves an address well within it.
const LINGER: Duration = Duration::from_secs(2);

/// `health_file: PATH`, or `{ path, backends, drain, linger }`.
fn health_file(d: &mut Decoder<'_>, entry: &Entry, places: &mut Places) -> Option<HealthFile> {
    if let Kind::Scalar(_) = entry.value.kind
        && !entry.value.is_null()
    {
        return Some(HealthFile {
            path: d.path(&entry.value, "`health_file`")?,
            backends: Vec::new(),
            drain: Duration::ZERO,
            linger: LINGER,
        });
    }
    let mut table = d.table(&entry.value, entry.key_span, "`health_file`")?;
    let path = match table.take("path") {
        Some(e) => d.path(&e.value, "`path`"),
        None => {
            d.missing(&table, "path", "write `path: /run/lb/health`");
            None
        }
    };
    let nodes = table
        .take("backends")
        .map_or_else(Vec::new, |e| d.one_or_more(&e.value).to_vec());
    let named = nodes
        .iter()
        .filter_map(|node| Some((d.text(node, "`backends`")?, node.span)));
    let (backends, spans) = named.unzip();
    places.health_backends = spans;
    let drain = table
        .take("drain")
        .and_then(|e| d.duration(&e.value, "`drain`", Duration::ZERO))
        .unwrap_or_default();
    let linger = table
        .take("linger")
        .and_then(|e| d.duration(&e.value, "`linger`", Duration::ZERO))
        .unwrap_or(LINGER);
    table.finish(d, &[], &[]);
    Some(HealthFile {
        path: path?,
        backends,
        drain,
        linger,
    })
}

fn fast_path(d: &mut Decoder<'_>, entry: &Entry, places: &mut Places) -> FastPath {
    let mut path = FastPath::default();
    let Some(mut table) = d.table(&entry.value, entry.key_span, "`fast_path`") else {
        return path;
    };
    if let Some(e) = table.take("attach") {
        let choices = [
            ("auto", Attach::Auto),
            ("xdp", Attach::Xdp),
            ("xdp-generic", Attach::XdpGeneric),
            ("tc", Attach::Tc),
            ("off", Attach::Off),
        ];
        places.attach = Some(e.value.span);
        // What a YAML 1.1 tool makes of `off` when it writes the file anew.
        let off = matches!(&e.value.kind, Kind::Scalar(s) if s.plain && matches!(s.text.as_str(), "Off" | "OFF" | "false"));
        path.attach = match off {
            true => Attach::Off,
            false => d
                .choice(&e.value, "`attach`", &choices, &[])
                .unwrap_or(path.attach),
        };
    }
    if let Some(e) = table.take("interfaces") {
        let mut seen = Vec::<Spanned<String>>::new();
        for node in d.list(&e.value, "`interfaces`") {
            let Some(name) = d.line(node, "an interface") else {
                continue;
            };
            if name == "lo" {
                d.error(
                    node.span,
                    "`lo` is never attached to",
                    "remove it: userspace serves local clients",
                );
            } else if name.len() > MAX_INTERFACE
                || name.contains(['/', ' ', ':'])
                || matches!(name.as_str(), "." | "..")
            {
                d.error(
                    node.span,
                    format!("`{name}` cannot be an interface's name"),
                    "write a name that `ip link` shows",
                );
            } else if seen.iter().any(|other| other.value == name) {
                d.error(
                    node.span,
                    format!("the interface `{name}` is named twice"),
                    "remove one",
                );
            } else {
                seen.push(Spanned::new(name, node.span));
            }
        }
        (path.interfaces, places.interfaces) =
            seen.into_iter().map(|name| (name.value, name.span)).unzip();
    }
    if let Some(e) = table.take("pin_path") {
        path.pin_path = d.path(&e.value, "`pin_path`").unwrap_or(path.pin_path);
    }
    if let Some(e) = table.take("max_flows") {
        places.max_flows = Some(e.value.span);
        path.max_flows = d.size(&e.value, "`max_flows`", 1024..=1 << 26);
    }
    if let Some(e) = table.take("new_flows_per_source") {
        path.new_flows_per_source = d
            .number(&e.value, "`new_flows_per_source`", 0..=u32::MAX)
            .unwrap_or(0);
    }
    if let Some(e) = table.take("deny") {
        path.deny = deny(d, &e.value);
    }
    if let Some(e) = table.take("snat_ports") {
        places.snat_ports = Some(e.value.span);
        if let Some(ports) = d.parsed(&e.value, "`snat_ports`", port_range) {
            path.snat_ports = ports.value;
        }
    }
    if let Some(e) = table.take("snat_addresses") {
        path.snat_addresses = snat_addresses(d, &e.value).unwrap_or(path.snat_addresses);
    }
    if let Some(e) = table.take("on_stop") {
        let choices = [("detach", OnStop::Detach), ("keep", OnStop::Keep)];
        path.on_stop = d
            .choice(&e.value, "`on_stop`", &choices, &[])
            .unwrap_or(path.on_stop);
    }
    table.finish(d, &[], &[]);
    path
}

/// `deny`: prefixes, each once.
fn deny(d: &mut Decoder<'_>, node: &Node) -> Vec<Prefix> {
    let mut seen = std::collections::HashSet::new();
    let mut prefixes = Vec::new();
    for node in d.list(node, "`deny`") {
        let Some(prefix) = d.parsed(node, "a prefix of `deny`", address::prefix) else {
            continue;
        };
        if seen.insert(prefix.value) {
            prefixes.push(prefix.value);
        } else {
            d.error(
                prefix.span,
                format!("`{}` is denied twice", prefix.value),
                "remove one",
            );
        }
    }
    prefixes
}

fn port_range(text: &str) -> Result<RangeInclusive<u16>, Problem> {
    let example = "write two ports, such as `10000-32767`";
    let (first, last) = text
        .split_once('-')
        .ok_or_else(|| Problem::new(format!("`{text}` is no range"), example))?;
    let read = |text: &str| {
        address::port(text.trim()).map_err(|problem| Problem::new(problem.message, example))
    };
    let (first, last) = (read(first)?, read(last)?);
    if first > last {
        return Err(Problem::new(
            format!("`{text}` ends before it begins"),
            format!("write `{last}-{first}`"),
        ));
    }
    if first < 1024 {
        return Err(Problem::new(
            format!("`{text}` takes in ports below 1024, which services listen on"),
            format!("write `1024-{}` or a higher range", last.max(1024)),
        ));
    }
    Ok(first..=last)
}

fn snat_addresses(d: &mut Decoder<'_>, node: &Node) -> Option<SnatAddresses> {
    if !matches!(node.kind, Kind::Sequence(_)) {
        let text = d.word(node, "`snat_addresses`")?;
        match text.as_str() {
            "auto" => return Some(SnatAddresses::Auto),
            "service" => return Some(SnatAddresses::Service),
            _ => {}
        }
        let mend = match address::ip(&text) {
            Some(_) => format!("write a list: `[{text}]`"),
            None => "write `auto`, `service` or a list of addresses".to_owned(),
        };
        d.error(
            node.span,
            format!("`snat_addresses` cannot be `{text}`"),
            mend,
        );
        return None;
    }
    let mut addresses = Vec::<IpAddr>::new();
    let nodes = d.list(node, "`snat_addresses`");
    if nodes.is_empty() {
        d.error(
            node.span,
            "`snat_addresses` is an empty list",
            "name an address, or write `auto`",
        );
    }
    for node in nodes {
        let read = d.parsed(node, "an address of `snat_addresses`", |text| {
            let ip = address::ip(text).ok_or_else(|| {
                Problem::new(format!("`{text}` is no IP address"), "write one address")
            })?;
            let reserved = [
                IpAddr::V4(Ipv4Addr::UNSPECIFIED),
                IpAddr::V6(Ipv6Addr::UNSPECIFIED),
            ];
            match ip.is_multicast() || ip.is_loopback() || reserved.contains(&ip) {
                true => Err(Problem::new(
                    format!("servers cannot answer to `{text}`"),
                    "write an address of this host",
                )),
                false => Ok(ip),
            }
        });
        match read {
            Some(ip) if addresses.contains(&ip.value) => {
                d.error(
                    ip.span,
                    format!("`{}` is named twice", ip.value),
                    "remove one",
                );
            }
            Some(ip) => addresses.push(ip.value),
            None => {}
        }
    }
    Some(SnatAddresses::List(addresses))
}
