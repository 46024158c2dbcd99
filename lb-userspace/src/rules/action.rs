//! What rules do.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderName, StatusCode, header::HOST};
use hyper::ext::ReasonPhrase;

use super::{
    auth::Users,
    condition::Condition,
    fetch::Side,
    limit::Limiter,
    live::{Change, Live},
    named::Named,
    normalize::Normalizer,
    patience::{Awaited, Patience},
    place::Place,
    priority::PriorityPart,
    process::{Only, Var},
    regex::Regex,
    table::{Data, Handle},
    template::Template,
};

/// `set_log_level`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogLevel {
    /// No line.
    Silent,
    /// A line of this level, 0–7.
    Is(u8),
}

/// A rule: if its condition holds, its edits are made, and one of its ends may end the list.
#[derive(Debug, Clone, Default)]
pub struct Rule {
    /// Without one it always holds.
    pub condition: Option<Condition>,
    /// What has to have come of the body first.
    pub wait: Option<WaitForBody>,
    /// A name whose address is to be known first.
    pub lookup: Option<Box<Lookup>>,
    /// Changes to the request, and other things that go on.
    pub edits: Vec<Edit>,
    /// What may refuse.
    pub gates: Vec<Gate>,
    /// What ends the list.
    pub end: Option<End>,
    /// What is done with the response, later.
    pub response: Option<ResponsePart>,
    /// What is done with whatever answer the client gets, in the end.
    pub after: Option<ResponsePart>,
    /// Where it is written.
    pub place: Option<Place>,
}

impl Rule {
    /// Whether it does nothing with the request.
    pub(super) fn is_for_response_alone(&self) -> bool {
        self.response.is_some()
            && self.edits.is_empty()
            && self.gates.is_empty()
            && self.wait.is_none()
            && self.lookup.is_none()
            && self.end.is_none()
    }

    /// Whether it is a `use_backend` that a connection of mode tcp can follow, and nothing else.
    pub fn routes_connections(&self) -> bool {
        let mut known = true;
        let mut look = |expr: &super::Expr| known &= expr.is_of_stream();
        if let Some(condition) = &self.condition {
            condition.each_expr(&mut look);
        }
        if let Some(End::Backend(Target::Computed(name))) = &self.end {
            name.expressions().for_each(&mut look);
        }
        known
            && self.wait.is_none()
            && self.lookup.is_none()
            && self.edits.is_empty()
            && self.gates.is_empty()
            && self.response.is_none()
            && self.after.is_none()
            && matches!(self.end, Some(End::Backend(_)))
    }
}

impl Rule {
    /// Whether it does nothing but name a server, by what a connection of mode tcp is or brings.
    pub fn names_servers(&self) -> bool {
        let mut known = true;
        self.each_expr(&mut |expr| known &= expr.is_of_stream());
        let names = |edit: &Edit| matches!(edit, Edit::UseServer(_));
        known
            && self.wait.is_none()
            && self.gates.is_empty()
            && self.end.is_none()
            && self.response.is_none()
            && self.after.is_none()
            && self.edits.iter().all(names)
    }

    /// Whether it adds to what the one before it has told the client: HAProxy's do unless they have a condition.
    pub(super) fn goes_on_hinting(&self) -> bool {
        self.condition.is_none() && matches!(self.edits.first(), Some(Edit::EarlyHint(..)))
    }

    /// Calls `visit` with each expression in its condition and its edits.
    pub fn each_expr(&self, visit: &mut dyn FnMut(&super::Expr)) {
        let parts = [self.response.as_ref(), self.after.as_ref()];
        let parts = parts.into_iter().flatten();
        let conditions = parts.clone().map(|part| &part.condition);
        for condition in conditions.chain([&self.condition]).flatten() {
            condition.each_expr(visit);
        }
        for edit in parts.flat_map(|part| &part.edits).chain(&self.edits) {
            edit.each_template(&mut |template| template.expressions().for_each(&mut *visit));
        }
        if let Some(lookup) = &self.lookup {
            lookup.name.expressions().for_each(&mut *visit);
        }
        for gate in &self.gates {
            if let Gate::RateLimit { key, .. } = gate {
                key.expressions().for_each(&mut *visit);
            }
        }
        let parts = [self.response.as_ref(), self.after.as_ref()];
        let ends = parts.into_iter().flatten().map(|part| &part.end);
        for end in ends.chain([&self.end]).flatten() {
            end.each_template(&mut |template| template.expressions().for_each(&mut *visit));
        }
    }
}

