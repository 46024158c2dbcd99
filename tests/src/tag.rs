//! Names that carry their maker's process id, so that what a killed run left behind can be told from what is in use.

use std::sync::atomic::{AtomicU32, Ordering};
use std::{fmt, fs};

/// The prefix of everything that tests make.
pub const TEST_PREFIX: &str = "lbt";

/// `PREFIX-PID` for the first of a process, `PREFIX-PID_N` for those after it: a name in bpffs holds no dot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tag(String);

static NEXT: AtomicU32 = AtomicU32::new(0);

impl Tag {
    /// A tag that no other lab of this machine has.
    pub fn new(prefix: &str) -> Tag {
        let pid = std::process::id();
        match NEXT.fetch_add(1, Ordering::Relaxed) {
            0 => Tag(format!("{prefix}-{pid}")),
            n => Tag(format!("{prefix}-{pid}_{n}")),
        }
    }

    /// The full name of one thing of this lab.
    pub fn name(&self, role: &str) -> String {
        format!("{self}-{role}")
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

/// Whether `name` was made under `prefix` by a process that is no more.
pub(crate) fn is_leftover(name: &str, prefix: &str) -> bool {
    owner(name, prefix).is_some_and(|pid| !is_alive(pid))
}

/// A process that has ended but that nobody waited for (`Z`, see proc(5)) is none: some containers' first process never
/// waits.
fn is_alive(pid: u32) -> bool {
    let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else {
        return false;
    };
    // The name stands in parentheses and may hold any character.
    let state = stat.rsplit_once(')').map(|(_, rest)| rest.trim_start());
    !state.is_some_and(|state| state.starts_with(['Z', 'X']))
}

/// The process id in a name that a [`Tag`] of this prefix gave.
fn owner(name: &str, prefix: &str) -> Option<u32> {
    let rest = name.strip_prefix(prefix)?.strip_prefix('-')?;
    let end = rest
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(rest.len());
    let (pid, tail) = rest.split_at(end);
    if tail.is_empty() || tail.starts_with(['_', '-']) {
        pid.parse().ok()
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_tells_its_maker() {
        assert_eq!(owner("lbt-12-client", "lbt"), Some(12));
        assert_eq!(owner("lbt-12_3-client", "lbt"), Some(12));
        assert_eq!(owner("lbt-12", "lbt"), Some(12));
        assert_eq!(owner("lb-demo-7-s1", "lb-demo"), Some(7));
    }

    #[test]
    fn names_of_others_are_left_alone() {
        for name in ["lbt", "lbt-", "lbt-x", "lbt-12x", "other-12", "lbtx-12-a"] {
            assert_eq!(owner(name, "lbt"), None, "{name}");
            assert!(!is_leftover(name, "lbt"));
        }
    }

    #[test]
    fn this_process_leaves_nothing_over() {
        let tag = Tag::new("lbt");
        assert!(!is_leftover(&tag.name("client"), "lbt"));
        // Process ids stop at 2^22 (kernel/pid.c, PID_MAX_LIMIT).
        assert!(is_leftover("lbt-4194305-client", "lbt"));
        assert_ne!(tag, Tag::new("lbt"));
    }
}
