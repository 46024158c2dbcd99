//! What docs/haproxy.md says of a word is what becomes of a line that HAProxy takes: it is read without a murmur, left out
//! with a warning, or refused.
//!
//! `words.txt` has such a line of each word. One that begins with `!` Debian's HAProxy does not take, for its version or for
//! how it was built.

use std::{fmt::Write as _, fs, path::Path, process::Command};

use crate::certificates::{Authority, Scratch};

/// A word's line, and what the document says of it.
struct Use {
    group: &'static str,
    line: &'static str,
    taken: bool,
    said: Fate,
}

/// What becomes of a word.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Fate {
    Read,
    LeftOut,
    Refused,
}

/// The document's word on each, with the group that it is of.
fn document(text: &str) -> Vec<(&str, &str, Fate)> {
    let mut all = Vec::new();
    for section in text.split("\n### ").skip(1) {
        let (group, lines) = section.split_once('\n').unwrap();
        for line in lines.lines() {
            let fate = match line {
                _ if line.starts_with("- read: ") => Fate::Read,
                _ if line.starts_with("- left out") => Fate::LeftOut,
                _ if line.starts_with("- refused") => Fate::Refused,
                _ => continue,
            };
            let words = line.split('`').skip(1).step_by(2);
            all.extend(words.map(|word| (group, word, fate)));
        }
    }
    all
}

/// All uses; each word of the document has one.
fn uses(document: &[(&'static str, &'static str, Fate)]) -> Vec<Use> {
    let mut uses = Vec::new();
    let mut group = "";
    for line in include_str!("words.txt").lines() {
        if let Some(name) = line
            .strip_prefix('[')
            .and_then(|name| name.strip_suffix(']'))
        {
            group = name;
            continue;
        }
        let (taken, line) = match line.strip_prefix("! ") {
            Some(line) => (false, line),
            None => (true, line),
        };
        let word = line.split([' ', '(']).next().unwrap();
        let said = document
            .iter()
            .find(|(of, name, _)| (*of, *name) == (group, word));
        let (_, _, said) = *said.unwrap_or_else(|| panic!("{group}: the document has no `{word}`"));
        uses.push(Use {
            group,
            line,
            taken,
            said,
        });
    }
    for (group, word, _) in document {
        let asked = !matches!(*group, "section" | "fetch" | "converter");
        let is =
            |used: &Use| used.group == *group && used.line.split([' ', '(']).next() == Some(word);
        assert!(!asked || uses.iter().any(is), "{group}: no use of `{word}`");
    }
    uses
}

/// A file of these, and at which of its lines each stands.
fn file(uses: &[&Use]) -> (String, Vec<usize>) {
    let mut text = String::from("global\n expose-experimental-directives\n");
    let mut at = Vec::new();
    let here = |text: &str| text.lines().count();
    for used in uses.iter().filter(|used| used.group == "global") {
        let _ = writeln!(text, " {}", used.line);
        at.push(here(&text));
    }
    text.push_str(
        "defaults\n timeout connect 5s\n timeout client 5s\n timeout server 5s\n timeout http-request 5s\n\
         userlist u\n user a password b\n\
         http-errors site\n errorfile 503 {dir}/503.http\n\
         resolvers r\n nameserver n 192.0.2.53:53\n\
         cache ca\n total-max-size 4\n\
         backend other\n mode http\n stick-table type ip size 1k expire 1h store gpc0,gpc1,gpt0,conn_cnt\n \
         server t 192.0.2.1:80 check\n\
         listen alone\n mode http\n bind :9999\n http-request set-header X-A %[src,map({dir}/a.map)]\n \
         use_backend other if { hdr(x-b) -f {dir}/list.txt }\n",
    );
    for (n, used) in uses.iter().enumerate() {
        let (group, line) = (used.group, used.line);
        let (port, own) = (10_000 + n, 30_000 + n);
        let line = line.replace("{port}", &own.to_string());
        // Who has a unix socket's owner is one.
        let of_file = ["gid ", "group ", "mode ", "uid ", "user "];
        let bind = match group {
            "bind" if of_file.iter().any(|word| line.starts_with(word)) => {
                format!("unix@/run/lb-words-{n} {line}")
            }
            "bind" => format!(":{port} {line}"),
            _ => format!(":{port}"),
        };
        let mode = match group {
            "tcp-request content" | "tcp-response content" | "tcp-check" => "tcp",
            _ => "http",
        };
        let server = match group {
            "server" => format!("server s 192.0.2.1:80 {line}"),
            _ if mode == "http" => "server s 192.0.2.1:80 check cookie s".to_owned(),
            _ => "server s 192.0.2.1:80 check".to_owned(),
        };
        let whole = match group {
            "global" => continue,
            "proxy" => line,
            "bind" | "server" => String::new(),
            "http-check" => format!("option httpchk\n http-check {line}"),
            "tcp-check" => format!("option tcp-check\n tcp-check {line}"),
            "http-response" | "http-after-response" => {
                format!("declare capture response len 10\n {group} {line}")
            }
            group => format!("{group} {line}"),
        };
        let _ = write!(text, "listen l{n}\n bind {bind}\n mode {mode}\n");
        if group == "bind" {
            at.push(here(&text) - 1);
        }
        if !whole.is_empty() {
            let _ = writeln!(text, " {whole}");
            at.push(here(&text));
        }
        let _ = writeln!(text, " {server}");
        if group == "server" {
            at.push(here(&text));
        }
    }
    (text, at)
}

