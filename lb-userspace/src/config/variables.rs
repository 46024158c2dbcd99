//! `${NAME}` and `${NAME:-default}` in values, taken from the environment; `$${` is a literal `${`.

use super::units::Problem;

/// A value with its variables filled in.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Expanded {
    pub(super) text: String,
    /// Whether any variable was in it.
    pub(super) changed: bool,
}

/// Fills in the variables of `text`. As in a shell, an empty variable takes the default too.
pub(super) fn expand(
    text: &str,
    environment: &dyn Fn(&str) -> Option<String>,
) -> Result<Expanded, Problem> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    let mut changed = false;
    while let Some(at) = rest.find("${") {
        if rest[..at].ends_with('$') {
            out.push_str(&rest[..at]);
            out.push('{');
            rest = &rest[at + 2..];
            continue;
        }
        out.push_str(&rest[..at]);
        let inner = &rest[at + 2..];
        let Some(end) = inner.find('}') else {
            return Err(Problem::new(
                "`${` without its `}`",
                "write `${NAME}`, or `$${` for the characters themselves",
            ));
        };
        let (name, default) = match inner[..end].split_once(":-") {
            Some((name, default)) => (name, Some(default)),
            None => (&inner[..end], None),
        };
        let good = |c: char| c.is_ascii_alphanumeric() || c == '_';
        if name.is_empty()
            || name.starts_with(|c: char| c.is_ascii_digit())
            || !name.chars().all(good)
        {
            return Err(Problem::new(
                format!("`${{{}}}` names no variable", &inner[..end]),
                "write `${NAME}` or `${NAME:-default}`, or `$${` for the characters themselves",
            ));
        }
        if default.is_some_and(|default| default.contains("${")) {
            return Err(Problem::new(
                "a default cannot hold another variable",
                "write `${NAME:-text}`",
            ));
        }
        match (environment(name), default) {
            (Some(value), None) => out.push_str(&value),
            (Some(value), Some(_)) if !value.is_empty() => out.push_str(&value),
            (_, Some(default)) => out.push_str(default),
            (None, None) => {
                return Err(Problem::new(
                    format!("the environment has no variable `{name}`"),
                    format!("set it, or give a default: `${{{name}:-value}}`"),
                ));
            }
        }
        changed = true;
        rest = &inner[end + 1..];
    }
    out.push_str(rest);
    Ok(Expanded { text: out, changed })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ok(text: &str) -> String {
        let environment = |name: &str| match name {
            "A" => Some("1".to_owned()),
            "EMPTY" => Some(String::new()),
            "TRICK" => Some("${A}".to_owned()),
            _ => None,
        };
        expand(text, &environment).map_or_else(
            |problem| format!("error: {}", problem.message),
            |expanded| expanded.text,
        )
    }

    #[test]
    fn expands_as_a_shell_does() {
        assert_eq!(ok("x${A}y${A}"), "x1y1");
        assert_eq!(ok("${B:-d:e}"), "d:e");
        assert_eq!(ok("${B:-}"), "");
        assert_eq!(ok("${EMPTY:-d}"), "d");
        assert_eq!(ok("${EMPTY}"), "");
        assert_eq!(ok("$${A}"), "${A}");
        assert_eq!(ok("$6$salt$hash"), "$6$salt$hash");
        assert_eq!(
            ok("${TRICK}"),
            "${A}",
            "what a variable holds is not expanded again"
        );
        assert_eq!(ok("${B}"), "error: the environment has no variable `B`");
        assert_eq!(ok("${A"), "error: `${` without its `}`");
        assert_eq!(ok("${}"), "error: `${}` names no variable");
        assert_eq!(ok("${A B}"), "error: `${A B}` names no variable");
        assert_eq!(
            ok("${B:-${A}}"),
            "error: a default cannot hold another variable"
        );
    }
}
