//! `acl` lines and the conditions behind `if` and `unless`, as `if:` of our rules.

use super::{
    dotted,
    lines::Line,
    numbers,
    says::Says,
    value::{Map, Value, What},
    words::Word,
};
use crate::{
    config::source::Span,
    rules::{How, suggest},
};

/// Named conditions of a proxy.
#[derive(Debug, Default, Clone)]
pub(super) struct Acls {
    /// Name, place, and the criteria of which one has to hold.
    named: Vec<(String, Span, Vec<Value>)>,
}

/// Conditions that HAProxy knows without being told (section 7.4).
const PREDEFINED: &[(&str, &str, &str, &[&str])] = &[
    ("FALSE", "always_false", "", &[]),
    ("TRUE", "always_true", "", &[]),
    ("HTTP", "req.proto_http", "", &[]),
    ("RDP_COOKIE", "req.rdp_cookie_cnt", "value", &["gt 0"]),
    ("REQ_CONTENT", "req.len", "value", &["gt 0"]),
    ("WAIT_END", "wait_end", "", &[]),
    ("LOCALHOST", "src", "network", &["127.0.0.1/8", "::1"]),
    ("HTTP_1.0", "req.ver", "value", &["1.0"]),
    ("HTTP_1.1", "req.ver", "value", &["1.1"]),
    ("HTTP_2.0", "req.ver", "value", &["2.0"]),
    (
        "HTTP_CONTENT",
        "req.hdr_val(content-length)",
        "value",
        &["gt 0"],
    ),
    ("HTTP_URL_ABS", "url", "regex", &["^[^/:]*://"]),
    ("HTTP_URL_SLASH", "url", "prefix", &["/"]),
    ("HTTP_URL_STAR", "url", "value", &["*"]),
    ("METH_CONNECT", "method", "value", &["CONNECT"]),
    ("METH_DELETE", "method", "value", &["DELETE"]),
    ("METH_GET", "method", "value", &["GET", "HEAD"]),
    ("METH_HEAD", "method", "value", &["HEAD"]),
    ("METH_OPTIONS", "method", "value", &["OPTIONS"]),
    ("METH_POST", "method", "value", &["POST"]),
    ("METH_PUT", "method", "value", &["PUT"]),
    ("METH_TRACE", "method", "value", &["TRACE"]),
];

impl Acls {
    /// `acl NAME CRITERION [FLAGS] [VALUES]`
    pub(super) fn add(&mut self, line: &Line, says: &mut Says) {
        let Some(name) = says.need(line, 1, "a name") else {
            return;
        };
        if says.need(line, 2, "a criterion").is_none() {
            return;
        }
        let Some(criterion) = criterion(&line.words[2..], line.span(), says) else {
            return;
        };
        match self.named.iter_mut().find(|(known, ..)| known == name) {
            Some((.., criteria)) => criteria.push(criterion),
            None => self
                .named
                .push((name.to_owned(), line.words[1].span, vec![criterion])),
        }
    }

    /// `acls:`
    pub(super) fn value(&self, span: Span) -> Option<Value> {
        let mut map = Map::default();
        for (name, span, criteria) in &self.named {
            map.set_at(name, *span, any(criteria.clone(), *span));
        }
        (!map.is_empty()).then(|| Value::map(map, span))
    }

    /// The criteria of a name, for idioms that read them.
    pub(super) fn criteria(&self, name: &str) -> Option<&[Value]> {
        let found = self.named.iter().find(|(known, ..)| known == name);
        found.map(|(.., criteria)| criteria.as_slice())
    }

