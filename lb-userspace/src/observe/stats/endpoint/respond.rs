//! From a request's head to a whole response. No socket here.

use std::{io::Write, net::IpAddr, sync::Arc};

use bytes::Bytes;
use flate2::{Compression, write::GzEncoder};
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, Uri, header};
use http_body_util::Full;
use maud::html;

use super::{
    super::{
        csv, metrics,
        page::{self, Page, View},
        row::Row,
        snapshot::{Snapshot, Sources},
    },
    act::{self, Ticket, Wish},
    route::{Form, Route, route},
};
use crate::{
    config::model::{Bind, Stats, StatsAdmin},
    tls::Acceptor,
};

/// What the endpoint needs to answer.
#[derive(Debug)]
pub struct Endpoint {
    config: Stats,
    sources: Sources,
}

/// A request.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// Its method.
    pub method: &'a Method,
    /// Its target.
    pub uri: &'a Uri,
    /// Its headers.
    pub headers: &'a HeaderMap,
    /// What it has sent, all of it, if [`Endpoint::wants_body`].
    pub body: Result<&'a [u8], Unread>,
    /// Where it comes from; `None` from a unix socket.
    pub client: Option<IpAddr>,
    /// Whether it came through TLS.
    pub secure: bool,
    /// Whether the condition of `admin` holds, if there is one.
    pub admitted: bool,
}

/// Why what somebody sends is not known: a part of it may say something else than the whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unread {
    /// There is more of it than is taken.
    TooLong,
    /// It has broken off.
    BrokenOff,
}

/// So many servers make it worth a thread to show them.
const MANY_SERVERS: usize = 50;
/// What is shorter is not compressed.
const SHORT: usize = 1024;

impl Endpoint {
    /// An endpoint configured by `config` that shows `sources`.
    pub fn new(config: Stats, sources: Sources) -> Self {
        Self { config, sources }
    }

    /// Whether it takes long to answer such a request, so that the thread should do something else meanwhile: to find out
    /// whether it may be answered, to write down many servers, or to look who asks most in large tables.
    pub fn takes_long(&self, uri: &Uri, headers: &HeaderMap) -> bool {
        let route = self.route(uri);
        if route == Route::Health {
            return false;
        }
        let users = self.config.auth.as_ref();
        let asks =
            headers.contains_key(header::AUTHORIZATION) && users.is_some_and(|u| u.is_slow());
        let topology = self.sources.topology();
        let servers: usize = topology.backends.iter().map(|b| b.servers.len()).sum();
        let shows_clients = matches!(route, Route::Stats { .. }) && !topology.tables.is_empty();
        asks || servers > MANY_SERVERS || shows_clients
    }

    /// How much of a request's body is wanted.
    pub fn wants_body(&self, method: &Method, uri: &Uri) -> usize {
        let changes = *method == Method::POST
            && !matches!(self.config.admin, StatsAdmin::Nobody)
            && matches!(self.route(uri), Route::Stats { .. });
        if changes { act::MOST_BYTES } else { 0 }
    }

    /// How it is configured.
    pub fn config(&self) -> &Stats {
        &self.config
    }

    /// What it listens on, with the TLS of each that has it.
    pub(super) fn binds(&self) -> impl Iterator<Item = (&Bind, Option<Arc<Acceptor>>)> {
        let topology = self.sources.topology();
        let acceptor = move |bind: &Bind| {
            let (_, acceptor) = topology.stats.iter().find(|(known, _)| known == bind)?;
            acceptor.clone()
        };
        self.config
            .binds
            .iter()
            .map(move |bind| (bind, acceptor(bind)))
    }

    /// The answer to a request.
    pub fn respond(&self, asked: &Asked<'_>) -> Response<Full<Bytes>> {
        let route = self.route(asked.uri);
        self.answer(route, asked).map(Full::from)
    }

    /// The answer to a request for the page in one of its forms; `None` if it is for anything else.
    pub fn page(&self, asked: &Asked<'_>) -> Option<Response<Bytes>> {
        let route = self.route(asked.uri);
        matches!(route, Route::Stats { .. }).then(|| self.answer(route, asked))
    }

    /// The metrics, whatever the request's path and method are.
    pub fn metrics_of(&self, asked: &Asked<'_>) -> Response<Bytes> {
        let query = asked.uri.query().unwrap_or_default();
        compressed(self.metrics(query, asked.headers), asked.headers)
    }

    /// Whether a request is for the page in one of its forms.
    pub fn is_page(&self, uri: &Uri) -> bool {
        matches!(self.route(uri), Route::Stats { .. })
    }

