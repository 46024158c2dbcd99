//! What the file says anew holds anew, on connections that there are as on others.

use std::net::TcpStream;

use crate::{
    certificates::Authority,
    daemon::{Daemon, free},
    world::{Client, Server, ask, file, file_of, name, stat, take, wait_until, web},
};

#[test]
fn servers_come_change_and_go_and_a_kept_connection_sees_it() {
    let [one, two] = [Server::start("one"), Server::start("two")];
    let (daemon, at) = web(&[&one]);
    let mut client = Client::connect(at);
    assert_eq!(name(&client.get("/")), "one");

    let said = take(&daemon, &file(at, "", "", &[&one, &two]));
    assert_eq!(said, "server app/two added\n");
    let names = [client.get("/"), client.get("/")];
    let mut names = names.map(|answer| name(&answer).to_owned());
    names.sort();
    assert_eq!(names, ["one", "two"]);

    let said = take(&daemon, &file(at, "", "", &[&two]));
    assert_eq!(said, "server app/one removed\n");
    for _ in 0..4 {
        assert_eq!(name(&client.get("/")), "two");
    }

    // The same name somewhere else: what is idle to where it was is not used.
    let three = Server::start("two");
    let said = take(&daemon, &file(at, "", "", &[&three]));
    assert_eq!(said, "server app/two changed: address\n");
    let before = two.connections();
    for _ in 0..3 {
        assert_eq!(name(&client.get("/moved")), "two");
    }
    assert_eq!(two.connections(), before);
    assert!(three.head_of("/moved").starts_with("GET /moved "));

    let said = take(&daemon, &file_of(at, "", "", &[three.entry(", weight: 7")]));
    assert_eq!(said, "server app/two changed: weight\n");
    assert_eq!(stat(&daemon, "app", "two", "weight"), "7");
    assert_eq!(stat(&daemon, "app", "two", "stot"), "8");
}

#[test]
fn rules_timeouts_and_balance_change() {
    let [one, two] = [Server::start("one"), Server::start("two")];
    let (daemon, at) = web(&[&one, &two]);
    let mut client = Client::connect(at);
    client.get("/");
    let said = take(
        &daemon,
        &file(
            at,
            "rules:\n  - { if: { path: /no }, deny: { status: 403 } }\n  - { set_header: { request: { x-new: \"1\" } } }\ntimeouts: { client: 77s }",
            "balance: first",
            &[&one, &two],
        ),
    );
    assert_eq!(
        said,
        "frontend web changed: rules, timeouts\nbackend app changed: balance\n"
    );
    assert!(client.get("/no").starts_with("HTTP/1.1 403 "));
    for _ in 0..4 {
        assert_eq!(name(&client.get("/yes")), "one");
    }
    assert!(one.head_of("/yes").contains("x-new: 1\r\n"));
}

#[test]
fn backends_and_frontends_come_and_binds_move_between_frontends() {
    let [one, two] = [Server::start("one"), Server::start("two")];
    let (daemon, at) = web(&[&one]);
    let (second, third) = (free(), free());
    let mut client = Client::connect(at);
    client.get("/");
    let more = |web: &str, late: &str| {
        format!(
            "frontends:
  web: {{ bind: [{web}], default_backend: app }}
  late: {{ bind: [{late}], default_backend: other }}
backends:
  app: {{ servers: [{}] }}
  other: {{ servers: [{}] }}
",
            one.entry(""),
            two.entry("")
        )
    };
    let said = take(
        &daemon,
        &more(&format!("'{at}', '{second}'"), &format!("'{third}'")),
    );
    assert_eq!(
        said,
        "frontend late added\nfrontend web changed: bind\nbackend other added\n"
    );
    assert_eq!(name(&ask(second, "/")), "one");
    assert_eq!(name(&ask(third, "/")), "two");
    // One that goes over to another frontend never closes.
    let mut waiting = Client::connect(second);
    waiting.get("/");
    take(
        &daemon,
        &more(&format!("'{at}'"), &format!("'{third}', '{second}'")),
    );
    assert_eq!(name(&ask(second, "/")), "two");
    assert_eq!(
        name(&waiting.get("/")),
        "one",
        "a connection stays its frontend's"
    );
    take(&daemon, &file(at, "", "", &[&one]));
    wait_until("listeners that went are closed", || {
        TcpStream::connect(second).is_err() && TcpStream::connect(third).is_err()
    });
    assert_eq!(name(&client.get("/")), "one");
}

