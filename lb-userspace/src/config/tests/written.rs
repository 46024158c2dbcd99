//! Algorithms and checks, in each way that they can be written.

use std::time::Duration;

use super::{valid::file, *};
use crate::config::model::CheckKind;

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn algorithms_are_written_as_haproxy_writes_them_or_as_mappings() {
    let of = |balance: &str| {
        let config = file("", "mode: http", &format!("{balance},"));
        let backend = config.backends[0].as_ref().clone();
        (backend.balance, backend.balance_arguments)
    };
    for (short, long) in [
        (
            "balance: random 3",
            "balance: { algorithm: random, draws: 3 }",
        ),
        (
            "balance: random(3)",
            "balance: { algorithm: random, draws: 3 }",
        ),
        (
            "balance: hdr X-User",
            "balance: { algorithm: hdr, name: X-User }",
        ),
        (
            "balance: hdr(X-User)",
            "balance: { algorithm: hdr, name: X-User }",
        ),
        (
            "balance: url_param id",
            "balance: { algorithm: url_param, name: id }",
        ),
        (
            "balance: uri whole depth 2 len 30",
            "balance: { algorithm: uri, whole: true, depth: 2, len: 30 }",
        ),
        ("balance: static-rr", "balance: { algorithm: static-rr }"),
    ] {
        assert_eq!(of(short), of(long), "{short}");
    }
    let bounded = file(
        "hash_type: consistent, hash_balance_factor: 150",
        "mode: http",
        "balance: uri,",
    );
    let backend = &bounded.backends[0];
    assert!(backend.is_consistent());
    assert_eq!(backend.hash_balance_factor, Some(150));
    let plain = file("hash_type: consistent", "mode: http", "");
    assert!(
        !plain.backends[0].is_consistent(),
        "a default that suits no roundrobin"
    );
}

#[test]
fn checks_of_other_kinds() {
    let check = |keys: &str| {
        let config = file("", "", &format!("health_check: {{ {keys} }},"));
        config.backends[0].health_check.clone().unwrap()
    };
    let text = |text: &str| model::Content::Text(text.into());
    let send = model::Step::Send;
    let expect = |content| model::Step::Expect(content, Box::default());
    assert_eq!(
        check("type: tcp, send: \"PING\\r\\n\", expect: +PONG").kind,
        CheckKind::Script(vec![send(b"PING\r\n".into()), expect(text("+PONG"))])
    );
    assert_eq!(
        check("type: tcp, steps: [{ expect: '220 ' }, { send: \"QUIT\\r\\n\" }]").kind,
        CheckKind::Script(vec![expect(text("220 ")), send(b"QUIT\r\n".into())])
    );
    assert_eq!(check("type: ssl").kind, CheckKind::Ssl);
    let grpc = check("type: grpc, service: a.B, host: a.example, send_proxy: v2");
    let (service, host) = ("a.B".into(), Some("a.example".into()));
    assert_eq!(
        grpc.kind,
        CheckKind::Grpc {
            service,
            host,
            headers: Vec::new()
        }
    );
    let v2 = Some(model::ProxyVersion::V2);
    assert_eq!(grpc.introduction, model::Introduced::Always(v2));
    let alpn = |keys: &str, traffic: Option<&str>| {
        let traffic = traffic.map(|alpn| crate::tls::ServerOptions {
            alpn: vec![alpn.to_owned()],
            ..Default::default()
        });
        Some(check(keys).own_tls(traffic.as_ref())?.alpn.join(","))
    };
    let of = |alpn: &str| Some(alpn.to_owned());
    assert_eq!(alpn("type: http", Some("http/1.1")), None);
    assert_eq!(alpn("type: https", None), of(""));
    assert_eq!(alpn("type: https", Some("h2")), of("h2"));
    assert_eq!(alpn("type: h2", None), None);
    assert_eq!(alpn("type: h2", Some("http/1.1")), of("h2"));
    assert_eq!(alpn("type: h2, port: 9", Some("http/1.1")), None);
    assert_eq!(alpn("type: grpc, tls: true", None), of("h2"));
    assert_eq!(alpn("type: tcp, tls: true", None), of(""));
    let agent = check("type: agent, port: 9999, send: hello");
    let send = b"hello".into();
    assert_eq!(
        (agent.kind, agent.port),
        (CheckKind::Agent { send }, Some(9999))
    );
    let check = check(
        "type: tcp, fast_interval: 1s, down_interval: 5s, address: 192.0.2.9, observe: layer7, error_limit: 3, on_error: mark-down",
    );
    assert_eq!(
        (check.fast_interval, check.down_interval),
        (Some(SECOND), Some(5 * SECOND))
    );
    assert_eq!(check.address, Some([192, 0, 2, 9].into()));
    assert_eq!(
        check.observe,
        Some(model::Observe {
            layer: model::Layer::Seven,
            error_limit: 3,
            on_error: model::OnError::MarkDown,
        })
    );
}

#[test]
fn log_lines_of_ones_own() {
    use crate::config::model::{AccessLog, LogOptions, Piece};
    let config = file(
        "dontlognull: true, log_separate_errors: true",
        "log_format: '%ci:%cp [%tr] %{+Q}r', log_separate_errors: false, dontlog_normal: true",
        "",
    );
    let frontend = &config.frontends[0];
    let AccessLog::Custom(line) = &frontend.log_format else {
        panic!("{:?}", frontend.log_format);
    };
    let texts = line.pieces.iter().filter_map(|piece| match piece {
        Piece::Text(text) => Some(text.as_str()),
        Piece::Field(..) | Piece::Sample(_) => None,
    });
    assert_eq!(texts.collect::<Vec<_>>(), [":", " [", "] "]);
    assert_eq!(
        frontend.log_options,
        LogOptions {
            off: false,
            no_null: true,
            no_normal: true,
            separate_errors: false,
            ..LogOptions::default()
        }
    );
}
