//! Maps, what a value leads to, and lists of patterns, from files that are read again when they change.
//!
//! A line of a map has a key and, after blanks, what it leads to; one of a list is a pattern. Lines that begin with `#`
//! are comments. A file that cannot be read or has a bad line leaves what there was, and so does one that ends in the
//! middle of a line until nobody has written it for a while. What is changed while the daemon runs holds until the file
//! changes.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use serde::{Deserialize, Serialize};

use super::{
    matching::{How, Patterns},
    problem::Problem,
    value::{Kind, Value},
};
use crate::watched::Watched;

mod carried;

pub use carried::CarriedMap;

/// How long a file that is empty or ends in the middle of a line has to be left alone before it is taken as it is: whoever
/// writes it may be slow.
const UNFINISHED: Duration = Duration::from_secs(5);

/// The type of what keys lead to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Output {
    /// Text.
    Text,
    /// A number.
    Number,
    /// An address.
    Address,
    /// Nothing: what matters is whether there is a key.
    Nothing,
}

impl Output {
    /// As a type of values.
    pub const fn kind(self) -> Kind {
        match self {
            Self::Text => Kind::Str,
            Self::Number => Kind::Int,
            Self::Address => Kind::Ip,
            Self::Nothing => Kind::Bool,
        }
    }
}

/// A map, or a list of patterns.
#[derive(Debug)]
pub struct Map {
    path: PathBuf,
    how: How,
    ignore_case: bool,
    output: Output,
    entries: ArcSwap<Entries>,
    /// 0 while it says what its file does, else a number of what was changed last.
    changed: AtomicU64,
    /// Held by whoever changes the entries.
    file: Mutex<Watched>,
}

/// What a file says, in its order and ready to be found.
#[derive(Debug)]
struct Entries {
    lines: Vec<Arc<Line>>,
    patterns: Patterns<Arc<Line>>,
}

/// A line of a map.
#[derive(Debug)]
pub struct Line {
    /// What it is called by while it is there; no other ever was.
    pub id: u64,
    /// Its key, as it is written.
    pub key: String,
    /// What it leads to, as it is written.
    pub text: String,
    value: Value<'static>,
}

impl Line {
    fn new(key: &str, text: &str, output: Output) -> Result<Self, Problem> {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let value = match output {
            Output::Nothing => Some(Value::Bool(true)),
            _ => Value::Str(text.as_bytes().to_vec().into()).read(output.kind()),
        };
        let value = value
            .ok_or_else(|| Problem::bare(format!("`{text}` is not {}", output.kind().name())))?;
        Ok(Self {
            id: NEXT.fetch_add(1, Relaxed),
            key: key.to_owned(),
            text: text.to_owned(),
            value,
        })
    }
}

/// What rules do with a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// `set_map`: a key leads to this, whether it was there or not.
    Set,
    /// `del_map`, `del_acl`: a key is removed.
    Remove,
    /// `add_acl`: a pattern is there.
    Add,
}

impl Change {
    /// Whether there is nothing to do.
    fn is_done(self, lines: &[Arc<Line>], key: &str, text: &str) -> bool {
        let mut found = lines.iter().filter(|line| line.key == key).peekable();
        match self {
            Self::Remove => found.peek().is_none(),
            Self::Add => found.peek().is_some(),
            Self::Set => found.peek().is_some() && found.all(|line| line.text == text),
        }
    }
}

/// Which lines are meant.
#[derive(Debug, Clone, Copy)]
pub enum Which<'a> {
    /// All with this key.
    Key(&'a str),
    /// The one that is called so.
    Id(u64),
}

impl Which<'_> {
    fn is(self, line: &Line) -> bool {
        match self {
            Self::Key(key) => line.key == key,
            Self::Id(id) => line.id == id,
        }
    }
}

impl Map {
    /// Reads a file.
    ///
    /// # Errors
    /// It cannot be read, or has a line that is none.
    pub fn read(
        path: PathBuf,
        how: How,
        ignore_case: bool,
        output: Output,
    ) -> Result<Self, Problem> {
        let file = Mutex::new(Watched::one(&path));
        let entries = entries(&read(&path, output)?, &path, how, ignore_case, output)?;
        Ok(Self {
            path,
            how,
            ignore_case,
            output,
            entries: ArcSwap::from_pointee(entries),
            changed: AtomicU64::new(0),
            file,
        })
    }

    /// One that has nothing in it, whatever the file says.
    pub(super) fn empty(path: PathBuf, how: How, ignore_case: bool, output: Output) -> Self {
        let entries = Entries {
            lines: Vec::new(),
            patterns: Patterns::new(how, ignore_case),
        };
        Self {
            path,
            how,
            ignore_case,
            output,
            entries: ArcSwap::from_pointee(entries),
            changed: AtomicU64::new(0),
            file: Mutex::new(Watched::default()),
        }
    }

