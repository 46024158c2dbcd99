//! `log`: targets, of `global` and of proxies.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{
    address,
    decode::Decoder,
    model::{LogDestination, LogFormat, LogOptions, LogSample, LogTarget, LogTo, ProxyLog},
    source::{Span, Spanned},
    table::Table,
    tree::{Entry, Kind, Node},
    units::Problem,
};
use crate::rules::{LogLevel, suggest};

/// HAProxy's names of the syslog facilities, by number (RFC 5424 §6.2.1).
const FACILITIES: [&str; 24] = [
    "kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "auth2",
    "ftp", "ntp", "audit", "alert", "cron2", "local0", "local1", "local2", "local3", "local4",
    "local5", "local6", "local7",
];
/// `local0`, HAProxy's usual choice.
pub(super) const DEFAULT_FACILITY: u8 = 16;
/// HAProxy's names of the syslog severities, by number.
const LEVELS: [&str; 8] = [
    "emerg", "alert", "crit", "err", "warning", "notice", "info", "debug",
];
/// `debug`: as in HAProxy, a target without a level gets everything.
const ALL_LEVELS: u8 = 7;
/// Syslog over UDP (RFC 5426 §3.3).
const SYSLOG_PORT: u16 = 514;
/// What fits a datagram.
const LONGEST: usize = 65_000;
/// Shorter than that is no line any more.
const SHORTEST: usize = 80;

/// What a frontend, a backend or `defaults` says of its log.
#[derive(Debug, Clone, Default)]
pub(super) struct LogDraft {
    /// `dontlognull`, `dontlog_normal`, `log_separate_errors`, `log_asap`.
    options: [Option<bool>; 4],
    to: Option<Wanted>,
    tag: Option<Arc<str>>,
}

/// `log` of a proxy.
#[derive(Debug, Clone)]
enum Wanted {
    /// `true` or `false`.
    Global(bool),
    Own(Vec<Target>),
}

/// An entry of it.
#[derive(Debug, Clone)]
enum Target {
    /// `global`: all of those.
    Global,
    One(Box<LogTarget>),
}

/// Reads what a frontend or `defaults` says.
pub(super) fn of_sessions(d: &mut Decoder<'_>, table: &mut Table<'_>) -> LogDraft {
    let options = [
        table.take("dontlognull"),
        table.take("dontlog_normal"),
        table.take("log_separate_errors"),
        table.take("log_asap"),
    ]
    .map(|e| e.and_then(|e| d.boolean(&e.value, &format!("`{}`", e.key))));
    LogDraft {
        options,
        ..of_proxy(d, table)
    }
}

/// Reads what a backend says: where the changes of its servers' states are told.
pub(super) fn of_proxy(d: &mut Decoder<'_>, table: &mut Table<'_>) -> LogDraft {
    LogDraft {
        options: [None; 4],
        to: table.take("log").and_then(|e| wanted(d, e)),
        tag: tag(d, table),
    }
}

fn wanted(d: &mut Decoder<'_>, entry: &Entry) -> Option<Wanted> {
    if matches!(entry.value.kind, Kind::Scalar(_)) && !entry.value.is_null() {
        return d.boolean(&entry.value, "`log`").map(Wanted::Global);
    }
    let mut own = Vec::new();
    for node in d.list(&entry.value, "`log`") {
        let is_global = matches!(&node.kind, Kind::Scalar(text) if text.text == "global");
        match is_global {
            true => own.push(Target::Global),
            false => own.extend(target(d, node).map(|one| Target::One(Box::new(one)))),
        }
    }
    Some(Wanted::Own(own))
}

/// Reads `log_tag`.
pub(super) fn tag(d: &mut Decoder<'_>, table: &mut Table<'_>) -> Option<Arc<str>> {
    let e = table.take("log_tag")?;
    let text = d.text(&e.value, "`log_tag`")?;
    if text.is_empty() || text.len() > 48 || text.bytes().any(|b| !b.is_ascii_graphic()) {
        let mend = "write 1 to 48 letters, digits and signs of ASCII";
        d.error(
            e.value.span,
            format!("`{text}` cannot be the tag of a log line"),
            mend,
        );
        return None;
    }
    Some(text.into())
}

