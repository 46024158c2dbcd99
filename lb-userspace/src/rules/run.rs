//! Carrying rules out: from a head and a list to what becomes of it.

use std::sync::Arc;

use http::{
    HeaderMap, HeaderName, HeaderValue, StatusCode,
    header::{RETRY_AFTER, WWW_AUTHENTICATE},
    request, response,
};
use smallvec::SmallVec;

use super::{
    action::{Edit, End, Gate, Lookup, ResponsePart, Rule, Target, WaitForBody},
    auth::Users,
    edit,
    fetch::Side,
    limit::Limiter,
    reply::{Reply, redirected, returned},
    scene::{RequestView, ResponseView, Scene, State, Unknown, World},
};

/// A list of rules.
#[derive(Debug, Clone, Default)]
pub struct RuleSet {
    rules: Vec<Rule>,
    /// Some response part has a condition on the request, which it sees as it was sent.
    keeps_original: bool,
    /// What is done with whatever answer the client gets looks at the request.
    after_asks: bool,
    has_after: bool,
    /// For each rule the lists of users that it asks for and whose passwords take long to verify.
    slow_users: Vec<Vec<Arc<Users>>>,
    /// Some rule looks at the request's body.
    asks_for_body: bool,
    /// Some rule looks at the response's.
    asks_for_answer: bool,
}

/// What becomes of a request.
#[derive(Debug)]
pub enum Outcome<'r> {
    /// No rule has ended the list.
    Continue,
    /// It goes to this backend.
    Backend(&'r Target),
    /// The name that came of a computed target; no backend is called so if the caller knows none.
    Named(Vec<u8>),
    /// An answer of ours, in full.
    Answer(Reply),
    /// It is refused; the body is that of the status.
    Deny(Denial),
    /// It gets the metrics.
    Metrics,
    /// The connection ends; if it is so, silently.
    Drop(bool),
    /// More of the body has to come before the rule at which it is gone on.
    Await(WaitForBody),
    /// The address of this name has to be found out before the rule at which it is gone on.
    Resolve(&'r Lookup, Vec<u8>),
    /// This has to be found out, which takes long, before the rule at which it is gone on: [`State::check`].
    Verify(Unknown),
}

impl Outcome<'_> {
    /// Whether the client may get an answer of ours that is a page.
    pub fn answers(&self) -> bool {
        match self {
            Self::Deny(_) | Self::Await(_) => true,
            Self::Answer(reply) => reply.page,
            _ => false,
        }
    }
}

/// What the client gets instead of a server's answer.
#[derive(Debug)]
pub enum Verdict {
    /// That of a status, unless it is another one.
    Deny(StatusCode, Option<Box<Reply>>),
    /// This one.
    Answer(Box<Reply>),
    /// None: the connection ends without a word; if it is so, without the client's knowledge.
    Drop(bool),
}

/// How far a list has been carried out for a response.
#[derive(Debug, Default)]
pub struct Reached {
    /// The next of those that apply.
    next: usize,
    /// It holds, and what it waits for has come.
    waited: bool,
}

/// A refusal.
#[derive(Debug, PartialEq, Eq)]
pub struct Denial {
    /// The status.
    pub status: StatusCode,
    /// A field that goes with it.
    pub header: Option<(HeaderName, HeaderValue)>,
    /// It waits for the tarpit's time.
    pub tarpit: bool,
    /// Another answer than the status's own.
    pub answer: Option<Box<Reply>>,
}

/// The response parts that apply, and what they need of the request.
#[derive(Debug, Default)]
pub struct Later {
    rules: SmallVec<[u32; 4]>,
    original: Option<Box<Original>>,
    /// A rule has let the request pass: those that choose a backend are all that is left.
    allowed: bool,
}

/// A request's head as it was sent.
#[derive(Debug, Clone)]
struct Original {
    method: http::Method,
    uri: http::Uri,
    version: http::Version,
    headers: HeaderMap,
}

impl Original {
    fn of(head: &request::Parts) -> Box<Self> {
        Box::new(Self {
            method: head.method.clone(),
            uri: head.uri.clone(),
            version: head.version,
            headers: head.headers.clone(),
        })
    }

    fn view(&self) -> RequestView<'_> {
        RequestView {
            method: &self.method,
            uri: &self.uri,
            version: self.version,
            headers: &self.headers,
        }
    }
}

/// The lists of users that a rule asks for, in any of its parts, and whose passwords take long to verify.
fn slow_users(rule: &Rule) -> Vec<Arc<Users>> {
    let mut found: Vec<Arc<Users>> = Vec::new();
    let mut note = |users: &Arc<Users>| {
        if users.is_slow() && !found.iter().any(|known| Arc::ptr_eq(known, users)) {
            found.push(Arc::clone(users));
        }
    };
    for gate in &rule.gates {
        if let Gate::Auth { users, .. } = gate {
            note(users);
        }
    }
    rule.each_expr(&mut |expr| expr.users().into_iter().for_each(&mut note));
    found
}

