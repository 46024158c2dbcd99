//! `http-request`, `http-response` and `redirect` lines as entries of `rules:`.

use super::{
    acl::{self, Acls},
    answers,
    lines::Line,
    more,
    says::Says,
    value::{Key, Map, Value, What},
    words::Word,
};
use crate::{config::source::Span, rules::unquoted};

/// Where a rule stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Request,
    Response,
    /// `http-after-response`.
    After,
}

/// A line's action: its words after the keyword and before the condition.
pub(super) struct Action<'l> {
    pub(super) words: &'l [Word],
    pub(super) span: Span,
}

impl<'l> Action<'l> {
    pub(super) fn text(&self, index: usize) -> &'l str {
        self.words.get(index).map_or("", |word| word.text.as_str())
    }

    pub(super) fn span(&self, index: usize) -> Span {
        self.words.get(index).map_or(self.span, |word| word.span)
    }

    pub(super) fn need(&self, index: usize, what: &str, says: &mut Says) -> Option<&'l Word> {
        let word = self.words.get(index);
        if word.is_none() {
            let message = format!("`{}` without {what}", self.text(0));
            says.error(self.span, message, format!("write {what} behind it"));
        }
        word
    }

    /// Arguments in pairs, as in `status 200 content-type text/plain`.
    pub(super) fn after(&self, name: &str) -> Option<&'l Word> {
        let at = self
            .words
            .iter()
            .skip(1)
            .position(|word| word.text == name)?;
        self.words.get(at + 2)
    }
}

/// `http-request ACTION [if COND]` and `http-response …`
pub(super) fn http(line: &Line, side: Side, acls: &Acls, says: &mut Says) -> Option<Value> {
    says.need(line, 1, "an action")?;
    if acls.lacks_if(line, says) {
        return None;
    }
    let at = acl::condition_at(line);
    let action = Action {
        words: &line.words[1..at.unwrap_or(line.words.len())],
        span: line.span(),
    };
    if side == Side::Request
        && action.text(0) == "auth"
        && let Some(rule) = auth(&action, line, at, acls, says)
    {
        return Some(rule);
    }
    let does = action_map(&action, side, says)?;
    rule(line, at, does, side, acls, says)
}

/// `redirect location X [if COND]`
pub(super) fn redirect_line(line: &Line, acls: &Acls, says: &mut Says) -> Option<Value> {
    if acls.lacks_if(line, says) {
        return None;
    }
    let at = acl::condition_at(line);
    let action = Action {
        words: &line.words[..at.unwrap_or(line.words.len())],
        span: line.span(),
    };
    // What these say is no format, unlike what `http-request redirect` says.
    let does = redirect(&action, literal, says)?;
    rule(line, at, does, Side::Request, acls, says)
}

/// `use_backend NAME [if COND]`
pub(super) fn use_backend(line: &Line, acls: &Acls, says: &mut Says) -> Option<Value> {
    let name = says.need(line, 1, "a backend's name")?;
    if acls.lacks_if(line, says) {
        return None;
    }
    let mut does = Map::default();
    does.set_at(
        "use_backend",
        line.span(),
        Value::text(name, line.span_of(1)),
    );
    rule(
        line,
        acl::condition_at(line),
        does,
        Side::Request,
        acls,
        says,
    )
}

/// `use-server NAME [if COND]`
pub(super) fn use_server(line: &Line, acls: &Acls, says: &mut Says) -> Option<Value> {
    let name = says.need(line, 1, "a server's name")?;
    let mut does = Map::default();
    does.set_at(
        "use_server",
        line.span(),
        Value::text(format(name), line.span_of(1)),
    );
    let at = acl::condition_at(line);
    rule(line, at, does, Side::Request, acls, says)
}

/// `force-persist if COND`, `ignore-persist if COND`
pub(super) fn persistence(line: &Line, acls: &Acls, says: &mut Says) -> Option<Value> {
    let Some(at) = acl::condition_at(line) else {
        let message = format!("`{}` without a condition", line.keyword());
        says.error(line.span(), message, "write `if` and one behind it");
        return None;
    };
    let mut does = Map::default();
    let key = line.keyword().replace('-', "_");
    does.set(&key, Value::plain("true", line.span()));
    rule(line, Some(at), does, Side::Request, acls, says)
}

