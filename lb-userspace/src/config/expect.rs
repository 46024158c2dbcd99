//! `expect`, `send` and `steps` of `health_check:`: what is said to a server, and what it has to answer.

use std::ops::RangeInclusive;

mod field;

use super::{
    check_text,
    decode::Decoder,
    model::{Content, Pattern, Step, Terms},
    source::Span,
    table::Table,
    tree::{Entry, Kind, Node},
    units::Problem,
};

/// What an HTTP answer must be like.
#[derive(Debug, Default)]
pub(super) struct Expected {
    /// `None`: nothing is said of it.
    pub(super) status: Option<Vec<RangeInclusive<u16>>>,
    pub(super) content: Vec<Content>,
    pub(super) terms: Box<Terms>,
}

/// `expect: {status: …, body: …, regex: …, headers: …}`: all that is there has to hold.
pub(super) fn http(d: &mut Decoder<'_>, entry: &Entry) -> Option<Expected> {
    let mut table = d.table(&entry.value, entry.key_span, "`expect`")?;
    let mut expected = Expected {
        terms: check_text::terms(d, &mut table),
        ..Expected::default()
    };
    let mut any = false;
    if let Some(e) = table.take("status") {
        any = true;
        expected.status = status(d, e);
    }
    if let Some(e) = table.take("body") {
        any = true;
        expected.content.extend(text(d, &e.value, "`body`"));
    }
    if let Some(e) = table.take("regex") {
        any = true;
        expected.content.extend(regex(d, &e.value));
    }
    if let Some(e) = table.take("template") {
        any = true;
        let text = check_text::text(d, &e.value, "`template`");
        expected.content.extend(text.map(Content::Filled));
    }
    if let Some(e) = table.take("not") {
        any = true;
        expected
            .content
            .extend(not(d, e).map(Box::new).map(Content::Not));
    }
    if let Some(e) = table.take("headers") {
        any = true;
        expected.content.extend(field::fields(d, e));
    }
    if !any && table.entries().is_empty() {
        d.missing(&table, "status", "write `expect: { status: \"2xx,3xx\" }`");
    }
    table.finish(
        d,
        &[],
        &[("string", "it is `body`"), ("rstatus", "it is `status`")],
    );
    Some(expected)
}

/// `not: { body: … }` or `not: { regex: … }`: what must not be there.
fn not(d: &mut Decoder<'_>, entry: &Entry) -> Option<Content> {
    let mut table = d.table(&entry.value, entry.key_span, "`not`")?;
    let content = match (table.take("body"), table.take("regex")) {
        (Some(e), None) => text(d, &e.value, "`body`"),
        (None, Some(e)) => regex(d, &e.value),
        _ => {
            let mend = "write `not: { body: TEXT }` or `not: { regex: PATTERN }`";
            d.error(entry.key_span, "`not` has one of `body` and `regex`", mend);
            None
        }
    };
    let mend = "list those that pass: `status: \"200-499\"`";
    table.finish(d, &[], &[("status", mend)]);
    content
}

fn status(d: &mut Decoder<'_>, e: &Entry) -> Option<Vec<RangeInclusive<u16>>> {
    let nodes = match &e.value.kind {
        Kind::Sequence(_) => d.list(&e.value, "`status`"),
        _ => std::slice::from_ref(&e.value),
    };
    let read: Vec<_> = nodes
        .iter()
        .map(|node| d.parsed(node, "`status`", statuses))
        .collect();
    if nodes.is_empty() {
        d.error(
            e.value.span,
            "`status` is an empty list, which no answer passes",
            "write `\"2xx,3xx\"`",
        );
    }
    let read: Option<Vec<_>> = read.into_iter().collect();
    read.map(|lists| lists.into_iter().flat_map(|list| list.value).collect())
}

