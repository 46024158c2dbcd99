//! What an expression sees: a request and perhaps its response, the connection, and what is remembered between rules.

use std::{
    borrow::Cow,
    cell::RefCell,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use http::{
    HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, Version,
    header::{AUTHORIZATION, HOST},
    request, response,
};

use super::{
    action::{LogLevel, Lookup},
    auth::Users,
    body::BodySeen,
    capture::Captured,
    fetch::{
        Fault, Side, credentials,
        link::{Asked, Link},
        payload::Seen,
    },
    patience::{Awaited, Patiences},
    place::Place,
    priority::Priority,
    table::Tracked,
    template::Template,
    tls_fact::{TlsFact, Whose},
    value::Value,
};

mod fact;
mod named;
mod session;
mod unknown;

pub use fact::Fact;
use named::Named;
pub use session::SessionVars;
pub use unknown::Unknown;

/// A request as conditions see it, borrowed.
#[derive(Debug, Clone, Copy)]
pub struct RequestView<'a> {
    /// The method.
    pub method: &'a Method,
    /// The target.
    pub uri: &'a Uri,
    /// The protocol.
    pub version: Version,
    /// The header fields.
    pub headers: &'a HeaderMap,
}

impl<'a> RequestView<'a> {
    /// A view of a head.
    pub fn new(head: &'a request::Parts) -> Self {
        Self {
            method: &head.method,
            uri: &head.uri,
            version: head.version,
            headers: &head.headers,
        }
    }

    /// The path as it was sent: from the first slash after any authority up to the query, not decoded.
    pub fn path(&self) -> Option<&'a str> {
        Some(self.uri.path()).filter(|path| path.starts_with('/'))
    }

    /// The Host field as it was sent, or the target's authority where there is no such field.
    pub fn host(&self) -> Option<&'a [u8]> {
        match self.headers.get(HOST) {
            Some(host) => Some(host.as_bytes()),
            None => self.uri.authority().map(|a| a.as_str().as_bytes()),
        }
    }
}

/// A response as conditions see it, borrowed.
#[derive(Debug, Clone, Copy)]
pub struct ResponseView<'a> {
    /// The status.
    pub status: StatusCode,
    /// The protocol.
    pub version: Version,
    /// The header fields.
    pub headers: &'a HeaderMap,
}

impl<'a> ResponseView<'a> {
    /// A view of a head.
    pub fn new(head: &'a response::Parts) -> Self {
        Self {
            status: head.status,
            version: head.version,
            headers: &head.headers,
        }
    }
}

/// Everything that an expression may look at.
#[derive(Clone, Copy)]
pub struct Scene<'a> {
    /// The request; `None` where it has gone to the server already.
    pub request: Option<RequestView<'a>>,
    /// The response, once there is one.
    pub response: Option<ResponseView<'a>>,
    /// What earlier rules left.
    pub state: &'a State,
    /// The connection, and the process around it.
    pub world: &'a dyn World,
}

