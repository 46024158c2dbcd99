//! An exchange's way through the rules: of its frontend, then of its backend, and back with the response.

mod response;

use std::{borrow::Cow, cell::RefMut, net::SocketAddr, rc::Rc, sync::Arc};

use bytes::Bytes;
use http::{
    HeaderName, HeaderValue, Method, Response, StatusCode, Uri, Version,
    header::{CONTENT_LENGTH, EXPECT, HOST},
    request,
};

use super::{
    Client, Failure, Fields, Target,
    context::Exchange,
    facts::{name_part, tls_fact},
    links, page, resolving, slow,
};
use crate::{
    config::model::HeaderNames,
    observe::log::{Cause, Phase},
    proxy::http::{body::Inbound, forward, plan::Plan},
    rules::{
        self, Asked, Awaited, BodySeen, Captured, Denial, Fact, Later, Link, LogLevel, Outcome,
        RequestView, RuleSet, Scene, SessionVars, State, Template, TlsFact, Value, Whose, World,
        action::WaitForBody,
    },
    topology::{Backend, Server},
};

pub(super) use response::{Responding, Turn, after, respond};

/// What rules have left of a request.
#[derive(Debug, Default)]
pub(in super::super) struct Remembered {
    pub(super) state: State,
    /// The request, where a page of an error may ask for it.
    pub(super) shown: Option<Box<request::Parts>>,
    pub(super) frontend: Later,
    pub(super) backend: Later,
}

impl Remembered {
    /// Whether the request is sent to a server once at most.
    pub(in super::super) fn is_sent_once(&self) -> bool {
        self.state.is_sent_once()
    }

    /// How long the request waits where a rule says so.
    pub(in super::super) fn patience(&self, of: Awaited) -> Option<std::time::Duration> {
        self.state.patience(of)
    }

    /// Whether a rule ends what the server says.
    pub(in super::super) fn closes_server(&self) -> bool {
        self.state.closes_server()
    }

    /// What a rule says of the level of the request's line.
    pub(in super::super) fn log_level(&self) -> Option<LogLevel> {
        self.state.log_level()
    }
}

/// What rules remember while they look at it: of the request, and of the connection that others share.
pub(super) struct Memory<'a> {
    pub(super) remembered: RefMut<'a, Remembered>,
    session: RefMut<'a, SessionVars>,
}

impl<'a> Memory<'a> {
    pub(super) fn of(client: &'a Client) -> Self {
        let mut remembered = RefMut::map(client.rules.borrow_mut(), |remembered| {
            &mut **remembered.get_or_insert_default()
        });
        let mut session = client.session.borrow_mut();
        remembered.state.take_session(&mut session);
        Self {
            remembered,
            session,
        }
    }
}

impl Drop for Memory<'_> {
    fn drop(&mut self) {
        self.remembered.state.give_session(&mut self.session);
    }
}

/// The backend that a request goes to, once the rules have seen and changed it; and the fields that it has then.
pub(super) async fn route<'p>(
    client: &Rc<Client>,
    plan: &'p Plan,
    head: &mut request::Parts,
    (fields, body): (Fields, &mut Inbound),
) -> Result<(&'p Target, Fields), Failure> {
    let rules = plan.rules(client.frontend().index);
    let mut way = Way {
        client,
        touched: false,
        body,
    };
    let mut chosen = None;
    if !rules.is_empty() {
        way.touched |= plan.changes(client.frontend().index).0;
        chosen = way.walk(rules, Side::Frontend, plan, head).await?;
    }
    way.screen(client.frontend().config.http.names, Side::Frontend, head)?;
    way.statistics(None, plan, head).await?;
    page::keep(client, head);
    let Some(target) = chosen.or_else(|| plan.default(client.frontend().index)) else {
        client.exchange().terminate(Cause::Server, Phase::Connect);
        return Err(Failure::Status(StatusCode::SERVICE_UNAVAILABLE));
    };
    let now_ms = client.now_ms();
    client.exchange().enter(target.backend.enter(now_ms));
    let rules = &target.backend.config.rules;
    if !rules.is_empty() {
        way.touched |= target.changes.0;
        way.walk(rules, Side::Backend(&target.backend), plan, head)
            .await?;
    }
    let of_backend = Side::Backend(&target.backend);
    way.screen(target.backend.config.http.names, of_backend, head)?;
    way.statistics(Some(&target.backend), plan, head).await?;
    way.touched |= name(client, &target.backend, head);
    page::keep(client, head);
    if looks_at_form(target, &head.method) {
        Box::pin(way.wait_for_body(WaitForBody::default(), head)).await?;
    }
    match way.touched {
        true if !forward::keeps_host(&head.headers) => {
            client.exchange().terminate(Cause::Internal, Phase::Request);
            Err(Failure::Status(StatusCode::INTERNAL_SERVER_ERROR))
        }
        true => Ok((target, Fields::of(&head.headers))),
        false => Ok((target, fields)),
    }
}