impl RuleSet {
    /// Its limits, in the order of the file.
    pub fn limiters(&self) -> impl Iterator<Item = &Limiter> {
        let gates = self.rules.iter().flat_map(|rule| &rule.gates);
        gates.filter_map(|gate| match gate {
            Gate::RateLimit { limiter, .. } => Some(&**limiter),
            Gate::Auth { .. } => None,
        })
    }

    /// A list.
    pub fn new(rules: Vec<Rule>) -> Self {
        let keeps = |rule: &Rule| {
            let Some(response) = &rule.response else {
                return false;
            };
            response.needs_request || rule.condition.as_ref().is_some_and(|c| c.needs_request())
        };
        let asks = |rule: &Rule| rule.after.as_ref().is_some_and(|after| after.needs_request);
        let (mut asks_for_body, mut asks_for_answer) = (false, false);
        for rule in &rules {
            rule.each_expr(&mut |expr| match expr.asks_for_body() {
                Some(Side::Request) => asks_for_body = true,
                Some(Side::Response) => asks_for_answer = true,
                None => {}
            });
        }
        Self {
            asks_for_body,
            asks_for_answer,
            after_asks: rules.iter().any(asks),
            has_after: rules.iter().any(|rule| rule.after.is_some()),
            keeps_original: rules.iter().any(keeps),
            slow_users: rules.iter().map(slow_users).collect(),
            rules,
        }
    }

    /// The servers that rules name which hold, in their order.
    pub fn servers(&self, scene: &Scene<'_>) -> impl Iterator<Item = Vec<u8>> {
        let holds = |rule: &&Rule| rule.condition.as_ref().is_none_or(|c| c.holds(scene));
        let named = self.rules.iter().filter(holds);
        named
            .flat_map(|rule| &rule.edits)
            .filter_map(|edit| match edit {
                Edit::UseServer(name) => Some(name.render(scene)),
                _ => None,
            })
    }

    /// Whether some rule looks at the request's body: whoever carries the list out shows it what has come.
    pub fn asks_for_body(&self) -> bool {
        self.asks_for_body
    }

    /// Whether rules may change fields that are `concerned`, or the Host: of requests, and of responses while they come.
    pub fn changes(&self, concerned: &dyn Fn(&HeaderName) -> bool) -> (bool, bool) {
        let any = |edits: &[Edit]| edits.iter().any(|edit| edit.changes(concerned));
        let of_responses = |rule: &Rule| rule.response.as_ref().is_some_and(|r| any(&r.edits));
        (
            self.rules.iter().any(|rule| any(&rule.edits)),
            self.rules.iter().any(of_responses),
        )
    }

    /// The same of the response's.
    pub fn asks_for_answer(&self) -> bool {
        self.asks_for_answer
    }

    /// Whether some rule gives packets a mark.
    pub fn marks(&self) -> bool {
        let marks = |edit: &Edit| matches!(edit, Edit::SetMark(_));
        self.rules.iter().any(|rule| {
            let parts = rule.response.iter().chain(&rule.after);
            rule.edits
                .iter()
                .chain(parts.flat_map(|part| &part.edits))
                .any(marks)
        })
    }

    /// The rules.
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// Tells each `use_backend` the index of its backend.
    pub fn resolve(&self, index_of: impl Fn(&str) -> Option<usize>) {
        for rule in &self.rules {
            if let Some(End::Backend(Target::Named(named))) = &rule.end
                && let Some(found) = index_of(named.name())
            {
                named.is_at(found);
            }
        }
    }

    /// Keeps a request's head for [`Self::after`], if that asks for it: also of one that is answered before any rule.
    pub fn keep(&self, head: &request::Parts, later: &mut Later) {
        if self.after_asks && later.original.is_none() {
            later.original = Some(Original::of(head));
        }
    }

