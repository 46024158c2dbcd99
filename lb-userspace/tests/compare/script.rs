//! What is asked of a configuration of the corpus, from the file beside it.
//!
//! A line is a request unless it begins with a word of this table:
//!
//! ```text
//! # a comment
//! at web2                          sockets from here on: a name, or `:8081` of the side's own address
//! over tls NAME | known NAME | h2 | h2 tls NAME | plain        how from here on
//! GET /path HTTP/1.0 | Name: value | = body       `Host: a` and HTTP/1.1 unless it says otherwise
//! keep                             from here on another request follows, to see whether the connection goes on
//! busy GET /hold                   is with a server meanwhile, on a connection of its own: for the request that follows
//! queued GET /path                 likewise, but waits for one of those
//! talk NAME                        a conversation, whose steps are the indented lines below
//!     send TEXT \n                     `\n` is CR LF in texts
//!     hex 00FF
//!     read GET | expect TEXT | pause 10 | shut | release | rest
//! settle GET /path -> TEXT         before all: until an answer has this in it
//! environment NAME=VALUE
//! differs: CASES | FIELD | OURS | THEIRS     cases by comma, `*` for all
//!     why that is as it should be
//! not read: DIRECTIVE              lb says so, and nothing is asked yet
//! ```

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    thread,
    time::{Duration, Instant},
};

use crate::case::{self, Case, Deviation, Step, Via};

/// Waits for health checks.
pub(crate) struct Settle {
    pub(crate) at: &'static str,
    request: String,
    until: String,
}

impl Settle {
    /// Asks until the answer is the one that is waited for.
    pub(crate) fn wait(&self, at: SocketAddr, patience: Duration) {
        let deadline = Instant::now() + patience;
        let mut answer = String::new();
        while !answer.to_ascii_lowercase().contains(&self.until) {
            assert!(
                Instant::now() < deadline,
                "{} was not seen, but {answer}",
                self.until
            );
            thread::sleep(Duration::from_millis(20));
            answer.clear();
            let asked = TcpStream::connect(at).and_then(|mut stream| {
                stream.set_read_timeout(Some(patience))?;
                let head = format!("{} HTTP/1.0\r\nHost: a\r\n\r\n", self.request);
                stream.write_all(head.as_bytes())?;
                stream.read_to_string(&mut answer)
            });
            if asked.is_err() {
                answer.clear();
            }
        }
    }
}

/// A whole script.
#[derive(Default)]
pub(crate) struct Script {
    pub(crate) cases: Vec<Case>,
    pub(crate) deviations: Vec<Deviation>,
    pub(crate) not_read: Vec<String>,
    pub(crate) settle: Option<Settle>,
}

/// Texts of scripts live as long as the tests.
pub(crate) fn keep(text: &str) -> &'static str {
    Box::leak(text.to_owned().into_boxed_str())
}

