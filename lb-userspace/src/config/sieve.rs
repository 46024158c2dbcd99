//! Rules that let connections in or keep them out: `connection_rules`, and the `rules` of `inspect`.

use std::rc::Rc;

use super::{
    actions, conditions,
    decode::Decoder,
    rules::{one, only_if},
    source::Spanned,
    table::Table,
    tree::Node,
};
use crate::rules::{Condition, End, Expr, Rule, Side};

/// Reads `connection_rules:`.
pub(super) fn connections(
    d: &mut Decoder<'_>,
    table: &mut Table<'_>,
    owner: &str,
) -> Option<Spanned<Vec<Rule>>> {
    let e = table.take("connection_rules")?;
    let nodes = d.list(&e.value, "`connection_rules`");
    let rules = nodes
        .iter()
        .filter_map(|node| sieve(d, node, owner, Stage::Connection))
        .collect();
    Some(Spanned::new(rules, e.key_span))
}

/// What a rule that lets in or keeps out has to go by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// A connection.
    Connection,
    /// And what it has brought so far.
    Bytes(Side),
}

/// One of `connection_rules`, or of the `rules` of `inspect`.
pub(super) fn sieve(
    d: &mut Decoder<'_>,
    node: &Rc<Node>,
    owner: &str,
    stage: Stage,
) -> Option<Rule> {
    let mut table = d.table(node, node.span, "a rule")?;
    let condition = table.take("if").map(|e| {
        conditions::condition(d, &e.value, e.key_span, Side::Request)
            .unwrap_or_else(|| Condition::Any(Vec::new()))
    });
    let mut rule = Rule {
        condition,
        place: Some(d.place(node.span)),
        edits: match stage {
            Stage::Connection => actions::remembering(d, &mut table, owner),
            Stage::Bytes(side) => actions::of_bytes(d, &mut table, side, owner),
        },
        ..Rule::default()
    };
    let mut found = Vec::new();
    for (entry, end) in [
        (table.take("accept"), End::Allow),
        (table.take("reject"), End::Drop { silent: false }),
        (table.take("silent_drop"), End::Drop { silent: true }),
        (table.take("close"), End::Close),
    ] {
        let Some(e) = entry else { continue };
        if e.key == "close" && stage != Stage::Bytes(Side::Response) {
            let message = "`close` is for what servers say";
            d.error(
                e.key_span,
                message,
                "write `reject: true`, or it below `inspect_response`",
            );
        }
        match d.boolean(&e.value, &format!("`{}`", e.key)) {
            Some(true) => found.push((e.key_span, end)),
            Some(false) => {
                let message = format!("`{}: false` does nothing", e.key);
                d.error(e.key_span, message, "remove it, or write `true`");
            }
            None => {}
        }
    }
    if rule.edits.is_empty() && found.is_empty() && only_if(&table) {
        d.missing(
            &table,
            "reject",
            "write what is to be done: `accept: true`, `reject: true`, `track: …`",
        );
    }
    rule.end = one(d, found);
    table.finish(
        d,
        &[],
        &[
            (
                "deny",
                "there is no request to answer: write `reject: true`",
            ),
            ("allow", "it is `accept`"),
            ("use_backend", "it belongs to `rules`"),
        ],
    );
    let (mut asks, mut bytes, mut answer) = (false, false, false);
    let mut look = |expr: &Expr| {
        asks |= expr.needs_request() || expr.needs_response();
        bytes |= expr.payload().is_some();
        answer |= expr.payload() == Some(true);
    };
    if let Some(condition) = &rule.condition {
        condition.each_expr(&mut look);
    }
    for edit in &rule.edits {
        edit.each_template(&mut |template| template.expressions().for_each(&mut look));
    }
    match stage {
        Stage::Connection if asks => d.error(
            node.span,
            "a rule of connections asks for a request, and there is none yet",
            "write it below `rules`",
        ),
        Stage::Connection if bytes => d.error(
            node.span,
            "a rule of connections asks for bytes, and none have been read",
            "write it below `inspect`, in mode tcp",
        ),
        Stage::Bytes(_) if asks => d.error(
            node.span,
            "a rule of bytes asks for a request, and in mode tcp there is none",
            "ask for `req.payload(0,4)` and the like, or write `mode: http`",
        ),
        Stage::Bytes(Side::Request) if answer => d.error(
            node.span,
            "a rule of what clients say asks for what the server says",
            "write it below `inspect_response` of the backend",
        ),
        _ => {}
    }
    Some(rule)
}