    /// What stands behind `if` or `unless`, from word `from` on.
    pub(super) fn condition(&self, line: &Line, from: usize, says: &mut Says) -> Option<Value> {
        let unless = line.text(from) == "unless";
        let words = line.words.get(from + 1..).unwrap_or_default();
        let span = line.span_of(from);
        if words.is_empty() {
            let message = format!("`{}` without a condition", line.text(from));
            says.error(
                span,
                message,
                "write the name of an acl, or `{ CRITERION VALUE }`",
            );
            return None;
        }
        let mut alternatives = Vec::new();
        let mut terms: Vec<Value> = Vec::new();
        let mut negated = false;
        let mut at = 0;
        while let Some(word) = words.get(at) {
            at += 1;
            let mut text = word.text.as_str();
            if matches!(text, "or" | "||" | "OR") {
                if terms.is_empty() || negated {
                    says.error(
                        word.span,
                        "`or` with nothing before it",
                        "write a condition",
                    );
                    return None;
                }
                alternatives.push(std::mem::take(&mut terms));
                continue;
            }
            while let Some(rest) = text.strip_prefix('!') {
                negated = !negated;
                text = rest;
            }
            if text.is_empty() {
                continue;
            }
            let term = if text == "{" {
                let Some(end) = words[at..].iter().position(|word| word.text == "}") else {
                    says.error(
                        word.span,
                        "`{` without its `}`",
                        "write `{ CRITERION VALUE }` with blanks inside",
                    );
                    return None;
                };
                let inner = &words[at..at + end];
                at += end + 1;
                criterion(inner, word.span, says)?
            } else if self.criteria(text).is_some() {
                Value::text(text, word.span)
            } else if let Some(term) = predefined(text, word.span) {
                term
            } else {
                let message = format!("there is no acl `{text}` in this proxy");
                let own = self.named.iter().map(|(name, ..)| name.as_str());
                let known = own.chain(PREDEFINED.iter().map(|(name, ..)| *name));
                let mend = match (text, suggest::nearest(text, known)) {
                    ("|", _) => "write `||` or `or` between alternatives".to_owned(),
                    ("&" | "&&" | "and", _) => {
                        "remove it: what stands side by side has to hold together".to_owned()
                    }
                    (_, Some(near)) => format!("did you mean `{near}`?"),
                    (_, None) => format!("declare it above: `acl {text} CRITERION VALUE`"),
                };
                says.error(word.span, message, mend);
                return None;
            };
            terms.push(if negated { not(term) } else { term });
            negated = false;
        }
        if terms.is_empty() || negated {
            says.error(span, "a condition is missing at the end", "write one");
            return None;
        }
        alternatives.push(terms);
        let all: Vec<Value> = alternatives
            .into_iter()
            .map(|terms| all(terms, span))
            .collect();
        let found = any(all, span);
        Some(if unless { not(found) } else { found })
    }
}

/// Where the condition of a line begins, if it has one.
pub(super) fn condition_at(line: &Line) -> Option<usize> {
    line.words
        .iter()
        .position(|word| matches!(word.text.as_str(), "if" | "unless"))
}

impl Acls {
    /// Whether a line ends with a condition that nobody has introduced with `if`: the name of an acl, or `{ … }`. Says so.
    pub(super) fn lacks_if(&self, line: &Line, says: &mut Says) -> bool {
        if condition_at(line).is_some() {
            return false;
        }
        let Some(last) = line.words.last() else {
            return false;
        };
        let name = last.text.trim_start_matches('!');
        let opens = |text: &str| matches!(text, "{" | "!{");
        let ends = name == "}" && line.words.iter().any(|word| opens(&word.text));
        // Anywhere else a word may be called like an acl.
        let expects = match line.keyword() {
            "use_backend" => line.words.len() > 2,
            _ => matches!(
                line.text(1),
                "deny" | "tarpit" | "allow" | "reject" | "silent-drop"
            ),
        };
        let known = self.named.iter().any(|(known, ..)| known == name)
            || PREDEFINED.iter().any(|(known, ..)| *known == name);
        if !(ends || (expects && known)) {
            return false;
        }
        let mend = match ends {
            true => "write `if` or `unless` before `{`".to_owned(),
            false => format!("write `if {}`", last.text),
        };
        says.error(last.span, "a condition without `if` or `unless`", mend);
        true
    }
}

fn predefined(name: &str, span: Span) -> Option<Value> {
    let found = |(of, how, values): (&str, &str, &[&str])| {
        let mut map = Map::default();
        map.set("of", Value::text(of, span));
        if !how.is_empty() {
            let values: Vec<Value> = values
                .iter()
                .map(|value| Value::text(*value, span))
                .collect();
            map.set(how, one_or_list(values, span));
        }
        keyed("expr", Value::map(map, span))
    };
    let (_, of, how, values) = PREDEFINED.iter().find(|(known, ..)| *known == name)?;
    // What has a word of its own here.
    if *of == "method" {
        let values = values.iter().map(|value| Value::text(*value, span));
        return Some(keyed("method", one_or_list(values.collect(), span)));
    }
    Some(found((of, how, values)))
}

/// One of these: `{ any: […] }` unless it is one alone.
fn any(mut alternatives: Vec<Value>, span: Span) -> Value {
    if alternatives.len() == 1
        && let Some(one) = alternatives.pop()
    {
        return one;
    }
    keyed("any", Value::list(alternatives, span))
}

/// All of these: names side by side, else a list.
pub(super) fn all(mut terms: Vec<Value>, span: Span) -> Value {
    if terms.len() == 1
        && let Some(one) = terms.pop()
    {
        return one;
    }
    let names: Option<Vec<&str>> = terms
        .iter()
        .map(|term| match &term.what {
            What::Text { text, .. } => Some(text.as_str()),
            _ => None,
        })
        .collect();
    match names {
        Some(names) => Value::text(names.join(" "), span),
        None => keyed("all", Value::list(terms, span)),
    }
}

