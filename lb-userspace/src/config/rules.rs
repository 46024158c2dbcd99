//! `rules:` of frontends and backends.

use std::{rc::Rc, sync::Arc, time::Duration};

use http::StatusCode;

use super::{
    actions, answers, conditions,
    decode::Decoder,
    draft::RuleDraft,
    fields, resolvers,
    source::Spanned,
    table::Table,
    tree::{Entry, Kind, Node},
};
use crate::rules::{
    Condition, Edit, End, Limiter, Named, Registry, Rule, Side, Template,
    action::{Gate, Location, ResponsePart, Target, WaitForBody},
};

/// Words of conditions, which belong below `if`.
const CONDITIONS: &[&str] = &[
    "path",
    "path_prefix",
    "path_suffix",
    "path_contains",
    "path_regex",
    "host",
    "method",
    "header",
    "query",
    "cookie",
    "source",
    "sni",
    "scheme",
    "dst_port",
    "expr",
    "all",
    "any",
    "not",
    "acl",
    "ignore_case",
    "status",
];

/// Reads `rules:`; `owner` is the proxy's name, that of its own table.
pub(super) fn decode(
    d: &mut Decoder<'_>,
    table: &mut Table<'_>,
    owner: &str,
    routes: bool,
) -> Vec<RuleDraft> {
    let nodes = table
        .take("rules")
        .map_or(&[][..], |e| d.list(&e.value, "`rules`"));
    let rules = nodes.iter().filter_map(|node| rule(d, node, owner, routes));
    rules.collect()
}

fn rule(d: &mut Decoder<'_>, node: &Rc<Node>, owner: &str, routes: bool) -> Option<RuleDraft> {
    let before = d.diagnostics.len();
    let mut table = d.table(node, node.span, "a rule")?;
    let condition = table.take("if").map(|e| {
        // One that is wrong holds never, not always.
        conditions::condition(d, &e.value, e.key_span, Side::Request)
            .unwrap_or_else(|| Condition::Any(Vec::new()))
    });
    if let Some(condition) = &condition
        && condition.needs_response()
    {
        let message = "`if` of a rule sees the request alone, there is no response yet";
        d.error(
            node.span,
            message,
            "write the condition below `response`: `response: { if: { … }, … }`; in haproxy.cfg, write the rule as `http-response`",
        );
    }
    let mut rule = Rule {
        condition,
        place: Some(d.place(node.span)),
        edits: actions::edits(d, &mut table, Side::Request, owner),
        ..Rule::default()
    };
    rule.wait = table
        .take("wait_for_body")
        .and_then(|e| wait_for_body(d, e));
    rule.lookup = resolvers::lookup(d, &mut table);
    if let Some(e) = table.take("use_server") {
        if routes {
            d.error(
                e.key_span,
                "`use_server` in a frontend's rules",
                "write it in those of the backend",
            );
        }
        let name = d.template(&e.value, "`use_server`");
        rule.edits.extend(name.map(Edit::UseServer));
    }
    let (headers, of_response) = fields::headers(d, &mut table);
    rule.edits.extend(headers);
    if let Some(e) = table.take("request")
        && let Some(mut part) = d.table(&e.value, e.key_span, "`request`")
    {
        rule.edits
            .extend(actions::edits(d, &mut part, Side::Request, owner));
        rule.edits.extend(fields::headers(d, &mut part).0);
        part.finish(
            d,
            &[],
            &[("if", "write it beside `request`: it is the rule's")],
        );
    }
    let (part, always) = response(d, &mut table, owner, of_response);
    if always {
        if rule.condition.is_some() {
            d.error(
                node.span,
                "`if` beside `response` with `always` has no effect: there may be no request",
                "write the condition below `response`: `response: { always: true, if: { … }, … }`",
            );
        }
        rule.after = part;
    } else {
        rule.response = part;
    }
    gates(d, &mut table, &mut rule);
    let mut use_backend = None;
    ends(d, &mut table, &mut rule, &mut use_backend, routes);
    let mut early = false;
    let mut look = |template: &Template| {
        early |= template.expressions().any(|expr| expr.needs_response());
    };
    rule.edits
        .iter()
        .for_each(|edit| edit.each_template(&mut look));
    if let Some(end) = &rule.end {
        end.each_template(&mut look);
    }
    if early {
        let message = "a rule asks for the response before there is one";
        d.error(
            node.span,
            message,
            "write what asks for it below `response`: `response: { set_header: { … } }`; in haproxy.cfg, write the rule as `http-response`",
        );
    }
    let does_nothing = rule.edits.is_empty()
        && rule.wait.is_none()
        && rule.lookup.is_none()
        && rule.gates.is_empty()
        && rule.end.is_none()
        && rule.response.is_none()
        && rule.after.is_none();
    if does_nothing && only_if(&table) {
        let mend = match routes {
            true => "write `{ if: …, use_backend: NAME }`",
            false => "write what is to be done: `{ if: …, set_header: { NAME: VALUE } }`",
        };
        let what = if routes { "use_backend" } else { "set_header" };
        d.missing(&table, what, mend);
    }
    let hint = "conditions go below `if`: `{ if: { … }, use_backend: NAME }`";
    let mut hints: Vec<(&str, &str)> = CONDITIONS.iter().map(|key| (*key, hint)).collect();
    hints.extend([
        ("when", "it is `if`"),
        ("match", "it is `if`"),
        ("unless", "write `if: { not: { … } }`"),
        ("backend", "it is `use_backend`"),
        (
            "http_request",
            "write the action itself: `set_header: { … }`, `deny: 403`",
        ),
        (
            "http-request",
            "write the action itself: `set_header: { … }`, `deny: 403`",
        ),
    ]);
    table.finish(d, &[], &hints);
    let broken = d.diagnostics[before..]
        .iter()
        .any(super::Diagnostic::is_error);
    if broken {
        // Nobody is told what a rule keeps others from that is not what was meant.
        rule.end = None;
    }
    (!broken || use_backend.is_some()).then_some(RuleDraft {
        span: node.span,
        rule,
        use_backend,
    })
}