/// Reads a script; panics with the line that is wrong.
pub(crate) fn read(name: &str, text: &str) -> Script {
    let mut script = Script::default();
    let (mut at, mut via, mut probe) = ("web", Via::Plain, false);
    let (mut busy, mut queued) = (Vec::new(), Vec::new());
    let mut lines = text.lines().enumerate().peekable();
    while let Some((number, line)) = lines.next() {
        let wrong = |what: &str| -> ! { panic!("{name}:{}: {what}: {line}", number + 1) };
        let mut indented = || {
            let mut found = Vec::new();
            while let Some((_, line)) = lines.next_if(|(_, line)| line.starts_with(' ')) {
                found.push(line.trim());
            }
            found
        };
        let line = line.trim_end();
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        match word {
            "" | "#" => {}
            _ if word.starts_with('#') => {}
            "at" => at = keep(rest),
            "keep" => probe = true,
            "busy" => busy.push(request(rest)),
            "queued" => queued.push(request(rest)),
            "over" => {
                via = match rest.split(' ').collect::<Vec<_>>().as_slice() {
                    ["plain"] => Via::Plain,
                    ["tls", name] => Via::Tls(keep(name)),
                    ["known", name] => Via::Known(keep(name)),
                    ["h2"] => Via::H2,
                    ["h2", "tls", name] => Via::H2Tls(keep(name)),
                    _ => wrong("no way to speak"),
                };
            }
            "settle" => {
                let Some((request, until)) = rest.split_once(" -> ") else {
                    wrong("no `->`");
                };
                script.settle = Some(Settle {
                    at,
                    request: request.to_owned(),
                    until: until.to_ascii_lowercase(),
                });
            }
            "not" => match rest.strip_prefix("read: ") {
                Some(directive) => script.not_read.push(directive.to_owned()),
                None => wrong("no directive"),
            },
            "differs:" => {
                let parts: Vec<&str> = rest.split(" | ").map(str::trim).collect();
                let [cases, field, ours, theirs] = parts[..] else {
                    wrong("not four parts");
                };
                let why = indented().join(" ");
                if why.is_empty() {
                    wrong("no reason");
                }
                let cases: Vec<&'static str> = match cases {
                    "*" => Vec::new(),
                    cases => cases.split(',').map(|case| keep(case.trim())).collect(),
                };
                script.deviations.push(Deviation {
                    cases: Vec::leak(cases),
                    field: keep(field),
                    ours: keep(ours),
                    theirs: keep(theirs),
                    why: keep(&why),
                });
            }
            "talk" => {
                let steps = indented().into_iter().map(|step| {
                    let (word, rest) = step.split_once(' ').unwrap_or((step, ""));
                    match word {
                        "send" => Step::Send(rest.replace("\\n", "\n")),
                        "bytes" => Step::Bytes(rest.replace("\\n", "\r\n").into_bytes()),
                        "hex" => Step::Bytes(unhex(rest)),
                        "read" => Step::Read(rest.to_owned()),
                        "expect" => Step::Expect(keep(&rest.replace("\\n", "\r\n"))),
                        "pause" => Step::Pause(rest.parse().unwrap()),
                        "shut" => Step::Shut,
                        "release" => Step::Release,
                        "rest" => Step::Rest,
                        _ => wrong("no such step"),
                    }
                });
                let steps = steps.collect();
                let mut case = case::steps(rest, steps).via(at, via);
                case.busy = std::mem::take(&mut busy);
                case.queued = std::mem::take(&mut queued);
                script.cases.push(case);
            }
            _ if word.bytes().all(|b| b.is_ascii_uppercase()) => {
                let mut case = case::ask(&request(line)).via(at, via);
                case.name = line.to_owned();
                case.busy = std::mem::take(&mut busy);
                case.queued = std::mem::take(&mut queued);
                case.probe = probe && matches!(via, Via::Plain | Via::Tls(_) | Via::Known(_));
                script.cases.push(case);
            }
            _ => wrong("no such word"),
        }
    }
    script.not_read.sort();
    script
}

/// Bytes from two digits each.
fn unhex(text: &str) -> Vec<u8> {
    let digits = text.as_bytes().chunks(2);
    let byte = |pair| u8::from_str_radix(str::from_utf8(pair).unwrap(), 16).unwrap();
    digits.map(byte).collect()
}

/// `GET /x | Name: value | = body` as a request.
fn request(line: &str) -> String {
    let mut parts = line.split(" | ");
    let first = parts.next().unwrap_or_default();
    let version = if first.contains(" HTTP/1.") {
        ""
    } else {
        " HTTP/1.1"
    };
    let (mut fields, mut body) = (String::new(), None);
    let mut host = version.is_empty();
    for part in parts {
        match part.strip_prefix("= ") {
            Some(text) => body = Some(text),
            None => {
                host |= part.starts_with("Host: ");
                fields.push_str(&format!("{part}\n"));
            }
        }
    }
    if !host {
        fields.insert_str(0, "Host: a\n");
    }
    if let Some(body) = body {
        fields.push_str(&format!("Content-Length: {}\n", body.len()));
    }
    format!("{first}{version}\n{fields}\n{}", body.unwrap_or(""))
}