    fn route(&self, uri: &Uri) -> Route {
        let target = uri.path_and_query().map_or("/", |target| target.as_str());
        route(target, &self.config.uri)
    }

    fn answer(&self, route: Route, asked: &Asked<'_>) -> Response<Bytes> {
        if self.needs_password(&route) && !self.is_allowed(asked.headers) {
            return self.unauthorized();
        }
        let response = match (route, asked.method) {
            (Route::Unknown, _) => self.guide(asked.uri),
            (Route::Stats { view, .. }, &Method::POST) => self.change(&view, asked),
            (_, method) if method != Method::GET && method != Method::HEAD => {
                let mut response = error(
                    StatusCode::METHOD_NOT_ALLOWED,
                    "405 Method Not Allowed",
                    "Only GET and HEAD are understood here.",
                );
                set(&mut response, header::ALLOW, "GET, HEAD");
                response
            }
            (Route::Health, _) => self.health(),
            (Route::Metrics, _) => {
                let query = asked.uri.query().unwrap_or_default();
                self.metrics(query, asked.headers)
            }
            (Route::Stats { form, view }, _) => self.stats(form, &view, asked),
        };
        compressed(response, asked.headers)
    }

    /// 404, and what there is instead. Who has asked for the root has typed an address and nothing more: a browser goes on
    /// from there to the page.
    fn guide(&self, asked: &Uri) -> Response<Bytes> {
        let page = &self.config.uri;
        let list = html! {
            "There is nothing at this path. There is:"
            ul {
                li { a href=(page) { (page) } " the statistics; with " code { ";csv" } " and " code { ";json" } " in these forms" }
                li { a href="/metrics" { "/metrics" } " for Prometheus" }
                li { a href="/healthz" { "/healthz" } " whether lb serves" }
            }
        };
        let mut response = error(StatusCode::NOT_FOUND, "404 Not Found", &list.into_string());
        if asked.path() == "/" {
            set(&mut response, header::REFRESH, &format!("0; url={page}"));
        }
        response
    }

    fn needs_password(&self, route: &Route) -> bool {
        match route {
            Route::Health => false,
            Route::Metrics => self.config.metrics.auth,
            Route::Stats { .. } | Route::Unknown => true,
        }
    }

    fn is_allowed(&self, headers: &HeaderMap) -> bool {
        let users = self.config.auth.as_ref();
        users.is_none_or(|users| users.allow(headers))
    }

    fn stats(&self, form: Form, view: &View, asked: &Asked<'_>) -> Response<Bytes> {
        let refresh = self.config.refresh.filter(|_| !view.once && !view.live);
        let may_change = form == Form::Html && self.is_admin(asked);
        let ticket = may_change.then(|| Ticket::issue(asked.headers)).flatten();
        let page = Page {
            uri: &self.config.uri,
            refresh,
            view,
            shows: &self.config.shows,
            token: ticket.as_ref().map(|ticket| ticket.token.as_str()),
        };
        let (kind, body) = match form {
            Form::Html => {
                let snapshot = self.snapshot(true);
                let body = match view.live {
                    true => page::fragment(&snapshot, &page),
                    false => page::render(&snapshot, &page),
                };
                ("text/html; charset=utf-8", body)
            }
            Form::Csv => ("text/plain; charset=utf-8", csv::of(&self.snapshot(false))),
            Form::Json => ("application/json", self.snapshot(true).to_json()),
        };
        let mut response = plain(StatusCode::OK, kind, body);
        if let Some(refresh) = refresh {
            set(
                &mut response,
                header::REFRESH,
                &refresh.as_secs().max(1).to_string(),
            );
        }
        if form == Form::Html {
            set(
                &mut response,
                header::CONTENT_SECURITY_POLICY,
                &page::CONTENT_SECURITY_POLICY,
            );
        }
        let cookie = ticket.and_then(|ticket| ticket.set_cookie(&self.config.uri, asked.secure));
        if let Some(cookie) = cookie {
            set(&mut response, header::SET_COOKIE, &cookie);
        }
        response
    }

    /// What is shown: of a scope nothing but its proxies.
    fn snapshot(&self, whole: bool) -> Snapshot {
        let mut snapshot = match whole {
            true => self.sources.whole(),
            false => self.sources.snapshot(),
        };
        let shows = &self.config.shows;
        if let Some(node) = &shows.node {
            snapshot.process.node.clone_from(node);
        }
        if shows.hide_version {
            snapshot.process.version = String::new().into();
        }
        if shows.scope.is_some() {
            let is_shown = |row: &Row| shows.wants(row.pxname.as_deref().unwrap_or_default());
            snapshot.frontends.retain(|one| is_shown(&one.row));
            snapshot.backends.retain(|one| is_shown(&one.own.row));
            snapshot.history = None;
            snapshot.clients = Vec::new();
        }
        snapshot
    }