/// `true`, or `{ time: 1s, at_least: 100 }`
fn wait_for_body(d: &mut Decoder<'_>, entry: &Entry) -> Option<WaitForBody> {
    if let Kind::Scalar(_) = entry.value.kind {
        let on = d.boolean(&entry.value, "`wait_for_body`")?;
        let all = WaitForBody {
            time: None,
            at_least: 0,
        };
        return on.then_some(all);
    }
    let mut table = d.table(&entry.value, entry.key_span, "`wait_for_body`")?;
    let time = table.take("time");
    let time = time.and_then(|e| d.duration(&e.value, "`time`", Duration::from_millis(1)));
    let at_least = table
        .take("at_least")
        .and_then(|e| d.number(&e.value, "`at_least`", 1..=15 * 1024));
    table.finish(d, &[], &[("at-least", "it is `at_least`")]);
    Some(WaitForBody {
        time,
        at_least: at_least.unwrap_or(0),
    })
}

/// Whether nothing but a condition is there, so that what is missing is not merely misspelt.
pub(super) fn only_if(table: &Table<'_>) -> bool {
    table.entries().iter().all(|e| e.key == "if")
}

/// `response`, and what `set_header: { response: … }` says.
fn response(
    d: &mut Decoder<'_>,
    table: &mut Table<'_>,
    owner: &str,
    mut edits: Vec<Edit>,
) -> (Option<ResponsePart>, bool) {
    let mut part = ResponsePart::default();
    let mut always = false;
    if let Some(e) = table.take("response")
        && let Some(mut inner) = d.table(&e.value, e.key_span, "`response`")
    {
        part.condition = inner
            .take("if")
            .and_then(|e| conditions::condition(d, &e.value, e.key_span, Side::Response));
        let wait = inner.take("wait_for_body");
        part.wait = wait.and_then(|e| wait_for_body(d, e));
        edits.extend(actions::edits(d, &mut inner, Side::Response, owner));
        edits.extend(fields::headers(d, &mut inner).0);
        always = inner
            .take("always")
            .and_then(|e| d.boolean(&e.value, "`always`"))
            == Some(true);
        part.end = response_end(d, &mut inner, always);
        if let Some(e) = wait.filter(|_| always) {
            let message = "what is done `always` waits for no body";
            d.error(e.key_span, message, "remove `always`, or `wait_for_body`");
        }
        if inner.entries().is_empty() {
            d.error(
                e.key_span,
                "`response` with nothing to do",
                "write what is to be done, or remove it",
            );
        }
        inner.finish(
            d,
            &[],
            &[(
                "use_backend",
                "a response has come from its backend already",
            )],
        );
    }
    part.edits = edits;
    let part = part.finish();
    let empty = part.edits.is_empty() && part.end.is_none() && part.wait.is_none();
    ((!empty).then_some(part), always)
}

