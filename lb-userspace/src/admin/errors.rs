//! `show errors`: the last message of each proxy that was none, as HAProxy shows it.

use std::{fmt::Write, time::SystemTime};

use crate::{
    observe::log::clock::Calendar,
    topology::{Topology, invalid::Invalid},
};

/// No line is longer.
const WIDTH: usize = 79;

/// Answers `show errors [IID|PROXY] [request|response]`.
///
/// # Errors
/// There is no such proxy.
pub(super) fn show(topology: &Topology, words: &[&str]) -> Result<String, String> {
    let proxies = Proxies(topology);
    let wanted = match words.first() {
        None => None,
        Some(word) => match word.parse::<i64>() {
            Ok(iid) if iid < 0 => None,
            Ok(iid) => Some(u32::try_from(iid).unwrap_or(0)),
            Err(_) => Some(proxies.named(word).ok_or("No such proxy.")?),
        },
    };
    let side = words.get(1).copied();
    let mut out = String::new();
    // A String takes everything, here and below.
    let _ = writeln!(
        out,
        "Total events captured on [{}] : {}",
        date(SystemTime::now()),
        topology.invalid_events.count()
    );
    let requests = topology
        .frontends
        .iter()
        .map(|frontend| (frontend.config.id, frontend.invalid_request.get()));
    let responses = topology
        .backends
        .iter()
        .map(|backend| (backend.config.id, backend.invalid_response.get()));
    let requests = requests.filter(|_| side != Some("response"));
    let responses = responses.filter(|_| side != Some("request"));
    for (iid, invalid) in requests.chain(responses) {
        let Some(invalid) = invalid else { continue };
        let other = proxies.named(&invalid.frontend);
        if wanted.is_none() || wanted == Some(iid) || wanted == other {
            one(&mut out, iid, &invalid, &proxies);
        }
    }
    Ok(out)
}

/// The numbers of proxies, which statistics show too.
struct Proxies<'a>(&'a Topology);

impl Proxies<'_> {
    fn named(&self, name: &str) -> Option<u32> {
        let mut frontends = self.0.frontends.iter();
        let mut backends = self.0.backends.iter();
        let frontend = frontends.find(|f| *f.name == *name);
        let mut backend = || backends.find(|b| *b.name == *name);
        frontend
            .map(|f| f.config.id)
            .or_else(|| backend().map(|b| b.config.id))
    }
}

fn one(out: &mut String, iid: u32, invalid: &Invalid, proxies: &Proxies<'_>) {
    let Invalid {
        frontend,
        source,
        event,
        fault,
        ..
    } = invalid;
    let at = date(invalid.at);
    match &invalid.server {
        None => {
            let _ = write!(
                out,
                " \n[{at}] frontend {frontend} (#{iid}): invalid request\n  \
                 backend <NONE> (#-1), server <NONE> (#-1), event #{event}, src {source}\n"
            );
        }
        Some((backend, server)) => {
            let of_frontend = proxies.named(frontend).unwrap_or_default();
            let of_server = proxies
                .0
                .server(backend, server)
                .map_or(0, |server| server.id);
            let _ = write!(
                out,
                " \n[{at}] backend {backend} (#{iid}): invalid response\n  \
                 frontend {frontend} (#{of_frontend}), server {server} (#{of_server}), event #{event}, src {source}\n"
            );
        }
    }
    let _ = write!(
        out,
        "  len {}, error at position {}\n  H1 msg state {}({}) :\n  \n",
        invalid.bytes.len(),
        fault.position,
        fault.state.0,
        fault.state.1
    );
    dump(out, &invalid.bytes);
}

/// The bytes, a line each; one that is too long goes on behind a `+`.
fn dump(out: &mut String, bytes: &[u8]) {
    let (mut at, mut line) = (0, 0);
    while at < bytes.len() {
        let mark = if at == line { ' ' } else { '+' };
        let start = out.len();
        let _ = write!(out, "  {at:05}{mark} ");
        while let Some(&byte) = bytes.get(at) {
            let mut text = String::new();
            match byte {
                b'\\' => text.push_str("\\\\"),
                b' '..=b'~' => text.push(char::from(byte)),
                b'\t' => text.push_str("\\t"),
                b'\n' => text.push_str("\\n"),
                b'\r' => text.push_str("\\r"),
                0x1b => text.push_str("\\e"),
                _ => {
                    let _ = write!(text, "\\x{byte:02X}");
                }
            }
            if out.len() - start + text.len() > WIDTH {
                break;
            }
            out.push_str(&text);
            at += 1;
            if byte == b'\n' {
                line = at;
                break;
            }
        }
        out.push('\n');
    }
}

