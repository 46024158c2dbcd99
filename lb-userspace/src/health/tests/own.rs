//! Servers that are checked otherwise than their backend's others, agents beside checks, and what HAProxy's checks of other
//! protocols say.

use super::*;
use crate::config::haproxy;

/// What a configuration's checks do until `until` holds, which it has to in time.
fn run_until(yaml: &str, until: impl Fn(&Topology) -> bool) -> Arc<Topology> {
    let topology = topology_of(yaml);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let _checks = Checks::start(&topology);
        let deadline = Instant::now() + Duration::from_secs(20);
        while !until(&topology) {
            assert!(Instant::now() < deadline, "it never came to that:\n{yaml}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    topology
}

fn topology_of(yaml: &str) -> Arc<Topology> {
    let loaded = crate::config::parse("lb.yaml", yaml, &|_| None);
    let loaded = loaded.unwrap_or_else(|found| panic!("{found}\n{yaml}"));
    Arc::new(Topology::new(&loaded.config))
}

fn status(topology: &Topology, server: &str) -> String {
    topology.server("app", server).unwrap().status()
}

fn seen(topology: &Topology, server: &str) -> Option<CheckStatus> {
    let server = topology.server("app", server).unwrap();
    server.last_check().map(|check| check.status)
}

#[test]
fn a_server_has_keys_of_its_own_in_its_check() {
    let good = answer("HTTP/1.0 200 OK\r\n\r\n");
    let bad = answer("HTTP/1.0 500 No\r\n\r\n");
    let yaml = format!(
        "frontends: {{ f: {{ bind: '127.0.0.1:1', default_backend: app }} }}\nbackends:\n  app:\n    health_check: {{ \
         type: http, path: /x, interval: 20ms, fall: 1 }}\n    servers:\n      - {{ name: same, address: '{good}' }}\n      \
         - {{ name: elsewhere, address: '{good}', health_check: {{ port: {} }} }}\n      - {{ name: connects, address: \
         '{bad}', health_check: {{ type: tcp }} }}\n      - {{ name: unasked, address: '{bad}', health_check: {{ type: \
         none }} }}\n",
        bad.port()
    );
    let topology = run_until(&yaml, |topology| {
        status(topology, "elsewhere") == "DOWN"
            && seen(topology, "same").is_some()
            && seen(topology, "connects").is_some()
    });
    assert_eq!(seen(&topology, "same"), Some(CheckStatus::L7Ok));
    assert_eq!(seen(&topology, "elsewhere"), Some(CheckStatus::L7Sts));
    assert_eq!(seen(&topology, "connects"), Some(CheckStatus::L4Ok));
    assert_eq!(status(&topology, "unasked"), "no check");
}

#[test]
fn an_agent_beside_a_check_takes_a_server_down_and_brings_it_back() {
    let server = answer("HTTP/1.0 200 OK\r\n\r\n");
    let up = talks(true, &[b"up 50%\n"]);
    let down = talks(true, &[b"down # disk full\n"]);
    let text = |agent: SocketAddr| {
        format!(
            "frontend f\n bind :1\n default_backend app\nbackend app\n server s {server} weight 100 check inter 20ms agent-check \
             agent-port {} agent-inter 20ms\n",
            agent.port()
        )
    };
    let yaml = |agent| {
        let source = crate::config::Source::new("haproxy.cfg", &text(agent));
        haproxy::import(&source, &|_| None, &haproxy::Options::default()).0
    };
    let topology = run_until(&yaml(up), |topology| {
        topology.server("app", "s").unwrap().weight() == 50 && seen(topology, "s").is_some()
    });
    assert_eq!(status(&topology, "s"), "UP");
    let topology = run_until(&yaml(down), |topology| {
        status(topology, "s") == "DOWN (agent)"
    });
    let server = topology.server("app", "s").unwrap();
    let backend = topology.backend("app").unwrap();
    assert!(!server.is_up() && !backend.is_up());
    let result = CheckResult {
        status: CheckStatus::L7Ok,
        code: None,
        duration: Duration::ZERO,
        info: String::new(),
        at: std::time::Instant::now(),
    };
    backend.record_agent(server, result);
    assert!(server.is_up() && backend.is_up());
}

#[test]
fn an_agent_that_is_not_there_changes_nothing() {
    let server = answer("HTTP/1.0 200 OK\r\n\r\n");
    let yaml = format!(
        "frontends: {{ f: {{ bind: '127.0.0.1:1', default_backend: app }} }}\nbackends:\n  app:\n    health_check: {{ \
         type: tcp, interval: 20ms }}\n    servers:\n      - {{ name: s, address: '{server}', agent_check: {{ port: {}, \
         interval: 20ms }} }}\n",
        closed_port().port()
    );
    let topology = run_until(&yaml, |topology| seen(topology, "s").is_some());
    assert_eq!(status(&topology, "s"), "UP");
}

#[test]
fn a_check_knows_how_others_are_wherever_they_stand() {
    let (tell, told) = mpsc::channel();
    let tell = Mutex::new(tell);
    let asked = server(move |mut stream| {
        let mut head = [0; 256];
        let length = stream.read(&mut head).unwrap();
        let head = String::from_utf8_lossy(&head[..length]).into_owned();
        let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
        let _ = tell.lock().unwrap().send(path);
        let _ = stream.write_all(b"HTTP/1.0 200 OK\r\n\r\n");
    });
    // `two` comes first, or second.
    let yaml = |before: bool| {
        let two = "{ servers: [{ name: a, address: '192.0.2.1:1' }, { name: b, address: '192.0.2.1:2', disabled: true, \
                   weight: 7 }] }";
        let one = "{ servers: [{ name: a, address: '192.0.2.1:1' }] }";
        let app = format!(
            "  app:\n    health_check: {{ type: http, interval: 20ms, path_template: \"/%[nbsrv(two)]/%[srv_is_up(two/b)]/\
             %[srv_weight(two/b)]/%[be_conn]/%[fe_conn(f)]/%[str(two),nbsrv]/%[be_server_timeout]\" }}\n    servers: [{{ \
             name: s, address: '{asked}' }}]\n"
        );
        let all = match before {
            true => format!("  two: {two}\n  one: {one}\n{app}"),
            false => format!("{app}  two: {two}\n  one: {one}\n"),
        };
        let both = "default_backend: app }\n  g: { bind: '127.0.0.1:2', rules: [{ if: { source: 192.0.2.0/24 }, use_backend: \
                    one }], default_backend: two }";
        format!("frontends:\n  f: {{ bind: '127.0.0.1:1', {both}\nbackends:\n{all}")
    };
    let wanted = "/1/0/7/0/0/1/50000";
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let mut checks = Checks::start(&topology_of(&yaml(false)));
        let came = async || {
            let mut found = None;
            until("a check", || {
                found = told.try_recv().ok();
                found.is_some()
            })
            .await;
            found.unwrap()
        };
        assert_eq!(came().await, wanted);
        checks.follow(&topology_of(&yaml(true)));
        while told.try_recv().is_ok() {}
        // Not the one that may be on its way.
        came().await;
        assert_eq!(came().await, wanted);
    });
}

