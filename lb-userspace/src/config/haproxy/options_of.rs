//! The options of a line, one by one.

use super::{says::Says, words::Word};

/// Walks through options and their arguments.
pub(super) struct Options<'l> {
    pub(super) words: &'l [Word],
    pub(super) at: usize,
}

impl<'l> Options<'l> {
    pub(super) fn of(words: &'l [Word]) -> Self {
        Self { words, at: 0 }
    }

    /// What comes next, if there is more.
    pub(super) fn peek(&self) -> Option<&'l str> {
        self.words.get(self.at).map(|word| word.text.as_str())
    }

    pub(super) fn next(&mut self) -> Option<&'l Word> {
        let word = self.words.get(self.at);
        self.at += 1;
        word
    }

    /// The argument of the option that was read last.
    pub(super) fn argument(&mut self, option: &Word, says: &mut Says) -> Option<&'l Word> {
        let word = self.next();
        if word.is_none() {
            let message = format!("`{}` without a value", option.text);
            says.error(option.span, message, "write it behind");
        }
        word
    }
}
