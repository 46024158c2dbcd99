//! Actions that are rarer.

use super::{
    rules::{Action, Side, format},
    says::Says,
    value::{Map, Value},
};

/// What an action does as keys of ours; the outer `None`: it is none of these.
pub(super) fn action(
    keyword: &str,
    action: &Action<'_>,
    side: Side,
    says: &mut Says,
) -> Option<Option<Map>> {
    let mut map = Map::default();
    let done = match (keyword, side) {
        ("reject", Side::Request) | ("silent-drop", Side::Request | Side::Response) => {
            let key = keyword.replace('-', "_");
            map.set(&key, Value::plain("true", action.span));
            Some(())
        }
        // lb takes no early data: whoever has come so far has shaken hands.
        ("wait-for-handshake", Side::Request) => return Some(None),
        ("set-nice", Side::Request | Side::Response) => {
            let message = "`set-nice` is left out: each worker serves whoever is ready in turn";
            says.warn(action.span, message);
            return Some(None);
        }
        ("set-status", Side::Response | Side::After) => set_status(action, &mut map, says),
        ("wait-for-body", Side::Request | Side::Response) => wait_for_body(action, &mut map, says),
        ("set-src" | "set-src-port", Side::Request) => {
            let key = keyword.replace('-', "_");
            action.need(1, "an expression", says).map(|value| {
                let text = format!("%[{}]", value.text);
                map.set(&key, Value::text(text, value.span));
            })
        }
        ("early-hint", Side::Request) => {
            let name = action.need(1, "a field's name", says);
            let value = action.need(2, "a value", says);
            name.zip(value).map(|(name, value)| {
                let text = Value::text(format(&value.text), value.span);
                map.inner("early_hint", action.span)
                    .set_at(&name.text, name.span, text);
            })
        }
        ("normalize-uri", Side::Request) => {
            action.need(1, "a normalizer", says).and_then(|first| {
                if let Some(strict) = action.words.iter().find(|word| word.text == "strict") {
                    says.unsupported(strict.span, "normalize-uri … strict");
                    return None;
                }
                let words = action.words.iter().skip(1).map(|word| word.text.as_str());
                let name = words.collect::<Vec<_>>().join(" ");
                if matches!(name.as_str(), "fragment-strip" | "fragment-encode") {
                    let message = "requests with a fragment are refused or lose it anyway";
                    says.warn(first.span, message);
                    return None;
                }
                map.set("normalize_uri", Value::text(name, first.span));
                Some(())
            })
        }
        ("set-log-level", _) => action.need(1, "a level", says).map(|level| {
            map.set(
                "set_log_level",
                Value::plain(level.text.as_str(), level.span),
            );
        }),
        ("set-priority-class" | "set-priority-offset", Side::Request) => {
            let part = keyword.trim_start_matches("set-priority-");
            action.need(1, "an expression", says).map(|value| {
                let text = Value::text(format!("%[{}]", value.text), value.span);
                map.inner("set_priority", action.span).set(part, text);
            })
        }
        ("set-timeout", Side::Request) => set_timeout(action, &mut map, says),
        ("strict-mode", _) => {
            let message = "`strict-mode` is left out: lb has no change that it cannot make";
            says.warn(action.span(0), message);
            None
        }
        _ => return None,
    };
    Some(done.map(|()| map))
}

/// `set-map(FILE) KEY VALUE`, `del-map(FILE) KEY`, `add-acl(FILE) KEY`, `del-acl(FILE) KEY`
pub(super) fn live(inner: Option<&str>, action: &Action<'_>, says: &mut Says) -> Option<Value> {
    let file = inner.filter(|file| !file.is_empty());
    let Some(file) = file else {
        let message = format!("`{}` without a file", action.text(0));
        says.error(action.span(0), message, "write it in brackets behind it");
        return None;
    };
    let mut map = Map::default();
    map.set("file", Value::text(file, action.span(0)));
    let key = action.need(1, "a key", says)?;
    map.set("key", Value::text(format(&key.text), key.span));
    if action.text(0).starts_with("set-map") {
        let value = action.need(2, "a value", says)?;
        map.set("value", Value::text(format(&value.text), value.span));
    }
    Some(Value::map(map, action.span))
}