/// A server that answers each piece that it gets by the next of `lines`, the first before it has got any if `greets`.
fn talks(greets: bool, lines: &'static [&'static [u8]]) -> SocketAddr {
    server(move |mut stream| {
        for (number, line) in lines.iter().enumerate() {
            if number > 0 || !greets {
                let got = stream.read(&mut [0; 1024]);
                if !matches!(got, Ok(1..)) {
                    return;
                }
            }
            if stream.write_all(line).is_err() {
                return;
            }
        }
        let _ = stream.read(&mut [0; 1024]);
    })
}

#[test]
fn checks_of_other_protocols_tell_good_servers_from_bad_ones() {
    let passed = |directives: &str, address: SocketAddr| {
        let text = format!(
            "frontend f\n bind :1\n default_backend app\nbackend app\n timeout connect 5s\n timeout check 5s\n{directives} server s {address} \
             check inter 20ms\n"
        );
        let source = crate::config::Source::new("haproxy.cfg", &text);
        let yaml = haproxy::import(&source, &|_| None, &haproxy::Options::default()).0;
        let topology = run_until(&yaml, |topology| seen(topology, "s").is_some());
        seen(&topology, "s").unwrap().passed()
    };
    let mysql = " option mysql-check user lb\n";
    let ok = talks(
        true,
        &[
            b"\x07\x00\x00\x00\x0a8.0.1\x00",
            b"\x07\x00\x00\x02\x00\x00\x00\x02\x00\x00\x00",
        ],
    );
    let refused = talks(
        true,
        &[
            b"\x07\x00\x00\x00\x0a8.0.1\x00",
            b"\x09\x00\x00\x02\xff\x15\x04#28000",
        ],
    );
    assert!(passed(mysql, ok) && !passed(mysql, refused));
    let pgsql = " option pgsql-check user lb\n";
    let ok = talks(false, &[b"R\x00\x00\x00\x08\x00\x00\x00\x03"]);
    let refused = talks(false, &[b"E\x00\x00\x00\x08SFATAL"]);
    assert!(passed(pgsql, ok) && !passed(pgsql, refused));
    let ldap = " option ldap-check\n";
    let ok = talks(
        false,
        &[b"\x30\x0c\x02\x01\x01\x61\x07\x0a\x01\x00\x04\x00\x04\x00"],
    );
    let refused = talks(
        false,
        &[b"\x30\x0c\x02\x01\x01\x61\x07\x0a\x01\x30\x04\x00\x04\x00"],
    );
    assert!(passed(ldap, ok) && !passed(ldap, refused));
    let http = |rest: &str| format!(" mode http\n option httpchk GET /\n{rest}");
    let page = answer("HTTP/1.0 404 No\r\n\r\nall is lost");
    for (expect, passes) in [
        ("rstatus ^[24]", true),
        ("rstatus ^[23]", false),
        ("! status 404", false),
        ("! rstatus ^5", true),
        ("! string lost", false),
        ("! string found", true),
        ("! rstring ^all", false),
    ] {
        let text = http(&format!(" http-check expect {expect}\n")).replace(" mode http\n", "");
        assert_eq!(passed(&text, page), passes, "{expect}");
    }
    let echo = talks(false, &[b"\x01\x02"]);
    let binary = |digits: &str| {
        format!(
            " option tcp-check\n tcp-check send-binary 0aff\n tcp-check expect binary {digits}\n"
        )
    };
    assert!(passed(&binary("0102"), echo) && !passed(&binary("0103"), echo));
    let elsewhere = format!(
        " option tcp-check\n tcp-check connect port {}\n",
        closed_port().port()
    );
    assert!(!passed(&elsewhere, echo));
}

