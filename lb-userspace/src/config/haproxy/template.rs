//! `server-template` lines.

use super::{lines::Line, says::Says};

/// `server-template PREFIX COUNT|FIRST-LAST ADDRESS …`: the `server` lines that it stands for.
pub(super) fn servers(line: &Line, says: &mut Says) -> Vec<Line> {
    let Some(range) = says.need(line, 2, "a prefix and how many") else {
        return Vec::new();
    };
    let bounds = match range.split_once('-') {
        Some((first, last)) => (first.parse::<u16>(), last.parse::<u16>()),
        None => (Ok(1), range.parse::<u16>()),
    };
    let (Ok(first), Ok(last)) = bounds else {
        let message = format!("`{range}` is no number of servers");
        says.error(line.span_of(2), message, "write `5` or `1-5`");
        return Vec::new();
    };
    let numbered = (first..=last).map(|number| {
        let mut words = line.words.clone();
        words.remove(2);
        // A number is the first one's.
        if number > first
            && let Some(at) = words.iter().position(|word| word.text == "id")
        {
            words.drain(at..words.len().min(at + 2));
        }
        if let Some(name) = words.get_mut(1) {
            name.text = format!("{}{number}", name.text);
        }
        Line { words }
    });
    numbered.collect()
}