/// `do_resolve`: a name whose address is found out.
#[derive(Debug, Clone)]
pub struct Lookup {
    /// The name.
    pub name: Template,
    /// Where the address is remembered.
    pub var: Var,
    /// By whose servers: the name of resolvers.
    pub resolvers: Arc<str>,
    /// An IPv4 address goes before an IPv6 one.
    pub prefers_v4: bool,
}

/// `wait_for_body`
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct WaitForBody {
    /// For so long; `None`: as long as for a head.
    pub time: Option<Duration>,
    /// Until so many bytes have come; 0: all of them.
    pub at_least: usize,
}

/// What a rule does with the response.
#[derive(Debug, Clone, Default)]
pub struct ResponsePart {
    /// Looked at when the response is there.
    pub condition: Option<Condition>,
    /// What has to have come of its body first.
    pub wait: Option<WaitForBody>,
    /// Changes to the response.
    pub edits: Vec<Edit>,
    /// What ends the list: another answer instead, or nothing more.
    pub end: Option<End>,
    /// Whether it looks at the request.
    pub needs_request: bool,
}

impl ResponsePart {
    /// Finds out whether it looks at the request.
    pub fn finish(mut self) -> Self {
        let mut needs = self
            .condition
            .as_ref()
            .is_some_and(Condition::needs_request);
        let mut look = |template: &Template| {
            needs |= template.expressions().any(super::Expr::needs_request);
        };
        for edit in &self.edits {
            edit.each_template(&mut look);
        }
        if let Some(end) = &self.end {
            end.each_template(&mut look);
        }
        self.needs_request = needs;
        self
    }
}

/// What is done to a field.
#[derive(Debug, Clone)]
pub enum HeaderOp {
    /// The only one of its name.
    Set(Template),
    /// One more.
    Add(Template),
    /// All of its name are removed.
    Delete,
    /// Each line that matches is replaced, or each value that commas divide.
    Replace {
        /// What is looked for.
        regex: Regex,
        /// What stands there instead, with `\1` for what brackets caught.
        by: Template,
        /// The whole line.
        whole: bool,
    },
}

/// Which names of header fields `del_header` means, in lower case.
#[derive(Debug, Clone)]
pub enum FieldNames {
    /// `"X-*"`
    Beginning(String),
    /// `"*-Id"`
    Ending(String),
    /// `"*Debug*"`
    With(String),
    /// `"/^x-(a|b)$/"`
    Like(Regex),
}

impl FieldNames {
    /// Whether a name is one of them.
    pub fn has(&self, name: &HeaderName) -> bool {
        let name = name.as_str();
        match self {
            Self::Beginning(text) => name.starts_with(text),
            Self::Ending(text) => name.ends_with(text),
            Self::With(text) => name.contains(text),
            Self::Like(regex) => regex.is_match(name.as_bytes()),
        }
    }
}