/// Answers by what is asked for, and says what of it it was told.
fn by_path(heads: &Arc<Mutex<Vec<String>>>) -> SocketAddr {
    let heads = Arc::clone(heads);
    server(move |mut stream| {
        let mut head = [0; 1024];
        let length = stream.read(&mut head).unwrap_or(0);
        let head = String::from_utf8_lossy(&head[..length]).into_owned();
        let status = head.split([' ', '/']).nth(2).unwrap_or("500").to_owned();
        if let Ok(mut heads) = heads.lock() {
            heads.push(head);
        }
        let _ = stream.write_all(format!("HTTP/1.0 {status} x\r\n\r\n").as_bytes());
    })
}

#[test]
fn the_last_connection_of_a_check_says_whether_its_server_wants_anybody_new() {
    for (first, last, settled) in [
        (200, 404, "NOLB"),
        (404, 200, "UP"),
        (404, 404, "NOLB"),
        (404, 500, "DOWN"),
    ] {
        let heads = Arc::default();
        let address = by_path(&heads);
        let yaml = format!(
            "frontends: {{ f: {{ bind: '127.0.0.1:1', default_backend: app }} }}\nbackends:\n  app:\n    health_check: {{ \
             type: http, path: /{first}, expect: {{ status: 200 }}, interval: 20ms, fall: 1, disable_on_404: true, send_state: \
             true, then: {{ type: http, path: /{last}, expect: {{ status: 200 }} }} }}\n    servers: [{{ name: s, address: \
             '{address}' }}]\n"
        );
        let topology = run_until(&yaml, |topology| {
            status(topology, "s") == settled && seen(topology, "s").is_some()
        });
        let found = seen(&topology, "s").unwrap();
        let wanted = match settled {
            "NOLB" => CheckStatus::L7Okc,
            "UP" => CheckStatus::L7Ok,
            _ => CheckStatus::L7Sts,
        };
        assert_eq!(found, wanted, "{first} {last}");
        let heads: Vec<String> = heads.lock().unwrap().clone();
        assert!(heads.iter().any(|head| head.contains(&format!("/{last} "))));
        let told = |head: &String| head.contains("x-haproxy-server-state: ");
        assert!(heads.iter().all(told), "{heads:?}");
    }
}

/// A server that answers each connection once, and what it was told.
fn listening(answer: &'static str) -> (SocketAddr, mpsc::Receiver<String>) {
    let (told, heard) = mpsc::channel();
    let told = Mutex::new(told);
    let address = server(move |mut stream| {
        let mut said = [0; 1024];
        let length = stream.read(&mut said).unwrap_or(0);
        let _ = stream.write_all(answer.as_bytes());
        let said = String::from_utf8_lossy(&said[..length]).into_owned();
        let _ = told.lock().unwrap().send(said);
    });
    (address, heard)
}

