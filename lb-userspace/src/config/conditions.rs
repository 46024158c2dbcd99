//! `if:` and `acls:`: keys that are sugar over expressions.

use std::{rc::Rc, sync::Arc};

use super::{
    decode::Decoder,
    patterns::{Given, Value, test, values},
    source::Span,
    table::Table,
    tree::{Entry, Kind, Node},
};
use crate::rules::{Condition, Expr, Fetch, How, Matcher, Problem, Side, Test, TlsFact, suggest};

/// What text may be compared by, below `header`, `query`, `cookie` and `expr`.
const TEXT: &[(&str, How)] = &[
    ("value", How::Exact),
    ("prefix", How::Prefix),
    ("suffix", How::Suffix),
    ("contains", How::Contains),
    ("directory", How::Directory),
    ("domain", How::DomainPart),
    ("regex", How::Regex),
];

/// `acls:`: names the conditions of a frontend or backend for the rules that follow.
pub(super) fn acls(d: &mut Decoder<'_>, table: &mut Table<'_>) {
    d.registry.set_conditions(Vec::new());
    let Some(entry) = table.take("acls") else {
        return;
    };
    let Some(named) = d.table(&entry.value, entry.key_span, "`acls`") else {
        return;
    };
    for e in named.entries() {
        if e.key.starts_with('!') || e.key.contains(char::is_whitespace) || e.key.is_empty() {
            let message = format!("`{}` cannot be the name of a condition", e.key);
            d.error(e.key_span, message, "write letters, digits and `_`");
            continue;
        }
        // One that is wrong is known by its name all the same, so that nobody is told that there is none.
        let found = condition(d, &e.value, e.key_span, Side::Request);
        let found = found.unwrap_or_else(|| Condition::Any(Vec::new()));
        d.registry.add_condition(&e.key, Arc::new(found));
    }
}

/// What stands after `if`: a mapping, the name of a condition, or a list of these that all have to hold.
pub(super) fn condition(
    d: &mut Decoder<'_>,
    node: &Rc<Node>,
    place: Span,
    side: Side,
) -> Option<Condition> {
    match &node.kind {
        Kind::Sequence(nodes) => {
            if nodes.is_empty() {
                d.error(
                    node.span,
                    "an empty list of conditions",
                    "write at least one",
                );
            }
            let all: Vec<_> = nodes
                .iter()
                .map(|one| condition(d, one, one.span, side))
                .collect();
            Some(Condition::All(all.into_iter().collect::<Option<_>>()?))
                .filter(|_| !nodes.is_empty())
        }
        Kind::Scalar(_) if !node.is_null() => named(d, node),
        _ => mapping(d, node, place, side),
    }
}

/// `name`, `!name`, or several divided by blanks.
fn named(d: &mut Decoder<'_>, node: &Node) -> Option<Condition> {
    let text = d.word(node, "`if`")?;
    let mut all = Vec::new();
    for word in text.split_ascii_whitespace() {
        let (name, negated) = match word.strip_prefix('!') {
            Some(name) => (name, true),
            None => (word, false),
        };
        let Some(found) = d.registry.condition(name) else {
            let mend = match suggest::nearest(name, d.registry.condition_names()) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("name it: `acls: {{ {name}: {{ path_prefix: /… }} }}`"),
            };
            d.error(node.span, format!("there is no condition `{name}`"), mend);
            return None;
        };
        let found = Condition::Named(found);
        all.push(match negated {
            true => Condition::Not(Box::new(found)),
            false => found,
        });
    }
    match all.len() {
        1 => all.pop(),
        _ => Some(Condition::All(all)),
    }
}

/// What looks at a response's field is the same word in another place.
const OF_RESPONSES: &str =
    "it is `header`, in the `if` within `response`: `response: { if: { header: … } }`";