/// What holds always.
pub(super) fn always(span: Span) -> Value {
    predefined("TRUE", span).unwrap_or_else(|| Value::text("TRUE", span))
}

pub(super) fn not(term: Value) -> Value {
    let span = term.span;
    match &term.what {
        What::Text { text, .. } if !text.contains(' ') => match text.strip_prefix('!') {
            Some(name) => Value::text(name, span),
            None => Value::text(format!("!{text}"), span),
        },
        _ => keyed("not", term),
    }
}

fn keyed(key: &str, value: Value) -> Value {
    let span = value.span;
    let mut map = Map::default();
    map.set(key, value);
    Value::map(map, span)
}

fn one_or_list(mut values: Vec<Value>, span: Span) -> Value {
    if values.len() == 1
        && let Some(one) = values.pop()
    {
        return one;
    }
    Value::list(values, span)
}

/// Ways of matching: HAProxy's suffix and `-m`, and our key below `expr`.
const METHODS: &[(&str, &str)] = &[
    ("str", "value"),
    ("beg", "prefix"),
    ("end", "suffix"),
    ("sub", "contains"),
    ("dir", "directory"),
    ("dom", "domain"),
    ("reg", "regex"),
    ("len", "length"),
    ("ip", "network"),
    ("int", "value"),
    ("bool", "value"),
    ("bin", "value"),
];

/// A criterion, flags and values.
fn criterion(words: &[Word], place: Span, says: &mut Says) -> Option<Value> {
    let Some((first, rest)) = words.split_first() else {
        says.error(
            place,
            "a criterion is missing",
            "write one, such as `path_beg /api/`",
        );
        return None;
    };
    let span = first.span;
    let mut flags = Flags::default();
    let mut at = 0;
    while let Some(word) = rest.get(at) {
        let argument = rest.get(at + 1);
        match word.text.as_str() {
            "-i" => flags.ignore_case = true,
            "-n" | "-u" => {
                // No name is looked up here, and names of our own are not needed.
                at += usize::from(word.text == "-u");
            }
            "-m" => {
                let Some(method) = argument else {
                    says.error(
                        word.span,
                        "`-m` without a way of matching",
                        "write `-m beg`, `-m reg`, …",
                    );
                    return None;
                };
                flags.method = Some(method);
                at += 1;
            }
            "-f" => {
                let Some(file) = argument else {
                    says.error(
                        word.span,
                        "`-f` without a file",
                        "write the file's name behind it",
                    );
                    return None;
                };
                flags.files.push(file);
                at += 1;
            }
            "-M" => {
                says.unsupported(word.span, "-M");
                return None;
            }
            "--" => {
                flags.ends = true;
                at += 1;
                break;
            }
            text if text.starts_with('-')
                && text.len() == 2
                && !text.as_bytes()[1].is_ascii_digit() =>
            {
                says.error(
                    word.span,
                    format!("there is no flag `{text}`"),
                    "write `--` before values that begin with `-`",
                );
                return None;
            }
            _ => break,
        }
        at += 1;
    }
    let values = &rest[at..];
    build(first, span, &flags, values, says)
}

#[derive(Default)]
struct Flags<'w> {
    ignore_case: bool,
    method: Option<&'w Word>,
    files: Vec<&'w Word>,
    /// `--` has ended them.
    ends: bool,
}

