//! Changes of servers by the page: who may ask for them, and what they come to.
//!
//! A browser sends a password along with whatever another site makes it send, so a password alone says nothing of what
//! its owner wants. A change therefore has to bring a token that only this page shows, made of a cookie that browsers
//! keep from other sites' requests (SameSite), of the user's name and of a secret of this process; and where the browser
//! says which site the request is from, it has to be this one.

use std::{
    fmt::Write,
    net::IpAddr,
    sync::{Arc, LazyLock},
};

use aws_lc_rs::{constant_time, hmac, rand};
use http::{HeaderMap, header};

use super::{
    super::{form, page::Told, snapshot::Sources},
    Unread,
};
use crate::{
    config::model::Shows,
    observe::log::Level,
    rules::credentials,
    topology::{AdminState, Backend, STATIC_WEIGHTS, Server, Topology},
};

/// The cookie that tokens belong to.
const COOKIE: &str = "lb-stats";
/// Digits of its value.
const DIGITS: usize = 32;
/// Servers that a line of the log names.
const NAMED: usize = 50;
/// Most bytes of a change; HAProxy says the same with `EXCD`.
pub(in super::super) const MOST_BYTES: usize = 256 * 1024;

static SECRET: LazyLock<Option<hmac::Key>> = LazyLock::new(|| {
    let random = rand::SystemRandom::new();
    hmac::Key::generate(hmac::HMAC_SHA256, &random).ok()
});

/// What makes a page one that changes may come from.
#[derive(Debug, Clone)]
pub(super) struct Ticket {
    cookie: String,
    /// Whether the browser has to be told of the cookie.
    is_new: bool,
    /// What the page's forms hold.
    pub(super) token: String,
}

impl Ticket {
    /// For whoever has sent these headers; `None` where the system has no random numbers.
    pub(super) fn issue(headers: &HeaderMap) -> Option<Self> {
        let known = cookie(headers);
        let is_new = known.is_none();
        let cookie = match known {
            Some(cookie) => cookie.to_owned(),
            None => {
                let mut bytes = [0_u8; DIGITS / 2];
                rand::fill(&mut bytes).ok()?;
                hex(&bytes)
            }
        };
        let token = hex(sign(&cookie, headers)?.as_ref());
        Some(Self {
            cookie,
            is_new,
            token,
        })
    }

    /// `Set-Cookie`, if the browser does not have it yet.
    pub(super) fn set_cookie(&self, uri: &str, secure: bool) -> Option<String> {
        // What stands behind `;` is part of the last name (RFC 6265 section 5.1.4): the folder above is all that the page
        // and its options share.
        let path = uri.split(['?', ';']).next().unwrap_or("/");
        let path = path.rfind('/').map_or("/", |end| &path[..=end]);
        let secure = if secure { "; Secure" } else { "" };
        self.is_new.then(|| {
            format!(
                "{COOKIE}={}; Path={path}; HttpOnly; SameSite=Strict{secure}",
                self.cookie
            )
        })
    }
}

/// The cookie's value, if it is one of ours by its form.
fn cookie(headers: &HeaderMap) -> Option<&str> {
    let fields = headers.get_all(header::COOKIE).iter();
    let pairs = fields.filter_map(|field| field.to_str().ok());
    let mut pairs = pairs.flat_map(|field| field.split(';'));
    pairs.find_map(|pair| {
        let (name, value) = pair.trim().split_once('=')?;
        let is_ours =
            name == COOKIE && value.len() == DIGITS && value.bytes().all(|b| b.is_ascii_hexdigit());
        is_ours.then_some(value)
    })
}

fn sign(cookie: &str, headers: &HeaderMap) -> Option<hmac::Tag> {
    let mut text = cookie.as_bytes().to_vec();
    if let Some((user, _)) = credentials(headers) {
        text.extend_from_slice(&user);
    }
    Some(hmac::sign(SECRET.as_ref()?, &text))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut out, byte| {
        // A String takes everything.
        let _ = write!(out, "{byte:02x}");
        out
    })
}

/// A request for a change.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wish<'a> {
    pub(super) headers: &'a HeaderMap,
    pub(super) body: Result<&'a [u8], Unread>,
    /// Whether the configuration lets its sender.
    pub(super) allowed: bool,
    /// Which proxies are shown: no others are changed.
    pub(super) shows: &'a Shows,
    /// Where it comes from, for the log.
    pub(super) client: Option<IpAddr>,
}

/// What is asked of servers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Action {
    State(AdminState),
    Weight(Weight),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Weight {
    Absolute(u16),
    /// Of what the file says.
    Percent(u16),
}

