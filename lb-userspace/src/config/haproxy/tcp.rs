//! `tcp-request` lines as rules of connections, or of requests.

use super::{
    acl::{self, Acls},
    lines::Line,
    proxy::Proxy,
    rules::{Action, Side, action_map, rule},
    says::Says,
    value::{Map, Value, What},
};
use crate::config::source::Span;

/// Rules of what comes, and how long they wait for it.
#[derive(Debug, Default, Clone)]
pub(super) struct Bytes {
    pub(super) request: Vec<Value>,
    pub(super) response: Vec<Value>,
    delays: [Option<Value>; 2],
}

impl Bytes {
    /// `inspect-delay TIME`
    pub(super) fn delay(&mut self, line: &Line, response: bool, says: &mut Says) {
        if let Some(time) = says.need(line, 2, "a time") {
            let span = line.span_of(2);
            self.delays[usize::from(response)] = says.duration(time, span);
        }
    }

    /// `inspect` or `inspect_response`; a delay alone is none.
    pub(super) fn value(&self, response: bool, span: Span) -> Option<Value> {
        let rules = match response {
            true => &self.response,
            false => &self.request,
        };
        let first = rules.first()?;
        let mut map = Map::default();
        if let Some(delay) = &self.delays[usize::from(response)] {
            map.set("delay", delay.clone());
        }
        map.set("rules", Value::list(rules.clone(), first.span));
        Some(Value::map(map, span))
    }
}

impl Proxy {
    /// `tcp-request LAYER …`
    pub(super) fn tcp_request(&mut self, line: &Line, says: &mut Says) {
        match line.text(1) {
            "connection" if self.fits(line, true, says) && line.text(2) == "expect-proxy" => {
                self.expect_proxy(line, says);
            }
            "connection" if self.fits(line, true, says) => {
                self.connections.extend(connection(line, &self.acls, says));
            }
            "session" if self.fits(line, true, says) => {
                self.sessions.extend(connection(line, &self.acls, says));
            }
            "connection" | "session" => {}
            "content" if !self.is_tcp => {
                let accepted = &mut self.accepted;
                self.contents
                    .extend(content(line, &self.acls, accepted, says));
            }
            "content" => {
                let rule = bytes(line, Side::Request, &self.acls, says);
                self.bytes.request.extend(rule);
            }
            "inspect-delay" => self.bytes.delay(line, false, says),
            other => says.unsupported(line.span_of(1), &format!("tcp-request {other}")),
        }
    }

    /// `tcp-response …`
    pub(super) fn tcp_response(&mut self, line: &Line, says: &mut Says) {
        match line.text(1) {
            "content" if self.is_tcp => {
                let rule = bytes(line, Side::Response, &self.acls, says);
                self.bytes.response.extend(rule);
            }
            "content" => {
                let answered = &mut self.answered;
                self.answers
                    .extend(answers(line, &self.acls, answered, says));
            }
            "inspect-delay" => self.bytes.delay(line, true, says),
            other => says.unsupported(line.span_of(1), &format!("tcp-response {other}")),
        }
    }
}

impl Proxy {
    /// Without time for it to come, HAProxy asks these rules before there is any answer.
    pub(super) fn tell_hasty(&self, says: &mut Says) {
        if let (Some(first), None) = (self.answers.first(), &self.bytes.delays[1]) {
            says.warn(
                first.span,
                "without `tcp-response inspect-delay` HAProxy asks `tcp-response content` rules before there is an answer; lb \
                 asks them once its head is there",
            );
        }
    }
}

/// `tcp-request connection|session ACTION [if COND]` as a rule of connections.
pub(super) fn connection(line: &Line, acls: &Acls, says: &mut Says) -> Option<Value> {
    let (action, at) = tcp_action(line);
    let mut map = Map::default();
    match action.text(0) {
        name @ ("accept" | "reject" | "silent-drop") => {
            map.set(&name.replace('-', "_"), Value::plain("true", action.span));
        }
        "set-src" | "set-src-port" | "set-dst" | "set-dst-port" | "set-mark" | "set-tos" => {
            map = action_map(&action, Side::Request, says)?;
        }
        _ => map = remembered(&action, says)?,
    }
    rule(line, at, map, Side::Request, acls, says)
}

/// `tcp-request content ACTION [if COND]` of mode tcp, or `tcp-response content …`, as a rule of what has come so far.
pub(super) fn bytes(line: &Line, side: Side, acls: &Acls, says: &mut Says) -> Option<Value> {
    let (action, at) = tcp_action(line);
    if is_nice(&action, says) {
        return None;
    }
    let mut map = Map::default();
    match action.text(0) {
        name @ ("accept" | "reject" | "silent-drop") => {
            map.set(&name.replace('-', "_"), Value::plain("true", action.span));
        }
        "set-src" | "set-src-port" | "set-dst" | "set-dst-port" if side == Side::Request => {
            map = action_map(&action, side, says)?;
        }
        "capture" | "set-log-level" | "set-mark" | "set-tos" => {
            map = action_map(&action, side, says)?;
        }
        "close" if side == Side::Response => {
            map.set("close", Value::plain("true", action.span));
        }
        "set-priority-class" | "set-priority-offset" if side == Side::Request => {
            map = action_map(&action, side, says)?;
        }
        _ => map = remembered(&action, says)?,
    }
    rule(line, at, map, Side::Request, acls, says)
}

