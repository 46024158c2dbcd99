//! Lines of httplog, as far as they can be compared.

use std::sync::LazyLock;

use regex::{Captures, Regex};

use crate::talk::Fields;

/// The client's address and what of the line is compared.
pub(crate) fn parse(line: &str) -> Option<(String, Fields)> {
    let (before, rest) = line.split_once(" [")?;
    let client = before.rsplit(' ').next()?.rsplit_once(':')?.0;
    let (_date, rest) = rest.split_once("] ")?;
    let (rest, request) = rest.split_once(" \"")?;
    let words: Vec<&str> = rest.split(' ').collect();
    let [
        frontend,
        server,
        times,
        status,
        bytes,
        seen,
        set,
        termination,
        counts,
        queues,
        ..,
    ] = words[..]
    else {
        return None;
    };
    // Of a time: whether it was reached.
    let times: Vec<&str> = times
        .split('/')
        .map(|time| match time {
            "-1" => "-1",
            time if time.starts_with('+') => "+",
            _ => "n",
        })
        .collect();
    // Of the counts: retries, which belong to the request alone.
    let retries = counts.rsplit('/').next().unwrap_or("");
    // Of the bytes: whether there were any. HAProxy counts a message in its inner form, which is none of the wire's.
    let bytes = if bytes == "0" { "0" } else { "n" };
    let mut fields = Fields::new();
    for (name, value) in [
        ("frontend", frontend),
        ("server", server),
        ("times", &times.join("/")),
        ("status", status),
        ("bytes", bytes),
        ("cookies", &format!("{seen} {set}")),
        ("termination", termination),
        ("retries", retries),
        ("queues", queues),
        ("request", request.trim_end().trim_end_matches('"')),
    ] {
        fields.push((name.to_owned(), value.to_owned()));
    }
    if words.len() > 10 {
        fields.push(("captures".into(), words[10..].join(" ")));
    }
    Some((client.to_owned(), fields))
}

/// A line of another format: the client's address, and all from there on, with what is another each time made alike.
pub(crate) fn raw(line: &str) -> Option<(String, Fields)> {
    static CLIENT: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"127\.200\.\d+\.\d+").unwrap());
    static PORT: LazyLock<Regex> =
        LazyLock::new(|| Regex::new(r"(127\.200\.\d+\.\d+):\d+").unwrap());
    static DATE: LazyLock<Regex> =
        LazyLock::new(|| Regex::new(r"\d\d/[A-Z][a-z]{2}/\d{4}:[0-9:.]+(?: [+-]\d{4})?").unwrap());
    static TIMES: LazyLock<Regex> =
        LazyLock::new(|| Regex::new(r"(?:[-+]?\d+/){2,}[-+]?\d+").unwrap());
    let client = CLIENT.find(line)?;
    // What is before it is the log target's own, unless it is one word with it.
    let begin = line[..client.start()].rfind(' ').map_or(0, |at| at + 1);
    let line = PORT.replace_all(&line[begin..], "$1:PORT");
    let line = DATE.replace_all(&line, "DATE");
    let line = TIMES.replace_all(&line, |found: &Captures<'_>| {
        let alike = found[0].split('/').map(|time| match time {
            "-1" => "-1",
            time if time.starts_with('+') => "+",
            _ => "n",
        });
        alike.collect::<Vec<_>>().join("/")
    });
    let fields = vec![("text".to_owned(), line.into_owned())];
    Some((client.as_str().to_owned(), fields))
}