fn mapping(d: &mut Decoder<'_>, node: &Rc<Node>, place: Span, side: Side) -> Option<Condition> {
    let mut table = d.table(node, place, "`if`")?;
    if table.entries().is_empty() {
        d.error(
            place,
            "`if` without a condition",
            "remove it: a rule without `if` always holds",
        );
        return None;
    }
    let before = d.diagnostics.len();
    let ignore_case = table.take("ignore_case");
    let fold = ignore_case.and_then(|e| d.boolean(&e.value, "`ignore_case`")) == Some(true);
    let mut all = Vec::new();
    texts(d, &mut table, side, fold, &mut all);
    if let Some(e) = ignore_case
        && all.is_empty()
        && d.diagnostics.len() == before
    {
        d.error(
            e.key_span,
            "`ignore_case` has no text to compare here",
            "remove it: hosts are compared without case",
        );
    }
    others(d, &mut table, &mut all);
    if side == Side::Response
        && let Some(e) = table.take("status")
    {
        let values = statuses(d, e);
        all.extend(test(
            d,
            Expr::new(Fetch::Status),
            How::Number,
            false,
            values,
        ));
    }
    for key in ["all", "any", "not"] {
        combined(d, &mut table, key, side, &mut all);
    }
    if let Some(e) = table.take("acl") {
        let nodes = d.one_or_more(&e.value);
        all.extend(nodes.iter().filter_map(|node| named(d, node)));
    }
    table.finish(
        d,
        &[],
        &[
            ("path_beg", "it is `path_prefix`"),
            ("path_end", "it is `path_suffix`"),
            ("path_reg", "it is `path_regex`"),
            ("hdr", "it is `header`, or `host` for the host"),
            ("src", "it is `source`"),
            ("url", "write `expr: { of: url, prefix: … }`"),
            ("status", "it belongs to the `if` within `response`"),
            ("res_header", OF_RESPONSES),
            ("response_header", OF_RESPONSES),
            ("res_hdr", OF_RESPONSES),
            ("req_header", "it is `header`"),
            ("request_header", "it is `header`"),
            ("req_hdr", "it is `header`"),
        ],
    );
    if d.diagnostics[before..]
        .iter()
        .any(super::Diagnostic::is_error)
    {
        return None;
    }
    match all.len() {
        1 => all.pop(),
        _ => Some(Condition::All(all)),
    }
}

/// Conditions that compare text whose case may be ignored.
fn texts(
    d: &mut Decoder<'_>,
    table: &mut Table<'_>,
    side: Side,
    fold: bool,
    all: &mut Vec<Condition>,
) {
    if let Some(e) = table.take("path") {
        let values = values(d, e, path);
        all.extend(test(d, Expr::new(Fetch::Path), How::Exact, fold, values));
    }
    if let Some(e) = table.take("path_prefix") {
        let values = values(d, e, path);
        all.extend(test(d, Expr::new(Fetch::Path), How::Prefix, fold, values));
    }
    if let Some(e) = table.take("path_suffix") {
        let values = values(d, e, any);
        all.extend(test(d, Expr::new(Fetch::Path), How::Suffix, fold, values));
    }
    if let Some(e) = table.take("path_contains") {
        let values = values(d, e, any);
        all.extend(test(d, Expr::new(Fetch::Path), How::Contains, fold, values));
    }
    if let Some(e) = table.take("path_regex") {
        let values = values(d, e, any);
        all.extend(test(d, Expr::new(Fetch::Path), How::Regex, fold, values));
    }
    if let Some(e) = table.take("header") {
        let of = if side == Side::Request {
            "req.hdr"
        } else {
            "res.hdr"
        };
        compared(d, e, "name", fold, all, |name| format!("{of}(\"{name}\")"));
    }
    if let Some(e) = table.take("query") {
        compared(d, e, "name", fold, all, |name| {
            format!("urlp(\"{name}\"),url_dec(1)")
        });
    }
    if let Some(e) = table.take("cookie") {
        let of = if side == Side::Request {
            "req.cook"
        } else {
            "res.cook"
        };
        compared(d, e, "name", fold, all, |name| format!("{of}(\"{name}\")"));
    }
    if let Some(e) = table.take("expr") {
        compared(d, e, "of", fold, all, str::to_owned);
    }
}