/// `send`, `expect` and `steps` of a check over TCP, as one sequence; empty if it only connects.
pub(super) fn script(
    d: &mut Decoder<'_>,
    send: Option<&Entry>,
    expect: Option<&Entry>,
    sequence: Option<&Entry>,
) -> Vec<Step> {
    let mut steps = Vec::new();
    if let Some(e) = send {
        steps.extend(sent(d, e));
    }
    if let Some(e) = expect {
        steps.extend(expected(d, e));
    }
    let Some(e) = sequence else {
        return steps;
    };
    if send.or(expect).is_some() {
        d.error(
            e.key_span,
            "`steps` stand beside `send` or `expect`, and nothing says which comes first",
            "write all of it as `steps: [{ send: … }, { expect: … }]`",
        );
    }
    for node in d.list(&e.value, "`steps`") {
        let Some(mut table) = d.table(node, node.span, "a step") else {
            continue;
        };
        let (set, unset) = (table.take("set_var"), table.take("unset_var"));
        match (table.take("send"), table.take("expect")) {
            (None, None) if set.or(unset).is_some() => {
                let settings = check_text::variables(d, set, unset);
                steps.extend(settings.into_iter().map(Step::Set));
            }
            (Some(e), None) if set.or(unset).is_none() => steps.extend(sent(d, e)),
            (None, Some(e)) if set.or(unset).is_none() => steps.extend(expected(d, e)),
            _ => d.error(
                node.span,
                "a step either sends, expects or sets variables",
                "write `{ send: \"PING\\r\\n\" }` or `{ expect: \"+PONG\" }`",
            ),
        }
        table.finish(d, &[], &[]);
    }
    steps
}

/// A step that sends: a text, `{ hex: … }`, or what comes of a `{ template: … }` or a `{ hex_template: … }`.
fn sent(d: &mut Decoder<'_>, e: &Entry) -> Option<Step> {
    let written = |key: &str| match &e.value.kind {
        Kind::Mapping(entries) => entries.iter().any(|entry| entry.key == key),
        _ => false,
    };
    if !written("template") && !written("hex_template") {
        return bytes(d, &e.value, "`send`", SENT).map(Step::Send);
    }
    let mut table = d.table(&e.value, e.key_span, "`send`")?;
    let step = match (table.take("template"), table.take("hex_template")) {
        (Some(e), None) => check_text::text(d, &e.value, "`template`").map(Step::SendText),
        (None, Some(e)) => check_text::text(d, &e.value, "`hex_template`").map(Step::SendHex),
        _ => {
            let message = "`template` and `hex_template` exclude one another";
            d.error(e.key_span, message, "keep one of them");
            None
        }
    };
    table.finish(
        d,
        &[],
        &[("hex", "it is a text without expressions: write it alone")],
    );
    step
}

/// What a step may send.
const SENT: &str = "write a text, `{ hex: 0d0a }`, `{ template: … }` or `{ hex_template: … }`";

/// A step that expects.
fn expected(d: &mut Decoder<'_>, e: &Entry) -> Option<Step> {
    let (content, terms) = answer(d, e)?;
    Some(Step::Expect(content, terms))
}

/// A text that has to come, or `{ text: … }`, `{ regex: … }`, `{ hex: … }`, `{ template: … }` or `{ hex_template: … }` with
/// the terms of it.
fn answer(d: &mut Decoder<'_>, e: &Entry) -> Option<(Content, Box<Terms>)> {
    if !matches!(e.value.kind, Kind::Mapping(_)) {
        return Some((text(d, &e.value, "`expect`")?, Box::default()));
    }
    let mut table = d.table(&e.value, e.key_span, "`expect`")?;
    let terms = check_text::terms(d, &mut table);
    Some((content(d, table, e.key_span)?, terms))
}

/// What has to come.
fn content(d: &mut Decoder<'_>, mut table: Table<'_>, span: Span) -> Option<Content> {
    let said = [
        table.take("text"),
        table.take("regex"),
        table.take("hex"),
        table.take("template"),
        table.take("hex_template"),
        table.take("not"),
    ];
    let mut said = said.into_iter().flatten();
    let content = match (said.next(), said.next()) {
        (Some(e), None) => match e.key.as_str() {
            "text" => text(d, &e.value, "`text`"),
            "regex" => regex(d, &e.value),
            "hex" => hex(d, &e.value).map(Content::Text),
            "template" => check_text::text(d, &e.value, "`template`").map(Content::Filled),
            "hex_template" => {
                check_text::text(d, &e.value, "`hex_template`").map(Content::FilledHex)
            }
            // What is not there is no further asked for.
            _ => unwanted(d, e),
        },
        (None, _) => {
            d.says_nothing(
                &table,
                "write a text that has to come, `{ regex: \"^OK\" }`, `{ hex: 0d0a }`, `{ template: … }`, \
                 `{ hex_template: … }` or `{ not: … }`",
            );
            None
        }
        _ => {
            let message = "more than one thing is expected";
            d.error(span, message, "write a step for each");
            None
        }
    };
    table.finish(
        d,
        &[],
        &[
            ("status", "it is for `type: http`"),
            ("body", "write the text alone: `expect: \"+PONG\"`"),
        ],
    );
    content
}

