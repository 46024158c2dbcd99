//! From a request's head to a whole response. No socket here.

use std::{io::Write, net::IpAddr, sync::Arc};

use bytes::Bytes;
use flate2::{Compression, write::GzEncoder};
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, Uri, header};
use http_body_util::Full;

use super::{
    super::{
        csv, metrics,
        page::{self, Page, View},
        snapshot::Sources,
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
            && self.config.admin != StatsAdmin::Nobody
            && matches!(self.route(uri), Route::Stats { .. });
        if changes { act::MOST_BYTES } else { 0 }
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

    fn route(&self, uri: &Uri) -> Route {
        let target = uri.path_and_query().map_or("/", |target| target.as_str());
        route(target, &self.config.uri)
    }

    fn answer(&self, route: Route, asked: &Asked<'_>) -> Response<Bytes> {
        if self.needs_password(&route) && !self.is_allowed(asked.headers) {
            return self.unauthorized();
        }
        let response = match (route, asked.method) {
            (Route::Unknown, _) => error(
                StatusCode::NOT_FOUND,
                "404 Not Found",
                "The resource could not be found.",
            ),
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
        let may_change = form == Form::Html && self.config.admin.allows(asked.client);
        let ticket = may_change.then(|| Ticket::issue(asked.headers)).flatten();
        let page = Page {
            uri: &self.config.uri,
            refresh,
            view,
            token: ticket.as_ref().map(|ticket| ticket.token.as_str()),
        };
        let (kind, body) = match form {
            Form::Html => {
                let snapshot = self.sources.whole();
                let body = match view.live {
                    true => page::fragment(&snapshot, &page),
                    false => page::render(&snapshot, &page),
                };
                ("text/html; charset=utf-8", body)
            }
            Form::Csv => (
                "text/plain; charset=utf-8",
                csv::of(&self.sources.snapshot()),
            ),
            Form::Json => ("application/json", self.sources.whole().to_json()),
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

    /// Changes servers, and has the browser look at the page anew, so that drawing that once more changes nothing again.
    fn change(&self, view: &View, asked: &Asked<'_>) -> Response<Bytes> {
        let told = act::act(
            &self.sources,
            &Wish {
                headers: asked.headers,
                body: asked.body,
                allowed: self.config.admin.allows(asked.client),
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
mod tests {
    use std::time::Duration;

    use base64::Engine;
    use http_body_util::BodyExt;

    use super::{super::super::fixture, *};
    use crate::rules::Users;

    fn endpoint() -> Endpoint {
        let users = Users::new(vec![("admin".into(), "secret".into())]).expect("in clear");
        let config = Stats {
            binds: Vec::new(),
            uri: "/stats".into(),
            refresh: Some(Duration::from_secs(30)),
            realm: "LB Statistics".into(),
            auth: Some(Arc::new(users)),
            metrics: Default::default(),
            admin: StatsAdmin::default(),
        };
        Endpoint::new(config, fixture::sources())
    }

    fn ask(
        endpoint: &Endpoint,
        method: Method,
        target: &str,
        password: bool,
    ) -> Response<Full<Bytes>> {
        let mut headers = HeaderMap::new();
        if password {
            let text = base64::engine::general_purpose::STANDARD.encode("admin:secret");
            let value = format!("Basic {text}").parse().expect("a header");
            headers.insert(header::AUTHORIZATION, value);
        }
        endpoint.respond(&asked(
            &method,
            &target.parse().expect("a target"),
            &headers,
        ))
    }

    fn asked<'a>(method: &'a Method, uri: &'a Uri, headers: &'a HeaderMap) -> Asked<'a> {
        Asked {
            method,
            uri,
            headers,
            body: Ok(b""),
            client: None,
            secure: false,
        }
    }

    fn header<'a>(response: &'a Response<Full<Bytes>>, name: &str) -> &'a str {
        response
            .headers()
            .get(name)
            .map_or("", |value| value.to_str().expect("text"))
    }

    fn body(response: Response<Full<Bytes>>) -> String {
        let mut body = std::pin::pin!(response.into_body().collect());
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        match body.as_mut().poll(&mut context) {
            std::task::Poll::Ready(Ok(body)) => {
                String::from_utf8(body.to_bytes().to_vec()).expect("text")
            }
            _ => panic!("a whole body is ready at once"),
        }
    }

    #[test]
    fn without_a_password_only_health_and_metrics_answer() {
        let endpoint = endpoint();
        for target in ["/stats", "/stats;csv", "/stats;json"] {
            let response = ask(&endpoint, Method::GET, target, false);
            assert_eq!(response.status(), 401, "{target}");
            assert_eq!(
                header(&response, "www-authenticate"),
                "Basic realm=\"LB Statistics\""
            );
            assert_eq!(
                body(response),
                "<html><body><h1>401 Unauthorized</h1>\nYou need a valid user and password to access this \
                 content.\n</body></html>\n"
            );
        }
        for target in ["/metrics", "/healthz"] {
            assert_eq!(
                ask(&endpoint, Method::GET, target, false).status(),
                200,
                "{target}"
            );
        }
    }

    #[test]
    fn each_form_has_haproxys_headers() {
        let endpoint = endpoint();
        for (target, kind, refresh) in [
            ("/stats", "text/html; charset=utf-8", "30"),
            ("/stats;norefresh", "text/html; charset=utf-8", ""),
            ("/stats;csv", "text/plain; charset=utf-8", "30"),
            ("/stats;json", "application/json", "30"),
        ] {
            let response = ask(&endpoint, Method::GET, target, true);
            assert_eq!(response.status(), 200, "{target}");
            assert_eq!(header(&response, "cache-control"), "no-cache");
            assert_eq!(header(&response, "content-type"), kind);
            assert_eq!(header(&response, "refresh"), refresh, "{target}");
        }
    }

    #[test]
    fn metrics_come_in_the_form_and_the_scope_that_is_asked_for() {
        let ask = |config: &str, target: &str, accept: &'static str| {
            let mut endpoint = endpoint();
            endpoint.config.metrics.servers = config != "no servers";
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT, HeaderValue::from_static(accept));
            let target = target.parse().expect("a target");
            let response = endpoint.respond(&asked(&Method::GET, &target, &headers));
            let kind = header(&response, "content-type").to_owned();
            (response.status().as_u16(), kind, body(response))
        };
        let (status, kind, text) = ask("", "/metrics", "*/*");
        assert_eq!(
            (status, kind.as_str()),
            (200, "text/plain; version=0.0.4; charset=utf-8")
        );
        assert!(text.contains("lb_server_up{") && !text.contains("# EOF"));
        let (_, kind, text) = ask("", "/metrics?scope=backend", "application/openmetrics-text");
        assert_eq!(
            kind,
            "application/openmetrics-text; version=1.0.0; charset=utf-8"
        );
        assert!(text.ends_with("\n# EOF\n") && text.contains("lb_backend_up{"));
        assert!(!text.contains("lb_server_up{") && !text.contains("lb_frontend_up{"));
        let (_, _, text) = ask("no servers", "/metrics?scope=*", "");
        assert!(text.contains("lb_backend_up{") && !text.contains("lb_server_"));
        assert_eq!(ask("", "/metrics?scope=x", "").0, 400);
    }

    #[test]
    fn other_paths_and_methods() {
        let endpoint = endpoint();
        assert_eq!(ask(&endpoint, Method::GET, "/", true).status(), 404);
        assert_eq!(ask(&endpoint, Method::GET, "/stats/x", true).status(), 404);
        assert_eq!(ask(&endpoint, Method::DELETE, "/stats", true).status(), 405);
        let posted = ask(&endpoint, Method::POST, "/stats", true);
        assert_eq!(
            (posted.status().as_u16(), header(&posted, "location")),
            (303, "/stats;st=DENY")
        );
    }

    #[test]
    fn health_turns_when_a_stop_begins() {
        let endpoint = endpoint();
        endpoint.sources.process.set_stopping();
        let response = ask(&endpoint, Method::GET, "/healthz", false);
        assert_eq!(response.status(), 503);
        assert_eq!(body(response), "stopping\n");
    }

    #[test]
    fn the_page_shows_every_row_and_why_the_path_is_taken() {
        let endpoint = endpoint();
        let page = body(ask(&endpoint, Method::GET, "/stats", true));
        for text in [
            "tcp-in",
            "http-in",
            "w1",
            "w5",
            "L7OK/200 in 4ms",
            "native XDP on eth0",
            "mode http",
            "no neighbour",
            "not a service",
            "99 % of sessions",
        ] {
            assert!(page.contains(text), "{text} is missing");
        }
        assert!(
            !page.contains("ttl exceeded"),
            "what never happened takes no room"
        );
    }

    #[test]
    fn json_holds_what_the_page_shows() {
        let endpoint = endpoint();
        let json = body(ask(&endpoint, Method::GET, "/stats;json", true));
        let value: serde_json::Value = serde_json::from_str(&json).expect("it is JSON");
        assert_eq!(value["frontends"][0]["row"]["pxname"], "tcp-in");
        assert_eq!(value["frontends"][0]["path"], "kernel");
        assert_eq!(value["backends"][1]["servers"][1]["row"]["status"], "DOWN");
        assert_eq!(value["fast_path"]["counters"][1]["name"], "no_neighbour");
    }

    #[test]
    fn whoever_takes_gzip_gets_it() {
        let endpoint = endpoint();
        let sizes = ["", "identity", "gzip;q=0", "br, gzip", "GZIP;q=0.5"].map(|coding| {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT_ENCODING, coding.parse().expect("a value"));
            let target = "/metrics".parse().expect("a target");
            let response = endpoint.respond(&asked(&Method::GET, &target, &headers));
            assert_eq!(header(&response, "vary"), "Accept-Encoding");
            header(&response, "content-encoding").to_owned()
        });
        assert_eq!(sizes, ["", "", "", "gzip", "gzip"]);
    }

    #[test]
    fn the_live_part_is_no_page_of_its_own_and_is_not_drawn_anew() {
        let response = ask(&endpoint(), Method::GET, "/stats;live", true);
        assert_eq!(header(&response, "refresh"), "");
        let part = body(response);
        assert!(part.starts_with("<div id=\"facts\">"), "{part}");
        assert!(part.contains("<main id=\"live\">") && !part.contains("<script"));
    }

    #[test]
    fn servers_can_be_chosen_only_by_whoever_may_change_them() {
        let mut endpoint = endpoint();
        let page = |endpoint: &Endpoint| {
            let response = ask(endpoint, Method::GET, "/stats", true);
            let cookie = header(&response, "set-cookie").to_owned();
            (cookie, body(response).contains("name=\"s\""))
        };
        assert_eq!(page(&endpoint), (String::new(), false));
        endpoint.config.admin = StatsAdmin::Everybody;
        let (cookie, boxes) = page(&endpoint);
        assert!(boxes && cookie.contains("SameSite=Strict"), "{cookie}");
        // Its client has no address.
        endpoint.config.admin = StatsAdmin::From(Vec::new());
        assert_eq!(page(&endpoint), (String::new(), false));
    }

    #[test]
    fn what_the_reader_does_not_want_is_left_out() {
        let page = |target| body(ask(&endpoint(), Method::GET, target, true));
        let all = page("/stats");
        assert!(all.contains("b-web") && all.contains("b-tcp_servers") && all.contains("w2"));
        let scoped = page("/stats;up?scope=WEB");
        assert!(scoped.contains("b-web") && !scoped.contains("b-tcp_servers"));
        assert!(!scoped.contains(">w2<"), "it is down");
        let told = page("/stats;st=PART");
        assert!(told.contains("Done for some servers") && !all.contains("role=\"status\""));
    }
}
