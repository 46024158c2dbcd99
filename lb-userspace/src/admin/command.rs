//! From a line of text to commands, and from those to words.

/// The commands of a line, which `;` parts; `\;` does not.
pub(super) fn split(line: &str) -> Vec<&str> {
    let mut commands = Vec::new();
    let (mut from, mut escaped) = (0, false);
    for (at, c) in line.char_indices() {
        match c {
            ';' if !escaped => {
                commands.push(line.get(from..at).unwrap_or_default());
                from = at + 1;
            }
            '\\' if !escaped => {
                escaped = true;
                continue;
            }
            _ => {}
        }
        escaped = false;
    }
    commands.push(line.get(from..).unwrap_or_default());
    commands
}

/// The words of a command. `\` takes the meaning from what follows it: a blank parts no words then.
pub(super) fn words(command: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut escaped = false;
    for c in command.chars() {
        match c {
            _ if escaped => word.get_or_insert_default().push(c),
            '\\' => {
                escaped = true;
                continue;
            }
            c if c.is_whitespace() => words.extend(word.take()),
            c => word.get_or_insert_default().push(c),
        }
        escaped = false;
    }
    words.extend(word);
    words
}

/// Without `@1` or `@!1234`, which name a process at HAProxy's master socket: there is one here.
pub(super) fn without_process<'a>(words: &'a [&'a str]) -> &'a [&'a str] {
    match words {
        [process, rest @ ..] if process.starts_with('@') => rest,
        words => words,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_and_words_are_parted_where_nothing_escapes_it() {
        assert_eq!(split("a b;c"), ["a b", "c"]);
        assert_eq!(split(r"a\;b;c\\;d"), [r"a\;b", r"c\\", "d"]);
        assert_eq!(split(";"), ["", ""]);
        assert_eq!(
            words(r" set  map\ x \\y\;z	ä\ "),
            ["set", "map x", r"\y;z", "ä "]
        );
        assert_eq!(words("  "), [""; 0]);
        assert_eq!(without_process(&["@!1", "show"]), ["show"]);
        assert_eq!(without_process(&["@1"]), [""; 0]);
    }
}
