//! What of HAProxy's words is read: `docs/haproxy.md` says so for each, and what it says is asked of the reader itself.
//!
//! `names.txt` has the words, as HAProxy prints them (`haproxy -dKall`) and its manual has them. `LB_WRITE=1` writes the
//! document anew.

use std::{fmt::Write as _, fs, path::Path};

use super::imported;
use crate::rules::{Expr, Registry};

/// What becomes of a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Read,
    LeftOut,
    Refused,
}

/// The words' lines, which a test that has HAProxy beside it shows both.
const USES: &str = include_str!("../../../../tests/compare/words.txt");

/// A line of a word, as it is behind those of its group.
fn used(group: &str, name: &str) -> &'static str {
    let head = format!("[{group}]");
    let lines = USES.lines().skip_while(|line| *line != head).skip(1);
    let mut lines = lines.map(|line| line.strip_prefix("! ").unwrap_or(line));
    let found = lines.find(|line| line.split([' ', '(']).next() == Some(name));
    found.unwrap_or_else(|| panic!("words.txt has no `{name}` of {group}"))
}

/// What some lines name.
const BESIDE: &str =
    "http-errors site\n errorfile 503 /run/lb/503.http\nresolvers r\n nameserver n 192.0.2.53:53\n";

/// A file with that line.
fn around(group: &str, line: &str) -> String {
    let of_mode = |mode: &str, line: &str| {
        format!("listen l\n mode {mode}\n bind :80\n {line}\n server s 192.0.2.1:80 check\n")
    };
    let listen = |line: String| of_mode("http", &line);
    match group {
        "global" => format!("global\n {line}\n"),
        "proxy" => listen(line.to_owned()),
        "bind" => format!("listen l\n mode http\n bind :80 {line}\n server s 192.0.2.1:80\n"),
        "server" => format!("listen l\n mode http\n bind :80\n server s 192.0.2.1:80 {line}\n"),
        "http-check" => listen(format!("option httpchk\n http-check {line}")),
        "tcp-check" => listen(format!("option tcp-check\n tcp-check {line}")),
        "tcp-request content" | "tcp-response content" => {
            of_mode("tcp", &format!("{group} {line}"))
        }
        group => listen(format!("{group} {line}")),
    }
}

/// Asks the reader.
fn fate(group: &str, name: &str) -> Fate {
    let expression = match group {
        "fetch" => Some(name.to_owned()),
        "converter" => Some(format!("str(a),{name}")),
        _ => None,
    };
    if let Some(text) = expression {
        let read = Expr::parse(&text, &mut Registry::new(Path::new("")));
        let unknown =
            read.is_err_and(|problem| problem.message == format!("there is no {group} `{name}`"));
        return match unknown {
            true => Fate::Refused,
            false => Fate::Read,
        };
    }
    let (_, said) = match group {
        "section" => imported(&format!("{name} x\n")),
        _ => {
            let line = used(group, name)
                .replace("{dir}", "/run/lb")
                .replace("{port}", "81");
            imported(&(BESIDE.to_owned() + &around(group, &line)))
        }
    };
    let leaves = |line: &String| {
        line.contains(" warning: ") && (line.contains("left out") || line.contains("read over"))
    };
    if said.iter().any(|line| line.contains(" error: ")) {
        return Fate::Refused;
    }
    match said.iter().any(leaves) {
        true => Fate::LeftOut,
        false => Fate::Read,
    }
}

/// The part of the document that has the words.
fn document() -> String {
    let mut out = String::new();
    let text = include_str!("names.txt");
    let groups = text.split('[').skip(1);
    for group in groups {
        let (title, words) = group.split_once(']').unwrap();
        let words: Vec<(&str, Fate)> = words
            .split_ascii_whitespace()
            .map(|word| (word, fate(title, word)))
            .collect();
        let _ = writeln!(out, "\n### {title}\n");
        for (fate, what) in [
            (Fate::Read, "read"),
            (Fate::LeftOut, "left out, with a warning"),
            (Fate::Refused, "refused, with an error"),
        ] {
            let of = words.iter().filter(|(_, of)| *of == fate);
            let names: Vec<String> = of.map(|(word, _)| format!("`{word}`")).collect();
            if !names.is_empty() {
                let _ = writeln!(out, "- {what}: {}", names.join(", "));
            }
        }
    }
    out
}

#[test]
fn the_document_says_what_is_read() {
    const BEGIN: &str = "<!-- from here on as the reader has it -->\n";
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/haproxy.md");
    let text = fs::read_to_string(&path).unwrap();
    let (head, said) = text.split_once(BEGIN).unwrap();
    let read = document();
    if std::env::var_os("LB_WRITE").is_some() {
        fs::write(&path, format!("{head}{BEGIN}{read}")).unwrap();
        return;
    }
    let different = said
        .lines()
        .zip(read.lines())
        .find(|(said, read)| said != read);
    assert_eq!(different, None, "write it anew with LB_WRITE=1");
    assert_eq!(said.len(), read.len());
}