/// A change that goes on with the list.
#[derive(Debug, Clone)]
pub enum Edit {
    /// `set_header`, `add_header`, `del_header`, `replace_header`, `replace_value`.
    Header(HeaderName, HeaderOp),
    /// `del_header` of more than one name.
    DeleteHeaders(FieldNames),
    /// `set_path`.
    SetPath(Template),
    /// `replace_path`.
    ReplacePath(Regex, Template),
    /// `set_query`.
    SetQuery(Template),
    /// `set_uri`: all of the target.
    SetUri(Template),
    /// `set_pathq`: path and query.
    SetPathQuery(Template),
    /// `replace_pathq`: path and query.
    ReplacePathQuery(Regex, Template),
    /// `replace_uri`: all of the target.
    ReplaceUri(Regex, Template),
    /// `normalize_uri`.
    Normalize(Normalizer),
    /// `set_method`.
    SetMethod(Template),
    /// `set_status` of a response, perhaps with a reason of its own.
    SetStatus(StatusCode, Option<Bytes>),
    /// `early_hint`.
    EarlyHint(HeaderName, Template),
    /// `set_src`: an address.
    SetSource(Template),
    /// `set_src_port`.
    SetSourcePort(Template),
    /// `set_dst`: an address.
    SetDestination(Template),
    /// `set_dst_port`.
    SetDestinationPort(Template),
    /// `set_mark`.
    SetMark(u32),
    /// `set_tos`.
    SetTos(u8),
    /// `set_log_level`.
    LogLevel(LogLevel),
    /// `set_timeout`.
    SetTimeout(Awaited, Patience),
    /// `set_priority`.
    SetPriority(PriorityPart, Template),
    /// `set_var`, perhaps only in some cases.
    SetVar(Var, Only, Template),
    /// `unset_var`.
    UnsetVar(Var),
    /// `use_server` of a backend: the server of this name, if it can be used.
    UseServer(Template),
    /// `force_persist`, or if it is not that `ignore_persist`.
    Persist(bool),
    /// `disable_l7_retry`.
    SendOnce,
    /// `close` of a response: its server says no more, and the client gets what it has said.
    CloseServer,
    /// `track`.
    Track {
        /// By which counter.
        sc: u8,
        /// The key.
        key: Template,
        /// In which table.
        table: Arc<Handle>,
    },
    /// `capture`.
    Capture {
        /// Of which message.
        side: Side,
        /// The place that it is put into.
        place: usize,
        /// What.
        value: Template,
    },
    /// `set_map`, `del_map`, `add_acl`, `del_acl`.
    Live {
        /// What is changed.
        file: Arc<Live>,
        /// How.
        change: Change,
        /// Which key.
        key: Template,
        /// What it is to lead to.
        value: Template,
    },
    /// `inc_gpc`.
    Count(u8, Data),
    /// `inc_gpc` by more than one.
    CountBy(u8, Data, Template),
    /// `sc_set`.
    SetNumber(u8, Data, Template),
}

impl Edit {
    /// Whether it changes a message's head.
    pub fn changes_head(&self) -> bool {
        !matches!(
            self,
            Self::SetVar(..)
                | Self::UnsetVar(_)
                | Self::SendOnce
                | Self::CloseServer
                | Self::Persist(_)
                | Self::UseServer(_)
                | Self::Track { .. }
                | Self::Capture { .. }
                | Self::Live { .. }
                | Self::Count(..)
                | Self::CountBy(..)
                | Self::SetNumber(..)
                | Self::EarlyHint(..)
                | Self::SetSource(_)
                | Self::SetSourcePort(_)
                | Self::SetDestination(_)
                | Self::SetDestinationPort(_)
                | Self::SetMark(_)
                | Self::SetTos(_)
                | Self::LogLevel(_)
                | Self::SetTimeout(..)
                | Self::SetPriority(..)
        )
    }

    /// Whether it may change a field that is `concerned`, or the Host.
    pub fn changes(&self, concerned: &dyn Fn(&HeaderName) -> bool) -> bool {
        match self {
            Self::Header(name, _) => *name == HOST || concerned(name),
            Self::SetPath(_)
            | Self::ReplacePath(..)
            | Self::SetQuery(_)
            | Self::Normalize(_)
            | Self::SetMethod(_)
            | Self::SetStatus(..) => false,
            // A target may bring a host.
            other => other.changes_head(),
        }
    }

    /// Whether it counts, so that it makes a difference how often it is carried out.
    pub fn counts(&self) -> bool {
        matches!(self, Self::Count(..) | Self::CountBy(..))
    }

    /// Calls `visit` with its templates.
    pub fn each_template(&self, visit: &mut dyn FnMut(&Template)) {
        match self {
            Self::Header(
                _,
                HeaderOp::Set(t) | HeaderOp::Add(t) | HeaderOp::Replace { by: t, .. },
            )
            | Self::SetPath(t)
            | Self::ReplacePath(_, t)
            | Self::ReplacePathQuery(_, t)
            | Self::ReplaceUri(_, t)
            | Self::EarlyHint(_, t)
            | Self::UseServer(t)
            | Self::SetSource(t)
            | Self::SetSourcePort(t)
            | Self::SetDestination(t)
            | Self::SetDestinationPort(t)
            | Self::SetQuery(t)
            | Self::SetUri(t)
            | Self::SetPathQuery(t)
            | Self::SetMethod(t)
            | Self::SetVar(_, _, t)
            | Self::SetTimeout(_, Patience::Asked(t))
            | Self::SetPriority(_, t)
            | Self::Track { key: t, .. }
            | Self::Capture { value: t, .. }
            | Self::CountBy(_, _, t)
            | Self::SetNumber(_, _, t) => visit(t),
            Self::Live { key, value, .. } => {
                visit(key);
                visit(value);
            }
            Self::Header(_, HeaderOp::Delete)
            | Self::DeleteHeaders(_)
            | Self::SetStatus(..)
            | Self::Normalize(_)
            | Self::LogLevel(_)
            | Self::SetMark(_)
            | Self::SetTos(_)
            | Self::SetTimeout(_, Patience::Is(_))
            | Self::UnsetVar(_)
            | Self::SendOnce
            | Self::CloseServer
            | Self::Persist(_)
            | Self::Count(..) => {}
        }
    }
}

