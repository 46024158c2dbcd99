//! Where rules are written: `last_rule_file` and `last_rule_line`.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

/// A line of a file. Small, so that each request can keep one without a count that threads share.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Which of [`FILES`].
    file: u32,
    /// Its line, from 1.
    line: u32,
}

/// The names of all files that rules were read from since the process began, as lb was told them: few, since they are those
/// of its configuration.
static FILES: Mutex<Vec<Arc<str>>> = Mutex::new(Vec::new());

impl Place {
    /// A line of the file that lb was told as `file`.
    pub fn new(file: &Arc<str>, line: u32) -> Self {
        let mut files = FILES.lock().unwrap_or_else(PoisonError::into_inner);
        let known = files.iter().position(|known| known == file);
        let at = known.unwrap_or_else(|| {
            files.push(Arc::clone(file));
            files.len() - 1
        });
        // No process reads as many files.
        let file = u32::try_from(at).unwrap_or(u32::MAX);
        Self { file, line }
    }

    /// The file's name, as lb was told it.
    pub fn file(self) -> Arc<str> {
        let files = FILES.lock().unwrap_or_else(PoisonError::into_inner);
        let name = usize::try_from(self.file).ok().and_then(|at| files.get(at));
        name.map_or_else(|| Arc::from(""), Arc::clone)
    }

    /// The line, from 1.
    pub fn line(self) -> u32 {
        self.line
    }
}

/// Rules that say the same are the same wherever they stand.
impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Place")
    }
}