    /// Whether it is this one.
    pub fn is(&self, path: &Path, how: How, ignore_case: bool, output: Output) -> bool {
        self.path == path
            && self.how == how
            && self.ignore_case == ignore_case
            && self.output == output
    }

    /// Its file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// How keys are compared.
    pub fn how(&self) -> How {
        self.how
    }

    /// Whether case is of no account.
    pub fn ignores_case(&self) -> bool {
        self.ignore_case
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
        let entries = self.entries.load();
        entries.patterns.find(value).map(|line| line.value.clone())
    }

    /// Whether there is a key for a value.
    pub fn contains(&self, value: &Value<'_>) -> bool {
        self.entries.load().patterns.find(value).is_some()
    }

    /// The line that a value leads to.
    pub fn line(&self, value: &Value<'_>) -> Option<Arc<Line>> {
        self.entries.load().patterns.find(value).cloned()
    }

    /// How many lines there are.
    pub fn len(&self) -> usize {
        self.entries.load().lines.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All lines, in their order.
    pub fn lines(&self) -> Vec<Arc<Line>> {
        self.entries.load().lines.clone()
    }

    /// Adds lines, all of them or none.
    ///
    /// # Errors
    /// One is no such key, or what it is to lead to is not of the map's type.
    pub fn append<'a>(
        &self,
        lines: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Result<(), Problem> {
        let lines = lines.into_iter();
        let lines = lines.map(|(key, text)| Line::new(key, text, self.output).map(Arc::new));
        let mut added = lines.collect::<Result<Vec<_>, _>>()?;
        self.change(|lines| lines.append(&mut added))
    }

    /// Has lines lead to something else; whether there were any.
    ///
    /// # Errors
    /// It is not of the map's type.
    pub fn replace(&self, which: Which<'_>, text: &str) -> Result<bool, Problem> {
        let mut changed = Ok(false);
        self.change(|lines| {
            for line in lines.iter_mut().filter(|line| which.is(line)) {
                match Line::new(&line.key, text, self.output) {
                    Ok(new) => {
                        *line = Arc::new(Line { id: line.id, ..new });
                        changed = changed.clone().map(|_| true);
                    }
                    Err(problem) => changed = Err(problem),
                }
            }
        })?;
        changed
    }

    /// Removes lines; whether there were any.
    pub fn remove(&self, which: Which<'_>) -> bool {
        let mut before = 0;
        let mut after = 0;
        // What is left was good before.
        let _ = self.change(|lines| {
            before = lines.len();
            lines.retain(|line| !which.is(line));
            after = lines.len();
        });
        after < before
    }

    /// Puts other lines in the place of all, in one step.
    ///
    /// # Errors
    /// One is no such key, or what it is to lead to is not of the map's type.
    pub fn exchange<'a>(
        &self,
        lines: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Result<(), Problem> {
        let lines = lines.into_iter();
        let lines = lines.map(|(key, text)| Line::new(key, text, self.output).map(Arc::new));
        let new = lines.collect::<Result<Vec<_>, _>>()?;
        self.change(|lines| *lines = new)
    }

    /// Removes all lines.
    pub fn clear(&self) {
        // Nothing cannot be wrong.
        let _ = self.change(Vec::clear);
    }

    /// Does with a key what a rule wants to be done. That is one step, so that of several who want the same one does it,
    /// and whoever wants what is so already neither waits nor copies anything.
    ///
    /// # Errors
    /// It is no such key, or what it is to lead to is not of the map's type.
    pub fn settle(&self, change: Change, key: &str, text: &str) -> Result<(), Problem> {
        if change.is_done(&self.entries.load().lines, key, text) {
            return Ok(());
        }
        let new = match change {
            Change::Remove => None,
            Change::Set | Change::Add => Some(Arc::new(Line::new(key, text, self.output)?)),
        };
        self.change_unless(
            |lines| change.is_done(lines, key, text),
            |lines| {
                let Some(new) = new else {
                    return lines.retain(|line| line.key != key);
                };
                let mut known = false;
                for line in lines.iter_mut().filter(|line| line.key == key) {
                    known = true;
                    *line = Arc::new(Line {
                        id: line.id,
                        key: key.to_owned(),
                        text: text.to_owned(),
                        value: new.value.clone(),
                    });
                }
                if !known {
                    lines.push(new);
                }
            },
        )
    }

    fn change(&self, change: impl FnOnce(&mut Vec<Arc<Line>>)) -> Result<(), Problem> {
        self.change_unless(|_| false, change)
    }

    fn change_unless(
        &self,
        is_done: impl FnOnce(&[Arc<Line>]) -> bool,
        change: impl FnOnce(&mut Vec<Arc<Line>>),
    ) -> Result<(), Problem> {
        let _writing = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        if is_done(&self.entries.load().lines) {
            return Ok(());
        }
        let mut lines = self.lines();
        change(&mut lines);
        let entries = Entries::new(lines, self.how, self.ignore_case);
        self.entries
            .store(Arc::new(entries.map_err(|(_, problem)| problem)?));
        static NEXT: AtomicU64 = AtomicU64::new(1);
        self.changed.store(NEXT.fetch_add(1, Relaxed), Relaxed);
        Ok(())
    }

    /// Reads the file again if it has changed, has not changed any more since this was asked last, and is whole as far as
    /// can be told: how many keys there are now, or `None` if there is no news.
    ///
    /// # Errors
    /// As [`Map::read`]; what there was stays.
    pub fn refresh(&self) -> Result<Option<usize>, Problem> {
        self.refresh_with(UNFINISHED)
    }

    /// The same with so much patience for a file that ends in the middle of a line.
    fn refresh_with(&self, patience: Duration) -> Result<Option<usize>, Problem> {
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        if file.changed().is_empty() {
            return Ok(None);
        }
        // Before it is read: what changes meanwhile is seen.
        let now = Watched::one(&self.path);
        let text = read(&self.path, self.output);
        let unfinished = text.as_deref().is_ok_and(|text| !text.ends_with('\n'));
        if unfinished && is_young(&self.path, patience) || !now.differing().is_empty() {
            return Ok(None);
        }
        // A file that is wrong is told of once.
        *file = now;
        let entries = entries(&text?, &self.path, self.how, self.ignore_case, self.output)?;
        let count = entries.patterns.len();
        self.entries.store(Arc::new(entries));
        self.changed.store(0, Relaxed);
        Ok(Some(count))
    }
}

impl Entries {
    /// Else which line is none, counted from 0.
    fn new(lines: Vec<Arc<Line>>, how: How, ignore_case: bool) -> Result<Self, (usize, Problem)> {
        let mut patterns = Patterns::new(how, ignore_case);
        for (index, line) in lines.iter().enumerate() {
            let added = patterns.add(&line.key, Arc::clone(line));
            added.map_err(|problem| (index, problem))?;
        }
        Ok(Self { lines, patterns })
    }
}

/// What a map or a list is called in messages.
fn called(path: &Path, output: Output) -> String {
    let what = match output {
        Output::Nothing => "file",
        _ => "map",
    };
    format!("the {what} {}", path.display())
}

fn read(path: &Path, output: Output) -> Result<String, Problem> {
    fs::read_to_string(path).map_err(|error| {
        Problem::new(
            format!("{} cannot be read: {error}", called(path, output)),
            "name a readable file",
        )
    })
}

/// Whether a file has been written no longer ago than `patience`.
fn is_young(path: &Path, patience: Duration) -> bool {
    let modified = fs::metadata(path).and_then(|file| file.modified());
    // One of the future is as old as any.
    modified.is_ok_and(|at| at.elapsed().is_ok_and(|age| age < patience))
}

/// The entries of the text of a file.
fn entries(
    text: &str,
    path: &Path,
    how: How,
    ignore_case: bool,
    output: Output,
) -> Result<Entries, Problem> {
    parse(text, how, ignore_case, output).map_err(|(line, problem)| Problem {
        message: format!("{}, line {line}: {}", called(path, output), problem.message),
        mend: problem.mend,
    })
}

/// A line's key, and what it leads to.
pub fn halves(line: &str) -> (&str, &str) {
    match line.split_once(|c: char| c.is_ascii_whitespace()) {
        Some((key, value)) => (key, value.trim()),
        None => (line, ""),
    }
}

/// The entries of a text; else which line is none, and why.
fn parse(
    text: &str,
    how: How,
    ignore_case: bool,
    output: Output,
) -> Result<Entries, (usize, Problem)> {
    let (mut lines, mut places) = (Vec::new(), Vec::new());
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (key, value) = match output {
            Output::Nothing => (line, ""),
            _ => halves(line),
        };
        let line = Line::new(key, value, output).map_err(|problem| (index + 1, problem))?;
        lines.push(Arc::new(line));
        places.push(index + 1);
    }
    Entries::new(lines, how, ignore_case)
        .map_err(|(index, problem)| (places.get(index).copied().unwrap_or(index), problem))
}

#[cfg(test)]
mod tests;