/// Whether the form that a request brings may say where it goes.
fn looks_at_form(target: &Target, method: &Method) -> bool {
    target.backend.config.balance_arguments.check_post && method == Method::POST
}

/// What has come of that form.
pub(super) fn form(client: &Client, target: &Target, method: &Method) -> Bytes {
    if !looks_at_form(target, method) {
        return Bytes::new();
    }
    let memory = client.rules.borrow();
    let state = memory.as_ref().map(|remembered| &remembered.state);
    state.map_or_else(Bytes::new, |state| {
        state.body(rules::Side::Request).bytes.clone()
    })
}

/// The server that a rule of the backend names, the first that can be used.
pub(super) fn server(client: &Client, target: &Target) -> Option<Arc<Server>> {
    let remembered = client.rules.borrow();
    let names = remembered.as_ref()?.state.servers().iter();
    let mut servers = names.filter_map(|name| {
        let servers = &target.backend.servers;
        servers.iter().find(|server| server.name.as_bytes() == name)
    });
    servers.find(|server| server.is_usable_by_cookie()).cloned()
}

/// Keeps of the request as it came what the frontend wants for its log.
pub(super) fn capture(client: &Client, head: &request::Parts) {
    let captures = &client.frontend().config.captures;
    if !captures.is_empty() {
        let captured = Captured::of_request(captures, &head.headers);
        Memory::of(client).remembered.state.capture(captured);
    }
}

/// Gives the request its unique id, if the frontend has them: after its rules, as HAProxy does, unless one has asked for it.
/// Returns whether that may change what the proxy goes by.
fn name(client: &Client, backend: &Arc<Backend>, head: &mut request::Parts) -> bool {
    let Some(unique) = &client.frontend().config.unique_id else {
        return false;
    };
    let memory = Memory::of(client);
    let world = Surroundings {
        client,
        backend: Some(backend),
        exchange: None,
    };
    let scene = Scene {
        request: Some(RequestView::new(head)),
        response: None,
        state: &memory.remembered.state,
        world: &world,
    };
    let id = scene.unique_id().unwrap_or_default();
    if let Some(header) = &unique.header
        && let Ok(value) = HeaderValue::from_bytes(id)
    {
        head.headers.insert(header.clone(), value);
        return *header == HOST || Fields::has(header);
    }
    false
}

/// Whose rules.
#[derive(Clone, Copy)]
pub(super) enum Side<'a> {
    Frontend,
    Backend(&'a Arc<Backend>),
    /// Of the statistics, of the frontend or the backend.
    Page(Option<&'a Arc<Backend>>),
}

pub(super) struct Way<'a> {
    pub(super) client: &'a Rc<Client>,
    /// What the proxy goes by may have been changed.
    pub(super) touched: bool,
    pub(super) body: &'a mut Inbound,
}

