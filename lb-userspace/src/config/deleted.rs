//! `del_header`: names of fields that go.

use std::rc::Rc;

use super::{
    actions::header_name,
    decode::Decoder,
    source::Span,
    tree::{Kind, Node},
};
use crate::rules::{
    Edit, Regex,
    action::{HeaderOp, Names},
};

/// A name, a kind of names, or a list of either.
pub(super) fn edits(d: &mut Decoder<'_>, node: &Rc<Node>) -> Vec<(Span, Edit)> {
    let mut found = Vec::new();
    for node in d.one_or_more(node) {
        if let Kind::Mapping(_) = node.kind {
            found.extend(matched(d, node).map(|edit| (node.span, edit)));
            continue;
        }
        let Some(name) = d.text(node, "`del_header`") else {
            continue;
        };
        let text = name.trim_matches('*').to_ascii_lowercase();
        let names = match (name.starts_with('*'), name.ends_with('*')) {
            _ if text.is_empty() => None,
            (true, true) => Some(Names::Part(text)),
            (true, false) => Some(Names::Suffix(text)),
            (false, true) => Some(Names::Prefix(text)),
            (false, false) => None,
        };
        match names {
            Some(names) => found.push((node.span, Edit::DeleteHeaders(names))),
            None => found.extend(
                header_name(d, &name, node.span)
                    .map(|name| (node.span, Edit::Header(name, HeaderOp::Delete))),
            ),
        }
    }
    found
}

/// `{ regex: … }` of `del_header`.
fn matched(d: &mut Decoder<'_>, node: &Rc<Node>) -> Option<Edit> {
    let mut table = d.table(node, node.span, "`del_header`")?;
    let Some(e) = table.take("regex") else {
        d.missing(&table, "regex", "write `{ regex: '^x-' }`, or a name");
        return None;
    };
    let text = d.text(&e.value, "`regex`")?;
    table.finish(d, &[], &[]);
    match Regex::new(&text, false) {
        Ok(regex) => Some(Edit::DeleteHeaders(Names::Regex(regex))),
        Err(problem) => {
            d.wrong(e.value.span, problem);
            None
        }
    }
}