/// Reads `global.log_send_hostname`: `true` is the host's own name.
pub(super) fn hostname(d: &mut Decoder<'_>, table: &mut Table<'_>) -> Option<Arc<str>> {
    let e = table.take("log_send_hostname")?;
    let text = d.word(&e.value, "`log_send_hostname`")?;
    match text.as_str() {
        "false" => None,
        "true" => {
            let name = rustix::system::uname();
            Some(name.nodename().to_string_lossy().into())
        }
        _ => Some(text.into()),
    }
}

/// Completes targets by what holds for all of them.
pub(super) fn complete(
    targets: &mut [LogTarget],
    tag: Option<&Arc<str>>,
    hostname: Option<&Arc<str>>,
) {
    for target in targets {
        target.tag = target.tag.take().or_else(|| tag.cloned());
        target.host = target.host.take().or_else(|| hostname.cloned());
    }
}

/// What is known of all logs: the targets of `global`, completed, and how others are.
#[derive(Debug, Clone, Copy)]
pub(super) struct Known<'a> {
    pub(super) global: &'a [LogTarget],
    pub(super) tag: Option<&'a Arc<str>>,
    pub(super) hostname: Option<&'a Arc<str>>,
}

/// A frontend's own options and targets, else those of `defaults`.
pub(super) fn sessions(
    name: &str,
    own: &LogDraft,
    inherited: &LogDraft,
    known: Known<'_>,
) -> (LogOptions, Option<ProxyLog>) {
    let of = |at: usize| own.options[at].or(inherited.options[at]).unwrap_or(false);
    let to = own.to.as_ref().or(inherited.to.as_ref());
    let tag = own.tag.as_ref().or(inherited.tag.as_ref());
    let targets = targets(to, tag, known);
    let off = matches!(to, Some(Wanted::Global(false)))
        || targets.as_ref().is_some_and(|targets| targets.is_empty());
    let log = targets.filter(|_| !off).map(|targets| ProxyLog {
        to: LogTo::frontend(name),
        targets,
    });
    let options = LogOptions {
        no_null: of(0),
        no_normal: of(1),
        separate_errors: of(2),
        asap: of(3),
        off,
        level: None,
        to: log.as_ref().map_or(LogTo::GLOBAL, |log| log.to),
    };
    (options, log)
}

/// Where a backend's messages go, if it is not where all go. `log: false` of `defaults` is about sessions.
pub(super) fn messages(
    name: &str,
    own: &LogDraft,
    inherited: &LogDraft,
    known: Known<'_>,
) -> Option<ProxyLog> {
    let of_all = inherited.to.as_ref();
    let of_all = of_all.filter(|to| !matches!(to, Wanted::Global(_)));
    let to = own.to.as_ref().or(of_all);
    let targets = match to {
        Some(Wanted::Global(false)) => Some(Vec::new()),
        to => targets(to, own.tag.as_ref().or(inherited.tag.as_ref()), known),
    };
    targets.map(|targets| ProxyLog {
        to: LogTo::backend(name),
        targets,
    })
}

/// A proxy's targets, unless they are simply those of `global`.
fn targets(
    to: Option<&Wanted>,
    tag: Option<&Arc<str>>,
    known: Known<'_>,
) -> Option<Vec<LogTarget>> {
    let mut found = Vec::new();
    match to {
        Some(Wanted::Own(own)) => {
            for target in own {
                match target {
                    Target::Global => found.extend_from_slice(known.global),
                    Target::One(one) => found.push((**one).clone()),
                }
            }
            complete(&mut found, tag.or(known.tag), known.hostname);
        }
        // Where nothing is said messages alone go to standard error.
        _ if tag.is_none() || known.global.is_empty() => return None,
        _ => found.extend_from_slice(known.global),
    }
    if let Some(tag) = tag {
        for target in &mut found {
            target.tag = Some(Arc::clone(tag));
        }
    }
    Some(found)
}

/// Reads `set_log_level`.
pub(super) fn level(d: &mut Decoder<'_>, entry: &Entry) -> Option<LogLevel> {
    let mut choices = vec![("silent", LogLevel::Silent)];
    choices.extend(numbered(&LEVELS).map(|(name, level)| (name, LogLevel::Is(level))));
    d.choice(&entry.value, "`set_log_level`", &choices, &[])
}

