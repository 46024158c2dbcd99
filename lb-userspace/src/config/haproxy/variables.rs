//! Variables of the environment as the lines of `global` change them for what follows; and where they are looked up
//! without the quotes that HAProxy wants of them elsewhere.

use std::collections::BTreeMap;

use super::{lines::Line, words::Lookup};
use crate::config::decode::Environment;

/// Lines that do so.
pub(super) const KEYWORDS: &[&str] = &["setenv", "presetenv", "unsetenv", "resetenv"];

/// The environment, and what was changed.
pub(super) struct Variables<'e> {
    environment: Environment<'e>,
    /// `None`: it is gone.
    changed: BTreeMap<String, Option<String>>,
    /// Those that `resetenv` has left.
    left: Option<Vec<String>>,
}

impl<'e> Variables<'e> {
    /// As lb was started.
    pub(super) fn new(environment: Environment<'e>) -> Self {
        Self {
            environment,
            changed: BTreeMap::new(),
            left: None,
        }
    }

    /// A variable's value.
    pub(super) fn get(&self, name: &str) -> Option<String> {
        if let Some(changed) = self.changed.get(name) {
            return changed.clone();
        }
        let is_left = |left: &Vec<String>| left.iter().any(|kept| kept == name);
        match self.left.as_ref().is_none_or(is_left) {
            true => (self.environment)(name),
            false => None,
        }
    }

    /// `setenv NAME VALUE`, `presetenv NAME VALUE`, `unsetenv NAME …`, `resetenv [NAME …]`
    pub(super) fn line(&mut self, line: &Line) {
        let names = || line.words.iter().skip(1).map(|word| word.text.clone());
        match line.keyword() {
            "presetenv" if self.get(line.text(1)).is_some() => {}
            "setenv" | "presetenv" => {
                let value = Some(line.text(2).to_owned());
                self.changed.insert(line.text(1).to_owned(), value);
            }
            "unsetenv" => self.changed.extend(names().map(|name| (name, None))),
            _ => {
                let kept: Vec<String> = names().collect();
                self.changed.retain(|name, _| kept.contains(name));
                if let Some(left) = &mut self.left {
                    left.retain(|name| kept.contains(name));
                } else {
                    self.left = Some(kept);
                }
            }
        }
    }
}

/// Puts variables into the addresses of a line: `$NAME` and `${NAME}` mean that there, quoted or not.
pub(super) fn in_addresses(line: &mut Line, lookup: Lookup<'_>) {
    let (first, options): (_, &[&str]) = match line.keyword() {
        "bind" | "log" | "dispatch" | "source" => (1, &["usesrc"]),
        "server" => (2, SERVER),
        "server-template" => (3, SERVER),
        "default-server" => (usize::MAX, SERVER),
        "nameserver" => (2, &[]),
        "stats" if line.text(1) == "socket" => (2, &[]),
        _ => return,
    };
    const SERVER: &[&str] = &["addr", "agent-addr", "source", "usesrc", "socks4"];
    let mut is_address = false;
    for (at, word) in line.words.iter_mut().enumerate() {
        let follows = std::mem::replace(&mut is_address, options.contains(&word.text.as_str()));
        if (at == first || follows) && word.text.contains('$') {
            word.text = expanded(&word.text, lookup);
        }
    }
}

/// A text with the values of its variables; those that are not set are empty.
fn expanded(text: &str, lookup: Lookup<'_>) -> String {
    let mut all = String::new();
    let mut rest = text;
    while let Some((before, behind)) = rest.split_once('$') {
        all.push_str(before);
        let braced = behind.strip_prefix('{');
        let named = braced.unwrap_or(behind);
        let end = named.find(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        let (name, after) = named.split_at(end.unwrap_or(named.len()));
        all.push_str(&lookup(name).unwrap_or_default());
        rest = match braced {
            Some(_) => after.strip_prefix('}').unwrap_or(after),
            None => after,
        };
    }
    all.push_str(rest);
    all
}

#[cfg(test)]
mod tests {
    use crate::config::{haproxy::lines::read, source::Source};

    #[test]
    fn what_is_set_is_seen_below() {
        let environment = |name: &str| matches!(name, "A" | "B").then(|| format!("old {name}"));
        let last = |lines: &str| {
            let text = format!("global\n{lines} description \"$A|$B|$C\"\n");
            let found = read(&Source::new("h.cfg", &text), &environment);
            assert!(found.diagnostics.is_empty(), "{text}");
            found.lines.last().map(|line| line.text(1).to_owned())
        };
        for (lines, said) in [
            ("", "old A|old B|"),
            (
                " setenv A new\n presetenv B new\n presetenv C new\n",
                "new|old B|new",
            ),
            (" unsetenv A C\n", "|old B|"),
            (" setenv C c\n setenv A a\n resetenv B C\n", "|old B|c"),
            (" resetenv\n setenv B \"$A.b\"\n", "|.b|"),
            ("frontend f\n setenv A new\n", "old A|old B|"),
        ] {
            assert_eq!(last(lines).as_deref(), Some(said), "{lines}");
        }
    }

    #[test]
    fn addresses_need_no_quotes_for_them() {
        let environment = |name: &str| match name {
            "HOST" => Some("127.0.0.1".to_owned()),
            "PORT" => Some("80".to_owned()),
            _ => None,
        };
        for (line, meant) in [
            ("bind ${HOST}:${PORT}80", "bind 127.0.0.1:8080"),
            (
                "bind $HOST:$PORT name $PORT",
                "bind 127.0.0.1:80 name $PORT",
            ),
            ("bind '$HOST':8$NONE", "bind 127.0.0.1:8"),
            (
                "server s$PORT $HOST:${PORT} check addr ${HOST} weight ${PORT}",
                "server s$PORT 127.0.0.1:80 check addr 127.0.0.1 weight ${PORT}",
            ),
            ("log $HOST:514 local0", "log 127.0.0.1:514 local0"),
            ("acl a path /$PORT", "acl a path /$PORT"),
        ] {
            let found = read(&Source::new("h.cfg", line), &environment);
            let words: Vec<_> = found.lines[0].words.iter().map(|w| &w.text[..]).collect();
            assert_eq!(words.join(" "), meant);
        }
    }
}
