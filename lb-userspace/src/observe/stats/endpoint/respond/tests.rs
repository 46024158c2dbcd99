//! What is answered, by what is asked.

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
        shows: Default::default(),
        rules: Default::default(),
    };
    Endpoint::new(config, fixture::sources())
}

fn ask(endpoint: &Endpoint, method: Method, target: &str, password: bool) -> Response<Full<Bytes>> {
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
        admitted: false,
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
    assert_eq!(ask(&endpoint, Method::GET, "/stats/x", true).status(), 404);
    assert_eq!(ask(&endpoint, Method::DELETE, "/stats", true).status(), 405);
    let posted = ask(&endpoint, Method::POST, "/stats", true);
    assert_eq!(
        (posted.status().as_u16(), header(&posted, "location")),
        (303, "/stats;st=DENY")
    );
}

#[test]
fn whoever_knows_the_address_alone_is_led_to_the_page() {
    let mut endpoint = endpoint();
    endpoint.config.uri = "/haproxy?stats&x='\"".into();
    let refresh = header::REFRESH.as_str();
    for (target, leads) in [("/", true), ("/?x", true), ("/stats", false), ("/x", false)] {
        let response = ask(&endpoint, Method::GET, target, true);
        assert_eq!(response.status(), 404, "{target}");
        let to = if leads {
            "0; url=/haproxy?stats&x='\""
        } else {
            ""
        };
        assert_eq!(header(&response, refresh), to, "{target}");
        let text = body(response);
        for known in [
            "/haproxy?stats&amp;x='&quot;\">",
            "\"/metrics\"",
            "\"/healthz\"",
        ] {
            assert!(text.contains(known), "{target}: {text}");
        }
    }
    // Who may not look at the page is not told where it is.
    assert_eq!(ask(&endpoint, Method::GET, "/", false).status(), 401);
    endpoint.config.uri = "/".into();
    assert_eq!(ask(&endpoint, Method::GET, "/", true).status(), 200);
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
    assert!(page("/stats;st=FIXD").contains("only accepts weights"));
}