/// `27/Nov/2026:03:39:14.172`, local time.
fn date(at: SystemTime) -> String {
    let at = Calendar::local(at);
    format!("{}.{:03}", at.clf(), at.millisecond)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topology::Peer;
    use crate::{
        config::model::Balance,
        topology::{
            fixtures::{backend, config, frontend, server},
            invalid::Fault,
        },
    };

    fn topology() -> Topology {
        let bind = ([127, 0, 0, 1], 80).into();
        let servers = vec![server("s1", "192.0.2.1:80")];
        Topology::new(&config(
            vec![frontend("one", bind, "b"), frontend("two", bind, "b")],
            vec![backend("b", Balance::RoundRobin, servers)],
        ))
    }

    fn invalid(topology: &Topology, frontend: &str, bytes: &[u8]) -> Invalid {
        Invalid {
            at: SystemTime::now(),
            event: topology.invalid_events.next(),
            frontend: frontend.into(),
            server: None,
            source: Peer::Inet(([127, 0, 0, 1], 51590).into()),
            bytes: bytes.to_vec(),
            fault: Fault {
                position: 28,
                state: ("MSG_HDR_NAME", 17),
            },
        }
    }

    // The layout is that of HAProxy 2.6, but for what its buffers and flags are.

    #[test]
    fn the_last_of_each_proxy_are_shown() {
        let topology = topology();
        let shown = |words: &[&str]| {
            let shown = show(&topology, words)?;
            // The dates are those of the test.
            let lines = shown.lines().map(|line| match line.split_once("] ") {
                Some((_, rest)) if line.starts_with('[') => format!("[] {rest}"),
                _ => line.to_owned(),
            });
            Ok::<_, String>(lines.skip(1).collect::<Vec<_>>())
        };
        assert_eq!(shown(&[]).unwrap(), Vec::<String>::new());
        let text = b"GET / HTTP/1.1\r\nhost: a\r\nbad/name: x\r\n\
            Long-line: this is a very long line which should be broken into multiple lines on the output buffer\r\n\
            \ttab\x01\xe4 \\ \"\r\n\r\n";
        let frontend = &topology.frontends[0];
        frontend
            .invalid_request
            .set(invalid(&topology, "one", text));
        let request = [
            " ",
            "[] frontend one (#2): invalid request",
            "  backend <NONE> (#-1), server <NONE> (#-1), event #0, src 127.0.0.1:51590",
            "  len 153, error at position 28",
            "  H1 msg state MSG_HDR_NAME(17) :",
            "  ",
            "  00000  GET / HTTP/1.1\\r\\n",
            "  00016  host: a\\r\\n",
            "  00025  bad/name: x\\r\\n",
            "  00038  Long-line: this is a very long line which should be broken into multip",
            "  00108+ le lines on the output buffer\\r\\n",
            "  00139  \\ttab\\x01\\xE4 \\\\ \"\\r\\n",
            "  00151  \\r\\n",
        ];
        assert_eq!(shown(&["one"]).unwrap(), request);
        let mut response = invalid(&topology, "two", b"garbage\r\n");
        response.server = Some(("b".into(), "s1".into()));
        topology.backends[0].invalid_response.set(response);
        let response = [
            " ",
            "[] backend b (#4): invalid response",
            "  frontend two (#3), server s1 (#1), event #1, src 127.0.0.1:51590",
            "  len 9, error at position 28",
            "  H1 msg state MSG_HDR_NAME(17) :",
            "  ",
            "  00000  garbage\\r\\n",
        ];
        assert_eq!(shown(&[]).unwrap(), [&request[..], &response[..]].concat());
        for words in [&["b"][..], &["4"], &["two"], &["3"], &["-1", "response"]] {
            assert_eq!(shown(words).unwrap(), response, "{words:?}");
        }
        for words in [&["-1", "request"][..], &["2"]] {
            assert_eq!(shown(words).unwrap(), request, "{words:?}");
        }
        assert_eq!(shown(&["b", "request"]).unwrap(), Vec::<String>::new());
        assert_eq!(shown(&["c"]), Err("No such proxy.".to_owned()));
        let total = show(&topology, &[]).unwrap();
        assert!(total.starts_with("Total events captured on ["), "{total}");
        assert!(total.lines().next().unwrap().ends_with("] : 2"), "{total}");
    }
}