/// A file with a backend `app` that is checked so, of one server `s1` at `address`.
fn checked(check: &str, address: SocketAddr) -> String {
    format!(
        "frontends: {{ f: {{ bind: '127.0.0.1:1', default_backend: app }} }}\nbackends:\n  app:\n    id: 9\n    \
         health_check: {{ interval: 50ms, fall: 1, timeout: 20s, {check} }}\n    servers: [{{ name: s1, id: 5, address: '{address}' }}]\n"
    )
}

/// The status, number and text of the first check of that.
fn result(check: &str, address: SocketAddr) -> (CheckStatus, Option<u16>, String) {
    let topology = run_until(&checked(check, address), |topology| {
        seen(topology, "s1").is_some()
    });
    let last = topology.server("app", "s1").unwrap().last_check().unwrap();
    (last.status, last.code, last.info.clone())
}

#[test]
fn a_check_puts_together_what_it_asks() {
    let (address, heard) = listening("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
    let check = "type: http, method: POST, version: HTTP/1.1, set_var: { check.who: '%[srv_name]', 'check.who,ifnotset': other, \
                 check.gone: a }, unset_var: check.gone, path_template: '/x?%[var(check.who)]', host: '%[be_name].example', \
                 headers: { X-N: '%[be_id]/%[srv_id] 100%%[%[var(check.gone)]]' }, body_template: 'a=%[var(check.who),upper]'";
    assert_eq!(result(check, address).0, CheckStatus::L7Ok);
    assert_eq!(
        heard.recv_timeout(Duration::from_secs(20)).unwrap(),
        "POST /x?s1 HTTP/1.1\r\nhost: app.example\r\nX-N: 9/5 100%[]\r\ncontent-length: 4\r\nconnection: close\r\n\r\na=S1"
    );
}

#[test]
fn a_conversation_remembers_and_puts_together_what_it_says() {
    let (address, heard) = listening("+PONG\r\n");
    let check = "type: tcp, steps: [{ set_var: { check.a: '%[str(PI)]' } }, { send: { template: '%[var(check.a)]NG' } }, \
                 { expect: { template: 'PO%[str(NG)]' } }]";
    assert_eq!(result(check, address).0, CheckStatus::L7Ok);
    assert_eq!(heard.recv_timeout(Duration::from_secs(20)).unwrap(), "PING");
    let (address, heard) = listening("+PONG\r\n");
    let check =
        "type: tcp, steps: [{ send: { hex_template: '50%[str(ING),hex]' } }, { expect: +PONG }]";
    assert_eq!(result(check, address).0, CheckStatus::L7Ok);
    assert_eq!(heard.recv_timeout(Duration::from_secs(20)).unwrap(), "PING");
}

#[test]
fn results_are_called_as_the_terms_say() {
    let (http, _heard) = listening("HTTP/1.1 503 Busy\r\nX-A: b\r\ncontent-length: 0\r\n\r\n");
    let (tcp, _heard) = listening("+PONG 7\r\n");
    for (check, address, status, code, text) in [
        (
            "type: http, expect: { status: 200, error_status: L7OKC, on_error: '%[srv_name] %[status] %[res.hdr(x-a)]' }",
            http,
            CheckStatus::L7Okc,
            Some(503),
            "s1 503 b",
        ),
        (
            "type: http, expect: { status: 503, ok_status: L6OK, on_success: fine, status_code: '%[int(7)]' }",
            http,
            CheckStatus::L6Ok,
            Some(7),
            "fine",
        ),
        (
            "type: tcp, send: PING, expect: { text: none, error_status: L4CON, on_error: 'no %[res.payload(1,4)]', status_code: '%[res.payload(6,1)]' }",
            tcp,
            CheckStatus::L4Con,
            Some(7),
            "no PONG",
        ),
        (
            "type: tcp, send: PING, expect: { text: +PONG, min_recv: 7, on_success: '%[res.payload(6,1)]' }",
            tcp,
            CheckStatus::L7Ok,
            None,
            "7",
        ),
    ] {
        let found = result(check, address);
        assert_eq!(found, (status, code, text.to_owned()), "{check}");
    }
}

#[test]
fn the_first_checks_of_all_come_as_soon_as_those_of_servers_on_their_way() {
    let address = answer("HTTP/1.0 200 OK\r\n\r\n");
    let yaml = format!(
        "
frontends: {{ f: {{ bind: '127.0.0.1:1', mode: http, default_backend: b }} }}
backends:
  b:
    mode: http
    health_check: {{ type: http, interval: 1h, fast_interval: 200ms }}
    servers:
      - {{ name: s1, address: '{address}' }}
      - {{ name: s2, address: '{address}' }}
"
    );
    run_until(&yaml, |topology| {
        let mut servers = topology.backends[0].servers.iter();
        servers.all(|server| server.status() == "UP")
    });
}
