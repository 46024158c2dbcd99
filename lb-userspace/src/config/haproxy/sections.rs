//! What others refer to: `userlist`, `http-errors`, and tables in which servers are remembered.

use super::{
    assemble::Section,
    lines::Line,
    proxy::Proxy,
    says::Says,
    value::{Map, Value, What},
};
use crate::config::{identity::FIRST_PROXY, model};

/// Says that lines of a kind change nothing. The messages without what they ask for are right, if larger or later.
pub(super) fn read_over(line: &Line, what: &str, says: &mut Says) {
    says.warn(
        line.span(),
        format!("`{what}` is read over: lb has nothing of the kind yet"),
    );
}

/// `filter NAME …`
pub(super) fn filter(line: &Line, says: &mut Says) {
    match line.text(1) {
        "compression" | "cache" | "trace" => read_over(line, "filter", says),
        name @ ("spoe" | "fcgi-app" | "opentracing") => {
            let (message, mend) = match name {
                "spoe" => (
                    "lb asks no agents of HAProxy's SPOE",
                    "have a server beside lb look at requests, and keep HAProxy for this proxy until then",
                ),
                "fcgi-app" => (
                    "lb speaks no FastCGI",
                    "put a server of HTTP before the application, such as nginx or php-fpm's own",
                ),
                _ => (
                    "lb sends no traces",
                    "remove it: the log and the metrics have what is measured",
                ),
            };
            says.error(line.span(), format!("`filter {name}`: {message}"), mend);
        }
        other => says.error(
            line.span_of(1),
            format!("there is no filter `{other}`"),
            "remove it",
        ),
    }
}

/// A section that lb has nothing for.
pub(super) fn unknown(head: &Line, says: &mut Says) {
    match head.keyword() {
        kind @ ("peers" | "mailers" | "cache" | "ring" | "program" | "traces") => {
            read_over(head, kind, says);
        }
        other => says.unsupported(head.span(), other),
    }
}

/// `http-errors NAME`
pub(super) fn http_errors(section: &Section<'_>, says: &mut Says) {
    let Some(name) = says.need(section.head, 1, "a name") else {
        return;
    };
    let mut pages = Map::default();
    for line in &section.lines {
        match (line.keyword(), line.text(2)) {
            ("errorfile", file) if !file.is_empty() => {
                let value = Value::text(file, line.span_of(2));
                pages.set_at(line.text(1), line.span_of(1), value);
            }
            (other, _) => says.unsupported(line.span(), &format!("{other} in http-errors")),
        }
    }
    says.bases.pages.insert(name.to_owned(), pages);
}

/// `userlist NAME`
pub(super) fn userlist(section: &Section<'_>, lists: &mut Map, says: &mut Says) {
    let Some(name) = says.need(section.head, 1, "a name") else {
        return;
    };
    let mut users = Map::default();
    let groups = || {
        section
            .lines
            .iter()
            .filter(|line| line.keyword() == "group")
    };
    for line in section
        .lines
        .iter()
        .filter(|line| line.keyword() != "group")
    {
        let (name, kind) = (line.text(1), line.text(2));
        if line.keyword() != "user" || !matches!(kind, "password" | "insecure-password") {
            says.unsupported(line.span(), line.keyword());
            continue;
        }
        let password = Value::text(line.text(3), line.span_of(3));
        let mut joined: Vec<Value> = Vec::new();
        if line.text(4) == "groups" {
            let names = line.text(5).split(',');
            joined.extend(names.map(|group| Value::text(group, line.span_of(5))));
        }
        for group in groups() {
            if group.text(2) == "users" && group.text(3).split(',').any(|user| user == name) {
                joined.push(Value::text(group.text(1), group.span_of(1)));
            }
        }
        let user = match joined.is_empty() {
            true => password,
            false => {
                let mut map = Map::default();
                map.set("password", password);
                map.set("groups", Value::list(joined, line.span()));
                Value::map(map, line.span())
            }
        };
        users.set_at(name, line.span_of(1), user);
    }
    lists.set(name, Value::map(users, section.head.span_of(1)));
}

/// Numbers the proxies as HAProxy does, by their places in the file, where an expression asks for that: there a `listen` is one
/// of them, and frontends do not come first.
pub(super) fn number<'p>(lines: &[Line], proxies: impl Iterator<Item = &'p mut Proxy>) {
    let asks = |line: &Line| {
        let mut words = line.words.iter();
        words.any(|word| word.text.contains("fe_id") || word.text.contains("be_id"))
    };
    if !lines.iter().any(asks) {
        return;
    }
    let mut proxies: Vec<&mut Proxy> = proxies.collect();
    let said = |proxy: &&mut Proxy| {
        let id = proxy.id.as_ref().and_then(Value::as_text);
        id.and_then(|id| id.parse().ok()).unwrap_or(0)
    };
    let mut ids: Vec<u32> = proxies.iter().map(said).collect();
    // HAProxy's own socket is one of them, where it has one.
    let has_socket = |line: &Line| line.keyword() == "stats" && line.text(1) == "socket";
    let first = match lines.iter().any(has_socket) {
        true => FIRST_PROXY,
        false => FIRST_PROXY - 1,
    };
    model::number(&mut ids, first);
    for (proxy, id) in proxies.iter_mut().zip(ids) {
        let span = proxy.span;
        proxy.id.get_or_insert_with(|| Value::plain(id, span));
    }
}

/// HAProxy's tables store servers as soon as somebody sticks to them by one.
pub(super) fn remember_servers(proxies: &mut Map, name: &str) {
    let proxy = proxies.0.iter_mut().find(|key| key.name == name);
    let Some(What::Map(proxy)) = proxy.map(|proxy| &mut proxy.value.what) else {
        return;
    };
    let Some(span) = proxy.get("stick_table").map(|table| table.span) else {
        return;
    };
    let table = proxy.inner("stick_table", span);
    let named = Value::plain("server_id", span);
    let stored = match table.get("store").map(|store| &store.what) {
        Some(What::List(stored)) => stored.iter().any(|data| data.is_same(&named)),
        _ => false,
    };
    if !stored {
        table.push("store", named);
    }
}