/// Carries out what is asked for, if it may be; and has it in the log either way.
pub(super) fn act(sources: &Sources, wish: &Wish<'_>) -> Told {
    let who = who(wish);
    let fields: Vec<_> = form::pairs(wish.body.unwrap_or_default()).collect();
    let field = |name: &str| {
        let mut found = fields.iter().filter(|(known, _)| known == name);
        found.next_back().map_or("", |(_, value)| value.as_str())
    };
    let refuse = |why: &str| {
        let text = format!("Stats page: {who} was refused a change of servers: {why}.");
        sources.log.event(Level::Warning, &text);
        Told::Denied
    };
    if !wish.allowed {
        return refuse("changes are not allowed there");
    }
    if !is_same_site(wish.headers) {
        return refuse("it came from another site");
    }
    match wish.body {
        Ok(_) => {}
        Err(Unread::TooLong) => return Told::TooLong,
        Err(Unread::BrokenOff) => return Told::Unclear,
    }
    if !is_ticket(wish.headers, field("token")) {
        return refuse("it has no valid token");
    }
    let topology = sources.topology();
    let (Some(backend), Some(action)) = (
        backend(&topology, field("b")).filter(|backend| wish.shows.wants(&backend.name)),
        action(field("action"), field("weight")),
    ) else {
        return Told::Unclear;
    };
    let names = fields.iter().filter(|(name, _)| name == "s");
    let mut unknown = false;
    let mut changed = Vec::new();
    let mut fixed = Vec::new();
    for (_, name) in names {
        match backend
            .server(name)
            .map(|server| (server, carry_out(backend, server, action)))
        {
            Some((server, Outcome::Changed)) => changed.push(&*server.name),
            Some((server, Outcome::Fixed)) => fixed.push(&*server.name),
            Some((_, Outcome::Same)) => {}
            None => unknown = true,
        }
    }
    let lists = |names: &[&str]| -> Vec<String> {
        let list = |names: &[&str]| {
            let names = names.iter().map(|name| format!("{}/{name}", backend.name));
            names.collect::<Vec<_>>().join(", ")
        };
        names.chunks(NAMED).map(list).collect()
    };
    let action = words(action);
    for names in lists(&changed) {
        let text = format!("Stats page: {who} set {names} to {action}.");
        sources.log.event(Level::Notice, &text);
    }
    for names in lists(&fixed) {
        let text = format!("Stats page: {who} was refused {action} for {names}: {STATIC_WEIGHTS}");
        sources.log.event(Level::Warning, &text);
    }
    match (changed.is_empty(), unknown) {
        _ if !fixed.is_empty() => Told::Fixed,
        (_, true) => Told::Partly,
        (true, false) => Told::Nothing,
        (false, false) => Told::Done,
    }
}

fn who(wish: &Wish<'_>) -> String {
    let user = credentials(wish.headers).map(|(user, _)| {
        let user = String::from_utf8_lossy(&user);
        // A name that breaks lines would write lines of its own.
        user.chars()
            .map(|c| if c.is_control() { '?' } else { c })
            .collect()
    });
    let user = user.unwrap_or_else(|| "somebody".to_owned());
    match wish.client {
        Some(client) => format!("{user} at {}", client.to_canonical()),
        None => user,
    }
}

/// Whether the browser says that it is this page that asks. One that says nothing is judged by the token alone.
fn is_same_site(headers: &HeaderMap) -> bool {
    let text = |name: &str| headers.get(name).map(|value| value.to_str().unwrap_or("?"));
    if text("sec-fetch-site").is_some_and(|site| site != "same-origin") {
        return false;
    }
    let Some(origin) = text("origin") else {
        return true;
    };
    let Some((scheme, authority)) = origin.split_once("://") else {
        return false;
    };
    let port = if scheme == "https" { ":443" } else { ":80" };
    let plain = |authority: &str| {
        let authority = authority.to_ascii_lowercase();
        match authority.strip_suffix(port) {
            Some(host) => host.to_owned(),
            None => authority,
        }
    };
    text("host").is_some_and(|host| plain(host) == plain(authority))
}

fn is_ticket(headers: &HeaderMap, token: &str) -> bool {
    let Some(expected) = cookie(headers).and_then(|cookie| sign(cookie, headers)) else {
        return false;
    };
    let expected = hex(expected.as_ref());
    constant_time::verify_slices_are_equal(expected.as_bytes(), token.as_bytes()).is_ok()
}

/// By its name, or as HAProxy's page names it: `#3`.
fn backend<'t>(topology: &'t Topology, name: &str) -> Option<&'t Arc<Backend>> {
    if let Some(backend) = topology.backend(name) {
        return Some(backend);
    }
    let iid: u32 = name.strip_prefix('#')?.parse().ok()?;
    topology.backends.iter().find(|b| b.config.id == iid)
}