/// Reads an entry of `log`.
pub(super) fn target(d: &mut Decoder<'_>, node: &Node) -> Option<LogTarget> {
    if let Kind::Scalar(text) = &node.kind
        && !node.is_null()
    {
        let mend = format!("write `{{ target: \"{}\" }}`", text.text);
        d.error(
            node.span,
            "an entry of `log` must be a mapping, this is a single value",
            mend,
        );
        return None;
    }
    let mut table = d.table(node, node.span, "an entry of `log`")?;
    let target = match table.take("target") {
        Some(e) => {
            let base = d.base;
            let found = d.parsed(&e.value, "`target`", |text| destination(text, base));
            if let Some(LogDestination::File(path) | LogDestination::Unix(path)) =
                found.as_ref().map(|found| &found.value)
            {
                d.log_files.push((path.clone(), e.value.span));
            }
            found.map(|t| t.value)
        }
        None => {
            d.missing(
                &table,
                "target",
                "write `{ target: stderr }` or `{ target: \"udp://127.0.0.1:514\" }`",
            );
            None
        }
    };
    let facilities: Vec<_> = numbered(&FACILITIES).collect();
    let levels: Vec<_> = numbered(&LEVELS).collect();
    let facility = match table.take("facility") {
        Some(e) => d.choice(&e.value, "`facility`", &facilities, &[]),
        None => Some(DEFAULT_FACILITY),
    };
    let level = match table.take("level") {
        Some(e) => d.choice(&e.value, "`level`", &levels, &[]),
        None => Some(ALL_LEVELS),
    };
    let min_level = match table.take("min_level") {
        Some(e) => d.choice(&e.value, "`min_level`", &levels, &[]),
        None => Some(0),
    };
    let format = match table.take("format") {
        Some(e) => d.choice(&e.value, "`format`", &LogFormat::ALL, &[]),
        None => Some(LogFormat::Text),
    };
    let len = table
        .take("len")
        .and_then(|e| d.number(&e.value, "`len`", SHORTEST as u32..=LONGEST as u32));
    let sample = table.take("sample").and_then(|e| {
        let found: Option<Spanned<LogSample>> = d.parsed(&e.value, "`sample`", sample);
        found.map(|found| found.value)
    });
    table.finish(d, &[], &[]);
    Some(LogTarget {
        min_level: min_level?,
        len: len.map(|len| len as usize),
        sample,
        ..LogTarget::new(target?, facility?, level?, format?)
    })
}

fn numbered<'a>(names: &[&'a str]) -> impl Iterator<Item = (&'a str, u8)> {
    names.iter().copied().zip(0u8..)
}

/// `1-3,5:8`
fn sample(text: &str) -> Result<LogSample, Problem> {
    let wrong = |what: String| {
        Problem::new(
            what,
            "write which of how many lines, such as `1,3-5:10`: the first and the third to fifth of ten",
        )
    };
    let (ranges, of) = text
        .split_once(':')
        .ok_or_else(|| wrong(format!("`{text}` does not say of how many lines")))?;
    let number = |text: &str| {
        let number = text.parse::<u8>().ok();
        let number = number.filter(|number| (1..=64).contains(number));
        number.ok_or_else(|| wrong(format!("`{text}` is no number from 1 to 64")))
    };
    let of = number(of)?;
    let mut wanted = 0u64;
    for range in ranges.split(',') {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last) = (number(first)?, number(last)?);
        if first > last || last > of {
            return Err(wrong(format!("`{range}` is no range of 1 to {of}")));
        }
        (first..=last).for_each(|at| wanted |= 1 << (at - 1));
    }
    Ok(LogSample { wanted, of })
}