impl Way<'_> {
    /// The backend that a list leads to; `None` if it leads on.
    pub(super) async fn walk<'p>(
        &mut self,
        rules: &RuleSet,
        side: Side<'_>,
        plan: &'p Plan,
        head: &mut request::Parts,
    ) -> Result<Option<&'p Target>, Failure> {
        let client = self.client;
        if rules.asks_for_body() {
            // Whoever asks for it is told to go on by whoever wants it.
            if !head.headers.contains_key(EXPECT) {
                Box::pin(self.body.read_what_is_there()).await;
            }
            self.show_body(head);
        }
        let mut from = 0;
        loop {
            let (outcome, next) = {
                let mut memory = Memory::of(client);
                let Remembered {
                    state,
                    frontend,
                    backend,
                    ..
                } = &mut *memory.remembered;
                // Nothing comes of them later.
                let mut none = Later::default();
                let (later, at) = match side {
                    Side::Page(at) => (&mut none, at),
                    Side::Frontend => (frontend, None),
                    Side::Backend(at) => (backend, Some(at)),
                };
                let world = Surroundings {
                    client,
                    backend: at,
                    exchange: None,
                };
                rules.request(from, head, state, later, &world)
            };
            from = next;
            self.hint(head.version);
            if outcome.answers() {
                page::keep(client, head);
            }
            match outcome {
                Outcome::Continue => return Ok(None),
                Outcome::Backend(target) => return Ok(plan.resolve(target)),
                Outcome::Named(name) => {
                    // A name that is none goes on with the list, as HAProxy has it.
                    if let Some(target) = plan.named(&name) {
                        return Ok(Some(target));
                    }
                }
                Outcome::Answer(reply) => {
                    client.exchange().terminate(Cause::Local, Phase::Request);
                    client.frontend().counters.intercepted.inc();
                    return Err(Failure::Answer(Box::new(client.reply(reply))));
                }
                // Boxed, like what else is waited for, so that requests for which nothing is do not carry its state around.
                Outcome::Await(wait) => Box::pin(self.wait_for_body(wait, head)).await?,
                Outcome::Resolve(wanted, name) => {
                    Box::pin(resolving::look_up(client, wanted, &name)).await;
                }
                Outcome::Verify(unknown) => Box::pin(slow::verify(client, unknown)).await,
                Outcome::Deny(denial) => return Err(Box::pin(self.denied(denial, side)).await),
                Outcome::Metrics => return Err(Box::pin(self.metrics(head)).await),
                Outcome::Drop(silent) => {
                    self.count_denied(side);
                    if silent {
                        client.vanish();
                    }
                    let mut exchange = client.exchange();
                    exchange.terminate(Cause::Proxy, Phase::Request);
                    exchange.request_received = None;
                    return Err(Failure::Close(None));
                }
            }
        }
    }

    /// Does with fields of other names than those of plain letters what is to be done.
    fn screen(
        &mut self,
        names: HeaderNames,
        side: Side<'_>,
        head: &mut request::Parts,
    ) -> Result<(), Failure> {
        if names == HeaderNames::Preserve {
            return Ok(());
        }
        let plain = |name: &HeaderName| {
            let mut bytes = name.as_str().bytes();
            bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        };
        let others: Vec<HeaderName> = head
            .headers
            .keys()
            .filter(|name| !plain(name))
            .cloned()
            .collect();
        if others.is_empty() {
            return Ok(());
        }
        if names == HeaderNames::Reject {
            page::keep(self.client, head);
            self.count_denied(side);
            let mut exchange = self.client.exchange();
            exchange.terminate(Cause::Proxy, Phase::Request);
            exchange.denied = true;
            return Err(Failure::Status(StatusCode::FORBIDDEN));
        }
        for name in others {
            head.headers.remove(name);
        }
        self.touched = true;
        Ok(())
    }

    /// Waits for the body, for which whoever waits for `100 Continue` has to be told to go on.
    async fn wait_for_body(
        &mut self,
        wait: WaitForBody,
        head: &mut request::Parts,
    ) -> Result<(), Failure> {
        let client = self.client;
        if !self.body.is_end_stream() && head.headers.remove(EXPECT).is_some() {
            client.interim.set(true);
        }
        let timeouts = &client.frontend().config.timeouts;
        let deadline = client.now() + wait.time.unwrap_or(timeouts.http_request);
        if !self.body.read_until(deadline, wait.at_least).await {
            client.frontend().counters.request_errors.inc();
            let mut exchange = client.exchange();
            exchange.terminate(Cause::ClientTimeout, Phase::Request);
            exchange.request_received = None;
            drop(exchange);
            return Err(Failure::Status(StatusCode::REQUEST_TIMEOUT));
        }
        let mut exchange = client.exchange();
        exchange.hear_out(client.now());
        if let Some(fault) = self.body.fault_ahead() {
            if fault.is_leaving() {
                exchange.terminate(Cause::Client, Phase::Request);
                return Err(Failure::Close(None));
            }
            exchange.terminate(Cause::Proxy, Phase::Request);
            exchange.request_received = None;
            return Err(Failure::Status(StatusCode::BAD_REQUEST));
        }
        drop(exchange);
        self.show_body(head);
        Ok(())
    }

    /// Shows rules what has come of the body.
    fn show_body(&self, head: &request::Parts) {
        let length = head.headers.get(CONTENT_LENGTH);
        let announced = length.and_then(|length| length.to_str().ok()?.trim().parse().ok());
        let mut memory = Memory::of(self.client);
        let seen = BodySeen {
            bytes: self.body.bytes_ahead(),
            announced,
        };
        let state = &mut memory.remembered.state;
        state.see_body(rules::Side::Request, seen);
    }

    /// Tells the client what it may do before it has its answer.
    fn hint(&self, version: Version) {
        let hints = match &mut *self.client.rules.borrow_mut() {
            Some(remembered) => remembered.state.take_hints(),
            None => return,
        };
        for hints in hints {
            let mut head = Response::new(());
            *head.status_mut() = StatusCode::EARLY_HINTS;
            *head.headers_mut() = hints;
            self.client.interim_came(head, version != Version::HTTP_10);
        }
    }

    fn count_denied(&self, side: Side<'_>) {
        self.client.frontend().counters.denied_requests.inc();
        if let Side::Backend(_) | Side::Page(Some(_)) = side
            && let Some(backend) = self.client.exchange().backend()
        {
            backend.counters.denied_requests.inc();
        }
    }

    async fn denied(&self, denial: Denial, side: Side<'_>) -> Failure {
        let client = self.client;
        if denial.status != StatusCode::UNAUTHORIZED || denial.header.is_none() {
            self.count_denied(side);
        }
        let phase = match denial.tarpit {
            true => Phase::Tarpit,
            false => Phase::Request,
        };
        if denial.tarpit {
            tokio::time::sleep(client.frontend().config.timeouts.tarpit).await;
        }
        // That a password is asked for is an answer, and no refusal.
        let cause = match denial.header {
            Some(_) if denial.status == StatusCode::UNAUTHORIZED => Cause::Local,
            _ => Cause::Proxy,
        };
        {
            let mut exchange = client.exchange();
            exchange.terminate(cause, phase);
            exchange.denied = true;
        }
        let mut answer = match denial.answer {
            Some(reply) => client.reply(*reply),
            None => client.answer(denial.status),
        };
        answer.meant = Some(denial.status);
        if let Some((name, value)) = denial.header {
            answer.headers.insert(name, value);
        }
        Failure::Answer(Box::new(answer))
    }
}

