//! Variables of the environment as the lines of `global` change them for what follows.

use std::collections::BTreeMap;

use super::lines::Line;
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
}