fn destination(text: &str, base: &Path) -> Result<LogDestination, Problem> {
    let forms = "write `stderr`, `stdout`, `fd@3`, `journald`, `\"udp://ADDR:PORT\"`, `\"tcp://ADDR:PORT\"`, \
                 `unix:/dev/log` or the path of a file";
    match text {
        // What other servers' logs are sent to in containers.
        "stderr" | "/dev/stderr" => return Ok(LogDestination::Stderr),
        "stdout" | "/dev/stdout" => return Ok(LogDestination::Stdout),
        "journald" => return Ok(LogDestination::Journald),
        _ => {}
    }
    // The second is what shells and nginx call one: what lb was started with under that number, not a file of that name.
    let descriptor = text.strip_prefix("fd@").or(text.strip_prefix("/dev/fd/"));
    if let Some(number) = descriptor {
        return match number.parse() {
            Ok(1) => Ok(LogDestination::Stdout),
            Ok(2) => Ok(LogDestination::Stderr),
            Ok(number @ 3..) => Ok(LogDestination::Descriptor(number)),
            _ => Err(Problem::new(
                format!("`{text}` is no open file that lb could be started with"),
                "write `fd@3` or more, `stdout` or `stderr`",
            )),
        };
    }
    let socket = |text| match address::ip(text) {
        Some(ip) => Ok(SocketAddr::new(ip, SYSLOG_PORT)),
        // A name that is none of an address is told so, and not that it has no port.
        None if address::is_host(text) => address::endpoint(&format!("{text}:{SYSLOG_PORT}")),
        None => address::endpoint(text),
    };
    if let Some(address) = text.strip_prefix("udp://") {
        return socket(address).map(LogDestination::Udp);
    }
    if let Some(address) = text.strip_prefix("tcp://") {
        return socket(address).map(LogDestination::Tcp);
    }
    if let Some(mend) = near_destination(text) {
        return Err(Problem::new(
            format!("`{text}` is no place that logs can go to"),
            mend,
        ));
    }
    if text.contains("://") {
        return Err(Problem::new(
            format!("`{text}` is no place that logs can go to"),
            forms,
        ));
    }
    if let Some(path) = text.strip_prefix("unix:") {
        return Ok(LogDestination::Unix(base.join(path)));
    }
    match text {
        "/dev/log" => Ok(LogDestination::Unix(PathBuf::from(text))),
        _ if text.ends_with('/') => Err(Problem::new(
            format!("`{text}` is a folder"),
            "write the path of a file",
        )),
        _ if text.contains('/') => Ok(LogDestination::File(base.join(text))),
        _ => Err(Problem::new(
            format!("`{text}` is no place that logs can go to"),
            match suggest::nearest(text, ["stderr", "stdout", "journald"]) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("{forms} (a file beside this one: `./{text}`)"),
            },
        )),
    }
}

/// What to write instead of a place as other servers write it.
fn near_destination(text: &str) -> Option<String> {
    let as_file = |path: &str| match path.contains('/') {
        true => format!("write the path alone: `{path}`"),
        false => format!("write the path alone: `./{path}`"),
    };
    let after = |prefixes: &[&str]| prefixes.iter().find_map(|prefix| text.strip_prefix(prefix));
    if let Some(path) = after(&["file://", "file:", "file@", "path:"]) {
        return (!path.is_empty()).then(|| as_file(path));
    }
    if let Some(path) = after(&[
        "unix@",
        "unix://",
        "unixgram:",
        "abns@",
        "syslog:server=unix:",
    ]) {
        return Some(match path.starts_with('/') {
            true => format!("write `unix:{path}`"),
            false => "write `unix:` and the socket's path: `unix:/dev/log`".to_owned(),
        });
    }
    if let Some(number) = after(&["fd:", "fd/", "/proc/self/fd/"]) {
        return number
            .parse::<u32>()
            .is_ok()
            .then(|| format!("write `fd@{number}`"));
    }
    let udp = [
        "udp:",
        "udp@",
        "udp4@",
        "udp6@",
        "ipv4@",
        "ipv6@",
        "syslog:server=",
        "syslog://",
        "syslog+udp://",
    ];
    let known = ["udp://", "tcp://"]
        .iter()
        .any(|known| text.starts_with(known));
    if let Some(address) = after(&udp).filter(|_| !known) {
        return Some(format!("write `\"udp://{address}\"`"));
    }
    let tcp = ["tcp:", "tcp@", "tcp4@", "tcp6@", "syslog+tcp://"];
    if let Some(address) = after(&tcp).filter(|_| !known) {
        return Some(format!("write `\"tcp://{address}\"`"));
    }
    if address::ip(text).is_some() || text.parse::<SocketAddr>().is_ok() {
        return Some(format!("write `\"udp://{text}\"`, or `\"tcp://{text}\"`"));
    }
    if let Some((host, port)) = text.rsplit_once(':')
        && address::is_host(host)
        && address::port(port).is_ok()
    {
        return Some(match host {
            "localhost" => format!("write `\"udp://127.0.0.1:{port}\"`"),
            _ => {
                format!("write its IP address: `\"udp://ADDR:{port}\"`, or `\"tcp://ADDR:{port}\"`")
            }
        });
    }
    match text {
        "syslog" | "local" | "/dev/syslog" => {
            Some("write `/dev/log`, the host's own syslog".to_owned())
        }
        "off" | "none" | "null" | "false" => {
            Some("remove the entry: what is not named gets no lines".to_owned())
        }
        _ if text.starts_with("~/") => {
            Some("write the whole path: `~` is the shell's word for a home".to_owned())
        }
        _ => None,
    }
}