/// What a program says of a file.
fn check(program: &str, arguments: &[&str], path: &Path) -> (bool, String) {
    let mut command = Command::new(program);
    let out = command.args(arguments).arg(path).output().unwrap();
    let said = [out.stdout, out.stderr].concat();
    (out.status.success(), String::from_utf8(said).unwrap())
}

#[test]
fn words_fare_as_the_document_says() {
    if Command::new("haproxy").arg("-v").output().is_err() {
        eprintln!("skipped: haproxy is not installed");
        return;
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/haproxy.md");
    let text: &'static str = crate::script::keep(&fs::read_to_string(path).unwrap());
    let document = document(text);
    let uses = uses(&document);
    let folder = Scratch::new();
    let authority = Authority::new();
    let made = authority.issue(&["a.example"]);
    folder.write("a.pem", made.both());
    folder.write("ca.pem", authority.pem());
    folder.write("a.crl", authority.revoke(&[], 2100));
    folder.write(
        "tickets",
        ["A".repeat(64), "B".repeat(64), "C".repeat(64)].join("\n"),
    );
    fs::create_dir(folder.path().join("none")).unwrap();
    for (name, text) in [
        ("a.map", "a b\n"),
        ("list.txt", "a\n"),
        ("list", ""),
        ("case", "b B\n"),
        ("a.lua", ""),
        ("503.http", "HTTP/1.0 503 None\r\n\r\nsorry"),
    ] {
        folder.write(name, text);
    }
    let dir = folder.path().to_str().unwrap();
    let write = |text: &str| folder.write("words.cfg", text.replace("{dir}", dir));
    let mut wrong = String::new();
    let mut parts: Vec<Vec<&Use>> = Vec::new();
    for fate in [Fate::Read, Fate::LeftOut, Fate::Refused] {
        let of = |used: &&Use| used.said == fate;
        parts.push(uses.iter().filter(of).collect());
    }
    for part in &parts {
        let taken: Vec<&Use> = part.iter().copied().filter(|used| used.taken).collect();
        let (ok, said) = check("haproxy", &["-c", "-f"], &write(&file(&taken).0));
        if !ok {
            let _ = writeln!(wrong, "HAProxy does not take it: {said}");
        }
        let (text, at) = file(part);
        let (_, said) = check(
            env!("CARGO_BIN_EXE_lb"),
            &["check", "--config"],
            &write(&text),
        );
        for (used, at) in part.iter().zip(at) {
            let place = format!(".cfg:{at}:");
            let of: Vec<&str> = said.lines().filter(|line| line.contains(&place)).collect();
            let left = |line: &&str| line.contains("left out") || line.contains("read over");
            let fate = match () {
                () if of.iter().any(|line| line.contains(" error: ")) => Fate::Refused,
                () if of.iter().any(left) => Fate::LeftOut,
                () => Fate::Read,
            };
            if fate != used.said {
                let _ = writeln!(
                    wrong,
                    "{} {}: {:?}, but {fate:?}: {of:?}",
                    used.group, used.line, used.said
                );
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}