#[test]
fn a_wider_bind_takes_the_port_of_a_narrower_one() {
    let one = Server::start("one");
    // The kernel gives the port to whoever connects to somewhere, as long as it is not bound for all addresses.
    for _ in 0..20 {
        let (daemon, at) = web(&[&one]);
        let narrow = file(at, "", "", &[&one]);
        daemon.write(&narrow.replace(&format!("'{at}'"), &format!("'*:{}'", at.port())));
        let (said, good) = daemon.reload();
        if !good && said.contains("is in use") {
            continue;
        }
        assert!(good, "{said}");
        assert_eq!(name(&ask(at, "/")), "one");
        let other = ([127, 0, 0, 2], at.port()).into();
        assert_eq!(name(&ask(other, "/")), "one");
        take(&daemon, &narrow);
        assert_eq!(name(&ask(at, "/")), "one");
        wait_until("the wider one is closed", || {
            TcpStream::connect(other).is_err()
        });
        return;
    }
    panic!("the port was always somebody's");
}

#[test]
fn a_listener_that_went_can_come_back_at_once() {
    let one = Server::start("one");
    let (daemon, at) = web(&[&one]);
    let other = free();
    let narrow = file(at, "", "", &[&one]);
    let wide = narrow.replace(
        &format!("bind: '{at}'"),
        &format!("bind: ['{at}', '{other}']"),
    );
    for _ in 0..30 {
        take(&daemon, &wide);
        assert_eq!(name(&ask(other, "/")), "one");
        take(&daemon, &narrow);
    }
    assert_eq!(name(&ask(at, "/")), "one");
}

#[test]
fn a_file_of_haproxys_is_read_again_as_well() {
    let [one, two] = [Server::start("one"), Server::start("two")];
    let (folder, at) = (Daemon::folder(), free());
    let with = |servers: &str| {
        format!(
            "global
  stats socket {}/admin.sock mode 600 level admin
defaults
  mode http
  timeout connect 5s
  timeout client 30s
  timeout server 30s
frontend web
  bind {at}
  default_backend app
backend app
{servers}",
            folder.display()
        )
    };
    let server = |server: &Server, name: &str| format!("  server {name} {}\n", server.at);
    let cfg = ("lb.cfg", &*with(&server(&one, "one")));
    let lb = env!("CARGO_BIN_EXE_lb").as_ref();
    let daemon = Daemon::start_file(lb, folder.clone(), cfg, at);
    let mut client = Client::connect(at);
    assert_eq!(name(&client.get("/")), "one");
    let path = folder.join("lb.cfg");
    std::fs::write(&path, with(&server(&two, "two"))).unwrap();
    let (said, good) = daemon.reload();
    assert!(good, "{said}");
    assert!(
        said.starts_with("server app/one removed\nserver app/two added\n"),
        "{said}"
    );
    assert_eq!(name(&client.get("/")), "two");
    std::fs::write(&path, with("  server two nonsense\n  serve it\n")).unwrap();
    let (said, good) = daemon.reload();
    assert!(!good && said.contains("lb.cfg:13:"), "{said}");
    assert_eq!(name(&client.get("/")), "two");
}