/// What expressions see of the connection and the process.
pub trait World {
    /// The client's address: the PROXY header's where one was accepted. Who comes by a unix socket has none.
    fn source(&self) -> Option<SocketAddr>;
    /// A rule has named another one.
    fn set_source(&self, _source: SocketAddr) {}
    /// The address that the client connected to.
    fn destination(&self) -> Option<SocketAddr>;
    /// A rule has named another one.
    fn set_destination(&self, _destination: SocketAddr) {}
    /// What is sent to the client gets this mark.
    fn mark(&self, _mark: u32) {}
    /// What is sent to the client gets this type of service.
    fn tos(&self, _tos: u8) {}
    /// The frontend's name.
    fn frontend(&self) -> &str;
    /// The backend's name, once there is one.
    fn backend(&self) -> Option<&str>;
    /// A number that changes; `None` if there is nothing of that name.
    fn fact(&self, fact: &Fact) -> Option<i64>;
    /// A number about the backend or server that is called `name`.
    fn named(&self, _what: Asked, _name: &str) -> Option<i64> {
        None
    }
    /// What is known of the connections on either side.
    fn link(&self, _what: Link) -> Option<Value<'_>> {
        None
    }
    /// What is known of the client's TLS; `None` also where there is no TLS.
    fn tls(&self, fact: TlsFact) -> Option<Value<'_>>;
    /// The same of the TLS to the server that is asked.
    fn server_tls(&self, _fact: TlsFact) -> Option<Value<'_>> {
        None
    }
    /// A part of the name in a certificate, or in its issuer's.
    fn name_part(
        &self,
        _whose: Whose,
        _issuer: bool,
        _name: &str,
        _which: i64,
    ) -> Option<Cow<'_, [u8]>> {
        None
    }
    /// Why the connection was not let in; `None` if it was.
    fn fault(&self) -> Option<&Fault> {
        None
    }
    /// The server that is asked, once there is one.
    fn server(&self) -> Option<Cow<'_, [u8]>> {
        None
    }
    /// What requests, and connections of mode tcp, are called; `None` where they have no names.
    fn unique_format(&self) -> Option<&Template> {
        None
    }
    /// The request's line as the client sent it.
    fn request_line(&self) -> Option<(Method, Uri, Version)> {
        None
    }
    /// What a side of a connection of mode tcp has sent so far, where that is looked at.
    fn seen(&self, _side: Side) -> Option<Seen<'_>> {
        None
    }
    /// The request's number in this process.
    fn request_number(&self) -> u64 {
        0
    }
    /// Milliseconds since some moment in the past.
    fn now_ms(&self) -> u64;
    /// A number that nobody can foresee.
    fn random(&self) -> u64 {
        super::random()
    }
}

/// A variable's index in the registry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct VarId {
    /// Which name.
    pub index: u16,
    /// How long it lives.
    pub scope: Scope,
}

/// How long a variable lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scope {
    /// As long as the connection.
    Session,
    /// As long as the request and its response.
    Transaction,
    /// Until the request has gone to the server.
    Request,
    /// While the response is worked on.
    Response,
    /// As long as a check.
    Check,
}

/// Most counters that a request or connection is tracked by: HAProxy's `tune.stick-counters` default of later versions.
pub const TRACKED: usize = 12;

