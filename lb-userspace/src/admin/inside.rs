//! `show fd`, `show threads`, `show activity` and `show resolvers`: how it looks inside, for whoever looks for a fault. The
//! commands are HAProxy's; what they tell is what lb has in the same places.

use std::{
    collections::HashMap,
    fmt::Write,
    fs,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::Path,
    time::{SystemTime, UNIX_EPOCH},
};

use crate::{
    observe::{
        sessions::{Question, Sessions},
        stats::Sources,
    },
    topology::{Resolving, Topology},
};

type Said = Result<String, String>;

/// The answer to one of these; `None` if it is none.
pub(super) async fn answer(sources: &Sources, sessions: &Sessions, words: &[&str]) -> Option<Said> {
    Some(match *words {
        ["show", "fd", ref rest @ ..] => {
            let wanted = rest
                .first()
                .map(|text| text.parse::<u32>().unwrap_or(u32::MAX));
            let topology = sources.topology();
            // There may be many.
            let work = move || descriptors(&topology, wanted);
            Ok(tokio::task::spawn_blocking(work).await.unwrap_or_default())
        }
        ["show", "threads", ..] => Ok(shown(&threads())),
        ["show", "activity", ..] => Ok(activity(sources, sessions).await),
        ["show", "resolvers", ref rest @ ..] => resolvers(&sources.topology().resolving, rest),
        _ => return None,
    })
}

/// What the kernel has of a thread.
#[derive(Debug, Default)]
struct Thread {
    id: u32,
    name: String,
    state: String,
    /// Nanoseconds on a processor, and waiting for one.
    ran: u64,
    waited: u64,
    /// How often it gave the processor up, and was made to.
    left: u64,
    lost: u64,
}

fn threads() -> Vec<Thread> {
    let entries = fs::read_dir("/proc/self/task").into_iter().flatten();
    let found = entries.flatten().filter_map(|entry| {
        let path = entry.path();
        let read = |name: &str| fs::read_to_string(path.join(name)).unwrap_or_default();
        let (schedstat, status) = (read("schedstat"), read("status"));
        let mut times = schedstat.split_ascii_whitespace();
        let mut time = || times.next().and_then(|text| text.parse().ok()).unwrap_or(0);
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            line.unwrap_or_default().trim().to_owned()
        };
        Some(Thread {
            id: entry.file_name().to_str()?.parse().ok()?,
            name: field("Name:"),
            state: field("State:"),
            ran: time(),
            waited: time(),
            left: field("voluntary_ctxt_switches:").parse().unwrap_or(0),
            lost: field("nonvoluntary_ctxt_switches:").parse().unwrap_or(0),
        })
    });
    let mut found: Vec<Thread> = found.collect();
    found.sort_by_key(|thread| thread.id);
    found
}

fn shown(threads: &[Thread]) -> String {
    let mut out = String::new();
    for (at, thread) in threads.iter().enumerate() {
        let Thread {
            id,
            name,
            state,
            ran,
            waited,
            left,
            lost,
        } = thread;
        // A String takes everything, here and below.
        let _ = writeln!(
            out,
            "  Thread {:<3}: id={id} name={name} state={state}\n             cpu_ns: ran={ran} waited={waited}\n             \
             ctxsw: voluntary={left} involuntary={lost}",
            at + 1
        );
    }
    out
}

async fn activity(sources: &Sources, sessions: &Sessions) -> String {
    let (threads, topology) = (threads(), sources.topology());
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let now = now.unwrap_or_default();
    let mut out = format!(
        "thread_id: 0 (1..{})\ndate_now: {}.{:06}\n",
        threads.len(),
        now.as_secs(),
        now.subsec_micros()
    );
    let mut line = |name: &str, each: Vec<u64>| {
        let all: Vec<String> = each.iter().map(u64::to_string).collect();
        let _ = writeln!(
            out,
            "{name}: {} [ {} ]",
            each.iter().sum::<u64>(),
            all.join(" ")
        );
    };
    let of = |f: fn(&Thread) -> u64| threads.iter().map(f).collect::<Vec<u64>>();
    line("ctxsw", of(|thread| thread.left + thread.lost));
    line("cpu_ms_tot", of(|thread| thread.ran / 1_000_000));
    line("cpust_ms_tot", of(|thread| thread.waited / 1_000_000));
    let mut held = vec![0; sources.process.threads];
    for session in sessions.ask(&Question::All).await {
        if let Some(held) = held.get_mut(session.thread) {
            *held += 1;
        }
    }
    line("sessions", held);
    let accepted = topology.frontends.iter();
    let accepted = accepted
        .map(|f| f.counters.connections.value())
        .sum::<u64>();
    let _ = writeln!(out, "accepted: {accepted}");
    out
}

/// The open descriptors, or that of one number.
fn descriptors(topology: &Topology, wanted: Option<u32>) -> String {
    let sockets = sockets();
    let mut found: Vec<(u32, String)> = fs::read_dir("/proc/self/fd")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| {
            let number = entry.file_name().to_str()?.parse().ok()?;
            let target = fs::read_link(entry.path()).ok()?;
            Some((number, target.display().to_string()))
        })
        .filter(|(number, _)| wanted.is_none_or(|wanted| wanted == *number))
        .collect();
    found.sort();
    let mut out = String::new();
    for (number, target) in found {
        let inode = target
            .strip_prefix("socket:[")
            .and_then(|t| t.strip_suffix(']'));
        let socket = inode.and_then(|inode| sockets.get(inode));
        let _ = match socket {
            Some(socket) => writeln!(out, "{number:>7} : {}", socket.shown(topology)),
            None => writeln!(out, "{number:>7} : {target}"),
        };
    }
    out
}

