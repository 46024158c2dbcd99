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

/// Sections with lines of their own, where a word may stand: what is before it and behind it.
fn around(group: &str, name: &str) -> String {
    let listen = |line: &str| {
        format!("listen l\n mode http\n bind :80\n {line}\n server s 192.0.2.1:80 check\n")
    };
    let tcp = |line: &str| {
        format!("listen l\n mode tcp\n bind :80\n {line}\n server s 192.0.2.1:80 check\n")
    };
    match group {
        "section" => format!("{name} x\n"),
        "global" => format!("global\n {name} 1\n"),
        "proxy" => listen(&format!("{name} 1 1 1")),
        "option" => listen(&format!("option {name}")),
        "timeout" => listen(&format!("timeout {name} 5s")),
        "bind" => format!("listen l\n mode http\n bind :80 {name} 1\n server s 192.0.2.1:80\n"),
        "server" => format!("listen l\n mode http\n bind :80\n server s 192.0.2.1:80 {name} 1\n"),
        "http-check" => listen(&format!("option httpchk\n http-check {name} 1 1")),
        "tcp-check" => listen(&format!("option tcp-check\n tcp-check {name} string 1")),
        "stats" => listen(&format!("stats {name} 1")),
        rules if rules.starts_with("http") => listen(&format!("{rules} {name} 1 1 1")),
        rules => tcp(&format!("{rules} {name} 1 1 1")),
    }
}

/// Asks the reader. A word that it knows may miss what belongs to it; one that it does not know is unsupported.
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
    let (_, said) = imported(&around(group, name));
    let refuses = |line: &String| {
        let of = line.split_once("unsupported: `").map(|(_, rest)| rest);
        let what = of
            .and_then(|rest| rest.split_once('`'))
            .map(|(what, _)| what);
        // The word itself, and not an argument that stands here for another.
        what.is_some_and(|what| what.rsplit(' ').next() == Some(name))
    };
    let leaves = |line: &String| {
        line.contains(" warning: ") && (line.contains("left out") || line.contains("read over"))
    };
    if said.iter().any(refuses) {
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