fn build(
    first: &Word,
    span: Span,
    flags: &Flags<'_>,
    values: &[Word],
    says: &mut Says,
) -> Option<Value> {
    let name = first.text.as_str();
    let mut map = Map::default();
    let found = flags.method.is_some_and(|method| method.text == "found");
    let mut how = match flags.method {
        None => "value",
        Some(method) => match METHODS.iter().find(|(theirs, _)| *theirs == method.text) {
            Some((_, ours)) => ours,
            None if found => "present",
            None => {
                says.error(
                    method.span,
                    format!("there is no way of matching `{}`", method.text),
                    "write one of str, beg, end, sub, dir, dom, reg, len, ip, int, bool, bin, found",
                );
                return None;
            }
        },
    };
    let of = match flags.method.map(|method| method.text.as_str()) {
        // What is compared is written in hexadecimal.
        Some("bin") => format!("{name},hex"),
        // A type to compare as: one of another is made it.
        Some(kind @ ("int" | "bool")) => format!("{name},{kind}"),
        _ => name.to_owned(),
    };
    let binary = flags.method.is_some_and(|method| method.text == "bin");
    let versions = matches!(name, "req.ssl_ver" | "req_ssl_ver") && matches!(how, "value");
    let way = numbers::way(name, flags.method.map(|method| method.text.as_str()));
    let patterns = match way {
        Some(How::Number | How::Length) => numbers::with_operators(values, says),
        _ => numbers::as_written(values),
    };
    // What is true or there is compared with nothing; all else never is what it is not compared with.
    if patterns.is_empty()
        && flags.files.is_empty()
        && way.is_some_and(|way| !matches!(way, How::True | How::Found))
    {
        if !flags.ends {
            says.warn(
                span,
                format!(
                    "`{name}` is compared with nothing, so this never holds, as in HAProxy: write `-m found` if it has \
                     to be there"
                ),
            );
        }
        // It is looked at all the same: that may count something.
        map.set("of", Value::text(of, span));
        let looks = keyed("expr", Value::map(map, span));
        return Some(all(vec![looks, predefined("FALSE", span)?], span));
    }
    let mut texts: Vec<Value> = patterns
        .into_iter()
        .map(|(text, span)| match binary {
            true => Value::text(text.to_ascii_uppercase(), span),
            false if versions => Value::text(dotted::numbers(&text), span),
            false => Value::text(text, span),
        })
        .collect();
    texts.extend(flags.files.iter().map(|file| {
        let path = Value::text(file.text.as_str(), file.span);
        keyed("file", path)
    }));
    if !found && let Some(sugar) = sugar(&of, how, &texts) {
        let (key, value) = sugar;
        let mut outer = Map::default();
        outer.set_at(key, span, value);
        if flags.ignore_case && key != "method" && key != "source" && key != "dst_port" {
            outer.set("ignore_case", Value::plain("true", span));
        }
        return Some(Value::map(outer, span));
    } else {
        map.set("of", Value::text(of, span));
        if found {
            how = "present";
            texts = vec![Value::plain("true", span)];
        }
        if !texts.is_empty() {
            let place = texts.first().map_or(span, |value| value.span);
            map.set(how, one_or_list(texts, place));
        }
    }
    let mut outer = Map::default();
    outer.set("expr", Value::map(map, span));
    if flags.ignore_case {
        outer.set("ignore_case", Value::plain("true", span));
    }
    Some(Value::map(outer, span))
}

/// The key that people would write for a criterion, if there is one that means the same.
fn sugar(of: &str, how: &str, values: &[Value]) -> Option<(&'static str, Value)> {
    let first = values.first()?;
    let texts = || {
        values.iter().map(|value| match &value.what {
            What::Text { text, .. } => text.as_str(),
            // What is in a file is not known here.
            _ => "",
        })
    };
    let list = || one_or_list(values.to_vec(), first.span);
    let paths = || texts().all(|text| text.starts_with('/') && !text.contains('?'));
    Some(match (of, how) {
        ("path", "value") if paths() => ("path", list()),
        ("path_beg", "value") | ("path", "prefix") if paths() => ("path_prefix", list()),
        ("path_end", "value") | ("path", "suffix") => ("path_suffix", list()),
        ("path_sub", "value") | ("path", "contains") => ("path_contains", list()),
        ("path_reg", "value") | ("path", "regex") => ("path_regex", list()),
        ("method", "value") if texts().all(|text| text.bytes().all(|b| b.is_ascii_uppercase())) => {
            ("method", list())
        }
        ("src", "value" | "network") => ("source", list()),
        ("dst_port", "value") => ("dst_port", list()),
        _ => return header(of, how, first, values),
    })
}

/// `hdr(NAME)`, `hdr_beg(NAME)`, `cook(NAME)`
fn header(of: &str, how: &str, first: &Value, values: &[Value]) -> Option<(&'static str, Value)> {
    let (fetch, rest) = of.split_once('(')?;
    let name = rest.strip_suffix(')')?;
    if name.is_empty() || name.contains([',', '"', '\'', '(', ')']) {
        return None;
    }
    let (fetch, suffix) = match fetch.rsplit_once('_') {
        Some((fetch, suffix)) => (fetch, Some(suffix)),
        None => (fetch, None),
    };
    let how = match suffix {
        None => how,
        Some(suffix) if how == "value" => METHODS
            .iter()
            .find(|(theirs, _)| *theirs == suffix)
            .map(|(_, ours)| *ours)?,
        Some(_) => return None,
    };
    let key = match fetch {
        "hdr" | "req.hdr" => "header",
        "cook" | "req.cook" => "cookie",
        _ => return None,
    };
    let mut map = Map::default();
    map.set("name", Value::text(name, first.span));
    map.set(how, one_or_list(values.to_vec(), first.span));
    Some((key, Value::map(map, first.span)))
}