/// Puts action and condition together.
pub(super) fn rule(
    line: &Line,
    at: Option<usize>,
    does: Map,
    side: Side,
    acls: &Acls,
    says: &mut Says,
) -> Option<Value> {
    let span = line.span();
    let mut map = Map::default();
    if let Some(at) = at {
        map.set("if", acls.condition(line, at, says)?);
    }
    map.0.extend(does.0);
    Some(match side {
        Side::Request => Value::map(map, span),
        Side::Response | Side::After => {
            if side == Side::After {
                map.0.insert(0, always(span));
            }
            // A condition may be about the request or the answer: below `response` it sees both.
            let mut outer = Map::default();
            outer.set("response", Value::map(map, span));
            Value::map(outer, span)
        }
    })
}

fn always(span: Span) -> Key {
    Key {
        name: "always".to_owned(),
        span,
        value: Value::plain("true", span),
    }
}

pub(super) fn action_map(action: &Action<'_>, side: Side, says: &mut Says) -> Option<Map> {
    let mut map = Map::default();
    let name = action.text(0);
    let (keyword, inner) = match name.split_once('(') {
        Some((keyword, rest)) => (keyword, Some(rest.strip_suffix(')').unwrap_or(rest))),
        None => (name, None),
    };
    match keyword {
        "set-header" | "add-header" => {
            let (field, value) = (
                action.need(1, "a field's name", says)?,
                action.need(2, "a value", says)?,
            );
            let key = if keyword == "set-header" {
                "set_header"
            } else {
                "add_header"
            };
            map.inner(key, action.span).set_at(
                &field.text,
                field.span,
                Value::text(format(&value.text), value.span),
            );
        }
        "del-header" => {
            let field = action.need(1, "a field's name", says)?;
            let name = match (action.text(2), action.text(3)) {
                ("-m", "beg") => format!("{}*", field.text),
                ("-m", "end") => format!("*{}", field.text),
                ("-m", "sub") => format!("*{}*", field.text),
                ("-m", "reg") => format!("/{}/", field.text),
                ("", _) | ("-m", "str") => field.text.clone(),
                _ => {
                    says.unsupported(
                        action.span(2),
                        &format!("del-header {} {}", action.text(2), action.text(3)),
                    );
                    return None;
                }
            };
            map.set("del_header", Value::text(name, field.span));
        }
        "replace-header" | "replace-value" => {
            let key = keyword.replace('-', "_");
            let field = action.need(1, "a field's name", says)?;
            let pair = pair(action, 2, says)?;
            map.inner(&key, action.span)
                .set_at(&field.text, field.span, pair);
        }
        "replace-path" | "replace-pathq" | "replace-uri" if side == Side::Request => {
            map.set(&keyword.replace('-', "_"), pair(action, 1, says)?);
        }
        "set-path"
            if side == Side::Request
                && action.text(1).contains('?')
                && !action.text(1).contains("%[") =>
        {
            let message = "a `?` of `set-path` is one of the path's and encoded: `set-pathq` and `set-query` change the query";
            says.warn(action.span(1), message);
            let value = action.need(1, "a value", says)?;
            map.set("set_path", Value::text(format(&value.text), value.span));
        }
        "set-path" | "set-pathq" | "set-query" | "set-uri" | "set-method"
            if side == Side::Request =>
        {
            let value = action.need(1, "a value", says)?;
            map.set(
                &keyword.replace('-', "_"),
                Value::text(format(&value.text), value.span),
            );
        }
        "capture" => {
            let expression = action.need(1, "an expression", says)?;
            let mut inner = Map::default();
            inner.set(
                "value",
                Value::text(format!("%[{}]", expression.text), expression.span),
            );
            match (action.after("len"), action.after("id")) {
                (Some(length), _) => inner.set("len", says.number(&length.text, length.span)?),
                (None, Some(id)) => inner.set("id", says.number(&id.text, id.span)?),
                (None, None) => {
                    says.error(
                        action.span,
                        "`capture` without its length",
                        "write `len N` behind it",
                    );
                    return None;
                }
            }
            map.set("capture", Value::map(inner, action.span));
        }
        "allow" => map.set("allow", Value::plain("true", action.span)),
        "redirect" if side != Side::After => {
            map = redirect(action, format, says)?;
        }
        "deny" | "tarpit" if side == Side::Request => {
            map.set(keyword, answers::refusal(action, side, says)?);
        }
        "deny" if side == Side::Response => map.set("deny", answers::refusal(action, side, says)?),
        "return" if side != Side::After => map.set("return", answers::returned(action, says)?),
        "auth" if side == Side::Request => {
            let realm = action.after("realm").map(|word| word.text.as_str());
            let realm = realm.unwrap_or("%[fe_name]");
            let mut answer = Map::default();
            answer.set("status", Value::plain(401, action.span));
            answer.set("content_type", Value::text("text/html", action.span));
            answer.set("body", Value::text(UNAUTHORIZED, action.span));
            answer
                .inner("headers", action.span)
                .set("Cache-Control", Value::text("no-cache", action.span));
            answer.inner("headers", action.span).set(
                "WWW-Authenticate",
                Value::text(format!("Basic realm=\"{realm}\""), action.span),
            );
            map.set("return", Value::map(answer, action.span));
        }
        "set-var" | "set-var-fmt" => {
            let name = inner.filter(|name| !name.is_empty());
            let Some(name) = name else {
                says.error(
                    action.span(0),
                    format!("`{keyword}` without a variable"),
                    format!("write `{keyword}(txn.name)`"),
                );
                return None;
            };
            let value = action.need(1, "a value", says)?;
            let text = match keyword {
                "set-var" => format!("%[{}]", value.text),
                // As in a line of the log there are quotes wherever they are asked for.
                _ => value.text.clone(),
            };
            map.inner("set_var", action.span).set_at(
                name,
                action.span(0),
                Value::text(text, value.span),
            );
        }
        "unset-var" => map.set(
            "unset_var",
            Value::text(inner.unwrap_or_default(), action.span(0)),
        ),
        "disable-l7-retry" => {
            map.set("disable_l7_retry", Value::plain("true", action.span));
        }
        "track-sc0" | "track-sc1" | "track-sc2" => map.set("track", track(action, says)?),
        "set-map" | "del-map" | "add-acl" | "del-acl" => {
            map.set(&keyword.replace('-', "_"), more::live(inner, action, says)?);
        }
        "sc-inc-gpc" | "sc-add-gpc" | "sc-set-gpt" => {
            let (key, value) = more::of_array(keyword, inner, action, says)?;
            map.set(key, value);
        }
        "sc-inc-gpc0" | "sc-inc-gpc1" => {
            let key = keyword.trim_start_matches("sc-").replace('-', "_");
            map.set(&key, says.number(inner.unwrap_or("0"), action.span(0))?);
        }
        "sc-set-gpt0" => {
            let value = action.need(1, "a value", says)?;
            let mut gpt = Map::default();
            gpt.set(
                "counter",
                says.number(inner.unwrap_or("0"), action.span(0))?,
            );
            let text = match value.text.parse::<i64>() {
                Ok(_) => value.text.clone(),
                Err(_) => format!("%[{}]", value.text),
            };
            gpt.set("value", Value::text(text, value.span));
            map.set("set_gpt0", Value::map(gpt, action.span));
        }
        "cache-use" | "cache-store" => {
            let message = format!("`{keyword}` is read over: lb has no cache yet");
            says.warn(action.span(0), message);
            return None;
        }
        _ if let Some(found) = more::action(keyword, action, side, says) => return found,
        _ => {
            let line = match side {
                Side::Request => "http-request",
                Side::Response => "http-response",
                Side::After => "http-after-response",
            };
            says.unsupported(action.span(0), &format!("{line} {keyword}"));
            return None;
        }
    }
    Some(map)
}

