//! A line of a haproxy.cfg cut into words (HAProxy's manual, sections 2.2 and 2.3).

use crate::config::source::Span;

/// A word with its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Word {
    /// Without quotes and escapes.
    pub(super) text: String,
    /// Where it stands, quotes included.
    pub(super) span: Span,
}

/// A line's words, and the comment behind them without its `#`.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Words {
    pub(super) words: Vec<Word>,
    pub(super) comment: Option<String>,
    /// The first word that `\x00` has cut.
    pub(super) cut: Option<Span>,
}

/// What is wrong with a line.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Bad {
    pub(super) span: Span,
    pub(super) message: String,
    pub(super) mend: &'static str,
}

/// Looks a variable up, pseudo-variables such as `.LINE` included.
pub(super) type Lookup<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Cuts line `number` into words.
pub(super) fn split(line: &str, number: usize, lookup: Lookup<'_>) -> Result<Words, Bad> {
    let chars: Vec<char> = line.chars().collect();
    let mut cutter = Cutter {
        chars: &chars,
        at: 0,
        number,
        lookup,
        word: None,
        words: Vec::new(),
        cut: None,
    };
    let comment = cutter.run()?;
    Ok(Words {
        words: cutter.words,
        comment,
        cut: cutter.cut,
    })
}

struct Cutter<'a> {
    chars: &'a [char],
    at: usize,
    number: usize,
    lookup: Lookup<'a>,
    /// The word that is being read, and where it began.
    word: Option<(String, usize)>,
    words: Vec<Word>,
    cut: Option<Span>,
}