/// The rest of the conditions on a request.
fn others(d: &mut Decoder<'_>, table: &mut Table<'_>, all: &mut Vec<Condition>) {
    if let Some(e) = table.take("host") {
        let values = values(d, e, super::frontend::host);
        all.extend(test(d, Expr::new(Fetch::Host), How::Host, false, values));
    }
    if let Some(e) = table.take("method") {
        let values = values(d, e, |d, text, node| {
            if text.bytes().all(|b| b.is_ascii_uppercase() || b == b'-') {
                return Some(text);
            }
            let upper = text.to_ascii_uppercase();
            let message = format!("`{text}` is no method: they are in capitals");
            d.error(node.span, message, format!("write `{upper}`"));
            None
        });
        all.extend(test(d, Expr::new(Fetch::Method), How::Exact, false, values));
    }
    if let Some(e) = table.take("source") {
        let values = values(d, e, any);
        all.extend(test(
            d,
            Expr::new(Fetch::Source),
            How::Address,
            false,
            values,
        ));
    }
    if let Some(e) = table.take("dst_port") {
        let values = values(d, e, any);
        all.extend(test(
            d,
            Expr::new(Fetch::DestinationPort),
            How::Number,
            false,
            values,
        ));
    }
    if let Some(e) = table.take("sni") {
        let values = values(d, e, super::frontend::host);
        all.extend(test(
            d,
            Expr::new(Fetch::Tls(TlsFact::Sni)),
            How::Host,
            false,
            values,
        ));
    }
    if let Some(e) = table.take("scheme") {
        let choices = [("http", "http"), ("https", "https")];
        if let Some(scheme) = d.choice(&e.value, "`scheme`", &choices, &[]) {
            let values = Some(vec![(Given::Text(scheme.to_owned()), e.value.span)]);
            all.extend(test(d, Expr::new(Fetch::Scheme), How::Exact, false, values));
        }
    }
}

/// `all`, `any` and `not`.
fn combined(
    d: &mut Decoder<'_>,
    table: &mut Table<'_>,
    key: &'static str,
    side: Side,
    all: &mut Vec<Condition>,
) {
    let entry = match key {
        "all" => table.take("all"),
        "any" => table.take("any"),
        _ => table.take("not"),
    };
    let Some(e) = entry else { return };
    if key == "not" {
        let found = condition(d, &e.value, e.key_span, side);
        all.extend(found.map(|found| Condition::Not(Box::new(found))));
        return;
    }
    let nodes = d.list(&e.value, &format!("`{key}`"));
    let parts: Vec<Condition> = nodes
        .iter()
        .filter_map(|node| condition(d, node, node.span, side))
        .collect();
    if nodes.is_empty() && matches!(e.value.kind, Kind::Sequence(_)) {
        d.error(
            e.value.span,
            format!("`{key}` is an empty list"),
            "write at least one condition",
        );
    }
    all.push(match key {
        "all" => Condition::All(parts),
        _ => Condition::Any(parts),
    });
}

/// `{ name: …, value | prefix | … | present }`, or a list of these of which one has to hold. `text` makes the expression
/// of what stands below `naming`.
fn compared(
    d: &mut Decoder<'_>,
    entry: &Entry,
    naming: &'static str,
    fold: bool,
    all: &mut Vec<Condition>,
    text: impl Fn(&str) -> String,
) {
    let nodes = d.one_or_more(&entry.value);
    let found: Vec<Condition> = nodes
        .iter()
        .filter_map(|node| compared_one(d, node, &entry.key, naming, fold, &text))
        .collect();
    match <[Condition; 1]>::try_from(found) {
        Ok([one]) => all.push(one),
        Err(several) => all.push(Condition::Any(several)),
    }
}