    /// Carries the list out from the rule at `from` on; where a computed backend is none, the caller goes on after it.
    /// Returns what becomes of the request, and the rule after the one that said so.
    pub fn request(
        &self,
        from: usize,
        head: &mut request::Parts,
        state: &mut State,
        later: &mut Later,
        world: &dyn World,
    ) -> (Outcome<'_>, usize) {
        self.keep(head, later);
        let awaited = state.awaited.take();
        let looked_up = state.looked_up.take();
        for (at, rule) in self.rules.iter().enumerate().skip(from) {
            if rule.after.is_some() {
                if let Some(unknown) = self.unknown(at, head, state) {
                    return (Outcome::Verify(unknown), at);
                }
                continue;
            }
            let for_response_alone = rule.is_for_response_alone();
            if later.allowed && !for_response_alone && !matches!(rule.end, Some(End::Backend(_))) {
                continue;
            }
            // Asked once a rule, or its halves might disagree. What is for the response alone asks the request as it came.
            let original = later.original.as_ref().filter(|_| for_response_alone);
            let request = original.map_or(RequestView::new(head), |original| original.view());
            // What comes before a password keeps it from being verified for nothing.
            state.aside = true;
            let holds = holds(rule, request, state, world);
            state.aside = false;
            if state.wanted.get_mut().is_some()
                && let Some(unknown) = state.wanted.take()
            {
                return (Outcome::Verify(unknown), at);
            }
            if !holds {
                continue;
            }
            if let Some(unknown) = self.unknown(at, head, state) {
                return (Outcome::Verify(unknown), at);
            }
            if let Some(wait) = rule.wait
                && awaited != Some(at)
            {
                state.awaited = Some(at);
                return (Outcome::Await(wait), at);
            }
            if let Some(lookup) = &rule.lookup
                && looked_up != Some(at)
            {
                (state.awaited, state.looked_up) = (awaited, Some(at));
                let name = lookup.name.render(&Scene {
                    request: Some(RequestView::new(head)),
                    response: None,
                    state,
                    world,
                });
                return (Outcome::Resolve(lookup, name), at);
            }
            if let Some(response) = &rule.response {
                later.rules.push(u32::try_from(at).unwrap_or(u32::MAX));
                if response.needs_request && later.original.is_none() {
                    later.original = Some(Original::of(head));
                }
            }
            if for_response_alone {
                continue;
            }
            for edit in &rule.edits {
                if self.keeps_original && later.original.is_none() && edit.changes_head() {
                    later.original = Some(Original::of(head));
                }
                edit::request(edit, head, state, world);
            }
            if !self.rules.get(at + 1).is_some_and(Rule::goes_on_hinting) {
                state.end_hint();
            }
            let scene = Scene {
                request: Some(RequestView::new(head)),
                response: None,
                state,
                world,
            };
            for gate in &rule.gates {
                if let Some(denial) = refuses(gate, &scene) {
                    state.last_rule = rule.place;
                    return (Outcome::Deny(denial), at + 1);
                }
            }
            let outcome = match &rule.end {
                None => continue,
                Some(End::Allow) => {
                    later.allowed = true;
                    state.last_rule = rule.place;
                    continue;
                }
                // Where a request goes is not the last word, as in HAProxy.
                Some(End::Backend(Target::Computed(name))) => {
                    return (Outcome::Named(name.render(&scene)), at + 1);
                }
                Some(End::Backend(target)) => return (Outcome::Backend(target), at + 1),
                Some(End::Redirect(redirect)) => match redirected(redirect, &scene) {
                    Some(reply) => Outcome::Answer(reply),
                    None => continue,
                },
                Some(End::Return(answer)) => Outcome::Answer(returned(answer, &scene)),
                Some(End::Metrics) => Outcome::Metrics,
                Some(End::Drop { silent }) => Outcome::Drop(*silent),
                Some(End::Close) => continue,
                Some(End::Deny {
                    status,
                    tarpit,
                    answer,
                }) => Outcome::Deny(Denial {
                    status: *status,
                    header: None,
                    tarpit: *tarpit,
                    answer: answer.as_ref().map(|a| Box::new(returned(a, &scene))),
                }),
            };
            state.last_rule = rule.place;
            return (outcome, at + 1);
        }
        (Outcome::Continue, self.rules.len())
    }

    /// What the rule at `at` will ask of users that is not known yet.
    fn unknown(&self, at: usize, head: &request::Parts, state: &State) -> Option<Unknown> {
        let mut users = self.slow_users.get(at)?.iter();
        let users = users.find(|users| state.known(users, &head.headers).is_none())?;
        Unknown::of(users, &head.headers)
    }