/// What ends the rules of a response; at most one of them.
fn response_end(d: &mut Decoder<'_>, table: &mut Table<'_>, always: bool) -> Option<End> {
    let mut found = Vec::new();
    if let Some(e) = table.take("deny") {
        let refusal = answers::refusal(d, e, StatusCode::BAD_GATEWAY);
        let deny = |(status, answer)| End::Deny {
            status,
            tarpit: false,
            answer,
        };
        found.extend(refusal.map(|refusal| (e.key_span, deny(refusal))));
    }
    if let Some(e) = table.take("redirect") {
        let end = answers::redirect(d, e);
        if let Some(End::Redirect(redirect)) = &end
            && !matches!(redirect.to, Location::Whole(_))
        {
            let message = "a response is redirected to a `location` alone";
            d.error(e.key_span, message, "write `redirect: { location: … }`");
        }
        found.extend(end.map(|end| (e.key_span, end)));
    }
    if let Some(e) = table.take("return") {
        found.extend(answers::returned(d, e).map(|end| (e.key_span, end)));
    }
    dropped(d, table, &mut found);
    for (span, _) in found.iter().filter(|_| always) {
        d.error(
            *span,
            "what is done `always` changes the answer and gives no other one",
            "remove `always`",
        );
    }
    if let Some(e) = table.take("allow")
        && let Some(on) = d.boolean(&e.value, "`allow`")
    {
        found.extend(on.then_some((e.key_span, End::Allow)));
    }
    one(d, found)
}

/// `reject` and `silent_drop`.
fn dropped(d: &mut Decoder<'_>, table: &mut Table<'_>, found: &mut Vec<(super::Span, End)>) {
    for (entry, silent) in [
        (table.take("reject"), false),
        (table.take("silent_drop"), true),
    ] {
        let Some(e) = entry else { continue };
        let on = d.boolean(&e.value, &format!("`{}`", e.key)) == Some(true);
        found.extend(on.then_some((e.key_span, End::Drop { silent })));
    }
}

/// The first of several ends, of which there may be but one.
pub(super) fn one(d: &mut Decoder<'_>, mut found: Vec<(super::Span, End)>) -> Option<End> {
    found.sort_by_key(|(span, _)| *span);
    if let [_, (second, _), ..] = found.as_slice() {
        d.error(
            *second,
            "a rule can only end the list in one way",
            "write another rule for this",
        );
    }
    found.into_iter().next().map(|(_, end)| end)
}

/// `auth` and `rate_limit`.
fn gates(d: &mut Decoder<'_>, table: &mut Table<'_>, rule: &mut Rule) {
    if let Some(e) = table.take("auth")
        && let Some(mut inner) = d.table(&e.value, e.key_span, "`auth`")
    {
        let realm = inner
            .take("realm")
            .and_then(|e| d.line(&e.value, "`realm`"));
        let users = match inner.take("users") {
            Some(e) => match &e.value.kind {
                Kind::Scalar(_) => users_by_name(d, &e.value),
                _ => super::users::users(d, e).map(Arc::new),
            },
            None => {
                d.missing(
                    &inner,
                    "users",
                    "write `users: { NAME: PASSWORD }`, or the name of a list below `userlists`",
                );
                None
            }
        };
        inner.finish(
            d,
            &[],
            &[
                ("user", "it is `users`"),
                ("password", "write `users: { NAME: PASSWORD }`"),
            ],
        );
        rule.gates
            .extend(users.map(|users| Gate::Auth { realm, users }));
    }
    if let Some(e) = table.take("rate_limit")
        && let Some(mut inner) = d.table(&e.value, e.key_span, "`rate_limit`")
    {
        let key = match inner.take("key") {
            None => Template::parse("%[src]", &mut d.registry).ok(),
            Some(e) => d.line(&e.value, "`key`").and_then(|text| {
                let text = match text.split_once(':') {
                    _ if text == "source" => "%[src]".to_owned(),
                    Some(("header", name)) => format!("%[req.fhdr(\"{}\")]", name.trim()),
                    Some(("cookie", name)) => format!("%[req.cook(\"{}\")]", name.trim()),
                    _ if text.contains("%[") => text,
                    _ => {
                        let message = format!("`{text}` is no key to count requests by");
                        d.error(
                            e.value.span,
                            message,
                            "write `source`, `header:NAME`, `cookie:NAME` or `%[…]`",
                        );
                        return None;
                    }
                };
                d.template_of(e.value.span, &text)
            }),
        };
        let rate = match inner.take("rate") {
            Some(e) => d
                .parsed(&e.value, "`rate`", actions::rate)
                .map(|rate| rate.value),
            None => {
                d.missing(&inner, "rate", "write `rate: \"100/1s\"`");
                None
            }
        };
        let burst = inner
            .take("burst")
            .and_then(|e| d.number(&e.value, "`burst`", 1..=1_000_000_u32));
        let status = match inner.take("status") {
            Some(e) => answers::status(d, &e.value, "`status`", 400..=599),
            None => Some(StatusCode::TOO_MANY_REQUESTS),
        };
        inner.finish(d, &[], &[]);
        if let (Some(key), Some((requests, period)), Some(status)) = (key, rate, status) {
            rule.gates.push(Gate::RateLimit {
                key,
                limiter: Arc::new(Limiter::new(requests, period, burst.unwrap_or(requests))),
                status,
            });
        }
    }
}