/// A socket as proc(5) has it.
#[derive(Debug, PartialEq, Eq)]
enum Socket {
    Inet {
        protocol: &'static str,
        local: SocketAddr,
        remote: SocketAddr,
        listens: bool,
    },
    Unix {
        path: String,
    },
}

impl Socket {
    fn shown(&self, topology: &Topology) -> String {
        match self {
            Self::Unix { path } => format!("fam=unix path={path}"),
            Self::Inet {
                protocol,
                local,
                remote,
                listens,
            } => {
                let family = if local.is_ipv4() { "ipv4" } else { "ipv6" };
                if !listens {
                    return format!("{protocol} fam={family} local={local} remote={remote}");
                }
                let frontend = topology.frontends.iter().find(|frontend| {
                    let mut binds = frontend.config.binds.iter();
                    binds.any(|bind| bind.address.inet() == Some(*local))
                });
                let frontend = frontend.map_or("GLOBAL", |frontend| &frontend.name);
                let port = local.port();
                format!("{protocol} l.st=RDY fe={frontend} fam={family} local={local} lport={port}")
            }
        }
    }
}

/// All sockets of this network namespace, by inode.
fn sockets() -> HashMap<String, Socket> {
    let mut found = HashMap::new();
    for protocol in ["tcp", "tcp6", "udp", "udp6"] {
        let text = fs::read_to_string(Path::new("/proc/self/net").join(protocol));
        let name = if protocol.starts_with('t') {
            "tcp"
        } else {
            "udp"
        };
        let lines = text.unwrap_or_default();
        found.extend(lines.lines().skip(1).filter_map(|line| inet(name, line)));
    }
    let text = fs::read_to_string("/proc/self/net/unix").unwrap_or_default();
    for line in text.lines().skip(1) {
        let mut words = line.split_ascii_whitespace().skip(6);
        if let Some(inode) = words.next() {
            let path = words.next().unwrap_or_default().to_owned();
            found.insert(inode.to_owned(), Socket::Unix { path });
        }
    }
    found
}

/// A line of /proc/net/tcp and its like, with the inode.
fn inet(protocol: &'static str, line: &str) -> Option<(String, Socket)> {
    let words: Vec<&str> = line.split_ascii_whitespace().collect();
    let (local, remote) = (address(words.get(1)?)?, address(words.get(2)?)?);
    let socket = Socket::Inet {
        protocol,
        local,
        remote,
        // TCP_LISTEN; a socket of UDP that is connected to nobody is one that anybody may send to.
        listens: match protocol {
            "tcp" => *words.get(3)? == "0A",
            _ => remote.port() == 0,
        },
    };
    Some(((*words.get(9)?).to_owned(), socket))
}

/// `0100007F:1F90`: words of the host's order.
fn address(text: &str) -> Option<SocketAddr> {
    let (ip, port) = text.split_once(':')?;
    let word = |at: usize| {
        Some(
            u32::from_str_radix(ip.get(at..at + 8)?, 16)
                .ok()?
                .to_ne_bytes(),
        )
    };
    let ip: IpAddr = match ip.len() {
        8 => Ipv4Addr::from(word(0)?).into(),
        _ => {
            let mut bytes = [0; 16];
            for (at, part) in bytes.chunks_exact_mut(4).enumerate() {
                part.copy_from_slice(&word(at * 8)?);
            }
            Ipv6Addr::from(bytes).into()
        }
    };
    Some((ip, u16::from_str_radix(port, 16).ok()?).into())
}

fn resolvers(resolving: &Resolving, words: &[&str]) -> Said {
    let sections = resolving.sections();
    let mut out = String::new();
    for (name, section) in &sections {
        if words.first().is_some_and(|wanted| wanted != name) {
            continue;
        }
        let _ = writeln!(out, "Resolvers section {name}");
        for (server, asked) in section {
            // As HAProxy calls those of resolv.conf.
            let _ = match server.port() {
                53 => writeln!(out, " nameserver {}:", server.ip()),
                _ => writeln!(out, " nameserver {server}:"),
            };
            // What is 0 here is not told apart from other errors.
            for (name, counted) in [
                ("sent", asked.sent.value()),
                ("snd_error", asked.send_errors.value()),
                ("valid", asked.valid.value()),
                ("update", 0),
                ("cname", 0),
                ("cname_error", 0),
                ("any_err", 0),
                ("nx", asked.no_name.value()),
                ("timeout", asked.timeouts.value()),
                ("refused", asked.refused.value()),
                ("other", asked.other.value()),
                ("invalid", 0),
                ("too_big", 0),
                ("truncated", asked.truncated.value()),
                ("outdated", 0),
            ] {
                let _ = writeln!(out, "  {:<13}{counted}", format!("{name}:"));
            }
        }
    }
    match (words.first(), out.is_empty()) {
        (Some(_), true) => Err("Can't find that resolvers section".to_owned()),
        _ => Ok(out),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_are_read_as_the_kernel_writes_them() {
        let line = "   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4242 1 0";
        let (inode, socket) = inet("tcp", line).unwrap();
        assert_eq!(inode, "4242");
        let expected = Socket::Inet {
            protocol: "tcp",
            local: "127.0.0.1:8080".parse().unwrap(),
            remote: "0.0.0.0:0".parse().unwrap(),
            listens: true,
        };
        assert_eq!(socket, expected);
        let six = address("B80D0120000000000000000001000000:0050").unwrap();
        assert_eq!(six.to_string(), "[2001:db8::1]:80");
        assert_eq!(inet("tcp", "nonsense"), None);
    }

    #[test]
    fn this_process_has_threads() {
        let threads = threads();
        let own = threads.iter().find(|t| t.id == std::process::id());
        assert!(own.is_some_and(|own| own.ran > 0 && !own.name.is_empty()));
    }
}
