//! What a map says that its file does not, for the process that takes this one's place.

use std::{
    path::PathBuf,
    sync::{PoisonError, atomic::Ordering::Relaxed},
};

use serde::{Deserialize, Serialize};

use super::{How, Map, Output, Problem};
use crate::watched::Stamp;

/// What a map says that its file does not, or a part of it, as another process is told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CarriedMap {
    /// Its file.
    pub path: PathBuf,
    how: How,
    ignore_case: bool,
    output: Output,
    /// How the file was when it was read.
    stamp: Stamp,
    lines: Vec<(String, String)>,
    /// Whether that is all.
    pub last: bool,
}

impl CarriedMap {
    /// Whether it is this map's.
    pub fn is_of(&self, map: &Map) -> bool {
        map.is(&self.path, self.how, self.ignore_case, self.output)
    }

    /// Adds the next part.
    pub fn append(&mut self, mut next: Self) {
        self.lines.append(&mut next.lines);
        self.last = next.last;
    }
}

impl Map {
    /// For the process that takes this one's place: what was changed since the file was read, in parts of so many lines each.
    /// Nothing if that is as it was at the number `seen`. The number by now.
    pub fn carry(&self, seen: u64, most: usize, mut each: impl FnMut(CarriedMap)) -> u64 {
        let file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        let (now, lines) = (self.changed.load(Relaxed), self.lines());
        let stamp = file.stamp(&self.path).unwrap_or_default();
        drop(file);
        if now == seen || now == 0 {
            return now;
        }
        let mut parts = lines.chunks(most).peekable();
        loop {
            let part = parts.next().unwrap_or_default();
            let last = parts.peek().is_none();
            let lines = part.iter();
            each(CarriedMap {
                path: self.path.clone(),
                how: self.how,
                ignore_case: self.ignore_case,
                output: self.output,
                stamp,
                lines: lines
                    .map(|line| (line.key.clone(), line.text.clone()))
                    .collect(),
                last,
            });
            if last {
                return now;
            }
        }
    }

    /// Says what it did in the process before, unless the file has changed since then: whether it has not.
    ///
    /// # Errors
    /// What it said is none of this map's.
    pub fn take(&self, carried: &CarriedMap) -> Result<bool, Problem> {
        let stamp = {
            let file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
            file.stamp(&self.path).unwrap_or_default()
        };
        if stamp != carried.stamp {
            return Ok(false);
        }
        let lines = carried.lines.iter();
        self.exchange(lines.map(|(key, text)| (key.as_str(), text.as_str())))?;
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn what_was_changed_goes_along_while_the_file_is_the_same() {
        let path = std::env::temp_dir().join(format!("lb-map-carried-{}", std::process::id()));
        fs::write(&path, "a 1\nb 2\n").unwrap();
        let read = || Map::read(path.clone(), How::Exact, false, Output::Number).unwrap();
        let carried = |map: &Map, seen| {
            let mut parts = Vec::new();
            let now = map.carry(seen, 2, |part| parts.push(part));
            let whole = parts.into_iter().reduce(|mut whole, part| {
                assert!(!whole.last);
                whole.append(part);
                whole
            });
            (now, whole)
        };
        let said = |map: &Map| {
            let lines = map.lines();
            let lines = lines
                .iter()
                .map(|line| format!("{} {}", line.key, line.text));
            lines.collect::<Vec<_>>().join(", ")
        };
        let map = read();
        assert_eq!(carried(&map, 0), (0, None), "it is as its file");
        map.append([("c", "3"), ("d", "4"), ("e", "5")]).unwrap();
        let (seen, whole) = carried(&map, 0);
        let whole = whole.unwrap();
        assert!(whole.last && whole.is_of(&map));
        assert_eq!(carried(&map, seen), (seen, None), "that is known");
        let next = read();
        assert_eq!(next.take(&whole), Ok(true));
        assert_eq!(said(&next), "a 1, b 2, c 3, d 4, e 5");
        assert!(carried(&next, 0).1.is_some(), "and so on");
        map.clear();
        let (_, whole) = carried(&map, seen);
        assert_eq!(next.take(&whole.unwrap()), Ok(true));
        assert_eq!(said(&next), "");

        map.append([("c", "3")]).unwrap();
        let whole = carried(&map, seen).1.unwrap();
        fs::write(&path, "a 100\n").unwrap();
        let next = read();
        assert_eq!(next.take(&whole), Ok(false));
        assert_eq!(said(&next), "a 100");
        let texts = Map::read(path.clone(), How::Exact, false, Output::Text).unwrap();
        assert!(!whole.is_of(&texts));
        fs::remove_file(&path).unwrap();
    }
}