fn users_by_name(d: &mut Decoder<'_>, node: &Node) -> Option<Arc<crate::rules::Users>> {
    let name = d.text(node, "`users`")?;
    let found = d.registry.users(&name);
    if found.is_none() {
        let message = format!("there is no list of users `{name}`");
        d.error(
            node.span,
            message,
            format!("add it: `userlists: {{ {name}: {{ USER: PASSWORD }} }}`"),
        );
    }
    found
}

/// What ends the list; at most one of them.
fn ends(
    d: &mut Decoder<'_>,
    table: &mut Table<'_>,
    rule: &mut Rule,
    use_backend: &mut Option<Spanned<String>>,
    routes: bool,
) {
    let mut found = Vec::new();
    if let Some(e) = table.take("use_backend") {
        if !routes {
            d.error(
                e.key_span,
                "`use_backend` in a backend's rules",
                "write it in those of the frontend",
            );
        } else if let Some(text) = d.text(&e.value, "`use_backend`") {
            let target = match text.contains("%[") {
                true => d.template_of(e.value.span, &text).map(Target::Computed),
                false => {
                    *use_backend = Some(Spanned::new(text.clone(), e.value.span));
                    Some(Target::Named(Named::new(text)))
                }
            };
            found.extend(target.map(|target| (e.key_span, End::Backend(target))));
        }
    }
    if let Some(e) = table.take("redirect") {
        found.extend(answers::redirect(d, e).map(|end| (e.key_span, end)));
    }
    if let Some(e) = table.take("deny") {
        let refusal = answers::refusal(d, e, StatusCode::FORBIDDEN);
        found.extend(refusal.map(|(status, answer)| {
            (
                e.key_span,
                End::Deny {
                    status,
                    tarpit: false,
                    answer,
                },
            )
        }));
    }
    if let Some(e) = table.take("tarpit") {
        let refusal = answers::refusal(d, e, StatusCode::INTERNAL_SERVER_ERROR);
        found.extend(refusal.map(|(status, answer)| {
            (
                e.key_span,
                End::Deny {
                    status,
                    tarpit: true,
                    answer,
                },
            )
        }));
    }
    if let Some(e) = table.take("allow")
        && let Some(on) = d.boolean(&e.value, "`allow`")
    {
        found.extend(on.then_some((e.key_span, End::Allow)));
    }
    if let Some(e) = table.take("return") {
        found.extend(answers::returned(d, e).map(|end| (e.key_span, end)));
    }
    if let Some(e) = table.take("metrics") {
        match d.boolean(&e.value, "`metrics`") {
            Some(true) => found.push((e.key_span, End::Metrics)),
            Some(false) => {
                d.error(e.key_span, "`metrics: false` does nothing", "remove it");
            }
            None => {}
        }
    }
    dropped(d, table, &mut found);
    rule.end = one(d, found);
}

/// `userlists:`
pub(super) fn userlists(d: &mut Decoder<'_>, table: &mut Table<'_>) {
    let Some(e) = table.take("userlists") else {
        return;
    };
    let Some(lists) = d.table(&e.value, e.key_span, "`userlists`") else {
        return;
    };
    for list in lists.entries() {
        d.name(&list.key, list.key_span, "list of users");
        if let Some(users) = super::users::users(d, list) {
            d.registry.add_users(&list.key, users);
        }
    }
}

impl Decoder<'_> {
    /// A text with expressions in it.
    pub(super) fn template(&mut self, node: &Node, what: &str) -> Option<Template> {
        let text = self.word(node, what)?;
        self.template_of(node.span, &text)
    }

    /// The same of a text that has been read.
    pub(super) fn template_of(&mut self, span: super::Span, text: &str) -> Option<Template> {
        let registry: &mut Registry<'_> = &mut self.registry;
        let parsed = Template::parse(text, registry);
        self.note(span);
        match parsed {
            Ok(template) => Some(template),
            Err(problem) => {
                self.wrong(span, problem);
                None
            }
        }
    }
}