fn action(action: &str, weight: &str) -> Option<Action> {
    Some(match action {
        "ready" => Action::State(AdminState::Ready),
        "drain" => Action::State(AdminState::Drain),
        "maint" => Action::State(AdminState::Maint),
        "weight" => {
            let weight = weight.trim();
            Action::Weight(match weight.strip_suffix('%') {
                Some(percent) => Weight::Percent(percent.trim().parse().ok()?),
                None => Weight::Absolute(weight.parse().ok().filter(|weight| *weight <= 256)?),
            })
        }
        _ => return None,
    })
}

/// What an action has come to at a server.
enum Outcome {
    /// It was otherwise before.
    Changed,
    /// It was so already.
    Same,
    /// It is a weight that the backend's algorithm does not follow.
    Fixed,
}

fn carry_out(backend: &Backend, server: &Arc<Server>, action: Action) -> Outcome {
    match action {
        Action::State(state) if server.admin() == state => Outcome::Same,
        Action::State(state) => {
            backend.set_admin(server, state);
            Outcome::Changed
        }
        Action::Weight(weight) => {
            let weight = match weight {
                Weight::Absolute(weight) => weight,
                Weight::Percent(percent) => {
                    let weight = u32::from(server.config.weight) * u32::from(percent) / 100;
                    u16::try_from(weight.min(256)).unwrap_or(256)
                }
            };
            if !backend.follows_weight(server, weight) {
                return Outcome::Fixed;
            }
            if server.weight() == weight {
                return Outcome::Same;
            }
            backend.set_weight(server, weight);
            Outcome::Changed
        }
    }
}

fn words(action: Action) -> String {
    match action {
        Action::State(AdminState::Ready) => "ready".to_owned(),
        Action::State(AdminState::Drain) => "drain".to_owned(),
        Action::State(AdminState::Maint) => "maint".to_owned(),
        Action::Weight(Weight::Absolute(weight)) => format!("weight {weight}"),
        Action::Weight(Weight::Percent(percent)) => format!("weight {percent}%"),
    }
}

#[cfg(test)]
mod tests {
    use super::{super::super::fixture, *};
    use crate::config::model::Balance;

    const SITE: [(&str, &str); 3] = [
        ("host", "lb.example:1080"),
        ("origin", "http://lb.example:1080"),
        ("sec-fetch-site", "same-origin"),
    ];