/// Files that lines go to, and where that is said.
pub(super) type LogFiles = Vec<(PathBuf, Span)>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_as_other_servers_write_them_are_mended() {
        let mend = |text| {
            let found = destination(text, Path::new("/etc/lb"));
            found
                .err()
                .and_then(|problem| problem.mend)
                .unwrap_or_default()
        };
        for (text, part) in [
            ("file:/var/log/lb.log", "`/var/log/lb.log`"),
            ("file:///var/log/lb.log", "`/var/log/lb.log`"),
            ("file:lb.log", "`./lb.log`"),
            ("unix@/dev/log", "`unix:/dev/log`"),
            ("unix:///dev/log", "`unix:/dev/log`"),
            ("udp:127.0.0.1:514", "`\"udp://127.0.0.1:514\"`"),
            ("udp@127.0.0.1:514", "`\"udp://127.0.0.1:514\"`"),
            ("tcp@[::1]:514", "`\"tcp://[::1]:514\"`"),
            ("syslog:server=192.0.2.1:514", "`\"udp://192.0.2.1:514\"`"),
            ("syslog://192.0.2.1", "`\"udp://192.0.2.1\"`"),
            ("127.0.0.1:514", "`\"udp://127.0.0.1:514\"`"),
            ("127.0.0.1", "`\"udp://127.0.0.1\"`"),
            ("::1", "`\"udp://::1\"`"),
            ("localhost:514", "`\"udp://127.0.0.1:514\"`"),
            ("log.example.com:514", "`\"udp://ADDR:514\"`"),
            ("udp://localhost", "`\"127.0.0.1:514\"`"),
            ("fd:3", "`fd@3`"),
            ("/proc/self/fd/3", "`fd@3`"),
            ("/dev/fd/0", "`fd@3`"),
            ("/dev/fd/x", "`fd@3`"),
            ("syslog", "`/dev/log`"),
            ("off", "remove the entry"),
            ("~/lb.log", "the whole path"),
            ("journal", "`journald`"),
            ("ring@x", "`stderr`"),
        ] {
            assert!(mend(text).contains(part), "{text}: {}", mend(text));
        }
        for good in [
            "/var/log/file:1/lb.log",
            "./file:lb.log",
            "udp://[::1]:514",
            "tcp://192.0.2.1",
            "unix:/dev/log",
            "/dev/stdout",
        ] {
            assert_eq!(mend(good), "", "{good}");
        }
    }

    #[test]
    fn a_descriptor_may_be_called_as_a_path() {
        let led = |text| destination(text, Path::new("/etc/lb")).ok();
        assert_eq!(led("/dev/fd/7"), Some(LogDestination::Descriptor(7)));
        assert_eq!(led("/dev/fd/7"), led("fd@7"));
        assert_eq!(led("/dev/fd/1"), Some(LogDestination::Stdout));
        assert_eq!(led("fd@2"), Some(LogDestination::Stderr));
    }

    #[test]
    fn samples_are_bits_of_a_row() {
        let bits = |text| sample(text).ok().map(|sample| (sample.wanted, sample.of));
        assert_eq!(bits("1:10"), Some((1, 10)));
        assert_eq!(bits("1,3-4:5"), Some((0b1101, 5)));
        assert_eq!(bits("1-64:64"), Some((u64::MAX, 64)));
        for wrong in ["1", "0:5", "6:5", "3-2:5", "1:0", "1:65", ":", "a:5"] {
            assert_eq!(bits(wrong), None, "{wrong}");
        }
    }
}