/// What is remembered between rules: variables and tracked entries. Of a connection's, what lives longer than a request
/// is kept by [`State::next`].
#[derive(Debug, Default)]
pub struct State {
    vars: Vec<(VarId, Value<'static>)>,
    /// What expressions have set while they were asked, the newest last.
    written: RefCell<Vec<(VarId, Option<Value<'static>>)>>,
    tracked: Vec<(u8, Tracked)>,
    /// Those that the connection follows.
    of_session: Vec<(u8, Tracked)>,
    /// It is a connection's, and no request's.
    pub(super) is_session: bool,
    captured: Option<Box<Captured>>,
    /// The request is not to be sent again once a server may have seen it.
    pub(super) sent_once: bool,
    /// Whether a server that the client stays on is asked even if it is down, or not even if it is up.
    pub(super) persist: Option<bool>,
    /// How urgent the request's line is, if it has one.
    pub(super) log_level: Option<LogLevel>,
    /// The server that answers says no more.
    pub(super) closes_server: bool,
    /// How long the request waits where a rule says so.
    pub(super) patiences: Patiences,
    /// Its place in queues.
    pub(super) priority: Priority,
    /// The servers that rules name, by name: the first that can be used is.
    pub(super) servers: Vec<Vec<u8>>,
    /// What the client is told before the answer, message by message.
    hints: Vec<HeaderMap>,
    /// The next one belongs to the last of these.
    hints_on: bool,
    /// What has come of the request's body, and of the response's, where rules ask for it.
    body: BodySeen,
    answer: BodySeen,
    /// The place in its list of the rule for which it was waited.
    pub(super) awaited: Option<usize>,
    /// The rule whose name has been looked up.
    pub(super) looked_up: Option<usize>,
    /// What was found of an Authorization field, for lists of users of whom that takes long.
    checked: Vec<(Arc<Users>, HeaderValue, bool)>,
    /// Passwords that take long are verified elsewhere, not where they are asked for.
    pub(super) aside: bool,
    /// A list of users that was asked for meanwhile.
    pub(super) wanted: RefCell<Option<Unknown>>,
    /// Where the last rule stands that had the last word of its list.
    pub(super) last_rule: Option<Place>,
    /// What it is called.
    name: Named,
}

impl State {
    /// Whether a rule says that the request is sent to a server once at most.
    pub fn is_sent_once(&self) -> bool {
        self.sent_once
    }

    /// Remembers what has come of a body.
    pub fn see_body(&mut self, side: Side, body: BodySeen) {
        match side {
            Side::Request => self.body = body,
            Side::Response => self.answer = body,
        }
    }

    /// What has come of a body.
    pub fn body(&self, side: Side) -> &BodySeen {
        match side {
            Side::Request => &self.body,
            Side::Response => &self.answer,
        }
    }

    /// Remembers whether a list of users allows what an Authorization field says.
    pub fn check(&mut self, of: Unknown, allowed: bool) {
        self.checked.push((of.users, of.field, allowed));
    }

    /// Whether a list of users allows a request. Where that takes long and is verified aside, a no that does not count is
    /// said for now, and the list is wanted.
    pub(super) fn allows(&self, users: &Arc<Users>, headers: &HeaderMap) -> bool {
        self.known(users, headers).unwrap_or_else(|| {
            if !self.aside {
                return users.allow(headers);
            }
            self.wanted.replace(Unknown::of(users, headers));
            false
        })
    }

    /// The same, where it was found before or takes no time.
    pub(super) fn known(&self, users: &Arc<Users>, headers: &HeaderMap) -> Option<bool> {
        if !users.is_slow() {
            return Some(users.allow(headers));
        }
        let mut fields = headers.get_all(AUTHORIZATION).iter();
        if let (Some(field), None) = (fields.next(), fields.next())
            && let Some((.., allowed)) = self
                .checked
                .iter()
                .find(|(of, value, _)| Arc::ptr_eq(of, users) && value == field)
        {
            return Some(*allowed);
        }
        credentials(headers).map_or(Some(false), |(name, password)| {
            users.at_once(&name, &password)
        })
    }

    /// The names of servers that rules want to be asked, the first that can be.
    pub fn servers(&self) -> &[Vec<u8>] {
        &self.servers
    }

    /// Whether rules say of the server that the client stays on that it is asked even if it is down, or not even if it is up.
    pub fn persist(&self) -> Option<bool> {
        self.persist
    }

    /// How long the request waits where a rule says so.
    pub fn patience(&self, of: Awaited) -> Option<Duration> {
        self.patiences.get(of)
    }

    /// Its place in queues.
    pub fn priority(&self) -> Priority {
        self.priority
    }

    /// What a rule says of the level of the request's line.
    pub fn log_level(&self) -> Option<LogLevel> {
        self.log_level
    }

    /// Whether a rule ends what the server says.
    pub fn closes_server(&self) -> bool {
        self.closes_server
    }

    /// Keeps a field for the client to get before the answer.
    pub(super) fn hint(&mut self, name: HeaderName, value: HeaderValue) {
        if !self.hints_on || self.hints.is_empty() {
            self.hints.push(HeaderMap::new());
        }
        self.hints_on = true;
        if let Some(last) = self.hints.last_mut() {
            last.append(name, value);
        }
    }

    /// What the client is to get before the answer, and has not got yet.
    pub fn take_hints(&mut self) -> Vec<HeaderMap> {
        std::mem::take(&mut self.hints)
    }

    /// What is kept next of this kind is a message of its own.
    pub(super) fn end_hint(&mut self) {
        self.hints_on = false;
    }

    /// A variable's value.
    pub fn var(&self, id: VarId) -> Option<Value<'_>> {
        let written = self.written.borrow();
        if let Some((_, value)) = written.iter().rev().find(|(var, _)| *var == id) {
            return value.clone();
        }
        let (_, value) = self.vars.iter().find(|(var, _)| *var == id)?;
        Some(value.borrowed())
    }

    /// Sets a variable while an expression is asked; `None` forgets it.
    pub(super) fn write_var(&self, id: VarId, value: Option<Value<'static>>) {
        let mut written = self.written.borrow_mut();
        written.retain(|(var, _)| *var != id);
        written.push((id, value));
    }

    /// Takes what expressions have set among the others.
    fn settle(&mut self) {
        for (id, value) in std::mem::take(self.written.get_mut()) {
            self.set_var(id, value);
        }
    }

    /// Sets a variable; `None` forgets it.
    pub fn set_var(&mut self, id: VarId, value: Option<Value<'static>>) {
        self.written.get_mut().retain(|(var, _)| *var != id);
        self.vars.retain(|(var, _)| *var != id);
        if let Some(value) = value {
            self.vars.push((id, value.bounded()));
        }
    }

    /// The entry that counter `sc` follows.
    pub fn tracked(&self, sc: u8) -> Option<&Tracked> {
        self.tracked
            .iter()
            .chain(&self.of_session)
            .find(|(index, _)| *index == sc)
            .map(|(_, tracked)| tracked)
    }

    /// Lets counter `sc` follow an entry, unless it follows one already, as HAProxy has it.
    pub fn track(&mut self, sc: u8, entry: impl FnOnce() -> Option<Tracked>) {
        if self.tracked(sc).is_none()
            && let Some(tracked) = entry()
        {
            self.tracked.push((sc, tracked));
        }
    }

    /// All entries that are followed.
    pub fn all_tracked(&self) -> impl Iterator<Item = &Tracked> {
        self.tracked.iter().map(|(_, tracked)| tracked)
    }

    /// The same, and those that the connection follows.
    pub fn followed(&self) -> impl Iterator<Item = &Tracked> {
        let all = self.tracked.iter().chain(&self.of_session);
        all.map(|(_, tracked)| tracked)
    }

    /// What was kept for the log, if anything is.
    pub fn captured(&self) -> Option<&Captured> {
        self.captured.as_deref()
    }

    /// The same, to keep more.
    pub fn captured_mut(&mut self) -> Option<&mut Captured> {
        self.captured.as_deref_mut()
    }

    /// What is kept of a request, from its beginning on.
    pub fn capture(&mut self, captured: Captured) {
        self.captured = Some(Box::new(captured));
    }

    /// Takes in what the connection remembers, until it is given back: requests of one connection may overlap.
    pub fn take_session(&mut self, session: &mut SessionVars) {
        self.vars.append(&mut session.vars);
        self.of_session.append(&mut session.tracked);
    }

    /// Gives back what the connection is to remember.
    pub fn give_session(&mut self, session: &mut SessionVars) {
        self.settle();
        let lasting = self
            .vars
            .extract_if(.., |(var, _)| var.scope == Scope::Session);
        session.vars.extend(lasting);
        session.tracked.append(&mut self.of_session);
    }

    /// That of a connection that has brought no request yet.
    pub fn of_session() -> Self {
        Self {
            is_session: true,
            ..Self::default()
        }
    }

    /// What of it lasts.
    pub fn into_session(mut self) -> SessionVars {
        self.settle();
        self.vars.retain(|(var, _)| var.scope == Scope::Session);
        SessionVars {
            vars: self.vars,
            tracked: self.tracked,
        }
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.vars.is_empty()
            && self.written.borrow().is_empty()
            && self.tracked.is_empty()
            && self.captured.is_none()
    }

    /// The request is with the server, or answered: its variables are forgotten.
    pub fn end_request(&mut self) {
        self.settle();
        self.vars.retain(|(var, _)| var.scope != Scope::Request);
    }

    /// A name that a rule has looked up has this address.
    pub fn found(&mut self, wanted: &Lookup, address: IpAddr) {
        wanted.var.set(self, Some(Value::Ip(address)));
    }

    /// The request is over.
    pub fn next(&mut self) {
        self.settle();
        self.tracked.clear();
        self.captured = None;
        self.sent_once = false;
        self.log_level = None;
        self.closes_server = false;
        self.patiences = Patiences::default();
        self.priority = Priority::default();
        self.persist = None;
        self.body = BodySeen::default();
        self.answer = BodySeen::default();
        self.awaited = None;
        self.looked_up = None;
        self.checked.clear();
        self.hints.clear();
        self.servers.clear();
        self.name = Named::default();
        self.vars.retain(|(var, _)| var.scope == Scope::Session);
    }
}
