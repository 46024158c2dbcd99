//! The text form of an expression: `name(arg,…),name(arg,…)`, quotes and backslashes as HAProxy has them.

use super::problem::Problem;

/// One word of an expression with its arguments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Call {
    pub(super) name: String,
    pub(super) args: Vec<String>,
}

impl Call {
    /// An argument that has to be there.
    pub(super) fn need(&self, index: usize, what: &str) -> Result<&str, Problem> {
        match self.args.get(index).map(String::as_str) {
            Some(arg) if !arg.is_empty() => Ok(arg),
            _ => Err(Problem::new(
                format!("`{}` needs {what}", self.name),
                format!("write `{}(…)`", self.name),
            )),
        }
    }

    /// An argument that may be left out.
    pub(super) fn optional(&self, index: usize) -> Option<&str> {
        self.args
            .get(index)
            .map(String::as_str)
            .filter(|arg| !arg.is_empty())
    }

    /// A number that may be left out.
    pub(super) fn number(&self, index: usize) -> Result<Option<i64>, Problem> {
        let Some(text) = self.optional(index) else {
            return Ok(None);
        };
        text.trim().parse().map(Some).map_err(|_| {
            Problem::new(
                format!("`{text}` in `{}` is no number", self.name),
                "write decimal digits alone",
            )
        })
    }

    /// No more than `most` arguments.
    pub(super) fn most(&self, most: usize) -> Result<(), Problem> {
        if self.args.len() <= most {
            return Ok(());
        }
        let mend = match most {
            0 => format!("write `{}` alone", self.name),
            _ => format!(
                "it takes at most {most}; quote an argument with a comma or bracket in it: `\"…\"`"
            ),
        };
        Err(Problem::new(
            format!("`{}` has too many arguments", self.name),
            mend,
        ))
    }
}

/// Takes `text` apart. Never empty.
pub(super) fn calls(text: &str) -> Result<Vec<Call>, Problem> {
    let mut rest = text.trim_start();
    let mut found = Vec::new();
    loop {
        let end = rest
            .find(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-' | '+')))
            .unwrap_or(rest.len());
        let (name, after) = rest.split_at(end);
        if name.is_empty() {
            return Err(Problem::new(
                format!("`{text}` is no expression"),
                "write a fetch and perhaps converters: `path,lower`",
            ));
        }
        let (args, after) = match after.strip_prefix('(') {
            Some(inner) => arguments(name, inner)?,
            None => (Vec::new(), after),
        };
        found.push(Call {
            name: name.to_owned(),
            args,
        });
        let after = after.trim();
        match after.strip_prefix(',') {
            Some(next) => rest = next.trim_start(),
            None if after.is_empty() => return Ok(found),
            None => {
                return Err(Problem::new(
                    format!("there is `{after}` after `{name}`"),
                    "converters follow after a comma: `path,lower`",
                ));
            }
        }
    }
}

/// What stands between the brackets, and what follows them.
fn arguments<'a>(name: &str, text: &'a str) -> Result<(Vec<String>, &'a str), Problem> {
    let mut args = vec![String::new()];
    let mut quote = None;
    let mut escaped = false;
    let mut quoted = false;
    for (at, c) in text.char_indices() {
        // Never empty: it began with one, and only grows.
        let Some(arg) = args.last_mut() else { break };
        match (quote, c) {
            // What a backslash means inside is for the argument's reader to say: expressions, for one, keep it.
            (_, c) if escaped => {
                if !matches!(c, '"' | '\'' | ',' | '(' | ')' | ' ') {
                    arg.push('\\');
                }
                arg.push(c);
                escaped = false;
            }
            (None | Some('"'), '\\') => escaped = true,
            (Some(open), c) if c == open => quote = None,
            (Some(_), c) => arg.push(c),
            (None, '"' | '\'') => {
                quote = Some(c);
                quoted = true;
            }
            (None, ',') => args.push(String::new()),
            (None, ')') => {
                if args.len() == 1 && args[0].is_empty() && !quoted {
                    args.clear();
                }
                return Ok((args, &text[at + 1..]));
            }
            (None, c) => arg.push(c),
        }
    }
    Err(Problem::new(
        format!("the bracket after `{name}` is not closed"),
        "write `)`; quote an argument with a bracket in it: `\"…\"`",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken_apart(text: &str) -> Vec<(String, Vec<String>)> {
        calls(text)
            .unwrap_or_else(|problem| panic!("{text}: {problem}"))
            .into_iter()
            .map(|call| (call.name, call.args))
            .collect()
    }

    #[test]
    fn expressions_are_taken_apart() {
        let call = |name: &str, args: &[&str]| {
            let args = args.iter().map(|arg| (*arg).to_owned()).collect();
            (name.to_owned(), args)
        };
        assert_eq!(taken_apart("path"), [call("path", &[])]);
        assert_eq!(
            taken_apart("req.hdr(host,-1) , lower"),
            [call("req.hdr", &["host", "-1"]), call("lower", &[])]
        );
        assert_eq!(
            taken_apart("path,regsub(\"^/(a|b),\",'\\1)',g),field(1,\\,)"),
            [
                call("path", &[]),
                call("regsub", &["^/(a|b),", "\\1)", "g"]),
                call("field", &["1", ","])
            ]
        );
        assert_eq!(taken_apart("str('')"), [call("str", &[""])]);
        assert_eq!(taken_apart("always_true()"), [call("always_true", &[])]);
        for bad in ["", ",", "path lower", "hdr(x", "path,", "(x)", "a(\"b)"] {
            assert!(calls(bad).is_err(), "{bad}");
        }
    }
}