/// `tcp-request content ACTION [if COND]` of mode http as a rule of requests; `accepted` are the conditions by which
/// earlier ones have ended the list of these.
pub(super) fn content(
    line: &Line,
    acls: &Acls,
    accepted: &mut Vec<Value>,
    says: &mut Says,
) -> Option<Value> {
    let (action, condition) = conditional(line, acls, says)?;
    let span = line.span();
    if action.text(0) == "accept" {
        accept(accepted, condition, span);
        return None;
    }
    let mut map = unless_accepted(condition, accepted, span);
    match action.text(0) {
        name @ ("reject" | "silent-drop") => {
            map.set(&name.replace('-', "_"), Value::plain("true", span));
        }
        name if name.starts_with("do-resolve(") => {
            map.0.extend(action_map(&action, Side::Request, says)?.0);
        }
        // What it says of the level is forgotten once the request is looked at.
        name @ ("switch-mode" | "set-log-level") => {
            let message = format!("`{name}` has no effect here in mode http, as in HAProxy");
            says.warn(action.span, message);
            return None;
        }
        "capture"
        | "set-src"
        | "set-src-port"
        | "set-dst"
        | "set-dst-port"
        | "set-mark"
        | "set-tos"
        | "set-priority-class"
        | "set-priority-offset" => {
            map.0.extend(action_map(&action, Side::Request, says)?.0);
        }
        _ => map.0.extend(remembered(&action, says)?.0),
    }
    Some(Value::map(map, span))
}

/// `tcp-response content ACTION [if COND]` of mode http as a rule of responses; `accepted` as above. HAProxy asks these
/// before `http-response` rules, so that what ends them ends no others.
pub(super) fn answers(
    line: &Line,
    acls: &Acls,
    accepted: &mut Vec<Value>,
    says: &mut Says,
) -> Option<Value> {
    let (action, condition) = conditional(line, acls, says)?;
    let span = line.span();
    let mut map = unless_accepted(condition.clone(), accepted, span);
    match action.text(0) {
        "accept" => {
            accept(accepted, condition, span);
            return None;
        }
        "close" => {
            accept(accepted, condition, span);
            map.set("close", Value::plain("true", span));
        }
        name @ ("reject" | "silent-drop") => {
            map.set(&name.replace('-', "_"), Value::plain("true", span));
        }
        "set-log-level" | "set-mark" | "set-tos" => {
            map.0.extend(action_map(&action, Side::Response, says)?.0);
        }
        name if name.starts_with("track-sc") => {
            says.unsupported(action.span(0), &format!("tcp-response content {name}"));
            return None;
        }
        _ => map.0.extend(remembered(&action, says)?.0),
    }
    let mut outer = Map::default();
    outer.set("response", Value::map(map, span));
    Some(Value::map(outer, span))
}

/// The same rules where those of a further list follow: what accepts ends these alone, so that the ones behind it have a
/// condition more instead.
pub(super) fn without_accept(rules: &[Value]) -> Vec<Value> {
    let mut accepted: Vec<Value> = Vec::new();
    let mut kept = Vec::new();
    for rule in rules {
        let What::Map(map) = &rule.what else { continue };
        let condition = map.get("if").cloned();
        if map.get("accept").is_some() {
            accept(&mut accepted, condition, rule.span);
            continue;
        }
        let mut narrower = unless_accepted(condition, &accepted, rule.span);
        let actions = map.0.iter().filter(|key| key.name != "if").cloned();
        narrower.0.extend(actions);
        kept.push(Value::map(narrower, rule.span));
    }
    kept
}

/// What a rule that accepts leaves to those behind it.
fn accept(accepted: &mut Vec<Value>, condition: Option<Value>, span: Span) {
    accepted.push(condition.unwrap_or_else(|| acl::always(span)));
}

/// The beginning of a rule that has this condition, and comes after rules that have accepted.
fn unless_accepted(condition: Option<Value>, accepted: &[Value], span: Span) -> Map {
    let mut map = Map::default();
    let not_yet = accepted.iter().cloned().map(acl::not);
    let all: Vec<Value> = condition.into_iter().chain(not_yet).collect();
    if !all.is_empty() {
        map.set("if", acl::all(all, span));
    }
    map
}

/// The action of `tcp-request LAYER ACTION …` and its condition; nothing where the line is none for lb, which is told.
fn conditional<'a>(
    line: &'a Line,
    acls: &Acls,
    says: &mut Says,
) -> Option<(Action<'a>, Option<Value>)> {
    let (action, at) = tcp_action(line);
    if is_nice(&action, says) {
        return None;
    }
    let condition = match at {
        Some(at) => Some(acls.condition(line, at, says)?),
        None => None,
    };
    Some((action, condition))
}

/// The action of `tcp-request LAYER ACTION …`, and where its condition begins.
fn tcp_action(line: &Line) -> (Action<'_>, Option<usize>) {
    let at = acl::condition_at(line);
    let words = line.words.get(2..at.unwrap_or(line.words.len()));
    let action = Action {
        words: words.unwrap_or_default(),
        span: line.span(),
    };
    (action, at)
}

/// Whether it says how soon others get their turn, which is told to be left out.
fn is_nice(action: &Action<'_>, says: &mut Says) -> bool {
    let is = action.text(0) == "set-nice";
    if is {
        // It makes nothing.
        let _ = action_map(action, Side::Request, says);
    }
    is
}

/// What rules of connections may do besides letting them in.
fn remembered(action: &Action<'_>, says: &mut Says) -> Option<Map> {
    let name = action.text(0).split('(').next().unwrap_or_default();
    let known = [
        "set-var",
        "set-var-fmt",
        "unset-var",
        "sc-inc-gpc",
        "sc-add-gpc",
        "sc-set-gpt",
        "sc-inc-gpc0",
        "sc-inc-gpc1",
        "sc-set-gpt0",
    ];
    if known.contains(&name) || name.starts_with("track-sc") {
        return action_map(action, Side::Request, says);
    }
    says.unsupported(action.span(0), &format!("tcp-request … {name}"));
    None
}
