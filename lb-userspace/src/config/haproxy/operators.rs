//! `stats admin if COND`: who may change servers by the page of statistics. Where that comes to "everybody", "nobody" or
//! "these addresses", it is said so.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{
    acl::Acls,
    lines::Line,
    says::Says,
    value::{Map, Value, What},
};

/// Whom a condition lets in.
pub(super) enum Who {
    Everybody,
    Nobody,
    From(Vec<Value>),
}

/// `admin:` as of a line; `None` if it lets nobody in, or something was said about it.
pub(super) fn admin(line: &Line, acls: &Acls, says: &mut Says) -> Option<Value> {
    let span = line.span_of(1);
    if !matches!(line.text(2), "if" | "unless") {
        says.error(
            span,
            "`stats admin` without a condition",
            "write `stats admin if TRUE`, or `if LOCALHOST`",
        );
        return None;
    }
    let condition = acls.condition(line, 2, says)?;
    match who(&condition, acls) {
        Some(Who::Everybody) => Some(Value::plain("true", span)),
        Some(Who::Nobody) => None,
        Some(Who::From(addresses)) => {
            let mut map = Map::default();
            map.set("from", Value::list(addresses, span));
            Some(Value::map(map, span))
        }
        None => {
            let mut map = Map::default();
            map.set("if", condition);
            Some(Value::map(map, span))
        }
    }
}

pub(super) fn who(condition: &Value, acls: &Acls) -> Option<Who> {
    match &condition.what {
        What::Text { text, .. } if text == "TRUE" => Some(Who::Everybody),
        What::Text { text, .. } => any(acls.criteria(text)?, acls),
        What::List(_) => None,
        What::Map(map) => match map.0.as_slice() {
            [one] if one.name == "source" => addresses(&one.value),
            [one] if one.name == "any" => match &one.value.what {
                What::List(alternatives) => any(alternatives, acls),
                _ => None,
            },
            [one] if one.name == "not" => match who(&one.value, acls)? {
                Who::Everybody => Some(Who::Nobody),
                Who::Nobody => Some(Who::Everybody),
                Who::From(_) => None,
            },
            [one] if one.name == "expr" => expression(&one.value),
            _ => None,
        },
    }
}

/// Whoever one of them lets in.
fn any(alternatives: &[Value], acls: &Acls) -> Option<Who> {
    let mut from = Vec::new();
    for one in alternatives {
        match who(one, acls)? {
            Who::Everybody => return Some(Who::Everybody),
            Who::Nobody => {}
            Who::From(addresses) => from.extend(addresses),
        }
    }
    Some(match from.is_empty() {
        true => Who::Nobody,
        false => Who::From(from),
    })
}

fn expression(value: &Value) -> Option<Who> {
    let What::Map(map) = &value.what else {
        return None;
    };
    match map.get("of")?.as_text()? {
        "always_true" => Some(Who::Everybody),
        "always_false" => Some(Who::Nobody),
        "src" => addresses(map.get("network")?),
        _ => None,
    }
}

/// Addresses that are written down; those of a file are not read here.
fn addresses(value: &Value) -> Option<Who> {
    let list = match &value.what {
        What::List(list) => list.clone(),
        _ => vec![value.clone()],
    };
    let plain = |one: &Value| Some(Value::text(network(one.as_text()?), one.span));
    let all: Option<Vec<Value>> = list.iter().map(plain).collect();
    all.map(Who::From)
}

/// `127.0.0.1/8` as `127.0.0.0/8`: HAProxy does not mind what is beyond the length.
fn network(text: &str) -> String {
    let parsed = text
        .split_once('/')
        .and_then(|(host, length)| Some((host.parse().ok()?, length.parse::<u32>().ok()?)));
    match parsed {
        Some((IpAddr::V4(host), length @ 0..=32)) => {
            let mask = u32::MAX.checked_shl(32 - length).unwrap_or(0);
            format!("{}/{length}", Ipv4Addr::from_bits(host.to_bits() & mask))
        }
        Some((IpAddr::V6(host), length @ 0..=128)) => {
            let mask = u128::MAX.checked_shl(128 - length).unwrap_or(0);
            format!("{}/{length}", Ipv6Addr::from_bits(host.to_bits() & mask))
        }
        // What is none of these is explained where it is read.
        _ => text.to_owned(),
    }
}