impl Cutter<'_> {
    fn run(&mut self) -> Result<Option<String>, Bad> {
        while let Some(c) = self.next() {
            match c {
                '#' => {
                    self.finish();
                    return Ok(Some(self.chars[self.at..].iter().collect()));
                }
                ' ' | '\t' | '\r' => self.finish_before(1),
                '\'' => self.strong()?,
                '"' => self.weak()?,
                '\\' => self.escape(false)?,
                c => self.push(c),
            }
        }
        self.finish_before(0);
        Ok(None)
    }

    fn next(&mut self) -> Option<char> {
        let c = self.chars.get(self.at).copied();
        self.at += usize::from(c.is_some());
        c
    }

    fn peek(&self) -> Option<char> {
        self.chars.get(self.at).copied()
    }

    /// The word that is being read; one begins at the character that was read last.
    fn word(&mut self) -> &mut String {
        let begin = self.at.saturating_sub(1);
        &mut self.word.get_or_insert_with(|| (String::new(), begin)).0
    }

    fn push(&mut self, c: char) {
        self.word().push(c);
    }

    fn finish(&mut self) {
        self.finish_before(1);
    }

    /// Ends the word, which did not have the last `more` characters read.
    fn finish_before(&mut self, more: usize) {
        if let Some((mut text, begin)) = self.word.take() {
            let length = self.at.saturating_sub(more + begin).max(1);
            let span = Span::at(self.number, begin + 1, length);
            // HAProxy's words end there, however much follows.
            if let Some(end) = text.find('\0') {
                text.truncate(end);
                self.cut.get_or_insert(span);
            }
            self.words.push(Word { text, span });
        }
    }

    fn bad<T>(
        &self,
        from: usize,
        message: impl Into<String>,
        mend: &'static str,
    ) -> Result<T, Bad> {
        Err(Bad {
            span: Span::at(self.number, from + 1, (self.at - from).max(1)),
            message: message.into(),
            mend,
        })
    }

    fn strong(&mut self) -> Result<(), Bad> {
        let begin = self.at - 1;
        self.word();
        loop {
            match self.next() {
                Some('\'') => return Ok(()),
                Some(c) => self.push(c),
                None => {
                    return self.bad(
                        begin,
                        "`'` without its end",
                        "close the quote on the same line",
                    );
                }
            }
        }
    }

    fn weak(&mut self) -> Result<(), Bad> {
        let begin = self.at - 1;
        self.word();
        loop {
            match self.next() {
                Some('"') => return Ok(()),
                Some('\\') => self.escape(true)?,
                Some('$') => self.variable()?,
                Some(c) => self.push(c),
                None => {
                    return self.bad(
                        begin,
                        "`\"` without its end",
                        "close the quote on the same line",
                    );
                }
            }
        }
    }

    fn escape(&mut self, quoted: bool) -> Result<(), Bad> {
        let begin = self.at - 1;
        let Some(c) = self.peek() else {
            return self.bad(
                begin,
                "`\\` at the end of the line",
                "write `\\\\` for the character itself",
            );
        };
        self.at += 1;
        let meant = match c {
            ' ' | '\\' | '#' | '\'' | '"' => c,
            '$' if quoted => c,
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            'x' => {
                let digits: String = self.chars[self.at..].iter().take(2).collect();
                let byte = u8::from_str_radix(&digits, 16).ok().filter(u8::is_ascii);
                let Some(byte) = byte.filter(|_| digits.len() == 2) else {
                    self.at += digits.chars().count();
                    return self.bad(
                        begin,
                        "`\\x` without two hexadecimal digits of an ASCII character",
                        "write them: `\\x20`",
                    );
                };
                self.at += 2;
                char::from(byte)
            }
            // As HAProxy: a backslash before anything else is one, and what follows is what it is.
            _ => {
                self.at -= 1;
                '\\'
            }
        };
        self.word
            .get_or_insert_with(|| (String::new(), begin))
            .0
            .push(meant);
        Ok(())
    }

    /// `$NAME`, `${NAME}`, `${NAME-default}`, `${NAME[*]}`
    fn variable(&mut self) -> Result<(), Bad> {
        let begin = self.at - 1;
        let braced = self.peek() == Some('{');
        self.at += usize::from(braced);
        let from = self.at;
        while self
            .peek()
            .is_some_and(|c| c.is_ascii_alphanumeric() || c == '_' || (c == '.' && self.at == from))
        {
            self.at += 1;
        }
        let name: String = self.chars[from..self.at].iter().collect();
        if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) {
            return self.bad(
                begin,
                "`$` without a variable's name",
                "write `\\$` for the character itself",
            );
        }
        let (mut default, mut several) = (None, false);
        if braced {
            if self.peek() == Some('-') {
                self.at += 1;
                let from = self.at;
                while self.peek().is_some_and(|c| c != '}') {
                    self.at += 1;
                }
                default = Some(self.chars[from..self.at].iter().collect::<String>());
            } else if self.chars[self.at..].starts_with(&['[', '*', ']']) {
                self.at += 3;
                several = true;
            }
            if self.next() != Some('}') {
                return self.bad(begin, format!("`${{{name}` without its `}}`"), "close it");
            }
        }
        let value = (self.lookup)(&name).or(default).unwrap_or_default();
        if !several {
            self.word().push_str(&value);
            return Ok(());
        }
        for (index, part) in value.split_ascii_whitespace().enumerate() {
            if index > 0 {
                self.finish_before(0);
            }
            self.word().push_str(part);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<String> {
        let lookup = |name: &str| match name {
            "A" => Some("one two".to_owned()),
            "EMPTY" => Some(String::new()),
            ".LINE" => Some("7".to_owned()),
            _ => None,
        };
        match split(line, 7, &lookup) {
            Ok(words) => words.words.into_iter().map(|word| word.text).collect(),
            Err(bad) => vec![format!("{}: {}", bad.span.start.column, bad.message)],
        }
    }

    #[test]
    fn words_are_cut_as_haproxy_does() {
        assert_eq!(
            words("  server s1\t192.0.2.1:80 # why"),
            ["server", "s1", "192.0.2.1:80"]
        );
        let same = [
            r"log-format %{+Q}o\ %t\ %s",
            r#"log-format "%{+Q}o %t %s""#,
            "log-format '%{+Q}o %t %s'",
            r#"log-format "%{+Q}o %t"' %s'"#,
            r#"log-format "%{+Q}o %t"\ %s"#,
        ];
        for line in same {
            assert_eq!(words(line), ["log-format", "%{+Q}o %t %s"], "{line}");
        }
        assert_eq!(words(r"a \# b#c"), ["a", "#", "b"]);
        assert_eq!(words(r#"'a#b' "c#d""#), ["a#b", "c#d"]);
        assert_eq!(words(r"^/x\.png$ \x41\n"), [r"^/x\.png$", "A\n"]);
        assert_eq!(words(r"a\x00b c"), ["a", "c"]);
        assert_eq!(words(r#"'' """#), ["", ""]);
    }

    #[test]
    fn variables_are_filled_in_within_weak_quotes_alone() {
        assert_eq!(
            words(r#"$A '$A' "$A" "${A}x" "\$A""#),
            ["$A", "$A", "one two", "one twox", "$A"]
        );
        assert_eq!(
            words(r#""${B-d e}" "$B" "${EMPTY-d}" "${.LINE}""#),
            ["d e", "", "", "7"]
        );
        assert_eq!(words(r#"bind "${A[*]}" x"#), ["bind", "one", "two", "x"]);
    }

    #[test]
    fn what_is_open_is_told_with_its_column() {
        assert_eq!(words("a 'b"), ["3: `'` without its end"]);
        assert_eq!(words("a \"b"), ["3: `\"` without its end"]);
        assert_eq!(words("a b\\"), ["4: `\\` at the end of the line"]);
        assert_eq!(
            words("\\xg"),
            ["1: `\\x` without two hexadecimal digits of an ASCII character"]
        );
        assert_eq!(words("\"$ \""), ["2: `$` without a variable's name"]);
        assert_eq!(words("\"${A\""), ["2: `${A` without its `}`"]);
    }

    #[test]
    fn a_word_knows_its_place() {
        let found = split(" ab  'c d'x #n", 3, &|_| None).unwrap();
        let places: Vec<_> = found
            .words
            .iter()
            .map(|w| (w.span.start.column, w.span.end.column))
            .collect();
        assert_eq!(places, [(2, 4), (6, 12)]);
        assert_eq!(found.comment.as_deref(), Some("n"));
    }
}