/// What HAProxy answers with to those who are to say who they are.
const UNAUTHORIZED: &str = "<html><body><h1>401 Unauthorized</h1>\nYou need a valid user and password to access this \
                            content.\n</body></html>\n";

/// `REGEX FORMAT`
fn pair(action: &Action<'_>, at: usize, says: &mut Says) -> Option<Value> {
    let (regex, by) = (
        action.need(at, "a regular expression", says)?,
        action.need(at + 1, "a replacement", says)?,
    );
    let mut map = Map::default();
    map.set("regex", Value::text(regex.text.as_str(), regex.span));
    map.set("with", Value::text(format(&by.text), by.span));
    Some(Value::map(map, regex.span))
}

/// `redirect location|prefix|scheme VALUE [code N] [drop-query] …`
fn redirect(action: &Action<'_>, text: fn(&str) -> String, says: &mut Says) -> Option<Map> {
    let mut inner = Map::default();
    let mut at = 1;
    while let Some(word) = action.words.get(at) {
        let argument = action.words.get(at + 1);
        let key = match word.text.as_str() {
            "location" | "prefix" | "scheme" | "code" | "set-cookie" | "clear-cookie" => {
                word.text.replace('-', "_")
            }
            "drop-query" | "append-slash" | "ignore-empty" => {
                inner.set(
                    &word.text.replace('-', "_"),
                    Value::plain("true", word.span),
                );
                at += 1;
                continue;
            }
            other => {
                says.unsupported(word.span, &format!("redirect … {other}"));
                return None;
            }
        };
        let Some(argument) = argument else {
            says.error(
                word.span,
                format!("`{}` without a value", word.text),
                "write it behind",
            );
            return None;
        };
        let value = match key.as_str() {
            "code" => Value::plain(&argument.text, argument.span),
            "location" | "prefix" | "scheme" => Value::text(text(&argument.text), argument.span),
            _ => Value::text(argument.text.as_str(), argument.span),
        };
        inner.set_at(&key, word.span, value);
        at += 2;
    }
    let mut map = Map::default();
    map.set_at("redirect", action.span, Value::map(inner, action.span));
    Some(map)
}