    /// Carries the response parts out that the request's way through the list has come by, from where that has been
    /// `reached`. Returns what has to have come of its body before it can go on.
    ///
    /// # Errors
    /// The response is not passed on: the client gets this instead.
    pub fn response(
        &self,
        reached: &mut Reached,
        later: &Later,
        head: &mut response::Parts,
        state: &mut State,
        world: &dyn World,
    ) -> Result<Option<WaitForBody>, Verdict> {
        let request = later.original.as_ref().map(|original| original.view());
        let first = reached.next;
        let places = later.rules.iter().enumerate().skip(first);
        let parts = places.filter_map(|(place, at)| {
            let rule = self.rules.get(*at as usize)?;
            Some((place, rule, rule.response.as_ref()?))
        });
        for (place, rule, part) in parts {
            let waited = place == first && std::mem::take(&mut reached.waited);
            if !waited && !applies(part, request, head, state, world) {
                continue;
            }
            if let Some(wait) = part.wait.filter(|_| !waited) {
                *reached = Reached {
                    next: place,
                    waited: true,
                };
                return Ok(Some(wait));
            }
            for edit in &part.edits {
                edit::response(edit, head, request, state, world);
            }
            let scene = Scene {
                request,
                response: Some(ResponseView::new(head)),
                state,
                world,
            };
            let verdict = match &part.end {
                Some(End::Deny { status, answer, .. }) => {
                    let answer = answer.as_ref().map(|a| Box::new(returned(a, &scene)));
                    Err(Verdict::Deny(*status, answer))
                }
                Some(End::Redirect(to)) => match redirected(to, &scene) {
                    Some(reply) => Err(Verdict::Answer(reply.into())),
                    None => continue,
                },
                Some(End::Return(answer)) => Err(Verdict::Answer(returned(answer, &scene).into())),
                Some(End::Drop { silent }) => Err(Verdict::Drop(*silent)),
                Some(End::Allow) => Ok(None),
                _ => continue,
            };
            state.last_rule = rule.place;
            return verdict;
        }
        Ok(None)
    }

    /// Carries the list out for a connection that has brought no request yet. `Some` if it is not let in; true: silently.
    pub fn connection(&self, state: &mut State, world: &dyn World) -> Option<bool> {
        for rule in &self.rules {
            let scene = Scene {
                request: None,
                response: None,
                state,
                world,
            };
            let holds = |condition: &super::Condition| condition.holds(&scene);
            if !rule.condition.as_ref().is_none_or(holds) {
                continue;
            }
            for edit in &rule.edits {
                edit::connection(edit, state, world);
            }
            match &rule.end {
                Some(End::Drop { silent }) => return Some(*silent),
                Some(End::Allow) => return None,
                _ => {}
            }
        }
        None
    }

    /// Whether something is done with whatever answer the client gets.
    pub fn has_after(&self) -> bool {
        self.has_after
    }

    /// Does with the answer that the client gets, whoever's it is, what is to be done in the end. Not with one that ends its
    /// connection because what came was no request.
    pub fn after(
        &self,
        later: &Later,
        head: &mut response::Parts,
        state: &mut State,
        world: &dyn World,
    ) {
        let request = later.original.as_ref().map(|original| original.view());
        for rule in &self.rules {
            let Some(part) = &rule.after else { continue };
            if !applies(part, request, head, state, world) {
                continue;
            }
            for edit in &part.edits {
                edit::response(edit, head, request, state, world);
            }
            if let Some(End::Allow) = part.end {
                state.last_rule = rule.place;
                return;
            }
        }
    }
}

/// Whether the condition of a part that is about a response holds.
fn applies(
    part: &ResponsePart,
    request: Option<RequestView<'_>>,
    head: &response::Parts,
    state: &State,
    world: &dyn World,
) -> bool {
    let scene = Scene {
        request,
        response: Some(ResponseView::new(head)),
        state,
        world,
    };
    let holds = |condition: &super::Condition| condition.holds(&scene);
    part.condition.as_ref().is_none_or(holds)
}

impl Later {
    /// Whether nothing is to be done with the response.
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }
}

fn holds(rule: &Rule, request: RequestView<'_>, state: &State, world: &dyn World) -> bool {
    let scene = Scene {
        request: Some(request),
        response: None,
        state,
        world,
    };
    rule.condition
        .as_ref()
        .is_none_or(|condition| condition.holds(&scene))
}

/// Why a gate does not let a request pass.
fn refuses(gate: &Gate, scene: &Scene<'_>) -> Option<Denial> {
    match gate {
        Gate::Auth { realm, users } => {
            if scene.state.allows(users, scene.request?.headers) {
                return None;
            }
            let realm = realm.as_deref().unwrap_or_else(|| scene.world.frontend());
            let challenge = format!("Basic realm=\"{}\"", realm.replace(['"', '\\'], "'"));
            Some(Denial {
                status: StatusCode::UNAUTHORIZED,
                header: HeaderValue::try_from(challenge)
                    .ok()
                    .map(|v| (WWW_AUTHENTICATE, v)),
                tarpit: false,
                answer: None,
            })
        }
        Gate::RateLimit {
            key,
            limiter,
            status,
        } => {
            // Who has no such header or cookie is not limited.
            let key = key.value(scene)?.into_bytes();
            let seconds = limiter.admit(&key, scene.world.now_ms()).err()?;
            Some(Denial {
                status: *status,
                header: Some((RETRY_AFTER, HeaderValue::from(seconds))),
                tarpit: false,
                answer: None,
            })
        }
    }
}