/// What ends the list if it refuses.
#[derive(Debug, Clone)]
pub enum Gate {
    /// `auth`.
    Auth {
        /// Shown by the client.
        realm: Option<String>,
        /// Who may pass.
        users: Arc<Users>,
    },
    /// `rate_limit`.
    RateLimit {
        /// Whose requests are counted together.
        key: Template,
        /// What passes.
        limiter: Arc<Limiter>,
        /// The status for the others.
        status: StatusCode,
    },
}

/// What ends the list.
#[derive(Debug, Clone)]
pub enum End {
    /// `use_backend`.
    Backend(Target),
    /// `redirect`.
    Redirect(Box<Redirect>),
    /// `deny`, `tarpit`.
    Deny {
        /// The status.
        status: StatusCode,
        /// The answer waits for the tarpit's time.
        tarpit: bool,
        /// Another answer than the status's own.
        answer: Option<Box<Return>>,
    },
    /// `return`.
    Return(Box<Return>),
    /// `metrics`: the figures of Prometheus' kind.
    Metrics,
    /// `allow`: of what follows, only what chooses a backend counts.
    Allow,
    /// `reject`, `silent_drop`: the connection ends without an answer, or without the server's.
    Drop {
        /// Nor does the client learn that it has ended.
        silent: bool,
    },
    /// `close` of what a server says first: it says no more, and the client gets what it has said.
    Close,
}

impl End {
    /// Whether no rule behind it is of use to anybody who comes to it.
    pub fn is_for_all(&self) -> bool {
        match self {
            Self::Backend(to) => matches!(to, Target::Named(_)),
            Self::Redirect(redirect) => !redirect.ignore_empty,
            Self::Allow => false,
            _ => true,
        }
    }

    /// Calls `visit` with its templates.
    pub fn each_template(&self, visit: &mut dyn FnMut(&Template)) {
        match self {
            Self::Redirect(redirect) => match &redirect.to {
                Location::Whole(to) | Location::Prefix(to) | Location::Scheme(to) => visit(to),
            },
            Self::Return(answer)
            | Self::Deny {
                answer: Some(answer),
                ..
            } => {
                answer.headers.iter().for_each(|(_, value)| visit(value));
                if let Some((Body::Template(body), _)) = &answer.body {
                    visit(body);
                }
            }
            Self::Backend(Target::Computed(name)) => visit(name),
            _ => {}
        }
    }
}

/// A backend.
#[derive(Debug, Clone)]
pub enum Target {
    /// This one.
    Named(Named),
    /// The one of the name that comes of this; none of that name goes on with the list.
    Computed(Template),
}

/// `redirect`.
#[derive(Debug, Clone)]
pub struct Redirect {
    /// Where to.
    pub to: Location,
    /// 301, 302, 303, 307 or 308.
    pub code: StatusCode,
    /// `prefix`, `scheme`: without the query.
    pub drop_query: bool,
    /// `prefix`: with a slash after the path.
    pub append_slash: bool,
    /// `location`: one that comes to nothing is none.
    pub ignore_empty: bool,
    /// A Set-Cookie value.
    pub cookie: Option<String>,
}

/// Where a redirect leads.
#[derive(Debug, Clone)]
pub enum Location {
    /// There.
    Whole(Template),
    /// There, and then the request's path and query.
    Prefix(Template),
    /// To the same by another scheme.
    Scheme(Template),
}

/// `return`.
#[derive(Debug, Clone)]
pub struct Return {
    /// The status.
    pub status: StatusCode,
    /// Another reason phrase than its usual one.
    pub reason: Option<ReasonPhrase>,
    /// Fields.
    pub headers: Vec<(HeaderName, Template)>,
    /// The body and its type.
    pub body: Option<(Body, String)>,
}

/// A body.
#[derive(Debug, Clone)]
pub enum Body {
    /// As it is.
    Fixed(Bytes),
    /// With expressions in it.
    Template(Template),
    /// The page that the frontend, or else lb, has for the status.
    Page,
}
