//! `headers` of `expect`: fields that an answer has to have.

use super::{super::health, regex};
use crate::config::{
    check_text,
    decode::Decoder,
    model::{Content, HeadField, Like, Parts},
    tree::{Entry, Kind, Node},
};

/// A mapping of names to values, or a list of `{ name: …, value | prefix | suffix | contains | regex | template: … }`.
pub(super) fn fields(d: &mut Decoder<'_>, entry: &Entry) -> Vec<Content> {
    let Kind::Sequence(_) = entry.value.kind else {
        let simple = health::headers(d, entry).into_iter();
        return simple
            .map(|(name, value)| Content::Header(HeadField::simple(name, value)))
            .collect();
    };
    let nodes = d.list(&entry.value, "`headers`");
    nodes.iter().filter_map(|node| one(d, node)).collect()
}

fn one(d: &mut Decoder<'_>, node: &Node) -> Option<Content> {
    let mut table = d.table(node, node.span, "`headers`")?;
    let name = match table.take("name") {
        Some(e) => d.line(&e.value, "`name`").filter(|name| {
            let is_name = super::super::cookie::is_token(name);
            if !is_name {
                let message = format!("`{name}` cannot be the name of a header");
                d.error(e.value.span, message, "write a name such as `X-Check`");
            }
            is_name
        }),
        None => {
            d.missing(&table, "name", "write `- { name: X-Ready, value: yes }`");
            None
        }
    };
    let mut likes = Vec::new();
    let mut text = |d: &mut Decoder<'_>, key: &'static str, like: fn(Vec<u8>) -> Like| {
        if let Some(e) = table.take(key) {
            let text = d.text(&e.value, &format!("`{key}`"));
            likes.push(text.map(|text| like(text.into_bytes())));
        }
    };
    text(d, "value", Like::Is);
    text(d, "prefix", Like::Begins);
    text(d, "suffix", Like::Ends);
    text(d, "contains", Like::Contains);
    if let Some(e) = table.take("regex") {
        likes.push(match regex(d, &e.value) {
            Some(Content::Regex(pattern)) => Some(Like::Matches(pattern)),
            _ => None,
        });
    }
    if let Some(e) = table.take("template") {
        likes.push(check_text::text(d, &e.value, "`template`").map(Like::Filled));
    }
    let mut flag = |d: &mut Decoder<'_>, key: &'static str| {
        let e = table.take(key)?;
        d.boolean(&e.value, &format!("`{key}`"))
    };
    let whole = flag(d, "whole") == Some(true);
    let not = flag(d, "not") == Some(true);
    table.finish(d, &[], &[]);
    if likes.len() > 1 {
        let mend = "write a field for each: `- { name: …, prefix: … }`";
        d.error(node.span, "more than one thing is said of a field", mend);
        return None;
    }
    let like = match likes.pop() {
        Some(like) => like?,
        None => Like::There,
    };
    let parts = match whole {
        true => Parts::Whole,
        false => Parts::Each,
    };
    let found = Content::Header(HeadField {
        name: name?,
        parts,
        like,
    });
    Some(match not {
        true => Content::Not(Box::new(found)),
        false => found,
    })
}
