//! Maps: what a value leads to, from a file that is read again when it changes.
//!
//! A line has a key and, after blanks, what it leads to; lines that begin with `#` are comments. A file that cannot be
//! read or has a bad line leaves what there was.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use arc_swap::ArcSwap;

use super::{
    matching::{How, Patterns},
    problem::Problem,
    value::{Kind, Value},
};
use crate::watched::Watched;

/// The type of what keys lead to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Output {
    /// Text.
    Text,
    /// A number.
    Number,
    /// An address.
    Address,
}

impl Output {
    /// As a type of values.
    pub const fn kind(self) -> Kind {
        match self {
            Self::Text => Kind::Str,
            Self::Number => Kind::Int,
            Self::Address => Kind::Ip,
        }
    }
}

/// A map.
#[derive(Debug)]
pub struct Map {
    path: PathBuf,
    how: How,
    output: Output,
    entries: ArcSwap<Patterns<Value<'static>>>,
    /// Only touched by who looks for changes.
    file: Mutex<Watched>,
}

impl Map {
    /// Reads a file.
    ///
    /// # Errors
    /// It cannot be read, or has a line that is none.
    pub fn read(path: PathBuf, how: How, output: Output) -> Result<Self, Problem> {
        let file = Mutex::new(Watched::one(&path));
        let entries = load(&path, how, output)?;
        Ok(Self {
            path,
            how,
            output,
            entries: ArcSwap::from_pointee(entries),
            file,
        })
    }

    /// Whether it is this one.
    pub fn is(&self, path: &Path, how: How, output: Output) -> bool {
        self.path == path && self.how == how && self.output == output
    }

    /// Its file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The type of what keys lead to.
    pub fn output(&self) -> Output {
        self.output
    }

    /// A value as a key; `None` if it cannot be one.
    pub fn key_of<'a>(&self, value: Value<'a>) -> Option<Value<'a>> {
        match self.how.kind() {
            Some(kind) => value.cast(kind),
            None => Some(value),
        }
    }

    /// What a value leads to.
    pub fn find(&self, value: &Value<'_>) -> Option<Value<'static>> {
        self.entries.load().find(value).cloned()
    }

    /// Reads the file again if it has changed, and has not changed any more since this was asked last: how many keys
    /// there are now, or `None` if there is no news.
    ///
    /// # Errors
    /// As [`Map::read`]; what there was stays.
    pub fn refresh(&self) -> Result<Option<usize>, Problem> {
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        if file.changed().is_empty() {
            return Ok(None);
        }
        // Before it is read: a file that is wrong is told of once.
        *file = Watched::one(&self.path);
        let entries = load(&self.path, self.how, self.output)?;
        let count = entries.len();
        self.entries.store(Arc::new(entries));
        Ok(Some(count))
    }
}

fn load(path: &Path, how: How, output: Output) -> Result<Patterns<Value<'static>>, Problem> {
    let text = fs::read_to_string(path).map_err(|error| {
        Problem::new(
            format!("the map {} cannot be read: {error}", path.display()),
            "name a readable file",
        )
    })?;
    parse(&text, how, output).map_err(|(line, problem)| Problem {
        message: format!(
            "the map {}, line {line}: {}",
            path.display(),
            problem.message
        ),
        mend: problem.mend,
    })
}

/// The entries of a text; else which line is none, and why.
fn parse(
    text: &str,
    how: How,
    output: Output,
) -> Result<Patterns<Value<'static>>, (usize, Problem)> {
    let mut entries = Patterns::new(how, false);
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (key, value) = match line.split_once(|c: char| c.is_ascii_whitespace()) {
            Some((key, value)) => (key, value.trim()),
            None => (line, ""),
        };
        let complain = |problem| (index + 1, problem);
        let value = Value::Str(value.as_bytes().to_vec().into())
            .read(output.kind())
            .ok_or_else(|| {
                complain(Problem::bare(format!(
                    "`{value}` is not {}",
                    output.kind().name()
                )))
            })?;
        entries.add(key, value).map_err(complain)?;
    }
    Ok(entries)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str, how: How, value: Value<'_>) -> Option<String> {
        let entries = parse(text, how, Output::Text).unwrap();
        let value = entries.find(&value)?.borrowed().into_text().into_owned();
        String::from_utf8(value).ok()
    }

    #[test]
    fn keys_lead_to_values() {
        let text = "# hosts\n\na.example  one\nb.example\ttwo words \nalone\n";
        assert_eq!(
            found(text, How::Exact, Value::text("a.example")).as_deref(),
            Some("one")
        );
        assert_eq!(
            found(text, How::Exact, Value::text("b.example")).as_deref(),
            Some("two words")
        );
        assert_eq!(
            found(text, How::Exact, Value::text("alone")).as_deref(),
            Some("")
        );
        assert_eq!(found(text, How::Exact, Value::text("# hosts")), None);
        let prefixes = "/a one\n/a/b two\n";
        assert_eq!(
            found(prefixes, How::Prefix, Value::text("/a/b/c")).as_deref(),
            Some("two")
        );
        let networks = "10.0.0.0/8 all\n10.1.0.0/16 some\n2001:db8::/32 six\n";
        let ip = |text: &str| Value::Ip(text.parse().unwrap());
        assert_eq!(
            found(networks, How::Address, ip("10.1.2.3")).as_deref(),
            Some("some")
        );
        assert_eq!(
            found(networks, How::Address, ip("10.2.2.3")).as_deref(),
            Some("all")
        );
        assert_eq!(
            found(networks, How::Address, ip("2001:db8::1")).as_deref(),
            Some("six")
        );
        assert_eq!(found(networks, How::Address, ip("11.2.2.3")), None);
        assert_eq!(
            parse("a 1\nb x", How::Exact, Output::Number).unwrap_err().0,
            2
        );
    }

    #[test]
    fn a_changed_file_is_read_again_and_a_bad_one_is_not_taken() {
        let path = std::env::temp_dir().join(format!("lb-map-{}", std::process::id()));
        fs::write(&path, "a 1\n").unwrap();
        let map = Map::read(path.clone(), How::Exact, Output::Number).unwrap();
        assert_eq!(map.find(&Value::text("a")), Some(Value::Int(1)));
        assert_eq!(map.refresh(), Ok(None));
        fs::write(&path, "a 1").unwrap();
        assert_eq!(map.refresh(), Ok(None), "it may be half written");
        fs::write(&path, "a 10\nb 2\n").unwrap();
        assert_eq!(map.refresh(), Ok(None), "it has gone on");
        assert_eq!(map.refresh(), Ok(Some(2)));
        assert_eq!(map.find(&Value::text("a")), Some(Value::Int(10)));
        fs::write(&path, "a nonsense\n").unwrap();
        assert_eq!(map.refresh(), Ok(None));
        assert!(map.refresh().is_err());
        assert_eq!(map.refresh(), Ok(None), "told of once");
        assert_eq!(map.find(&Value::text("a")), Some(Value::Int(10)));
        fs::remove_file(&path).unwrap();
    }
}