    fn headers(fields: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(*name, value.parse().expect("a value"));
        }
        headers
    }

    /// What comes of a form from a browser that has seen the page.
    fn told(sources: &Sources, form: &str) -> Told {
        let mut headers = headers(&SITE);
        let ticket = Ticket::issue(&headers).expect("random numbers");
        let cookie = format!("other=1; {COOKIE}={}", ticket.cookie);
        headers.append("cookie", cookie.parse().expect("a value"));
        let body = format!("{form}&token={}", ticket.token);
        asked(sources, &headers, &body, true)
    }

    fn asked(sources: &Sources, headers: &HeaderMap, body: &str, allowed: bool) -> Told {
        let shows = Shows::default();
        let wish = Wish {
            shows: &shows,
            headers,
            body: Ok(body.as_bytes()),
            allowed,
            client: None,
        };
        act(sources, &wish)
    }

    #[test]
    fn the_cookie_is_that_of_the_page_and_of_its_options() {
        let ticket = Ticket::issue(&headers(&SITE)).expect("random numbers");
        for (uri, path) in [
            ("/stats", "/"),
            ("/lb/stats", "/lb/"),
            ("/haproxy?stats", "/"),
            ("/stats;live", "/"),
        ] {
            let cookie = ticket.set_cookie(uri, false).expect("a new one");
            assert!(cookie.contains(&format!("; Path={path}; ")), "{cookie}");
        }
    }

    #[test]
    fn a_form_of_which_a_part_has_come_changes_nothing() {
        let sources = fixture::sources();
        let headers = headers(&SITE);
        for (unread, expected) in [
            (Unread::TooLong, Told::TooLong),
            (Unread::BrokenOff, Told::Unclear),
        ] {
            let shows = Shows::default();
            let wish = Wish {
                shows: &shows,
                headers: &headers,
                body: Err(unread),
                allowed: true,
                client: None,
            };
            assert_eq!(act(&sources, &wish), expected);
        }
    }

    #[test]
    fn several_servers_are_changed_at_once() {
        let sources = fixture::sources();
        let topology = sources.topology();
        let server = |name| topology.server("web", name).expect("it is there");
        let drain = "b=web&s=w1&s=w2&action=drain";
        assert_eq!(told(&sources, drain), Told::Done);
        assert_eq!(server("w1").admin(), AdminState::Drain);
        assert_eq!(server("w2").admin(), AdminState::Drain);
        assert_eq!(told(&sources, drain), Told::Nothing);
        assert_eq!(
            told(&sources, "b=%235&s=w1&s=w9&action=ready"),
            Told::Partly
        );
        assert_eq!(server("w1").admin(), AdminState::Ready);
        assert_eq!(
            told(&sources, "b=web&s=w1&action=weight&weight=200%25"),
            Told::Done
        );
        assert_eq!(server("w1").weight(), 2 * server("w1").config.weight);
        assert_eq!(
            told(&sources, "b=web&s=w1&action=weight&weight=7"),
            Told::Done
        );
        assert_eq!(server("w1").weight(), 7);
    }

    #[test]
    fn a_weight_that_the_algorithm_does_not_follow_is_refused_in_words() {
        let sources = fixture::balanced(Balance::StaticRr);
        let topology = sources.topology();
        let server = |name| topology.server("web", name).expect("it is there");
        let own = server("w1").config.weight;
        let weight = |weight: &str| {
            let form = format!("b=web&s=w1&s=w2&action=weight&weight={weight}");
            told(&sources, &form)
        };
        assert_eq!(weight("7"), Told::Fixed);
        assert_eq!((server("w1").weight(), server("w2").weight()), (own, own));
        assert_eq!(weight("0"), Told::Done);
        assert_eq!(server("w1").weight(), 0);
        assert_eq!(weight("200%25"), Told::Fixed);
        assert_eq!(weight("100%25"), Told::Done);
        assert_eq!(server("w2").weight(), own);
    }

    #[test]
    fn what_is_no_change_is_none() {
        let sources = fixture::sources();
        for form in [
            "",
            "b=web&s=w1",
            "b=web&s=w1&action=explode",
            "b=nobody&s=w1&action=drain",
            "b=%231&s=w1&action=drain",
            "b=web&s=w1&action=weight&weight=257",
            "b=web&s=w1&action=weight&weight=-1",
            "b=web&s=w1&action=weight&weight=",
        ] {
            assert_eq!(told(&sources, form), Told::Unclear, "{form}");
        }
        assert_eq!(told(&sources, "b=web&action=drain"), Told::Nothing);
    }

    #[test]
    fn another_site_changes_nothing() {
        let sources = fixture::sources();
        let mut seen = headers(&SITE);
        let ticket = Ticket::issue(&seen).expect("random numbers");
        let cookie = format!("{COOKIE}={}", ticket.cookie);
        seen.append("cookie", cookie.parse().expect("a value"));
        let body = format!("b=web&s=w1&action=drain&token={}", ticket.token);
        let with = |name: &'static str, value: &str| {
            let mut headers = seen.clone();
            headers.insert(name, value.parse().expect("a value"));
            headers
        };
        let elsewhere = Ticket::issue(&headers(&[])).expect("random numbers");
        let other = format!("{COOKIE}={}", elsewhere.cookie);
        let password = "Basic YWRtaW46c2VjcmV0";
        for (headers, body, allowed) in [
            (with("origin", "http://evil.example"), body.as_str(), true),
            (with("origin", "null"), &body, true),
            (with("sec-fetch-site", "cross-site"), &body, true),
            (with("sec-fetch-site", "same-site"), &body, true),
            (with("cookie", &other), &body, true),
            (with("authorization", password), &body, true),
            (headers(&SITE), &body, true),
            (seen.clone(), "b=web&s=w1&action=drain", true),
            (seen.clone(), "b=web&s=w1&action=drain&token=0", true),
            (seen.clone(), &body, false),
        ] {
            let told = asked(&sources, &headers, body, allowed);
            assert_eq!(told, Told::Denied, "{headers:?} {body}");
        }
        let server = sources.topology();
        let server = server.server("web", "w1").expect("it is there");
        assert_eq!(server.admin(), AdminState::Ready);
        assert_eq!(asked(&sources, &seen, &body, true), Told::Done);
    }

    #[test]
    fn a_default_port_may_be_left_out() {
        for (host, origin, same) in [
            ("a.example", "http://a.example:80", true),
            ("a.example:443", "https://A.example", true),
            ("a.example:8080", "http://a.example", false),
            ("a.example", "http://b.example", false),
        ] {
            let headers = headers(&[("host", host), ("origin", origin)]);
            assert_eq!(is_same_site(&headers), same, "{host} {origin}");
        }
    }

    #[test]
    fn the_cookie_is_for_the_page_and_no_script() {
        let ticket = Ticket::issue(&HeaderMap::new()).expect("random numbers");
        let set = ticket
            .set_cookie("/haproxy?stats", true)
            .expect("it is new");
        assert!(
            set.ends_with("; Path=/; HttpOnly; SameSite=Strict; Secure"),
            "{set}"
        );
        let known = headers(&[("cookie", set.split(';').next().unwrap_or_default())]);
        let again = Ticket::issue(&known).expect("random numbers");
        assert_eq!(again.token, ticket.token);
        assert_eq!(again.set_cookie("/stats", false), None);
    }
}