/// `not`: what must not come.
fn unwanted(d: &mut Decoder<'_>, e: &Entry) -> Option<Content> {
    let found = match &e.value.kind {
        Kind::Mapping(_) => {
            let table = d.table(&e.value, e.key_span, "`not`")?;
            content(d, table, e.key_span)?
        }
        _ => text(d, &e.value, "`not`")?,
    };
    if let Content::Not(_) = found {
        d.error(e.key_span, "`not` in `not`", "write what has to come");
        return None;
    }
    Some(Content::Not(Box::new(found)))
}

fn text(d: &mut Decoder<'_>, node: &Node, what: &str) -> Option<Content> {
    bytes(d, node, what, "write a text, or `{ hex: 0d0a }`").map(Content::Text)
}

/// `hex`: bytes that are no text, two digits each.
fn hex(d: &mut Decoder<'_>, node: &Node) -> Option<Vec<u8>> {
    let text = d.text(node, "`hex`")?;
    let pairs = text.as_bytes().chunks(2);
    let read = pairs.map(|pair| {
        let pair = std::str::from_utf8(pair)
            .ok()
            .filter(|pair| pair.len() == 2)?;
        // `+f` would be a number too.
        u8::from_str_radix(pair, 16)
            .ok()
            .filter(|_| pair.bytes().all(|byte| byte.is_ascii_hexdigit()))
    });
    let read: Option<Vec<u8>> = read.collect();
    if read.as_ref().is_none_or(Vec::is_empty) {
        let message = format!("`{text}` is no row of hexadecimal digits");
        d.error(node.span, message, "write two for each byte: `hex: 0d0a`");
        return None;
    }
    read
}

/// What is sent or looked for; YAML's double quotes have escapes for what cannot be typed, and `{ hex: … }` is for what is
/// no text. `forms` is what may stand there.
pub(super) fn bytes(d: &mut Decoder<'_>, node: &Node, what: &str, forms: &str) -> Option<Vec<u8>> {
    if let Kind::Mapping(_) = &node.kind {
        let mut table = d.table(node, node.span, what)?;
        let bytes = match table.take("hex") {
            Some(e) => hex(d, &e.value),
            None => {
                d.says_nothing(&table, forms);
                None
            }
        };
        table.finish(d, &[], &[]);
        return bytes;
    }
    let text = d.text(node, what)?;
    if text.is_empty() {
        d.error(
            node.span,
            format!("{what} is empty"),
            "write a text; `\"\\r\\n\"` in double quotes is the end of a line",
        );
        return None;
    }
    Some(text.into_bytes())
}

fn regex(d: &mut Decoder<'_>, node: &Node) -> Option<Content> {
    let text = d.text(node, "`regex`")?;
    match Pattern::new(&text) {
        Ok(pattern) => Some(Content::Regex(pattern)),
        Err(problem) => {
            d.wrong(node.span, problem);
            None
        }
    }
}

/// `2xx,3xx`, `200`, `200-204`
fn statuses(text: &str) -> Result<Vec<RangeInclusive<u16>>, Problem> {
    let bad = |part: &str| {
        Problem::new(
            format!("`{part}` is no status"),
            "write `200`, `2xx` or `200-399`, divided by commas",
        )
    };
    let number = |part: &str| match part.parse::<u16>() {
        Ok(status @ 100..=599) if part.len() == 3 => Some(status),
        _ => None,
    };
    text.split(',')
        .map(str::trim)
        .map(|part| {
            if let Some(class) = part.strip_suffix("xx").or_else(|| part.strip_suffix("XX")) {
                let class = class
                    .parse::<u16>()
                    .ok()
                    .filter(|class| (1..=5).contains(class));
                return class
                    .map(|class| class * 100..=class * 100 + 99)
                    .ok_or_else(|| bad(part));
            }
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            match (number(first.trim()), number(last.trim())) {
                (Some(first), Some(last)) if first <= last => Ok(first..=last),
                _ => Err(bad(part)),
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_statuses() {
        assert_eq!(statuses("2xx,3xx"), Ok(vec![200..=299, 300..=399]));
        assert_eq!(statuses("200, 204-206"), Ok(vec![200..=200, 204..=206]));
        for bad in [
            "", "2x", "6xx", "99", "0200", "299-200", "200,,201", "+20", "xx",
        ] {
            assert!(statuses(bad).is_err(), "{bad}");
        }
    }
}
