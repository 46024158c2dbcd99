//! Where rules are written: `last_rule_file` and `last_rule_line`.

use std::{fmt, sync::Arc};

/// A line of a file.
#[derive(Clone, PartialEq, Eq)]
pub struct Place {
    /// The file's name, as lb was told it.
    pub file: Arc<str>,
    /// Its line, from 1.
    pub line: u32,
}

/// Rules that say the same are the same wherever they stand.
impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Place")
    }
}