#[test]
fn checks_change_and_those_that_do_not_go_on() {
    let [one, two] = [Server::start("one"), Server::start("two")];
    let at = free();
    let check = |path: &str| {
        format!("health_check: {{ type: http, path: {path}, interval: 50ms, rise: 1, fall: 1 }}")
    };
    let daemon = Daemon::start(
        Daemon::folder(),
        &file(at, "", &check("/"), &[&one, &two]),
        at,
    );
    two.set_broken(true);
    let is = |server: &str, status: &str| stat(&daemon, "app", server, "status") == status;
    wait_until("both are up", || is("one", "UP") && is("two", "UP"));
    let said = take(&daemon, &file(at, "", &check("/health"), &[&one, &two]));
    assert_eq!(said, "backend app changed: health_check\n");
    wait_until("the new check fails", || is("two", "DOWN"));
    assert!(is("one", "UP"));
    // What has been found out stays found out.
    take(
        &daemon,
        &file(at, "maxconn: 500", &check("/health"), &[&two, &one]),
    );
    assert!(is("two", "DOWN"));
    for _ in 0..4 {
        assert_eq!(name(&ask(at, "/")), "one");
    }
    two.set_broken(false);
    wait_until("the check that went on passes", || is("two", "UP"));
    take(&daemon, &file(at, "", "", &[&one, &two]));
    wait_until("nobody is checked", || is("one", "no check"));
}

#[test]
fn certificates_are_read_again_at_once_and_others_can_be_named() {
    let one = Server::start("one");
    let folder = Daemon::folder();
    let ca = Authority::new();
    std::fs::write(folder.join("ca.pem"), ca.pem()).unwrap();
    std::fs::write(folder.join("a.pem"), ca.issue(&["a.example"]).both()).unwrap();
    std::fs::write(folder.join("b.pem"), ca.issue(&["b.example"]).both()).unwrap();
    let at = free();
    let with = |file: &str| {
        format!(
            "frontends:\n  web: {{ bind: {{ address: '{at}', tls: {{ certificates: {file} }} }}, default_backend: app }}\n\
             backends:\n  app: {{ servers: [{}] }}\n",
            one.entry("")
        )
    };
    let daemon = Daemon::start(folder.clone(), &with("a.pem"), at);
    let shows = |name: &str| {
        let output = std::process::Command::new("curl")
            .args(["-sS", "--max-time", "20", "--cacert"])
            .arg(folder.join("ca.pem"))
            .args(["--resolve", &format!("{name}:{}:127.0.0.1", at.port())])
            .arg(format!("https://{name}:{}/", at.port()))
            .output()
            .unwrap();
        output.stdout == b"one"
    };
    if std::process::Command::new("curl")
        .arg("--version")
        .output()
        .is_err()
    {
        eprintln!("skipped: curl is not installed");
        return;
    }
    assert!(shows("a.example") && !shows("b.example"));
    take(&daemon, &with("b.pem"));
    assert!(!shows("a.example") && shows("b.example"));
    std::fs::write(folder.join("b.pem"), ca.issue(&["c.example"]).both()).unwrap();
    take(&daemon, &with("b.pem"));
    assert!(!shows("b.example") && shows("c.example"));
}

#[test]
fn statistics_move() {
    let one = Server::start("one");
    let (daemon, at) = web(&[&one]);
    let (first, second) = (free(), free());
    let with = |stats, uri: &str| {
        format!(
            "{}stats: {{ bind: '{stats}', uri: {uri} }}\n",
            file(at, "", "", &[&one])
        )
    };
    take(&daemon, &with(first, "/a"));
    assert!(ask(first, "/a;csv").contains("\napp,one,"));
    take(&daemon, &with(first, "/b"));
    assert!(ask(first, "/a;csv").starts_with("HTTP/1.1 404 "));
    assert!(ask(first, "/b;csv").contains("\napp,one,"));
    take(&daemon, &with(second, "/b"));
    assert!(ask(second, "/b;csv").contains("\napp,one,"));
    wait_until("the first is closed", || TcpStream::connect(first).is_err());
}