fn compared_one(
    d: &mut Decoder<'_>,
    node: &Rc<Node>,
    key: &str,
    naming: &'static str,
    fold: bool,
    text: &impl Fn(&str) -> String,
) -> Option<Condition> {
    let mut table = d.table(node, node.span, format!("`{key}`"))?;
    let named = match naming {
        "of" => table.take("of"),
        _ => table.take("name"),
    };
    let Some(named) = named else {
        d.missing(
            &table,
            naming,
            format!("write `{key}: {{ {naming}: …, value: … }}`"),
        );
        return None;
    };
    let name = d.line(&named.value, &format!("`{naming}`"))?;
    if naming == "name" && name.contains(['"', '\\']) {
        d.error(
            named.value.span,
            format!("`{name}` cannot be a name"),
            "write it without quotes",
        );
        return None;
    }
    let parsed = Expr::parse_keyword(&text(&name), &mut d.registry);
    d.note(named.value.span);
    let (expr, plain) = match parsed {
        Ok(parsed) => parsed,
        Err(problem) => {
            d.wrong(named.value.span, problem);
            return None;
        }
    };
    let mut tests: Vec<Condition> = Vec::new();
    for (word, how) in TEXT {
        let entry = match *word {
            "value" => table.take("value"),
            "prefix" => table.take("prefix"),
            "suffix" => table.take("suffix"),
            "contains" => table.take("contains"),
            "directory" => table.take("directory"),
            "domain" => table.take("domain"),
            _ => table.take("regex"),
        };
        let Some(e) = entry else { continue };
        let how = if *word == "value" { plain } else { *how };
        let values = values(d, e, any);
        tests.extend(test(d, expr.clone(), how, fold, values));
    }
    if let Some(e) = table.take("length") {
        let values = values(d, e, any);
        tests.extend(test(d, expr.clone(), How::Length, false, values));
    }
    if let Some(e) = table.take("network") {
        let values = values(d, e, any);
        tests.extend(test(d, expr.clone(), How::Address, false, values));
    }
    let present = table.take("present");
    if let Some(e) = present
        && let Some(on) = d.boolean(&e.value, "`present`")
    {
        let found = Condition::Test(Test {
            expr: expr.clone(),
            how: How::Found,
            matcher: Matcher::Found,
        });
        tests.push(match on {
            true => found,
            false => Condition::Not(Box::new(found)),
        });
    }
    let bare = table.entries().len() == 1;
    table.finish(d, &[], &[]);
    if bare {
        // Of a number or text that is there alone; of a boolean that it is true.
        let how = match expr.default_match() {
            How::True => How::True,
            _ => How::Found,
        };
        tests.extend(test(d, expr, how, false, Some(Vec::new())));
    }
    match tests.len() {
        0 => None,
        1 => tests.pop(),
        _ => Some(Condition::All(tests)),
    }
}

/// Statuses: `404`, `5xx`, `500-503`.
fn statuses(d: &mut Decoder<'_>, entry: &Entry) -> Option<Vec<Value>> {
    let found = values(d, entry, any)?;
    let ranges = found.into_iter().map(|(given, span)| {
        let class = match &given {
            Given::Text(text) => text
                .strip_suffix("xx")
                .and_then(|class| class.parse::<u8>().ok()),
            Given::File(_) => None,
        };
        match class {
            Some(class) => (Given::Text(format!("{class}00:{class}99")), span),
            None => (given, span),
        }
    });
    Some(ranges.collect())
}

fn any(_: &mut Decoder<'_>, text: String, _: &Node) -> Option<String> {
    Some(text)
}

fn path(d: &mut Decoder<'_>, text: String, node: &Node) -> Option<String> {
    if text.contains('?') {
        d.error(
            node.span,
            format!("no path has a `?` in it as `{text}` has: the query begins there"),
            "write `query: { name: …, value: … }` for what follows it",
        );
        return None;
    }
    if text.starts_with('/') {
        return Some(text);
    }
    d.error(
        node.span,
        format!("no path begins with `{text}`: they begin with `/`"),
        format!("write `/{text}`"),
    );
    None
}

impl Decoder<'_> {
    /// What is wrong with an expression, condition or template.
    pub(super) fn wrong(&mut self, span: Span, problem: Problem) {
        self.report(super::Diagnostic::error(span, problem.message).mend_maybe(problem.mend));
    }
}