/// `track-scN KEY [table T]`
fn track(action: &Action<'_>, says: &mut Says) -> Option<Value> {
    let key = action.need(1, "a key", says)?;
    let counter = action.text(0).trim_start_matches("track-sc");
    let mut map = Map::default();
    map.set("counter", says.number(counter, action.span(0))?);
    let text = match key.text.as_str() {
        "src" => "source".to_owned(),
        other => format!("%[{other}]"),
    };
    map.set("key", Value::text(text, key.span));
    if let Some(table) = action.after("table") {
        map.set("table", Value::text(table.text.as_str(), table.span));
    }
    Some(Value::map(map, action.span))
}

/// `http-request auth [realm R] unless { http_auth(LIST) }`, directly or by the name of an acl, and so with further
/// conditions as in `if private !allowed`: users of a list.
fn auth(
    action: &Action<'_>,
    line: &Line,
    at: Option<usize>,
    acls: &Acls,
    says: &mut Says,
) -> Option<Value> {
    let at = at?;
    let unless = line.text(at) == "unless";
    let words = &line.words[at + 1..];
    if words
        .iter()
        .any(|word| matches!(word.text.as_str(), "or" | "||" | "OR"))
    {
        return None;
    }
    let (from, to, list) = (0..words.len()).find_map(|from| {
        let text = words[from].text.as_str();
        let (text, negated) = match text.strip_prefix('!') {
            Some(rest) => (rest, true),
            None => (text, false),
        };
        if negated == unless {
            return None;
        }
        if text == "{" {
            let list = users_of(&words.get(from + 1)?.text)?;
            return (words.get(from + 2)?.text == "}").then(|| (from, from + 3, list.to_owned()));
        }
        let [one] = acls.criteria(text)? else {
            return None;
        };
        Some((from, from + 1, users_of(expression(one)?)?.to_owned()))
    })?;
    let others: Vec<Word> = words[..from].iter().chain(&words[to..]).cloned().collect();
    if unless && !others.is_empty() {
        return None;
    }
    let mut map = Map::default();
    if !others.is_empty() {
        let rest = Line {
            words: line.words[..=at].iter().cloned().chain(others).collect(),
        };
        map.set("if", acls.condition(&rest, at, says)?);
    }
    let mut inner = Map::default();
    if let Some(realm) = action.after("realm") {
        inner.set("realm", Value::text(realm.text.as_str(), realm.span));
    }
    inner.set("users", Value::text(list, line.span_of(at)));
    map.set("auth", Value::map(inner, line.span()));
    Some(Value::map(map, line.span()))
}

fn users_of(criterion: &str) -> Option<&str> {
    criterion.strip_prefix("http_auth(")?.strip_suffix(')')
}

/// The expression of `{ expr: { of: … } }` that stands alone.
fn expression(value: &Value) -> Option<&str> {
    let What::Map(map) = &value.what else {
        return None;
    };
    let What::Map(inner) = &map.get("expr")?.what else {
        return None;
    };
    match (&inner.get("of")?.what, inner.0.len()) {
        (What::Text { text, .. }, 1) => Some(text),
        _ => None,
    }
}

/// A log-format string as a text of ours, which is the same but for quotes around expressions: HAProxy writes them into
/// logs and variables alone.
pub(super) fn format(text: &str) -> String {
    unquoted(text)
}

/// A text without expressions as one of ours, in which a `%` is written twice.
pub(super) fn literal(text: &str) -> String {
    text.replace('%', "%%")
}
