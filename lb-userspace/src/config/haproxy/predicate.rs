//! What stands after `.if` and `.elif` (HAProxy's manual, section 2.4).

use super::words::Lookup;

/// The version of HAProxy whose files are read: what `version_atleast` compares with.
pub(super) const VERSION: [u32; 2] = [3, 0];

/// Features that `feature()` says yes to: what HAProxy calls what lb can.
const FEATURES: &[&str] = &[
    "OPENSSL",
    "PCRE2",
    "PCRE2_JIT",
    "EPOLL",
    "SPLICE",
    "NS",
    "THREAD",
    "PROMEX",
    "TFO",
];

/// Evaluates a condition.
///
/// # Errors
/// What is wrong with it.
pub(super) fn holds(text: &str, lookup: Lookup<'_>) -> Result<bool, String> {
    let mut reader = Reader { rest: text, lookup };
    reader.blanks();
    if reader.rest.is_empty() {
        return Ok(false);
    }
    let value = reader.or(0)?;
    reader.blanks();
    match reader.rest {
        "" => Ok(value),
        rest => Err(format!("`{rest}` after the condition")),
    }
}

struct Reader<'a> {
    rest: &'a str,
    lookup: Lookup<'a>,
}

/// Parentheses and negations within each other.
const MOST: usize = 64;

impl Reader<'_> {
    fn blanks(&mut self) {
        self.rest = self.rest.trim_start_matches([' ', '\t']);
    }

    fn eat(&mut self, token: &str) -> bool {
        self.blanks();
        match self.rest.strip_prefix(token) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn or(&mut self, depth: usize) -> Result<bool, String> {
        let mut value = self.and(depth)?;
        while self.eat("||") {
            value |= self.and(depth)?;
        }
        Ok(value)
    }

    fn and(&mut self, depth: usize) -> Result<bool, String> {
        let mut value = self.term(depth)?;
        while self.eat("&&") {
            value &= self.term(depth)?;
        }
        Ok(value)
    }

    fn term(&mut self, depth: usize) -> Result<bool, String> {
        if depth > MOST {
            return Err("too many parentheses".to_owned());
        }
        if self.eat("!") {
            return Ok(!self.term(depth + 1)?);
        }
        if self.eat("(") {
            let value = self.or(depth + 1)?;
            if !self.eat(")") {
                return Err("`(` without its `)`".to_owned());
            }
            return Ok(value);
        }
        let end = self
            .rest
            .find(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        let (word, rest) = self.rest.split_at(end.unwrap_or(self.rest.len()));
        self.rest = rest;
        if word.is_empty() {
            return Err("a condition is missing".to_owned());
        }
        if let Ok(number) = word.parse::<i64>() {
            return Ok(number != 0);
        }
        let mut args = Vec::new();
        if let Some(inner) = self.rest.strip_prefix('(') {
            let Some((inside, rest)) = inner.split_once(')') else {
                return Err(format!("`{word}(` without its `)`"));
            };
            args = inside.split(',').map(str::trim).collect();
            self.rest = rest;
        }
        predicate(word, &args, self.lookup)
    }
}

fn predicate(word: &str, args: &[&str], lookup: Lookup<'_>) -> Result<bool, String> {
    let arg = |index: usize| args.get(index).copied().unwrap_or_default();
    let version = || -> Result<[u32; 2], String> {
        let mut parts = arg(0).split(['.', '-']).map(str::parse);
        match (parts.next(), parts.next()) {
            (Some(Ok(major)), Some(Ok(minor))) => Ok([major, minor]),
            (Some(Ok(major)), None) => Ok([major, 0]),
            _ => Err(format!("`{}` is no version", arg(0))),
        }
    };
    let (wanted, value) = match word {
        "defined" => (1, lookup(arg(0)).is_some()),
        "feature" => (1, FEATURES.contains(&arg(0))),
        "streq" => (2, arg(0) == arg(1)),
        "strneq" => (2, arg(0) != arg(1)),
        "strstr" => (2, arg(0).contains(arg(1))),
        "version_atleast" => (1, VERSION >= version()?),
        "version_before" => (1, VERSION < version()?),
        // There is no OpenSSL here; what files ask it for is what rustls has.
        "openssl_version_atleast" => (1, true),
        "openssl_version_before" | "ssllib_name_startswith" => (1, false),
        "enabled" => (
            1,
            matches!(
                arg(0).to_ascii_uppercase().as_str(),
                "EPOLL" | "SPLICE" | "GETADDRINFO" | "REUSEPORT"
            ),
        ),
        _ => return Err(format!("there is no predicate `{word}`")),
    };
    match args.len() == wanted {
        true => Ok(value),
        false => Err(format!(
            "`{word}` takes {wanted} argument{}",
            if wanted == 1 { "" } else { "s" }
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn eval(text: &str) -> Result<bool, String> {
        holds(text, &|name| (name == "SET").then(String::new))
    }

    #[test]
    fn conditions_are_evaluated() {
        for (text, value) in [
            ("", false),
            ("0", false),
            ("1", true),
            ("!0", true),
            ("defined(SET)", true),
            ("!defined(UNSET) && defined(SET)", true),
            ("0 || 1 && 0", false),
            ("(0 || 1) && 1", true),
            ("streq(a,a)", true),
            ("strneq(a,a)", false),
            ("feature(OPENSSL)", true),
            ("feature(LUA)", false),
            ("version_atleast(2.4)", true),
            ("version_atleast(99.0)", false),
            ("version_before(2.5-dev1)", false),
        ] {
            assert_eq!(eval(text), Ok(value), "{text}");
        }
    }

    #[test]
    fn what_is_none_is_told() {
        assert_eq!(
            eval("foo(1)"),
            Err("there is no predicate `foo`".to_owned())
        );
        assert_eq!(eval("(1"), Err("`(` without its `)`".to_owned()));
        assert_eq!(eval("1 2"), Err("`2` after the condition".to_owned()));
        assert_eq!(
            eval("streq(a)"),
            Err("`streq` takes 2 arguments".to_owned())
        );
        assert_eq!(
            eval(&"!".repeat(1000)),
            Err("too many parentheses".to_owned())
        );
    }
}
