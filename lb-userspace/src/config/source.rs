//! The text of a configuration file and positions in it.

use std::sync::Arc;

/// A place in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// From 1.
    pub line: usize,
    /// In characters, from 1.
    pub column: usize,
}

/// A stretch of the file; the end is exclusive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span {
    /// First character.
    pub start: Position,
    /// After the last character.
    pub end: Position,
}

impl Span {
    /// `length` characters of one line.
    pub fn at(line: usize, column: usize, length: usize) -> Span {
        Span {
            start: Position { line, column },
            end: Position {
                line,
                column: column + length,
            },
        }
    }
}

/// A value and where it was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Spanned<T> {
    pub(super) value: T,
    pub(super) span: Span,
}

impl<T> Spanned<T> {
    pub(super) fn new(value: T, span: Span) -> Self {
        Spanned { value, span }
    }
}

/// A file's name and text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    name: String,
    text: String,
    /// Byte offsets at which lines begin.
    lines: Vec<usize>,
    /// The files that it was put together from, each with the line it begins at; none if it is one.
    parts: Vec<(usize, String)>,
}

impl Source {
    /// Takes the text as it is, but for a byte order mark, which is dropped.
    pub fn new(name: &str, text: &str) -> Source {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let bytes = text.as_bytes();
        let mut lines = vec![0];
        for (at, byte) in bytes.iter().enumerate() {
            // YAML 1.2 §5.4: LF, CR LF and CR alone end a line.
            if *byte == b'\n' || (*byte == b'\r' && bytes.get(at + 1) != Some(&b'\n')) {
                lines.push(at + 1);
            }
        }
        Source {
            name: name.to_owned(),
            text: text.to_owned(),
            lines,
            parts: Vec::new(),
        }
    }

    /// Several files read as one, in this order; the first gives the name.
    pub(super) fn joined(files: &[Source]) -> Source {
        let mut text = String::new();
        let mut parts = Vec::new();
        let mut first = 1;
        for file in files {
            text.push_str(&file.text);
            if !file.text.is_empty() && !file.text.ends_with(['\n', '\r']) {
                text.push('\n');
            }
            parts.push((first, file.name.clone()));
            first = Source::new("", &text).line_count();
        }
        let name = files.first().map_or("", |file| file.name.as_str());
        Source {
            parts,
            ..Source::new(name, &text)
        }
    }

    /// The file that a line is in, and which of its lines it is.
    pub fn file_of(&self, line: usize) -> (&str, usize) {
        let part = self.parts.iter().rev().find(|(first, _)| *first <= line);
        match part {
            Some((first, name)) => (name, line - first + 1),
            None => (&self.name, line),
        }
    }

    /// The files that it was put together from, each with the line at which it begins.
    pub(super) fn files(&self) -> Vec<(usize, Arc<str>)> {
        match self.parts.as_slice() {
            [] => vec![(1, Arc::from(self.name.as_str()))],
            parts => {
                let parts = parts.iter();
                parts
                    .map(|(first, name)| (*first, Arc::from(name.as_str())))
                    .collect()
            }
        }
    }

    /// The name as it was given.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The text without a byte order mark.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Line `number` (from 1) without its end.
    pub fn line(&self, number: usize) -> Option<&str> {
        let index = number.checked_sub(1)?;
        let start = *self.lines.get(index)?;
        let end = self
            .lines
            .get(index + 1)
            .copied()
            .unwrap_or(self.text.len());
        Some(self.text[start..end].trim_end_matches(['\n', '\r']))
    }

    /// Number of lines.
    pub fn line_count(&self) -> usize {
        self.lines.len()
    }

    /// A span that begins in the text: YAML readers see the end of a file as a line of its own.
    pub(super) fn clamp(&self, span: Span) -> Span {
        if span.start.line <= self.line_count() {
            return span;
        }
        let last = self.line_count();
        Span::at(
            last,
            self.line(last).map_or(0, |line| line.chars().count()) + 1,
            1,
        )
    }

    /// Where the byte at `offset` is.
    pub(super) fn position(&self, offset: usize) -> Position {
        let index = self
            .lines
            .partition_point(|start| *start <= offset)
            .saturating_sub(1);
        let start = self.lines[index];
        let column = self
            .text
            .get(start..offset)
            .map_or(0, |part| part.chars().count())
            + 1;
        Position {
            line: index + 1,
            column,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_read_as_one_keep_their_names_and_lines() {
        let files = [("a", "1\n2"), ("empty", ""), ("b", "3\n4\n")];
        let joined = Source::joined(&files.map(|(name, text)| Source::new(name, text)));
        assert_eq!(joined.text(), "1\n2\n3\n4\n");
        let places: Vec<_> = (1..=4).map(|line| joined.file_of(line)).collect();
        assert_eq!(places, [("a", 1), ("a", 2), ("b", 1), ("b", 2)]);
        assert_eq!(Source::new("c", "1\n").file_of(1), ("c", 1));
    }

    #[test]
    fn lines_end_as_yaml_says() {
        let source = Source::new("f", "\u{feff}a\r\nbä\rc\n");
        assert_eq!(source.line(1), Some("a"));
        assert_eq!(source.line(2), Some("bä"));
        assert_eq!(source.line(3), Some("c"));
        assert_eq!(source.line(4), Some(""));
        assert_eq!(source.line(5), None);
        assert_eq!(source.line(0), None);
        assert_eq!(source.position(3), Position { line: 2, column: 1 });
        assert_eq!(source.position(7), Position { line: 3, column: 1 });
    }
}