/// What expressions see around a request.
pub(super) struct Surroundings<'a> {
    pub(super) client: &'a Client,
    pub(super) backend: Option<&'a Arc<Backend>>,
    /// The exchange, where the client's is in use.
    pub(super) exchange: Option<&'a Exchange>,
}

impl World for Surroundings<'_> {
    fn source(&self) -> Option<SocketAddr> {
        self.client.source().inet()
    }

    fn set_source(&self, source: SocketAddr) {
        self.client.rename(source);
    }

    fn destination(&self) -> Option<SocketAddr> {
        self.client.reached().inet()
    }

    fn set_destination(&self, destination: SocketAddr) {
        self.client.redirect(destination);
    }

    fn mark(&self, mark: u32) {
        self.client.mark(mark);
    }

    fn tos(&self, tos: u8) {
        self.client.tos(tos);
    }

    fn frontend(&self) -> &str {
        &self.client.frontend().name
    }

    fn backend(&self) -> Option<&str> {
        self.backend.map(|backend| &*backend.name)
    }

    fn fact(&self, asked: &Fact) -> Option<i64> {
        let topology = &self.client.worker.shared.topology;
        let here = Some(self.client.frontend());
        topology.fact(asked, here, self.backend, self.now_ms())
    }

    fn named(&self, what: Asked, name: &str) -> Option<i64> {
        let topology = &self.client.worker.shared.topology;
        topology.named(what, name, self.backend)
    }

    fn link(&self, what: Link) -> Option<Value<'_>> {
        links::link(self, what)
    }

    fn tls(&self, fact: TlsFact) -> Option<Value<'_>> {
        tls_fact(self.client.tls.as_deref()?, fact)
    }

    fn name_part(
        &self,
        whose: Whose,
        issuer: bool,
        name: &str,
        which: i64,
    ) -> Option<Cow<'_, [u8]>> {
        if whose != Whose::Server {
            return name_part(self.client.tls.as_deref()?, whose, issuer, name, which);
        }
        let session = self.of_exchange(|exchange| exchange.server_tls.clone())?;
        let part = name_part(&session, whose, issuer, name, which)?;
        Some(Cow::Owned(part.into_owned()))
    }

    fn server_tls(&self, fact: TlsFact) -> Option<Value<'_>> {
        let session = self.of_exchange(|exchange| exchange.server_tls.clone())?;
        tls_fact(&session, fact).map(Value::into_owned)
    }

    fn server(&self) -> Option<Cow<'_, [u8]>> {
        self.of_exchange(|exchange| {
            let server = exchange.server()?;
            Some(Cow::Owned(server.name.as_bytes().to_vec()))
        })
    }

    fn unique_format(&self) -> Option<&Template> {
        Some(&self.client.frontend().config.unique_id.as_ref()?.format)
    }

    fn request_line(&self) -> Option<(Method, Uri, Version)> {
        self.of_exchange(|exchange| exchange.request.clone())
    }

    fn request_number(&self) -> u64 {
        self.client.number()
    }

    fn now_ms(&self) -> u64 {
        self.client
            .worker
            .shared
            .topology
            .clock
            .at(self.client.now())
    }
}