    fn is_admin(&self, asked: &Asked<'_>) -> bool {
        self.config.admin.allows(asked.client, asked.admitted)
    }

    /// Changes servers, and has the browser look at the page anew, so that drawing that once more changes nothing again.
    fn change(&self, view: &View, asked: &Asked<'_>) -> Response<Bytes> {
        let told = act::act(
            &self.sources,
            &Wish {
                headers: asked.headers,
                body: asked.body,
                allowed: self.is_admin(asked),
                shows: &self.config.shows,
                client: asked.client,
            },
        );
        let mut response = plain(
            StatusCode::SEE_OTHER,
            "text/plain; charset=utf-8",
            String::new(),
        );
        let to = view.link(&self.config.uri, &format!(";st={}", told.code()));
        set(&mut response, header::LOCATION, &to);
        response
    }

    fn metrics(&self, query: &str, headers: &HeaderMap) -> Response<Bytes> {
        let accept = headers.get(header::ACCEPT);
        let accept = accept.and_then(|value| value.to_str().ok());
        let asked = match metrics::Asked::read(query, accept, self.config.metrics.servers) {
            Ok(asked) => asked,
            Err(metrics::BadScope) => {
                return error(
                    StatusCode::BAD_REQUEST,
                    "400 Bad request",
                    "A scope is global, frontend, backend, server or *.",
                );
            }
        };
        let text = metrics::write(&self.sources, &asked);
        plain(StatusCode::OK, asked.format.content_type(), text)
    }

    fn health(&self) -> Response<Bytes> {
        let (status, body) = if self.sources.process.is_stopping() {
            (StatusCode::SERVICE_UNAVAILABLE, "stopping\n")
        } else {
            (StatusCode::OK, "ok\n")
        };
        plain(status, "text/plain; charset=utf-8", body.to_owned())
    }

    fn unauthorized(&self) -> Response<Bytes> {
        let mut response = error(
            StatusCode::UNAUTHORIZED,
            "401 Unauthorized",
            "You need a valid user and password to access this content.",
        );
        let realm = self.config.realm.replace('\\', "\\\\").replace('"', "\\\"");
        set(
            &mut response,
            header::WWW_AUTHENTICATE,
            &format!("Basic realm=\"{realm}\""),
        );
        response
    }
}

/// HAProxy's error page.
fn error(status: StatusCode, title: &str, text: &str) -> Response<Bytes> {
    plain(
        status,
        "text/html",
        format!("<html><body><h1>{title}</h1>\n{text}\n</body></html>\n"),
    )
}

fn plain(status: StatusCode, kind: &'static str, body: String) -> Response<Bytes> {
    let mut response = Response::new(Bytes::from(body));
    *response.status_mut() = status;
    set(&mut response, header::CACHE_CONTROL, "no-cache");
    set(&mut response, header::CONTENT_TYPE, kind);
    set(&mut response, header::X_CONTENT_TYPE_OPTIONS, "nosniff");
    response
}

/// The same in gzip, if the client takes that and it is worth it.
fn compressed(mut response: Response<Bytes>, headers: &HeaderMap) -> Response<Bytes> {
    let fields = headers.get_all(header::ACCEPT_ENCODING).iter();
    let mut codings = fields
        .filter_map(|field| field.to_str().ok())
        .flat_map(|field| field.split(','));
    let takes_gzip = codings.any(|coding| {
        let (name, weight) = coding.split_once(';').unwrap_or((coding, ""));
        let weight = weight.trim().trim_start_matches("q=");
        name.trim().eq_ignore_ascii_case("gzip") && weight.parse::<f32>() != Ok(0.0)
    });
    if response.body().len() < SHORT {
        return response;
    }
    set(&mut response, header::VARY, "Accept-Encoding");
    if !takes_gzip {
        return response;
    }
    let mut encoder = GzEncoder::new(Vec::new(), Compression::new(4));
    let written = encoder.write_all(response.body());
    // A vector takes everything.
    let Ok(body) = written.and_then(|()| encoder.finish()) else {
        return response;
    };
    *response.body_mut() = Bytes::from(body);
    set(&mut response, header::CONTENT_ENCODING, "gzip");
    response
}

/// Sets a header. A value that no header can hold (a realm with a line end) is left out: the configuration is to blame,
/// the client cannot mend it.
fn set<B>(response: &mut Response<B>, name: http::HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        response.headers_mut().insert(name, value);
    }
}

#[cfg(test)]
mod tests;