/// `sc-inc-gpc(INDEX,COUNTER)`, `sc-add-gpc(INDEX,COUNTER) VALUE`, `sc-set-gpt(INDEX,COUNTER) VALUE`
pub(super) fn of_array(
    keyword: &str,
    inner: Option<&str>,
    action: &Action<'_>,
    says: &mut Says,
) -> Option<(&'static str, Value)> {
    let span = action.span(0);
    let Some((index, counter)) = inner.and_then(|inner| inner.split_once(',')) else {
        let message = format!("`{keyword}` without a place and a counter");
        says.error(span, message, format!("write `{keyword}(0,0)`"));
        return None;
    };
    let mut map = Map::default();
    map.set("counter", says.number(counter.trim(), span)?);
    map.set("index", says.number(index.trim(), span)?);
    if keyword == "sc-inc-gpc" {
        return Some(("inc_gpc", Value::map(map, action.span)));
    }
    let value = action.need(1, "a value", says)?;
    let text = match value.text.parse::<i64>() {
        Ok(_) => value.text.clone(),
        Err(_) => format!("%[{}]", value.text),
    };
    map.set("value", Value::text(text, value.span));
    let key = match keyword {
        "sc-set-gpt" => "set_gpt",
        _ => "inc_gpc",
    };
    Some((key, Value::map(map, action.span)))
}

/// `wait-for-body time TIME [at-least BYTES]`
fn wait_for_body(action: &Action<'_>, map: &mut Map, says: &mut Says) -> Option<()> {
    let Some(time) = action.after("time") else {
        let message = "`wait-for-body` without a time";
        says.error(action.span, message, "write `time 1s` behind it");
        return None;
    };
    let mut inner = Map::default();
    inner.set("time", says.duration(&time.text, time.span)?);
    if let Some(bytes) = action.after("at-least") {
        let (digits, factor) = match bytes.text.strip_suffix(['k', 'K']) {
            Some(digits) => (digits, 1024),
            None => (bytes.text.as_str(), 1),
        };
        let count = digits
            .parse::<u32>()
            .ok()
            .map(|count| count.saturating_mul(factor));
        let Some(count) = count else {
            let message = format!("`{}` is no number of bytes", bytes.text);
            says.error(bytes.span, message, "write digits");
            return None;
        };
        inner.set("at_least", Value::plain(count, bytes.span));
    }
    map.set("wait_for_body", Value::map(inner, action.span));
    Some(())
}

/// `set-status N [reason TEXT]`
fn set_status(action: &Action<'_>, map: &mut Map, says: &mut Says) -> Option<()> {
    let status = action.need(1, "a status", says)?;
    let number = says.number(&status.text, status.span)?;
    match action.after("reason") {
        None => map.set("set_status", number),
        Some(reason) => {
            let mut inner = Map::default();
            inner.set("status", number);
            inner.set("reason", Value::text(reason.text.as_str(), reason.span));
            map.set("set_status", Value::map(inner, action.span));
        }
    }
    Some(())
}

/// `set-timeout server|tunnel TIME|EXPRESSION`
fn set_timeout(action: &Action<'_>, map: &mut Map, says: &mut Says) -> Option<()> {
    let of = action.need(1, "`server` or `tunnel`", says)?;
    let time = action.need(2, "a time", says)?;
    if !matches!(of.text.as_str(), "server" | "tunnel") {
        says.unsupported(of.span, &format!("http-request set-timeout … {}", of.text));
        return None;
    }
    let value = match time.text.starts_with(|c: char| c.is_ascii_digit()) {
        true => says.duration(&time.text, time.span)?,
        false => Value::text(format!("%[{}]", time.text), time.span),
    };
    map.inner("set_timeout", action.span).set(&of.text, value);
    Some(())
}
