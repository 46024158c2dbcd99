//! What a check says in words of its own: texts with expressions, variables, and the terms of what is expected.

use super::{
    decode::Decoder,
    model::{CheckText, Setting, Terms},
    source::Span,
    table::Table,
    tree::{Entry, Node},
};
use crate::rules::{Only, Template};

/// The results that an answer that passes may be called.
const PASSED: &[(&str, &str)] = &[
    ("L4OK", "L4OK"),
    ("L6OK", "L6OK"),
    ("L7OK", "L7OK"),
    ("L7OKC", "L7OKC"),
];
/// The same of one that does not.
const FAILED: &[(&str, &str)] = &[
    ("L7OKC", "L7OKC"),
    ("L7RSP", "L7RSP"),
    ("L7STS", "L7STS"),
    ("L6RSP", "L6RSP"),
    ("L4CON", "L4CON"),
];
/// The same of one that does not come.
const LATE: &[(&str, &str)] = &[
    ("L7TOUT", "L7TOUT"),
    ("L6TOUT", "L6TOUT"),
    ("L4TOUT", "L4TOUT"),
];

/// A text with expressions that has been read.
pub(super) fn said(d: &mut Decoder<'_>, span: Span, text: &str) -> Option<CheckText> {
    let template = d.template_of(span, text)?;
    knows(d, span, &template);
    Some(CheckText::new(text.to_owned(), template))
}

/// The same of what is written at `node`.
pub(super) fn text(d: &mut Decoder<'_>, node: &Node, what: &str) -> Option<CheckText> {
    let text = d.text(node, what)?;
    said(d, node.span, &text)
}

/// Says of an expression that there is nothing that it could ask.
fn knows(d: &mut Decoder<'_>, span: Span, template: &Template) {
    if template
        .expressions()
        .any(crate::rules::Expr::is_unknown_to_checks)
    {
        let message = "a check has no client and no request that this could look at";
        d.error(
            span,
            message,
            "ask for `var(check.NAME)`, `srv_name`, `nbsrv(BACKEND)` and the like",
        );
    }
}

/// `set_var` and `unset_var`: what a check sets and forgets, in that order.
pub(super) fn variables(
    d: &mut Decoder<'_>,
    set: Option<&Entry>,
    unset: Option<&Entry>,
) -> Vec<Setting> {
    let mut found = Vec::new();
    if let Some(e) = set
        && let Some(vars) = d.table(&e.value, e.key_span, "`set_var`")
    {
        for var in vars.entries() {
            let value = text(d, &var.value, "the variable");
            let (name, conditions) = var.key.split_once(',').unwrap_or((&var.key, ""));
            let only = Only::parse(conditions).map_err(|problem| d.wrong(var.key_span, problem));
            let to = only.ok().zip(value);
            found.extend(to.and_then(|to| setting(d, name, var.key_span, Some(to))));
        }
    }
    if let Some(e) = unset {
        for node in d.one_or_more(&e.value) {
            let name = d.text(node, "`unset_var`");
            found.extend(name.and_then(|name| setting(d, &name, node.span, None)));
        }
    }
    found
}

fn setting(
    d: &mut Decoder<'_>,
    name: &str,
    span: Span,
    to: Option<(Only, CheckText)>,
) -> Option<Setting> {
    match d.registry.var(name) {
        Ok(var) => Some(Setting::new(name.to_owned(), var, to)),
        Err(problem) => {
            d.wrong(span, problem);
            None
        }
    }
}

/// What is said of an answer beside what it has to contain.
pub(super) fn terms(d: &mut Decoder<'_>, table: &mut Table<'_>) -> Box<Terms> {
    let mut name = |key: &'static str, names: &[(&str, &'static str)]| {
        let e = table.take(key)?;
        d.choice(&e.value, &format!("`{key}`"), names, &[])
    };
    let passed = name("ok_status", PASSED);
    let failed = name("error_status", FAILED);
    let late = name("timeout_status", LATE);
    let least = table
        .take("min_recv")
        .and_then(|e| d.number(&e.value, "`min_recv`", 0..=16_384_u32));
    let mut said = |key: &'static str| {
        let e = table.take(key)?;
        text(d, &e.value, &format!("`{key}`"))
    };
    Box::new(Terms {
        least: least.unwrap_or(0) as usize,
        passed,
        failed,
        late,
        on_success: said("on_success"),
        on_error: said("on_error"),
        code: said("status_code"),
    })
}
